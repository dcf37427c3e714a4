/*
 * arrivals.h - when the requests of an open loop come: independently of each other, as those of
 * many users do (a Poisson process), and at the same moments in each run.
 */
#ifndef ISTHMUS_BENCH_ARRIVALS_H
#define ISTHMUS_BENCH_ARRIVALS_H

#include <stdint.h>

struct arrivals {
    uint64_t state;
    uint64_t next_ns;
    double interval_ns; /* on average */
};

/* rate: a second, above 0. */
void arrivals_init(struct arrivals *arrivals, uint64_t first_ns, double rate);
/* The next one's moment; then it is the one behind it that comes next. */
uint64_t arrivals_take(struct arrivals *arrivals);

#endif
