/*
 * traffic_policy.h - how a service is balanced, watched and limited: the isthmus.io/v1alpha1
 * TrafficPolicy as a value.
 *
 * Every service has exactly one; traffic_policy_default() is that of a service for which nobody
 * wrote one. What a manifest leaves out keeps the default. Values here are valid: whoever makes one
 * (manifests, the control stream) checks it and refuses it with its place otherwise.
 *
 * Health decides who may serve, locality and cost decide where, load decides which. Endpoints stand
 * in levels, nearest first; health moves shares of the traffic from level to level gradually
 * (overprovisioning), load moves more when a near level is slower than a far one; inside a level
 * the algorithm chooses.
 *
 * Strings and arrays belong to the arena of whoever made the policy. Units are in the names.
 * Source: defaults and meanings are Envoy's where Envoy has the field (Cluster, OutlierDetection,
 * HealthCheck, CircuitBreakers of its v3 API); docs/traffic-policy.md has each of them.
 * Thread: immutable; any.
 */
#ifndef ISTHMUS_CONFIG_TRAFFIC_POLICY_H
#define ISTHMUS_CONFIG_TRAFFIC_POLICY_H

#include "config/hash_key.h"
#include "proxy/balance/ring.h"
#include "proxy/base/arena.h"

#define TRAFFIC_CLUSTERS_MAX    64      /* named in one policy */
#define TRAFFIC_LOCALITIES_MAX  64      /* weighted in one policy */
#define TRAFFIC_CHECKS_MAX      4       /* active checks of one policy */
#define TRAFFIC_RETRIES_MAX     1000000 /* of a service at once */
#define TRAFFIC_RING_MAX        1048576 /* entries of a ring */
#define TRAFFIC_MAGLEV_DEFAULT  65537
#define TRAFFIC_PRICE_MAX_MICRO UINT64_C(1000000000000) /* a million a GB */
#define TRAFFIC_MAGLEV_MAX      5000011                 /* a prime; Envoy's bound */

/* The enums below travel as numbers: new words go to their ends. */
enum algorithm {
    ALGORITHM_PEAK_EWMA, /* P2C on (latency x flows in progress); the default */
    ALGORITHM_LEAST_REQUEST,
    ALGORITHM_ROUND_ROBIN,
    ALGORITHM_RANDOM,
    ALGORITHM_RING_HASH,
    ALGORITHM_MAGLEV,
    ALGORITHMS
};

enum hash_on { HASH_ON_SOURCE_ADDRESS, HASH_ON_SOURCE_PRINCIPAL };

/* How the near is preferred. */
enum locality_mode {
    LOCALITY_LEVELS,     /* node, zone, region, cluster, other clusters (Kubernetes'
                            PreferSameNode) */
    LOCALITY_ZONE_AWARE, /* inside the own cluster: each zone's callers fill their own zone as far
                            as its share goes (Envoy's zone aware routing); then as LEVELS */
    LOCALITY_WEIGHTED,   /* localities of the own cluster by localities[], times their health */
    LOCALITY_NONE,       /* the own cluster is one level */
    LOCALITY_ZONE,       /* as LEVELS, but the node is no nearer than its zone (Kubernetes'
                            PreferSameZone); the default: a node's few endpoints have
                            little room for chance */
    LOCALITY_MODES
};

/* How clusters share a service. */
enum cluster_mode {
    CLUSTERS_ACTIVE_PASSIVE, /* the own cluster first, then the others by price and round-trip time;
                                the default */
    CLUSTERS_ACTIVE_ACTIVE,  /* all clusters are one level, by endpoint weights */
    CLUSTERS_WEIGHTED,       /* by clusters[].weight, times their health; those of weight 0 or
                                without an entry only when the others have nobody left */
    CLUSTER_MODES
};

struct cluster_share {
    struct str cluster;
    uint32_t weight;
    uint64_t price_micro; /* millionths of a currency unit for one GB carried there; 0: not said */
    uint32_t priority;    /* ACTIVE_PASSIVE, with has_priorities: 0 first; without a gap */
};

struct locality_weight {
    struct str region, zone; /* zone "": the whole region */
    uint32_t weight;
};

enum check_kind { CHECK_TCP, CHECK_TLS, CHECK_HTTP, CHECK_GRPC };

struct health_check {
    enum check_kind kind;
    uint16_t port; /* of the workload; 0: the endpoint's own */
    uint64_t timeout_ns, interval_ns, jitter_ns;
    uint64_t unhealthy_interval_ns; /* while it fails; 0: interval_ns */
    uint32_t unhealthy_threshold, healthy_threshold;
    struct str path, host;           /* HTTP */
    uint16_t status_min, status_max; /* HTTP: inclusive; 200 to 299 unless said */
    struct str grpc_service;         /* gRPC: "" asks for the server as a whole */
};

