/*
 * balancer.h - which endpoint is next, and what is known of each: the room's whole contract.
 *
 * A worker has one balancer. For every endpoint set that is in use it keeps how its endpoints have
 * been doing: flows in progress, latency, failures, what active checks say, who rests. This is
 * found by the set's id and the endpoints' stable keys, so it outlives snapshots; a set that
 * changed is merged when it is next asked for, one that is no longer used is forgotten.
 *
 * Health decides who may serve, locality and cost decide where, load decides which:
 *   1. Levels get shares of the traffic by how much of them is fit (proxy/balance/priority.h), and
 *      what load says on top of that when the policy spills by load.
 *   2. One level is drawn; in it the policy's algorithm chooses.
 *   3. Who cannot serve now is passed over: unready, failing its checks, resting, full, tried
 * before by this flow. When nobody is left, the doubtful are used, nearest first, unless the policy
 *      forbids it.
 *
 * An endpoint that fails rests. A failed connect: 1 s, doubling to 10 s. An outlier (failures in a
 * row, rates, latency): the policy's times. After a rest one flow at a time tries it; whether that
 * goes well decides about all others.
 *
 * A lease is the right to use one endpoint once. Whoever holds one gives it back exactly once.
 *
 * Deterministic: time and randomness are arguments.
 * Bounds: BALANCER_MEMBERS_MAX endpoints remembered; sets unused for BALANCER_IDLE_NS and without
 * flows go, the longest unused first when it is full. Cost: a cut, a return and a change of health
 * are O(log n); a set that changed costs O(n) once.
 * Owner: the worker. A lease is a value; its endpoint is borrowed from the snapshot and valid only
 * within the call that cut it. Thread: the worker's. Units: ns.
 */
#ifndef ISTHMUS_PICK_BALANCER_H
#define ISTHMUS_PICK_BALANCER_H

#include "config/snapshot.h"
#include "proxy/base/err.h"
#include "proxy/base/rng.h"
#include "proxy/meter/meter.h"

#define BALANCER_MEMBERS_MAX 1000000
#define BALANCER_IDLE_NS     UINT64_C(300000000000)
#define BALANCER_TICK_NS     UINT64_C(100000000)  /* between calls of balancer_tick() */
#define SUSPECT_MIN_NS       UINT64_C(1000000000) /* the rest after a failed connect, doubling */
#define SUSPECT_MAX_NS       UINT64_C(10000000000)
#define PICK_TRIES_MAX       16

struct balancer;

/* n_workers: among how many the limits of a policy are divided. */
struct balancer *balancer_new(struct meter *meter, unsigned n_workers);
void balancer_free(struct balancer *balancer); /* ensures that every lease came back */

/* Time passes: rests end, rates are looked at, what is no longer used is forgotten. Everything but
 * the last happens with the next lease too. */
void balancer_tick(struct balancer *balancer, uint64_t now_ns);

/* ---- leases ---- */

struct tried { /* endpoints that this flow has tried in vain */
    uint64_t keys[PICK_TRIES_MAX];
    size_t len;
};

struct request_hash { /* of a request, by the keys of its route or service */
    bool is_there;    /* false: it has none of them */
    uint64_t value;
};

struct question { /* borrowed for the call */
    const struct service *service;
    const struct endpoint_set *set;     /* of one of its ports */
    struct ip source;                   /* the client's address */
    struct str principal;               /* and its SPIFFE ID; "" when nobody asks on its behalf */
    const struct tried *tried;          /* NULL: none; some: this is a retry */
    const struct request_hash *request; /* NULL: the source is what can be hashed */
};

struct member;
struct crew;

struct lease {
    uint64_t key;                    /* of the endpoint; 0: no lease is held */
    const struct endpoint *endpoint; /* see above: only right after the cut */
    struct addr addr;
    enum level_kind distance;
    uint64_t cut_ns;
    struct member *member; /* the balancer's, as is the next */
    struct crew *crew;
    bool is_pending, is_retry, is_trial, is_tallied;
};

enum lease_outcome {
    LEASE_SERVED,
    LEASE_FAILED,      /* the endpoint did not take the connection */
    LEASE_NODE_FAILED, /* its node could not be reached: others there are doubtful too */
    LEASE_RESET,       /* it took the connection and broke it before it sent a byte */
    LEASE_UNUSED,      /* it is not to blame for what happened */
};

