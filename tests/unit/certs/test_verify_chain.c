/* What stands between a leaf and a root, and the roots: see test_verify.c for the X numbers. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "verify_kit.h"

TestSuite(verify, .timeout = 60);

Test(verify, trusts_only_the_bundle_of_the_trust_domain_that_the_id_claims)
{
    static const struct {
        const char *item, *id;
        bool by_west;
        int err;
    } rows[] = {
        {"own root", "spiffe://east.example/x", false, 0},
        {"X24 another domain's root", "spiffe://east.example/x", true, -ERR_TLS_CHAIN},
        {"X24 the other way", "spiffe://west.example/x", false, -ERR_TLS_CHAIN},
        {"X43 no bundle", "spiffe://north.example/x", true, -ERR_TLS_TRUST_DOMAIN},
        {"X45", "spiffe://evil-west.example/x", true, -ERR_TLS_TRUST_DOMAIN},
        {"X45", "spiffe://west.example.evil/x", true, -ERR_TLS_TRUST_DOMAIN},
        {"X45", "spiffe://example/x", true, -ERR_TLS_TRUST_DOMAIN},
    };
    struct world world = world_new();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct verify_result result;
        struct test_cert spec = {.uris = {str_from(rows[i].id)}};
        X509 *leaf = test_ca_mint(rows[i].by_west ? world.west : world.east, &spec, NULL);

        cr_assert_eq(world_verify(&world, leaf, NULL, CLIENT, &result), rows[i].err, "%s %s",
                     rows[i].item, rows[i].id);
        cr_assert_str_eq(result.id, rows[i].id);
        X509_free(leaf);
    }
    world_free(&world);
}

Test(verify, refuses_an_unknown_root_even_when_the_peer_sends_it) /* X23 */
{
    struct world world = world_new();
    struct test_ca *stranger = test_ca_new("west.example");
    struct test_cert spec = {GOOD};
    X509 *leaf = test_ca_mint(stranger, &spec, NULL);
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct verify_result result;

    sk_X509_push(chain, leaf);
    sk_X509_push(chain, stranger->cert);
    cr_assert_eq(world_verify(&world, leaf, chain, CLIENT, &result), -ERR_TLS_CHAIN);
    sk_X509_free(chain);
    X509_free(leaf);
    test_ca_free(stranger);
    world_free(&world);
}

