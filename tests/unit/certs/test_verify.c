/* The X numbers are rows of a table of what the X.509-SVID standard (sections 2 to 5) and RFC 5280
 * ask of a verifier. */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "verify_kit.h"

TestSuite(verify, .timeout = 60);

Test(verify, accepts_good_leaves_in_both_roles)
{
    static const struct {
        const char *item;
        struct test_cert spec;
    } rows[] = {
        {"X1", {GOOD}},
        {"X2", {GOOD, .other_names = true}},
        {"X16", {GOOD, .no_basic_constraints = true}},
        {"X17", {GOOD, .extended_key_usage = ""}},
        {"X34", {GOOD, .unknown_extension = "plain"}},
        {"X35", {GOOD, .subject = NULL}},
        {"subject and a SAN that is not critical",
         {GOOD, .subject = "cart", .san_not_critical = true}},
        {"4.3 other usages", {GOOD, .key_usage = "critical,digitalSignature,keyAgreement"}},
        {"more extended usages",
         {GOOD, .extended_key_usage = "serverAuth,clientAuth,emailProtection"}},
        {"RSA-2048", {GOOD, .key = "RSA-2048"}},
        {"P-384", {GOOD, .key = "P-384"}},
    };
    struct world world = world_new();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int role = CLIENT; role <= SERVER; role++) {
            struct verify_result result;
            int err = world_verify_spec(&world, &rows[i].spec, (enum verify_role)role, &result);

            cr_assert_eq(err, 0, "%s, role %d: %s", rows[i].item, role, result.reason);
            cr_assert_str_eq(result.id, ID, "%s", rows[i].item);
            cr_assert_eq(result.id_len, strlen(ID));
            cr_assert_str_empty(result.reason);
            cr_assert(strlen(result.serial) > 0);
            cr_assert(result.not_after_ns > clock_wall_ns());
        }
    world_free(&world);
}

Test(verify, refuses_leaves_that_break_a_rule_of_the_standard_in_both_roles)
{
    static const struct {
        const char *item;
        struct test_cert spec;
    } rows[] = {
        {"X3", {.uris = {TEXT(ID), TEXT(ID)}}},
        {"X3", {.uris = {TEXT(ID), TEXT("spiffe://west.example/other")}}},
        {"X4", {.uris = {TEXT(ID), TEXT("https://west.example/x")}}},
        {"X4", {.uris = {TEXT("https://west.example/x"), TEXT(ID)}}},
        {"X5", {.subject = "nobody"}},
        {"X5", {.other_names = true}},
        {"X6", {.uris = {TEXT("https://west.example/x")}}},
        {"X7", {.uris = {TEXT("spiffe://west.example")}}},
        {"X8", {.uris = {TEXT("spiffe://west.example/")}}},
        {"X9", {GOOD, .is_ca = true, .key_usage = "critical,digitalSignature"}},
        {"X10", {GOOD, .is_ca = true}},
        {"X10", {GOOD, .is_ca = true, .key_usage = "critical,digitalSignature,keyCertSign"}},
        {"X11", {GOOD, .key_usage = "critical,digitalSignature,keyCertSign"}},
        {"X12", {GOOD, .key_usage = "critical,digitalSignature,cRLSign"}},
        {"X13", {GOOD, .key_usage = "critical,keyEncipherment"}},
        {"X14", {GOOD, .key_usage = ""}},
        {"X15", {GOOD, .key_usage = "digitalSignature"}},
        {"X20", {GOOD, .extended_key_usage = "codeSigning"}},
        {"X20", {GOOD, .extended_key_usage = "anyExtendedKeyUsage"}},
        {"X33", {GOOD, .unknown_extension = "critical"}},
        {"X36", {GOOD, .san_not_critical = true}},
        {"X37", {.uris = {TEXT("spiffe://west.example/ns/shop/sa/cart\0.evil")}}},
        {"X37", {.uris = {TEXT("spiffe://west.example\0.evil/x")}}},
        {"X37", {.uris = {TEXT("spiffe://west.example/x\0")}}},
        {"X38", {.uris = {TEXT("spiffe://west.example/caf\xc3\xa9")}}},
        {"X39", {.san_der = TEXT("\x30\x7f\x86\x01")}},
        {"X39", {.san_der = TEXT("not DER at all")}},
        {"X39 bytes behind", {.san_der = TEXT("\x30\x12\x86\x10spiffe://west/ab\x05\x00")}},
        {"X39 empty", {.san_der = TEXT("\x30\x00")}},
        {"SAN twice", {GOOD, .san_twice = true}},
        {"basicConstraints twice", {GOOD, .basic_constraints_twice = true}},
        {"S13", {.uris = {TEXT("SPIFFE://west.example/x")}}},
        {"S16", {.uris = {TEXT("spiffe://West.example/x")}}},
        {"S18", {.uris = {TEXT("spiffe://root@west.example/x")}}},
        {"S19", {.uris = {TEXT("spiffe://west.example:443/x")}}},
        {"S20", {.uris = {TEXT("spiffe://west.example/x?y")}}},
        {"S21", {.uris = {TEXT("spiffe://west.example/x#y")}}},
        {"S27", {.uris = {TEXT("spiffe://west.example/../x")}}},
        {"S28", {.uris = {TEXT("spiffe://west.example/%2e%2e/x")}}},
        {"S36", {.uris = {TEXT("spiffe://west.example/x\r\n{}")}}},
        {"version 1", {GOOD, .is_version_1 = true}},
    };
    struct world world = world_new();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int role = CLIENT; role <= SERVER; role++) {
            struct verify_result result;
            int err = world_verify_spec(&world, &rows[i].spec, (enum verify_role)role, &result);

            cr_assert_eq(err, -ERR_TLS_SVID, "%s, row %zu, role %d: %d", rows[i].item, i, role,
                         err);
            cr_assert(strlen(result.reason) > 10, "%s", rows[i].item);
            cr_assert_str_empty(result.id, "%s", rows[i].item);
        }
    world_free(&world);
}

