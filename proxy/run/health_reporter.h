/*
 * health_reporter.h - tells the health thread which endpoint sets a worker uses, and the worker's
 * balancer what was found out about their endpoints.
 *
 * Said about once a second of the sets of services with active checks that were called in the last
 * minute; so checks end with the interest in them.
 *
 * Owner: the worker. Thread: its loop's.
 */
#ifndef ISTHMUS_RUN_HEALTH_REPORTER_H
#define ISTHMUS_RUN_HEALTH_REPORTER_H

#include "config/snapshot.h"
#include "proxy/health/checker.h"
#include "proxy/io/loop.h"
#include "proxy/io/mailbox.h"

struct balancer;

struct health_reporter {
    struct loop *loop;
    struct balancer *balancer;
    const struct snapshot *const *snapshot; /* the present one; there may be none yet */
    struct mailbox *inbox;                  /* the worker's */
    struct mailbox *health;                 /* of the health thread; NULL: nobody checks */
    void (*on_states)(void *receiver, const struct health_state *states, size_t n);
    struct timer timer;
};

/* on_states runs in the loop with the receiver of inbox, for health_reporter_hear(). */
void health_reporter_init(struct health_reporter *reporter, struct loop *loop,
                          struct balancer *balancer, const struct snapshot *const *snapshot,
                          struct mailbox *inbox,
                          void (*on_states)(void *receiver, const struct health_state *states,
                                            size_t n));
/* From now on there is somebody to tell. */
void health_reporter_start(struct health_reporter *reporter, struct mailbox *health);
void health_reporter_hear(struct health_reporter *reporter, const struct health_state *states,
                          size_t n);
void health_reporter_stop(struct health_reporter *reporter); /* harmless before the start */

#endif
