/* AuthorizationPolicies that ask for what an HTTP request shows, from YAML to the verdict. */
#include <criterion/criterion.h>
#include <string.h>

#include "config/policy.h"
#include "fixture.h"
#include "tests/kit/plain_policy.h"

DIAG_FIXTURE

TestSuite(k8s_policy_request, .init = begin, .fini = end, .timeout = 20);

#define HEAD                                                                                       \
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"                                \
    "metadata: {name: p, namespace: shop}\n"
#define RULE(text) HEAD "spec:\n  rules:\n  - " text "\n"
#define DENY(text) HEAD "spec:\n  action: DENY\n  rules:\n  - " text "\n"

Test(k8s_policy_request, refuses_what_no_request_can_have)
{
    static const struct {
        const char *name, *text, *said;
    } rows[] = {
        {"A16 a star beside an operator", RULE("to: [{operation: {paths: [\"/*/baz/{*}\"]}}]"),
         "m.yaml:6:31: error: spec.rules[0].to[0].operation.paths[0]: \"/*/baz/{*}\" is not a path "
         "template: a segment is empty or has a letter that no path has"},
        {"A16 {**} before another", RULE("to: [{operation: {paths: [/a, \"/{**}/foo/{*}\"]}}]"),
         "m.yaml:6:35: error: spec.rules[0].to[0].operation.paths[1]: \"/{**}/foo/{*}\" is not a "
         "path template: {**} is not the last operator"},
        {"A16 a part of a segment", RULE("to: [{operation: {notPaths: [\"/foo/{*}.txt\"]}}]"),
         "notPaths[0]: \"/foo/{*}.txt\" is not a path template: a segment is {*}, {**} or letters"},
        {"A16 braces", RULE("to: [{operation: {paths: [\"/{id}\"]}}]"), "is not a path template"},
        {"method", RULE("to: [{operation: {methods: [\"GET POST\"]}}]"),
         "m.yaml:6:33: error: spec.rules[0].to[0].operation.methods[0]: \"GET POST\" is not a "
         "method"},
        {"host", RULE("to: [{operation: {hosts: [\"https://shop.example\"]}}]"),
         "hosts[0]: \"https://shop.example\" is not a host such as shop.example"},
        {"empty value", RULE("to: [{operation: {hosts: [\"\"]}}]"), "hosts[0]: is empty"},
        {"null value", RULE("from: [{source: {requestPrincipals: [~]}}]"),
         "requestPrincipals[0]: is empty"},
        {"no values", RULE("from: [{source: {notRequestPrincipals: []}}]"),
         "notRequestPrincipals: is empty"},
        {"header without a name", RULE("when: [{key: \"request.headers[]\", values: [a]}]"),
         "m.yaml:6:18: error: spec.rules[0].when[0].key: \"request.headers[]\" is not "
         "request.headers[NAME]"},
        {"header without brackets", RULE("when: [{key: request.headers, values: [a]}]"),
         "when[0].key: \"request.headers\" is not request.headers[NAME]"},
        {"header with a blank", RULE("when: [{key: \"request.headers[x role]\", values: [a]}]"),
         "\"request.headers[x role]\" is not request.headers[NAME] with the name of a header "
         "field"},
        {"header and more", RULE("when: [{key: \"request.headers[:method]x\", values: [a]}]"),
         "\"request.headers[:method]x\" is not"},
        {"claim without a name", RULE("when: [{key: \"request.auth.claims[]\", values: [a]}]"),
         "m.yaml:6:18: error: spec.rules[0].when[0].key: \"request.auth.claims[]\" is not "
         "request.auth.claims[NAME]"},
        {"claim without brackets", RULE("when: [{key: request.auth.claims.iss, values: [a]}]"),
         "\"request.auth.claims.iss\" is not request.auth.claims[NAME]"},
        {"claim unclosed", RULE("when: [{key: \"request.auth.claims[a][b\", values: [a]}]"),
         "\"request.auth.claims[a][b\" is not"},
        {"claim too deep",
         RULE("when: [{key: "
              "\"request.auth.claims[a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a]\""
              ", values: [a]}]"),
         "or [NAME][NAME] for one within another, 16 at most"},
        {"condition without values", RULE("when: [{key: \"request.headers[x]\"}]"),
         "needs a key, and values or notValues"},
        {"A20 unknown key", RULE("when: [{key: request.path, values: [a]}]"),
         "when[0].key: \"request.path\" is none of source.ip"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_one_error(rows[i].name, rows[i].text, rows[i].said);
}

/* A policy that never applies is told, and so is one that applies to more than it says. */
Test(k8s_policy_request, what_is_not_as_it_seems_is_warned_of_with_its_place)
{
    static const struct {
        const char *name, *text, *said;
    } rows[] = {
        {"A15 small letters", RULE("to: [{operation: {methods: [get]}}]"),
         "m.yaml:6:33: warning: spec.rules[0].to[0].operation.methods[0]: \"get\" has small "
         "letters"},
        {"no slash", RULE("to: [{operation: {paths: [admin]}}]"),
         "paths[0]: \"admin\" does not begin with a slash"},
        {"A17 query", RULE("to: [{operation: {paths: [\"/a?b=c\"]}}]"),
         "has a query or a fragment, and paths are compared without them"},
        {"A18 dots", RULE("to: [{operation: {notPaths: [\"/a/../b\"]}}]"),
         "has a segment of dots, and paths are compared without them"},
        {"a principal that is a subject", RULE("from: [{source: {requestPrincipals: [ann]}}]"),
         "requestPrincipals[0]: \"ann\" has no slash, and a token's principal is <iss>/<sub>"},
        {"star", RULE("to: [{operation: {paths: [\"/a/*/b\"]}}]"), "a star that is not the first"},
        {"remoteIpBlocks", RULE("from: [{source: {remoteIpBlocks: [1.2.3.4]}}]"),
         "m.yaml:6:38: warning: spec.rules[0].from[0].source.remoteIpBlocks: is not evaluated "
         "here; "
         "what it stands in matches nobody, so nothing is allowed by it"},
        {"sni", RULE("when: [{key: connection.sni, notValues: [a]}]"),
         "spec.rules[0].when[0].notValues: is not evaluated here"},
        {"remote.ip", RULE("when: [{key: remote.ip, values: [1.2.3.4]}]"), "is not evaluated here"},
        {"filters", RULE("when: [{key: \"experimental.envoy.filters.a[b]\", values: [c]}]"),
         "is not evaluated here"},
        {":path", RULE("when: [{key: \"request.headers[:path]\", values: [/a]}]"),
         "is not evaluated here"},
        {"DENY", DENY("from: [{source: {notRemoteIpBlocks: [1.2.3.4]}}]"),
         "is decided by its other fields, so more is denied than it says"},
        {"AUDIT",
         HEAD "spec: {action: AUDIT, rules: [{when: [{key: remote.ip, values: [1.2.3.4]}]}]}\n",
         "is decided by its other fields, so more is recorded than it says"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        diag = (struct diag){0};
        struct manifests *set = read_text(rows[i].text, &diag);
        cr_expect_not_null(set, "%s: %s", rows[i].name, said(&diag));
        cr_expect_eq(diag.len, 1, "%s: %s", rows[i].name, said(&diag));
        expect_said(&diag, rows[i].name, rows[i].said);
        manifests_free(set);
        diag_fini(&diag);
    }
    diag = (struct diag){0};
}

/* ---- verdicts ---- */

struct asked { /* what is asked of the policies of a manifest, and what they are to say */
    const char *name, *text, *request; /* "GET host/path"; NULL: none */
    const char *headers[4];            /* name, value, name, value */
    const struct policy_token *token;
    bool allowed;
};

static struct policy_answer answer_of(const struct asked *row, struct arena *arena,
                                      struct manifests **out_set)
{
    static struct policy_request request;
    static struct policy_header headers[2];
    const struct policy *policies[8];
    struct policy_question question = {
        .principal = STR("td/ns/prod/sa/x"), .namespace_ = STR("prod"), .port = 80};
    struct str url;
    size_t n = 0;
    struct manifests *set = read_text(row->text, &diag);
    cr_assert_not_null(set, "%s: %s", row->name, said(&diag));
    for (; n < set->n_policies; n++)
        policies[n] = policy_compile(arena, &set->policies[n].policy);
    request = (struct policy_request){.headers = headers, .token = row->token};
    for (size_t i = 0; i < 4 && row->headers[i]; i += 2)
        headers[request.n_headers++] =
            (struct policy_header){str_from(row->headers[i]), str_from(row->headers[i + 1])};
    if (row->request) {
        cr_assert(str_split(str_from(row->request), ' ', &request.method, &url));
        cr_assert(str_split(url, '/', &request.host, &request.path));
        request.path = str_sub(url, request.host.len, url.len);
        question.request = &request;
    }
    *out_set = set;
    return compiled_policy_ask(arena, policies, n, false, &question);
}

#define PATHS(list)  "to: [{operation: {paths: [" list "]}}]"
#define HOSTS(list)  "to: [{operation: {hosts: [" list "]}}]"
#define HEADER(list) "when: [{key: 'request.headers[X-Role]', " list "}]"
#define CLAIM(list)  "when: [{key: 'request.auth.claims[realm][roles]', " list "}]"

Test(k8s_policy_request, the_truth_table_of_requests_holds)
{
    static const struct str audiences[] = {STR("shop")}, roles[] = {STR("user"), STR("admin")};
    static const struct policy_claim claims[] = {{STR("realm\0roles"), roles, 2}};
    static const struct policy_token token = {.principal = STR("https://idp.example/me"),
                                              .presenter = STR("app"),
                                              .audiences = audiences,
                                              .n_audiences = 1,
                                              .claims = claims,
                                              .n_claims = 1};

    static const struct asked rows[] = {
        {"A14 a host, in its case",
         RULE(HOSTS("shop.example")),
         "GET shop.example/",
         {0},
         NULL,
         true},
        {"A14 a host, in another",
         RULE(HOSTS("Shop.example")),
         "GET SHOP.example/",
         {0},
         NULL,
         true},
        {"A14 another host", RULE(HOSTS("shop.example")), "GET bank.example/", {0}, NULL, false},
        {"A14 a host with its port",
         RULE(HOSTS("shop.example")),
         "GET shop.example:8080/",
         {0},
         NULL,
         true},
        {"A14 DENY, a host with its port",
         DENY(HOSTS("shop.example")),
         "GET shop.example:8080/",
         {0},
         NULL,
         false},
        {"A14 a port of the value",
         RULE(HOSTS("'shop.example:80'")),
         "GET shop.example:8080/",
         {0},
         NULL,
         false},
        {"A14 notHosts",
         RULE("to: [{operation: {notHosts: ['*.example']}}]"),
         "GET a.example:1/",
         {0},
         NULL,
         false},
        {"A15 a method", RULE("to: [{operation: {methods: [GET]}}]"), "GET a/", {0}, NULL, true},
        {"A15 in another case",
         RULE("to: [{operation: {methods: [GET]}}]"),
         "get a/",
         {0},
         NULL,
         false},
        {"A15 another method",
         DENY("to: [{operation: {methods: [POST]}}]"),
         "GET a/",
         {0},
         NULL,
         true},
        {"A15 notMethods",
         RULE("to: [{operation: {notMethods: [POST]}}]"),
         "POST a/",
         {0},
         NULL,
         false},
        {"A16 exact", RULE(PATHS("/info")), "GET a/info", {0}, NULL, true},
        {"A16 exact is all of it", RULE(PATHS("/info")), "GET a/info/x", {0}, NULL, false},
        {"A16 prefix", RULE(PATHS("'/info*'")), "GET a/info/x", {0}, NULL, true},
        {"A16 suffix", RULE(PATHS("'*.txt'")), "GET a/b/x.txt", {0}, NULL, true},
        {"A16 presence", RULE(PATHS("'*'")), "GET a/", {0}, NULL, true},
        {"A16 {*} is a segment", RULE(PATHS("'/foo/{*}'")), "GET a/foo/bar", {0}, NULL, true},
        {"A16 {*} is one segment",
         RULE(PATHS("'/foo/{*}'")),
         "GET a/foo/bar/baz",
         {0},
         NULL,
         false},
        {"A16 {**} is segments", RULE(PATHS("'/foo/{**}/'")), "GET a/foo/bar/", {0}, NULL, true},
        {"A16 {**} is none", RULE(PATHS("'/foo/{**}/'")), "GET a/foo//", {0}, NULL, true},
        {"A16 and then letters", RULE(PATHS("'/foo/{**}/'")), "GET a/foo/bar", {0}, NULL, false},
        {"A16 notPaths",
         DENY("to: [{operation: {notPaths: ['/public/{**}']}}]"),
         "GET a/admin",
         {0},
         NULL,
         false},
        {"A16 notPaths, one of them",
         DENY("to: [{operation: {notPaths: ['/public/{**}']}}]"),
         "GET a/public/x",
         {0},
         NULL,
         true},
        {"A5 paths and notPaths",
         RULE("to: [{operation: {paths: ['/a*'], notPaths: [/ab]}}]"),
         "GET a/ab",
         {0},
         NULL,
         false},
        {"A5 methods and paths, both",
         RULE("to: [{operation: {methods: [GET], paths: [/a]}}]"),
         "GET a/a",
         {0},
         NULL,
         true},
        {"A5 methods and paths, one",
         RULE("to: [{operation: {methods: [GET], paths: [/a]}}]"),
         "POST a/a",
         {0},
         NULL,
         false},
        {"A5 operations are alternatives",
         RULE("to: [{operation: {methods: [GET]}}, {operation: {paths: [/a]}}]"),
         "POST a/a",
         {0},
         NULL,
         true},
        {"A19 a header",
         RULE(HEADER("values: [admin]")),
         "GET a/",
         {"x-role", "admin"},
         NULL,
         true},
        {"A19 not its value",
         RULE(HEADER("values: [admin]")),
         "GET a/",
         {"x-role", "user"},
         NULL,
         false},
        {"A19 no header", RULE(HEADER("values: ['*']")), "GET a/", {0}, NULL, false},
        {"A19 an empty header is there",
         RULE(HEADER("values: ['*']")),
         "GET a/",
         {"x-role", ""},
         NULL,
         true},
        {"A19 DENY without a header", DENY(HEADER("notValues: ['*']")), "GET a/", {0}, NULL, false},
        {"A19 two headers joined",
         RULE(HEADER("values: ['user,admin']")),
         "GET a/",
         {"x-role", "user", "x-role", "admin"},
         NULL,
         true},
        {"A19 two headers, ALLOW one",
         RULE(HEADER("values: [admin]")),
         "GET a/",
         {"x-role", "user", "x-role", "admin"},
         NULL,
         false},
        {"A19 two headers, DENY one",
         DENY(HEADER("values: [admin]")),
         "GET a/",
         {"x-role", "user", "x-role", "admin"},
         NULL,
         false},
        {"A20 :method is the method",
         RULE("when: [{key: 'request.headers[:method]', values: [GET]}]"),
         "GET a/",
         {0},
         NULL,
         true},
        {"A20 :authority is the host",
         RULE("when: [{key: 'request.headers[:authority]', values: [a.b]}]"),
         "GET A.b:80/",
         {0},
         NULL,
         true},
        {"A20 so is host",
         RULE("when: [{key: 'request.headers[Host]', values: [a.b]}]"),
         "GET a.b/",
         {0},
         NULL,
         true},
        {"A20 conditions must all hold",
         RULE("when: [{key: 'request.headers[x]', values: [a]}, {key: source.namespace, values: "
              "[dev]}]"),
         "GET a/",
         {"x", "a"},
         NULL,
         false},
        {"A20 requestPrincipals",
         RULE("from: [{source: {requestPrincipals: ['https://idp.example/*']}}]"),
         "GET a/",
         {0},
         &token,
         true},
        {"A20 requestPrincipals, no token",
         RULE("from: [{source: {requestPrincipals: ['*']}}]"),
         "GET a/",
         {0},
         NULL,
         false},
        {"A20 request.auth.principal",
         RULE("when: [{key: request.auth.principal, values: ['*/me']}]"),
         "GET a/",
         {0},
         &token,
         true},
        {"A20 request.auth.audiences",
         RULE("when: [{key: request.auth.audiences, values: [bank]}]"),
         "GET a/",
         {0},
         &token,
         false},
        {"A20 request.auth.presenter",
         RULE("when: [{key: request.auth.presenter, values: [app]}]"),
         "GET a/",
         {0},
         &token,
         true},
        {"A20 request.auth.claims", RULE(CLAIM("values: [admin]")), "GET a/", {0}, &token, true},
        {"A20 request.auth.claims, not",
         RULE(CLAIM("notValues: [admin]")),
         "GET a/",
         {0},
         &token,
         false},
        {"A20 request.auth.claims, no token",
         DENY(CLAIM("notValues: [admin]")),
         "GET a/",
         {0},
         NULL,
         false},
        {"A22 DENY notRequestPrincipals[*], no token",
         DENY("from: [{source: {notRequestPrincipals: ['*']}}]"),
         "GET a/",
         {0},
         NULL,
         false},
        {"A22 DENY notRequestPrincipals[*], a token",
         DENY("from: [{source: {notRequestPrincipals: ['*']}}]"),
         "GET a/",
         {0},
         &token,
         true},
        {"A22 the same without a request",
         DENY("from: [{source: {notRequestPrincipals: ['*']}}]"),
         NULL,
         {0},
         NULL,
         false},
        {"A21 DENY with what is not evaluated, the rest holds",
         DENY("from: [{source: {remoteIpBlocks: [1.2.3.4]}}]\n    to: [{operation: {methods: "
              "[GET]}}]"),
         "GET a/",
         {0},
         NULL,
         false},
        {"A21 DENY with what is not evaluated, the rest does not",
         DENY("from: [{source: {remoteIpBlocks: [1.2.3.4]}}]\n    to: [{operation: {methods: "
              "[GET]}}]"),
         "POST a/",
         {0},
         NULL,
         true},
        {"A21 ALLOW with what is not evaluated",
         RULE("from: [{source: {remoteIpBlocks: [1.2.3.4]}}]\n    to: [{operation: {methods: "
              "[GET]}}]"),
         "GET a/",
         {0},
         NULL,
         false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {0};
        struct manifests *set;
        diag = (struct diag){0};
        const struct policy_answer answer = answer_of(&rows[i], &arena, &set);
        cr_expect_eq(answer.allowed, rows[i].allowed, "%s: %s", rows[i].name, answer.sentence);
        cr_expect_eq(answer.depends_on_request, !rows[i].request, "%s", rows[i].name);
        manifests_free(set);
        arena_fini(&arena);
        diag_fini(&diag);
    }
    diag = (struct diag){0};
}

/* ---- connections ---- */

/* What an ALLOW, a DENY and an AUDIT policy make of a rule; without a request. */
static void expect_all_actions(const char *name, const char *rule, bool allows, bool denies,
                               bool is_evaluated)
{
    static const char *const actions[] = {"ALLOW", "DENY", "AUDIT"};
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        struct arena arena = {0};
        struct text text = {0};
        struct manifests *set;
        diag = (struct diag){0};
        text_addf(&text, HEAD "spec: {action: %s, rules: [%s]}\n", actions[i], rule);
        const struct asked row = {.name = name, .text = text.ptr};
        const struct policy_answer answer = answer_of(&row, &arena, &set);
        const bool is_met = i == 0 ? answer.allowed : i == 1 ? !answer.allowed : answer.n_audits;
        const bool may_differ = is_evaluated && denies && !allows;
        cr_expect_eq(is_met, i == 0 ? allows : denies, "%s %s: %s", actions[i], name,
                     answer.sentence);
        cr_expect_eq(answer.depends_on_request, may_differ, "%s %s", actions[i], name);
        cr_expect_eq(diag.len, is_evaluated ? 0 : 1, "%s %s: %s", actions[i], name, said(&diag));
        manifests_free(set);
        text_fini(&text);
        arena_fini(&arena);
        diag_fini(&diag);
    }
    diag = (struct diag){0};
}

/* A21, A22, each field alone and beside one that a connection shows. */
Test(k8s_policy_request, a21_what_no_request_showed_allows_nobody_and_denies_in_doubt)
{
    static const struct {
        const char *key, *value;
        bool is_evaluated;
    } sources[] = {{"requestPrincipals", "a/b", true},
                   {"notRequestPrincipals", "a/b", true},
                   {"remoteIpBlocks", "10.0.0.1", false},
                   {"notRemoteIpBlocks", "10.0.0.1", false}},
      operations[] = {{"hosts", "a", true},     {"notHosts", "a", true},
                      {"methods", "GET", true}, {"notMethods", "GET", true},
                      {"paths", "/a", true},    {"notPaths", "/a", true}},
      keys[] = {{"request.headers[x-who]", "a", true},
                {"request.auth.principal", "a/b", true},
                {"request.auth.audiences", "a", true},
                {"request.auth.presenter", "a", true},
                {"request.auth.claims[iss]", "a", true},
                {"remote.ip", "10.0.0.1", false},
                {"connection.sni", "a", false},
                {"experimental.envoy.filters.a.b[c]", "a", false}};
    struct text rule = {0};
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        text_clear(&rule);
        text_addf(&rule, "{from: [{source: {%s: ['%s']}}]}", sources[i].key, sources[i].value);
        expect_all_actions(sources[i].key, rule.ptr, false, true, sources[i].is_evaluated);
        text_clear(&rule);
        text_addf(&rule, "{from: [{source: {namespaces: [dev], %s: ['%s']}}]}", sources[i].key,
                  sources[i].value);
        expect_all_actions(sources[i].key, rule.ptr, false, false, sources[i].is_evaluated);
    }
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        text_clear(&rule);
        text_addf(&rule, "{to: [{operation: {%s: ['%s']}}]}", operations[i].key,
                  operations[i].value);
        expect_all_actions(operations[i].key, rule.ptr, false, true, true);
        text_clear(&rule);
        text_addf(&rule, "{to: [{operation: {ports: ['81'], %s: ['%s']}}]}", operations[i].key,
                  operations[i].value);
        expect_all_actions(operations[i].key, rule.ptr, false, false, true);
        text_clear(&rule);
        text_addf(&rule, "{to: [{operation: {%s: ['%s']}}, {operation: {ports: ['80']}}]}",
                  operations[i].key, operations[i].value);
        expect_all_actions("an alternative", rule.ptr, true, true, true);
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        for (int is_not = 0; is_not < 2; is_not++) {
            text_clear(&rule);
            text_addf(&rule, "{when: [{key: '%s', %s: ['%s']}]}", keys[i].key,
                      is_not ? "notValues" : "values", keys[i].value);
            expect_all_actions(keys[i].key, rule.ptr, false, true, keys[i].is_evaluated);
        }
    }
    text_fini(&rule);
}
