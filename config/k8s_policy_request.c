/*
 * What an AuthorizationPolicy asks of an HTTP request. A value that no request can have is an error
 * or, where it may be meant otherwise, a warning: a DENY that never matches looks like one that
 * does.
 */
#include <string.h>

#include "config/k8s.h"
#include "config/path_template.h"
#include "config/snapshot_build.h"
#include "proxy/base/ascii.h"

#define HEADER_NAME_MAX 256
#define CLAIM_NAMES_MAX 16 /* nested in each other */
#define FIELDS_MAX      3  /* of one match */

/* ---- values ---- */

static void refuse(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                   size_t idx, struct str text, const char *expected)
{
    diag_error(reader->diag, node->place, "%s[%zu]: \"%.*s\" %s", what, idx,
               STR_ARG(str_sub(text, 0, 80)), expected);
}

static void warn(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                 size_t idx, struct str text, const char *about)
{
    diag_warn(reader->diag, node->place, "%s[%zu]: \"%.*s\" %s", what, idx,
              STR_ARG(str_sub(text, 0, 80)), about);
}

static bool has_any(struct str text, const char *letters)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != '\0' && strchr(letters, text.ptr[i]))
            return true;
    return false;
}

static bool has_lower(struct str text)
{
    return has_any(text, "abcdefghijklmnopqrstuvwxyz");
}

static bool has_control(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            return true;
    return false;
}

static void check_method(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                         size_t idx, const struct string_match *match)
{
    if (!str_is_empty(match->value) && !route_is_method(match->value))
        refuse(reader, node, what, idx, match->value, "is not a method such as GET");
    else if (has_lower(match->value))
        warn(reader, node, what, idx, match->value,
             "has small letters, and methods are compared in their case");
}

static void check_host(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                       size_t idx, const struct string_match *match)
{
    if (has_control(match->value) || has_any(match->value, "/?#@ "))
        refuse(reader, node, what, idx, match->value,
               "is not a host such as shop.example or shop.example:8080");
}

static void check_path(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                       size_t idx, struct string_match *match)
{
    const struct str value = match->value;
    if (match->kind == MATCH_EXACT || match->kind == MATCH_PREFIX) {
        if (value.ptr[0] != '/')
            warn(reader, node, what, idx, value, "does not begin with a slash, as every path does");
    }
    if (has_any(value, "?#"))
        warn(reader, node, what, idx, value,
             "has a query or a fragment, and paths are compared without them");
    else if (str_contains(value, STR("/./")) || str_contains(value, STR("/../")))
        warn(reader, node, what, idx, value,
             "has a segment of dots, and paths are compared without them");
}

static void check_principal(const struct k8s_reader *reader, const struct yaml *node,
                            const char *what, size_t idx, const struct string_match *match)
{
    if (match->kind == MATCH_EXACT && !str_contains(match->value, STR("/")))
        warn(reader, node, what, idx, match->value,
             "has no slash, and a token's principal is <iss>/<sub>");
}

static void read_path(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                      size_t idx, struct str text, struct string_match *match)
{
    const char *fault = path_is_template(text) ? path_template_fault(text) : NULL;
    if (fault)
        diag_error(reader->diag, node->place, "%s[%zu]: \"%.*s\" is not a path template: %s", what,
                   idx, STR_ARG(str_sub(text, 0, 80)), fault);
    else if (path_is_template(text))
        *match = (struct string_match){MATCH_TEMPLATE, arena_str(reader->arena, text)};
    else
        check_path(reader, node, what, idx, match);
}

static void read_value(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                       size_t idx, enum request_subject subject, struct string_match *match)
{
    const struct str text = k8s_value(reader, node, what, idx);
    if (str_is_empty(text))
        return;
    *match = k8s_string_match(reader->arena, text);
    switch (subject) {
    case REQUEST_METHOD: check_method(reader, node, what, idx, match); break;
    case REQUEST_HOST: check_host(reader, node, what, idx, match); break;
    case REQUEST_PATH: read_path(reader, node, what, idx, text, match); break;
    case REQUEST_TOKEN_PRINCIPAL: check_principal(reader, node, what, idx, match); break;
    case REQUEST_HEADER:
    case REQUEST_TOKEN_AUDIENCE:
    case REQUEST_TOKEN_PRESENTER:
    case REQUEST_TOKEN_CLAIM:
    case REQUEST_SUBJECTS: break;
    }
    if (subject != REQUEST_METHOD && !(subject == REQUEST_PATH && path_is_template(text)))
        k8s_warn_star(reader, node, what, idx, match->value);
}

