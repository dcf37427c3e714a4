/*
 * ewma.h - the latency of an endpoint as a moving average that believes bad news at once.
 *
 * A sample above the estimate becomes the estimate; one below it is averaged in, with a weight that
 * grows with the time since the last sample. Between samples the estimate sinks towards zero, so an
 * endpoint that was slow and is no longer asked becomes worth a try again.
 *
 * Owner:  whoever embeds it. {0} knows nothing and reads 0. Thread: one at a time. Units: ns.
 * Source: Finagle's PeakEwma, tower's peak_ewma, linkerd2-proxy.
 */
#ifndef ISTHMUS_BALANCE_EWMA_H
#define ISTHMUS_BALANCE_EWMA_H

#include <stdint.h>

struct ewma {
    double estimate_ns;
    uint64_t at_ns; /* of the last sample */
};

/* Knows this much at the start, as if it had been measured. */
void ewma_init(struct ewma *ewma, uint64_t estimate_ns, uint64_t now_ns);

/* What was measured. now_ns may stand still but does not go back; decay_ns > 0 is the time after
 * which a peak counts 1/e. */
void ewma_add(struct ewma *ewma, uint64_t sample_ns, uint64_t now_ns, uint64_t decay_ns);

/* The estimate as of now, in ns. */
double ewma_read(const struct ewma *ewma, uint64_t now_ns, uint64_t decay_ns);

/* What another connection would wait: the estimate times those in progress and this one. */
double ewma_cost(const struct ewma *ewma, uint32_t n_pending, uint64_t now_ns, uint64_t decay_ns);

#endif
