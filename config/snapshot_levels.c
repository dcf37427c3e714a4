/*
 * The levels of an endpoint set, as the service's policy shapes them.
 *
 * Each endpoint is classified: into which level, and where that level stands among the others.
 * Levels that compare equal in standing (order, price, cluster) are of one rank. The rest is
 * sorting.
 */
#include <stdlib.h>

#include "config/snapshot_build.h"
#include "proxy/base/keyed_hash.h"

/* Where levels stand: those of the own cluster before the others, what is only a last resort
 * behind all. */
enum standing {
    STANDING_SHARED, /* shared by weight, or all that there is */
    STANDING_NEAR,   /* + kind */
    STANDING_FAR = STANDING_NEAR + LEVEL_KINDS,
    STANDING_LAST,
};

struct draft {
    struct level level;
    uint64_t order; /* by the priorities of the policy; before the standing */
    unsigned standing;
};

struct layout {
    struct snapshot_builder *builder;
    const struct traffic_policy *policy;
    bool splits_zones; /* ZONE_AWARE, with enough endpoints for it */
    struct draft drafts[LEVELS_MAX];
    size_t n_drafts;
    size_t last; /* that was found: endpoints come in runs */
};

struct caller_count {
    uint32_t n;
};

static enum level_kind distance_of(const struct vantage *vantage,
                                   const struct model_workload *model)
{
    if (!str_eq(model->cluster, vantage->cluster))
        return LEVEL_OTHER_CLUSTER;
    if (str_eq(model->node, vantage->node) && !str_is_empty(model->node))
        return LEVEL_NODE;
    if (str_is_empty(vantage->region) || !str_eq(model->region, vantage->region))
        return LEVEL_CLUSTER;
    if (!str_is_empty(vantage->zone) && str_eq(model->zone, vantage->zone))
        return LEVEL_ZONE;
    return LEVEL_REGION;
}

/* ---- callers of zone aware routing ---- */

static struct str locality_text(struct arena *arena, const struct model_workload *model)
{
    return arena_printf(arena, "%.*s/%.*s", STR_ARG(model->region), STR_ARG(model->zone));
}

/* A patch has not got all workloads before it: it takes what its base counted. */
static void count_callers(struct snapshot_builder *builder)
{
    struct snapshot *snapshot = builder->snapshot;
    struct snapshot_roots *roots = &snapshot->roots;
    builder->must_be_whole |= snapshot->base != NULL;
    roots->are_callers_counted = true;
    for (size_t i = 0; i < builder->n_workloads; i++) {
        const struct model_workload *model = builder->workload_models[i];
        if (!model->speaks_hbone || !str_eq(model->cluster, snapshot->vantage.cluster))
            continue;
        const struct str key = locality_text(&snapshot->arena, model);
        struct caller_count *count = map_find(&roots->callers, key);
        if (!count) {
            count = arena_new(&snapshot->arena, struct caller_count);
            (void)map_put(&roots->callers, key, count);
        }
        count->n++;
        roots->n_callers++;
    }
}

/* ---- which level ---- */

static const struct cluster_share *share_of(const struct traffic_policy *policy, struct str cluster)
{
    for (size_t i = 0; i < policy->n_clusters; i++)
        if (str_eq(policy->clusters[i].cluster, cluster))
            return &policy->clusters[i];
    return NULL;
}

static const struct locality_weight *locality_of(const struct traffic_policy *policy,
                                                 const struct model_workload *model)
{
    for (size_t i = 0; i < policy->n_localities; i++) {
        const struct locality_weight *locality = &policy->localities[i];
        if (str_eq(locality->region, model->region) &&
            (str_is_empty(locality->zone) || str_eq(locality->zone, model->zone)))
            return locality;
    }
    return NULL;
}

static struct draft whole_cluster(const struct model_workload *model, bool is_own)
{
    return (struct draft){
        .level = {.kind = is_own ? LEVEL_CLUSTER : LEVEL_OTHER_CLUSTER,
                  .cluster = model->cluster,
                  .share_weight = 1},
        .standing = is_own ? STANDING_NEAR : STANDING_FAR,
    };
}

