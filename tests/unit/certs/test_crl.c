/* X47 is the row of the X.509-SVID table about revocation; the sections are RFC 5280's. */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/bundle.h"
#include "certs/crl.h"
#include "certs/verify.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "tests/kit/test_ca.h"

TestSuite(crl, .timeout = 60);

#define ID "spiffe://west.example/ns/shop/sa/cart"

/* A root, an intermediate under it, and a leaf of each. */
struct world {
    struct test_ca *root, *middle;
    X509 *by_root, *by_middle;
    STACK_OF(X509) * chain;
    struct trust *trust;
};

static struct world world_new(void)
{
    struct world world = {.root = test_ca_new("west.example"), .chain = sk_X509_new_null()};
    struct test_cert middle = {.is_ca = true, .subject = "intermediate"};
    struct test_cert leaf = {.uris = {STR(ID)}};

    world.middle = test_ca_under(world.root, &middle);
    world.by_root = test_ca_mint(world.root, &leaf, NULL);
    world.by_middle = test_ca_mint(world.middle, &leaf, NULL);
    sk_X509_push(world.chain, world.middle->cert);
    test_trust_add(&world.trust, "west.example", world.root);
    return world;
}

static void world_free(struct world *world)
{
    test_ca_free(world->root);
    test_ca_free(world->middle);
    X509_free(world->by_root);
    X509_free(world->by_middle);
    sk_X509_free(world->chain);
    trust_unref(world->trust);
}

static int set_crls(struct world *world, const struct text *crls, struct text *why)
{
    struct trust *next = NULL;
    int err = trust_with_crls(world->trust, STR("west.example"), text_str(crls), &next, why);

    cr_assert_eq(ERR_peek_error(), 0);
    if (err == 0) {
        trust_unref(world->trust);
        world->trust = next;
    }
    return err;
}

static void revoke(struct world *world, const struct test_ca *ca, X509 *cert)
{
    struct test_crl spec = {.revoked = &cert, .n_revoked = 1};
    struct text der = {0}, why = {0};

    test_crl_der(ca, &spec, &der);
    cr_assert_eq(set_crls(world, &der, &why), 0, "%s", why.ptr);
    text_fini(&der);
}

static int verify(const struct world *world, X509 *leaf, struct verify_result *result)
{
    struct verify_request request = {.trust = world->trust, .now_ns = clock_wall_ns()};
    int err = verify_peer(leaf, world->chain, &request, result);

    verify_path_free(result->path);
    return err;
}

Test(crl, X47_a_revoked_leaf_is_refused)
{
    struct world world = world_new();
    struct verify_result result;

    cr_assert_eq(verify(&world, world.by_root, &result), 0, "%s", result.reason);
    revoke(&world, world.root, world.by_root);
    cr_assert_eq(verify(&world, world.by_root, &result), -ERR_TLS_REVOKED);
    cr_assert_str_eq(result.reason, "the certificate was revoked");
    cr_assert_eq(verify(&world, world.by_middle, &result), 0, "%s", result.reason);
    world_free(&world);
}

Test(crl, X47_a_revoked_intermediate_takes_its_leaves_with_it)
{
    struct world world = world_new();
    struct verify_result result;

    revoke(&world, world.root, world.middle->cert);
    cr_assert_eq(verify(&world, world.by_middle, &result), -ERR_TLS_REVOKED);
    cr_assert_str_eq(result.reason, "a certificate that signs in its chain was revoked");
    cr_assert_eq(verify(&world, world.by_root, &result), 0, "%s", result.reason);
    world_free(&world);
}

Test(crl, X47_an_intermediate_takes_back_what_it_signed)
{
    struct world world = world_new();
    struct verify_result result;

    revoke(&world, world.middle, world.by_middle);
    cr_assert_eq(verify(&world, world.by_middle, &result), -ERR_TLS_REVOKED);
    world_free(&world);
}

Test(crl, a_list_counts_for_its_own_issuer_only)
{
    struct world world = world_new();
    struct verify_result result;

    /* The same number under another issuer is another certificate. */
    revoke(&world, world.middle, world.by_root);
    cr_assert_eq(verify(&world, world.by_root, &result), 0, "%s", result.reason);
    world_free(&world);
}

