/*
 * listing.h - a list that is gone through piece by piece, with long pauses, while items come and
 * go.
 *
 * Items have numbers that only grow. Whoever goes through says up to which number it has come, and
 * nothing is owed to it: who never asks again leaves nothing behind. The item of that number may
 * have gone meanwhile. So the places where pieces ended are kept, a few of them, and move back when
 * their item goes. A place that others' have taken the room of is looked for from the first item
 * on.
 *
 * Happy path: listing_seek(0) -> items behind it -> listing_keep -> ... listing_seek of the number
 * that was kept -> items behind it -> ...
 *
 * Bound: LISTING_PLACES of them. Owner: the walk. Thread: its worker's.
 */
#ifndef ISTHMUS_FLOW_LISTING_H
#define ISTHMUS_FLOW_LISTING_H

#include <stdint.h>

#include "proxy/base/list.h"

#define LISTING_PLACES 4u

struct listing_place {
    struct list *at; /* NULL: none is kept here */
    uint64_t number;
};

struct listing {
    struct list items;
    struct listing_place places[LISTING_PLACES];
    unsigned next_place; /* the oldest */
};

void listing_init(struct listing *listing);
/* Its number is above those of all that are there. */
void listing_add(struct listing *listing, struct list *item);
void listing_remove(struct listing *listing, struct list *item);

/* Behind it are the items with larger numbers: the last of the others, or listing->items. A place
 * that was kept for the number is used up. */
struct list *listing_seek(struct listing *listing, uint64_t number,
                          uint64_t (*number_of)(struct list *item));
/* The item of this number is the last that was looked at. */
void listing_keep(struct listing *listing, struct list *item, uint64_t number);

#endif
