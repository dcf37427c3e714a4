/*
 * svid.c - reads an SVID with the same leaf rules that peers will apply to it, so a bad one is
 * refused when it arrives and not when the first connection fails.
 */
#include "certs/svid.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "certs/cert.h"
#include "certs/verify.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define CHAIN_MAX      8
#define SERIAL_HEX_MAX 64
#define KEY_MAX_BYTES  ((size_t)65536)

static int fail(struct text *why, int err, const char *sentence)
{
    ERR_clear_error();
    text_addf(why, "%s", sentence);
    return err;
}

/* Takes the intermediates out of certs into a list of their own. A self-signed one is the root that
 * some CAs add: the peer trusts its own copy or none, so it is not sent. */
static int take_intermediates(STACK_OF(X509) * certs, STACK_OF(X509) * *out_chain,
                              const char **out_why)
{
    STACK_OF(X509) *chain = sk_X509_new_null();

    ensure(chain);
    while (sk_X509_num(certs) > 1) {
        X509 *cert = sk_X509_delete(certs, 1);

        if (X509_self_signed(cert, 0) == 1) {
            X509_free(cert);
        } else if (cert_check_signer(cert, out_why) == 0) {
            ensure(sk_X509_push(chain, cert) > 0);
        } else {
            X509_free(cert);
            cert_list_free(chain);
            return -ERR_TLS_SVID;
        }
    }
    *out_chain = chain;
    return 0;
}

static struct svid *make(STACK_OF(X509) * certs, STACK_OF(X509) * chain, EVP_PKEY *key,
                         struct str id)
{
    struct svid *svid = mem_new(struct svid);
    char serial[SERIAL_HEX_MAX];

    svid->refs = 1;
    svid->leaf = sk_X509_shift(certs);
    svid->chain = chain;
    ensure(EVP_PKEY_up_ref(key) == 1);
    svid->key = key;
    ensure(spiffe_parse(arena_str(&svid->arena, id), &svid->id, NULL) == 0);
    svid->not_before_ns = cert_time_ns(X509_get0_notBefore(svid->leaf));
    svid->not_after_ns = cert_time_ns(X509_get0_notAfter(svid->leaf));
    cert_serial_hex(svid->leaf, serial, sizeof(serial));
    svid->serial = arena_str(&svid->arena, str_from(serial));
    return svid;
}

/* Checks certs, of which the first is the leaf, and makes the SVID of them; certs is emptied in
 * part. */
static int from_certs(STACK_OF(X509) * certs, EVP_PKEY *key, struct svid **out_svid,
                      struct text *why)
{
    X509 *leaf = sk_X509_value(certs, 0);
    STACK_OF(X509) *chain = NULL;
    char id[SPIFFE_ID_MAX + 1];
    size_t id_len = 0;
    const char *fault = NULL;

    if (verify_leaf(leaf, id, &id_len, &fault) < 0)
        return fail(why, -ERR_TLS_SVID, fault);
    if (X509_check_private_key(leaf, key) != 1)
        return fail(why, -ERR_INVALID, "the private key does not fit the certificate");
    if (cert_time_ns(X509_get0_notAfter(leaf)) <= clock_wall_ns())
        return fail(why, -ERR_INVALID, "the certificate has expired");
    if (take_intermediates(certs, &chain, &fault) < 0)
        return fail(why, -ERR_TLS_SVID, fault);
    *out_svid = make(certs, chain, key, str_of(id, id_len));
    ERR_clear_error();
    return 0;
}

int svid_from_chain(struct str chain_pem, EVP_PKEY *key, struct svid **out_svid, struct text *why)
{
    STACK_OF(X509) *certs = NULL;
    const char *fault = NULL;

    if (cert_list_from_pem(chain_pem, CHAIN_MAX, &certs, &fault) < 0)
        return fail(why, -ERR_INVALID, fault);
    int err = from_certs(certs, key, out_svid, why);
    cert_list_free(certs);
    return err;
}

static EVP_PKEY *key_from_der(const unsigned char *der, long len)
{
    const unsigned char *at = der;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, len);
    EVP_PKEY *key = info && at == der + len ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

