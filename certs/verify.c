/*
 * verify.c - our rules first, OpenSSL's chain check second, the expectation of the caller last.
 *
 * OpenSSL is asked with: the one bundle of the ID's trust domain as the only anchors (each of its
 * certificates is one, self-signed or not, as in SPIFFE: X509_V_FLAG_PARTIAL_CHAIN), the purpose of
 * the peer's role, security level 2 (no SHA-1, 112 bits at least), at most CHAIN_DEPTH_MAX
 * intermediates, and the caller's clock.
 *
 * A certificate may be NOT_YET_VALID_SKEW_NS away from its first second: a node whose clock is
 * slightly behind its CA's would otherwise refuse every fresh SVID, and a certificate that is used
 * a minute early harms nobody. Expiry has no such allowance.
 */
#include "certs/verify.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "certs/cert.h"
#include "certs/crl.h"
#include "certs/verified.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

#define CHAIN_DEPTH_MAX       8
#define CHAIN_SENT_MAX        16 /* from a peer: building a path is quadratic in them */
#define AUTH_LEVEL            2
#define NOT_YET_VALID_SKEW_NS (60 * (int64_t)NS_PER_SEC)

static bool extension_is_critical(const X509 *cert, int nid)
{
    int idx = X509_get_ext_by_NID(cert, nid, -1);

    return idx >= 0 && X509_EXTENSION_get_critical(X509_get_ext(cert, idx)) == 1;
}

static const char *usage_fault(X509 *leaf, uint32_t flags)
{
    uint32_t usage = X509_get_key_usage(leaf);

    if (!(flags & EXFLAG_KUSAGE))
        return "the certificate has no key usage";
    if (!extension_is_critical(leaf, NID_key_usage))
        return "the certificate's key usage is not critical";
    if (!(usage & KU_DIGITAL_SIGNATURE))
        return "the certificate's key usage lacks digitalSignature";
    if (usage & KU_KEY_CERT_SIGN)
        return "the certificate's key usage has keyCertSign";
    if (usage & KU_CRL_SIGN)
        return "the certificate's key usage has cRLSign";
    if ((flags & EXFLAG_XKUSAGE) &&
        !(X509_get_extended_key_usage(leaf) & (XKU_SSL_CLIENT | XKU_SSL_SERVER)))
        return "the certificate's extended key usage has neither clientAuth nor serverAuth";
    return NULL;
}

static const char *form_fault(X509 *leaf)
{
    uint32_t flags = X509_get_extension_flags(leaf);

    if (X509_get_version(leaf) != X509_VERSION_3)
        return "the certificate is not of version 3";
    if (flags & EXFLAG_CA)
        return "the certificate is a CA";
    if (flags & EXFLAG_INVALID)
        return "the certificate has a malformed extension";
    if (flags & EXFLAG_CRITICAL)
        return "the certificate has an unknown critical extension";
    return usage_fault(leaf, flags);
}

static const char *name_fault(X509 *leaf, const struct cert_san *san, char *out_id,
                              size_t *out_id_len)
{
    struct spiffe_id id;
    const char *why = NULL;
    int idx = 0;
    struct str uri;

    if (san->n_uris > 1)
        return "the certificate has more than one URI in its subject alternative name";
    if (!cert_san_next_uri(san, &idx, &uri))
        return "the certificate has no URI in its subject alternative name";
    if (!san->is_critical && X509_NAME_entry_count(X509_get_subject_name(leaf)) == 0)
        return "the subject is empty and the subject alternative name is not critical";
    if (spiffe_parse(uri, &id, &why) < 0)
        return why;
    if (id.path.len == 0)
        return "the SPIFFE ID has no path, so it names a trust domain and no workload";
    memcpy(out_id, uri.ptr, uri.len);
    out_id[uri.len] = '\0';
    *out_id_len = uri.len;
    return NULL;
}

static const char *leaf_fault(X509 *leaf, char *out_id, size_t *out_id_len)
{
    struct cert_san san;
    const char *why = form_fault(leaf);

    if (why)
        return why;
    if (cert_san_read(X509_get0_extensions(leaf), &san, &why) < 0)
        return why;
    why = name_fault(leaf, &san, out_id, out_id_len);
    cert_san_fini(&san);
    return why;
}

int verify_leaf(X509 *leaf, char *out_id, size_t *out_id_len, const char **out_why)
{
    const char *fault = leaf_fault(leaf, out_id, out_id_len);

    ERR_clear_error();
    if (!fault)
        return 0;
    *out_why = fault;
    return -ERR_TLS_SVID;
}

