/*
 * Which level gets how much: by health (proxy/balance/priority.h), inside a rank by weight or zone,
 * then by load (spill.c).
 *
 * Made anew when a member was filed differently, O(levels), and from time to time while something
 * is warming up or being spilled.
 */
#include "proxy/balance/locality.h"
#include "proxy/balance/priority.h"
#include "proxy/balance/slow_start.h"
#include "proxy/pick/fleet.h"

#define REFRESH_NS UINT64_C(50000000)
#define RTT_HYSTERESIS                                                                             \
    0.7 /* a cluster overtakes one of the same price when it is this much nearer */

#define FINE                                                                                       \
    256 /* weights are counted in such parts here, so that few small ones warm up smoothly */

/* What of a level's weight is fit now, slow start counted: a level that comes back as a whole gets
 * its share back as its endpoints get theirs. Members that are warming count as if all had begun
 * when they did on average. */
static uint64_t fit_weight(const struct fleet_level *level, const struct traffic_policy *policy,
                           uint64_t now_ns)
{
    if (level_n_fit(level) == 0)
        return 0;
    if (level->n_warming == 0)
        return level->fit.sum * FINE;
    const struct slow_start slow_start = {
        policy->slow_start_ns, policy->slow_start_aggression_permille, policy->slow_start_min_pct};
    const double mean_ns = level->warming_since_ns / level->n_warming;
    const uint64_t elapsed_ns = (double)now_ns > mean_ns ? now_ns - (uint64_t)mean_ns : 0;
    const double cold = 1 - slow_start_factor(&slow_start, elapsed_ns);
    const uint64_t missing = (uint64_t)((double)level->w_warming * FINE * cold);
    /* Never nothing: somebody is there. */
    return level->fit.sum * FINE > missing ? level->fit.sum * FINE - missing : 1;
}

double shares_part(const struct member *member, uint64_t now_ns)
{
    const struct traffic_policy *policy = &member->fleet->policy;
    const struct fleet_level *level = member_level(member);
    const double weight = (double)member->weight;
    if (level->is_in_panic && policy->panic_pct > 0 && !policy->fail_on_panic)
        return member_serves_in_panic(member) ? weight / (double)level->w_all : 0;
    if (member->filing != FILED_FIT)
        return 0;
    const double part =
        weight * member_warmth(member, now_ns) * FINE / (double)fit_weight(level, policy, now_ns);
    return part < 1 ? part : 1;
}

/* When all who are fit are in silent levels, these are all there is. */
static void hear_somebody(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->n_levels && fleet->n_silent > 0; i++)
        if (level_n_fit(&fleet->levels[i]) > 0)
            return;
    for (size_t i = 0; i < fleet->n_levels && fleet->n_silent > 0; i++)
        silence_end(fleet, &fleet->levels[i]);
}

/* ---- the order of ranks ---- */

static bool should_swap(const struct fleet *fleet, uint16_t near, uint16_t far)
{
    const struct fleet_rank *a = &fleet->ranks[near], *b = &fleet->ranks[far];
    const struct fleet_level *a_level = &fleet->levels[a->first_level];
    const struct fleet_level *b_level = &fleet->levels[b->first_level];
    if (a_level->kind != LEVEL_OTHER_CLUSTER || b_level->kind != LEVEL_OTHER_CLUSTER ||
        a->price_micro != b->price_micro || a->is_last_resort != b->is_last_resort ||
        fleet->policy.has_priorities)
        return false;
    const double a_ns = reach_rtt_ns(fleet->balancer, a_level->cluster);
    const double b_ns = reach_rtt_ns(fleet->balancer, b_level->cluster);
    return a_ns > 0 && b_ns > 0 && b_ns < a_ns * RTT_HYSTERESIS;
}

/* One pass: places change rarely, and one at a time is soon enough. */
static void order_by_reach(struct fleet *fleet)
{
    for (size_t i = 1; i < fleet->n_ranks; i++) {
        const uint16_t near = fleet->rank_order[i - 1], far = fleet->rank_order[i];
        if (!should_swap(fleet, near, far))
            continue;
        fleet->rank_order[i - 1] = far;
        fleet->rank_order[i] = near;
    }
}

