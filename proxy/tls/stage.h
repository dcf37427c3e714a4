/*
 * stage.h - gathers what a turn of the loop writes into full slabs on their way to a lower stream.
 *
 * Both TLS and HTTP/2 make their output in many small pieces (records, frames); the stream below
 * wants few large ones. stage_add() copies a piece into a slab and passes the slab on when it is
 * full; stage_flush() passes on the rest. When the lower stream's queue is full nothing more is
 * passed on until stage_drained(): the caller looks at stage_is_full() before it makes more, so
 * what waits here is at most one slab and the piece that was being made.
 *
 * Owner: whoever embeds it; stage_fini() drops what waits. The lower stream is borrowed. Thread:
 * the loop's.
 */
#ifndef ISTHMUS_TLS_STAGE_H
#define ISTHMUS_TLS_STAGE_H

#include "proxy/io/stream.h"

struct stage {
    struct slab_pool *slabs;
    struct stream *lower;
    struct slab *slab; /* being filled, or NULL */
    size_t used;
    bool full; /* the lower stream said stop */
};

void stage_init(struct stage *stage, struct slab_pool *slabs, struct stream *lower);
void stage_fini(struct stage *stage);
void stage_add(struct stage *stage, const void *bytes, size_t len);
/* Passes on what waits unless the lower stream is full. */
void stage_flush(struct stage *stage);
/* The lower stream's on_drain: passes on what waits. */
void stage_drained(struct stage *stage);

static inline bool stage_is_full(const struct stage *stage)
{
    return stage->full;
}

static inline size_t stage_bytes(const struct stage *stage) /* that wait here */
{
    return stage->used;
}

#endif
