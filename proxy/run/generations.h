/*
 * generations.h - the next snapshot out of what the control stream holds: patched where only
 * workloads changed, else built whole; and how soon after the last one.
 *
 * Thread: the control thread's.
 */
#ifndef ISTHMUS_RUN_GENERATIONS_H
#define ISTHMUS_RUN_GENERATIONS_H

#include "proxy/run/node_state.h"

/* The caller owns it. A drill that ends while control is away calls on_drill_end of
 * node->drill_end.
 */
struct snapshot *generation_next(struct node *node, void (*on_drill_end)(struct timer *timer));

/* What was said of drills does not hold any more: the next one is built whole. */
void generation_reconsider(struct node *node);

/* From now until the next one is due: changes that come faster share a snapshot, and making
 * snapshots takes a twentieth of the time at most, where that does not keep a change from the
 * workers for more than half a second. */
uint64_t generation_wait_ns(const struct node *node);

#endif
