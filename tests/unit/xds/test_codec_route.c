/* Routes on the wire: our own encoding, what other control planes send, what is refused. */
#include <criterion/criterion.h>
#include <route.pb-c.h>

#include "proxy/base/err.h"
#include "xds/codec.h"
#include "xds/codec_route.h"

#define SERVICE "ns/web.ns.svc.cluster.local"

static struct arena arena;
static struct text why;

static void fini(void)
{
    arena_fini(&arena);
    text_fini(&why);
    why = (struct text){0};
}

TestSuite(codec_route, .timeout = 20, .fini = fini);

#define TEXT(t) ((char *)(uintptr_t)(t))

/* Every field of a rule that forwards is another than the default's. */
static struct model_routes rich(void)
{
    static struct route_rule rules[4];
    static struct route_host hosts[2];
    static struct str domains[3], any[1], remove[1];
    static struct route_text_match headers[5], params[2];
    static struct route_field set[1], add[2];
    static struct route_backend backends[2];
    static struct route_mirror mirrors[1];
    static uint16_t codes[2] = {503, 429};
    static struct hash_key hash_keys[6];
    domains[0] = STR("web.example"), domains[1] = STR("*.web.example"), domains[2] = STR("web");
    any[0] = STR("*");
    remove[0] = STR("x-gone");
    headers[0] = (struct route_text_match){ROUTE_TEXT_EXACT, STR("a"), STR("b"), false, false};
    headers[1] = (struct route_text_match){ROUTE_TEXT_PRESENT, STR("c"), {0}, true, false};
    headers[2] = (struct route_text_match){ROUTE_TEXT_PREFIX, STR("d"), STR("e"), true, true};
    headers[3] =
        (struct route_text_match){ROUTE_TEXT_SUFFIX, STR(":path"), STR("/x"), false, false};
    headers[4] = (struct route_text_match){ROUTE_TEXT_CONTAINS, STR("f"), STR("g"), false, true};
    params[0] = (struct route_text_match){ROUTE_TEXT_EXACT, STR("q"), STR("1"), false, false};
    params[1] = (struct route_text_match){ROUTE_TEXT_PRESENT, STR("r"), {0}, true, false};
    set[0] = (struct route_field){STR("x-set"), STR("50% of %REQ(x)%")};
    add[0] = (struct route_field){STR("x-add"), STR("1")};
    add[1] = (struct route_field){STR("x-add"), STR("2")};
    const struct route_edits edits = {set, add, remove, 1, 2, 1};
    backends[0] = (struct route_backend){STR(SERVICE), 80, STR("east.example"), 90, edits, edits};
    backends[1] = (struct route_backend){.weight = 10};
    mirrors[0] = (struct route_mirror){STR("ns/b.ns.svc.clusterset.local"), 81, {0}, 123456};
    hash_keys[0] = (struct hash_key){HASH_KEY_HEADER, STR("x-user"), false, false, 0, {0}};
    hash_keys[1] = (struct hash_key){HASH_KEY_COOKIE, STR("s"), true, true, 1500000000, STR("/a")};
    hash_keys[2] = (struct hash_key){HASH_KEY_COOKIE, STR("t"), true, false, 0, {0}};
    hash_keys[3] = (struct hash_key){HASH_KEY_QUERY, STR("q"), true, false, 0, {0}};
    hash_keys[4] = (struct hash_key){HASH_KEY_PATH, {0}, true, false, 0, {0}};
    hash_keys[5] = (struct hash_key){HASH_KEY_SOURCE_ADDRESS, {0}, true, false, 0, {0}};
    rules[0] = (struct route_rule){
        .name = STR("ns/web/0"),
        .match = {ROUTE_PATH_PREFIX, STR("/a"), STR("GET"), true, headers, params, 5, 2},
        .action = ROUTE_FORWARD,
        .request = edits,
        .response = edits,
        .backends = backends,
        .n_backends = 2,
        .mirrors = mirrors,
        .n_mirrors = 1,
        .timeout_ns = UINT64_C(1500000001),
        .attempt_ns = 250000000,
        .retry = {3, ROUTE_RETRY_5XX | ROUTE_RETRY_CODES | ROUTE_RETRY_GRPC_UNAVAILABLE, codes, 2,
                  100000000, 2000000000},
        .hash_keys = hash_keys,
        .n_hash_keys = 6,
        .missing_status = 500,
        .path_edit = ROUTE_PATH_REPLACE_PREFIX,
        .path = STR("/b"),
        .host = STR("other.example"),
    };
    rules[1] = (struct route_rule){.match = {.path_kind = ROUTE_PATH_EXACT, .path = STR("/x?")},
                                   .action = ROUTE_REDIRECT,
                                   .path_edit = ROUTE_PATH_REPLACE,
                                   .path = STR("/y"),
                                   .scheme = STR("https"),
                                   .port = 8443,
                                   .host = STR("r.example"),
                                   .status = 308};
    rules[1].match.path = STR("/x");
    rules[2] = (struct route_rule){.match = {.path_kind = ROUTE_PATH_START, .path = STR("/st")},
                                   .action = ROUTE_RESPOND,
                                   .status = 418,
                                   .body = STR("no\ncoffee")};
    rules[3] = rules[0];
    rules[3].match = (struct route_match){0};
    rules[3].path_edit = ROUTE_PATH_REPLACE;
    rules[3].retry = (struct route_retry){0};
    rules[3].timeout_ns = 0;
    hosts[0] = (struct route_host){domains, 3, rules, 4};
    hosts[1] = (struct route_host){any, 1, NULL, 0};
    return (struct model_routes){STR(SERVICE), 8080, STR("consumer"), hosts, 2};
}

