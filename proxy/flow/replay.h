/*
 * replay.h - the body of a request as far as it was sent, to be said again to another endpoint.
 *
 * Kept while a route may want a second try and nothing of an answer has been passed on. A body that
 * is larger than the bounds is let go as a whole, and is then not said again.
 *
 * Bounds: REPLAY_BYTES_MAX and REPLAY_PIECES_MAX a body, REPLAY_WORKER_BYTES of memory a worker.
 * Owner: the exchange. Thread: the worker's. Units: bytes.
 */
#ifndef ISTHMUS_FLOW_REPLAY_H
#define ISTHMUS_FLOW_REPLAY_H

#include "proxy/base/slice.h"

#define REPLAY_BYTES_MAX    ((size_t)65536)
#define REPLAY_PIECES_MAX   64u
#define REPLAY_WORKER_BYTES ((size_t)33554432) /* of all bodies that are kept, with their slabs */

struct replay_pieces;

struct replay { /* zero: nothing was said */
    struct replay_pieces *pieces;
    size_t len;
    bool is_lost; /* more was said than is kept */
};

/* worker_bytes: what the worker keeps, of all. */
void replay_keep(struct replay *replay, size_t *worker_bytes, struct slab_pool *slabs,
                 struct slice bytes);
/* All of the first len bytes are kept. */
bool replay_has(const struct replay *replay, uint64_t len);
/* Says them again, in order. */
void replay_say(const struct replay *replay, void (*say)(void *owner, struct slice bytes),
                void *owner);
void replay_drop(struct replay *replay, size_t *worker_bytes);

#endif
