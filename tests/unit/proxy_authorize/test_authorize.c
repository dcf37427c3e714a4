#include <criterion/criterion.h>
#include <string.h>

#include "proxy/authorize/authorize.h"
#include "tests/kit/snap.h"

TestSuite(authorize, .timeout = 10);

#define WEB "west.example/ns/shop/sa/web"

static struct ip ip_of(const char *text)
{
    struct ip ip;
    cr_assert_eq(ip_parse(str_from(text), &ip), 0, "%s", text);
    return ip;
}

/* Web asks for port 80 of the db pod at 10.0.0.3. */
static struct verdict ask(struct snap *snap, const char *id, struct snapshot **out_snapshot)
{
    struct snapshot *snapshot = snap_build(snap);
    const struct ip destination = ip_of("10.0.0.3"), peer = ip_of("10.0.0.1"), none = {0};
    struct principal source;
    if (id)
        cr_assert_eq(identify_svid(snapshot, str_from(id), &peer, &none, &source), 0);
    else
        identify_plaintext(snapshot, &peer, &source);
    const struct addr addr = {destination, 80};
    *out_snapshot = snapshot;
    return authorize(snapshot_workload_by_ip(snapshot, &destination), &source, &addr, NULL);
}

static void begin(struct snap *snap)
{
    snap_init(snap, "n1");
    snap_pod(snap, "web-1", "n2", "10.0.0.1");
    snap_pod(snap, "db", "n1", "10.0.0.3");
}

