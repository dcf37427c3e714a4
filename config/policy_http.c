/*
 * In doubt is_doubtful says what to take: true where a match is against the request (the values of
 * a DENY or AUDIT, the not_ values of an ALLOW), else false. Doubt is where one server reads a
 * request otherwise than another:
 *
 *   several headers of one name   one value with commas (RFC 9110), or the first or last of them
 *   a header with commas          one value, or several
 *   x_role beside x-role          two names, or one to servers that make variables of names
 *   "delete"                      a method of its own, or DELETE to frameworks that are kind
 *   "/a/..%2Fb", "/a/..;/b"       as it stands, or the lax path
 *
 * What is for the request must hold of the whole; what is against it need only hold of the whole or
 * of any part. A path that an ALLOW names letter by letter is meant.
 */
#include "config/policy_http.h"

#include <stdlib.h>
#include <string.h>

#include "config/policy_strings.h"
#include "proxy/base/ascii.h"

/* ---- copies ---- */

static struct str copy_value(struct arena *arena, struct str value, bool is_host)
{
    char *text = arena_new_array(arena, char, value.len);
    for (size_t i = 0; i < value.len; i++)
        text[i] = is_host ? ascii_lower(value.ptr[i]) : value.ptr[i];
    return str_of(text, value.len);
}

static void copy_values(struct arena *arena, struct string_match **values, size_t *n, bool is_host)
{
    struct string_match *to = arena_new_array(arena, struct string_match, *n);
    for (size_t i = 0; i < *n; i++)
        to[i] = (struct string_match){(*values)[i].kind,
                                      copy_value(arena, (*values)[i].value, is_host)};
    *n = policy_sort_strings(to, *n);
    *values = to;
}

struct request_field *policy_http_copy(struct arena *arena, const struct request_field *fields,
                                       size_t n)
{
    struct request_field *to = arena_new_array(arena, struct request_field, n);
    for (size_t i = 0; i < n; i++) {
        const bool is_host = fields[i].subject == REQUEST_HOST;
        to[i] = fields[i];
        to[i].name = arena_str(arena, fields[i].name);
        copy_values(arena, &to[i].values, &to[i].n_values, is_host);
        copy_values(arena, &to[i].not_values, &to[i].n_not_values, is_host);
    }
    return to;
}

/* ---- matching ---- */

struct values { /* of a field; those of one kind are together, presence behind the usual ones */
    const struct string_match *list;
    size_t n;
};

static bool any(struct values values, struct str subject)
{
    return policy_any_string(values.list, values.n, subject);
}

/* "example.com:8080" without its port, "[::1]" as it is. */
static struct str without_port(struct str host)
{
    for (size_t i = host.len; i > 0 && host.ptr[i - 1] != ']'; i--)
        if (host.ptr[i - 1] == ':')
            return str_sub(host, 0, i - 1);
    return host;
}

void policy_show(struct policy_shown *out_shown, const struct policy_request *request)
{
    const struct str host = request ? request->host : (struct str){0};
    const size_t len = host.len <= sizeof(out_shown->buf) ? host.len : 0; /* see any_host() */
    for (size_t i = 0; i < len; i++)
        out_shown->buf[i] = ascii_lower(host.ptr[i]);
    out_shown->request = request;
    out_shown->host = str_of(out_shown->buf, len);
    out_shown->bare_host = without_port(out_shown->host);
}

/* A value without a port is for every port. A host with a dot at its end is the same in the DNS and
 * another one to most servers: that is for whoever it is held against. */
static bool any_host(struct values values, const struct policy_shown *shown, bool is_doubtful)
{
    const struct str host = shown->host, bare = shown->bare_host;
    if (shown->request->host.len > sizeof(shown->buf))
        return is_doubtful;
    return any(values, host) || (bare.len < host.len && any(values, bare)) ||
           (is_doubtful && str_ends_with(bare, STR(".")) &&
            any(values, str_sub(bare, 0, bare.len - 1)));
}

static bool any_of(struct values values, const struct str *subjects, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (any(values, subjects[i]))
            return true;
    return false;
}

static bool any_claim(struct values values, const struct policy_token *token, struct str path)
{
    for (size_t i = 0; i < token->n_claims; i++)
        if (str_eq(token->claims[i].path, path) &&
            any_of(values, token->claims[i].values, token->claims[i].n_values))
            return true;
    return false;
}

static bool has_presence(struct values values)
{
    for (size_t i = values.n; i > 0 && values.list[i - 1].kind >= MATCH_PRESENCE; i--)
        if (values.list[i - 1].kind == MATCH_PRESENCE)
            return true;
    return false;
}

