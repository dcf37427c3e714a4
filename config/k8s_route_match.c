/* spec.rules[].matches of HTTPRoute and GRPCRoute. */
#include <string.h>

#include "config/k8s_route.h"

static void only_exact(const struct k8s_reader *reader, const struct yaml *parent, const char *what)
{
    const struct yaml *node = yaml_get(parent, "type");
    char buf[WHAT_MAX];
    const struct str type =
        yaml_text(node, what_at(buf, "%s.type", what), STR("Exact"), reader->diag);
    if (str_eq(type, STR("RegularExpression")))
        diag_error(reader->diag, node->place,
                   "%s: RegularExpression is not supported, expected Exact", buf);
    else if (!str_eq(type, STR("Exact")))
        diag_error(reader->diag, node->place, "%s: \"%.*s\" is not Exact", buf,
                   STR_ARG(str_sub(type, 0, 80)));
}

/* ---- paths ---- */

static void read_path(const struct k8s_reader *reader, const struct yaml *parent, const char *what,
                      struct route_match *match)
{
    static const char *const keys[] = {"type", "value", NULL};
    const struct yaml *node = yaml_get(parent, "path"), *type, *value;
    char buf[WHAT_MAX];
    if (!yaml_is_mapping(node, what_at(buf, "%s.path", what), reader->diag))
        return;
    k8s_strict_keys(reader, node, buf, keys);
    type = yaml_get(node, "type");
    value = yaml_get(node, "value");
    const struct str word =
        yaml_text(type, what_at(buf, "%s.path.type", what), STR("PathPrefix"), reader->diag);
    match->path = STR("/");
    if (str_eq(word, STR("Exact")))
        match->path_kind = ROUTE_PATH_EXACT;
    else if (str_eq(word, STR("PathPrefix")))
        match->path_kind = ROUTE_PATH_PREFIX;
    else
        diag_error(reader->diag, type->place,
                   "%s: \"%.*s\" is not supported, expected Exact or PathPrefix", buf,
                   STR_ARG(str_sub(word, 0, 80)));
    if (value)
        match->path = k8s_route_path(reader, value, what_at(buf, "%s.path.value", what));
    if (str_contains(match->path, STR("*")))
        diag_warn(reader->diag, value->place,
                  "%s.path.value: a star is compared as a star; a PathPrefix is for all below it",
                  what);
    /* Of a prefix the last slash says nothing. */
    if (match->path_kind != ROUTE_PATH_PREFIX)
        return;
    if (str_ends_with(match->path, STR("/")))
        match->path.len--;
    if (str_is_empty(match->path))
        match->path_kind = ROUTE_PATH_ANY;
}

static void read_method(const struct k8s_reader *reader, const struct yaml *parent,
                        const char *what, struct route_match *match)
{
    static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                          "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    const struct yaml *node = yaml_get(parent, "method");
    char buf[WHAT_MAX];
    match->method = k8s_text(reader, node, what_at(buf, "%s.method", what));
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_eq(match->method, str_from(methods[i])))
            return;
    if (node && node->kind == YAML_TEXT)
        diag_error(reader->diag, node->place,
                   "%s: \"%.*s\" is not GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE or "
                   "PATCH",
                   buf, STR_ARG(str_sub(match->method, 0, 80)));
}

/* ---- headers, parameters ---- */

static void read_text(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                      bool is_header, struct route_text_match *match)
{
    static const char *const keys[] = {"type", "name", "value", NULL};
    const struct yaml *name = yaml_get(item, "name");
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, item, what, keys);
    only_exact(reader, item, what);
    (void)what_at(buf, "%s.name", what);
    match->kind = ROUTE_TEXT_EXACT;
    match->name = is_header ? k8s_route_header(reader, name, item, buf)
                            : k8s_route_word(reader, item, "name", what);
    match->value = k8s_route_word(reader, item, "value", what);
    if (match->name.len > ROUTE_NAME_MAX)
        diag_error(reader->diag, name->place, "%s: is longer than %d bytes", buf, ROUTE_NAME_MAX);
    if (match->value.len > ROUTE_VALUE_MAX)
        diag_error(reader->diag, item->place, "%s.value: is longer than %d bytes", what,
                   ROUTE_VALUE_MAX);
}

/* Of entries with one name the first counts: Gateway API says so. */
static bool is_repeated(const struct k8s_reader *reader, const struct yaml *item, const char *what,
                        const struct route_text_match *texts, size_t idx)
{
    for (size_t i = 0; i < idx; i++) {
        if (!str_eq(texts[i].name, texts[idx].name))
            continue;
        diag_warn(reader->diag, item->place,
                  "%s: has no effect: \"%.*s\" stands in this list already, and the first counts",
                  what, STR_ARG(str_sub(texts[idx].name, 0, 80)));
        return true;
    }
    return false;
}

static const struct route_text_match *read_texts(const struct k8s_reader *reader,
                                                 const struct yaml *parent, const char *what,
                                                 const char *key, bool is_header, size_t *out_n)
{
    const struct yaml *list = yaml_get(parent, key);
    char buf[WHAT_MAX];
    const size_t n = k8s_list(reader, list, what_at(buf, "%s.%s", what, key), K8S_ROUTE_LIST_MAX);
    struct route_text_match *texts = arena_new_array(reader->arena, struct route_text_match, n);
    *out_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (!k8s_item(reader, list->items[i], what_at(buf, "%s.%s[%zu]", what, key, i)))
            continue;
        read_text(reader, list->items[i], buf, is_header, &texts[*out_n]);
        if (!is_repeated(reader, list->items[i], buf, texts, *out_n))
            ++*out_n;
    }
    return texts;
}