struct ejection { /* passive health */
    bool is_on;
    uint32_t consecutive_failures; /* 0: off */
    uint64_t interval_ns;          /* between looks at rates and latencies */
    uint64_t base_ns, max_ns; /* how long an ejected endpoint rests: base times its ejections */
    uint32_t max_pct;         /* of a level's endpoints at once; at least one may always go, and
                                 the last one never does */
    uint32_t success_rate_min_hosts, success_rate_min_volume, success_rate_stdev_permille; /* 0: off
                                                                                            */
    uint32_t failure_pct; /* 0: off */
    uint32_t failure_pct_min_hosts, failure_pct_min_volume;
    uint32_t latency_factor_pct; /* slower than this share of the level's median; 0: off */
    uint32_t latency_min_hosts, latency_min_volume;
};

struct limits { /* soft: each worker of a node counts for itself, the bound is divided by workers */
    uint32_t max_connections, max_pending; /* of the service, of one node; 0: no bound */
    uint32_t endpoint_max_connections;     /* of each endpoint; 0: no bound */
    uint32_t retry_budget_pct, retry_min_concurrent;
    bool asks_max_requests; /* a bound of Envoy's that is not applied: */
    uint32_t max_requests;
};

struct traffic_policy {
    struct str name; /* "<namespace>/<name>" of the manifest, "" for the default */
    enum algorithm algorithm;
    uint32_t choice_count;         /* LEAST_REQUEST, PEAK_EWMA: draws; 2 to 10 */
    uint32_t active_bias_permille; /* LEAST_REQUEST with unequal weights; 1000 is 1.0 */
    uint64_t decay_ns;             /* PEAK_EWMA: how fast a peak is forgotten */
    enum hash_on hash_on;          /* without hash_keys */
    const struct hash_key *hash_keys;
    size_t n_hash_keys;
    enum ring_function ring_function;
    uint32_t ring_min, ring_max, maglev_size;
    uint32_t hash_balance_factor_pct; /* bounded load; 0: off, else over 100 */

    enum locality_mode locality;
    const struct locality_weight *localities;
    size_t n_localities;
    uint32_t zone_min_endpoints; /* ZONE_AWARE: fewer are not split by zone */
    enum cluster_mode cluster_mode;
    const struct cluster_share *clusters;
    size_t n_clusters;
    bool has_priorities; /* each of clusters[] has one: they go before price and round-trip time,
                            and before the own cluster; clusters without an entry come last */
    /* An endpoint of a cluster that is not among these is never used, not even in panic. Made by
     * control of names and labels; n_allowed 0 with is_restricted allows none. */
    bool is_restricted;
    const struct str *allowed_clusters;
    size_t n_allowed;
    bool node_only;             /* an endpoint of another node is never used (Kubernetes'
                                   internalTrafficPolicy: Local) */
    struct str drilled_cluster; /* taken out for the time of a drill, as if it was not allowed; ""
                                   none */
    uint64_t drill_id; /* of that drill, so that one that was let go is not taken up again */
    uint64_t drill_ns; /* how long it lasts at most, from when a node hears of it */

    uint32_t overprovisioning_pct; /* 140 */
    uint32_t panic_pct;            /* 50; 0: never */
    bool fail_on_panic;            /* refuse in place of using the unhealthy */
    bool spill_by_load; /* a near level that is slower than a far one hands over shares */

    uint64_t slow_start_ns; /* 0: off */
    uint32_t slow_start_aggression_permille, slow_start_min_pct;

    const struct health_check *checks;
    size_t n_checks;
    struct ejection ejection;
    struct limits limits;

    uint32_t max_attempts; /* connects of one flow; 0: the node's own setting */
    uint64_t connect_ns;   /* all attempts together; 0: the node's */
    uint64_t attempt_ns;   /* 0: the node's */
    uint64_t race_ns;      /* a connect still in progress after it is raced by another; 0: off */
    uint64_t idle_ns;      /* 0: the node's */
    uint64_t detect_ns; /* how long the first bytes on a port that does not say what it speaks are
                           waited for, to find out; 0: they are not looked at */

    struct str tier;           /* critical, batch, development or a name of the user's; "" */
    uint64_t recovery_time_ns; /* the tier's promise, against which a drill is judged; 0: none */
};

/* What a service has for which nobody wrote a policy. */
const struct traffic_policy *traffic_policy_default(void);

/* A check of which nothing is said but its kind. */
const struct health_check *traffic_check_default(void);

/* A copy that borrows nothing. */
struct traffic_policy traffic_policy_copy(struct arena *arena, const struct traffic_policy *from);

/* May an endpoint of that cluster be used at all; is_own_node: it is on the caller's node. */
bool traffic_policy_admits(const struct traffic_policy *policy, struct str cluster,
                           bool is_own_node);

#endif
