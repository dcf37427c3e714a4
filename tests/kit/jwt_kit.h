/*
 * jwt_kit.h - keys of an issuer of tokens, the set in which it publishes them, and tokens signed by
 * them. Signing is OpenSSL's alone, none of the code under test.
 *
 * Owner: jwt_key_free(). Errors: none; what cannot be made ends the test.
 */
#ifndef ISTHMUS_TESTS_KIT_JWT_KIT_H
#define ISTHMUS_TESTS_KIT_JWT_KIT_H

#include "proxy/base/arena.h"
#include "proxy/base/text.h"

struct jwt_key {
    void *pkey;            /* EVP_PKEY */
    const char *kid;       /* NULL: none */
    const char *algorithm; /* "RS256", ... */
};

/* A key for the algorithm. */
struct jwt_key jwt_key_new(const char *algorithm, const char *kid);
void jwt_key_free(struct jwt_key *key);

/* {"keys":[...]}; more: further members of each, such as ",\"use\":\"sig\"". */
struct str jwt_key_set(const struct jwt_key *keys, size_t n_keys, const char *more,
                       struct arena *arena);

/* header.payload.signature; header NULL: {"alg":"...","kid":"..."}. */
struct str jwt_sign(const struct jwt_key *key, const char *header, const char *payload,
                    struct arena *arena);
/* The signature over any bytes, as JWS has it; *out_der (may be NULL): of ECDSA as OpenSSL has it.
 */
struct str jwt_signature(const struct jwt_key *key, struct str bytes, struct str *out_der,
                         struct arena *arena);
/* HMAC-SHA256 over the bytes under any secret. */
struct str jwt_hmac(struct str secret, struct str bytes, struct arena *arena);
struct str jwt_base64url(struct str bytes, struct arena *arena);
/* The public key as PEM. */
struct str jwt_key_pem(const struct jwt_key *key, struct arena *arena);

#endif
