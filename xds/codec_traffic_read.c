/*
 * Envoy's Cluster as how a service is balanced. Another control plane's Cluster has no details of
 * ours: then what it says counts as Envoy understands it, with Envoy's defaults inside the messages
 * that it sends, and what Envoy has no word for is as in traffic_policy_default().
 */
#include "config/names.h"
#include "config/traffic_fields.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "xds/codec_traffic.h"

#define PRIORITIES_MAX 128 /* Envoy's */

static uint32_t u64_of(struct reading *reading, const Google__Protobuf__UInt64Value *from,
                       const char *field, uint32_t fallback)
{
    if (!from)
        return fallback;
    if (from->value > UINT32_MAX)
        codec_reading_refuse(reading, "%s: %llu is over %u", field, (unsigned long long)from->value,
                             UINT32_MAX);
    return (uint32_t)from->value;
}

/* Not a number is refused with the rest: it compares with nothing. */
static uint32_t scaled(struct reading *reading, double value, double scale, const char *field)
{
    if (value >= 0 && value * scale < UINT32_MAX)
        return (uint32_t)(value * scale + 0.5);
    codec_reading_refuse(reading, "%s: %g is not a number from 0 on", field, value);
    return 0;
}

static uint32_t percent_of(struct reading *reading, const Envoy__Type__V3__Percent *from,
                           const char *field, uint32_t fallback)
{
    return from ? scaled(reading, from->value, 1, field) : fallback;
}

static uint32_t permille_of(struct reading *reading,
                            const Envoy__Config__Core__V3__RuntimeDouble *from, const char *field,
                            uint32_t fallback)
{
    return from ? scaled(reading, from->default_value, 1000, field) : fallback;
}

/* ---- the algorithm ---- */

static void read_slow_start(struct reading *reading,
                            const Envoy__Config__Cluster__V3__Cluster__SlowStartConfig *from)
{
    struct traffic_policy *policy = reading->policy;

    if (!from)
        return;
    policy->slow_start_ns = codec_duration_of(reading, from->slow_start_window,
                                              "slow_start_config.slow_start_window", 0);
    policy->slow_start_aggression_permille =
        permille_of(reading, from->aggression, "slow_start_config.aggression", 1000);
    policy->slow_start_min_pct =
        percent_of(reading, from->min_weight_percent, "slow_start_config.min_weight_percent", 10);
}

static void
read_least_request(struct reading *reading,
                   const Envoy__Config__Cluster__V3__Cluster__LeastRequestLbConfig *from)
{
    struct traffic_policy *policy = reading->policy;

    policy->choice_count = codec_u32_of(from->choice_count, 2);
    policy->active_bias_permille = permille_of(reading, from->active_request_bias,
                                               "least_request_lb_config.active_request_bias", 1000);
    read_slow_start(reading, from->slow_start_config);
}

static void read_ring(struct reading *reading,
                      const Envoy__Config__Cluster__V3__Cluster__RingHashLbConfig *from)
{
    struct traffic_policy *policy = reading->policy;

    if (from->hash_function < RING_FUNCTIONS)
        policy->ring_function = (enum ring_function)from->hash_function;
    else
        codec_reading_refuse(reading,
                             "ring_hash_lb_config.hash_function: %u is not XX_HASH (0) or "
                             "MURMUR_HASH_2 (1)",
                             from->hash_function);
    policy->ring_min = u64_of(reading, from->minimum_ring_size,
                              "ring_hash_lb_config.minimum_ring_size", policy->ring_min);
    policy->ring_max = u64_of(reading, from->maximum_ring_size,
                              "ring_hash_lb_config.maximum_ring_size", policy->ring_max);
}

static void read_algorithm_config(struct reading *reading,
                                  const Envoy__Config__Cluster__V3__Cluster *cluster)
{
    switch (cluster->lb_config_case) {
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG:
        read_least_request(reading, cluster->least_request_lb_config);
        return;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ROUND_ROBIN_LB_CONFIG:
        read_slow_start(reading, cluster->round_robin_lb_config->slow_start_config);
        return;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG:
        read_ring(reading, cluster->ring_hash_lb_config);
        return;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG:
        reading->policy->maglev_size =
            u64_of(reading, cluster->maglev_lb_config->table_size, "maglev_lb_config.table_size",
                   TRAFFIC_MAGLEV_DEFAULT);
        return;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG__NOT_SET: return;
    case _ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG__CASE_IS_INT_SIZE: break;
    }
}

