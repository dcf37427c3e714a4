/*
 * buf.h - a bounded queue of slices: what waits to be written.
 *
 * Filled at the back, emptied at the front, across slice borders. It knows two marks given at
 * birth: at or above high the producer must stop; once it stopped, at or below low it may go on.
 * Small slices are copied into the queue's own tail so that a queued 60-byte message does not hold
 * a 64 KiB slab. An empty queue holds no memory: its ring goes back to the pool.
 *
 * The hard bound is high + one read (SLAB_BYTES): a producer that obeys cannot exceed it, and
 * buf_push() ensures it.
 *
 * Owner: whoever embeds it; buf_fini() releases what is queued. Thread: the pool's. Units: bytes.
 */
#ifndef ISTHMUS_BASE_BUF_H
#define ISTHMUS_BASE_BUF_H

#include <sys/uio.h>

#include "proxy/base/slice.h"

struct buf {
    struct slice *ring; /* NULL while empty; grows by doubling; bounded by the bytes */
    struct slab_pool *pool;
    size_t bytes;
    uint32_t low, high;
    uint32_t head, len, cap;
    bool full; /* high was reached and low not yet again */
};

void buf_init(struct buf *buf, struct slab_pool *pool, size_t low, size_t high);
void buf_fini(struct buf *buf);

/* Appends; takes the reference. True: go on. False: stop until buf_pop() says that it drained. */
bool buf_push(struct buf *buf, struct slice slice);

/* Fills iov with the front of the queue, at most max entries; returns how many. Nothing is taken
 * out. */
unsigned buf_peek(const struct buf *buf, struct iovec *iov, unsigned max);

/* Drops len bytes from the front. True when this crossed the low mark after the queue had been
 * full: time to resume. */
bool buf_pop(struct buf *buf, size_t len);

/* Takes the first slice out whole (the caller owns its reference); the empty slice if there is
 * none. */
struct slice buf_shift(struct buf *buf, bool *out_drained);

/* Holds true always; tests and debug builds ask. */
bool buf_is_sane(const struct buf *buf);

#endif
