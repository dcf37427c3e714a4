/*
 * How a service is balanced as Envoy's Cluster: what Envoy has a word for in its words, so that an
 * Envoy would do nearly the same with it; the rest as TrafficDetails in the metadata, which others
 * pass over. Everything is said, also what is a default here: the defaults of the two differ.
 */
#include "xds/codec_traffic.h"

#include "proxy/base/clock.h"
#include "xds/codec_new.h"

static Google__Protobuf__UInt64Value *u64(struct arena *arena, uint64_t value)
{
    return NEW_AROUND(arena, Google__Protobuf__UInt64Value, google__protobuf__uint64_value__init,
                      value, value);
}

static Envoy__Type__V3__Percent *percent(struct arena *arena, uint32_t value)
{
    return NEW_AROUND(arena, Envoy__Type__V3__Percent, envoy__type__v3__percent__init, value,
                      value);
}

static Envoy__Config__Core__V3__RuntimeDouble *permille(struct arena *arena, uint32_t value)
{
    return NEW_AROUND(arena, Envoy__Config__Core__V3__RuntimeDouble,
                      envoy__config__core__v3__runtime_double__init, default_value, value / 1000.0);
}

/* ---- the algorithm ---- */

static Envoy__Config__Cluster__V3__Cluster__SlowStartConfig *
slow_start_encode(const struct traffic_policy *policy, struct arena *arena)
{
    Envoy__Config__Cluster__V3__Cluster__SlowStartConfig *made;

    if (policy->slow_start_ns == 0)
        return NULL;
    made = NEW(arena, Envoy__Config__Cluster__V3__Cluster__SlowStartConfig,
               envoy__config__cluster__v3__cluster__slow_start_config__init);
    made->slow_start_window = codec_new_duration(arena, policy->slow_start_ns);
    made->aggression = permille(arena, policy->slow_start_aggression_permille);
    made->min_weight_percent = percent(arena, policy->slow_start_min_pct);
    return made;
}

static void least_request_encode(const struct traffic_policy *policy, struct arena *arena,
                                 Envoy__Config__Cluster__V3__Cluster *cluster)
{
    Envoy__Config__Cluster__V3__Cluster__LeastRequestLbConfig *made =
        NEW(arena, Envoy__Config__Cluster__V3__Cluster__LeastRequestLbConfig,
            envoy__config__cluster__v3__cluster__least_request_lb_config__init);
    made->choice_count = codec_new_u32(arena, policy->choice_count);
    made->active_request_bias = permille(arena, policy->active_bias_permille);
    made->slow_start_config = slow_start_encode(policy, arena);
    cluster->lb_policy = CODEC_LEAST_REQUEST;
    cluster->lb_config_case =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG;
    cluster->least_request_lb_config = made;
}

static void round_robin_encode(const struct traffic_policy *policy, struct arena *arena,
                               Envoy__Config__Cluster__V3__Cluster *cluster)
{
    Envoy__Config__Cluster__V3__Cluster__RoundRobinLbConfig *made =
        NEW(arena, Envoy__Config__Cluster__V3__Cluster__RoundRobinLbConfig,
            envoy__config__cluster__v3__cluster__round_robin_lb_config__init);
    made->slow_start_config = slow_start_encode(policy, arena);
    cluster->lb_policy = CODEC_ROUND_ROBIN;
    cluster->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ROUND_ROBIN_LB_CONFIG;
    cluster->round_robin_lb_config = made;
}

static void ring_encode(const struct traffic_policy *policy, struct arena *arena,
                        Envoy__Config__Cluster__V3__Cluster *cluster)
{
    Envoy__Config__Cluster__V3__Cluster__RingHashLbConfig *made =
        NEW(arena, Envoy__Config__Cluster__V3__Cluster__RingHashLbConfig,
            envoy__config__cluster__v3__cluster__ring_hash_lb_config__init);
    made->hash_function = policy->ring_function;
    made->minimum_ring_size = u64(arena, policy->ring_min);
    made->maximum_ring_size = u64(arena, policy->ring_max);
    cluster->lb_policy = CODEC_RING_HASH;
    cluster->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG;
    cluster->ring_hash_lb_config = made;
}