Test(crl, a_list_that_a_stranger_signed_in_an_intermediates_name_counts_for_nobody)
{
    struct world world = world_new();
    struct verify_result result;
    EVP_PKEY *stranger = test_key_new(NULL);
    struct test_crl spec = {.revoked = &world.by_middle, .n_revoked = 1, .key = stranger};
    struct text der = {0}, why = {0};

    test_crl_der(world.middle, &spec, &der);
    cr_assert_eq(set_crls(&world, &der, &why), 0, "%s", why.ptr);
    cr_assert_eq(verify(&world, world.by_middle, &result), 0, "%s", result.reason);
    text_fini(&der);
    EVP_PKEY_free(stranger);
    world_free(&world);
}

Test(crl, the_lists_of_one_trust_domain_touch_no_other)
{
    struct world world = world_new();
    struct test_crl spec = {.revoked = &world.by_root, .n_revoked = 1};
    struct verify_result result;
    struct text der = {0}, why = {0};
    struct trust *next = NULL;

    test_crl_der(world.root, &spec, &der);
    cr_assert_eq(trust_with_crls(world.trust, STR("east.example"), text_str(&der), &next, &why), 0);
    trust_unref(world.trust);
    world.trust = next;
    cr_assert_eq(verify(&world, world.by_root, &result), 0, "%s", result.reason);
    text_fini(&der);
    world_free(&world);
}

/* An authority of a trust domain, under a name that others have too, as SPIRE's have. */
static struct test_ca *namesake_new(const char *id)
{
    const struct test_cert spec = {.is_ca = true, .subject = "SPIRE", .uris = {str_from(id)}};

    return test_ca_under(NULL, &spec);
}

