/*
 * One object of an API server: what of it counts, the reading of it, and what stands in for one
 * that cannot be read.
 */
#include <string.h>

#include "config/k8s.h"
#include "config/manifests_part.h"
#include "proxy/base/mem.h"

/* ---- what counts ---- */

static void drop(struct yaml *node, const char *const *keys, bool is_kept)
{
    size_t n = 0;
    for (size_t i = 0; node && node->kind == YAML_MAPPING && i < node->len; i++) {
        bool is_named = false;
        for (const char *const *key = keys; *key; key++)
            is_named = is_named || str_eq(node->keys[i]->text, str_from(*key));
        if (is_named != is_kept)
            continue;
        node->keys[n] = node->keys[i];
        node->items[n++] = node->items[i];
    }
    if (node && node->kind == YAML_MAPPING)
        node->len = n;
}

static bool is_kind(const struct yaml *doc, const char *kind)
{
    const struct yaml *node = yaml_get(doc, "kind");
    return node && node->kind == YAML_TEXT && str_eq(node->text, str_from(kind));
}

void manifests_prune(struct yaml *doc)
{
    static const char *const restless[] = {"resourceVersion", "managedFields", "generation",
                                           "selfLink", NULL};
    static const char *const annotations[] = {"service.kubernetes.io/topology-mode",
                                              "istio.io/dry-run", NULL};
    static const char *const of_node[] = {"apiVersion", "kind", "metadata", NULL};
    static const char *const of_pod[] = {"phase", "podIP", "podIPs", "hostIP", "conditions", NULL};
    static const char *const status[] = {"status", NULL};
    static const char *const none[] = {"annotations", NULL};
    struct yaml *metadata = yaml_get(doc, "metadata"), *notes = yaml_get(metadata, "annotations");
    drop(metadata, restless, false);
    drop(notes, annotations, true);
    if (notes && notes->kind == YAML_MAPPING && notes->len == 0)
        drop(metadata, none, false);
    if (is_kind(doc, "Node"))
        drop(doc, of_node, true);
    else if (is_kind(doc, "Pod"))
        drop(yaml_get(doc, "status"), of_pod, true);
    else
        drop(doc, status, false);
}

/* ---- reading ---- */

static bool begins_with_kind(struct str path, struct str key)
{
    struct str wanted, found, rest;
    return str_split(path, ' ', &wanted, &rest) && str_split(key, '/', &found, &rest) &&
           str_eq(wanted, found);
}

/* Passed over is as good as wrong: it was asked for by its kind. */
static void check_kind(const struct k8s_reader *reader, const struct yaml *doc, struct str path)
{
    size_t idx = 0;
    struct str key;
    void *place;
    const bool is_one = map_next(&reader->seen, &idx, &key, &place);
    if (diag_is_clean(reader->diag) && (!is_one || !begins_with_kind(path, key)))
        diag_error(reader->diag, doc->place,
                   "kind: is another one than the API server was asked for");
}

struct manifests_part *manifests_part_of(struct str path, const struct yaml *doc)
{
    struct manifests_part *part = mem_new(struct manifests_part);
    struct k8s_reader reader;
    part->refs = 1;
    arena_start(&part->arena, arena_room(path.len + 1));
    part->path = arena_str(&part->arena, path);
    manifests_begin(&reader, &part->diag);
    reader.file = part->path;
    manifests_add_doc(&reader, doc);
    check_kind(&reader, doc, path);
    manifests_part_take(part, &reader);
    return part;
}

/* ---- standing in ---- */

static struct yaml *tree_text(struct arena *arena, struct str text)
{
    struct yaml *node = arena_new(arena, struct yaml);
    node->kind = YAML_TEXT;
    node->text = text;
    node->quoted = true;
    return node;
}

/* Of so many entries at most. */
static struct yaml *tree_map(struct arena *arena, size_t cap)
{
    struct yaml *node = arena_new(arena, struct yaml);
    node->kind = YAML_MAPPING;
    node->keys = arena_new_array(arena, struct yaml *, cap + 1);
    node->items = arena_new_array(arena, struct yaml *, cap + 1);
    return node;
}

static void tree_put(struct arena *arena, struct yaml *map, const char *key,
                     const struct yaml *value)
{
    if (!value)
        return;
    map->keys[map->len] = tree_text(arena, str_from(key));
    map->items[map->len++] = (struct yaml *)(uintptr_t)value;
}

static void tree_put_text(struct arena *arena, struct yaml *map, const char *key, const char *text)
{
    tree_put(arena, map, key, tree_text(arena, str_from(text)));
}

static bool says(const struct yaml *node, const char *word)
{
    return node && node->kind == YAML_TEXT && str_eq_ci(node->text, str_from(word));
}

/* A kind that is known and is no service: a Gateway of Istio's, which is none of ours. */
static bool is_foreign_target(const struct yaml *target)
{
    const struct yaml *kind = yaml_get(target, "kind");
    return kind && kind->kind == YAML_TEXT && !says(kind, "Service") &&
           !says(kind, "ServiceImport");
}