static void maglev_encode(const struct traffic_policy *policy, struct arena *arena,
                          Envoy__Config__Cluster__V3__Cluster *cluster)
{
    Envoy__Config__Cluster__V3__Cluster__MaglevLbConfig *made =
        NEW(arena, Envoy__Config__Cluster__V3__Cluster__MaglevLbConfig,
            envoy__config__cluster__v3__cluster__maglev_lb_config__init);
    made->table_size = u64(arena, policy->maglev_size);
    cluster->lb_policy = CODEC_MAGLEV;
    cluster->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG;
    cluster->maglev_lb_config = made;
}

static void algorithm_encode(const struct traffic_policy *policy, struct arena *arena,
                             Envoy__Config__Cluster__V3__Cluster *cluster)
{
    switch (policy->algorithm) {
    case ALGORITHM_PEAK_EWMA: /* the nearest that Envoy has; the details say so */
    case ALGORITHM_LEAST_REQUEST: least_request_encode(policy, arena, cluster); return;
    case ALGORITHM_ROUND_ROBIN: round_robin_encode(policy, arena, cluster); return;
    case ALGORITHM_RANDOM: cluster->lb_policy = CODEC_RANDOM; return;
    case ALGORITHM_RING_HASH: ring_encode(policy, arena, cluster); return;
    case ALGORITHM_MAGLEV: maglev_encode(policy, arena, cluster); return;
    case ALGORITHMS: break;
    }
    ensure_failed("an algorithm", __FILE__, __LINE__);
}

/* ---- levels ---- */

static void locality_encode(const struct traffic_policy *policy, struct arena *arena,
                            Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *common)
{
    if (policy->locality == LOCALITY_ZONE_AWARE) {
        Envoy__Config__Cluster__V3__Cluster__CommonLbConfig__ZoneAwareLbConfig *zones =
            NEW(arena, Envoy__Config__Cluster__V3__Cluster__CommonLbConfig__ZoneAwareLbConfig,
                envoy__config__cluster__v3__cluster__common_lb_config__zone_aware_lb_config__init);
        zones->min_cluster_size = u64(arena, policy->zone_min_endpoints);
        zones->fail_traffic_on_panic = policy->fail_on_panic;
        common->locality_config_specifier_case =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_ZONE_AWARE_LB_CONFIG;
        common->zone_aware_lb_config = zones;
    } else if (policy->locality == LOCALITY_WEIGHTED) {
        common->locality_config_specifier_case =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG;
        common->locality_weighted_lb_config = NEW(
            arena, Envoy__Config__Cluster__V3__Cluster__CommonLbConfig__LocalityWeightedLbConfig,
            envoy__config__cluster__v3__cluster__common_lb_config__locality_weighted_lb_config__init);
    }
}

static Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *
common_encode(const struct traffic_policy *policy, struct arena *arena)
{
    Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *common =
        NEW(arena, Envoy__Config__Cluster__V3__Cluster__CommonLbConfig,
            envoy__config__cluster__v3__cluster__common_lb_config__init);
    common->healthy_panic_threshold = percent(arena, policy->panic_pct);
    locality_encode(policy, arena, common);
    if (policy->hash_balance_factor_pct > 0) {
        common->consistent_hashing_lb_config = NEW(
            arena, Envoy__Config__Cluster__V3__Cluster__CommonLbConfig__ConsistentHashingLbConfig,
            envoy__config__cluster__v3__cluster__common_lb_config__consistent_hashing_lb_config__init);
        common->consistent_hashing_lb_config->hash_balance_factor =
            codec_new_u32(arena, policy->hash_balance_factor_pct);
    }
    return common;
}

static Envoy__Config__Endpoint__V3__LocalityLbEndpoints *
weight_encode(const struct locality_weight *from, struct arena *arena)
{
    Envoy__Config__Endpoint__V3__LocalityLbEndpoints *made =
        NEW(arena, Envoy__Config__Endpoint__V3__LocalityLbEndpoints,
            envoy__config__endpoint__v3__locality_lb_endpoints__init);
    made->locality =
        NEW(arena, Envoy__Config__Core__V3__Locality, envoy__config__core__v3__locality__init);
    made->locality->region = wire_text(arena, from->region);
    made->locality->zone = wire_text(arena, from->zone);
    made->load_balancing_weight = codec_new_u32(arena, from->weight);
    return made;
}

