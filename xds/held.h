/*
 * held.h - the resources that a client of the control stream holds, by type and name.
 *
 * Owner: whoever embeds the struct; {0} is empty, held_fini() frees. Thread: one.
 */
#ifndef ISTHMUS_XDS_HELD_H
#define ISTHMUS_XDS_HELD_H

#include "xds/delta.h"

struct held_item {
    struct delta_resource resource; /* its arena holds this item's strings too, not the item */
    enum xds_type type;
    size_t idx; /* in held.items */
};

struct held {
    struct map by_name[XDS_TYPES];
    struct held_item **items; /* in no particular order, without holes */
    size_t len, cap;
    size_t bytes; /* that they take in memory, about */
};

/* What a resource is known by and made of; borrowed. */
struct held_source {
    enum xds_type type;
    struct str name, version, bytes;
};

struct held_item *held_find(const struct held *held, enum xds_type type, struct str name);
/* Decodes a resource: the item, or NULL with a sentence appended to *why. The caller gives it to
 * held_put(). */
struct held_item *held_item_new(const struct held_source *source, struct text *why);
void held_item_free(struct held_item *item);
size_t held_item_bytes(const struct held_item *item);
/* Files the item in place of the one with its name; takes it. */
void held_put(struct held *held, struct held_item *item);
/* True when there was one. */
bool held_remove(struct held *held, enum xds_type type, struct str name);
void held_fini(struct held *held);

#endif
