/*
 * What the kinds of security.istio.io have in common. A policy must not silently not apply, so a
 * key that is not known is an error here, and so is one without a value: "from:" with its lines
 * commented out would otherwise match everybody.
 */
#include "config/k8s.h"
#include "config/names.h"

static bool is_one_of(struct str key, const char *const *words)
{
    for (size_t i = 0; words[i]; i++)
        if (str_eq(key, str_from(words[i])))
            return true;
    return false;
}

void k8s_strict_keys(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                     const char *const *known)
{
    yaml_only_keys(node, what, known, reader->diag);
    for (size_t i = 0; node && i < node->len; i++) {
        struct str key = node->keys[i]->text;
        if (node->items[i]->kind == YAML_NULL && is_one_of(key, known))
            diag_error(reader->diag, node->keys[i]->place,
                       "%s.%.*s: is empty; give it a value or leave it out", what, STR_ARG(key));
    }
}

void k8s_strict_top(const struct k8s_reader *reader, const struct yaml *doc)
{
    static const char *const top[] = {"apiVersion", "kind", "metadata", "spec", "status", NULL};
    static const char *const metadata[] = {"name",
                                           "namespace",
                                           "labels",
                                           "annotations",
                                           "uid",
                                           "resourceVersion",
                                           "generation",
                                           "generateName",
                                           "creationTimestamp",
                                           "deletionTimestamp",
                                           "deletionGracePeriodSeconds",
                                           "ownerReferences",
                                           "finalizers",
                                           "managedFields",
                                           "selfLink",
                                           NULL};
    yaml_only_keys(doc, "", top, reader->diag);
    yaml_only_keys(yaml_get(doc, "metadata"), "metadata", metadata, reader->diag);
}

/* A label that stands where the selector of a Service has it, and not one level below. */
static bool is_stray_label(const struct yaml *selector)
{
    if (yaml_get(selector, "matchLabels") || yaml_get(selector, "matchExpressions"))
        return false;
    for (size_t i = 0; i < selector->len; i++)
        if (selector->items[i]->kind != YAML_TEXT)
            return false;
    return selector->len > 0;
}

/* No label, and no letter that Istio does not take in one. */
static void check_labels(const struct k8s_reader *reader, const struct yaml *selector,
                         const struct yaml *labels)
{
    for (size_t i = 0; labels && labels->kind == YAML_MAPPING && i < labels->len; i++) {
        const struct str name = labels->keys[i]->text, value = labels->items[i]->text;
        if (labels->items[i]->kind == YAML_NULL)
            diag_error(reader->diag, labels->keys[i]->place,
                       "spec.selector.matchLabels.%.*s: is empty; give it a value or leave it out",
                       STR_ARG(name));
        else if (str_contains(name, STR("*")) || str_contains(value, STR("*")))
            diag_error(reader->diag, labels->keys[i]->place,
                       "spec.selector.matchLabels.%.*s: \"%.*s\" has a star, and labels are "
                       "compared letter by letter",
                       STR_ARG(name), STR_ARG(str_sub(value, 0, 80)));
    }
    if (!labels || (labels->kind == YAML_MAPPING && labels->len == 0))
        diag_warn(reader->diag, (labels ? labels : selector)->place,
                  "spec.selector: names no label, so it counts as if it were not there");
}

struct label *k8s_selector(const struct k8s_reader *reader, const struct yaml *spec, size_t *out_n)
{
    static const char *const known[] = {"matchLabels", NULL};
    const struct yaml *node = yaml_get(spec, "selector"), *labels = yaml_get(node, "matchLabels");
    const size_t n_errors = reader->diag->n_errors;
    *out_n = 0;
    if (!yaml_is_mapping(node, "spec.selector", reader->diag))
        return NULL;
    if (is_stray_label(node)) {
        diag_error(reader->diag, node->keys[0]->place,
                   "spec.selector.%.*s: labels stand below matchLabels, expected {matchLabels: "
                   "{%.*s: %.*s}}",
                   STR_ARG(str_sub(node->keys[0]->text, 0, 80)),
                   STR_ARG(str_sub(node->keys[0]->text, 0, 80)),
                   STR_ARG(str_sub(node->items[0]->text, 0, 80)));
        return NULL;
    }
    k8s_strict_keys(reader, node, "spec.selector", known);
    if (reader->diag->n_errors == n_errors)
        check_labels(reader, node, labels);
    return k8s_labels(reader, labels, "spec.selector.matchLabels", out_n);
}

/* ---- lists of values ---- */

size_t k8s_n_values(const struct k8s_reader *reader, const struct yaml *list, const char *what,
                    size_t max)
{
    size_t n = k8s_length(reader, list, what, max);
    if (list->kind == YAML_SEQUENCE && list->len == 0)
        diag_error(reader->diag, list->place, "%s: is empty, expected at least one value", what);
    return n;
}

