/* Why a verdict is what it is: the same verdict, and for every rule that did not match a reason. */
#include <criterion/criterion.h>
#include <string.h>

#include "config/policy_explain.h"
#include "tests/kit/plain_policy.h"

#define POLICIES_MAX 40

TestSuite(policy_explain, .timeout = 120);

static struct arena arena;

static struct policy_explanation explain(const struct policy **policies, size_t n,
                                         const struct policy_question *question)
{
    const struct policy_layer **layers = arena_new_array(&arena, const struct policy_layer *, 2);
    const size_t half = n / 2;
    struct policy_explanation explanation;
    layers[0] = policy_layer_new(&arena, policies, half, NULL, 0);
    layers[1] = policy_layer_new(&arena, policies + half, n - half, NULL, 0);
    struct policy_set *set = arena_new(&arena, struct policy_set);
    *set = (struct policy_set){.layers = layers, .n_layers = 2};
    policy_set_seal(set);
    policy_explain(set, question, &arena, &explanation);
    return explanation;
}

/* The first line of an action and mode that matches, whatever the request may be if there is one.
 */
static const struct policy_line *find_line(const struct policy_explanation *explanation,
                                           enum policy_action action, bool dry_run)
{
    const struct policy_line *found = NULL;
    for (size_t i = 0; i < explanation->n_lines; i++) {
        const struct policy_line *line = &explanation->lines[i];
        if (!line->matches || line->policy->action != action || line->policy->dry_run != dry_run)
            continue;
        if (!line->depends_on_request)
            return line;
        found = found ? found : line;
    }
    return found;
}

static bool has_enforced_allow(const struct policy_explanation *explanation)
{
    for (size_t i = 0; i < explanation->n_lines; i++)
        if (explanation->lines[i].policy->action == POLICY_ALLOW &&
            !explanation->lines[i].policy->dry_run)
            return true;
    return false;
}

/* The verdict as the lines tell it is the answer's. */
static void expect_lines_agree(const struct policy_explanation *explanation, uint64_t seed)
{
    const struct policy_answer *answer = &explanation->answer;
    const struct policy_line *deny = find_line(explanation, POLICY_DENY, false);
    const struct policy_line *allow = find_line(explanation, POLICY_ALLOW, false);
    const struct policy_line *by = deny ? deny : allow;
    const bool allowed = !deny && (allow || !has_enforced_allow(explanation));
    cr_assert_eq(answer->allowed, allowed, "seed %llu", (unsigned long long)seed);
    cr_assert_eq(answer->has_rule, by != NULL, "seed %llu", (unsigned long long)seed);
    if (by) {
        cr_assert(str_eq(answer->policy, by->policy->key), "seed %llu", (unsigned long long)seed);
        cr_assert_eq(answer->rule_idx, by->rule_idx, "seed %llu", (unsigned long long)seed);
    }
    for (size_t i = 0; i < explanation->n_lines; i++)
        cr_assert_eq(explanation->lines[i].matches, explanation->lines[i].why_not.len == 0,
                     "seed %llu, line %zu", (unsigned long long)seed, i);
}

Test(policy_explain, the_lines_tell_the_verdict_of_random_policies)
{
    size_t n_denied = 0;
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        const struct policy *policies[POLICIES_MAX];
        struct rng rng;
        rng_seed(&rng, seed);
        const size_t n = rng_below(&rng, rng_below(&rng, 4) == 0 ? POLICIES_MAX : 8);
        for (size_t i = 0; i < n; i++)
            policies[i] = policy_compile(&arena, random_policy(&arena, &rng, i));
        struct policy_question question = random_question(&arena, &rng);
        if (seed % 2 == 0)
            question.request = random_request(&arena, &rng);
        const struct policy_explanation explanation = explain(policies, n, &question);
        expect_lines_agree(&explanation, seed);
        n_denied += !explanation.answer.allowed;
        arena_fini(&arena);
        arena = (struct arena){0};
    }
    cr_expect(n_denied > 400 && n_denied < 3600, "%zu denied", n_denied);
}

