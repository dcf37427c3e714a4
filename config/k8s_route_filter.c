/* spec.rules[].filters of HTTPRoute and GRPCRoute: what is changed, mirrored, answered. */
#include <string.h>

#include "config/k8s_route.h"
#include "config/names.h"

/* ---- paths and hosts ---- */

static void read_path_edit(const struct k8s_reader *reader, const struct yaml *parent,
                           const char *what, struct route_rule *rule)
{
    static const char *const keys[] = {"type", "replaceFullPath", "replacePrefixMatch", NULL};
    const struct yaml *node = yaml_get(parent, "path");
    char buf[WHAT_MAX];
    if (!yaml_is_mapping(node, what_at(buf, "%s.path", what), reader->diag))
        return;
    yaml_only_keys(node, buf, keys, reader->diag); /* an empty replacement is one */
    const struct yaml *full = yaml_get(node, "replaceFullPath");
    const struct yaml *prefix = yaml_get(node, "replacePrefixMatch");
    const struct str type = k8s_route_word(reader, node, "type", buf);
    const bool is_full = str_eq(type, STR("ReplaceFullPath"));
    if (!is_full && !str_eq(type, STR("ReplacePrefixMatch"))) {
        if (type.len > 0)
            diag_error(reader->diag, node->place,
                       "%s.type: \"%.*s\" is not ReplaceFullPath or ReplacePrefixMatch", buf,
                       STR_ARG(str_sub(type, 0, 80)));
        return;
    }
    if (is_full ? prefix != NULL : full != NULL)
        diag_error(reader->diag, node->place, "%s: type %.*s goes with %s alone", buf,
                   STR_ARG(type), is_full ? "replaceFullPath" : "replacePrefixMatch");
    if (is_full && !full)
        diag_error(reader->diag, node->place, "%s.replaceFullPath: is required", buf);
    rule->path_edit = is_full ? ROUTE_PATH_REPLACE : ROUTE_PATH_REPLACE_PREFIX;
    rule->path = STR("/");
    (void)what_at(buf, "%s.path.%s", what, is_full ? "replaceFullPath" : "replacePrefixMatch");
    node = is_full ? full : prefix;
    if (node && !(node->kind == YAML_TEXT && !is_full && str_is_empty(node->text)))
        rule->path = k8s_route_path(reader, node, buf);
}

static struct str read_hostname(const struct k8s_reader *reader, const struct yaml *parent,
                                const char *what)
{
    char buf[WHAT_MAX];
    return k8s_name(reader, yaml_get(parent, "hostname"), what_at(buf, "%s.hostname", what),
                    name_is_subdomain, "a host name without a wildcard (RFC 1123, lower case)");
}

static void read_rewrite(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                         struct route_rule *rule)
{
    static const char *const keys[] = {"hostname", "path", NULL};
    k8s_strict_keys(reader, node, what, keys);
    rule->host = read_hostname(reader, node, what);
    read_path_edit(reader, node, what, rule);
}

static uint16_t read_status(const struct k8s_reader *reader, const struct yaml *node,
                            const char *what)
{
    const uint16_t status = (uint16_t)yaml_u64(node, what, 301, 308, 302, reader->diag);
    if (status >= 304 && status <= 306)
        diag_error(reader->diag, node->place, "%s: %u is not 301, 302, 303, 307 or 308", what,
                   status);
    return status;
}

static void read_redirect(const struct k8s_reader *reader, const struct yaml *node,
                          const char *what, struct route_rule *rule)
{
    static const char *const keys[] = {"scheme", "hostname", "path", "port", "statusCode", NULL};
    const struct yaml *scheme = yaml_get(node, "scheme"), *port = yaml_get(node, "port");
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, node, what, keys);
    rule->action = ROUTE_REDIRECT;
    rule->scheme = k8s_text(reader, scheme, what_at(buf, "%s.scheme", what));
    if (scheme && !str_eq(rule->scheme, STR("http")) && !str_eq(rule->scheme, STR("https")))
        diag_error(reader->diag, scheme->place, "%s: \"%.*s\" is not http or https", buf,
                   STR_ARG(str_sub(rule->scheme, 0, 80)));
    rule->host = read_hostname(reader, node, what);
    if (port)
        rule->port = k8s_port(reader, port, node, what_at(buf, "%s.port", what));
    rule->status =
        read_status(reader, yaml_get(node, "statusCode"), what_at(buf, "%s.statusCode", what));
    read_path_edit(reader, node, what, rule);
}

/* ---- mirrors ---- */

static uint32_t read_share(const struct k8s_reader *reader, const struct yaml *node,
                           const char *what)
{
    static const char *const keys[] = {"numerator", "denominator", NULL};
    const struct yaml *percent = yaml_get(node, "percent"), *fraction = yaml_get(node, "fraction");
    char buf[WHAT_MAX];
    if (percent && fraction)
        diag_error(reader->diag, fraction->place, "%s: has percent and fraction, expected one",
                   what);
    if (!yaml_is_mapping(fraction, what_at(buf, "%s.fraction", what), reader->diag))
        return (uint32_t)yaml_u64(percent, what_at(buf, "%s.percent", what), 0, 100, 100,
                                  reader->diag) *
               (ROUTE_MILLION / 100);
    k8s_strict_keys(reader, fraction, buf, keys);
    if (!yaml_get(fraction, "numerator"))
        diag_error(reader->diag, fraction->place, "%s.numerator: is required", buf);
    const uint64_t of =
        yaml_u64(yaml_get(fraction, "denominator"), what_at(buf, "%s.fraction.denominator", what),
                 1, INT32_MAX, 100, reader->diag);
    const uint64_t part =
        yaml_u64(yaml_get(fraction, "numerator"), what_at(buf, "%s.fraction.numerator", what), 0,
                 of, 0, reader->diag);
    return (uint32_t)(part * ROUTE_MILLION / of);
}

