/* The B numbers are rows of a table of what the SPIFFE Trust Domain and Bundle standard (sections 4
 * to 6) and RFC 7517 ask of whoever reads or publishes a bundle. */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "certs/bundle.h"
#include "certs/jwks.h"
#include "certs/verify.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "tests/kit/test_ca.h"

TestSuite(jwks, .timeout = 60);

/* The DER of a certificate in base64, as x5c has it. */
static void add_x5c(const struct test_ca *ca, struct text *out)
{
    unsigned char *der = NULL;
    int len = i2d_X509(ca->cert, &der);
    char *chars = mem_alloc((size_t)len * 2 + 8);
    int n = EVP_EncodeBlock((unsigned char *)chars, der, len);

    text_add(out, str_of(chars, (size_t)n));
    mem_free(chars);
    OPENSSL_free(der);
}

/* A set out of a pattern in which every $ stands for the root's x5c. */
static struct text fill(const struct test_ca *ca, const char *pattern)
{
    struct text json = {0};

    for (const char *at = pattern; *at; at++) {
        if (*at == '$')
            add_x5c(ca, &json);
        else
            text_addc(&json, *at);
    }
    return json;
}

#define KEY "{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[\"$\"]}"

struct outcome {
    int err;
    struct jwks jwks;
    struct text why;
};

static struct outcome parse_pattern(const char *pattern)
{
    struct test_ca *ca = test_ca_new("west.example");
    struct text json = fill(ca, pattern);
    struct outcome outcome = {0};

    outcome.err = jwks_parse(text_str(&json), &outcome.jwks, &outcome.why);
    cr_assert_eq(ERR_peek_error(), 0, "the error queue is not empty");
    cr_assert_eq(outcome.err<0, outcome.why.len> 0);
    text_fini(&json);
    test_ca_free(ca);
    return outcome;
}

static void outcome_free(struct outcome *outcome)
{
    jwks_fini(&outcome->jwks);
    text_fini(&outcome->why);
}

static void has_roots(const char *pattern, size_t n_roots)
{
    struct outcome outcome = parse_pattern(pattern);

    cr_assert_eq(outcome.err, 0, "%s: %s", pattern, outcome.why.ptr);
    cr_assert_eq(outcome.jwks.n_roots, n_roots, "%s: %zu roots", pattern, outcome.jwks.n_roots);
    cr_assert_eq(outcome.jwks.pem.len > 0, n_roots > 0);
    outcome_free(&outcome);
}

static void is_refused(const char *pattern, const char *why)
{
    struct outcome outcome = parse_pattern(pattern);

    cr_assert_lt(outcome.err, 0, "%s", pattern);
    cr_assert(str_contains(text_str(&outcome.why), str_from(why)), "%s: %s", pattern,
              outcome.why.ptr);
    outcome_free(&outcome);
}

Test(jwks, B1_a_set_without_keys_is_refused)
{
    is_refused("{}", "\"keys\"");
    is_refused("{\"keys\":null}", "not an array");
    is_refused("{\"keys\":{}}", "not an array");
    is_refused("{\"keys\":[7]}", "keys[0] is not an object");
}

Test(jwks, B2_an_empty_set_is_a_bundle_that_trusts_nobody)
{
    struct test_ca *ca = test_ca_new("west.example");
    struct test_cert spec = {.uris = {STR("spiffe://west.example/x")}};
    X509 *leaf = test_ca_mint(ca, &spec, NULL);
    struct outcome empty = parse_pattern("{\"keys\":[]}");
    struct trust *trust = NULL, *next = NULL;
    struct verify_result result;

    has_roots("{\"keys\":[]}", 0);
    test_trust_add(&trust, "west.example", ca);
    cr_assert_eq(
        trust_with(trust, STR("west.example"), text_str(&empty.jwks.pem), &next, &empty.why), 0);
    struct verify_request request = {.trust = next, .now_ns = clock_wall_ns()};
    cr_assert_eq(verify_peer(leaf, NULL, &request, &result), -ERR_TLS_TRUST_DOMAIN);
    outcome_free(&empty);
    trust_unref(trust);
    trust_unref(next);
    X509_free(leaf);
    test_ca_free(ca);
}

