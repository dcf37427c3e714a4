/*
 * pace.h - long work of a thread for whose end others should not have to wait.
 *
 * The kernel lets who computes go on for milliseconds, up to its next tick, even if somebody who
 * matters more became ready meanwhile. A thread that keeps a pace offers the processor in between:
 * whoever does work that grows with the configuration calls pace() between two steps of it, and
 * does not care which thread it is on.
 *
 * Thread: the calling one alone.
 */
#ifndef ISTHMUS_BASE_PACE_H
#define ISTHMUS_BASE_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_NS 200000 /* of work without an offer, for who has nothing better to go by */

/* From now on pace() does something on this thread: after so much work without an offer, by the
 * clock on the wall. */
void pace_keep(uint64_t every_ns);

/* Offers the processor to others if that was long ago, which is what true says. Costs one look at
 * the clock; nothing in threads that keep no pace. Nobody is waited for where nobody waits. */
bool pace(void);

#endif
