/* Objects one by one: what of them counts, what a wrong one leaves in force. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/manifests_store.h"
#include "fixture.h"

#define POLICY(spec)                                                                               \
    "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p, "           \
    "namespace: "                                                                                  \
    "shop}, spec: " spec "}"
#define NODE(rest) "{apiVersion: v1, kind: Node, metadata: {name: n" rest "}}"
#define PODS                                                                                       \
    "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}, status: {podIP: 10.0.0.1"

static struct manifests_store *store;
static struct diag diag;

static void begin(void)
{
    store = manifests_store_new();
    diag = (struct diag){0};
}

static void end(void)
{
    manifests_store_free(store);
    diag_fini(&diag);
}

TestSuite(manifests_store, .init = begin, .fini = end, .timeout = 20);

static enum manifests_put put(const char *path, const char *text)
{
    struct arena arena = {0};
    struct yaml **docs;
    const size_t n = yaml_parse(&arena, str_from(path), str_from(text), &docs, &diag);

    cr_assert_eq(n, 1, "%s: %s", text, said(&diag));
    const enum manifests_put fate = manifests_store_put(store, str_from(path), docs[0]);
    arena_fini(&arena);
    return fate;
}

static struct manifests *all(void)
{
    struct manifests *set = manifests_store_set(store, &diag);

    cr_assert_not_null(set, "%s", said(&diag));
    return set;
}

static void expect_why(const char *row, const char *path, const char *part)
{
    struct manifests_refusal refusal = {0};

    cr_assert(manifests_store_refusal(store, str_from(path), &refusal), "%s", row);
    cr_expect(str_contains(refusal.why, str_from(part)), "%s: %.*s", row, STR_ARG(refusal.why));
}

Test(manifests_store, what_changes_by_itself_is_no_change)
{
    cr_expect_eq(put("Node n", NODE(", resourceVersion: \"1\", labels: {a: b}")),
                 MANIFESTS_PUT_TAKEN);
    cr_expect_eq(put("Node n", "{apiVersion: v1, kind: Node, metadata: {name: n, resourceVersion: "
                               "\"2\", generation: 4, managedFields: [{}], labels: {a: b}, "
                               "annotations: {last-seen: now}}, spec: {x: 1}, status: {beat: 7}}"),
                 MANIFESTS_PUT_SAME);
    cr_expect_eq(put("Node n", NODE(", labels: {a: c}")), MANIFESTS_PUT_TAKEN);
    cr_expect_eq(put("Pod shop/a", PODS ", containerStatuses: [1]}}"), MANIFESTS_PUT_TAKEN);
    cr_expect_eq(put("Pod shop/a", PODS ", containerStatuses: [2]}}"), MANIFESTS_PUT_SAME);
    cr_expect_eq(put("Pod shop/a", PODS ", phase: Failed}}"), MANIFESTS_PUT_TAKEN);
}

Test(manifests_store, a_wrong_object_stays_as_it_was_last_good_and_says_which_field)
{
    cr_expect_eq(put("AuthorizationPolicy shop/p", POLICY("{action: DENY, rules: [{}]}")),
                 MANIFESTS_PUT_TAKEN);
    cr_expect_eq(put("AuthorizationPolicy shop/p", POLICY("{action: ALLOW, ruls: [{}]}")),
                 MANIFESTS_PUT_KEPT);
    expect_why("wrong", "AuthorizationPolicy shop/p",
               "AuthorizationPolicy shop/p:1:123: error: spec.ruls");
    cr_expect_eq(manifests_store_n_refused(store), 1);
    cr_expect_eq(put("AuthorizationPolicy shop/p", POLICY("{action: ALLOW, ruls: [{}, {}]}")),
                 MANIFESTS_PUT_KEPT, "however often");
    struct manifests *set = all();
    cr_assert_eq(set->n_policies, 1);
    cr_expect_eq(set->policies[0].policy.action, POLICY_DENY);
    manifests_free(set);
    cr_expect_eq(put("AuthorizationPolicy shop/p", POLICY("{action: ALLOW}")), MANIFESTS_PUT_TAKEN);
    cr_expect_eq(manifests_store_n_refused(store), 0);
}

Test(manifests_store, what_was_never_good_is_closed_as_far_as_it_may_reach)
{
    static const struct {
        const char *name, *spec;
        enum manifests_put fate;
        enum policy_action action;
        size_t n_rules, n_selector, n_targets;
    } rows[] = {
        {"allows", "{rules: [{form: []}]}", MANIFESTS_PUT_CLOSED, POLICY_ALLOW, 0, 0, 0},
        {"allows some", "{selector: {matchLabels: {a: b}}, rules: [{form: []}]}",
         MANIFESTS_PUT_CLOSED, POLICY_ALLOW, 0, 1, 0},
        {"denies", "{action: DENY, rules: [{form: []}]}", MANIFESTS_PUT_CLOSED, POLICY_DENY, 1, 0,
         0},
        {"denies a service", "{action: DENY, targetRefs: [{kind: Service, name: s}], ruls: []}",
         MANIFESTS_PUT_CLOSED, POLICY_DENY, 1, 0, 1},
        {"an unknown action", "{action: CUSTOM, selector: {matchLabels: {a: b}}}",
         MANIFESTS_PUT_CLOSED, POLICY_DENY, 1, 1, 0},
        {"an unreadable selector", "{action: DENY, selector: {matchExpressions: []}}",
         MANIFESTS_PUT_CLOSED, POLICY_DENY, 1, 0, 0},
        {"an unreadable target", "{targetRefs: [{kind: Service, name: UPPER}]}",
         MANIFESTS_PUT_CLOSED, POLICY_ALLOW, 0, 0, 0},
        {"about a gateway", "{action: DENY, targetRefs: [{kind: Gateway, name: g}]}",
         MANIFESTS_PUT_LEFT_OUT, 0, 0, 0, 0},
        {"audits", "{action: AUDIT, ruls: []}", MANIFESTS_PUT_LEFT_OUT, 0, 0, 0, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text doc = {0};

        end();
        begin();
        text_addf(&doc,
                  "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: "
                  "p, namespace: shop}, spec: %s}",
                  rows[i].spec);
        cr_expect_eq(put("AuthorizationPolicy shop/p", doc.ptr), rows[i].fate, "%s", rows[i].name);
        struct manifests *set = all();
        cr_expect_eq(set->n_policies, rows[i].fate == MANIFESTS_PUT_CLOSED, "%s", rows[i].name);
        if (set->n_policies == 1) {
            const struct k8s_policy *policy = &set->policies[0];
            cr_expect_eq(policy->policy.action, rows[i].action, "%s", rows[i].name);
            cr_expect_eq(policy->policy.n_rules, rows[i].n_rules, "%s", rows[i].name);
            cr_expect_eq(policy->n_selector, rows[i].n_selector, "%s", rows[i].name);
            cr_expect_eq(policy->n_targets, rows[i].n_targets, "%s", rows[i].name);
        }
        manifests_free(set);
        text_fini(&doc);
    }
}

Test(manifests_store, other_kinds_that_were_never_good)
{
    cr_expect_eq(put("PeerAuthentication shop/a",
                     "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: "
                     "{name: a, namespace: shop}, spec: {selector: {matchLabels: {a: b}}, mtls: "
                     "{mode: LOUD}}}"),
                 MANIFESTS_PUT_CLOSED);
    cr_expect_eq(put("RequestAuthentication shop/p",
                     "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: "
                     "{name: p, namespace: shop}, spec: {jwtRuls: []}}"),
                 MANIFESTS_PUT_CLOSED);
    cr_expect_eq(put("AuthorizationPolicy shop/p", POLICY("{}")), MANIFESTS_PUT_TAKEN,
                 "beside one that stands in for a RequestAuthentication of its name");
    cr_expect_eq(put("Pod shop/a", PODS ", phase: [1]}}"), MANIFESTS_PUT_LEFT_OUT);
    cr_expect_eq(put("Pod shop/a", NODE("")), MANIFESTS_PUT_LEFT_OUT, "another kind");
    cr_expect_eq(put("Node n", "{apiVersion: v9, kind: Node, metadata: {name: n}}"),
                 MANIFESTS_PUT_LEFT_OUT);

    struct manifests *set = all();
    cr_assert_eq(set->n_peer_auths, 1);
    cr_expect_eq(set->peer_auths[0].mode, MTLS_STRICT);
    cr_expect_eq(set->peer_auths[0].n_selector, 1);
    cr_assert_eq(set->n_policies, 2);
    cr_expect(str_eq(set->policies[1].policy.name, STR("RequestAuthentication:p")));
    cr_expect_eq(set->policies[1].policy.action, POLICY_DENY);
    cr_expect_eq(set->n_request_auths + set->n_pods + set->n_nodes, 0);
    manifests_free(set);
    size_t n = 0;
    struct manifests_refusal refusal;
    for (size_t idx = 0; manifests_store_next_refusal(store, &idx, &refusal);)
        n++;
    cr_expect_eq(n, manifests_store_n_refused(store));
}

Test(manifests_store, what_is_not_put_between_begin_and_end_is_gone)
{
    (void)put("Node a", "{apiVersion: v1, kind: Node, metadata: {name: a}}");
    (void)put("Node b", "{apiVersion: v1, kind: Node, metadata: {name: b}}");
    (void)put("Pod shop/a", PODS "}}");
    (void)put("AuthorizationPolicy shop/p", POLICY("{ruls: []}"));
    uint64_t begun = manifests_store_begin(store);
    (void)put("Node b", "{apiVersion: v1, kind: Node, metadata: {name: b}}");
    cr_expect_eq(manifests_store_end(store, STR("Node"), begun), 1);
    cr_expect_eq(manifests_store_count(store, STR("Node")), 1);
    cr_expect_eq(manifests_store_count(store, STR("Pod")), 1, "other kinds stay");
    begun = manifests_store_begin(store);
    cr_expect_eq(manifests_store_end(store, STR("AuthorizationPolicy"), begun), 1);
    cr_expect_eq(manifests_store_n_refused(store), 0);
    cr_expect(manifests_store_remove(store, STR("Pod shop/a")));
    cr_expect(!manifests_store_remove(store, STR("Pod shop/a")));
}

Test(manifests_store, pods_that_change_are_news_and_anything_else_is_a_whole_set)
{
    struct manifests_changes changes;
    struct manifests *whole;

    (void)put("Node n", NODE(""));
    (void)put("Pod shop/a", PODS "}}");
    struct manifests *set = all();
    (void)put("Pod shop/a", PODS ", phase: Failed}}");
    (void)put("Pod shop/b", "{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: shop}}");
    cr_expect_eq(manifests_store_news(store, set, &changes, &whole, &diag), MANIFESTS_PATCHED);
    cr_expect_eq(changes.n_pods, 2);
    manifests_changes_fini(&changes);

    cr_expect(manifests_store_remove(store, STR("Pod shop/a")));
    cr_expect_eq(manifests_store_news(store, set, &changes, &whole, &diag), MANIFESTS_PATCHED);
    cr_expect_eq(changes.n_pods_gone, 1);
    manifests_changes_fini(&changes);

    (void)put("Node n", NODE(", labels: {a: b}"));
    cr_expect_eq(manifests_store_news(store, set, &changes, &whole, &diag), MANIFESTS_WHOLE);
    cr_expect_eq(whole->n_pods, 1);
    manifests_changes_fini(&changes);
    manifests_free(set);
    manifests_store_free(store); /* a set outlives it */
    store = manifests_store_new();
    cr_expect(str_eq(whole->pods[0].meta.name, STR("b")));
    manifests_free(whole);
}

