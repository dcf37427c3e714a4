/*
 * The sequence: from a start that the hash seeds, in steps that have no divisor in common with the
 * number of hosts, so that every host comes once.
 */
#include "proxy/balance/bounded.h"

#include <math.h>

#include "proxy/base/ensure.h"
#include "proxy/base/rng.h"

uint64_t bounded_slots(uint32_t weight, uint64_t weight_sum, uint64_t n_active, uint32_t factor_pct)
{
    const uint64_t all = ((n_active + 1) * factor_pct + 99) / 100;
    const double slots = ceil((double)all * ((double)weight / (double)weight_sum));
    return slots > 1 ? (uint64_t)slots : 1;
}

/* Connections for each slot; above 1 is overloaded. Negative: not usable. */
static double load_of(const struct bounded *bounded, uint32_t host)
{
    const uint32_t active = bounded->active_of(bounded->owner, host);
    const uint32_t weight = bounded->weight_of(bounded->owner, host);
    if (active == BOUNDED_NOT_USABLE || weight == 0)
        return -1;
    return (double)active / (double)bounded_slots(weight, bounded->weight_sum, bounded->n_active,
                                                  bounded->factor_pct);
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b > 0) {
        const uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

uint32_t bounded_choose(const struct bounded *bounded, uint64_t hash, uint32_t first)
{
    struct rng rng;
    const uint32_t n = bounded->n;
    ensure(first < n);
    double least = load_of(bounded, first);
    uint32_t chosen = least >= 0 ? first : BOUNDED_NOT_USABLE;
    if (least >= 0 && least <= 1)
        return first;
    rng_seed(&rng, hash);
    uint32_t at = rng_below(&rng, n);
    uint32_t step = n > 1 ? 1 + rng_below(&rng, n - 1) : 1;
    while (common_divisor(step, n) > 1)
        step = step % (n - 1) + 1;
    for (uint32_t i = 0; i < n; i++, at = (uint32_t)(((uint64_t)at + step) % n)) {
        const double load = load_of(bounded, at);
        if (load < 0)
            continue;
        if (load <= 1)
            return at;
        if (least < 0 || load < least) {
            least = load;
            chosen = at;
        }
    }
    return chosen;
}
