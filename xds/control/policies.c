/* Policies get their scope: the root namespace's without a selector hold everywhere, those with one
 * name their workloads. */
#include "xds/control/build.h"

static bool has_selector(const struct k8s_policy *policy)
{
    return policy->has_selector &&
           policy->n_selector > 0; /* an empty one selects all, as without */
}

void registry_need_policy_labels(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    for (size_t i = 0; i < set->n_policies; i++)
        if (has_selector(&set->policies[i]))
            selection_need(builder, set->policies[i].selector, set->policies[i].n_selector);
}

struct selecting {
    struct arena *arena;
    struct str policy;
};

static void select_one(void *owner, struct own_workload *workload)
{
    const struct selecting *selecting = owner;
    struct selected *selected = arena_new(selecting->arena, struct selected);
    *selected = (struct selected){selecting->policy, workload->policies};
    workload->policies = selected;
    workload->n_policies++;
}

static void add_policy(struct registry_builder *builder, const struct k8s_policy *from,
                       struct model_policy *policy)
{
    const bool is_root = str_eq(from->meta.namespace_, builder->config->root_namespace);
    *policy = from->policy;
    policy->name = from->meta.name;
    policy->namespace_ = from->meta.namespace_;
    if (has_selector(from)) {
        struct selecting selecting = {
            .arena = &builder->scratch,
            .policy = key_make(&builder->registry->arena, policy->namespace_, policy->name),
        };
        policy->scope = POLICY_WORKLOAD;
        selection_each(builder, is_root ? (struct str){0} : policy->namespace_, from->selector,
                       from->n_selector, select_one, &selecting);
    } else if (is_root) {
        policy->scope = POLICY_GLOBAL;
        policy->namespace_ = (struct str){0};
    } else {
        policy->scope = POLICY_NAMESPACE;
    }
}

void registry_add_policies(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    builder->policies =
        arena_new_array(&builder->registry->arena, struct model_policy, set->n_policies);
    builder->n_policies = set->n_policies;
    builder->registry->n_policies = set->n_policies;
    for (size_t i = 0; i < set->n_policies; i++)
        add_policy(builder, &set->policies[i], &builder->policies[i]);
}