/* ---- last good versions that outlive the process ---- */

#define PATH "AuthorizationPolicy shop/p"
#define OF_UID(uid, spec)                                                                          \
    "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p, "           \
    "namespace: shop, uid: " uid "}, spec: " spec "}"

static struct text kept(void)
{
    struct text out = {0};

    cr_expect_eq(manifests_store_kept(store, &out), 0);
    return out;
}

/* What was kept is all that a new store knows. */
static void restart(void)
{
    struct text lines = kept();
    struct str line, rest = text_str(&lines);
    struct arena arena = {0};

    manifests_store_free(store);
    store = manifests_store_new();
    while (str_split(rest, '\n', &line, &rest)) {
        struct yaml **docs;
        cr_assert_eq(yaml_parse(&arena, STR("kept"), line, &docs, &diag), 1, "%s", said(&diag));
        cr_expect(manifests_store_recall(store, yaml_get(docs[0], "path")->text,
                                         yaml_get(docs[0], "object")));
    }
    arena_fini(&arena);
    text_fini(&lines);
}

static void expect_kept(const char *row, bool is)
{
    struct text lines = kept();

    cr_expect_eq(lines.len > 0, is, "%s: %s", row, lines.ptr);
    text_fini(&lines);
}

static void expect_action(const char *row, size_t n, enum policy_action action)
{
    struct manifests *set = all();

    cr_assert_eq(set->n_policies, n, "%s", row);
    cr_expect(n == 0 || set->policies[0].policy.action == action, "%s", row);
    manifests_free(set);
}

