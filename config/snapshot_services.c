/* Services with their endpoints: who serves what is gathered in two passes (count, fill), then laid
 * out port by port. */
#include <stdlib.h>
#include <string.h>

#include "config/snapshot_build.h"
#include "proxy/base/ascii.h"
#include "proxy/base/pace.h"

static int compare_ports(const void *a, const void *b)
{
    const struct service_port *x = a, *y = b;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    return (int)x->is_udp - (int)y->is_udp;
}

static enum http_mode mode_of(const struct model_port *port)
{
    if (port->is_udp)
        return HTTP_MODE_NONE;
    switch (port->app_protocol) {
    case APP_HTTP11: return HTTP_MODE_1;
    case APP_HTTP2:
    case APP_GRPC: return HTTP_MODE_2;
    case APP_UNKNOWN:
    case APP_TCP:
    case APP_TLS: break;
    }
    return HTTP_MODE_NONE;
}

static void copy_ports(struct arena *arena, struct service *to, const struct model_service *from)
{
    struct service_port *ports = arena_new_array(arena, struct service_port, from->n_ports);
    for (size_t i = 0; i < from->n_ports; i++)
        ports[i] = (struct service_port){
            .port = from->ports[i].service_port,
            .target_port = from->ports[i].target_port,
            .app_protocol = from->ports[i].app_protocol,
            .http_mode = mode_of(&from->ports[i]),
            .name = arena_str(arena, from->ports[i].name),
            .is_udp = from->ports[i].is_udp,
        };
    if (from->n_ports > 1)
        qsort(ports, from->n_ports, sizeof(*ports), compare_ports);
    to->ports = ports;
    to->n_ports = from->n_ports;
}

static void copy_sans(struct arena *arena, struct service *to, const struct model_service *from)
{
    struct str *sans = arena_new_array(arena, struct str, from->n_sans);
    for (size_t i = 0; i < from->n_sans; i++)
        sans[i] = arena_str(arena, from->sans[i]);
    to->sans = sans;
    to->n_sans = from->n_sans;
}

static void copy_service(struct arena *arena, struct service *to, const struct model_service *from)
{
    to->name = arena_str(arena, from->name);
    to->namespace_ = arena_str(arena, from->namespace_);
    to->hostname = ascii_lower_str(arena, from->hostname);
    to->key = arena_printf(arena, "%.*s/%.*s", STR_ARG(from->namespace_), STR_ARG(from->hostname));
    to->scope = str_ends_with(to->hostname, STR(".svc.clusterset.local")) ? SERVICE_CLUSTERSET
                                                                          : SERVICE_CLUSTER_LOCAL;
    to->n_addresses =
        from->n_addresses < MODEL_ADDRESSES_MAX ? from->n_addresses : MODEL_ADDRESSES_MAX;
    memcpy(to->addresses, from->addresses, sizeof(to->addresses));
    to->is_headless = from->is_headless;
    to->allow_unhealthy = from->allow_unhealthy;
    copy_ports(arena, to, from);
    copy_sans(arena, to, from);
}

/* The first of two that claim one address or host name keeps it. */
static void file_once(struct map *map, struct str key, struct service *service)
{
    if (key.len > 0 && !map_find(map, key))
        map_put(map, key, service);
}

static void file_service(struct snapshot_builder *builder, struct service_build *build)
{
    struct snapshot *snapshot = builder->snapshot;
    struct service *service = build->service;
    map_put(&snapshot->services, service->key, service);
    map_put(&builder->services_by_key, service->key, build);
    file_once(&snapshot->service_by_host, service->hostname, service);
    for (size_t i = 0; i < service->n_addresses; i++)
        file_once(&snapshot->service_by_ip, ip_key(&service->addresses[i]), service);
}

/* Counts who serves what, and hands each workload the list of its services. */
static void count_servings(struct snapshot_builder *builder)
{
    for (size_t i = 0; i < builder->n_workloads; i++) {
        (void)pace();
        const struct model_workload *model = builder->workload_models[i];
        struct workload *workload = &builder->workloads[i];
        workload->services =
            arena_new_array(&builder->snapshot->arena, const struct service *, model->n_services);
        for (size_t j = 0; j < model->n_services; j++) {
            struct service_build *build =
                map_find(&builder->services_by_key, model->services[j].service);
            if (!build)
                continue;
            build->n_servings++;
            workload->services[workload->n_services++] = build->service;
        }
    }
}

