/*
 * jwks.h - a trust bundle as it travels between trust domains: a JSON Web Key Set.
 *
 * Reading takes the X.509 authorities and leaves the rest: of every key whose use is "x509-svid"
 * the first certificate of x5c; keys of other uses and unknown kinds, and parameters that nobody
 * here knows, are passed over as the standard asks. What is left must be roots that
 * bundle_check() takes, or the whole set is refused: half a bundle would be trusted less than its
 * owner meant, silently.
 *
 * Bounds: JWKS_MAX_BYTES, JWKS_DEPTH_MAX levels, BUNDLE_ROOTS_MAX roots; a name twice in one object
 * and bytes that are not UTF-8 are refused.
 *
 * Source: SPIFFE Trust Domain and Bundle, sections 4 to 6; X.509-SVID section 6; RFC 7517.
 * Thread: any. Errors: -ERR_INVALID or -ERR_LIMIT with the place and the reason appended to *why.
 */
#ifndef ISTHMUS_CERTS_JWKS_H
#define ISTHMUS_CERTS_JWKS_H

#include "proxy/base/text.h"

#define JWKS_MAX_BYTES         ((size_t)1024 * 1024)
#define JWKS_DEPTH_MAX         16
#define JWKS_HINT_DEFAULT_S    300   /* section 4.1.2: what a client does without a hint */
#define JWKS_HINT_MIN_S        10    /* no domain makes us poll faster, */
#define JWKS_HINT_MAX_S        86400 /* and none keeps a withdrawn root in use for more than a day */
#define JWKS_TRUST_DOMAINS_MAX 1024

struct jwks {
    struct text pem; /* the roots in order, as bundle.h takes them; empty: nobody is trusted */
    size_t n_roots;
    bool has_sequence;
    uint64_t sequence; /* up to 2^63-1 */
    unsigned hint_s;   /* until the next look: default or clamped */
};

/* Reads one bundle. On success *out_jwks is to be freed with jwks_fini(). A set without X.509
 * authorities is a bundle too: it says that no certificate of the domain is to be trusted. */
MUST_USE int jwks_parse(struct str json, struct jwks *out_jwks, struct text *why);
void jwks_fini(struct jwks *jwks);
/* True when both carry a sequence and that of next is the lower one: it must not replace held. */
bool jwks_is_older(const struct jwks *next, const struct jwks *held);

/* Reads a bundle map, {"trust_domains": {"<name>": <bundle>, ...}}, and calls each(owner, trust
 * domain, bundle) once for every domain, in no order, after all of them were found good. The
 * bundles are borrowed for the call; their hints mean nothing there. */
MUST_USE int jwks_map_parse(struct str json,
                            void (*each)(void *owner, struct str trust_domain,
                                         const struct jwks *jwks),
                            void *owner, struct text *why);

/* Appends the roots (as bundle_check() takes them; empty: none) as a bundle: one key a root, each
 * with its one certificate and no kid. hint_s is not clamped. */
MUST_USE int jwks_write(struct str pem, uint64_t sequence, unsigned hint_s, struct text *out_json,
                        struct text *why);

#endif
