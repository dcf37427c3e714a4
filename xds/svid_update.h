/*
 * svid_update.h - one message of the SPIFFE Workload or Broker API: SVIDs with their keys, bundles,
 * CRLs.
 *
 * Every message is the whole truth: what is not in it was taken back. A message in which anything
 * mandatory is absent or does not fit together is refused as a whole, and what the one before said
 * stays. Unknown fields are ignored.
 *
 * Bounds: SVID_UPDATE_SVIDS_MAX SVIDs, TRUST_DOMAINS_MAX bundles, SVID_UPDATE_CRLS_MAX CRLs.
 *
 * Owner: svid_update_fini(). Thread: the control thread's. Source: SPIFFE Workload API sections 4.4
 * to 5.3, Broker API sections 4.5 to 5.3.
 */
#ifndef ISTHMUS_XDS_SVID_UPDATE_H
#define ISTHMUS_XDS_SVID_UPDATE_H

#include "certs/svid.h"

#define SVID_UPDATE_SVIDS_MAX 256
#define SVID_UPDATE_CRLS_MAX  64
#define SVID_UPDATE_MAX_BYTES ((size_t)4 << 20) /* what gRPC's implementations take, too */

struct svid_update_bundle {
    struct str trust_domain;
    struct str pem;
};

struct svid_update {
    struct arena arena;
    struct svid **svids; /* in order: the first is the default identity */
    size_t n_svids;
    struct svid_update_bundle *bundles; /* of the SVIDs' own trust domains, then federated ones */
    size_t n_bundles;
    struct str *crls; /* DER */
    size_t n_crls;
    size_t n_skipped; /* federated bundles that are none */
};

/* Reads a message and wipes the keys out of what it took to read it; bytes itself is the caller's
 * to wipe. 0, or -ERR_INVALID / -ERR_LIMIT with a sentence in *why. */
MUST_USE int svid_update_read(struct str bytes, struct svid_update *out_update, struct text *why);
/* The SVID with that SPIFFE ID, the first one for an empty id, or NULL. Borrowed. */
struct svid *svid_update_find(const struct svid_update *update, struct str id);
void svid_update_fini(struct svid_update *update);

#endif