Test(crl, authorities_that_share_a_name_are_told_apart_by_their_keys)
{
    struct test_ca *west = namesake_new("spiffe://west.example");
    struct test_ca *east = namesake_new("spiffe://east.example");
    struct test_cert leaf = {.uris = {STR(ID)}};
    X509 *bad = test_ca_mint(west, &leaf, NULL), *good = test_ca_mint(west, &leaf, NULL);

    const struct {
        const char *name;
        struct test_ca
            *by; /* of the second list; the first is west's own, and takes nothing back */
        struct test_crl list;
        int err;
        bool is_revoked;
    } rows[] = {
        {"each with its own key", east, {.key_id_of = east}, 0, false},
        {"the other does not say its key", east, {0}, -ERR_INVALID, false},
        {"the other says the key of ours", east, {.key_id_of = west}, -ERR_INVALID, false},
        {"ours, with its key", west, {.key_id_of = west}, 0, true},
        {"ours, without", west, {0}, 0, true},
        {"ours, by a slip with the key of the other", west, {.key_id_of = east}, 0, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world world = {0};
        struct verify_result result;
        struct test_crl list = rows[i].list, none = {.key_id_of = west};
        struct text der = {0}, why = {0};

        test_trust_add(&world.trust, "west.example", west);
        list.revoked = &bad;
        list.n_revoked = 1;
        test_crl_der(west, &none, &der);
        test_crl_der(rows[i].by, &list, &der);
        cr_expect_eq(set_crls(&world, &der, &why), rows[i].err, "%s: %s", rows[i].name, why.ptr);
        cr_expect_eq(verify(&world, bad, &result), rows[i].is_revoked ? -ERR_TLS_REVOKED : 0, "%s",
                     rows[i].name);
        cr_expect_eq(verify(&world, good, &result), 0, "%s", rows[i].name);
        trust_unref(world.trust);
        text_fini(&der);
        text_fini(&why);
    }
    X509_free(bad);
    X509_free(good);
    test_ca_free(west);
    test_ca_free(east);
}

Test(crl, of_authorities_that_share_a_name_each_has_its_own_next_update)
{
    struct test_ca *west = namesake_new("spiffe://west.example");
    struct test_ca *east = namesake_new("spiffe://east.example");
    const struct test_crl soon = {.until_s = 600, .key_id_of = west};
    const struct test_crl later = {.until_s = 7200, .key_id_of = east};
    STACK_OF(X509_CRL) *crls = NULL;
    struct text der = {0}, why = {0};

    test_crl_der(west, &soon, &der);
    test_crl_der(east, &later, &der);
    cr_assert_eq(crl_read(text_str(&der), &crls, &why), 0, "%s", why.ptr);
    const int64_t in_ns = crl_next_update_ns(crls) - clock_wall_ns();
    cr_expect_lt(in_ns, 700 * (int64_t)NS_PER_SEC);
    cr_expect_gt(in_ns, 0);
    crl_list_free(crls);
    text_fini(&der);
    test_ca_free(west);
    test_ca_free(east);
}

Test(crl, what_a_list_names_is_refused_whatever_its_dates)
{
    static const struct {
        const char *item;
        int64_t from_s, until_s;
        bool has_no_end;
    } rows[] = {{"stale", -7200, -3600, false},
                {"from the future", 3600, 7200, false},
                {"without an end", 0, 0, true}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world world = world_new();
        struct verify_result result;
        struct test_crl spec = {.revoked = &world.by_root,
                                .n_revoked = 1,
                                .from_s = rows[i].from_s,
                                .until_s = rows[i].until_s,
                                .has_no_end = rows[i].has_no_end};
        struct text der = {0}, why = {0};

        test_crl_der(world.root, &spec, &der);
        cr_assert_eq(set_crls(&world, &der, &why), 0, "%s: %s", rows[i].item, why.ptr);
        cr_assert_eq(verify(&world, world.by_root, &result), -ERR_TLS_REVOKED, "%s", rows[i].item);
        cr_assert_eq(verify(&world, world.by_middle, &result), 0, "%s", rows[i].item);
        text_fini(&der);
        world_free(&world);
    }
}

Test(crl, bad_lists_are_refused_with_a_reason_and_the_last_good_stay)
{
    struct world world = world_new();
    EVP_PKEY *stranger = test_key_new(NULL);

    const struct {
        const char *item, *why;
        struct test_crl spec;
    } rows[] = {
        {"signed by another", "did not sign it", {.key = stranger}},
        {"5.2 unknown critical",
         "unknown critical extension",
         {.critical_nid = NID_netscape_comment}},
        {"5.2.4 delta", "delta", {.critical_nid = NID_delta_crl}},
        {"5.2.5 indirect", "indirect", {.is_indirect = true}},
        {"5.2.5 malformed", "malformed", {.critical_nid = NID_issuing_distribution_point}},
    };
    struct verify_result result;

    revoke(&world, world.root, world.by_root);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text der = {0}, why = {0};

        test_crl_der(world.root, &rows[i].spec, &der);
        cr_assert_eq(set_crls(&world, &der, &why), -ERR_INVALID, "%s", rows[i].item);
        cr_assert(str_contains(text_str(&why), str_from(rows[i].why)), "%s: %s", rows[i].item,
                  why.ptr);
        cr_assert_eq(verify(&world, world.by_root, &result), -ERR_TLS_REVOKED, "%s", rows[i].item);
        text_fini(&der);
        text_fini(&why);
    }
    EVP_PKEY_free(stranger);
    world_free(&world);
}

Test(crl, reads_several_lists_in_PEM_and_in_DER)
{
    struct world world = world_new();
    struct test_crl by_root = {.revoked = &world.by_root, .n_revoked = 1};
    struct test_crl by_middle = {.revoked = &world.by_middle, .n_revoked = 1};
    struct text der = {0}, pem = {0}, again = {0}, why = {0};
    struct verify_result result;

    test_crl_der(world.root, &by_root, &der);
    test_crl_der(world.middle, &by_middle, &der);
    cr_assert_eq(set_crls(&world, &der, &why), 0, "%s", why.ptr);
    cr_assert_eq(verify(&world, world.by_root, &result), -ERR_TLS_REVOKED);
    cr_assert_eq(verify(&world, world.by_middle, &result), -ERR_TLS_REVOKED);

    test_crl_pem(world.middle, &by_middle, &pem);
    cr_assert_eq(set_crls(&world, &pem, &why), 0, "%s", why.ptr);
    cr_assert_eq(verify(&world, world.by_root, &result), 0);
    cr_assert_eq(verify(&world, world.by_middle, &result), -ERR_TLS_REVOKED);
    cr_assert_eq(crl_to_der(text_str(&pem), &again, &why), 0);
    cr_assert(str_eq(text_str(&again), trust_find_crls(world.trust, STR("west.example"))->der));

    text_clear(&der);
    cr_assert_eq(set_crls(&world, &der, &why), 0);
    cr_assert_null(trust_find_crls(world.trust, STR("west.example")));
    cr_assert_eq(verify(&world, world.by_middle, &result), 0);
    text_fini(&der);
    text_fini(&pem);
    text_fini(&again);
    world_free(&world);
}

