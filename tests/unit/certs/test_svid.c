#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "certs/svid.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "tests/kit/test_ca.h"

TestSuite(svid, .timeout = 60);

#define ID "spiffe://td/ns/shop/sa/cart"

/* The key in one of the forms that files have. */
static void key_pem(EVP_PKEY *key, const char *form, struct text *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *ptr = NULL;

    if (strcmp(form, "pkcs8") == 0)
        PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    else if (strcmp(form, "encrypted") == 0)
        PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_128_cbc(), "pw", 2, NULL, NULL);
    else
        PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL);
    long len = BIO_get_mem_data(bio, &ptr);
    text_add(out, str_of(ptr, (size_t)len));
    BIO_free(bio);
}

Test(svid, reads_a_leaf_with_its_key)
{
    struct test_ca *ca = test_ca_new("td");
    struct test_cert spec = {.uris = {STR(ID)}};
    EVP_PKEY *key = NULL;
    X509 *leaf = test_ca_mint(ca, &spec, &key);
    struct text chain = {0}, secret = {0}, why = {0};
    struct svid *svid = NULL;

    test_cert_pem(leaf, &chain);
    key_pem(key, "pkcs8", &secret);
    cr_assert_eq(svid_from_pem(text_str(&chain), text_str(&secret), &svid, &why), 0, "%s", why.ptr);
    cr_assert(str_eq(svid->id.text, STR(ID)));
    cr_assert(str_eq(svid->id.trust_domain, STR("td")));
    cr_assert_eq(sk_X509_num(svid->chain), 0);
    cr_assert(svid->serial.len > 0);
    int64_t life_ns = svid->not_after_ns - svid->not_before_ns;
    cr_assert_eq(life_ns, 3660 * (int64_t)NS_PER_SEC);
    svid_unref(svid);
    text_fini(&chain);
    text_fini(&secret);
    X509_free(leaf);
    EVP_PKEY_free(key);
    test_ca_free(ca);
}

Test(svid, refuses_a_key_that_is_not_plain_pkcs8_or_not_the_leafs) /* X42 */
{
    struct test_ca *ca = test_ca_new("td");
    struct test_cert spec = {.uris = {STR(ID)}};
    EVP_PKEY *key = NULL, *other = test_key_new(NULL);
    X509 *leaf = test_ca_mint(ca, &spec, &key);
    struct text chain = {0}, whole = {0};
    static const char *forms[] = {"encrypted", "traditional", "other", "none", "twice", "cut"};

    test_cert_pem(leaf, &chain);
    key_pem(key, "pkcs8", &whole);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct text secret = {0}, why = {0};
        struct svid *svid = NULL;

        if (strcmp(forms[i], "other") == 0)
            key_pem(other, "pkcs8", &secret);
        else if (strcmp(forms[i], "twice") == 0)
            text_addf(&secret, "%s%s", whole.ptr, whole.ptr);
        else if (strcmp(forms[i], "cut") == 0)
            text_add(&secret, str_sub(text_str(&whole), 0, whole.len / 2));
        else if (strcmp(forms[i], "none") != 0)
            key_pem(key, forms[i], &secret);
        cr_assert_eq(svid_from_pem(text_str(&chain), text_str(&secret), &svid, &why), -ERR_INVALID,
                     "%s", forms[i]);
        cr_assert(why.len > 0, "%s", forms[i]);
        cr_assert_null(svid);
        cr_assert_eq(ERR_peek_error(), 0);
        text_fini(&secret);
        text_fini(&why);
    }
    text_fini(&chain);
    text_fini(&whole);
    X509_free(leaf);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    test_ca_free(ca);
}

