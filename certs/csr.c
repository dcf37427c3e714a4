/*
 * csr.c - a request is a key that proves itself and one name; the rest of what it may carry is not
 * read.
 */
#include "certs/csr.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "certs/cert.h"
#include "proxy/base/err.h"

#define CSR_MAX_BYTES ((size_t)64 * 1024)
#define RSA_MIN_BITS  2048
#define RSA_MAX_BITS  8192 /* checking a signature of a longer one costs the CA too much */
#define GROUP_MAX     64

static bool add_san(X509_REQ *request, struct str id)
{
    X509_EXTENSION *san = cert_san_make(id);
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();

    ensure(san && extensions && sk_X509_EXTENSION_push(extensions, san) > 0);
    int ok = X509_REQ_add_extensions(request, extensions);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return ok == 1;
}

static bool make_request(struct str id, EVP_PKEY *key, struct text *out_pem)
{
    X509_REQ *request = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());

    ensure(request && bio);
    bool ok = X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
              X509_REQ_set_pubkey(request, key) == 1 && add_san(request, id) &&
              X509_REQ_sign(request, key, EVP_sha256()) > 0 &&
              PEM_write_bio_X509_REQ(bio, request) == 1;
    X509_REQ_free(request);
    if (ok)
        cert_take_bio(bio, out_pem);
    else
        BIO_free(bio);
    return ok;
}

int csr_make(struct str id, EVP_PKEY **out_key, struct text *out_pem)
{
    EVP_PKEY *key = id.len <= SPIFFE_ID_MAX ? EVP_EC_gen("P-256") : NULL;

    if (!key || !make_request(id, key, out_pem)) {
        EVP_PKEY_free(key);
        ERR_clear_error();
        return -ERR_SYSTEM;
    }
    *out_key = key;
    return 0;
}

static const char *key_fault(const EVP_PKEY *key)
{
    char group[GROUP_MAX] = "";

    if (!key)
        return "the request's public key cannot be read";
    if (EVP_PKEY_is_a(key, "RSA")) {
        int bits = EVP_PKEY_get_bits(key);

        return bits >= RSA_MIN_BITS && bits <= RSA_MAX_BITS
                   ? NULL
                   : "the request's RSA key does not have 2048 to 8192 bits";
    }
    if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
        (strcmp(group, SN_X9_62_prime256v1) == 0 || strcmp(group, SN_secp384r1) == 0))
        return NULL;
    return "the request's key is neither P-256 nor P-384 nor RSA";
}

static const char *san_fault(X509_REQ *request, char *out_id)
{
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    struct cert_san san = {0};
    struct spiffe_id id;
    const char *why = NULL;
    int idx = 0;
    struct str uri = {0};

    if (cert_san_read(extensions, &san, &why) == 0) {
        if (san.n_uris != 1)
            why = "the request does not have exactly one URI in its subject alternative name";
        else if (cert_san_next_uri(&san, &idx, &uri) && spiffe_parse(uri, &id, &why) == 0) {
            memcpy(out_id, uri.ptr, uri.len);
            out_id[uri.len] = '\0';
        }
    }
    cert_san_fini(&san);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return why;
}

static const char *request_fault(X509_REQ *request, char *out_id)
{
    EVP_PKEY *key = X509_REQ_get0_pubkey(request);
    const char *why = key_fault(key);

    if (why)
        return why;
    if (X509_REQ_verify(request, key) != 1)
        return "the request's signature is wrong";
    return san_fault(request, out_id);
}

static X509_REQ *request_from_der(const unsigned char *der, long len)
{
    const unsigned char *at = der;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, len);

    if (request && at != der + len) {
        X509_REQ_free(request);
        request = NULL;
    }
    return request;
}

int csr_read(struct str pem, char *out_id, EVP_PKEY **out_key, const char **out_why)
{
    unsigned char *der = NULL;
    long len = 0;

    if (pem.len > CSR_MAX_BYTES) {
        *out_why = "the request is longer than 64 KiB";
        return -ERR_INVALID;
    }
    if (cert_block_from_pem(pem, PEM_STRING_X509_REQ, &der, &len, out_why) < 0)
        return -ERR_INVALID;
    X509_REQ *request = request_from_der(der, len);
    OPENSSL_free(der);
    const char *why = request ? request_fault(request, out_id) : "the request is malformed";

    if (!why)
        *out_key = X509_REQ_get_pubkey(request);
    X509_REQ_free(request);
    ERR_clear_error();
    if (!why)
        return 0;
    *out_why = why;
    return -ERR_INVALID;
}

void csr_key_free(EVP_PKEY *key)
{
    EVP_PKEY_free(key);
}