Test(jwks, B3_keys_of_unknown_kinds_are_passed_over)
{
    has_roots("{\"keys\":[{\"kty\":\"XYZ\",\"use\":\"x509-svid\",\"x5c\":[\"$\"]}," KEY "]}", 1);
    has_roots("{\"keys\":[{\"kty\":7,\"use\":\"x509-svid\",\"x5c\":[\"$\"]}]}", 0);
    has_roots("{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[\"$\"]}]}", 0);
    has_roots("{\"keys\":[{\"kty\":\"ec\",\"use\":\"x509-svid\",\"x5c\":[\"$\"]}]}", 0);
}

Test(jwks, B4_keys_of_no_or_another_use_are_passed_over)
{
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"x5c\":[\"$\"]}," KEY "]}", 1);
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"use\":\"jwt-svid\",\"kid\":\"a\"}]}", 0);
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"use\":\"X509-SVID\",\"x5c\":[\"$\"]}]}", 0);
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"use\":[\"x509-svid\"],\"x5c\":[\"$\"]}]}", 0);
}

Test(jwks, B5_keys_without_a_certificate_are_passed_over)
{
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\"}," KEY "]}", 1);
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[]}," KEY "]}", 1);
}

Test(jwks, B6_only_the_first_certificate_of_a_key_is_read)
{
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[\"$\",\"$\"]}]}", 1);
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[\"$\",\"nonsense\",7]}]}",
              1);
    is_refused("{\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[7,\"$\"]}]}",
               "keys[0].x5c[0] is not a string");
}

static size_t count(struct str text, const char *part)
{
    size_t n = 0;

    for (size_t i = 0; i + strlen(part) <= text.len; i++)
        n += memcmp(text.ptr + i, part, strlen(part)) == 0;
    return n;
}

Test(jwks, B7_ours_has_one_certificate_a_key_and_no_kid)
{
    static const char *kinds[] = {"P-256", "P-384", "RSA-2048"};
    struct text pem = {0}, json = {0}, why = {0};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct test_cert spec = {.is_ca = true, .subject = "r", .key = kinds[i]};
        struct test_ca *ca = test_ca_under(NULL, &spec);

        test_ca_pem(ca, &pem);
        test_ca_free(ca);
    }
    cr_assert_eq(jwks_write(text_str(&pem), 42, 600, &json, &why), 0, "%s", why.ptr);
    cr_assert_eq(count(text_str(&json), "\"x5c\":[\""), 3);
    cr_assert_eq(count(text_str(&json), "\"]"), 3);
    cr_assert_eq(count(text_str(&json), "\"kid\""), 0,
                 "a key of base64 may spell it, a member has quotes");
    cr_assert_eq(count(text_str(&json), "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\""), 1);
    cr_assert_eq(count(text_str(&json), "\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\""), 1);
    cr_assert_eq(count(text_str(&json), "\"kty\":\"RSA\",\"n\":\""), 1);
    cr_assert_eq(count(text_str(&json), "\"e\":\"AQAB\""), 1);

    struct jwks back = {0};
    cr_assert_eq(jwks_parse(text_str(&json), &back, &why), 0, "%s", why.ptr);
    cr_assert(str_eq(text_str(&back.pem), text_str(&pem)));
    cr_assert_eq(back.sequence, 42);
    cr_assert_eq(back.hint_s, 600);
    jwks_fini(&back);
    text_fini(&pem);
    text_fini(&json);
    text_fini(&why);
}

