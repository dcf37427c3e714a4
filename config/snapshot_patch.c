/*
 * The next generation when only workloads changed: what is patched are those workloads, their
 * addresses, and the endpoints of the services that they serve or served. All else is the base's.
 *
 * A patch is always made of the last whole snapshot, never of another patch: it holds what changed
 * since then, in memory that goes with it. What would reach further is refused (must_be_whole):
 * names (headless services), the node's own locality, the callers that zones are weighed by, and
 * addresses of which only the whole list of workloads tells who has them next.
 */
#include <stdlib.h>

#include "config/snapshot_build.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"

struct dirty { /* a workload that changed */
    struct str uid;
    const struct workload *old;         /* as in the base; NULL: new */
    const struct model_workload *model; /* as it is now; NULL: gone */
    struct workload *workload;
};

struct candidate { /* who may serve a service */
    const struct workload *workload;
    const struct model_workload *model;
};

struct changed_serving { /* a changed workload that serves a service */
    struct candidate candidate;
    struct changed_serving *next;
};

struct patch {
    struct snapshot_builder builder;
    const struct snapshot *base;
    const struct snapshot_change *change;
    struct dirty *all; /* by uid */
    size_t n;
    struct map by_uid;                /* -> struct dirty */
    struct changed_serving **serving; /* of each of the builder's services */
};

/* ---- what changed ---- */

static int compare_dirty(const void *a, const void *b)
{
    const struct dirty *x = a, *y = b;
    return str_cmp(x->uid, y->uid);
}

static void collect(struct patch *patch)
{
    const struct snapshot_change *change = patch->change;
    patch->all = arena_new_array(&patch->builder.scratch, struct dirty, change->n);
    for (size_t i = 0; i < change->n; i++) {
        struct dirty dirty = {.uid = change->uids[i]};
        if (map_find(&patch->by_uid, dirty.uid))
            continue;
        (void)map_put(&patch->by_uid, dirty.uid, patch);
        dirty.old = map_find(&patch->base->workloads, dirty.uid);
        dirty.model = change->find(change->owner, dirty.uid);
        if (dirty.old || dirty.model)
            patch->all[patch->n++] = dirty;
    }
    if (patch->n > 1)
        qsort(patch->all, patch->n, sizeof(*patch->all), compare_dirty);
    for (size_t i = 0; i < patch->n; i++)
        (void)map_put(&patch->by_uid, patch->all[i].uid, &patch->all[i]);
}

static bool is_caller(const struct snapshot *snapshot, const struct workload *workload)
{
    return workload && workload->speaks_hbone &&
           str_eq(workload->cluster, snapshot->vantage.cluster);
}

/* Whether the weights of zones stay: as many callers stand where they stood. */
static bool keeps_callers(const struct snapshot *snapshot, const struct dirty *dirty)
{
    const bool was = is_caller(snapshot, dirty->old), is = is_caller(snapshot, dirty->workload);
    return !snapshot->roots.are_callers_counted ||
           (was == is && (!is || str_eq(dirty->old->locality, dirty->workload->locality)));
}

/* Whether the node stands where it stood. */
static bool keeps_place(const struct snapshot *snapshot, const struct dirty *dirty)
{
    const struct model_workload *model = dirty->model;
    const struct vantage *vantage = &snapshot->vantage;
    return !model || !dirty->workload || !dirty->workload->is_local ||
           (str_is_empty(model->region) && str_is_empty(model->zone)) ||
           (str_eq(model->region, vantage->region) && str_eq(model->zone, vantage->zone));
}

static void patch_workloads(struct patch *patch)
{
    struct snapshot_builder *builder = &patch->builder;
    struct snapshot *snapshot = builder->snapshot;
    struct workload *workloads = arena_new_array(&snapshot->arena, struct workload, patch->n);
    for (size_t i = 0; i < patch->n; i++) {
        struct dirty *dirty = &patch->all[i];
        (void)pace();
        if (dirty->model) {
            dirty->workload = &workloads[i];
            snapshot_fill_workload(builder, dirty->workload, dirty->model);
            (void)map_put(&snapshot->patched_workloads, dirty->workload->uid, dirty->workload);
        } else {
            (void)map_put(&snapshot->patched_workloads, dirty->old->uid,
                          (void *)(uintptr_t)&snapshot_gone);
        }
        snapshot->n_workloads += dirty->model != NULL;
        snapshot->n_workloads -= dirty->old != NULL;
        builder->must_be_whole |= !keeps_callers(snapshot, dirty) || !keeps_place(snapshot, dirty);
    }
}

