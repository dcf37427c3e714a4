/*
 * The names below clusterset.local, as the Multicluster DNS specification lays them out: a name is
 * in the map exactly when it exists, with or without records. "<cluster>.<service>..." is reserved
 * by the specification and never exists, although names of headless endpoints lie below it; so
 * those are filed without their parents.
 */
#include <stdlib.h>
#include <string.h>

#include "config/snapshot_build.h"
#include "proxy/base/ascii.h"
#include "proxy/base/pace.h"

#define ZONE          "clusterset.local"
#define SERVICE_ZONE  "svc.clusterset.local"
#define DNS_LABEL_MAX 63

/* Longer names cannot be asked for; an empty label cannot be written. */
static bool fits_dns(struct str name)
{
    struct str head, tail;
    if (name.len > SNAPSHOT_NAME_MAX)
        return false;
    while (str_split(name, '.', &head, &tail)) {
        if (head.len == 0 || head.len > DNS_LABEL_MAX)
            return false;
        name = tail;
    }
    return name.len > 0 && name.len <= DNS_LABEL_MAX;
}

/* The name, made when it is new. It is kept: the caller gives memory of the snapshot. */
static struct dns_name *file_name(struct snapshot *snapshot, struct str name)
{
    struct dns_name *entry = map_find(&snapshot->names, name);
    if (!entry) {
        entry = arena_new(&snapshot->arena, struct dns_name);
        entry->name = name;
        map_put(&snapshot->names, entry->name, entry);
    }
    return entry;
}

/* Everything between a name and the apex exists too, if only without records. */
static void file_parents(struct snapshot *snapshot, struct str name)
{
    struct str label, parent;
    while (!str_eq(name, STR(ZONE)) && str_split(name, '.', &label, &parent)) {
        if (map_find(&snapshot->names, parent))
            return;
        file_name(snapshot, parent);
        name = parent;
    }
}

/* NULL when the name does not fit DNS. */
static struct dns_name *add_name(struct snapshot *snapshot, struct str name)
{
    if (!fits_dns(name))
        return NULL;
    file_parents(snapshot, name);
    return file_name(snapshot, name);
}

/* "_<port>._<protocol>.<service>", in the snapshot. */
static struct dns_name *add_srv_name(struct snapshot *snapshot, const struct service *service,
                                     const struct service_port *port)
{
    struct str port_name = ascii_lower_str(&snapshot->arena, port->name);
    struct str name = arena_printf(&snapshot->arena, "_%.*s._%s.%.*s", STR_ARG(port_name),
                                   port->is_udp ? "udp" : "tcp", STR_ARG(service->hostname));
    return add_name(snapshot, name);
}

static int compare_srvs(const void *a, const void *b)
{
    const struct dns_srv *x = a, *y = b;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    return str_cmp(x->target, y->target);
}

/* Sorted, each record once: one port served over TCP and UDP is one SRV record of the bare name. */
static void set_srvs(struct snapshot *snapshot, struct dns_name *name, struct dns_srv *srvs,
                     size_t len)
{
    size_t kept = 0;
    if (len > 1)
        qsort(srvs, len, sizeof(*srvs), compare_srvs);
    for (size_t i = 0; i < len; i++)
        if (kept == 0 || compare_srvs(&srvs[kept - 1], &srvs[i]) != 0)
            srvs[kept++] = srvs[i];
    name->srvs = arena_new_array(&snapshot->arena, struct dns_srv, kept);
    if (kept > 0)
        memcpy(name->srvs, srvs, kept * sizeof(*srvs));
    name->n_srvs = kept;
}

static int compare_ips(const void *a, const void *b)
{
    const struct ip *x = a, *y = b;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return memcmp(x->bytes, y->bytes, x->len);
}

static void set_addresses(struct snapshot *snapshot, struct dns_name *name, struct ip *ips,
                          size_t len)
{
    size_t kept = 0;
    if (len > 1)
        qsort(ips, len, sizeof(*ips), compare_ips);
    for (size_t i = 0; i < len; i++)
        if (kept == 0 || compare_ips(&ips[kept - 1], &ips[i]) != 0)
            ips[kept++] = ips[i];
    name->addresses = arena_new_array(&snapshot->arena, struct ip, kept);
    if (kept > 0)
        memcpy(name->addresses, ips, kept * sizeof(*ips));
    name->n_addresses = kept;
}

/* A service with a ClusterSetIP: its names exist whether or not anyone serves it. */
static void add_vip_names(struct snapshot_builder *builder, const struct service *service)
{
    struct snapshot *snapshot = builder->snapshot;
    struct dns_name *bare = add_name(snapshot, service->hostname);
    struct dns_srv *srvs = arena_new_array(&builder->scratch, struct dns_srv, service->n_ports);
    struct ip ips[MODEL_ADDRESSES_MAX];
    size_t n_srvs = 0;
    if (!bare)
        return;
    memcpy(ips, service->addresses, sizeof(ips));
    set_addresses(snapshot, bare, ips, service->n_addresses);
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct service_port *port = &service->ports[i];
        struct dns_srv srv = {port->port, service->hostname};
        if (str_is_empty(port->name))
            continue;
        srvs[n_srvs++] = srv;
        struct dns_name *name = add_srv_name(snapshot, service, port);
        if (name)
            set_srvs(snapshot, name, &srv, 1);
    }
    set_srvs(snapshot, bare, srvs, n_srvs);
}

struct pod_address { /* one address of one ready endpoint of a headless service */
    struct str name; /* <hostname>.<cluster>.<service>, in the snapshot */
    struct ip ip;
    const struct serving *serving;
};

