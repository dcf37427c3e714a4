/*
 * drills.h - clusters that are taken out of services for a while, to see that the others carry on.
 *
 * A drill lives in memory only and holds as long as somebody wants it: its lease of DRILL_LEASE_NS
 * has to be renewed, and it ends after the length that was asked for whatever happens. So it is
 * over when whoever began it says so, dies, or loses its way here; when the time is up; and when
 * this process ends. Nodes that hear no more of this process let go by themselves
 * (proxy/run/drill_watch.h).
 *
 * One drill a service. Refused unless forced: one after which the ready endpoints of the other
 * clusters that the service's policy admits could not carry the load. They can when their capacity
 * times failover.overprovisioning is at least the capacity of those taken out (both of the ready
 * ones), and there is at least one.
 *
 * Owner: control. Thread: the loop's. Bound: DRILLS_MAX at once.
 */
#ifndef ISTHMUS_XDS_CONTROL_DRILLS_H
#define ISTHMUS_XDS_CONTROL_DRILLS_H

#include "proxy/base/clock.h"
#include "proxy/base/text.h"
#include "proxy/io/loop.h"
#include "xds/control/control.h"
#include "xds/control/registry.h"

#define DRILLS_MAX          16
#define DRILL_LEASE_NS      (5 * NS_PER_SEC)
#define DRILL_LENGTH_MIN_NS NS_PER_SEC
#define DRILL_LENGTH_MAX_NS (3600 * NS_PER_SEC)

struct drills;

struct drill { /* borrowed until the loop's next turn */
    uint64_t id;
    struct str service; /* "<namespace>/<hostname>" */
    struct str cluster;
    uint64_t length_ns, end_ns, lease_end_ns;
};

/* What a request came to. */
struct drill_ground {
    struct str service; /* the resource's name; borrowed from the registry */
    const struct traffic_policy *policy;
    uint64_t ready_taken, ready_left; /* endpoints that are ready */
    uint64_t capacity_taken, capacity_left;
    uint64_t n_taken; /* endpoints, ready or not */
};

/* on_change: one began or ended. */
struct drills *drills_new(struct loop *loop, void (*on_change)(void *owner), void *owner);
void drills_free(struct drills *drills);

/* May it be? 0 with *out_ground; or as control_drill_start(). Pure. */
MUST_USE int drill_check(const struct registry *registry, const struct control_config *config,
                         const struct drill_request *request, struct drill_ground *out_ground,
                         struct text *why);

/* Begins it; strings are copied. 0 with its id, or -ERR_LIMIT with *why. on_change is called. */
MUST_USE int drills_start(struct drills *drills, struct str service, struct str cluster,
                          uint64_t length_ns, uint64_t *out_id, struct text *why);
/* -ERR_NOT_FOUND: it is over. */
MUST_USE int drills_renew(struct drills *drills, uint64_t id);
MUST_USE int drills_stop(struct drills *drills, uint64_t id);

/* Those in progress, at most DRILLS_MAX; returns how many. */
size_t drills_list(const struct drills *drills, struct registry_drill *out);
/* The idx-th of them, or NULL. */
const struct drill *drills_at(const struct drills *drills, size_t idx);

#endif
