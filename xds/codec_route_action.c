/* What Envoy's Route does with a request: header fields, forwarding, redirects, answers. */
#include <string.h>

#include "config/names.h"
#include "proxy/base/clock.h"
#include "xds/codec_route.h"

#define TIMEOUT_NS    (15 * NS_PER_SEC) /* Envoy's, of a route that says none */
#define BACKOFF_NS    (25 * NS_PER_MS)
#define BACKOFF_TIMES 10
#define STATUS_MIN    200
#define STATUS_MAX    599

/* ---- header fields ---- */

static bool is_overwriting(struct reading_routes *reading,
                           const Envoy__Config__Core__V3__HeaderValueOption *from, const char *what)
{
    if (from->append)
        return !from->append->value;
    if (from->append_action != CODEC_APPEND && from->append_action != CODEC_OVERWRITE)
        codec_route_refuse(reading,
                           "%s.append_action: %u is not APPEND_IF_EXISTS_OR_ADD (0) or "
                           "OVERWRITE_IF_EXISTS_OR_ADD (2)",
                           what, from->append_action);
    return from->append_action == CODEC_OVERWRITE;
}

static struct str read_field_name(struct reading_routes *reading, const char *from,
                                  const char *what)
{
    const struct str name = codec_route_lower(reading, from, what);

    if (!route_is_field_name(name))
        codec_route_refuse(reading, "%s: \"%.*s\" is not a header field that a route may change",
                           what, STR_ARG(str_sub(name, 0, 80)));
    return name;
}

/* In Envoy's values % begins a variable; we know none. */
static struct str unescape(struct reading_routes *reading, struct str value)
{
    char *plain = arena_alloc(reading->arena, value.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '%' && (i + 1 == value.len || value.ptr[++i] != '%'))
            codec_route_refuse(reading, "a header field's value has a variable in it: \"%.*s\"",
                               STR_ARG(str_sub(value, 0, 80)));
        plain[len++] = value.ptr[i];
    }
    return str_of(plain, len);
}

struct route_edits codec_route_edits(struct reading_routes *reading,
                                     Envoy__Config__Core__V3__HeaderValueOption *const *options,
                                     size_t n_options, char *const *removals, size_t n_removals,
                                     const char *what)
{
    struct route_edits edits = {0};

    if (!codec_route_within(reading, n_options, ROUTE_EDITS_MAX, what) ||
        !codec_route_within(reading, n_removals, ROUTE_EDITS_MAX, what))
        return edits;
    struct route_field *set = arena_new_array(reading->arena, struct route_field, n_options);
    struct route_field *add = arena_new_array(reading->arena, struct route_field, n_options);
    struct str *remove = arena_new_array(reading->arena, struct str, n_removals);
    for (size_t i = 0; i < n_options; i++) {
        if (!options[i]->header) {
            codec_route_refuse(reading, "%s: has no header", what);
            return edits;
        }
        struct route_field *field =
            is_overwriting(reading, options[i], what) ? &set[edits.n_set++] : &add[edits.n_add++];
        field->name = read_field_name(reading, options[i]->header->key, what);
        field->value =
            codec_route_keep(reading, options[i]->header->value, (size_t)2 * ROUTE_VALUE_MAX, what);
        field->value = unescape(reading, field->value);
        if (!route_is_field_value(field->value))
            codec_route_refuse(reading, "%s: the value of %.*s is not one of a header field", what,
                               STR_ARG(str_sub(field->name, 0, 80)));
    }
    for (size_t i = 0; i < n_removals; i++)
        remove[i] = read_field_name(reading, removals[i], what);
    edits.set = set;
    edits.add = add;
    edits.remove = remove;
    edits.n_remove = n_removals;
    return edits;
}

/* ---- forwarding ---- */

static void read_cluster(struct reading_routes *reading, const char *from, struct str *out_service,
                         uint16_t *out_port, struct str *out_cluster)
{
    const struct str name = codec_route_keep(reading, from, ROUTE_NAME_MAX, "cluster");

    if (str_eq(name, STR(CODEC_INVALID_BACKEND)))
        return;
    if (!route_parse_backend(name, out_service, out_port, out_cluster))
        codec_route_refuse(reading,
                           "cluster: \"%.*s\" is not <namespace>/<host name>:<port>[@<cluster>]",
                           STR_ARG(str_sub(name, 0, 200)));
}

static void read_weighted(struct reading_routes *reading,
                          const Envoy__Config__Route__V3__WeightedCluster *from,
                          struct route_rule *rule)
{
    static const unsigned harmless[] = {2, 0}; /* runtime_key_prefix */
    uint64_t sum = 0;