static struct str encode(const struct model_routes *routes, struct str *out_name)
{
    struct model_routes copy = *routes;
    struct model_resource resource = {MODEL_ROUTES, {0}, {.routes = &copy}};
    struct text bytes = {0};
    *out_name = xds_encode(&resource, &arena, &bytes);
    const struct str kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}

static int decode(struct str name, struct str bytes, struct model_routes **out)
{
    struct model_resource resource;
    text_clear(&why);
    const int err = xds_decode(XDS_ROUTE, name, bytes, &arena, &resource, &why);
    if (err == 0)
        *out = resource.of.routes;
    return err;
}

static bool same_edits(const struct route_edits *a, const struct route_edits *b)
{
    bool same = a->n_set == b->n_set && a->n_add == b->n_add && a->n_remove == b->n_remove;
    for (size_t i = 0; i < a->n_set && same; i++)
        same = str_eq(a->set[i].name, b->set[i].name) && str_eq(a->set[i].value, b->set[i].value);
    for (size_t i = 0; i < a->n_add && same; i++)
        same = str_eq(a->add[i].name, b->add[i].name) && str_eq(a->add[i].value, b->add[i].value);
    for (size_t i = 0; i < a->n_remove && same; i++)
        same = str_eq(a->remove[i], b->remove[i]);
    return same;
}

static bool same_texts(const struct route_text_match *a, const struct route_text_match *b, size_t n)
{
    bool same = true;
    for (size_t i = 0; i < n && same; i++)
        same = a[i].kind == b[i].kind && str_eq(a[i].name, b[i].name) &&
               str_eq(a[i].value, b[i].value) && a[i].is_negated == b[i].is_negated &&
               a[i].ignores_case == b[i].ignores_case;
    return same;
}