static void read_algorithm(struct reading *reading,
                           const Envoy__Config__Cluster__V3__Cluster *cluster)
{
    struct traffic_policy *policy = reading->policy;

    if (cluster->load_balancing_policy)
        codec_reading_refuse(reading,
                             "load_balancing_policy is not read here; say it in lb_policy");
    switch (cluster->lb_policy) {
    case CODEC_ROUND_ROBIN: policy->algorithm = ALGORITHM_ROUND_ROBIN; break;
    case CODEC_LEAST_REQUEST: policy->algorithm = ALGORITHM_LEAST_REQUEST; break;
    case CODEC_RING_HASH: policy->algorithm = ALGORITHM_RING_HASH; break;
    case CODEC_RANDOM: policy->algorithm = ALGORITHM_RANDOM; break;
    case CODEC_MAGLEV: policy->algorithm = ALGORITHM_MAGLEV; break;
    default:
        codec_reading_refuse(
            reading,
            "lb_policy: %u is not ROUND_ROBIN (0), LEAST_REQUEST (1), RING_HASH (2), RANDOM (3) "
            "or MAGLEV (5)",
            cluster->lb_policy);
    }
    read_algorithm_config(reading, cluster);
}

/* ---- levels ---- */

static void
read_zones(struct reading *reading,
           const Envoy__Config__Cluster__V3__Cluster__CommonLbConfig__ZoneAwareLbConfig *from)
{
    const uint32_t enabled =
        percent_of(reading, from->routing_enabled, "zone_aware_lb_config.routing_enabled", 100);

    if (enabled != 0 && enabled != 100)
        codec_reading_refuse(
            reading, "zone_aware_lb_config.routing_enabled: %u is neither 0 nor 100", enabled);
    reading->policy->locality = enabled ? LOCALITY_ZONE_AWARE : LOCALITY_NONE;
    reading->policy->zone_min_endpoints =
        u64_of(reading, from->min_cluster_size, "zone_aware_lb_config.min_cluster_size", 6);
    reading->policy->fail_on_panic = from->fail_traffic_on_panic;
}

static void read_common(struct reading *reading,
                        const Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *from)
{
    struct traffic_policy *policy = reading->policy;

    if (!from)
        return;
    policy->panic_pct = percent_of(reading, from->healthy_panic_threshold,
                                   "common_lb_config.healthy_panic_threshold", 50);
    if (from->consistent_hashing_lb_config) {
        policy->hash_balance_factor_pct =
            codec_u32_of(from->consistent_hashing_lb_config->hash_balance_factor, 0);
        if (from->consistent_hashing_lb_config->use_hostname_for_hashing)
            codec_reading_refuse(reading, "common_lb_config.consistent_hashing_lb_config."
                                          "use_hostname_for_hashing: endpoints are hashed by their "
                                          "addresses here");
    }
    switch (from->locality_config_specifier_case) {
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_ZONE_AWARE_LB_CONFIG:
        read_zones(reading, from->zone_aware_lb_config);
        return;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG:
        policy->locality = LOCALITY_WEIGHTED;
        return;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER__NOT_SET:
        return;
    case _ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER__CASE_IS_INT_SIZE:
        break;
    }
}

/* Endpoints come as workloads; those that stand here tell how careful their sender is. */
static void check_endpoints(struct reading *reading,
                            const Envoy__Config__Endpoint__V3__LocalityLbEndpoints *from,
                            struct map *addresses)
{
    for (size_t i = 0; i < from->n_lb_endpoints; i++) {
        const Envoy__Config__Endpoint__V3__LbEndpoint *endpoint = from->lb_endpoints[i];
        const Envoy__Config__Core__V3__SocketAddress *address;
        struct str key;

        if (endpoint->host_identifier_case !=
                ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT ||
            !endpoint->endpoint->address ||
            endpoint->endpoint->address->address_case !=
                ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS)
            continue;
        address = endpoint->endpoint->address->socket_address;
        key = arena_printf(reading->arena, "%s port %u", address->address, address->port_value);
        if (map_put(addresses, key, addresses))
            codec_reading_refuse(reading, "load_assignment.endpoints: %.*s stands there twice",
                                 STR_ARG(key));
    }
}

