/*
 * federation.h - the roots of trust domains from where those publish them: bundle endpoints of
 * SPIFFE Federation, and files; and revocation lists from files.
 *
 * An endpoint is asked at the start and then at the refresh hint of what it said last, with jitter.
 * When it cannot be reached, proves to be another, or gives no bundle, the last good one stays and
 * the next look is at the next interval. What it said last is kept on disk
 * (<stateDir>/federation/<hash of the trust domain>.json) and counts after a restart, unless the
 * configured file is newer: so an operator helps a domain back whose roots were lost.
 *
 * https_web: the server proves the host name of the URL to the system's authorities. https_spiffe:
 * it proves its SPIFFE ID, against the roots that are trusted at that moment: those of the file
 * before the first answer, then the latest. A redirect is followed when its target is a bundle
 * endpoint's URL, under the same rules, and not remembered.
 *
 * Owner: control. Thread: the loop's. Source: SPIFFE Federation sections 4 and 5.
 */
#ifndef ISTHMUS_XDS_CONTROL_FEDERATION_H
#define ISTHMUS_XDS_CONTROL_FEDERATION_H

#include "certs/anchors.h"
#include "config/bootstrap.h"
#include "proxy/io/loop.h"
#include "proxy/meter/meter.h"

struct federation;

struct federation_options {
    const struct control_config *config;
    const struct trust *const *trust; /* the owner's current one, read at each handshake */
    struct meter *meter;
    /* The roots or lists of some trust domain are others than before: never out of
     * federation_open(). */
    void (*on_change)(void *owner);
    void *owner;
};

/* Reads files and what is kept on disk. 0, or a negative enum err with file and reason in *why. */
MUST_USE int federation_open(struct loop *loop, const struct federation_options *options,
                             struct federation **out_federation, struct text *why);
void federation_close(struct federation *federation);

/* What was learnt, by trust domain. */
const struct trust *federation_trust(const struct federation *federation);

struct federation_status { /* for ctl; borrowed until the loop's next turn */
    const struct trust_bundle_config *config;
    struct str last_error; /* "" when the last look was good */
    int64_t fetched_ns;    /* the last good one; 0: never in this process */
    bool has_sequence;
    uint64_t sequence;
    unsigned hint_s;
};

bool federation_next(const struct federation *federation, size_t *idx,
                     struct federation_status *out_status);

#endif