Test(codec_route, keeps_every_field)
{
    const struct model_routes from = rich();
    struct model_routes *to;
    struct str name, again;
    const struct str bytes = encode(&from, &name);
    cr_expect(str_eq(name, STR(SERVICE ":8080@consumer")));
    cr_assert_eq(decode(name, bytes, &to), 0, "%s", why.ptr);
    cr_expect(str_eq(encode(to, &again), bytes), "it encodes to the same bytes again");
    cr_expect(str_eq(to->service, from.service) && to->port == 8080);
    cr_expect(str_eq(to->source_namespace, STR("consumer")));
    cr_assert_eq(to->n_hosts, 2);
    cr_assert_eq(to->hosts[0].n_domains, 3);
    cr_expect(str_eq(to->hosts[0].domains[1], STR("*.web.example")));
    cr_assert_eq(to->hosts[0].n_rules, 4);
    const struct route_rule *a = &from.hosts[0].rules[0], *b = &to->hosts[0].rules[0];
    cr_expect(str_eq(a->name, b->name));
    cr_expect(a->match.path_kind == b->match.path_kind && str_eq(a->match.path, b->match.path));
    cr_expect(str_eq(a->match.method, b->match.method) && b->match.is_grpc);
    cr_assert(b->match.n_headers == 5 && b->match.n_params == 2);
    cr_expect(same_texts(a->match.headers, b->match.headers, 5));
    cr_expect(same_texts(a->match.params, b->match.params, 2));
    cr_expect(same_edits(&a->request, &b->request) && same_edits(&a->response, &b->response));
    cr_assert(b->n_backends == 2 && b->n_mirrors == 1);
    cr_expect(str_eq(b->backends[0].service, STR(SERVICE)) && b->backends[0].port == 80 &&
              str_eq(b->backends[0].cluster, STR("east.example")) && b->backends[0].weight == 90);
    cr_expect(same_edits(&a->backends[0].request, &b->backends[0].request));
    cr_expect(same_edits(&a->backends[0].response, &b->backends[0].response));
    cr_expect(str_is_empty(b->backends[1].service) && b->backends[1].weight == 10);
    cr_expect(b->mirrors[0].per_million == 123456 && b->mirrors[0].port == 81);
    cr_expect(b->timeout_ns == a->timeout_ns && b->attempt_ns == a->attempt_ns);
    cr_expect(b->retry.attempts == 3 && b->retry.on == a->retry.on && b->retry.n_codes == 2 &&
              b->retry.codes[1] == 429 && b->retry.backoff_ns == a->retry.backoff_ns &&
              b->retry.backoff_max_ns == a->retry.backoff_max_ns);
    cr_assert_eq(b->n_hash_keys, 6);
    for (size_t i = 0; i < 6; i++) {
        const struct hash_key *x = &a->hash_keys[i], *y = &b->hash_keys[i];
        cr_expect(x->kind == y->kind && str_eq(x->name, y->name) &&
                      x->is_terminal == y->is_terminal && x->is_given == y->is_given &&
                      x->ttl_ns == y->ttl_ns && str_eq(x->path, y->path),
                  "key %zu", i);
    }
    cr_expect(b->missing_status == 500 && b->path_edit == a->path_edit &&
              str_eq(b->path, a->path) && str_eq(b->host, a->host));
    a = &from.hosts[0].rules[1], b = &to->hosts[0].rules[1];
    cr_expect(b->action == ROUTE_REDIRECT && b->status == 308 && b->port == 8443 &&
              str_eq(b->scheme, STR("https")) && str_eq(b->host, a->host) &&
              b->path_edit == ROUTE_PATH_REPLACE && str_eq(b->path, a->path));
    b = &to->hosts[0].rules[2];
    cr_expect(b->action == ROUTE_RESPOND && b->status == 418 && str_eq(b->body, STR("no\ncoffee")));
    cr_expect(b->match.path_kind == ROUTE_PATH_START && str_eq(b->match.path, STR("/st")));
    b = &to->hosts[0].rules[3];
    cr_expect(b->match.path_kind == ROUTE_PATH_ANY && b->path_edit == ROUTE_PATH_REPLACE &&
              b->timeout_ns == 0 && b->attempt_ns == 250000000 && b->retry.attempts == 0);
}

/* ---- what others send ---- */

