/*
 * token_rule.h - which JSON Web Tokens a workload takes: the rules of RequestAuthentications, as
 * they travel and as they are asked.
 *
 * A rule says whose tokens (issuer), for whom (audiences), by which keys (a JSON Web Key Set of
 * public keys, inline), where in a request they stand, and what of a good one the workload is told.
 * The keys of a jwksUri were fetched by the control process; "" means that none have come yet. A
 * rule that was not understood whole (is_unknown), or that has no keys, takes no token: it still
 * says where tokens stand, and those are refused.
 *
 * Owner: the arena of whoever made it. Thread: any; immutable.
 * Source: Istio security/v1 JWTRule.
 */
#ifndef ISTHMUS_CONFIG_TOKEN_RULE_H
#define ISTHMUS_CONFIG_TOKEN_RULE_H

#include "certs/digest.h"
#include "proxy/base/arena.h"

#define TOKEN_RULES_MAX         16 /* of one RequestAuthentication */
#define TOKEN_AUDIENCES_MAX     64 /* of one rule, as the rest: */
#define TOKEN_PLACES_MAX        16
#define TOKEN_CLAIM_HEADERS_MAX 32
#define TOKEN_WORD_MAX          1024 /* bytes of an issuer or audience */
#define TOKEN_NAME_MAX          256  /* of a header, parameter, cookie, prefix, claim */
#define TOKEN_KEYS_TEXT_MAX     ((size_t)40 * 1024) /* of the keys as they travel */

enum token_place_kind { TOKEN_IN_HEADER, TOKEN_IN_PARAM, TOKEN_IN_COOKIE, TOKEN_PLACE_KINDS };

struct token_place {
    enum token_place_kind kind;
    struct str name;   /* of a header in lower case */
    struct str prefix; /* of a header's value, "Bearer "; "" none */
};

struct token_claim_header {
    struct str header; /* in lower case */
    struct str claim;  /* its name, or those that lead to it with dots between them */
};

struct jwk_set; /* certs/jwk.h */

struct token_rule {
    struct str issuer;
    const struct str *audiences; /* one of them must be among the token's; none: any */
    size_t n_audiences;
    struct str jwks; /* "": none have come yet */
    const struct token_place *places;
    size_t n_places;
    bool forwards;             /* the token goes on to the workload */
    struct str payload_header; /* gets the token's payload as it stands in it; "" none */
    const struct token_claim_header *claim_headers;
    size_t n_claim_headers;
    bool is_unknown;
    /* Compiled, of a snapshot: */
    const struct jwk_set *keys;         /* NULL: none, or none of use */
    unsigned char revision[DIGEST_LEN]; /* of all the rule; equal ones judge a token alike */
};

/* Where a token stands when a rule names no place: "Authorization: Bearer", and the query's
 * access_token. */
const struct token_place *token_default_places(size_t *out_n);
/* A copy in the arena, without what is compiled. */
struct token_rule token_rule_copy(const struct token_rule *rule, struct arena *arena);
/* SHA-256 of everything the rule says: who writes one rule must not be able to make it look like
 * somebody else's. */
void token_rule_digest(const struct token_rule *rule, unsigned char out[DIGEST_LEN]);

/* Rules of one RequestAuthentication at a workload. */
struct token_layer {
    const struct token_rule *rules;
    size_t n_rules;
    const uint16_t *ports; /* of the workload: they hold on these only, sorted; NULL: on all */
    size_t n_ports;
};

struct token_set { /* all that apply to a workload */
    const struct token_layer *const *layers;
    size_t n_layers;
    struct str missing; /* a RequestAuthentication that the workload refers to and that is not
                           there: every request is refused; "" when none */
};

bool token_layer_holds(const struct token_layer *layer, uint16_t port);
/* Is there something to be said of the tokens of requests to that port? set may be NULL. */
bool token_set_asks(const struct token_set *set, uint16_t port);

#endif
