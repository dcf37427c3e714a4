/*
 * record_ring.h - records from one thread to another: bounded, lock-free, never waiting.
 *
 * One producer, one consumer. A record that does not fit is not put in and is counted: the producer
 * goes on, the consumer learns the count. What workers say for the audit log and for traces goes
 * this way. Its room lies in pages, which a burst touches and record_ring_rest() gives back.
 *
 * Owner: whoever consumes; the producer borrows. Thread: put, try, lose, hold_back and rest the
 * producer's, take the consumer's.
 */
#ifndef ISTHMUS_IO_RECORD_RING_H
#define ISTHMUS_IO_RECORD_RING_H

#include "proxy/base/str.h"

struct record_ring;

/* cap_bytes: a power of two. */
struct record_ring *record_ring_new(size_t cap_bytes);
void record_ring_free(struct record_ring *ring);

/* False when it would leave less than spare_bytes of room, or there is none; nothing is counted. */
bool record_ring_try(struct record_ring *ring, struct str record, size_t spare_bytes);
/* False and counted as lost when there is no room. */
bool record_ring_put(struct record_ring *ring, struct str record);
/* Copies the oldest record out, cap bytes at most, and takes it: its length, 0 when there is none.
 * Records longer than cap are an error of the caller. */
size_t record_ring_take(struct record_ring *ring, char *out_record, size_t cap);
/* Asked now and then: gives the memory back once nothing was put in for RECORD_RING_STILL_NS and
 * nothing waits. now_ns: of a clock that never goes back. True: it is at rest. */
#define RECORD_RING_STILL_NS UINT64_C(2000000000)
bool record_ring_rest(struct record_ring *ring, uint64_t now_ns);
/* Counts what did not come in by record_ring_try(). */
void record_ring_lose(struct record_ring *ring, uint64_t n);
/* Counts a record that was not even made, to bound what others can cause. */
void record_ring_hold_back(struct record_ring *ring);
/* Records lost so far, and held back so far. Thread: any. */
uint64_t record_ring_lost(const struct record_ring *ring);
uint64_t record_ring_held_back(const struct record_ring *ring);
/* Pages of its room that take memory: for tests. */
size_t record_ring_pages(const struct record_ring *ring);

#endif
