/*
 * chooser.h - a way of choosing endpoints, as the simulation drives it: ours and the others'.
 *
 * Each client has one of its own. It is told what a node proxy is told: what control says of
 * readiness, that a connect succeeded or failed, how long an answer took; never how a replica does.
 */
#ifndef ISTHMUS_BENCH_SIM_CHOOSER_H
#define ISTHMUS_BENCH_SIM_CHOOSER_H

#include "bench/sim/fleet.h"
#include "proxy/pick/balancer.h"

#define SIM_ATTEMPTS_MAX 3

enum sim_outcome {
    SIM_SERVED,
    SIM_CONNECT_FAILED, /* refused, or overtaken in a race */
    SIM_TIMED_OUT,      /* nobody answered the connect in time */
    SIM_BROKEN,         /* it took the connection, and broke it before it answered */
    SIM_GIVEN_UP,       /* the caller waited long enough */
};

struct sim_racer { /* an attempt that another one was started beside */
    uint64_t attempt;
    uint32_t replica;
    struct lease lease;
    bool is_on;
};

struct sim_flow {
    uint64_t arrived_ns, asked_ns, attempt;
    uint32_t client, replica;
    uint32_t tried[SIM_ATTEMPTS_MAX]; /* who is not asked again: failed, or being asked */
    uint32_t n_tried, n_attempts;
    struct sim_racer racer;
    bool is_connecting;
    double demand; /* times the mean service time */
    bool is_in_use;
    bool is_at_replica; /* queueing or being served */
    bool is_dead;       /* counted; what is left of it is its place at the replica */
    uint32_t next;      /* in a replica's queue, or of the free ones */
    struct lease lease; /* ours only */
};

struct sim_view { /* what control says */
    const struct sim_fleet *fleet;
    bool is_ready[SIM_REPLICAS_MAX];
    double utilisation[SIM_REPLICAS_MAX]; /* as replicas report it: ORCA. Not for those who do not
                                             ask for it */
    uint64_t generation;
};

#define SIM_NOBODY UINT32_MAX

struct chooser_kind {
    const char *name;
    int variant;     /* for the implementation */
    bool has_racing; /* a slow connect is raced, and each attempt gets twice the time */
    void *(*open)(const struct chooser_kind *kind, const struct sim_view *view, uint32_t client,
                  uint64_t seed);
    void (*close)(void *self);
    /* The view changed. */
    void (*told)(void *self, uint64_t now_ns);
    uint32_t (*choose)(void *self, struct sim_flow *flow, uint64_t now_ns);
    void (*connected)(void *self, struct sim_flow *flow, uint64_t connect_ns, uint64_t now_ns);
    /* A connect is about to be raced; NULL: nothing is learnt of that. */
    void (*raced)(void *self, struct sim_flow *flow, uint64_t now_ns);
    /* Exactly once for each choice. */
    void (*ended)(void *self, struct sim_flow *flow, enum sim_outcome outcome, uint64_t now_ns);
    /* Every 100 ms. */
    void (*tick)(void *self, uint64_t now_ns);
};

extern const struct chooser_kind chooser_isthmus;
extern const struct chooser_kind choosers_of_others[];
extern const size_t n_choosers_of_others;

#endif
