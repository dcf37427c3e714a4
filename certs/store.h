/*
 * store.h - SVIDs on disk, so that a node that restarts while its control plane is away has its
 * identities.
 *
 * One file each under dir/svids (name: SHA-256 of the ID; content: chain, then key, PEM; mode 0600,
 * folder 0700). Written atomically. A file that cannot be read is skipped with a log line and does
 * no harm. Bundles are kept with the control stream's state (xds/client.h).
 *
 * Thread: the control thread's.
 */
#ifndef ISTHMUS_CERTS_STORE_H
#define ISTHMUS_CERTS_STORE_H

#include "certs/svid.h"

/* 0, or a negative error, which is in the log too. */
int store_put_svid(struct str dir, const struct svid *svid);
void store_remove_svid(struct str dir, struct str id);
/* Calls each(owner, svid) for every valid, unexpired SVID; the callee takes the reference. */
void store_load_svids(struct str dir, void (*each)(void *owner, struct svid *svid), void *owner);

#endif