static void check_assignment(struct reading *reading,
                             const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *from)
{
    uint64_t sums[PRIORITIES_MAX] = {0};
    bool is_there[PRIORITIES_MAX] = {false};
    struct map addresses = {0};
    uint32_t most = 0;

    for (size_t i = 0; i < from->n_endpoints; i++) {
        const Envoy__Config__Endpoint__V3__LocalityLbEndpoints *group = from->endpoints[i];

        if (group->priority >= PRIORITIES_MAX) {
            codec_reading_refuse(reading, "load_assignment.endpoints.priority: %u is over %d",
                                 group->priority, PRIORITIES_MAX - 1);
            break;
        }
        is_there[group->priority] = true;
        sums[group->priority] += codec_u32_of(group->load_balancing_weight, 0);
        most = group->priority > most ? group->priority : most;
        check_endpoints(reading, group, &addresses);
    }
    for (uint32_t i = 0; i <= most; i++) {
        if (from->n_endpoints > 0 && !is_there[i])
            codec_reading_refuse(
                reading, "load_assignment.endpoints.priority: %u is there, but not %u", most, i);
        if (sums[i] > UINT32_MAX)
            codec_reading_refuse(
                reading,
                "load_assignment.endpoints: the weights of priority %u sum up to %llu, %u at "
                "most",
                i, (unsigned long long)sums[i], UINT32_MAX);
    }
    map_fini(&addresses);
}

static void read_weights(struct reading *reading,
                         const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *from)
{
    struct locality_weight *weights;
    size_t n = 0;

    if (from->n_endpoints > TRAFFIC_LOCALITIES_MAX) {
        codec_reading_refuse(reading, "load_assignment.endpoints: %zu localities (at most %d)",
                             from->n_endpoints, TRAFFIC_LOCALITIES_MAX);
        return;
    }
    weights = arena_new_array(reading->arena, struct locality_weight, from->n_endpoints);
    for (size_t i = 0; i < from->n_endpoints; i++) {
        const Envoy__Config__Endpoint__V3__LocalityLbEndpoints *group = from->endpoints[i];

        if (!group->locality || group->priority != 0)
            continue;
        weights[n++] = (struct locality_weight){
            .region = codec_keep(reading->arena, group->locality->region),
            .zone = codec_keep(reading->arena, group->locality->zone),
            .weight = codec_u32_of(group->load_balancing_weight, 0),
        };
    }
    reading->policy->localities = weights;
    reading->policy->n_localities = n;
}

static void read_assignment(struct reading *reading,
                            const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *from)
{
    if (!from)
        return;
    if (from->policy)
        reading->policy->overprovisioning_pct =
            codec_u32_of(from->policy->overprovisioning_factor, 140);
    check_assignment(reading, from);
    if (reading->policy->locality == LOCALITY_WEIGHTED)
        read_weights(reading, from);
}

/* ---- limits ---- */

static uint32_t bound_of(struct reading *reading, const Google__Protobuf__UInt32Value *from,
                         const char *field)
{
    if (!from || from->value == UINT32_MAX)
        return 0;
    if (from->value == 0)
        codec_reading_refuse(reading, "circuit_breakers.%s: 0 lets nobody through", field);
    return from->value;
}

static void
read_budget(struct reading *reading,
            const Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds__RetryBudget *from)
{
    struct limits *to = &reading->policy->limits;

    if (!from)
        return;
    to->retry_budget_pct =
        percent_of(reading, from->budget_percent,
                   "circuit_breakers.thresholds.retry_budget.budget_percent", 20);
    to->retry_min_concurrent = codec_u32_of(from->min_retry_concurrency, 3);
}

/* As in Envoy a budget goes before a number of retries. That number is a budget of no share; istiod
 * says 2^32 - 1 for "any". */
