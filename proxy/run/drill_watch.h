/*
 * drill_watch.h - how long a node keeps a cluster out of a service for a drill.
 *
 * Control takes the cluster out and gives it back. Should control be gone meanwhile, nobody would
 * give it back, so the node lets go by itself: when its control stream goes down, and when the
 * drill has lasted as long as it said it would. A drill that was let go is not taken up again, also
 * not when the stream comes back: a node that doubts uses every endpoint.
 *
 * Owner: the node; {0} knows of no drill. Thread: one. Bound: DRILL_WATCH_MAX drills; further ones
 * do not begin. Units: ns of the loop.
 */
#ifndef ISTHMUS_RUN_DRILL_WATCH_H
#define ISTHMUS_RUN_DRILL_WATCH_H

#include "config/model.h"

#define DRILL_WATCH_MAX 64

struct watched_drill {
    uint64_t id;
    uint64_t end_ns; /* 0: it was let go */
    bool is_told;    /* a resource still says so */
};

struct drill_watch {
    struct watched_drill drills[DRILL_WATCH_MAX];
    size_t len;
};

/* One look at all resources: begin, one call a resource, end. */
void drill_watch_begin(struct drill_watch *watch);
/* The resource as it counts now: itself, or a copy in the arena without the drill. */
const struct model_resource *drill_watch_judge(struct drill_watch *watch,
                                               const struct model_resource *resource,
                                               struct arena *arena, uint64_t now_ns,
                                               bool is_connected);
/* Forgets those that no resource tells of any more. When the next one has to be let go, 0: never.
 */
uint64_t drill_watch_end(struct drill_watch *watch);
/* How many keep a cluster out now. */
size_t drill_watch_count(const struct drill_watch *watch);

#endif