static struct draft as_last_resort(struct draft draft)
{
    draft.order = UINT64_MAX;
    draft.standing = STANDING_LAST;
    draft.level.is_last_resort = true;
    return draft;
}

static struct draft near_by_weight(const struct layout *layout, const struct model_workload *model)
{
    const struct locality_weight *locality = locality_of(layout->policy, model);
    struct draft draft = whole_cluster(model, true);
    if (!locality || locality->weight == 0)
        return as_last_resort(draft);
    draft.level.locality = arena_printf(&layout->builder->scratch, "%.*s/%.*s",
                                        STR_ARG(locality->region), STR_ARG(locality->zone));
    draft.level.share_weight = locality->weight;
    return draft;
}

static struct draft near_by_zone(const struct layout *layout, const struct model_workload *model,
                                 enum level_kind distance)
{
    struct draft draft = whole_cluster(model, true);
    struct snapshot_builder *builder = layout->builder;
    draft.level.locality = locality_text(&builder->scratch, model);
    draft.level.kind = distance == LEVEL_NODE ? LEVEL_ZONE : distance;
    const struct caller_count *count =
        map_find(&builder->snapshot->roots.callers, draft.level.locality);
    draft.level.n_callers = count ? count->n : 0;
    return draft;
}

static struct draft near(const struct layout *layout, const struct model_workload *model,
                         enum level_kind distance)
{
    struct draft draft = whole_cluster(model, true);
    switch (layout->policy->locality) {
    case LOCALITY_LEVELS:
        draft.level.kind = distance;
        draft.standing = STANDING_NEAR + (unsigned)distance;
        return draft;
    case LOCALITY_ZONE:
        draft.level.kind = distance == LEVEL_NODE ? LEVEL_ZONE : distance;
        draft.standing = STANDING_NEAR + (unsigned)draft.level.kind;
        return draft;
    case LOCALITY_WEIGHTED: return near_by_weight(layout, model);
    case LOCALITY_ZONE_AWARE:
        return layout->splits_zones ? near_by_zone(layout, model, distance) : draft;
    case LOCALITY_NONE:
    case LOCALITY_MODES: break;
    }
    return draft;
}

static struct draft by_cluster_weight(const struct cluster_share *share, struct draft draft)
{
    if (!share || share->weight == 0)
        return as_last_resort(draft);
    draft.standing = STANDING_SHARED;
    draft.level.share_weight = share->weight;
    return draft;
}

static struct draft classify(const struct layout *layout, const struct model_workload *model,
                             enum level_kind distance)
{
    const struct traffic_policy *policy = layout->policy;
    const struct cluster_share *share = share_of(policy, model->cluster);
    const bool is_own = distance != LEVEL_OTHER_CLUSTER;
    struct draft draft = whole_cluster(model, is_own);
    draft.level.price_micro = share && !is_own ? share->price_micro : 0;
    switch (policy->cluster_mode) {
    case CLUSTERS_ACTIVE_ACTIVE:
        return (struct draft){.level = {.kind = LEVEL_CLUSTERSET, .share_weight = 1}};
    case CLUSTERS_WEIGHTED: return by_cluster_weight(share, draft);
    case CLUSTERS_ACTIVE_PASSIVE:
    case CLUSTER_MODES: break;
    }
    if (is_own)
        draft = near(layout, model, distance);
    if (policy->has_priorities && !draft.level.is_last_resort)
        draft.order = share ? share->priority : UINT32_MAX;
    return draft;
}

/* ---- the list of levels ---- */

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* 0: of one rank. */
static int compare_ranks(const struct draft *a, const struct draft *b)
{
    if (a->order != b->order)
        return compare_u64(a->order, b->order);
    if (a->standing != b->standing)
        return a->standing < b->standing ? -1 : 1;
    if (a->standing != STANDING_FAR && a->standing != STANDING_LAST)
        return 0;
    const bool a_is_far = a->level.kind == LEVEL_OTHER_CLUSTER;
    const bool b_is_far = b->level.kind == LEVEL_OTHER_CLUSTER;
    if (a_is_far != b_is_far)
        return a_is_far ? 1 : -1;
    const int by_price = compare_u64(a->level.price_micro, b->level.price_micro);
    return by_price ? by_price : str_cmp(a->level.cluster, b->level.cluster);
}