static void read_retries(struct reading *reading,
                         const Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *from)
{
    struct limits *to = &reading->policy->limits;

    if (from->retry_budget || !from->max_retries) {
        read_budget(reading, from->retry_budget);
        return;
    }
    to->retry_budget_pct = 0;
    to->retry_min_concurrent = from->max_retries->value < TRAFFIC_RETRIES_MAX
                                   ? from->max_retries->value
                                   : TRAFFIC_RETRIES_MAX;
}

/* A lease is a connection or a request, by the port; the two are not bounded apart. Refusing would
 * keep out the Clusters of control planes that always send one; who holds them says so (held.c). */
static void read_requests(struct limits *to, const Google__Protobuf__UInt32Value *max_requests)
{
    to->asks_max_requests = max_requests && max_requests->value != UINT32_MAX;
    to->max_requests = to->asks_max_requests ? max_requests->value : 0;
}

/* Of priority DEFAULT; there are no calls of another here. */
static void read_limits(struct reading *reading, const Envoy__Config__Cluster__V3__Cluster *cluster)
{
    const Envoy__Config__Cluster__V3__CircuitBreakers *from = cluster->circuit_breakers;
    struct limits *to = &reading->policy->limits;

    for (size_t i = 0; from && i < from->n_thresholds; i++) {
        const Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *thresholds =
            from->thresholds[i];

        if (thresholds->priority != 0)
            continue;
        to->max_connections =
            bound_of(reading, thresholds->max_connections, "thresholds.max_connections");
        to->max_pending =
            bound_of(reading, thresholds->max_pending_requests, "thresholds.max_pending_requests");
        read_retries(reading, thresholds);
        read_requests(to, thresholds->max_requests);
    }
    for (size_t i = 0; from && i < from->n_per_host_thresholds; i++)
        if (from->per_host_thresholds[i]->priority == 0)
            to->endpoint_max_connections =
                bound_of(reading, from->per_host_thresholds[i]->max_connections,
                         "per_host_thresholds.max_connections");
}

/* ---- the details ---- */

static void read_shares(struct reading *reading, const Isthmus__V1alpha1__TrafficDetails *from)
{
    struct cluster_share *shares;

    if (from->n_clusters > TRAFFIC_CLUSTERS_MAX ||
        from->n_allowed_clusters > TRAFFIC_CLUSTERS_MAX) {
        codec_reading_refuse(reading, "TrafficDetails: %zu clusters, %zu allowed (at most %d)",
                             from->n_clusters, from->n_allowed_clusters, TRAFFIC_CLUSTERS_MAX);
        return;
    }
    shares = arena_new_array(reading->arena, struct cluster_share, from->n_clusters);
    for (size_t i = 0; i < from->n_clusters; i++)
        shares[i] = (struct cluster_share){
            .cluster = codec_keep(reading->arena, from->clusters[i]->cluster),
            .weight = from->clusters[i]->weight,
            .price_micro = from->clusters[i]->price_micro,
            .priority = from->clusters[i]->priority,
        };
    reading->policy->clusters = shares;
    reading->policy->n_clusters = from->n_clusters;
    reading->policy->allowed_clusters =
        codec_keep_all(reading->arena, from->allowed_clusters, from->n_allowed_clusters);
    reading->policy->n_allowed = from->n_allowed_clusters;
}

static void read_hash_keys(struct reading *reading, const Isthmus__V1alpha1__TrafficDetails *from)
{
    struct hash_key *keys;

    if (from->n_hash_keys > HASH_KEYS_MAX) {
        codec_reading_refuse(reading, "TrafficDetails: %zu hash_keys (at most %d)",
                             from->n_hash_keys, HASH_KEYS_MAX);
        return;
    }
    keys = arena_new_array(reading->arena, struct hash_key, from->n_hash_keys);
    for (size_t i = 0; i < from->n_hash_keys; i++)
        keys[i] = (struct hash_key){
            .kind = (enum hash_key_kind)from->hash_keys[i]->kind,
            .name = codec_keep(reading->arena, from->hash_keys[i]->name),
            .is_terminal = !from->hash_keys[i]->is_combined,
            .is_given = from->hash_keys[i]->is_given,
            .ttl_ns = from->hash_keys[i]->ttl_ns,
            .path = codec_keep(reading->arena, from->hash_keys[i]->path),
        };
    reading->policy->hash_keys = keys;
    reading->policy->n_hash_keys = from->n_hash_keys;
}

