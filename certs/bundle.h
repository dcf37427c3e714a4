/*
 * bundle.h - trust: a map from trust domain to the roots of that domain, never one pool of roots;
 * and beside it the domain's revocation lists.
 *
 * A struct trust is one immutable generation of the map; a change makes a new one (trust_with(),
 * trust_with_crls()). Lists and roots come from different sources at different times, so neither
 * waits for the other: lists of a domain without roots are kept, and a change of roots keeps them.
 * Both are counted with atomics inside OpenSSL's objects only: struct trust itself belongs to
 * whoever published it (see svid.h's Thread line).
 *
 * Source: SPIFFE Trust Domain and Bundle, sections 3 and 4.
 * Owner:  trust_ref()/trust_unref() by the control thread; workers read a published one.
 */
#ifndef ISTHMUS_CERTS_BUNDLE_H
#define ISTHMUS_CERTS_BUNDLE_H

#include <openssl/x509.h>

#include "certs/spiffe.h"
#include "proxy/base/map.h"
#include "proxy/base/text.h"

#define BUNDLE_ROOTS_MAX  32
#define TRUST_DOMAINS_MAX 1024

struct bundle {
    struct str trust_domain;
    X509_STORE *store; /* exactly the roots below */
    STACK_OF(X509) * roots;
    struct str pem;       /* the roots as PEM, in order, as it travels and is stored */
    int64_t not_after_ns; /* of the root that lives longest */
};

struct revocations {
    struct str trust_domain;
    STACK_OF(X509_CRL) * crls;
    struct str der; /* the lists as they came in DER, one behind the other */
};

struct trust {
    unsigned refs;
    uint64_t generation; /* no two are equal in one process */
    struct arena arena;
    struct map bundles;     /* trust domain -> struct bundle */
    struct map revocations; /* trust domain -> struct revocations */
};

/* Checks that pem holds 1 to BUNDLE_ROOTS_MAX CA certificates (CA:true, keyCertSign, no SPIFFE
 * path) and nothing else. 0 or -ERR_INVALID with the reason in *why. */
MUST_USE int bundle_check(struct str pem, struct text *why);

/* The same check of DER certificates one behind the other; appends them as PEM. */
MUST_USE int bundle_pem_from_der(struct str der, struct text *out_pem, struct text *why);

struct trust *trust_new(void);
struct trust *trust_ref(struct trust *trust);
void trust_unref(struct trust *trust);
/* A new generation: as trust, with the domain's roots replaced (pem not empty) or the domain
 * removed (pem empty). 0, or -ERR_INVALID / -ERR_LIMIT with the reason in *why and nothing changed.
 */
MUST_USE int trust_with(const struct trust *trust, struct str trust_domain, struct str pem,
                        struct trust **out_trust, struct text *why);
/* The same for the domain's revocation lists, in DER or PEM as crl.h reads them (empty: none). The
 * lists in force stay if the new ones are refused. */
MUST_USE int trust_with_crls(const struct trust *trust, struct str trust_domain, struct str crls,
                             struct trust **out_trust, struct text *why);
/* The revocation lists of a trust domain, or NULL. */
const struct revocations *trust_find_crls(const struct trust *trust, struct str trust_domain);
/* The bundle of a trust domain, or NULL. */
const struct bundle *trust_find(const struct trust *trust, struct str trust_domain);
size_t bundle_n_roots(const struct bundle *bundle);

#endif
