/*
 * manifests.h - a folder of Kubernetes manifests, read as one set of typed objects.
 *
 * Every *.yaml, *.yml and *.json file of the folder and its subfolders (not hidden ones; symlinks
 * are followed, as mounted ConfigMaps need), each with any number of documents, `kind: List`
 * unwrapped. Kinds without a use here are passed over; fields without a use too, since real objects
 * carry many, except in our own kinds and in policies, where an unknown field is an error: a policy
 * must not silently not apply. For the same reason other kinds of security.istio.io are errors.
 *
 * All or nothing: with any error the caller keeps the set it had.
 * Checked: names (RFC 1123), namespaces, ports, addresses, that two objects of one kind do not
 * share a name (both places are told), that a Service has ports unless it is headless or an
 * ExternalName, that an EndpointSlice of addressType IPv4/IPv6 holds addresses of it, API versions.
 *
 * Owner: manifests_free(). Thread: one. Source: Kubernetes API v1, discovery.k8s.io/v1, KEP-1645,
 * Istio security/v1, Gateway API v1.
 */
#ifndef ISTHMUS_CONFIG_MANIFESTS_H
#define ISTHMUS_CONFIG_MANIFESTS_H

#include "config/model.h"
#include "config/yaml.h"
#include "proxy/base/map.h"

struct label {
    struct str key, value;
};

struct object { /* what every kind has */
    struct place place;
    struct str name, namespace_;
    struct label *labels;
    size_t n_labels;
    struct label *annotations;
    size_t n_annotations;
    int64_t created_ns; /* metadata.creationTimestamp; 0 when absent */
    struct str uid;
};

struct k8s_namespace {
    struct object meta;
};

struct k8s_node {
    struct object meta;
    struct str region, zone;
};

struct k8s_pod {
    struct object meta;
    struct str node, service_account; /* "default" when absent */
    struct str hostname, subdomain;
    struct str owner_kind, owner_name; /* the controlling owner reference */
    struct ip addresses[MODEL_ADDRESSES_MAX];
    size_t n_addresses;
    bool host_network;
    bool is_ready; /* phase Running (or absent, as in manifests written by hand) and condition Ready
                      is not False */
    bool is_finished; /* phase Succeeded or Failed */

    struct {
        struct str name;
        uint16_t port;
        bool is_udp;
    } * ports; /* named container ports */

    size_t n_ports;
};

struct k8s_service_port {
    struct str name;
    uint16_t port;
    uint16_t target_port; /* 0: see target_name */
    struct str target_name;
    struct str app_protocol;
    bool is_udp; /* SCTP's are left out */
};

enum k8s_service_type { SERVICE_CLUSTER_IP, SERVICE_HEADLESS, SERVICE_EXTERNAL_NAME };

struct k8s_service { /* NodePort and LoadBalancer are SERVICE_CLUSTER_IP here (M25) */
    struct object meta;
    enum k8s_service_type type;
    struct ip addresses[MODEL_ADDRESSES_MAX];
    size_t n_addresses;
    struct k8s_service_port *ports;
    size_t n_ports;
    struct label *selector;
    size_t n_selector;
    bool publish_not_ready;
    bool is_topology_aware; /* annotation service.kubernetes.io/topology-mode: Auto */
    struct service_words words;
};

struct k8s_endpoint {
    struct place place;
    struct ip addresses[MODEL_ADDRESSES_MAX];
    size_t n_addresses;
    bool is_ready, is_serving, is_terminating;
    struct str hostname, node, zone,
        target_pod; /* target_pod: name of targetRef when its kind is Pod */
};

struct k8s_endpoint_slice {
    struct object meta;
    struct str service; /* label kubernetes.io/service-name */
    struct k8s_endpoint *endpoints;
    size_t n_endpoints;

    struct {
        struct str name;
        uint16_t port;
        bool is_udp;
    } * ports;

    size_t n_ports;
};

struct k8s_export {
    struct object meta;
};

struct k8s_import { /* one that a user or another implementation made; ours are derived from exports
                     */
    struct object meta;
    bool is_headless;
    struct ip addresses[2];
    size_t n_addresses;
    struct k8s_service_port *ports;
    size_t n_ports;
    struct service_words words;
    bool says_affinity, says_internal, says_distribution; /* else the exports' words stay */
};