Test(authorize, verdicts_name_the_policy_and_say_why)
{
    const struct {
        const char *what, *id;
        int action; /* -1: no policy */
        const char *principal;
        bool dry_run;
        int err;
        const char *text, *dry_run_policy;
    } rows[] = {
        {"no policies", "spiffe://" WEB, -1, NULL, false, 0, "allowed: no allow policies", ""},
        {"a DENY for it", "spiffe://" WEB, POLICY_DENY, WEB, false, -ERR_DENIED,
         "connection closed due to policy rejection: explicitly denied by: shop/p", ""},
        {"a DENY for another", "spiffe://" WEB "2", POLICY_DENY, WEB, false, 0,
         "allowed: no allow policies", ""},
        {"an ALLOW for it", "spiffe://" WEB, POLICY_ALLOW, WEB, false, 0,
         "allowed: allowed by: shop/p", ""},
        {"an ALLOW for another", "spiffe://" WEB "2", POLICY_ALLOW, WEB, false, -ERR_DENIED,
         "connection closed due to policy rejection: allow policies exist, but none allowed", ""},
        {"plaintext has no principal", NULL, POLICY_ALLOW, WEB, false, -ERR_DENIED,
         "connection closed due to policy rejection: allow policies exist, but none allowed", ""},
        {"an ALLOW for everybody", NULL, POLICY_ALLOW, NULL, false, 0,
         "allowed: allowed by: shop/p", ""},
        {"a dry-run DENY", "spiffe://" WEB, POLICY_DENY, NULL, true, 0,
         "allowed: no allow policies", "shop/p"},
        {"a dry-run ALLOW", "spiffe://" WEB "2", POLICY_ALLOW, WEB, true, 0,
         "allowed: no allow policies", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct snap snap;
        struct snapshot *snapshot;
        char text[256];
        begin(&snap);
        if (rows[i].action >= 0)
            snap_policy(&snap, "p", (enum policy_action)rows[i].action, rows[i].principal)
                ->dry_run = rows[i].dry_run;

        const struct verdict verdict = ask(&snap, rows[i].id, &snapshot);

        cr_expect_eq(verdict.err, rows[i].err, "%s", rows[i].what);
        cr_expect_str_eq(verdict_text(&verdict, text, sizeof text), rows[i].text, "%s",
                         rows[i].what);
        cr_expect(str_eq(verdict.answer.dry_run.deny.policy, str_from(rows[i].dry_run_policy)),
                  "%s", rows[i].what);
        snapshot_free(snapshot);
        snap_fini(&snap);
    }
}

Test(authorize, the_question_is_about_the_pods_own_port_and_address)
{
    static uint16_t ports[] = {80};
    struct cidr destinations[1];
    struct snap snap;
    struct snapshot *snapshot;
    begin(&snap);
    struct model_policy *policy = snap_policy(&snap, "p", POLICY_DENY, WEB);
    policy->rules[0].clauses[0].matches[0].ports = ports;
    policy->rules[0].clauses[0].matches[0].n_ports = 1;
    cr_assert_eq(cidr_parse(STR("10.0.0.3"), destinations), 0);
    policy->rules[0].clauses[0].matches[0].destination_ips = destinations;
    policy->rules[0].clauses[0].matches[0].n_destination_ips = 1;

    cr_expect_eq(ask(&snap, "spiffe://" WEB, &snapshot).err, -ERR_DENIED);
    snapshot_free(snapshot);
    ports[0] = 15008;
    cr_expect_eq(ask(&snap, "spiffe://" WEB, &snapshot).err, 0);
    snapshot_free(snapshot);
    snap_fini(&snap);
}

#define NO_WORD (-1)

/* What services say of the port, and what an ALLOW or AUDIT policy that asks for a path makes of
 * it. */
Test(authorize, requests_are_to_be_judged_where_they_are_read_and_decide_something)
{
    static const struct {
        int words[2];
        enum policy_action action;
        bool is_by_request;
        int err; /* where nobody reads them */
    } rows[] = {
        {{NO_WORD, NO_WORD}, POLICY_ALLOW, true, -ERR_DENIED},
        {{APP_UNKNOWN, NO_WORD}, POLICY_ALLOW, true, -ERR_DENIED},
        {{APP_HTTP11, NO_WORD}, POLICY_ALLOW, true, -ERR_DENIED},
        {{APP_GRPC, APP_HTTP2}, POLICY_ALLOW, true, -ERR_DENIED},
        {{APP_TCP, NO_WORD}, POLICY_ALLOW, false, -ERR_DENIED},
        {{APP_TLS, APP_UNKNOWN}, POLICY_ALLOW, false, -ERR_DENIED},
        {{APP_UNKNOWN, APP_TCP}, POLICY_ALLOW, false, -ERR_DENIED},
        {{APP_TCP, APP_HTTP11}, POLICY_ALLOW, true, -ERR_DENIED},
        {{NO_WORD, NO_WORD}, POLICY_AUDIT, false, 0},
        {{APP_TCP, NO_WORD}, POLICY_AUDIT, false, 0},
        {{APP_HTTP11, NO_WORD}, POLICY_AUDIT, true, 0},
        {{APP_HTTP2, APP_TCP}, POLICY_AUDIT, true, 0},
    };

    static const char *const names[] = {"a", "b"}, *const vips[] = {"10.96.0.1", "10.96.0.2"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct snap snap;
        struct snapshot *snapshot;
        begin(&snap);
        struct model_workload *db = snap.resources[snap.n - 1]->of.workload;
        for (size_t j = 0; j < 2; j++) {
            if (rows[i].words[j] == NO_WORD)
                continue;
            struct model_service *service = snap_service(&snap, names[j], vips[j], 8080, 80);
            service->ports[0].app_protocol = (enum app_protocol)rows[i].words[j];
            snap_serve(&snap, db, service);
        }
        struct model_policy *policy = snap_policy(&snap, "p", rows[i].action, NULL);
        snap_asks(&snap, policy, REQUEST_PATH, NULL, MATCH_EXACT, "/");

        const struct verdict verdict = ask(&snap, "spiffe://" WEB, &snapshot);

        cr_expect_eq(verdict.is_by_request, rows[i].is_by_request, "row %zu", i);
        cr_expect_eq(verdict.err, rows[i].err, "row %zu", i);
        snapshot_free(snapshot);
        snap_fini(&snap);
    }
}

Test(authorize, a_policy_that_is_referenced_but_missing_denies)
{
    static struct str named[] = {STR("shop/nobody-wrote-it")};
    struct snap snap;
    struct snapshot *snapshot;
    char text[256];
    snap_init(&snap, "n1");
    snap_pod(&snap, "web-1", "n2", "10.0.0.1");
    struct model_workload *db = snap_pod(&snap, "db", "n1", "10.0.0.3");
    db->policies = named;
    db->n_policies = 1;

    const struct verdict verdict = ask(&snap, "spiffe://" WEB, &snapshot);

    cr_expect_eq(verdict.err, -ERR_DENIED);
    cr_expect_not_null(strstr(verdict_text(&verdict, text, sizeof text), "is not there"), "%s",
                       text);
    snapshot_free(snapshot);
    snap_fini(&snap);
}

Test(authorize, a_long_name_does_not_write_beyond_the_buffer)
{
    struct verdict verdict = {.err = -ERR_DENIED,
                              .answer = {.policy = STR("a/very/long/name/of/a/policy"),
                                         .sentence = "explicitly denied by"}};
    char text[16];
    memset(text, 'x', sizeof text);

    verdict_text(&verdict, text, 12);

    cr_expect_eq(strlen(text), 11);
    cr_expect_eq(text[12], 'x');
}
