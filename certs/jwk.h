/*
 * jwk.h - the public keys of somebody who signs tokens: a JSON Web Key Set, read for that use.
 *
 * Taken are RSA keys of 2048 to 8192 bits, EC keys on P-256, P-384 and P-521, and Ed25519 keys. A
 * key of another kind, of another use than "sig", for an algorithm that is not ours, or outside
 * those bounds is passed over, as the standard asks; a set in which no key is left is refused.
 * Private parts are never looked at, and never travel on.
 *
 * Bounds: JWK_SET_MAX_BYTES, JWK_SET_DEPTH_MAX levels, JWK_SET_KEYS_MAX keys, kid JWK_KID_MAX
 * bytes.
 *
 * Owner: whoever parsed it, jwk_set_free(). Thread: immutable; any may verify with it.
 * Errors: -ERR_INVALID or -ERR_LIMIT with a sentence appended to *why.
 * Source: RFC 7517; RFC 7518 sections 3, 6; RFC 8037.
 */
#ifndef ISTHMUS_CERTS_JWK_H
#define ISTHMUS_CERTS_JWK_H

#include <openssl/types.h>

#include "proxy/base/text.h"

#define JWK_SET_MAX_BYTES ((size_t)256 * 1024) /* as it is published */
#define JWK_SET_DEPTH_MAX 8
#define JWK_SET_KEYS_MAX  32
#define JWK_KID_MAX       256

/* No "none", and nothing with a shared secret: what cannot be said cannot be confused. */
enum jws_algorithm {
    JWS_RS256,
    JWS_RS384,
    JWS_RS512,
    JWS_PS256,
    JWS_PS384,
    JWS_PS512,
    JWS_ES256,
    JWS_ES384,
    JWS_ES512,
    JWS_EDDSA,
    JWS_ALGORITHMS
};

/* False for a name that is none of them. */
bool jws_algorithm_of(struct str name, enum jws_algorithm *out_algorithm);

enum jwk_kind { JWK_RSA, JWK_P256, JWK_P384, JWK_P521, JWK_ED25519, JWK_KINDS };

struct jwk {
    EVP_PKEY *key;
    enum jwk_kind kind;
    struct str kid;               /* "" when it has none */
    enum jws_algorithm algorithm; /* JWS_ALGORITHMS: any that fits its kind */
};

struct jwk_set;

MUST_USE int jwk_set_parse(struct str json, struct jwk_set **out_set, struct text *why);
void jwk_set_free(struct jwk_set *set);
const struct jwk *jwk_set_keys(const struct jwk_set *set, size_t *out_n);
bool jwk_fits(const struct jwk *key, enum jws_algorithm algorithm);

/* Appends the keys that are taken, with nothing but what verifying needs: {"keys":[...]}. */
MUST_USE int jwk_set_normalize(struct str json, struct text *out_json, struct text *why);

#endif