struct str k8s_value(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                     size_t idx)
{
    char buf[WHAT_MAX];
    struct str text =
        yaml_text(node, what_at(buf, "%s[%zu]", what, idx), (struct str){0}, reader->diag);
    if (str_is_empty(text) && (node->kind == YAML_TEXT || node->kind == YAML_NULL))
        diag_error(reader->diag, node->place, "%s: is empty, expected a value", buf);
    return text;
}

struct string_match k8s_string_match(struct arena *arena, struct str text)
{
    struct string_match match = {MATCH_EXACT, text};
    if (str_eq(text, STR("*")))
        return (struct string_match){MATCH_PRESENCE, {0}};
    if (str_starts_with(text, STR("*")))
        match = (struct string_match){MATCH_SUFFIX, str_sub(text, 1, text.len)};
    else if (str_ends_with(text, STR("*")))
        match = (struct string_match){MATCH_PREFIX, str_sub(text, 0, text.len - 1)};
    match.value = arena_str(arena, match.value);
    return match;
}

void k8s_warn_star(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                   size_t idx, struct str matched)
{
    if (str_contains(matched, STR("*")))
        diag_warn(reader->diag, node->place,
                  "%s[%zu]: a star that is not the first or the only last letter is compared as a "
                  "star",
                  what, idx);
}

/* ---- targets ---- */

/* False for a kind that is no service. */
static bool read_target_kind(struct str group, struct str kind, struct k8s_target *target)
{
    const bool is_core = str_is_empty(group) || str_eq(group, STR("core"));
    target->is_import = str_eq(kind, STR("ServiceImport"));
    if (target->is_import)
        return str_eq(group, STR("multicluster.x-k8s.io")) ||
               str_eq(group, STR("multicluster.k8s.io"));
    return is_core && str_eq(kind, STR("Service"));
}

static void read_target(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                        const struct object *meta, struct k8s_target *target)
{
    static const char *const known[] = {"group", "kind", "name", "namespace", NULL};
    char buf[WHAT_MAX];
    if (!k8s_item(reader, item, what))
        return;
    k8s_strict_keys(reader, item, what, known);
    const struct yaml *kind_node = yaml_get(item, "kind"), *name = yaml_get(item, "name");
    const struct yaml *namespace_ = yaml_get(item, "namespace");
    struct str group = k8s_text(reader, yaml_get(item, "group"), what_at(buf, "%s.group", what));
    struct str kind = k8s_text(reader, kind_node, what_at(buf, "%s.kind", what));
    struct str wanted = k8s_text(reader, namespace_, what_at(buf, "%s.namespace", what));
    target->place = k8s_place(reader, item);
    target->name = k8s_name(reader, name, what_at(buf, "%s.name", what), name_is_label,
                            "a name (RFC 1123 label: a-z, 0-9 and -, 63 letters at most)");
    if (!kind_node || !name)
        diag_error(reader->diag, item->place, "%s: needs a kind and a name", what);
    else if (!read_target_kind(group, kind, target))
        diag_error(reader->diag, kind_node->place,
                   "%s: \"%.*s\" of the group \"%.*s\" is not supported, expected a Service, or a "
                   "ServiceImport of multicluster.x-k8s.io",
                   what, STR_ARG(str_sub(kind, 0, 40)), STR_ARG(str_sub(group, 0, 60)));
    if (!str_is_empty(wanted) && !str_eq(wanted, meta->namespace_))
        diag_error(reader->diag, namespace_->place,
                   "%s.namespace: \"%.*s\" is not the policy's own; it is for services of its own "
                   "namespace",
                   what, STR_ARG(str_sub(wanted, 0, 63)));
}

struct k8s_target *k8s_targets(const struct k8s_reader *reader, const struct yaml *spec,
                               const struct object *meta, size_t *out_n)
{
    const struct yaml *one = yaml_get(spec, "targetRef"), *several = yaml_get(spec, "targetRefs");
    char buf[WHAT_MAX];
    *out_n = k8s_list(reader, several, "spec.targetRefs", TARGETS_MAX);
    if (several && several->kind == YAML_SEQUENCE && several->len == 0)
        diag_error(reader->diag, several->place, "spec.targetRefs: is empty, expected a target");
    if (one && several)
        diag_error(reader->diag, one->place, "spec.targetRef: cannot stand beside targetRefs");
    struct k8s_target *targets = arena_new_array(reader->arena, struct k8s_target, *out_n + 1);
    for (size_t i = 0; i < *out_n; i++)
        read_target(reader, several->items[i], what_at(buf, "spec.targetRefs[%zu]", i), meta,
                    &targets[i]);
    if (one && !several)
        read_target(reader, one, "spec.targetRef", meta, &targets[(*out_n)++]);
    return targets;
}
