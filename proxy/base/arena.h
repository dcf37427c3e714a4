/*
 * arena.h - memory that is freed all at once.
 *
 * A bump allocator over chunks. {0} is an empty arena that owns nothing. Everything allocated from
 * it lives until arena_fini() or arena_reset(). Used for snapshots, parsed resources, flows' own
 * strings. Who has room beside the struct lends it (arena_lend()), and an arena that finds place
 * there never asks the heap.
 *
 * Owner:  whoever embeds the struct.
 * Thread: one at a time.
 */
#ifndef ISTHMUS_BASE_ARENA_H
#define ISTHMUS_BASE_ARENA_H

#include <stddef.h>

#include "proxy/base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t allocated_bytes;     /* what was handed out */
};

/* Makes an empty arena's first chunk so large, for one that lives long and whose size is known: the
 * sum of arena_room() of what it will be asked for. */
void arena_start(struct arena *arena, size_t size);
size_t arena_room(size_t size);
/* The same where so much is likely to be asked for: within what chunks may be. */
void arena_expect(struct arena *arena, size_t size);

/* Zeroed memory aligned for any type; never NULL. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((returns_nonnull));
void *arena_alloc_array(struct arena *arena, size_t count, size_t size)
    __attribute__((returns_nonnull));

/* The first chunk of an empty arena is room of the caller's, which outlives what is allocated and
 * need not be zeroed. */
void arena_lend(struct arena *arena, void *room, size_t bytes);

/* A copy of the bytes, with a NUL behind them that the length does not count. */
struct str arena_str(struct arena *arena, struct str text);
struct str arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

/* Frees all but keeps nothing (the arena is as {0} again). fini and reset differ in name only:
 * intent for the reader. */
void arena_reset(struct arena *arena);
void arena_fini(struct arena *arena);
/* The same for an arena that holds a secret: all of it is overwritten first. */
void arena_wipe(struct arena *arena);

#define arena_new(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define arena_new_array(arena, type, count)                                                        \
    ((type *)arena_alloc_array((arena), (count), sizeof(type)))

#endif