Test(crl, refuses_what_is_not_a_list)
{
    static const struct str rows[] = {
        {"hello", 5},
        {"\x30", 1},
        {"\x30\x03\x02\x01\x01", 5},
        {"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", 53},
        {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 59},
    };
    struct world world = world_new();
    struct test_crl spec = {0};
    struct text der = {0}, why = {0};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text bytes = {0};

        text_add(&bytes, rows[i]);
        text_clear(&why);
        cr_assert_eq(set_crls(&world, &bytes, &why), -ERR_INVALID, "row %zu", i);
        cr_assert(why.len > 0, "row %zu", i);
        text_fini(&bytes);
    }
    test_crl_der(world.root, &spec, &der);
    text_addc(&der, '\n');
    cr_assert_eq(set_crls(&world, &der, &why), -ERR_INVALID);
    text_fini(&der);
    text_fini(&why);
    world_free(&world);
}

Test(crl, holds_64_lists_and_not_one_more)
{
    struct world world = world_new();
    struct test_crl spec = {0};
    struct text der = {0}, why = {0};

    for (int i = 0; i < CRLS_MAX; i++)
        test_crl_der(world.root, &spec, &der);
    cr_assert_eq(set_crls(&world, &der, &why), 0, "%s", why.ptr);
    test_crl_der(world.root, &spec, &der);
    cr_assert_eq(set_crls(&world, &der, &why), -ERR_INVALID);
    cr_assert(str_contains(text_str(&why), STR("too many")), "%s", why.ptr);
    text_fini(&der);
    text_fini(&why);
    world_free(&world);
}

Test(crl, lists_and_roots_change_without_each_other)
{
    struct world world = world_new();
    struct text pem = {0}, why = {0};
    struct trust *without = NULL, *with = NULL;
    struct verify_result result;

    revoke(&world, world.root, world.by_root);
    cr_assert_eq(trust_with(world.trust, STR("west.example"), (struct str){0}, &without, &why), 0);
    cr_assert_not_null(trust_find_crls(without, STR("west.example")));
    test_ca_pem(world.root, &pem);
    cr_assert_eq(trust_with(without, STR("west.example"), text_str(&pem), &with, &why), 0);
    cr_assert_neq(with->generation, without->generation);
    trust_unref(world.trust);
    trust_unref(without);
    world.trust = with;
    cr_assert_eq(verify(&world, world.by_root, &result), -ERR_TLS_REVOKED);
    text_fini(&pem);
    world_free(&world);
}

Test(crl, says_when_the_first_list_is_due)
{
    struct test_ca *ca = test_ca_new("west.example"), *other = test_ca_new("east.example");
    struct test_crl soon = {.until_s = 600}, late = {.until_s = 6000}, never = {.has_no_end = true};
    struct text der = {0}, why = {0};
    STACK_OF(X509_CRL) *crls = NULL;

    test_crl_der(ca, &never, &der);
    cr_assert_eq(crl_read(text_str(&der), &crls, &why), 0);
    cr_assert_eq(crl_next_update_ns(crls), INT64_MAX);
    crl_list_free(crls);
    text_clear(&der);
    test_crl_der(ca, &late, &der);
    test_crl_der(other, &soon, &der);
    cr_assert_eq(crl_read(text_str(&der), &crls, &why), 0);
    int64_t left_s = (crl_next_update_ns(crls) - clock_wall_ns()) / (int64_t)NS_PER_SEC;
    cr_assert(left_s > 500 && left_s <= 600, "%lld", (long long)left_s);
    crl_list_free(crls);
    text_fini(&der);
    test_ca_free(ca);
    test_ca_free(other);
}