static bool is_about_others(const struct yaml *spec)
{
    const struct yaml *one = yaml_get(spec, "targetRef"), *several = yaml_get(spec, "targetRefs");
    if (yaml_get(spec, "selector") || (!one && !several))
        return false;
    bool is = !one || is_foreign_target(one);
    if (several && (several->kind != YAML_SEQUENCE || several->len == 0))
        return false;
    for (size_t i = 0; several && i < several->len; i++)
        is = is && is_foreign_target(several->items[i]);
    return is;
}

enum closing { CLOSE_NOT, CLOSE_ALLOWS_NOTHING, CLOSE_DENIES, CLOSE_STRICT };

static enum closing closing_of(const struct yaml *doc)
{
    const struct yaml *spec = yaml_get(doc, "spec"), *action = yaml_get(spec, "action");
    const struct yaml *annotations = yaml_path(doc, "metadata.annotations");
    if (is_kind(doc, "PeerAuthentication"))
        return CLOSE_STRICT;
    if (is_about_others(spec))
        return CLOSE_NOT;
    if (is_kind(doc, "RequestAuthentication"))
        return CLOSE_DENIES;
    if (!is_kind(doc, "AuthorizationPolicy") || says(action, "AUDIT") ||
        says(yaml_get(annotations, "istio.io/dry-run"), "true"))
        return CLOSE_NOT;
    return !action || says(action, "ALLOW") ? CLOSE_ALLOWS_NOTHING : CLOSE_DENIES;
}

static struct yaml *closing_spec(struct arena *arena, const struct yaml *spec, enum closing closing,
                                 bool is_narrow)
{
    struct yaml *out = tree_map(arena, 5), *rules = arena_new(arena, struct yaml);
    struct yaml *mtls = tree_map(arena, 1), *rule[] = {tree_map(arena, 0)};
    if (is_narrow)
        tree_put(arena, out, "selector", yaml_get(spec, "selector"));
    if (is_narrow && closing != CLOSE_STRICT) {
        tree_put(arena, out, "targetRef", yaml_get(spec, "targetRef"));
        tree_put(arena, out, "targetRefs", yaml_get(spec, "targetRefs"));
    }
    tree_put_text(arena, mtls, "mode", "STRICT");
    rules->kind = YAML_SEQUENCE;
    rules->items = arena_new(arena, struct yaml *);
    rules->items[0] = rule[0];
    rules->len = 1;
    if (closing == CLOSE_STRICT)
        tree_put(arena, out, "mtls", mtls);
    if (closing == CLOSE_DENIES) {
        tree_put_text(arena, out, "action", "DENY");
        tree_put(arena, out, "rules", rules);
    }
    return out;
}

static struct yaml *closing_doc(struct arena *arena, const struct yaml *doc, enum closing closing,
                                bool is_narrow)
{
    struct yaml *out = tree_map(arena, 4), *metadata = tree_map(arena, 2);
    tree_put(arena, metadata, "name", yaml_path(doc, "metadata.name"));
    tree_put(arena, metadata, "namespace", yaml_path(doc, "metadata.namespace"));
    tree_put_text(arena, out, "apiVersion", "security.istio.io/v1");
    tree_put_text(arena, out, "kind",
                  closing == CLOSE_STRICT ? "PeerAuthentication" : "AuthorizationPolicy");
    tree_put(arena, out, "metadata", metadata);
    tree_put(arena, out, "spec", closing_spec(arena, yaml_get(doc, "spec"), closing, is_narrow));
    return out;
}

/* An AuthorizationPolicy that stands in for a RequestAuthentication goes by a name that no object
 * can have, and counts among the RequestAuthentications. */
static void rename_policy(struct manifests_part *part)
{
    for (size_t i = 0; part->set && i < part->set->n_policies; i++) {
        struct k8s_policy *policy = &part->set->policies[i];
        struct arena *arena = &part->set->arena;
        const struct str key =
            arena_printf(arena, "RequestAuthentication/%.*s/%.*s", STR_ARG(policy->meta.namespace_),
                         STR_ARG(policy->meta.name));
        struct place *place = arena_new(arena, struct place);
        *place = policy->meta.place;
        map_fini(&part->seen);
        part->seen = (struct map){0};
        (void)map_put(&part->seen, key, place);
        policy->meta.name =
            arena_printf(arena, "RequestAuthentication:%.*s", STR_ARG(policy->meta.name));
        policy->policy.name = policy->meta.name;
    }
}

static struct manifests_part *read_stand_in(struct str path, const struct yaml *doc,
                                            enum closing closing, bool is_narrow)
{
    struct arena arena = {0};
    struct manifests_part *part = mem_new(struct manifests_part);
    struct k8s_reader reader;
    part->refs = 1;
    part->path = arena_str(&part->arena, path);
    manifests_begin(&reader, &part->diag);
    reader.file = part->path;
    manifests_add_doc(&reader, closing_doc(&arena, doc, closing, is_narrow));
    manifests_part_take(part, &reader);
    arena_fini(&arena);
    if (part->set)
        return part;
    manifests_part_unref(part);
    return NULL;
}

struct manifests_part *manifests_stand_in(struct str path, const struct yaml *doc)
{
    const enum closing closing = closing_of(doc);
    if (closing == CLOSE_NOT)
        return NULL;
    struct manifests_part *part = read_stand_in(path, doc, closing, true);
    if (!part)
        part = read_stand_in(path, doc, closing, false);
    if (part && is_kind(doc, "RequestAuthentication"))
        rename_policy(part);
    return part;
}