Test(policy_explain, each_field_says_what_it_wanted_and_what_it_got)
{
    struct string_match principal = {MATCH_PREFIX, STR("td/ns/a/")}, any = {MATCH_PRESENCE, {0}};
    struct string_match namespaces[4] = {{MATCH_EXACT, STR("b")},
                                         {MATCH_EXACT, STR("c")},
                                         {MATCH_EXACT, STR("d")},
                                         {MATCH_EXACT, STR("e")}};
    struct string_match domain = {MATCH_EXACT, STR("td")};
    struct account_match account = {STR("a"), STR("x")};
    struct cidr range = {{4, {10, 0, 0, 0}}, 8}, own = {{4, {192, 168, 0, 0}}, 16};
    uint16_t port = 80, other = 9090;

    const struct {
        const char *row;
        struct model_match match;
        const char *why_not;
    } rows[] = {
        {"prefix",
         {.principals = &principal, .n_principals = 1},
         "principals: td/ns/z/sa/x is none of td/ns/a/*"},
        {"presence",
         {.not_principals = &any, .n_not_principals = 1},
         "notPrincipals: td/ns/z/sa/x is one of *"},
        {"many",
         {.namespaces = namespaces, .n_namespaces = 4},
         "namespaces: z is none of b, c, d and 1 more"},
        {"account", {.accounts = &account, .n_accounts = 1}, "serviceAccounts: z/x is none of a/x"},
        {"domain",
         {.not_trust_domains = &domain, .n_not_trust_domains = 1},
         "notTrustDomains: td is one of td"},
        {"source",
         {.source_ips = &range, .n_source_ips = 1},
         "ipBlocks: 192.168.0.1 is none of 10.0.0.0/8"},
        {"not source",
         {.not_source_ips = &own, .n_not_source_ips = 1},
         "notIpBlocks: 192.168.0.1 is one of 192.168.0.0/16"},
        {"destination",
         {.destination_ips = &range, .n_destination_ips = 1},
         "destination.ip: an unknown address is none of 10.0.0.0/8"},
        {"port", {.ports = &other, .n_ports = 1}, "ports: 80 is none of 9090"},
        {"not port", {.not_ports = &port, .n_not_ports = 1}, "notPorts: 80 is one of 80"},
        {"unknown",
         {.has_unknown = true},
         "asks for what this version does not know, which allows nobody"},
        {"nothing", {0}, "asks for nothing, which matches nobody"},
    };
    const struct policy_question question = {.principal = STR("td/ns/z/sa/x"),
                                             .namespace_ = STR("z"),
                                             .service_account = STR("x"),
                                             .source = {4, {192, 168, 0, 1}},
                                             .port = 80};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct model_match match = rows[i].match;
        struct model_clause clause = {&match, 1};
        struct model_rule rule = {&clause, 1};
        const struct model_policy model = {
            .name = STR("p"), .namespace_ = STR("shop"), .rules = &rule, .n_rules = 1};
        const struct policy *policy = policy_compile(&arena, &model);
        const struct policy_explanation explanation = explain(&policy, 1, &question);
        cr_assert_eq(explanation.n_lines, 1, "%s", rows[i].row);
        cr_expect(str_eq(explanation.lines[0].why_not, str_from(rows[i].why_not)), "%s: %.*s",
                  rows[i].row, STR_ARG(explanation.lines[0].why_not));
    }
    arena_fini(&arena);
}

Test(policy_explain, who_has_no_identity_is_told_so_and_a_policy_without_rules_too)
{
    struct string_match any = {MATCH_PRESENCE, {0}};
    struct model_match match = {.principals = &any, .n_principals = 1};
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};
    const struct model_policy models[] = {
        {.name = STR("p"), .namespace_ = STR("shop"), .rules = &rule, .n_rules = 1},
        {.name = STR("q"), .namespace_ = STR("shop")}};
    const struct policy *policies[] = {policy_compile(&arena, &models[0]),
                                       policy_compile(&arena, &models[1])};
    const struct policy_question question = {.port = 80};
    const struct policy_explanation explanation = explain(policies, 2, &question);
    struct text text = {0};

    cr_assert_eq(explanation.n_lines, 2);
    cr_expect(
        str_eq(explanation.lines[0].why_not, STR("principals: the source has no such identity")));
    cr_expect(str_eq(explanation.lines[1].why_not, STR("has no rules, which match nobody")));
    policy_answer_text(&explanation.answer, &text);
    cr_expect_str_eq(text.ptr, "denied: allow policies exist, but none allowed");
    text_fini(&text);
    arena_fini(&arena);
}

Test(policy_explain, ten_thousand_policies_are_told_up_to_a_bound_but_for_those_that_match)
{
    enum { N = 10000 };
    const struct policy **policies = arena_new_array(&arena, const struct policy *, N);
    struct model_rule everybody = {0};
    for (size_t i = 0; i < N; i++) {
        const struct model_policy model = {.name = arena_printf(&arena, "p-%05zu", i),
                                           .namespace_ = STR("shop"),
                                           .rules = &everybody,
                                           .n_rules = i == N - 1};
        policies[i] = policy_compile(&arena, &model);
    }
    const struct policy_question question = {.port = 80};
    const struct policy_explanation explanation = explain(policies, N, &question);
    cr_expect_eq(explanation.n_lines, EXPLAIN_LINES_MAX + 1);
    cr_expect_eq(explanation.n_left_out, N - 1 - EXPLAIN_LINES_MAX);
    cr_expect(explanation.lines[EXPLAIN_LINES_MAX].matches);
    cr_expect(explanation.answer.allowed);
    arena_fini(&arena);
}