int svid_from_pem(struct str chain_pem, struct str key_pem, struct svid **out_svid,
                  struct text *why)
{
    unsigned char *der = NULL;
    long len = 0;
    const char *fault = NULL;

    if (cert_block_from_pem(key_pem, PEM_STRING_PKCS8INF, &der, &len, &fault) < 0) {
        text_addf(why, "the private key (PKCS#8, not encrypted): ");
        return fail(why, -ERR_INVALID, fault);
    }
    EVP_PKEY *key = key_from_der(der, len);
    OPENSSL_clear_free(der, (size_t)len);
    if (!key)
        return fail(why, -ERR_INVALID, "the private key is malformed");
    int err = svid_from_chain(chain_pem, key, out_svid, why);
    EVP_PKEY_free(key);
    return err;
}

int svid_from_der(struct str chain_der, struct str key_der, struct svid **out_svid,
                  struct text *why)
{
    STACK_OF(X509) *certs = NULL;
    const char *fault = NULL;

    if (cert_list_from_der(chain_der, CHAIN_MAX, &certs, &fault) < 0)
        return fail(why, -ERR_INVALID, fault);
    EVP_PKEY *key = key_der.len > KEY_MAX_BYTES
                        ? NULL
                        : key_from_der((const unsigned char *)key_der.ptr, (long)key_der.len);
    int err = key ? from_certs(certs, key, out_svid, why)
                  : fail(why, -ERR_INVALID,
                         "the private key is not one PKCS#8 structure without encryption");
    EVP_PKEY_free(key);
    cert_list_free(certs);
    return err;
}

bool svid_is_same(const struct svid *a, const struct svid *b)
{
    return X509_cmp(a->leaf, b->leaf) == 0;
}

struct str svid_key_for(struct arena *arena, struct str id, struct str workload_uid,
                        struct str pod_uid)
{
    return arena_printf(arena, "%.*s %.*s%s%.*s", STR_ARG(id), STR_ARG(workload_uid),
                        str_is_empty(pod_uid) ? "" : " ", STR_ARG(pod_uid));
}

/* The n-th word of a key, from 0; "" when it has fewer. */
static struct str key_word(struct str key, unsigned n)
{
    struct str word = {0};

    for (unsigned i = 0; i <= n; i++) {
        struct str rest = {0};

        word = key;
        (void)str_split(key, ' ', &word, &rest);
        key = rest;
    }
    return word;
}

struct str svid_key_id(struct str key)
{
    return key_word(key, 0);
}

struct str svid_key_workload(struct str key)
{
    return key_word(key, 1);
}

struct str svid_key_pod_uid(struct str key)
{
    return key_word(key, 2);
}

struct svid *svid_ref(struct svid *svid)
{
    svid->refs++;
    return svid;
}

void svid_unref(struct svid *svid)
{
    if (!svid || --svid->refs > 0)
        return;
    EVP_PKEY_free(svid->key); /* overwrites the private part */
    X509_free(svid->leaf);
    cert_list_free(svid->chain);
    arena_fini(&svid->arena);
    mem_free(svid);
}

void svid_chain_pem(const struct svid *svid, struct text *out)
{
    cert_add_pem(svid->leaf, out);
    for (int i = 0; i < sk_X509_num(svid->chain); i++)
        cert_add_pem(sk_X509_value(svid->chain, i), out);
}

void svid_key_pem(const struct svid *svid, struct text *out)
{
    BIO *bio = BIO_new(BIO_s_mem());

    ensure(bio && PEM_write_bio_PKCS8PrivateKey(bio, svid->key, NULL, NULL, 0, NULL, NULL) == 1);
    cert_take_bio(bio, out);
}

int64_t svid_renew_at_ns(const struct svid *svid, uint32_t jitter_permille)
{
    int64_t start_ns = svid->not_before_ns < 0 ? 0 : svid->not_before_ns;
    int64_t half_ns = (svid->not_after_ns - start_ns) / 2;
    int64_t sway_ns = half_ns / 10000 * (2 * (int64_t)jitter_permille - 1000);

    return start_ns + half_ns + sway_ns;
}