/* ---- between ranks ---- */

static struct priority_level sum_rank(const struct fleet *fleet, const struct fleet_rank *rank,
                                      uint64_t now_ns)
{
    struct priority_level sum = {0};
    for (size_t i = rank->first_level; i < (size_t)rank->first_level + rank->n_levels; i++) {
        const struct fleet_level *level = &fleet->levels[i];
        sum.count.all += level->n_all;
        sum.count.healthy += level_n_fit(level);
        sum.weight.all += level->w_all * FINE;
        sum.weight.healthy += fit_weight(level, &fleet->policy, now_ns);
    }
    return sum;
}

/* Last resorts wait until nobody else is fit, and then are all that is left. */
static bool is_asked(const struct fleet_rank *rank, bool are_others_fit, bool is_anybody_fit)
{
    return !is_anybody_fit || rank->is_last_resort != are_others_fit;
}

static void spread_ranks(struct fleet *fleet, uint32_t *shares, bool *in_panic, uint64_t now_ns)
{
    struct priority_level levels[LEVELS_MAX];
    struct priority_load loads[LEVELS_MAX];
    uint16_t asked[LEVELS_MAX];
    size_t n = 0;
    bool are_others_fit = false, is_anybody_fit = false;
    const struct priority_policy policy = {.overprovisioning_pct =
                                               fleet->policy.overprovisioning_pct,
                                           .panic_pct = fleet->policy.panic_pct,
                                           .is_weighted = true};
    for (size_t i = 0; i < fleet->n_levels; i++) {
        const bool is_last = fleet->ranks[fleet->levels[i].rank].is_last_resort;
        is_anybody_fit |= level_n_fit(&fleet->levels[i]) > 0;
        are_others_fit |= level_n_fit(&fleet->levels[i]) > 0 && !is_last;
    }
    for (size_t i = 0; i < fleet->n_ranks; i++) {
        const uint16_t rank = fleet->rank_order[i];
        shares[i] = 0;
        in_panic[rank] = false;
        if (!is_asked(&fleet->ranks[rank], are_others_fit, is_anybody_fit))
            continue;
        levels[n] = sum_rank(fleet, &fleet->ranks[rank], now_ns);
        asked[n++] = (uint16_t)i;
    }
    if (n == 0)
        return;
    priority_spread(&policy, levels, n, loads);
    for (size_t i = 0; i < n; i++) {
        shares[asked[i]] = loads[i].healthy_pct * (SHARE_WHOLE / 100);
        in_panic[fleet->rank_order[asked[i]]] = loads[i].is_in_panic;
    }
}

/* ---- inside a rank ---- */

static void share_by_weight(struct fleet *fleet, const struct fleet_rank *rank, bool is_in_panic,
                            uint64_t now_ns, double *out_weights)
{
    for (size_t i = 0; i < rank->n_levels; i++) {
        const struct fleet_level *level = &fleet->levels[rank->first_level + i];
        const uint64_t eligible =
            is_in_panic ? level->w_all * FINE : fit_weight(level, &fleet->policy, now_ns);
        out_weights[i] = locality_weight(level->share_weight, eligible, level->w_all * FINE,
                                         fleet->policy.overprovisioning_pct);
    }
}

/* False when there is nothing to split by zone. */
static bool share_by_zone(const struct fleet *fleet, const struct fleet_rank *rank,
                          double *out_weights)
{
    struct zone zones[ZONES_MAX];
    struct zone_split split;
    if (rank->n_levels > ZONES_MAX || fleet->levels[rank->first_level].kind != LEVEL_ZONE)
        return false;
    for (size_t i = 0; i < rank->n_levels; i++) {
        const struct fleet_level *level = &fleet->levels[rank->first_level + i];
        zones[i] = (struct zone){level->n_callers, level_n_fit(level)};
    }
    if (!zone_split_make(zones, rank->n_levels, fleet->policy.zone_min_endpoints, &split))
        return false;
    const uint32_t whole = split.residual[split.n - 1];
    const double rest = SHARE_WHOLE - split.local_permyriad;
    out_weights[0] = split.local_permyriad;
    for (size_t i = 1; i < split.n; i++)
        out_weights[i] = whole > 0 ? rest * (split.residual[i] - split.residual[i - 1]) / whole
                                   : rest / (double)(split.n - 1);
    return true;
}