Test(crl, of_two_lists_of_one_issuer_the_newer_one_says_when_the_next_is_due)
{
    struct test_ca *ca = test_ca_new("west.example"), *other = test_ca_new("east.example");
    struct test_crl old = {.until_s = -600}, fresh = {.until_s = 6000}, soon = {.until_s = 600};
    struct text der = {0}, why = {0};
    STACK_OF(X509_CRL) *crls = NULL;

    test_crl_der(ca, &old, &der);
    test_crl_der(ca, &fresh, &der);
    cr_assert_eq(crl_read(text_str(&der), &crls, &why), 0);
    cr_assert_gt(crl_next_update_ns(crls), clock_wall_ns() + 5000 * (int64_t)NS_PER_SEC);
    crl_list_free(crls);
    test_crl_der(other, &soon, &der);
    cr_assert_eq(crl_read(text_str(&der), &crls, &why), 0);
    cr_assert_lt(crl_next_update_ns(crls), clock_wall_ns() + 700 * (int64_t)NS_PER_SEC);
    cr_assert_gt(crl_next_update_ns(crls), clock_wall_ns());
    crl_list_free(crls);
    text_fini(&der);
    test_ca_free(ca);
    test_ca_free(other);
}

static void add_numbers(X509_CRL *crl, long first, long n)
{
    ASN1_TIME *when = ASN1_TIME_set(NULL, 1700000000);

    for (long i = 0; i < n; i++) {
        X509_REVOKED *entry = X509_REVOKED_new();
        ASN1_INTEGER *number = ASN1_INTEGER_new();

        cr_assert(ASN1_INTEGER_set(number, first + i) == 1);
        cr_assert(X509_REVOKED_set_serialNumber(entry, number) == 1);
        cr_assert(X509_REVOKED_set_revocationDate(entry, when) == 1);
        cr_assert(X509_CRL_add0_revoked(crl, entry) == 1);
        ASN1_INTEGER_free(number);
    }
    ASN1_TIME_free(when);
}

/* A list of the root with n numbers and the leaf's behind them, as DER. */
static void long_list(const struct world *world, long n, struct text *out)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *now = ASN1_TIME_set(NULL, clock_wall_ns() / (int64_t)NS_PER_SEC - 60);
    unsigned char *der = NULL;

    cr_assert(X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1);
    cr_assert(X509_CRL_set_issuer_name(crl, X509_get_subject_name(world->root->cert)) == 1);
    cr_assert(X509_CRL_set1_lastUpdate(crl, now) == 1);
    add_numbers(crl, 1000000, n);
    add_numbers(crl, ASN1_INTEGER_get(X509_get0_serialNumber(world->by_root)), 1);
    cr_assert_gt(X509_CRL_sign(crl, world->root->key, EVP_sha256()), 0);
    int len = i2d_X509_CRL(crl, &der);
    cr_assert_gt(len, 0);
    text_add(out, str_of(der, (size_t)len));
    OPENSSL_free(der);
    ASN1_TIME_free(now);
    X509_CRL_free(crl);
}

Test(crl, a_list_of_100000_is_held_and_one_of_a_million_is_refused)
{
    struct world world = world_new();
    struct text der = {0}, why = {0};
    struct verify_result result;

    long_list(&world, 100000, &der);
    cr_assert_eq(set_crls(&world, &der, &why), 0, "%s", why.ptr);
    cr_expect_eq(verify(&world, world.by_root, &result), -ERR_TLS_REVOKED);
    cr_expect_eq(verify(&world, world.by_middle, &result), 0, "%s", result.reason);

    text_clear(&der);
    long_list(&world, 1000000, &der);
    cr_expect_eq(set_crls(&world, &der, &why), -ERR_LIMIT);
    cr_expect_not_null(strstr(why.ptr, "too long"), "%s", why.ptr);
    cr_expect_eq(verify(&world, world.by_root, &result), -ERR_TLS_REVOKED,
                 "the last good one stays");
    text_fini(&der);
    text_fini(&why);
    world_free(&world);
}
