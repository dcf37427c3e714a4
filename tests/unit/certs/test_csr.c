#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/csr.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "tests/kit/test_ca.h"

TestSuite(csr, .timeout = 60);

#define ID "spiffe://td/ns/shop/sa/cart"

struct csr_spec {
    const char *key;     /* kind, NULL: P-256 */
    struct str names[2]; /* URIs */
    bool has_san_twice;
    bool is_signed_by_other; /* the signature is of another key */
};

static X509_EXTENSION *san_of(const struct str *names, size_t n_names)
{
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();

    for (size_t i = 0; i < n_names && names[i].ptr; i++) {
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_IA5STRING *value = ASN1_IA5STRING_new();

        ASN1_STRING_set(value, names[i].ptr, (int)names[i].len);
        GENERAL_NAME_set0_value(name, GEN_URI, value);
        sk_GENERAL_NAME_push(list, name);
    }
    X509_EXTENSION *extension = X509V3_EXT_i2d(NID_subject_alt_name, 1, list);
    GENERAL_NAMES_free(list);
    return extension;
}

static void make(const struct csr_spec *spec, struct text *out)
{
    EVP_PKEY *key = test_key_new(spec->key), *other = test_key_new(spec->key);
    X509_REQ *request = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    BIO *bio = BIO_new(BIO_s_mem());
    char *ptr = NULL;

    X509_REQ_set_pubkey(request, key);
    if (spec->names[0].ptr)
        sk_X509_EXTENSION_push(extensions, san_of(spec->names, 2));
    if (spec->has_san_twice)
        sk_X509_EXTENSION_push(extensions, san_of(spec->names, 2));
    if (sk_X509_EXTENSION_num(extensions) > 0)
        X509_REQ_add_extensions(request, extensions);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    bool is_ed = spec->key && strcmp(spec->key, "ED25519") == 0;
    cr_assert(X509_REQ_sign(request, spec->is_signed_by_other ? other : key,
                            is_ed ? NULL : EVP_sha256()) > 0);
    PEM_write_bio_X509_REQ(bio, request);
    long len = BIO_get_mem_data(bio, &ptr);
    text_add(out, str_of(ptr, (size_t)len));
    BIO_free(bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static int read_text(struct str pem)
{
    char id[SPIFFE_ID_MAX + 1] = "untouched";
    EVP_PKEY *key = NULL;
    const char *why = NULL;
    int err = csr_read(pem, id, &key, &why);

    cr_assert_eq(ERR_peek_error(), 0);
    if (err < 0) {
        cr_assert_not_null(why);
        cr_assert_str_eq(id, "untouched");
        cr_assert_null(key);
    }
    EVP_PKEY_free(key);
    return err;
}

Test(csr, reads_what_it_makes)
{
    EVP_PKEY *key = NULL, *read = NULL;
    struct text pem = {0};
    char id[SPIFFE_ID_MAX + 1];
    const char *why = NULL;

    cr_assert_eq(csr_make(STR(ID), &key, &pem), 0);
    cr_assert_eq(csr_read(text_str(&pem), id, &read, &why), 0, "%s", why);
    cr_assert_str_eq(id, ID);
    cr_assert_eq(EVP_PKEY_eq(key, read), 1);
    EVP_PKEY_free(key);
    EVP_PKEY_free(read);
    text_fini(&pem);
}

Test(csr, makes_a_new_key_every_time)
{
    EVP_PKEY *a = NULL, *b = NULL;
    struct text pem = {0};

    cr_assert_eq(csr_make(STR(ID), &a, &pem), 0);
    cr_assert_eq(csr_make(STR(ID), &b, &pem), 0);
    cr_assert_neq(EVP_PKEY_eq(a, b), 1);
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
    text_fini(&pem);
}

Test(csr, takes_strong_keys_and_one_good_name)
{
    static const struct {
        const char *item;
        int err;
        struct csr_spec spec;
    } rows[] = {
        {"P-256", 0, {.names = {{ID, sizeof(ID) - 1}}}},
        {"P-384", 0, {.key = "P-384", .names = {{ID, sizeof(ID) - 1}}}},
        {"RSA-2048", 0, {.key = "RSA-2048", .names = {{ID, sizeof(ID) - 1}}}},
        {"RSA-1024", -ERR_INVALID, {.key = "RSA-1024", .names = {{ID, sizeof(ID) - 1}}}},
        {"P-192", -ERR_INVALID, {.key = "P-192", .names = {{ID, sizeof(ID) - 1}}}},
        {"P-521", -ERR_INVALID, {.key = "P-521", .names = {{ID, sizeof(ID) - 1}}}},
        {"Ed25519", -ERR_INVALID, {.key = "ED25519", .names = {{ID, sizeof(ID) - 1}}}},
        {"no name", -ERR_INVALID, {0}},
        {"two names", -ERR_INVALID, {.names = {{ID, sizeof(ID) - 1}, {ID, sizeof(ID) - 1}}}},
        {"two extensions", -ERR_INVALID, {.names = {{ID, sizeof(ID) - 1}}, .has_san_twice = true}},
        {"no SPIFFE ID", -ERR_INVALID, {.names = {{"https://td/x", 12}}}},
        {"NUL inside", -ERR_INVALID, {.names = {{"spiffe://td/x\0y", 15}}}},
        {"wrong signature",
         -ERR_INVALID,
         {.names = {{ID, sizeof(ID) - 1}}, .is_signed_by_other = true}},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text pem = {0};

        make(&rows[i].spec, &pem);
        cr_assert_eq(read_text(text_str(&pem)), rows[i].err, "%s", rows[i].item);
        text_fini(&pem);
    }
}

Test(csr, refuses_what_is_not_one_request)
{
    struct csr_spec spec = {.names = {STR(ID)}};
    struct text one = {0}, two = {0}, big = {0};

    make(&spec, &one);
    text_addf(&two, "%s%s", one.ptr, one.ptr);
    while (big.len <= (size_t)64 * 1024)
        text_add(&big, STR("a comment before it\n"));
    text_add(&big, text_str(&one));
    cr_assert_eq(read_text(text_str(&one)), 0);
    cr_assert_eq(read_text(text_str(&two)), -ERR_INVALID);
    cr_assert_eq(read_text(text_str(&big)), -ERR_INVALID);
    cr_assert_eq(read_text(STR("")), -ERR_INVALID);
    cr_assert_eq(read_text(STR("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n"
                               "-----END CERTIFICATE REQUEST-----\n")),
                 -ERR_INVALID);
    text_fini(&one);
    text_fini(&two);
    text_fini(&big);
}

/* Every byte of a request changed and every prefix of it: never accepted with another meaning,
 * never a crash. */
Test(csr, survives_every_cut_and_every_changed_byte)
{
    struct csr_spec spec = {.names = {STR(ID)}};
    struct text pem = {0};

    make(&spec, &pem);
    for (size_t len = 0; len + 26 < pem.len; len++)
        cr_assert_eq(read_text(str_sub(text_str(&pem), 0, len)), -ERR_INVALID, "cut at %zu", len);
    for (size_t i = 0; i < pem.len; i++) {
        char id[SPIFFE_ID_MAX + 1];
        EVP_PKEY *key = NULL;
        const char *why = NULL;

        pem.ptr[i] ^= 1;
        if (csr_read(text_str(&pem), id, &key, &why) == 0)
            cr_assert_str_eq(id, ID, "byte %zu", i);
        EVP_PKEY_free(key);
        pem.ptr[i] ^= 1;
    }
    text_fini(&pem);
}
