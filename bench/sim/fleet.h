/*
 * fleet.h - what is simulated: replicas and clients in places, and what happens to them when.
 *
 * A replica is a first-come first-served queue before a few service slots; a client is a node's
 * proxy with a stream of new connections, one request each. Time it takes to get from one to the
 * other follows from their places. A scenario makes a fleet and lists the changes.
 *
 * Two kinds of knowledge are kept apart: how a replica does (state, speed), which nobody is told,
 * and whether control says that it is ready, which clients learn when the scenario says so.
 *
 * Units: ns of virtual time.
 */
#ifndef ISTHMUS_BENCH_SIM_FLEET_H
#define ISTHMUS_BENCH_SIM_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_REPLICAS_MAX 64
#define SIM_CLIENTS_MAX  64
#define SIM_CHANGES_MAX  512
#define SIM_CLUSTERS_MAX 4
#define SIM_ZONES_MAX    16

#define SIM_MS  UINT64_C(1000000)
#define SIM_SEC UINT64_C(1000000000)

struct sim_place { /* numbers across the whole fleet; a zone is in one region, and so on */
    uint32_t cluster, region, zone, node;
};

/* How far a replica is from a client, as our levels have it. */
enum sim_distance { SIM_NODE, SIM_ZONE, SIM_REGION, SIM_CLUSTER, SIM_OTHER, SIM_DISTANCES };

enum sim_distance sim_distance(const struct sim_place *from, const struct sim_place *to);

enum sim_state {
    SIM_UP,
    SIM_REFUSING, /* the process is gone, its node answers for it */
    SIM_DARK,     /* nothing answers */
};

struct sim_replica {
    struct sim_place place;
    uint32_t slots;
    enum sim_state state; /* at the beginning */
    bool is_ready;        /* at the beginning, as control says */
    double slowness;      /* at the beginning: how many times longer than others it takes */
};

struct sim_client {
    struct sim_place place;
    double per_second; /* new connections, a Poisson stream */
};

enum sim_change_kind {
    CHANGE_STATE,    /* to .state; what is in progress there breaks, or hangs when it goes dark */
    CHANGE_SLOWNESS, /* to .slowness, reached evenly over .over_ns */
    CHANGE_READY,    /* clients are told .is_ready */
};

struct sim_change {
    uint64_t at_ns;
    enum sim_change_kind kind;
    uint32_t replica;
    enum sim_state state;
    bool is_ready;
    double slowness;
    uint64_t over_ns;
};

struct sim_fleet {
    struct sim_replica replicas[SIM_REPLICAS_MAX];
    struct sim_client clients[SIM_CLIENTS_MAX];
    struct sim_change changes[SIM_CHANGES_MAX]; /* by time */
    uint32_t n_replicas, n_clients, n_changes;
    uint64_t rtt_ns[SIM_DISTANCES];
    uint64_t service_ns; /* mean; exponential */
    uint64_t length_ns;
    uint64_t settled_ns; /* from here to the end nothing changes, and shares must not swing */
};

/* ---- the scenarios ---- */

struct sim_scenario {
    const char *name, *what;
    void (*make)(struct sim_fleet *fleet);
};

extern const struct sim_scenario sim_scenarios[];
extern const size_t sim_n_scenarios;

/* Fewer connections for a look: the rates divided by that, service times multiplied. */
void sim_thin(struct sim_fleet *fleet, double by);

#endif