static struct string_match *read_values(const struct k8s_reader *reader, const struct yaml *node,
                                        const char *what, enum request_subject subject,
                                        size_t *out_n)
{
    const size_t n = k8s_values(reader, node, what, K8S_POLICY_VALUES_MAX);
    struct string_match *matches = arena_new_array(reader->arena, struct string_match, n);
    for (size_t i = 0; i < n; i++)
        read_value(reader, node->items[i], what, i, subject, &matches[i]);
    *out_n = n;
    return matches;
}

/* ---- fields ---- */

static void read_field(const struct k8s_reader *reader, enum request_subject subject,
                       struct str name, const struct k8s_condition *at, struct model_match *match)
{
    if (!at->values && !at->not_values)
        return;
    if (!match->http)
        match->http = arena_new_array(reader->arena, struct request_field, FIELDS_MAX);
    struct request_field *field = &match->http[match->n_http++];
    field->subject = subject;
    field->name = name;
    field->values = read_values(reader, at->values, at->what, subject, &field->n_values);
    field->not_values =
        read_values(reader, at->not_values, at->not_what, subject, &field->n_not_values);
}

static void read_fields(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                        enum request_subject subject, const char *key, const char *not_key,
                        struct model_match *match)
{
    char buf[WHAT_MAX], not_buf[WHAT_MAX];
    const struct k8s_condition at = {.values = yaml_get(node, key),
                                     .not_values = yaml_get(node, not_key),
                                     .what = what_at(buf, "%s.%s", what, key),
                                     .not_what = what_at(not_buf, "%s.%s", what, not_key)};
    read_field(reader, subject, (struct str){0}, &at, match);
}

/* What Istio knows and this version does not evaluate. Its values are checked for being there. */
static void read_unseen(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                        enum policy_action action, struct model_match *match)
{
    static const char *const consequences[] = {
        [POLICY_ALLOW] = "matches nobody, so nothing is allowed by it",
        [POLICY_DENY] = "is decided by its other fields, so more is denied than it says",
        [POLICY_AUDIT] = "is decided by its other fields, so more is recorded than it says",
    };
    if (!node)
        return;
    const size_t n = k8s_values(reader, node, what, K8S_POLICY_VALUES_MAX);
    for (size_t i = 0; i < n; i++)
        (void)k8s_value(reader, node->items[i], what, i);
    match->has_unknown = true;
    diag_warn(reader->diag, node->place, "%s: is not evaluated here; what it stands in %s", what,
              consequences[action]);
}

void k8s_read_request_source(const struct k8s_reader *reader, const struct yaml *source,
                             const char *what, enum policy_action action, struct model_match *match)
{
    static const char *const unseen[] = {"remoteIpBlocks", "notRemoteIpBlocks"};
    char buf[WHAT_MAX];
    read_fields(reader, source, what, REQUEST_TOKEN_PRINCIPAL, "requestPrincipals",
                "notRequestPrincipals", match);
    for (size_t i = 0; i < ARRAY_LEN(unseen); i++)
        read_unseen(reader, yaml_get(source, unseen[i]), what_at(buf, "%s.%s", what, unseen[i]),
                    action, match);
}

void k8s_read_request_operation(const struct k8s_reader *reader, const struct yaml *operation,
                                const char *what, struct model_match *match)
{
    read_fields(reader, operation, what, REQUEST_METHOD, "methods", "notMethods", match);
    read_fields(reader, operation, what, REQUEST_HOST, "hosts", "notHosts", match);
    read_fields(reader, operation, what, REQUEST_PATH, "paths", "notPaths", match);
}

/* ---- conditions ---- */

