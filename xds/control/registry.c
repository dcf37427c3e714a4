#include "xds/control/registry.h"

#include "proxy/base/mem.h"
#include "xds/control/build.h"

struct registry *registry_build(const struct registry_input *input)
{
    struct registry *registry = mem_new(struct registry);
    struct registry_builder *builder = mem_new(struct registry_builder);
    *builder = (struct registry_builder){
        .input = input,
        .config = input->config,
        .manifests = input->manifests,
        .registry = registry,
    };
    registry->builder = builder;
    registry->n_peers = input->n_peers;
    registry->peers = arena_new_array(&registry->arena, struct registry_peer_row, input->n_peers);
    registry_add_workloads(builder);
    registry_add_services(builder);
    registry_add_exports(builder);
    registry_add_policies(builder);
    registry_add_peer_auths(builder);
    registry_add_request_auths(builder);
    selection_file(builder);
    registry_derive_all(builder);
    registry_add_foreign(builder);
    registry_write_own(builder);
    builder->input = NULL;
    return registry;
}

void registry_free(struct registry *registry)
{
    if (!registry)
        return;
    registry_free_services(registry->builder);
    registry_free_workloads(registry->builder);
    map_fini(&registry->builder->imports);
    registry_free_foreign(registry->builder);
    map_fini(&registry->builder->peer_auth_by_namespace);
    selection_fini(registry->builder);
    mem_free(registry->builder->nodes_end.items);
    mem_free(registry->builder->peers_end.items);
    arena_fini(&registry->builder->scratch);
    mem_free(registry->builder);
    map_fini(&registry->nodes);
    mem_free(registry->for_nodes);
    mem_free(registry->for_peers);
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
