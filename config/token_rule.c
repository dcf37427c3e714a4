#include "config/token_rule.h"

#include <string.h>

#include "proxy/base/text.h"

const struct token_place *token_default_places(size_t *out_n)
{
    static const struct token_place places[] = {
        {TOKEN_IN_HEADER, {"authorization", 13}, {"Bearer ", 7}},
        {TOKEN_IN_PARAM, {"access_token", 12}, {0}},
    };

    *out_n = ARRAY_LEN(places);
    return places;
}

struct token_rule token_rule_copy(const struct token_rule *rule, struct arena *arena)
{
    struct token_rule copy = *rule;
    struct str *audiences = arena_new_array(arena, struct str, rule->n_audiences);
    struct token_place *places = arena_new_array(arena, struct token_place, rule->n_places);
    struct token_claim_header *headers =
        arena_new_array(arena, struct token_claim_header, rule->n_claim_headers);

    for (size_t i = 0; i < rule->n_audiences; i++)
        audiences[i] = arena_str(arena, rule->audiences[i]);
    for (size_t i = 0; i < rule->n_places; i++)
        places[i] =
            (struct token_place){rule->places[i].kind, arena_str(arena, rule->places[i].name),
                                 arena_str(arena, rule->places[i].prefix)};
    for (size_t i = 0; i < rule->n_claim_headers; i++)
        headers[i] = (struct token_claim_header){arena_str(arena, rule->claim_headers[i].header),
                                                 arena_str(arena, rule->claim_headers[i].claim)};
    copy.issuer = arena_str(arena, rule->issuer);
    copy.audiences = audiences;
    copy.jwks = arena_str(arena, rule->jwks);
    copy.places = places;
    copy.payload_header = arena_str(arena, rule->payload_header);
    copy.claim_headers = headers;
    copy.keys = NULL;
    memset(copy.revision, 0, sizeof(copy.revision));
    return copy;
}

bool token_layer_holds(const struct token_layer *layer, uint16_t port)
{
    for (size_t i = 0; i < layer->n_ports; i++)
        if (layer->ports[i] == port)
            return true;
    return layer->ports == NULL;
}

bool token_set_asks(const struct token_set *set, uint16_t port)
{
    for (size_t i = 0; set && i < set->n_layers; i++)
        if (set->layers[i]->n_rules > 0 && token_layer_holds(set->layers[i], port))
            return true;
    return set && !str_is_empty(set->missing);
}

/* With its length before it, so that no two lists are written alike. */
static void add(struct text *all, struct str part)
{
    text_addf(all, "%zu:", part.len);
    text_add(all, part);
}

void token_rule_digest(const struct token_rule *rule, unsigned char out[DIGEST_LEN])
{
    struct text all = {0};

    add(&all, rule->issuer);
    add(&all, rule->jwks);
    add(&all, rule->payload_header);
    text_addf(&all, "%d%d a%zu", rule->forwards, rule->is_unknown, rule->n_audiences);
    for (size_t i = 0; i < rule->n_audiences; i++)
        add(&all, rule->audiences[i]);
    text_addf(&all, " p%zu", rule->n_places);
    for (size_t i = 0; i < rule->n_places; i++) {
        text_addf(&all, "%d", (int)rule->places[i].kind);
        add(&all, rule->places[i].name);
        add(&all, rule->places[i].prefix);
    }
    text_addf(&all, " c%zu", rule->n_claim_headers);
    for (size_t i = 0; i < rule->n_claim_headers; i++) {
        add(&all, rule->claim_headers[i].header);
        add(&all, rule->claim_headers[i].claim);
    }
    digest_sha256(text_str(&all), out);
    text_fini(&all);
}
