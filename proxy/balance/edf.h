/*
 * edf.h - weighted round robin: earliest deadline first.
 *
 * Every item has a deadline, one period of 1/weight after its last turn; the earliest is next, the
 * longest waiting of equals first. An item of weight 2 has two turns for each of one of weight 1,
 * spread evenly rather than in a row. Weights may be other ones at each turn: least request and
 * slow start use that.
 *
 * A schedule begins in its middle, after a number of turns that differs from client to client, so
 * that many clients that start together do not all begin with the same item.
 *
 * Cost:  O(log n) a turn, O(n) to start, 24 bytes an item.
 * Owner: whoever embeds it; edf_fini() frees. {0} has no items. Thread: one at a time.
 * Source: Envoy, edf_scheduler.h.
 */
#ifndef ISTHMUS_BALANCE_EDF_H
#define ISTHMUS_BALANCE_EDF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct edf_entry {
    double deadline;
    uint64_t order; /* of equal deadlines the one filed first */
    uint32_t item;
};

struct edf {
    struct edf_entry *heap;
    size_t len, cap;
    double now; /* the deadline of the last turn */
    uint64_t n_filed;
};

/* The items 0 to n-1 with their weights, as after that many turns, whatever was there before. An
 * item whose weight is not above zero has no turns. */
void edf_start(struct edf *edf, const double *weights, size_t n, uint32_t turns);
void edf_fini(struct edf *edf);

static inline bool edf_is_empty(const struct edf *edf)
{
    return edf->len == 0;
}

/* Whose turn it is. There is an item. */
uint32_t edf_peek(const struct edf *edf);

/* The item of edf_peek() had its turn and gets its next one by this weight; out of the schedule if
 * it is not above zero. */
void edf_turn(struct edf *edf, double weight);

/* One more item, its first turn after one period from now. */
void edf_add(struct edf *edf, uint32_t item, double weight);

#endif
