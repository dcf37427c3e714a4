/*
 * inside.h - a control process from within: its parts, shared by control.c and what reports on
 * them.
 */
#ifndef ISTHMUS_XDS_CONTROL_INSIDE_H
#define ISTHMUS_XDS_CONTROL_INSIDE_H

#include "certs/ca.h"
#include "certs/crl_watch.h"
#include "proxy/io/process.h"
#include "xds/control/control.h"
#include "xds/control/drills.h"
#include "xds/control/federation.h"
#include "xds/control/own_identity.h"
#include "xds/control/peer.h"
#include "xds/control/token_keys.h"
#include "xds/control/vips.h"
#include "xds/server.h"

struct node_row { /* a node with a stream; the ID is behind it */
    struct str id;
    unsigned n_streams;
    uint64_t n_nacks; /* responses it refused, since it is connected */
    struct addr remote;
    int64_t since_ns;
};

struct control {
    struct loop *loop;
    const struct control_config *config;
    struct meter *meter;
    struct ca *ca;
    struct own_identity *identity;
    struct federation *federation;
    struct token_keys *token_keys;
    struct trust *trust; /* our own roots and the peers' */
    const struct trust *trust_view;
    struct arena bundles_arena;
    struct model_bundle *bundles; /* the same, as the nodes are told */
    size_t n_bundles;
    struct crl_watch *crl_watch;
    struct manifests_cache *manifests_cache;
    struct manifests *manifests;
    struct text manifests_error; /* why the last reading was refused, "" when it was not */
    uint64_t n_loaded, n_refused;
    uint64_t fingerprint;   /* of the folder when it was read last */
    uint64_t told_findings; /* the hash of what was logged last */
    int64_t loaded_ns;
    struct folder_watch *watch;
    struct vips *vips;
    struct registry *registry;
    struct drills *drills;
    struct resource_set *nodes_set, *peers_set;
    struct xds_server *server;
    struct peer **peers;
    struct peer_options *peer_options;
    uint64_t *told_refusals; /* of each peer: the hash of what was logged last */
    size_t n_peers;
    size_t told_strays;
    struct map nodes; /* SPIFFE ID -> struct node_row */
    struct timer rebuild, retry;
    uint64_t rebuild_took_ns; /* the last one */
};

/* roots.c: the trust map, and bundles for the nodes, out of our own roots, the peers' and those of
 * federation, with revocation lists. Several peers may share a trust domain, with each other or
 * with us; it has all their roots then. Made anew when any of them changed. */
void control_rebuild_trust(struct control *control);
/* What peers are told of our own trust domain: our roots, and those that trustBundles has for it.
 * In the arena. */
struct str control_own_roots(const struct control *control, struct arena *arena);
/* And the lists that trustBundles has for it; borrowed until the trust is made anew. */
struct str control_own_crls(const struct control *control);

#endif
