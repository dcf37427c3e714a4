/*
 * bootstrap.h - the configuration file of a process: kind ProxyConfig or ControlConfig of
 * isthmus.io/v1alpha1.
 *
 * Read once at start. Every key that is not known is an error with its place, so a typing mistake
 * never turns into a default. Durations are written as in Kubernetes: 400ms, 10s, 5m, 1h.
 * config/examples/ has one of each with every key.
 *
 * Owner: the caller; bootstrap_fini() frees. Errors: in the diag, all of them, each with file, line
 * and column.
 */
#ifndef ISTHMUS_CONFIG_BOOTSTRAP_H
#define ISTHMUS_CONFIG_BOOTSTRAP_H

#include "config/endpoint.h"
#include "proxy/base/diag.h"
#include "proxy/base/log.h"

/* Where certificates come from; docs/identity.md says which when. */
enum identity_source { IDENTITY_CONTROL, IDENTITY_SPIFFE, IDENTITY_FILES };

#define TRUST_BUNDLES_MAX 255

/* Roots of a trust domain that do not come over the control stream. */
struct trust_bundle_config {
    struct str trust_domain;
    struct str file; /* PEM or JWKS; "" when there is a url and nothing to begin with */
    struct str crls; /* a file with revocation lists, or "" */
    /* Control only, a federation endpoint: */
    struct str url; /* "" for a file alone */
    struct endpoint_name server;
    struct str path;        /* of the url, with its query */
    bool is_spiffe;         /* profile https_spiffe, else https_web */
    struct str endpoint_id; /* https_spiffe: whose certificate the server must show */
};

struct identity_config {
    enum identity_source node, pods;
    struct spiffe_endpoint workload_api, broker_api;
    struct str broker_id;                  /* the SPIFFE ID of the Broker API's server */
    struct str node_certificate, node_key; /* files */
    struct str pods_dir;                   /* a folder with a folder for each identity */
};

enum capture_mode { CAPTURE_NONE, CAPTURE_TPROXY };

enum capture_on_exit { CAPTURE_EXIT_REMOVE, CAPTURE_EXIT_HOLD };

/* How calls between two pods of the node go. */
enum same_node_way { SAME_NODE_DIRECT, SAME_NODE_TUNNEL };

enum audit_fsync { AUDIT_FSYNC_NEVER, AUDIT_FSYNC_SECOND, AUDIT_FSYNC_ALWAYS };

struct audit_config { /* docs/audit.md */
    struct str file;  /* its folder is made; "" when events is empty: no audit log */
    uint64_t max_bytes;
    unsigned keep;
    enum audit_fsync fsync;
    bool verdicts, ends, requests;
};

#define TRACING_HEADERS_MAX 16

struct tracing_header {
    struct str name, value; /* the name in lower case */
};

struct tracing_config {             /* docs/tracing.md */
    struct endpoint_name collector; /* port 0: no spans */
    struct str path;
    bool is_plain;         /* http, else https */
    uint32_t sampling_ppm; /* of a million traces that begin here */
    struct tracing_header *headers;
    size_t n_headers;
};

/* Its keys with their meaning, and the defaults: config/examples/proxy.yaml. */
struct proxy_config {
    struct arena arena;
    struct str node, cluster, network, trust_domain, cluster_domain, state_dir;
    unsigned workers;
    struct endpoint_name control;
    struct str control_trust_bundle, control_token_file;
    struct identity_config identity;
    struct trust_bundle_config *trust_bundles;
    size_t n_trust_bundles;
    bool cut_on_removal;
    enum capture_mode capture;
    enum capture_on_exit capture_on_exit;
    uint32_t mark;
    uint32_t route_table;

    struct {
        uint16_t outbound, inbound, tunnel, dns, metrics, ready, admin;
    } ports;

    uint64_t handshake_ns, connect_ns, attempt_ns, idle_ns, half_close_ns, drain_ns;
    unsigned max_connections; /* flows a worker may hold */
    unsigned max_connect_attempts;
    uint64_t max_memory_bytes; /* of the process, beyond which flows are cut or refused; 0: none */
    uint64_t max_lag_ns;       /* the same for how late a worker may be */
    uint64_t splice_after_bytes; /* 0: never */
    enum same_node_way same_node;
    enum log_level log_level;
    bool log_access;
    struct audit_config audit;
    struct tracing_config tracing;
};

#define PEERS_MAX                255
#define ROOT_NAMESPACE           "isthmus-system" /* unless the configuration says another */
#define CLUSTERSET_RANGES_MAX    2
#define TRUST_DOMAIN_ALIASES_MAX 16

struct label; /* manifests.h */

struct peer_config {
    struct str name; /* the peer's cluster name */
    struct endpoint_name address;
    struct str trust_domain;
    struct label *labels; /* that our policies select clusters by */
    size_t n_labels;
    uint64_t price_micro;    /* millionths for one GB carried there; 0: not said */
    struct str trust_bundle; /* file with the peer's roots, for the first connection */
};

/* The API server that objects come from, in place of a folder. */
struct kubernetes_config {
    bool is_used;
    struct place place;          /* of the key */
    struct endpoint_name server; /* host "": that of the pod's environment */
    struct str token_file;       /* read again for every request */
    struct str trust_bundle; /* whose roots sign the server's certificate; read again likewise */
};

#define KUBERNETES_SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

/* The same in config/examples/control.yaml. */
struct control_config {
    struct arena arena;
    struct str cluster, network, trust_domain, cluster_domain, root_namespace;
    struct str *trust_domain_aliases;
    size_t n_trust_domain_aliases;
    struct str manifests_dir; /* "" when kubernetes is used */
    struct kubernetes_config kubernetes;
    struct str state_dir, tokens_dir;
    struct addr listen;
    struct cidr ranges[CLUSTERSET_RANGES_MAX];
    size_t n_ranges;
    uint64_t workload_ttl_ns, peer_lease_ns;
    struct peer_config *peers;
    size_t n_peers;
    struct label *labels; /* of this cluster */
    size_t n_labels;
    struct trust_bundle_config *trust_bundles;
    size_t n_trust_bundles;

    struct {
        uint16_t metrics, ready, admin;
    } ports;
    enum log_level log_level;
};

/* Reads a file of the given kind. Check diag_is_clean(); on errors the out is untouched. */
void bootstrap_read_proxy(const char *path, struct proxy_config *out_config, struct diag *diag);
void bootstrap_read_control(const char *path, struct control_config *out_config, struct diag *diag);
/* Fills in the SPIFFE endpoints that the file leaves to the environment (SPIFFE_ENDPOINT_SOCKET,
 * SPIFFE_BROKER_SOCKET; NULL when not set): an error when one that is needed is neither here nor
 * there, or is malformed. */
void bootstrap_use_environment(struct proxy_config *config, const char *workload_api,
                               const char *broker_api, struct diag *diag);
/* Fills in the API server that the file leaves to the environment, which Kubernetes gives every pod
 * (KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT; NULL when not set), as above. */
void bootstrap_use_pod(struct control_config *config, const char *host, const char *port,
                       struct diag *diag);
/* Fills url, server and path from the URL of a bundle endpoint (SPIFFE Federation 5.2.1.1: https,
 * no user information), copied into the arena. NULL, or a sentence why it is none. */
const char *bundle_endpoint_url(struct str text, struct trust_bundle_config *bundle,
                                struct arena *arena);
void bootstrap_fini_proxy(struct proxy_config *config);
void bootstrap_fini_control(struct control_config *config);

#endif
