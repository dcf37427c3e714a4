/*
 * token.c - the order of things: where tokens stand, which rule verifies each, what goes on.
 *
 * What is cheap is asked first (form, issuer, audience, times), the signature last: a stranger's
 * token costs no signature. The sentence is that of the rule that came closest.
 */
#include "proxy/token/token.h"

#include <string.h>

#include "certs/jws.h"
#include "proxy/base/mem.h"
#include "proxy/token/cache.h"
#include "proxy/token/places.h"

struct token_room {
    struct meter *meter;
    struct token_cache *cache;
};

struct token_room *token_room_new(struct meter *meter)
{
    struct token_room *room = mem_new(struct token_room);

    room->meter = meter;
    room->cache = token_cache_new();
    return room;
}

void token_room_free(struct token_room *room)
{
    if (!room)
        return;
    token_cache_free(room->cache);
    mem_free(room);
}

/* ---- one token ---- */

struct judging {
    struct token_room *room;
    uint64_t now_s;
    struct arena *arena;
    const struct token_set *set;
    const struct token_found *found;
    struct token_key key;
    struct jws jws; /* once it was read */
    struct claims claims;
    bool was_read;
    const char *why;
};

static bool counts_now(struct judging *judging, const struct claims *claims)
{
    const int64_t now_s = (int64_t)judging->now_s;

    if (claims->expires && now_s >= claims->expires_s + TOKEN_LEEWAY_S)
        judging->why = "the token has expired";
    else if (now_s + TOKEN_LEEWAY_S < claims->not_before_s)
        judging->why = "the token does not count yet";
    else
        return true;
    return false;
}

static bool has_audience(const struct token_rule *rule, const struct policy_token *token)
{
    for (size_t i = 0; i < token->n_audiences; i++)
        for (size_t k = 0; k < rule->n_audiences; k++)
            if (str_eq(token->audiences[i], rule->audiences[k]))
                return true;
    return rule->n_audiences == 0;
}

static bool is_below(struct str principal, struct str issuer)
{
    return principal.len > issuer.len && str_starts_with(principal, issuer) &&
           principal.ptr[issuer.len] == '/';
}

/* "https://a" may not give out who "https://a/b" is: the principals of both are written alike, and
 * policies do not ask where a token stood or by which port it came. */
static bool is_others_principal(const struct judging *judging, const struct token_rule *rule,
                                struct str principal)
{
    for (size_t i = 0; i < judging->set->n_layers; i++) {
        const struct token_layer *layer = judging->set->layers[i];

        for (size_t k = 0; k < layer->n_rules; k++)
            if (layer->rules[k].issuer.len > rule->issuer.len &&
                is_below(principal, layer->rules[k].issuer))
                return true;
    }
    return false;
}

static bool read_token(struct judging *judging)
{
    const struct str text = judging->found->text;

    if (text.len > TOKEN_MAX_BYTES) {
        judging->why = "the token is longer than 8192 bytes";
        return false;
    }
    if (!judging->was_read &&
        (jws_read(text, judging->arena, &judging->jws, &judging->why) < 0 ||
         claims_read(judging->jws.payload, judging->arena, &judging->claims, &judging->why) < 0))
        return false;
    judging->was_read = true;
    return true;
}

static bool rule_takes(struct judging *judging, const struct token_rule *rule)
{
    if (!str_eq(judging->claims.issuer, rule->issuer) || str_is_empty(rule->issuer))
        return false;
    if (rule->is_unknown)
        judging->why = "the rule for the token's issuer was not understood";
    else if (!rule->keys)
        judging->why = "there are no keys of the token's issuer yet";
    else if (!has_audience(rule, &judging->claims.token))
        judging->why = "the token is for another audience";
    else if (is_others_principal(judging, rule, judging->claims.token.principal))
        judging->why = "the token's principal would be that of another issuer";
    else if (counts_now(judging, &judging->claims))
        return jws_verify(&judging->jws, rule->keys, &judging->why) == 0;
    return false;
}

static const struct token_verified *verify(struct judging *judging, const struct token_rule *rule)
{
    struct http_field *headers =
        arena_new_array(judging->arena, struct http_field, rule->n_claim_headers);
    struct token_verified *verified = arena_new(judging->arena, struct token_verified);

    *verified = (struct token_verified){
        .claims = judging->claims,
        .payload_text = judging->jws.payload_text,
        .headers = headers,
        .n_headers = claims_headers(judging->jws.payload, rule, judging->arena, headers),
    };
    token_cache_keep(judging->room->cache, &judging->key, verified);
    return verified;
}

