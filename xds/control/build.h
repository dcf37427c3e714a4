/*
 * build.h - the parts in which a registry is made; inside the room.
 *
 * The steps run in this order: workloads (from pods), services (who backs what), exports and
 * imports (the merge over clusters), policies (who is selected), peers' workloads, then everything
 * is written out. Objects of this step are linked by pointers and live in the scratch arena; what
 * registry.h shows lives in the registry's own.
 */
#ifndef ISTHMUS_XDS_CONTROL_BUILD_H
#define ISTHMUS_XDS_CONTROL_BUILD_H

#include "xds/control/registry.h"

struct own_workload;
struct own_service;

struct backing { /* one workload of this cluster behind one of its services */
    struct own_workload *workload;
    struct own_service *service;
    struct backing *next_of_workload, *next_of_service;
    struct model_port *ports; /* shared with others behind the same slice */
    size_t n_ports;
    struct str dns_hostname;
    bool is_ready;
    bool is_terminating;
    bool is_draining; /* terminating but still serving */
};

struct selected { /* a policy or RequestAuthentication that selects a workload */
    struct str policy;
    struct selected *next;
};

struct own_workload {
    struct model_workload model;
    const struct k8s_peer_auth *peer_auth; /* that selects it, the oldest of them */
    const struct k8s_pod *pod;
    struct backing *backings;
    size_t n_backings, n_exported;
    struct selected *policies, *request_auths;
    size_t n_policies, n_request_auths;
};

struct own_service {
    const struct k8s_service *k8s;
    struct str local_name;    /* of the resource: "<namespace>/<host name in this cluster>" */
    struct str exported_name; /* the same in the clusterset; "" unless it is exported */
    int64_t exported_ns;
    struct backing *backings;
    bool has_slices;
};

struct registry_builder {
    const struct registry_input *input;
    const struct control_config *config;
    const struct manifests *manifests;
    struct registry *registry;
    struct arena scratch;

    struct map namespaces; /* name -> k8s_namespace, or a mark for one that only its objects show */
    struct own_workload *workloads;
    size_t n_workloads;
    struct map workload_by_pod; /* "<namespace>/<pod>" */
    struct map workload_by_ip;  /* a pod of its own network before one of the host's */
    struct map selector_keys;   /* the label keys that some selector asks for */
    struct map by_label;        /* "<namespace>\n<key>\n<value>" -> struct label_bucket */

    struct own_service *services;
    size_t n_services;
    struct map service_by_name; /* "<namespace>/<name>" */

    struct model_policy *policies;
    size_t n_policies;
    struct model_request_auth *request_auths;
    size_t n_request_auths;

    struct map imports; /* key -> struct merge */
    struct merge *merges;
    size_t n_merges;

    struct map foreign_by_ip; /* addresses that peers' workloads have taken */
};

/* "<a>/<b>" in an arena; and a lookup by it that leaves nothing behind. */
struct str key_make(struct arena *arena, struct str a, struct str b);
void *key_find(const struct map *map, struct str a, struct str b);

/* workloads.c: namespaces, nodes, workloads, placements. */
void registry_add_workloads(struct registry_builder *builder);
bool registry_has_namespace(const struct registry_builder *builder, struct str namespace_);

/* selection.c: pods by label. The keys are told first, then the index is made. */
void selection_need(struct registry_builder *builder, const struct label *selector, size_t n);
void selection_index(struct registry_builder *builder);
/* Calls each(owner, workload) for all that the selector (not empty) selects in the namespace, ""
 * for all of them. */
void selection_each(const struct registry_builder *builder, struct str namespace_,
                    const struct label *selector, size_t n,
                    void (*each)(void *owner, struct own_workload *workload), void *owner);

/* services.c: the index of services; and, once labels are indexed, who backs them. */
void registry_add_services(struct registry_builder *builder);
void registry_back_services(struct registry_builder *builder);
/* A service's ports without targets: 0 means that the memberships say. */
struct model_port *registry_service_ports(struct arena *arena, const struct k8s_service *service);

/* policies.c: the policies, and whom they select. Services and exports are there by then. */
void registry_need_policy_labels(struct registry_builder *builder);
void registry_add_policies(struct registry_builder *builder);
/* The workload refers to the policy with that key. */
void registry_name_policy(struct registry_builder *builder, struct own_workload *workload,
                          struct str key);

struct reach { /* whom an object of security.istio.io is for */
    struct str namespace_, name;
    const struct label *selector;
    size_t n_selector;
    const struct k8s_target *targets;
    size_t n_targets;
};

typedef void name_fn(struct registry_builder *builder, struct own_workload *workload,
                     struct str key);

struct reached { /* what it says of that on the wire */
    enum policy_scope scope;
    struct str namespace_;
    struct str *targets;
    size_t n_targets;
};

/* Calls name() for every workload that it names. */
struct reached registry_reach(struct registry_builder *builder, const struct reach *reach,
                              name_fn *name);

/* request_auths.c: RequestAuthentications, and whom they select. */
void registry_need_request_auth_labels(struct registry_builder *builder);
void registry_add_request_auths(struct registry_builder *builder);

/* aliases.c: whatever policies call our trust domain. The policy's rules become a copy. */
void registry_write_out_aliases(struct registry_builder *builder, struct model_policy *policy);

/* peer_auth.c: PeerAuthentications, as further policies; there is room for PEER_AUTH_POLICIES(n)
 * of them. */
#define PEER_AUTH_POLICIES(n_peer_auths) ((n_peer_auths) + 1)
void registry_need_peer_auth_labels(struct registry_builder *builder);
void registry_add_peer_auths(struct registry_builder *builder);

/* exports.c: our exports and the peers', merged into imports. */
void registry_add_exports(struct registry_builder *builder);

/* foreign.c: the peers' services and workloads, taken over with care. */
bool foreign_service_is_good(const struct registry_peer *peer, const struct model_service *service,
                             struct text *why);
void registry_refuse(struct registry_builder *builder, size_t peer_idx, const char *format, ...)
    PRINTF_LIKE(3, 4);
void registry_add_foreign(struct registry_builder *builder);

/* traffic.c: how services and imports are balanced, into registry->own. */
void registry_write_traffic(struct registry_builder *builder);

/* routes.c: where requests go, into registry->own; at most as many resources as counted. */
size_t registry_count_routes(const struct registry_builder *builder);
void registry_write_routes(struct registry_builder *builder);

/* emit.c: this cluster's resources, for its nodes and for the peers. */
void registry_write_own(struct registry_builder *builder);

#endif
