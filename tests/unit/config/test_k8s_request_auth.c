/* RequestAuthentication as it is read; what it comes to is in xds_control/test_request_auths.c. */
#include <criterion/criterion.h>

#include "fixture.h"
#include "proxy/base/clock.h"

DIAG_FIXTURE

TestSuite(k8s_request_auth, .init = begin, .fini = end, .timeout = 20);

#define HEAD                                                                                       \
    "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\n"                              \
    "metadata: {name: a, namespace: shop}\n"
#define KEYS                                                                                       \
    "'{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\",\"x\":"                        \
    "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},{\"kty\":\"oct\",\"k\":\"AA\"}]}'"
#define RULE HEAD "spec:\n  jwtRules:\n  - issuer: i\n    jwks: " KEYS "\n"

Test(k8s_request_auth, reads_all_that_a_rule_says)
{
    struct manifests *set = read_text(
        HEAD "spec:\n  selector: {matchLabels: {app: web}}\n  jwtRules:\n"
             "  - issuer: https://id.example\n    audiences: [x, y]\n"
             "    jwksUri: https://id.example:8443/keys?a=b\n    timeout: 2s\n"
             "    fromHeaders: [{name: X-Jwt, prefix: \"JWT \"}, {name: x-b}]\n"
             "    fromParams: [t]\n    fromCookies: [c]\n    forwardOriginalToken: true\n"
             "    outputPayloadToHeader: X-Payload\n"
             "    outputClaimToHeaders: [{header: X-Sub, claim: sub}, {header: x-r, claim: a.b}]\n"
             "  - issuer: b\n    jwks: " KEYS "\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(diag.len, 0, "%s", said(&diag));
    cr_assert_eq(set->n_request_auths, 1);
    const struct k8s_request_auth *auth = &set->request_auths[0];
    cr_assert_eq(auth->n_rules, 2);
    cr_expect_eq(auth->n_selector, 1);
    const struct k8s_token_rule *first = &auth->rules[0], *second = &auth->rules[1];
    const struct token_rule *rule = &first->rule;
    cr_expect(str_eq(rule->issuer, STR("https://id.example")));
    cr_expect(rule->n_audiences == 2 && str_eq(rule->audiences[1], STR("y")));
    cr_expect(str_eq(first->jwks_uri, STR("https://id.example:8443/keys?a=b")));
    cr_expect_eq(first->timeout_ns, 2 * NS_PER_SEC);
    cr_assert_eq(rule->n_places, 4);
    cr_expect(rule->places[0].kind == TOKEN_IN_HEADER &&
              str_eq(rule->places[0].name, STR("x-jwt")) &&
              str_eq(rule->places[0].prefix, STR("JWT ")));
    cr_expect(str_is_empty(rule->places[1].prefix));
    cr_expect(rule->places[2].kind == TOKEN_IN_PARAM && rule->places[3].kind == TOKEN_IN_COOKIE);
    cr_expect(rule->forwards && str_eq(rule->payload_header, STR("x-payload")));
    cr_expect(rule->n_claim_headers == 2 && str_eq(rule->claim_headers[1].claim, STR("a.b")));
    cr_expect(str_eq(second->rule.jwks,
                     STR("{\"keys\":[{\"crv\":\"Ed25519\",\"kid\":\"a\",\"kty\":\"OKP\",\"x\":"
                         "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}")));
    cr_expect_eq(second->timeout_ns, 5 * NS_PER_SEC);
    cr_expect(second->rule.n_places == 2 && str_eq(second->rule.places[0].prefix, STR("Bearer ")) &&
              !second->rule.forwards);
    manifests_free(set);
}

Test(k8s_request_auth, what_is_odd_is_warned_of)
{
    static const struct {
        const char *text, *said;
    } rows[] = {
        {HEAD, "spec.jwtRules: there are none, so it does nothing"},
        {HEAD "spec: {jwtRules: []}\n", "there are none"},
        {HEAD "spec: {jwtRules: [{issuer: i, jwksUri: \"http://id.example/k\"}]}\n",
         "warning: spec.jwtRules[0].jwksUri: whoever stands between"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        diag = (struct diag){0};
        struct manifests *set = read_text(rows[i].text, &diag);
        cr_assert_not_null(set, "%s: %s", rows[i].text, said(&diag));
        expect_said(&diag, rows[i].text, rows[i].said);
        manifests_free(set);
        diag_fini(&diag);
    }
}

Test(k8s_request_auth, what_cannot_be_meant_is_an_error_with_its_place)
{
    static const struct {
        const char *name, *text, *said;
    } rows[] = {
        {"no issuer", HEAD "spec: {jwtRules: [{jwks: " KEYS "}]}\n",
         "m.yaml:4:19: error: spec.jwtRules[0].issuer: is required"},
        {"empty issuer", HEAD "spec: {jwtRules: [{issuer: \"\", jwks: " KEYS "}]}\n",
         "spec.jwtRules[0].issuer: has 0 bytes"},
        {"no keys", HEAD "spec: {jwtRules: [{issuer: i}]}\n",
         "m.yaml:4:19: error: spec.jwtRules[0]: needs jwks or jwksUri"},
        {"keys twice", RULE "    jwksUri: https://a.example\n", "cannot stand beside jwksUri"},
        {"keys that are none", HEAD "spec: {jwtRules: [{issuer: i, jwks: '{\"keys\":[]}'}]}\n",
         "m.yaml:4:37: error: spec.jwtRules[0].jwks: is no JSON Web Key Set for tokens: it has no "
         "keys"},
        {"keys of HMAC",
         HEAD
         "spec: {jwtRules: [{issuer: i, jwks: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}'}]}\n",
         "none of its 1 keys is one that verifies tokens"},
        {"keys that are no JSON", HEAD "spec: {jwtRules: [{issuer: i, jwks: 'x'}]}\n",
         "spec.jwtRules[0].jwks: is no JSON Web Key Set for tokens: line 1"},
        {"a URI of no kind", HEAD "spec: {jwtRules: [{issuer: i, jwksUri: \"ftp://a\"}]}\n",
         "jwksUri: \"ftp://a\" must begin with https:// or http://; expected "
         "https://HOST[:PORT]/PATH"},
        {"a URI with a port that is none",
         HEAD "spec: {jwtRules: [{issuer: i, jwksUri: \"https://a:99999/b\"}]}\n",
         "\"https://a:99999/b\" has a host or a port that is none (ports are 1 to 65535); "
         "expected "},
        {"a URI with a user", HEAD "spec: {jwtRules: [{issuer: i, jwksUri: \"https://a@b\"}]}\n",
         "must not have user information"},
        {"a relative file", HEAD "spec: {jwtRules: [{issuer: i, jwksUri: \"file://a\"}]}\n",
         "must begin with"},
        {"unknown key", RULE "    issuers: i\n", "did you mean \"issuer\"?"},
        {"a key of Istio's that is not here", RULE "    spaceDelimitedClaims: [a]\n",
         "m.yaml:8:5: error: spec.jwtRules[0].spaceDelimitedClaims: there is no such key"},
        {"unknown spec key", HEAD "spec: {rules: []}\n", "spec.rules: there is no such key"},
        {"empty list", RULE "    audiences: []\n", "audiences: is empty"},
        {"empty entry", RULE "    audiences: [x, ~]\n", "audiences[1]: is empty, expected a value"},
        {"no header", RULE "    fromHeaders: []\n", "fromHeaders: is empty"},
        {"no parameter", RULE "    fromParams: []\n", "fromParams: is empty"},
        {"an empty parameter", RULE "    fromParams: ['']\n", "fromParams[0]: has 0 bytes"},
        {"no cookie", RULE "    fromCookies: []\n", "fromCookies: is empty"},
        {"no claim", RULE "    outputClaimToHeaders: []\n", "outputClaimToHeaders: is empty"},
        {"an empty claim", RULE "    outputClaimToHeaders: [{header: a, claim: ''}]\n",
         "outputClaimToHeaders[0].claim: has 0 bytes"},
        {"selector without matchLabels",
         HEAD "spec: {selector: {app: x}, jwtRules: [{issuer: i, jwks: " KEYS "}]}\n",
         "spec.selector.app: labels stand below matchLabels"},
        {"list without value", RULE "    audiences:\n", "audiences: is empty"},
        {"header without name", RULE "    fromHeaders: [{prefix: a}]\n",
         "fromHeaders[0].name: is required"},
        {"header that is none", RULE "    fromHeaders: [{name: \"a b\"}]\n",
         "is not the name of a header field"},
        {"header of one hop", RULE "    fromHeaders: [{name: Connection}]\n",
         "no token can stand in \"connection\""},
        {"payload in host", RULE "    outputPayloadToHeader: Host\n",
         "\"host\" is not one that a rule may write"},
        {"written twice",
         RULE "    outputClaimToHeaders: [{header: a, claim: b}, {header: A, claim: c}]\n",
         "is written twice by the rule"},
        {"claim without header", RULE "    outputClaimToHeaders: [{claim: b}]\n",
         "header: is required"},
        {"forward", RULE "    forwardOriginalToken: \"yes\"\n", "is not true or false"},
        {"timeout", RULE "    timeout: 2h\n", "timeout"},
        {"selector and target",
         HEAD "spec: {selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, group: \"\", "
              "name: s}], jwtRules: [{issuer: i, jwks: " KEYS "}]}\n",
         "spec.selector: cannot stand beside targetRefs"},
        {"a target of another kind",
         HEAD "spec: {targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: s}], "
              "jwtRules: [{issuer: i, jwks: " KEYS "}]}\n",
         "is not supported, expected a Service"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_one_error(rows[i].name, rows[i].text, rows[i].said);
}
