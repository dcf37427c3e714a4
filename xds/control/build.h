/*
 * build.h - the parts in which a registry is made; inside the room.
 *
 * The steps run in this order: workloads (from pods), services and who backs them, exports and
 * imports (the merge over clusters), policies (who is selected), then each workload is derived from
 * all of these, peers' workloads are taken over, and the rest is written out.
 *
 * All of it stays with the registry, for registry_patch(). What comes and goes with pods and slices
 * is on the heap: workloads, slices with their endpoints, addresses, placements. The rest is in the
 * scratch arena or, where registry.h shows it, in the registry's own. Whatever a pod or a slice
 * changes marks the workloads that depend on it (workload_touch), and these alone are derived anew:
 * from their pod, from the endpoints that name it, and from the selectors that select it. So a
 * workload's resource is the same whatever happened before, and in whichever order.
 */
#ifndef ISTHMUS_XDS_CONTROL_BUILD_H
#define ISTHMUS_XDS_CONTROL_BUILD_H

#include "proxy/base/list.h"
#include "xds/control/registry.h"

struct own_workload;
struct own_service;
struct own_slice;

/* ---- who an endpoint is ---- */

struct address { /* of pods of this cluster, or of endpoints that name no pod */
    struct ip ip;
    struct list holders;  /* struct holder */
    struct list mentions; /* struct mention */
};

struct holder { /* a pod's having an address */
    struct list link;
    struct own_workload *workload;
    struct address *address;
};

struct mention { /* an endpoint's naming an address */
    struct list link;
    struct endpoint_ref *ref;
    struct address *address;
};

struct endpoint_ref { /* an endpoint of a slice */
    struct list link; /* in refs of the workload, alone without one */
    struct own_workload
        *workload; /* its pod may be missing; NULL: no pod has one of its addresses */
    struct own_slice *slice;
    const struct k8s_endpoint *endpoint;
    struct mention *mentions; /* of one that names no pod: one an address */
};

/* ---- resources that come and go ---- */

struct listed {
    struct model_resource resource; /* of nothing: it is in no list */
    size_t at;                      /* its place in one, plus one; 0: it has none yet */
};

struct resource_list { /* the end of for_nodes or for_peers; on the heap */
    struct listed **items;
    size_t len, cap;
};

/* ---- this cluster's objects ---- */

struct own_namespace { /* one that exists, if only since something is in it */
    const struct k8s_namespace *k8s;
    bool is_told; /* by something else than pods */
    size_t n_pods;
};

struct placement { /* pods of one identity on one node; the key is behind it */
    struct str key;
    size_t n_pods;
};

struct own_workload {          /* a pod, or one that endpoints name; the key is behind it */
    struct str key;            /* "<namespace>/<pod>" */
    const struct k8s_pod *pod; /* NULL: it is not there */
    struct own_namespace *namespace_;
    struct placement *placement; /* NULL: it has none */
    struct holder *holders;      /* one an address of the pod */
    size_t n_holders;
    struct list refs; /* struct endpoint_ref */
    bool is_touched;
    struct arena arena; /* what was derived by a patch */
    struct model_workload model;
    struct listed own, shared; /* for the nodes, for the peers */
};

struct foreign_workload { /* of a peer, taken over */
    struct listed listed;
    struct arena arena;
};

struct foreign_peer {
    struct str cluster, trust_domain, uid_prefix;
    struct map exported; /* "<namespace>/<host name>" of what it exports and we import */
};

struct named { /* a policy or RequestAuthentication for a service */
    struct str key;
    bool is_request_auth;
    struct named *next;
};

struct own_service {
    const struct k8s_service *k8s;
    struct str local_name;    /* of the resource: "<namespace>/<host name in this cluster>" */
    struct str exported_name; /* the same in the clusterset; "" unless it is exported */
    int64_t exported_ns;
    struct named *named;
    struct list slices;
    bool has_slices;            /* when the registry was built */
    size_t n_ready, n_draining; /* of its endpoints */
    bool is_touched, was_ready; /* before the change */
};

struct own_slice {  /* the key is behind it */
    struct str key; /* "<namespace>/<name>" */
    const struct k8s_endpoint_slice *k8s;
    struct own_service *service; /* NULL: of none here */
    struct list link;            /* in slices of the service */
    struct model_port *ports;    /* of the service, with where these endpoints serve them */
    size_t n_ports;
    struct endpoint_ref *refs; /* one an endpoint; none without a service */
    size_t n_refs;
};

