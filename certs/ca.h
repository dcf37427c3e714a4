/*
 * ca.h - the embedded CA of one trust domain: a root on disk, leaves signed on request.
 *
 * The root is made at the first start (P-256, self-signed, the trust domain's ID as its URI SAN,
 * CA:true, keyCertSign and cRLSign, critical) and kept in dir: ca/root.key (mode 0600),
 * ca/root.pem. Files are written atomically (temporary file, fsync, rename). A root of the user's
 * own may be put there beforehand, its key unencrypted. root.pem may hold further roots (during a
 * change of roots): all are handed out as trust, the one that fits root.key signs.
 *
 * With an intermediate the root's key may stay elsewhere: where there is a ca/intermediate.key,
 * that one signs, and ca/intermediate.pem holds its certificate and those above it, without the
 * root, up to CA_INTERMEDIATES_MAX; they must chain to a root in root.pem and go out with every
 * leaf. root.key is then neither read nor made.
 *
 * Owner: control. Thread: one.
 */
#ifndef ISTHMUS_CERTS_CA_H
#define ISTHMUS_CERTS_CA_H

#include <openssl/evp.h>

#include "certs/spiffe.h"
#include "proxy/base/text.h"

#define CA_INTERMEDIATES_MAX 4

struct ca;

/* Opens or makes the CA in dir. 0, or -ERR_SYSTEM / -ERR_INVALID with the file and the reason in
 * *why. */
MUST_USE int ca_open(struct str dir, struct str trust_domain, struct ca **out_ca, struct text *why);
void ca_close(struct ca *ca);

/* The root(s) as PEM; borrowed while the CA is open. */
struct str ca_root_pem(const struct ca *ca);

/* Signs a leaf for id with the given public key: URI SAN critical with an empty subject,
 * digitalSignature, both EKUs, CA:false, a random 127-bit serial, valid from one minute ago until
 * ttl_ns from now but never beyond the certificate that signs. The chain (leaf, then intermediates,
 * without the root) as PEM. 0, or -ERR_INVALID when id is not of this trust domain. */
MUST_USE int ca_sign(struct ca *ca, struct str id, EVP_PKEY *key, int64_t ttl_ns,
                     struct text *out_chain_pem);

#endif
