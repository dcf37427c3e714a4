/*
 * jws.h - a JSON Web Signature in its compact form, taken apart and verified.
 *
 * jws_read() takes the token apart without believing any of it; jws_verify() says whether one of
 * the keys signed it. The algorithm is the token's own word, so it must be one of enum
 * jws_algorithm and fit the key by kind and by what the key says of itself: "none" and HMAC do not
 * exist here, and a public key is never a secret. Keys in or behind the header (jwk, jku, x5c, x5u)
 * are passed over. A header with crit or b64 is refused: we know no extension.
 *
 * A kid picks the keys that bear it, and those that bear none; without one every key that fits is
 * tried, JWS_TRIES_MAX at most.
 *
 * Owner: what is read lives in the arena given. Thread: any. Errors: -ERR_INVALID with a static
 * sentence. Source: RFC 7515 sections 4, 5.2; RFC 7518 section 3; RFC 8037 section 3.1; RFC 8725.
 */
#ifndef ISTHMUS_CERTS_JWS_H
#define ISTHMUS_CERTS_JWS_H

#include "certs/jwk.h"
#include "proxy/base/arena.h"

#define JWS_HEADER_MAX    ((size_t)2048) /* bytes of the decoded header */
#define JWS_SIGNATURE_MAX ((size_t)1024) /* an RSA key of 8192 bits */
#define JWS_TRIES_MAX     8

struct jws {
    enum jws_algorithm algorithm;
    struct str kid; /* "" when it has none */
    bool has_kid;
    struct str payload;      /* decoded; not to be believed before jws_verify() */
    struct str payload_text; /* as it stands in the token; borrowed */
    struct str signed_text;  /* header and payload, with the dot; borrowed */
    struct str signature;    /* decoded */
};

/* The token is borrowed for as long as *out_jws. */
MUST_USE int jws_read(struct str token, struct arena *arena, struct jws *out_jws,
                      const char **out_why);

MUST_USE int jws_verify(const struct jws *jws, const struct jwk_set *keys, const char **out_why);

#endif
