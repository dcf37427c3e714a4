/*
 * probe.h - one check of one endpoint: reach it as the traffic does, ask it, within the check's
 * time.
 *
 * Happy path: probe_start() -> reached -> asked -> on_done(ANSWER_GOOD). Failure modes: it cannot
 * be reached or says nothing in time (ANSWER_NONE), it says that it is not well (ANSWER_BAD), our
 * own node or a policy kept us from asking (ANSWER_UNTOLD). why is a sentence for an operator.
 *
 * Owner: probe_start()'s caller until on_done or probe_cancel(). Thread: the loop's. Units: ns.
 */
#ifndef ISTHMUS_HEALTH_PROBE_H
#define ISTHMUS_HEALTH_PROBE_H

#include "proxy/connect/connect.h"
#include "proxy/health/standing.h"

struct probe;

/* reach: whom, and through which tunnel; its time limit is the check's. Both are copied. */
struct probe *probe_start(struct loop *loop, struct connector *connector,
                          const struct connect_request *reach, const struct health_check *check,
                          void (*on_done)(void *owner, enum answer answer, struct str why),
                          void *owner);
void probe_cancel(struct probe *probe);

#endif
