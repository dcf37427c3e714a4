/* Which rule, which backend, which changes: what Gateway API says beyond its conformance cases. */
#include <criterion/criterion.h>
#include <string.h>

#include "lane.h"

static struct lane lane;

static void begin(void)
{
    lane_begin(&lane);
}

static void end(void)
{
    lane_end(&lane);
}

TestSuite(route, .init = begin, .fini = end, .timeout = 30);

#define ECHO  "{group: \"\", kind: Service, name: echo}"
#define NEW   "2026-02-01T00:00:00Z"
#define OLD   "2026-01-01T00:00:00Z"
#define TO(n) "backendRefs: [{name: " n ", port: 80}]"

static void expect_says(const struct call *call, const char *expected)
{
    const char *says = lane_says(&lane, call);
    cr_expect_str_eq(says, expected, "%s: %s, not %s", call->path ? call->path : "/", says,
                     expected);
}

Test(route, of_a_service_without_routes_is_the_service_itself)
{
    lane_build(&lane);
    const struct route_decision decision =
        lane_ask(&lane, &(struct call){.path = "/%61?b", .host = "Echo:80"});
    cr_expect_eq(decision.status, 0);
    cr_expect(str_eq(decision.service_key, STR("mesh/echo.mesh.svc.cluster.local")));
    cr_expect_eq(decision.port->port, 80);
    cr_expect(str_eq(decision.target, STR("/a?b")), "the form that is matched is forwarded");
    cr_expect(str_eq(decision.authority, STR("Echo:80")));
    cr_expect_eq(decision.request_edits.len + decision.response_edits.len + decision.n_mirrors, 0);
    cr_expect_eq(decision.timeout_ns + decision.attempt_ns + decision.retry.attempts, 0);
    cr_expect(str_is_empty(decision.rule));
}

/* Of a request that a client makes as dear as it can. */
Test(route, what_a_decision_holds_does_not_grow_with_the_rules_that_it_tries)
{
    struct text rules = {0}, path = {0};
    char *wide = arena_new_array(&lane.arena, char, 16384);
    memset(wide, 'w', 16383);
    for (int i = 0; i < 16; i++)
        text_addf(&rules,
                  "%s{matches: [{queryParams: [{name: q%d, value: \"1\"}]}, {headers: [{name: h, "
                  "value: \"%d\"}]}], " TO("x") "}",
                  i > 0 ? ", " : "", i, i);
    lane_route(&lane, "HTTPRoute", "mesh", "dear", OLD, ECHO, rules.ptr);
    lane_build(&lane);
    text_add(&path, STR("/?"));
    for (int i = 0; i < 10000; i++)
        text_add(&path, STR("%61&"));
    const struct call call = {.path = path.ptr, .headers = {"h", wide, "h", wide}};
    const size_t before = lane.arena.allocated_bytes;
    expect_says(&call, "404");
    const size_t held = lane.arena.allocated_bytes - before;
    cr_expect(held < 200000, "%zu bytes", held);
    text_fini(&rules);
    text_fini(&path);
}