struct message { /* one Route that forwards, for a test to change */
    Envoy__Config__Route__V3__RouteConfiguration config;
    Envoy__Config__Route__V3__VirtualHost host, *hosts[1];
    Envoy__Config__Route__V3__Route route, *routes[1];
    Envoy__Config__Route__V3__RouteMatch match;
    Envoy__Config__Route__V3__RouteAction action;
    Envoy__Config__Route__V3__RetryPolicy retry;
    Envoy__Config__Route__V3__HeaderMatcher header, *headers[1];
    Envoy__Config__Core__V3__HeaderValueOption option, *options[1];
    Envoy__Config__Core__V3__HeaderValue value;
    char *domains[2];
};

static void message_init(struct message *m)
{
    envoy__config__route__v3__route_configuration__init(&m->config);
    envoy__config__route__v3__virtual_host__init(&m->host);
    envoy__config__route__v3__route__init(&m->route);
    envoy__config__route__v3__route_match__init(&m->match);
    envoy__config__route__v3__route_action__init(&m->action);
    envoy__config__route__v3__retry_policy__init(&m->retry);
    envoy__config__route__v3__header_matcher__init(&m->header);
    envoy__config__core__v3__header_value_option__init(&m->option);
    envoy__config__core__v3__header_value__init(&m->value);
    m->config.name = TEXT(SERVICE);
    m->config.virtual_hosts = m->hosts;
    m->config.n_virtual_hosts = 1;
    m->hosts[0] = &m->host;
    m->host.name = TEXT("all");
    m->host.domains = m->domains;
    m->host.n_domains = 1;
    m->domains[0] = TEXT("*");
    m->host.routes = m->routes;
    m->host.n_routes = 1;
    m->routes[0] = &m->route;
    m->route.match = &m->match;
    m->match.path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    m->match.prefix = TEXT("/");
    m->match.headers = m->headers;
    m->headers[0] = &m->header;
    m->header.name = TEXT("X-A");
    m->route.action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    m->route.route = &m->action;
    m->action.cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    m->action.cluster = TEXT(SERVICE ":80");
    m->route.request_headers_to_add = m->options;
    m->options[0] = &m->option;
    m->option.header = &m->value;
    m->value.key = TEXT("X-B");
    m->value.value = TEXT("b");
}

static int decode_message(const struct message *m, struct model_routes **out)
{
    struct text bytes = {0};
    wire_pack(&m->config.base, &bytes);
    const int err = decode(STR(SERVICE), text_str(&bytes), out);
    text_fini(&bytes);
    return err;
}

Test(codec_route, of_others_means_what_envoy_makes_of_it)
{
    struct message m;
    struct model_routes *routes;
    message_init(&m);
    m.match.n_headers = 1;
    m.route.n_request_headers_to_add = 1;
    m.domains[0] = TEXT("Web.Example:80");
    m.domains[1] = TEXT("web.example");
    m.host.n_domains = 2;
    m.action.retry_policy = &m.retry;
    m.retry.retry_on = TEXT("gateway-error,reset-before-request");
    cr_assert_eq(decode_message(&m, &routes), 0, "%s", why.ptr);
    cr_assert_eq(routes->hosts[0].n_domains, 1, "a port of a domain is not compared");
    cr_expect(str_eq(routes->hosts[0].domains[0], STR("web.example")));
    const struct route_rule *rule = &routes->hosts[0].rules[0];
    cr_expect_eq(rule->match.path_kind, ROUTE_PATH_ANY);
    cr_expect(str_eq(rule->match.headers[0].name, STR("x-a")));
    cr_expect_eq(rule->match.headers[0].kind, ROUTE_TEXT_PRESENT, "without a specifier");
    cr_expect_eq(rule->timeout_ns, UINT64_C(15000000000), "Envoy's timeout");
    cr_expect_eq(rule->missing_status, 503);
    cr_assert_eq(rule->request.n_add, 1, "Envoy appends when nothing is said");
    cr_expect_eq(rule->retry.attempts, 1);
    cr_expect_eq(rule->retry.on, ROUTE_RETRY_GATEWAY | ROUTE_RETRY_CONNECT | ROUTE_RETRY_REFUSED);
    cr_expect_eq(rule->retry.backoff_ns, 25000000);
    cr_expect_eq(rule->retry.backoff_max_ns, 250000000);
    m.retry.retry_on = TEXT("");
    cr_assert_eq(decode_message(&m, &routes), 0, "%s", why.ptr);
    cr_expect_eq(routes->hosts[0].rules[0].retry.attempts, 0, "nothing to try again for");
}

