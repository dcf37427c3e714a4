/*
 * verify.h - is this peer who it claims to be?
 *
 * The rules of the X.509-SVID standard are our code, on the raw bytes of the certificate, because
 * OpenSSL alone accepts most malformed SVIDs. Order: leaf rules, the ID, the bundle of the ID's
 * trust domain and of no other, the chain, then who was expected.
 *
 * Source: SPIFFE X.509-SVID, sections 2 to 5; RFC 5280 for the chain.
 * Thread: any; all inputs are immutable.
 */
#ifndef ISTHMUS_CERTS_VERIFY_H
#define ISTHMUS_CERTS_VERIFY_H

#include <openssl/x509.h>

#include "certs/bundle.h"

enum verify_role { VERIFY_PEER_IS_CLIENT, VERIFY_PEER_IS_SERVER };

struct verify_request {
    const struct trust *trust;
    enum verify_role role;
    const struct str *expected; /* full SPIFFE IDs, one of which it must be; n_expected 0 accepts
                                   any verified ID */
    size_t n_expected;
    int64_t now_ns; /* wall clock */
};

struct verify_result {
    char id[SPIFFE_ID_MAX + 1]; /* the verified ID, NUL-terminated */
    size_t id_len;
    int64_t not_after_ns;
    char serial[64];  /* hex, NUL-terminated, cut if longer */
    char reason[256]; /* on failure: the sentence for the log */
};

/* The leaf's own rules, without a chain: exactly one URI SAN with a SPIFFE ID that has a path, not
 * a CA, keyUsage present with digitalSignature and without keyCertSign and cRLSign, and the rest of
 * the standard. 0 with *out_id filled (NUL-terminated, SPIFFE_ID_MAX + 1 bytes), or -ERR_TLS_SVID
 * with *out_why constant. */
MUST_USE int verify_leaf(X509 *leaf, char *out_id, size_t *out_id_len, const char **out_why);

/* The whole of it. chain is what the peer sent, leaf included or not (untrusted). 0, or
 * -ERR_TLS_NO_CERTIFICATE (leaf is NULL), -ERR_TLS_SVID, -ERR_TLS_TRUST_DOMAIN, -ERR_TLS_CHAIN,
 * -ERR_TLS_IDENTITY; OpenSSL's error queue is empty afterwards. result->reason says why, result->id
 * is set as far as known. */
MUST_USE int verify_peer(X509 *leaf, STACK_OF(X509) * chain, const struct verify_request *request,
                         struct verify_result *result);

#endif
