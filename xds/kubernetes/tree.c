#include "xds/kubernetes/tree.h"

#include "certs/json_strict.h"

struct growing {
    struct arena *arena;
    struct str file;
};

static struct yaml *new_node(const struct growing *growing, enum yaml_kind kind)
{
    struct yaml *node = arena_new(growing->arena, struct yaml);

    node->kind = kind;
    node->place.file = growing->file;
    return node;
}

static struct yaml *new_text(const struct growing *growing, struct str text, bool is_quoted)
{
    struct yaml *node = new_node(growing, YAML_TEXT);

    node->text = text;
    node->quoted = is_quoted;
    return node;
}

static struct yaml *new_number(const struct growing *growing, const json_t *value)
{
    const struct str text =
        json_is_integer(value)
            ? arena_printf(growing->arena, "%" JSON_INTEGER_FORMAT, json_integer_value(value))
            : arena_printf(growing->arena, "%.17g", json_real_value(value));

    return new_text(growing, text, false);
}

static struct yaml *grow(const struct growing *growing, json_t *value, unsigned depth);

/* So many more entries may be put in. */
static struct yaml *grow_mapping(const struct growing *growing, json_t *value, unsigned depth,
                                 size_t more)
{
    struct yaml *node = new_node(growing, YAML_MAPPING);
    const size_t n = json_object_size(value) + more;

    node->keys = arena_new_array(growing->arena, struct yaml *, n + 1);
    node->items = arena_new_array(growing->arena, struct yaml *, n + 1);
    for (void *at = json_object_iter(value); at; at = json_object_iter_next(value, at)) {
        struct yaml *item = grow(growing, json_object_iter_value(at), depth + 1);

        if (!item)
            return NULL;
        node->keys[node->len] = new_text(growing, str_from(json_object_iter_key(at)), true);
        node->items[node->len++] = item;
    }
    return node;
}

static struct yaml *grow_sequence(const struct growing *growing, json_t *value, unsigned depth)
{
    struct yaml *node = new_node(growing, YAML_SEQUENCE);
    const size_t n = json_array_size(value);

    node->items = arena_new_array(growing->arena, struct yaml *, n + 1);
    for (; node->len < n; node->len++) {
        node->items[node->len] = grow(growing, json_array_get(value, node->len), depth + 1);
        if (!node->items[node->len])
            return NULL;
    }
    return node;
}

static struct yaml *grow(const struct growing *growing, json_t *value, unsigned depth)
{
    if (depth > YAML_DEPTH_MAX)
        return NULL;
    switch (json_typeof(value)) {
    case JSON_OBJECT: return grow_mapping(growing, value, depth, 0);
    case JSON_ARRAY: return grow_sequence(growing, value, depth);
    case JSON_STRING: return new_text(growing, json_strict_text(value), true);
    case JSON_INTEGER:
    case JSON_REAL: return new_number(growing, value);
    case JSON_TRUE: return new_text(growing, STR("true"), false);
    case JSON_FALSE: return new_text(growing, STR("false"), false);
    case JSON_NULL: break;
    }
    return new_node(growing, YAML_NULL);
}

static void add(const struct growing *growing, struct yaml *node, const char *key, struct str text)
{
    if (text.len == 0 || yaml_get(node, key))
        return;
    node->keys[node->len] = new_text(growing, str_from(key), true);
    node->items[node->len++] = new_text(growing, text, true);
}

struct yaml *kube_tree(struct arena *arena, struct str file, json_t *object, struct str kind,
                       struct str api_version)
{
    const struct growing growing = {arena, file};
    struct yaml *node = json_is_object(object) ? grow_mapping(&growing, object, 1, 2) : NULL;

    if (node) {
        add(&growing, node, "kind", kind);
        add(&growing, node, "apiVersion", api_version);
    }
    return node;
}
