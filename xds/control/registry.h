/*
 * registry.h - what the manifests of this cluster and the exports of its peers come to: one
 * immutable generation of resources for the nodes, resources for the peers, and who may have which
 * certificate.
 *
 * What changes most, pods and EndpointSlices, need not be derived with all the rest:
 * registry_patch() takes them into the registry as it is, at the cost of what they touch, and tells
 * which resources that makes others of. What it comes to is what registry_build() would.
 *
 * Pure: no I/O, no clock. registry_build() derives everything but the ClusterSetIPs; the caller has
 * those assigned to registry->imports (vips.h) and then calls registry_emit(), which lays out the
 * two lists of resources.
 *
 * A peer speaks for itself only. What it sends is taken over after its cluster and trust domain
 * were forced or checked; workloads may serve nothing but the clusterset services that the same
 * peer exports; an address that is ours or another peer's is refused. What was refused is counted
 * and told in the peer's row.
 *
 * Owner: registry_free(). Manifests are borrowed for the registry's life, the peers' resources for
 * the call only. Thread: one. Source: KEP-1645 for exports, imports and their conflicts.
 */
#ifndef ISTHMUS_XDS_CONTROL_REGISTRY_H
#define ISTHMUS_XDS_CONTROL_REGISTRY_H

#include "config/bootstrap.h"
#include "config/manifests.h"
#include "proxy/base/map.h"

#define CLUSTERSET_DOMAIN "svc.clusterset.local"
#define PEER_SERVICES_MAX 20000 /* that one peer may export to us; further ones are refused */

struct registry_peer { /* what one peer exports, as last received */
    struct str cluster, trust_domain;
    const struct model_resource *const *resources;
    size_t n_resources;
    bool is_expired; /* its lease ran out: its services stay known, without its endpoints */
};

struct registry_drill { /* a cluster taken out of a service for a while; drills.h */
    struct str service; /* "<namespace>/<hostname>" */
    struct str cluster;
    uint64_t id, length_ns;
};

struct registry_keys {    /* of an issuer of tokens, as they are published there */
    struct str uri, jwks; /* jwks "": none have come yet */
};

struct registry_input {
    const struct control_config *config;
    const struct manifests *manifests;
    const struct registry_peer *peers;
    size_t n_peers;
    const struct registry_drill *drills;
    size_t n_drills;
    const struct registry_keys *keys;
    size_t n_keys;
    const struct model_bundle *bundles; /* of every trust domain, for the nodes */
    size_t n_bundles;
    struct str own_roots_pem, own_crls; /* for the peers */
};

enum export_validity { EXPORT_VALID, EXPORT_NO_SERVICE, EXPORT_INVALID_TYPE };

#define CONFLICT_PORT            1U
#define CONFLICT_TYPE            2U
#define CONFLICT_AFFINITY        4U
#define CONFLICT_AFFINITY_CONFIG 8U
#define CONFLICT_INTERNAL        16U
#define CONFLICT_DISTRIBUTION    32U

struct registry_export { /* a ServiceExport of this cluster */
    struct str namespace_, name;
    enum export_validity validity;
    unsigned conflicts; /* of the service with its namesakes in other clusters */
};

struct registry_import { /* a clusterset service as this cluster sees it */
    struct str key;      /* "<namespace>/<name>" */
    struct model_service service;
    const struct str *clusters; /* that export it, the oldest export first */
    size_t n_clusters;
    unsigned conflicts;
    struct service_words words; /* of the oldest export; of a ServiceImport manifest where it says
                                   some */
    struct ip wanted[CLUSTERSET_RANGES_MAX]; /* what a ServiceImport manifest asks for */
    size_t n_wanted;
    struct str
        problem; /* why an address is missing, "" when none is; set by whoever assigns them */
};

struct registry_peer_row { /* what became of a peer's resources */
    size_t n_services, n_workloads, n_refused;
    struct str refusal; /* the first, as a sentence */
};

struct registry {
    struct arena arena;
    struct registry_export *exports; /* sorted by namespace and name */
    size_t n_exports;
    struct registry_import *imports; /* sorted by key */
    size_t n_imports;
    struct registry_peer_row *peers; /* as the input's */
    size_t n_peers;
    size_t n_pods, n_services, n_policies; /* of this cluster, that became resources */
    size_t n_stray_endpoints;              /* of EndpointSlices, without a pod in the manifests */
    struct map nodes;                      /* name -> struct k8s_node */
    struct map placements; /* "<node>/<namespace>/<service account>" -> how many pods */
    struct model_resource *own, *shared; /* this cluster's, for the nodes and for the peers, but
                                            for workloads */
    size_t n_own, n_shared;
    const struct model_resource **for_nodes; /* registry_emit(): all; on the heap */
    size_t n_for_nodes;
    const struct model_resource **for_peers;
    size_t n_for_peers;
    struct registry_builder *builder; /* what it was derived from, so that changes find what they
                                         touch */
};

struct registry_side { /* what a change comes to for the nodes, or for the peers */
    const struct model_resource **changed; /* may be what they were */
    struct str *gone;                      /* names of workloads */
    size_t n_changed, n_gone;
};

struct registry_patch {
    struct arena arena;
    struct registry_side nodes, peers;
};

struct registry *registry_build(const struct registry_input *input);
void registry_emit(struct registry *registry);
void registry_free(struct registry *registry);

/* Takes changes of the manifests in; registry_emit() was called before. What is told in *out_patch
 * is borrowed from the registry until its next change; the caller arena_fini()s out_patch->arena.
 * False when they reach further than pods and who backs services (a namespace that comes or goes
 * with its pods, a service that has its first slice or no more, an address that a peer's workload
 * has too): then the registry is of no more use and one must be built. */
MUST_USE bool registry_patch(struct registry *registry, const struct manifests_changes *changes,
                             struct registry_patch *out_patch);

bool registry_has_node(const struct registry *registry, struct str node);
/* Does the node hold a pod in the mesh with that service account? */
bool registry_places(const struct registry *registry, struct str node, struct str namespace_,
                     struct str service_account);

struct registry_peer_change {
    struct str uid;
    const struct model_workload *workload; /* NULL: it is gone */
};

/* May changes of peers' workloads be patched in? Not as long as anything of a peer's is refused:
 * what it is refused for may be over with any change. */
bool registry_takes_peers(const struct registry *registry);
/* The same of workloads of a peer that is not expired, whose other resources are as they were. Adds
 * to *patch, which {0} begins; false as above, when one of them is refused. */
MUST_USE bool registry_patch_peer(struct registry *registry, size_t peer_idx,
                                  const struct registry_peer_change *changes, size_t n_changes,
                                  struct registry_patch *patch);

/* "Valid", "NoService", "InvalidServiceType". */
const char *export_validity_reason(enum export_validity validity);
/* "NoConflicts", or the reasons joined by commas as the MCS API writes them. */
void conflict_reasons(unsigned conflicts, struct text *out);

#endif
