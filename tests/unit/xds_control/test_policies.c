/*
 * Who may come without mutual TLS, to which service, and under which name of our trust domain: from
 * manifests over the wire into a snapshot, where the policies are asked.
 */
#include <criterion/criterion.h>

#include "cluster.h"
#include "config/policy.h"
#include "config/snapshot.h"
#include "xds/codec.h"

static struct cluster cluster;
static struct snapshot *snapshot;

static void init(void)
{
    cluster_init(&cluster);
    snapshot = NULL;
}

static void fini(void)
{
    snapshot_free(snapshot);
    cluster_fini(&cluster);
}

TestSuite(policies, .init = init, .fini = fini, .timeout = 30);

/* "shop/web": labels app: web; 10.1.0.1. "shop/db": app: db; 10.1.0.2. "bank/web": 10.1.0.3. And
 * "web" of the root namespace: 10.1.0.4. */
static void pods(void)
{
    cluster_pod(&cluster, "shop", "web", "10.1.0.1", "app: web");
    cluster_pod(&cluster, "shop", "db", "10.1.0.2", "app: db");
    cluster_pod(&cluster, "bank", "web", "10.1.0.3", "app: web");
    cluster_pod(&cluster, "isthmus-system", "web", "10.1.0.4", "app: web");
}

static void auth(const char *namespace_, const char *name, int day, const char *spec)
{
    cluster_addf(&cluster,
                 "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: "
                 "{namespace: %s, name: %s, creationTimestamp: \"2026-01-%02dT00:00:00Z\"}, spec: "
                 "{%s}}",
                 namespace_, name, day, spec);
}

/* As a node sees it: every resource is written to bytes and read back. */
static void travel(void)
{
    const struct registry *registry = cluster_build(&cluster);
    struct arena *arena = &cluster.arena;
    struct text why = {0};
    const struct model_resource **got =
        arena_new_array(arena, const struct model_resource *, registry->n_for_nodes);
    size_t n = 0;
    for (size_t i = 0; i < registry->n_for_nodes; i++) {
        const struct model_resource *sent = registry->for_nodes[i];
        if (sent->kind == MODEL_BUNDLE)
            continue; /* the roots of these tests are none */
        struct model_resource *one = arena_new(arena, struct model_resource);
        struct text bytes = {0};
        const struct str name = xds_encode(sent, arena, &bytes);
        cr_assert_eq(xds_decode(xds_type_of_kind(sent->kind), name,
                                arena_str(arena, text_str(&bytes)), arena, one, &why),
                     0, "%s", why.ptr);
        text_fini(&bytes);
        got[n++] = one;
    }
    const struct vantage vantage = {.node = STR("n1"),
                                    .cluster = STR("west"),
                                    .trust_domain = STR("west.example"),
                                    .cluster_domain = STR("cluster.local")};
    snapshot_free(snapshot);
    snapshot = snapshot_build(got, n, &vantage, 1, true);
}

static struct policy_answer answer(const char *ip, uint16_t port, const char *account)
{
    struct policy_question question = {.port = port};
    cr_assert_eq(ip_parse(str_from(ip), &question.destination), 0);
    cr_assert_eq(ip_parse(STR("10.9.9.9"), &question.source), 0);
    if (account) {
        question.principal = arena_printf(&cluster.arena, "west.example/ns/shop/sa/%s", account);
        question.namespace_ = STR("shop");
        question.service_account = str_from(account);
    }
    const struct workload *workload = snapshot_workload_by_ip(snapshot, &question.destination);
    cr_assert_not_null(workload, "%s", ip);
    return policy_ask(workload->policies, &question);
}

static bool admits(const char *ip, uint16_t port, const char *account)
{
    return answer(ip, port, account).allowed;
}

#define WEB  "10.1.0.1"
#define DB   "10.1.0.2"
#define BANK "10.1.0.3"
#define ROOT "isthmus-system"

struct row {
    const char *name;

    struct {
        const char *namespace_, *name;
        int day;
        const char *spec;
    } auths[4]; /* up to one without a name */

    struct {
        const char *ip;
        uint16_t port;
        bool is_open; /* to plaintext */
    } expected[4];    /* up to one without an address */
};

static void expect_row(const struct row *row)
{
    fini();
    init();
    pods();
    for (size_t i = 0; i < ARRAY_LEN(row->auths) && row->auths[i].name; i++)
        auth(row->auths[i].namespace_, row->auths[i].name, row->auths[i].day, row->auths[i].spec);
    travel();
    for (size_t i = 0; i < ARRAY_LEN(row->expected) && row->expected[i].ip; i++) {
        const char *ip = row->expected[i].ip;
        const uint16_t port = row->expected[i].port;
        cr_expect_eq(admits(ip, port, NULL), row->expected[i].is_open, "%s: plaintext to %s:%u",
                     row->name, ip, port);
        cr_expect(admits(ip, port, "sa"), "%s: a tunnel to %s:%u", row->name, ip, port);
    }
}