/* Without zones to split by, endpoints of all zones are alike. */
static void share_by_size(const struct fleet *fleet, const struct fleet_rank *rank,
                          double *out_weights)
{
    for (size_t i = 0; i < rank->n_levels; i++)
        out_weights[i] = level_n_fit(&fleet->levels[rank->first_level + i]) > 0
                             ? (double)fleet->levels[rank->first_level + i].fit.sum
                             : 0;
}

static void split_rank(struct fleet *fleet, const struct fleet_rank *rank, uint32_t share,
                       bool is_in_panic, uint64_t now_ns)
{
    double weights[LEVELS_MAX] = {0}, sum = 0;
    struct fleet_level *levels = &fleet->levels[rank->first_level];
    const bool is_by_zone = fleet->policy.locality == LOCALITY_ZONE_AWARE && rank->n_levels > 1 &&
                            fleet->policy.cluster_mode == CLUSTERS_ACTIVE_PASSIVE && !is_in_panic;
    if (!is_by_zone)
        share_by_weight(fleet, rank, is_in_panic, now_ns, weights);
    else if (!share_by_zone(fleet, rank, weights))
        share_by_size(fleet, rank, weights);
    for (size_t i = 0; i < rank->n_levels; i++)
        sum += weights[i];
    uint32_t left = share;
    for (size_t i = 0; i < rank->n_levels; i++) {
        levels[i].share = sum > 0 ? (uint32_t)(share * weights[i] / sum) : 0;
        levels[i].is_in_panic = is_in_panic;
        left -= levels[i].share;
    }
    for (size_t i = 0; i < rank->n_levels && left > 0; i++) {
        if (weights[i] <= 0)
            continue;
        levels[i].share += left;
        left = 0;
    }
}

static uint16_t nearest_fit(const struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->n_ranks; i++) {
        const struct fleet_rank *rank = &fleet->ranks[fleet->rank_order[i]];
        for (size_t j = 0; j < rank->n_levels; j++)
            if (level_n_fit(&fleet->levels[rank->first_level + j]) > 0)
                return fleet->rank_order[i];
    }
    return 0;
}

__attribute__((noinline)) static void share_anew(struct fleet *fleet, uint64_t now_ns)
{
    uint32_t shares[LEVELS_MAX]; /* by place in rank_order */
    bool in_panic[LEVELS_MAX];   /* by rank */
    bool is_warming = false;
    order_by_reach(fleet);
    hear_somebody(fleet);
    spread_ranks(fleet, shares, in_panic, now_ns);
    if (fleet->policy.spill_by_load)
        spill_adjust(fleet, shares, now_ns);
    for (size_t i = 0; i < fleet->n_ranks; i++) {
        const uint16_t rank = fleet->rank_order[i];
        split_rank(fleet, &fleet->ranks[rank], shares[i], in_panic[rank], now_ns);
    }
    for (size_t i = 0; i < fleet->n_levels; i++)
        is_warming |= fleet->levels[i].n_warming > 0;
    fleet->nearest_rank = nearest_fit(fleet);
    fleet->shares_are_stale = false;
    const bool is_moving = is_warming || (fleet->policy.spill_by_load && fleet->n_ranks > 1);
    fleet->shares_until_ns = now_ns + (is_moving ? REFRESH_NS : 20 * REFRESH_NS);
}

void shares_refresh(struct fleet *fleet, uint64_t now_ns)
{
    if (fleet->shares_are_stale || now_ns >= fleet->shares_until_ns)
        share_anew(fleet, now_ns);
}

struct fleet_level *shares_find(struct fleet *fleet, uint32_t point)
{
    for (size_t i = 0; i < fleet->n_ranks; i++) {
        const struct fleet_rank *rank = &fleet->ranks[fleet->rank_order[i]];
        for (size_t j = 0; j < rank->n_levels; j++) {
            struct fleet_level *level = &fleet->levels[rank->first_level + j];
            if (point < level->share)
                return level;
            point -= level->share;
        }
    }
    return NULL;
}
