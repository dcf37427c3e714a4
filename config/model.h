/*
 * model.h - the mesh as both sides of the control stream see it: workloads, services, policies,
 * trust bundles.
 *
 * The control process makes these from Kubernetes objects; xds encodes them into
 * istio.workload.Address, istio.security.Authorization and Secret resources; the proxy decodes them
 * back and compiles them into a snapshot. Plain values without pointers between objects: they refer
 * to each other by name.
 *
 * Strings and arrays belong to the arena of whoever made the object (one arena a resource in the
 * proxy). Names: a workload's is its uid, "<cluster>//v1/Pod/<namespace>/<name>"; a service's is
 * "<namespace>/<hostname>", as is that of how the service is balanced; routes' is
 * routes_name(); a policy's is "<namespace>/<name>"; a bundle's is "spiffe://<trust domain>".
 * Source: ztunnel's workload.proto and authorization.proto (fields without a use here are
 * left out).
 */
#ifndef ISTHMUS_CONFIG_MODEL_H
#define ISTHMUS_CONFIG_MODEL_H

#include "config/route.h"
#include "config/token_rule.h"
#include "config/traffic_policy.h"
#include "proxy/base/addr.h"
#include "proxy/base/arena.h"

#define MODEL_ADDRESSES_MAX 4   /* of one workload or service */
#define MODEL_PORTS_MAX     256 /* of one service */

enum app_protocol { APP_UNKNOWN, APP_HTTP11, APP_HTTP2, APP_GRPC, APP_TCP, APP_TLS };

struct model_port {
    uint16_t service_port,
        target_port; /* target_port 0 in a service: the endpoints' own maps say */
    enum app_protocol app_protocol;
    struct str name; /* "" when unnamed; for SRV. Travels in our extension */
    bool is_udp;     /* named in DNS, never balanced */
};

struct model_membership { /* one service that a workload serves */
    struct str service;   /* "<namespace>/<hostname>" */
    struct model_port *ports;
    size_t n_ports;
    struct str
        dns_hostname; /* headless: the endpoint's own label, "" for one made of its address */
    bool not_ready;   /* this slice says so, whatever the workload's health */
    bool is_terminating;
};

struct model_workload {
    struct str uid, name, namespace_, service_account, trust_domain;
    struct str node, cluster, network;
    struct str canonical_name, canonical_revision, workload_name;
    struct str region, zone, subzone;
    struct str pod_uid; /* metadata.uid of the pod behind it; "" when it is not known */
    struct ip addresses[MODEL_ADDRESSES_MAX];
    size_t n_addresses;
    bool speaks_hbone; /* enrolled in the mesh */
    bool is_healthy;
    bool host_network; /* its address is the node's: not found by address */
    uint32_t capacity; /* weight, 1 by default */
    struct model_membership *services;
    size_t n_services;
    struct str *policies; /* names of policies that select it */
    size_t n_policies;
    struct str *request_auths; /* names of RequestAuthentications that select it */
    size_t n_request_auths;
};

enum service_scope { SERVICE_CLUSTER_LOCAL, SERVICE_CLUSTERSET };

/* spec.trafficDistribution; PreferClose is the older word for PreferSameZone. */
enum traffic_distribution {
    DISTRIBUTION_NONE,
    DISTRIBUTION_SAME_ZONE,
    DISTRIBUTION_SAME_NODE,
    DISTRIBUTIONS
};

/* What Kubernetes' own words say of how a service is to be used: of a Service, a ServiceImport, and
 * between clusters of an export, where those of the oldest count (M15 to M17). */
struct service_words {
    uint32_t affinity_s; /* sessionAffinity: ClientIP, its timeoutSeconds; 0: None */
    bool is_node_local;  /* internalTrafficPolicy: Local */
    enum traffic_distribution distribution;
};

#define AFFINITY_S_DEFAULT 10800 /* Kubernetes' */
#define AFFINITY_S_MAX     86400

struct model_service {
    struct str name, namespace_, hostname;
    struct ip addresses[MODEL_ADDRESSES_MAX];
    size_t n_addresses;
    struct model_port *ports;
    size_t n_ports;
    struct str *sans; /* identities that may serve it beyond the workloads' own */
    size_t n_sans;
    bool is_headless;
    bool allow_unhealthy;       /* publishNotReadyAddresses */
    struct service_words words; /* between clusters only: to nodes they travel as a policy */
    int64_t created_ns; /* of the ServiceExport behind it, between clusters: the oldest one decides;
                           else 0 */
};

enum policy_action { POLICY_ALLOW, POLICY_DENY, POLICY_AUDIT };