static struct string_match get = {MATCH_EXACT, STR("GET")},
                           many[] = {{MATCH_EXACT, STR("/a")},
                                     {MATCH_PREFIX, STR("/b")},
                                     {MATCH_TEMPLATE, STR("/c/{*}")},
                                     {MATCH_TEMPLATE, STR("/d/{*}")}};

Test(policy_explain, each_field_of_a_request_says_what_it_wanted_and_what_it_got)
{
    static const struct policy_header headers[] = {
        {STR("x"), STR("a")}, {STR("x"), STR("b")}, {STR("void"), STR("")}, {STR("x_y"), STR("c")}};
    static const struct str values[] = {STR("u"), STR("v")};
    static const struct policy_claim claims[] = {{STR("r\0s"), values, 2}};
    static const struct policy_token token = {STR("iss/sub"), STR("app"), values, 2, claims, 1};
    const struct policy_request shown = {.method = STR("PUT"),
                                         .host = STR("a.b:80"),
                                         .path = STR("/z"),
                                         .headers = headers,
                                         .n_headers = ARRAY_LEN(headers),
                                         .token = &token},
                                bare = {.method = STR("GET")},
                                lax = {.path = STR("/b/..;/z"), .lax_path = STR("/z")};

    const struct {
        const struct policy_request *request;
        struct request_field field;
        const char *why_not;
    } rows[] = {
        {&shown, {REQUEST_METHOD, {0}, &get, NULL, 1, 0}, "methods: PUT is none of GET"},
        {&bare, {REQUEST_METHOD, {0}, NULL, &get, 0, 1}, "notMethods: GET is one of GET"},
        {&shown, {REQUEST_HOST, {0}, &get, NULL, 1, 0}, "hosts: a.b:80 is none of get"},
        {&shown,
         {REQUEST_PATH, {0}, many, NULL, 4, 0},
         "paths: /z is none of /a, /b*, /c/{*} and 1 more"},
        {&bare, {REQUEST_PATH, {0}, many, NULL, 1, 0}, "paths: a request without it is none of /a"},
        {&lax,
         {REQUEST_PATH, {0}, many, NULL, 2, 0},
         "paths: /b/..;/z (liberally /z) is none of /a, /b*"},
        {&shown,
         {REQUEST_HEADER, STR("x"), &get, NULL, 1, 0},
         "request.headers[x]: a, b is none of GET"},
        {&shown,
         {REQUEST_HEADER, STR("y"), &get, NULL, 1, 0},
         "request.headers[y]: a request without it is none of GET"},
        {&shown,
         {REQUEST_HEADER, STR("x-y"), &get, NULL, 1, 0},
         "request.headers[x-y]: c is none of GET"},
        {&bare,
         {REQUEST_TOKEN_PRINCIPAL, {0}, &get, NULL, 1, 0},
         "requestPrincipals: a request without a token is none of GET"},
        {&shown,
         {REQUEST_TOKEN_PRINCIPAL, {0}, &get, NULL, 1, 0},
         "requestPrincipals: iss/sub is none of GET"},
        {&shown,
         {REQUEST_TOKEN_AUDIENCE, {0}, &get, NULL, 1, 0},
         "request.auth.audiences: u, v is none of GET"},
        {&shown,
         {REQUEST_TOKEN_PRESENTER, {0}, &get, NULL, 1, 0},
         "request.auth.presenter: app is none of GET"},
        {&shown,
         {REQUEST_TOKEN_CLAIM, STR("r\0s"), &get, NULL, 1, 0},
         "request.auth.claims[r][s]: u, v is none of GET"},
        {NULL,
         {REQUEST_METHOD, {0}, &get, NULL, 1, 0},
         "methods: no request is shown, and without one it allows nobody"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct request_field field = rows[i].field;
        struct model_match match = {.http = &field, .n_http = 1};
        struct model_clause clause = {&match, 1};
        struct model_rule rule = {&clause, 1};
        const struct model_policy model = {
            .name = STR("p"), .namespace_ = STR("shop"), .rules = &rule, .n_rules = 1};
        const struct policy *policy = policy_compile(&arena, &model);
        const struct policy_question question = {.request = rows[i].request};
        const struct policy_explanation explanation = explain(&policy, 1, &question);
        cr_assert_eq(explanation.n_lines, 1, "row %zu", i);
        cr_expect(str_eq(explanation.lines[0].why_not, str_from(rows[i].why_not)), "row %zu: %.*s",
                  i, STR_ARG(explanation.lines[0].why_not));
        cr_expect_eq(explanation.lines[0].depends_on_request, !rows[i].request);
    }
}