static Envoy__Config__Endpoint__V3__ClusterLoadAssignment *
assignment_encode(const struct traffic_policy *policy, char *name, struct arena *arena)
{
    Envoy__Config__Endpoint__V3__ClusterLoadAssignment *made =
        NEW(arena, Envoy__Config__Endpoint__V3__ClusterLoadAssignment,
            envoy__config__endpoint__v3__cluster_load_assignment__init);
    made->cluster_name = name;
    made->policy = NEW(arena, Envoy__Config__Endpoint__V3__ClusterLoadAssignment__Policy,
                       envoy__config__endpoint__v3__cluster_load_assignment__policy__init);
    made->policy->overprovisioning_factor = codec_new_u32(arena, policy->overprovisioning_pct);
    made->endpoints = arena_new_array(arena, Envoy__Config__Endpoint__V3__LocalityLbEndpoints *,
                                      policy->n_localities);
    for (size_t i = 0; i < policy->n_localities; i++)
        made->endpoints[made->n_endpoints++] = weight_encode(&policy->localities[i], arena);
    return made;
}

/* ---- health ---- */

static void http_encode(const struct health_check *from, struct arena *arena,
                        Envoy__Config__Core__V3__HealthCheck *check)
{
    Envoy__Config__Core__V3__HealthCheck__HttpHealthCheck *http =
        NEW(arena, Envoy__Config__Core__V3__HealthCheck__HttpHealthCheck,
            envoy__config__core__v3__health_check__http_health_check__init);
    http->host = wire_text(arena, from->host);
    http->path = wire_text(arena, from->path);
    http->expected_statuses = arena_new(arena, Envoy__Type__V3__Int64Range *);
    http->expected_statuses[0] =
        NEW(arena, Envoy__Type__V3__Int64Range, envoy__type__v3__int64_range__init);
    http->expected_statuses[0]->start = from->status_min;
    http->expected_statuses[0]->end = from->status_max + 1;
    http->n_expected_statuses = 1;
    check->health_checker_case =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_HTTP_HEALTH_CHECK;
    check->http_health_check = http;
}

/* A TCP check with TLS options is a TLS check. */
static void tcp_encode(const struct health_check *from, struct arena *arena,
                       Envoy__Config__Core__V3__HealthCheck *check)
{
    check->health_checker_case =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_TCP_HEALTH_CHECK;
    check->tcp_health_check = NEW(arena, Envoy__Config__Core__V3__HealthCheck__TcpHealthCheck,
                                  envoy__config__core__v3__health_check__tcp_health_check__init);
    if (from->kind == CHECK_TLS)
        check->tls_options = NEW(arena, Envoy__Config__Core__V3__HealthCheck__TlsOptions,
                                 envoy__config__core__v3__health_check__tls_options__init);
}

static void grpc_encode(const struct health_check *from, struct arena *arena,
                        Envoy__Config__Core__V3__HealthCheck *check)
{
    check->health_checker_case =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_GRPC_HEALTH_CHECK;
    check->grpc_health_check = NEW(arena, Envoy__Config__Core__V3__HealthCheck__GrpcHealthCheck,
                                   envoy__config__core__v3__health_check__grpc_health_check__init);
    check->grpc_health_check->service_name = wire_text(arena, from->grpc_service);
}

static Envoy__Config__Core__V3__HealthCheck *check_encode(const struct health_check *from,
                                                          struct arena *arena)
{
    Envoy__Config__Core__V3__HealthCheck *check = NEW(arena, Envoy__Config__Core__V3__HealthCheck,
                                                      envoy__config__core__v3__health_check__init);
    check->timeout = codec_new_duration(arena, from->timeout_ns);
    check->interval = codec_new_duration(arena, from->interval_ns);
    check->interval_jitter = codec_new_duration(arena, from->jitter_ns);
    if (from->unhealthy_interval_ns > 0)
        check->unhealthy_interval = codec_new_duration(arena, from->unhealthy_interval_ns);
    check->unhealthy_threshold = codec_new_u32(arena, from->unhealthy_threshold);
    check->healthy_threshold = codec_new_u32(arena, from->healthy_threshold);
    if (from->port != 0)
        check->alt_port = codec_new_u32(arena, from->port);
    switch (from->kind) {
    case CHECK_TCP:
    case CHECK_TLS: tcp_encode(from, arena, check); break;
    case CHECK_HTTP: http_encode(from, arena, check); break;
    case CHECK_GRPC: grpc_encode(from, arena, check); break;
    }
    return check;
}

static void checks_encode(const struct traffic_policy *policy, struct arena *arena,
                          Envoy__Config__Cluster__V3__Cluster *cluster)
{
    cluster->health_checks =
        arena_new_array(arena, Envoy__Config__Core__V3__HealthCheck *, policy->n_checks);
    for (size_t i = 0; i < policy->n_checks; i++)
        cluster->health_checks[cluster->n_health_checks++] =
            check_encode(&policy->checks[i], arena);
}

