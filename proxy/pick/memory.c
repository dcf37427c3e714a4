/*
 * Entries lie in a map under their own key's bytes. An entry without flows and without a failure
 * that still counts is dropped at once, so the map is as large as the set of endpoints in use or in
 * trouble, not as the mesh.
 */
#include "proxy/pick/memory.h"

#include "proxy/base/list.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

struct entry {
    uint64_t key;
    uint32_t flows;
    uint32_t failures;         /* in a row */
    uint64_t suspect_until_ns; /* 0: not suspect */
    struct list by_failure;    /* in memory.failed while failures > 0, the oldest first */
};

struct memory {
    struct map entries;
    struct list failed;
};

static struct str key_of(const uint64_t *key)
{
    return str_of(key, sizeof *key);
}

struct memory *memory_new(void)
{
    struct memory *memory = mem_new(struct memory);
    list_init(&memory->failed);
    return memory;
}

void memory_free(struct memory *memory)
{
    size_t idx = 0;
    void *value;
    struct str key;
    while (map_next(&memory->entries, &idx, &key, &value)) {
        struct entry *entry = value;
        ensure(entry->flows == 0);
        mem_free(entry);
    }
    map_fini(&memory->entries);
    mem_free(memory);
}

static struct entry *find(const struct memory *memory, uint64_t key)
{
    return map_find(&memory->entries, key_of(&key));
}

static void drop(struct memory *memory, struct entry *entry)
{
    list_remove(&entry->by_failure);
    (void)map_remove(&memory->entries, key_of(&entry->key));
    mem_free(entry);
}

static void drop_if_idle(struct memory *memory, struct entry *entry)
{
    if (entry->flows == 0 && entry->failures == 0)
        drop(memory, entry);
}

/* The oldest failure of an endpoint that carries no flow. */
static void forget_one(struct memory *memory)
{
    list_foreach(it, &memory->failed)
    {
        struct entry *entry = list_entry(it, struct entry, by_failure);
        if (entry->flows == 0) {
            drop(memory, entry);
            return;
        }
    }
}

static struct entry *get(struct memory *memory, uint64_t key)
{
    struct entry *entry = find(memory, key);
    if (entry)
        return entry;
    if (memory->entries.len >= MEMORY_MAX)
        forget_one(memory);
    entry = mem_new(struct entry);
    entry->key = key;
    list_init(&entry->by_failure);
    (void)map_put(&memory->entries, key_of(&entry->key), entry);
    return entry;
}

uint32_t memory_flows(const struct memory *memory, uint64_t key)
{
    const struct entry *entry = find(memory, key);
    return entry ? entry->flows : 0;
}

bool memory_is_suspect(const struct memory *memory, uint64_t key, uint64_t now_ns)
{
    const struct entry *entry = find(memory, key);
    return entry && entry->suspect_until_ns > now_ns;
}

void memory_flow_began(struct memory *memory, uint64_t key)
{
    get(memory, key)->flows++;
}

void memory_flow_ended(struct memory *memory, uint64_t key)
{
    struct entry *entry = find(memory, key);
    ensure(entry && entry->flows > 0);
    entry->flows--;
    drop_if_idle(memory, entry);
}

void memory_succeeded(struct memory *memory, uint64_t key)
{
    struct entry *entry = find(memory, key);
    if (!entry || entry->failures == 0)
        return;
    entry->failures = 0;
    entry->suspect_until_ns = 0;
    list_remove(&entry->by_failure);
    drop_if_idle(memory, entry);
}

void memory_failed(struct memory *memory, uint64_t key, uint64_t now_ns)
{
    struct entry *entry = get(memory, key);
    uint64_t rest_ns = SUSPECT_MIN_NS;
    for (uint32_t i = 0; i < entry->failures && rest_ns < SUSPECT_MAX_NS; i++)
        rest_ns *= 2;
    if (rest_ns > SUSPECT_MAX_NS)
        rest_ns = SUSPECT_MAX_NS;
    entry->failures++;
    entry->suspect_until_ns = now_ns + rest_ns;
    list_remove(&entry->by_failure);
    list_push_back(&memory->failed, &entry->by_failure);
}

size_t memory_len(const struct memory *memory)
{
    return memory->entries.len;
}
