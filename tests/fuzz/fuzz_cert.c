/*
 * Certificates and signing requests of strangers. The first byte says what the rest is: a
 * certificate in DER as a peer shows it, a request in DER as the CA gets it, a PEM text as a
 * bundle. Nothing that was not signed by the root made here may be verified, and what is accepted
 * as a leaf has a SPIFFE ID with a path.
 */
#include <openssl/err.h>
#include <openssl/pem.h>

#include "certs/bundle.h"
#include "certs/cert.h"
#include "certs/csr.h"
#include "certs/verify.h"
#include "tests/kit/test_ca.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct trust *trust_of_a_root(void)
{
    static struct trust *trust;

    if (!trust) {
        struct test_ca *ca = test_ca_new("west.example");

        test_trust_add(&trust, "west.example", ca);
        test_ca_free(ca);
    }
    return trust;
}

static void as_certificate(const uint8_t *der, size_t len)
{
    X509 *cert = cert_from_der(der, (long)len);
    struct verify_result result;
    struct verify_request request = {.trust = trust_of_a_root()};
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
    for (int role = VERIFY_PEER_IS_CLIENT; role <= VERIFY_PEER_IS_SERVER; role++) {
        request.role = (enum verify_role)role;
        request.now_ns = cert_time_ns(X509_get0_notBefore(cert));
        ensure(verify_peer(cert, NULL, &request, &result) < 0 && result.reason[0]);
    }
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
