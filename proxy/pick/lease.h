/*
 * lease.h - the right to use one endpoint once, and the policy by which endpoints are chosen.
 *
 * Endpoints come sorted by level (node, zone, region, cluster, other clusters). The nearest level
 * that has a ready endpoint which is neither suspect nor already tried is used; inside it, the one
 * with fewer flows in progress of two drawn at random (power of two choices), weights respected in
 * the draw. When only suspects are left they are used, nearest first: better a doubtful endpoint
 * than none.
 *
 * A picker hands out a lease; whoever holds one gives it back exactly once, saying how it went.
 * That is what feeds the counters and the memory of failures.
 *
 * Owner:  the flow. A lease is a value; the endpoint it points to is borrowed from the snapshot and
 * valid only within the call that cut it; key and addr stay.
 * Thread: the worker's.
 * Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
 */
#ifndef ISTHMUS_PICK_LEASE_H
#define ISTHMUS_PICK_LEASE_H

#include "config/snapshot.h"
#include "proxy/base/err.h"
#include "proxy/base/rng.h"
#include "proxy/pick/memory.h"

#define PICK_TRIES_MAX 16

struct tried { /* endpoints that this flow has tried in vain */
    uint64_t keys[PICK_TRIES_MAX];
    size_t len;
};

struct lease {
    uint64_t key; /* 0: no lease is held */
    const struct endpoint *endpoint;
    struct addr addr;
    enum level_kind distance;
};

enum lease_outcome { LEASE_SERVED, LEASE_FAILED, LEASE_UNUSED };

/* 0, or -ERR_NO_HEALTHY_UPSTREAM when nobody is ready or everybody was tried. Counts a flow on the
 * endpoint. */
MUST_USE int lease_cut(struct memory *memory, const struct endpoint_set *endpoints,
                       bool allow_unhealthy, const struct tried *tried, uint64_t now_ns,
                       struct rng *rng, struct lease *out_lease);

/* Whether lease_cut() could find another endpoint than the lease's after it failed. */
bool lease_has_other(const struct endpoint_set *endpoints, bool allow_unhealthy,
                     const struct tried *tried, const struct lease *lease);

/* The endpoint took the connection: it is forgiven what it failed before. The lease is kept. */
void lease_confirm(struct memory *memory, const struct lease *lease);

/* Gives it back and empties it; harmless on an empty one. */
void lease_return(struct memory *memory, struct lease *lease, enum lease_outcome outcome,
                  uint64_t now_ns);

#endif