/* ---- one match ---- */

static void read_http_match(const struct k8s_reader *reader, const struct yaml *item,
                            const char *what, struct route_match *match)
{
    static const char *const keys[] = {"path", "headers", "queryParams", "method", NULL};
    k8s_strict_keys(reader, item, what, keys);
    read_path(reader, item, what, match);
    read_method(reader, item, what, match);
    match->headers = read_texts(reader, item, what, "headers", true, &match->n_headers);
    match->params = read_texts(reader, item, what, "queryParams", false, &match->n_params);
}

static bool is_grpc_name(struct str name, bool may_have_dots)
{
    for (size_t i = 0; i < name.len; i++) {
        const char c = name.ptr[i];
        const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        const bool is_first = i == 0 || name.ptr[i - 1] == '.';
        if (!is_letter && !(c >= '0' && c <= '9' && !is_first) &&
            !(c == '.' && may_have_dots && !is_first))
            return false;
    }
    return name.len > 0 && name.len <= ROUTE_NAME_MAX && name.ptr[name.len - 1] != '.';
}

static struct str read_grpc_name(const struct k8s_reader *reader, const struct yaml *parent,
                                 const char *what, const char *key, bool may_have_dots)
{
    const struct yaml *node = yaml_get(parent, key);
    char buf[WHAT_MAX];
    const struct str name = k8s_text(reader, node, what_at(buf, "%s.method.%s", what, key));
    if (node && node->kind == YAML_TEXT && !is_grpc_name(name, may_have_dots))
        diag_error(reader->diag, node->place, "%s: \"%.*s\" is not a gRPC %s such as %s", buf,
                   STR_ARG(str_sub(name, 0, 80)), key, may_have_dots ? "shop.v1.Cart" : "AddItem");
    return name;
}

/* A method of any service is the end of the path. */
static void match_any_service(const struct k8s_reader *reader, struct str method,
                              struct route_match *match)
{
    struct route_text_match *headers =
        arena_new_array(reader->arena, struct route_text_match, match->n_headers + 1);
    if (match->n_headers > 0)
        memcpy(headers, match->headers, match->n_headers * sizeof(*headers));
    headers[match->n_headers++] = (struct route_text_match){
        .kind = ROUTE_TEXT_SUFFIX,
        .name = STR(":path"),
        .value = arena_printf(reader->arena, "/%.*s", STR_ARG(method)),
    };
    match->headers = headers;
}

static void read_grpc_match(const struct k8s_reader *reader, const struct yaml *item,
                            const char *what, struct route_match *match)
{
    static const char *const keys[] = {"method", "headers", NULL};
    static const char *const method_keys[] = {"type", "service", "method", NULL};
    const struct yaml *node = yaml_get(item, "method");
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, item, what, keys);
    match->headers = read_texts(reader, item, what, "headers", true, &match->n_headers);
    if (!yaml_is_mapping(node, what_at(buf, "%s.method", what), reader->diag))
        return;
    k8s_strict_keys(reader, node, buf, method_keys);
    only_exact(reader, node, buf);
    const struct str service = read_grpc_name(reader, node, what, "service", true);
    const struct str method = read_grpc_name(reader, node, what, "method", false);
    if (service.len + method.len == 0) {
        diag_error(reader->diag, node->place, "%s: has neither service nor method", buf);
    } else if (service.len == 0) {
        match_any_service(reader, method, match);
    } else {
        match->path_kind = method.len > 0 ? ROUTE_PATH_EXACT : ROUTE_PATH_PREFIX;
        match->path = arena_printf(reader->arena, "/%.*s%s%.*s", STR_ARG(service),
                                   method.len > 0 ? "/" : "", STR_ARG(method));
    }
}

void k8s_route_matches(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                       bool is_grpc, struct k8s_route_rule *out_rule)
{
    const struct yaml *list = yaml_get(rule, "matches");
    char buf[WHAT_MAX];
    const size_t n =
        k8s_list(reader, list, what_at(buf, "%s.matches", what), K8S_ROUTE_MATCHES_MAX);
    if (list && list->kind == YAML_SEQUENCE && list->len == 0)
        diag_warn(reader->diag, list->place, "%s: is empty, so the rule is for every request", buf);
    out_rule->n_matches = n > 0 ? n : 1;
    out_rule->matches = arena_new_array(reader->arena, struct route_match, out_rule->n_matches);
    out_rule->matches[0].is_grpc = is_grpc;
    for (size_t i = 0; i < n; i++) {
        out_rule->matches[i].is_grpc = is_grpc;
        if (!k8s_item(reader, list->items[i], what_at(buf, "%s.matches[%zu]", what, i)))
            continue;
        if (is_grpc)
            read_grpc_match(reader, list->items[i], buf, &out_rule->matches[i]);
        else
            read_http_match(reader, list->items[i], buf, &out_rule->matches[i]);
    }
}