#define TARGETS_MAX 16 /* of one policy */

struct k8s_target { /* of a policy; in its own namespace */
    struct place place;
    bool is_import; /* a ServiceImport, else a Service */
    struct str name;
};

struct k8s_policy {
    struct object meta;
    struct model_policy policy; /* scope and namespace are decided by the registry, from selector
                                   and root namespace */
    struct label *selector;
    size_t n_selector;
    bool has_selector;
    struct k8s_target *targets; /* not beside a selector */
    size_t n_targets;
};

enum mtls_mode { MTLS_UNSET, MTLS_DISABLE, MTLS_PERMISSIVE, MTLS_STRICT };

struct k8s_port_mtls {
    uint16_t port; /* of the workload */
    enum mtls_mode mode;
};

struct k8s_peer_auth { /* PeerAuthentication */
    struct object meta;
    enum mtls_mode mode;
    struct label *selector; /* none: of the namespace, or of the mesh in the root namespace */
    size_t n_selector;
    struct k8s_port_mtls *ports; /* only with a selector */
    size_t n_ports;
};

struct k8s_token_rule {
    struct place place;
    struct token_rule rule; /* with the keys that stand in it, normalised */
    struct str jwks_uri;    /* else where they are: https, http or file; "" none */
    uint64_t timeout_ns;    /* of fetching them */
};

struct k8s_request_auth { /* RequestAuthentication */
    struct object meta;
    struct label *selector; /* none: of the namespace, or of the mesh in the root namespace */
    size_t n_selector;
    struct k8s_target *targets; /* not beside a selector */
    size_t n_targets;
    struct k8s_token_rule *rules;
    size_t n_rules;
};

struct k8s_traffic { /* TrafficPolicy */
    struct object meta;
    bool is_import;               /* of a ServiceImport, else of a Service; of its own namespace */
    struct str target;            /* the name */
    struct traffic_policy policy; /* with the names of clusters.allow, if there are any */
    struct label *allow;          /* labels that a cluster must bear */
    size_t n_allow;
    bool allows_by_name;
    bool says_locality, says_node_only, says_algorithm, says_spill; /* else what the Service says
                                                                       stays */
};

struct k8s_route_ref { /* a parent or a backend */
    struct place place;
    bool is_import; /* a ServiceImport, else a Service */
    struct str namespace_, name;
    uint16_t port;      /* 0 of a parent: all of them */
    struct str cluster; /* of a backend: only this one's endpoints; "" all */
};

struct k8s_route_rule {
    struct route_match *matches; /* alternatives; one at least */
    size_t n_matches;
    struct route_rule rule; /* but for the match, and for the names in backends and mirrors */
    struct k8s_route_ref *backends; /* as many as the rule has */
    struct k8s_route_ref *mirrors;
    uint32_t *mirror_shares; /* in a million */
};

struct k8s_route { /* HTTPRoute or GRPCRoute with a Service or ServiceImport for a parent */
    struct object meta;
    bool is_grpc;
    struct k8s_route_ref *parents; /* of these kinds alone */
    size_t n_parents;
    struct k8s_route_rule *rules;
    size_t n_rules;
};

struct manifests {
    struct arena arena;
    size_t n_files;
    struct k8s_namespace *namespaces;
    size_t n_namespaces;
    struct k8s_node *nodes;
    size_t n_nodes;
    struct k8s_pod *pods;
    size_t n_pods;
    struct k8s_service *services;
    size_t n_services;
    struct k8s_endpoint_slice *slices;
    size_t n_slices;
    struct k8s_export *exports;
    size_t n_exports;
    struct k8s_import *imports;
    size_t n_imports;
    struct k8s_policy *policies;
    size_t n_policies;
    struct k8s_traffic *traffics;
    size_t n_traffics;
    struct k8s_peer_auth *peer_auths;
    size_t n_peer_auths;
    struct k8s_route *routes;
    size_t n_routes;
    struct k8s_request_auth *request_auths;
    size_t n_request_auths;
    /* Of a set out of a cache: */
    struct manifests_part **parts; /* what the objects point into; NULL: nothing does any more */
    size_t n_parts;
    struct manifests_part **current; /* the files as they were read last; on the heap */
    size_t n_current;
    struct map seen; /* what is in them: "kind/namespace/name" -> struct place */
    bool
        is_patched; /* there were news: pods and slices are empty, and manifests_again() has them */
};

