#include "config/snapshot_build.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

static int compare_resources(const void *a, const void *b)
{
    const struct model_resource *x = *(const struct model_resource *const *)a;
    const struct model_resource *y = *(const struct model_resource *const *)b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return str_cmp(x->name, y->name);
}

/* Sorted by kind and name; of two with one name the first that was given stays. Scratch memory. */
static const struct model_resource **
sort_resources(struct arena *scratch, const struct model_resource *const *resources, size_t *n)
{
    const struct model_resource **sorted =
        arena_new_array(scratch, const struct model_resource *, *n);
    size_t len = 0;
    if (*n == 0)
        return sorted;
    memcpy(sorted, resources, *n * sizeof(*sorted));
    qsort(sorted, *n, sizeof(*sorted), compare_resources);
    for (size_t i = 0; i < *n; i++)
        if (len == 0 || compare_resources(&sorted[len - 1], &sorted[i]) != 0)
            sorted[len++] = sorted[i];
    *n = len;
    return sorted;
}

struct run { /* the resources of one kind */
    const struct model_resource *const *first;
    size_t len;
};

static struct run run_of(const struct model_resource *const *sorted, size_t n, enum model_kind kind)
{
    struct run run = {sorted, 0};
    size_t begin = 0, end;
    while (begin < n && sorted[begin]->kind < kind)
        begin++;
    for (end = begin; end < n && sorted[end]->kind == kind;)
        end++;
    run.first = sorted + begin;
    run.len = end - begin;
    return run;
}

static void copy_vantage(struct snapshot *snapshot, const struct vantage *from)
{
    struct arena *arena = &snapshot->arena;
    struct vantage *to = &snapshot->vantage;
    to->svid_per_workload = from->svid_per_workload;
    to->node = arena_str(arena, from->node);
    to->cluster = arena_str(arena, from->cluster);
    to->network = arena_str(arena, from->network);
    to->trust_domain = arena_str(arena, from->trust_domain);
    to->cluster_domain = arena_str(arena, from->cluster_domain);
    to->region = arena_str(arena, from->region);
    to->zone = arena_str(arena, from->zone);
}

/* Every workload of a node carries the node's locality; the first that says it is believed. */
static void learn_locality(struct snapshot *snapshot, struct run workloads)
{
    struct vantage *vantage = &snapshot->vantage;
    if (!str_is_empty(vantage->region) || !str_is_empty(vantage->zone))
        return;
    for (size_t i = 0; i < workloads.len; i++) {
        const struct model_workload *model = workloads.first[i]->of.workload;
        if (!str_eq(model->node, vantage->node) || !str_eq(model->cluster, vantage->cluster) ||
            (str_is_empty(model->region) && str_is_empty(model->zone)))
            continue;
        vantage->region = arena_str(&snapshot->arena, model->region);
        vantage->zone = arena_str(&snapshot->arena, model->zone);
        return;
    }
}

struct snapshot *snapshot_build(const struct model_resource *const *resources, size_t n_resources,
                                const struct vantage *vantage, uint64_t generation, bool is_synced)
{
    return snapshot_build_next(NULL, resources, n_resources, vantage, generation, is_synced);
}

struct snapshot *snapshot_build_next(const struct snapshot *before,
                                     const struct model_resource *const *resources,
                                     size_t n_resources, const struct vantage *vantage,
                                     uint64_t generation, bool is_synced)
{
    struct snapshot_builder builder = {.snapshot = mem_new(struct snapshot), .before = before};
    struct snapshot *snapshot = builder.snapshot;
    const struct model_resource **sorted =
        sort_resources(&builder.scratch, resources, &n_resources);
    struct run workloads = run_of(sorted, n_resources, MODEL_WORKLOAD);
    struct run services = run_of(sorted, n_resources, MODEL_SERVICE);
    struct run policies = run_of(sorted, n_resources, MODEL_POLICY);
    struct run traffic = run_of(sorted, n_resources, MODEL_TRAFFIC);
    struct run routes = run_of(sorted, n_resources, MODEL_ROUTES);
    struct run tokens = run_of(sorted, n_resources, MODEL_REQUEST_AUTH);
    snapshot->generation = generation;
    snapshot->n_holders = 1;
    snapshot->is_synced = is_synced;
    copy_vantage(snapshot, vantage);
    learn_locality(snapshot, workloads);
    snapshot_add_policies(&builder, policies.first, policies.len);
    snapshot_add_tokens(&builder, tokens.first, tokens.len);
    snapshot_add_traffic(&builder, traffic.first, traffic.len);
    snapshot_add_workloads(&builder, workloads.first, workloads.len);
    snapshot_add_services(&builder, services.first, services.len);
    snapshot_add_parts(&builder, routes.first, routes.len);
    snapshot_add_endpoints(&builder);
    snapshot_add_routes(&builder, routes.first, routes.len);
    snapshot_add_names(&builder);
    map_fini(&builder.policy_layers);
    map_fini(&builder.policy_sets);
    map_fini(&builder.token_layers);
    map_fini(&builder.token_sets);
    map_fini(&builder.services_by_key);
    map_fini(&builder.traffic);
    arena_fini(&builder.scratch);
    return snapshot;
}