Test(manifests_store, a_last_good_version_outlives_the_process_as_often_as_it_must)
{
    (void)put(PATH,
              OF_UID("u-1", "{action: ALLOW, rules: [{to: [{operation: {ports: ['80']}}]}]}"));
    expect_kept("while it is good", false);
    const uint64_t round = manifests_store_kept_round(store);
    cr_expect_eq(put(PATH, OF_UID("u-1", "{action: ALLOW, ruls: []}")), MANIFESTS_PUT_KEPT);
    cr_expect_neq(manifests_store_kept_round(store), round);
    expect_kept("when it is wrong", true);
    for (unsigned i = 0; i < 3; i++) {
        restart();
        expect_kept("before it was seen again", true);
        expect_action("before it was seen again", 0, POLICY_ALLOW);
        cr_expect_eq(put(PATH, OF_UID("u-1", "{action: ALLOW, ruls: []}")), MANIFESTS_PUT_KEPT);
        cr_expect_eq(put(PATH, OF_UID("u-1", "{action: DENY, ruls: [{}]}")), MANIFESTS_PUT_KEPT);
        struct manifests *set = all();
        cr_assert_eq(set->n_policies, 1);
        cr_expect_eq(set->policies[0].policy.action, POLICY_ALLOW);
        cr_expect_eq(set->policies[0].policy.n_rules, 1, "not what closes in its place");
        manifests_free(set);
        cr_expect_eq(manifests_store_n_refused(store), 1);
    }
    cr_expect_eq(put(PATH, OF_UID("u-1", "{action: DENY, rules: [{}]}")), MANIFESTS_PUT_TAKEN);
    expect_kept("when it is good again", false);
    expect_action("when it is good again", 1, POLICY_DENY);
}

