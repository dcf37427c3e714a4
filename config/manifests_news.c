/*
 * What is new in a folder since a set was read (a "file" of an API server is one object): files
 * that are not the ones it was joined out of, and of these the Pods and EndpointSlices. Whatever
 * else they hold must be the same as before, by the hash of its documents; if it is not, all is
 * joined anew.
 *
 * The set's other objects go on pointing into the files that it was joined out of, which are kept
 * for that; a file that has none of them goes when it is replaced. So the set never holds more than
 * two readings of a file.
 */
#include "config/manifests_part.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"

struct pair { /* one file, as the set has it and as it is now; NULL: there is none */
    struct manifests_part *before, *after;
};

struct news {
    struct arena arena;
    struct manifests *set;
    struct manifests_part **parts; /* all, as they are now */
    size_t n_parts;
    struct pair *pairs; /* those that differ */
    size_t n_pairs;
    struct diag *diag;
};

/* ---- which files ---- */

static int compare_parts(const struct manifests_part *a, const struct manifests_part *b)
{
    if (!a || !b)
        return a ? -1 : 1;
    return str_cmp(a->path, b->path);
}

/* Both are in the order of their paths. */
static void pair_up(struct news *news)
{
    const struct manifests *set = news->set;
    size_t i = 0, j = 0;
    news->pairs = arena_new_array(&news->arena, struct pair, set->n_current + news->n_parts);
    while (i < set->n_current || j < news->n_parts) {
        struct manifests_part *before = i < set->n_current ? set->current[i] : NULL;
        struct manifests_part *after = j < news->n_parts ? news->parts[j] : NULL;
        const int order = compare_parts(before, after);
        if (order <= 0)
            i++;
        if (order >= 0)
            j++;
        if (before != after)
            news->pairs[news->n_pairs++] =
                (struct pair){order <= 0 ? before : NULL, order >= 0 ? after : NULL};
    }
}

static uint64_t structure_of(const struct manifests_part *part)
{
    return part ? part->structure : 0;
}

static bool has_other_news(const struct news *news)
{
    for (size_t i = 0; i < news->n_pairs; i++)
        if (structure_of(news->pairs[i].before) != structure_of(news->pairs[i].after))
            return true;
    return false;
}

/* ---- names ---- */

static void check_part(const struct news *news, const struct map *leaving, struct map *fresh,
                       const struct manifests_part *part)
{
    size_t idx = 0;
    struct str key;
    void *place;
    while (map_next(&part->seen, &idx, &key, &place)) {
        const struct place *other = map_find(&news->set->seen, key);
        if (other && map_find(leaving, other->file))
            other = NULL;
        if (!other)
            other = map_find(fresh, key);
        if (other)
            manifests_tell_twice(news->diag, key, other, place);
        else
            map_put(fresh, key, place);
    }
}

/* Against what stays and against each other. */
static void check_names(const struct news *news)
{
    struct map leaving = {0}, fresh = {0};
    for (size_t i = 0; i < news->n_pairs; i++)
        if (news->pairs[i].before)
            map_put(&leaving, news->pairs[i].before->path, news->pairs[i].before);
    for (size_t i = 0; i < news->n_pairs; i++)
        if (news->pairs[i].after)
            check_part(news, &leaving, &fresh, news->pairs[i].after);
    map_fini(&leaving);
    map_fini(&fresh);
}

static void take_out(struct map *seen, const struct manifests_part *part)
{
    size_t idx = 0;
    struct str key;
    void *place;
    while (map_next(&part->seen, &idx, &key, &place))
        (void)map_remove(seen, key);
}

static void put_in(struct map *seen, const struct manifests_part *part)
{
    size_t idx = 0;
    struct str key;
    void *place;
    while (map_next(&part->seen, &idx, &key, &place))
        map_put(seen, key, place);
}

static void follow_names(const struct news *news)
{
    for (size_t i = 0; i < news->n_pairs; i++)
        if (news->pairs[i].before)
            take_out(&news->set->seen, news->pairs[i].before);
    for (size_t i = 0; i < news->n_pairs; i++)
        if (news->pairs[i].after)
            put_in(&news->set->seen, news->pairs[i].after);
}

/* ---- objects ---- */

static bool is_there(const struct manifests *set, const char *kind, const struct object *meta)
{
    struct text key = {0};
    text_addf(&key, "%s/%.*s/%.*s", kind, STR_ARG(meta->namespace_), STR_ARG(meta->name));
    const bool is = map_find(&set->seen, text_str(&key)) != NULL;
    text_fini(&key);
    return is;
}

static void make_room(const struct news *news, struct manifests_changes *out)
{
    size_t n_pods = 0, n_slices = 0, n_pods_before = 0, n_slices_before = 0;
    for (size_t i = 0; i < news->n_pairs; i++) {
        const struct manifests_part *before = news->pairs[i].before, *after = news->pairs[i].after;
        n_pods += after ? after->set->n_pods : 0;
        n_slices += after ? after->set->n_slices : 0;
        n_pods_before += before ? before->set->n_pods : 0;
        n_slices_before += before ? before->set->n_slices : 0;
    }
    out->pods = arena_new_array(&out->arena, const struct k8s_pod *, n_pods);
    out->slices = arena_new_array(&out->arena, const struct k8s_endpoint_slice *, n_slices);
    out->pods_gone = arena_new_array(&out->arena, const struct k8s_pod *, n_pods_before);
    out->slices_gone =
        arena_new_array(&out->arena, const struct k8s_endpoint_slice *, n_slices_before);
    out->replaced = arena_new_array(&out->arena, struct manifests_part *, 2 * news->n_pairs);
}

