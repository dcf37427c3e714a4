#include "xds/control/registry.h"

#include "proxy/base/mem.h"
#include "xds/control/build.h"

static void builder_fini(struct registry_builder *builder)
{
    map_fini(&builder->namespaces);
    map_fini(&builder->workload_by_pod);
    map_fini(&builder->workload_by_ip);
    map_fini(&builder->selector_keys);
    map_fini(&builder->by_label);
    map_fini(&builder->service_by_name);
    map_fini(&builder->imports);
    map_fini(&builder->foreign_by_ip);
    arena_fini(&builder->scratch);
}

struct registry *registry_build(const struct registry_input *input)
{
    struct registry *registry = mem_new(struct registry);
    struct registry_builder builder = {
        .input = input,
        .config = input->config,
        .manifests = input->manifests,
        .registry = registry,
    };
    registry->n_peers = input->n_peers;
    registry->peers = arena_new_array(&registry->arena, struct registry_peer_row, input->n_peers);
    registry_add_workloads(&builder);
    registry_add_services(&builder);
    registry_need_policy_labels(&builder);
    registry_need_peer_auth_labels(&builder);
    registry_need_request_auth_labels(&builder);
    selection_index(&builder);
    registry_back_services(&builder);
    registry_add_exports(&builder);
    registry_add_policies(&builder);
    registry_add_peer_auths(&builder);
    registry_add_request_auths(&builder);
    registry_add_foreign(&builder);
    registry_write_own(&builder);
    builder_fini(&builder);
    return registry;
}

void registry_emit(struct registry *registry)
{
    struct arena *arena = &registry->arena;
    const size_t n = registry->n_own + registry->n_foreign + registry->n_imports;
    struct model_resource *imports =
        arena_new_array(arena, struct model_resource, registry->n_imports);
    registry->for_nodes = arena_new_array(arena, const struct model_resource *, n);
    registry->n_for_nodes = 0;
    for (size_t i = 0; i < registry->n_own; i++)
        registry->for_nodes[registry->n_for_nodes++] = &registry->own[i];
    for (size_t i = 0; i < registry->n_foreign; i++)
        registry->for_nodes[registry->n_for_nodes++] = &registry->foreign[i];
    for (size_t i = 0; i < registry->n_imports; i++) {
        struct model_service *service = &registry->imports[i].service;
        imports[i] = (struct model_resource){
            .kind = MODEL_SERVICE,
            .name = key_make(arena, service->namespace_, service->hostname),
            .of.service = service,
        };
        registry->for_nodes[registry->n_for_nodes++] = &imports[i];
    }
    registry->for_peers = arena_new_array(arena, const struct model_resource *, registry->n_shared);
    registry->n_for_peers = registry->n_shared;
    for (size_t i = 0; i < registry->n_shared; i++)
        registry->for_peers[i] = &registry->shared[i];
}

void registry_free(struct registry *registry)
{
    if (!registry)
        return;
    map_fini(&registry->nodes);
    map_fini(&registry->placements);
    arena_fini(&registry->arena);
    mem_free(registry);
}

bool registry_has_node(const struct registry *registry, struct str node)
{
    return map_find(&registry->nodes, node) != NULL;
}

const char *export_validity_reason(enum export_validity validity)
{
    switch (validity) {
    case EXPORT_VALID: return "Valid";
    case EXPORT_NO_SERVICE: return "NoService";
    case EXPORT_INVALID_TYPE: return "InvalidServiceType";
    }
    ensure_failed("a validity of an export", __FILE__, __LINE__);
}

void conflict_reasons(unsigned conflicts, struct text *out)
{
    static const struct {
        unsigned bit;
        const char *reason;
    } rows[] = {
        {CONFLICT_PORT, "PortConflict"},
        {CONFLICT_TYPE, "TypeConflict"},
        {CONFLICT_AFFINITY, "SessionAffinityConflict"},
        {CONFLICT_AFFINITY_CONFIG, "SessionAffinityConfigConflict"},
        {CONFLICT_INTERNAL, "InternalTrafficPolicyConflict"},
        {CONFLICT_DISTRIBUTION, "TrafficDistributionConflict"},
    };

    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (conflicts & rows[i].bit)
            text_addf(out, "%s%s", n++ > 0 ? "," : "", rows[i].reason);
    if (n == 0)
        text_addf(out, "NoConflicts");
}
