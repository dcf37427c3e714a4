/*
 * locality.h - sharing traffic between localities of one priority level.
 *
 * Weighted: each locality has a weight from configuration, which counts in full while enough of its
 * hosts are healthy and shrinks with them; edf.h takes turns by the result.
 *
 * Zone aware: clients of a zone use their own zone as far as its share of the servers goes. If the
 * servers' share there is at least the clients', everything stays; otherwise what the own zone
 * cannot carry goes to zones that have servers left over, in proportion.
 *
 * Source: Envoy, locality_wrr.cc and ZoneAwareLoadBalancerBase. Thread: any; nothing is kept.
 * Units: permyriad is 1/10000.
 */
#ifndef ISTHMUS_BALANCE_LOCALITY_H
#define ISTHMUS_BALANCE_LOCALITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/rng.h"

#define ZONES_MAX 64

/* The weight after health: 0 when nobody there can serve. hosts without the excluded ones. */
double locality_weight(uint32_t weight, uint64_t n_eligible, uint64_t n_hosts,
                       uint32_t overprovisioning_pct);

struct zone { /* healthy ones; the first zone is one's own */
    uint64_t n_clients, n_servers;
};

struct zone_split {
    size_t n;
    uint32_t local_permyriad;     /* of the own zone's traffic that stays; 10000: all of it */
    uint32_t residual[ZONES_MAX]; /* cumulative shares of the rest; [0] is 0 */
};

/* How the own zone's traffic is split. False: there is nothing to split by zone (fewer than two
 * zones with servers, no clients in one's own, or fewer servers than min_servers). n <= ZONES_MAX.
 */
bool zone_split_make(const struct zone *zones, size_t n, uint32_t min_servers,
                     struct zone_split *out_split);

/* The zone for one connection. */
size_t zone_choose(const struct zone_split *split, struct rng *rng);

#endif
