/*
 * priority.h - how much of the traffic each priority level gets, from the health of its hosts.
 *
 * A level with enough healthy hosts carries everything that the levels before it leave over. How
 * many are enough says the overprovisioning factor: at 140 % a level hands nothing on until less
 * than 72 % of it is healthy, and then as much as it lacks. When all levels together lack capacity,
 * each gets its share of what there is. Degraded hosts get what no healthy host can carry.
 *
 * Panic: when everything together falls short and less than a threshold of a level's hosts can
 * serve, health is no longer believed: all its hosts are used, and when that is so on every level,
 * levels are loaded by their size.
 *
 * Integers throughout, and sums that are exactly 100.
 * Source: Envoy, load_balancer_impl.cc (recalculatePerPriorityState, recalculatePerPriorityPanic).
 * Thread: any; nothing is kept. Units: percent.
 */
#ifndef ISTHMUS_BALANCE_PRIORITY_H
#define ISTHMUS_BALANCE_PRIORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRIORITY_LEVELS_MAX 128

/* Hosts of a level: all of them, and of those the healthy, the degraded, and the excluded, which do
 * not count at all (new ones that nobody checked yet). The rest is unhealthy. */
struct priority_hosts {
    uint64_t all, healthy, degraded, excluded;
};

struct priority_level {
    struct priority_hosts count;
    struct priority_hosts
        weight; /* sums of host weights, where health is weighted; else not read */
};

struct priority_policy {
    uint32_t overprovisioning_pct; /* 140 */
    uint32_t panic_pct;            /* 50; 0: never */
    bool is_weighted;              /* health by the sum of weights rather than by number */
};

struct priority_load {
    uint32_t healthy_pct, degraded_pct; /* of the whole traffic; over all levels exactly 100 */
    uint32_t health_pct;                /* what the level itself could carry, at most 100 */
    bool is_in_panic;                   /* use all hosts of the level, healthy or not */
};

/* 1 to PRIORITY_LEVELS_MAX levels, nearest first. Loads always add up to 100: when nobody can serve
 * and panic is off, or there are no hosts, the first level has everything, and fails it. */
void priority_spread(const struct priority_policy *policy, const struct priority_level *levels,
                     size_t n, struct priority_load *out_loads);

/* The level that a random number or a hash of the connection falls to. */
size_t priority_choose(const struct priority_load *loads, size_t n, uint64_t hash,
                       bool *out_is_degraded);

#endif
