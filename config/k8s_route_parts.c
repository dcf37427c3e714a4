/* What the parts of HTTPRoute and GRPCRoute share: references, paths, header fields. */
#include <string.h>

#include "config/k8s_route.h"
#include "config/names.h"
#include "config/snapshot_build.h"
#include "proxy/base/ascii.h"
#include "proxy/base/percent.h"

struct str k8s_route_word(const struct k8s_reader *reader, const struct yaml *parent,
                          const char *key, const char *what)
{
    char buf[WHAT_MAX];
    const struct yaml *node = yaml_get(parent, key);
    (void)what_at(buf, "%s.%s", what, key);
    struct str text = k8s_text(reader, node, buf);
    if (!node || (node->kind == YAML_TEXT && text.len == 0))
        diag_error(reader->diag, node ? node->place : parent->place, "%s: is required", buf);
    return text;
}

struct k8s_route_ref k8s_route_ref(const struct k8s_reader *reader, const struct yaml *node,
                                   const char *what, const char *const *keys,
                                   const struct object *meta)
{
    struct k8s_route_ref ref = {.place = k8s_place(reader, node)};
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, node, what, keys);
    const struct str group = yaml_text(yaml_get(node, "group"), what_at(buf, "%s.group", what),
                                       (struct str){0}, reader->diag);
    const struct str kind = yaml_text(yaml_get(node, "kind"), what_at(buf, "%s.kind", what),
                                      STR("Service"), reader->diag);
    ref.is_import = str_eq(kind, STR("ServiceImport"));
    const bool is_mcs =
        str_eq(group, STR("multicluster.x-k8s.io")) || str_eq(group, STR("multicluster.k8s.io"));
    if (!(ref.is_import && is_mcs) && !(str_eq(kind, STR("Service")) && str_is_empty(group)))
        diag_error(reader->diag, node->place,
                   "%s: \"%.*s\" of group \"%.*s\" is neither a Service (group \"\") nor a "
                   "ServiceImport (group multicluster.x-k8s.io)",
                   what, STR_ARG(str_sub(kind, 0, 40)), STR_ARG(str_sub(group, 0, 80)));
    ref.name = k8s_route_word(reader, node, "name", what);
    if (ref.name.len > 0 && !name_is_label(ref.name))
        diag_error(reader->diag, node->place, "%s.name: \"%.*s\" is not a name (RFC 1123 label)",
                   what, STR_ARG(str_sub(ref.name, 0, 80)));
    ref.namespace_ =
        k8s_name(reader, yaml_get(node, "namespace"), what_at(buf, "%s.namespace", what),
                 name_is_label, "a namespace (RFC 1123 label)");
    if (str_is_empty(ref.namespace_))
        ref.namespace_ = meta->namespace_;
    ref.port = k8s_port(reader, yaml_get(node, "port"), node, what_at(buf, "%s.port", what));
    return ref;
}

/* ---- paths ---- */

static bool is_path_char(char c)
{
    return percent_is_unreserved((unsigned char)c) ||
           (c != '\0' && strchr("/%!$&'()*+,;=:@", c) != NULL);
}

static const char *path_fault(struct str path)
{
    if (path.len == 0 || path.ptr[0] != '/')
        return "does not begin with /";
    for (size_t i = 0; i < path.len; i++)
        if (!is_path_char(path.ptr[i]))
            return "has a character in it that a path must escape";
    if (str_contains(path, STR("//")) || str_contains(path, STR("/./")) ||
        str_contains(path, STR("/../")) || str_ends_with(path, STR("/.")) ||
        str_ends_with(path, STR("/..")))
        return "is not in normal form: no request has //, /./ or /../ in its path by then";
    if (str_contains(path, STR("%2F")) || str_contains(path, STR("%00")))
        return "has an escaped slash or NUL in it";
    return NULL;
}

struct str k8s_route_path(const struct k8s_reader *reader, const struct yaml *node,
                          const char *what)
{
    const struct str text = yaml_text(node, what, (struct str){0}, reader->diag);
    const char *fault = "is longer than 1024 bytes";
    if (!node || node->kind != YAML_TEXT)
        return (struct str){0};
    if (text.len <= ROUTE_NAME_MAX) {
        char *normal = arena_alloc(reader->arena, text.len + 1);
        struct str path = {normal, 0};
        fault = percent_normalize(text, normal, &path.len)
                    ? path_fault(path)
                    : "has a % without two hexadecimal digits behind it";
        if (!fault)
            return path;
    }
    diag_error(reader->diag, node->place, "%s: \"%.*s\" %s", what, STR_ARG(str_sub(text, 0, 80)),
               fault);
    return (struct str){0};
}

