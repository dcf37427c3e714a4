#include "proxy/flow/listing.h"

void listing_init(struct listing *listing)
{
    *listing = (struct listing){0};
    list_init(&listing->items);
}

void listing_add(struct listing *listing, struct list *item)
{
    list_push_back(&listing->items, item);
}

void listing_remove(struct listing *listing, struct list *item)
{
    for (unsigned i = 0; i < LISTING_PLACES; i++)
        if (listing->places[i].at == item)
            listing->places[i].at = item->prev;
    list_remove(item);
}

struct list *listing_seek(struct listing *listing, uint64_t number,
                          uint64_t (*number_of)(struct list *item))
{
    struct list *at = &listing->items;
    for (unsigned i = 0; i < LISTING_PLACES; i++) {
        struct listing_place *place = &listing->places[i];
        if (!place->at || place->number != number)
            continue;
        at = place->at;
        place->at = NULL;
        return at;
    }
    while (at->next != &listing->items && number_of(at->next) <= number)
        at = at->next;
    return at;
}

void listing_keep(struct listing *listing, struct list *item, uint64_t number)
{
    listing->places[listing->next_place] = (struct listing_place){item, number};
    listing->next_place = (listing->next_place + 1) % LISTING_PLACES;
}
