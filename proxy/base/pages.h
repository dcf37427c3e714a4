/*
 * pages.h - memory in whole pages, straight from the kernel: what lies fallow goes back to it.
 *
 * The heap keeps what is freed, as holes between what lives longer. Buffers that a burst fills and
 * that are empty most of the time lie in pages of their own, which take no memory until they are
 * touched, nor after pages_drop().
 *
 * Owner: who made them. Thread: one at a time. Errors: out of memory ends the process.
 */
#ifndef ISTHMUS_BASE_PAGES_H
#define ISTHMUS_BASE_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#define PAGE_BYTES ((size_t)4096)

/* Zeroed, and aligned to a page; bytes is rounded up to whole ones. */
void *pages_new(size_t bytes) __attribute__((returns_nonnull));
void pages_free(void *pages, size_t bytes); /* accepts NULL */
/* What whole pages hold is lost, and they are zero when they are next looked at. False where the
 * kernel does not give them up, as where memory is locked: then they are as they were. */
bool pages_drop(void *pages, size_t bytes);
/* Of them, how many are touched: for tests. */
size_t pages_touched(void *pages, size_t bytes);

#endif