static Envoy__Config__Cluster__V3__OutlierDetection *ejection_encode(const struct ejection *from,
                                                                     struct arena *arena)
{
    Envoy__Config__Cluster__V3__OutlierDetection *made;

    if (!from->is_on)
        return NULL;
    made = NEW(arena, Envoy__Config__Cluster__V3__OutlierDetection,
               envoy__config__cluster__v3__outlier_detection__init);
    made->interval = codec_new_duration(arena, from->interval_ns);
    made->base_ejection_time = codec_new_duration(arena, from->base_ns);
    made->max_ejection_time = codec_new_duration(arena, from->max_ns);
    made->max_ejection_percent = codec_new_u32(arena, from->max_pct);
    made->consecutive_5xx = codec_new_u32(arena, from->consecutive_failures);
    made->enforcing_consecutive_5xx =
        codec_new_u32(arena, from->consecutive_failures > 0 ? 100 : 0);
    made->success_rate_stdev_factor = codec_new_u32(arena, from->success_rate_stdev_permille);
    made->enforcing_success_rate =
        codec_new_u32(arena, from->success_rate_stdev_permille > 0 ? 100 : 0);
    made->success_rate_minimum_hosts = codec_new_u32(arena, from->success_rate_min_hosts);
    made->success_rate_request_volume = codec_new_u32(arena, from->success_rate_min_volume);
    made->failure_percentage_threshold = codec_new_u32(arena, from->failure_pct);
    made->enforcing_failure_percentage = codec_new_u32(arena, from->failure_pct > 0 ? 100 : 0);
    made->failure_percentage_minimum_hosts = codec_new_u32(arena, from->failure_pct_min_hosts);
    made->failure_percentage_request_volume = codec_new_u32(arena, from->failure_pct_min_volume);
    return made;
}

/* ---- limits ---- */

/* Envoy has bounds of its own where none is said. */
static Google__Protobuf__UInt32Value *bound(struct arena *arena, uint32_t value)
{
    return codec_new_u32(arena, value > 0 ? value : UINT32_MAX);
}

static Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds **new_thresholds(struct arena *arena)
{
    Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds **list =
        arena_new(arena, Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *);
    list[0] = NEW(arena, Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds,
                  envoy__config__cluster__v3__circuit_breakers__thresholds__init);
    return list;
}

static Envoy__Config__Cluster__V3__CircuitBreakers *limits_encode(const struct limits *from,
                                                                  struct arena *arena)
{
    Envoy__Config__Cluster__V3__CircuitBreakers *made =
        NEW(arena, Envoy__Config__Cluster__V3__CircuitBreakers,
            envoy__config__cluster__v3__circuit_breakers__init);
    Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds__RetryBudget *budget =
        NEW(arena, Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds__RetryBudget,
            envoy__config__cluster__v3__circuit_breakers__thresholds__retry_budget__init);
    budget->budget_percent = percent(arena, from->retry_budget_pct);
    budget->min_retry_concurrency = codec_new_u32(arena, from->retry_min_concurrent);
    made->thresholds = new_thresholds(arena);
    made->n_thresholds = 1;
    made->thresholds[0]->max_connections = bound(arena, from->max_connections);
    made->thresholds[0]->max_pending_requests = bound(arena, from->max_pending);
    made->thresholds[0]->retry_budget = budget;
    if (from->endpoint_max_connections > 0) {
        made->per_host_thresholds = new_thresholds(arena);
        made->n_per_host_thresholds = 1;
        made->per_host_thresholds[0]->max_connections =
            codec_new_u32(arena, from->endpoint_max_connections);
    }
    return made;
}

/* ---- the details ---- */

static Isthmus__V1alpha1__TrafficDetails__ClusterShare **
shares_encode(const struct traffic_policy *policy, struct arena *arena)
{
    Isthmus__V1alpha1__TrafficDetails__ClusterShare **list = arena_new_array(
        arena, Isthmus__V1alpha1__TrafficDetails__ClusterShare *, policy->n_clusters);

    for (size_t i = 0; i < policy->n_clusters; i++) {
        list[i] = NEW(arena, Isthmus__V1alpha1__TrafficDetails__ClusterShare,
                      isthmus__v1alpha1__traffic_details__cluster_share__init);
        list[i]->cluster = wire_text(arena, policy->clusters[i].cluster);
        list[i]->weight = policy->clusters[i].weight;
        list[i]->price_micro = policy->clusters[i].price_micro;
        list[i]->priority = policy->clusters[i].priority;
    }
    return list;
}