Test(verify, refuses_an_id_of_more_than_2048_bytes) /* S34 */
{
    static char id[SPIFFE_ID_MAX + 53];
    struct world world = world_new();
    struct verify_result result;

    memset(id, 'a', sizeof(id));
    memcpy(id, "spiffe://west.example/", 22);
    struct test_cert at_limit = {.uris = {{id, SPIFFE_ID_MAX}}};
    struct test_cert beyond = {.uris = {{id, sizeof(id)}}};

    cr_assert_eq(world_verify_spec(&world, &at_limit, CLIENT, &result), 0, "%s", result.reason);
    cr_assert_eq(result.id_len, SPIFFE_ID_MAX);
    cr_assert_eq(world_verify_spec(&world, &beyond, CLIENT, &result), -ERR_TLS_SVID);
    world_free(&world);
}

Test(verify, refuses_what_does_not_chain_for_the_role)
{
    static const struct {
        const char *item;
        bool as_client, as_server; /* whether the role accepts it */
        struct test_cert spec;
    } rows[] = {
        {"X18", false, true, {GOOD, .extended_key_usage = "serverAuth"}},
        {"X19", true, false, {GOOD, .extended_key_usage = "clientAuth"}},
        {"X21", false, false, {GOOD, .from_s = -7200, .until_s = -1}},
        {"X22", false, false, {GOOD, .from_s = 3600, .until_s = 7200}},
        {"X40 SHA-1", false, false, {GOOD, .digest = "SHA1"}},
        {"X40 RSA-1024", false, false, {GOOD, .key = "RSA-1024"}},
        {"X40 P-192", false, false, {GOOD, .key = "P-192"}},
    };
    struct world world = world_new();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct verify_result result;
        int client = world_verify_spec(&world, &rows[i].spec, CLIENT, &result);
        int server = world_verify_spec(&world, &rows[i].spec, SERVER, &result);

        cr_assert_eq(client, rows[i].as_client ? 0 : -ERR_TLS_CHAIN, "%s: %d", rows[i].item,
                     client);
        cr_assert_eq(server, rows[i].as_server ? 0 : -ERR_TLS_CHAIN, "%s: %d", rows[i].item,
                     server);
        cr_assert_str_eq(result.id, ID, "%s", rows[i].item);
    }
    world_free(&world);
}

Test(verify, allows_a_minute_before_the_first_second_and_none_after_the_last) /* X21, X22 */
{
    struct world world = world_new();
    int64_t second = (int64_t)NS_PER_SEC;
    int64_t now_s = clock_wall_ns() / second;
    struct test_cert spec = {GOOD, .now_s = now_s, .from_s = 1000, .until_s = 2000};
    X509 *leaf = test_ca_mint(world.west, &spec, NULL);

    static const struct {
        int64_t at_s;
        int err;
    } rows[] = {{939, -ERR_TLS_CHAIN}, {940, 0}, {1000, 0}, {1999, 0}, {2001, -ERR_TLS_CHAIN}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct verify_result result;
        struct verify_request request = {.trust = world.trust,
                                         .now_ns = (now_s + rows[i].at_s) * second};

        cr_assert_eq(verify_peer(leaf, NULL, &request, &result), rows[i].err, "at %lld: %s",
                     (long long)rows[i].at_s, result.reason);
        verify_path_free(result.path);
    }
    X509_free(leaf);
    world_free(&world);
}

Test(verify, refuses_a_ca_presented_as_the_peer) /* X41, X44 */
{
    struct world world = world_new();
    struct test_cert spec = {.is_ca = true, NAMED("spiffe://west.example/ns/shop/sa/cart")};
    struct test_ca *intermediate = test_ca_under(world.west, &spec);
    struct verify_result result;

    cr_assert_eq(world_verify(&world, world.west->cert, NULL, CLIENT, &result), -ERR_TLS_SVID);
    cr_assert_eq(world_verify(&world, world.west->cert, NULL, SERVER, &result), -ERR_TLS_SVID);
    cr_assert_eq(world_verify(&world, intermediate->cert, NULL, CLIENT, &result), -ERR_TLS_SVID);
    test_ca_free(intermediate);
    world_free(&world);
}