/* ---- addresses ---- */

/* Those that a changed workload had are free. If another claims one too, nobody here knows who is
 * next. */
static void free_addresses(struct patch *patch, const struct workload *old)
{
    struct snapshot *snapshot = patch->builder.snapshot;
    for (size_t i = 0; i < old->n_addresses; i++) {
        const struct str key = ip_key(&old->addresses[i]);
        if (map_find(&snapshot->roots.contested, key))
            patch->builder.must_be_whole = true;
        else if (map_find(&snapshot->workload_by_ip, key) == old)
            (void)map_put(&snapshot->patched_ips, key, (void *)(uintptr_t)&snapshot_gone);
    }
}

/* As when all are filed one after the other: the first healthy one, else the first. */
static bool goes_before(const struct workload *a, const struct workload *b)
{
    return a->is_healthy != b->is_healthy ? a->is_healthy : str_cmp(a->uid, b->uid) < 0;
}

static void take_addresses(struct snapshot *snapshot, struct workload *workload)
{
    for (size_t i = 0; i < workload->n_addresses; i++) {
        const struct ip *ip = &workload->addresses[i];
        const struct workload *holder = snapshot_workload_by_ip(snapshot, ip);
        if (!holder || goes_before(workload, holder))
            (void)map_put(&snapshot->patched_ips, ip_key(ip), workload);
    }
}

static void patch_addresses(struct patch *patch)
{
    for (size_t i = 0; i < patch->n; i++)
        if (patch->all[i].old)
            free_addresses(patch, patch->all[i].old);
    for (size_t i = 0; i < patch->n; i++)
        if (patch->all[i].model &&
            snapshot_files_address(patch->builder.snapshot, patch->all[i].model))
            take_addresses(patch->builder.snapshot, patch->all[i].workload);
}

/* ---- services ---- */

static size_t services_at_most(const struct patch *patch)
{
    size_t n = 0;
    for (size_t i = 0; i < patch->n; i++) {
        n += patch->all[i].old ? patch->all[i].old->n_services : 0;
        n += patch->all[i].model ? patch->all[i].model->n_services : 0;
    }
    return n;
}

/* The service among those whose endpoints are made anew. */
static struct service_build *build_of(struct patch *patch, const struct service *service)
{
    struct snapshot_builder *builder = &patch->builder;
    struct service_build *build = map_find(&builder->services_by_key, service->key);
    if (build)
        return build;
    build = &builder->services[builder->n_services++];
    /* The base's; what is written are the patched sets. */
    build->service = (struct service *)(uintptr_t)service;
    build->memory_key = service->key;
    (void)map_put(&builder->services_by_key, service->key, build);
    builder->must_be_whole |= service->is_headless && service->scope == SERVICE_CLUSTERSET;
    return build;
}

static void note_serving(struct patch *patch, struct dirty *dirty, const struct service *service)
{
    const size_t idx = (size_t)(build_of(patch, service) - patch->builder.services);
    struct changed_serving *first = patch->serving[idx];
    dirty->workload->services[dirty->workload->n_services++] = service;
    if (first && first->candidate.workload == dirty->workload)
        return; /* it names the service twice */
    struct changed_serving *serving = arena_new(&patch->builder.scratch, struct changed_serving);
    serving->candidate = (struct candidate){dirty->workload, dirty->model};
    serving->next = first;
    patch->serving[idx] = serving;
}