static int compare_drafts(const void *x, const void *y)
{
    const struct draft *a = x, *b = y;
    const int by_rank = compare_ranks(a, b);
    if (by_rank)
        return by_rank;
    if (a->level.kind != b->level.kind)
        return a->level.kind < b->level.kind ? -1 : 1;
    const int by_cluster = str_cmp(a->level.cluster, b->level.cluster);
    return by_cluster ? by_cluster : str_cmp(a->level.locality, b->level.locality);
}

/* The idx of the draft's like, filed when it is new. */
static size_t file_draft(struct layout *layout, const struct draft *draft)
{
    if (layout->last < layout->n_drafts &&
        compare_drafts(&layout->drafts[layout->last], draft) == 0)
        return layout->last;
    for (size_t i = 0; i < layout->n_drafts; i++)
        if (compare_drafts(&layout->drafts[i], draft) == 0)
            return layout->last = i;
    if (layout->n_drafts == LEVELS_MAX)
        return layout->last = LEVELS_MAX - 1;
    layout->drafts[layout->n_drafts] = *draft;
    return layout->last = layout->n_drafts++;
}

/* Puts the levels in their order; out_place is where each draft went. */
static struct level *make_levels(struct layout *layout, uint16_t *out_place)
{
    struct arena *arena = &layout->builder->snapshot->arena;
    struct level *levels = arena_new_array(arena, struct level, layout->n_drafts);
    struct draft sorted[LEVELS_MAX];
    for (size_t i = 0; i < layout->n_drafts; i++) {
        sorted[i] = layout->drafts[i];
        sorted[i].level.start = i; /* where it comes from, until it has endpoints */
    }
    qsort(sorted, layout->n_drafts, sizeof(sorted[0]), compare_drafts);
    for (size_t i = 0; i < layout->n_drafts; i++) {
        out_place[sorted[i].level.start] = (uint16_t)i;
        levels[i] = sorted[i].level;
        levels[i].cluster = arena_str(arena, levels[i].cluster);
        levels[i].locality = arena_str(arena, levels[i].locality);
        levels[i].rank =
            i == 0
                ? 0
                : (uint16_t)(levels[i - 1].rank + (compare_ranks(&sorted[i - 1], &sorted[i]) != 0));
    }
    return levels;
}

static void place_endpoints(struct arena *arena, struct level *levels, size_t n_levels,
                            const struct endpoint *unsorted, size_t len, struct endpoint_set *set)
{
    struct endpoint *sorted = arena_new_array(arena, struct endpoint, len);
    size_t next[LEVELS_MAX];
    for (size_t i = 0; i < len; i++) {
        struct level *level = &levels[unsorted[i].level];
        level->len++;
        if (level->max_weight < unsorted[i].weight)
            level->max_weight = unsorted[i].weight;
    }
    for (size_t i = 0, start = 0; i < n_levels; start += levels[i++].len)
        next[i] = levels[i].start = start;
    for (size_t i = 0; i < len; i++)
        sorted[next[unsorted[i].level]++] = unsorted[i];
    set->endpoints = sorted;
    set->len = len;
    set->levels = levels;
    set->n_levels = n_levels;
}

/* ---- the fingerprint ---- */

static uint64_t add_numbers(uint64_t hash, const uint64_t *numbers, size_t n)
{
    return keyed_hash(hash, str_of(numbers, n * sizeof(*numbers)));
}

