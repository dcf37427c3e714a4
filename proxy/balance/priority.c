#include "proxy/balance/priority.h"

#include "proxy/base/ensure.h"

#define WHOLE 100

static uint32_t at_most_whole(uint64_t pct)
{
    return pct > WHOLE ? WHOLE : (uint32_t)pct;
}

/* What the level can carry: overprovisioned, rounded down, at most everything. */
static uint32_t capacity_pct(uint64_t part, const struct priority_hosts *hosts, uint32_t factor_pct)
{
    uint64_t counted = hosts->all - hosts->excluded;
    for (; part > UINT64_MAX >> 32; part >>= 1) /* sums of weights may be that large */
        counted >>= 1;
    return counted > 0 ? at_most_whole(factor_pct * part / counted) : 0;
}

static uint64_t counted(const struct priority_level *level)
{
    return level->count.all - level->count.excluded;
}

/* Gives each level its share of what is left; returns what is then still left. */
static uint32_t share_out(const uint32_t *capacity, size_t n, uint32_t normal, uint32_t left,
                          uint32_t *out_shares)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t share = capacity[i] * WHOLE / normal;
        out_shares[i] = share < left ? share : left;
        left -= out_shares[i];
    }
    return left;
}

/* The first level that can carry anything; n when none can. */
static size_t first_above_zero(const uint32_t *capacity, size_t n)
{
    size_t i = 0;
    while (i < n && capacity[i] == 0)
        i++;
    return i;
}

static void spread_by_capacity(const uint32_t *healthy, const uint32_t *degraded, size_t n,
                               uint32_t normal, struct priority_load *loads)
{
    uint32_t healthy_shares[PRIORITY_LEVELS_MAX], degraded_shares[PRIORITY_LEVELS_MAX];
    uint32_t left = share_out(healthy, n, normal, WHOLE, healthy_shares);
    left = share_out(degraded, n, normal, left, degraded_shares);
    const size_t first = first_above_zero(healthy, n); /* gets what rounding left */
    if (first < n)
        healthy_shares[first] += left;
    else
        degraded_shares[first_above_zero(degraded, n)] += left;
    for (size_t i = 0; i < n; i++) {
        loads[i].healthy_pct = healthy_shares[i];
        loads[i].degraded_pct = degraded_shares[i];
    }
}

static void spread_by_size(const struct priority_level *levels, size_t n,
                           struct priority_load *loads)
{
    uint64_t sum = 0;
    uint32_t left = WHOLE;
    size_t first = 0;
    for (size_t i = n; i-- > 0;) {
        sum += levels[i].count.all;
        if (levels[i].count.all > 0)
            first = i;
    }
    for (size_t i = 0; i < n; i++) {
        loads[i].healthy_pct = sum > 0 ? (uint32_t)(WHOLE * levels[i].count.all / sum) : 0;
        loads[i].degraded_pct = 0;
        left -= loads[i].healthy_pct;
    }
    loads[first].healthy_pct += left;
}

static bool is_below_threshold(const struct priority_level *level, uint32_t panic_pct)
{
    const uint64_t serving = level->count.healthy + level->count.degraded;
    return counted(level) > 0 ? WHOLE * serving < panic_pct * counted(level) : panic_pct > 0;
}

void priority_spread(const struct priority_policy *policy, const struct priority_level *levels,
                     size_t n, struct priority_load *out_loads)
{
    uint32_t healthy[PRIORITY_LEVELS_MAX], degraded[PRIORITY_LEVELS_MAX];
    uint64_t sum = 0;
    bool is_total = true;
    ensure(n > 0 && n <= PRIORITY_LEVELS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct priority_hosts *hosts =
            policy->is_weighted ? &levels[i].weight : &levels[i].count;
        healthy[i] = capacity_pct(hosts->healthy, hosts, policy->overprovisioning_pct);
        degraded[i] = capacity_pct(hosts->degraded, hosts, policy->overprovisioning_pct);
        sum += healthy[i] + degraded[i];
        out_loads[i] = (struct priority_load){.health_pct = healthy[i]};
    }
    const uint32_t normal = at_most_whole(sum);
    if (normal > 0)
        spread_by_capacity(healthy, degraded, n, normal, out_loads);
    else
        out_loads[0].healthy_pct = WHOLE;
    if (normal == WHOLE || policy->panic_pct == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        out_loads[i].is_in_panic = is_below_threshold(&levels[i], policy->panic_pct);
        is_total = is_total && out_loads[i].is_in_panic;
    }
    if (is_total)
        spread_by_size(levels, n, out_loads);
}

size_t priority_choose(const struct priority_load *loads, size_t n, uint64_t hash,
                       bool *out_is_degraded)
{
    uint32_t left = (uint32_t)(hash % WHOLE);
    for (size_t i = 0; i < n; i++) {
        if (left < loads[i].healthy_pct) {
            *out_is_degraded = false;
            return i;
        }
        left -= loads[i].healthy_pct;
    }
    for (size_t i = 0; i < n; i++) {
        if (left < loads[i].degraded_pct) {
            *out_is_degraded = true;
            return i;
        }
        left -= loads[i].degraded_pct;
    }
    ensure(false && "loads add up to 100");
    return 0;
}