static void find_services(struct patch *patch)
{
    struct snapshot_builder *builder = &patch->builder;
    const size_t most = services_at_most(patch);
    builder->services = arena_new_array(&builder->scratch, struct service_build, most);
    patch->serving = arena_new_array(&builder->scratch, struct changed_serving *, most);
    for (size_t i = 0; i < patch->n; i++) {
        struct dirty *dirty = &patch->all[i];
        for (size_t s = 0; dirty->old && s < dirty->old->n_services; s++)
            (void)build_of(patch, dirty->old->services[s]);
        if (!dirty->model)
            continue;
        dirty->workload->services = arena_new_array(
            &builder->snapshot->arena, const struct service *, dirty->model->n_services);
        for (size_t s = 0; s < dirty->model->n_services; s++) {
            const struct service *service =
                map_find(&builder->snapshot->services, dirty->model->services[s].service);
            if (service)
                note_serving(patch, dirty, service);
        }
        if (dirty->workload->is_local)
            snapshot_say_ports(builder, dirty->workload, dirty->model);
    }
}

/* ---- who serves them ---- */

static size_t candidates_at_most(const struct service *service,
                                 const struct changed_serving *serving)
{
    size_t n = 0;
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct endpoint_set *v4 = &service->ports[i].v4, *v6 = &service->ports[i].v6;
        n += v4->len + v4->n_hidden + v6->len + v6->n_hidden;
    }
    for (; serving; serving = serving->next)
        n++;
    return n;
}

static void add_unchanged(const struct patch *patch, const struct workload *workload,
                          struct candidate *candidates, size_t *n)
{
    if (!map_find(&patch->by_uid, workload->uid))
        candidates[(*n)++].workload = workload;
}

/* All that serve it are in its sets, visible or hidden: who offers it under no port or address of a
 * family would be in none of the new ones either. */
static void add_from_set(const struct patch *patch, const struct endpoint_set *set,
                         struct candidate *candidates, size_t *n)
{
    for (size_t i = 0; i < set->len; i++)
        add_unchanged(patch, set->endpoints[i].workload, candidates, n);
    for (size_t i = 0; i < set->n_hidden; i++)
        add_unchanged(patch, set->hidden[i].workload, candidates, n);
}

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return str_cmp(x->workload->uid, y->workload->uid);
}

/* Sorted by uid, each once, with what they say of themselves. */
static size_t find_candidates(struct patch *patch, const struct service *service,
                              const struct changed_serving *serving, struct candidate *candidates)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < service->n_ports; i++) {
        add_from_set(patch, &service->ports[i].v4, candidates, &n);
        add_from_set(patch, &service->ports[i].v6, candidates, &n);
    }
    for (; serving; serving = serving->next)
        candidates[n++] = serving->candidate;
    if (n > 1)
        qsort(candidates, n, sizeof(*candidates), compare_candidates);
    for (size_t i = 0; i < n; i++) {
        struct candidate candidate = candidates[i];
        if (kept > 0 && candidates[kept - 1].workload == candidate.workload)
            continue;
        if (!candidate.model)
            candidate.model = patch->change->find(patch->change->owner, candidate.workload->uid);
        if (!candidate.model)
            patch->builder.must_be_whole = true; /* it left, and nobody said so */
        else
            candidates[kept++] = candidate;
    }
    return kept;
}

static size_t count_memberships(const struct candidate *candidates, size_t n, struct str service)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t s = 0; s < candidates[i].model->n_services; s++)
            count += str_eq(candidates[i].model->services[s].service, service);
    return count;
}

static void fill_servings(struct patch *patch, struct service_build *build,
                          const struct changed_serving *serving)
{
    struct arena *scratch = &patch->builder.scratch;
    const struct service *service = build->service;
    struct candidate *candidates =
        arena_new_array(scratch, struct candidate, candidates_at_most(service, serving));
    const size_t n = find_candidates(patch, service, serving, candidates);
    build->servings =
        arena_new_array(scratch, struct serving, count_memberships(candidates, n, service->key));
    for (size_t i = 0; i < n; i++) {
        const struct model_workload *model = candidates[i].model;
        for (size_t s = 0; s < model->n_services; s++)
            if (str_eq(model->services[s].service, service->key))
                build->servings[build->n_servings++] =
                    (struct serving){(struct workload *)(uintptr_t)candidates[i].workload, model,
                                     &model->services[s]};
    }
}

