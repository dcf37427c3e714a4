#include "proxy/token/places.h"

#include <string.h>

#include "proxy/base/ascii.h"
#include "proxy/base/percent.h"
#include "proxy/base/text.h"

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
static void split_pair(struct str pair, struct str *out_name, struct str *out_value)
{
    *out_name = pair;
    *out_value = str_of("", 0);
    (void)str_split(pair, '=', out_name, out_value);
}

/* Servers decode the names of parameters before they compare them, and those of cookies not. */
static bool is_place(const struct token_place *place, enum token_place_kind kind, struct str name)
{
    return place->kind == kind &&
           (kind == TOKEN_IN_PARAM ? percent_says(name, place->name) : str_eq(name, place->name));
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

static void search_pairs(struct token_search *search, const struct token_rule *rule,
                         const struct token_place *place, struct str pairs)
{
    const bool is_cookie = place->kind == TOKEN_IN_COOKIE;
    struct str pair, name, value;

    while (next_part(&pairs, is_cookie ? ';' : '&', &pair)) {
        split_pair(is_cookie ? trim(pair) : pair, &name, &value);
        if (is_place(place, place->kind, name))
            add(search, rule, value);
    }
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
            search_pairs(search, rule, place, field->value);
        else if (behind_prefix(field->value, place->prefix, &token))
            add(search, rule, token);
    }
}

void places_search(struct token_search *search)
{
    for (size_t i = 0; i < search->n_rules; i++) {
        const struct token_rule *rule = search->rules[i];

        for (size_t k = 0; k < rule->n_places; k++) {
            const struct token_place *place = &rule->places[k];

            if (place->kind == TOKEN_IN_PARAM)
                search_pairs(search, rule, place, query_of(search->head->path));
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

static bool rule_concerns(const struct token_rule *rule, struct str name)
{
    if (is_alike(name, rule->payload_header))
        return true;
    for (size_t i = 0; i < rule->n_claim_headers; i++)
        if (is_alike(name, rule->claim_headers[i].header))
            return true;
    for (size_t i = 0; i < rule->n_places; i++)
        if (rule->places[i].kind == TOKEN_IN_HEADER && is_alike(name, rule->places[i].name))
            return true;
    return false;
}

bool places_concern(const struct token_set *set, struct str name)
{
    for (size_t i = 0; set && i < set->n_layers; i++)
        for (size_t k = 0; k < set->layers[i]->n_rules; k++)
            if (rule_concerns(&set->layers[i]->rules[k], name))
                return true;
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

            if (is_place(place, kind, name) && behind_prefix(text, place->prefix, &own) &&
                str_eq(own, token))
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
    return (struct http_fields){.at = to, .len = n};
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

/* ---- in logs ---- */

/* In any case: to some servers a parameter is what its letters are. */
static bool says_alike(struct str text, struct str plain)
{
    for (size_t i = 0; i < plain.len; i++) {
        const int byte = percent_next(&text);

        if (byte < 0 || ascii_lower((char)byte) != ascii_lower(plain.ptr[i]))
            return false;
    }
    return text.len == 0;
}

static bool rule_names(const struct token_rule *rule, struct str name)
{
    for (size_t i = 0; i < rule->n_places; i++)
        if (rule->places[i].kind == TOKEN_IN_PARAM && says_alike(name, rule->places[i].name))
            return true;
    return false;
}

static bool is_named(const struct token_set *set, struct str name)
{
    if (says_alike(name, STR("access_token"))) /* RFC 6750 2.3, whoever asks for it */
        return true;
    for (size_t i = 0; set && i < set->n_layers; i++)
        for (size_t k = 0; k < set->layers[i]->n_rules; k++)
            if (rule_names(&set->layers[i]->rules[k], name))
                return true;
    return false;
}

static bool is_letter(int byte)
{
    return byte >= 0 && (ascii_is_alnum((char)byte) || byte == '-' || byte == '_');
}

/* What begins with "eyJ", which is {" in base64url, and has a dot behind it: the node of a caller
 * does not know which parameters the called pod's rules name. */
static bool has_jwt(struct str value)
{
    const struct str begin = STR("eyJ");
    size_t n_letters = 0, n_alike = 0;
    int byte;

    while ((byte = percent_next(&value)) >= 0) {
        if (byte == '.' && n_alike == begin.len)
            return true;
        if (!is_letter(byte)) {
            n_letters = n_alike = 0;
            continue;
        }
        if (n_letters < begin.len && n_alike == n_letters && byte == begin.ptr[n_letters])
            n_alike++;
        n_letters++;
    }
    return false;
}

/* Where a secret begins in what stands between two "&"; the length when nowhere. Some servers part
 * at ";", too. */
static size_t secret_in(const struct token_set *set, struct str part)
{
    struct str rest = part, pair, name, value;

    while (next_part(&rest, ';', &pair)) {
        if (!str_split(pair, '=', &name, &value)) {
            name = (struct str){0};
            value = pair;
        }
        if (has_jwt(value) || (name.len > 0 && is_named(set, name)))
            return (size_t)(value.ptr - part.ptr);
    }
    return part.len;
}

static bool has_secret(const struct token_set *set, struct str query)
{
    struct str part;

    while (next_part(&query, '&', &part))
        if (secret_in(set, part) < part.len)
            return true;
    return false;
}

struct str places_hidden(struct str path, const struct token_set *set, struct arena *arena)
{
    struct str part, plain, query;
    struct text shown = {0};
    char before = '?';

    if (!str_split(path, '?', &plain, &query) || !has_secret(set, query))
        return path;
    text_add(&shown, plain);
    while (next_part(&query, '&', &part)) {
        const size_t at = secret_in(set, part);

        text_addc(&shown, before);
        text_add(&shown, str_sub(part, 0, at));
        if (at < part.len)
            text_add(&shown, STR("REDACTED"));
        before = '&';
    }
    const struct str hidden = arena_str(arena, text_str(&shown));
    text_fini(&shown);
    return hidden;
}
