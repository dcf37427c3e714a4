/*
 * svid.h - an X.509-SVID of ours: key, leaf, intermediates, and what was read out of them.
 *
 * Immutable once made. Counted, so that an SSL_CTX built from it, a rotation and the disk writer
 * can share it.
 *
 * Owner:  svid_ref()/svid_unref(); the key is wiped when the last reference goes.
 * Thread: the count is the control thread's; workers hold SSL_CTX built from it, which OpenSSL
 * counts. Units:  wall clock in ns since 1970.
 */
#ifndef ISTHMUS_CERTS_SVID_H
#define ISTHMUS_CERTS_SVID_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "certs/spiffe.h"
#include "proxy/base/text.h"

struct svid {
    unsigned refs;
    struct arena arena;
    struct spiffe_id id;
    EVP_PKEY *key;
    X509 *leaf;
    STACK_OF(X509) * chain; /* intermediates, leaf not included; may be empty */
    int64_t not_before_ns, not_after_ns;
    struct str serial; /* hex */
};

/* From PEM: the leaf first, then intermediates (a self-signed root among them is left out: no peer
 * needs it); the key as unencrypted PKCS#8. Checks every rule of the X.509-SVID standard for a leaf
 * (verify.h), that the key fits, that it is not expired. 0, or -ERR_TLS_SVID / -ERR_INVALID with
 * the reason appended to *why. */
MUST_USE int svid_from_pem(struct str chain_pem, struct str key_pem, struct svid **out_svid,
                           struct text *why);
/* The same for a key that is in hand; takes a reference of it. */
MUST_USE int svid_from_chain(struct str chain_pem, EVP_PKEY *key, struct svid **out_svid,
                             struct text *why);
/* The same from DER: certificates one behind the other, the key as unencrypted PKCS#8 and nothing
 * behind it. */
MUST_USE int svid_from_der(struct str chain_der, struct str key_der, struct svid **out_svid,
                           struct text *why);
struct svid *svid_ref(struct svid *svid);
void svid_unref(struct svid *svid);

/* PEM of the leaf and intermediates; and of the key (PKCS#8; the caller wipes it). */
void svid_chain_pem(const struct svid *svid, struct text *out);
void svid_key_pem(const struct svid *svid, struct text *out);

/* True when both are the same certificate. */
bool svid_is_same(const struct svid *a, const struct svid *b);

/*
 * The key under which an SVID is wanted and filed: its SPIFFE ID; or, where every workload has an
 * SVID of its own (SPIFFE Broker API section 4.2 forbids to share them), the ID, a space and the
 * workload's uid; and, where it is known ("" when not), a space and the uid of its pod, so that a
 * pod made anew under the same name is another one. None of them holds a space.
 */
struct str svid_key_for(struct arena *arena, struct str id, struct str workload_uid,
                        struct str pod_uid);
struct str svid_key_id(struct str key);
/* The workload's uid, and its pod's: "" when the key holds none. */
struct str svid_key_workload(struct str key);
struct str svid_key_pod_uid(struct str key);

/* When it should be renewed: half of its life, moved by up to 10 % of it either way by jitter in
 * [0, 1000). */
int64_t svid_renew_at_ns(const struct svid *svid, uint32_t jitter_permille);

#endif
