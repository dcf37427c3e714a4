#include "xds/resource_set.h"

#include <string.h>

#include "certs/digest.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define FIRST_CAP ((size_t)64)
#define TOMBSTONES_MIN                                                                             \
    ((size_t)10000) /* kept for slow readers, or twice the live entries if that is more */
/* With its name, its type's URL and the frame around it an entry must be one that is taken. */
#define ENTRY_MAX_BYTES (XDS_RESOURCE_MAX_BYTES - 1024)

struct resource_set *resource_set_new(void)
{
    struct resource_set *set = mem_new(struct resource_set);

    list_init(&set->readers);
    return set;
}

void resource_set_free(struct resource_set *set)
{
    if (!set)
        return;
    ensure(list_is_empty(&set->readers));
    for (unsigned type = 0; type < XDS_TYPES; type++) {
        struct set_log *log = &set->logs[type];

        for (size_t i = 0; i < log->len; i++)
            mem_free(log->slots[i].entry);
        mem_free(log->slots);
        map_fini(&log->by_name);
    }
    mem_free(set);
}

size_t resource_set_count(const struct resource_set *set)
{
    size_t n = 0;

    for (unsigned type = 0; type < XDS_TYPES; type++)
        n += set->logs[type].by_name.len - set->logs[type].n_removed;
    return n;
}

