/* Envoy's RouteMatch as the match of a rule. */
#include <string.h>

#include "proxy/base/percent.h"
#include "xds/codec_route.h"

/* A blank or a control character would end the line of a request, or its path. */
static bool is_in_one_piece(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == 0x7f)
            return false;
    return !str_contains(text, STR("?")) && !str_contains(text, STR("#")) &&
           !str_contains(text, STR("%00"));
}

struct str codec_route_path(struct reading_routes *reading, const char *from, const char *what)
{
    const struct str text = codec_route_keep(reading, from, ROUTE_NAME_MAX, what);
    char *normal = arena_alloc(reading->arena, text.len + 1);
    size_t len = 0;

    if (text.len == 0 || text.ptr[0] != '/' || !is_in_one_piece(text) ||
        !percent_normalize(text, normal, &len))
        codec_route_refuse(reading, "%s: \"%.*s\" is not a path that begins with /", what,
                           STR_ARG(str_sub(text, 0, 200)));
    return str_of(normal, len);
}

static void read_path_match(struct reading_routes *reading,
                            const Envoy__Config__Route__V3__RouteMatch *from,
                            struct route_match *match)
{
    match->path_kind = ROUTE_PATH_ANY;
    switch (from->path_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX:
        if (!from->prefix[0] || strcmp(from->prefix, "/") == 0)
            return;
        match->path_kind = ROUTE_PATH_START;
        match->path = codec_route_path(reading, from->prefix, "match.prefix");
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH:
        match->path_kind = ROUTE_PATH_EXACT;
        match->path = codec_route_path(reading, from->path, "match.path");
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX:
        match->path_kind = ROUTE_PATH_PREFIX;
        match->path =
            codec_route_path(reading, from->path_separated_prefix, "match.path_separated_prefix");
        if (str_ends_with(match->path, STR("/")))
            codec_route_refuse(reading, "match.path_separated_prefix: \"%.*s\" ends with /",
                               STR_ARG(match->path));
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX:
        codec_route_refuse(reading, "match.safe_regex: regular expressions are not supported");
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER__NOT_SET:
    case _ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER__CASE_IS_INT_SIZE: break;
    }
    codec_route_refuse(reading, "match: has neither prefix, path nor path_separated_prefix");
}

static void read_string(struct reading_routes *reading,
                        const Envoy__Type__Matcher__V3__StringMatcher *from, const char *what,
                        struct route_text_match *match)
{
    const char *value = NULL;

    codec_route_unknown(reading, &from->base, what, codec_route_nothing);
    match->ignores_case = from->ignore_case;
    switch (from->match_pattern_case) {
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT:
        match->kind = ROUTE_TEXT_EXACT;
        value = from->exact;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX:
        match->kind = ROUTE_TEXT_PREFIX;
        value = from->prefix;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SUFFIX:
        match->kind = ROUTE_TEXT_SUFFIX;
        value = from->suffix;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_CONTAINS:
        match->kind = ROUTE_TEXT_CONTAINS;
        value = from->contains;
        break;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX:
        codec_route_refuse(reading, "%s.safe_regex: regular expressions are not supported", what);
        return;
    case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN__NOT_SET:
    case _ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN__CASE_IS_INT_SIZE:
        codec_route_refuse(reading, "%s: has no pattern", what);
        return;
    }
    match->value = codec_route_keep(reading, value, ROUTE_VALUE_MAX, what);
}

static void read_old_value(struct reading_routes *reading, enum route_text_kind kind,
                           const char *value, struct route_text_match *match)
{
    match->kind = kind;
    match->value = codec_route_keep(reading, value, ROUTE_VALUE_MAX, "match.headers");
}

