/*
 * map.c - linear probing; removal shifts the followers back, so there are no tombstones and lookups
 * stay short.
 *
 * A visit that may remove must not miss or repeat an entry that such a shift moves. So it starts at
 * a free slot, which no cluster crosses, and walks down: what a removal shifts comes from slots
 * that were visited already.
 */
#include "proxy/base/map.h"

#include <xxhash.h>

#include "proxy/base/mem.h"
#include "proxy/base/rng.h"

#define MAP_FIRST_CAP ((size_t)8)
#define MAP_CAP_MAX   ((size_t)1 << 31)

/* Drawn before main(), when there is one thread, so that it needs no lock and no atomic afterwards.
 */
static uint64_t map_seed;

__attribute__((constructor)) static void draw_seed(void)
{
    rng_secret(&map_seed, sizeof(map_seed));
}

static uint64_t hash_of(struct str key)
{
    return XXH3_64bits_withSeed(key.len ? key.ptr : "", key.len, map_seed);
}

/* The slot that holds key, or the free slot where it would go. */
static struct map_slot *probe(const struct map *map, struct str key, uint64_t hash)
{
    size_t mask = map->cap - 1;

    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct map_slot *slot = &map->slots[i];
        if (!slot->value || (slot->hash == hash && str_eq(slot->key, key)))
            return slot;
    }
}

void *map_find(const struct map *map, struct str key)
{
    if (map->len == 0)
        return NULL;
    return probe(map, key, hash_of(key))->value;
}

static void grow(struct map *map)
{
    struct map larger = {.cap = map->cap ? map->cap * 2 : MAP_FIRST_CAP, .len = map->len};

    ensure(larger.cap <= MAP_CAP_MAX);
    larger.slots = mem_new_array(struct map_slot, larger.cap);
    for (size_t i = 0; i < map->cap; i++)
        if (map->slots[i].value)
            *probe(&larger, map->slots[i].key, map->slots[i].hash) = map->slots[i];
    mem_free(map->slots);
    *map = larger;
}

void *map_put(struct map *map, struct str key, void *value)
{
    uint64_t hash = hash_of(key);
    struct map_slot *slot;
    void *before;

    ensure(value != NULL);
    if ((map->len + 1) * 4 > map->cap * 3)
        grow(map);
    slot = probe(map, key, hash);
    before = slot->value;
    if (!before)
        map->len++;
    /* The key too: the old one may lie inside the old value, which the caller is about to free. */
    *slot = (struct map_slot){.key = key, .value = value, .hash = hash};
    return before;
}

static void *remove_slot(struct map *map, struct map_slot *slot)
{
    size_t mask = map->cap - 1;
    size_t hole = (size_t)(slot - map->slots);
    void *value = slot->value;

    for (size_t i = (hole + 1) & mask; map->slots[i].value; i = (i + 1) & mask) {
        size_t home = (size_t)map->slots[i].hash & mask;
        /* It may move into the hole unless its home lies after the hole on the way to it. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (struct map_slot){0};
    map->len--;
    return value;
}

void *map_remove(struct map *map, struct str key)
{
    struct map_slot *slot;

    if (map->len == 0)
        return NULL;
    slot = probe(map, key, hash_of(key));
    return slot->value ? remove_slot(map, slot) : NULL;
}

static size_t first_free(const struct map *map)
{
    size_t i = 0;

    while (map->slots[i].value)
        i++;
    return i;
}

/* idx holds the free slot where the visit began, plus one, above 32 bits, and the steps made below
 * them. */
static size_t visited_slot(const struct map *map, size_t idx)
{
    return ((idx >> 32) - 1 - (idx & UINT32_MAX)) & (map->cap - 1);
}

bool map_next(const struct map *map, size_t *idx, struct str *out_key, void **out_value)
{
    if (map->cap == 0)
        return false;
    if (*idx == 0)
        *idx = (first_free(map) + 1) << 32;
    while ((*idx & UINT32_MAX) + 1 < map->cap) {
        const struct map_slot *slot = &map->slots[visited_slot(map, ++*idx)];
        if (slot->value) {
            *out_key = slot->key;
            *out_value = slot->value;
            return true;
        }
    }
    return false;
}

void *map_remove_at(struct map *map, size_t idx)
{
    struct map_slot *slot;

    ensure(idx > 0 && map->cap > 0);
    slot = &map->slots[visited_slot(map, idx)];
    ensure(slot->value != NULL);
    return remove_slot(map, slot);
}

void map_fini(struct map *map)
{
    mem_free(map->slots);
    *map = (struct map){0};
}
