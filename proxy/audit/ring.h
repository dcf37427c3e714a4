/*
 * ring.h - records from one worker to the audit writer: bounded, lock-free, never waiting.
 *
 * One producer, one consumer. A record that does not fit is not put in and is counted: the worker
 * goes on, the writer learns the count and writes it into the log.
 *
 * Owner: the audit; the worker borrows. Thread: put the worker's, peek, take and lost the writer's.
 */
#ifndef ISTHMUS_AUDIT_RING_H
#define ISTHMUS_AUDIT_RING_H

#include "proxy/base/str.h"

struct audit_ring;

/* cap_bytes: a power of two. */
struct audit_ring *audit_ring_new(size_t cap_bytes);
void audit_ring_free(struct audit_ring *ring);

/* False and counted as lost when there is no room. */
bool audit_ring_put(struct audit_ring *ring, struct str record);
/* Copies the oldest record out, cap bytes at most, and takes it: its length, 0 when there is none.
 * Records longer than cap are an error of the caller. */
size_t audit_ring_take(struct audit_ring *ring, char *out_record, size_t cap);
/* Counts a record that was not even made, to bound what others can cause. */
void audit_ring_hold_back(struct audit_ring *ring);
/* Records lost so far, and held back so far. Thread: any. */
uint64_t audit_ring_lost(const struct audit_ring *ring);
uint64_t audit_ring_held_back(const struct audit_ring *ring);

#endif