static int on_verify(int ok, X509_STORE_CTX *ctx)
{
    const int64_t *now_ns = X509_STORE_CTX_get_app_data(ctx);

    if (ok || X509_STORE_CTX_get_error(ctx) != X509_V_ERR_CERT_NOT_YET_VALID)
        return ok;
    int64_t from_ns = cert_time_ns(X509_get0_notBefore(X509_STORE_CTX_get_current_cert(ctx)));
    if (from_ns - NOT_YET_VALID_SKEW_NS > *now_ns)
        return 0;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

static const char *signers_fault(X509_STORE_CTX *ctx)
{
    const STACK_OF(X509) *path = X509_STORE_CTX_get0_chain(ctx);
    const char *why = NULL;

    if (sk_X509_num(path) < 2)
        return "the certificate is itself a trust anchor";
    for (int i = 1; i < sk_X509_num(path); i++)
        if (cert_check_signer(sk_X509_value(path, i), &why) < 0)
            return why;
    return NULL;
}

static void set_parameters(X509_STORE_CTX *ctx, const struct verify_request *request)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    bool is_client = request->role == VERIFY_PEER_IS_CLIENT;

    ensure(X509_STORE_CTX_set_purpose(ctx, is_client ? X509_PURPOSE_SSL_CLIENT
                                                     : X509_PURPOSE_SSL_SERVER) == 1);
    ensure(X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN) == 1);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    X509_VERIFY_PARAM_set_depth(param, CHAIN_DEPTH_MAX);
    X509_VERIFY_PARAM_set_time(param, (time_t)(request->now_ns / (int64_t)NS_PER_SEC));
    X509_STORE_CTX_set_verify_cb(ctx, on_verify);
}

/* NULL with the path if the leaf chains to the bundle; else why not, constant. */
static const char *chain_fault(X509 *leaf, STACK_OF(X509) * chain, const struct bundle *bundle,
                               const struct verify_request *request, STACK_OF(X509) * *out_path)
{
    const char *why = NULL;
    int64_t now_ns = request->now_ns; /* what on_verify() reads */

    if (chain && sk_X509_num(chain) > CHAIN_SENT_MAX)
        return "the peer sent too many certificates";
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    ensure(ctx && X509_STORE_CTX_init(ctx, bundle->store, leaf, chain) == 1);
    set_parameters(ctx, request);
    X509_STORE_CTX_set_app_data(ctx, &now_ns);
    if (X509_verify_cert(ctx) == 1)
        why = signers_fault(ctx);
    else
        why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
    if (!why)
        *out_path = X509_STORE_CTX_get1_chain(ctx);
    ensure(why || *out_path);
    X509_STORE_CTX_free(ctx);
    return why;
}

void verify_path_free(STACK_OF(X509) * path)
{
    cert_list_free(path);
}

static bool is_anchor(X509 *cert, const struct bundle *bundle)
{
    for (int i = 0; i < sk_X509_num(bundle->roots); i++)
        if (X509_cmp(cert, sk_X509_value(bundle->roots, i)) == 0)
            return true;
    return false;
}

static X509 *find_revoked(const STACK_OF(X509) * path, const struct trust *trust,
                          struct str trust_domain)
{
    const struct revocations *revocations = trust_find_crls(trust, trust_domain);

    return revocations ? crl_find_revoked(revocations->crls, path) : NULL;
}

int verify_path(const STACK_OF(X509) * path, const struct trust *trust, struct str trust_domain)
{
    const struct bundle *bundle = trust_find(trust, trust_domain);

    if (!bundle)
        return -ERR_TLS_TRUST_DOMAIN;
    if (find_revoked(path, trust, trust_domain))
        return -ERR_TLS_REVOKED;
    return is_anchor(sk_X509_value(path, sk_X509_num(path) - 1), bundle) ? 0 : -ERR_TLS_CHAIN;
}

static bool is_expected(struct str id, const struct verify_request *request)
{
    for (size_t i = 0; i < request->n_expected; i++)
        if (str_eq(id, request->expected[i]))
            return true;
    return request->n_expected == 0;
}

static int fail(struct verify_result *result, int err, const char *sentence)
{
    ERR_clear_error();
    (void)snprintf(result->reason, sizeof(result->reason), "%s", sentence);
    return err;
}

/* The chain and the lists; on success with the path. */
static int check_chain(X509 *leaf, STACK_OF(X509) * chain, const struct verify_request *request,
                       struct str trust_domain, struct verify_result *result)
{
    const struct bundle *bundle = trust_find(request->trust, trust_domain);
    STACK_OF(X509) *path = NULL;