static void list_gone(const struct manifests *set, const struct manifests *before,
                      struct manifests_changes *out)
{
    for (size_t i = 0; i < before->n_pods; i++)
        if (!is_there(set, "Pod", &before->pods[i].meta))
            out->pods_gone[out->n_pods_gone++] = &before->pods[i];
    for (size_t i = 0; i < before->n_slices; i++)
        if (!is_there(set, "EndpointSlice", &before->slices[i].meta))
            out->slices_gone[out->n_slices_gone++] = &before->slices[i];
}

static void list_read(const struct manifests *after, struct manifests_changes *out)
{
    for (size_t i = 0; i < after->n_pods; i++)
        out->pods[out->n_pods++] = &after->pods[i];
    for (size_t i = 0; i < after->n_slices; i++)
        out->slices[out->n_slices++] = &after->slices[i];
}

static void list_objects(const struct news *news, struct manifests_changes *out)
{
    for (size_t i = 0; i < news->n_pairs; i++) {
        if (news->pairs[i].before)
            list_gone(news->set, news->pairs[i].before->set, out);
        if (news->pairs[i].after)
            list_read(news->pairs[i].after->set, out);
    }
}

/* ---- the set ---- */

/* Of what the set was joined out of, only what other objects point into stays. */
static void let_go(struct manifests *set, const struct manifests_part *part,
                   struct manifests_changes *out)
{
    for (size_t i = 0; i < set->n_parts && part->structure == 0; i++) {
        if (set->parts[i] != part)
            continue;
        out->replaced[out->n_replaced++] = set->parts[i];
        set->parts[i] = NULL;
    }
}

static void take_over(const struct news *news, struct manifests_changes *out)
{
    struct manifests *set = news->set;
    struct manifests_part **current = mem_new_array(struct manifests_part *, news->n_parts + 1);
    for (size_t i = 0; i < news->n_parts; i++) {
        current[i] = news->parts[i];
        current[i]->refs++;
    }
    for (size_t i = 0; i < news->n_pairs; i++) {
        struct manifests_part *before = news->pairs[i].before;
        if (!before)
            continue;
        let_go(set, before, out);
        before->refs++; /* that of its place in the list of the current ones goes below */
        out->replaced[out->n_replaced++] = before;
    }
    for (size_t i = 0; i < set->n_current; i++)
        manifests_part_unref(set->current[i]);
    mem_free(set->current);
    set->current = current;
    set->n_current = set->n_files = news->n_parts;
    set->n_pods = set->n_slices = 0;
    set->is_patched = true;
}

static bool are_good(const struct news *news)
{
    for (size_t i = 0; i < news->n_parts; i++)
        if (!news->parts[i]->set)
            return false;
    return true;
}

static enum manifests_news join_all(const struct news *news, struct manifests **out_whole)
{
    for (size_t i = 0; i < news->n_parts; i++)
        manifests_part_tell(news->parts[i], news->diag);
    *out_whole = are_good(news) ? manifests_join(news->parts, news->n_parts, news->diag) : NULL;
    return *out_whole ? MANIFESTS_WHOLE : MANIFESTS_REFUSED;
}

static enum manifests_news look(struct news *news, struct manifests_changes *out,
                                struct manifests **out_whole)
{
    const size_t n_errors = news->diag->n_errors;
    if (!are_good(news))
        return join_all(news, out_whole);
    pair_up(news);
    if (has_other_news(news))
        return join_all(news, out_whole);
    check_names(news);
    if (news->diag->n_errors > n_errors)
        return MANIFESTS_REFUSED;
    for (size_t i = 0; i < news->n_pairs; i++)
        if (news->pairs[i].after)
            manifests_part_tell(news->pairs[i].after, news->diag);
    make_room(news, out);
    follow_names(news);
    list_objects(news, out);
    take_over(news, out);
    return MANIFESTS_PATCHED;
}

enum manifests_news manifests_find_news(struct manifests *set, struct manifests_part **parts,
                                        size_t n, struct manifests_changes *out_changes,
                                        struct manifests **out_whole, struct diag *diag)
{
    struct news news = {.set = set, .parts = parts, .n_parts = n, .diag = diag};
    *out_changes = (struct manifests_changes){0};
    *out_whole = NULL;
    const enum manifests_news what = look(&news, out_changes, out_whole);
    arena_fini(&news.arena);
    return what;
}

enum manifests_news manifests_read_news(struct manifests_cache *cache, const char *dir,
                                        int64_t now_ns, struct manifests *set,
                                        struct manifests_changes *out_changes,
                                        struct manifests **out_whole, struct diag *diag)
{
    struct arena arena = {0};
    struct manifests_part **parts;
    size_t n;
    enum manifests_news what = MANIFESTS_REFUSED;
    *out_changes = (struct manifests_changes){0};
    *out_whole = NULL;
    if (manifests_parts(cache, dir, now_ns, &arena, &parts, &n, diag))
        what = manifests_find_news(set, parts, n, out_changes, out_whole, diag);
    arena_fini(&arena);
    return what;
}

void manifests_changes_fini(struct manifests_changes *changes)
{
    for (size_t i = 0; i < changes->n_replaced; i++)
        manifests_part_unref(changes->replaced[i]);
    arena_fini(&changes->arena);
}
