#include "proxy/token/cache.h"

#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/token/token.h"

#define WAYS 4
#define SETS (TOKEN_CACHE_ENTRIES / WAYS)

struct entry {
    struct token_key key;
    struct token_verified *verified; /* NULL: empty */
    struct arena arena;
};

struct token_cache {
    struct entry entries[SETS][WAYS];
    unsigned char next[SETS]; /* the way that goes next */
};

struct token_cache *token_cache_new(void)
{
    return mem_new(struct token_cache);
}

void token_cache_free(struct token_cache *cache)
{
    if (!cache)
        return;
    for (size_t set = 0; set < SETS; set++)
        for (size_t way = 0; way < WAYS; way++)
            arena_fini(&cache->entries[set][way].arena);
    mem_free(cache);
}

static size_t set_of(const struct token_key *key)
{
    return (key->token[0] | (size_t)key->token[1] << 8) % SETS;
}

static bool is_same(const struct token_key *a, const struct token_key *b)
{
    return memcmp(a->token, b->token, DIGEST_LEN) == 0 && memcmp(a->rule, b->rule, DIGEST_LEN) == 0;
}

const struct token_verified *token_cache_find(const struct token_cache *cache,
                                              const struct token_key *key)
{
    const struct entry *set = cache->entries[set_of(key)];

    for (size_t way = 0; way < WAYS; way++)
        if (set[way].verified && is_same(&set[way].key, key))
            return set[way].verified;
    return NULL;
}

void token_cache_keep(struct token_cache *cache, const struct token_key *key,
                      const struct token_verified *verified)
{
    const size_t set = set_of(key);
    struct entry *entry = &cache->entries[set][cache->next[set]];
    struct entry kept = {.key = *key};

    kept.verified = token_verified_copy(verified, &kept.arena);
    if (kept.arena.allocated_bytes > TOKEN_HELD_MAX) {
        arena_fini(&kept.arena);
        return;
    }
    cache->next[set] = (unsigned char)((cache->next[set] + 1) % WAYS);
    arena_fini(&entry->arena);
    *entry = kept;
}

/* ---- copies ---- */

static const struct str *copy_strs(const struct str *from, size_t n, struct arena *arena)
{
    struct str *to = arena_new_array(arena, struct str, n);

    for (size_t i = 0; i < n; i++)
        to[i] = arena_str(arena, from[i]);
    return to;
}

struct token_verified *token_verified_copy(const struct token_verified *from, struct arena *arena)
{
    struct token_verified *copy = arena_new(arena, struct token_verified);
    const struct policy_token *token = &from->claims.token;
    struct policy_claim *claims = arena_new_array(arena, struct policy_claim, token->n_claims);
    struct http_field *headers = arena_new_array(arena, struct http_field, from->n_headers);

    *copy = *from;
    copy->claims.issuer = arena_str(arena, from->claims.issuer);
    copy->claims.token.principal = arena_str(arena, token->principal);
    copy->claims.token.presenter = arena_str(arena, token->presenter);
    copy->claims.token.audiences = copy_strs(token->audiences, token->n_audiences, arena);
    copy->payload_text = arena_str(arena, from->payload_text);
    for (size_t i = 0; i < token->n_claims; i++)
        claims[i] = (struct policy_claim){
            arena_str(arena, token->claims[i].path),
            copy_strs(token->claims[i].values, token->claims[i].n_values, arena),
            token->claims[i].n_values};
    for (size_t i = 0; i < from->n_headers; i++)
        headers[i] = (struct http_field){arena_str(arena, from->headers[i].name),
                                         arena_str(arena, from->headers[i].value)};
    copy->claims.token.claims = claims;
    copy->headers = headers;
    return copy;
}
