/*
 * record_ring.c - a ring of bytes in which every record stands behind its length.
 *
 * Happy path: the producer copies length and record behind the head and moves the head (release);
 * the consumer sees the head (acquire), copies the record out and moves the tail. Failure mode: no
 * room, the record is counted and forgotten.
 */
#include "proxy/io/record_ring.h"

#include <stdatomic.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/base/pages.h"

struct record_ring {
    size_t cap;
    char *bytes;
    _Atomic size_t head; /* bytes ever put in; the producer's */
    size_t still_head;   /* where it was since still_ns; the producer's */
    uint64_t still_ns;
    bool is_at_rest;
    _Atomic uint64_t lost, held_back;
    char apart[64];      /* keeps the two ends off one cache line */
    _Atomic size_t tail; /* bytes ever taken out; the consumer's */
};

struct record_ring *record_ring_new(size_t cap_bytes)
{
    ensure(cap_bytes > 0 && (cap_bytes & (cap_bytes - 1)) == 0);
    struct record_ring *ring = mem_new(struct record_ring);
    ring->cap = cap_bytes;
    ring->bytes = pages_new(cap_bytes);
    return ring;
}

void record_ring_free(struct record_ring *ring)
{
    if (ring)
        pages_free(ring->bytes, ring->cap);
    mem_free(ring);
}

static void copy_in(struct record_ring *ring, size_t at, const void *bytes, size_t len)
{
    const size_t start = at & (ring->cap - 1);
    const size_t first = len < ring->cap - start ? len : ring->cap - start;
    memcpy(ring->bytes + start, bytes, first);
    memcpy(ring->bytes, (const char *)bytes + first, len - first);
}

static void copy_out(const struct record_ring *ring, size_t at, void *out_bytes, size_t len)
{
    const size_t start = at & (ring->cap - 1);
    const size_t first = len < ring->cap - start ? len : ring->cap - start;
    memcpy(out_bytes, ring->bytes + start, first);
    memcpy((char *)out_bytes + first, ring->bytes, len - first);
}

bool record_ring_try(struct record_ring *ring, struct str record, size_t spare_bytes)
{
    const size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    const size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    const uint32_t len = (uint32_t)record.len;

    if (sizeof(len) + record.len + spare_bytes > ring->cap - (head - tail))
        return false;
    copy_in(ring, head, &len, sizeof(len));
    copy_in(ring, head + sizeof(len), record.ptr, record.len);
    atomic_store_explicit(&ring->head, head + sizeof(len) + record.len, memory_order_release);
    return true;
}

bool record_ring_put(struct record_ring *ring, struct str record)
{
    const bool is_in = record_ring_try(ring, record, 0);
    if (!is_in)
        record_ring_lose(ring, 1);
    return is_in;
}

size_t record_ring_take(struct record_ring *ring, char *out_record, size_t cap)
{
    const size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    const size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint32_t len;

    if (head == tail)
        return 0;
    copy_out(ring, tail, &len, sizeof(len));
    ensure(len <= cap);
    copy_out(ring, tail + sizeof(len), out_record, len);
    atomic_store_explicit(&ring->tail, tail + sizeof(len) + len, memory_order_release);
    return len;
}

/* The consumer looks at nothing but what is between tail and head: with nothing there, the room is
 * the producer's alone. */
bool record_ring_rest(struct record_ring *ring, uint64_t now_ns)
{
    const size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    const size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

    if (head != tail || head != ring->still_head) {
        ring->still_head = head;
        ring->still_ns = now_ns;
        ring->is_at_rest = false;
    } else if (!ring->is_at_rest && now_ns - ring->still_ns >= RECORD_RING_STILL_NS) {
        ring->is_at_rest = true;
        (void)pages_drop(ring->bytes, ring->cap);
    }
    return ring->is_at_rest;
}

size_t record_ring_pages(const struct record_ring *ring)
{
    return pages_touched(ring->bytes, ring->cap);
}

void record_ring_lose(struct record_ring *ring, uint64_t n)
{
    atomic_fetch_add_explicit(&ring->lost, n, memory_order_relaxed);
}

void record_ring_hold_back(struct record_ring *ring)
{
    atomic_fetch_add_explicit(&ring->held_back, 1, memory_order_relaxed);
}

uint64_t record_ring_held_back(const struct record_ring *ring)
{
    return atomic_load_explicit(&ring->held_back, memory_order_relaxed);
}

uint64_t record_ring_lost(const struct record_ring *ring)
{
    return atomic_load_explicit(&ring->lost, memory_order_relaxed);
}
