#include "mesh.h"

#include <string.h>

#include "proxy/base/ensure.h"

void mesh_begin(struct mesh *mesh)
{
    memset(mesh, 0, sizeof(*mesh));
    mesh->vantage = (struct vantage){.node = STR("n1"),
                                     .cluster = STR("west"),
                                     .trust_domain = STR("td"),
                                     .cluster_domain = STR("cluster.local")};
}

void mesh_end(struct mesh *mesh)
{
    arena_fini(&mesh->arena);
}

static void add(struct mesh *mesh, struct model_resource resource)
{
    struct model_resource *copy = arena_new(&mesh->arena, struct model_resource);
    ensure(mesh->n < sizeof(mesh->resources) / sizeof(mesh->resources[0]));
    *copy = resource;
    mesh->resources[mesh->n++] = copy;
}

/* The words of a text; at most 16. */
static size_t words(struct arena *arena, const char *text, struct str *out)
{
    size_t n = 0;
    struct str rest = arena_str(arena, str_from(text)), head;
    while (rest.len > 0) {
        if (!str_split(rest, ' ', &head, &rest)) {
            head = rest;
            rest = (struct str){0};
        }
        out[n++] = head;
    }
    return n;
}

static size_t read_ips(struct arena *arena, const char *text, struct ip *out)
{
    struct str parts[16];
    size_t n = words(arena, text, parts);
    for (size_t i = 0; i < n; i++)
        ensure(ip_parse(parts[i], &out[i]) == 0);
    return n;
}

struct model_workload *mesh_workload(struct mesh *mesh, const char *cluster, const char *name,
                                     const char *node, const char *addresses, const char *services)
{
    struct arena *arena = &mesh->arena;
    struct model_workload *workload = arena_new(arena, struct model_workload);
    struct str parts[16];
    *workload =
        (struct model_workload){.uid = arena_printf(arena, "%s//v1/Pod/shop/%s", cluster, name),
                                .name = arena_str(arena, str_from(name)),
                                .namespace_ = STR("shop"),
                                .service_account = STR("web"),
                                .trust_domain = STR("td"),
                                .node = arena_str(arena, str_from(node)),
                                .cluster = arena_str(arena, str_from(cluster)),
                                .speaks_hbone = true,
                                .is_healthy = true,
                                .capacity = 1};
    workload->n_addresses = read_ips(arena, addresses, workload->addresses);
    workload->n_services = words(arena, services, parts);
    workload->services = arena_new_array(arena, struct model_membership, workload->n_services);
    for (size_t i = 0; i < workload->n_services; i++)
        workload->services[i].service = parts[i];
    add(mesh, (struct model_resource){MODEL_WORKLOAD, workload->uid, {.workload = workload}});
    return workload;
}

static struct model_port read_port(struct str text)
{
    struct str name, rest, number, target;
    uint64_t port, to;
    bool is_udp = str_ends_with(text, STR("/udp"));
    if (is_udp)
        text.len -= 4;
    ensure(str_split(text, ':', &name, &rest) && str_split(rest, ':', &number, &target) &&
           str_to_u64(number, 65535, &port) && str_to_u64(target, 65535, &to));
    return (struct model_port){.service_port = (uint16_t)port,
                               .target_port = (uint16_t)to,
                               .name = name,
                               .is_udp = is_udp};
}

struct model_service *mesh_service(struct mesh *mesh, const char *key, const char *addresses,
                                   const char *ports)
{
    struct arena *arena = &mesh->arena;
    struct model_service *service = arena_new(arena, struct model_service);
    struct str parts[16], name = arena_str(arena, str_from(key)), rest;
    ensure(str_split(name, '/', &service->namespace_, &service->hostname));
    ensure(str_split(service->hostname, '.', &service->name, &rest));
    service->n_addresses = read_ips(arena, addresses, service->addresses);
    service->is_headless = service->n_addresses == 0;
    service->n_ports = words(arena, ports, parts);
    service->ports = arena_new_array(arena, struct model_port, service->n_ports);
    for (size_t i = 0; i < service->n_ports; i++)
        service->ports[i] = read_port(parts[i]);
    add(mesh, (struct model_resource){MODEL_SERVICE, name, {.service = service}});
    return service;
}

struct model_policy *mesh_policy(struct mesh *mesh, const char *key, enum policy_action action,
                                 enum policy_scope scope)
{
    struct model_policy *policy = arena_new(&mesh->arena, struct model_policy);
    struct str name = arena_str(&mesh->arena, str_from(key));
    ensure(str_split(name, '/', &policy->namespace_, &policy->name));
    policy->action = action;
    policy->scope = scope;
    add(mesh, (struct model_resource){MODEL_POLICY, name, {.policy = policy}});
    return policy;
}

struct traffic_policy *mesh_traffic(struct mesh *mesh, const char *key)
{
    struct model_traffic *traffic = arena_new(&mesh->arena, struct model_traffic);
    traffic->service = arena_str(&mesh->arena, str_from(key));
    traffic->policy = *traffic_policy_default();
    add(mesh, (struct model_resource){MODEL_TRAFFIC, traffic->service, {.traffic = traffic}});
    return &traffic->policy;
}

struct snapshot *mesh_build(const struct mesh *mesh)
{
    return snapshot_build(mesh->resources, mesh->n, &mesh->vantage, 7, true);
}
