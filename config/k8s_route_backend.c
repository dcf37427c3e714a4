/*
 * spec.rules[].backendRefs. Gateway API has no word for a part of a ServiceImport; ours is a filter
 * that names the cluster: {type: ExtensionRef, extensionRef: {group: isthmus.io, kind: Cluster,
 * name: east}}.
 */
#include "config/k8s_route.h"
#include "config/names.h"

static void read_cluster(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                         struct k8s_route_ref *ref)
{
    static const char *const keys[] = {"type", "extensionRef", NULL};
    static const char *const ref_keys[] = {"group", "kind", "name", NULL};
    const struct yaml *node = yaml_get(item, "extensionRef");
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, item, what, keys);
    if (!node)
        diag_error(reader->diag, item->place, "%s.extensionRef: is required", what);
    if (!yaml_is_mapping(node, what_at(buf, "%s.extensionRef", what), reader->diag))
        return;
    k8s_strict_keys(reader, node, buf, ref_keys);
    const struct str group = k8s_route_word(reader, node, "group", buf);
    const struct str kind = k8s_route_word(reader, node, "kind", buf);
    const struct str name = k8s_route_word(reader, node, "name", buf);
    if (!str_eq(group, STR("isthmus.io")) || !str_eq(kind, STR("Cluster")))
        diag_error(reader->diag, node->place,
                   "%s: \"%.*s\" of group \"%.*s\" is not known, expected kind Cluster of group "
                   "isthmus.io",
                   buf, STR_ARG(str_sub(kind, 0, 40)), STR_ARG(str_sub(group, 0, 80)));
    else if (!name_is_cluster(name))
        diag_error(reader->diag, node->place,
                   "%s.name: \"%.*s\" is not a cluster's name (RFC 1123, 127 letters at most)", buf,
                   STR_ARG(str_sub(name, 0, 80)));
    else if (!ref->is_import)
        diag_error(reader->diag, item->place,
                   "%s: a Service is of this cluster alone; name a cluster of a ServiceImport",
                   what);
    else if (ref->cluster.len > 0)
        diag_error(reader->diag, item->place, "%s: a cluster is named already", what);
    ref->cluster = name;
    k8s_mention(reader, yaml_get(node, "name"), what_at(buf, "%s.extensionRef.name", what), name);
}

static void read_edit(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                      const char *key, struct route_edits *edits)
{
    const char *const keys[] = {"type", key, NULL};
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, item, what, keys);
    if (!yaml_get(item, key))
        diag_error(reader->diag, item->place, "%s.%s: is required", what, key);
    if (edits->n_set + edits->n_add + edits->n_remove > 0)
        diag_error(reader->diag, item->place, "%s: there is a filter of this type already", what);
    k8s_route_edits(reader, yaml_get(item, key), what_at(buf, "%s.%s", what, key), edits);
}

static void read_filter(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                        struct route_backend *backend, struct k8s_route_ref *ref)
{
    const struct str type = k8s_route_word(reader, item, "type", what);
    if (str_eq(type, STR("RequestHeaderModifier")))
        read_edit(reader, item, what, "requestHeaderModifier", &backend->request);
    else if (str_eq(type, STR("ResponseHeaderModifier")))
        read_edit(reader, item, what, "responseHeaderModifier", &backend->response);
    else if (str_eq(type, STR("ExtensionRef")))
        read_cluster(reader, item, what, ref);
    else if (type.len > 0)
        diag_error(reader->diag, yaml_get(item, "type")->place,
                   "%s.type: \"%.*s\" is not supported of one backend, expected "
                   "RequestHeaderModifier, ResponseHeaderModifier or ExtensionRef",
                   what, STR_ARG(str_sub(type, 0, 80)));
}

static void read_backend(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                         const struct object *meta, struct route_backend *backend,
                         struct k8s_route_ref *ref)
{
    static const char *const keys[] = {"group", "kind",   "namespace", "name",
                                       "port",  "weight", "filters",   NULL};
    const struct yaml *list = yaml_get(item, "filters");
    char buf[WHAT_MAX];
    *ref = k8s_route_ref(reader, item, what, keys, meta);
    backend->weight = (uint32_t)yaml_u64(yaml_get(item, "weight"), what_at(buf, "%s.weight", what),
                                         0, ROUTE_WEIGHT_MAX, 1, reader->diag);
    const size_t n = k8s_list(reader, list, what_at(buf, "%s.filters", what), K8S_ROUTE_LIST_MAX);
    for (size_t i = 0; i < n; i++)
        if (k8s_item(reader, list->items[i], what_at(buf, "%s.filters[%zu]", what, i)))
            read_filter(reader, list->items[i], buf, backend, ref);
}

void k8s_route_backends(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                        const struct object *meta, struct k8s_route_rule *out_rule)
{
    const struct yaml *list = yaml_get(rule, "backendRefs");
    char buf[WHAT_MAX];
    const size_t n =
        k8s_list(reader, list, what_at(buf, "%s.backendRefs", what), K8S_ROUTE_LIST_MAX);
    struct route_backend *backends = arena_new_array(reader->arena, struct route_backend, n);
    out_rule->backends = arena_new_array(reader->arena, struct k8s_route_ref, n);
    for (size_t i = 0; i < n; i++)
        if (k8s_item(reader, list->items[i], what_at(buf, "%s.backendRefs[%zu]", what, i)))
            read_backend(reader, list->items[i], buf, meta, &backends[i], &out_rule->backends[i]);
    if (n > 0 && out_rule->rule.action == ROUTE_REDIRECT)
        diag_error(reader->diag, list->place, "%s.backendRefs: what is redirected has no backend",
                   what);
    if (n == 0 && out_rule->rule.action != ROUTE_REDIRECT)
        diag_warn(reader->diag, (list ? list : rule)->place,
                  "%s.backendRefs: there are none, so what the rule takes is answered 500", what);
    out_rule->rule.backends = backends;
    out_rule->rule.n_backends = n;
}
