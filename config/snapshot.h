/*
 * snapshot.h - one immutable generation of what this node knows: who is where, what serves what,
 * who may talk to whom, which names exist.
 *
 * What follows from configuration alone is computed once, here: names resolved to pointers,
 * endpoints sorted by how near they are, policies gathered per workload, DNS names laid out.
 * Workers read it without locks; a connection copies the few values it needs and never holds the
 * snapshot, so old generations go as soon as every worker took the new one. The tables of
 * consistent hashing live on in the next snapshot while their endpoints stay.
 *
 * Owner:  the control thread makes and frees it; publishing is proxy/run's.
 * Thread: immutable after snapshot_build(); read by any.
 */
#ifndef ISTHMUS_CONFIG_SNAPSHOT_H
#define ISTHMUS_CONFIG_SNAPSHOT_H

#include "config/model.h"
#include "config/traffic_policy.h"
#include "proxy/balance/maglev.h"
#include "proxy/base/map.h"

/* Who reads the snapshot: distances are measured from here. */
struct vantage {
    struct str node, cluster, network, trust_domain, cluster_domain;
    bool svid_per_workload;  /* each has an SVID of its own, not only each identity */
    struct str region, zone; /* of the node itself; learnt from its workloads when empty */
};

/* How far an endpoint is, nearest first; what a level spans. */
enum level_kind {
    LEVEL_NODE,
    LEVEL_ZONE,
    LEVEL_REGION,
    LEVEL_CLUSTER,
    LEVEL_OTHER_CLUSTER,
    LEVEL_CLUSTERSET, /* a level of all clusters; no distance */
    LEVEL_KINDS
};

const char *level_kind_name(enum level_kind kind);

struct policy_set;  /* compiled, see policy.h */
struct policy_list; /* snapshot_policies.c */
struct token_entry; /* snapshot_tokens.c */

struct workload_port { /* what the services that a workload serves say of a port of it */
    uint16_t port;
    enum app_protocol app_protocol;
};

struct workload {
    struct str uid, name, namespace_, service_account, trust_domain;
    struct str node, cluster, network;
    struct str locality; /* "<region>/<zone>", "" when neither is known */
    struct str canonical_name, canonical_revision, workload_name;
    struct str identity; /* spiffe://td/ns/x/sa/y, "" when a part is missing */
    struct str svid_key; /* under which its certificate is filed: certs/svid.h */
    struct ip addresses[MODEL_ADDRESSES_MAX];
    size_t n_addresses;
    bool speaks_hbone, is_healthy, is_local; /* is_local: on this node */
    const struct policy_set *policies; /* all that apply: the mesh's, its namespace's, its own */
    const struct token_set *tokens;    /* which it takes; NULL: nothing is said of tokens */
    const struct service **services;   /* that it serves */
    size_t n_services;
    const struct workload_port *ports; /* of a local one: each once; see workload_protocol() */
    size_t n_ports;
    uint64_t revision; /* is_local: of its resource, as it stands in the snapshot's local_hash */
    uint64_t uid_hash; /* is_local */
};

struct endpoint {
    uint64_t key; /* hash of workload uid, service and port: stable across snapshots; for load and
                     failure memory */
    const struct workload *workload;
    struct addr
        addr; /* the pod's address in the family that the client asked for, and the target port */
    enum level_kind distance; /* LEVEL_NODE to LEVEL_OTHER_CLUSTER */
    uint16_t level;           /* idx in the set's levels */
    bool is_ready, is_terminating;
    uint32_t weight; /* of all that share the address, when several do */
};

#define LEVELS_MAX 128 /* of one set; endpoints of clusters beyond it stand in the last level */

/*
 * Endpoints among which load alone decides. Levels of one rank share its traffic by their
 * share_weight times their health; ranks serve in order, the next one what those before it are not
 * healthy enough for.
 */
struct level {
    enum level_kind kind;
    struct str cluster;    /* whose it is; "" when it is of several */
    struct str locality;   /* "<region>/<zone>" when the own cluster is split by it, else "" */
    size_t start, len;     /* in the set's endpoints; len > 0 */
    uint32_t max_weight;   /* the largest of its endpoints */
    uint16_t rank;         /* from 0, without gaps, ascending */
    uint32_t share_weight; /* within the rank */
    uint64_t price_micro;  /* other clusters: of one GB carried there, 0 when not said. Ranks of one
                              price may change places by what is measured */
    bool is_last_resort;   /* serves only when nobody before it can */
    uint32_t n_callers;    /* ZONE_AWARE: workloads of the mesh that stand in the locality */
    struct ring ring;      /* RING_HASH; hosts are counted from the level's start */
    struct maglev maglev;  /* MAGLEV, likewise */
};