/* The parts of changed services have the endpoints of one cluster of them. */
static void find_parts(struct patch *patch)
{
    struct snapshot_builder *builder = &patch->builder;
    const struct map *parts = &builder->snapshot->service_parts;
    size_t idx = 0;
    struct str key, whole, cluster;
    void *part;
    builder->parts = arena_new_array(&builder->scratch, struct service_build, parts->len);
    while (map_next(parts, &idx, &key, &part)) {
        const struct service_build *build = str_rsplit(key, '@', &whole, &cluster)
                                                ? map_find(&builder->services_by_key, whole)
                                                : NULL;
        if (!build)
            continue;
        builder->parts[builder->n_parts] = *build;
        builder->parts[builder->n_parts++].service = part;
    }
}

static void patch_services(struct patch *patch)
{
    struct snapshot_builder *builder = &patch->builder;
    find_services(patch);
    for (size_t i = 0; i < builder->n_services && !builder->must_be_whole; i++)
        fill_servings(patch, &builder->services[i], patch->serving[i]);
    find_parts(patch);
    if (!builder->must_be_whole)
        snapshot_add_endpoints(builder);
}

/* ---- the node's own ---- */

static int compare_workloads(const void *a, const void *b)
{
    const struct workload *x = *(const struct workload *const *)a;
    const struct workload *y = *(const struct workload *const *)b;
    return str_cmp(x->uid, y->uid);
}

static void patch_local(struct patch *patch)
{
    struct snapshot *snapshot = patch->builder.snapshot;
    const struct snapshot *base = patch->base;
    const struct workload **local =
        arena_new_array(&snapshot->arena, const struct workload *, base->n_local + patch->n);
    size_t n = 0;
    for (size_t i = 0; i < base->n_local; i++)
        if (!map_find(&patch->by_uid, base->local[i]->uid))
            local[n++] = base->local[i];
    for (size_t i = 0; i < patch->n; i++)
        if (patch->all[i].model &&
            snapshot_is_in_our_care(patch->all[i].workload, patch->all[i].model))
            local[n++] = patch->all[i].workload;
    if (n > 1)
        qsort(local, n, sizeof(*local), compare_workloads);
    snapshot->local = local;
    snapshot->n_local = n;
}

/* ---- the whole of it ---- */

/* Everything of the base; what is a snapshot's alone begins anew. */
static struct snapshot *share(struct snapshot *base, const struct snapshot *before,
                              uint64_t generation)
{
    struct snapshot *snapshot = mem_new(struct snapshot);
    *snapshot = *base;
    snapshot->arena = (struct arena){0};
    snapshot->tables = (struct map){0};
    snapshot->n_tables_built = 0;
    snapshot->token_keys = (struct map){0};
    snapshot->generation = generation;
    snapshot->is_synced = before->is_synced;
    snapshot->n_holders = 1;
    snapshot->base = base;
    base->n_holders++;
    return snapshot;
}

struct snapshot *snapshot_patch(const struct snapshot *before, const struct snapshot_change *change,
                                uint64_t generation)
{
    /* Whoever builds may count holders; const to those who read. */
    struct snapshot *base = (struct snapshot *)(uintptr_t)(before->base ? before->base : before);
    struct snapshot *snapshot = share(base, before, generation);
    struct patch patch = {
        .builder = {.snapshot = snapshot, .before = before}, .base = base, .change = change};
    struct snapshot_builder *builder = &patch.builder;
    collect(&patch);
    patch_workloads(&patch);
    patch_addresses(&patch);
    patch_services(&patch);
    patch_local(&patch);
    if (builder->must_be_whole) {
        snapshot_free(snapshot);
        snapshot = NULL;
    }
    map_fini(&patch.by_uid);
    map_fini(&builder->policy_layers);
    map_fini(&builder->policy_sets);
    map_fini(&builder->token_layers);
    map_fini(&builder->token_sets);
    map_fini(&builder->services_by_key);
    arena_fini(&builder->scratch);
    return snapshot;
}