/* Reads a folder. NULL with at least one error in the diag, or the set (warnings possible). */
struct manifests *manifests_read(const char *dir, struct diag *diag);
/* Reads single files, as `isthmus check` does. */
struct manifests *manifests_read_files(const char *const *paths, size_t n_paths, struct diag *diag);
void manifests_free(struct manifests *manifests);

/* What was read of each file of a folder, so that the next reading parses only the files that
 * changed since. A set out of it stands on its own: it may outlive the cache. */
struct manifests_cache;

struct manifests_cache *manifests_cache_new(void);
void manifests_cache_free(struct manifests_cache *cache);
/* manifests_read() of the same folder. now_ns: the wall clock; a file younger than 2 s is looked
 * into again the next time. */
struct manifests *manifests_read_cached(struct manifests_cache *cache, const char *dir,
                                        int64_t now_ns, struct diag *diag);

/* What differs between two readings of a folder in which nothing but Pods and EndpointSlices came,
 * went or changed. */
struct manifests_changes {
    struct arena arena;
    const struct k8s_pod **pods, **pods_gone; /* read anew, whether or not they differ; gone */
    size_t n_pods, n_pods_gone;
    const struct k8s_endpoint_slice **slices, **slices_gone;
    size_t n_slices, n_slices_gone;
    struct manifests_part **replaced; /* what may still be pointed to */
    size_t n_replaced;
};

enum manifests_news {
    MANIFESTS_REFUSED, /* errors in the diag; the set is as it was */
    MANIFESTS_PATCHED, /* the set is the folder's now, the changes say what became of its objects */
    MANIFESTS_WHOLE, /* other objects changed too: *out_whole is a new set, the old is as it was */
};

/* manifests_read_cached(), told as what is new since set was read (from the same cache and folder).
 * Costs what the changed files cost, and a look at the state of each file. Findings are those of
 * the changed files, unless there are errors. What went with a change may be pointed to until
 * manifests_changes_fini(). */
enum manifests_news manifests_read_news(struct manifests_cache *cache, const char *dir,
                                        int64_t now_ns, struct manifests *set,
                                        struct manifests_changes *out_changes,
                                        struct manifests **out_whole, struct diag *diag);
void manifests_changes_fini(struct manifests_changes *changes);
/* A set of its own of what a set holds now; that one has no further news then. */
struct manifests *manifests_again(struct manifests *set);

/* What needs more than one object to see: an export without its Service or of an ExternalName, a
 * slice of no Service, a pod on a node that is not there, a policy that selects nothing, a
 * PeerAuthentication without effect. Warnings, except an export of nothing: an error in strict mode
 * (isthmus check), a condition of the export otherwise. */
void manifests_cross_check(const struct manifests *manifests, struct str root_namespace,
                           bool strict, struct diag *diag);

/* The part of it that is about Pods and EndpointSlices, of those that changed. What a change means
 * for other objects (a policy that selects nobody now) is seen when all is checked. */
void manifests_cross_check_changes(const struct manifests *manifests,
                                   const struct manifests_changes *changes, struct diag *diag);

/* The part of it that is about routes. In strict mode also what may be right by what other clusters
 * export. */
void routes_cross_check(const struct manifests *manifests, bool strict, struct diag *diag);

/* Of two objects for one thing the older counts; of two of one age, that with the lesser name. */
bool object_is_older(const struct object *a, const struct object *b);

/* The value of a label or annotation, or {0}. */
struct str label_find(const struct label *labels, size_t n_labels, const char *key);

/* Does a pod's label set satisfy a selector? An empty selector selects all. */
bool label_select(const struct label *selector, size_t n_selector, const struct label *labels,
                  size_t n_labels);

/* What a port's words say is spoken there: appProtocol, else what its name begins with, as Istio
 * reads it ("http-web", "grpc"). */
enum app_protocol k8s_app_protocol(const struct k8s_service_port *port);

/* Is a pod in the mesh? Label isthmus.io/mesh (enabled | disabled) or Istio's
 * istio.io/dataplane-mode (ambient | none) on the pod, else on its namespace; host-network pods
 * never are. */
bool manifests_is_enrolled(const struct k8s_pod *pod, const struct k8s_namespace *namespace_);

#endif