/* What makes a chain bad; the leaf is right unless said. */
Test(svid, refuses_bad_chains)
{
    struct test_ca *ca = test_ca_new("td");
    struct test_cert middle_spec = {.is_ca = true, .subject = "middle"};
    struct test_cert odd_spec = {.is_ca = true, .subject = "odd", .uris = {STR("spiffe://td/ca")}};
    struct test_ca *middle = test_ca_under(ca, &middle_spec), *odd = test_ca_under(ca, &odd_spec);
    struct test_cert spec = {.uris = {STR(ID)}};
    struct test_cert expired_spec = {.uris = {STR(ID)}, .from_s = -7200, .until_s = -1};
    struct test_cert two_spec = {.uris = {STR(ID), STR("spiffe://td/other")}};
    EVP_PKEY *keys[3] = {0};
    X509 *leaf = test_ca_mint(middle, &spec, &keys[0]);
    X509 *expired = test_ca_mint(middle, &expired_spec, &keys[1]);
    X509 *two = test_ca_mint(middle, &two_spec, &keys[2]);

    const struct {
        const char *item;
        X509 *first, *second;
        EVP_PKEY *key;
        int err;
    } rows[] = {
        {"good", leaf, middle->cert, keys[0], 0},
        {"X41 not leaf first", middle->cert, leaf, keys[0], -ERR_TLS_SVID},
        {"X43 empty", NULL, NULL, keys[0], -ERR_INVALID},
        {"expired", expired, middle->cert, keys[1], -ERR_INVALID},
        {"X3 two URIs", two, middle->cert, keys[2], -ERR_TLS_SVID},
        {"X28 signer with a path", leaf, odd->cert, keys[0], -ERR_TLS_SVID},
        {"a leaf as intermediate", leaf, two, keys[0], -ERR_TLS_SVID},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text chain = {0}, why = {0};
        struct svid *svid = NULL;

        if (rows[i].first)
            test_cert_pem(rows[i].first, &chain);
        if (rows[i].second)
            test_cert_pem(rows[i].second, &chain);
        cr_assert_eq(svid_from_chain(text_str(&chain), rows[i].key, &svid, &why), rows[i].err,
                     "%s: %s", rows[i].item, why.ptr);
        cr_assert_eq(svid != NULL, rows[i].err == 0, "%s", rows[i].item);
        svid_unref(svid);
        text_fini(&chain);
        text_fini(&why);
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        EVP_PKEY_free(keys[i]);
    X509_free(leaf);
    X509_free(expired);
    X509_free(two);
    test_ca_free(middle);
    test_ca_free(odd);
    test_ca_free(ca);
}

Test(svid, keeps_intermediates_and_leaves_the_root_out)
{
    struct test_ca *ca = test_ca_new("td");
    struct test_cert middle_spec = {.is_ca = true, .subject = "middle"};
    struct test_ca *middle = test_ca_under(ca, &middle_spec);
    struct svid *svid = test_svid_under(middle, ID), *again = NULL;
    struct text chain = {0}, why = {0};

    svid_chain_pem(svid, &chain);
    test_ca_pem(ca, &chain);
    cr_assert_eq(svid_from_chain(text_str(&chain), svid->key, &again, &why), 0, "%s", why.ptr);
    cr_assert_eq(sk_X509_num(again->chain), 1);
    cr_assert_eq(X509_cmp(sk_X509_value(again->chain, 0), middle->cert), 0);
    svid_unref(again);
    svid_unref(svid);
    text_fini(&chain);
    test_ca_free(middle);
    test_ca_free(ca);
}

Test(svid, the_pem_it_writes_makes_the_same_svid)
{
    struct test_ca *ca = test_ca_new("td");
    struct svid *svid = test_svid_new(ca, ID), *again = NULL;
    struct text chain = {0}, key = {0}, why = {0};

    svid_chain_pem(svid, &chain);
    svid_key_pem(svid, &key);
    cr_assert_eq(svid_from_pem(text_str(&chain), text_str(&key), &again, &why), 0, "%s", why.ptr);
    cr_assert_eq(X509_cmp(svid->leaf, again->leaf), 0);
    cr_assert_eq(EVP_PKEY_eq(svid->key, again->key), 1);
    svid_unref(again);
    svid_unref(svid_ref(svid));
    svid_unref(svid);
    text_fini(&chain);
    text_fini(&key);
    test_ca_free(ca);
}

Test(svid, a_key_is_an_ID_a_workload_and_the_uid_of_its_pod)
{
    const struct str id = STR("spiffe://west.example/ns/a/sa/b"), uid = STR("west//v1/Pod/a/b-1");
    struct arena arena = {0};
    struct str keys[] = {id, svid_key_for(&arena, id, uid, (struct str){0}),
                         svid_key_for(&arena, id, uid, STR("u-1"))};

    for (size_t i = 0; i < 3; i++) {
        cr_expect(str_eq(svid_key_id(keys[i]), id));
        cr_expect(str_eq(svid_key_workload(keys[i]), i > 0 ? uid : STR("")));
        cr_expect(str_eq(svid_key_pod_uid(keys[i]), i > 1 ? STR("u-1") : STR("")));
    }
    arena_fini(&arena);
}

Test(svid, is_renewed_around_the_half_of_its_life)
{
    struct svid svid = {.not_before_ns = 1000000, .not_after_ns = 1000000 + 2000000};
    struct svid endless = {.not_before_ns = INT64_MIN, .not_after_ns = INT64_MAX};

    cr_assert_eq(svid_renew_at_ns(&svid, 500), 2000000);
    cr_assert_eq(svid_renew_at_ns(&svid, 0), 1900000);
    cr_assert_eq(svid_renew_at_ns(&svid, 999), 2099800);
    cr_assert(svid_renew_at_ns(&endless, 999) > 0);
}
