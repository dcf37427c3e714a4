#include <criterion/criterion.h>
#include <openssl/err.h>
#include <stdio.h>

#include "certs/bundle.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "tests/kit/test_ca.h"

TestSuite(bundle, .timeout = 60);

#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static int check_spec(const struct test_cert *spec, struct text *why)
{
    struct test_ca *ca = test_ca_under(NULL, spec);
    struct text pem = {0};

    test_ca_pem(ca, &pem);
    int err = bundle_check(text_str(&pem), why);
    cr_assert_eq(ERR_peek_error(), 0);
    text_fini(&pem);
    test_ca_free(ca);
    return err;
}

Test(bundle, takes_signing_certificates_only)
{
    static const struct {
        const char *item;
        int err;
        struct test_cert spec;
    } rows[] = {
        {"a root", 0, {.is_ca = true, .subject = "r", .uris = {TEXT("spiffe://td")}}},
        {"X29 no SPIFFE ID", 0, {.is_ca = true, .subject = "r"}},
        {"B18 expired", 0, {.is_ca = true, .subject = "r", .from_s = -7200, .until_s = -3600}},
        {"a leaf", -ERR_INVALID, {.subject = "r", .uris = {TEXT("spiffe://td/x")}}},
        {"no keyCertSign",
         -ERR_INVALID,
         {.is_ca = true, .subject = "r", .key_usage = "critical,cRLSign"}},
        {"no key usage", -ERR_INVALID, {.is_ca = true, .subject = "r", .key_usage = ""}},
        {"no basicConstraints",
         -ERR_INVALID,
         {.is_ca = true, .subject = "r", .no_basic_constraints = true}},
        {"X28 a path",
         -ERR_INVALID,
         {.is_ca = true, .subject = "r", .uris = {TEXT("spiffe://td/ca")}}},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text why = {0};

        cr_assert_eq(check_spec(&rows[i].spec, &why), rows[i].err, "%s", rows[i].item);
        cr_assert_eq(why.len > 0, rows[i].err < 0, "%s", rows[i].item);
        text_fini(&why);
    }
}

Test(bundle, refuses_what_is_not_a_list_of_certificates)
{
    static const char *rows[] = {
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text why = {0};

        cr_assert_eq(bundle_check(str_from(rows[i]), &why), -ERR_INVALID, "row %zu", i);
        cr_assert(why.len > 0, "row %zu", i);
        cr_assert_eq(ERR_peek_error(), 0);
        text_fini(&why);
    }
}

Test(bundle, refuses_a_good_root_with_anything_else_behind_it)
{
    static const char *rows[] = {
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMIIB",
        "-----BEGIN nothing\n",
    };
    struct test_ca *ca = test_ca_new("td");

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text pem = {0}, why = {0};

        test_ca_pem(ca, &pem);
        text_add(&pem, STR("a comment is fine\n"));
        cr_assert_eq(bundle_check(text_str(&pem), &why), 0, "%s", why.ptr);
        text_add(&pem, str_from(rows[i]));
        cr_assert_eq(bundle_check(text_str(&pem), &why), -ERR_INVALID, "row %zu", i);
        text_fini(&pem);
        text_fini(&why);
    }
    test_ca_free(ca);
}

Test(bundle, holds_32_roots_and_not_one_more)
{
    struct test_ca *ca = test_ca_new("td");
    struct text pem = {0}, why = {0};

    for (int i = 0; i < BUNDLE_ROOTS_MAX; i++)
        test_ca_pem(ca, &pem);
    cr_assert_eq(bundle_check(text_str(&pem), &why), 0, "%s", why.ptr);
    test_ca_pem(ca, &pem);
    cr_assert_eq(bundle_check(text_str(&pem), &why), -ERR_INVALID);
    text_fini(&pem);
    text_fini(&why);
    test_ca_free(ca);
}

Test(bundle, a_change_makes_a_new_generation_and_leaves_the_old_one)
{
    struct test_ca *west = test_ca_new("west"), *east = test_ca_new("east");
    struct trust *first = NULL, *second = NULL;
    struct text pem = {0}, why = {0};

    test_trust_add(&first, "west", west);
    test_ca_pem(east, &pem);
    cr_assert_eq(trust_with(first, STR("east"), text_str(&pem), &second, &why), 0);

    cr_assert_null(trust_find(first, STR("east")));
    cr_assert_not_null(trust_find(first, STR("west")));
    cr_assert_not_null(trust_find(second, STR("east")));
    cr_assert_not_null(trust_find(second, STR("west")));
    trust_unref(first);
    cr_assert_eq(sk_X509_num(trust_find(second, STR("west"))->roots), 1);
    cr_assert_eq(X509_cmp(sk_X509_value(trust_find(second, STR("west"))->roots, 0), west->cert), 0);
    cr_assert(trust_find(second, STR("west"))->not_after_ns > clock_wall_ns());
    trust_unref(second);
    text_fini(&pem);
    test_ca_free(west);
    test_ca_free(east);
}

