/* How each service is balanced. */
#include "config/snapshot_build.h"

void snapshot_add_traffic(struct snapshot_builder *builder,
                          const struct model_resource *const *resources, size_t n_resources)
{
    struct arena *arena = &builder->snapshot->arena;
    struct traffic_policy *policies = arena_new_array(arena, struct traffic_policy, n_resources);
    for (size_t i = 0; i < n_resources; i++) {
        policies[i] = traffic_policy_copy(arena, &resources[i]->of.traffic->policy);
        map_put(&builder->traffic, resources[i]->of.traffic->service, &policies[i]);
    }
}

const struct traffic_policy *snapshot_traffic_of(const struct snapshot_builder *builder,
                                                 struct str service)
{
    const struct traffic_policy *policy = map_find(&builder->traffic, service);
    return policy ? policy : traffic_policy_default();
}