static struct str pod_name(struct snapshot *snapshot, const struct service *service,
                           const struct serving *serving, const struct ip *ip)
{
    char text[IP_TEXT_MAX];
    struct str hostname = serving->membership->dns_hostname;
    if (str_is_empty(hostname)) {
        hostname = str_from(ip_text(ip, text));
        for (char *c = text; *c; c++)
            if (*c == '.' || *c == ':')
                *c = '-';
    }
    struct str name = arena_printf(&snapshot->arena, "%.*s.%.*s.%.*s", STR_ARG(hostname),
                                   STR_ARG(serving->model->cluster), STR_ARG(service->hostname));
    return ascii_lower_str(&snapshot->arena, name);
}

static int compare_pod_addresses(const void *a, const void *b)
{
    const struct pod_address *x = a, *y = b;
    int order = str_cmp(x->name, y->name);
    return order ? order : compare_ips(&x->ip, &y->ip);
}

static struct pod_address *collect_pods(struct snapshot_builder *builder,
                                        const struct service_build *build, size_t *out_len)
{
    size_t len = 0;
    struct pod_address *pods = arena_new_array(&builder->scratch, struct pod_address,
                                               build->n_servings * MODEL_ADDRESSES_MAX);
    for (size_t i = 0; i < build->n_servings; i++) {
        const struct serving *serving = &build->servings[i];
        const struct workload *workload = serving->workload;
        if (!snapshot_is_ready(build->service, serving))
            continue;
        for (size_t j = 0; j < workload->n_addresses; j++) {
            const struct ip *ip = &workload->addresses[j];
            pods[len++] = (struct pod_address){
                pod_name(builder->snapshot, build->service, serving, ip), *ip, serving};
        }
    }
    if (len > 1)
        qsort(pods, len, sizeof(*pods), compare_pod_addresses);
    *out_len = len;
    return pods;
}

/* Endpoints that share a host name share one name with all their addresses. */
static void add_pod_names(struct snapshot_builder *builder, const struct pod_address *pods,
                          size_t n_pods)
{
    struct snapshot *snapshot = builder->snapshot;
    struct ip *ips = arena_new_array(&builder->scratch, struct ip, n_pods);
    for (size_t begin = 0, end; begin < n_pods; begin = end) {
        for (end = begin; end < n_pods && str_eq(pods[end].name, pods[begin].name); end++)
            ips[end - begin] = pods[end].ip;
        if (!fits_dns(pods[begin].name))
            continue;
        struct dns_name *name = file_name(snapshot, pods[begin].name);
        name->is_headless = true;
        set_addresses(snapshot, name, ips, end - begin);
    }
}

/* The records of one port: one for each endpoint that serves it. Their port is the endpoint's own,
 * since a client that follows them calls the pod's address. */
static size_t collect_srvs(const struct service *service, size_t port_idx,
                           const struct pod_address *pods, size_t n_pods, struct dns_srv *out_srvs)
{
    const struct service_port *port = &service->ports[port_idx];
    uint16_t fallback = port->target_port ? port->target_port : port->port;
    size_t len = 0;
    for (size_t i = 0; i < n_pods; i++) {
        uint16_t target = snapshot_target_port(pods[i].serving->membership, port->port,
                                               port->is_udp, fallback, port_idx);
        if (target != 0 && fits_dns(pods[i].name))
            out_srvs[len++] = (struct dns_srv){target, pods[i].name};
    }
    return len;
}

static void add_headless_srvs(struct snapshot_builder *builder, const struct service *service,
                              struct dns_name *bare, const struct pod_address *pods, size_t n_pods)
{
    struct dns_srv *all =
        arena_new_array(&builder->scratch, struct dns_srv, service->n_ports * n_pods);
    size_t n_all = 0;
    for (size_t i = 0; i < service->n_ports; i++) {
        if (str_is_empty(service->ports[i].name))
            continue;
        struct dns_srv *own = all + n_all;
        size_t n_own = collect_srvs(service, i, pods, n_pods, own);
        n_all += n_own;
        struct dns_name *name =
            n_own > 0 ? add_srv_name(builder->snapshot, service, &service->ports[i]) : NULL;
        if (name) {
            name->is_headless = true;
            set_srvs(builder->snapshot, name, own, n_own);
        }
    }
    set_srvs(builder->snapshot, bare, all, n_all);
}

/* A headless service exists by its ready endpoints alone; without them only its namespace is there.
 */
static void add_headless_names(struct snapshot_builder *builder, const struct service_build *build)
{
    struct snapshot *snapshot = builder->snapshot;
    size_t n_pods;
    if (!fits_dns(build->service->hostname))
        return;
    file_parents(snapshot, build->service->hostname);
    struct pod_address *pods = collect_pods(builder, build, &n_pods);
    if (n_pods == 0)
        return;
    struct dns_name *bare = add_name(snapshot, build->service->hostname);
    struct ip *ips = arena_new_array(&builder->scratch, struct ip, n_pods);
    for (size_t i = 0; i < n_pods; i++)
        ips[i] = pods[i].ip;
    bare->is_headless = true;
    set_addresses(snapshot, bare, ips, n_pods);
    add_pod_names(builder, pods, n_pods);
    add_headless_srvs(builder, build->service, bare, pods, n_pods);
}

void snapshot_add_names(struct snapshot_builder *builder)
{
    struct snapshot *snapshot = builder->snapshot;
    file_name(snapshot, STR(ZONE));
    file_name(snapshot, STR(SERVICE_ZONE));
    for (size_t i = 0; i < builder->n_services; i++) {
        const struct service *service = builder->services[i].service;
        (void)pace();
        if (service->scope != SERVICE_CLUSTERSET ||
            map_find(&snapshot->service_by_host, service->hostname) != service)
            continue;
        if (service->is_headless)
            add_headless_names(builder, &builder->services[i]);
        else
            add_vip_names(builder, service);
    }
}