Test(jwks, B7_no_roots_are_an_empty_set)
{
    struct text json = {0}, why = {0};

    cr_assert_eq(jwks_write((struct str){0}, 1, 300, &json, &why), 0);
    cr_assert_str_eq(json.ptr, "{\"keys\":[],\"spiffe_sequence\":1,\"spiffe_refresh_hint\":300}");
    text_fini(&json);
}

Test(jwks, B8_certificates_are_base64_of_whole_DER)
{
#define X5C(text) "{\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[\"" text "\"]}]}"
    is_refused(X5C(""), "not base64");
    is_refused(X5C("AAAA"), "not a certificate");
    is_refused(X5C("-_-_"), "not base64");
    is_refused(X5C("AAAA AAAA"), "not base64");
    is_refused(X5C("AAAAA"), "not base64");
    is_refused(X5C("A==="), "not base64");
    is_refused(X5C("===="), "not base64");
    is_refused(X5C("AA=A"), "not base64");
    is_refused(X5C("$AAAA"), "not");
    is_refused(X5C("-----BEGIN CERTIFICATE-----"), "not base64");
}

Test(jwks, B9_a_bundle_is_all_of_its_roots)
{
    has_roots("{\"keys\":[" KEY "," KEY "," KEY "]}", 3);
}

Test(jwks, B10_a_set_without_X509_authorities_has_no_roots)
{
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"use\":\"jwt-svid\",\"kid\":\"a\",\"crv\":\"P-256\"}]}",
              0);
}

Test(jwks, B11_a_lower_sequence_is_older)
{
    struct outcome old = parse_pattern("{\"keys\":[],\"spiffe_sequence\":7}");
    struct outcome new = parse_pattern("{\"keys\":[],\"spiffe_sequence\":9223372036854775807}");
    struct outcome none = parse_pattern("{\"keys\":[]}");

    cr_assert(jwks_is_older(&old.jwks, &new.jwks));
    cr_assert_not(jwks_is_older(&new.jwks, &old.jwks));
    cr_assert_not(jwks_is_older(&old.jwks, &old.jwks));
    cr_assert_not(jwks_is_older(&none.jwks, &new.jwks));
    cr_assert_not(jwks_is_older(&old.jwks, &none.jwks));
    cr_assert_eq(new.jwks.sequence, UINT64_C(9223372036854775807));
    outcome_free(&old);
    outcome_free(&new);
    outcome_free(&none);
    is_refused("{\"keys\":[],\"spiffe_sequence\":-1}", "spiffe_sequence");
    is_refused("{\"keys\":[],\"spiffe_sequence\":\"7\"}", "spiffe_sequence");
    is_refused("{\"keys\":[],\"spiffe_sequence\":1.5}", "spiffe_sequence");
    is_refused("{\"keys\":[],\"spiffe_sequence\":9223372036854775808}", "spiffe_sequence");
}

static void has_hint(const char *pattern, unsigned hint_s)
{
    struct outcome outcome = parse_pattern(pattern);

    cr_assert_eq(outcome.err, 0, "%s: %s", pattern, outcome.why.ptr);
    cr_assert_eq(outcome.jwks.hint_s, hint_s, "%s: %u", pattern, outcome.jwks.hint_s);
    outcome_free(&outcome);
}

Test(jwks, B12_without_a_hint_it_is_five_minutes)
{
    has_hint("{\"keys\":[]}", 300);
    has_hint("{\"keys\":[],\"spiffe_refresh_hint\":77}", 77);
}

