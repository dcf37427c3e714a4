/*
 * One entry an object, in the order of their paths, which is the order in which parts are joined
 * and compared. Objects of a kind stand together, since its name and a blank begin their paths.
 */
#include "config/manifests_store.h"

#include <string.h>

#include "config/manifests_part.h"
#include "proxy/base/mem.h"

#define FIRST_CAP 64

struct entry {
    struct manifests_part *part; /* in force; NULL: nothing is */
    uint64_t content;            /* the hash of what was put last */
    uint64_t round;              /* when that was */
    enum manifests_put fate;
    struct text refusal; /* "" when it is good */
    struct str path;     /* behind the entry */
};

struct manifests_store {
    struct entry **entries;
    size_t len, cap;
    uint64_t round;
    size_t n_refused;
};

/* ---- entries ---- */

/* Where the path is or would be. */
static size_t place_of(const struct manifests_store *store, struct str path)
{
    size_t low = 0, high = store->len;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (str_cmp(store->entries[middle]->path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *entry_at(const struct manifests_store *store, size_t idx, struct str path)
{
    return idx < store->len && str_eq(store->entries[idx]->path, path) ? store->entries[idx] : NULL;
}

static struct entry *insert(struct manifests_store *store, size_t idx, struct str path)
{
    struct entry *entry = mem_zalloc(sizeof(*entry) + path.len);
    memcpy(entry + 1, path.ptr, path.len);
    entry->path = str_of(entry + 1, path.len);
    if (store->len == store->cap) {
        const size_t cap = store->cap ? store->cap * 2 : FIRST_CAP;
        struct entry **larger = mem_new_array(struct entry *, cap);
        if (store->len > 0)
            memcpy(larger, store->entries, store->len * sizeof(*larger));
        mem_free(store->entries);
        store->entries = larger;
        store->cap = cap;
    }
    memmove(store->entries + idx + 1, store->entries + idx,
            (store->len - idx) * sizeof(*store->entries));
    store->entries[idx] = entry;
    store->len++;
    return entry;
}

static void entry_free(struct entry *entry)
{
    if (entry->part)
        manifests_part_unref(entry->part);
    text_fini(&entry->refusal);
    mem_free(entry);
}

static bool is_of_kind(const struct entry *entry, struct str kind)
{
    return str_starts_with(entry->path, kind) && str_sub(entry->path, kind.len, 1).len == 1 &&
           entry->path.ptr[kind.len] == ' ';
}

static size_t first_of_kind(const struct manifests_store *store, struct str kind)
{
    struct text prefix = {0};
    text_addf(&prefix, "%.*s ", STR_ARG(kind));
    const size_t idx = place_of(store, text_str(&prefix));
    text_fini(&prefix);
    return idx;
}

/* ---- life ---- */

struct manifests_store *manifests_store_new(void)
{
    return mem_new(struct manifests_store);
}

void manifests_store_free(struct manifests_store *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < store->len; i++)
        entry_free(store->entries[i]);
    mem_free(store->entries);
    mem_free(store);
}

/* ---- objects ---- */

static void put_in_force(struct entry *entry, struct manifests_part *part)
{
    if (entry->part)
        manifests_part_unref(entry->part);
    entry->part = part;
}

static void refuse(struct entry *entry, const struct manifests_part *bad, const struct yaml *doc)
{
    const bool was_good =
        entry->part && (entry->fate == MANIFESTS_PUT_TAKEN || entry->fate == MANIFESTS_PUT_KEPT);
    text_clear(&entry->refusal);
    diag_print(&bad->diag, &entry->refusal);
    if (was_good) {
        entry->fate = MANIFESTS_PUT_KEPT;
        return;
    }
    put_in_force(entry, manifests_stand_in(entry->path, doc));
    entry->fate = entry->part ? MANIFESTS_PUT_CLOSED : MANIFESTS_PUT_LEFT_OUT;
}

static void take(struct manifests_store *store, struct entry *entry, const struct yaml *doc)
{
    const bool was_refused = entry->refusal.len > 0;
    struct manifests_part *part = manifests_part_of(entry->path, doc);
    if (part->set) {
        put_in_force(entry, part);
        entry->fate = MANIFESTS_PUT_TAKEN;
        text_fini(&entry->refusal);
        entry->refusal = (struct text){0};
    } else {
        refuse(entry, part, doc);
        manifests_part_unref(part);
    }
    store->n_refused -= was_refused ? 1 : 0;
    store->n_refused += entry->refusal.len > 0 ? 1 : 0;
}

enum manifests_put manifests_store_put(struct manifests_store *store, struct str path,
                                       struct yaml *doc)
{
    const size_t idx = place_of(store, path);
    struct entry *entry = entry_at(store, idx, path);
    manifests_prune(doc);
    const uint64_t content = yaml_hash(doc, 0);
    if (entry && entry->content == content) {
        entry->round = store->round;
        return MANIFESTS_PUT_SAME;
    }
    if (!entry && store->len == MANIFESTS_STORE_MAX)
        return MANIFESTS_PUT_FULL;
    if (!entry)
        entry = insert(store, idx, path);
    entry->content = content;
    entry->round = store->round;
    take(store, entry, doc);
    return entry->fate;
}

static void remove_at(struct manifests_store *store, size_t idx, size_t n)
{
    for (size_t i = idx; i < idx + n; i++) {
        store->n_refused -= store->entries[i]->refusal.len > 0 ? 1 : 0;
        entry_free(store->entries[i]);
    }
    store->len -= n;
    memmove(store->entries + idx, store->entries + idx + n,
            (store->len - idx) * sizeof(*store->entries));
}

bool manifests_store_remove(struct manifests_store *store, struct str path)
{
    const size_t idx = place_of(store, path);
    if (!entry_at(store, idx, path))
        return false;
    remove_at(store, idx, 1);
    return true;
}

/* ---- all of a kind ---- */

uint64_t manifests_store_begin(struct manifests_store *store)
{
    return ++store->round;
}

/* Those that stay move up, in one pass. */
size_t manifests_store_end(struct manifests_store *store, struct str kind, uint64_t begun)
{
    size_t at = first_of_kind(store, kind), to = at, n_gone = 0;
    for (; at < store->len && is_of_kind(store->entries[at], kind); at++) {
        struct entry *entry = store->entries[at];
        if (entry->round >= begun) {
            store->entries[to++] = entry;
            continue;
        }
        store->n_refused -= entry->refusal.len > 0 ? 1 : 0;
        entry_free(entry);
        n_gone++;
    }
    if (n_gone > 0)
        memmove(store->entries + to, store->entries + at,
                (store->len - at) * sizeof(*store->entries));
    store->len -= n_gone;
    return n_gone;
}

size_t manifests_store_count(const struct manifests_store *store, struct str kind)
{
    struct text end = {0};
    text_addf(&end, "%.*s!", STR_ARG(kind)); /* what comes behind a blank */
    const size_t n = place_of(store, text_str(&end)) - first_of_kind(store, kind);
    text_fini(&end);
    return n;
}

/* ---- what is wrong ---- */

static struct manifests_refusal refusal_of(const struct entry *entry)
{
    return (struct manifests_refusal){entry->path, text_str(&entry->refusal), entry->fate};
}

bool manifests_store_next_refusal(const struct manifests_store *store, size_t *idx,
                                  struct manifests_refusal *out_refusal)
{
    while (*idx < store->len) {
        const struct entry *entry = store->entries[(*idx)++];
        if (entry->refusal.len == 0)
            continue;
        *out_refusal = refusal_of(entry);
        return true;
    }
    return false;
}

bool manifests_store_refusal(const struct manifests_store *store, struct str path,
                             struct manifests_refusal *out_refusal)
{
    const struct entry *entry = entry_at(store, place_of(store, path), path);
    if (!entry || entry->refusal.len == 0)
        return false;
    *out_refusal = refusal_of(entry);
    return true;
}

size_t manifests_store_n_refused(const struct manifests_store *store)
{
    return store->n_refused;
}

/* ---- sets ---- */

static struct manifests_part **in_force(const struct manifests_store *store, struct arena *arena,
                                        size_t *out_n)
{
    struct manifests_part **parts = arena_new_array(arena, struct manifests_part *, store->len + 1);
    *out_n = 0;
    for (size_t i = 0; i < store->len; i++)
        if (store->entries[i]->part)
            parts[(*out_n)++] = store->entries[i]->part;
    return parts;
}

struct manifests *manifests_store_set(const struct manifests_store *store, struct diag *diag)
{
    struct arena arena = {0};
    size_t n;
    struct manifests_part **parts = in_force(store, &arena, &n);
    for (size_t i = 0; i < n; i++)
        manifests_part_tell(parts[i], diag);
    struct manifests *set = manifests_join(parts, n, diag);
    arena_fini(&arena);
    return set;
}

enum manifests_news manifests_store_news(const struct manifests_store *store, struct manifests *set,
                                         struct manifests_changes *out_changes,
                                         struct manifests **out_whole, struct diag *diag)
{
    struct arena arena = {0};
    size_t n;
    struct manifests_part **parts = in_force(store, &arena, &n);
    const enum manifests_news news =
        manifests_find_news(set, parts, n, out_changes, out_whole, diag);
    arena_fini(&arena);
    return news;
}