    codec_route_unknown(reading, &from->base, "weighted_clusters", harmless);
    if (!codec_route_within(reading, from->n_clusters, ROUTE_BACKENDS_MAX, "weighted_clusters"))
        return;
    struct route_backend *backends =
        arena_new_array(reading->arena, struct route_backend, from->n_clusters);
    for (size_t i = 0; i < from->n_clusters; i++) {
        const Envoy__Config__Route__V3__WeightedCluster__ClusterWeight *cluster = from->clusters[i];
        struct route_backend *backend = &backends[i];

        codec_route_unknown(reading, &cluster->base, "weighted_clusters.clusters",
                            codec_route_nothing);
        read_cluster(reading, cluster->name, &backend->service, &backend->port, &backend->cluster);
        backend->weight = cluster->weight ? cluster->weight->value : 0;
        sum += backend->weight;
        backend->request = codec_route_edits(
            reading, cluster->request_headers_to_add, cluster->n_request_headers_to_add,
            cluster->request_headers_to_remove, cluster->n_request_headers_to_remove,
            "weighted_clusters.clusters.request_headers");
        backend->response = codec_route_edits(
            reading, cluster->response_headers_to_add, cluster->n_response_headers_to_add,
            cluster->response_headers_to_remove, cluster->n_response_headers_to_remove,
            "weighted_clusters.clusters.response_headers");
    }
    if (sum == 0 || sum > UINT32_MAX)
        codec_route_refuse(reading,
                           "weighted_clusters: the weights sum up to %llu, 1 to %u are expected",
                           (unsigned long long)sum, UINT32_MAX);
    rule->backends = backends;
    rule->n_backends = from->n_clusters;
}

static void read_backends(struct reading_routes *reading,
                          const Envoy__Config__Route__V3__RouteAction *from,
                          struct route_rule *rule)
{
    struct route_backend *backend;

    switch (from->cluster_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER:
        backend = arena_new(reading->arena, struct route_backend);
        read_cluster(reading, from->cluster, &backend->service, &backend->port, &backend->cluster);
        backend->weight = 1;
        rule->backends = backend;
        rule->n_backends = 1;
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS:
        read_weighted(reading, from->weighted_clusters, rule);
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER__NOT_SET:
    case _ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER__CASE_IS_INT_SIZE: break;
    }
    codec_route_refuse(reading, "route: has neither cluster nor weighted_clusters");
}

static uint32_t per_million(struct reading_routes *reading,
                            const Envoy__Config__Core__V3__RuntimeFractionalPercent *from)
{
    const Envoy__Type__V3__FractionalPercent *share = from ? from->default_value : NULL;

    if (!share)
        return from ? 0 : ROUTE_MILLION;
    if (share->denominator >= ARRAY_LEN(codec_denominators)) {
        codec_route_refuse(
            reading,
            "runtime_fraction.denominator: %u is not HUNDRED (0), TEN_THOUSAND (1) or "
            "MILLION (2)",
            share->denominator);
        return 0;
    }
    const uint32_t of = codec_denominators[share->denominator];
    return (share->numerator < of ? share->numerator : of) * (ROUTE_MILLION / of);
}

static void read_mirrors(struct reading_routes *reading,
                         const Envoy__Config__Route__V3__RouteAction *from, struct route_rule *rule)
{
    static const unsigned harmless[] = {4, 6, 0}; /* sampling, the suffix of the host */
    const size_t n = from->n_request_mirror_policies;

    if (!codec_route_within(reading, n, ROUTE_MIRRORS_MAX, "request_mirror_policies"))
        return;
    struct route_mirror *mirrors = arena_new_array(reading->arena, struct route_mirror, n);
    for (size_t i = 0; i < n; i++) {
        const Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy *mirror =
            from->request_mirror_policies[i];

        codec_route_unknown(reading, &mirror->base, "request_mirror_policies", harmless);
        read_cluster(reading, mirror->cluster, &mirrors[i].service, &mirrors[i].port,
                     &mirrors[i].cluster);
        mirrors[i].per_million = per_million(reading, mirror->runtime_fraction);
    }
    rule->mirrors = mirrors;
    rule->n_mirrors = n;
}

