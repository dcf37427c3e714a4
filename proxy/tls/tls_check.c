/*
 * tls_check.c - who is at the other end: certificates and ALPN, as OpenSSL's handshake asks.
 */
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/addr.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/tls/tls_internal.h"

#define ID_SHOWN_MAX 200 /* bytes of an ID in a sentence */

static const unsigned char alpn_h2[] = {2, 'h', '2'};

static int check_slot; /* OpenSSL's index of the check in an SSL */
static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;

static void make_slot(void)
{
    check_slot = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    ensure(check_slot >= 0);
}

static struct tls_check *check_of(const SSL *ssl)
{
    return SSL_get_ex_data(ssl, check_slot);
}

static void refuse(struct tls_check *check, int err, const char *reason)
{
    if (check->err)
        return;
    check->err = err;
    (void)snprintf(check->reason, sizeof(check->reason), "%s", reason[0] ? reason : err_text(err));
}

static void keep_names(struct tls_check *check, const struct verify_result *result)
{
    memcpy(check->id, result->id, sizeof(check->id));
    memcpy(check->serial, result->serial, sizeof(check->serial));
    check->not_after_ns = result->not_after_ns;
    check->was_known = result->was_known;
}

/* Says also who it was and who was expected, as far as that is known. */
static void refuse_peer(struct tls_check *check, int err, const struct verify_result *result)
{
    char sentence[sizeof(check->reason)];
    int len = snprintf(sentence, sizeof(sentence), "%s", result->reason);

    if (result->id_len > 0)
        len += snprintf(sentence + len, sizeof(sentence) - (size_t)len, "; it is %.*s",
                        ID_SHOWN_MAX, result->id);
    if (err == -ERR_TLS_IDENTITY && check->n_expected > 0)
        (void)snprintf(sentence + len, sizeof(sentence) - (size_t)len, ", expected was %.*s%s",
                       ID_SHOWN_MAX, check->expected[0].ptr,
                       check->n_expected > 1 ? " or others" : "");
    refuse(check, err, sentence);
    keep_names(check, result);
}

/* The X.509 error decides which alert the peer gets. */
static int x509_error(int err)
{
    if (err == -ERR_TLS_TRUST_DOMAIN || err == -ERR_TLS_CHAIN)
        return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY; /* unknown_ca */
    if (err == -ERR_TLS_SVID)
        return X509_V_ERR_CERT_REJECTED;        /* bad_certificate */
    return X509_V_ERR_APPLICATION_VERIFICATION; /* handshake_failure */
}

