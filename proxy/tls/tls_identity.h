/*
 * tls_identity.h - who we are in a handshake: key, certificate and an SSL_CTX for each SVID, and
 * the set of them that workers share.
 *
 * TLS 1.3 only; suites TLS_AES_128_GCM_SHA256 and TLS_AES_256_GCM_SHA384; groups X25519 and P-256;
 * ALPN h2; no resumption (so every tunnel is a full proof), no SNI, no renegotiation, no
 * compression. Buffers are released when idle. A connection holds the key until its handshake is
 * done, and no longer.
 *
 * A struct tls_set is one immutable generation: the identities of this node and the trust map. The
 * control thread makes and frees it; workers read the one published to them.
 *
 * Thread: tls_set_* the control thread's; reading any.
 */
#ifndef ISTHMUS_TLS_TLS_IDENTITY_H
#define ISTHMUS_TLS_TLS_IDENTITY_H

#include "certs/bundle.h"
#include "certs/svid.h"
#include "proxy/base/map.h"

struct tls_identity; /* counted by OpenSSL; lives while any set or handshake holds it */

/* From an SVID: 0, or -ERR_TLS when OpenSSL refuses the pair. */
MUST_USE int tls_identity_new(const struct svid *svid, struct tls_identity **out_identity);
/* The same filed under another key than the SPIFFE ID (svid_key_for()). */
MUST_USE int tls_identity_new_for(const struct svid *svid, struct str key,
                                  struct tls_identity **out_identity);
/* An identity without a certificate: for a client that has none yet (the first certificate). Never
 * NULL. */
struct tls_identity *tls_identity_anonymous(void);
/* The same for a client that takes a server's certificate from the system's authorities, as the web
 * does, with TLS 1.2 as well: for https_web of SPIFFE Federation, and for nothing of the mesh. Its
 * handshakes name the server (tls_options.server_name). Never NULL. */
struct tls_identity *tls_identity_web(void);
/* The same with authorities of one's own in place of the system's: for the API server of
 * Kubernetes. PEM, of which whatever is no certificate is passed over. NULL when there is none. */
struct tls_identity *tls_identity_web_of(struct str authorities);
struct tls_identity *tls_identity_ref(struct tls_identity *identity); /* Thread: any */
void tls_identity_unref(struct tls_identity *identity);               /* Thread: any */
/* The SPIFFE ID, "" when anonymous; and the certificate's end. */
struct str tls_identity_id(const struct tls_identity *identity);
/* What it is filed under: the SPIFFE ID, or a key that has the workload's uid, too. */
struct str tls_identity_key(const struct tls_identity *identity);
int64_t tls_identity_not_after_ns(const struct tls_identity *identity);

struct tls_set {
    struct arena arena;
    uint64_t generation;
    struct map identities; /* key -> struct tls_identity, one reference each */
    struct trust *trust;   /* one reference */
};

/* An empty set with that trust (takes a reference of its own). */
struct tls_set *tls_set_new(uint64_t generation, struct trust *trust);
/* Adds an identity (makes its own reference). */
void tls_set_add(struct tls_set *set, struct tls_identity *identity);
/* The identity with that key, or NULL. Borrowed. Thread: any. */
struct tls_identity *tls_set_find(const struct tls_set *set, struct str id);
void tls_set_free(struct tls_set *set);

#endif
