/*
 * Which policies apply to whom.
 *
 * The mesh's policies are one layer and each namespace's are one, compiled once. What names a
 * workload makes layers of its own, shared by all workloads that are named alike: by key, so that
 * ten thousand workloads under the same policies cost one layer.
 */
#include <string.h>

#include "config/policy_match.h"
#include "config/snapshot_build.h"
#include "proxy/base/text.h"

struct policy_list {             /* of a namespace or of the mesh */
    const struct policy **items; /* in the snapshot */
    size_t len, cap;
    const struct policy_layer *layer; /* NULL until it is finished, or when it is empty */
};

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

static void list_finish(struct arena *arena, struct policy_list *list)
{
    if (list->len > 0)
        list->layer = policy_layer_new(arena, list->items, list->len, NULL, 0);
}

static struct policy_list *list_of(struct snapshot_builder *builder, struct str namespace_)
{
    struct snapshot *snapshot = builder->snapshot;
    struct policy_list *list = map_find(&snapshot->roots.policy_namespaces, namespace_);
    if (!list) {
        list = arena_new(&snapshot->arena, struct policy_list);
        map_put(&snapshot->roots.policy_namespaces, arena_str(&snapshot->arena, namespace_), list);
    }
    return list;
}

void snapshot_add_policies(struct snapshot_builder *builder,
                           const struct model_resource *const *resources, size_t n_resources)
{
    struct arena *arena = &builder->snapshot->arena;
    struct snapshot_roots *roots = &builder->snapshot->roots;
    size_t idx = 0;
    struct str namespace_;
    void *value;
    roots->globals = arena_new(arena, struct policy_list);
    for (size_t i = 0; i < n_resources; i++) {
        const struct model_policy *model = resources[i]->of.policy;
        const struct policy *policy = policy_compile(arena, model);
        /* Values of a map are not const; nobody writes through this one. */
        map_put(&roots->policies, arena_str(arena, resources[i]->name), (void *)(uintptr_t)policy);
        if (model->scope == POLICY_GLOBAL)
            list_push(arena, roots->globals, policy);
        else if (model->scope == POLICY_NAMESPACE)
            list_push(arena, list_of(builder, model->namespace_), policy);
    }
    list_finish(arena, roots->globals);
    while (map_next(&roots->policy_namespaces, &idx, &namespace_, &value))
        list_finish(arena, value);
}

/* ---- those that name a workload ---- */

struct attaching {
    struct snapshot_builder *builder;
    const struct model_workload *model;
    const struct policy_layer **layers; /* room for all */
    size_t n_layers;
    struct str missing;
    struct text key; /* of what makes a layer or a set the same as another */
};

static void key_add(struct attaching *attaching, const void *bytes, size_t len)
{
    text_add(&attaching->key, str_of(bytes, len));
}

/* The layer of these policies on these ports, made when it is the first of its kind. */
static void add_layer(struct attaching *attaching, const struct policy **policies, size_t n,
                      const uint16_t *ports, size_t n_ports)
{
    struct snapshot_builder *builder = attaching->builder;
    struct arena *arena = &builder->snapshot->arena;
    text_clear(&attaching->key);
    for (size_t i = 0; i < n; i++)
        key_add(attaching, &policies[i], sizeof(policies[i]));
    text_addc(&attaching->key, ports ? 'p' : 'a');
    for (size_t i = 0; i < n_ports; i++)
        key_add(attaching, &ports[i], sizeof(ports[i]));
    struct policy_layer *layer = map_find(&builder->policy_layers, text_str(&attaching->key));
    if (!layer) {
        const struct policy **items = arena_new_array(arena, const struct policy *, n);
        uint16_t *own_ports = arena_new_array(arena, uint16_t, n_ports);
        memcpy(items, policies, n * sizeof(*items));
        if (n_ports > 0)
            memcpy(own_ports, ports, n_ports * sizeof(*own_ports));
        layer =
            (void *)(uintptr_t)policy_layer_new(arena, items, n, ports ? own_ports : NULL, n_ports);
        map_put(&builder->policy_layers, arena_str(&builder->scratch, text_str(&attaching->key)),
                layer);
    }
    attaching->layers[attaching->n_layers++] = layer;
}

