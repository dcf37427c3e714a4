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
#include "xds/kubernetes/source.h"
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
    struct kube_source *source; /* where objects come from; NULL: from a folder */
    bool is_known;              /* what there is of objects, for the first time */
    struct timer follow;        /* what is new of the source is taken over soon */
    struct manifests_cache *manifests_cache;
    struct manifests *manifests;
    struct text manifests_error; /* why the last reading was refused, "" when it was not */
    uint64_t n_loaded, n_refused;
    uint64_t fingerprint;     /* of the folder when it was read last */
    uint64_t told_findings;   /* the hash of what was logged last */
    uint64_t told_of_changes; /* the same, of readings that were only of what changed */
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
    bool is_stale;                        /* more changed than peers' workloads */
    uint64_t rebuild_took_ns, rebuilt_ns; /* the last one; when it was done */
};

/* rebuild.c: a registry of nothing, as long as nothing is known. */
void control_begin_empty(struct control *control);
/* Everything anew, now; nothing as long as nothing is known. */
void control_rebuild(struct control *control);
/* For how long changes are gathered. */
uint64_t control_settle_ns(const struct control *control);
/* The same soon, with what changes until then; owner is the control. */
void control_rebuild_soon(void *owner);
/* Something of what peers export has changed, or a lease. */
void control_follow_peers(struct control *control);
/* What changed in the manifests, at the cost of what changed; all anew where it reaches further. */
void control_patch(struct control *control, const struct manifests_changes *changes);

/* reading.c, of the folder of manifests or of the API server: has the folder changed since it was
 * last asked? */
bool control_has_news(struct control *control);
/* All of it. NULL when it is wrong, with the reason in *out_error for one line. */
struct manifests *control_read_manifests(struct control *control, struct text *out_error);
/* What is new since the last good reading; manifests_error says what is wrong. */
enum manifests_news control_read_news(struct control *control,
                                      struct manifests_changes *out_changes,
                                      struct manifests **out_whole);

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
