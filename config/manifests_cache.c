/*
 * One part a file: what its documents gave, kept with the file's size, times and inode. A reading
 * asks the file system about all files, reads those that differ, and joins the parts into one set,
 * which keeps the parts it borrows from alive. So one changed slice of a large cluster costs the
 * joining and not the parsing of everything.
 *
 * A file that was changed less than SETTLED_NS before it was read is read again the next time: a
 * write within one tick of the file system's clock leaves no other trace. One with the bytes that
 * it had is not parsed again.
 */
#include <string.h>
#include <sys/stat.h>

#include "config/files.h"
#include "config/k8s.h"
#include "config/manifests_part.h"
#include "proxy/base/clock.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/mem.h"

#define SETTLED_NS ((int64_t)(2 * NS_PER_SEC))

struct manifests_cache {
    struct map parts; /* path -> struct manifests_part */
};

/* ---- parts ---- */

static int64_t ns_of(const struct timespec *time)
{
    return (int64_t)time->tv_sec * (int64_t)NS_PER_SEC + time->tv_nsec;
}

/* A file that cannot be asked has a state that no file has. */
static struct file_state state_of(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return (struct file_state){.size = -1};
    return (struct file_state){info.st_size, ns_of(&info.st_mtim), ns_of(&info.st_ctim),
                               info.st_ino, info.st_dev};
}

static bool is_same(const struct file_state *a, const struct file_state *b)
{
    return a->size >= 0 && a->size == b->size && a->modified_ns == b->modified_ns &&
           a->changed_ns == b->changed_ns && a->inode == b->inode && a->device == b->device;
}

static void read_docs(struct manifests_part *part)
{
    struct k8s_reader reader;
    struct arena scratch = {0};
    struct yaml **docs;
    manifests_begin(&reader, &part->diag);
    const size_t n_docs = manifests_open_file(&reader, part->path.ptr, &scratch, &docs);
    for (size_t i = 0; i < n_docs; i++)
        manifests_add_doc(&reader, docs[i]);
    arena_fini(&scratch);
    manifests_part_take(part, &reader);
}

/* What it is like before it is read: a write meanwhile shows in the next one. */
static void note_state(struct manifests_part *part, const struct file_state *state, int64_t now_ns)
{
    part->state = *state;
    part->is_settled =
        now_ns - state->modified_ns > SETTLED_NS && now_ns - state->changed_ns > SETTLED_NS;
}

static struct manifests_part *part_read(struct str path, const struct file_state *state,
                                        int64_t now_ns)
{
    struct manifests_part *part = mem_new(struct manifests_part);
    part->refs = 1;
    part->path = arena_str(&part->arena, path);
    note_state(part, state, now_ns);
    read_docs(part);
    return part;
}

/* A file that is young, or was written again, with the bytes that it had. */
static bool has_same_bytes(const struct manifests_part *part)
{
    struct diag diag = {0};
    struct str bytes;
    bool is_same = false;
    if (file_read(part->path.ptr, YAML_BYTES_MAX, &bytes, &diag)) {
        is_same = keyed_hash(0, bytes) == part->content;
        mem_free((void *)(uintptr_t)bytes.ptr);
    }
    diag_fini(&diag);
    return is_same;
}

/* The part of a file, read now if it has to be; the caller's reference. */
static struct manifests_part *part_of(struct manifests_cache *cache, struct str path,
                                      int64_t now_ns)
{
    struct manifests_part *part = map_remove(&cache->parts, path);
    const struct file_state state = state_of(path.ptr);
    if (part && part->set && part->is_settled && is_same(&part->state, &state))
        return part;
    if (part && part->set && has_same_bytes(part)) {
        note_state(part, &state, now_ns);
        return part;
    }
    if (part)
        manifests_part_unref(part);
    return part_read(path, &state, now_ns);
}

static void drop_parts(struct map *parts)
{
    size_t idx = 0;
    struct str path;
    void *part;
    while (map_next(parts, &idx, &path, &part))
        manifests_part_unref(part);
    map_fini(parts);
}

/* ---- joining ---- */

struct joining {
    struct manifests *set;
    struct manifests_part *const *parts;
    size_t n_parts;
};

void manifests_part_tell(const struct manifests_part *part, struct diag *diag)
{
    for (size_t i = 0; i < part->diag.len; i++) {
        const struct diag_entry *entry = &part->diag.entries[i];
        if (entry->severity == DIAG_ERROR)
            diag_error(diag, entry->place, "%.*s", STR_ARG(entry->sentence));
        else
            diag_warn(diag, entry->place, "%.*s", STR_ARG(entry->sentence));
    }
    diag->dropped += part->diag.dropped;
}

void manifests_tell_twice(struct diag *diag, struct str key, const struct place *a,
                          const struct place *b)
{
    const bool in_order = str_cmp(a->file, b->file) < 0;
    const struct place *first = in_order ? a : b, *again = in_order ? b : a;
    struct str kind, name;
    const bool is_split = str_split(key, '/', &kind, &name);
    ensure(is_split);
    if (str_starts_with(name, STR("/"))) /* of a kind without namespaces */
        name = str_sub(name, 1, name.len - 1);
    diag_error(diag, *again, "%.*s %.*s is there twice, first at %.*s:%u:%u", STR_ARG(kind),
               STR_ARG(name), STR_ARG(first->file), first->line, first->column);
}

/* Within one file the reader has told it already. */
static void check_unique(struct map *seen, const struct manifests_part *part, struct diag *diag)
{
    size_t idx = 0;
    struct str key;
    void *place;
    while (map_next(&part->seen, &idx, &key, &place)) {
        const struct place *first = map_find(seen, key);
        if (first)
            manifests_tell_twice(diag, key, first, place);
        else
            map_put(seen, key, place);
    }
}

