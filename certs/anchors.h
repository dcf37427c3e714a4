/*
 * anchors.h - who says which roots: several sources for a trust domain, one trust map.
 *
 * The control stream, the Workload API, files and federation endpoints each speak for themselves: a
 * source replaces and takes back its own word and nobody else's. What is trusted for a domain is
 * what any of its sources says, so that roots overlap while one source is ahead of another; domains
 * are never mixed.
 *
 * Owner: the control thread. Thread: its own; the trust that comes out is immutable.
 */
#ifndef ISTHMUS_CERTS_ANCHORS_H
#define ISTHMUS_CERTS_ANCHORS_H

#include "certs/bundle.h"

struct anchors;

struct anchors *anchors_new(void);
void anchors_free(struct anchors *anchors);

/* What a source says of a domain from now on; an empty pem takes it back. 0, or -ERR_INVALID /
 * -ERR_LIMIT with the reason in *why, and what it said before stays. */
MUST_USE int anchors_set(struct anchors *anchors, const char *source, struct str trust_domain,
                         struct str pem, struct text *why);
/* The source's revocation lists for a domain (DER or PEM as crl.h reads them); empty: none. */
MUST_USE int anchors_set_crls(struct anchors *anchors, const char *source, struct str trust_domain,
                              struct str crls, struct text *why);
/* Takes back everything that the source says of other domains than these. */
void anchors_keep(struct anchors *anchors, const char *source, const struct str *trust_domains,
                  size_t n);
/* Canonical roots as this source gave them, "" when it said nothing. */
struct str anchors_find(const struct anchors *anchors, const char *source, struct str trust_domain);

/* The current trust, borrowed. */
struct trust *anchors_current(const struct anchors *anchors);
/* The place of the current trust; the pointer in it changes when a call above changed anything. */
const struct trust *const *anchors_trust(const struct anchors *anchors);

#endif
