/*
 * One entry an object, in the order of their paths, which is the order in which parts are joined
 * and compared. Objects of a kind stand together, since its name and a blank begin their paths.
 */
#include "config/manifests_store.h"

#include <string.h>

#include "config/manifests_kept.h"
#include "proxy/base/mem.h"

#define FIRST_CAP 64
#define LINE_ROOM 64 /* of a line, beside the object and its path */

struct entry {
    struct manifests_part *part; /* in force; NULL: nothing is */
    uint64_t content;            /* the hash of what was put last */
    uint64_t round;              /* when that was */
    enum manifests_put fate;
    struct text refusal; /* "" when it is good */
    struct text good;    /* its last good version as JSON, if it is of a kind that is kept */
    struct text uid;     /* of that version; likewise */
    struct str path;     /* behind the entry */
};

struct manifests_store {
    struct entry **entries;
    size_t len, cap;
    uint64_t round;
    size_t n_refused;
    struct kept recalled; /* from before, of objects that were not put yet */
    uint64_t kept_round;
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
    text_fini(&entry->good);
    text_fini(&entry->uid);
    mem_free(entry);
}

static bool path_is_of_kind(struct str path, struct str kind)
{
    return str_starts_with(path, kind) && str_eq(str_sub(path, kind.len, 1), STR(" "));
}

static bool is_of_kind(const struct entry *entry, struct str kind)
{
    return path_is_of_kind(entry->path, kind);
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
    kept_fini(&store->recalled);
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

static void set_uid(struct entry *entry, const struct yaml *doc)
{
    text_clear(&entry->uid);
    text_add(&entry->uid, kept_uid(doc));
}

/* Not another one of its name, as a list may show it that comes after a watch was lost. */
static bool is_same_object(const struct entry *entry, const struct yaml *doc)
{
    return !kept_is_kind(entry->path) || str_eq(text_str(&entry->uid), kept_uid(doc));
}

/* From before this process began. */
static bool recall(struct manifests_store *store, struct entry *entry, const struct yaml *doc)
{
    const size_t n = store->recalled.all.len;
    struct manifests_part *part = NULL;
    struct text good = {0};
    const bool is_there = kept_take(&store->recalled, entry->path, kept_uid(doc), &part, &good);
    if (is_there) {
        put_in_force(entry, part);
        text_fini(&entry->good);
        entry->good = good;
        set_uid(entry, doc);
    } else if (store->recalled.all.len < n) {
        store->kept_round++; /* it was another object's */
    }
    return is_there;
}

static void refuse(struct manifests_store *store, struct entry *entry,
                   const struct manifests_part *bad, const struct yaml *doc)
{
    const bool is_same = is_same_object(entry, doc);
    const bool was_good = is_same && entry->part && entry->fate == MANIFESTS_PUT_TAKEN;
    const bool was_kept = entry->fate == MANIFESTS_PUT_KEPT;
    text_clear(&entry->refusal);
    diag_print(&bad->diag, &entry->refusal);
    store->kept_round += was_good || (was_kept && !is_same) ? 1 : 0;
    if (was_good || (was_kept && is_same) || recall(store, entry, doc)) {
        entry->fate = MANIFESTS_PUT_KEPT;
        return;
    }
    put_in_force(entry, manifests_stand_in(entry->path, doc));
    entry->fate = entry->part ? MANIFESTS_PUT_CLOSED : MANIFESTS_PUT_LEFT_OUT;
}

static void approve(struct manifests_store *store, struct entry *entry, struct manifests_part *part,
                    const struct yaml *doc)
{
    const bool was_kept = entry->fate == MANIFESTS_PUT_KEPT;
    put_in_force(entry, part);
    entry->fate = MANIFESTS_PUT_TAKEN;
    text_fini(&entry->refusal);
    entry->refusal = (struct text){0};
    text_clear(&entry->good);
    if (kept_is_kind(entry->path)) {
        yaml_json(doc, &entry->good);
        set_uid(entry, doc);
    }
    if (kept_drop(&store->recalled, entry->path) || was_kept)
        store->kept_round++;
}

static void take(struct manifests_store *store, struct entry *entry, const struct yaml *doc)
{
    const bool was_refused = entry->refusal.len > 0;
    struct manifests_part *part = manifests_part_of(entry->path, doc);
    if (part->set) {
        approve(store, entry, part, doc);
    } else {
        refuse(store, entry, part, doc);
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

static void forget(struct manifests_store *store, struct entry *entry)
{
    store->n_refused -= entry->refusal.len > 0 ? 1 : 0;
    store->kept_round += entry->fate == MANIFESTS_PUT_KEPT ? 1 : 0;
    entry_free(entry);
}

bool manifests_store_remove(struct manifests_store *store, struct str path)
{
    const size_t idx = place_of(store, path);
    struct entry *entry = entry_at(store, idx, path);
    store->kept_round += kept_drop(&store->recalled, path) ? 1 : 0;
    if (!entry)
        return false;
    forget(store, entry);
    store->len--;
    memmove(store->entries + idx, store->entries + idx + 1,
            (store->len - idx) * sizeof(*store->entries));
    return true;
}

/* ---- all of a kind ---- */

uint64_t manifests_store_begin(struct manifests_store *store)
{
    return ++store->round;
}

/* What was recalled and is not there any more. */
static void forget_recalled(struct manifests_store *store, struct str kind)
{
    struct str path;
    void *one;
    for (size_t idx = 0; map_next(&store->recalled.all, &idx, &path, &one);)
        if (path_is_of_kind(path, kind)) {
            (void)map_remove_at(&store->recalled.all, idx);
            kept_one_free(one);
            store->kept_round++;
        }
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
        forget(store, entry);
        n_gone++;
    }
    if (n_gone > 0)
        memmove(store->entries + to, store->entries + at,
                (store->len - at) * sizeof(*store->entries));
    store->len -= n_gone;
    forget_recalled(store, kind);
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

/* ---- last good versions ---- */

uint64_t manifests_store_kept_round(const struct manifests_store *store)
{
    return store->kept_round;
}

/* 1: there is no room. */
static size_t keep(struct str path, const struct text *json, struct text *out)
{
    if (out->len + json->len + LINE_ROOM + path.len > MANIFESTS_KEPT_BYTES)
        return 1;
    kept_add_line(path, text_str(json), out);
    return 0;
}

size_t manifests_store_kept(const struct manifests_store *store, struct text *out)
{
    size_t n_left_out = 0, idx = 0;
    struct str path;
    void *one;
    for (size_t i = 0; i < store->len; i++)
        if (store->entries[i]->fate == MANIFESTS_PUT_KEPT && store->entries[i]->good.len > 0)
            n_left_out += keep(store->entries[i]->path, &store->entries[i]->good, out);
    while (map_next(&store->recalled.all, &idx, &path, &one))
        n_left_out += keep(path, &((struct kept_one *)one)->json, out);
    return n_left_out;
}

bool manifests_store_recall(struct manifests_store *store, struct str path, struct yaml *doc)
{
    manifests_prune(doc);
    return kept_put(&store->recalled, path, doc);
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
