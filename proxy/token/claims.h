/*
 * claims.h - what a token's payload says, in the form in which policies ask for it.
 *
 * Strict: one JSON object, no name twice, CLAIMS_DEPTH_MAX levels, CLAIMS_MAX claims with
 * CLAIM_VALUES_MAX values in all. iss, sub, azp are strings, aud a string or an array of strings,
 * exp and nbf numbers, or the token is malformed.
 *
 * Claims of strings and of arrays with strings are kept, those in objects under the names on the
 * way; scope and permission are lists separated by blanks. Other values are no claims that a policy
 * can ask for; a header can have integers and booleans too.
 *
 * Owner: everything lives in the arena. Thread: any. Units: seconds since 1970, rounded up.
 * Source: RFC 7519 section 4.1; Istio (claims, spaceDelimitedClaims, outputClaimToHeaders).
 */
#ifndef ISTHMUS_TOKEN_CLAIMS_H
#define ISTHMUS_TOKEN_CLAIMS_H

#include "config/policy.h"
#include "proxy/base/err.h"
#include "proxy/http/message.h"

#define CLAIMS_DEPTH_MAX 8
#define CLAIMS_MAX       256
#define CLAIM_VALUES_MAX 512

struct claims {
    struct str issuer; /* "" when it has none, as subject */
    struct policy_token token;
    bool expires;
    int64_t expires_s;    /* the first second in which it counts no more */
    int64_t not_before_s; /* the first in which it does; 0 when it does not say */
};

/* -ERR_INVALID with a static sentence. */
MUST_USE int claims_read(struct str payload, struct arena *arena, struct claims *out_claims,
                         const char **out_why);

/* The headers that the rule makes of claims; a claim that is not there, or is no value for a
 * header, makes none. The payload must be one that claims_read() took. out: of n_claim_headers. */
size_t claims_headers(struct str payload, const struct token_rule *rule, struct arena *arena,
                      struct http_field *out);

#endif
