/* Policies get their scope: the root namespace's without a selector hold everywhere, those with one
 * name their workloads, those for services name whoever stands behind these. */
#include "xds/control/build.h"

static bool has_selector(const struct k8s_policy *policy)
{
    return policy->has_selector &&
           policy->n_selector > 0; /* an empty one selects all, as without */
}

/* ---- whom an object is for ---- */

/* The name under which workloads serve the target; "" when nothing here does. */
static struct str target_name(const struct own_service *service, const struct k8s_target *target)
{
    if (!service)
        return (struct str){0};
    return target->is_import ? service->exported_name : service->local_name;
}

static void add_targets(struct registry_builder *builder, const struct reach *reach,
                        const struct named *named, struct reached *reached)
{
    reached->targets = arena_new_array(&builder->registry->arena, struct str, reach->n_targets);
    for (size_t i = 0; i < reach->n_targets; i++) {
        const struct k8s_target *target = &reach->targets[i];
        struct own_service *service =
            key_find(&builder->service_by_name, reach->namespace_, target->name);
        struct str name = target_name(service, target);
        if (str_is_empty(name))
            continue;
        reached->targets[reached->n_targets++] = name;
        struct named *copy = arena_new(&builder->scratch, struct named);
        *copy = *named;
        copy->next = service->named;
        service->named = copy;
    }
}

struct reached registry_reach(struct registry_builder *builder, const struct reach *reach,
                              enum selector_kind kind)
{
    const bool is_root = str_eq(reach->namespace_, builder->config->root_namespace);
    struct reached reached = {.scope = POLICY_WORKLOAD, .namespace_ = reach->namespace_};
    const struct str key = key_make(&builder->registry->arena, reach->namespace_, reach->name);
    const struct named named = {.key = key, .is_request_auth = kind == SELECTS_REQUEST_AUTH};
    const struct selector selector = {
        .kind = kind,
        .namespace_ = is_root ? (struct str){0} : reach->namespace_,
        .labels = reach->selector,
        .n_labels = reach->n_selector,
        .key = key,
    };
    if (reach->n_selector > 0) {
        selection_add(builder, &selector);
    } else if (reach->n_targets > 0) {
        add_targets(builder, reach, &named, &reached);
    } else if (is_root) {
        reached.scope = POLICY_GLOBAL;
        reached.namespace_ = (struct str){0};
    } else {
        reached.scope = POLICY_NAMESPACE;
    }
    return reached;
}

static void add_policy(struct registry_builder *builder, const struct k8s_policy *from,
                       struct model_policy *policy)
{
    const struct reach reach = {
        .namespace_ = from->meta.namespace_,
        .name = from->meta.name,
        .selector = from->selector,
        .n_selector = has_selector(from) ? from->n_selector : 0,
        .targets = from->targets,
        .n_targets = from->n_targets,
    };
    *policy = from->policy;
    policy->name = from->meta.name;
    policy->namespace_ = from->meta.namespace_;
    registry_write_out_aliases(builder, policy);
    const struct reached reached = registry_reach(builder, &reach, SELECTS_POLICY);
    policy->scope = reached.scope;
    policy->namespace_ = reached.namespace_;
    policy->targets = reached.targets;
    policy->n_targets = reached.n_targets;
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