struct workload_list { /* on the heap */
    struct own_workload **items;
    size_t len, cap;
};

struct registry_builder {
    const struct registry_input *input; /* while it is built */
    const struct control_config *config;
    const struct manifests *manifests; /* of a patched registry, without Pods and EndpointSlices */
    struct registry *registry;
    struct arena scratch;

    struct map namespaces; /* name -> struct own_namespace */
    struct map workloads;  /* "<namespace>/<pod>" -> struct own_workload */
    struct map addresses;  /* -> struct address */
    struct workload_list touched;
    struct resource_list nodes_end, peers_end;
    bool reaches_further; /* a change did: the registry must be built anew */

    struct own_service *services;
    size_t n_services;
    struct map service_by_name; /* "<namespace>/<name>" */
    struct map slices;          /* "<namespace>/<name>" -> struct own_slice */
    struct own_service **touched_services;
    size_t n_touched_services, cap_touched_services;

    struct map selector_keys; /* the label keys that some selector asks for */
    struct map by_label;      /* "<namespace>\n<key>\n<value>" -> struct label_bucket */
    struct selector *unfiled; /* until selection_file() */
    bool selects_everywhere;  /* there is a selector without a namespace */

    struct model_policy *policies;
    size_t n_policies;
    struct model_request_auth *request_auths;
    size_t n_request_auths;
    struct map peer_auth_by_namespace; /* -> the oldest k8s_peer_auth without a selector */
    struct str strict_key;
    struct str *peer_auth_keys; /* by PeerAuthentication with a selector: the policy it comes to, or
                                   "" */

    struct map imports; /* key -> struct merge */
    struct merge *merges;
    size_t n_merges;

    struct foreign_peer *foreign_peers; /* as the input's */
    size_t n_foreign_peers;
    struct map foreign;       /* uid -> struct foreign_workload */
    struct map foreign_by_ip; /* addresses that peers' workloads have taken */
    struct map foreign_ips;   /* others in our network that count when a pod comes to one or leaves
                                 it:   of workloads that were refused, of hosts */
};

/* "<a>/<b>" in an arena; and a lookup by it that leaves nothing behind. */
struct str key_make(struct arena *arena, struct str a, struct str b);
void *key_find(const struct map *map, struct str a, struct str b);

/* touch.c: what depends on a change. Each is noted once. */
void workload_touch(struct registry_builder *builder, struct own_workload *workload);
void services_touch(struct registry_builder *builder, struct own_service *service);
/* An endpoint counts for its service, or not any more; around whatever decides whether it does. */
void ref_count(struct registry_builder *builder, const struct endpoint_ref *ref);
void ref_uncount(struct registry_builder *builder, const struct endpoint_ref *ref);
/* Whoever has to be derived anew because a service has somebody ready again, or nobody any more;
 * and what reaches further is seen. */
void services_settle(struct registry_builder *builder);
/* Is there a pod that is not finished and has an address? */
bool workload_is_live(const struct own_workload *workload);
/* Does the slice say where the service is served? */
bool slice_serves(const struct own_slice *slice);
void workload_list_add(struct workload_list *list, struct own_workload *workload);

/* addresses.c: who has which address. */
void addresses_join(struct registry_builder *builder, struct own_workload *workload);
void addresses_leave(struct registry_builder *builder, struct own_workload *workload);
/* An endpoint that names no pod is whoever has one of its addresses, now and later on. */
void addresses_mention(struct registry_builder *builder, struct endpoint_ref *ref);
void addresses_forget(struct registry_builder *builder, struct endpoint_ref *ref);
bool address_is_held(const struct registry_builder *builder, const struct ip *ip);

/* workloads.c: namespaces, nodes, pods, placements. */
void registry_add_workloads(struct registry_builder *builder);
void registry_free_workloads(struct registry_builder *builder);
bool registry_has_namespace(const struct registry_builder *builder, struct str namespace_);
/* The workload of that name, made if there is none. */
struct own_workload *workload_of(struct registry_builder *builder, struct str namespace_,
                                 struct str name);
/* Its pod is this one now; NULL: it has none. */
void workload_set_pod(struct registry_builder *builder, struct own_workload *workload,
                      const struct k8s_pod *pod);
/* One that nobody names any more goes. */
void workload_free_unused(struct registry_builder *builder, struct own_workload *workload);
/* What its pod says. */
void workload_fill(const struct registry_builder *builder, const struct k8s_pod *pod,
                   struct arena *arena, struct model_workload *out_model);

