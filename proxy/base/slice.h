/*
 * slice.h - bytes in transit: reference-counted slabs and the slices that point into them.
 *
 * A slab is a block of bytes of one loop; its count is not atomic and it never leaves its thread. A
 * slice is a window into a slab that holds one reference. Passing bytes on is passing the
 * reference, not copying the bytes.
 *
 * Owner:  a slice value owns one reference: slice_release() gives it back, slice_ref() makes a
 * second one. Functions that take a slice by value say whether they take the reference ("takes") or
 * borrow it. Thread: the pool's. Units: bytes.
 */
#ifndef ISTHMUS_BASE_SLICE_H
#define ISTHMUS_BASE_SLICE_H

#include <stdint.h>

#include "proxy/base/list.h"
#include "proxy/base/str.h"

#define SLAB_BYTES       ((size_t)65536) /* payload of a full slab: one socket read, four TLS records */
#define SLAB_SMALL_BYTES ((size_t)4096) /* of a small one: messages that wait in a queue */

struct slab_pool;

struct slab {
    uint32_t refs;
    uint32_t cap; /* payload bytes */
    uint32_t
        used; /* bytes handed out from the front; the rest may be filled by who alone holds it */
    struct slab_pool *pool; /* where it returns to */
    struct slab *next_free;
    uint8_t bytes[];
};

/* A queue of slices (buf.h) starts with a ring of so many; rings of that size are kept for reuse.
 */
#define SLAB_RING_SLICES 8u
#define SLAB_RINGS_KEPT  64u

/* One per loop. Keeps up to max_free full slabs and as many small ones for reuse; slabs of other
 * sizes come from the heap. */
struct slab_pool {
    struct slab *free, *free_small;
    uint32_t n_free, n_free_small, max_free;
    struct slice *free_rings[SLAB_RINGS_KEPT];
    uint32_t n_free_rings;
    uint64_t live_bytes; /* of all slabs in use: what the memory budget looks at */
    uint64_t n_live;
    uint64_t n_reused, n_made; /* slabs and rings that the pool had, or had not */
};

struct slice {
    struct slab *slab; /* NULL with len 0: the empty slice */
    uint8_t *ptr;
    size_t len;
};

void slab_pool_init(struct slab_pool *pool, uint32_t max_free);
void slab_pool_fini(struct slab_pool *pool); /* ensures that no slab is live */

/* A slab with one reference, of SLAB_BYTES or, when size says so, of a smaller or larger block off
 * the heap. */
struct slab *slab_new(struct slab_pool *pool, size_t size);
void slab_return(struct slab *slab); /* of which nobody has a reference: for slab_unref() */

static inline void slab_ref(struct slab *slab)
{
    assume(slab->refs > 0 && slab->refs < UINT32_MAX);
    slab->refs++;
}

static inline void slab_unref(struct slab *slab)
{
    ensure(slab->refs > 0);
    if (--slab->refs == 0)
        slab_return(slab);
}

/* SLAB_SMALL_BYTES of uninitialised memory, aligned for any type, for what comes and goes with each
 * message: a small slab, reused and counted as they are. */
void *slab_block_new(struct slab_pool *pool) __attribute__((returns_nonnull));
void slab_block_free(void *block); /* accepts NULL */

/* The slice of len bytes at offset; makes a reference of its own. */
struct slice slice_of(struct slab *slab, size_t offset, size_t len);
/* A copy of the bytes in a slab of their size. */
struct slice slice_copy(struct slab_pool *pool, const void *bytes, size_t len);
struct slice slice_ref(struct slice slice);
/* A part of a slice, with a reference of its own. */
struct slice slice_sub(struct slice slice, size_t offset, size_t len);
void slice_release(struct slice slice);

/* Room for SLAB_RING_SLICES slices, uninitialised. For buf.c. */
struct slice *slab_ring_new(struct slab_pool *pool);
void slab_ring_free(struct slab_pool *pool, struct slice *ring);

static inline struct str slice_str(struct slice slice)
{
    return (struct str){(const char *)slice.ptr, slice.len};
}

#endif