static int verify_certificate(X509_STORE_CTX *store_ctx, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store_ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_check *check = check_of(ssl);
    X509 *leaf = X509_STORE_CTX_get0_cert(store_ctx);
    struct verify_result result = {0};
    struct verify_request request;
    int err;

    (void)arg;
    if (!check || !leaf || !*check->trust) {
        if (check)
            refuse(check, -ERR_TLS_TRUST_DOMAIN, "there is no trust bundle yet");
        X509_STORE_CTX_set_error(store_ctx, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    request = (struct verify_request){
        .trust = *check->trust,
        .role = check->role == TLS_SERVER ? VERIFY_PEER_IS_CLIENT : VERIFY_PEER_IS_SERVER,
        .expected = check->expected,
        .n_expected = check->n_expected,
        .now_ns = clock_wall_ns(),
        .verified = check->verified,
    };
    err = verify_peer(leaf, X509_STORE_CTX_get0_untrusted(store_ctx), &request, &result);
    if (err) {
        refuse_peer(check, err, &result);
        X509_STORE_CTX_set_error(store_ctx, x509_error(err));
        return 0;
    }
    verify_path_free(check->proof.path);
    check->proof = (struct tls_proof){
        .path = result.path,
        .role = request.role,
        .generation = request.trust->generation,
        .proven_ns = request.now_ns,
    };
    keep_names(check, &result);
    return 1;
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    unsigned char *selected;

    (void)arg;
    if (SSL_select_next_proto(&selected, out_len, alpn_h2, sizeof(alpn_h2), in, in_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        refuse(check_of(ssl), -ERR_TLS_ALPN, "the client offers no h2 in ALPN");
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = selected;
    return SSL_TLSEXT_ERR_OK;
}

/* select_alpn() is not asked when the client offers no ALPN at all. */
static int look_at_hello(SSL *ssl, int *alert, void *arg)
{
    const unsigned char *extension;
    size_t len;

    (void)arg;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation,
                                  &extension, &len) == 1)
        return SSL_CLIENT_HELLO_SUCCESS;
    refuse(check_of(ssl), -ERR_TLS_ALPN, "the client offers no ALPN");
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
}

void tls_check_install(SSL_CTX *ctx)
{
    ensure(CRYPTO_THREAD_run_once(&once, make_slot) == 1);
    SSL_CTX_set_cert_verify_callback(ctx, verify_certificate, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    SSL_CTX_set_client_hello_cb(ctx, look_at_hello, NULL);
    ensure(SSL_CTX_set_alpn_protos(ctx, alpn_h2, sizeof(alpn_h2)) == 0);
}

bool tls_check_name_server(SSL *ssl, struct str name, bool is_web)
{
    static const unsigned char http1[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    char host[NAME_MAX + 1];
    struct ip ip;

    if (name.len == 0 || name.len > NAME_MAX)
        return false;
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    const bool is_address = ip_parse(name, &ip) == 0;

    ensure(SSL_set_alpn_protos(ssl, http1, sizeof(http1)) == 0);
    if (!is_address && SSL_set_tlsext_host_name(ssl, host) != 1)
        return false;
    if (!is_web)
        return true;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1
                      : SSL_set1_host(ssl, host) == 1;
}

void tls_check_attach(SSL *ssl, struct tls_check *check)
{
    ensure(SSL_set_ex_data(ssl, check_slot, check) == 1);
}

/* As in the handshake, with its clock: that dates passed since ends no tunnel. Who was expected was
 * settled then, too. */
static int prove_again(struct tls_proof *proof, const SSL *ssl, const struct trust *trust)
{
    struct verify_result result = {0};
    const struct verify_request request = {
        .trust = trust, .role = proof->role, .now_ns = proof->proven_ns};
    int err =
        verify_peer(sk_X509_value(proof->path, 0), SSL_get_peer_cert_chain(ssl), &request, &result);

    if (err < 0)
        return err == -ERR_TLS_REVOKED ? err : -ERR_TRUST_REMOVED;
    verify_path_free(proof->path);
    proof->path = result.path;
    return 0;
}

int tls_check_again(struct tls_proof *proof, const SSL *ssl, struct str id,
                    const struct trust *trust)
{
    struct spiffe_id parsed;

    if (!proof->path || proof->generation == trust->generation)
        return 0;
    ensure(spiffe_parse(id, &parsed, NULL) == 0);
    int err = verify_path(proof->path, trust, parsed.trust_domain);
    if (err < 0)
        err = prove_again(proof, ssl, trust);
    if (err == 0)
        proof->generation = trust->generation;
    return err;
}

static int err_from_reason(int reason)
{
    switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return -ERR_TLS_NO_CERTIFICATE;
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: return -ERR_TLS_ALPN;
    default: return -ERR_TLS;
    }
}

int tls_check_failure(struct tls_check *check, const char **out_why)
{
    unsigned long first = ERR_peek_error();
    const char *said = first ? ERR_reason_error_string(first) : NULL;

    ERR_clear_error();
    if (!check->err) {
        int err = first ? err_from_reason(ERR_GET_REASON(first)) : -ERR_TLS;
        char sentence[200];

        (void)snprintf(sentence, sizeof(sentence), "%s: %s", err_text(err),
                       said ? said : "no reason given");
        refuse(check, err, sentence);
    }
    *out_why = check->reason;
    return check->err;
}
