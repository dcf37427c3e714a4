/*
 * Envoy goes through all hosts in every round and skips those whose turn it is not, and compares
 * normalised weights as fractions. Here a heap says whose turn is next, so one heavy host among
 * thousands of light ones costs no more than equal ones, and whole numbers decide without rounding:
 * a target stays below size * 2^32.
 */
#include "proxy/balance/maglev.h"

#include <stdlib.h>

#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"

#define FREE UINT32_MAX

struct filler { /* a host while the table is filled */
    struct str key;
    uint32_t host;
    uint32_t weight;
    uint32_t rank;   /* by key */
    uint64_t target; /* of round * weight, for its next turn */
    uint64_t round;  /* of its next turn */
    uint32_t at, skip;
};

bool maglev_is_size(uint32_t size)
{
    if (size < 3 || size % 2 == 0)
        return false;
    for (uint64_t divisor = 3; divisor * divisor <= size; divisor += 2) {
        if (size % divisor == 0)
            return false;
    }
    return true;
}

static int by_key(const void *left, const void *right)
{
    const struct filler *a = left, *b = right;
    return str_cmp(a->key, b->key);
}

static size_t make_fillers(const struct hash_host *hosts, size_t n, uint32_t size,
                           struct filler *fillers)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (hosts[i].weight == 0)
            continue;
        fillers[len++] =
            (struct filler){.key = hosts[i].key,
                            .host = (uint32_t)i,
                            .weight = hosts[i].weight,
                            .at = (uint32_t)(str_hash(hosts[i].key, 0) % size),
                            .skip = (uint32_t)(str_hash(hosts[i].key, 1) % (size - 1)) + 1};
    }
    qsort(fillers, len, sizeof *fillers, by_key);
    return len;
}

static uint32_t step(const struct filler *filler, uint32_t size)
{
    return (uint32_t)(((uint64_t)filler->at + filler->skip) % size);
}

/* Turns are taken round by round, within a round by key. */
static bool is_before(const struct filler *a, const struct filler *b)
{
    return a->round < b->round || (a->round == b->round && a->rank < b->rank);
}

static void sift_down(struct filler *heap, size_t n)
{
    const struct filler filler = heap[0];
    size_t at = 0;
    for (size_t child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &filler))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = filler;
}

/* Its next turn is in the first round, after this one, in which round * weight reaches the target.
 */
static void take_turn(struct filler *filler, uint32_t max_weight, uint32_t *table, uint32_t size)
{
    while (table[filler->at] != FREE)
        filler->at = step(filler, size);
    table[filler->at] = filler->host;
    filler->at = step(filler, size);
    filler->target += max_weight;
    assume(filler->weight > 0);
    const uint64_t due = (filler->target + filler->weight - 1) / filler->weight;
    filler->round = due > filler->round ? due : filler->round + 1;
}

static void fill(struct filler *fillers, size_t n, uint32_t *table, uint32_t size)
{
    uint32_t max_weight = 0;
    for (size_t i = 0; i < n; i++) {
        max_weight = fillers[i].weight > max_weight ? fillers[i].weight : max_weight;
        fillers[i].rank = (uint32_t)i;
        fillers[i].round = 1;
    }
    for (uint32_t taken = 0; taken < size; taken++) {
        take_turn(&fillers[0], max_weight, table, size);
        sift_down(fillers, n);
    }
}

struct maglev maglev_build(struct arena *arena, const struct hash_host *hosts, size_t n,
                           uint32_t size)
{
    ensure(maglev_is_size(size) && n < FREE);
    struct filler *fillers = mem_new_array(struct filler, n);
    const size_t len = make_fillers(hosts, n, size, fillers);
    struct maglev maglev = {0};
    if (len > 0) {
        uint32_t *table = arena_new_array(arena, uint32_t, size);
        for (uint32_t i = 0; i < size; i++)
            table[i] = FREE;
        fill(fillers, len, table, size);
        maglev = (struct maglev){table, size};
    }
    mem_free(fillers);
    return maglev;
}

uint32_t maglev_find(const struct maglev *maglev, uint64_t hash, uint32_t attempt)
{
    ensure(maglev->len > 0);
    if (attempt > 0)
        hash ^= ~UINT64_C(0) - attempt + 1;
    return maglev->table[hash % maglev->len];
}
