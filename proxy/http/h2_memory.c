/*
 * h2_memory.c - where nghttp2's memory comes from: the heap, but for the buffer of 16 KiB in which
 * a session makes its frames, which is most of what an idle connection would hold.
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
#define RUBBISH     0xdb

static _Thread_local struct {
    uint8_t bytes[ROOM_BYTES];
    bool is_birth; /* of a session, which asks for its buffer */
    bool is_taken;
} room;

static void *get(size_t size, void *user_data)
{
    (void)user_data;
    if (room.is_birth && size > FRAME_LEAST && size <= ROOM_BYTES) {
        room.is_birth = false; /* the first one alone */
        return room.bytes;
    }
    return mem_alloc(size);
}

static void *get_zeroed(size_t count, size_t size, void *user_data)
{
    (void)user_data;
    return mem_zalloc_array(count, size);
}

static void give_back(void *ptr, void *user_data)
{
    (void)user_data;
    if (ptr != room.bytes)
        mem_free(ptr);
}

static void *get_more(void *ptr, size_t size, void *user_data)
{
    void *larger;

    if (!ptr)
        return get(size, user_data);
    if (ptr != room.bytes)
        return mem_realloc(ptr, size);
    larger = mem_alloc(size);
    memcpy(larger, ptr, size < ROOM_BYTES ? size : ROOM_BYTES);
    return larger;
}

nghttp2_mem *h2_memory_for_birth(void)
{
    static nghttp2_mem memory = {NULL, get, give_back, get_zeroed, get_more};

    ensure(!room.is_taken);
    room.is_birth = true;
    return &memory;
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
