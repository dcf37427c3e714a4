/*
 * store.h - SVIDs and bundles on disk, so that a node that restarts while its control plane is away has its identities.
 *
 * One file an SVID under dir/svids (name: xxHash of the ID; content: chain, then key, PEM; mode 0600, folder 0700), one
 * file a bundle under dir/bundles (name: the hash of the trust domain; first line "# td"). Written atomically. A file that
 * cannot be read is skipped with a log line and does no harm.
 *
 * Thread: the control thread's.
 */
#ifndef ISTHMUS_CERTS_STORE_H
#define ISTHMUS_CERTS_STORE_H

#include "certs/bundle.h"
#include "certs/svid.h"

MUST_USE int store_put_svid(struct str dir, const struct svid *svid);
void store_remove_svid(struct str dir, struct str id);
/* Calls each(owner, svid) for every valid, unexpired SVID; the callee takes the reference. */
void store_load_svids(struct str dir, void (*each)(void *owner, struct svid *svid), void *owner);

MUST_USE int store_put_bundle(struct str dir, const struct bundle *bundle);
void store_remove_bundle(struct str dir, struct str trust_domain);
void store_load_bundles(struct str dir,
                        void (*each)(void *owner, struct str trust_domain, struct str pem),
                        void *owner);

#endif
