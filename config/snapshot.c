#include "config/snapshot.h"

#include <string.h>

#include "config/snapshot_build.h"
#include "proxy/base/ascii.h"
#include "proxy/base/mem.h"

const struct workload snapshot_gone;

const char *level_kind_name(enum level_kind kind)
{
    switch (kind) {
    case LEVEL_NODE: return "node";
    case LEVEL_ZONE: return "zone";
    case LEVEL_REGION: return "region";
    case LEVEL_CLUSTER: return "cluster";
    case LEVEL_OTHER_CLUSTER: return "other cluster";
    case LEVEL_CLUSTERSET: return "clusterset";
    case LEVEL_KINDS: break;
    }
    return "unknown";
}

/* What stands in place of what the base has, or what the base has. */
static const struct workload *find_patched(const struct map *patched, const struct map *all,
                                           struct str key)
{
    const struct workload *found = map_find(patched, key);
    if (!found)
        return map_find(all, key);
    return found == &snapshot_gone ? NULL : found;
}

const struct workload *snapshot_workload(const struct snapshot *snapshot, struct str uid)
{
    if (!snapshot->base)
        return map_find(&snapshot->workloads, uid);
    return find_patched(&snapshot->patched_workloads, &snapshot->workloads, uid);
}

const struct workload *snapshot_workload_by_ip(const struct snapshot *snapshot, const struct ip *ip)
{
    if (!snapshot->base)
        return map_find(&snapshot->workload_by_ip, ip_key(ip));
    return find_patched(&snapshot->patched_ips, &snapshot->workload_by_ip, ip_key(ip));
}

const struct endpoint_set *snapshot_patched_set(const struct snapshot *snapshot,
                                                const struct service_port *port, bool is_v6)
{
    const struct patched_port *patched =
        map_find(&snapshot->patched_sets, str_of(&port, sizeof(port)));
    if (patched)
        return is_v6 ? &patched->v6 : &patched->v4;
    return is_v6 ? &port->v6 : &port->v4;
}

const struct service *snapshot_service_by_ip(const struct snapshot *snapshot, const struct ip *ip)
{
    return map_find(&snapshot->service_by_ip, ip_key(ip));
}

const struct service *snapshot_service_by_host(const struct snapshot *snapshot, struct str host)
{
    char lower[SNAPSHOT_NAME_MAX];
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    if (host.len == 0 || host.len > sizeof(lower))
        return NULL;
    for (size_t i = 0; i < host.len; i++)
        lower[i] = ascii_lower(host.ptr[i]);
    return map_find(&snapshot->service_by_host, str_of(lower, host.len));
}

const struct service *snapshot_service_by_key(const struct snapshot *snapshot, struct str key)
{
    const struct service *service = map_find(&snapshot->services, key);
    return service ? service : map_find(&snapshot->service_parts, key);
}

/* Ports are sorted by number, TCP before UDP. */
const struct service_port *service_find_port(const struct service *service, uint16_t port)
{
    size_t low = 0, high = service->n_ports;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (service->ports[middle].port < port)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == service->n_ports || service->ports[low].port != port || service->ports[low].is_udp)
        return NULL;
    return &service->ports[low];
}

static uint16_t target_in_set(const struct endpoint_set *set, const struct workload *workload)
{
    for (size_t i = 0; i < set->len; i++)
        if (set->endpoints[i].workload == workload)
            return set->endpoints[i].addr.port;
    for (size_t i = 0; i < set->n_hidden; i++)
        if (set->hidden[i].workload == workload)
            return set->hidden[i].target_port;
    return 0;
}

uint16_t service_target_port(const struct snapshot *snapshot, const struct service *service,
                             const struct workload *workload, uint16_t port)
{
    const struct service_port *found = service_find_port(service, port);
    if (!found)
        return 0;
    const uint16_t target = target_in_set(snapshot_set(snapshot, found, false), workload);
    return target != 0 ? target : target_in_set(snapshot_set(snapshot, found, true), workload);
}

enum app_protocol workload_protocol(const struct workload *workload, uint16_t port)
{
    for (size_t i = 0; i < workload->n_ports; i++)
        if (workload->ports[i].port == port)
            return workload->ports[i].app_protocol;
    return APP_UNKNOWN;
}

static void free_maps(struct snapshot *snapshot)
{
    struct snapshot_roots *roots = &snapshot->roots;
    map_fini(&snapshot->workloads);
    map_fini(&snapshot->workload_by_ip);
    map_fini(&snapshot->services);
    map_fini(&snapshot->service_parts);
    map_fini(&snapshot->service_by_ip);
    map_fini(&snapshot->service_by_host);
    map_fini(&snapshot->names);
    map_fini(&roots->policies);
    map_fini(&roots->policy_namespaces);
    map_fini(&roots->tokens);
    map_fini(&roots->callers);
    map_fini(&roots->contested);
}

void snapshot_free(struct snapshot *snapshot)
{
    while (snapshot && --snapshot->n_holders == 0) {
        struct snapshot *base = snapshot->base;
        if (!base)
            free_maps(snapshot);
        map_fini(&snapshot->patched_workloads);
        map_fini(&snapshot->patched_ips);
        map_fini(&snapshot->patched_sets);
        snapshot_leave_tables(snapshot);
        snapshot_leave_tokens(snapshot);
        arena_fini(&snapshot->arena);
        mem_free(snapshot);
        snapshot = base;
    }
}