bool snapshot_target_ports(const struct model_workload *workload, const struct str *targets,
                           size_t n_targets, uint16_t *ports, size_t *out_n)
{
    size_t n = 0;
    for (size_t i = 0; i < workload->n_services; i++) {
        const struct model_membership *membership = &workload->services[i];
        bool is_target = false;
        for (size_t t = 0; t < n_targets; t++)
            is_target |= str_eq(membership->service, targets[t]);
        if (!is_target)
            continue;
        if (membership->n_ports == 0)
            return false;
        for (size_t p = 0; p < membership->n_ports; p++) {
            const struct model_port *port = &membership->ports[p];
            if (port->is_udp)
                continue;
            if (port->target_port == 0 || n == MODEL_PORTS_MAX)
                return false;
            ports[n++] = port->target_port;
        }
    }
    *out_n = policy_sort_ports(ports, n);
    return n > 0;
}

/* Sorted already: policies that hold on every port share one layer, a targeted one has its own. */
static void add_named(struct attaching *attaching)
{
    struct snapshot_builder *builder = attaching->builder;
    const struct model_workload *model = attaching->model;
    const struct policy **plain =
        arena_new_array(&builder->scratch, const struct policy *, model->n_policies);
    uint16_t ports[MODEL_PORTS_MAX];
    size_t n_plain = 0, n_ports = 0;
    for (size_t i = 0; i < model->n_policies; i++) {
        const struct policy *policy =
            map_find(&builder->snapshot->roots.policies, model->policies[i]);
        if (!policy && str_is_empty(attaching->missing))
            attaching->missing = arena_str(&builder->snapshot->arena, model->policies[i]);
        if (!policy)
            continue;
        if (policy->n_targets > 0 &&
            snapshot_target_ports(model, policy->targets, policy->n_targets, ports, &n_ports))
            add_layer(attaching, &policy, 1, ports, n_ports);
        else
            plain[n_plain++] = policy;
    }
    if (n_plain > 0)
        add_layer(attaching, plain, n_plain, NULL, 0);
}

/* The set of these layers, shared by all workloads that have them. */
static const struct policy_set *set_of(struct attaching *attaching)
{
    struct snapshot_builder *builder = attaching->builder;
    struct arena *arena = &builder->snapshot->arena;
    text_clear(&attaching->key);
    for (size_t i = 0; i < attaching->n_layers; i++)
        key_add(attaching, &attaching->layers[i], sizeof(attaching->layers[i]));
    text_addc(&attaching->key, '/');
    text_add(&attaching->key, attaching->missing);
    struct policy_set *set = map_find(&builder->policy_sets, text_str(&attaching->key));
    if (set)
        return set;
    const struct policy_layer **layers =
        arena_new_array(arena, const struct policy_layer *, attaching->n_layers);
    if (attaching->n_layers > 0)
        memcpy(layers, attaching->layers, attaching->n_layers * sizeof(*layers));
    set = arena_new(arena, struct policy_set);
    *set = (struct policy_set){
        .layers = layers, .n_layers = attaching->n_layers, .missing = attaching->missing};
    policy_set_seal(set);
    map_put(&builder->policy_sets, arena_str(&builder->scratch, text_str(&attaching->key)), set);
    return set;
}

void snapshot_attach_policies(struct snapshot_builder *builder, struct workload *workload,
                              const struct model_workload *model)
{
    const struct snapshot_roots *roots = &builder->snapshot->roots;
    const struct policy_list *own = map_find(&roots->policy_namespaces, model->namespace_);
    struct attaching attaching = {.builder = builder, .model = model};
    attaching.layers =
        arena_new_array(&builder->scratch, const struct policy_layer *, 3 + model->n_policies);
    if (roots->globals->layer)
        attaching.layers[attaching.n_layers++] = roots->globals->layer;
    if (own && own->layer)
        attaching.layers[attaching.n_layers++] = own->layer;
    if (model->n_policies > 0)
        add_named(&attaching);
    workload->policies = set_of(&attaching);
    text_fini(&attaching.key);
}
