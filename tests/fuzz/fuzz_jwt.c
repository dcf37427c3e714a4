/*
 * Any bytes as a token, as a key set, and as the payload of a token that is signed well: what is
 * accepted was signed by the known key, its claims are within their bounds, and what goes on has
 * the token in it no more. data[0] says which:
 *   0  the rest is a token, verified by a known Ed25519 key
 *   1  the rest is a key set, read and written again
 *   2  the rest is a payload; a token is signed around it (the branch that accepts)
 *   3  the rest is a header; as 2
 *   4  the rest is the query of a request
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "certs/jws.h"
#include "proxy/http/strict.h"
#include "proxy/token/token.h"
#include "tests/kit/jwt_kit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct world {
    struct arena arena;
    struct jwt_key key;
    struct token_rule rule;
    struct token_layer layer;
    const struct token_layer *layers[1];
    struct token_set set;
    struct workload workload;
    struct token_room *room;
} world;

static const struct token_claim_header headers[] = {{{"x-sub", 5}, {"sub", 3}},
                                                    {{"x-b", 3}, {"a.b", 3}}};

/* The same in every run, so that a token in the corpus stays good. */
static void begin(void)
{
    static const unsigned char seed[32] = "isthmus fuzz: a key of no secret";
    struct text why = {0};
    struct jwk_set *keys;

    world.key = (struct jwt_key){
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed)), "k", "EdDSA"};
    ensure(jwk_set_parse(jwt_key_set(&world.key, 1, "", &world.arena), &keys, &why) == 0);
    world.rule = (struct token_rule){.issuer = STR("i"),
                                     .keys = keys,
                                     .revision = {1},
                                     .payload_header = STR("x-payload"),
                                     .claim_headers = headers,
                                     .n_claim_headers = 2};
    world.rule.places = token_default_places(&world.rule.n_places);
    world.layer = (struct token_layer){.rules = &world.rule, .n_rules = 1};
    world.layers[0] = &world.layer;
    world.set = (struct token_set){.layers = world.layers, .n_layers = 1};
    world.workload.tokens = &world.set;
    world.room = token_room_new(meter_new());
}

static void check_token(const struct token_answer *answer)
{
    const struct policy_token *token = answer->token;

    ensure((answer->err == 0) == (answer->why == NULL));
    if (!token)
        return;
    ensure(token->principal.len == 0 || str_starts_with(token->principal, STR("i/")));
    for (size_t i = 0; i < token->n_claims; i++)
        ensure(token->claims[i].n_values > 0);
    for (size_t i = 0; i < answer->fields.len; i++)
        ensure(strict_is_value(answer->fields.at[i].value));
    ensure(http_find(&answer->fields, "x-payload").len > 0);
    ensure(http_find(&answer->fields, "authorization").len == 0);
}

static void ask(struct str token, struct str path)
{
    struct arena turn = {0};
    struct http_field fields[] = {
        {STR("authorization"), arena_printf(&turn, "Bearer %.*s", STR_ARG(token))},
        {STR("x_sub"), STR("root")}};
    const struct http_request head = {
        .method = STR("GET"),
        .authority = STR("a"),
        .path = path,
        .fields = {token.ptr ? fields : fields + 1, token.ptr ? 2 : 1}};
    struct token_answer first = token_check(world.room, &world.workload, 80, &head, 1000, &turn);
    struct token_answer again = token_check(world.room, &world.workload, 80, &head, 1000, &turn);

    check_token(&first);
    check_token(&again);
    ensure(first.err == again.err && !first.token == !again.token);
    ensure(first.err || http_find(&first.fields, "x_sub").len == 0);
    ensure(!first.token || str_eq(first.token->principal, again.token->principal));
    arena_fini(&turn);
}

static void read_keys(struct str json)
{
    struct text why = {0}, once = {0}, twice = {0};
    struct jwk_set *set;

    if (jwk_set_parse(json, &set, &why) == 0) {
        size_t n, n_again;

        (void)jwk_set_keys(set, &n);
        ensure(n > 0 && n <= JWK_SET_KEYS_MAX);
        jwk_set_free(set);
        ensure(jwk_set_normalize(json, &once, &why) == 0);
        ensure(jwk_set_normalize(text_str(&once), &twice, &why) == 0);
        ensure(str_eq(text_str(&once), text_str(&twice)));
        ensure(jwk_set_parse(text_str(&once), &set, &why) == 0);
        (void)jwk_set_keys(set, &n_again);
        ensure(n == n_again);
        jwk_set_free(set);
    } else {
        ensure(why.len > 0);
    }
    text_fini(&why);
    text_fini(&once);
    text_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct str rest;

    if (!world.room)
        begin();
    if (size == 0)
        return 0;
    rest = arena_str(&arena, str_of(data + 1, size - 1));
    switch (data[0] % 5) {
    case 0: ask(rest, STR("/")); break;
    case 1: read_keys(rest); break;
    case 2: ask(jwt_sign(&world.key, NULL, rest.ptr, &arena), STR("/")); break;
    case 3: ask(jwt_sign(&world.key, rest.ptr, "{\"iss\":\"i\"}", &arena), STR("/")); break;
    default: ask((struct str){0}, arena_printf(&arena, "/?%.*s", STR_ARG(rest)));
    }
    arena_fini(&arena);
    ensure(ERR_peek_error() == 0);
    return 0;
}