static uint64_t fingerprint_of(const struct endpoint_set *set)
{
    uint64_t hash = add_numbers(set->id, &(const uint64_t){set->len}, 1);
    for (size_t i = 0; i < set->n_levels; i++) {
        const struct level *level = &set->levels[i];
        const uint64_t shape = (uint64_t)level->share_weight << 24 | (uint64_t)level->rank << 8 |
                               (uint64_t)level->kind << 1 | level->is_last_resort;
        hash = keyed_hash(hash, level->cluster);
        hash = keyed_hash(hash, level->locality);
        hash = add_numbers(
            hash, (const uint64_t[]){level->len, level->n_callers, shape, level->price_micro}, 4);
    }
    for (size_t i = 0; i < set->len; i++) {
        const struct endpoint *endpoint = &set->endpoints[i];
        const uint64_t state = (uint64_t)endpoint->weight << 18 |
                               (uint64_t)endpoint->addr.port << 2 |
                               (uint64_t)endpoint->is_terminating << 1 | endpoint->is_ready;
        hash = add_numbers(hash, (const uint64_t[]){endpoint->key, state}, 2);
        hash = keyed_hash(hash, ip_key(&endpoint->addr.ip));
    }
    return hash;
}

/* ---- the set ---- */

static size_t count_own(const struct layout *layout, const struct gathering *gathering)
{
    size_t n = 0;
    for (size_t i = 0; i < gathering->len; i++)
        n += str_eq(gathering->models[i]->cluster, layout->builder->snapshot->vantage.cluster);
    return n;
}

static void prepare_zones(struct layout *layout, const struct gathering *gathering,
                          struct endpoint_set *set)
{
    struct snapshot_builder *builder = layout->builder;
    if (layout->policy->locality != LOCALITY_ZONE_AWARE ||
        str_is_empty(builder->snapshot->vantage.zone) ||
        count_own(layout, gathering) < layout->policy->zone_min_endpoints)
        return;
    if (!builder->snapshot->roots.are_callers_counted)
        count_callers(builder);
    layout->splits_zones = true;
    set->n_callers = builder->snapshot->roots.n_callers;
}

/* Gives each its level, in the order in which levels were met, and leaves out who is not allowed.
 */
static void classify_all(struct layout *layout, struct gathering *gathering)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < gathering->len; i++) {
        const struct model_workload *model = gathering->models[i];
        struct endpoint endpoint = gathering->endpoints[i];
        endpoint.distance = distance_of(&layout->builder->snapshot->vantage, model);
        if (!traffic_policy_admits(layout->policy, model->cluster,
                                   endpoint.distance == LEVEL_NODE)) {
            gathering->hidden[gathering->n_hidden++] =
                (struct hidden_endpoint){endpoint.workload, endpoint.addr.port,
                                         endpoint.workload->is_healthy ? endpoint.key : 0};
            continue;
        }
        const struct draft draft = classify(layout, model, endpoint.distance);
        endpoint.level = (uint16_t)file_draft(layout, &draft);
        gathering->endpoints[n_kept++] = endpoint;
    }
    gathering->len = n_kept;
}

static void keep_hidden(struct arena *arena, const struct gathering *gathering,
                        struct endpoint_set *set)
{
    struct hidden_endpoint *hidden =
        arena_new_array(arena, struct hidden_endpoint, gathering->n_hidden);
    for (size_t i = 0; i < gathering->n_hidden; i++)
        hidden[i] = gathering->hidden[i];
    set->hidden = hidden;
    set->n_hidden = gathering->n_hidden;
}

void snapshot_level_set(struct snapshot_builder *builder, const struct service *service,
                        struct gathering *gathering, struct endpoint_set *set)
{
    struct arena *arena = &builder->snapshot->arena;
    struct layout layout = {.builder = builder, .policy = service->traffic};
    uint16_t place[LEVELS_MAX];
    prepare_zones(&layout, gathering, set);
    classify_all(&layout, gathering);
    struct level *levels = make_levels(&layout, place);
    for (size_t i = 0; i < gathering->len; i++)
        gathering->endpoints[i].level = place[gathering->endpoints[i].level];
    place_endpoints(arena, levels, layout.n_drafts, gathering->endpoints, gathering->len, set);
    snapshot_add_tables(builder, layout.policy, set->endpoints, levels, layout.n_drafts);
    keep_hidden(arena, gathering, set);
    set->fingerprint = fingerprint_of(set);
}
