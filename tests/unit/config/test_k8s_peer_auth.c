/* PeerAuthentication as it is read; what it comes to is in xds_control/test_policies.c. */
#include <criterion/criterion.h>

#include "fixture.h"

DIAG_FIXTURE

TestSuite(k8s_peer_auth, .init = begin, .fini = end, .timeout = 20);

#define HEAD                                                                                       \
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"                                 \
    "metadata: {name: p, namespace: shop, creationTimestamp: \"2026-01-31T12:00:00Z\"}\n"

Test(k8s_peer_auth, p1_and_p4_reads_modes_selector_and_ports)
{
    struct manifests *set = read_text(
        HEAD "spec:\n  selector: {matchLabels: {app: web}}\n  mtls: {mode: STRICT}\n"
             "  portLevelMtls: {8080: {mode: PERMISSIVE}, \"1\": {mode: STRICT}, 65535: {}}\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(diag.len, 0, "%s", said(&diag));
    cr_assert_eq(set->n_peer_auths, 1);
    const struct k8s_peer_auth *auth = &set->peer_auths[0];
    cr_expect_eq(auth->mode, MTLS_STRICT);
    cr_expect_eq(auth->n_selector, 1);
    cr_expect(auth->meta.created_ns > 0);
    cr_assert_eq(auth->n_ports, 3);
    cr_expect(auth->ports[0].port == 8080 && auth->ports[0].mode == MTLS_PERMISSIVE);
    cr_expect(auth->ports[1].port == 1 && auth->ports[1].mode == MTLS_STRICT);
    cr_expect(auth->ports[2].port == 65535 && auth->ports[2].mode == MTLS_UNSET);
    manifests_free(set);
}

Test(k8s_peer_auth, p1_what_is_left_out_is_unset)
{
    static const char *const rows[] = {HEAD, HEAD "spec: {}\n", HEAD "spec: {mtls: {}}\n",
                                       HEAD "spec: {mtls: {mode: UNSET}}\n"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct manifests *set = read_text(rows[i], &diag);
        cr_assert_not_null(set, "%s: %s", rows[i], said(&diag));
        cr_expect_eq(set->peer_auths[0].mode, MTLS_UNSET);
        cr_expect_eq(set->peer_auths[0].n_selector, 0);
        manifests_free(set);
    }
    cr_expect_eq(diag.len, 0, "%s", said(&diag));
}

Test(k8s_peer_auth, what_cannot_be_meant_is_an_error_with_its_place)
{
    static const struct {
        const char *name, *text, *said;
    } rows[] = {
        {"P1 mode", HEAD "spec: {mtls: {mode: strict}}\n",
         "m.yaml:4:21: error: spec.mtls.mode: \"strict\" is not UNSET, DISABLE, PERMISSIVE or"},
        {"mtls without value", HEAD "spec: {mtls: }\n", "spec.mtls: is empty"},
        {"mode without value", HEAD "spec: {mtls: {mode: }}\n", "spec.mtls.mode: is empty"},
        {"unknown key", HEAD "spec: {mtls: {mod: STRICT}}\n", "did you mean \"mode\"?"},
        {"unknown spec key", HEAD "spec: {mTLS: {mode: STRICT}}\n", "did you mean \"mtls\"?"},
        {"spec's keys at the top", HEAD "mtls: {mode: STRICT}\n",
         "m.yaml:4:1: error: mtls: there is no such key"},
        {"P4 ports without a selector", HEAD "spec: {portLevelMtls: {80: {mode: STRICT}}}\n",
         "m.yaml:4:23: error: spec.portLevelMtls: needs a selector"},
        {"P4 port 0",
         HEAD "spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {0: {mode: STRICT}}}\n",
         "spec.portLevelMtls.0: is not a port (1 to 65535)"},
        {"P4 port 65536",
         HEAD "spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {65536: {mode: STRICT}}}\n",
         "spec.portLevelMtls.65536: is not a port"},
        {"P4 a port's name",
         HEAD "spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}\n",
         "m.yaml:4:57: error: spec.portLevelMtls.http: is not a port"},
        {"P4 no ports", HEAD "spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {}}\n",
         "spec.portLevelMtls: has 0 ports"},
        {"P4 a port without value",
         HEAD "spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {80: }}\n",
         "spec.portLevelMtls.80: is empty"},
        {"selector", HEAD "spec: {selector: {matchLables: {a: b}}}\n",
         "did you mean \"matchLabels\"?"},
        {"selector without matchLabels", HEAD "spec: {selector: {app: web}}\n",
         "spec.selector.app: labels stand below matchLabels, expected {matchLabels: {app: web}}"},
        {"version", "apiVersion: security.istio.io/v1alpha1\nkind: PeerAuthentication\n",
         "version \"v1alpha1\" of PeerAuthentication is not supported, expected v1 or v1beta1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_one_error(rows[i].name, rows[i].text, rows[i].said);
}

Test(k8s_peer_auth, a_selector_without_a_label_is_none_and_warned_of)
{
    struct manifests *set = read_text(HEAD "spec: {selector: {matchLabels: {}}}\n", &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(set->peer_auths[0].n_selector, 0);
    expect_said(&diag, "selector", "m.yaml:4:32: warning: spec.selector: names no label");
    manifests_free(set);
}

Test(k8s_peer_auth, p7_disable_is_warned_of)
{
    struct manifests *set = read_text(HEAD "spec: {mtls: {mode: DISABLE}}\n", &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    expect_said(&diag, "DISABLE",
                "m.yaml:4:21: warning: spec.mtls.mode: DISABLE counts as PERMISSIVE");
    manifests_free(set);
}

#define AUTH(ns, name, created, spec)                                                              \
    "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {namespace: " ns   \
    ", name: " name ", creationTimestamp: \"" created "\"}\nspec: " spec "\n"

Test(k8s_peer_auth, p2_and_p3_one_without_effect_is_warned_of)
{
    struct manifests *set = read_text(
        AUTH("shop", "younger", "2026-01-02T00:00:00Z", "{mtls: {mode: STRICT}}")
            AUTH("shop", "older", "2026-01-01T00:00:00Z", "{mtls: {mode: STRICT}}") AUTH(
                "root", "some", "2026-01-01T00:00:00Z", "{selector: {matchLabels: {a: b}}}")
                AUTH("shop", "some", "2026-01-01T00:00:00Z", "{selector: {matchLabels: {a: b}}}"),
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    manifests_cross_check(set, STR("root"), true, &diag);
    cr_expect_eq(diag.len, 2, "%s", said(&diag));
    expect_said(&diag, "P2",
                "PeerAuthentication shop/younger: has no effect: older is older and for the same "
                "namespace");
    expect_said(&diag, "P3",
                "PeerAuthentication root/some: has no effect: one with a selector does not count "
                "in the root namespace");
    manifests_free(set);
}
