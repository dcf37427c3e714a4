/*
 * load_aware.h - shares of localities by the utilisation that their endpoints report, as Envoy's
 * load_aware_locality policy has it; and the weight of one endpoint by such a report (ORCA).
 *
 * The product does not use them: it carries bytes, and bytes bring no reports. They are here to be
 * compared with, and to be held to their published vectors.
 *
 * Source: Envoy, load_aware_locality.proto and its documentation; gRPC A58 and A114;
 * orca_weight_manager.cc.
 */
#ifndef ISTHMUS_BENCH_SIM_LOAD_AWARE_H
#define ISTHMUS_BENCH_SIM_LOAD_AWARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/sim/fleet.h"
#include "proxy/base/rng.h"

/* ---- one endpoint ---- */

struct orca_report {
    double rps, eps;                /* requests and errors a second */
    double application, cpu, named; /* utilisations; below 0: not reported */
};

/* Which utilisation of a report counts: named metrics first, then the application's, then the
 * processor's; Envoy's older order has the application's first. Below 0: none. */
double orca_utilisation(const struct orca_report *report, bool application_first);

/* qps / (utilisation + eps/qps * penalty), at most UINT32_MAX. False for a report without requests
 * or without utilisation. */
bool orca_weight(const struct orca_report *report, bool application_first, double penalty,
                 uint32_t *out_weight);

/* The weight of endpoints that have none: the median of the others, the mean of the two in the
 * middle when they are even; 1 of nobody. Sorts weights. */
uint32_t orca_median(uint32_t *weights, size_t n);

/* ---- localities ---- */

struct load_aware_locality {
    uint32_t id;
    uint32_t n_hosts;
    double utilisation_sum; /* over its hosts */
};

struct load_aware { /* {0} knows nothing */
    uint32_t ids[SIM_ZONES_MAX];
    double smoothed[SIM_ZONES_MAX];
    bool is_known[SIM_ZONES_MAX];
    double shares[SIM_ZONES_MAX]; /* sum 1 */
    size_t n;
};

/* Once a second; the first locality is one's own. */
void load_aware_tick(struct load_aware *aware, const struct load_aware_locality *localities,
                     size_t n);
/* The id of a locality; UINT32_MAX when there is none. */
uint32_t load_aware_choose(const struct load_aware *aware, struct rng *rng);

#endif