static void apply_details(struct reading *reading, const Isthmus__V1alpha1__TrafficDetails *from)
{
    struct traffic_policy *to = reading->policy;

#define APPLY(field) to->field = from->field;
    CODEC_TRAFFIC_SAME(APPLY)
#undef APPLY
#define APPLY(field) to->ejection.field = from->field;
    CODEC_EJECTION_SAME(APPLY)
#undef APPLY
    if (from->is_peak_ewma)
        to->algorithm = ALGORITHM_PEAK_EWMA;
    to->name = codec_keep(reading->arena, from->policy);
    to->hash_on = (enum hash_on)from->hash_on;
    to->locality = (enum locality_mode)from->locality_mode;
    to->cluster_mode = (enum cluster_mode)from->cluster_mode;
    read_shares(reading, from);
    read_hash_keys(reading, from);
    to->drilled_cluster = codec_keep(reading->arena, from->drilled_cluster);
    to->tier = codec_keep(reading->arena, from->tier);
}

static void read_details(struct reading *reading, const Envoy__Config__Core__V3__Metadata *metadata)
{
    struct arena scratch = {0};
    const Isthmus__V1alpha1__TrafficDetails *details;

    for (size_t i = 0; metadata && i < metadata->n_typed_filter_metadata; i++) {
        const Envoy__Config__Core__V3__Metadata__TypedFilterMetadataEntry *entry =
            metadata->typed_filter_metadata[i];
        struct str bytes = codec_any_value(entry->value, CODEC_TRAFFIC_TYPE);

        if (!bytes.ptr || !str_eq(str_from(entry->key), STR(CODEC_TRAFFIC_KEY)))
            continue;
        details = (const void *)wire_unpack(&isthmus__v1alpha1__traffic_details__descriptor, bytes,
                                            &scratch, reading->why);
        if (details)
            apply_details(reading, details);
        else
            reading->err = -ERR_INVALID;
        break;
    }
    arena_fini(&scratch);
}

/* ---- the whole ---- */

static void read_cluster(struct reading *reading,
                         const Envoy__Config__Cluster__V3__Cluster *cluster)
{
    *reading->policy = *traffic_policy_default();
    codec_refuse_unknown(reading, cluster);
    reading->policy->connect_ns =
        codec_duration_of(reading, cluster->connect_timeout, "connect_timeout", 0);
    read_algorithm(reading, cluster);
    read_common(reading, cluster->common_lb_config);
    read_assignment(reading, cluster->load_assignment);
    codec_read_checks(reading, cluster);
    codec_read_ejection(reading, cluster->outlier_detection);
    read_limits(reading, cluster);
    if (!reading->err)
        read_details(reading, cluster->metadata);
    if (!reading->err && !traffic_policy_check(reading->policy, reading->why))
        reading->err = -ERR_INVALID;
}

static bool is_service(struct str name)
{
    struct str namespace_, host;

    return str_split(name, '/', &namespace_, &host) && name_is_label(namespace_) && host.len > 0;
}

int codec_traffic_decode(struct str bytes, struct str name, struct arena *arena,
                         struct model_traffic **out_traffic, struct text *why)
{
    struct model_traffic *traffic = arena_new(arena, struct model_traffic);
    struct arena scratch = {0};
    struct reading reading = {.policy = &traffic->policy, .arena = arena, .why = why};
    const Envoy__Config__Cluster__V3__Cluster *cluster = (const void *)wire_unpack(
        &envoy__config__cluster__v3__cluster__descriptor, bytes, &scratch, why);

    reading.err = cluster ? codec_check_name(name, str_from(cluster->name), why) : -ERR_INVALID;
    if (!reading.err && !is_service(name))
        codec_reading_refuse(&reading,
                             "Cluster.name: \"%.*s\" is not <namespace>/<host name> of a service",
                             STR_ARG(str_sub(name, 0, 80)));
    if (!reading.err)
        read_cluster(&reading, cluster);
    arena_fini(&scratch);
    if (reading.err)
        return reading.err;
    traffic->service = arena_str(arena, name);
    *out_traffic = traffic;
    return 0;
}
