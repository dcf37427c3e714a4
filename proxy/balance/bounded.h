/*
 * bounded.h - consistent hashing with bounded loads: a host that already has more than its share of
 * the connections in progress passes a connection on to another one, the same for the same hash.
 *
 * A host's slots are its share by weight of all connections in progress and this one, times the
 * balance factor (over 100 %), at least one. The first host of a sequence that the hash seeds which
 * has not more than its slots is taken; when all have, the least overloaded.
 *
 * Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016; slots as
 * in Envoy's thread_aware_lb_impl.cc. The sequence is not Envoy's, which shuffles a list of all
 * hosts for every overloaded pick; ours steps through them and allocates nothing.
 * Thread: any; nothing is kept. Cost: O(1) while a fair part of the hosts has room.
 */
#ifndef ISTHMUS_BALANCE_BOUNDED_H
#define ISTHMUS_BALANCE_BOUNDED_H

#include <stdint.h>

#define BOUNDED_NOT_USABLE UINT32_MAX

struct bounded {
    uint32_t n; /* hosts */
    uint32_t factor_pct;
    uint64_t weight_sum;
    uint64_t n_active; /* in progress on all hosts */
    /* In progress on a host; BOUNDED_NOT_USABLE when it may not have this connection (down, or
     * tried before). */
    uint32_t (*active_of)(const void *owner, uint32_t host);
    uint32_t (*weight_of)(const void *owner, uint32_t host);
    const void *owner;
};

uint64_t bounded_slots(uint32_t weight, uint64_t weight_sum, uint64_t n_active,
                       uint32_t factor_pct);

/* The host for a hash whose first choice is known; BOUNDED_NOT_USABLE when none is usable. */
uint32_t bounded_choose(const struct bounded *bounded, uint64_t hash, uint32_t first);

#endif