Test(bundle, replaces_and_removes_the_roots_of_one_domain)
{
    struct test_ca *old = test_ca_new("west"), *new = test_ca_new("west");
    struct trust *trust = NULL, *none = NULL;
    struct text why = {0};

    test_trust_add(&trust, "west", old);
    test_trust_add(&trust, "west", new);
    const struct bundle *bundle = trust_find(trust, STR("west"));
    cr_assert_eq(sk_X509_num(bundle->roots), 1);
    cr_assert_eq(X509_cmp(sk_X509_value(bundle->roots, 0), new->cert), 0);

    cr_assert_eq(trust_with(trust, STR("west"), STR(""), &none, &why), 0);
    cr_assert_null(trust_find(none, STR("west")));
    trust_unref(none);
    trust_unref(trust);
    test_ca_free(old);
    test_ca_free(new);
}

Test(bundle, bad_input_changes_nothing)
{
    struct test_ca *west = test_ca_new("west");
    struct trust *trust = NULL, *next = NULL;
    struct text pem = {0}, why = {0};

    test_trust_add(&trust, "west", west);
    test_ca_pem(west, &pem);
    cr_assert_eq(trust_with(trust, STR("west"), STR("junk"), &next, &why), -ERR_INVALID);
    cr_assert_eq(trust_with(trust, STR("West"), text_str(&pem), &next, &why), -ERR_INVALID);
    cr_assert_eq(trust_with(trust, STR(""), text_str(&pem), &next, &why), -ERR_INVALID);
    cr_assert_null(next);
    cr_assert_not_null(trust_find(trust, STR("west")));
    trust_unref(trust);
    text_fini(&pem);
    text_fini(&why);
    test_ca_free(west);
}

Test(bundle, the_pem_it_keeps_makes_the_same_bundle)
{
    struct test_ca *west = test_ca_new("west");
    struct trust *trust = NULL, *again = NULL;
    struct text why = {0};

    test_trust_add(&trust, "west", west);
    struct str pem = trust_find(trust, STR("west"))->pem;
    cr_assert_eq(trust_with(trust, STR("other"), pem, &again, &why), 0, "%s", why.ptr);
    cr_assert(str_eq(trust_find(again, STR("other"))->pem, pem));
    trust_unref(again);
    trust_unref(trust);
    test_ca_free(west);
}

Test(bundle, bounds_the_number_of_trust_domains)
{
    struct test_ca *ca = test_ca_new("td");
    struct trust *trust = NULL, *next = NULL;
    struct text pem = {0}, why = {0};
    char name[32];

    test_ca_pem(ca, &pem);
    test_trust_add(&trust, "td-0", ca);
    /* Filed by hand: a thousand generations would cost a second. */
    struct bundle *bundle = map_find(&trust->bundles, STR("td-0"));
    for (int i = 1; i < TRUST_DOMAINS_MAX; i++) {
        struct bundle *copy = arena_new(&trust->arena, struct bundle);

        (void)snprintf(name, sizeof(name), "td-%d", i);
        *copy = *bundle;
        copy->trust_domain = arena_str(&trust->arena, str_from(name));
        cr_assert_eq(X509_STORE_up_ref(copy->store), 1);
        copy->roots = X509_chain_up_ref(bundle->roots);
        map_put(&trust->bundles, copy->trust_domain, copy);
    }
    cr_assert_eq(trust_with(trust, STR("one-more"), text_str(&pem), &next, &why), -ERR_LIMIT);
    cr_assert_eq(trust_with(trust, STR("td-5"), text_str(&pem), &next, &why), 0);
    trust_unref(next);
    trust_unref(trust);
    text_fini(&pem);
    text_fini(&why);
    test_ca_free(ca);
}

Test(bundle, ten_thousand_roots_are_refused)
{
    struct test_ca *ca = test_ca_new("west");
    struct text pem = {0}, many = {0}, der = {0}, out = {0}, why = {0};
    unsigned char *one = NULL;
    const int len = i2d_X509(ca->cert, &one);

    test_ca_pem(ca, &pem);
    for (int i = 0; i < 10000; i++) {
        text_add(&many, text_str(&pem));
        text_add(&der, str_of(one, (size_t)len));
    }
    cr_assert_lt(bundle_check(text_str(&many), &why), 0);
    cr_expect_gt(why.len, 0);
    text_clear(&why);
    cr_assert_lt(bundle_pem_from_der(text_str(&der), &out, &why), 0);
    cr_expect_gt(why.len, 0);
    cr_expect_eq(out.len, 0);
    OPENSSL_free(one);
    text_fini(&pem);
    text_fini(&many);
    text_fini(&der);
    text_fini(&why);
    test_ca_free(ca);
}