Test(verify, checks_every_certificate_that_signs)
{
    static const struct {
        const char *item;
        int err;
        struct test_cert intermediate;
    } rows[] = {
        {"good", 0, {.is_ca = true, NAMED("spiffe://west.example")}},
        {"X25",
         -ERR_TLS_CHAIN,
         {NAMED("spiffe://west.example"), .key_usage = "critical,keyCertSign"}},
        {"X26",
         -ERR_TLS_CHAIN,
         {.is_ca = true, NAMED("spiffe://west.example"), .key_usage = "critical,cRLSign"}},
        {"X26 absent",
         -ERR_TLS_CHAIN,
         {.is_ca = true, NAMED("spiffe://west.example"), .key_usage = ""}},
        {"X28", -ERR_TLS_CHAIN, {.is_ca = true, NAMED("spiffe://west.example/ca")}},
        {"X28 malformed", -ERR_TLS_CHAIN, {.is_ca = true, NAMED("spiffe://west.example\0/ca")}},
        {"X28 two",
         -ERR_TLS_CHAIN,
         {.is_ca = true,
          .subject = "intermediate",
          .uris = {TEXT("spiffe://west.example"), TEXT("spiffe://west.example")}}},
        {"X29", 0, {.is_ca = true, .subject = "intermediate"}},
        {"other URI", 0, {.is_ca = true, NAMED("https://ca.example/about")}},
        {"X30",
         -ERR_TLS_CHAIN,
         {.is_ca = true,
          .subject = "intermediate",
          .name_constraints = "critical,permitted;URI:east.example"}},
        {"X31",
         0,
         {.is_ca = true,
          .subject = "intermediate",
          .name_constraints = "critical,permitted;URI:west.example"}},
        {"X32",
         -ERR_TLS_CHAIN,
         {.is_ca = true, .subject = "intermediate", .extended_key_usage = "codeSigning"}},
        {"expired",
         -ERR_TLS_CHAIN,
         {.is_ca = true, .subject = "intermediate", .from_s = -7200, .until_s = -1}},
        {"weak", -ERR_TLS_CHAIN, {.is_ca = true, .subject = "intermediate", .key = "RSA-1024"}},
    };
    struct world world = world_new();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct test_ca *ca = test_ca_under(world.west, &rows[i].intermediate);
        struct test_cert spec = {GOOD};
        X509 *leaf = test_ca_mint(ca, &spec, NULL);
        STACK_OF(X509) *chain = sk_X509_new_null();
        struct verify_result result;

        sk_X509_push(chain, ca->cert);
        int err = world_verify(&world, leaf, chain, CLIENT, &result);
        cr_assert_eq(err, rows[i].err, "%s: %d %s", rows[i].item, err, result.reason);
        /* Without the intermediate there is no chain at all. */
        cr_assert_eq(world_verify(&world, leaf, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
        sk_X509_free(chain);
        X509_free(leaf);
        test_ca_free(ca);
    }
    world_free(&world);
}

Test(verify, holds_the_path_length_of_a_signer) /* X27 */
{
    struct world world = world_new();
    struct test_cert upper_spec = {.is_ca = true, .subject = "upper", .path_len_plus_one = 1};
    struct test_cert lower_spec = {.is_ca = true, .subject = "lower"};
    struct test_ca *upper = test_ca_under(world.west, &upper_spec);
    struct test_ca *lower = test_ca_under(upper, &lower_spec);
    struct test_cert spec = {GOOD};
    X509 *near = test_ca_mint(upper, &spec, NULL), *far = test_ca_mint(lower, &spec, NULL);
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct verify_result result;

    sk_X509_push(chain, lower->cert);
    sk_X509_push(chain, upper->cert);
    cr_assert_eq(world_verify(&world, near, chain, CLIENT, &result), 0, "%s", result.reason);
    cr_assert_eq(world_verify(&world, far, chain, CLIENT, &result), -ERR_TLS_CHAIN);
    sk_X509_free(chain);
    X509_free(near);
    X509_free(far);
    test_ca_free(upper);
    test_ca_free(lower);
    world_free(&world);
}

Test(verify, follows_the_bundle_through_a_change_of_roots) /* R3, R4 */
{
    struct world world = world_new();
    struct test_ca *new = test_ca_new("west.example");
    struct test_cert spec = {GOOD};
    X509 *by_old = test_ca_mint(world.west, &spec, NULL), *by_new = test_ca_mint(new, &spec, NULL);
    struct text old_pem = {0}, new_pem = {0}, both = {0}, why = {0};

    test_ca_pem(world.west, &old_pem);
    test_ca_pem(new, &new_pem);
    text_addf(&both, "%s%s", old_pem.ptr, new_pem.ptr);

    const struct {
        struct str pem;
        int err_old, err_new;
    } rows[] = {{text_str(&old_pem), 0, -ERR_TLS_CHAIN},
                {text_str(&both), 0, 0},
                {text_str(&new_pem), -ERR_TLS_CHAIN, 0},
                {STR(""), -ERR_TLS_TRUST_DOMAIN, -ERR_TLS_TRUST_DOMAIN}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct trust *next = NULL;
        struct verify_result result;

        cr_assert_eq(trust_with(world.trust, STR("west.example"), rows[i].pem, &next, &why), 0);
        trust_unref(world.trust);
        world.trust = next;
        cr_assert_eq(world_verify(&world, by_old, NULL, CLIENT, &result), rows[i].err_old,
                     "row %zu", i);
        cr_assert_eq(world_verify(&world, by_new, NULL, CLIENT, &result), rows[i].err_new,
                     "row %zu", i);
    }
    text_fini(&old_pem);
    text_fini(&new_pem);
    text_fini(&both);
    X509_free(by_old);
    X509_free(by_new);
    test_ca_free(new);
    world_free(&world);
}

Test(verify, refuses_more_certificates_than_a_chain_has)
{
    struct world world = world_new();
    struct test_cert spec = {GOOD};
    X509 *leaf = test_ca_mint(world.west, &spec, NULL);
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct verify_result result;

    for (int i = 0; i < 16; i++)
        sk_X509_push(chain, leaf);
    cr_assert_eq(world_verify(&world, leaf, chain, CLIENT, &result), 0, "%s", result.reason);
    sk_X509_push(chain, leaf);
    cr_assert_eq(world_verify(&world, leaf, chain, CLIENT, &result), -ERR_TLS_CHAIN);
    sk_X509_free(chain);
    X509_free(leaf);
    world_free(&world);
}

Test(verify, a_bundle_may_anchor_on_a_ca_that_is_not_self_signed)
{
    struct world world = world_new();
    struct test_cert spec = {.is_ca = true, NAMED("spiffe://north.example")}, leaf_spec = {0};
    struct test_ca *anchor = test_ca_under(world.west, &spec);
    struct verify_result result;

    leaf_spec.uris[0] = STR("spiffe://north.example/x");
    X509 *leaf = test_ca_mint(anchor, &leaf_spec, NULL);
    X509 *by_west = test_ca_mint(world.west, &leaf_spec, NULL);
    test_trust_add(&world.trust, "north.example", anchor);
    cr_assert_eq(world_verify(&world, leaf, NULL, CLIENT, &result), 0, "%s", result.reason);
    /* The one above it is not in the bundle. */
    cr_assert_eq(world_verify(&world, by_west, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
    X509_free(leaf);
    X509_free(by_west);
    test_ca_free(anchor);
    world_free(&world);
}

Test(verify, an_expired_root_in_a_bundle_does_not_harm_the_others) /* B18 */
{
    struct world world = world_new();
    struct test_cert old_spec = {
        .is_ca = true, NAMED("spiffe://west.example"), .from_s = -7200, .until_s = -3600};
    struct test_ca *old = test_ca_under(NULL, &old_spec);
    struct text pem = {0}, why = {0};
    struct trust *next = NULL;
    struct test_cert spec = {GOOD};
    struct verify_result result;
    X509 *by_old = test_ca_mint(old, &spec, NULL), *by_new = test_ca_mint(world.west, &spec, NULL);

    test_ca_pem(old, &pem);
    test_ca_pem(world.west, &pem);
    cr_assert_eq(trust_with(world.trust, STR("west.example"), text_str(&pem), &next, &why), 0);
    trust_unref(world.trust);
    world.trust = next;
    cr_assert_eq(world_verify(&world, by_new, NULL, CLIENT, &result), 0, "%s", result.reason);
    cr_assert_eq(world_verify(&world, by_old, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
    X509_free(by_old);
    X509_free(by_new);
    text_fini(&pem);
    test_ca_free(old);
    world_free(&world);
}