/* A workload that serves the port without being an endpoint of its own: another has its address,
 * or the policy does not admit it. */
struct hidden_endpoint {
    const struct workload *workload;
    uint16_t target_port;
    uint64_t key; /* of the endpoint that it would be if the policy admitted it; 0: it would be
                     none, or not a healthy one */
};

/*
 * The endpoints of one port of a service in one address family, sorted by level. Endpoints
 * that the policy does not admit are not among them. No two have one address in one
 * network: what several workloads offer under one address is one endpoint with their weights
 * summed.
 */
struct endpoint_set {
    uint64_t id;          /* of service, port and family: stable across snapshots */
    uint64_t fingerprint; /* of endpoints and levels: while it stays, nothing in here has changed */
    uint64_t generation;  /* of the snapshot */
    uint16_t port;
    bool is_v6;
    const struct endpoint *endpoints;
    size_t len;
    const struct level *levels;
    size_t n_levels;
    uint32_t n_callers; /* ZONE_AWARE: of all localities of the own cluster */
    const struct hidden_endpoint *hidden;
    size_t n_hidden;
};

/* What is spoken on a port, by its word or by a route that is bound to it. The first bytes of the
 * client tell HTTP/2 (its preface of 24) from HTTP/1.1 in both kinds; it speaks first. */
enum http_mode {
    HTTP_MODE_NONE, /* bytes: nothing is read of them */
    HTTP_MODE_ANY,  /* the backend speaks what the client does */
    HTTP_MODE_1,    /* the backend speaks HTTP/1.1; gRPC, which is HTTP/2, all the same */
    HTTP_MODE_2,    /* the backend speaks HTTP/2 with prior knowledge: h2c, gRPC */
};

struct route_table; /* see route_table.h */

struct route_scope {
    struct str source_namespace; /* of callers; "": of all that have no scope of their own */
    const struct route_table *table;
};

struct service_port {
    uint16_t port;
    uint16_t target_port;
    enum app_protocol app_protocol;
    enum http_mode http_mode;
    struct str name;
    bool is_udp;
    const struct route_scope *scopes; /* by namespace */
    size_t n_scopes;
    struct endpoint_set v4, v6; /* an endpoint with both families is in both. Read through
                                   snapshot_set(): a patch may have others in their place */
};

struct service {
    struct str name, namespace_, hostname, key; /* key: "<namespace>/<hostname>"; of the part of it
                                                   that one cluster serves: with "@<cluster>" */
    enum service_scope scope;
    struct ip addresses[MODEL_ADDRESSES_MAX];
    size_t n_addresses;
    const struct service_port *ports;
    size_t n_ports;
    const struct str *sans;
    size_t n_sans;
    const struct traffic_policy *traffic; /* never NULL */
    bool is_headless, allow_unhealthy;
};

/* A DNS name that exists below the clusterset zone, with what it answers. Names are lower case,
 * without the last dot. */
struct dns_srv {
    uint16_t port;
    struct str target;
};

struct dns_name {
    struct str name;
    struct ip *addresses; /* A and AAAA mixed */
    size_t n_addresses;
    struct dns_srv *srvs;
    size_t n_srvs;
    bool is_headless; /* rotate the answer */
};

/* What is kept of how a snapshot was built, for those that are patches of it. */
struct snapshot_roots {
    struct map policies;          /* key -> const struct policy, for workloads that name them */
    struct map policy_namespaces; /* namespace -> struct policy_list */
    struct policy_list *globals;  /* policies of the mesh */
    struct token_entry *token_entries; /* RequestAuthentications by name */
    size_t n_token_entries;
    struct map tokens;  /* name -> struct token_entry */
    struct map callers; /* "<region>/<zone>" -> struct caller_count; of the own cluster, counted
                           when the first service asks */
    uint32_t n_callers;
    bool are_callers_counted; /* else nobody has asked; there may be none */
    struct map contested;     /* addresses that several workloads claim -> one of them */
};

