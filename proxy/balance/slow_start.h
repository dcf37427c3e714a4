/*
 * slow_start.h - the share of its weight that a new endpoint gets while it warms up.
 *
 * Rises from a floor to 1 over a window that begins when the endpoint is added or healthy again:
 * linearly at aggression 1.0, faster at first above it, slower below.
 *
 * Source: Envoy, SlowStartConfig. Thread: any. Units: ns.
 */
#ifndef ISTHMUS_BALANCE_SLOW_START_H
#define ISTHMUS_BALANCE_SLOW_START_H

#include <stdint.h>

struct slow_start {
    uint64_t window_ns;           /* 0: off */
    uint32_t aggression_permille; /* 1000 is linear; > 0 */
    uint32_t min_pct;             /* never less than this share of the weight */
};

/* 0 < factor <= 1, elapsed_ns into the window. */
double slow_start_factor(const struct slow_start *policy, uint64_t elapsed_ns);

#endif