enum policy_scope { POLICY_GLOBAL, POLICY_NAMESPACE, POLICY_WORKLOAD };

/* MATCH_GLOB: every '*' stands for any letters, also none; in namespaces and trust domains only.
 * MATCH_TEMPLATE: "/a/{*}/b/{**}", in paths only; see path_template.h. */
enum match_kind {
    MATCH_EXACT,
    MATCH_PREFIX,
    MATCH_SUFFIX,
    MATCH_PRESENCE,
    MATCH_GLOB,
    MATCH_TEMPLATE
};

struct string_match {
    enum match_kind kind;
    struct str value;
};

struct account_match { /* a service account of any trust domain */
    struct str namespace_, name;
};

enum request_subject { /* the numbers travel, see details.proto */
                       REQUEST_METHOD,
                       REQUEST_HOST,
                       REQUEST_PATH,
                       REQUEST_HEADER,
                       REQUEST_TOKEN_PRINCIPAL, /* "<iss>/<sub>" of the token that came with the
                                                 * request
                                                 */
                       REQUEST_TOKEN_AUDIENCE,
                       REQUEST_TOKEN_PRESENTER,
                       REQUEST_TOKEN_CLAIM,
                       REQUEST_SUBJECTS
};

struct request_field { /* one thing that a request shows, and what it may be and may not be */
    enum request_subject subject;
    struct str name; /* of a header, in lower case; of a claim its path, see struct policy_claim */
    struct string_match *values, *not_values; /* of a host in any case */
    size_t n_values, n_not_values;
};

/* Values of one field are alternatives; a not_ field matches when none of its values does. */
struct model_match {
    struct string_match *namespaces, *not_namespaces, *principals, *not_principals;
    size_t n_namespaces, n_not_namespaces, n_principals, n_not_principals;
    struct string_match *trust_domains, *not_trust_domains;
    size_t n_trust_domains, n_not_trust_domains;
    struct account_match *accounts, *not_accounts;
    size_t n_accounts, n_not_accounts;
    struct cidr *source_ips, *not_source_ips, *destination_ips, *not_destination_ips;
    size_t n_source_ips, n_not_source_ips, n_destination_ips, n_not_destination_ips;
    uint16_t *ports, *not_ports;
    size_t n_ports, n_not_ports;
    struct request_field *http; /* must all hold of the request; none in most matches */
    size_t n_http;
    /* Something that this version cannot evaluate stood here: ALLOW then never matches, and DENY is
     * decided by the rest. */
    bool has_unknown;
};

struct model_clause { /* matches are alternatives */
    struct model_match *matches;
    size_t n_matches;
};

struct model_rule { /* clauses must all match */
    struct model_clause *clauses;
    size_t n_clauses;
};

struct model_policy {
    struct str name, namespace_; /* namespace_ "" when the scope is global */
    enum policy_action action;
    enum policy_scope scope;
    bool dry_run;
    struct str *targets; /* services ("<namespace>/<hostname>"): it only holds on the ports on which
                            a workload serves them; none: on every port */
    size_t n_targets;
    struct model_rule *rules; /* alternatives; none: never matches */
    size_t n_rules;
    uint64_t revision; /* hash of its content, as the control stream's version shows it; 0 when it
                          has not travelled */
    uint64_t mark;     /* keyed_hash() of its content: what is compared; 0 likewise */
};

struct model_request_auth { /* RequestAuthentication; its name is as a policy's */
    struct str name, namespace_;
    enum policy_scope scope;
    struct str *targets; /* as of a policy */
    size_t n_targets;
    struct token_rule *rules;
    size_t n_rules;
};

struct model_bundle {
    struct str trust_domain;
    struct str pem;  /* the roots */
    struct str crls; /* revocation lists in DER, one behind the other; "": none */
};

struct model_traffic {  /* a service without one has traffic_policy_default() */
    struct str service; /* "<namespace>/<hostname>" */
    struct traffic_policy policy;
};

enum model_kind {
    MODEL_WORKLOAD,
    MODEL_SERVICE,
    MODEL_POLICY,
    MODEL_BUNDLE,
    MODEL_TRAFFIC,
    MODEL_ROUTES,
    MODEL_REQUEST_AUTH,
    MODEL_KINDS
};

/* One resource: exactly the member that kind says. */
struct model_resource {
    enum model_kind kind;
    struct str name; /* as above, unique within the kind */

    union {
        struct model_workload *workload;
        struct model_service *service;
        struct model_policy *policy;
        struct model_bundle *bundle;
        struct model_traffic *traffic;
        struct model_routes *routes;
        struct model_request_auth *request_auth;
    } of;
};

#endif
