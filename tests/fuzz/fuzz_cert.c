/*
 * Certificates and signing requests of strangers. The first byte says what the rest is: a
 * certificate in DER as a peer shows it, a request in DER as the CA gets it, a PEM text as a
 * bundle. The root and the clock are the same in every run, and seeds are signed by it, so that the
 * accepting side is reached: nothing may be verified but what that root signed as it stands, and
 * what is accepted as a leaf has a SPIFFE ID with a path.
 */
#include <openssl/err.h>
#include <openssl/pem.h>

#include "certs/bundle.h"
#include "certs/cert.h"
#include "certs/csr.h"
#include "certs/verify.h"
#include "proxy/base/clock.h"
#include "tests/kit/test_ca.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct trust *trust;
static struct test_ca *root; /* kept, as the trust is, for the life of the process */

static const struct trust *trust_of_a_root(void)
{
    if (!trust) {
        root = test_ca_fixed("west.example");
        test_trust_add(&trust, "west.example", root);
    }
    return trust;
}

/* By arithmetic of its own, not by that of a chain. */
static bool is_signed_by_the_root(X509 *cert)
{
    const bool is_signed = X509_verify(cert, root->key) == 1;

    ERR_clear_error();
    return is_signed;
}

static void as_peer(X509 *cert, enum verify_role role)
{
    struct verify_result result;
    const struct verify_request request = {
        .trust = trust_of_a_root(),
        .role = role,
        .now_ns = TEST_CA_NOW_S * (int64_t)NS_PER_SEC,
    };
    struct spiffe_id id;

    if (verify_peer(cert, NULL, &request, &result) < 0) {
        ensure(result.reason[0] && !result.path);
        return;
    }
    ensure(is_signed_by_the_root(cert) && sk_X509_num(result.path) == 2);
    ensure(spiffe_parse(str_of(result.id, result.id_len), &id, NULL) == 0 && id.path.len > 0);
    ensure(str_eq(id.trust_domain, STR("west.example")));
    ensure(verify_path(result.path, request.trust, id.trust_domain) == 0);
    verify_path_free(result.path);
}

static void as_certificate(const uint8_t *der, size_t len)
{
    X509 *cert = cert_from_der(der, (long)len);
    struct spiffe_id id;
    char text[SPIFFE_ID_MAX + 1];
    size_t text_len = 0;
    const char *why = NULL;

    if (!cert)
        return;
    if (verify_leaf(cert, text, &text_len, &why) == 0)
        ensure(spiffe_parse(str_of(text, text_len), &id, NULL) == 0 && id.path.len > 0);
    else
        ensure(why);
    (void)!cert_check_signer(cert, &why);
    as_peer(cert, VERIFY_PEER_IS_CLIENT);
    as_peer(cert, VERIFY_PEER_IS_SERVER);
    X509_free(cert);
}

static void as_request(const uint8_t *der, size_t len)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char id[SPIFFE_ID_MAX + 1];
    char *pem = NULL;
    EVP_PKEY *key = NULL;
    const char *why = NULL;

    ensure(bio && PEM_write_bio(bio, PEM_STRING_X509_REQ, "", der, (long)len) > 0);
    long pem_len = BIO_get_mem_data(bio, &pem);
    if (csr_read(str_of(pem, (size_t)pem_len), id, &key, &why) == 0) {
        struct spiffe_id parsed;

        ensure(key && spiffe_parse(str_from(id), &parsed, NULL) == 0);
        csr_key_free(key);
    } else {
        ensure(why);
    }
    BIO_free(bio);
}

static void as_bundle(const uint8_t *text, size_t len)
{
    struct text why = {0};

    ensure((bundle_check(str_of(text, len), &why) < 0) == (why.len > 0));
    text_fini(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 65536)
        return 0;
    switch (data[0] % 3) {
    case 0: as_certificate(data + 1, size - 1); break;
    case 1: as_request(data + 1, size - 1); break;
    case 2: as_bundle(data + 1, size - 1); break;
    }
    ensure(ERR_peek_error() == 0);
    return 0;
}