Test(jwks, B13_a_hint_beyond_reason_is_clamped)
{
    has_hint("{\"keys\":[],\"spiffe_refresh_hint\":0}", JWKS_HINT_MIN_S);
    has_hint("{\"keys\":[],\"spiffe_refresh_hint\":-5}", JWKS_HINT_MIN_S);
    has_hint("{\"keys\":[],\"spiffe_refresh_hint\":1e300}", JWKS_HINT_MAX_S);
    has_hint("{\"keys\":[],\"spiffe_refresh_hint\":9223372036854775807}", JWKS_HINT_MAX_S);
    has_hint("{\"keys\":[],\"spiffe_refresh_hint\":99999999999999999999999999}", JWKS_HINT_MAX_S);
    has_hint("{\"keys\":[],\"spiffe_sequence\":7,\"spiffe_refresh_hint\":-99999999999999999999}",
             JWKS_HINT_MIN_S);
    is_refused("{\"keys\":[],\"spiffe_refresh_hint\":\"60\"}", "spiffe_refresh_hint");
}

Test(jwks, B14_unknown_members_are_passed_over)
{
    has_roots(
        "{\"a\":1,\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\",\"alg\":{},\"x5c\":[\"$\"]}],"
        "\"spiffe_future\":[[]]}",
        1);
}

Test(jwks, B15_the_roots_of_one_domain_vouch_for_no_other)
{
    struct test_ca *west = test_ca_new("west.example"), *east = test_ca_new("east.example");
    struct test_cert spec = {.uris = {STR("spiffe://east.example/x")}};
    X509 *by_west = test_ca_mint(west, &spec, NULL);
    struct trust *trust = NULL;
    struct verify_result result;

    test_trust_add(&trust, "west.example", west);
    test_trust_add(&trust, "east.example", east);
    struct verify_request request = {.trust = trust, .now_ns = clock_wall_ns()};
    cr_assert_eq(verify_peer(by_west, NULL, &request, &result), -ERR_TLS_CHAIN);
    X509_free(by_west);
    trust_unref(trust);
    test_ca_free(west);
    test_ca_free(east);
}

struct seen {
    size_t n, n_roots;
    struct text names;
};

static void see(void *owner, struct str trust_domain, const struct jwks *jwks)
{
    struct seen *seen = owner;

    seen->n++;
    seen->n_roots += jwks->n_roots;
    text_add(&seen->names, trust_domain);
}

static int parse_map(const char *pattern, struct seen *seen, struct text *why)
{
    struct test_ca *ca = test_ca_new("west.example");
    struct text json = fill(ca, pattern);
    int err = jwks_map_parse(text_str(&json), see, seen, why);

    text_fini(&json);
    test_ca_free(ca);
    return err;
}

Test(jwks, B16_a_bundle_map_names_every_domain_once)
{
    static const struct {
        const char *pattern, *why;
    } bad[] = {
        {"{}", "trust_domains"},
        {"{\"trust_domains\":[]}", "trust_domains"},
        {"{\"trust_domains\":{\"a\":{\"keys\":[]},\"a\":{\"keys\":[]}}}", "duplicate"},
        {"{\"trust_domains\":{\"a\":{\"keys\":[]},\"A\":{\"keys\":[]}}}", "\"A\""},
        {"{\"trust_domains\":{\"a\":{\"keys\":[]},\"b\":{}}}", "[\"b\"]: it has no \"keys\""},
        {"{\"trust_domains\":{\"spiffe://a\":{\"keys\":[]}}}", "malformed"},
    };
    struct seen seen = {0};
    struct text why = {0};

    cr_assert_eq(parse_map("{\"trust_domains\":{\"a\":{\"keys\":[" KEY "]},\"b\":{\"keys\":[" KEY
                           "," KEY "],\"spiffe_refresh_hint\":0}}}",
                           &seen, &why),
                 0, "%s", why.ptr);
    cr_assert_eq(seen.n, 2);
    cr_assert_eq(seen.n_roots, 3);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct seen none = {0};

        text_clear(&why);
        cr_assert_lt(parse_map(bad[i].pattern, &none, &why), 0, "row %zu", i);
        cr_assert_eq(none.n, 0, "row %zu", i);
        cr_assert(str_contains(text_str(&why), str_from(bad[i].why)), "row %zu: %s", i, why.ptr);
    }
    text_fini(&seen.names);
    text_fini(&why);
}

