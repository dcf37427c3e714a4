/*
 * h2_memory.c - where nghttp2's memory comes from: the heap, but for what a session asks for when
 * it is born, which is most of what an idle connection would hold. Its large blocks lie in a nest;
 * the buffer of 16 KiB in which it makes its frames is its thread's.
 *
 * Between two calls of nghttp2_session_mem_send() there is nothing in that buffer that is read
 * again: what it returned was copied into the stage, and a frame that goes on (CONTINUATION) does
 * so in a buffer of its own. A client's preface is there from birth, and leaves at once. So all
 * sessions of a thread have one. Two things stand guard over that: one session at a time sends, and
 * in builds that check assumptions the buffer is filled with rubbish behind each, so that no test
 * would pass with a session that reads there.
 *
 * A newer nghttp2 that asks for another size gets it from the heap.
 */
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/http/h2_internal.h"

#define FRAME_LEAST ((size_t)16384) /* the payload that a session makes room for */
#define ROOM_BYTES  ((size_t)17408)
#define LARGE_LEAST ((size_t)512) /* of what lies in a nest */
#define RUBBISH     0xdb

static _Thread_local struct {
    uint8_t bytes[ROOM_BYTES];
    bool is_birth;   /* a session is being made: what it takes, it keeps until its end */
    bool wants_room; /* and has not taken its buffer yet */
    bool is_taken;
} room;

/* What is large and comes later goes again as well. */
static bool nestles(size_t size)
{
    return size <= H2_NEST_SMALL || (room.is_birth && size >= LARGE_LEAST);
}

static void *get(size_t size, void *nest)
{
    void *block;

    if (room.is_birth && room.wants_room && size > FRAME_LEAST && size <= ROOM_BYTES) {
        room.wants_room = false; /* the first one alone */
        return room.bytes;
    }
    block = nestles(size) ? h2_nest_take(nest, size) : NULL;
    return block ? block : mem_alloc(size);
}

static void *get_zeroed(size_t count, size_t size, void *nest)
{
    void *block = NULL;
    size_t total;

    if (!__builtin_mul_overflow(count, size, &total) && nestles(total))
        block = h2_nest_take(nest, total);
    return block ? block : mem_zalloc_array(count, size);
}

static void give_back(void *ptr, void *nest)
{
    if (h2_nest_has(nest, ptr))
        h2_nest_give_back(nest, ptr);
    else if (ptr != room.bytes)
        mem_free(ptr);
}

static void *get_more(void *ptr, size_t size, void *nest)
{
    size_t had = ROOM_BYTES;
    void *larger;

    if (!ptr)
        return get(size, nest);
    if (h2_nest_has(nest, ptr))
        had = h2_nest_size(ptr);
    else if (ptr != room.bytes)
        return mem_realloc(ptr, size);
    larger = get(size, nest);
    memcpy(larger, ptr, size < had ? size : had);
    give_back(ptr, nest);
    return larger;
}

nghttp2_mem h2_memory_for_birth(struct h2_nest *nest)
{
    ensure(!room.is_taken);
    room.is_birth = room.wants_room = true;
    return (nghttp2_mem){nest, get, give_back, get_zeroed, get_more};
}

void h2_memory_born(void)
{
    room.is_birth = false;
}

void h2_memory_take(void)
{
    ensure(!room.is_taken); /* else one connection's frames would be another's */
    room.is_taken = true;
}

void h2_memory_give(void)
{
    room.is_taken = false;
    assume(memset(room.bytes, RUBBISH, ROOM_BYTES));
}
