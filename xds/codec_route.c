/*
 * Routes as Envoy's RouteConfiguration, in its words alone: a list of rules is a virtual host, a
 * rule a Route. Everything is said, also what is a default here: the defaults of the two differ.
 */
#include "xds/codec_route.h"

#include "proxy/base/clock.h"
#include "xds/codec_new.h"

static uint32_t idx_of(const uint16_t *codes, size_t n, uint16_t code)
{
    for (size_t i = 0; i < n; i++)
        if (codes[i] == code)
            return (uint32_t)i;
    ensure_failed("a status that travels", __FILE__, __LINE__);
}

/* ---- matches ---- */

static Envoy__Type__Matcher__V3__StringMatcher *string_encode(const struct route_text_match *from,
                                                              struct arena *arena)
{
    Envoy__Type__Matcher__V3__StringMatcher *made =
        NEW(arena, Envoy__Type__Matcher__V3__StringMatcher,
            envoy__type__matcher__v3__string_matcher__init);
    char *value = wire_text(arena, from->value);
    made->ignore_case = from->ignores_case;
    switch (from->kind) {
    case ROUTE_TEXT_PRESENT:
    case ROUTE_TEXT_EXACT:
        made->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        made->exact = value;
        break;
    case ROUTE_TEXT_PREFIX:
        made->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX;
        made->prefix = value;
        break;
    case ROUTE_TEXT_SUFFIX:
        made->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SUFFIX;
        made->suffix = value;
        break;
    case ROUTE_TEXT_CONTAINS:
        made->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_CONTAINS;
        made->contains = value;
        break;
    }
    return made;
}

static Envoy__Config__Route__V3__HeaderMatcher *header_encode(const struct route_text_match *from,
                                                              struct arena *arena)
{
    Envoy__Config__Route__V3__HeaderMatcher *made =
        NEW(arena, Envoy__Config__Route__V3__HeaderMatcher,
            envoy__config__route__v3__header_matcher__init);
    made->name = wire_text(arena, from->name);
    made->invert_match = from->is_negated;
    if (from->kind == ROUTE_TEXT_PRESENT) {
        made->header_match_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH;
        made->present_match = true;
    } else {
        made->header_match_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH;
        made->string_match = string_encode(from, arena);
    }
    return made;
}

static Envoy__Config__Route__V3__QueryParameterMatcher *
param_encode(const struct route_text_match *from, struct arena *arena)
{
    Envoy__Config__Route__V3__QueryParameterMatcher *made =
        NEW(arena, Envoy__Config__Route__V3__QueryParameterMatcher,
            envoy__config__route__v3__query_parameter_matcher__init);
    made->name = wire_text(arena, from->name);
    if (from->kind == ROUTE_TEXT_PRESENT) {
        made->query_parameter_match_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH;
        made->present_match = !from->is_negated;
    } else {
        made->query_parameter_match_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH;
        made->string_match = string_encode(from, arena);
    }
    return made;
}

static void path_encode(const struct route_match *from, struct arena *arena,
                        Envoy__Config__Route__V3__RouteMatch *match)
{
    switch (from->path_kind) {
    case ROUTE_PATH_ANY:
    case ROUTE_PATH_START:
        match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
        match->prefix = wire_text(arena, from->path_kind == ROUTE_PATH_ANY ? STR("/") : from->path);
        return;
    case ROUTE_PATH_EXACT:
        match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH;
        match->path = wire_text(arena, from->path);
        return;
    case ROUTE_PATH_PREFIX:
        match->path_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX;
        match->path_separated_prefix = wire_text(arena, from->path);
        return;
    }
}

static Envoy__Config__Route__V3__RouteMatch *match_encode(const struct route_match *from,
                                                          struct arena *arena)
{
    Envoy__Config__Route__V3__RouteMatch *match = NEW(arena, Envoy__Config__Route__V3__RouteMatch,
                                                      envoy__config__route__v3__route_match__init);
    const struct route_text_match method = {ROUTE_TEXT_EXACT, STR(":method"), from->method, false,
                                            false};
    path_encode(from, arena, match);
    match->headers =
        arena_new_array(arena, Envoy__Config__Route__V3__HeaderMatcher *, from->n_headers + 1);
    if (from->method.len > 0)
        match->headers[match->n_headers++] = header_encode(&method, arena);
    for (size_t i = 0; i < from->n_headers; i++)
        match->headers[match->n_headers++] = header_encode(&from->headers[i], arena);
    match->query_parameters =
        arena_new_array(arena, Envoy__Config__Route__V3__QueryParameterMatcher *, from->n_params);
    for (size_t i = 0; i < from->n_params; i++)
        match->query_parameters[match->n_query_parameters++] =
            param_encode(&from->params[i], arena);
    if (from->is_grpc)
        match->grpc = NEW(arena, Envoy__Config__Route__V3__RouteMatch__GrpcRouteMatchOptions,
                          envoy__config__route__v3__route_match__grpc_route_match_options__init);
    return match;
}

