/*
 * mem.h - heap memory; running out of it ends the process.
 *
 * What a peer can make large is bounded before it is allocated, so a failing malloc is an
 * operator's problem and not a code path on every line. Memory comes zeroed: {0} is the empty state
 * of every struct of ours.
 */
#ifndef ISTHMUS_BASE_MEM_H
#define ISTHMUS_BASE_MEM_H

#include <stddef.h>

/* Zeroed memory. Never NULL. Free with mem_free(). */
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));
void *mem_zalloc_array(size_t count, size_t size) __attribute__((malloc, returns_nonnull));

/* Uninitialised memory, for byte buffers that are about to be filled. */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));

/* Grows or shrinks; the added part is not zeroed. Control-plane code only, never on the path of a
 * byte. */
void *mem_realloc(void *ptr, size_t size) __attribute__((returns_nonnull, alloc_size(2)));

/* Accepts NULL. */
void mem_free(void *ptr);

/* Gives what was freed back to the system, as far as whole pages are free; the heap keeps it
 * otherwise. It goes through all of the heap: milliseconds for hundreds of megabytes. */
void mem_trim(void);

/* Overwrites memory in a way that the compiler may not remove: keys and tokens, before they are
 * freed. */
void mem_wipe(void *ptr, size_t size);

#define mem_new(type)              ((type *)mem_zalloc(sizeof(type)))
#define mem_new_array(type, count) ((type *)mem_zalloc_array((count), sizeof(type)))

#endif