/* selection.c: which selectors select a pod. */
enum selector_kind { SELECTS_BACKING, SELECTS_POLICY, SELECTS_REQUEST_AUTH, SELECTS_PEER_AUTH };

struct selector {
    enum selector_kind kind;
    struct str namespace_; /* "": everywhere */
    const struct label *labels;
    size_t n_labels;                       /* at least one */
    struct own_service *service;           /* SELECTS_BACKING */
    struct str key;                        /* of the policy or RequestAuthentication */
    const struct k8s_peer_auth *peer_auth; /* SELECTS_PEER_AUTH */
    struct selector *next;
};

/* The selector is copied. All are added first, then they are filed once. */
void selection_add(struct registry_builder *builder, const struct selector *selector);
void selection_file(struct registry_builder *builder);
void selection_each(const struct registry_builder *builder, const struct k8s_pod *pod,
                    void (*each)(void *owner, const struct selector *selector), void *owner);
void selection_fini(struct registry_builder *builder);

/* patch.c: room for so many more changes. */
void registry_side_grow(struct registry_side *side, struct arena *arena, size_t n);
/* What a resource is now, to those who are told; before: its name, "" when it was not there. */
void registry_tell(struct registry_side *side, const struct listed *listed, struct str before);

/* services.c: services, and the slices of those that have some. */
void registry_add_services(struct registry_builder *builder);
void registry_free_services(struct registry_builder *builder);
void slice_put(struct registry_builder *builder, const struct k8s_endpoint_slice *k8s);
void slice_remove(struct registry_builder *builder, const struct object *meta);
/* A service's ports without targets: 0 means that the memberships say. */
struct model_port *registry_service_ports(struct arena *arena, const struct k8s_service *service);

/* derive.c: a workload from all that is said of it. */
void registry_derive_all(struct registry_builder *builder);
void workload_derive(struct registry_builder *builder, struct own_workload *workload,
                     struct arena *arena);

/* policies.c: the policies, and whom they select. Services and exports are there by then. */
void registry_add_policies(struct registry_builder *builder);

struct reach { /* whom an object of security.istio.io is for */
    struct str namespace_, name;
    const struct label *selector;
    size_t n_selector;
    const struct k8s_target *targets;
    size_t n_targets;
};

struct reached { /* what it says of that on the wire */
    enum policy_scope scope;
    struct str namespace_;
    struct str *targets;
    size_t n_targets;
};

/* Notes whom it selects, or for which services it is. */
struct reached registry_reach(struct registry_builder *builder, const struct reach *reach,
                              enum selector_kind kind);

/* request_auths.c: RequestAuthentications, and whom they select. */
void registry_add_request_auths(struct registry_builder *builder);

/* aliases.c: whatever policies call our trust domain. The policy's rules become a copy. */
void registry_write_out_aliases(struct registry_builder *builder, struct model_policy *policy);

/* peer_auth.c: PeerAuthentications, as further policies; there is room for PEER_AUTH_POLICIES(n)
 * of them. */
#define PEER_AUTH_POLICIES(n_peer_auths) ((n_peer_auths) + 1)
void registry_add_peer_auths(struct registry_builder *builder);
/* The policy that holds for a workload of that namespace which selected (or NULL) selects; "" none.
 */
struct str registry_peer_auth_key(const struct registry_builder *builder, struct str namespace_,
                                  const struct k8s_peer_auth *selected);

/* exports.c: our exports and the peers', merged into imports. */
void registry_add_exports(struct registry_builder *builder);

/* foreign.c: the peers' services and workloads, taken over with care. */
bool foreign_service_is_good(const struct registry_peer *peer, const struct model_service *service,
                             struct text *why);
void registry_refuse(struct registry_builder *builder, size_t peer_idx, const char *format, ...)
    PRINTF_LIKE(3, 4);
void registry_add_foreign(struct registry_builder *builder);
void registry_free_foreign(struct registry_builder *builder);

/* traffic.c: how services and imports are balanced, into registry->own. */
void registry_write_traffic(struct registry_builder *builder);

/* routes.c: where requests go, into registry->own; at most as many resources as counted. */
size_t registry_count_routes(const struct registry_builder *builder);
void registry_write_routes(struct registry_builder *builder);

/* emit.c: this cluster's other resources, for its nodes and for the peers. */
void registry_write_own(struct registry_builder *builder);
/* What is listed has its place in the list, or not any more. */
void registry_list_for_nodes(struct registry *registry, struct listed *listed);
void registry_list_for_peers(struct registry *registry, struct listed *listed);

#endif
