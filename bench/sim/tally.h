/*
 * tally.h - what is measured of a run: how long connections took, where they went, and what no way
 * of choosing could have kept at home.
 *
 * Shares are counted by the zone of the callers and by distance, in windows of two seconds; what
 * swings after the change settled is read from them. With a trace the latencies are kept by
 * cluster of the callers and second as well, to see when the slow ones were.
 *
 * Owner: a run. Units: ns of virtual time.
 */
#ifndef ISTHMUS_BENCH_SIM_TALLY_H
#define ISTHMUS_BENCH_SIM_TALLY_H

#include "bench/macro/histogram.h"
#include "bench/sim/sim.h"

#define TALLY_WINDOWS_MAX 64
#define TALLY_SECONDS_MAX 128

struct window { /* connections of one zone's callers, by distance */
    uint32_t n[SIM_DISTANCES];
};

struct tally {
    const struct sim_fleet *fleet;
    struct histogram latencies;
    uint64_t n, n_failed, n_crossed;
    double needed, offered;
    struct window windows[SIM_ZONES_MAX][TALLY_WINDOWS_MAX];
    struct histogram *seconds; /* of a trace: by cluster, then second; else NULL */
};

void tally_init(struct tally *tally, const struct sim_fleet *fleet, bool is_traced);
void tally_fini(struct tally *tally);

/* A client chose a replica so far away. */
void tally_choice(struct tally *tally, const struct sim_client *client, enum sim_distance distance,
                  uint64_t now_ns);
/* A connection is over; crossed: another cluster served it. */
void tally_end(struct tally *tally, const struct sim_client *client, uint64_t arrived_ns,
               uint64_t took_ns, bool is_served, bool is_crossed);
/* What the clusters can carry now, in connections a second; at regular times. */
void tally_need(struct tally *tally, const double *capacity);

struct sim_result tally_result(const struct tally *tally);
void tally_print(const struct tally *tally);

#endif
