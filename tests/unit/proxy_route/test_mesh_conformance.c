/*
 * The cases of Gateway API's mesh conformance that concern the decision, each under the name that
 * it has there (docs/routing.md has the table). From the manifest through the wire to the decision.
 */
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

TestSuite(mesh_conformance, .init = begin, .fini = end, .timeout = 30);

#define ECHO "{group: \"\", kind: Service, name: echo}"

static void routes(const char *kind, const char *rules)
{
    lane_route(&lane, kind, "mesh", "route", "2026-01-01T00:00:00Z", ECHO, rules);
    lane_build(&lane);
}

static void expect_says(const struct call *call, const char *expected)
{
    const char *says = lane_says(&lane, call);
    cr_expect_str_eq(says, expected, "%s%s: %s, not %s", call->host ? call->host : "",
                     call->path ? call->path : "/", says, expected);
}

Test(mesh_conformance, MeshHTTPRouteSimpleSameNamespace)
{
    routes("HTTPRoute", "{" V1 "}");
    expect_says(&(struct call){.path = "/"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/any?thing", .host = "echo.mesh:80"}, "echo-v1:80");
}

Test(mesh_conformance, MeshHTTPRouteMatching)
{
    routes("HTTPRoute", "{matches: [{path: {type: PathPrefix, value: /}}, {headers: [{name: "
                        "Version, value: one}]}], " V1 "}, "
                        "{matches: [{path: {type: PathPrefix, value: /v2}}, {headers: [{name: "
                        "version, value: two}]}], " V2 "}");
    expect_says(&(struct call){.path = "/"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/example"}, "echo-v1:80");
    expect_says(&(struct call){.headers = {"version", "one"}}, "echo-v1:80");
    expect_says(&(struct call){.path = "/v2"}, "echo-v2:80");
    expect_says(&(struct call){.path = "/v2/example"}, "echo-v2:80");
    expect_says(&(struct call){.path = "/v2/"}, "echo-v2:80");
    expect_says(&(struct call){.headers = {"version", "two"}}, "echo-v2:80");
    expect_says(&(struct call){.path = "/v2example"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/foo/v2/example"}, "echo-v1:80");
}

Test(mesh_conformance, MeshHTTPRouteQueryParamMatching)
{
    routes("HTTPRoute",
           "{matches: [{queryParams: [{name: animal, value: whale}]}], " V1 "}, "
           "{matches: [{queryParams: [{name: animal, value: dolphin}]}], " V2 "}, "
           "{matches: [{path: {value: /path1}, queryParams: [{name: animal, value: whale}]}], " V1
           "}, {matches: [{headers: [{name: version, value: one}], queryParams: [{name: animal, "
           "value: whale}]}], " V2 "}, "
           "{matches: [{path: {value: /path3}, queryParams: [{name: animal, value: shark}]}, "
           "{path: {value: /path4}, headers: [{name: version, value: three}], queryParams: [{name: "
           "animal, value: kraken}]}], " V1 "}, "
           "{matches: [{path: {value: /path5}}], " V1 "}, "
           "{matches: [{queryParams: [{name: animal, value: hydra}]}], " V2 "}");
    expect_says(&(struct call){.path = "/?animal=whale"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/?animal=dolphin"}, "echo-v2:80");
    expect_says(&(struct call){.path = "/?animal=whale&otherparam=irrelevant"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/?x=1&animal=%64olphin&color=yellow"}, "echo-v2:80");
    expect_says(&(struct call){.path = "/?color=blue"}, "404");
    expect_says(&(struct call){.path = "/?animal=dog"}, "404");
    expect_says(&(struct call){.path = "/?animal=whaledolphin"}, "404");
    expect_says(&(struct call){.path = "/"}, "404");
    expect_says(&(struct call){.path = "/path1?animal=whale"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/?animal=whale", .headers = {"version", "one"}},
                "echo-v2:80");
    expect_says(&(struct call){.path = "/path3?animal=shark"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/path4?animal=kraken", .headers = {"version", "three"}},
                "echo-v1:80");
    expect_says(&(struct call){.path = "/?animal=shark"}, "404");
    expect_says(&(struct call){.path = "/path4?animal=kraken"}, "404");
    expect_says(&(struct call){.path = "/path5?animal=hydra"}, "echo-v1:80");
}

Test(mesh_conformance, MeshHTTPRouteNamedRule)
{
    routes("HTTPRoute", "{name: named, matches: [{path: {value: /named}}], " V1 "}, {matches: "
                        "[{path: {value: /unnamed}}], " V2 "}");
    const struct route_decision named = lane_ask(&lane, &(struct call){.path = "/named"});
    const struct route_decision unnamed = lane_ask(&lane, &(struct call){.path = "/unnamed"});
    cr_expect(str_eq(named.rule, STR("mesh/route/named")));
    cr_expect(str_eq(unnamed.rule, STR("mesh/route/1")));
    expect_says(&(struct call){.path = "/named"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/unnamed"}, "echo-v2:80");
}

/* Of a hundred numbers, how many go to v1. */
static unsigned share_of_v1(struct call call)
{
    unsigned n = 0;
    for (call.random = 0; call.random < 100; call.random++)
        n += strncmp(lane_says(&lane, &call), "echo-v1", 7) == 0;
    return n;
}

Test(mesh_conformance, MeshHTTPRouteWeight)
{
    routes("HTTPRoute", "{backendRefs: [{name: echo-v1, port: 80, weight: 70}, {name: echo-v2, "
                        "port: 80, weight: 30}, {name: echo, port: 80, weight: 0}]}");
    cr_expect_eq(share_of_v1((struct call){0}), 70);
}

Test(mesh_conformance, MeshTrafficSplit)
{
    routes("HTTPRoute",
           "{matches: [{path: {type: Exact, value: /v1}}], " V1 "}, {matches: [{path: {type: "
           "Exact, value: /v2}}], " V2 "}, {backendRefs: [{name: echo-v1, port: 80}, {name: "
           "echo-v2, port: 80}]}");
    expect_says(&(struct call){.path = "/v1"}, "echo-v1:80");
    expect_says(&(struct call){.path = "/v2"}, "echo-v2:80");
    cr_expect_eq(share_of_v1((struct call){.path = "/v1/x"}), 50);
}

Test(mesh_conformance, MeshHTTPRouteRedirectHostAndStatus)
{
    routes("HTTPRoute",
           "{matches: [{path: {value: /hostname-redirect}}], filters: [{type: RequestRedirect, "
           "requestRedirect: {hostname: example.org}}]}, "
           "{matches: [{path: {value: /host-and-status}}], filters: [{type: RequestRedirect, "
           "requestRedirect: {hostname: example.org, statusCode: 301}}]}");
    expect_says(&(struct call){.path = "/hostname-redirect?a=b"},
                "302 http://example.org/hostname-redirect?a=b");
    expect_says(&(struct call){.path = "/host-and-status"},
                "301 http://example.org/host-and-status");
    expect_says(&(struct call){.path = "/host-and-status", .port = 8080},
                "301 http://example.org:8080/host-and-status");
}

Test(mesh_conformance, MeshHTTPRoute303RedirectHostAndStatus)
{
    routes("HTTPRoute",
           "{matches: [{path: {value: /a}}], filters: [{type: RequestRedirect, requestRedirect: "
           "{hostname: example.org, statusCode: 303}}]}, "
           "{matches: [{path: {value: /b}}], filters: [{type: RequestRedirect, requestRedirect: "
           "{hostname: example.org, statusCode: 307}}]}, "
           "{matches: [{path: {value: /c}}], filters: [{type: RequestRedirect, requestRedirect: "
           "{hostname: example.org, statusCode: 308}}]}");
    expect_says(&(struct call){.path = "/a"}, "303 http://example.org/a");
    expect_says(&(struct call){.path = "/b"}, "307 http://example.org/b");
    expect_says(&(struct call){.path = "/c"}, "308 http://example.org/c");
}

Test(mesh_conformance, MeshHTTPRouteRedirectPath)
{
    routes("HTTPRoute",
           "{matches: [{path: {value: /original-prefix}}], filters: [{type: RequestRedirect, "
           "requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: "
           "/replacement-prefix}}}]}, "
           "{matches: [{path: {value: /full}}], filters: [{type: RequestRedirect, requestRedirect: "
           "{path: {type: ReplaceFullPath, replaceFullPath: /full-path-replacement}}}]}, "
           "{matches: [{path: {value: /path-and-host}}], filters: [{type: RequestRedirect, "
           "requestRedirect: {hostname: example.org, path: {type: ReplacePrefixMatch, "
           "replacePrefixMatch: /replacement-prefix}}}]}");
    expect_says(&(struct call){.path = "/original-prefix/lemon"},
                "302 http://echo/replacement-prefix/lemon");
    expect_says(&(struct call){.path = "/full/path/original"},
                "302 http://echo/full-path-replacement");
    expect_says(&(struct call){.path = "/path-and-host"},
                "302 http://example.org/replacement-prefix");
}

Test(mesh_conformance, MeshHTTPRouteRedirectPort)
{
    routes("HTTPRoute",
           "{matches: [{path: {value: /port}}], filters: [{type: RequestRedirect, requestRedirect: "
           "{port: 8083}}]}, "
           "{matches: [{path: {value: /port-and-host-and-status}}], filters: [{type: "
           "RequestRedirect, requestRedirect: {port: 8083, hostname: example.org, statusCode: "
           "301}}]}");
    expect_says(&(struct call){.path = "/port"}, "302 http://echo:8083/port");
    expect_says(&(struct call){.path = "/port-and-host-and-status"},
                "301 http://example.org:8083/port-and-host-and-status");
}

Test(mesh_conformance, MeshHTTPRouteSchemeRedirect)
{
    routes("HTTPRoute",
           "{matches: [{path: {value: /scheme}}], filters: [{type: RequestRedirect, "
           "requestRedirect: {scheme: https}}]}, "
           "{matches: [{path: {value: /scheme-and-host}}], filters: [{type: RequestRedirect, "
           "requestRedirect: {scheme: https, hostname: example.org}}]}, "
           "{matches: [{path: {value: /http-on-443}}], filters: [{type: RequestRedirect, "
           "requestRedirect: {scheme: http, port: 443}}]}");
    expect_says(&(struct call){.path = "/scheme", .port = 8080}, "302 https://echo/scheme");
    expect_says(&(struct call){.path = "/scheme-and-host"},
                "302 https://example.org/scheme-and-host");
    expect_says(&(struct call){.path = "/http-on-443"}, "302 http://echo:443/http-on-443");
}

Test(mesh_conformance, MeshHTTPRouteRewritePath)
{
    static const struct {
        const char *path, *expected;
    } rows[] = {
        {"/prefix/one/two", "/one/two"},
        {"/strip-prefix/three", "/three"},
        {"/strip-prefix", "/"},
        {"/strip-prefix?a=b", "/?a=b"},
        {"/strip-prefix/", "/"},
        {"/full/one/two?q", "/one?q"},
        {"/xyz/bar", "/abc/bar"},
        {"/xyz", "/abc"},
        {"/xyz/", "/abc/"},
        /* the table of HTTPPathModifier */
        {"/s/bar", "/new/bar"},
        {"/none/bar", "/bar"},
        {"/none/", "/"},
        {"/none", "/"},
        {"/none?a", "/?a"},
    };

    routes("HTTPRoute",
           "{matches: [{path: {value: /prefix/one}}], filters: [{type: URLRewrite, urlRewrite: "
           "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}}], " V1 "}, "
           "{matches: [{path: {value: /strip-prefix}}], filters: [{type: URLRewrite, urlRewrite: "
           "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], " V1 "}, "
           "{matches: [{path: {value: /full/one}}], filters: [{type: URLRewrite, urlRewrite: "
           "{path: {type: ReplaceFullPath, replaceFullPath: /one}}}], " V1 "}, "
           "{matches: [{path: {value: /xyz/}}], filters: [{type: URLRewrite, urlRewrite: {path: "
           "{type: ReplacePrefixMatch, replacePrefixMatch: /abc}}}], " V1 "}, "
           "{matches: [{path: {value: /s/}}], filters: [{type: URLRewrite, urlRewrite: {path: "
           "{type: ReplacePrefixMatch, replacePrefixMatch: /new/}}}], " V1 "}, "
           "{matches: [{path: {value: /none}}], filters: [{type: URLRewrite, urlRewrite: {path: "
           "{type: ReplacePrefixMatch, replacePrefixMatch: ''}}}], " V1 "}");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct route_decision decision =
            lane_ask(&lane, &(struct call){.path = rows[i].path});
        cr_expect_eq(decision.status, 0, "%s", rows[i].path);
        cr_expect(str_eq(decision.target, str_from(rows[i].expected)), "%s: %.*s, not %s",
                  rows[i].path, STR_ARG(decision.target), rows[i].expected);
        cr_expect(str_eq(decision.authority, STR("echo")));
    }
}

Test(mesh_conformance, MeshHTTPRouteRewriteHost)
{
    routes("HTTPRoute", "{filters: [{type: URLRewrite, urlRewrite: {hostname: one.example.org}}], "
                        "" V1 "}");
    const struct route_decision decision = lane_ask(&lane, &(struct call){.path = "/a?b"});
    cr_expect(str_eq(decision.authority, STR("one.example.org")));
    cr_expect(str_eq(decision.target, STR("/a?b")));
}

static const char *edited(const struct call *call, const char *name, bool is_response)
{
    const struct route_decision decision = lane_ask(&lane, call);
    const struct http_fields before = fields_of(&lane, call);
    const struct http_fields fields = route_edit(
        &before, is_response ? &decision.response_edits : &decision.request_edits, &lane.arena);
    return field_of(&lane, &fields, name);
}

#define MODIFIERS                                                                                  \
    "{set: [{name: X-Header-Set, value: set-overwrites-values}], add: [{name: X-Header-Add, "      \
    "value: add-appends-values}], remove: [X-Header-Remove]}"

static void expect_edits(bool is_response)
{
    const struct call none = {.path = "/"};
    const struct call all = {.path = "/",
                             .headers = {"x-header-set", "some-value", "x-header-add", "val",
                                         "x-header-remove", "val", "x-other", "50%"}};
    cr_expect_str_eq(edited(&none, "x-header-set", is_response), "set-overwrites-values");
    cr_expect_str_eq(edited(&all, "x-header-set", is_response), "set-overwrites-values");
    cr_expect_str_eq(edited(&none, "x-header-add", is_response), "add-appends-values");
    cr_expect_str_eq(edited(&all, "x-header-add", is_response), "val,add-appends-values");
    cr_expect_str_eq(edited(&all, "x-header-remove", is_response), "");
    cr_expect_str_eq(edited(&all, "x-other", is_response), "50%");
}

Test(mesh_conformance, MeshHTTPRouteRequestHeaderModifier)
{
    routes("HTTPRoute", "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: " MODIFIERS
                        "}], " V1 "}");
    expect_edits(false);
}

Test(mesh_conformance, MeshHTTPRouteResponseHeaderModifier)
{
    routes("HTTPRoute",
           "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: " MODIFIERS "}], " V1
           "}");
    expect_edits(true);
}

Test(mesh_conformance, MeshHTTPRouteBackendRequestHeaderModifier)
{
    routes(
        "HTTPRoute",
        "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Header, "
        "value: rule}]}}], backendRefs: [{name: echo-v1, port: 80, filters: [{type: "
        "RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Header, value: "
        "backend}], set: [{name: x-share, value: \"50%\"}]}}]}]}");
    cr_expect_str_eq(edited(&(struct call){0}, "x-header", false), "rule,backend");
    cr_expect_str_eq(edited(&(struct call){0}, "x-share", false), "50%");
}

#define HEADER(value)                                                                              \
    "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: "              \
    "X-Header-Set, "                                                                               \
    "value: " value "}]}}]"

Test(mesh_conformance, MeshPorts)
{
    lane_route(&lane, "HTTPRoute", "mesh", "one", "2026-01-01T00:00:00Z",
               "{group: \"\", kind: Service, name: echo-v1, port: 80}",
               "{" HEADER("v1") ", " V1 "}");
    lane_route(&lane, "HTTPRoute", "mesh", "two", "2026-01-01T00:00:00Z",
               "{group: \"\", kind: Service, name: echo-v2}", "{" HEADER("v2") ", " V2 "}");
    lane_build(&lane);
#define SERVICE(name) .service = "mesh/" name ".mesh.svc.cluster.local"
    cr_expect_str_eq(edited(&(struct call){SERVICE("echo-v1")}, "x-header-set", true), "v1");
    cr_expect_str_eq(edited(&(struct call){SERVICE("echo-v1"), .port = 8080}, "x-header-set", true),
                     "");
    cr_expect_str_eq(edited(&(struct call){SERVICE("echo-v2")}, "x-header-set", true), "v2");
    cr_expect_str_eq(edited(&(struct call){SERVICE("echo-v2"), .port = 8080}, "x-header-set", true),
                     "v2");
    expect_says(&(struct call){SERVICE("echo-v1"), .port = 8080}, "echo-v1:8080");
}

Test(mesh_conformance, MeshConsumerRoute)
{
    lane_route(
        &lane, "HTTPRoute", "consumer", "consumer", "2026-01-01T00:00:00Z",
        "{group: \"\", kind: Service, name: echo-v1, namespace: mesh}",
        "{" HEADER("consumer") ", backendRefs: [{name: echo-v1, namespace: mesh, port: 80}]}");
    lane_build(&lane);
    cr_expect_str_eq(
        edited(&(struct call){SERVICE("echo-v1"), .source = "consumer"}, "x-header-set", true),
        "consumer");
    cr_expect_str_eq(
        edited(&(struct call){SERVICE("echo-v1"), .source = "mesh"}, "x-header-set", true), "");
}

Test(mesh_conformance, MeshFrontend)
{
    lane_route(&lane, "HTTPRoute", "mesh", "frontend", "2026-01-01T00:00:00Z",
               "{group: \"\", kind: Service, name: echo-v2}", "{" HEADER("set") ", " V2 "}");
    lane_route(&lane, "HTTPRoute", "mesh", "split", "2026-01-01T00:00:00Z", ECHO, "{" V2 "}");
    lane_build(&lane);
    cr_expect_str_eq(edited(&(struct call){SERVICE("echo-v2")}, "x-header-set", true), "set");
    /* A backend's own routes are not asked again. */
    cr_expect_str_eq(edited(&(struct call){0}, "x-header-set", true), "");
    expect_says(&(struct call){0}, "echo-v2:80");
}

#define GRPC_CALL(p)                                                                               \
    {                                                                                              \
        .path = p, .method = "POST", .port = 7070, .headers = {                                    \
            "content-type",                                                                        \
            "application/grpc"                                                                     \
        }                                                                                          \
    }
#define G1 "backendRefs: [{name: echo-v1, port: 7070}]"
#define G2 "backendRefs: [{name: echo-v2, port: 7070}]"

Test(mesh_conformance, MeshGRPCRouteWeight)
{
    routes("GRPCRoute", "{backendRefs: [{name: echo-v1, port: 7070, weight: 70}, {name: echo-v2, "
                        "port: 7070, weight: 30}]}");
    cr_expect_eq(share_of_v1((struct call)GRPC_CALL("/a.B/C")), 70);
}

Test(mesh_conformance, MeshGRPCRouteRequestHeaderModifier)
{
    routes("GRPCRoute", "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: " MODIFIERS
                        "}], " G1 "}");
    struct call call = GRPC_CALL("/a.B/C");
    cr_expect_str_eq(edited(&call, "x-header-set", false), "set-overwrites-values");
    cr_expect_str_eq(edited(&call, "content-type", false), "application/grpc");
}

Test(mesh_conformance, MeshGRPCRouteRequestMirror)
{
    routes("GRPCRoute", "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: "
                        "echo-v2, port: 7070}}}], " G1 "}");
    const struct call call = GRPC_CALL("/a.B/C");
    const struct route_decision decision = lane_ask(&lane, &call);
    expect_says(&call, "echo-v1:7070");
    cr_assert_eq(decision.n_mirrors, 1);
    cr_expect(str_eq(decision.mirrors[0].service->name, STR("echo-v2")));
    cr_expect_eq(decision.mirrors[0].port->port, 7070);
}

Test(mesh_conformance, GRPCExactMethodMatching)
{
    routes("GRPCRoute", "{matches: [{method: {method: Echo}}], " G2 "}, "
                        "{matches: [{method: {service: a.Grpc}}], " G1 "}, "
                        "{matches: [{method: {service: a.Grpc, method: EchoTwo}}], " G2 "}, "
                        "{matches: [{headers: [{name: version, value: two}]}], " G2 "}");
    expect_says(&(struct call)GRPC_CALL("/a.Grpc/Anything"), "echo-v1:7070");
    expect_says(&(struct call)GRPC_CALL("/a.Grpc/EchoTwo"), "echo-v2:7070");
    expect_says(&(struct call)GRPC_CALL("/b.Grpc/Echo"), "echo-v2:7070");
    /* The longer service goes before the longer method. */
    expect_says(&(struct call)GRPC_CALL("/a.Grpc/Echo"), "echo-v1:7070");
    expect_says(&(struct call)GRPC_CALL("/b.Grpc/Other"), "404");
    expect_says(&(struct call){.path = "/a.Grpc/Echo", .port = 7070}, "404");
}
