#include "proxy/token/places.h"

#include <string.h>

/* ---- parts of a request ---- */

/* The next part up to the separator; false at the end. */
static bool next_part(struct str *rest, char separator, struct str *out_part)
{
    if (!rest->ptr)
        return false;
    *out_part = *rest;
    if (!str_split(*rest, separator, out_part, rest))
        *rest = (struct str){0};
    return true;
}

static struct str trim(struct str text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t'))
        text = str_sub(text, 1, text.len);
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* "name=value"; a name alone has an empty value. */
static bool is_pair_of(struct str pair, struct str name, struct str *out_value)
{
    struct str own = pair, value = str_of("", 0);

    (void)str_split(pair, '=', &own, &value);
    *out_value = value;
    return str_eq(own, name);
}

static struct str query_of(struct str path)
{
    struct str before, query = {0};

    (void)str_split(path, '?', &before, &query);
    return query;
}

/* A blank is a tab too. */
static bool begins_with(struct str value, struct str prefix)
{
    if (prefix.len > 0 && prefix.ptr[prefix.len - 1] == ' ' && value.len >= prefix.len &&
        value.ptr[prefix.len - 1] == '\t')
        prefix.len--;
    return str_eq_ci(str_sub(value, 0, prefix.len), prefix);
}

/* What stands behind the prefix, in whatever case that is written. False: no token is meant. */
static bool behind_prefix(struct str value, struct str prefix, struct str *out_token)
{
    struct str rest = str_sub(value, prefix.len, value.len);

    if (str_eq_ci(trim(value), trim(prefix)) && prefix.len > 0)
        rest = (struct str){0}; /* its last blank is not part of a field's value */
    else if (!begins_with(value, prefix))
        return false;
    *out_token = trim(rest);
    return true;
}

/* ---- searching ---- */

static void add(struct token_search *search, const struct token_rule *rule, struct str text)
{
    struct token_found *found = NULL;

    for (size_t i = 0; i < search->n_found && !found; i++)
        if (str_eq(search->found[i].text, text))
            found = &search->found[i];
    if (!found && search->n_found == search->max)
        return;
    if (!found) {
        found = &search->found[search->n_found++];
        found->text = text;
        found->rules = arena_new_array(search->arena, const struct token_rule *, search->n_rules);
    }
    if (found->n_rules == 0 || found->rules[found->n_rules - 1] != rule)
        found->rules[found->n_rules++] = rule;
}

static void search_cookies(struct token_search *search, const struct token_rule *rule,
                           struct str name, struct str cookies)
{
    struct str pair, value;

    while (next_part(&cookies, ';', &pair))
        if (is_pair_of(trim(pair), name, &value))
            add(search, rule, value);
}

static void search_fields(struct token_search *search, const struct token_rule *rule,
                          const struct token_place *place)
{
    const struct http_fields *fields = &search->head->fields;
    const bool is_cookie = place->kind == TOKEN_IN_COOKIE;
    struct str token;

    for (size_t i = 0; i < fields->len; i++) {
        const struct http_field *field = &fields->at[i];

        if (!str_eq(field->name, is_cookie ? STR("cookie") : place->name))
            continue;
        if (is_cookie)
            search_cookies(search, rule, place->name, field->value);
        else if (behind_prefix(field->value, place->prefix, &token))
            add(search, rule, token);
    }
}

static void search_query(struct token_search *search, const struct token_rule *rule,
                         struct str name)
{
    struct str pair, value, query = query_of(search->head->path);

    while (next_part(&query, '&', &pair))
        if (is_pair_of(pair, name, &value))
            add(search, rule, value);
}

void places_search(struct token_search *search)
{
    for (size_t i = 0; i < search->n_rules; i++) {
        const struct token_rule *rule = search->rules[i];

        for (size_t k = 0; k < rule->n_places; k++) {
            const struct token_place *place = &rule->places[k];

            if (place->kind == TOKEN_IN_PARAM)
                search_query(search, rule, place->name);
            else
                search_fields(search, rule, place);
        }
    }
}

/* ---- forwarding ---- */

/* Servers that make variables of headers cannot tell "-" from "_". */
static bool is_alike(struct str name, struct str written)
{
    if (name.len != written.len || name.len == 0)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        const char a = name.ptr[i] == '_' ? '-' : name.ptr[i];
        const char b = written.ptr[i] == '_' ? '-' : written.ptr[i];

        if (a != b)
            return false;
    }
    return true;
}