Test(manifests_store, a_last_good_version_goes_with_its_object)
{
    static const char *const wrong[] = {OF_UID("u-1", "{action: ALLOW, ruls: []}"),
                                        OF_UID("u-2", "{action: ALLOW, ruls: []}")};

    for (unsigned row = 0; row < 5; row++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "row %u", row);
        end();
        begin();
        (void)put(PATH, OF_UID("u-1", "{action: ALLOW, rules: [{}]}"));
        (void)put(PATH, wrong[0]);
        if (row != 0)
            restart();
        const uint64_t round = manifests_store_kept_round(store);
        uint64_t begun;
        switch (row) {
        case 0: /* deleted while we looked */
            cr_expect(manifests_store_remove(store, STR(PATH)));
            break;
        case 1: /* deleted between list and watch */
            cr_expect_not(manifests_store_remove(store, STR(PATH)));
            break;
        case 2: /* not listed any more */
            begun = manifests_store_begin(store);
            (void)manifests_store_end(store, STR("Authorization"), begun);
            expect_kept("another kind", true);
            (void)manifests_store_end(store, STR("AuthorizationPolicy"), begun);
            break;
        case 3: /* another one of its name */
            cr_expect_eq(put(PATH, wrong[1]), MANIFESTS_PUT_CLOSED);
            break;
        case 4: /* good */
            cr_expect_eq(put(PATH, OF_UID("u-1", "{action: DENY, rules: [{}]}")),
                         MANIFESTS_PUT_TAKEN);
            break;
        }
        expect_kept(name, false);
        cr_expect_neq(manifests_store_kept_round(store), round, "%s", name);
    }
}

Test(manifests_store, another_object_of_its_name_has_no_last_good_version)
{
    (void)put(PATH, OF_UID("u-1", "{action: ALLOW, rules: [{}]}"));
    cr_expect_eq(put(PATH, OF_UID("u-2", "{action: ALLOW, ruls: []}")), MANIFESTS_PUT_CLOSED);
    expect_kept("the first was good", false);
    (void)put(PATH, OF_UID("u-2", "{action: ALLOW, rules: [{}]}"));
    cr_expect_eq(put(PATH, OF_UID("u-2", "{action: ALLOW, ruls: []}")), MANIFESTS_PUT_KEPT);
    const uint64_t round = manifests_store_kept_round(store);
    cr_expect_eq(put(PATH, OF_UID("u-3", "{action: ALLOW, ruls: []}")), MANIFESTS_PUT_CLOSED);
    cr_expect_neq(manifests_store_kept_round(store), round);
    expect_kept("the second was wrong", false);
    cr_expect_eq(manifests_store_n_refused(store), 1);
}

Test(manifests_store, what_is_not_good_or_not_of_a_kind_that_is_kept_is_not_recalled)
{
    struct arena arena = {0};
    struct yaml **docs;

    cr_assert_eq(yaml_parse(&arena, STR("x"), STR(POLICY("{ruls: []}")), &docs, &diag), 1);
    cr_expect_not(manifests_store_recall(store, STR(PATH), docs[0]));
    cr_assert_eq(yaml_parse(&arena, STR("x"), STR(NODE("")), &docs, &diag), 1);
    cr_expect_not(manifests_store_recall(store, STR("Node n"), docs[0]));
    cr_expect_not(manifests_store_recall(store, STR(PATH), docs[0]), "another kind");
    (void)put("Node n", NODE(""));
    (void)put("Node n", "{apiVersion: v9, kind: Node, metadata: {name: n}}");
    expect_kept("a node", false);
    arena_fini(&arena);
}
