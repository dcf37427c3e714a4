/*
 * buf.c - the ring of slices behind a bounded queue.
 *
 * A slice below SMALL_BYTES is copied: into the free rest of the last slab if the queue alone holds
 * it, else into a new slab of SMALL_BYTES. So what is queued never pins much more memory than its
 * bytes, and the ring stays short.
 */
#include "proxy/base/buf.h"

#include <string.h>

#include "proxy/base/mem.h"

#define SMALL_BYTES    SLAB_SMALL_BYTES
#define RING_FIRST_CAP SLAB_RING_SLICES

void buf_init(struct buf *buf, struct slab_pool *pool, size_t low, size_t high)
{
    ensure(low < high && high <= UINT32_MAX);
    *buf = (struct buf){.low = (uint32_t)low, .high = (uint32_t)high, .pool = pool};
}

static void drop_ring(struct buf *buf)
{
    if (buf->cap == RING_FIRST_CAP)
        slab_ring_free(buf->pool, buf->ring);
    else
        mem_free(buf->ring);
    buf->ring = NULL;
    buf->cap = buf->head = 0;
}

static struct slice *entry_at(const struct buf *buf, uint32_t idx)
{
    return &buf->ring[(buf->head + idx) & (buf->cap - 1)];
}

void buf_fini(struct buf *buf)
{
    for (uint32_t i = 0; i < buf->len; i++)
        slice_release(*entry_at(buf, i));
    drop_ring(buf);
    *buf = (struct buf){.low = buf->low, .high = buf->high, .pool = buf->pool};
}

static void grow_ring(struct buf *buf)
{
    const uint32_t len = buf->len, cap = buf->cap * 2;
    struct slice *ring;

    if (!buf->ring) {
        buf->ring = slab_ring_new(buf->pool);
        buf->cap = RING_FIRST_CAP;
        return;
    }
    ring = mem_new_array(struct slice, cap);
    for (uint32_t i = 0; i < len; i++)
        ring[i] = *entry_at(buf, i);
    drop_ring(buf);
    buf->ring = ring;
    buf->cap = cap;
}

static struct slice *add_entry(struct buf *buf, struct slice slice)
{
    if (buf->len == buf->cap)
        grow_ring(buf);
    struct slice *entry = entry_at(buf, buf->len++);
    *entry = slice;
    return entry;
}

/* How much can be written behind the last slice: nothing where somebody else looks into its slab.
 */
static size_t room_behind(const struct slice *tail)
{
    if (tail->slab->refs != 1)
        return 0;
    return (size_t)(tail->slab->bytes + tail->slab->cap - (tail->ptr + tail->len));
}

static struct slice *tail_with_room(struct buf *buf, size_t len)
{
    struct slab *slab;

    if (buf->len > 0 && room_behind(entry_at(buf, buf->len - 1)) >= len)
        return entry_at(buf, buf->len - 1);
    slab = slab_new(buf->pool, SMALL_BYTES);
    return add_entry(buf, (struct slice){slab, slab->bytes, 0});
}

static void append_copy(struct buf *buf, struct slice slice)
{
    struct slice *tail = tail_with_room(buf, slice.len);

    memcpy(tail->ptr + tail->len, slice.ptr, slice.len);
    tail->len += slice.len;
    tail->slab->used = (uint32_t)(tail->ptr + tail->len - tail->slab->bytes);
    slice_release(slice);
}

/* A small slab that came alone pins nothing: the common case of one message in an empty queue is
 * not copied. */
static bool may_stay_whole(const struct buf *buf, struct slice slice)
{
    if (slice.len >= SMALL_BYTES)
        return true;
    return buf->len == 0 && slice.slab->refs == 1 && slice.slab->cap <= SMALL_BYTES;
}

bool buf_push(struct buf *buf, struct slice slice)
{
    ensure(slice.len <= buf->high + SLAB_BYTES && buf->bytes <= buf->high + SLAB_BYTES - slice.len);
    if (slice.len == 0) {
        slice_release(slice);
        return !buf->full;
    }
    buf->bytes += slice.len;
    if (may_stay_whole(buf, slice))
        (void)add_entry(buf, slice);
    else
        append_copy(buf, slice);
    if (buf->bytes >= buf->high)
        buf->full = true;
    assume(buf->len <= buf->cap);
    return !buf->full;
}

unsigned buf_peek(const struct buf *buf, struct iovec *iov, unsigned max)
{
    unsigned n = buf->len < max ? buf->len : max;

    for (unsigned i = 0; i < n; i++) {
        const struct slice *entry = entry_at(buf, i);
        iov[i] = (struct iovec){.iov_base = entry->ptr, .iov_len = entry->len};
    }
    return n;
}

static struct slice remove_first(struct buf *buf)
{
    struct slice first = *entry_at(buf, 0);

    buf->head = (buf->head + 1) & (buf->cap - 1);
    if (--buf->len == 0)
        drop_ring(buf);
    return first;
}

static bool note_drained(struct buf *buf, size_t len)
{
    buf->bytes -= len;
    if (!buf->full || buf->bytes > buf->low)
        return false;
    buf->full = false;
    return true;
}

bool buf_pop(struct buf *buf, size_t len)
{
    size_t left = len;

    ensure(len <= buf->bytes);
    while (left > 0) {
        struct slice *first = entry_at(buf, 0);
        if (first->len > left) {
            first->ptr += left;
            first->len -= left;
            break;
        }
        left -= first->len;
        slice_release(remove_first(buf));
    }
    return note_drained(buf, len);
}

struct slice buf_shift(struct buf *buf, bool *out_drained)
{
    struct slice first;

    *out_drained = false;
    if (buf->len == 0)
        return (struct slice){0};
    first = remove_first(buf);
    *out_drained = note_drained(buf, first.len);
    return first;
}

bool buf_is_sane(const struct buf *buf)
{
    size_t bytes = 0;

    if (buf->len > buf->cap || (buf->cap & (buf->cap - 1)) != 0)
        return false;
    for (uint32_t i = 0; i < buf->len; i++) {
        const struct slice *entry = entry_at(buf, i);
        if (!entry->slab || entry->slab->refs == 0 || entry->len == 0)
            return false;
        if (entry->ptr + entry->len > entry->slab->bytes + entry->slab->used)
            return false;
        bytes += entry->len;
    }
    return bytes == buf->bytes && bytes <= buf->high + SLAB_BYTES &&
           (buf->full ? bytes > buf->low : bytes < buf->high);
}