/* ---- header fields ---- */

/* In Envoy's values % begins a variable. */
static char *escape(struct arena *arena, struct str value)
{
    char *escaped = arena_alloc(arena, 2 * value.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        escaped[len++] = value.ptr[i];
        if (value.ptr[i] == '%')
            escaped[len++] = '%';
    }
    return escaped;
}

static Envoy__Config__Core__V3__HeaderValueOption *
option_encode(const struct route_field *from, enum codec_append action, struct arena *arena)
{
    Envoy__Config__Core__V3__HeaderValueOption *made =
        NEW(arena, Envoy__Config__Core__V3__HeaderValueOption,
            envoy__config__core__v3__header_value_option__init);
    made->header = NEW(arena, Envoy__Config__Core__V3__HeaderValue,
                       envoy__config__core__v3__header_value__init);
    made->header->key = wire_text(arena, from->name);
    made->header->value = escape(arena, from->value);
    made->append_action = action;
    return made;
}

static Envoy__Config__Core__V3__HeaderValueOption **
options_encode(const struct route_edits *edits, struct arena *arena, size_t *out_n)
{
    Envoy__Config__Core__V3__HeaderValueOption **made = arena_new_array(
        arena, Envoy__Config__Core__V3__HeaderValueOption *, edits->n_set + edits->n_add);
    *out_n = 0;
    for (size_t i = 0; i < edits->n_set; i++)
        made[(*out_n)++] = option_encode(&edits->set[i], CODEC_OVERWRITE, arena);
    for (size_t i = 0; i < edits->n_add; i++)
        made[(*out_n)++] = option_encode(&edits->add[i], CODEC_APPEND, arena);
    return made;
}

/* ---- forwarding ---- */

static Envoy__Config__Route__V3__WeightedCluster__ClusterWeight *
backend_encode(const struct route_backend *from, struct arena *arena)
{
    Envoy__Config__Route__V3__WeightedCluster__ClusterWeight *made =
        NEW(arena, Envoy__Config__Route__V3__WeightedCluster__ClusterWeight,
            envoy__config__route__v3__weighted_cluster__cluster_weight__init);
    struct str name = STR(CODEC_INVALID_BACKEND);
    if (from->service.len > 0)
        name = route_backend_name(from->service, from->port, from->cluster, arena);
    made->name = wire_text(arena, name);
    made->weight = codec_new_u32(arena, from->weight);
    made->request_headers_to_add =
        options_encode(&from->request, arena, &made->n_request_headers_to_add);
    made->request_headers_to_remove =
        codec_texts(arena, from->request.remove, from->request.n_remove);
    made->n_request_headers_to_remove = from->request.n_remove;
    made->response_headers_to_add =
        options_encode(&from->response, arena, &made->n_response_headers_to_add);
    made->response_headers_to_remove =
        codec_texts(arena, from->response.remove, from->response.n_remove);
    made->n_response_headers_to_remove = from->response.n_remove;
    return made;
}

static void backends_encode(const struct route_rule *from, struct arena *arena,
                            Envoy__Config__Route__V3__RouteAction *action)
{
    Envoy__Config__Route__V3__WeightedCluster *weighted =
        NEW(arena, Envoy__Config__Route__V3__WeightedCluster,
            envoy__config__route__v3__weighted_cluster__init);
    weighted->clusters = arena_new_array(
        arena, Envoy__Config__Route__V3__WeightedCluster__ClusterWeight *, from->n_backends);
    for (size_t i = 0; i < from->n_backends; i++)
        weighted->clusters[weighted->n_clusters++] = backend_encode(&from->backends[i], arena);
    action->cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    action->weighted_clusters = weighted;
    action->cluster_not_found_response_code =
        idx_of(codec_missing_codes, ARRAY_LEN(codec_missing_codes), from->missing_status);
}

static Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy *
mirror_encode(const struct route_mirror *from, struct arena *arena)
{
    Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy *made =
        NEW(arena, Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy,
            envoy__config__route__v3__route_action__request_mirror_policy__init);
    struct str name = STR(CODEC_INVALID_BACKEND);
    if (from->service.len > 0)
        name = route_backend_name(from->service, from->port, from->cluster, arena);
    made->cluster = wire_text(arena, name);
    made->runtime_fraction = NEW(arena, Envoy__Config__Core__V3__RuntimeFractionalPercent,
                                 envoy__config__core__v3__runtime_fractional_percent__init);
    made->runtime_fraction->default_value =
        NEW(arena, Envoy__Type__V3__FractionalPercent, envoy__type__v3__fractional_percent__init);
    made->runtime_fraction->default_value->numerator = from->per_million;
    made->runtime_fraction->default_value->denominator = ARRAY_LEN(codec_denominators) - 1;
    return made;
}

static char *retry_on_encode(const struct route_retry *from, struct arena *arena)
{
    struct str on = {0};
    unsigned told = 0;
    for (size_t i = 0; i < codec_n_retry_words; i++) {
        const struct codec_retry_word *row = &codec_retry_words[i];
        if (!(from->on & row->on) || (told & row->on))
            continue;
        told |= row->on;
        on = arena_printf(arena, "%.*s%s%s", STR_ARG(on), on.len ? "," : "", row->word);
    }
    return wire_text(arena, on);
}

static Envoy__Config__Route__V3__RetryPolicy *retry_encode(const struct route_rule *rule,
                                                           struct arena *arena)
{
    const struct route_retry *from = &rule->retry;
    if (from->attempts == 0 && rule->attempt_ns == 0)
        return NULL;
    Envoy__Config__Route__V3__RetryPolicy *made = NEW(arena, Envoy__Config__Route__V3__RetryPolicy,
                                                      envoy__config__route__v3__retry_policy__init);
    made->num_retries = codec_new_u32(arena, from->attempts);
    if (rule->attempt_ns != 0)
        made->per_try_timeout = codec_new_duration(arena, rule->attempt_ns);
    if (from->attempts == 0)
        return made;
    made->retry_on = retry_on_encode(from, arena);
    made->retriable_status_codes = arena_new_array(arena, uint32_t, from->n_codes);
    for (size_t i = 0; i < from->n_codes; i++)
        made->retriable_status_codes[made->n_retriable_status_codes++] = from->codes[i];
    made->retry_back_off = NEW(arena, Envoy__Config__Route__V3__RetryPolicy__RetryBackOff,
                               envoy__config__route__v3__retry_policy__retry_back_off__init);
    made->retry_back_off->base_interval = codec_new_duration(arena, from->backoff_ns);
    made->retry_back_off->max_interval = codec_new_duration(arena, from->backoff_max_ns);
    return made;
}

static Envoy__Config__Route__V3__RouteAction *forward_encode(const struct route_rule *from,
                                                             struct arena *arena)
{
    Envoy__Config__Route__V3__RouteAction *action = NEW(
        arena, Envoy__Config__Route__V3__RouteAction, envoy__config__route__v3__route_action__init);
    backends_encode(from, arena, action);
    action->timeout = codec_new_duration(arena, from->timeout_ns);
    action->retry_policy = retry_encode(from, arena);
    codec_route_hash_encode(from, arena, action);
    action->host_rewrite_literal = wire_text(arena, from->host);
    action->request_mirror_policies = arena_new_array(
        arena, Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy *, from->n_mirrors);
    for (size_t i = 0; i < from->n_mirrors; i++)
        action->request_mirror_policies[action->n_request_mirror_policies++] =
            mirror_encode(&from->mirrors[i], arena);
    if (from->path_edit == ROUTE_PATH_REPLACE_PREFIX)
        action->prefix_rewrite = wire_text(arena, from->path);
    if (from->path_edit != ROUTE_PATH_REPLACE)
        return action;
    action->regex_rewrite = NEW(arena, Envoy__Type__Matcher__V3__RegexMatchAndSubstitute,
                                envoy__type__matcher__v3__regex_match_and_substitute__init);
    action->regex_rewrite->pattern = NEW(arena, Envoy__Type__Matcher__V3__RegexMatcher,
                                         envoy__type__matcher__v3__regex_matcher__init);
    action->regex_rewrite->pattern->regex = wire_text(arena, STR(CODEC_WHOLE_PATH));
    action->regex_rewrite->substitution = wire_text(arena, from->path);
    return action;
}

/* ---- answers ---- */