/* ---- header fields ---- */

struct str k8s_route_header(const struct k8s_reader *reader, const struct yaml *node,
                            const struct yaml *parent, const char *what)
{
    const struct str name = yaml_text(node, what, (struct str){0}, reader->diag);
    if (!node)
        diag_error(reader->diag, parent->place, "%s: is required", what);
    else if (node->kind == YAML_TEXT && (!route_is_method(name) || name.len > K8S_ROUTE_HEADER_MAX))
        diag_error(reader->diag, node->place,
                   "%s: \"%.*s\" is not the name of a header field (RFC 9110 token, 256 letters at "
                   "most)",
                   what, STR_ARG(str_sub(name, 0, 80)));
    return ascii_lower_str(reader->arena, name);
}

static struct str *read_removals(const struct k8s_reader *reader, const struct yaml *parent,
                                 const char *what, size_t *out_n)
{
    const struct yaml *list = yaml_get(parent, "remove");
    char buf[WHAT_MAX];
    const size_t n = k8s_list(reader, list, what_at(buf, "%s.remove", what), K8S_ROUTE_LIST_MAX);
    struct str *names = arena_new_array(reader->arena, struct str, n);
    for (size_t i = 0; i < n; i++) {
        names[i] =
            k8s_route_header(reader, list->items[i], list, what_at(buf, "%s.remove[%zu]", what, i));
        if (list->items[i]->kind == YAML_NULL)
            diag_error(reader->diag, list->items[i]->place, "%s: is empty, expected a name", buf);
        else if (names[i].len > 0 && !route_is_field_name(names[i]))
            diag_error(reader->diag, list->items[i]->place,
                       "%s: \"%.*s\" is not a route's to change", buf, STR_ARG(names[i]));
    }
    *out_n = n;
    return names;
}

static void read_field(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                       struct route_field *fields, size_t idx)
{
    static const char *const keys[] = {"name", "value", NULL};
    const struct yaml *name = yaml_get(item, "name");
    struct route_field *field = &fields[idx];
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, item, what, keys);
    field->name = k8s_route_header(reader, name, item, what_at(buf, "%s.name", what));
    if (field->name.len > 0 && !route_is_field_name(field->name))
        diag_error(reader->diag, name->place, "%s: \"%.*s\" is not a route's to change%s", buf,
                   STR_ARG(field->name),
                   str_eq(field->name, STR("host")) ? "; a URLRewrite's hostname changes it" : "");
    field->value = k8s_route_word(reader, item, "value", what);
    if (!route_is_field_value(field->value))
        diag_error(reader->diag, item->place,
                   "%s.value: is no value of a header field (4096 bytes at most, no control "
                   "characters, no blank at its ends)",
                   what);
    for (size_t i = 0; i < idx; i++)
        if (str_eq(fields[i].name, field->name))
            diag_error(reader->diag, item->place, "%s.name: \"%.*s\" is there already", what,
                       STR_ARG(str_sub(field->name, 0, 80)));
}

static struct route_field *read_fields(const struct k8s_reader *reader, const struct yaml *parent,
                                       const char *what, const char *key, size_t *out_n)
{
    const struct yaml *list = yaml_get(parent, key);
    char buf[WHAT_MAX];
    const size_t n = k8s_list(reader, list, what_at(buf, "%s.%s", what, key), K8S_ROUTE_LIST_MAX);
    struct route_field *fields = arena_new_array(reader->arena, struct route_field, n);
    for (size_t i = 0; i < n; i++)
        if (k8s_item(reader, list->items[i], what_at(buf, "%s.%s[%zu]", what, key, i)))
            read_field(reader, list->items[i], buf, fields, i);
    *out_n = n;
    return fields;
}

void k8s_route_edits(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                     struct route_edits *out_edits)
{
    static const char *const keys[] = {"set", "add", "remove", NULL};
    if (!yaml_is_mapping(node, what, reader->diag))
        return;
    k8s_strict_keys(reader, node, what, keys);
    out_edits->set = read_fields(reader, node, what, "set", &out_edits->n_set);
    out_edits->add = read_fields(reader, node, what, "add", &out_edits->n_add);
    out_edits->remove = read_removals(reader, node, what, &out_edits->n_remove);
    if (out_edits->n_set + out_edits->n_add + out_edits->n_remove == 0)
        diag_error(reader->diag, node->place, "%s: is empty, expected set, add or remove", what);
}