Test(route, precedence_is_exact_then_prefix_method_headers_parameters_age_and_name)
{
    lane_route(
        &lane, "HTTPRoute", "mesh", "b", NEW, ECHO,
        "{matches: [{path: {type: Exact, value: /a/b}}], " TO(
            "exact") "}, "
                     "{matches: [{path: {value: /a}, method: GET, headers: [{name: h, value: "
                     "\"1\"}, "
                     "{name: i, value: \"1\"}], queryParams: [{name: q, value: \"1\"}]}], " TO(
                         "short") "}");
    lane_route(
        &lane, "HTTPRoute", "mesh", "c", OLD, ECHO,
        "{matches: [{path: {value: /a/b}}], " TO(
            "old") "}, "
                   "{matches: [{path: {value: /a/b}, method: GET}], " TO(
                       "method") "}, "
                                 "{matches: [{path: {value: /a/b}, headers: [{name: h, value: "
                                 "\"1\"}, {name: i, value: "
                                 "\"1\"}]}], " TO(
                                     "two-headers") "}, "
                                                    "{matches: [{path: {value: /a/b}, headers: "
                                                    "[{name: h, value: \"1\"}], queryParams: "
                                                    "[{name: q, value: \"1\"}, {name: r, value: "
                                                    "\"1\"}]}], " TO(
                                                        "header") "}, "
                                                                  "{matches: [{path: {value: "
                                                                  "/a/b}, queryParams: [{name: q, "
                                                                  "value: \"1\"}]}], "
                                                                  "" TO("param") "}, {matches: "
                                                                                 "[{path: {value: "
                                                                                 "/a/b}}], " TO(
                                                                                     "later") "}");
    lane_route(&lane, "HTTPRoute", "mesh", "a", NEW, ECHO,
               "{matches: [{path: {value: /a/b}}], " TO("newer") "}, {matches: [{path: {value: "
                                                                 "/same}}], " TO("a") "}");
    lane_route(&lane, "HTTPRoute", "mesh", "aa", NEW, ECHO,
               "{matches: [{path: {value: /same}}], " TO("aa") "}");
    for (const char *const *it =
             (const char *const[]){"exact", "short", "old", "method", "two-headers", "header",
                                   "param", "later", "newer", "a", "aa", NULL};
         *it; it++)
        cluster_service(&lane.cluster, "mesh", *it, "None", "{port: 80}", "app: x");
    lane_build(&lane);
    expect_says(&(struct call){.path = "/a/b", .headers = {"h", "1", "i", "1"}}, "exact:80");
    expect_says(&(struct call){.path = "/a/b/", .headers = {"h", "1", "i", "1"}}, "method:80");
    expect_says(
        &(struct call){.path = "/a/b/c?q=1&r=1", .method = "PUT", .headers = {"h", "1", "i", "1"}},
        "two-headers:80");
    expect_says(&(struct call){.path = "/a/b/c?q=1&r=1", .method = "PUT", .headers = {"h", "1"}},
                "header:80");
    expect_says(&(struct call){.path = "/a/b/c?q=1", .method = "PUT"}, "param:80");
    expect_says(&(struct call){.path = "/a/b/c", .method = "PUT"}, "old:80");
    expect_says(&(struct call){.path = "/a?q=1", .headers = {"h", "1", "i", "1"}}, "short:80");
    expect_says(&(struct call){.path = "/same"}, "a:80");
    expect_says(&(struct call){.path = "/ab"}, "404");
}