Test(verify, refuses_a_certificate_with_any_byte_changed)
{
    struct world world = world_new();
    struct test_cert spec = {GOOD, .other_names = true};
    X509 *leaf = test_ca_mint(world.west, &spec, NULL);
    unsigned char *der = NULL;
    int len = i2d_X509(leaf, &der);
    struct verify_result result;

    cr_assert_eq(world_verify(&world, leaf, NULL, CLIENT, &result), 0, "%s", result.reason);
    for (int i = 0; i < 2 * len; i++) {
        unsigned char flip = i % 2 ? 0x01 : 0x80;
        const unsigned char *at = der;

        der[i / 2] ^= flip;
        X509 *changed = d2i_X509(NULL, &at, len);
        ERR_clear_error();
        if (changed)
            cr_assert_lt(world_verify(&world, changed, NULL, CLIENT, &result), 0, "byte %d", i / 2);
        X509_free(changed);
        der[i / 2] ^= flip;
    }
    OPENSSL_free(der);
    X509_free(leaf);
    world_free(&world);
}

Test(verify, refuses_a_self_signed_leaf)
{
    struct world world = world_new();
    struct test_cert spec = {GOOD, .subject = "self"};
    X509 *leaf = test_ca_mint(NULL, &spec, NULL);
    struct verify_result result;

    cr_assert_eq(world_verify(&world, leaf, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
    X509_free(leaf);
    world_free(&world);
}

/* bundle_check() lets no leaf into a bundle; should one get there all the same, it is no peer. */
Test(verify, refuses_a_leaf_that_is_itself_an_anchor) /* X44 */
{
    struct world world = world_new();
    struct test_cert spec = {GOOD, .subject = "self"};
    X509 *leaf = test_ca_mint(NULL, &spec, NULL);
    struct verify_result result;

    X509_STORE_add_cert(trust_find(world.trust, STR("west.example"))->store, leaf);
    cr_assert_eq(world_verify(&world, leaf, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
    X509_free(leaf);
    world_free(&world);
}

Test(verify, refuses_a_peer_without_a_certificate) /* X43 */
{
    struct world world = world_new();
    struct verify_result result;

    cr_assert_eq(world_verify(&world, NULL, NULL, CLIENT, &result), -ERR_TLS_NO_CERTIFICATE);
    cr_assert(strlen(result.reason) > 0);
    world_free(&world);
}

Test(verify, refuses_a_changed_signature)
{
    struct world world = world_new();
    struct test_ca *impostor = test_ca_new("west.example");
    struct test_cert spec = {GOOD};
    struct verify_result result;
    /* The impostor has the name of the root, not its key. */
    X509_set_subject_name(impostor->cert, X509_get_subject_name(world.west->cert));
    X509 *leaf = test_ca_mint(impostor, &spec, NULL);

    cr_assert_eq(world_verify(&world, leaf, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
    X509_free(leaf);
    test_ca_free(impostor);
    world_free(&world);
}

Test(verify, accepts_one_of_the_expected_identities_and_no_other) /* X45, X46 */
{
    static const struct {
        const char *first, *second;
        int err;
    } rows[] = {
        {NULL, NULL, 0},
        {ID, NULL, 0},
        {"spiffe://west.example/ns/shop/sa/other", ID, 0},
        {"spiffe://west.example/ns/shop/sa/other", NULL, -ERR_TLS_IDENTITY},
        {"spiffe://west.example/ns/shop/sa/car", NULL, -ERR_TLS_IDENTITY},
        {ID "s", NULL, -ERR_TLS_IDENTITY},
        {"spiffe://west.example/ns/shop/sa/Cart", NULL, -ERR_TLS_IDENTITY},
        {"spiffe://east.example/ns/shop/sa/cart", NULL, -ERR_TLS_IDENTITY},
        {"west.example/ns/shop/sa/cart", NULL, -ERR_TLS_IDENTITY},
    };
    struct world world = world_new();
    struct test_cert spec = {GOOD};
    X509 *leaf = test_ca_mint(world.west, &spec, NULL);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str expected[2] = {str_from(rows[i].first), str_from(rows[i].second)};
        struct verify_result result;
        struct verify_request request = {
            .trust = world.trust,
            .role = SERVER,
            .expected = expected,
            .n_expected = (rows[i].first != NULL) + (rows[i].second != NULL),
            .now_ns = clock_wall_ns(),
        };

        cr_assert_eq(verify_peer(leaf, NULL, &request, &result), rows[i].err, "row %zu", i);
        verify_path_free(result.path);
        cr_assert_str_eq(result.id, ID);
    }
    X509_free(leaf);
    world_free(&world);
}