static void expect_refused(const struct message *m, const char *sentence)
{
    struct model_routes *routes;
    cr_expect_eq(decode_message(m, &routes), -ERR_INVALID, "%s", sentence);
    cr_expect(str_contains(text_str(&why), str_from(sentence)), "said \"%s\", expected \"%s\"",
              why.ptr ? why.ptr : "", sentence);
}

#define REFUSED(sentence, ...)                                                                     \
    do {                                                                                           \
        message_init(&m);                                                                          \
        m.route.name = TEXT("r1");                                                                 \
        __VA_ARGS__;                                                                               \
        expect_refused(&m, sentence);                                                              \
    } while (0)

Test(codec_route, that_cannot_be_followed_is_refused_by_name)
{
    struct message m;
    Google__Protobuf__BoolValue no = GOOGLE__PROTOBUF__BOOL_VALUE__INIT;
    Google__Protobuf__UInt32Value eleven = GOOGLE__PROTOBUF__UINT32_VALUE__INIT;
    Google__Protobuf__Duration past = GOOGLE__PROTOBUF__DURATION__INIT;
    Envoy__Type__Matcher__V3__RegexMatcher regex = ENVOY__TYPE__MATCHER__V3__REGEX_MATCHER__INIT;
    Envoy__Type__Matcher__V3__RegexMatchAndSubstitute rewrite =
        ENVOY__TYPE__MATCHER__V3__REGEX_MATCH_AND_SUBSTITUTE__INIT;
    Envoy__Config__Route__V3__WeightedCluster weighted =
        ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__INIT;
    Envoy__Config__Route__V3__RedirectAction redirect =
        ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__INIT;
    Envoy__Config__Route__V3__DirectResponseAction response =
        ENVOY__CONFIG__ROUTE__V3__DIRECT_RESPONSE_ACTION__INIT;
    ProtobufCMessageUnknownField cors = {.tag = 17,
                                         .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                                         .len = 1,
                                         .data = (uint8_t[]){0}};
    Envoy__Config__Route__V3__RouteAction__HashPolicy no_hash =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__INIT;
    Envoy__Config__Route__V3__RouteAction__HashPolicy by_header = no_hash;
    Envoy__Config__Route__V3__RouteAction__HashPolicy__Header hashed_header =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__HEADER__INIT;
    Envoy__Config__Route__V3__RouteAction__HashPolicy *nothing_hashed[] = {&no_hash};
    Envoy__Config__Route__V3__RouteAction__HashPolicy *hashed[] = {&by_header};
    by_header.policy_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER;
    by_header.header = &hashed_header;
    eleven.value = 11;
    past.seconds = -1;
    regex.regex = TEXT("/a(b|c)");
    rewrite.pattern = &regex;
    rewrite.substitution = TEXT("/x");
    response.status = 99;
    REFUSED("content says \"x\"", m.config.name = TEXT("x"));
    REFUSED("VirtualHost.domains: is empty", m.host.n_domains = 0);
    REFUSED("\"web.*\" is not a host name", m.domains[0] = TEXT("web.*"));
    REFUSED("\"*b.c\" is not a host name", m.domains[0] = TEXT("*b.c"));
    REFUSED("Route \"r1\": match: is required", m.route.match = NULL);
    REFUSED("has neither prefix, path nor",
            m.match.path_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER__NOT_SET);
    REFUSED("is not a path that begins with /", m.match.prefix = TEXT("a"));
    REFUSED("is not a path that begins with /", m.match.prefix = TEXT("/a%4"));
    REFUSED("is not a path that begins with /", m.match.prefix = TEXT("/a%00"));
    REFUSED("is not a path that begins with /", m.action.prefix_rewrite = TEXT("/a b"));
    REFUSED("is not a path that begins with /", m.action.prefix_rewrite = TEXT("/a\r\nx: y"));
    REFUSED("ends with /",
            m.match.path_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX;
            m.match.path_separated_prefix = TEXT("/a/"));
    REFUSED("regular expressions are not supported",
            m.match.path_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX;
            m.match.safe_regex = &regex);
    REFUSED("case_sensitive: false", m.match.case_sensitive = &no);
    REFUSED("match: field 17 is not supported", m.match.base.n_unknown_fields = 1;
            m.match.base.unknown_fields = &cors);
    REFUSED("route: field 17 is not supported", m.action.base.n_unknown_fields = 1;
            m.action.base.unknown_fields = &cors);
    REFUSED("hash_policy: is of none of header, cookie", m.action.n_hash_policy = 1;
            m.action.hash_policy = nothing_hashed);
    REFUSED("hash_policy.header: field 17 is not supported", m.action.n_hash_policy = 1;
            m.action.hash_policy = hashed; hashed_header.base.n_unknown_fields = 1;
            hashed_header.base.unknown_fields = &cors);
    hashed_header.base.n_unknown_fields = 0;
    REFUSED("hash_policy[0]: \"a b\" is not the name", m.action.n_hash_policy = 1;
            m.action.hash_policy = hashed; hashed_header.header_name = TEXT("a b"));
    REFUSED("match.headers.name: is empty", m.match.n_headers = 1; m.header.name = TEXT(""));
    REFUSED("has neither route, redirect nor",
            m.route.action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION__NOT_SET);
    REFUSED("has neither cluster nor weighted_clusters",
            m.action.cluster_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER__NOT_SET);
    REFUSED("\"outbound|80||web\" is not <namespace>/<host name>:<port>",
            m.action.cluster = TEXT("outbound|80||web"));
    REFUSED("the weights sum up to 0",
            m.action.cluster_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
            m.action.weighted_clusters = &weighted);
    REFUSED("timeout: -1 s", m.action.timeout = &past);
    REFUSED("num_retries: 11, 10 at most", m.action.retry_policy = &m.retry;
            m.retry.num_retries = &eleven);
    REFUSED("\"sometimes\" is not known", m.action.retry_policy = &m.retry;
            m.retry.retry_on = TEXT("5xx,sometimes"));
    REFUSED("regex_rewrite: regular expressions", m.action.regex_rewrite = &rewrite);
    REFUSED("cluster_not_found_response_code: 3", m.action.cluster_not_found_response_code = 3);
    REFUSED("\"host\" is not a header field that a route may change",
            m.route.n_request_headers_to_add = 1;
            m.value.key = TEXT("Host"));
    REFUSED("has a variable in it", m.route.n_request_headers_to_add = 1;
            m.value.value = TEXT("%REQ(a)%"));
    REFUSED("append_action: 1", m.route.n_request_headers_to_add = 1; m.option.append_action = 1);
    REFUSED("response_code: 5",
            m.route.action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT;
            m.route.redirect = &redirect; redirect.response_code = 5);
    REFUSED("99 is not a status",
            m.route.action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
            m.route.direct_response = &response);
}

Test(codec_route, names_say_for_whom_and_only_in_one_way)
{
    static const struct {
        const char *name;
        bool is_good;
    } rows[] = {
        {"ns/h", true},   {"ns/h:80", true},   {"ns/h@other", true}, {"ns/h:80@other", true},
        {"", false},      {"ns", false},       {"/h", false},        {"ns/", false},
        {"ns/h:", false}, {"ns/h:0", false},   {"ns/h:080", false},  {"ns/h:65536", false},
        {"ns/h@", false}, {"ns/h@a@b", false}, {"a/b/c", false},     {"ns/h:80:81", false}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct model_routes routes = {0};
        const bool is_good = routes_parse_name(str_from(rows[i].name), &routes);
        cr_expect_eq(is_good, rows[i].is_good, "%s", rows[i].name);
        if (is_good)
            cr_expect(str_eq(routes_name(&routes, &arena), str_from(rows[i].name)), "%s",
                      rows[i].name);
    }
}