#define SELECT_WEB "selector: {matchLabels: {app: web}}, "
#define STRICT     "mtls: {mode: STRICT}"
#define PERMISSIVE "mtls: {mode: PERMISSIVE}"
#define UNSET      "mtls: {mode: UNSET}"

Test(policies, p1_and_p2_the_narrower_word_counts_and_of_equals_the_older)
{
    static const struct row rows[] = {
        {"P1, P6 nothing is said", {{0}}, {{WEB, 80, true}}},
        {"P1 UNSET everywhere", {{ROOT, "a", 1, UNSET}, {"shop", "b", 1, ""}}, {{WEB, 80, true}}},
        {"P2 the mesh", {{ROOT, "a", 1, STRICT}}, {{WEB, 80, false}, {BANK, 80, false}}},
        {"P2 a namespace", {{"shop", "a", 1, STRICT}}, {{WEB, 80, false}, {BANK, 80, true}}},
        {"P2 a workload",
         {{"shop", "a", 1, SELECT_WEB STRICT}},
         {{WEB, 80, false}, {DB, 80, true}, {BANK, 80, true}}},
        {"P2 a namespace before the mesh",
         {{ROOT, "a", 1, STRICT}, {"shop", "b", 2, PERMISSIVE}},
         {{WEB, 80, true}, {BANK, 80, false}}},
        {"P2 a workload before its namespace",
         {{"shop", "a", 1, STRICT}, {"shop", "b", 2, SELECT_WEB PERMISSIVE}},
         {{WEB, 80, true}, {DB, 80, false}}},
        {"P1 UNSET inherits of the namespace",
         {{"shop", "a", 1, STRICT}, {"shop", "b", 2, SELECT_WEB UNSET}},
         {{WEB, 80, false}}},
        {"P1 UNSET inherits of the mesh",
         {{ROOT, "a", 1, STRICT}, {"shop", "b", 2, UNSET}, {"shop", "c", 2, SELECT_WEB UNSET}},
         {{WEB, 80, false}, {DB, 80, false}}},
        {"P2 the older of the mesh",
         {{ROOT, "a", 2, STRICT}, {ROOT, "b", 1, PERMISSIVE}},
         {{WEB, 80, true}}},
        {"P2 the older of a namespace",
         {{"shop", "a", 2, PERMISSIVE}, {"shop", "b", 1, STRICT}},
         {{WEB, 80, false}}},
        {"P2 the older of a workload",
         {{"shop", "a", 2, SELECT_WEB STRICT}, {"shop", "b", 1, SELECT_WEB PERMISSIVE}},
         {{WEB, 80, true}}},
        {"P2 of one age the first by name",
         {{"shop", "b", 1, SELECT_WEB STRICT}, {"shop", "a", 1, SELECT_WEB PERMISSIVE}},
         {{WEB, 80, true}}},
        {"P3 a selector in the root namespace",
         {{ROOT, "a", 1, SELECT_WEB STRICT}},
         {{WEB, 80, true}, {BANK, 80, true}, {"10.1.0.4", 80, true}}},
        {"P7 DISABLE is PERMISSIVE",
         {{ROOT, "a", 1, STRICT}, {"shop", "b", 1, "mtls: {mode: DISABLE}"}},
         {{WEB, 80, true}, {BANK, 80, false}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_row(&rows[i]);
}

Test(policies, p4_and_p8_ports_of_the_workload_have_modes_of_their_own)
{
#define PORTS "portLevelMtls: {8080: {mode: STRICT}, 9090: {mode: PERMISSIVE}, 7070: {mode: UNSET}}"
    static const struct row rows[] = {
        {"P4 under STRICT",
         {{"shop", "a", 1, SELECT_WEB STRICT ", " PORTS}},
         {{WEB, 8080, false}, {WEB, 9090, true}, {WEB, 7070, false}, {WEB, 80, false}}},
        {"P4 under PERMISSIVE",
         {{"shop", "a", 1, SELECT_WEB PERMISSIVE ", " PORTS}},
         {{WEB, 8080, false}, {WEB, 9090, true}, {WEB, 7070, true}, {WEB, 80, true}}},
        {"P4 under what the namespace says",
         {{"shop", "a", 1, STRICT}, {"shop", "b", 1, SELECT_WEB PORTS}},
         {{WEB, 8080, false}, {WEB, 9090, true}, {WEB, 7070, false}, {DB, 9090, false}}},
        {"P4 ports that say what holds anyway",
         {{"shop", "a", 1, SELECT_WEB STRICT ", portLevelMtls: {8080: {mode: STRICT}}"}},
         {{WEB, 8080, false}, {WEB, 80, false}}},
        {"P8 DISABLE on a port under STRICT",
         {{"shop", "a", 1, SELECT_WEB STRICT ", portLevelMtls: {8080: {mode: DISABLE}}"}},
         {{WEB, 8080, true}, {WEB, 80, false}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_row(&rows[i]);
}

Test(policies, p5_and_p9_the_refusal_names_the_policy)
{
    pods();
    auth("shop", "a", 1, SELECT_WEB STRICT);
    auth("shop", "ports", 1,
         "selector: {matchLabels: {app: db}}, portLevelMtls: {80: {mode: STRICT}}");
    travel();
    const struct policy_answer whole = answer(WEB, 80, NULL), port = answer(DB, 80, NULL);
    assert_str(whole.policy, "isthmus-system/isthmus_strict_mtls");
    cr_expect_str_eq(whole.sentence, "explicitly denied by");
    assert_str(port.policy, "shop/isthmus_peer_authentication_ports");
    cr_expect(port.revision != 0);
}

/* P6: plaintext that is let in has no identity, so a policy that asks for one lets it not pass. */
Test(policies, p6_plaintext_has_no_identity_for_other_policies)
{
    pods();
    auth("shop", "a", 1, PERMISSIVE);
    cluster_add(&cluster, "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: "
                          "{namespace: shop, name: p}, spec: {rules: [{from: [{source: "
                          "{principals: [\"*\"]}}]}]}}");
    travel();
    cr_expect_not(admits(WEB, 80, NULL));
    cr_expect(admits(WEB, 80, "sa"));
}

/* One workload becomes STRICT: the policy is at the node already. */
Test(policies, the_policy_of_strict_is_there_before_it_is_needed)
{
    pods();
    auth("shop", "a", 1, PERMISSIVE);
    const struct registry *registry = cluster_build(&cluster);
    cr_expect_not_null(find_policy(registry, "isthmus-system/isthmus_strict_mtls"));
    cr_expect_eq(find_workload(registry, "west//v1/Pod/shop/web")->n_policies, 0);
}

/* ---- targetRefs ---- */

static void policy_for(const char *name, const char *spec)
{
    cluster_addf(&cluster,
                 "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: "
                 "{namespace: shop, name: %s}, spec: {%s}}",
                 name, spec);
}

static void services(void)
{
    pods();
    cluster_service(&cluster, "shop", "front", "10.96.0.1",
                    "{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, targetPort: 8081}",
                    "app: web");
    cluster_service(&cluster, "shop", "back", "10.96.0.2", "{name: a, port: 80, targetPort: 9090}",
                    "app: db");
    cluster_service(&cluster, "bank", "front", "10.96.0.3", "{name: a, port: 80, targetPort: 8080}",
                    "app: web");
}

Test(policies, a_policy_for_a_service_holds_for_who_serves_it_on_the_ports_it_is_served_on)
{
    services();
    policy_for("p", "targetRefs: [{kind: Service, group: \"\", name: front}], rules: [{from: "
                    "[{source: {principals: [west.example/ns/shop/sa/friend]}}]}]");
    travel();
    cr_expect(admits(WEB, 8080, "friend"));
    cr_expect_not(admits(WEB, 8080, "sa"));
    cr_expect_not(admits(WEB, 8081, "sa"));
    cr_expect(admits(WEB, 7777, "sa"), "a port that the service does not have");
    cr_expect(admits(DB, 9090, "sa"), "another service");
    cr_expect(admits(BANK, 8080, "sa"), "a service of that name in another namespace");
}

Test(policies, a_policy_for_several_services_holds_once_for_each)
{
    services();
    policy_for("p", "action: DENY, rules: [{}], targetRefs: [{kind: Service, name: front}, "
                    "{kind: Service, group: core, name: back}, {kind: Service, name: front}]");
    travel();
    cr_expect_not(admits(WEB, 8080, "sa"));
    cr_expect_not(admits(DB, 9090, "sa"));
    cr_expect(admits(DB, 8080, "sa"));
    cr_expect_eq(find_workload(cluster.registry, "west//v1/Pod/shop/web")->n_policies, 1);
}

Test(policies, a_policy_for_an_import_holds_for_who_serves_it_here)
{
    services();
    cluster_export(&cluster, "shop", "front", "2026-01-01T00:00:00Z");
    policy_for("p", "action: DENY, rules: [{}], targetRefs: [{kind: ServiceImport, group: "
                    "multicluster.x-k8s.io, name: front}, {kind: ServiceImport, group: "
                    "multicluster.x-k8s.io, name: back}]");
    travel();
    cr_expect_not(admits(WEB, 8080, "sa"));
    cr_expect(admits(DB, 9090, "sa"), "it is not exported");
    const struct model_policy *policy = find_policy(cluster.registry, "shop/p");
    cr_assert_eq(policy->n_targets, 1);
    assert_str(policy->targets[0], "shop/front.shop.svc.clusterset.local");
}

Test(policies, a_policy_for_nothing_applies_to_nobody)
{
    services();
    policy_for("p", "action: DENY, rules: [{}], targetRefs: [{kind: Service, name: nowhere}]");
    travel();
    cr_expect(admits(WEB, 8080, "sa") && admits(DB, 9090, "sa"));
    cr_expect_eq(find_policy(cluster.registry, "shop/p")->scope, POLICY_WORKLOAD);
}

/* ---- names of our trust domain ---- */

static bool admits_id(const char *trust_domain)
{
    struct policy_question question = {
        .principal = arena_printf(&cluster.arena, "%s/ns/shop/sa/friend", trust_domain),
        .namespace_ = STR("shop"),
        .service_account = STR("friend"),
        .port = 80,
    };
    cr_assert_eq(ip_parse(STR(WEB), &question.destination), 0);
    cr_assert_eq(ip_parse(STR("10.9.9.9"), &question.source), 0);
    return policy_ask(snapshot_workload_by_ip(snapshot, &question.destination)->policies, &question)
        .allowed;
}

Test(policies, a_principal_with_an_alias_is_of_our_trust_domain)
{
    static struct str aliases[] = {STR("old.example"), STR("older.example")};
    static struct peer_config east[] = {{.trust_domain = STR("cluster.local")}};

    static const struct {
        const char *field;
        bool has_aliases, is_local_taken;
        bool west, old, local, other; /* who is let in */
    } rows[] = {
        {"principals: [old.example/ns/shop/sa/friend]", true, false, true, true, false, false},
        {"principals: [\"spiffe://old.example/ns/shop/*\"]", true, false, true, true, false, false},
        {"principals: [west.example/ns/shop/sa/friend]", true, false, true, true, false, false},
        {"principals: [cluster.local/ns/shop/sa/friend]", true, false, true, true, false, false},
        {"principals: [cluster.local/ns/shop/sa/friend]", false, false, true, false, false, false},
        {"principals: [cluster.local/ns/shop/sa/friend]", false, true, false, false, true, false},
        {"principals: [old.example/ns/shop/sa/friend]", false, false, false, true, false, false},
        {"principals: [other.example/ns/shop/sa/friend]", true, false, false, false, false, true},
        {"principals: [\"old*\"]", true, false, false, true, false, false},
        {"notPrincipals: [older.example/ns/shop/sa/friend]", true, false, false, false, true, true},
        {"trustDomains: [old.example]", true, false, true, true, false, false},
        {"notTrustDomains: [cluster.local]", true, false, false, false, true, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fini();
        init();
        cluster.config.trust_domain_aliases = aliases;
        cluster.config.n_trust_domain_aliases = rows[i].has_aliases ? 2 : 0;
        cluster.config.peers = east;
        cluster.config.n_peers = rows[i].is_local_taken;
        pods();
        struct str spec =
            arena_printf(&cluster.arena, "rules: [{from: [{source: {%s}}]}]", rows[i].field);
        policy_for("p", spec.ptr);
        travel();
        cr_expect_eq(admits_id("west.example"), rows[i].west, "row %zu: west", i);
        cr_expect_eq(admits_id("old.example"), rows[i].old, "row %zu: old", i);
        cr_expect_eq(admits_id("cluster.local"), rows[i].local, "row %zu: cluster.local", i);
        cr_expect_eq(admits_id("other.example"), rows[i].other, "row %zu: other", i);
    }
}

/* Sets out of a cache share what they were read into. */
Test(policies, names_of_the_trust_domain_do_not_change_the_manifests)
{
    pods();
    policy_for("p", "rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}]");
    travel();
    assert_str(
        cluster.manifests->policies[0].policy.rules[0].clauses[0].matches[0].principals[0].value,
        "cluster.local/ns/a/sa/b");
}
