/*
 * outlier.h - passive health: which endpoints do so much worse than the others that they rest for a
 * while, how long, and how many may rest at once.
 *
 * Rates are looked at once an interval over what was counted in it; an endpoint with fewer
 * connections than min_volume is not judged, and nobody is judged while fewer than min_hosts can
 * be. Success rates are compared with each other: what lies more than a number of standard
 * deviations below the mean is an outlier. The failure percentage and the latency factor are limits
 * of one endpoint alone.
 *
 * A rest grows with every ejection in a row and shrinks by one step with every healthy interval.
 *
 * Source: Envoy, outlier_detection_impl.cc; where gRPC's A50 differs, docs/balancing.md.
 * Thread: any; nothing is kept. Units: ns, percent.
 */
#ifndef ISTHMUS_BALANCE_OUTLIER_H
#define ISTHMUS_BALANCE_OUTLIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outlier_tally { /* of one endpoint in one interval */
    uint64_t ok, failed;
};

struct outlier_rates {
    uint32_t min_hosts, min_volume;
};

/* Whether the endpoint was asked often enough to be judged. */
bool outlier_can_judge(const struct outlier_rates *rates, const struct outlier_tally *tally);

/* Percent of connections that succeeded; 100 when there were none. */
double outlier_success_pct(const struct outlier_tally *tally);

/* The success rate below which one is an outlier among these, in percent: the mean less
 * stdev_permille/1000 standard deviations. False when fewer than min_hosts can be judged. */
bool outlier_success_threshold(const struct outlier_rates *rates, uint32_t stdev_permille,
                               const struct outlier_tally *tallies, size_t n,
                               double *out_threshold_pct);

/* Whether failure_pct is reached by an endpoint that can be judged. Counting min_hosts is the
 * caller's. */
bool outlier_fails_too_often(const struct outlier_rates *rates, uint32_t failure_pct,
                             const struct outlier_tally *tally);

/* Whether one more of so many may rest: the share after it is at most max_pct; or it is the first
 * and one may always go; but never the last one left. */
bool outlier_may_eject(uint32_t n_ejected, uint32_t n_hosts, uint32_t max_pct, bool always_one);

struct outlier_rest { /* {0} has never been ejected */
    uint32_t multiplier;
};

/* How long it rests this time; the next rest is longer. */
uint64_t outlier_rest_next(struct outlier_rest *rest, uint64_t base_ns, uint64_t max_ns);

/* It was healthy for an interval: the next rest is shorter again. */
void outlier_rest_relax(struct outlier_rest *rest);

#endif
