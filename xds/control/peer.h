/*
 * peer.h - the control process of one other cluster: the stream on which it tells what it exports,
 * its lease, its roots.
 *
 * Lease: as long as the stream is down, what the peer exported stays for peerLease; then it is
 * expired, which means that its services keep their names and addresses but have no endpoints
 * there. It is back with the stream. What was held last is kept on disk
 * (<stateDir>/peers/<name>.state) and counts for one lease after a start, so that nodes do not lose
 * the peer's endpoints because their own control process restarted.
 *
 * Roots: from the configured file, read before every dial, until the peer sent them over the
 * stream; those are kept on disk (<stateDir>/bundles/<name>.pem) and used from then on. A
 * configured file that has changed since is newer than what the peer said and wins: that is how an
 * operator helps a peer back that lost its roots.
 *
 * Failure modes: the file is missing (not fatal, told in the status; read again at the next dial);
 * the disk is full (logged, memory holds); roots that are none (refused, the old ones stay).
 *
 * Owner: control. Thread: the loop's.
 */
#ifndef ISTHMUS_XDS_CONTROL_PEER_H
#define ISTHMUS_XDS_CONTROL_PEER_H

#include "proxy/meter/meter.h"
#include "xds/client.h"
#include "xds/control/registry.h"

struct peer;

struct peer_events {
    void (*on_change)(void *owner, struct peer *peer); /* what it exports, or its lease */
    /* Its roots or its revocation lists: the owner makes its trust anew before it returns. */
    void (*on_trust)(void *owner);
    struct tls_identity *(*identity)(void *owner);
};

struct peer_options {
    const struct control_config *config;
    const struct peer_config *peer;
    struct meter *meter;
    const struct trust *const *trust; /* the owner's current one */
};

/* Options and events are borrowed for the peer's life. */
struct peer *peer_open(struct loop *loop, const struct peer_options *options,
                       const struct peer_events *events, void *owner);
void peer_close(struct peer *peer);

/* Its roots, "" when none are known. */
struct str peer_roots(const struct peer *peer);
/* Its SPIFFE ID. */
struct str peer_id(const struct peer *peer);
/* Its revocation lists as it sent them last, in DER; borrowed until the loop's next turn. */
struct str peer_crls(const struct peer *peer);
/* The stream to it ends, and is made anew, when this trust does not bear it. */
void peer_recheck(struct peer *peer, const struct trust *trust);
/* What it exports, as registry_build() takes it; the array is in the arena, the rest borrowed until
 * the loop's next turn. */
struct registry_peer peer_exports(const struct peer *peer, struct arena *arena);

/* From here on it is noted which of its workloads change. */
void peer_mark(struct peer *peer);
/* Those that did, as registry_patch_peer() takes them; borrowed as the exports are. False when
 * something else changed too, its lease ran out or has not begun anew, or too many did. */
bool peer_changes(const struct peer *peer, struct arena *arena,
                  const struct registry_peer_change **out_changes, size_t *out_n);

struct peer_status {
    const struct peer_config *config;
    bool is_connected, is_expired, has_roots;
    bool roots_from_stream;
    int64_t changed_ns;    /* since when it is connected, or not */
    struct str last_error; /* "" when none */
};

void peer_status(const struct peer *peer, struct peer_status *out_status);

#endif