#define JOIN(joining, items, n_items)                                                              \
    do {                                                                                           \
        size_t n_ = 0;                                                                             \
        for (size_t i = 0; i < (joining)->n_parts; i++)                                            \
            n_ += (joining)->parts[i]->set->n_items;                                               \
        (joining)->set->items = arena_alloc_array(&(joining)->set->arena, n_ ? n_ : 1,             \
                                                  sizeof(*(joining)->set->items));                 \
        for (size_t i = 0; i < (joining)->n_parts; i++) {                                          \
            const struct manifests *from_ = (joining)->parts[i]->set;                              \
            if (from_->n_items > 0)                                                                \
                memcpy((joining)->set->items + (joining)->set->n_items, from_->items,              \
                       from_->n_items * sizeof(*from_->items));                                    \
            (joining)->set->n_items += from_->n_items;                                             \
        }                                                                                          \
    } while (0)

/* The objects themselves are copied, what they point to stays with the parts. */
static void join(struct joining *joining)
{
    struct manifests *set = joining->set;
    JOIN(joining, namespaces, n_namespaces);
    JOIN(joining, nodes, n_nodes);
    JOIN(joining, pods, n_pods);
    JOIN(joining, services, n_services);
    JOIN(joining, slices, n_slices);
    JOIN(joining, exports, n_exports);
    JOIN(joining, imports, n_imports);
    JOIN(joining, policies, n_policies);
    JOIN(joining, traffics, n_traffics);
    JOIN(joining, peer_auths, n_peer_auths);
    JOIN(joining, request_auths, n_request_auths);
    JOIN(joining, routes, n_routes);
    set->n_files = set->n_parts = set->n_current = joining->n_parts;
    set->parts = arena_new_array(&set->arena, struct manifests_part *, joining->n_parts + 1);
    set->current = mem_new_array(struct manifests_part *, joining->n_parts + 1);
    for (size_t i = 0; i < joining->n_parts; i++) {
        set->parts[i] = set->current[i] = joining->parts[i];
        joining->parts[i]->refs += 2;
    }
}

struct manifests *manifests_join(struct manifests_part *const *parts, size_t n, struct diag *diag)
{
    const size_t n_errors = diag->n_errors;
    struct joining joining = {.parts = parts, .n_parts = n};
    struct map seen = {0};
    for (size_t i = 0; i < n; i++)
        check_unique(&seen, parts[i], diag);
    if (diag->n_errors > n_errors) {
        map_fini(&seen);
        return NULL;
    }
    joining.set = mem_new(struct manifests);
    join(&joining);
    joining.set->seen = seen;
    return joining.set;
}

/* It was joined before, so its names are known to be unique. */
struct manifests *manifests_again(struct manifests *set)
{
    struct joining joining = {
        .set = mem_new(struct manifests), .parts = set->current, .n_parts = set->n_current};
    join(&joining);
    joining.set->seen = set->seen;
    set->seen = (struct map){0};
    return joining.set;
}

/* ---- the cache ---- */

struct manifests_cache *manifests_cache_new(void)
{
    return mem_new(struct manifests_cache);
}

void manifests_cache_free(struct manifests_cache *cache)
{
    if (!cache)
        return;
    drop_parts(&cache->parts);
    mem_free(cache);
}

/* A folder that has lost all of its files at once is rather one that is not mounted than a cluster
 * without a namespace; nobody loses the mesh by that. */
static bool is_emptied(const struct manifests_cache *cache, const char *dir, size_t n_files,
                       struct diag *diag)
{
    const struct place place = {.file = str_from(dir)};
    if (n_files > 0)
        return false;
    if (cache->parts.len == 0) {
        diag_warn(diag, place, "the folder holds no manifests (*.yaml, *.yml, *.json)");
        return false;
    }
    diag_error(diag, place,
               "the folder holds no manifests any more (*.yaml, *.yml, *.json), as one that is not "
               "mounted; a single Namespace would do");
    return true;
}

/* Files that are no more leave the cache: what was read becomes all that is in it. */
bool manifests_parts(struct manifests_cache *cache, const char *dir, int64_t now_ns,
                     struct arena *arena, struct manifests_part ***out_parts, size_t *out_n,
                     struct diag *diag)
{
    struct map parts = {0};
    struct str *paths;
    if (!files_find(dir, arena, &paths, out_n, diag) || is_emptied(cache, dir, *out_n, diag))
        return false;
    *out_parts = arena_new_array(arena, struct manifests_part *, *out_n + 1);
    for (size_t i = 0; i < *out_n; i++) {
        struct manifests_part *part = part_of(cache, paths[i], now_ns);
        (*out_parts)[i] = part;
        map_put(&parts, part->path, part);
    }
    drop_parts(&cache->parts);
    cache->parts = parts;
    return true;
}

struct manifests *manifests_read_cached(struct manifests_cache *cache, const char *dir,
                                        int64_t now_ns, struct diag *diag)
{
    struct arena scratch = {0};
    struct manifests *set = NULL;
    struct manifests_part **parts;
    size_t n;
    const size_t n_errors = diag->n_errors;
    if (manifests_parts(cache, dir, now_ns, &scratch, &parts, &n, diag)) {
        for (size_t i = 0; i < n; i++)
            manifests_part_tell(parts[i], diag);
        if (diag->n_errors == n_errors)
            set = manifests_join(parts, n, diag);
    }
    arena_fini(&scratch);
    return set;
}