static void read_header(struct reading_routes *reading,
                        const Envoy__Config__Route__V3__HeaderMatcher *from,
                        struct route_text_match *match)
{
    codec_route_unknown(reading, &from->base, "match.headers", codec_route_nothing);
    match->name = codec_route_lower(reading, from->name, "match.headers.name");
    match->is_negated = from->invert_match;
    match->kind = ROUTE_TEXT_PRESENT;
    if (match->name.len == 0)
        codec_route_refuse(reading, "match.headers.name: is empty");
    switch (from->header_match_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH:
        read_string(reading, from->string_match, "match.headers.string_match", match);
        return;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_EXACT_MATCH:
        read_old_value(reading, ROUTE_TEXT_EXACT, from->exact_match, match);
        return;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PREFIX_MATCH:
        read_old_value(reading, ROUTE_TEXT_PREFIX, from->prefix_match, match);
        return;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SUFFIX_MATCH:
        read_old_value(reading, ROUTE_TEXT_SUFFIX, from->suffix_match, match);
        return;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_CONTAINS_MATCH:
        read_old_value(reading, ROUTE_TEXT_CONTAINS, from->contains_match, match);
        return;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH:
        match->is_negated = from->invert_match == from->present_match;
        return;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER__NOT_SET:
    case _ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER__CASE_IS_INT_SIZE:
        return;
    }
}

/* A method as such is a field of its own. */
static bool take_method(const struct route_text_match *header, struct route_match *match)
{
    if (!str_eq(header->name, STR(":method")) || header->kind != ROUTE_TEXT_EXACT ||
        header->is_negated || header->ignores_case || header->value.len == 0 ||
        header->value.len > ROUTE_NAME_MAX || match->method.len > 0)
        return false;
    match->method = header->value;
    return true;
}

static void read_headers(struct reading_routes *reading,
                         const Envoy__Config__Route__V3__RouteMatch *from,
                         struct route_match *match)
{
    if (!codec_route_within(reading, from->n_headers, ROUTE_MATCHES_MAX + 1, "match.headers"))
        return;
    struct route_text_match *headers =
        arena_new_array(reading->arena, struct route_text_match, from->n_headers);
    for (size_t i = 0; i < from->n_headers; i++) {
        struct route_text_match *header = &headers[match->n_headers];
        *header = (struct route_text_match){0};
        read_header(reading, from->headers[i], header);
        match->n_headers += !take_method(header, match);
    }
    (void)codec_route_within(reading, match->n_headers, ROUTE_MATCHES_MAX, "match.headers");
    match->headers = headers;
}

static void read_params(struct reading_routes *reading,
                        const Envoy__Config__Route__V3__RouteMatch *from, struct route_match *match)
{
    if (!codec_route_within(reading, from->n_query_parameters, ROUTE_MATCHES_MAX,
                            "match.query_parameters"))
        return;
    struct route_text_match *params =
        arena_new_array(reading->arena, struct route_text_match, from->n_query_parameters);
    for (size_t i = 0; i < from->n_query_parameters; i++) {
        const Envoy__Config__Route__V3__QueryParameterMatcher *param = from->query_parameters[i];

        codec_route_unknown(reading, &param->base, "match.query_parameters", codec_route_nothing);
        params[i].name =
            codec_route_keep(reading, param->name, ROUTE_NAME_MAX, "match.query_parameters.name");
        params[i].kind = ROUTE_TEXT_PRESENT;
        if (params[i].name.len == 0)
            codec_route_refuse(reading, "match.query_parameters.name: is empty");
        if (param->query_parameter_match_specifier_case ==
            ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH)
            read_string(reading, param->string_match, "match.query_parameters.string_match",
                        &params[i]);
        else if (
            param->query_parameter_match_specifier_case ==
            ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH)
            params[i].is_negated = !param->present_match;
    }
    match->params = params;
    match->n_params = from->n_query_parameters;
}

void codec_route_match(struct reading_routes *reading,
                       const Envoy__Config__Route__V3__RouteMatch *from, struct route_match *match)
{
    if (!from) {
        codec_route_refuse(reading, "match: is required");
        return;
    }
    codec_route_unknown(reading, &from->base, "match", codec_route_nothing);
    if (from->case_sensitive && !from->case_sensitive->value)
        codec_route_refuse(reading, "match.case_sensitive: false is not supported");
    read_path_match(reading, from, match);
    read_headers(reading, from, match);
    read_params(reading, from, match);
    match->is_grpc = from->grpc != NULL;
}
