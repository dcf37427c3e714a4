/* Policies get their scope: the root namespace's without a selector hold everywhere, those with one
 * name their workloads, those for services name whoever stands behind these. */
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

void registry_name_policy(struct registry_builder *builder, struct own_workload *workload,
                          struct str key)
{
    struct selected *selected = arena_new(&builder->scratch, struct selected);
    *selected = (struct selected){key, workload->policies};
    workload->policies = selected;
    workload->n_policies++;
}

struct selecting {
    struct registry_builder *builder;
    struct str policy;
};

static void select_one(void *owner, struct own_workload *workload)
{
    const struct selecting *selecting = owner;
    registry_name_policy(selecting->builder, workload, selecting->policy);
}

/* The name under which workloads serve the target; "" when nothing here does. */
static struct str target_name(const struct own_service *service, const struct k8s_target *target)
{
    if (!service)
        return (struct str){0};
    return target->is_import ? service->exported_name : service->local_name;
}

/* Who stands behind several of the services is named once: the last policy named is then this. */
static void name_backers(struct registry_builder *builder, const struct own_service *service,
                         struct str key)
{
    for (const struct backing *it = service->backings; it; it = it->next_of_service)
        if (!it->workload->policies || !str_eq(it->workload->policies->policy, key))
            registry_name_policy(builder, it->workload, key);
}

static void add_targets(struct registry_builder *builder, const struct k8s_policy *from,
                        struct model_policy *policy, struct str key)
{
    policy->targets = arena_new_array(&builder->registry->arena, struct str, from->n_targets);
    for (size_t i = 0; i < from->n_targets; i++) {
        const struct k8s_target *target = &from->targets[i];
        const struct own_service *service =
            key_find(&builder->service_by_name, policy->namespace_, target->name);
        struct str name = target_name(service, target);
        if (str_is_empty(name))
            continue;
        policy->targets[policy->n_targets++] = name;
        name_backers(builder, service, key);
    }
}

static void add_policy(struct registry_builder *builder, const struct k8s_policy *from,
                       struct model_policy *policy)
{
    const bool is_root = str_eq(from->meta.namespace_, builder->config->root_namespace);
    *policy = from->policy;
    policy->name = from->meta.name;
    policy->namespace_ = from->meta.namespace_;
    registry_write_out_aliases(builder, policy);
    const struct str key = key_make(&builder->registry->arena, policy->namespace_, policy->name);
    if (has_selector(from)) {
        struct selecting selecting = {builder, key};
        policy->scope = POLICY_WORKLOAD;
        selection_each(builder, is_root ? (struct str){0} : policy->namespace_, from->selector,
                       from->n_selector, select_one, &selecting);
    } else if (from->n_targets > 0) {
        policy->scope = POLICY_WORKLOAD;
        add_targets(builder, from, policy, key);
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
    builder->policies = arena_new_array(&builder->registry->arena, struct model_policy,
                                        set->n_policies + PEER_AUTH_POLICIES(set->n_peer_auths));
    builder->n_policies = set->n_policies;
    builder->registry->n_policies = set->n_policies;
    for (size_t i = 0; i < set->n_policies; i++)
        add_policy(builder, &set->policies[i], &builder->policies[i]);
}
