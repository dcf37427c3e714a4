#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/policy.h"
#include "fixture.h"
#include "tests/kit/plain_policy.h"

DIAG_FIXTURE

TestSuite(k8s_policy, .init = begin, .fini = end, .timeout = 20);

#define HEAD                                                                                       \
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"                                \
    "metadata: {name: p, namespace: shop}\n"

static void expect_match(const struct string_match *match, enum match_kind kind, const char *value)
{
    cr_expect_eq(match->kind, kind, "%s", value);
    cr_expect(str_eq(match->value, str_from(value)), "found \"%.*s\", expected \"%s\"",
              STR_ARG(match->value), value);
}

Test(k8s_policy, reads_every_supported_field)
{
    struct manifests *set = read_text(
        "apiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy\n"
        "metadata: {name: p, namespace: shop, annotations: {istio.io/dry-run: \"true\"}}\n"
        "spec:\n  action: DENY\n  selector: {matchLabels: {app: web}}\n  rules:\n"
        "  - from:\n"
        "    - source:\n"
        "        principals: [\"td/ns/a/sa/b\", \"spiffe://td/ns/c/sa/d\", \"td/*\", \"*/sa/x\", "
        "\"*\"]\n"
        "        notPrincipals: [\"td/e\"]\n"
        "        namespaces: [n1, n2]\n        notNamespaces: [\"n3*\"]\n"
        "        ipBlocks: [10.0.0.0/8, 10.1.2.3, \"fd00::/8\", 192.168.7.9/16]\n"
        "        notIpBlocks: [10.1.0.0/16]\n"
        "    - source: {namespaces: [other]}\n"
        "    to:\n"
        "    - operation: {ports: [\"80\", 443], notPorts: [\"81\"]}\n"
        "  - {}\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(diag.len, 0, "%s", said(&diag));
    const struct k8s_policy *policy = &set->policies[0];
    const struct model_policy *model = &policy->policy;
    cr_expect(policy->has_selector);
    cr_expect_eq(policy->n_selector, 1);
    cr_expect_eq(model->action, POLICY_DENY);
    cr_expect(model->dry_run);
    cr_expect(str_eq(model->name, STR("p")) && str_eq(model->namespace_, STR("shop")));
    cr_assert_eq(model->n_rules, 2);
    cr_expect_eq(model->rules[1].n_clauses, 0);
    cr_assert_eq(model->rules[0].n_clauses, 2);
    cr_assert_eq(model->rules[0].clauses[0].n_matches, 2);
    const struct model_match *from = &model->rules[0].clauses[0].matches[0];
    cr_assert_eq(from->n_principals, 5);
    expect_match(&from->principals[0], MATCH_EXACT, "td/ns/a/sa/b");
    expect_match(&from->principals[1], MATCH_EXACT, "td/ns/c/sa/d");
    expect_match(&from->principals[2], MATCH_PREFIX, "td/");
    expect_match(&from->principals[3], MATCH_SUFFIX, "/sa/x");
    expect_match(&from->principals[4], MATCH_PRESENCE, "");
    expect_match(&from->not_principals[0], MATCH_EXACT, "td/e");
    expect_match(&from->not_namespaces[0], MATCH_PREFIX, "n3");
    cr_assert_eq(from->n_source_ips, 4);
    cr_expect_eq(from->source_ips[1].prefix_len, 32);
    cr_expect_eq(from->source_ips[3].ip.bytes[2], 0);
    cr_expect_eq(from->source_ips[3].prefix_len, 16);
    cr_expect_eq(from->n_not_source_ips, 1);
    const struct model_match *to = &model->rules[0].clauses[1].matches[0];
    cr_assert_eq(to->n_ports, 2);
    cr_expect_eq(to->ports[1], 443);
    cr_expect_eq(to->not_ports[0], 81);
    manifests_free(set);
}

Test(k8s_policy, tells_allow_nothing_from_match_all)
{
    static const struct {
        const char *text;
        size_t n_rules;
    } rows[] = {{HEAD "spec: {}\n", 0}, {HEAD, 0}, {HEAD "spec: {rules: [{}]}\n", 1}};

    for (size_t i = 0; i < 3; i++) {
        struct manifests *set = read_text(rows[i].text, &diag);
        cr_assert_not_null(set, "%s", said(&diag));
        cr_expect_eq(set->policies[0].policy.n_rules, rows[i].n_rules);
        cr_expect_eq(set->policies[0].policy.action, POLICY_ALLOW);
        cr_expect_not(set->policies[0].has_selector);
        manifests_free(set);
    }
}

Test(k8s_policy, service_accounts_are_principals_of_any_trust_domain)
{
    struct manifests *set = read_text(
        HEAD "spec: {rules: [{from: [{source: {serviceAccounts: [web, ops/admin]}}]}]}\n", &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    struct arena arena = {0};
    const struct policy *policy = policy_compile(&arena, &set->policies[0].policy);

    static const struct {
        const char *principal, *namespace_;
        bool allowed;
    } rows[] = {
        {"td/ns/shop/sa/web", "shop", true},   {"far/ns/ops/sa/admin", "ops", true},
        {"td/ns/ops/sa/web", "ops", false},    {"td/x/ns/shop/sa/web", "", false},
        {"td/ns/shop/sa/web2", "shop", false}, {"", "", false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct policy_question question = {.principal = str_from(rows[i].principal),
                                           .namespace_ = str_from(rows[i].namespace_)};
        const char *last = strrchr(rows[i].principal, '/');
        if (rows[i].namespace_[0])
            question.service_account = str_from(last + 1);
        cr_expect_eq(compiled_policy_ask(&arena, &policy, 1, false, &question).allowed,
                     rows[i].allowed, "%s", rows[i].principal);
    }
    arena_fini(&arena);
    manifests_free(set);
}

#define RULE(text) HEAD "spec:\n  rules:\n  - " text "\n"

Test(k8s_policy, refuses_what_it_cannot_enforce)
{
    static const struct {
        const char *name, *text, *said;
    } rows[] = {
        {"when: value", RULE("when: [{key: source.ip, values: [a]}]"),
         "when[0].values[0]: \"a\" is not an IP address"},
        {"A20 when: unknown key", RULE("when: [{key: source.pod, values: [a]}]"),
         "m.yaml:6:18: error: spec.rules[0].when[0].key: \"source.pod\" is none of source.ip"},
        {"when: no values", RULE("when: [{key: source.ip}]"), "needs a key, and values"},
        {"when: empty", RULE("when: []"), "spec.rules[0].when: is empty"},
        {"when: empty values", RULE("when: [{key: \"request.headers[x]\", values: []}]"),
         "when[0].values: is empty"},
        {"methods: empty", RULE("to: [{operation: {methods: []}}]"), "methods: is empty"},
        {"targetRefs: kind",
         HEAD "spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]}\n",
         "m.yaml:4:62: error: spec.targetRefs[0]: \"Gateway\" of the group "
         "\"gateway.networking.k8s.io\" is not supported, expected a Service, or a ServiceImport"},
        {"targetRefs: group of a Service",
         HEAD "spec: {targetRefs: [{group: apps, kind: Service, name: a}]}\n",
         "\"Service\" of the group \"apps\" is not supported"},
        {"targetRefs: no name", HEAD "spec: {targetRefs: [{kind: Service}]}\n",
         "spec.targetRefs[0]: needs a kind and a name"},
        {"targetRefs: namespace",
         HEAD "spec: {targetRefs: [{kind: Service, name: a, namespace: bank}]}\n",
         "spec.targetRefs[0].namespace: \"bank\" is not the policy's own"},
        {"targetRefs: empty", HEAD "spec: {targetRefs: []}\n",
         "m.yaml:4:20: error: spec.targetRefs: is empty, expected a target"},
        {"targetRefs beside a selector",
         HEAD "spec: {selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}\n",
         "spec.targetRefs: cannot stand beside a selector"},
        {"targetRef beside targetRefs",
         HEAD "spec: {targetRef: {kind: Service, name: a}, targetRefs: [{kind: Service, name: "
              "a}]}\n",
         "spec.targetRef: cannot stand beside targetRefs"},
        {"provider", HEAD "spec: {provider: {name: a}}\n", "spec.provider: is not supported yet"},
        {"CUSTOM", HEAD "spec: {action: CUSTOM}\n", "spec.action: CUSTOM is not supported yet"},
        {"action", HEAD "spec: {action: deny}\n",
         "spec.action: \"deny\" is not ALLOW, DENY or AUDIT"},
        {"unknown field", RULE("from: [{source: {principal: [a]}}]"),
         "m.yaml:6:22: error: spec.rules[0].from[0].source.principal: there is no such key; did "
         "you "
         "mean \"principals\"?"},
        {"unknown rule key", RULE("form: []"),
         "spec.rules[0].form: there is no such key; did you mean "
         "\"from\"?"},
        {"rules beside spec", HEAD "rules: [{}]\n",
         "m.yaml:4:1: error: rules: there is no such key"},
        {"metadata",
         "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
         "metadata: {name: p, anotations: {}}\n",
         "metadata.anotations: there is no such key; did you mean \"annotations\"?"},
        {"from without value", RULE("from:"), "m.yaml:6:5: error: spec.rules[0].from: is empty"},
        {"empty from", RULE("from: []"), "spec.rules[0].from: is empty"},
        {"empty source", RULE("from: [{source: {}}]"), "spec.rules[0].from[0].source: is empty"},
        {"no source", RULE("from: [{}]"), "spec.rules[0].from[0].source: is empty"},
        {"empty values", RULE("from: [{source: {principals: []}}]"), "principals: is empty"},
        {"empty value", RULE("from: [{source: {principals: [\"\"]}}]"), "principals[0]: is empty"},
        {"a scheme alone", RULE("from: [{source: {principals: [\"spiffe://\"]}}]"),
         "m.yaml:6:35: error: spec.rules[0].from[0].source.principals[0]: \"spiffe://\" is "
         "nobody's "
         "identity, expected one such as cluster.local/ns/shop/sa/web"},
        {"no trust domain", RULE("from: [{source: {notPrincipals: [\"spiffe:///ns/a/sa/b\"]}}]"),
         "notPrincipals[0]: \"spiffe:///ns/a/sa/b\" is nobody's identity"},
        {"a trust domain alone", RULE("from: [{source: {principals: [web]}}]"),
         "m.yaml:6:35: error: spec.rules[0].from[0].source.principals[0]: \"web\" is nobody's "
         "identity"},
        {"no trust domain, a prefix", RULE("from: [{source: {principals: [/ns/a/*]}}]"),
         "principals[0]: \"/ns/a/*\" is nobody's identity"},
        {"when: a scheme alone", RULE("when: [{key: source.principal, values: [\"spiffe://\"]}]"),
         "when[0].values[0]: \"spiffe://\" is nobody's identity"},
        {"null value", RULE("from: [{source: {namespaces: [a, ~]}}]"), "namespaces[1]: is empty"},
        {"null rule", HEAD "spec: {rules: [~]}\n", "spec.rules[0]: is empty"},
        {"rules without value", HEAD "spec: {rules: }\n", "spec.rules: is empty"},
        {"ipBlocks", RULE("from: [{source: {ipBlocks: [web]}}]"),
         "ipBlocks[0]: \"web\" is not an IP address or a range"},
        {"ipBlocks length", RULE("from: [{source: {ipBlocks: [10.0.0.0/33]}}]"),
         "is not an IP address"},
        {"ports", RULE("to: [{operation: {ports: [\"http\"]}}]"),
         "ports[0]: \"http\" is not a port"},
        {"ports range", RULE("to: [{operation: {ports: [\"65536\"]}}]"), "\"65536\" is not a port"},
        {"accounts beside namespaces",
         RULE("from: [{source: {serviceAccounts: [a], namespaces: [b]}}]"),
         "serviceAccounts: cannot stand beside principals or namespaces"},
        {"account", RULE("from: [{source: {serviceAccounts: [\"a/b/c\"]}}]"),
         "\"a/b/c\" is not <namespace>/<service account>"},
        {"selector", HEAD "spec: {selector: {matchLables: {a: b}}}\n",
         "did you mean \"matchLabels\"?"},
        {"selector without matchLabels", HEAD "spec: {selector: {app: x, b: c}}\n",
         "m.yaml:4:19: error: spec.selector.app: labels stand below matchLabels, expected "
         "{matchLabels: {app: x}}"},
        {"selector beside matchLabels", HEAD "spec: {selector: {matchLabels: {a: b}, app: x}}\n",
         "spec.selector.app: there is no such key"},
        {"selector by expressions", HEAD "spec: {selector: {matchExpressions: []}}\n",
         "spec.selector.matchExpressions: there is no such key"},
        {"selector without value", HEAD "spec: {selector: }\n", "spec.selector: is empty"},
        {"selector of a list", HEAD "spec: {selector: {matchLabels: [app, web]}}\n",
         "spec.selector.matchLabels: expected a mapping, found a list"},
        {"selector of a text", HEAD "spec: {selector: {matchLabels: app}}\n",
         "spec.selector.matchLabels: \"app\" is not a mapping"},
        {"label without value", HEAD "spec: {selector: {matchLabels: {app: }}}\n",
         "m.yaml:4:33: error: spec.selector.matchLabels.app: is empty"},
        {"label with a star", HEAD "spec: {selector: {matchLabels: {app: 'web*'}}}\n",
         "spec.selector.matchLabels.app: \"web*\" has a star"},
        {"dry run",
         "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
         "metadata: {name: p, annotations: {istio.io/dry-run: maybe}}\n",
         "istio.io/dry-run: \"maybe\" is not true or false"},
        {"version", "apiVersion: security.istio.io/v2\nkind: AuthorizationPolicy\n",
         "version \"v2\" of AuthorizationPolicy is not supported, expected v1 or v1beta1"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_one_error(rows[i].name, rows[i].text, rows[i].said);
}

Test(k8s_policy, a28_at_most_16_services_are_named)
{
    for (size_t n = TARGETS_MAX; n <= TARGETS_MAX + 1; n++) {
        struct text text = {0};
        text_addf(&text, HEAD "spec:\n  targetRefs:\n");
        for (size_t i = 0; i < n; i++)
            text_addf(&text, "  - {kind: Service, name: s%zu}\n", i);
        struct manifests *set = read_text(text.ptr, &diag);
        cr_expect_eq(set != NULL, n == TARGETS_MAX, "%zu: %s", n, said(&diag));
        if (set)
            cr_expect_eq(set->policies[0].n_targets, n);
        manifests_free(set);
        text_fini(&text);
    }
    expect_said(&diag, "17", "spec.targetRefs");
}

static void add_list(struct text *text, size_t n, const char *format)
{
    for (size_t i = 0; i < n; i++) {
        char item[64];
        (void)snprintf(item, sizeof item, format, (unsigned)i % 250);
        text_addf(text, "%s%s", i > 0 ? ", " : "", item);
    }
}

Test(k8s_policy, a28_every_list_has_a_bound_that_is_an_error_beyond_it)
{
    static const struct {
        const char *name, *before, *item, *after, *said;
        size_t most;
    } rows[] = {
        {"rules", "spec: {rules: [", "{}", "]}", "spec.rules", 512},
        {"from", "spec: {rules: [{from: [", "{source: {namespaces: [n%u]}}", "]}]}",
         "spec.rules[0].from", 512},
        {"to", "spec: {rules: [{to: [", "{operation: {ports: ['%u']}}", "]}]}", "spec.rules[0].to",
         512},
        {"when", "spec: {rules: [{when: [", "{key: source.namespace, values: [n%u]}", "]}]}",
         "spec.rules[0].when", 512},
        {"principals", "spec: {rules: [{from: [{source: {principals: [", "td/ns/a/sa/s%u",
         "]}}]}]}", "source.principals", 512},
        {"ipBlocks", "spec: {rules: [{from: [{source: {notIpBlocks: [", "10.0.%u.0/24", "]}}]}]}",
         "source.notIpBlocks", 512},
        {"ports", "spec: {rules: [{to: [{operation: {ports: [", "'%u'", "]}}]}]}",
         "operation.ports", 512},
        {"methods", "spec: {rules: [{to: [{operation: {methods: [", "M%u", "]}}]}]}",
         "operation.methods", 512},
        {"when values", "spec: {rules: [{when: [{key: source.ip, values: [", "10.0.0.%u", "]}]}]}",
         "when[0].values", 512},
        {"serviceAccounts", "spec: {rules: [{from: [{source: {serviceAccounts: [", "s%u", "]}}]}]}",
         "source.serviceAccounts", 16},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t n = rows[i].most; n <= rows[i].most + 1; n++) {
            struct text text = {0}, expected = {0};
            diag = (struct diag){0};
            text_addf(&text, HEAD "%s", rows[i].before);
            add_list(&text, n, rows[i].item);
            text_addf(&text, "%s\n", rows[i].after);
            text_addf(&expected, "%s: has %zu entries, %zu at most", rows[i].said, n, rows[i].most);
            struct manifests *set = read_text(text.ptr, &diag);
            cr_expect_eq(set != NULL, n == rows[i].most, "%s, %zu: %s", rows[i].name, n,
                         said(&diag));
            if (n > rows[i].most)
                expect_said(&diag, rows[i].name, expected.ptr);
            manifests_free(set);
            text_fini(&text);
            text_fini(&expected);
            diag_fini(&diag);
        }
    }
    diag = (struct diag){0};
}

Test(k8s_policy, a_service_that_is_not_here_is_warned_of)
{
    struct manifests *set = read_text(
        HEAD "spec: {targetRefs: [{kind: Service, name: gone}, {kind: ServiceImport, group: "
             "multicluster.x-k8s.io, name: kept}], rules: [{}]}\n---\napiVersion: v1\nkind: "
             "Service\nmetadata: {name: kept, namespace: shop}\nspec: {ports: [{port: 80}]}\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    manifests_cross_check(set, STR("root"), true, &diag);
    cr_expect_eq(diag.len, 2, "%s", said(&diag));
    expect_said(&diag, "service",
                "m.yaml:4:21: warning: AuthorizationPolicy shop/p: there is no Service \"gone\" "
                "here, so it applies to nothing through this target");
    expect_said(&diag, "import", "this cluster does not export a Service \"kept\" here");
    manifests_free(set);
}

Test(k8s_policy, warns_of_what_is_empty_and_has_a_meaning)
{
    static const struct {
        const char *text, *said;
    } rows[] = {
        {HEAD "spec: {action: DENY}\n",
         "m.yaml:4:7: warning: spec.rules: there are none, so it never matches"},
        {HEAD "spec: {action: AUDIT, rules: []}\n", "m.yaml:4:30: warning: spec.rules: there are"},
        {HEAD "spec: {selector: {}}\n", "m.yaml:4:18: warning: spec.selector: names no label, so "
                                        "it counts as if it were not there"},
        {HEAD "spec: {selector: {matchLabels: {}}}\n",
         "m.yaml:4:32: warning: spec.selector: names no label"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        diag = (struct diag){0};
        struct manifests *set = read_text(rows[i].text, &diag);
        cr_assert_not_null(set, "%s: %s", rows[i].text, said(&diag));
        cr_expect_eq(diag.len, 1, "%s: %s", rows[i].text, said(&diag));
        expect_said(&diag, rows[i].text, rows[i].said);
        manifests_free(set);
        diag_fini(&diag);
    }
}

Test(k8s_policy, warns_of_a_star_in_the_middle)
{
    struct manifests *set =
        read_text(RULE("from: [{source: {principals: [\"*/ns/x/*\"]}}]"), &diag);
    cr_assert_not_null(set);
    expect_said(&diag, "star",
                "m.yaml:6:35: warning: spec.rules[0].from[0].source.principals[0]: a star");
    expect_match(&set->policies[0].policy.rules[0].clauses[0].matches[0].principals[0],
                 MATCH_SUFFIX, "/ns/x/*");
    manifests_free(set);
}

struct asked { /* what is asked of the policies of a manifest, and what they are to say */
    const char *name, *text, *principal, *ip;
    uint16_t port;
    bool allowed;
};

static struct policy_answer answer_of(const struct asked *row, struct arena *arena,
                                      struct manifests **out_set)
{
    static char namespace_[64], account[64];
    const struct policy *policies[8];
    size_t n = 0;
    struct policy_question question = {.principal = str_from(row->principal), .port = row->port};
    struct manifests *set = read_text(row->text, &diag);
    cr_assert_not_null(set, "%s: %s", row->name, said(&diag));
    for (; n < set->n_policies; n++)
        policies[n] = policy_compile(arena, &set->policies[n].policy);
    namespace_[0] = account[0] = '\0';
    if (sscanf(row->principal, "%*[^/]/ns/%63[^/]/sa/%63s", namespace_, account) == 2) {
        question.namespace_ = str_from(namespace_);
        question.service_account = str_from(account);
    }
    cr_assert_eq(ip_parse(str_from(row->ip), &question.source), 0);
    cr_assert_eq(ip_parse(STR("10.9.9.9"), &question.destination), 0);
    *out_set = set;
    return compiled_policy_ask(arena, policies, n, false, &question);
}

#define POLICY(name)                                                                               \
    "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"                           \
    "metadata: {name: " name ", namespace: shop}\n"
#define DEV  "td/ns/dev/sa/x"
#define PROD "td/ns/prod/sa/x"

/* The vectors of the authorization checklist that a connection can be asked. */
Test(k8s_policy, the_truth_table_holds)
{
    static const struct asked rows[] = {
        {"A4 ALLOW{}", POLICY("p") "spec: {}\n", PROD, "10.0.0.1", 80, false},
        {"A4 DENY{}", POLICY("p") "spec: {action: DENY}\n", PROD, "10.0.0.1", 80, true},
        {"A4 DENY[{}]", POLICY("p") "spec: {action: DENY, rules: [{}]}\n", PROD, "10.0.0.1", 80,
         false},
        {"A3 no action is ALLOW, who matches",
         POLICY("p") "spec: {rules: [{from: [{source: {namespaces: [dev]}}]}]}\n", DEV, "10.0.0.1",
         80, true},
        {"A3 no action is ALLOW, who does not",
         POLICY("p") "spec: {rules: [{from: [{source: {namespaces: [dev]}}]}]}\n", PROD, "10.0.0.1",
         80, false},
        {"A1 ALLOW[{}] + DENY ns=dev, dev",
         POLICY("a") "spec: {rules: [{}]}\n" POLICY(
             "d") "spec: {action: DENY, rules: [{from: [{source: {namespaces: [dev]}}]}]}\n",
         DEV, "10.0.0.1", 80, false},
        {"A1 ALLOW[{}] + DENY ns=dev, prod",
         POLICY("a") "spec: {rules: [{}]}\n" POLICY(
             "d") "spec: {action: DENY, rules: [{from: [{source: {namespaces: [dev]}}]}]}\n",
         PROD, "10.0.0.1", 80, true},
        {"A7 ALLOW principals[a], plaintext",
         POLICY("p") "spec: {rules: [{from: [{source: {principals: [" PROD "]}}]}]}\n", "",
         "10.0.0.1", 80, false},
        {"A7 ALLOW principals[*], plaintext",
         POLICY("p") "spec: {rules: [{from: [{source: {principals: ['*']}}]}]}\n", "", "10.0.0.1",
         80, false},
        {"A8 DENY notPrincipals[*], plaintext",
         POLICY("p") "spec: {action: DENY, rules: [{from: [{source: {notPrincipals: ['*']}}]}]}\n",
         "", "10.0.0.1", 80, false},
        {"A8 DENY notPrincipals[*], mutual TLS",
         POLICY("p") "spec: {action: DENY, rules: [{from: [{source: {notPrincipals: ['*']}}]}]}\n",
         PROD, "10.0.0.1", 80, true},
        {"A6 middle stars are literal",
         POLICY("p") "spec: {rules: [{from: [{source: {principals: ['*/ns/prod/*']}}]}]}\n", PROD,
         "10.0.0.1", 80, false},
        {"A6 but not in namespaces",
         POLICY("p") "spec: {rules: [{from: [{source: {namespaces: ['p*d']}}]}]}\n", PROD,
         "10.0.0.1", 80, true},
        {"A9 a namespace is all of it",
         POLICY("p") "spec: {rules: [{from: [{source: {namespaces: [pro]}}]}]}\n", PROD, "10.0.0.1",
         80, false},
        {"A10 service account",
         POLICY("p") "spec: {rules: [{from: [{source: {serviceAccounts: [prod/x]}}]}]}\n", PROD,
         "10.0.0.1", 80, true},
        {"A10 of the policy's namespace",
         POLICY("p") "spec: {rules: [{from: [{source: {serviceAccounts: [x]}}]}]}\n", PROD,
         "10.0.0.1", 80, false},
        {"A10 not",
         POLICY("p") "spec: {rules: [{from: [{source: {notServiceAccounts: [prod/x]}}]}]}\n", PROD,
         "10.0.0.1", 80, false},
        {"A11 trust domain",
         POLICY("p") "spec: {rules: [{from: [{source: {trustDomains: [td]}}]}]}\n", PROD,
         "10.0.0.1", 80, true},
        {"A11 is all of it",
         POLICY("p") "spec: {rules: [{from: [{source: {trustDomains: [t]}}]}]}\n", PROD, "10.0.0.1",
         80, false},
        {"A11 not", POLICY("p") "spec: {rules: [{from: [{source: {notTrustDomains: [td]}}]}]}\n",
         PROD, "10.0.0.1", 80, false},
        {"A5 A12 ipBlocks and notIpBlocks",
         POLICY("p") "spec: {rules: [{from: [{source: {ipBlocks: [10.0.0.0/8], notIpBlocks: "
                     "[10.1.0.0/16]}}]}]}\n",
         PROD, "10.1.2.3", 80, false},
        {"A12 IPv6", POLICY("p") "spec: {rules: [{from: [{source: {ipBlocks: ['fd00::/8']}}]}]}\n",
         PROD, "fd12::1", 80, true},
        {"A12 IPv4-mapped",
         POLICY("p") "spec: {rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}\n", PROD,
         "::ffff:10.0.0.1", 80, true},
        {"A13 port 0 is one", POLICY("p") "spec: {rules: [{to: [{operation: {ports: ['0']}}]}]}\n",
         PROD, "10.0.0.1", 80, false},
        {"A21 DENY port and method, the port",
         POLICY("p") "spec: {action: DENY, rules: [{to: [{operation: {ports: ['8080'], methods: "
                     "[POST]}}]}]}\n",
         PROD, "10.0.0.1", 8080, false},
        {"A21 DENY port and method, another port",
         POLICY("p") "spec: {action: DENY, rules: [{to: [{operation: {ports: ['8080'], methods: "
                     "[POST]}}]}]}\n",
         PROD, "10.0.0.1", 9090, true},
        {"A21 DENY a method only",
         POLICY("p") "spec: {action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}\n", PROD,
         "10.0.0.1", 80, false},
        {"A21 ALLOW a path never matches, and the policy exists",
         POLICY("p") "spec: {rules: [{to: [{operation: {paths: [/info*]}}]}]}\n", PROD, "10.0.0.1",
         80, false},
        {"A21 beside a rule that can be asked",
         POLICY("p") "spec: {rules: [{to: [{operation: {paths: [/a]}}]}, {to: [{operation: {ports: "
                     "['80']}}]}]}\n",
         PROD, "10.0.0.1", 80, true},
        {"A22 DENY notRequestPrincipals[*]",
         POLICY("p") "spec: {action: DENY, rules: [{from: [{source: {notRequestPrincipals: "
                     "['*']}}]}]}\n",
         PROD, "10.0.0.1", 80, false},
        {"A22 DENY when a header",
         POLICY("p") "spec: {action: DENY, rules: [{when: [{key: 'request.headers[x]', values: "
                     "[a]}]}]}\n",
         PROD, "10.0.0.1", 80, false},
        {"A20 when: all must hold",
         POLICY("p") "spec: {rules: [{when: [{key: source.namespace, values: [prod]}, {key: "
                     "destination.port, notValues: ['80']}]}]}\n",
         PROD, "10.0.0.1", 80, false},
        {"A20 when: they hold",
         POLICY("p") "spec: {rules: [{when: [{key: source.namespace, values: [prod]}, {key: "
                     "destination.port, notValues: ['81']}, {key: destination.ip, values: "
                     "[10.9.0.0/16]}, {key: source.principal, values: ['td/*']}, {key: source.ip, "
                     "values: [10.0.0.1]}, {key: source.serviceAccount, values: [prod/x]}]}]}\n",
         PROD, "10.0.0.1", 80, true},
        {"A20 when: a destination that must not be",
         POLICY("p") "spec: {rules: [{when: [{key: destination.ip, notValues: [10.9.0.0/16]}]}]}\n",
         PROD, "10.0.0.1", 80, false},
        {"A20 when: a destination that need not be",
         POLICY("p") "spec: {rules: [{when: [{key: destination.ip, notValues: [10.0.0.0/16]}]}]}\n",
         PROD, "10.0.0.1", 80, true},
        {"A2 AUDIT decides nothing", POLICY("p") "spec: {action: AUDIT, rules: [{}]}\n", PROD,
         "10.0.0.1", 80, true},
        {"A25 a dry run decides nothing",
         "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, "
         "annotations: {istio.io/dry-run: \"true\"}}\nspec: {action: DENY, rules: [{}]}\n",
         PROD, "10.0.0.1", 80, true},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena = {0};
        struct manifests *set;
        diag = (struct diag){0};
        const struct policy_answer answer = answer_of(&rows[i], &arena, &set);
        cr_expect_eq(answer.allowed, rows[i].allowed, "%s: %s", rows[i].name, answer.sentence);
        manifests_free(set);
        arena_fini(&arena);
        diag_fini(&diag);
    }
    diag = (struct diag){0};
}

/* A2 */
Test(k8s_policy, an_audit_policy_is_named_in_the_answer)
{
    const struct asked row = {
        "audit", POLICY("p") "spec: {action: AUDIT, rules: [{}]}\n", PROD, "10.0.0.1", 80, true};
    struct arena arena = {0};
    struct manifests *set;
    const struct policy_answer answer = answer_of(&row, &arena, &set);
    cr_assert_eq(answer.n_audits, 1);
    cr_expect(str_eq(answer.audits[0].policy, STR("shop/p")));
    cr_expect_str_eq(answer.sentence, "no allow policies");
    manifests_free(set);
    arena_fini(&arena);
}
