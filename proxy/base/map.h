/*
 * map.h - a hash map from bytes to a pointer.
 *
 * Open addressing over xxHash64 with a per-process random seed, so a peer that chooses names cannot
 * choose collisions. Keys are borrowed: they live at least as long as their entry, usually inside
 * the value. {0} is an empty map. Binary keys are fine (an IP address with its port).
 *
 * Owner: whoever embeds it; values are not owned. Thread: one at a time; a map nobody changes may
 * be read by many.
 */
#ifndef ISTHMUS_BASE_MAP_H
#define ISTHMUS_BASE_MAP_H

#include "proxy/base/str.h"

struct map_slot {
    struct str key;
    void *value; /* NULL: the slot is free */
    uint64_t hash;
};

struct map {
    struct map_slot *slots;
    size_t cap; /* a power of two, or 0 */
    size_t len;
};

/* The value filed under key, or NULL. */
void *map_find(const struct map *map, struct str key);

/* Files a value (never NULL) under a key, in place of what was there. Returns what was there, or
 * NULL. */
void *map_put(struct map *map, struct str key, void *value);

/* Takes the key out. Returns its value, or NULL. */
void *map_remove(struct map *map, struct str key);

/* Visits every entry in no particular order; start with idx = 0. False at the end. The map must not
 * change meanwhile, except that the entry just visited may be removed with map_remove_at(). */
bool map_next(const struct map *map, size_t *idx, struct str *out_key, void **out_value);

/* Takes out the entry that map_next() just visited with this idx; the visit goes on after it.
 * Returns its value. */
void *map_remove_at(struct map *map, size_t idx);

void map_fini(struct map *map);

#endif