static unsigned read_retry_on(struct reading_routes *reading, struct str words)
{
    unsigned on = 0;

    while (words.len > 0) {
        struct str word = words;
        size_t i = 0;

        words = (struct str){0};
        (void)str_split(word, ',', &word, &words);
        while (i < codec_n_retry_words && !str_eq(word, str_from(codec_retry_words[i].word)))
            i++;
        if (i == codec_n_retry_words) {
            codec_route_refuse(reading, "retry_policy.retry_on: \"%.*s\" is not known",
                               STR_ARG(str_sub(word, 0, 80)));
            return 0;
        }
        on |= codec_retry_words[i].on;
    }
    return on;
}

static void read_codes(struct reading_routes *reading,
                       const Envoy__Config__Route__V3__RetryPolicy *from, struct route_retry *retry)
{
    const size_t n = from->n_retriable_status_codes;

    if (!codec_route_within(reading, n, ROUTE_CODES_MAX, "retry_policy.retriable_status_codes"))
        return;
    uint16_t *codes = arena_new_array(reading->arena, uint16_t, n);
    for (size_t i = 0; i < n; i++) {
        codes[i] = (uint16_t)from->retriable_status_codes[i];
        if (from->retriable_status_codes[i] < 100 || from->retriable_status_codes[i] > STATUS_MAX)
            codec_route_refuse(reading, "retry_policy.retriable_status_codes: %u is not a status",
                               from->retriable_status_codes[i]);
    }
    retry->codes = codes;
    retry->n_codes = n;
}

static void read_retry(struct reading_routes *reading,
                       const Envoy__Config__Route__V3__RetryPolicy *from, struct route_rule *rule)
{
    struct route_retry *retry = &rule->retry;

    if (!from)
        return;
    codec_route_unknown(reading, &from->base, "retry_policy", codec_route_nothing);
    rule->attempt_ns =
        codec_route_duration(reading, from->per_try_timeout, "retry_policy.per_try_timeout", 0);
    retry->on = read_retry_on(reading, str_from(from->retry_on));
    retry->attempts = from->num_retries ? from->num_retries->value : 1;
    if (retry->attempts > ROUTE_RETRIES_MAX)
        codec_route_refuse(reading, "retry_policy.num_retries: %u, %d at most", retry->attempts,
                           ROUTE_RETRIES_MAX);
    if (retry->attempts == 0 || retry->on == 0) {
        *retry = (struct route_retry){0};
        return;
    }
    read_codes(reading, from, retry);
    retry->backoff_ns = BACKOFF_NS;
    if (from->retry_back_off)
        retry->backoff_ns =
            codec_route_duration(reading, from->retry_back_off->base_interval,
                                 "retry_policy.retry_back_off.base_interval", BACKOFF_NS);
    retry->backoff_max_ns = retry->backoff_ns < UINT64_MAX / BACKOFF_TIMES
                                ? retry->backoff_ns * BACKOFF_TIMES
                                : retry->backoff_ns;
    if (from->retry_back_off)
        retry->backoff_max_ns =
            codec_route_duration(reading, from->retry_back_off->max_interval,
                                 "retry_policy.retry_back_off.max_interval", retry->backoff_max_ns);
    if (retry->backoff_max_ns < retry->backoff_ns)
        codec_route_refuse(reading,
                           "retry_policy.retry_back_off: max_interval is under base_interval");
}

static struct str read_host(struct reading_routes *reading, const char *from, const char *what)
{
    const struct str host = codec_route_lower(reading, from, what);

    if (host.len > 0 && !name_is_subdomain(host))
        codec_route_refuse(reading, "%s: \"%.*s\" is not a host name", what,
                           STR_ARG(str_sub(host, 0, 80)));
    return host;
}

static void read_rewrite(struct reading_routes *reading,
                         const Envoy__Config__Route__V3__RouteAction *from, struct route_rule *rule)
{
    const Envoy__Type__Matcher__V3__RegexMatchAndSubstitute *regex = from->regex_rewrite;

    rule->host = read_host(reading, from->host_rewrite_literal, "host_rewrite_literal");
    if (from->prefix_rewrite[0] && regex)
        codec_route_refuse(reading, "route: has prefix_rewrite and regex_rewrite");
    if (from->prefix_rewrite[0]) {
        rule->path_edit = ROUTE_PATH_REPLACE_PREFIX;
        rule->path = codec_route_path(reading, from->prefix_rewrite, "prefix_rewrite");
    }
    if (!regex)
        return;
    if (!regex->pattern || strcmp(regex->pattern->regex, CODEC_WHOLE_PATH) != 0 ||
        strchr(regex->substitution, '\\'))
        codec_route_refuse(
            reading,
            "regex_rewrite: regular expressions are not supported, but for " CODEC_WHOLE_PATH
            " with a plain substitution");
    rule->path_edit = ROUTE_PATH_REPLACE;
    rule->path = codec_route_path(reading, regex->substitution, "regex_rewrite.substitution");
}