static Isthmus__V1alpha1__TrafficDetails__HashKey **
hash_keys_encode(const struct traffic_policy *policy, struct arena *arena)
{
    Isthmus__V1alpha1__TrafficDetails__HashKey **list =
        arena_new_array(arena, Isthmus__V1alpha1__TrafficDetails__HashKey *, policy->n_hash_keys);

    for (size_t i = 0; i < policy->n_hash_keys; i++) {
        const struct hash_key *from = &policy->hash_keys[i];

        list[i] = NEW(arena, Isthmus__V1alpha1__TrafficDetails__HashKey,
                      isthmus__v1alpha1__traffic_details__hash_key__init);
        list[i]->kind = from->kind;
        list[i]->name = wire_text(arena, from->name);
        list[i]->is_combined = !from->is_terminal;
        list[i]->is_given = from->is_given;
        list[i]->ttl_ns = from->ttl_ns;
        list[i]->path = wire_text(arena, from->path);
    }
    return list;
}

static void details_fill(const struct traffic_policy *policy, struct arena *arena,
                         Isthmus__V1alpha1__TrafficDetails *details)
{
#define FILL(field) details->field = policy->field;
    CODEC_TRAFFIC_SAME(FILL)
#undef FILL
#define FILL(field) details->field = policy->ejection.field;
    CODEC_EJECTION_SAME(FILL)
#undef FILL
    details->policy = wire_text(arena, policy->name);
    details->is_peak_ewma = policy->algorithm == ALGORITHM_PEAK_EWMA;
    details->hash_on = policy->hash_on;
    details->locality_mode = policy->locality;
    details->cluster_mode = policy->cluster_mode;
    details->clusters = shares_encode(policy, arena);
    details->n_clusters = policy->n_clusters;
    details->hash_keys = hash_keys_encode(policy, arena);
    details->n_hash_keys = policy->n_hash_keys;
    details->allowed_clusters = codec_texts(arena, policy->allowed_clusters, policy->n_allowed);
    details->n_allowed_clusters = policy->n_allowed;
    details->drilled_cluster = wire_text(arena, policy->drilled_cluster);
    details->tier = wire_text(arena, policy->tier);
}

static Envoy__Config__Core__V3__Metadata *metadata_encode(const struct traffic_policy *policy,
                                                          struct arena *arena)
{
    Isthmus__V1alpha1__TrafficDetails details = ISTHMUS__V1ALPHA1__TRAFFIC_DETAILS__INIT;
    Envoy__Config__Core__V3__Metadata *metadata =
        NEW(arena, Envoy__Config__Core__V3__Metadata, envoy__config__core__v3__metadata__init);
    Envoy__Config__Core__V3__Metadata__TypedFilterMetadataEntry *entry =
        NEW(arena, Envoy__Config__Core__V3__Metadata__TypedFilterMetadataEntry,
            envoy__config__core__v3__metadata__typed_filter_metadata_entry__init);

    details_fill(policy, arena, &details);
    entry->key = wire_text(arena, STR(CODEC_TRAFFIC_KEY));
    entry->value = codec_any(arena, CODEC_TRAFFIC_TYPE, &details.base);
    metadata->typed_filter_metadata =
        arena_new(arena, Envoy__Config__Core__V3__Metadata__TypedFilterMetadataEntry *);
    metadata->typed_filter_metadata[0] = entry;
    metadata->n_typed_filter_metadata = 1;
    return metadata;
}

void codec_traffic_encode(const struct model_traffic *traffic, struct arena *arena,
                          struct text *out)
{
    Envoy__Config__Cluster__V3__Cluster cluster = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__INIT;
    const struct traffic_policy *policy = &traffic->policy;

    cluster.name = wire_text(arena, traffic->service);
    if (policy->connect_ns > 0)
        cluster.connect_timeout = codec_new_duration(arena, policy->connect_ns);
    algorithm_encode(policy, arena, &cluster);
    checks_encode(policy, arena, &cluster);
    cluster.circuit_breakers = limits_encode(&policy->limits, arena);
    cluster.outlier_detection = ejection_encode(&policy->ejection, arena);
    cluster.common_lb_config = common_encode(policy, arena);
    cluster.load_assignment = assignment_encode(policy, cluster.name, arena);
    cluster.metadata = metadata_encode(policy, arena);
    wire_pack(&cluster.base, out);
}
