/* A peer that is remembered is told from one that was proven anew by its path: a remembered one has
 * the leaf that was proven first. */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <string.h>

#include "certs/cert.h"
#include "certs/verified.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "tests/kit/test_ca.h"

TestSuite(verified, .timeout = 60);

#define ID       "spiffe://west.example/ns/shop/sa/cart"
#define OTHER_ID "spiffe://west.example/ns/shop/sa/pay"
#define GOOD     .uris = {{ID, sizeof(ID) - 1}}

struct world {
    struct test_ca *west;
    struct trust *trust;
    struct verified *verified;
};

static struct world world_new(void)
{
    struct world world = {test_ca_new("west.example"), NULL, verified_new()};

    test_trust_add(&world.trust, "west.example", world.west);
    return world;
}

static void world_free(struct world *world)
{
    test_ca_free(world->west);
    trust_unref(world->trust);
    verified_free(world->verified);
}

static struct verify_request request_of(const struct world *world)
{
    return (struct verify_request){.trust = world->trust,
                                   .role = VERIFY_PEER_IS_CLIENT,
                                   .now_ns = clock_wall_ns(),
                                   .verified = world->verified};
}

/* Which leaf the verdict rests on, not to be followed; NULL with *out_err: it was refused. */
static const X509 *verify(X509 *leaf, STACK_OF(X509) * chain, const struct verify_request *request,
                          int *out_err)
{
    struct verify_result result;

    *out_err = verify_peer(leaf, chain, request, &result);
    cr_assert_eq(ERR_peek_error(), 0, "the error queue is not empty");
    cr_assert_eq(result.path != NULL, *out_err == 0);
    if (*out_err == 0) {
        cr_assert_str_eq(result.id, ID);
        cr_assert_eq(result.id_len, strlen(ID));
        cr_assert_gt(strlen(result.serial), 0u);
        cr_assert_gt(result.not_after_ns, 0);
    }
    const X509 *proven = result.path ? sk_X509_value(result.path, 0) : NULL;
    verify_path_free(result.path);
    return proven;
}

static int verdict(X509 *leaf, const struct verify_request *request)
{
    int err;

    (void)verify(leaf, NULL, request, &err);
    return err;
}

/* The same certificate as another connection brings it. */
static X509 *again(X509 *leaf)
{
    X509 *copy = X509_dup(leaf);

    cr_assert(copy);
    return copy;
}

Test(verified, a_peer_is_proven_once_and_then_remembered)
{
    struct world world = world_new();
    const struct verify_request request = request_of(&world);
    X509 *leaf = test_ca_mint(world.west, &(struct test_cert){GOOD}, NULL);
    X509 *copy = again(leaf);
    int err;

    cr_assert_eq(verify(leaf, NULL, &request, &err), leaf);
    cr_assert_eq(verify(copy, NULL, &request, &err), leaf);
    STACK_OF(X509) *sent = sk_X509_new_null();
    sk_X509_push(sent, copy);
    cr_assert_eq(verify(copy, sent, &request, &err), leaf, "sent as libssl hands it over");
    sk_X509_free(sent);
    X509_free(leaf);
    X509_free(copy);
    world_free(&world);
}

Test(verified, who_was_expected_is_asked_each_time)
{
    static const struct str others[] = {{OTHER_ID, sizeof(OTHER_ID) - 1}};
    static const struct str right[] = {{ID, sizeof(ID) - 1}};
    struct world world = world_new();
    X509 *leaf = test_ca_mint(world.west, &(struct test_cert){GOOD}, NULL);
    struct verify_request request = request_of(&world);

    cr_assert_eq(verdict(leaf, &request), 0);
    request.n_expected = 1;
    request.expected = others;
    cr_assert_eq(verdict(leaf, &request), -ERR_TLS_IDENTITY);
    request.expected = right;
    cr_assert_eq(verdict(leaf, &request), 0);
    X509_free(leaf);
    world_free(&world);
}

