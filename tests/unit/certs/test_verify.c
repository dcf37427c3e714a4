/* The X numbers are rows of a table of what the X.509-SVID standard (sections 2 to 5) and RFC 5280
 * ask of a verifier. */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "certs/verify.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "tests/kit/test_ca.h"

TestSuite(verify, .timeout = 60);

#define ID     "spiffe://west.example/ns/shop/sa/cart"
#define GOOD   .uris = {{ID, sizeof(ID) - 1}}
#define CLIENT VERIFY_PEER_IS_CLIENT
#define SERVER VERIFY_PEER_IS_SERVER

/* Two trust domains, each with its root; what most tests need. */
struct world {
    struct test_ca *west, *east;
    struct trust *trust;
};

static struct world world_new(void)
{
    struct world world = {test_ca_new("west.example"), test_ca_new("east.example"), NULL};

    test_trust_add(&world.trust, "west.example", world.west);
    test_trust_add(&world.trust, "east.example", world.east);
    return world;
}

static void world_free(struct world *world)
{
    test_ca_free(world->west);
    test_ca_free(world->east);
    trust_unref(world->trust);
}

static int verify(const struct world *world, X509 *leaf, STACK_OF(X509) * chain,
                  enum verify_role role, struct verify_result *result)
{
    struct verify_request request = {
        .trust = world->trust, .role = role, .now_ns = clock_wall_ns()};
    int err = verify_peer(leaf, chain, &request, result);

    cr_assert_eq(ERR_peek_error(), 0, "the error queue is not empty");
    cr_assert_eq(result->path != NULL, err == 0);
    verify_path_free(result->path);
    return err;
}

static int verify_spec(const struct world *world, const struct test_cert *spec,
                       enum verify_role role, struct verify_result *result)
{
    X509 *leaf = test_ca_mint(world->west, spec, NULL);
    int err = verify(world, leaf, NULL, role, result);

    X509_free(leaf);
    return err;
}

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
            int err = verify_spec(&world, &rows[i].spec, (enum verify_role)role, &result);

            cr_assert_eq(err, 0, "%s, role %d: %s", rows[i].item, role, result.reason);
            cr_assert_str_eq(result.id, ID, "%s", rows[i].item);
            cr_assert_eq(result.id_len, strlen(ID));
            cr_assert_str_empty(result.reason);
            cr_assert(strlen(result.serial) > 0);
            cr_assert(result.not_after_ns > clock_wall_ns());
        }
    world_free(&world);
}

#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
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
            int err = verify_spec(&world, &rows[i].spec, (enum verify_role)role, &result);

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

    cr_assert_eq(verify_spec(&world, &at_limit, CLIENT, &result), 0, "%s", result.reason);
    cr_assert_eq(result.id_len, SPIFFE_ID_MAX);
    cr_assert_eq(verify_spec(&world, &beyond, CLIENT, &result), -ERR_TLS_SVID);
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
        int client = verify_spec(&world, &rows[i].spec, CLIENT, &result);
        int server = verify_spec(&world, &rows[i].spec, SERVER, &result);

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

        cr_assert_eq(verify(&world, leaf, NULL, CLIENT, &result), rows[i].err, "%s %s",
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
    cr_assert_eq(verify(&world, leaf, chain, CLIENT, &result), -ERR_TLS_CHAIN);
    sk_X509_free(chain);
    X509_free(leaf);
    test_ca_free(stranger);
    world_free(&world);
}

#define NAMED(literal) .subject = "intermediate", .uris = {TEXT(literal)}

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
        int err = verify(&world, leaf, chain, CLIENT, &result);
        cr_assert_eq(err, rows[i].err, "%s: %d %s", rows[i].item, err, result.reason);
        /* Without the intermediate there is no chain at all. */
        cr_assert_eq(verify(&world, leaf, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
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
    cr_assert_eq(verify(&world, near, chain, CLIENT, &result), 0, "%s", result.reason);
    cr_assert_eq(verify(&world, far, chain, CLIENT, &result), -ERR_TLS_CHAIN);
    sk_X509_free(chain);
    X509_free(near);
    X509_free(far);
    test_ca_free(upper);
    test_ca_free(lower);
    world_free(&world);
}

Test(verify, refuses_a_ca_presented_as_the_peer) /* X41, X44 */
{
    struct world world = world_new();
    struct test_cert spec = {.is_ca = true, NAMED("spiffe://west.example/ns/shop/sa/cart")};
    struct test_ca *intermediate = test_ca_under(world.west, &spec);
    struct verify_result result;

    cr_assert_eq(verify(&world, world.west->cert, NULL, CLIENT, &result), -ERR_TLS_SVID);
    cr_assert_eq(verify(&world, world.west->cert, NULL, SERVER, &result), -ERR_TLS_SVID);
    cr_assert_eq(verify(&world, intermediate->cert, NULL, CLIENT, &result), -ERR_TLS_SVID);
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

    cr_assert_eq(verify(&world, leaf, NULL, CLIENT, &result), 0, "%s", result.reason);
    for (int i = 0; i < 2 * len; i++) {
        unsigned char flip = i % 2 ? 0x01 : 0x80;
        const unsigned char *at = der;

        der[i / 2] ^= flip;
        X509 *changed = d2i_X509(NULL, &at, len);
        ERR_clear_error();
        if (changed)
            cr_assert_lt(verify(&world, changed, NULL, CLIENT, &result), 0, "byte %d", i / 2);
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

    cr_assert_eq(verify(&world, leaf, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
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
    cr_assert_eq(verify(&world, leaf, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
    X509_free(leaf);
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
        cr_assert_eq(verify(&world, by_old, NULL, CLIENT, &result), rows[i].err_old, "row %zu", i);
        cr_assert_eq(verify(&world, by_new, NULL, CLIENT, &result), rows[i].err_new, "row %zu", i);
    }
    text_fini(&old_pem);
    text_fini(&new_pem);
    text_fini(&both);
    X509_free(by_old);
    X509_free(by_new);
    test_ca_free(new);
    world_free(&world);
}

Test(verify, refuses_a_peer_without_a_certificate) /* X43 */
{
    struct world world = world_new();
    struct verify_result result;

    cr_assert_eq(verify(&world, NULL, NULL, CLIENT, &result), -ERR_TLS_NO_CERTIFICATE);
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

    cr_assert_eq(verify(&world, leaf, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
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

Test(verify, refuses_more_certificates_than_a_chain_has)
{
    struct world world = world_new();
    struct test_cert spec = {GOOD};
    X509 *leaf = test_ca_mint(world.west, &spec, NULL);
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct verify_result result;

    for (int i = 0; i < 16; i++)
        sk_X509_push(chain, leaf);
    cr_assert_eq(verify(&world, leaf, chain, CLIENT, &result), 0, "%s", result.reason);
    sk_X509_push(chain, leaf);
    cr_assert_eq(verify(&world, leaf, chain, CLIENT, &result), -ERR_TLS_CHAIN);
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
    cr_assert_eq(verify(&world, leaf, NULL, CLIENT, &result), 0, "%s", result.reason);
    /* The one above it is not in the bundle. */
    cr_assert_eq(verify(&world, by_west, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
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
    cr_assert_eq(verify(&world, by_new, NULL, CLIENT, &result), 0, "%s", result.reason);
    cr_assert_eq(verify(&world, by_old, NULL, CLIENT, &result), -ERR_TLS_CHAIN);
    X509_free(by_old);
    X509_free(by_new);
    text_fini(&pem);
    test_ca_free(old);
    world_free(&world);
}