static Envoy__Config__Route__V3__RedirectAction *redirect_encode(const struct route_rule *from,
                                                                 struct arena *arena)
{
    Envoy__Config__Route__V3__RedirectAction *action =
        NEW(arena, Envoy__Config__Route__V3__RedirectAction,
            envoy__config__route__v3__redirect_action__init);
    action->host_redirect = wire_text(arena, from->host);
    action->port_redirect = from->port;
    action->response_code =
        idx_of(codec_redirect_codes, ARRAY_LEN(codec_redirect_codes), from->status);
    if (from->scheme.len > 0) {
        action->scheme_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT;
        action->scheme_redirect = wire_text(arena, from->scheme);
    }
    if (from->path_edit == ROUTE_PATH_REPLACE) {
        action->path_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT;
        action->path_redirect = wire_text(arena, from->path);
    } else if (from->path_edit == ROUTE_PATH_REPLACE_PREFIX) {
        action->path_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE;
        action->prefix_rewrite = wire_text(arena, from->path);
    }
    return action;
}

static Envoy__Config__Route__V3__DirectResponseAction *
response_encode(const struct route_rule *from, struct arena *arena)
{
    Envoy__Config__Route__V3__DirectResponseAction *action =
        NEW(arena, Envoy__Config__Route__V3__DirectResponseAction,
            envoy__config__route__v3__direct_response_action__init);
    action->status = from->status;
    if (from->body.len == 0)
        return action;
    action->body =
        NEW(arena, Envoy__Config__Core__V3__DataSource, envoy__config__core__v3__data_source__init);
    action->body->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES;
    action->body->inline_bytes.len = from->body.len;
    action->body->inline_bytes.data = (uint8_t *)wire_text(arena, from->body);
    return action;
}

/* ---- the whole ---- */

static Envoy__Config__Route__V3__Route *rule_encode(const struct route_rule *from,
                                                    struct arena *arena)
{
    Envoy__Config__Route__V3__Route *route =
        NEW(arena, Envoy__Config__Route__V3__Route, envoy__config__route__v3__route__init);
    route->name = wire_text(arena, from->name);
    route->match = match_encode(&from->match, arena);
    switch (from->action) {
    case ROUTE_FORWARD:
        route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
        route->route = forward_encode(from, arena);
        break;
    case ROUTE_REDIRECT:
        route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT;
        route->redirect = redirect_encode(from, arena);
        break;
    case ROUTE_RESPOND:
        route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
        route->direct_response = response_encode(from, arena);
        break;
    }
    route->request_headers_to_add =
        options_encode(&from->request, arena, &route->n_request_headers_to_add);
    route->request_headers_to_remove =
        codec_texts(arena, from->request.remove, from->request.n_remove);
    route->n_request_headers_to_remove = from->request.n_remove;
    route->response_headers_to_add =
        options_encode(&from->response, arena, &route->n_response_headers_to_add);
    route->response_headers_to_remove =
        codec_texts(arena, from->response.remove, from->response.n_remove);
    route->n_response_headers_to_remove = from->response.n_remove;
    return route;
}

static Envoy__Config__Route__V3__VirtualHost *host_encode(const struct route_host *from,
                                                          struct arena *arena)
{
    Envoy__Config__Route__V3__VirtualHost *host = NEW(arena, Envoy__Config__Route__V3__VirtualHost,
                                                      envoy__config__route__v3__virtual_host__init);
    host->domains = codec_texts(arena, from->domains, from->n_domains);
    host->n_domains = from->n_domains;
    if (from->n_domains > 0)
        host->name = host->domains[0];
    host->routes = arena_new_array(arena, Envoy__Config__Route__V3__Route *, from->n_rules);
    for (size_t i = 0; i < from->n_rules; i++)
        host->routes[host->n_routes++] = rule_encode(&from->rules[i], arena);
    return host;
}

void codec_routes_encode(const struct model_routes *routes, struct str name, struct arena *arena,
                         struct text *out)
{
    Envoy__Config__Route__V3__RouteConfiguration message;
    envoy__config__route__v3__route_configuration__init(&message);
    message.name = wire_text(arena, name);
    message.virtual_hosts =
        arena_new_array(arena, Envoy__Config__Route__V3__VirtualHost *, routes->n_hosts);
    for (size_t i = 0; i < routes->n_hosts; i++)
        message.virtual_hosts[message.n_virtual_hosts++] = host_encode(&routes->hosts[i], arena);
    wire_pack(&message.base, out);
}