size_t set_log_after(const struct set_log *log, uint64_t seq)
{
    size_t low = 0, high = log->len;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->slots[middle].seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct set_entry *entry_new(struct str name, struct str bytes)
{
    struct set_entry *entry = mem_zalloc(sizeof(*entry) + name.len + 1 + bytes.len + 1);
    char *behind = (char *)(entry + 1);
    char digest[DIGEST_HEX_LEN + 1];

    memcpy(behind, name.ptr, name.len);
    if (bytes.len)
        memcpy(behind + name.len + 1, bytes.ptr, bytes.len);
    entry->name = str_of(behind, name.len);
    entry->bytes = str_of(behind + name.len + 1, bytes.len);
    digest_sha256_hex(bytes, digest);
    memcpy(entry->version, digest, SET_VERSION_CHARS);
    return entry;
}

/* Files an entry at the end of the log, in place of the one with its name. */
static void log_put(struct resource_set *set, struct set_log *log, struct set_entry *entry)
{
    struct set_entry *before = map_put(&log->by_name, entry->name, entry);

    if (before) {
        log->n_removed -= before->is_removed;
        log->slots[before->slot].entry = NULL;
        log->n_holes++;
        mem_free(before);
    }
    if (log->len == log->cap) {
        log->cap = log->cap ? log->cap * 2 : FIRST_CAP;
        log->slots = mem_realloc(log->slots, log->cap * sizeof(struct set_slot));
    }
    entry->seq = ++set->seq;
    entry->generation = set->generation;
    entry->slot = log->len;
    if (entry->is_removed && log->n_removed++ == 0)
        log->oldest_removed_seq = entry->seq;
    log->slots[log->len++] = (struct set_slot){entry->seq, entry};
}

static bool fits(struct str name, struct str bytes)
{
    return name.len + bytes.len <= ENTRY_MAX_BYTES && name.len <= XDS_NAME_MAX_BYTES;
}

/* True when the resource is new or has changed. */
static bool put(struct resource_set *set, enum xds_type type, struct str name, struct str bytes)
{
    struct set_log *log = &set->logs[type];
    struct set_entry *before = map_find(&log->by_name, name);

    if (!fits(name, bytes)) {
        log_error("a resource is too large to be sent and is left out", log_str("name", name),
                  log_u64("bytes", bytes.len), log_u64("most", ENTRY_MAX_BYTES));
        return false;
    }
    if (before && before->generation == set->generation) {
        log_error("two resources have one name; the second is left out", log_str("name", name));
        return false;
    }
    if (before && !before->is_removed && str_eq(before->bytes, bytes)) {
        before->generation = set->generation;
        return false;
    }
    log_put(set, log, entry_new(name, bytes));
    return true;
}

static void bury(struct resource_set *set, struct set_log *log, const struct set_entry *entry)
{
    struct set_entry *tombstone = entry_new(entry->name, (struct str){0});
    tombstone->is_removed = true;
    log_put(set, log, tombstone);
}

/* Whatever the current generation does not have becomes a tombstone. */
static size_t bury_absent(struct resource_set *set, struct set_log *log)
{
    size_t len = log->len, n_removed = 0;

    for (size_t i = 0; i < len; i++) {
        const struct set_entry *entry = log->slots[i].entry;

        if (!entry || entry->is_removed || entry->generation == set->generation)
            continue;
        bury(set, log, entry);
        n_removed++;
    }
    return n_removed;
}

/* Up to which number all readers of the type have passed. */
static uint64_t passed_by_all(const struct resource_set *set, enum xds_type type)
{
    uint64_t passed = UINT64_MAX;

    list_foreach(link, &set->readers)
    {
        const struct set_reader *reader = list_entry(link, struct set_reader, link);

        if (reader->reads[type] && reader->passed_seq[type] < passed)
            passed = reader->passed_seq[type];
    }
    return passed;
}

/* They lie in the order of their numbers: behind the first that stays all others stay too. */
static void forget_tombstones(struct set_log *log, uint64_t passed_seq)
{
    size_t n_live = log->by_name.len - log->n_removed;
    size_t most = n_live * 2 > TOMBSTONES_MIN ? n_live * 2 : TOMBSTONES_MIN;

    if (log->n_removed == 0)
        return;
    for (size_t i = set_log_after(log, log->oldest_removed_seq - 1); i < log->len; i++) {
        struct set_entry *entry = log->slots[i].entry;

        if (!entry || !entry->is_removed)
            continue;
        log->oldest_removed_seq = entry->seq;
        if (entry->seq > passed_seq && log->n_removed <= most)
            return;
        if (entry->seq > passed_seq)
            log->lost_seq = entry->seq;
        map_remove(&log->by_name, entry->name);
        mem_free(entry);
        log->slots[i].entry = NULL;
        log->n_removed--;
        log->n_holes++;
        if (log->n_removed == 0)
            return;
    }
}

static void close_holes(struct set_log *log)
{
    size_t len = 0;

    if (log->n_holes <= log->len / 2)
        return;
    for (size_t i = 0; i < log->len; i++) {
        if (!log->slots[i].entry)
            continue;
        log->slots[i].entry->slot = len;
        log->slots[len] = log->slots[i];
        len++;
    }
    log->len = len;
    log->n_holes = 0;
}

/* A policy that cannot be sent must not be one that does not apply: in its place goes one of its
 * name and scope that denies everybody. */
static struct str encode_closed(const struct model_resource *resource, struct arena *arena,
                                struct text *out)
{
    struct model_policy closed = *resource->of.policy;
    struct model_rule everybody = {0};
    struct model_resource copy = {
        .kind = MODEL_POLICY, .name = resource->name, .of.policy = &closed};

    closed.action = POLICY_DENY;
    closed.dry_run = false;
    closed.rules = &everybody;
    closed.n_rules = 1;
    log_error("a policy is too large to be sent; it denies everybody", log_str("name", copy.name),
              log_u64("bytes", out->len), log_u64("most", ENTRY_MAX_BYTES));
    text_clear(out);
    return xds_encode(&copy, arena, out);
}

/* The same of tokens: none is taken, and the headers that rules write stay nobody else's. */
static struct str encode_tokenless(const struct model_resource *resource, struct arena *arena,
                                   struct text *out)
{
    struct model_request_auth closed = *resource->of.request_auth;
    struct model_resource copy = {
        .kind = MODEL_REQUEST_AUTH, .name = resource->name, .of.request_auth = &closed};

    closed.rules = arena_new_array(arena, struct token_rule, closed.n_rules);
    for (size_t i = 0; i < closed.n_rules; i++) {
        closed.rules[i] = resource->of.request_auth->rules[i];
        closed.rules[i].is_unknown = true;
        closed.rules[i].jwks = (struct str){0};
        closed.rules[i].n_audiences = 0;
    }
    log_error("a RequestAuthentication is too large to be sent; it takes no token",
              log_str("name", copy.name), log_u64("bytes", out->len),
              log_u64("most", ENTRY_MAX_BYTES));
    text_clear(out);
    return xds_encode(&copy, arena, out);
}

static size_t put_all(struct resource_set *set, const struct model_resource *const *resources,
                      size_t n_resources)
{
    struct text bytes = {0};
    size_t n_changed = 0;

    for (size_t i = 0; i < n_resources; i++) {
        struct arena arena = {0};
        struct str name;

        text_clear(&bytes);
        name = xds_encode(resources[i], &arena, &bytes);
        if (resources[i]->kind == MODEL_POLICY && !fits(name, text_str(&bytes)))
            name = encode_closed(resources[i], &arena, &bytes);
        else if (resources[i]->kind == MODEL_REQUEST_AUTH && !fits(name, text_str(&bytes)))
            name = encode_tokenless(resources[i], &arena, &bytes);
        n_changed += put(set, xds_type_of_kind(resources[i]->kind), name, text_str(&bytes));
        arena_fini(&arena);
    }
    text_fini(&bytes);
    return n_changed;
}

static void tidy(struct resource_set *set)
{
    for (unsigned type = 0; type < XDS_TYPES; type++) {
        forget_tombstones(&set->logs[type], passed_by_all(set, (enum xds_type)type));
        close_holes(&set->logs[type]);
    }
}

size_t resource_set_replace(struct resource_set *set, const struct model_resource *const *resources,
                            size_t n_resources)
{
    size_t n_changed;

    set->generation++;
    n_changed = put_all(set, resources, n_resources);
    for (unsigned type = 0; type < XDS_TYPES; type++)
        n_changed += bury_absent(set, &set->logs[type]);
    tidy(set);
    return n_changed;
}

size_t resource_set_update(struct resource_set *set, const struct resource_changes *changes)
{
    struct set_log *log = &set->logs[xds_type_of_kind(MODEL_WORKLOAD)];
    size_t n_changed;

    set->generation++;
    n_changed = put_all(set, changes->resources, changes->n_resources);
    for (size_t i = 0; i < changes->n_gone; i++) {
        const struct set_entry *entry = map_find(&log->by_name, changes->gone[i]);

        if (!entry || entry->is_removed)
            continue;
        bury(set, log, entry);
        n_changed++;
    }
    tidy(set);
    return n_changed;
}
