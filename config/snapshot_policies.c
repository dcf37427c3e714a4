/* Which policies apply to whom: gathered once a namespace, since most workloads have none of their
 * own. */
#include <stdlib.h>
#include <string.h>

#include "config/snapshot_build.h"

struct policy_list {
    struct str namespace_;
    const struct policy **items; /* sorted; in the snapshot */
    size_t len, cap;
};

static int rank(enum policy_action action)
{
    return action == POLICY_DENY ? 0 : action == POLICY_ALLOW ? 1 : 2;
}

/* DENY before ALLOW, as they are asked; then by name, so that the one that is named in a log is
 * always the same. */
static int compare_policies(const void *a, const void *b)
{
    const struct policy *x = *(const struct policy *const *)a;
    const struct policy *y = *(const struct policy *const *)b;
    if (x->action != y->action)
        return rank(x->action) < rank(y->action) ? -1 : 1;
    return str_cmp(x->key, y->key);
}

static void sort_policies(const struct policy **items, size_t len)
{
    if (len > 1)
        qsort(items, len, sizeof(struct policy *), compare_policies);
}

static void list_push(struct arena *arena, struct policy_list *list, const struct policy *policy)
{
    if (list->len == list->cap) {
        const struct policy **grown;
        list->cap = list->cap ? 2 * list->cap : 8;
        grown = arena_new_array(arena, const struct policy *, list->cap);
        if (list->len > 0)
            memcpy(grown, list->items, list->len * sizeof(*grown));
        list->items = grown;
    }
    list->items[list->len++] = policy;
}

static struct policy_list *list_of(struct snapshot_builder *builder, struct str namespace_)
{
    struct policy_list *list = map_find(&builder->policy_namespaces, namespace_);
    if (!list) {
        list = arena_new(&builder->scratch, struct policy_list);
        list->namespace_ = namespace_;
        map_put(&builder->policy_namespaces, namespace_, list);
    }
    return list;
}

static void finish_lists(struct snapshot_builder *builder)
{
    struct arena *arena = &builder->snapshot->arena;
    size_t idx = 0;
    struct str namespace_;
    void *value;
    while (map_next(&builder->policy_namespaces, &idx, &namespace_, &value)) {
        struct policy_list *list = value;
        for (size_t i = 0; i < builder->n_globals; i++)
            list_push(arena, list, builder->globals[i]);
        sort_policies(list->items, list->len);
    }
}

void snapshot_add_policies(struct snapshot_builder *builder,
                           const struct model_resource *const *resources, size_t n_resources)
{
    struct arena *arena = &builder->snapshot->arena;
    builder->globals = arena_new_array(arena, const struct policy *, n_resources);
    for (size_t i = 0; i < n_resources; i++) {
        const struct model_policy *model = resources[i]->of.policy;
        const struct policy *policy = policy_compile(arena, model);
        /* Values of a map are not const; nobody writes through this one. */
        map_put(&builder->policies, resources[i]->name, (void *)(uintptr_t)policy);
        if (model->scope == POLICY_GLOBAL)
            builder->globals[builder->n_globals++] = policy;
        else if (model->scope == POLICY_NAMESPACE)
            list_push(arena, list_of(builder, model->namespace_), policy);
    }
    sort_policies(builder->globals, builder->n_globals);
    finish_lists(builder);
}

/* A policy that is named and applies already is not asked twice. */
static bool list_has(const struct policy *const *items, size_t len, const struct policy *policy)
{
    for (size_t i = 0; i < len; i++)
        if (items[i] == policy)
            return true;
    return false;
}

void snapshot_attach_policies(struct snapshot_builder *builder, struct workload *workload,
                              const struct model_workload *model)
{
    const struct policy_list *list = map_find(&builder->policy_namespaces, model->namespace_);
    const struct policy **shared = list ? list->items : builder->globals;
    size_t n_shared = list ? list->len : builder->n_globals;
    workload->policies = shared;
    workload->n_policies = n_shared;
    if (model->n_policies == 0)
        return;
    const struct policy **items = arena_new_array(&builder->snapshot->arena, const struct policy *,
                                                  n_shared + model->n_policies);
    size_t len = n_shared;
    if (n_shared > 0)
        memcpy(items, shared, n_shared * sizeof(*items));
    for (size_t i = 0; i < model->n_policies; i++) {
        const struct policy *policy = map_find(&builder->policies, model->policies[i]);
        if (!policy)
            workload->policy_missing = true;
        else if (!list_has(items, len, policy))
            items[len++] = policy;
    }
    sort_policies(items, len);
    workload->policies = items;
    workload->n_policies = len;
}
