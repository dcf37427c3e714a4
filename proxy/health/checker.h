/*
 * checker.h - which endpoints are checked, when, how many at once; and what is known of each.
 *
 * A node checks the endpoints of the services that it uses, nobody else's: checker_use() is told of
 * every endpoint set that traffic asks for, and a set that was not used for CHECKER_IDLE_NS is
 * checked no more. A service whose policy has no checks is not checked at all. The way to an
 * endpoint is the traffic's: through a tunnel under the identity of the pod that uses it (the last
 * one to, when several do), or plainly to a pod of this node or outside the mesh.
 *
 * The first check of an endpoint comes within a tenth of its interval, at most CHECKER_FIRST_NS,
 * the next ones an interval plus up to jitter_ns after the last one ended. What is due and may not
 * start yet waits its turn in line.
 *
 * Bounds: CHECKER_ENDPOINTS_MAX endpoints a node and CHECKER_SET_MAX of one set, the nearest first
 * (others keep the standing "unknown", which configuration decides alone); CHECKER_IN_FLIGHT_MAX
 * checks at once, CHECKER_PER_SEC started a second.
 * Owner: the health thread. Thread: its loop's. Units: ns.
 */
#ifndef ISTHMUS_HEALTH_CHECKER_H
#define ISTHMUS_HEALTH_CHECKER_H

#include "config/snapshot.h"
#include "proxy/base/text.h"
#include "proxy/connect/connect.h"
#include "proxy/health/standing.h"

#define CHECKER_ENDPOINTS_MAX 1000
#define CHECKER_SET_MAX       128
#define CHECKER_IN_FLIGHT_MAX 64
#define CHECKER_PER_SEC       200
#define CHECKER_FIRST_NS      UINT64_C(1000000000)
#define CHECKER_IDLE_NS       UINT64_C(60000000000)

struct checker_tools { /* borrowed, all of the same loop */
    struct loop *loop;
    const struct snapshot *const *snapshot;
    struct connector *connector;
    struct meter *meter;
};

struct health_use { /* borrowed for the call */
    uint64_t set_id;
    struct str service; /* its key in the snapshot */
    uint16_t port;
    bool is_v6;
    struct str principal; /* who uses it */
};

struct health_state {
    uint64_t set_id, key; /* of the endpoint */
    enum health_status status;
};

struct checker;

/* on_change: the status of an endpoint is another one now. */
struct checker *checker_new(const struct checker_tools *tools,
                            void (*on_change)(void *owner, const struct health_state *state),
                            void *owner);
void checker_free(struct checker *checker);

void checker_use(struct checker *checker, const struct health_use *use);
/* The snapshot has changed; the one before is borrowed no longer when this returns. */
void checker_learn(struct checker *checker);

/* What is known of a set's endpoints, at most max of them; how many were written. */
size_t checker_states(const struct checker *checker, uint64_t set_id, struct health_state *out,
                      size_t max);
/* One JSON object an endpoint, separated by commas. */
void checker_json(const struct checker *checker, struct text *out);

#endif
