/*
 * weights.h - a weighted draw among items whose weights change: a Fenwick tree of sums.
 *
 * The items lie one behind the other on a line, each as long as its weight; a point on the line
 * belongs to one of them. Items of weight 0 are never found.
 *
 * Cost: O(log n) a change and a look; 8 bytes an item.
 * Owner: the storage is the caller's. Thread: one at a time.
 * Source: Fenwick, "A New Data Structure for Cumulative Frequency Tables", 1994.
 */
#ifndef ISTHMUS_PICK_WEIGHTS_H
#define ISTHMUS_PICK_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

struct weights {
    uint64_t *tree; /* of len sums; the sum of item i lies at i with its subtree */
    uint32_t len;
    uint64_t sum;
};

/* Turns storage, which holds the weight of each item, into the tree. O(n). */
void weights_build(struct weights *weights, uint64_t *storage, uint32_t len);
/* An item's weight changes from before to after. */
void weights_change(struct weights *weights, uint32_t idx, uint64_t before, uint64_t after);
/* The item to which a point belongs, point < sum; out_start is where the item begins. */
uint32_t weights_find(const struct weights *weights, uint64_t point, uint64_t *out_start);

#endif