static bool is_written(const struct token_search *search, struct str name)
{
    for (size_t i = 0; i < search->n_rules; i++) {
        const struct token_rule *rule = search->rules[i];

        if (is_alike(name, rule->payload_header))
            return true;
        for (size_t k = 0; k < rule->n_claim_headers; k++)
            if (is_alike(name, rule->claim_headers[k].header))
                return true;
    }
    return false;
}

/* A header in which such a server would find a token, where nobody looks for one. */
static bool is_beside_place(const struct token_search *search, struct str name)
{
    for (size_t i = 0; i < search->n_rules; i++)
        for (size_t k = 0; k < search->rules[i]->n_places; k++) {
            const struct token_place *place = &search->rules[i]->places[k];

            if (place->kind == TOKEN_IN_HEADER && is_alike(name, place->name) &&
                !str_eq(name, place->name))
                return true;
        }
    return false;
}

/* Does the text stand there for the token, where a rule looks? */
static bool is_token_in(const struct token_search *search, enum token_place_kind kind,
                        struct str name, struct str text, struct str token)
{
    for (size_t i = 0; i < search->n_rules; i++) {
        for (size_t k = 0; k < search->rules[i]->n_places; k++) {
            const struct token_place *place = &search->rules[i]->places[k];
            struct str own;

            if (place->kind == kind && str_eq(place->name, name) &&
                behind_prefix(text, place->prefix, &own) && str_eq(own, token))
                return true;
        }
    }
    return false;
}

/* The pairs without those whose value is the token; "" when none is left. */
static struct str without_pairs(const struct token_search *search, enum token_place_kind kind,
                                struct str pairs, char separator, struct str token)
{
    char *kept = arena_alloc(search->arena, pairs.len + 1);
    struct str pair, name, value;
    size_t len = 0;

    while (next_part(&pairs, separator, &pair)) {
        const struct str own = kind == TOKEN_IN_COOKIE ? trim(pair) : pair;

        if (str_split(own, '=', &name, &value) && is_token_in(search, kind, name, value, token))
            continue;
        if (len > 0)
            kept[len++] = separator;
        memcpy(kept + len, pair.len > 0 ? pair.ptr : "", pair.len);
        len += pair.len;
    }
    return kind == TOKEN_IN_COOKIE ? trim(str_of(kept, len)) : str_of(kept, len);
}

struct http_fields places_fields(const struct token_search *search, const struct str *token,
                                 const struct http_field *added, size_t n_added)
{
    const struct http_fields *from = &search->head->fields;
    struct http_field *to = arena_new_array(search->arena, struct http_field, from->len + n_added);
    size_t n = 0;

    for (size_t i = 0; i < from->len; i++) {
        struct http_field field = from->at[i];
        const bool is_cookie = str_eq(field.name, STR("cookie"));

        if (is_written(search, field.name) || is_beside_place(search, field.name) ||
            (token && is_token_in(search, TOKEN_IN_HEADER, field.name, field.value, *token)))
            continue;
        if (token && is_cookie)
            field.value = without_pairs(search, TOKEN_IN_COOKIE, field.value, ';', *token);
        if (!is_cookie || field.value.len > 0)
            to[n++] = field;
    }
    for (size_t i = 0; i < n_added; i++)
        to[n++] = added[i];
    return (struct http_fields){to, n};
}

struct str places_path(const struct token_search *search, const struct str *token)
{
    struct str path = search->head->path, query = query_of(path);

    if (!token || query.len == 0)
        return path;
    const struct str kept = without_pairs(search, TOKEN_IN_PARAM, query, '&', *token);
    if (kept.len == query.len)
        return path;
    path.len -= query.len + 1;
    return kept.len == 0 ? path
                         : arena_printf(search->arena, "%.*s?%.*s", STR_ARG(path), STR_ARG(kept));
}