static void read_mirror(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                        const struct object *meta, struct k8s_route_rule *out_rule)
{
    static const char *const keys[] = {"backendRef", "percent", "fraction", NULL};
    static const char *const ref_keys[] = {"group", "kind", "namespace", "name", "port", NULL};
    const struct yaml *ref = yaml_get(node, "backendRef");
    const size_t idx = out_rule->rule.n_mirrors++;
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, node, what, keys);
    out_rule->mirror_shares[idx] = read_share(reader, node, what);
    if (!ref)
        diag_error(reader->diag, node->place, "%s.backendRef: is required", what);
    if (yaml_is_mapping(ref, what_at(buf, "%s.backendRef", what), reader->diag))
        out_rule->mirrors[idx] = k8s_route_ref(reader, ref, buf, ref_keys, meta);
}

/* ---- the list ---- */

enum filter { REQUEST_EDIT, RESPONSE_EDIT, MIRROR, REDIRECT, REWRITE, FILTERS };

static const struct {
    const char *type, *key;
} filters[FILTERS] = {
    {"RequestHeaderModifier", "requestHeaderModifier"},
    {"ResponseHeaderModifier", "responseHeaderModifier"},
    {"RequestMirror", "requestMirror"},
    {"RequestRedirect", "requestRedirect"},
    {"URLRewrite", "urlRewrite"},
};

static enum filter filter_of(const struct k8s_reader *reader, const struct yaml *item,
                             const char *what, bool is_grpc)
{
    const struct str type = k8s_route_word(reader, item, "type", what);
    for (unsigned i = 0; i < FILTERS && !(is_grpc && i > MIRROR); i++)
        if (str_eq(type, str_from(filters[i].type)))
            return (enum filter)i;
    if (type.len > 0)
        diag_error(reader->diag, yaml_get(item, "type")->place,
                   "%s.type: \"%.*s\" is not supported here, expected RequestHeaderModifier, "
                   "ResponseHeaderModifier%s",
                   what, STR_ARG(str_sub(type, 0, 80)),
                   is_grpc ? " or RequestMirror"
                           : ", RequestMirror, RequestRedirect or URLRewrite");
    return FILTERS;
}

static void read_filter(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                        const struct object *meta, enum filter filter,
                        struct k8s_route_rule *out_rule)
{
    const char *const keys[] = {"type", filters[filter].key, NULL};
    const struct yaml *node = yaml_get(item, filters[filter].key);
    struct route_rule *rule = &out_rule->rule;
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, item, what, keys);
    (void)what_at(buf, "%s.%s", what, filters[filter].key);
    if (!node)
        diag_error(reader->diag, item->place, "%s: is required", buf);
    if (!yaml_is_mapping(node, buf, reader->diag))
        return;
    switch (filter) {
    case REQUEST_EDIT: k8s_route_edits(reader, node, buf, &rule->request); break;
    case RESPONSE_EDIT: k8s_route_edits(reader, node, buf, &rule->response); break;
    case MIRROR: read_mirror(reader, node, buf, meta, out_rule); break;
    case REDIRECT: read_redirect(reader, node, buf, rule); break;
    case REWRITE: read_rewrite(reader, node, buf, rule); break;
    case FILTERS: break;
    }
}

void k8s_route_filters(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                       const struct object *meta, bool is_grpc, struct k8s_route_rule *out_rule)
{
    const struct yaml *list = yaml_get(rule, "filters");
    unsigned n_of[FILTERS + 1] = {0};
    char buf[WHAT_MAX];
    const size_t n = k8s_list(reader, list, what_at(buf, "%s.filters", what), K8S_ROUTE_LIST_MAX);
    out_rule->mirrors = arena_new_array(reader->arena, struct k8s_route_ref, n);
    out_rule->mirror_shares = arena_new_array(reader->arena, uint32_t, n);
    for (size_t i = 0; i < n; i++) {
        if (!k8s_item(reader, list->items[i], what_at(buf, "%s.filters[%zu]", what, i)))
            continue;
        const enum filter filter = filter_of(reader, list->items[i], buf, is_grpc);
        if (filter == FILTERS)
            continue;
        if (n_of[filter]++ > 0 && filter != MIRROR)
            diag_error(reader->diag, list->items[i]->place, "%s: there is a %s already", buf,
                       filters[filter].type);
        read_filter(reader, list->items[i], buf, meta, filter, out_rule);
    }
    if (n_of[REDIRECT] > 0 && n_of[REWRITE] + n_of[MIRROR] > 0)
        diag_error(reader->diag, list->place,
                   "%s.filters: what is redirected is neither rewritten nor mirrored", what);
}
