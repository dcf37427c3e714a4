/*
 * A slice holds its whole slab. So a large piece is kept by reference, and small ones, of which
 * many would hold a slab each, are copied.
 */
#include "proxy/flow/replay.h"

#include "proxy/base/mem.h"

struct replay_pieces {
    struct slice at[REPLAY_PIECES_MAX];
    unsigned n;
    size_t held_bytes; /* as the worker counts them */
};

void replay_drop(struct replay *replay, size_t *worker_bytes)
{
    struct replay_pieces *pieces = replay->pieces;
    replay->pieces = NULL;
    if (!pieces)
        return;
    for (unsigned i = 0; i < pieces->n; i++)
        slice_release(pieces->at[i]);
    *worker_bytes -= pieces->held_bytes;
    mem_free(pieces);
}

static void lose(struct replay *replay, size_t *worker_bytes)
{
    replay_drop(replay, worker_bytes);
    replay->is_lost = true;
}

void replay_keep(struct replay *replay, size_t *worker_bytes, struct slab_pool *slabs,
                 struct slice bytes)
{
    const bool is_small = bytes.len < SLAB_SMALL_BYTES;
    const size_t held_bytes = is_small || !bytes.slab ? bytes.len : bytes.slab->cap;
    struct replay_pieces *pieces = replay->pieces;
    if (replay->is_lost || bytes.len == 0)
        return;
    if (replay->len + bytes.len > REPLAY_BYTES_MAX ||
        *worker_bytes + held_bytes > REPLAY_WORKER_BYTES ||
        (pieces && pieces->n == REPLAY_PIECES_MAX)) {
        lose(replay, worker_bytes);
        return;
    }
    if (!pieces)
        pieces = replay->pieces = mem_new(struct replay_pieces);
    pieces->at[pieces->n++] = is_small ? slice_copy(slabs, bytes.ptr, bytes.len) : slice_ref(bytes);
    pieces->held_bytes += held_bytes;
    *worker_bytes += held_bytes;
    replay->len += bytes.len;
}

bool replay_has(const struct replay *replay, uint64_t len)
{
    return !replay->is_lost && replay->len == len && (len == 0 || replay->pieces);
}

void replay_say(const struct replay *replay, void (*say)(void *owner, struct slice bytes),
                void *owner)
{
    for (unsigned i = 0; replay->pieces && i < replay->pieces->n; i++)
        say(owner, replay->pieces->at[i]);
}
