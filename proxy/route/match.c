#include "proxy/route/match.h"

#include "proxy/base/percent.h"

struct joined { /* the list of fields that was asked for last: rules mostly ask for the same one */
    struct str name, value;
};

struct asking {
    const struct route_question *question;
    struct str host;
    struct arena *arena;
    struct joined *joined;
};

struct str route_host_of(struct str authority)
{
    struct str host = authority, port;
    if (authority.len > 0 && authority.ptr[0] == '[') {
        if (str_split(authority, ']', &host, &port))
            host.len++;
    } else {
        (void)str_rsplit(authority, ':', &host, &port);
    }
    if (host.len > 1 && host.ptr[host.len - 1] == '.')
        host.len--;
    return host;
}

/* ---- header fields ---- */

/* Several fields of one name are one list; cookies, which HTTP/2 takes apart, have a separator of
 * their own. */
static struct str join(const struct http_fields *fields, struct str name, size_t len,
                       struct arena *arena)
{
    const bool is_cookie = str_eq(name, STR("cookie"));
    char *joined = arena_alloc(arena, len);
    size_t at = 0;
    for (size_t i = 0; i < fields->len; i++) {
        const struct str value = fields->at[i].value;
        if (!str_eq(fields->at[i].name, name))
            continue;
        if (at > 0) {
            joined[at++] = is_cookie ? ';' : ',';
            if (is_cookie)
                joined[at++] = ' ';
        }
        for (size_t c = 0; c < value.len; c++)
            joined[at++] = value.ptr[c];
    }
    return str_of(joined, at);
}

static bool find_field(const struct asking *asking, struct str name, struct str *out_value)
{
    const struct http_fields *fields = &asking->question->head->fields;
    size_t n = 0, len = 0;
    for (size_t i = 0; i < fields->len; i++) {
        if (!str_eq(fields->at[i].name, name))
            continue;
        *out_value = fields->at[i].value;
        len += fields->at[i].value.len + 2;
        n++;
    }
    if (n < 2)
        return n > 0;
    if (!str_eq(asking->joined->name, name))
        *asking->joined = (struct joined){name, join(fields, name, len, asking->arena)};
    *out_value = asking->joined->value;
    return true;
}

static bool find_value(const struct asking *asking, struct str name, struct str *out_value)
{
    const struct route_question *question = asking->question;
    if (str_eq(name, STR("host")) || str_eq(name, STR(":authority")))
        *out_value = asking->host;
    else if (str_eq(name, STR(":path")))
        *out_value = question->path->path;
    else if (str_eq(name, STR(":method")))
        *out_value = question->head->method;
    else if (str_eq(name, STR(":scheme")))
        *out_value = question->head->scheme;
    else
        return find_field(asking, name, out_value);
    return true;
}

bool route_find_field(const struct route_question *question, struct str name, struct arena *arena,
                      struct str *out_value)
{
    struct joined joined = {0};
    const struct asking asking = {question, route_host_of(question->head->authority), arena,
                                  &joined};
    return find_value(&asking, name, out_value);
}

/* ---- texts ---- */

static bool is_equal(struct str a, struct str b, bool ignores_case)
{
    return ignores_case ? str_eq_ci(a, b) : str_eq(a, b);
}

static bool contains(struct str text, struct str part, bool ignores_case)
{
    for (size_t i = 0; i + part.len <= text.len; i++)
        if (is_equal(str_sub(text, i, part.len), part, ignores_case))
            return true;
    return false;
}

static bool text_matches(const struct route_text_match *match, struct str text)
{
    const struct str value = match->value;
    switch (match->kind) {
    case ROUTE_TEXT_PRESENT: return true;
    case ROUTE_TEXT_EXACT: return is_equal(text, value, match->ignores_case);
    case ROUTE_TEXT_PREFIX:
        return text.len >= value.len &&
               is_equal(str_sub(text, 0, value.len), value, match->ignores_case);
    case ROUTE_TEXT_SUFFIX:
        return text.len >= value.len &&
               is_equal(str_sub(text, text.len - value.len, value.len), value, match->ignores_case);
    case ROUTE_TEXT_CONTAINS: return contains(text, value, match->ignores_case);
    }
    return false;
}

/* What is not there matches nothing but "not present", also when the match is negated: that is how
 * Envoy reads it. */