/* "a" of "[a]rest". */
static bool take_bracket(struct str *text, struct str *out_name)
{
    struct str rest;
    if (!str_starts_with(*text, STR("[")) || !str_split(*text, ']', out_name, &rest))
        return false;
    *out_name = str_sub(*out_name, 1, out_name->len);
    *text = rest;
    return true;
}

/* What HTTP/2 writes with a colon has fields of its own here; the host is no other header field. */
static void read_header(const struct k8s_reader *reader, struct str rest,
                        const struct k8s_condition *at, enum policy_action action,
                        struct model_match *match)
{
    struct str name = {0};
    const bool is_bracket = take_bracket(&rest, &name) && str_is_empty(rest);
    if (!is_bracket || !(str_starts_with(name, STR(":")) || route_is_method(name)) ||
        name.len > HEADER_NAME_MAX) {
        diag_error(
            reader->diag, at->key->place,
            "%s.key: \"%.*s\" is not request.headers[NAME] with the name of a header field (RFC "
            "9110 token, 256 letters at most)",
            at->item, STR_ARG(str_sub(at->key->text, 0, 80)));
    } else if (str_eq(name, STR(":method"))) {
        read_field(reader, REQUEST_METHOD, (struct str){0}, at, match);
    } else if (str_eq(name, STR(":authority")) || str_eq_ci(name, STR("host"))) {
        read_field(reader, REQUEST_HOST, (struct str){0}, at, match);
    } else if (str_starts_with(name, STR(":"))) {
        read_unseen(reader, at->values, at->what, action, match);
        read_unseen(reader, at->not_values, at->not_what, action, match);
    } else {
        read_field(reader, REQUEST_HEADER, ascii_lower_str(reader->arena, name), at, match);
    }
}

static void read_claim(const struct k8s_reader *reader, struct str rest,
                       const struct k8s_condition *at, struct model_match *match)
{
    struct text path = {0};
    struct str name = {0};
    size_t n = 0;
    bool is_fine = true;
    while (is_fine && take_bracket(&rest, &name)) {
        is_fine = !str_is_empty(name) && !has_control(name) && n < CLAIM_NAMES_MAX;
        if (n++ > 0)
            text_addc(&path, '\0');
        text_add(&path, name);
    }
    if (is_fine && n > 0 && str_is_empty(rest))
        read_field(reader, REQUEST_TOKEN_CLAIM, arena_str(reader->arena, text_str(&path)), at,
                   match);
    else
        diag_error(
            reader->diag, at->key->place,
            "%s.key: \"%.*s\" is not request.auth.claims[NAME], or [NAME][NAME] for one within "
            "another, %d at most",
            at->item, STR_ARG(str_sub(at->key->text, 0, 80)), CLAIM_NAMES_MAX);
    text_fini(&path);
}

bool k8s_read_request_condition(const struct k8s_reader *reader, const struct k8s_condition *at,
                                enum policy_action action, struct model_match *match)
{
    static const struct {
        const char *key;
        enum request_subject subject;
    } whole[] = {{"request.auth.principal", REQUEST_TOKEN_PRINCIPAL},
                 {"request.auth.audiences", REQUEST_TOKEN_AUDIENCE},
                 {"request.auth.presenter", REQUEST_TOKEN_PRESENTER}};
    const struct str key = at->key->text, headers = STR("request.headers"),
                     claims = STR("request.auth.claims");
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        if (!str_eq(key, str_from(whole[i].key)))
            continue;
        read_field(reader, whole[i].subject, (struct str){0}, at, match);
        return true;
    }
    if (str_starts_with(key, headers)) {
        read_header(reader, str_sub(key, headers.len, key.len), at, action, match);
    } else if (str_starts_with(key, claims)) {
        read_claim(reader, str_sub(key, claims.len, key.len), at, match);
    } else if (str_eq(key, STR("remote.ip")) || str_eq(key, STR("connection.sni")) ||
               str_starts_with(key, STR("experimental.envoy.filters."))) {
        read_unseen(reader, at->values, at->what, action, match);
        read_unseen(reader, at->not_values, at->not_what, action, match);
    } else {
        return false;
    }
    return true;
}