void codec_route_forward(struct reading_routes *reading,
                         const Envoy__Config__Route__V3__RouteAction *from, struct route_rule *rule)
{
    /* Priorities, old gRPC timeouts, idle timeouts, upgrades (always on), flush timeouts. */
    static const unsigned harmless[] = {11, 14, 23, 24, 25, 28, 42, 0};

    codec_route_unknown(reading, &from->base, "route", harmless);
    rule->action = ROUTE_FORWARD;
    rule->missing_status = codec_missing_codes[0];
    if (from->cluster_not_found_response_code < ARRAY_LEN(codec_missing_codes))
        rule->missing_status = codec_missing_codes[from->cluster_not_found_response_code];
    else
        codec_route_refuse(reading, "cluster_not_found_response_code: %u is over 2",
                           from->cluster_not_found_response_code);
    rule->timeout_ns = codec_route_duration(reading, from->timeout, "timeout", TIMEOUT_NS);
    read_backends(reading, from, rule);
    read_mirrors(reading, from, rule);
    read_retry(reading, from->retry_policy, rule);
    codec_route_hash(reading, from, rule);
    read_rewrite(reading, from, rule);
}

/* ---- answers ---- */

void codec_route_redirect(struct reading_routes *reading,
                          const Envoy__Config__Route__V3__RedirectAction *from,
                          struct route_rule *rule)
{
    codec_route_unknown(reading, &from->base, "redirect", codec_route_nothing);
    rule->action = ROUTE_REDIRECT;
    rule->host = read_host(reading, from->host_redirect, "redirect.host_redirect");
    rule->port = (uint16_t)from->port_redirect;
    if (from->port_redirect > UINT16_MAX)
        codec_route_refuse(reading, "redirect.port_redirect: %u is not a port",
                           from->port_redirect);
    if (from->response_code < ARRAY_LEN(codec_redirect_codes))
        rule->status = codec_redirect_codes[from->response_code];
    else
        codec_route_refuse(reading, "redirect.response_code: %u is over 4", from->response_code);
    if (from->scheme_rewrite_specifier_case ==
        ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT)
        rule->scheme =
            codec_route_lower(reading, from->scheme_redirect, "redirect.scheme_redirect");
    else if (
        from->scheme_rewrite_specifier_case ==
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_HTTPS_REDIRECT &&
        from->https_redirect)
        rule->scheme = STR("https");
    if (rule->scheme.len > 0 && !str_eq(rule->scheme, STR("http")) &&
        !str_eq(rule->scheme, STR("https")))
        codec_route_refuse(reading, "redirect.scheme_redirect: \"%.*s\" is not http or https",
                           STR_ARG(str_sub(rule->scheme, 0, 80)));
    if (from->path_rewrite_specifier_case ==
        ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT) {
        rule->path_edit = ROUTE_PATH_REPLACE;
        rule->path = codec_route_path(reading, from->path_redirect, "redirect.path_redirect");
    } else if (from->path_rewrite_specifier_case ==
               ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE) {
        rule->path_edit = ROUTE_PATH_REPLACE_PREFIX;
        rule->path = codec_route_path(reading, from->prefix_rewrite, "redirect.prefix_rewrite");
    }
}

void codec_route_response(struct reading_routes *reading,
                          const Envoy__Config__Route__V3__DirectResponseAction *from,
                          struct route_rule *rule)
{
    const Envoy__Config__Core__V3__DataSource *body = from->body;

    codec_route_unknown(reading, &from->base, "direct_response", codec_route_nothing);
    rule->action = ROUTE_RESPOND;
    rule->status = (uint16_t)from->status;
    if (from->status < STATUS_MIN || from->status > STATUS_MAX)
        codec_route_refuse(reading, "direct_response.status: %u is not a status from %d to %d",
                           from->status, STATUS_MIN, STATUS_MAX);
    if (!body)
        return;
    if (body->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING)
        rule->body = codec_keep(reading->arena, body->inline_string);
    else if (body->specifier_case == ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES)
        rule->body = arena_str(reading->arena, wire_bytes(&body->inline_bytes));
    else
        codec_route_refuse(reading,
                           "direct_response.body: is neither inline_string nor inline_bytes");
    if (rule->body.len > ROUTE_VALUE_MAX)
        codec_route_refuse(reading, "direct_response.body: is longer than %d bytes",
                           ROUTE_VALUE_MAX);
}
