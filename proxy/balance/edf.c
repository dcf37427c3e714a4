/*
 * A binary heap in an array. Skipping the first turns is done by arithmetic: in P turns an item of
 * weight w of a sum W has at least floor(P * w / W); those are counted into its deadline, and fewer
 * than n turns remain to be taken one by one.
 */
#include "proxy/balance/edf.h"

#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"

static bool is_before(const struct edf_entry *a, const struct edf_entry *b)
{
    return a->deadline < b->deadline || (a->deadline <= b->deadline && a->order < b->order);
}

static void sift_down(struct edf *edf, size_t at)
{
    const struct edf_entry entry = edf->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= edf->len)
            break;
        if (child + 1 < edf->len && is_before(&edf->heap[child + 1], &edf->heap[child]))
            child++;
        if (!is_before(&edf->heap[child], &entry))
            break;
        edf->heap[at] = edf->heap[child];
        at = child;
    }
    edf->heap[at] = entry;
}

static void sift_up(struct edf *edf, size_t at)
{
    const struct edf_entry entry = edf->heap[at];
    while (at > 0 && is_before(&entry, &edf->heap[(at - 1) / 2])) {
        edf->heap[at] = edf->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    edf->heap[at] = entry;
}

static void reserve(struct edf *edf, size_t cap)
{
    if (cap <= edf->cap)
        return;
    edf->cap = cap;
    edf->heap = mem_realloc(edf->heap, cap * sizeof *edf->heap);
}

void edf_start(struct edf *edf, const double *weights, size_t n, uint32_t turns)
{
    double sum = 0;
    uint64_t left = turns;
    edf->len = 0;
    edf->now = 0;
    edf->n_filed = 0;
    reserve(edf, n);
    for (size_t i = 0; i < n; i++)
        sum += weights[i] > 0 ? weights[i] : 0;
    for (size_t i = 0; i < n; i++) {
        if (!(weights[i] > 0))
            continue;
        uint64_t had = (uint64_t)(turns * (weights[i] / sum));
        had = had < left ? had : left;
        left -= had;
        const double last = (double)had / weights[i];
        edf->now = last > edf->now ? last : edf->now;
        edf->heap[edf->len++] = (struct edf_entry){.deadline = (double)(had + 1) / weights[i],
                                                   .order = edf->n_filed++,
                                                   .item = (uint32_t)i};
    }
    for (size_t i = edf->len / 2; i-- > 0;)
        sift_down(edf, i);
    for (; left > 0 && edf->len > 0; left--)
        edf_turn(edf, weights[edf_peek(edf)]);
}

void edf_fini(struct edf *edf)
{
    mem_free(edf->heap);
    *edf = (struct edf){0};
}

uint32_t edf_peek(const struct edf *edf)
{
    ensure(edf->len > 0);
    return edf->heap[0].item;
}

void edf_turn(struct edf *edf, double weight)
{
    ensure(edf->len > 0);
    edf->now = edf->heap[0].deadline;
    if (weight > 0) {
        edf->heap[0].deadline = edf->now + 1 / weight;
        edf->heap[0].order = edf->n_filed++;
    } else {
        edf->heap[0] = edf->heap[--edf->len];
    }
    if (edf->len > 0)
        sift_down(edf, 0);
}

void edf_add(struct edf *edf, uint32_t item, double weight)
{
    if (!(weight > 0))
        return;
    if (edf->len == edf->cap)
        reserve(edf, edf->cap > 0 ? 2 * edf->cap : 8);
    edf->heap[edf->len] = (struct edf_entry){
        .deadline = edf->now + 1 / weight, .order = edf->n_filed++, .item = item};
    sift_up(edf, edf->len++);
}