static char dashed(char c)
{
    return c == '_' ? '-' : c;
}

bool policy_http_is_named(struct str header, struct str name)
{
    if (header.len != name.len)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (header.ptr[i] != name.ptr[i] && dashed(header.ptr[i]) != dashed(name.ptr[i]))
            return false;
    return true;
}

/* As servers compare names that cannot tell "-" from "_". */
static int compare_names(const void *a, const void *b)
{
    const struct str *one = a, *other = b;
    const size_t len = one->len < other->len ? one->len : other->len;
    for (size_t i = 0; i < len; i++)
        if (dashed(one->ptr[i]) != dashed(other->ptr[i]))
            return dashed(one->ptr[i]) < dashed(other->ptr[i]) ? -1 : 1;
    return one->len == other->len ? 0 : one->len < other->len ? -1 : 1;
}

/* Adds those of a match, or only counts them. */
static size_t match_headers(const struct model_match *match, struct str *out)
{
    size_t n = 0;
    for (size_t i = 0; i < match->n_http; i++) {
        if (match->http[i].subject != REQUEST_HEADER)
            continue;
        if (out)
            out[n] = match->http[i].name;
        n++;
    }
    return n;
}

static size_t policy_headers(const struct policy *policy, struct str *out)
{
    size_t n = 0;
    for (size_t i = 0; i < policy->n_rules; i++) {
        const struct model_rule *rule = &policy->rules[i];
        for (size_t k = 0; k < rule->n_clauses; k++)
            for (size_t j = 0; j < rule->clauses[k].n_matches; j++)
                n += match_headers(&rule->clauses[k].matches[j], out ? out + n : NULL);
    }
    return n;
}

const struct str *policy_http_headers(struct arena *arena, const struct policy *const *policies,
                                      size_t n_policies, size_t *out_n)
{
    size_t n = 0, n_kept = 0;
    for (size_t i = 0; i < n_policies; i++)
        n += policy_headers(policies[i], NULL);
    struct str *names = arena_new_array(arena, struct str, n);
    n = 0;
    for (size_t i = 0; i < n_policies; i++)
        n += policy_headers(policies[i], names + n);
    if (n > 1)
        qsort(names, n, sizeof(*names), compare_names);
    for (size_t i = 0; i < n; i++)
        if (n_kept == 0 || compare_names(&names[n_kept - 1], &names[i]) != 0)
            names[n_kept++] = names[i];
    *out_n = n_kept;
    return names;
}

bool policy_set_asks_header(const struct policy_set *set, struct str name)
{
    for (size_t i = 0; i < set->n_layers; i++) {
        const struct policy_layer *layer = set->layers[i];
        if (layer->n_headers > 0 && bsearch(&name, layer->headers, layer->n_headers,
                                            sizeof(*layer->headers), compare_names))
            return true;
    }
    return false;
}

struct named { /* the headers of a request that have that name, or one that some take for it */
    const struct policy_request *request;
    struct str name;
    bool is_alike;
};

static bool is_of(const struct named *named, size_t idx)
{
    const struct str header = named->request->headers[idx].name;
    return named->is_alike ? policy_http_is_named(header, named->name)
                           : str_eq(header, named->name);
}

/* All of them with commas between them into buf; false when they do not fit. */
static bool join_headers(const struct named *named, char *buf, size_t size, struct str *out_value)
{
    size_t len = 0, n = 0;
    for (size_t i = 0; i < named->request->n_headers; i++) {
        const struct str value = named->request->headers[i].value;
        if (!is_of(named, i))
            continue;
        if (len + (n > 0) + value.len > size)
            return false;
        if (n++ > 0)
            buf[len++] = ',';
        if (value.len > 0)
            memcpy(buf + len, value.ptr, value.len);
        len += value.len;
    }
    *out_value = str_of(buf, len);
    return true;
}

static bool any_joined(struct values values, const struct named *named, bool is_doubtful)
{
    char buf[POLICY_HEADER_MAX];
    struct str joined;
    if (!join_headers(named, buf, sizeof(buf), &joined))
        return is_doubtful;
    return any(values, joined);
}