/* What was kept, if it still counts. */
static const struct token_verified *recall(struct judging *judging, const struct token_rule *rule)
{
    const struct token_verified *kept;

    memcpy(judging->key.rule, rule->revision, DIGEST_LEN);
    kept = token_cache_find(judging->room->cache, &judging->key);
    if (!kept || rule->is_unknown || !rule->keys || !counts_now(judging, &kept->claims) ||
        is_others_principal(judging, rule, kept->claims.token.principal))
        return NULL;
    meter_add(judging->room->meter, METRIC_TOKENS_REMEMBERED, 1);
    return token_verified_copy(kept, judging->arena);
}

/* The rule that vouches for the token; NULL with judging->why. */
static const struct token_rule *judge(struct judging *judging,
                                      const struct token_verified **out_verified)
{
    const struct token_found *found = judging->found;

    judging->why = "the token's issuer is none whose tokens are taken here";
    digest_sha256(found->text, judging->key.token);
    for (size_t i = 0; i < found->n_rules; i++) {
        *out_verified = recall(judging, found->rules[i]);
        if (*out_verified)
            return found->rules[i];
    }
    if (!read_token(judging))
        return NULL;
    for (size_t i = 0; i < found->n_rules; i++) {
        memcpy(judging->key.rule, found->rules[i]->revision, DIGEST_LEN);
        if (rule_takes(judging, found->rules[i])) {
            *out_verified = verify(judging, found->rules[i]);
            return found->rules[i];
        }
    }
    return NULL;
}

/* ---- the request ---- */

static const struct token_rule *const *rules_of(const struct token_set *set, uint16_t port,
                                                struct arena *arena, size_t *out_n)
{
    const struct token_rule **rules;
    size_t n = 0;

    for (size_t i = 0; i < set->n_layers; i++)
        n += token_layer_holds(set->layers[i], port) ? set->layers[i]->n_rules : 0;
    rules = arena_new_array(arena, const struct token_rule *, n);
    *out_n = 0;
    for (size_t i = 0; i < set->n_layers; i++)
        for (size_t k = 0; k < set->layers[i]->n_rules && token_layer_holds(set->layers[i], port);
             k++)
            rules[(*out_n)++] = &set->layers[i]->rules[k];
    return rules;
}

static struct token_answer refuse(struct token_room *room, const struct http_request *head,
                                  const char *why, struct arena *arena)
{
    const bool has_name = head->authority.len > 0 && head->authority.len <= UINT8_MAX;
    const struct str realm = has_name ? head->authority : STR("isthmus");

    meter_add(room->meter, METRIC_TOKENS_REFUSED, 1);
    return (struct token_answer){
        .err = -ERR_TOKEN_REFUSED,
        .why = why,
        .challenge =
            arena_printf(arena, "Bearer realm=\"%.*s\", error=\"invalid_token\"", STR_ARG(realm)),
    };
}

/* Nothing is written for a request without a token; but nobody else writes it either. */
static struct token_answer without_token(const struct token_search *search)
{
    return (struct token_answer){
        .fields = places_fields(search, NULL, NULL, 0),
        .path = search->head->path,
    };
}

static struct token_answer with_token(const struct token_search *search,
                                      const struct token_rule *rule,
                                      const struct token_verified *verified)
{
    const struct str *taken_out = rule->forwards ? NULL : &search->found[0].text;
    struct http_field *added =
        arena_new_array(search->arena, struct http_field, verified->n_headers + 1);
    size_t n = 0;

    for (size_t i = 0; i < verified->n_headers; i++)
        added[n++] = verified->headers[i];
    if (rule->payload_header.len > 0)
        added[n++] = (struct http_field){arena_str(search->arena, rule->payload_header),
                                         verified->payload_text};
    return (struct token_answer){
        .token = &verified->claims.token,
        .fields = places_fields(search, taken_out, added, n),
        .path = places_path(search, taken_out),
    };
}

struct token_answer token_check(struct token_room *room, const struct workload *destination,
                                uint16_t port, const struct http_request *head, uint64_t now_s,
                                struct arena *arena)
{
    const struct token_set *set = destination ? destination->tokens : NULL;
    struct token_found found[2] = {0}; /* one may be there */
    struct token_search search = {.head = head, .found = found, .max = 2, .arena = arena};
    struct judging judging = {
        .room = room, .now_s = now_s, .arena = arena, .set = set, .found = &found[0]};
    const struct token_verified *verified;

    if (!set)
        return (struct token_answer){.fields = head->fields, .path = head->path};
    if (set->missing.len > 0)
        return refuse(room, head, "a RequestAuthentication that is referred to is not there",
                      arena);
    search.rules = rules_of(set, port, arena, &search.n_rules);
    places_search(&search);
    if (search.n_found == 0)
        return without_token(&search);
    if (search.n_found > 1)
        return refuse(room, head, "the request has several tokens", arena);
    const struct token_rule *rule = judge(&judging, &verified);
    if (!rule)
        return refuse(room, head, judging.why, arena);
    meter_add(room->meter, METRIC_TOKENS_VERIFIED, 1);
    return with_token(&search, rule, verified);
}