Test(jwks, B17_hostile_JSON_fails_within_bounds)
{
    struct text deep = {0}, big = {0}, why = {0};
    struct jwks jwks;

    is_refused("{\"keys\":[],\"keys\":[]}", "duplicate");
    is_refused("{\"keys\":[{\"kty\":\"EC\",\"kty\":\"EC\"}]}", "duplicate");
    is_refused("{\"keys\":[],\"x\":\"\xff\"}", "unable to decode");
    is_refused("{\"keys\":[],\"x\":\"\\u0000\"}", "\\u0000");
    is_refused("{\"keys\":[]} x", "end of file");
    is_refused("", "line 1");
    is_refused("[]", "not a JSON object");
    text_add(&deep, STR("{\"keys\":[],\"x\":"));
    for (int i = 0; i < 100000; i++)
        text_addc(&deep, '[');
    cr_assert_eq(jwks_parse(text_str(&deep), &jwks, &why), -ERR_INVALID);
    cr_assert(str_contains(text_str(&why), STR("nested deeper")), "%s", why.ptr);
    for (int i = 0; i < 10 << 20; i++)
        text_addc(&big, ' ');
    text_clear(&why);
    cr_assert_eq(jwks_parse(text_str(&big), &jwks, &why), -ERR_INVALID);
    cr_assert(str_contains(text_str(&why), STR("longer than")), "%s", why.ptr);
    text_fini(&deep);
    text_fini(&big);
    text_fini(&why);
}

Test(jwks, B17_more_than_32_roots_are_refused)
{
    struct text pattern = {0};

    text_add(&pattern, STR("{\"keys\":[" KEY));
    for (int i = 1; i < BUNDLE_ROOTS_MAX; i++)
        text_add(&pattern, STR("," KEY));
    text_addf(&pattern, "]}");
    has_roots(pattern.ptr, BUNDLE_ROOTS_MAX);
    pattern.len -= 2;
    text_add(&pattern, STR("," KEY "]}"));
    is_refused(pattern.ptr, "more than 32");
    text_fini(&pattern);
}

Test(jwks, B18_an_expired_root_is_read_like_any_other)
{
    struct test_cert spec = {.is_ca = true, .subject = "r", .from_s = -7200, .until_s = -3600};
    struct test_ca *ca = test_ca_under(NULL, &spec);
    struct text json = fill(ca, "{\"keys\":[" KEY "]}"), why = {0};
    struct jwks jwks;

    cr_assert_eq(jwks_parse(text_str(&json), &jwks, &why), 0, "%s", why.ptr);
    cr_assert_eq(jwks.n_roots, 1);
    jwks_fini(&jwks);
    text_fini(&json);
    test_ca_free(ca);
}

Test(jwks, a_leaf_among_the_roots_spoils_the_set)
{
    struct test_cert spec = {.uris = {STR("spiffe://west.example/x")}};
    struct test_ca *leaf = test_ca_under(NULL, &spec);
    struct text json = fill(leaf, "{\"keys\":[" KEY "]}"), why = {0};
    struct jwks jwks;

    cr_assert_eq(jwks_parse(text_str(&json), &jwks, &why), -ERR_INVALID);
    cr_assert(str_contains(text_str(&why), STR("not a CA")), "%s", why.ptr);
    text_fini(&json);
    text_fini(&why);
    test_ca_free(leaf);
}

/* A kid is for JWT keys; that two keys have the same one must hide neither. */
Test(jwks, B17_two_keys_of_one_kid_both_count)
{
    has_roots("{\"keys\":[{\"kty\":\"EC\",\"kid\":\"a\",\"use\":\"x509-svid\",\"x5c\":[\"$\"]},"
              "{\"kty\":\"EC\",\"kid\":\"a\",\"use\":\"x509-svid\",\"x5c\":[\"$\"]}]}",
              2);
}
