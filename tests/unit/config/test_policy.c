#include <criterion/criterion.h>
#include <string.h>

#include "tests/kit/plain_policy.h"

static struct arena arena;

static void begin(void)
{
    arena = (struct arena){0};
}

static void end(void)
{
    arena_fini(&arena);
}

TestSuite(policy, .init = begin, .fini = end, .timeout = 20);

static struct string_match exact(const char *text)
{
    return (struct string_match){MATCH_EXACT, str_from(text)};
}

static const struct policy *compile(const char *name, enum policy_action action, bool dry_run,
                                    struct model_rule *rules, size_t n_rules)
{
    struct model_policy model = {.name = str_from(name),
                                 .namespace_ = STR("shop"),
                                 .action = action,
                                 .dry_run = dry_run,
                                 .rules = rules,
                                 .n_rules = n_rules};
    return policy_compile(&arena, &model);
}

/* A policy of one rule with one clause of one match. */
static const struct policy *compile_match(const char *name, enum policy_action action,
                                          struct model_match match)
{
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};
    return compile(name, action, false, &rule, 1);
}

static struct policy_question from(const char *principal, const char *namespace_, const char *ip,
                                   uint16_t port)
{
    struct policy_question question = {
        .principal = str_from(principal), .namespace_ = str_from(namespace_), .port = port};
    cr_assert_eq(ip_parse(str_from(ip), &question.source), 0);
    cr_assert_eq(ip_parse(STR("10.9.9.9"), &question.destination), 0);
    return question;
}

static bool allows(const struct policy *policy, struct policy_question question)
{
    return compiled_policy_ask(&arena, &policy, 1, false, &question).allowed;
}

Test(policy, no_policy_allows)
{
    struct policy_question question = from("", "", "10.0.0.1", 80);
    struct policy_answer answer = compiled_policy_ask(&arena, NULL, 0, false, &question);
    cr_expect(answer.allowed);
    cr_expect_str_eq(answer.sentence, "no allow policies");
    cr_expect(str_is_empty(answer.policy));
}

Test(policy, the_empty_forms_mean_what_istio_means)
{
    struct model_rule match_all = {0};
    struct model_match nothing_said = {0};
    struct policy_question question = from("td/ns/a/sa/b", "a", "10.0.0.1", 80);
    cr_expect_not(allows(compile("p", POLICY_ALLOW, false, NULL, 0), question), "ALLOW {}");
    cr_expect(allows(compile("p", POLICY_ALLOW, false, &match_all, 1), question), "ALLOW [{}]");
    cr_expect(allows(compile("p", POLICY_DENY, false, NULL, 0), question), "DENY {}");
    cr_expect_not(allows(compile("p", POLICY_DENY, false, &match_all, 1), question), "DENY [{}]");
    cr_expect_not(allows(compile_match("p", POLICY_ALLOW, nothing_said), question), "empty match");
    cr_expect(allows(compile_match("p", POLICY_DENY, nothing_said), question), "empty DENY match");
}

Test(policy, a_clause_without_matches_matches)
{
    struct model_clause clause = {0};
    struct model_rule rule = {&clause, 1};
    cr_expect(allows(compile("p", POLICY_ALLOW, false, &rule, 1), from("", "", "10.0.0.1", 1)));
}

