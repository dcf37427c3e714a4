/*
 * arena.c - chunks that double in size, so that an arena of any size costs few calls of the heap.
 *
 * What is larger than a quarter of the next chunk gets a chunk of its own, filed behind the current
 * one, whose rest stays in use.
 */
#include "proxy/base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/mem.h"

/* With its head the most that malloc has at hand for a thread. */
#define CHUNK_FIRST_BYTES ((size_t)992)
#define CHUNK_MAX_BYTES   ((size_t)65536)

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, cap;
    bool is_lent; /* not ours to free, and not zeroed */
    max_align_t bytes[];
};

static struct arena_chunk *chunk_new(size_t cap)
{
    struct arena_chunk *chunk = mem_zalloc(sizeof(*chunk) + cap);

    chunk->cap = cap;
    return chunk;
}

static void *chunk_take(struct arena_chunk *chunk, size_t size)
{
    char *ptr = (char *)chunk->bytes + chunk->used;

    chunk->used += size;
    if (chunk->is_lent)
        memset(ptr, 0, size);
    return ptr;
}

static size_t next_cap(const struct arena *arena)
{
    if (!arena->chunks)
        return CHUNK_FIRST_BYTES;
    return arena->chunks->cap >= CHUNK_MAX_BYTES / 2 ? CHUNK_MAX_BYTES : arena->chunks->cap * 2;
}

static void *alloc_in_new_chunk(struct arena *arena, size_t size)
{
    size_t cap = next_cap(arena);

    if (size > cap / 4 && arena->chunks) {
        struct arena_chunk *own = chunk_new(size);
        own->next = arena->chunks->next;
        arena->chunks->next = own;
        return chunk_take(own, size);
    }
    struct arena_chunk *chunk = chunk_new(size > cap ? size : cap);
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return chunk_take(chunk, size);
}

size_t arena_room(size_t size)
{
    const size_t unit = alignof(max_align_t);

    return (size + unit - 1) / unit * unit;
}

void arena_start(struct arena *arena, size_t size)
{
    ensure(!arena->chunks && size <= CHUNK_MAX_BYTES);
    arena->chunks = chunk_new(size);
}

void arena_expect(struct arena *arena, size_t size)
{
    if (size > CHUNK_FIRST_BYTES)
        arena_start(arena, size < CHUNK_MAX_BYTES ? size : CHUNK_MAX_BYTES);
}

void *arena_alloc(struct arena *arena, size_t size)
{
    ensure(size <= SIZE_MAX / 2);
    size = arena_room(size);
    arena->allocated_bytes += size;
    if (arena->chunks && arena->chunks->cap - arena->chunks->used >= size)
        return chunk_take(arena->chunks, size);
    return alloc_in_new_chunk(arena, size);
}

void *arena_alloc_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;

    ensure(!__builtin_mul_overflow(count, size, &total));
    return arena_alloc(arena, total);
}

struct str arena_str(struct arena *arena, struct str text)
{
    char *copy = arena_alloc(arena, text.len + 1);

    if (text.len)
        memcpy(copy, text.ptr, text.len);
    return (struct str){copy, text.len};
}

struct str arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    int len;
    char *copy;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ensure(len >= 0);
    copy = arena_alloc(arena, (size_t)len + 1);
    (void)vsnprintf(copy, (size_t)len + 1, format, again);
    va_end(again);
    return (struct str){copy, (size_t)len};
}

void arena_lend(struct arena *arena, void *room, size_t bytes)
{
    const size_t unit = alignof(max_align_t), skipped = -(uintptr_t)room % unit;
    struct arena_chunk *chunk = (void *)((char *)room + skipped);

    ensure(!arena->chunks && bytes > skipped + sizeof(*chunk));
    *chunk = (struct arena_chunk){.cap = bytes - skipped - sizeof(*chunk), .is_lent = true};
    arena->chunks = chunk;
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;

    while (chunk) {
        struct arena_chunk *next = chunk->next;
        if (!chunk->is_lent)
            mem_free(chunk);
        chunk = next;
    }
    *arena = (struct arena){0};
}

void arena_fini(struct arena *arena)
{
    arena_reset(arena);
}

void arena_wipe(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->chunks; chunk; chunk = chunk->next)
        mem_wipe(chunk->bytes, chunk->used);
    arena_reset(arena);
}
