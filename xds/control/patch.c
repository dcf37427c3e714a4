/*
 * Pods and EndpointSlices that came, went or changed, taken into a registry that is there. First
 * every object is put in its place, which marks whom that touches; then these workloads are
 * derived, each once, however often it was touched.
 */
#include "xds/control/build.h"

static void take_in(struct registry_builder *builder, const struct manifests_changes *changes)
{
    for (size_t i = 0; i < changes->n_slices_gone; i++)
        slice_remove(builder, &changes->slices_gone[i]->meta);
    for (size_t i = 0; i < changes->n_pods_gone; i++) {
        const struct object *meta = &changes->pods_gone[i]->meta;
        workload_set_pod(builder, workload_of(builder, meta->namespace_, meta->name), NULL);
    }
    for (size_t i = 0; i < changes->n_pods; i++) {
        const struct object *meta = &changes->pods[i]->meta;
        workload_set_pod(builder, workload_of(builder, meta->namespace_, meta->name),
                         changes->pods[i]);
    }
    for (size_t i = 0; i < changes->n_slices; i++)
        slice_put(builder, changes->slices[i]);
    services_settle(builder);
}

void registry_tell(struct registry_side *side, const struct listed *listed, struct str before)
{
    if (listed->resource.of.workload)
        side->changed[side->n_changed++] = &listed->resource;
    else if (!str_is_empty(before))
        side->gone[side->n_gone++] = before;
}

/* What it was stays in its arena until what it is replaces it. */
static void derive_anew(struct registry *registry, struct own_workload *workload,
                        struct registry_patch *out)
{
    struct registry_builder *builder = registry->builder;
    struct str before = {0}, before_of_peers = {0};
    struct arena arena = {0};
    if (workload->own.resource.of.workload)
        before = arena_str(&out->arena, workload->own.resource.name);
    if (workload->shared.resource.of.workload)
        before_of_peers = before;
    workload_derive(builder, workload, &arena);
    arena_fini(&workload->arena);
    workload->arena = arena;
    registry_list_for_nodes(registry, &workload->own);
    registry_list_for_peers(registry, &workload->shared);
    registry_tell(&out->nodes, &workload->own, before);
    registry_tell(&out->peers, &workload->shared, before_of_peers);
}

void registry_side_grow(struct registry_side *side, struct arena *arena, size_t n)
{
    const struct model_resource **changed =
        arena_new_array(arena, const struct model_resource *, side->n_changed + n);
    struct str *gone = arena_new_array(arena, struct str, side->n_gone + n);
    for (size_t i = 0; i < side->n_changed; i++)
        changed[i] = side->changed[i];
    for (size_t i = 0; i < side->n_gone; i++)
        gone[i] = side->gone[i];
    side->changed = changed;
    side->gone = gone;
}

bool registry_patch(struct registry *registry, const struct manifests_changes *changes,
                    struct registry_patch *out_patch)
{
    struct registry_builder *builder = registry->builder;
    *out_patch = (struct registry_patch){0};
    take_in(builder, changes);
    if (builder->reaches_further)
        return false;
    registry_side_grow(&out_patch->nodes, &out_patch->arena, builder->touched.len);
    registry_side_grow(&out_patch->peers, &out_patch->arena, builder->touched.len);
    for (size_t i = 0; i < builder->touched.len; i++) {
        struct own_workload *workload = builder->touched.items[i];
        workload->is_touched = false;
        derive_anew(registry, workload, out_patch);
        workload_free_unused(builder, workload);
    }
    builder->touched.len = 0;
    return true;
}