/* 0; -ERR_NO_HEALTHY_UPSTREAM when nobody is left; -ERR_CIRCUIT_OPEN when the service or all that
 * may serve have as many connections as the policy allows; -ERR_RETRY_BUDGET when too many retries
 * are in progress. Counts a flow on the endpoint. */
MUST_USE int lease_cut(struct balancer *balancer, const struct question *question, uint64_t now_ns,
                       struct rng *rng, struct lease *out_lease);
/* Whether lease_cut() could find another endpoint than the lease's after it failed. */
bool lease_has_other(const struct question *question, const struct lease *lease);

/* The endpoint took the connection after connect_ns, 0 when it had one already; the lease is kept.
 */
void lease_confirm(struct balancer *balancer, struct lease *lease, uint64_t connect_ns,
                   uint64_t now_ns);
/* Nobody has answered the connect so far, and another endpoint is about to be asked beside it.
 * Unless it took another connection meanwhile, others keep off it until it answers. */
void lease_doubt(struct balancer *balancer, struct lease *lease, uint64_t now_ns);
/* One answer took this long. Any number of times while the lease is held. */
void lease_sample(struct balancer *balancer, struct lease *lease, uint64_t latency_ns,
                  uint64_t now_ns);
/* Gives it back and empties it; harmless on an empty one. */
void lease_return(struct balancer *balancer, struct lease *lease, enum lease_outcome outcome,
                  uint64_t now_ns);

/* ---- active health ---- */

struct set_in_use {
    uint64_t id;        /* of the endpoint set */
    struct str service; /* its key in the snapshot */
    uint16_t port;
    bool is_v6;
    uint64_t last_used_ns;
    struct str principal; /* who used it last */
    size_t n_endpoints;
};

/* Visits the endpoint sets that were asked for and are not forgotten yet; start with idx = 0. What
 * it gives is borrowed until the balancer is used again. */
bool balancer_next_set(const struct balancer *balancer, size_t *idx, struct set_in_use *out_set);

enum checked { CHECKED_NOT, CHECKED_GOOD, CHECKED_BAD };

/* What an active check found. CHECKED_NOT: it is no longer checked, configuration alone decides.
 * Harmless when the set is not in use or the endpoint is not in it. */
void balancer_set_health(struct balancer *balancer, uint64_t set_id, uint64_t key,
                         enum checked checked, uint64_t now_ns);

/* A round trip to a cluster took this long, as measured by whoever has a way to. */
void balancer_set_reach(struct balancer *balancer, struct str cluster, uint64_t rtt_ns);

/* ---- looking in ---- */

size_t balancer_sets(const struct balancer *balancer);
size_t balancer_flows(const struct balancer *balancer);

enum unfit { /* why an endpoint gets no flows, the first that holds */
             UNFIT_NOT,
             UNFIT_UNREADY,
             UNFIT_CHECK,
             UNFIT_SUSPECT,   /* a connect failed a moment ago */
             UNFIT_EJECTED,   /* an outlier */
             UNFIT_PROBATION, /* rested; one flow at a time tries it */
             UNFIT_FULL,
             UNFITS
};

const char *unfit_name(enum unfit unfit);

enum rest_cause { /* why it was sent to rest last */
                  REST_NEVER,
                  REST_CONNECT, /* it did not take a connection */
                  REST_SILENCE, /* nobody answered a connect, not even by a refusal */
                  REST_NODE,    /* others on its node could not be reached */
                  REST_FAILURES,
                  REST_SUCCESS_RATE,
                  REST_FAILURE_RATE,
                  REST_LATENCY,
                  REST_TRIAL, /* the one that was to show whether it is well again */
                  REST_CAUSES
};

/* "too many failures in a row" */
const char *rest_cause_text(enum rest_cause cause);

struct member_view { /* of one worker */
    enum unfit unfit;
    enum checked checked;
    enum rest_cause cause; /* of its last rest, which may be over */
    uint64_t until_ns;     /* resting until then, else 0 */
    uint32_t flows;
    uint64_t latency_ns; /* estimate; 0: not known */
    uint16_t level;      /* idx in the set */
    double level_share;  /* of the traffic, 0 to 1 */
    double share;        /* of the set's new flows, 0 to 1: by weight, before load decides */
    bool is_level_in_panic;
    bool is_level_silent; /* nobody of it answers connects: it gets one now and then */
    bool is_service_full; /* it has as many flows as its limits allow */
};

/* False when the set is not in use or the endpoint is not in it. */
bool balancer_view(struct balancer *balancer, uint64_t set_id, uint64_t key, uint64_t now_ns,
                   struct member_view *out_view);

#endif