Test(route, of_a_consumer_replaces_the_producer_s_for_its_own_callers)
{
    lane_route(&lane, "HTTPRoute", "mesh", "producer", OLD, ECHO, "{" V1 "}");
    lane_route(&lane, "HTTPRoute", "consumer", "mine", NEW,
               "{group: \"\", kind: Service, name: echo, namespace: mesh, port: 80}",
               "{matches: [{path: {value: /mine}}], backendRefs: [{name: echo-v2, namespace: mesh, "
               "port: 80}]}");
    lane_build(&lane);
    expect_says(&(struct call){.path = "/mine", .source = "mesh"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/mine", .source = "consumer"}, "echo-v2:80");
    expect_says(&(struct call){.path = "/other", .source = "consumer"}, "404");
    expect_says(&(struct call){.path = "/mine", .source = "consumer", .port = 8080}, "echo-v1:80");
    expect_says(&(struct call){.path = "/mine", .source = ""}, "echo-v1:80");
}

Test(route, with_a_port_is_merged_with_those_without_one)
{
    lane_route(&lane, "HTTPRoute", "mesh", "all", OLD, ECHO,
               "{matches: [{path: {value: /x}}], " V1 "}");
    lane_route(&lane, "HTTPRoute", "mesh", "one", NEW,
               "{group: \"\", kind: Service, name: echo, port: 80}",
               "{matches: [{path: {value: /y}}], " V2 "}");
    lane_build(&lane);
    expect_says(&(struct call){.path = "/x"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/y"}, "echo-v2:80");
    expect_says(&(struct call){.path = "/y", .port = 8080}, "404");
}

Test(route, of_kind_grpc_goes_before_one_of_kind_http)
{
    lane_route(&lane, "HTTPRoute", "mesh", "http", OLD, ECHO, "{" V1 "}");
    lane_route(&lane, "GRPCRoute", "mesh", "grpc", NEW,
               "{group: \"\", kind: Service, name: echo, port: 7070}",
               "{backendRefs: [{name: echo-v2, port: 7070}]}");
    lane_build(&lane);
    expect_says(&(struct call){.path = "/x"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/x", .port = 7070}, "404");
    expect_says(&(struct call){.path = "/x",
                               .port = 7070,
                               .headers = {"content-type", "application/grpc+proto"}},
                "echo-v2:7070");
    expect_says(&(struct call){.path = "/x",
                               .port = 7070,
                               .headers = {"content-type", "application/grpc-web"}},
                "404");
}

Test(route, makes_a_port_without_a_word_http_but_not_one_of_another_protocol)
{
    lane_build(&lane);
    const struct service *service =
        snapshot_service_by_key(lane.snapshot, STR("mesh/echo.mesh.svc.cluster.local"));
    cr_expect_eq(service_find_port(service, 80)->http_mode, HTTP_MODE_1);
    cr_expect_eq(service_find_port(service, 7070)->http_mode, HTTP_MODE_2);
    cr_expect_eq(service_find_port(service, 9000)->http_mode, HTTP_MODE_NONE);
    cr_expect_eq(service_find_port(service, 9001)->http_mode, HTTP_MODE_NONE);
    lane_route(&lane, "HTTPRoute", "mesh", "all", OLD, ECHO, "{" V1 "}");
    lane_build(&lane);
    service = snapshot_service_by_key(lane.snapshot, STR("mesh/echo.mesh.svc.cluster.local"));
    cr_expect_eq(service_find_port(service, 9000)->http_mode, HTTP_MODE_ANY);
    cr_expect_eq(service_find_port(service, 9001)->http_mode, HTTP_MODE_NONE);
    cr_expect_eq(service_find_port(service, 9001)->n_scopes, 0);
    expect_says(&(struct call){.port = 9000}, "echo-v1:80");
}

Test(route, whose_backend_is_not_there_answers_500_for_its_share)
{
    lane_route(
        &lane, "HTTPRoute", "mesh", "r", OLD, ECHO,
        "{matches: [{path: {value: /half}}], backendRefs: [{name: nobody, port: 80}, {name: "
        "echo-v1, port: 80}]}, "
        "{matches: [{path: {value: /port}}], backendRefs: [{name: echo-v1, port: 81}]}, "
        "{matches: [{path: {value: /none}}]}, "
        "{matches: [{path: {value: /zero}}], backendRefs: [{name: echo-v1, port: 80, weight: "
        "0}]}");
    lane_build(&lane);
    expect_says(&(struct call){.path = "/half", .random = 0}, "500");
    expect_says(&(struct call){.path = "/half", .random = 1}, "echo-v1:80");
    expect_says(&(struct call){.path = "/port"}, "500");
    expect_says(&(struct call){.path = "/none"}, "500");
    expect_says(&(struct call){.path = "/zero"}, "500");
    const struct route_decision decision =
        lane_ask(&lane, &(struct call){.path = "/half", .random = 2});
    cr_expect_str_eq(decision.why, "backend_not_found");
    cr_expect(str_eq(decision.rule, STR("mesh/r/0")));
}

Test(route, says_timeouts_and_what_is_tried_again)
{
    lane_route(&lane, "HTTPRoute", "mesh", "r", OLD, ECHO,
               "{matches: [{path: {value: /t}}], timeouts: {request: 10s, backendRequest: 500ms}, "
               "retry: {attempts: 3, codes: [503, 429], backoff: 100ms}, " V1 "}, "
               "{matches: [{path: {value: /zero}}], timeouts: {request: 0s}, " V1 "}, "
               "{matches: [{path: {value: /try}}], timeouts: {backendRequest: 1s}, " V1 "}, "
               "{matches: [{path: {value: /retry}}], retry: {}, " V1 "}");
    lane_build(&lane);
    const struct route_decision all = lane_ask(&lane, &(struct call){.path = "/t"});
    cr_expect_eq(all.timeout_ns, UINT64_C(10000000000));
    cr_expect_eq(all.attempt_ns, 500000000);
    cr_expect_eq(all.retry.attempts, 3);
    cr_expect_eq(all.retry.backoff_ns, 100000000);
    cr_expect_eq(all.retry.backoff_max_ns, 1000000000);
    cr_assert_eq(all.retry.n_codes, 2);
    cr_expect_eq(all.retry.codes[0], 503);
    cr_expect_eq(all.retry.codes[1], 429);
    cr_expect_eq(all.retry.on,
                 ROUTE_RETRY_CONNECT | ROUTE_RETRY_REFUSED | ROUTE_RETRY_RESET | ROUTE_RETRY_CODES);
    const struct route_decision zero = lane_ask(&lane, &(struct call){.path = "/zero"});
    cr_expect_eq(zero.timeout_ns + zero.attempt_ns + zero.retry.attempts, 0);
    const struct route_decision try = lane_ask(&lane, &(struct call){.path = "/try"});
    cr_expect_eq(try.attempt_ns, 1000000000);
    cr_expect_eq(try.retry.attempts, 0);
    const struct route_decision retry = lane_ask(&lane, &(struct call){.path = "/retry"});
    cr_expect_eq(retry.retry.attempts, 1);
    cr_expect_eq(retry.retry.backoff_ns, 25000000);
}

Test(route, mirrors_the_share_that_is_asked_for)
{
    lane_route(
        &lane, "HTTPRoute", "mesh", "r", OLD, ECHO,
        "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: echo-v2, port: "
        "80}, percent: 20}}, {type: RequestMirror, requestMirror: {backendRef: {name: nobody, "
        "port: 80}}}, {type: RequestMirror, requestMirror: {backendRef: {name: echo, port: "
        "8080}, fraction: {numerator: 1, denominator: 2}}}], " V1 "}");
    lane_build(&lane);
    unsigned n_v2 = 0, n_half = 0;
    for (uint64_t random = 0; random < 10000; random++) {
        const struct route_decision decision = lane_ask(&lane, &(struct call){.random = random});
        for (size_t i = 0; i < decision.n_mirrors; i++) {
            n_v2 += str_eq(decision.mirrors[i].service->name, STR("echo-v2"));
            n_half += str_eq(decision.mirrors[i].service->name, STR("echo"));
        }
    }
    cr_expect(n_v2 > 1850 && n_v2 < 2150, "%u of 10000 are not 20%%", n_v2);
    cr_expect(n_half > 4800 && n_half < 5200, "%u of 10000 are not a half", n_half);
}

Test(route, to_one_cluster_of_an_import_gives_a_canary_between_clusters)
{
#define IMPORT "group: multicluster.x-k8s.io, kind: ServiceImport, name: echo"
#define PART(cluster, weight)                                                                      \
    "{" IMPORT ", port: 80, weight: " weight                                                       \
    ", filters: [{type: ExtensionRef, extensionRef: {group: isthmus.io, kind: Cluster, name: "     \
    "" cluster "}}]}"
    struct registry_peer *east = cluster_peer(&lane.cluster, "east");
    cluster_export(&lane.cluster, "mesh", "echo", OLD);
    peer_service(&lane.cluster, east, "mesh", "echo", 80, "http", 5);
    peer_workload(&lane.cluster, east, "mesh", "far", "10.1.0.1",
                  "mesh/echo.mesh.svc.clusterset.local", 80);
    lane_route(&lane, "HTTPRoute", "mesh", "canary", OLD, "{" IMPORT "}",
               "{backendRefs: [" PART("west", "90") ", " PART("east", "10") "]}");
    lane_build(&lane);
    struct call call = {.service = "mesh/echo.mesh.svc.clusterset.local"};
    unsigned n_west = 0;
    for (call.random = 0; call.random < 1000; call.random++) {
        const struct route_decision decision = lane_ask(&lane, &call);
        cr_assert_eq(decision.status, 0);
        const struct endpoint_set *set = &decision.port->v4;
        cr_assert_eq(set->len, 1, "%zu endpoints of %.*s", set->len, STR_ARG(decision.service_key));
        const bool is_west = str_eq(set->endpoints[0].workload->cluster, STR("west"));
        cr_assert(str_ends_with(decision.service_key, is_west ? STR("@west") : STR("@east")));
        cr_assert_eq(decision.service,
                     snapshot_service_by_key(lane.snapshot, decision.service_key));
        n_west += is_west;
    }
    cr_expect_eq(n_west, 900);
    /* The whole has both, and what is remembered of an endpoint is one. */
    const struct service *whole = snapshot_service_by_key(lane.snapshot, str_from(call.service));
    const struct endpoint_set *both = &service_find_port(whole, 80)->v4;
    const struct service *part =
        snapshot_service_by_key(lane.snapshot, STR("mesh/echo.mesh.svc.clusterset.local@east"));
    const struct endpoint_set *far = &service_find_port(part, 80)->v4;
    cr_assert_eq(both->len, 2);
    cr_expect(far->endpoints[0].key == both->endpoints[0].key ||
              far->endpoints[0].key == both->endpoints[1].key);
    cr_expect_neq(far->id, both->id);
    cr_expect_null(snapshot_service_by_host(lane.snapshot, STR("@east")));
}

Test(route, joins_fields_that_stand_there_several_times)
{
    lane_route(&lane, "HTTPRoute", "mesh", "r", OLD, ECHO,
               "{matches: [{headers: [{name: x, value: \"a,b\"}]}], " V1 "}, {matches: [{headers: "
               "[{name: cookie, value: \"a=1; b=2\"}]}], " V2 "}");
    lane_build(&lane);
    expect_says(&(struct call){.headers = {"x", "a", "x", "b"}}, "echo-v1:80");
    expect_says(&(struct call){.headers = {"x", "a,b"}}, "echo-v1:80");
    expect_says(&(struct call){.headers = {"x", "b", "x", "a"}}, "404");
    expect_says(&(struct call){.headers = {"x", "a"}}, "404");
    expect_says(&(struct call){.headers = {"cookie", "a=1", "cookie", "b=2"}}, "echo-v2:80");
}

Test(route, matches_the_host_without_its_port_and_in_any_case)
{
    lane_route(&lane, "HTTPRoute", "mesh", "r", OLD, ECHO,
               "{matches: [{headers: [{name: Host, value: shop.example}]}], " V1 "}");
    lane_build(&lane);
    expect_says(&(struct call){.host = "shop.example"}, "echo-v1:80");
    expect_says(&(struct call){.host = "Shop.Example:8080"}, "echo-v1:80");
    expect_says(&(struct call){.host = "shop.example."}, "echo-v1:80");
    expect_says(&(struct call){.host = "shop.example.org"}, "404");
    expect_says(&(struct call){.host = "[::1]:80"}, "404");
}

static const char *edited(const struct route_edit_list *edits, const char *name)
{
    const struct http_fields none = {0}, fields = route_edit(&none, edits, &lane.arena);
    return field_of(&lane, &fields, name);
}

#define ANSWER(how, value)                                                                         \
    "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {" how                       \
    ": [{name: x, value: " value "}]}}"

Test(route, edits_answers_as_the_rule_says_and_then_the_backend)
{
    lane_route(&lane, "HTTPRoute", "mesh", "r", OLD, ECHO,
               "{" ANSWER("add", "rule") "], backendRefs: [{name: echo-v1, port: 80, " ANSWER(
                   "add", "backend") "]}]}");
    lane_build(&lane);
    const struct route_decision decision = lane_ask(&lane, &(struct call){0});
    cr_expect_str_eq(edited(&decision.response_edits, "x"), "rule,backend");
    cr_expect_eq(decision.request_edits.len, 0);
}

Test(route, edits_the_answers_that_it_gives_itself)
{
    lane_route(&lane, "HTTPRoute", "mesh", "r", OLD, ECHO,
               "{" ANSWER("set", "rule") ", {type: RequestRedirect, requestRedirect: {}}]}");
    lane_build(&lane);
    const struct route_decision decision = lane_ask(&lane, &(struct call){0});
    cr_expect_eq(decision.status, 302);
    cr_expect_str_eq(edited(&decision.response_edits, "x"), "rule");
}

Test(route, rewrites_no_path_that_is_none)
{
    lane_route(&lane, "HTTPRoute", "mesh", "r", OLD, ECHO,
               "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, "
               "replaceFullPath: /x}}}], " V1 "}");
    lane_build(&lane);
    const struct route_decision of_server =
        lane_ask(&lane, &(struct call){.path = "*", .method = "OPTIONS"});
    const struct route_decision of_path = lane_ask(&lane, &(struct call){.path = "/y"});
    cr_expect(str_eq(of_server.target, STR("*")), "%.*s", STR_ARG(of_server.target));
    cr_expect(str_eq(of_path.target, STR("/x")));
}

/* Rules as another control plane may send them. */
static void build_rules(struct route_rule *rules, size_t n)
{
    struct str any[] = {STR("*")};
    struct route_host host = {any, 1, rules, n};
    struct model_routes routes = {STR("mesh/echo.mesh.svc.cluster.local"), 0, {0}, &host, 1};
    struct model_port port = {.service_port = 80, .app_protocol = APP_HTTP11};
    struct model_service service = {.name = STR("echo"),
                                    .namespace_ = STR("mesh"),
                                    .hostname = STR("echo.mesh.svc.cluster.local"),
                                    .ports = &port,
                                    .n_ports = 1};
    const struct model_resource resources[] = {
        {MODEL_ROUTES, routes.service, {.routes = &routes}},
        {MODEL_SERVICE, routes.service, {.service = &service}}};
    const struct model_resource *list[] = {&resources[0], &resources[1]};
    const struct vantage vantage = {.node = STR("n"), .cluster = STR("w")};
    snapshot_free(lane.snapshot);
    lane.snapshot = snapshot_build(list, 2, &vantage, 1, true);
}

static void expect_field(size_t row, struct call call, const char *expected)
{
    cr_expect_str_eq(lane_says(&lane, &call), expected, "row %zu, %s: \"%s\"", row, call.headers[0],
                     call.headers[1]);
}

/* In Envoy's words; what is not there matches nothing but that it is not. */
Test(route, compares_a_field_in_every_way_that_there_is)
{
    static const struct {
        enum route_text_kind kind;
        const char *value;
        bool ignores_case, is_negated;
        const char *yes[3], *no[4]; /* NULL ends them */
        bool matches_absent;
    } rows[] = {
        {ROUTE_TEXT_EXACT, "ab", false, false, {"ab"}, {"AB", "a", "abc"}, false},
        {ROUTE_TEXT_EXACT, "ab", true, false, {"ab", "AB"}, {"a", "abc"}, false},
        {ROUTE_TEXT_EXACT, "ab", false, true, {"AB", "a"}, {"ab"}, false},
        {ROUTE_TEXT_PREFIX, "ab", false, false, {"ab", "abc"}, {"a", "xab", "Abc"}, false},
        {ROUTE_TEXT_PREFIX, "ab", true, false, {"Abc"}, {"a", "xab"}, false},
        {ROUTE_TEXT_SUFFIX, "ab", false, false, {"ab", "cab"}, {"b", "abx", "cAb"}, false},
        {ROUTE_TEXT_SUFFIX, "ab", true, false, {"cAb"}, {"b", "abx"}, false},
        {ROUTE_TEXT_CONTAINS, "ab", false, false, {"ab", "xabx"}, {"a", "axb", "xAbx"}, false},
        {ROUTE_TEXT_CONTAINS, "ab", true, false, {"xAB"}, {"a", "axb"}, false},
        {ROUTE_TEXT_CONTAINS, "ab", false, true, {"a", "axb"}, {"xabx"}, false},
        {ROUTE_TEXT_PRESENT, "", false, false, {"a", ""}, {NULL}, false},
        {ROUTE_TEXT_PRESENT, "", false, true, {NULL}, {"a", ""}, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct route_text_match field = {.name = STR("x"),
                                         .kind = rows[i].kind,
                                         .value = str_from(rows[i].value),
                                         .ignores_case = rows[i].ignores_case,
                                         .is_negated = rows[i].is_negated};
        struct route_rule rule = {.name = STR("r"), .action = ROUTE_RESPOND, .status = 200};
        rule.match.headers = &field;
        rule.match.n_headers = 1;
        build_rules(&rule, 1);
        for (size_t k = 0; rows[i].yes[k]; k++)
            expect_field(i, (struct call){.headers = {"x", rows[i].yes[k]}}, "200");
        for (size_t k = 0; rows[i].no[k]; k++)
            expect_field(i, (struct call){.headers = {"x", rows[i].no[k]}}, "404");
        expect_field(i, (struct call){.headers = {"y", "ab"}},
                     rows[i].matches_absent ? "200" : "404");
    }
}

Test(route, finds_the_first_of_thousands_of_rules_as_a_walk_over_all_would)
{
    static const char *const words[] = {"", "a", "ab", "b", "b-c", "c"};
    struct arena arena = {0};
    struct route_rule rules[500];
    struct route_backend to = {.weight = 1};
    uint64_t seed = 12345;
#define RANDOM(n)                                                                                  \
    ((seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407), (seed >> 33) % (n))
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const enum route_path_kind kinds[] = {ROUTE_PATH_EXACT, ROUTE_PATH_PREFIX,
                                              ROUTE_PATH_START};

        const char *a = words[RANDOM(5) + 1], *b = words[RANDOM(6)], *c = words[RANDOM(6)];
        rules[i] = (struct route_rule){.name = arena_printf(&arena, "%zu", i),
                                       .action = ROUTE_RESPOND,
                                       .status = 200,
                                       .backends = &to};
        rules[i].match.path_kind = RANDOM(60) == 0 ? ROUTE_PATH_ANY : kinds[RANDOM(3)];
        rules[i].match.path = arena_printf(&arena, "/%s%s%s%s%s", a, *b ? "/" : "", b,
                                           *b && *c ? "/" : "", *b ? c : "");
        rules[i].match.method = RANDOM(2) ? STR("GET") : STR("PUT");
    }
    build_rules(rules, ARRAY_LEN(rules));
    for (size_t q = 0; q < 3000; q++) {
        const char *a = words[RANDOM(5) + 1], *b = words[RANDOM(6)], *c = words[RANDOM(6)];
        const struct str path = arena_printf(&arena, "/%s%s%s%s%s", a, *b ? "/" : "", b,
                                             *b && *c ? "/" : "", *b ? c : "");
        const bool is_get = RANDOM(2);
        struct str expected = {0};
        for (size_t i = 0; i < ARRAY_LEN(rules) && !expected.ptr; i++) {
            const struct route_match *match = &rules[i].match;
            const struct str rest = str_sub(path, match->path.len, path.len);
            const bool begins = str_starts_with(path, match->path);
            if (str_eq(match->method, is_get ? STR("GET") : STR("PUT")) &&
                (match->path_kind == ROUTE_PATH_ANY ||
                 (match->path_kind == ROUTE_PATH_EXACT && str_eq(path, match->path)) ||
                 (match->path_kind == ROUTE_PATH_START && begins) ||
                 (match->path_kind == ROUTE_PATH_PREFIX && begins &&
                  (rest.len == 0 || rest.ptr[0] == '/'))))
                expected = rules[i].name;
        }
        const struct route_decision decision =
            lane_ask(&lane, &(struct call){.path = path.ptr, .method = is_get ? "GET" : "PUT"});
        cr_assert(str_eq(decision.rule, expected), "%s: %.*s, not %.*s", path.ptr,
                  STR_ARG(decision.rule), STR_ARG(expected));
    }
    arena_fini(&arena);
}