static void fill_servings(struct snapshot_builder *builder)
{
    for (size_t i = 0; i < builder->n_services; i++) {
        struct service_build *build = &builder->services[i];
        build->servings = arena_new_array(&builder->scratch, struct serving, build->n_servings);
        build->n_servings = 0;
    }
    for (size_t i = 0; i < builder->n_workloads; i++) {
        (void)pace();
        const struct model_workload *model = builder->workload_models[i];
        for (size_t j = 0; j < model->n_services; j++) {
            struct service_build *build =
                map_find(&builder->services_by_key, model->services[j].service);
            if (build)
                build->servings[build->n_servings++] =
                    (struct serving){&builder->workloads[i], model, &model->services[j]};
        }
    }
}

/* Memberships mostly list the ports in the order of the service: the hint makes the search one
 * look. */
uint16_t snapshot_target_port(const struct model_membership *membership, uint16_t port, bool is_udp,
                              uint16_t service_target, size_t hint)
{
    const struct model_port *ports = membership->ports;
    if (membership->n_ports == 0)
        return service_target;
    for (size_t i = 0; i < membership->n_ports; i++) {
        const struct model_port *candidate = &ports[(i + hint) % membership->n_ports];
        if (candidate->service_port == port && candidate->is_udp == is_udp)
            return candidate->target_port ? candidate->target_port : service_target;
    }
    return 0; /* this cluster's service has no such port (M13) */
}

/* ---- what is spoken on the ports of this node's workloads ---- */

static bool is_http(enum app_protocol protocol)
{
    return protocol == APP_HTTP11 || protocol == APP_HTTP2 || protocol == APP_GRPC;
}

static bool is_http2(enum app_protocol protocol)
{
    return protocol == APP_HTTP2 || protocol == APP_GRPC;
}

static enum app_protocol agree(enum app_protocol a, enum app_protocol b)
{
    if (is_http(a) && is_http(b))
        return is_http2(a) == is_http2(b) ? a : APP_HTTP11;
    if (is_http(a) || is_http(b))
        return is_http(a) ? a : b;
    return a != APP_UNKNOWN ? a : b;
}

static void say(struct workload_port *ports, size_t *n, uint16_t port, enum app_protocol protocol)
{
    for (size_t i = 0; i < *n; i++) {
        if (ports[i].port != port)
            continue;
        ports[i].app_protocol = agree(ports[i].app_protocol, protocol);
        return;
    }
    ports[(*n)++] = (struct workload_port){port, protocol};
}

void snapshot_say_ports(struct snapshot_builder *builder, struct workload *workload,
                        const struct model_workload *model)
{
    size_t n = 0;
    for (size_t i = 0; i < workload->n_services; i++)
        n += workload->services[i]->n_ports;
    struct workload_port *ports =
        arena_new_array(&builder->snapshot->arena, struct workload_port, n);
    for (size_t i = 0; i < model->n_services; i++) {
        const struct service_build *build =
            map_find(&builder->services_by_key, model->services[i].service);
        for (size_t p = 0; build && p < build->service->n_ports; p++) {
            const struct service_port *port = &build->service->ports[p];
            const uint16_t target = port->is_udp
                                        ? 0
                                        : snapshot_target_port(&model->services[i], port->port,
                                                               false, port->target_port, p);
            if (target != 0)
                say(ports, &workload->n_ports, target, port->app_protocol);
        }
    }
    workload->ports = ports;
}

bool snapshot_is_ready(const struct service *service, const struct serving *serving)
{
    return traffic_policy_admits(service->traffic, serving->model->cluster,
                                 serving->workload->is_local) &&
           (service->allow_unhealthy ||
            (serving->model->is_healthy && !serving->membership->not_ready));
}

void snapshot_add_services(struct snapshot_builder *builder,
                           const struct model_resource *const *resources, size_t n_resources)
{
    struct arena *arena = &builder->snapshot->arena;
    struct service *services = arena_new_array(arena, struct service, n_resources);
    builder->services = arena_new_array(&builder->scratch, struct service_build, n_resources);
    builder->n_services = n_resources;
    for (size_t i = 0; i < n_resources; i++) {
        struct service_build *build = &builder->services[i];
        (void)pace();
        build->service = &services[i];
        copy_service(arena, build->service, resources[i]->of.service);
        build->service->traffic = snapshot_traffic_of(builder, build->service->key);
        build->memory_key = build->service->key;
        file_service(builder, build);
    }
    count_servings(builder);
    fill_servings(builder);
    for (size_t i = 0; i < builder->n_workloads; i++)
        if (builder->workloads[i].is_local)
            snapshot_say_ports(builder, &builder->workloads[i], builder->workload_models[i]);
}