static bool is_as_wanted(const struct route_text_match *match, bool is_there, struct str text)
{
    if (!is_there)
        return match->kind == ROUTE_TEXT_PRESENT && match->is_negated;
    return text_matches(match, text) != match->is_negated;
}

static bool header_matches(const struct asking *asking, const struct route_text_match *match)
{
    struct route_text_match folded = *match;
    struct str value = {0};
    const bool is_there = find_value(asking, match->name, &value);
    if (str_eq(match->name, STR("host")) || str_eq(match->name, STR(":authority")))
        folded.ignores_case = true;
    return is_as_wanted(&folded, is_there, value);
}

/* ---- parameters ---- */

static struct str decoded(struct str text, struct arena *arena)
{
    if (!str_contains(text, STR("%")))
        return text;
    char *to = arena_alloc(arena, text.len);
    return str_of(to, percent_decode(text, to));
}

bool route_find_param(const struct route_question *question, struct str wanted, struct arena *arena,
                      struct str *out_value)
{
    struct str rest = question->path->query, pair, name, value;
    while (rest.len > 0) {
        pair = rest;
        rest = (struct str){0};
        (void)str_split(pair, '&', &pair, &rest);
        name = pair;
        value = (struct str){0};
        (void)str_split(pair, '=', &name, &value);
        if (percent_says(name, wanted)) {
            *out_value = decoded(value, arena);
            return true;
        }
    }
    return false;
}

static bool param_matches(const struct asking *asking, const struct route_text_match *match)
{
    struct str value = {0};
    const bool is_there = route_find_param(asking->question, match->name, asking->arena, &value);
    return is_as_wanted(match, is_there, value);
}

/* ---- rules ---- */

static bool path_matches(const struct route_match *match, struct str path)
{
    switch (match->path_kind) {
    case ROUTE_PATH_ANY: return true;
    case ROUTE_PATH_EXACT: return path.len == match->path.len;
    case ROUTE_PATH_PREFIX: return path.len == match->path.len || path.ptr[match->path.len] == '/';
    case ROUTE_PATH_START: return true;
    }
    return false;
}

bool route_is_grpc(const struct http_request *head)
{
    struct str type = http_find(&head->fields, "content-type");
    if (!str_starts_with(type, STR("application/grpc")))
        return false;
    type = str_sub(type, sizeof("application/grpc") - 1, type.len);
    return type.len == 0 || type.ptr[0] == '+' || type.ptr[0] == ';';
}

/* The path begins with the rule's. */
static bool rule_matches(const struct asking *asking, const struct route_match *match)
{
    const struct route_question *question = asking->question;
    if (!path_matches(match, question->path->path) ||
        (match->method.len > 0 && !str_eq(match->method, question->head->method)) ||
        (match->is_grpc && !route_is_grpc(question->head)))
        return false;
    for (size_t i = 0; i < match->n_headers; i++)
        if (!header_matches(asking, &match->headers[i]))
            return false;
    for (size_t i = 0; i < match->n_params; i++)
        if (!param_matches(asking, &match->params[i]))
            return false;
    return true;
}

/* The first of the entry's rules that matches, if it comes before best. */
static uint32_t first_of(const struct asking *asking, const struct route_list *list,
                         const struct route_path *entry, uint32_t best)
{
    for (size_t i = 0; i < entry->n_routes && entry->routes[i] < best; i++)
        if (rule_matches(asking, &list->routes[entry->routes[i]].rule->match))
            return entry->routes[i];
    return best;
}

const struct route *route_match(const struct route_table *table,
                                const struct route_question *question, struct arena *arena)
{
    struct joined joined = {0};
    const struct asking asking = {question, route_host_of(question->head->authority), arena,
                                  &joined};
    const struct route_list *list = route_table_find(table, asking.host);
    const struct str path = question->path->path;
    uint32_t best = UINT32_MAX;
    if (!list)
        return NULL;
    for (uint32_t at = route_list_find(list, path); at != 0; at = list->paths[at - 1].parent) {
        const struct route_path *entry = &list->paths[at - 1];
        if (str_starts_with(path, entry->text))
            best = first_of(&asking, list, entry, best);
    }
    return best == UINT32_MAX ? NULL : &list->routes[best];
}