Test(verified, a_role_vouches_for_no_other)
{
    struct world world = world_new();
    const struct test_cert spec = {GOOD, .extended_key_usage = "clientAuth"};
    X509 *leaf = test_ca_mint(world.west, &spec, NULL);
    struct verify_request request = request_of(&world);

    cr_assert_eq(verdict(leaf, &request), 0);
    request.role = VERIFY_PEER_IS_SERVER;
    cr_assert_eq(verdict(leaf, &request), -ERR_TLS_CHAIN);
    X509_free(leaf);
    world_free(&world);
}

Test(verified, dates_end_what_is_remembered)
{
    struct world world = world_new();
    const int64_t root_ns = cert_time_ns(X509_get0_notBefore(world.west->cert));
    const int64_t now_ns = root_ns + 60 * (int64_t)NS_PER_SEC; /* the kit's root is a minute old */
    const struct test_cert spec = {GOOD, .now_s = now_ns / (int64_t)NS_PER_SEC, .from_s = -600,
                                   .until_s = 600};
    X509 *leaf = test_ca_mint(world.west, &spec, NULL);
    struct verify_request request = request_of(&world);

    static const struct {
        int64_t after_s;
        int err;
    } rows[] = {{0, 0}, {590, 0}, {605, -ERR_TLS_CHAIN}, {-100, 0}, {-130, -ERR_TLS_CHAIN}, {1, 0}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        request.now_ns = now_ns + rows[i].after_s * (int64_t)NS_PER_SEC;
        cr_assert_eq(verdict(leaf, &request), rows[i].err, "after %lld s",
                     (long long)rows[i].after_s);
    }
    X509_free(leaf);
    world_free(&world);
}

/* What is remembered ends with what is proven, in the same second. */
Test(verified, a_peer_is_remembered_until_its_last_second_is_over)
{
    struct world world = world_new();
    X509 *leaf = test_ca_mint(world.west, &(struct test_cert){GOOD, .until_s = 600}, NULL);
    struct verify_request request = request_of(&world);
    const int64_t until_ns = cert_time_ns(X509_get0_notAfter(leaf));
    struct verify_result result;

    cr_assert_eq(verdict(leaf, &request), 0);
    request.now_ns = until_ns - 1;
    cr_assert_eq(verify_peer(leaf, NULL, &request, &result), 0, "%s", result.reason);
    cr_expect(result.was_known);
    verify_path_free(result.path);
    request.now_ns = until_ns;
    cr_expect_eq(verify_peer(leaf, NULL, &request, &result), -ERR_TLS_CHAIN);
    cr_expect_not(result.was_known);
    X509_free(leaf);
    world_free(&world);
}

/* Before 1677 there is no number of nanoseconds; behind 2262 neither. */
Test(verified, who_has_dates_beyond_all_clocks_is_remembered_too)
{
    struct world world = world_new();
    const int64_t year_s = 31556952;
    const struct test_cert spec = {GOOD, .from_s = -1000 * year_s, .until_s = 1000 * year_s};
    X509 *leaf = test_ca_mint(world.west, &spec, NULL);
    X509 *copy = again(leaf);
    const struct verify_request request = request_of(&world);
    struct verify_result result;

    cr_assert_eq(verify_peer(leaf, NULL, &request, &result), 0, "%s", result.reason);
    verify_path_free(result.path);
    cr_assert_eq(verify_peer(copy, NULL, &request, &result), 0, "%s", result.reason);
    cr_expect_eq(sk_X509_value(result.path, 0), leaf);
    verify_path_free(result.path);
    X509_free(copy);
    X509_free(leaf);
    world_free(&world);
}

