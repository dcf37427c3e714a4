/*
 * loop_uv.h - the inside of a loop, for the files of this room: libuv, the count of handles, memory
 * that reads share.
 *
 * Thread: the loop's.
 */
#ifndef ISTHMUS_IO_LOOP_UV_H
#define ISTHMUS_IO_LOOP_UV_H

#include <uv.h>

#include "proxy/io/loop.h"

uv_loop_t *loop_uv(struct loop *loop);

/* Every libuv handle is counted from its init to its close callback. */
void loop_handle_opened(struct loop *loop);
void loop_handle_closed(struct loop *loop);

/* Splices are counted, since each holds descriptors. */
void loop_splice_opened(struct loop *loop);
void loop_splice_closed(struct loop *loop);
unsigned loop_splices(const struct loop *loop);

/*
 * The slab that the next read goes into, behind its used bytes; at least LOOP_READ_MIN of it are
 * free. All connections of a loop share it, since a read is consumed before the next one starts:
 * small reads fill it one after the other, and an idle connection holds none. Borrowed.
 */
#define LOOP_READ_MIN ((size_t)16384)
struct slab *loop_read_slab(struct loop *loop);

/* The number of the turn; only good for telling turns apart. */
uint32_t loop_turn_number(const struct loop *loop);

/* A block of at least that size, uninitialised, shared by whoever needs memory for no longer than
 * one call. */
void *loop_scratch(struct loop *loop, size_t bytes);

#endif
