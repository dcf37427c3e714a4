#include "proxy/resolve/resolve.h"

#include <string.h>

#include "proxy/base/ascii.h"

static bool is_own_port(const struct own_ports *own, uint16_t port)
{
    return port == own->outbound || port == own->inbound || port == own->tunnel;
}

int resolve_service(const struct snapshot *snapshot, const struct service *service,
                    const struct addr *destination, struct target *out_target)
{
    const struct service_port *port = service_find_port(service, destination->port);
    if (!port)
        return -ERR_NO_SUCH_PORT;
    const bool wants_v6 = destination->ip.len == 16;
    const struct endpoint_set *endpoints = snapshot_set(snapshot, port, wants_v6);
    *out_target = (struct target){
        .kind = TARGET_SERVICE,
        .service = service,
        .port = port,
        .endpoints = endpoints->len > 0 ? endpoints : snapshot_set(snapshot, port, !wants_v6),
        .addr = *destination,
    };
    return 0;
}

/* Passed through, it would be this node's loopback, where what listens takes its callers for the
 * node's own. Such packets are made by hand; with net.ipv4.conf.*.route_localnet, which kube-proxy
 * sets, the kernel does not drop them. */
static bool is_our_loopback(const struct ip *ip)
{
    static const struct ip unspecified;
    return ip_is_loopback(ip) || memcmp(ip->bytes, unspecified.bytes, ip->len) == 0;
}

int resolve_outbound(const struct snapshot *snapshot, const struct own_ports *own,
                     const struct addr *destination, struct target *out_target)
{
    if (is_own_port(own, destination->port))
        return -ERR_SELF_CALL;
    const struct service *service = snapshot_service_by_ip(snapshot, &destination->ip);
    if (service)
        return resolve_service(snapshot, service, destination, out_target);
    const struct workload *workload = snapshot_workload_by_ip(snapshot, &destination->ip);
    if (!workload && own->has_loopback && is_our_loopback(&destination->ip))
        return -ERR_SELF_CALL;
    *out_target = (struct target){
        .kind = workload ? TARGET_WORKLOAD : TARGET_PASSTHROUGH,
        .workload = workload,
        .addr = *destination,
    };
    return 0;
}

/* host:port with a host that is no address. */
static int split_host(struct str authority, struct str *out_host, uint16_t *out_port)
{
    struct str host, port_text;
    uint64_t port;
    if (!str_rsplit(authority, ':', &host, &port_text) || !str_to_u64(port_text, 65535, &port) ||
        port == 0 || str_is_empty(host) || host.len > 253)
        return -ERR_BAD_AUTHORITY;
    for (size_t i = 0; i < host.len; i++) {
        const char c = host.ptr[i];
        const bool is_name_char = ascii_is_alnum(c) || c == '-' || c == '.' || c == '_';
        if (!is_name_char)
            return -ERR_BAD_AUTHORITY;
    }
    *out_host = host;
    *out_port = (uint16_t)port;
    return 0;
}

static int resolve_inbound_host(const struct snapshot *snapshot, struct str authority,
                                const struct workload *workload, struct target *target)
{
    struct str host;
    uint16_t port;
    const int err = split_host(authority, &host, &port);
    if (err < 0)
        return err;
    target->service = snapshot_service_by_host(snapshot, host);
    if (!target->service)
        return -ERR_UNKNOWN_DESTINATION;
    target->addr.port = service_target_port(snapshot, target->service, workload, port);
    return target->addr.port == 0 ? -ERR_NO_SUCH_PORT : 0;
}

int resolve_inbound(const struct snapshot *snapshot, const struct own_ports *own,
                    struct str authority, const struct ip *dialled, struct target *out_target)
{
    struct target target = {.kind = TARGET_WORKLOAD, .addr.ip = *dialled};
    struct addr named;
    const bool is_address = addr_parse(authority, &named) == 0;
    if (is_address && named.port == 0)
        return -ERR_BAD_AUTHORITY;
    target.workload = snapshot_workload_by_ip(snapshot, dialled);
    if (is_address) {
        if (!ip_eq(&named.ip, dialled))
            return -ERR_IP_MISMATCH;
        target.addr.port = named.port;
    }
    /* What is wrong with the request itself is said before what is wrong with us. */
    if (!is_address) {
        const int err = resolve_inbound_host(snapshot, authority, target.workload, &target);
        if (err < 0)
            return err;
    }
    if (!target.workload || !target.workload->is_local)
        return -ERR_UNKNOWN_DESTINATION;
    if (is_own_port(own, target.addr.port))
        return -ERR_SELF_CALL;
    *out_target = target;
    return 0;
}

int resolve_plaintext(const struct snapshot *snapshot, const struct own_ports *own,
                      const struct addr *destination, struct target *out_target)
{
    if (is_own_port(own, destination->port))
        return -ERR_SELF_CALL;
    const struct workload *workload = snapshot_workload_by_ip(snapshot, &destination->ip);
    if (!workload || !workload->is_local)
        return -ERR_UNKNOWN_DESTINATION;
    *out_target = (struct target){
        .kind = TARGET_WORKLOAD,
        .workload = workload,
        .addr = *destination,
    };
    return 0;
}