Test(policy, matches_principals_by_kind)
{
    static const struct {
        enum match_kind kind;
        const char *value, *principal;
        bool matches;
    } rows[] = {
        {MATCH_EXACT, "td/ns/a/sa/b", "td/ns/a/sa/b", true},
        {MATCH_EXACT, "td/ns/a/sa/b", "td/ns/a/sa/bc", false},
        {MATCH_EXACT, "td/ns/a/sa/b", "TD/ns/a/sa/b", false},
        {MATCH_EXACT, "spiffe://td/ns/a/sa/b", "td/ns/a/sa/b", true},
        {MATCH_PREFIX, "td/ns/a/", "td/ns/a/sa/b", true},
        {MATCH_PREFIX, "spiffe://td/ns/a/", "td/ns/a/sa/b", true},
        {MATCH_PREFIX, "td/ns/a/", "td/ns/b/sa/b", false},
        {MATCH_SUFFIX, "/sa/b", "td/ns/a/sa/b", true},
        {MATCH_SUFFIX, "/sa/b", "td/ns/a/sa/c", false},
        {MATCH_SUFFIX, "/ns/a/*", "td/ns/a/sa/b", false},
        {MATCH_PRESENCE, "", "td/ns/a/sa/b", true},
        {MATCH_PRESENCE, "", "", false},
        {MATCH_EXACT, "", "", false},
        {MATCH_PREFIX, "", "", false},
        {MATCH_SUFFIX, "", "", false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct string_match match = {rows[i].kind, str_from(rows[i].value)};
        struct model_match in = {.principals = &match, .n_principals = 1};
        struct model_match out = {.not_principals = &match, .n_not_principals = 1};
        struct policy_question question = from(rows[i].principal, "a", "10.0.0.1", 80);
        cr_expect_eq(allows(compile_match("p", POLICY_ALLOW, in), question), rows[i].matches,
                     "row %zu: %s", i, rows[i].value);
        cr_expect_eq(allows(compile_match("p", POLICY_ALLOW, out), question), !rows[i].matches,
                     "row %zu: not %s", i, rows[i].value);
    }
}

/* STRICT is made of this: DENY notPrincipals ["*"]. */
Test(policy, plaintext_satisfies_not_principals)
{
    struct string_match any = {MATCH_PRESENCE, {0}};
    const struct policy *strict = compile_match(
        "strict", POLICY_DENY, (struct model_match){.not_principals = &any, .n_not_principals = 1});
    cr_expect_not(allows(strict, from("", "", "10.0.0.1", 80)));
    cr_expect(allows(strict, from("td/ns/a/sa/b", "a", "10.0.0.1", 80)));
}

Test(policy, fields_must_all_match_and_values_are_alternatives)
{
    struct string_match principals[] = {exact("p1"), exact("p2")}, namespaces[] = {exact("a")};
    uint16_t ports[] = {80, 81}, not_ports[] = {81};
    const struct policy *policy = compile_match("p", POLICY_ALLOW,
                                                (struct model_match){.principals = principals,
                                                                     .n_principals = 2,
                                                                     .namespaces = namespaces,
                                                                     .n_namespaces = 1,
                                                                     .ports = ports,
                                                                     .n_ports = 2,
                                                                     .not_ports = not_ports,
                                                                     .n_not_ports = 1});
    cr_expect(allows(policy, from("p1", "a", "10.0.0.1", 80)));
    cr_expect(allows(policy, from("p2", "a", "10.0.0.1", 80)));
    cr_expect_not(allows(policy, from("p3", "a", "10.0.0.1", 80)));
    cr_expect_not(allows(policy, from("p1", "b", "10.0.0.1", 80)));
    cr_expect_not(allows(policy, from("p1", "", "10.0.0.1", 80)));
    cr_expect_not(allows(policy, from("p1", "a", "10.0.0.1", 82)));
    cr_expect_not(allows(policy, from("p1", "a", "10.0.0.1", 81)));
}

Test(policy, compares_addresses_of_both_families)
{
    struct cidr in[2], out[1], to[1];
    cr_assert_eq(cidr_parse(STR("10.0.0.0/8"), &in[0]) | cidr_parse(STR("fd00::/16"), &in[1]) |
                     cidr_parse(STR("10.1.0.0/16"), &out[0]) | cidr_parse(STR("10.9.9.9"), &to[0]),
                 0);
    struct model_match match = {.source_ips = in,
                                .n_source_ips = 2,
                                .not_source_ips = out,
                                .n_not_source_ips = 1,
                                .destination_ips = to,
                                .n_destination_ips = 1};
    const struct policy *policy = compile_match("p", POLICY_ALLOW, match);
    struct policy_question none = {0};
    cr_expect(allows(policy, from("", "", "10.2.3.4", 80)));
    cr_expect(allows(policy, from("", "", "fd00::1", 80)));
    cr_expect(allows(policy, from("", "", "::ffff:10.2.3.4", 80)));
    cr_expect_not(allows(policy, from("", "", "a00::1", 80)), "the first bytes are those of 10/8");
    cr_expect_not(allows(policy, from("", "", "253.0.0.1", 80)), "and of fd00::/16");
    cr_expect_not(allows(policy, from("", "", "fd01::1", 80)));
    cr_expect_not(allows(policy, from("", "", "10.1.2.3", 80)));
    cr_expect_not(allows(policy, from("", "", "11.0.0.1", 80)));
    cr_expect_not(allows(policy, none));
    match.not_destination_ips = to;
    match.n_not_destination_ips = 1;
    cr_expect_not(allows(compile_match("q", POLICY_ALLOW, match), from("", "", "10.2.3.4", 80)));
}

Test(policy, a12_ranges_that_begin_alike_are_told_apart)
{
    struct cidr in[3];
    cr_assert_eq(cidr_parse(STR("fd00:0:1::/48"), &in[0]) |
                     cidr_parse(STR("fd00:0:3::/48"), &in[1]) |
                     cidr_parse(STR("fd00:0:5::7"), &in[2]),
                 0);
    const struct policy *policy =
        compile_match("p", POLICY_ALLOW, (struct model_match){.source_ips = in, .n_source_ips = 3});
    cr_expect(allows(policy, from("", "", "fd00:0:1:ffff::1", 80)));
    cr_expect(allows(policy, from("", "", "fd00:0:3::1", 80)));
    cr_expect(allows(policy, from("", "", "fd00:0:5::7", 80)));
    cr_expect_not(allows(policy, from("", "", "fd00:0:2::1", 80)));
    cr_expect_not(allows(policy, from("", "", "fd00:0:5::8", 80)));
}

Test(policy, clauses_must_all_match_and_matches_are_alternatives)
{
    struct string_match a = exact("a"), b = exact("b");
    uint16_t port = 80;
    struct model_match sources[] = {{.namespaces = &a, .n_namespaces = 1},
                                    {.namespaces = &b, .n_namespaces = 1}};
    struct model_match operation = {.ports = &port, .n_ports = 1};
    struct model_clause clauses[] = {{sources, 2}, {&operation, 1}};
    struct model_rule rule = {clauses, 2};
    const struct policy *policy = compile("p", POLICY_ALLOW, false, &rule, 1);
    cr_expect(allows(policy, from("x", "a", "10.0.0.1", 80)));
    cr_expect(allows(policy, from("x", "b", "10.0.0.1", 80)));
    cr_expect_not(allows(policy, from("x", "c", "10.0.0.1", 80)));
    cr_expect_not(allows(policy, from("x", "a", "10.0.0.1", 81)));
}

Test(policy, deny_goes_before_allow_in_whatever_order)
{
    struct string_match dev = exact("dev");
    struct model_rule all = {0};
    const struct policy *allow = compile("allow", POLICY_ALLOW, false, &all, 1);
    const struct policy *deny = compile_match(
        "deny", POLICY_DENY, (struct model_match){.namespaces = &dev, .n_namespaces = 1});
    const struct policy *orders[][2] = {{allow, deny}, {deny, allow}};
    struct policy_question bad = from("x", "dev", "10.0.0.1", 80);
    struct policy_question good = from("x", "prod", "10.0.0.1", 80);
    for (size_t i = 0; i < 2; i++) {
        struct policy_answer answer = compiled_policy_ask(&arena, orders[i], 2, false, &bad);
        cr_expect_not(answer.allowed);
        cr_expect(str_eq(answer.policy, STR("shop/deny")));
        cr_expect_str_eq(answer.sentence, "explicitly denied by");
        answer = compiled_policy_ask(&arena, orders[i], 2, false, &good);
        cr_expect(answer.allowed);
        cr_expect(str_eq(answer.policy, STR("shop/allow")));
        cr_expect_str_eq(answer.sentence, "allowed by");
    }
}

Test(policy, names_the_rule_that_decided)
{
    struct string_match a = exact("a"), b = exact("b");
    struct model_match matches[] = {{.namespaces = &a, .n_namespaces = 1},
                                    {.namespaces = &b, .n_namespaces = 1}};
    struct model_clause clauses[] = {{&matches[0], 1}, {&matches[1], 1}};
    struct model_rule rules[] = {{&clauses[0], 1}, {&clauses[1], 1}};
    const struct policy *policy = compile("p", POLICY_ALLOW, false, rules, 2);
    struct policy_question question = from("x", "b", "10.0.0.1", 80);
    cr_expect_eq(compiled_policy_ask(&arena, &policy, 1, false, &question).rule_idx, 1);
    question = from("x", "c", "10.0.0.1", 80);
    cr_expect_str_eq(compiled_policy_ask(&arena, &policy, 1, false, &question).sentence,
                     "allow policies exist, but none allowed");
}

Test(policy, a_missing_policy_closes_but_an_explicit_denial_is_named)
{
    struct model_rule all = {0};
    const struct policy *allow = compile("allow", POLICY_ALLOW, false, &all, 1);
    const struct policy *deny = compile("deny", POLICY_DENY, false, &all, 1);
    struct policy_question question = from("x", "a", "10.0.0.1", 80);
    struct policy_answer answer = compiled_policy_ask(&arena, &allow, 1, true, &question);
    cr_expect_not(answer.allowed);
    cr_expect_str_eq(answer.sentence, "refers to a policy that is not there");
    cr_expect_not(compiled_policy_ask(&arena, NULL, 0, true, &question).allowed);
    answer = compiled_policy_ask(&arena, &deny, 1, true, &question);
    cr_expect(str_eq(answer.policy, STR("shop/deny")));
}

Test(policy, what_cannot_be_evaluated_is_held_against_the_connection)
{
    uint16_t port = 8080;
    struct model_match unknown = {.has_unknown = true};
    struct model_match with_port = {.ports = &port, .n_ports = 1, .has_unknown = true};
    cr_expect_not(allows(compile_match("p", POLICY_ALLOW, unknown), from("x", "a", "10.0.0.1", 1)));
    cr_expect_not(allows(compile_match("p", POLICY_DENY, unknown), from("x", "a", "10.0.0.1", 1)));
    cr_expect_not(
        allows(compile_match("p", POLICY_ALLOW, with_port), from("x", "a", "10.0.0.1", 8080)));
    cr_expect_not(
        allows(compile_match("p", POLICY_DENY, with_port), from("x", "a", "10.0.0.1", 8080)));
    cr_expect(allows(compile_match("p", POLICY_DENY, with_port), from("x", "a", "10.0.0.1", 9090)));
}

Test(policy, dry_run_is_told_and_never_decides)
{
    struct model_rule all = {0};
    const struct policy *dry_deny = compile("dry", POLICY_DENY, true, &all, 1);
    const struct policy *dry_allow = compile("dry-allow", POLICY_ALLOW, true, NULL, 0);
    const struct policy *allow = compile("allow", POLICY_ALLOW, false, NULL, 0);
    const struct policy *dry[] = {dry_deny, dry_allow};
    const struct policy *mixed[] = {dry_deny, allow};
    struct policy_question question = from("x", "a", "10.0.0.1", 80);
    struct policy_answer answer = compiled_policy_ask(&arena, dry, 2, false, &question);
    cr_expect(answer.allowed);
    cr_expect_str_eq(answer.sentence, "no allow policies");
    cr_expect(str_eq(answer.dry_run.deny.policy, STR("shop/dry")));
    answer = compiled_policy_ask(&arena, mixed, 2, false, &question);
    cr_expect_not(answer.allowed);
    cr_expect(str_eq(answer.dry_run.deny.policy, STR("shop/dry")));
}

Test(policy, a25_a_dry_run_says_what_it_would_have_done)
{
    struct model_rule all = {0};
    struct string_match other = exact("other");
    const struct model_match of_others = {.namespaces = &other, .n_namespaces = 1};
    const struct policy *dry_deny = compile("a", POLICY_DENY, true, &all, 1);
    const struct policy *dry_allow = compile("b", POLICY_ALLOW, true, &all, 1);
    const struct policy *dry_nobody = compile("c", POLICY_ALLOW, true, NULL, 0);
    const struct policy *allow = compile("d", POLICY_ALLOW, false, &all, 1);
    const struct policy *deny = compile("e", POLICY_DENY, false, &all, 1);
    const struct policy *allow_others = compile_match("f", POLICY_ALLOW, of_others);

    const struct {
        const char *name;
        const struct policy *policies[2];
        bool allowed, would_deny;
        const char *sentence, *deny, *allow;
    } rows[] = {
        {"DENY", {dry_deny}, true, true, "would be denied by", "shop/a", ""},
        {"DENY beside ALLOW", {dry_deny, allow}, true, true, "would be denied by", "shop/a", ""},
        {"ALLOW for all", {dry_allow}, true, false, "would be allowed by", "", "shop/b"},
        {"ALLOW for nobody",
         {dry_nobody},
         true,
         true,
         "would be denied because no dry-run allow matched",
         "",
         ""},
        {"ALLOW for nobody beside ALLOW",
         {dry_nobody, allow},
         true,
         false,
         "would change nothing",
         "",
         ""},
        {"ALLOW beside ALLOW for others",
         {dry_allow, allow_others},
         false,
         false,
         "would be allowed by",
         "",
         "shop/b"},
        {"ALLOW beside DENY", {dry_allow, deny}, false, true, "would change nothing", "", "shop/b"},
    };
    struct policy_question question = from("x", "a", "10.0.0.1", 80);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const size_t n = rows[i].policies[1] ? 2 : 1;
        const struct policy_answer answer =
            compiled_policy_ask(&arena, rows[i].policies, n, false, &question);
        const struct policy_dry_run *dry = &answer.dry_run;
        cr_expect_eq(answer.allowed, rows[i].allowed, "%s", rows[i].name);
        cr_expect(dry->is_asked, "%s", rows[i].name);
        cr_expect_eq(dry->would_deny, rows[i].would_deny, "%s", rows[i].name);
        cr_expect_str_eq(dry->sentence, rows[i].sentence, "%s", rows[i].name);
        cr_expect(str_eq(dry->deny.policy, str_from(rows[i].deny)), "%s", rows[i].name);
        cr_expect(str_eq(dry->allow.policy, str_from(rows[i].allow)), "%s", rows[i].name);
    }
}

Test(policy, a_compiled_policy_outlives_its_model)
{
    char principal[] = "td/ns/a/sa/b", name[] = "p";
    struct string_match match = {MATCH_EXACT, str_of(principal, strlen(principal))};
    const struct policy *policy = compile_match(
        name, POLICY_ALLOW, (struct model_match){.principals = &match, .n_principals = 1});
    memset(principal, 'x', strlen(principal));
    name[0] = 'x';
    match.kind = MATCH_PRESENCE;
    cr_expect(allows(policy, from("td/ns/a/sa/b", "a", "10.0.0.1", 80)));
    cr_expect_not(allows(policy, from("td/ns/a/sa/c", "a", "10.0.0.1", 80)));
    cr_expect(str_eq(policy->key, STR("shop/p")));
}
