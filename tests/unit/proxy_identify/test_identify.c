#include <criterion/criterion.h>

#include "proxy/identify/identify.h"
#include "tests/kit/snap.h"

TestSuite(identify, .timeout = 10);

#define WEB_ID  "spiffe://west.example/ns/shop/sa/web"
#define DB_ID   "spiffe://west.example/ns/shop/sa/db"
#define EDGE_ID "spiffe://west.example/isthmus/node/n1"

static struct ip ip_of(const char *text)
{
    struct ip ip;
    cr_assert_eq(ip_parse(str_from(text), &ip), 0, "%s", text);
    return ip;
}

/* n1: web-1 and a pod outside the mesh; n2: web-2 and db. */
static struct snapshot *some_pods(void)
{
    struct snap snap;
    snap_init(&snap, "n1");
    snap_pod(&snap, "web-1", "n1", "10.0.0.1 fd00::1");
    snap_pod(&snap, "plain", "n1", "10.0.0.9")->speaks_hbone = false;
    snap_pod(&snap, "nameless", "n1", "10.0.0.8")->service_account = (struct str){0};
    snap_pod(&snap, "elsewhere", "n1", "10.0.0.7")->cluster = STR("east");
    snap_pod(&snap, "web-2", "n2", "10.0.0.2");
    snap_pod(&snap, "db", "n2", "10.0.0.3");
    struct snapshot *snapshot = snap_build(&snap);
    snap_fini(&snap);
    return snapshot;
}

Test(identify, only_an_enrolled_pod_of_this_node_is_captured_under_its_identity)
{
    const struct {
        const char *source;
        const char *id; /* NULL: unknown */
    } rows[] = {
        {"10.0.0.1", WEB_ID}, {"fd00::1", WEB_ID}, {"10.0.0.9", NULL}, {"10.0.0.8", NULL},
        {"10.0.0.7", NULL},   {"10.0.0.2", NULL},  {"10.9.9.9", NULL}, {"fd00::2", NULL},
    };
    struct snapshot *snapshot = some_pods();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct principal principal = {.id = STR("untouched")};
        const struct ip source = ip_of(rows[i].source);
        const int err = identify_pod(snapshot, &source, &principal);
        if (!rows[i].id) {
            cr_expect_eq(err, -ERR_UNKNOWN_SOURCE, "%s", rows[i].source);
            cr_expect(str_eq(principal.id, STR("untouched")), "%s", rows[i].source);
            continue;
        }
        cr_assert_eq(err, 0, "%s", rows[i].source);
        cr_expect(str_eq(principal.id, str_from(rows[i].id)), "%s", rows[i].source);
        cr_expect(str_eq(principal.name, STR("west.example/ns/shop/sa/web")));
        cr_expect(str_eq(principal.namespace_, STR("shop")));
        cr_expect(str_eq(principal.workload->name, STR("web-1")));
        cr_expect(ip_eq(&principal.ip, &source));
    }
    snapshot_free(snapshot);
}

Test(identify, a_claimed_address_is_believed_only_of_a_workload_with_that_identity)
{
    const struct {
        const char *what, *id, *peer, *claimed;
        const char *workload; /* NULL: none we know */
        const char *ip;
    } rows[] = {
        {"its own pod", WEB_ID, "192.0.2.1", "10.0.0.2", "web-2", "10.0.0.2"},
        {"a pod of another identity", WEB_ID, "192.0.2.1", "10.0.0.3", NULL, "192.0.2.1"},
        {"nobody's address", WEB_ID, "192.0.2.1", "10.9.9.9", NULL, "192.0.2.1"},
        {"no claim, the pod itself", WEB_ID, "10.0.0.2", NULL, "web-2", "10.0.0.2"},
        {"no claim, another's address", DB_ID, "10.0.0.2", NULL, NULL, "10.0.0.2"},
        {"a false claim from the pod itself", DB_ID, "10.0.0.3", "10.0.0.2", "db", "10.0.0.3"},
    };
    struct snapshot *snapshot = some_pods();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct principal principal;
        const struct ip peer = ip_of(rows[i].peer), expected = ip_of(rows[i].ip);
        const struct ip claimed = rows[i].claimed ? ip_of(rows[i].claimed) : (struct ip){0};
        cr_assert_eq(identify_svid(snapshot, str_from(rows[i].id), &peer, &claimed, &principal), 0,
                     "%s", rows[i].what);
        cr_expect(str_eq(principal.id, str_from(rows[i].id)), "%s", rows[i].what);
        cr_expect(ip_eq(&principal.ip, &expected), "%s", rows[i].what);
        cr_expect_eq(principal.workload != NULL, rows[i].workload != NULL, "%s", rows[i].what);
        if (principal.workload && rows[i].workload)
            cr_expect(str_eq(principal.workload->name, str_from(rows[i].workload)), "%s",
                      rows[i].what);
    }
    snapshot_free(snapshot);
}

Test(identify, an_id_of_no_workload_has_a_principal_but_no_namespace)
{
    struct snapshot *snapshot = some_pods();
    struct principal principal;
    const struct ip peer = ip_of("192.0.2.1"), none = {0};

    cr_assert_eq(identify_svid(snapshot, STR(EDGE_ID), &peer, &none, &principal), 0);

    cr_expect(str_eq(principal.name, STR("west.example/isthmus/node/n1")));
    cr_expect(str_is_empty(principal.namespace_));
    snapshot_free(snapshot);
}

Test(identify, what_is_no_spiffe_id_is_refused)
{
    static const char *const ids[] = {"", "web", "https://west.example/ns/shop/sa/web", "spiffe://",
                                      "spiffe://west.example/ns//sa/web"};
    struct snapshot *snapshot = some_pods();
    const struct ip peer = ip_of("10.0.0.1"), none = {0};

    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct principal principal;
        cr_expect_eq(identify_svid(snapshot, str_from(ids[i]), &peer, &none, &principal),
                     -ERR_TLS_SVID, "%s", ids[i]);
    }
    snapshot_free(snapshot);
}

Test(identify, plaintext_proves_nobody_even_from_a_pods_address)
{
    struct snapshot *snapshot = some_pods();
    struct principal principal;
    const struct ip source = ip_of("10.0.0.1");

    identify_plaintext(snapshot, &source, &principal);

    cr_expect(str_is_empty(principal.id));
    cr_expect(str_is_empty(principal.name));
    cr_expect(str_is_empty(principal.namespace_));
    cr_expect(str_eq(principal.workload->name, STR("web-1")));
    cr_expect(ip_eq(&principal.ip, &source));
    snapshot_free(snapshot);
}
