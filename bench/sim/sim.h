/*
 * sim.h - runs one scenario with one way of choosing, and says how it went.
 *
 * Discrete events in virtual time. The same seed gives the same arrivals and the same demands to
 * every chooser, so that differences between two of them are not luck.
 *
 * A connection is one request, as a flow of layer 4 carries it: it arrives at a client's node, an
 * endpoint is chosen, the connect takes one round trip, the request half of one, then it waits for
 * a slot of the replica, is served, and the answer takes half a round trip. A connect that fails
 * is repeated elsewhere, three attempts in all; where the product races a slow connect (ours does),
 * so does the simulation. A caller gives up after SIM_PATIENCE_NS. A failed
 * connection counts as one that took that long, so that nobody wins by failing.
 */
#ifndef ISTHMUS_BENCH_SIM_SIM_H
#define ISTHMUS_BENCH_SIM_SIM_H

#include "bench/sim/chooser.h"

#define SIM_ATTEMPT_NS  (400 * SIM_MS) /* timeouts.attempt of the proxy's configuration */
#define SIM_RACE_NS     (250 * SIM_MS) /* raceDelay of a policy, unless somebody says otherwise */
#define SIM_PATIENCE_NS (5 * SIM_SEC)

struct sim_result {
    uint64_t n, n_failed;
    uint64_t p50_ns, p99_ns, p999_ns;
    /* Shares of the traffic of a zone's callers by distance, after the change settled: by how many
     * points the one that swings most does, between windows of two seconds. */
    double swing_points;
    double crossed_pct; /* of all connections, to another cluster */
    double needed_pct;  /* what no way of choosing could have kept at home */
};

struct sim_result sim_run(const struct sim_fleet *fleet, const struct chooser_kind *kind,
                          uint64_t seed, bool trace);

#endif
