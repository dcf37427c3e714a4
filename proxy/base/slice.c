#include "proxy/base/slice.h"

#include <sanitizer/asan_interface.h>
#include <stdalign.h>
#include <string.h>

#include "proxy/base/mem.h"

void slab_pool_init(struct slab_pool *pool, uint32_t max_free)
{
    *pool = (struct slab_pool){.max_free = max_free};
}

static void free_chain(struct slab *slab)
{
    while (slab) {
        struct slab *next = slab->next_free;
        mem_free(slab);
        slab = next;
    }
}

void slab_pool_fini(struct slab_pool *pool)
{
    ensure(pool->n_live == 0 && pool->live_bytes == 0);
    free_chain(pool->free);
    free_chain(pool->free_small);
    while (pool->n_free_rings > 0)
        mem_free(pool->free_rings[--pool->n_free_rings]);
    *pool = (struct slab_pool){0};
}

struct slice *slab_ring_new(struct slab_pool *pool)
{
    if (pool->n_free_rings > 0) {
        pool->n_reused++;
        return pool->free_rings[--pool->n_free_rings];
    }
    pool->n_made++;
    return mem_alloc(SLAB_RING_SLICES * sizeof(struct slice));
}

void slab_ring_free(struct slab_pool *pool, struct slice *ring)
{
    if (pool->n_free_rings < SLAB_RINGS_KEPT)
        pool->free_rings[pool->n_free_rings++] = ring;
    else
        mem_free(ring);
}

static struct slab *begin(struct slab *slab)
{
    struct slab_pool *pool = slab->pool;

    slab->refs = 1;
    slab->used = 0;
    pool->live_bytes += slab->cap;
    pool->n_live++;
    return slab;
}

__attribute__((noinline)) static struct slab *make(struct slab_pool *pool, size_t size)
{
    struct slab *slab;

    ensure(size <= UINT32_MAX);
    slab = mem_alloc(sizeof(*slab) + size);
    slab->cap = (uint32_t)size;
    slab->pool = pool;
    pool->n_made++;
    return begin(slab);
}

/* What it is and whose it stays while it waits. */
static struct slab *take_free(struct slab_pool *pool, struct slab **free, uint32_t *n_free)
{
    struct slab *slab = *free;

    *free = slab->next_free;
    --*n_free;
    ASAN_UNPOISON_MEMORY_REGION(slab->bytes, slab->cap);
    pool->n_reused++;
    return begin(slab);
}

struct slab *slab_new(struct slab_pool *pool, size_t size)
{
    if (size == 0)
        size = SLAB_BYTES;
    if (size == SLAB_SMALL_BYTES && pool->free_small)
        return take_free(pool, &pool->free_small, &pool->n_free_small);
    if (size == SLAB_BYTES && pool->free)
        return take_free(pool, &pool->free, &pool->n_free);
    return make(pool, size);
}

static void keep(struct slab *slab, struct slab **free, uint32_t *n_free, uint32_t max_free)
{
    if (*n_free >= max_free) {
        mem_free(slab);
        return;
    }
    slab->next_free = *free;
    *free = slab;
    ++*n_free;
    ASAN_POISON_MEMORY_REGION(slab->bytes, slab->cap); /* a sanitizer tells who still uses it */
}

void slab_return(struct slab *slab)
{
    struct slab_pool *pool = slab->pool;

    pool->live_bytes -= slab->cap;
    pool->n_live--;
    if (slab->cap == SLAB_BYTES)
        keep(slab, &pool->free, &pool->n_free, pool->max_free);
    else if (slab->cap == SLAB_SMALL_BYTES)
        keep(slab, &pool->free_small, &pool->n_free_small, pool->max_free);
    else
        mem_free(slab);
}

_Static_assert(offsetof(struct slab, bytes) % alignof(max_align_t) == 0, "blocks are aligned");

void *slab_block_new(struct slab_pool *pool)
{
    return slab_new(pool, SLAB_SMALL_BYTES)->bytes;
}

void slab_block_free(void *block)
{
    if (block)
        slab_unref(container_of((uint8_t(*)[])block, struct slab, bytes));
}

struct slice slice_of(struct slab *slab, size_t offset, size_t len)
{
    ensure(offset <= slab->cap && len <= slab->cap - offset);
    if (len == 0)
        return (struct slice){0};
    if (slab->used < offset + len)
        slab->used = (uint32_t)(offset + len);
    slab_ref(slab);
    return (struct slice){slab, slab->bytes + offset, len};
}

struct slice slice_copy(struct slab_pool *pool, const void *bytes, size_t len)
{
    struct slab *slab;

    if (len == 0)
        return (struct slice){0};
    slab = slab_new(pool, len);
    slab->used = slab->cap;
    memcpy(slab->bytes, bytes, len);
    return (struct slice){slab, slab->bytes, len};
}

struct slice slice_ref(struct slice slice)
{
    if (slice.slab)
        slab_ref(slice.slab);
    return slice;
}

struct slice slice_sub(struct slice slice, size_t offset, size_t len)
{
    ensure(offset <= slice.len && len <= slice.len - offset);
    if (len == 0)
        return (struct slice){0};
    slab_ref(slice.slab);
    return (struct slice){slice.slab, slice.ptr + offset, len};
}

void slice_release(struct slice slice)
{
    if (slice.slab)
        slab_unref(slice.slab);
}
