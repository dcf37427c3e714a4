/*
 * cache.h - tokens that were verified, so that one that comes again is not verified again.
 *
 * Found by the SHA-256 of the token and the revision of the rule that verified it: a rule with
 * other keys finds nothing, and no two tokens or rules have one digest. Entries are few to a place
 * and push each other out; a token of which much would be kept, as one with hundreds of claims, is
 * not kept.
 *
 * Bound: TOKEN_CACHE_ENTRIES entries, each of TOKEN_HELD_MAX bytes at most, for which the heap
 * gives less than twice that. Owner: the token room. Thread: the worker's.
 */
#ifndef ISTHMUS_TOKEN_CACHE_H
#define ISTHMUS_TOKEN_CACHE_H

#include "certs/digest.h"
#include "proxy/token/claims.h"

#define TOKEN_HELD_MAX ((size_t)8192) /* of what is known of a token, not of its own bytes */

struct token_verified { /* what is known of a token by a rule */
    struct claims claims;
    struct str payload_text;          /* base64url, as in the token */
    const struct http_field *headers; /* that the rule makes of its claims */
    size_t n_headers;
};

struct token_key {
    unsigned char token[DIGEST_LEN]; /* SHA-256 */
    unsigned char rule[DIGEST_LEN];  /* its revision */
};

struct token_cache;

struct token_cache *token_cache_new(void);
void token_cache_free(struct token_cache *cache);
/* NULL, or what was kept; good until the next token_cache_keep(). Times are the caller's to ask. */
const struct token_verified *token_cache_find(const struct token_cache *cache,
                                              const struct token_key *key);
/* Copies, if it is not too much. */
void token_cache_keep(struct token_cache *cache, const struct token_key *key,
                      const struct token_verified *verified);

/* A copy that borrows from nothing but the arena. */
struct token_verified *token_verified_copy(const struct token_verified *from, struct arena *arena);

#endif
