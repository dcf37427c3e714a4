/*
 * hash_key.h - what of a request consistent hashing goes by: a list of keys, asked in order.
 *
 * The first key that a request has decides; one that is not terminal is mixed with those behind it
 * (Envoy's meaning). A request that has none of them is balanced as if by chance. A connection that
 * carries no HTTP, or HTTP that is not read, has the keys of its source alone.
 *
 * Strings belong to the arena of whoever made the key. Values here are valid: whoever makes one
 * asks hash_keys_check(). Source: Envoy's RouteAction.HashPolicy, Istio's consistentHash.
 * Thread: immutable; any.
 */
#ifndef ISTHMUS_CONFIG_HASH_KEY_H
#define ISTHMUS_CONFIG_HASH_KEY_H

#include "proxy/base/arena.h"
#include "proxy/base/text.h"

#define HASH_KEYS_MAX     8
#define HASH_KEY_NAME_MAX 256
#define HASH_KEY_TTL_MAX  (UINT64_C(400) * 86400 * 1000000000) /* as long as browsers keep one */

/* Travels as a number: new words go to the end. */
enum hash_key_kind {
    HASH_KEY_HEADER,
    HASH_KEY_COOKIE,
    HASH_KEY_QUERY, /* a parameter of it */
    HASH_KEY_PATH,  /* without the query */
    HASH_KEY_SOURCE_ADDRESS,
    HASH_KEY_SOURCE_PRINCIPAL,
    HASH_KEY_KINDS
};

struct hash_key {
    enum hash_key_kind kind;
    struct str name;  /* HEADER, in lower case; COOKIE, QUERY */
    bool is_terminal; /* a request that has it is not asked for the next */
    /* COOKIE */
    bool is_given;   /* to a client that has none, with the answer */
    uint64_t ttl_ns; /* of the one that is given; 0: as long as the client runs */
    struct str path; /* of the one that is given; "": by the request */
};

struct hash_key *hash_keys_copy(struct arena *arena, const struct hash_key *from, size_t n);
/* False with a sentence in *why, which begins with what. */
bool hash_keys_check(const struct hash_key *keys, size_t n, const char *what, struct text *why);

#endif
