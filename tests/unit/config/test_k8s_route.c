/* HTTPRoute and GRPCRoute: what is read, what it defaults to, what is refused and where. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "config/check.h"
#include "fixture.h"

DIAG_FIXTURE

TestSuite(k8s_route, .init = begin, .fini = end, .timeout = 20);

#define META "metadata: {name: web, namespace: shop}\nspec:\n"
#define HTTP "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n" META
#define GRPC "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\n" META
#define REF  "  parentRefs: [{group: '', kind: Service, name: web}]\n"
#define TO   "backendRefs: [{name: a, port: 80}]"

struct row {
    const char *spec, *sentence;
};

Test(k8s_route, without_a_match_takes_every_request)
{
    struct manifests *set = read_text(HTTP REF "  rules: [{" TO "}]\n", &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_assert_eq(set->n_routes, 1);
    const struct k8s_route *route = &set->routes[0];
    cr_assert_eq(route->n_parents, 1);
    cr_expect(str_eq(route->parents[0].namespace_, STR("shop")) && route->parents[0].port == 0);
    cr_assert_eq(route->n_rules, 1);
    const struct k8s_route_rule *rule = &route->rules[0];
    cr_assert_eq(rule->n_matches, 1);
    cr_expect_eq(rule->matches[0].path_kind, ROUTE_PATH_ANY);
    cr_expect(str_eq(rule->rule.name, STR("shop/web/0")));
    cr_assert_eq(rule->rule.n_backends, 1);
    cr_expect_eq(rule->rule.backends[0].weight, 1);
    cr_expect(str_eq(rule->backends[0].name, STR("a")) && rule->backends[0].port == 80);
    cr_expect_eq(rule->rule.timeout_ns + rule->rule.attempt_ns + rule->rule.retry.attempts, 0);
    manifests_free(set);
}

Test(k8s_route, paths_and_names_are_in_normal_form)
{
    struct manifests *set = read_text(
        HTTP REF
        "  rules:\n  - matches:\n"
        "    - {path: {value: /a%2d%c3%a9/}, headers: [{name: X-Version, value: One}]}\n"
        "    - {path: {type: Exact, value: /a/}}\n    - {path: {type: PathPrefix, value: /}}\n"
        "    " TO "\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    const struct route_match *matches = set->routes[0].rules[0].matches;
    cr_expect(str_eq(matches[0].path, STR("/a-%C3%A9")) &&
              matches[0].path_kind == ROUTE_PATH_PREFIX);
    cr_expect(str_eq(matches[0].headers[0].name, STR("x-version")));
    cr_expect(str_eq(matches[0].headers[0].value, STR("One")));
    cr_expect(str_eq(matches[1].path, STR("/a/")) && matches[1].path_kind == ROUTE_PATH_EXACT);
    cr_expect_eq(matches[2].path_kind, ROUTE_PATH_ANY);
    manifests_free(set);
}

Test(k8s_route, of_gateways_alone_is_somebody_else_s_whatever_it_says)
{
    struct manifests *set =
        read_text(HTTP "  parentRefs: [{name: ingress}]\n  hostnames: [a.example]\n  rules:\n"
                       "  - matches: [{path: {type: RegularExpression, value: '/a.*'}}]\n"
                       "    filters: [{type: CORS, cors: {}}]\n",
                  &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(set->n_routes, 0);
    cr_expect_eq(diag.len, 0);
    manifests_free(set);
}

Test(k8s_route, that_is_nobody_s_by_a_slip_is_told_so)
{
    static const struct row rows[] = {
        {"  parentRefs: [{name: ingress}, {kind: Service, name: web}]\n",
         "m.yaml:5:33: warning: spec.parentRefs[1]: is passed over; without a group it is of "
         "gateway.networking.k8s.io, and a Service is of \"\""},
        {"  parentRefs: [{group: multicluster.x-k8s.io, kind: ServiceImports, name: web}]\n",
         "m.yaml:5:16: warning: spec.parentRefs[0]: is passed over; of group "
         "\"multicluster.x-k8s.io\" only ServiceImport is read, found \"ServiceImports\""},
        {"  parentRefs: [{group: '', kind: service, name: web}]\n",
         "of group \"\" only Service is read, found \"service\""},
        {"  parentRefs: [{group: '', kind: ServiceImport, name: web}]\n",
         "a ServiceImport is of \"multicluster.x-k8s.io\", found \"\""},
        {"  parentRef: [{group: '', kind: Service, name: web}]\n",
         "m.yaml:5:3: warning: spec.parentRefs: there are none, so the route is passed over"},
        {"  parentRefs: []\n", "spec.parentRefs: there are none"},
        {"  parentRefs: {group: '', kind: Service, name: web}\n",
         "m.yaml:5:15: warning: spec.parentRefs: is not a list, so the route is passed over"},
        {"  parentRefs: [web]\n", "m.yaml:5:16: warning: spec.parentRefs[0]: is not a mapping"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[1024];
        struct diag told = {0};
        (void)snprintf(text, sizeof(text), HTTP "%s", rows[i].spec);
        struct manifests *set = read_text(text, &told);
        cr_assert_not_null(set, "%s", said(&told));
        cr_expect_eq(set->n_routes, 0);
        cr_expect_eq(told.len, 1, "%s", said(&told));
        expect_said(&told, rows[i].spec, rows[i].sentence);
        manifests_free(set);
        diag_fini(&told);
    }
}

Test(k8s_route, of_both_kinds_of_parents_keeps_its_services)
{
    struct manifests *set = read_text(
        HTTP "  parentRefs: [{name: ingress, sectionName: https}, {group: multicluster.x-k8s.io, "
             "kind: ServiceImport, name: web, namespace: other, port: 81}]\n"
             "  hostnames: [a.example]\n  rules: [{" TO "}]\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_assert_eq(set->routes[0].n_parents, 1);
    cr_expect(set->routes[0].parents[0].is_import && set->routes[0].parents[0].port == 81);
    expect_said(&diag, "hostnames", "spec.hostnames: count for Gateways alone");
    manifests_free(set);
}

static void expect_refused(const char *head, const struct row *row)
{
    char text[4096];
    struct diag told = {0};
    (void)snprintf(text, sizeof(text), "%s%s", head, row->spec);
    struct manifests *set = read_text(text, &told);
    cr_expect_null(set, "%s", row->spec);
    expect_said(&told, row->spec, row->sentence);
    manifests_free(set);
    diag_fini(&told);
}

#define R(rule)   "  rules: [{" rule "}]\n"
#define M(match)  R("matches: [" match "], " TO)
#define F(filter) R("filters: [" filter "], " TO)

Test(k8s_route, that_is_not_understood_whole_is_refused_with_its_place)
{
    static const struct row rows[] = {
        {"", "spec.rules: is required"},
        {"  rules: []\n", "spec.rules: is required"},
        {"  ruels: []\n", "ruels"},
        {R("backendRefs: [{name: a}]"), "spec.rules[0].backendRefs[0].port: is required"},
        {R("backendRefs: [{name: A, port: 80}]"), "is not a name"},
        {R("backendRefs: [{kind: InferencePool, group: x.io, name: a, port: 80}]"),
         "neither a Service"},
        {R("backendRefs: [{name: a, port: 80, weight: 1000001}]"), "weight"},
        {R("backendRefs: [{name: a, port: 80, filters: [{type: RequestMirror}]}]"),
         "not supported of one backend"},
        {R("backendRefs: [{name: a, port: 80, filters: [{type: ExtensionRef, extensionRef: {group: "
           "isthmus.io, kind: Cluster, name: east}}]}]"),
         "a Service is of this cluster alone"},
        {R("backendRefs: [{group: multicluster.x-k8s.io, kind: ServiceImport, name: a, port: 80, "
           "filters: [{type: ExtensionRef, extensionRef: {group: x.io, kind: Y, name: z}}]}]"),
         "expected kind Cluster of group isthmus.io"},
        {R("sessionPersistence: {sessionName: a}, " TO), "sessionPersistence: is not supported"},
        {R("name: A!, " TO), "spec.rules[0].name"},
        {"  rules: [{name: x, " TO "}, {name: x, " TO "}]\n", "is the name of rules[0] already"},
        {M("{path: {type: RegularExpression, value: /a}}"),
         "\"RegularExpression\" is not supported, expected Exact or PathPrefix"},
        {M("{path: {value: a}}"), "does not begin with /"},
        {M("{path: {value: /a//b}}"), "is not in normal form"},
        {M("{path: {value: /a/%2e%2E/b}}"), "is not in normal form"},
        {M("{path: {value: /a%2fb}}"), "has an escaped slash"},
        {M("{path: {value: /a%2}}"), "without two hexadecimal digits"},
        {M("{path: {value: '/a?b'}}"), "that a path must escape"},
        {M("{path: {value: '/a b'}}"), "that a path must escape"},
        {M("{method: get}"), "\"get\" is not GET"},
        {M("{headers: [{name: 'a b', value: c}]}"), "is not the name of a header field"},
        {M("{headers: [{name: a}]}"), "spec.rules[0].matches[0].headers[0].value: is required"},
        {M("{headers: [{type: RegularExpression, name: a, value: c}]}"),
         "RegularExpression is not supported, expected Exact"},
        {M("{queryParams: [{type: RegularExpression, name: a, value: c}]}"),
         "RegularExpression is not supported"},
        {M("{hedaers: []}"), "hedaers"},
        {F("{type: CORS, cors: {}}"), "\"CORS\" is not supported here"},
        {F("{type: ExternalAuth}"), "\"ExternalAuth\" is not supported here"},
        {F("{type: ExtensionRef, extensionRef: {group: a, kind: b, name: c}}"),
         "\"ExtensionRef\" is not supported here"},
        {F("{type: RequestHeaderModifier}"), "requestHeaderModifier: is required"},
        {F("{type: RequestHeaderModifier, requestHeaderModifier: {}}"), "is empty"},
        {F("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: x}]}}"),
         "a URLRewrite's hostname changes it"},
        {F("{type: RequestHeaderModifier, requestHeaderModifier: {remove: [Content-Length]}}"),
         "is not a route's to change"},
        {F("{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a, ~]}}"),
         "requestHeaderModifier.remove[1]: is empty, expected a name"},
        {F("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: "
           "\"b\\nc\"}]}}"),
         "is no value of a header field"},
        {F("{type: URLRewrite, urlRewrite: {hostname: '*.x'}}"), "a host name without a wildcard"},
        {F("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}"),
         "replaceFullPath: is required"},
        {F("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: "
           "/}}}"),
         "goes with replaceFullPath alone"},
        {R("matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: "
           "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}], " TO),
         "replacePrefixMatch needs exactly one match"},
        {F("{type: RequestRedirect, requestRedirect: {port: 81}}"),
         "what is redirected has no backend"},
        {R("filters: [{type: RequestRedirect, requestRedirect: {statusCode: 304}}]"),
         "304 is not 301"},
        {R("filters: [{type: RequestRedirect, requestRedirect: {scheme: ftp}}]"),
         "\"ftp\" is not http or https"},
        {R("filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: "
           "{hostname: a}}]"),
         "neither rewritten nor mirrored"},
        {F("{type: URLRewrite, urlRewrite: {hostname: a}}, {type: URLRewrite, urlRewrite: "
           "{hostname: a}}"),
         "there is a URLRewrite already"},
        {F("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 101}}"),
         "percent"},
        {F("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 1, "
           "fraction: {numerator: 1}}}"),
         "has percent and fraction"},
        {F("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, fraction: "
           "{numerator: 11, denominator: 10}}}"),
         "numerator"},
        {R("timeouts: {request: 1s, backendRequest: 2s}, " TO), "is longer than timeouts.request"},
        {R("timeouts: {request: 1}, " TO), "a duration such as"},
        {R("retry: {codes: [200]}, " TO), "codes[0]"},
        {R("retry: {codes: [503, 503]}, " TO), "503 is there already"},
        {R("retry: {codes: [503, ~]}, " TO), "retry.codes[1]: is empty, expected a status"},
        {R("retry: {attempts: 11}, " TO), "attempts"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_refused(HTTP REF, &rows[i]);
    static const struct row parents[] = {
        {"  parentRefs: [{group: '', kind: Service, name: a, sectionName: b}]\n" R(TO),
         "a Service has no sections"},
        {"  parentRefs: [{group: '', kind: Service, name: a}, {group: '', kind: Service, name: "
         "a}]\n" R(TO),
         "spec.parentRefs[1]: is there already"},
        {"  parentRefs: [{group: '', kind: Service}]\n" R(TO),
         "spec.parentRefs[0].name: is required"},
        {"  parentRefs: [{group: '', kind: Service, name: a, port: 0}]\n" R(TO), "is not a port"},
    };
    for (size_t i = 0; i < ARRAY_LEN(parents); i++)
        expect_refused(HTTP, &parents[i]);
    static const struct row grpc[] = {
        {M("{path: {value: /a}}"), "path"},
        {M("{method: {}}"), "has neither service nor method"},
        {M("{method: {service: 'a/b'}}"), "is not a gRPC service"},
        {M("{method: {method: 'a.b'}}"), "is not a gRPC method"},
        {M("{method: {type: RegularExpression, service: a}}"),
         "RegularExpression is not supported"},
        {F("{type: URLRewrite, urlRewrite: {hostname: a}}"),
         "\"URLRewrite\" is not supported here"},
        {R("timeouts: {request: 1s}, " TO), "timeouts"},
    };
    for (size_t i = 0; i < ARRAY_LEN(grpc); i++)
        expect_refused(GRPC REF, &grpc[i]);
}

Test(k8s_route, what_is_empty_and_has_a_meaning_is_told)
{
    static const struct row rows[] = {
        {R("matches: [], " TO),
         "warning: spec.rules[0].matches: is empty, so the rule is for every request"},
        {R("retry: {codes: []}, " TO),
         "warning: spec.rules[0].retry.codes: is empty, so no answer is tried again"},
        {R("backendRefs: []"),
         "warning: spec.rules[0].backendRefs: there are none, so what the rule takes is answered"},
        {R("name: a"), "warning: spec.rules[0].backendRefs: there are none"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[4096];
        struct diag told = {0};
        (void)snprintf(text, sizeof(text), HTTP REF "%s", rows[i].spec);
        struct manifests *set = read_text(text, &told);
        cr_assert_not_null(set, "%s: %s", rows[i].spec, said(&told));
        cr_expect_eq(told.len, 1, "%s: %s", rows[i].spec, said(&told));
        expect_said(&told, rows[i].spec, rows[i].sentence);
        manifests_free(set);
        diag_fini(&told);
    }
}

Test(k8s_route, keeps_to_the_bounds_of_the_api)
{
    struct text text = {0};
    text_addf(&text, HTTP REF "  rules:\n");
    for (unsigned i = 0; i < 17; i++)
        text_addf(&text, "  - {" TO "}\n");
    cr_expect_null(read_text(text.ptr, &diag));
    expect_said(&diag, "rules", "spec.rules: has 17 entries, 16 at most");
    text_clear(&text);
    text_addf(&text, HTTP REF "  rules:\n");
    for (unsigned r = 0; r < 3; r++) {
        text_addf(&text, "  - " TO "\n    matches:\n");
        for (unsigned i = 0; i < 43; i++)
            text_addf(&text, "    - {path: {value: /a}}\n");
    }
    cr_expect_null(read_text(text.ptr, &diag));
    expect_said(&diag, "matches", "spec.rules: have 129 matches together, 128 at most");
    text_fini(&text);
}

Test(k8s_route, of_entries_with_one_name_the_first_counts)
{
    struct manifests *set =
        read_text(HTTP REF M("{headers: [{name: A, value: b}, {name: a, value: c}]}"), &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(set->routes[0].rules[0].matches[0].n_headers, 1);
    expect_said(&diag, "headers", "has no effect: \"a\" stands in this list already");
    manifests_free(set);
}

#define SERVICE                                                                                    \
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: "           \
    "{clusterIP: 10.0.0.1, ports: [{name: http, port: 80}, {name: https, port: 443}, {name: "      \
    "grpc, "                                                                                       \
    "port: 90}]}\n"

#define IMPORT "group: multicluster.x-k8s.io, kind: ServiceImport"
#define EXPORT                                                                                     \
    "---\napiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\n"                        \
    "metadata: {name: web, namespace: shop}\n"

Test(k8s_route, that_leads_nowhere_is_told)
{
    static const struct row rows[] = {
        {"  parentRefs: [{group: '', kind: Service, name: nobody}]\n" R(TO),
         "HTTPRoute shop/web: there is no Service \"nobody\" in shop, so it has no effect there"},
        {"  parentRefs: [{group: '', kind: Service, name: web, port: 81}]\n" R(TO),
         "HTTPRoute shop/web: Service \"web\" has no port 81"},
        {"  parentRefs: [{group: '', kind: Service, name: web, port: 443}]\n" R(TO),
         "port 443 of Service \"web\" is not HTTP by its name or appProtocol"},
        {REF R("backendRefs: [{name: nobody, port: 80}]"),
         "there is no Service \"nobody\" in shop; its share is answered with 500"},
        {REF R("backendRefs: [{name: web, port: 81}]"),
         "Service \"web\" has no port 81; its share is answered with 500"},
        {REF
         "  rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: nobody, "
         "port: 80}}}], " TO "}]\n",
         "there is no Service \"nobody\" in shop; nothing is mirrored there"},
        {REF "  rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web, "
             "port: 81}}}], " TO "}]\n",
         "Service \"web\" has no port 81; nothing is mirrored there"},
        {REF "  rules: [{matches: [{path: {value: '/v1/*'}}], " TO "}]\n",
         "rules[0].matches[0].path.value: a star is compared as a star"},
        {"  parentRefs: [{" IMPORT ", name: wbe}]\n" R(TO),
         "nothing here exports a Service \"wbe\" in shop, so it counts only where another cluster "
         "does"},
        {"  parentRefs: [{" IMPORT ", name: web, port: 81}]\n" R(TO) EXPORT,
         "Service \"web\", which is exported here, has no port 81; another cluster's may"},
        {REF R("backendRefs: [{" IMPORT ", name: web, port: 8080}]") EXPORT,
         "Service \"web\", which is exported here, has no port 8080; another cluster's may"},
        {REF R("backendRefs: [{name: web, port: 80}]") "---\n" GRPC
                                                       "  parentRefs: [{group: '', kind: Service, "
                                                       "name: web, port: 90}]\n" R(TO),
         "GRPCRoute shop/web is for a port of the same Service and goes before it there"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[4096];
        struct diag told = {0};
        (void)snprintf(text, sizeof(text), HTTP "%s" SERVICE, rows[i].spec);
        struct manifests *set = read_text(text, &told);
        cr_assert_not_null(set, "%s: %s", rows[i].spec, said(&told));
        manifests_cross_check(set, STR("isthmus-system"), true, &told);
        expect_said(&told, rows[i].spec, rows[i].sentence);
        manifests_free(set);
        diag_fini(&told);
    }
}

Test(k8s_route, protocols_of_ports_are_read_as_istio_reads_them)
{
    static const struct {
        const char *app_protocol, *name;
        enum app_protocol expected;
    } rows[] = {
        {"", "http", APP_HTTP11},
        {"", "http-web", APP_HTTP11},
        {"", "HTTP-web", APP_HTTP11},
        {"", "httpx", APP_UNKNOWN},
        {"", "http2-api", APP_HTTP2},
        {"", "grpc", APP_GRPC},
        {"", "grpc-api", APP_GRPC},
        {"", "grpc-web", APP_HTTP11},
        {"", "grpc-web-api", APP_HTTP11},
        {"", "tcp-db", APP_TCP},
        {"", "mysql", APP_TCP},
        {"", "redis-main", APP_TCP},
        {"", "https-web", APP_TLS},
        {"", "tls", APP_TLS},
        {"", "web", APP_UNKNOWN},
        {"", "", APP_UNKNOWN},
        {"http", "tcp-x", APP_HTTP11},
        {"kubernetes.io/h2c", "", APP_HTTP2},
        {"kubernetes.io/ws", "", APP_HTTP11},
        {"kubernetes.io/wss", "", APP_TLS},
        {"https", "http", APP_TLS},
        {"grpc", "", APP_GRPC},
        {"example.com/own", "http", APP_UNKNOWN},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct k8s_service_port port = {.name = str_from(rows[i].name),
                                              .app_protocol = str_from(rows[i].app_protocol)};
        cr_expect_eq(k8s_app_protocol(&port), rows[i].expected, "%s %s", rows[i].app_protocol,
                     rows[i].name);
    }
}