    if (!bundle)
        return fail(result, -ERR_TLS_TRUST_DOMAIN, err_text(ERR_TLS_TRUST_DOMAIN));
    const char *why = chain_fault(leaf, chain, bundle, request, &path);
    if (why)
        return fail(result, -ERR_TLS_CHAIN, why);
    X509 *revoked = find_revoked(path, request->trust, trust_domain);
    if (revoked) {
        const char *sentence = X509_cmp(revoked, leaf) == 0
                                   ? "the certificate was revoked"
                                   : "a certificate that signs in its chain was revoked";

        verify_path_free(path);
        return fail(result, -ERR_TLS_REVOKED, sentence);
    }
    result->path = path;
    return 0;
}

/* All but who was expected. */
static int prove(X509 *leaf, STACK_OF(X509) * chain, const struct verify_request *request,
                 struct verify_result *result)
{
    struct spiffe_id id;
    const char *why = NULL;

    cert_serial_hex(leaf, result->serial, sizeof(result->serial));
    result->not_after_ns = cert_time_ns(X509_get0_notAfter(leaf));
    if (verify_leaf(leaf, result->id, &result->id_len, &why) < 0)
        return fail(result, -ERR_TLS_SVID, why);
    if (spiffe_parse(str_of(result->id, result->id_len), &id, &why) < 0)
        return fail(result, -ERR_TLS_SVID, why);
    return check_chain(leaf, chain, request, id.trust_domain, result);
}

/* Proven before, and nothing has changed since: what is revoked is a part of the trust. */
static bool recall(struct str key, const struct verify_request *request,
                   struct verify_result *result)
{
    const struct verified_peer *peer =
        verified_find(request->verified, request->trust, key, request->now_ns);

    if (!peer)
        return false;
    memcpy(result->id, peer->id.ptr, peer->id.len);
    result->id[peer->id.len] = '\0';
    result->id_len = peer->id.len;
    memcpy(result->serial, peer->serial, sizeof(result->serial));
    result->not_after_ns = peer->not_after_ns;
    result->path = X509_chain_up_ref(peer->path);
    ensure(result->path);
    return true;
}

/* As OpenSSL takes a certificate: until the second that its last date names begins. */
static void keep(struct str key, const struct verify_request *request,
                 const struct verify_result *result)
{
    struct verified_peer peer = {.key = key,
                                 .id = str_of(result->id, result->id_len),
                                 .not_after_ns = result->not_after_ns,
                                 .until_ns = INT64_MAX,
                                 .path = result->path};

    memcpy(peer.serial, result->serial, sizeof(peer.serial));
    for (int i = 0; i < sk_X509_num(result->path); i++) {
        const X509 *cert = sk_X509_value(result->path, i);
        const int64_t from_ns = cert_time_ns(X509_get0_notBefore(cert));
        const int64_t until_ns = cert_time_ns(X509_get0_notAfter(cert));

        peer.from_ns = from_ns > peer.from_ns ? from_ns : peer.from_ns;
        peer.until_ns = until_ns < peer.until_ns ? until_ns : peer.until_ns;
    }
    peer.from_ns -= NOT_YET_VALID_SKEW_NS; /* of 1970 or later: a date may be below all numbers */
    verified_put(request->verified, request->trust, &peer);
}

int verify_peer(X509 *leaf, STACK_OF(X509) * chain, const struct verify_request *request,
                struct verify_result *result)
{
    uint8_t room[VERIFIED_KEY_MAX];
    struct str key = {0};

    result->id[0] = result->serial[0] = result->reason[0] = '\0';
    result->id_len = 0;
    result->not_after_ns = 0;
    result->path = NULL;
    result->was_known = false;
    if (!leaf)
        return fail(result, -ERR_TLS_NO_CERTIFICATE, "the peer sent no certificate");
    if (request->verified)
        key = verified_key(room, request->role, leaf, chain);
    result->was_known = !str_is_empty(key) && recall(key, request, result);
    if (!result->was_known) {
        int err = prove(leaf, chain, request, result);
        if (err < 0)
            return err;
        if (!str_is_empty(key))
            keep(key, request, result);
    }
    ERR_clear_error();
    if (is_expected(str_of(result->id, result->id_len), request))
        return 0;
    verify_path_free(result->path);
    result->path = NULL;
    return fail(result, -ERR_TLS_IDENTITY, err_text(ERR_TLS_IDENTITY));
}