static struct str trimmed(struct str text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t'))
        text = str_sub(text, 1, text.len);
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

static bool any_part(struct values values, struct str list)
{
    struct str part, rest = list;
    for (size_t n = 1; str_split(rest, ',', &part, &rest); n++)
        if (n == POLICY_PARTS_MAX || any(values, trimmed(part)))
            return true;
    return rest.len < list.len && any(values, trimmed(rest));
}

/* A header that is there and empty is there: it has presence, and no other value. */
static bool any_named(struct values values, const struct named *named, bool is_doubtful)
{
    size_t n = 0;
    bool any_alone = false;
    for (size_t i = 0; i < named->request->n_headers; i++) {
        const struct str value = named->request->headers[i].value;
        if (!is_of(named, i))
            continue;
        n++;
        any_alone = any_alone || any(values, value) || (is_doubtful && any_part(values, value));
    }
    if (n > 0 && has_presence(values))
        return true;
    if (n < 2)
        return any_alone;
    return (is_doubtful && any_alone) || any_joined(values, named, is_doubtful);
}

/* What is for the request holds of the name as it is written as well. */
static bool any_header(struct values values, const struct policy_request *request, struct str name,
                       bool is_doubtful)
{
    const struct named alike = {request, name, true}, written = {request, name, false};
    return any_named(values, &alike, is_doubtful) &&
           (is_doubtful || any_named(values, &written, is_doubtful));
}

static bool any_token(struct values values, const struct request_field *field,
                      const struct policy_token *token)
{
    switch (field->subject) {
    case REQUEST_TOKEN_PRINCIPAL: return any(values, token->principal);
    case REQUEST_TOKEN_AUDIENCE: return any_of(values, token->audiences, token->n_audiences);
    case REQUEST_TOKEN_PRESENTER: return any(values, token->presenter);
    case REQUEST_TOKEN_CLAIM: return any_claim(values, token, field->name);
    case REQUEST_METHOD:
    case REQUEST_HOST:
    case REQUEST_PATH:
    case REQUEST_HEADER:
    case REQUEST_SUBJECTS: break;
    }
    return false;
}

static bool any_method(struct values values, struct str method, bool is_doubtful)
{
    char upper[POLICY_METHOD_MAX];
    if (any(values, method))
        return true;
    if (!is_doubtful || method.len > sizeof(upper))
        return false;
    for (size_t i = 0; i < method.len; i++) {
        const char c = method.ptr[i];
        upper[i] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    return any(values, str_of(upper, method.len));
}

static bool any_letter_by_letter(struct values values, struct str subject)
{
    for (size_t i = 0; i < values.n; i++)
        if (values.list[i].kind == MATCH_EXACT && str_eq(values.list[i].value, subject))
            return true;
    return false;
}

static bool any_path(struct values values, const struct policy_request *request, bool is_doubtful)
{
    const bool as_it_stands = any(values, request->path);
    if (str_is_empty(request->lax_path))
        return as_it_stands;
    const bool as_lax = any(values, request->lax_path);
    if (is_doubtful)
        return as_it_stands || as_lax;
    return as_it_stands && (as_lax || any_letter_by_letter(values, request->path));
}

static bool any_value(struct values values, const struct request_field *field,
                      const struct policy_shown *shown, bool is_doubtful)
{
    const struct policy_request *request = shown->request;
    if (values.n == 0)
        return false;
    switch (field->subject) {
    case REQUEST_METHOD: return any_method(values, request->method, is_doubtful);
    case REQUEST_HOST: return any_host(values, shown, is_doubtful);
    case REQUEST_PATH: return any_path(values, request, is_doubtful);
    case REQUEST_HEADER: return any_header(values, request, field->name, is_doubtful);
    case REQUEST_TOKEN_PRINCIPAL:
    case REQUEST_TOKEN_AUDIENCE:
    case REQUEST_TOKEN_PRESENTER:
    case REQUEST_TOKEN_CLAIM: return request->token && any_token(values, field, request->token);
    case REQUEST_SUBJECTS: break;
    }
    return false;
}

bool policy_http_any_value(const struct request_field *field, enum policy_action action,
                           const struct policy_shown *shown)
{
    const struct values values = {field->values, field->n_values};
    return any_value(values, field, shown, action != POLICY_ALLOW);
}

bool policy_http_any_not_value(const struct request_field *field, enum policy_action action,
                               const struct policy_shown *shown)
{
    const struct values values = {field->not_values, field->n_not_values};
    return any_value(values, field, shown, action == POLICY_ALLOW);
}

bool policy_http_holds(const struct request_field *fields, size_t n, enum policy_action action,
                       const struct policy_shown *shown)
{
    for (size_t i = 0; i < n; i++)
        if ((fields[i].n_values > 0 && !policy_http_any_value(&fields[i], action, shown)) ||
            policy_http_any_not_value(&fields[i], action, shown))
            return false;
    return true;
}
