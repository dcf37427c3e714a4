/*
 * verify.h - is this peer who it claims to be?
 *
 * The rules of the X.509-SVID standard are our code, on the raw bytes of the certificate, because
 * OpenSSL alone accepts most malformed SVIDs. Order: leaf rules, the ID, the bundle of the ID's
 * trust domain and of no other, the chain, the domain's revocation lists, then who was expected.
 *
 * Source: SPIFFE X.509-SVID, sections 2 to 5; RFC 5280 for the chain.
 * Thread: any; all inputs are immutable.
 */
#ifndef ISTHMUS_CERTS_VERIFY_H
#define ISTHMUS_CERTS_VERIFY_H

#include <openssl/x509.h>

#include "certs/bundle.h"

struct verified; /* verified.h */

enum verify_role { VERIFY_PEER_IS_CLIENT, VERIFY_PEER_IS_SERVER };

struct verify_request {
    const struct trust *trust;
    enum verify_role role;
    const struct str *expected; /* full SPIFFE IDs, one of which it must be; n_expected 0 accepts
                                   any verified ID */
    size_t n_expected;
    int64_t now_ns;            /* wall clock */
    struct verified *verified; /* who was verified before, and who is now; NULL: nobody is known */
};

struct verify_result {
    char id[SPIFFE_ID_MAX + 1]; /* the verified ID, NUL-terminated */
    size_t id_len;
    int64_t not_after_ns;
    char serial[64];  /* hex, NUL-terminated, cut if longer */
    char reason[256]; /* on failure: the sentence for the log */
    bool was_known;   /* it was verified before: no signature was looked at now */
    /* On success, what the verdict rests on: leaf, intermediates, anchor. A stack of references of
     * its own that the caller frees with verify_path_free(); NULL on failure. */
    STACK_OF(X509) * path;
};

void verify_path_free(STACK_OF(X509) * path);

/* The leaf's own rules, without a chain: exactly one URI SAN with a SPIFFE ID that has a path, not
 * a CA, keyUsage present with digitalSignature and without keyCertSign and cRLSign, and the rest of
 * the standard. 0 with *out_id filled (NUL-terminated, SPIFFE_ID_MAX + 1 bytes), or -ERR_TLS_SVID
 * with *out_why constant. */
MUST_USE int verify_leaf(X509 *leaf, char *out_id, size_t *out_id_len, const char **out_why);

/* The whole of it. chain is what the peer sent, leaf included or not (untrusted). 0, or
 * -ERR_TLS_NO_CERTIFICATE (leaf is NULL), -ERR_TLS_SVID, -ERR_TLS_TRUST_DOMAIN, -ERR_TLS_CHAIN,
 * -ERR_TLS_REVOKED, -ERR_TLS_IDENTITY; OpenSSL's error queue is empty afterwards. result->reason
 * says why, result->id is set as far as known. */
MUST_USE int verify_peer(X509 *leaf, STACK_OF(X509) * chain, const struct verify_request *request,
                         struct verify_result *result);

/* Whether a verdict of verify_peer() still stands in another generation of trust: its anchor is in
 * the domain's bundle and nothing on the path is revoked. Costs no signature, so that every live
 * peer can be asked when trust changes; dates are not looked at. 0, or -ERR_TLS_CHAIN (the anchor
 * is gone: there may be another path), -ERR_TLS_TRUST_DOMAIN, -ERR_TLS_REVOKED. */
MUST_USE int verify_path(const STACK_OF(X509) * path, const struct trust *trust,
                         struct str trust_domain);

#endif
