/*
 * Any bytes as a bundle in JSON and as a map of bundles: what is accepted can be published and read
 * back as the same roots, and is within its bounds.
 */
#include <openssl/err.h>

#include "certs/bundle.h"
#include "certs/jwks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct jwks *jwks)
{
    struct text json = {0}, why = {0};
    struct jwks back = {0};

    ensure(jwks->n_roots <= BUNDLE_ROOTS_MAX && (jwks->n_roots > 0) == (jwks->pem.len > 0));
    ensure(jwks->hint_s >= JWKS_HINT_MIN_S && jwks->hint_s <= JWKS_HINT_MAX_S);
    ensure(jwks->n_roots == 0 || bundle_check(text_str(&jwks->pem), &why) == 0);
    /* A root may have a key of a kind that we do not publish. */
    if (jwks_write(text_str(&jwks->pem), jwks->sequence, jwks->hint_s, &json, &why) == 0) {
        ensure(jwks_parse(text_str(&json), &back, &why) == 0);
        ensure(str_eq(text_str(&back.pem), text_str(&jwks->pem)));
        ensure(back.sequence == jwks->sequence && back.hint_s == jwks->hint_s);
        jwks_fini(&back);
    }
    text_fini(&json);
    text_fini(&why);
}

static void see(void *owner, struct str trust_domain, const struct jwks *jwks)
{
    (void)owner;
    ensure(spiffe_check_trust_domain(trust_domain) == 0);
    check(jwks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_of(data, size);
    struct text why = {0};
    struct jwks jwks;

    if (jwks_parse(text, &jwks, &why) == 0) {
        check(&jwks);
        jwks_fini(&jwks);
    } else {
        ensure(why.len > 0);
    }
    text_clear(&why);
    (void)!jwks_map_parse(text, see, NULL, &why);
    text_fini(&why);
    ensure(ERR_peek_error() == 0);
    return 0;
}
