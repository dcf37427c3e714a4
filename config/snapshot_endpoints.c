/*
 * Who serves which port under which address: of the servings of a service, port by port and family
 * by family.
 *
 * Several workloads may claim one address in one network: a pod that left and one that came after
 * it, pods behind one address of their node. They are one endpoint: balanced twice, one of them
 * would hide the other's weight. One that is ready is believed before one that is not; weights of
 * those that are alike are summed.
 */
#include "config/snapshot_build.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/pace.h"

static const struct ip *address_of_family(const struct workload *workload, uint8_t ip_len)
{
    for (size_t i = 0; i < workload->n_addresses; i++)
        if (workload->addresses[i].len == ip_len)
            return &workload->addresses[i];
    return NULL;
}

static void hide(struct gathering *gathering, const struct endpoint *endpoint)
{
    gathering->hidden[gathering->n_hidden++] =
        (struct hidden_endpoint){endpoint->workload, endpoint->addr.port, 0};
}

/* Summed only under one identity: who verifies the peer must know whom it expects. */
static void merge(struct gathering *gathering, struct endpoint *into, const struct endpoint *from,
                  const struct model_workload *model)
{
    if (into->is_ready == from->is_ready &&
        str_eq(into->workload->identity, from->workload->identity)) {
        const uint64_t sum = (uint64_t)into->weight + from->weight;
        into->weight = sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
        hide(gathering, from);
    } else if (!into->is_ready && from->is_ready) {
        hide(gathering, into);
        *into = *from;
        gathering->models[into - gathering->endpoints] = model;
    } else {
        hide(gathering, from);
    }
}

static void gather(struct gathering *gathering, const struct endpoint *endpoint,
                   const struct model_workload *model)
{
    uint64_t *place = &gathering->places[gathering->len];
    *place = keyed_hash(keyed_hash(endpoint->addr.port, endpoint->workload->network),
                        ip_key(&endpoint->addr.ip));
    const struct str key = str_of(place, sizeof(*place));
    struct endpoint *before = map_find(&gathering->by_place, key);
    if (before) {
        merge(gathering, before, endpoint, model);
        return;
    }
    gathering->models[gathering->len] = model;
    gathering->endpoints[gathering->len] = *endpoint;
    (void)map_put(&gathering->by_place, key, &gathering->endpoints[gathering->len++]);
}

static void gather_set(struct gathering *gathering, const struct service_build *build,
                       const struct service_port *port, size_t port_idx, uint8_t ip_len)
{
    const uint64_t seed = str_hash(build->memory_key, port->port);
    for (size_t i = 0; i < build->n_servings; i++) {
        const struct serving *serving = &build->servings[i];
        const struct ip *ip = address_of_family(serving->workload, ip_len);
        const uint16_t target = snapshot_target_port(serving->membership, port->port, false,
                                                     port->target_port, port_idx);
        if (!ip || target == 0)
            continue;
        const struct endpoint endpoint = {
            .key = str_hash(serving->workload->uid, seed),
            .workload = serving->workload,
            .addr = {*ip, target},
            .is_ready = snapshot_is_ready(build->service, serving),
            .is_terminating = serving->membership->is_terminating,
            .weight = serving->model->capacity ? serving->model->capacity : 1,
        };
        gather(gathering, &endpoint, serving->model);
    }
}

static struct endpoint_set *set_to_fill(struct snapshot_builder *builder, struct service_port *port,
                                        uint8_t ip_len)
{
    struct snapshot *snapshot = builder->snapshot;
    if (!snapshot->base)
        return ip_len == 4 ? &port->v4 : &port->v6;
    const struct service_port *const key = port;
    struct patched_port *patched = map_find(&snapshot->patched_sets, str_of(&key, sizeof(key)));
    if (!patched) {
        patched = arena_new(&snapshot->arena, struct patched_port);
        patched->port = port;
        (void)map_put(&snapshot->patched_sets, str_of(&patched->port, sizeof(patched->port)),
                      patched);
    }
    return ip_len == 4 ? &patched->v4 : &patched->v6;
}

static void build_set(struct snapshot_builder *builder, const struct service_build *build,
                      struct service_port *port, size_t port_idx, uint8_t ip_len,
                      struct gathering *gathering)
{
    struct endpoint_set *set = set_to_fill(builder, port, ip_len);
    gathering->len = gathering->n_hidden = 0;
    gather_set(gathering, build, port, port_idx, ip_len);
    map_fini(&gathering->by_place);
    *set = (struct endpoint_set){
        .id = str_hash(build->service->key, (uint64_t)port->port << 8 | ip_len),
        .generation = builder->snapshot->generation,
        .port = port->port,
        .is_v6 = ip_len == 16,
    };
    snapshot_level_set(builder, build->service, gathering, set);
}

static size_t most_servings(const struct snapshot_builder *builder)
{
    size_t most = 0;
    for (size_t i = 0; i < builder->n_services; i++)
        if (most < builder->services[i].n_servings)
            most = builder->services[i].n_servings;
    return most;
}

static void build_sets(struct snapshot_builder *builder, const struct service_build *builds,
                       size_t n_builds, struct gathering *gathering)
{
    for (size_t i = 0; i < n_builds; i++) {
        const struct service_build *build = &builds[i];
        (void)pace();
        /* Made in copy_ports(); const only to those who read the snapshot. */
        struct service_port *ports = (struct service_port *)(uintptr_t)build->service->ports;
        for (size_t port = 0; port < build->service->n_ports; port++) {
            if (ports[port].is_udp)
                continue;
            build_set(builder, build, &ports[port], port, 4, gathering);
            build_set(builder, build, &ports[port], port, 16, gathering);
        }
    }
}

void snapshot_add_endpoints(struct snapshot_builder *builder)
{
    const size_t most = most_servings(builder);
    struct gathering gathering = {
        .endpoints = arena_new_array(&builder->scratch, struct endpoint, most),
        .models = arena_new_array(&builder->scratch, const struct model_workload *, most),
        .hidden = arena_new_array(&builder->scratch, struct hidden_endpoint, most),
        .places = arena_new_array(&builder->scratch, uint64_t, most),
    };
    build_sets(builder, builder->services, builder->n_services, &gathering);
    build_sets(builder, builder->parts, builder->n_parts, &gathering);
}