struct snapshot {
    struct arena arena;
    struct snapshot *base; /* NULL: built whole. A patch has the base's maps and what the patched
                              maps hold in place of what is in them */
    size_t n_holders;      /* its owner and its patches; counted by the thread that builds */
    struct map patched_workloads; /* uid -> struct workload; snapshot_gone for one that left */
    struct map patched_ips;       /* the same by address */
    struct map patched_sets;      /* address of a struct service_port -> struct patched_port */
    size_t n_workloads;
    struct snapshot_roots roots;
    uint64_t generation;
    struct vantage vantage;
    bool
        is_synced; /* the first state of every resource type was received (or read from the disk) */
    struct map workloads;      /* uid -> struct workload; read through snapshot_workload() */
    struct map workload_by_ip; /* ip_key() -> struct workload, of this network, without host-network
                                  ones */
    struct map services;       /* key -> struct service */
    struct map service_parts;  /* "<key>@<cluster>" -> struct service: of backends that name one
                                  cluster; they have no address and no name of their own */
    struct map service_by_ip;  /* ip_key() -> struct service */
    struct map service_by_host; /* hostname -> struct service */
    struct map names;           /* struct dns_name: empty non-terminals too */
    uint64_t local_hash; /* of this node's workloads and all policies: while it stays, no verdict on
                            a live flow can have changed. Set by whoever builds the snapshot, before
                            publishing it */
    const struct workload *
        *local; /* workloads of this node that are in the mesh, but for those of the host network */
    size_t n_local;
    struct map tables;     /* of consistent hashing, by fingerprint; shared with other snapshots */
    size_t n_tables_built; /* of those, not taken over from the snapshot before */
    struct map token_keys; /* by their text; shared with other snapshots */
};

/* Compiles resources (borrowed, copied into the snapshot) into a generation. Never fails: what
 * contradicts itself was refused when it was decoded; references to what is not there are kept
 * closed (policy_set.missing) or left out (a service without its workloads). */
struct snapshot *snapshot_build(const struct model_resource *const *resources, size_t n_resources,
                                const struct vantage *vantage, uint64_t generation, bool is_synced);
/* The same when there is one already: what is costly to compute and has not changed since is shared
 * with it, not made again. Both are built and freed by one thread; either may be freed first. */
struct snapshot *snapshot_build_next(const struct snapshot *before,
                                     const struct model_resource *const *resources,
                                     size_t n_resources, const struct vantage *vantage,
                                     uint64_t generation, bool is_synced);
void snapshot_free(struct snapshot *snapshot);

/* Workloads that changed, appeared or left since a snapshot was built whole, and everything that is
 * held now, by uid. */
struct snapshot_change {
    const struct str *uids;
    size_t n;
    const struct model_workload *(*find)(void *owner, struct str uid); /* NULL: it is not there */
    void *owner;
};

/* The next generation when only workloads changed: it shares with the last whole snapshot (before,
 * or before's base, which it holds) all that they do not touch, so that it costs what the change
 * is, not what the mesh is. It says the same as one built whole. NULL when the change reaches
 * further than that: build whole. local_hash is the caller's to set, as ever. */
struct snapshot *snapshot_patch(const struct snapshot *before, const struct snapshot_change *change,
                                uint64_t generation);

const struct workload *snapshot_workload(const struct snapshot *snapshot, struct str uid);
/* The endpoints of a port of one of the snapshot's services. */
const struct endpoint_set *snapshot_patched_set(const struct snapshot *snapshot,
                                                const struct service_port *port, bool is_v6);

static inline const struct endpoint_set *snapshot_set(const struct snapshot *snapshot,
                                                      const struct service_port *port, bool is_v6)
{
    if (snapshot->base)
        return snapshot_patched_set(snapshot, port, is_v6);
    return is_v6 ? &port->v6 : &port->v4;
}

const struct workload *snapshot_workload_by_ip(const struct snapshot *snapshot,
                                               const struct ip *ip);
const struct service *snapshot_service_by_ip(const struct snapshot *snapshot, const struct ip *ip);
/* By full host name, any case; with or without the last dot. */
const struct service *snapshot_service_by_host(const struct snapshot *snapshot, struct str host);
/* A service or a part of one; NULL when it is not there. */
const struct service *snapshot_service_by_key(const struct snapshot *snapshot, struct str key);
const struct service_port *service_find_port(const struct service *service, uint16_t port);
/* What is spoken on a port of a local workload, by the words of the services that it serves there.
 * Where they contradict each other a word for HTTP counts before one for TCP or TLS, and HTTP/1.1
 * before HTTP/2. */
enum app_protocol workload_protocol(const struct workload *workload, uint16_t port);
/* The target port under which a workload serves a port of a service; 0 when it does not. */
uint16_t service_target_port(const struct snapshot *snapshot, const struct service *service,
                             const struct workload *workload, uint16_t port);

#endif