Test(verified, trust_that_changed_remembers_nobody)
{
    struct world world = world_new();
    struct text why = {0}, pem = {0}, der = {0};
    X509 *leaf = test_ca_mint(world.west, &(struct test_cert){GOOD}, NULL);
    struct test_ca *other = test_ca_new("west.example");
    struct verify_request request = request_of(&world);
    struct trust *next;

    cr_assert_eq(verdict(leaf, &request), 0);
    test_crl_der(world.west, &(struct test_crl){.revoked = &leaf, .n_revoked = 1}, &der);
    cr_assert_eq(trust_with_crls(world.trust, STR("west.example"), text_str(&der), &next, &why), 0);
    request.trust = next;
    cr_assert_eq(verdict(leaf, &request), -ERR_TLS_REVOKED);
    trust_unref(next);

    request.trust = world.trust;
    cr_assert_eq(verdict(leaf, &request), 0);
    test_ca_pem(other, &pem);
    cr_assert_eq(trust_with(world.trust, STR("west.example"), text_str(&pem), &next, &why), 0);
    request.trust = next;
    cr_assert_eq(verdict(leaf, &request), -ERR_TLS_CHAIN);
    trust_unref(next);

    cr_assert_eq(trust_with(world.trust, STR("west.example"), STR(""), &next, &why), 0);
    request.trust = next;
    cr_assert_eq(verdict(leaf, &request), -ERR_TLS_TRUST_DOMAIN);
    trust_unref(next);
    text_fini(&why);
    text_fini(&pem);
    text_fini(&der);
    test_ca_free(other);
    X509_free(leaf);
    world_free(&world);
}

Test(verified, one_other_byte_is_another_certificate)
{
    struct world world = world_new();
    const struct verify_request request = request_of(&world);
    X509 *leaf = test_ca_mint(world.west, &(struct test_cert){GOOD}, NULL);
    unsigned char *der = NULL;
    const int len = i2d_X509(leaf, &der);

    cr_assert_eq(verdict(leaf, &request), 0);
    der[len - 1] ^= 1; /* of the signature */
    const unsigned char *at = der;
    X509 *forged = d2i_X509(NULL, &at, len);
    cr_assert(forged);
    cr_assert_eq(verdict(forged, &request), -ERR_TLS_CHAIN);
    cr_assert_eq(verdict(leaf, &request), 0);
    cr_assert_eq(verdict(forged, &request), -ERR_TLS_CHAIN);
    X509_free(forged);
    OPENSSL_free(der);
    X509_free(leaf);
    world_free(&world);
}

Test(verified, an_intermediate_must_be_sent_each_time)
{
    struct world world = world_new();
    const struct verify_request request = request_of(&world);
    struct test_ca *signer = test_ca_under(world.west, &(struct test_cert){.is_ca = true});
    X509 *leaf = test_ca_mint(signer, &(struct test_cert){GOOD}, NULL);
    X509 *copy = again(leaf);
    STACK_OF(X509) *sent = sk_X509_new_null();
    int err;

    sk_X509_push(sent, signer->cert);
    cr_assert_eq(verify(leaf, sent, &request, &err), leaf);
    cr_assert_eq(verify(copy, sent, &request, &err), leaf);
    cr_assert_eq(verdict(copy, &request), -ERR_TLS_CHAIN);
    sk_X509_free(sent);
    X509_free(copy);
    X509_free(leaf);
    test_ca_free(signer);
    world_free(&world);
}

/* Three times as many as there is room for, each proven twice in a row. */
Test(verified, more_peers_than_there_is_room_for_are_proven_all_the_same)
{
    enum { PEERS = 3 * VERIFIED_SETS * VERIFIED_WAYS };
    struct world world = world_new();
    const struct verify_request request = request_of(&world);
    EVP_PKEY *key = test_key_new("P-256");
    int err;

    for (int i = 0; i < PEERS; i++) {
        X509 *leaf = test_ca_mint(world.west, &(struct test_cert){GOOD, .public_key = key}, NULL);
        X509 *copy = again(leaf);

        cr_assert_eq(verify(leaf, NULL, &request, &err), leaf);
        cr_assert_eq(verify(copy, NULL, &request, &err), leaf);
        X509_free(copy);
        X509_free(leaf);
    }
    EVP_PKEY_free(key);
    world_free(&world);
}
