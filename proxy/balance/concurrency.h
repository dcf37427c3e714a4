/*
 * concurrency.h - how many things may be in progress at once, learnt from how long they take.
 *
 * Every window compares the latency of its samples (a high quantile) with the least latency that
 * was measured while hardly anything was in progress. Slower than that and a margin: the limit
 * shrinks in proportion; not slower: it grows, by its square root at least. The least latency is
 * measured anew now and then, with the limit at its minimum.
 *
 *      MEASURING --enough samples--> ADJUSTING --interval over, or stuck at the minimum-->
 * MEASURING
 *
 * Owner: whoever embeds it. Thread: one at a time. Units: ns.
 * Source: Envoy's adaptive concurrency filter (gradient controller).
 */
#ifndef ISTHMUS_BALANCE_CONCURRENCY_H
#define ISTHMUS_BALANCE_CONCURRENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/rng.h"

#define CONCURRENCY_SAMPLES_MAX 512 /* kept of a window; of more a fair draw is kept */

struct concurrency_policy {
    uint32_t min_limit, max_limit; /* 3, 1000 */
    uint32_t quantile_pct;         /* 90 */
    uint32_t buffer_pct;           /* 25: latency may rise by this without a brake */
    uint64_t window_ns;            /* 100 ms */
    uint64_t interval_ns;          /* 60 s between measurements of the least latency */
    uint32_t jitter_pct;           /* 10 of the interval */
    uint32_t n_measure;            /* 50 samples for a measurement */
    uint32_t n_windows_stuck;      /* 5 windows at the minimum: measure anew */
};

struct concurrency {
    uint32_t limit;
    bool is_measuring;
    uint64_t least_ns; /* 0: not known yet */
    uint64_t window_end_ns, measure_at_ns;
    uint32_t limit_before; /* the limit to go back to after a measurement */
    uint32_t n_stuck;
    uint32_t n_seen, n_kept; /* samples of the window */
    uint64_t samples[CONCURRENCY_SAMPLES_MAX];
};

/* Begins with a measurement. */
void concurrency_init(struct concurrency *concurrency, const struct concurrency_policy *policy,
                      uint64_t now_ns);

/* Something finished after latency_ns. Random numbers draw the samples that are kept, and the
 * jitter. */
void concurrency_add(struct concurrency *concurrency, const struct concurrency_policy *policy,
                     uint64_t latency_ns, uint64_t now_ns, struct rng *rng);

static inline bool concurrency_has_room(const struct concurrency *concurrency,
                                        uint32_t n_in_progress)
{
    return n_in_progress < concurrency->limit;
}

/* The limit after a window; what concurrency_add() uses. */
uint32_t concurrency_next_limit(const struct concurrency_policy *policy, uint32_t limit,
                                uint64_t least_ns, uint64_t sample_ns);

#endif
