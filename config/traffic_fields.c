#include "config/traffic_fields.h"

#include <stddef.h>
#include <string.h>

#include "config/names.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

#define HOSTS_MAX  1000000
#define VOLUME_MAX 1000000000
#define BOUND_MAX  (UINT32_MAX - 1) /* UINT32_MAX is Envoy's "no bound" */

static const char *const algorithm_words[] = {
    [ALGORITHM_PEAK_EWMA] = "PeakEwma",
    [ALGORITHM_LEAST_REQUEST] = "LeastRequest",
    [ALGORITHM_ROUND_ROBIN] = "RoundRobin",
    [ALGORITHM_RANDOM] = "Random",
    [ALGORITHM_RING_HASH] = "RingHash",
    [ALGORITHM_MAGLEV] = "Maglev",
    [ALGORITHMS] = NULL,
};
static const char *const hash_words[] = {"SourceAddress", "SourcePrincipal", NULL};
static const char *const ring_words[] = {
    [RING_XX_HASH] = "XxHash", [RING_MURMUR_HASH_2] = "MurmurHash2", [RING_FUNCTIONS] = NULL};
static const char *const locality_words[] = {
    [LOCALITY_LEVELS] = "Levels",     [LOCALITY_ZONE] = "Zone", [LOCALITY_ZONE_AWARE] = "ZoneAware",
    [LOCALITY_WEIGHTED] = "Weighted", [LOCALITY_NONE] = "None", [LOCALITY_MODES] = NULL,
};
static const char *const cluster_words[] = {
    [CLUSTERS_ACTIVE_PASSIVE] = "ActivePassive",
    [CLUSTERS_ACTIVE_ACTIVE] = "ActiveActive",
    [CLUSTERS_WEIGHTED] = "Weighted",
    [CLUSTER_MODES] = NULL,
};

#define AT(member)       offsetof(struct traffic_policy, member)
#define CHECK_AT(member) offsetof(struct health_check, member)

#define LR   "least_request_lb_config."
#define SLOW "slow_start_config."
#define OD   "outlier_detection."
#define CB   "circuit_breakers.thresholds."
#define OURS "TrafficDetails."
#define HC   "health_checks."

/* clang-format off */
const struct traffic_field traffic_fields[] = {
    {"", "recoveryTime", OURS "recovery_time_ns", TRAFFIC_DURATION, AT(recovery_time_ns), SECOND, 720 * HOUR, true, NULL},

    {"loadBalancing", "algorithm", "lb_policy", TRAFFIC_WORD, AT(algorithm), 0, ALGORITHMS - 1, true, algorithm_words},
    {"loadBalancing", "choiceCount", LR "choice_count", TRAFFIC_COUNT, AT(choice_count), 2, 10, false, NULL},
    {"loadBalancing", "activeRequestBias", LR "active_request_bias", TRAFFIC_PERMILLE, AT(active_bias_permille), 0, 10000, true, NULL},
    {"loadBalancing", "decay", OURS "decay_ns", TRAFFIC_DURATION, AT(decay_ns), 100 * MS, 10 * MINUTE, false, NULL},
    {"loadBalancing", "hashOn", OURS "hash_on", TRAFFIC_WORD, AT(hash_on), 0, HASH_ON_SOURCE_PRINCIPAL, true, hash_words},
    {"loadBalancing", "hashBalanceFactor", "common_lb_config.consistent_hashing_lb_config.hash_balance_factor", TRAFFIC_PERCENT, AT(hash_balance_factor_pct), 101, 10000, true, NULL},
    {"loadBalancing.ringHash", "hashFunction", "ring_hash_lb_config.hash_function", TRAFFIC_WORD, AT(ring_function), 0, RING_FUNCTIONS - 1, true, ring_words},
    {"loadBalancing.ringHash", "minSize", "ring_hash_lb_config.minimum_ring_size", TRAFFIC_COUNT, AT(ring_min), 1, TRAFFIC_RING_MAX, false, NULL},
    {"loadBalancing.ringHash", "maxSize", "ring_hash_lb_config.maximum_ring_size", TRAFFIC_COUNT, AT(ring_max), 1, TRAFFIC_RING_MAX, false, NULL},
    {"loadBalancing.maglev", "tableSize", "maglev_lb_config.table_size", TRAFFIC_COUNT, AT(maglev_size), 3, TRAFFIC_MAGLEV_MAX, false, NULL},
    {"loadBalancing.slowStart", "window", SLOW "slow_start_window", TRAFFIC_DURATION, AT(slow_start_ns), MS, HOUR, true, NULL},
    {"loadBalancing.slowStart", "aggression", SLOW "aggression", TRAFFIC_PERMILLE, AT(slow_start_aggression_permille), 1, 100000, false, NULL},
    {"loadBalancing.slowStart", "minWeight", SLOW "min_weight_percent", TRAFFIC_PERCENT, AT(slow_start_min_pct), 0, 100, true, NULL},

    {"locality", "mode", OURS "locality_mode", TRAFFIC_WORD, AT(locality), 0, LOCALITY_MODES - 1, true, locality_words},
    {"locality", "minEndpoints", "common_lb_config.zone_aware_lb_config.min_cluster_size", TRAFFIC_COUNT, AT(zone_min_endpoints), 0, HOSTS_MAX, true, NULL},
    {"locality", "nodeOnly", OURS "node_only", TRAFFIC_SWITCH, AT(node_only), 0, 1, true, NULL},

    {"clusters", "mode", OURS "cluster_mode", TRAFFIC_WORD, AT(cluster_mode), 0, CLUSTER_MODES - 1, true, cluster_words},

    {"failover", "overprovisioning", "load_assignment.policy.overprovisioning_factor", TRAFFIC_PERCENT, AT(overprovisioning_pct), 100, 1000, false, NULL},
    {"failover", "panicThreshold", "common_lb_config.healthy_panic_threshold", TRAFFIC_PERCENT, AT(panic_pct), 0, 100, true, NULL},
    {"failover", "failOnPanic", OURS "fail_on_panic", TRAFFIC_SWITCH, AT(fail_on_panic), 0, 1, true, NULL},
    {"failover", "spillByLoad", OURS "spill_by_load", TRAFFIC_SWITCH, AT(spill_by_load), 0, 1, true, NULL},

    {"ejection", "enabled", "outlier_detection", TRAFFIC_SWITCH, AT(ejection.is_on), 0, 1, true, NULL},
    {"ejection", "consecutiveFailures", OD "consecutive_5xx", TRAFFIC_COUNT, AT(ejection.consecutive_failures), 1, 1000, true, NULL},
    {"ejection", "interval", OD "interval", TRAFFIC_DURATION, AT(ejection.interval_ns), 100 * MS, HOUR, false, NULL},
    {"ejection", "baseTime", OD "base_ejection_time", TRAFFIC_DURATION, AT(ejection.base_ns), 10 * MS, 24 * HOUR, false, NULL},
    {"ejection", "maxTime", OD "max_ejection_time", TRAFFIC_DURATION, AT(ejection.max_ns), 10 * MS, 24 * HOUR, false, NULL},
    {"ejection", "maxEjected", OD "max_ejection_percent", TRAFFIC_PERCENT, AT(ejection.max_pct), 0, 100, true, NULL},
    {"ejection.successRate", "minEndpoints", OD "success_rate_minimum_hosts", TRAFFIC_COUNT, AT(ejection.success_rate_min_hosts), 1, HOSTS_MAX, false, NULL},
    {"ejection.successRate", "minVolume", OD "success_rate_request_volume", TRAFFIC_COUNT, AT(ejection.success_rate_min_volume), 1, VOLUME_MAX, false, NULL},
    {"ejection.successRate", "stdevFactor", OD "success_rate_stdev_factor", TRAFFIC_PERMILLE, AT(ejection.success_rate_stdev_permille), 1, 100000, true, NULL},
    {"ejection.failurePercentage", "threshold", OD "failure_percentage_threshold", TRAFFIC_PERCENT, AT(ejection.failure_pct), 1, 100, true, NULL},
    {"ejection.failurePercentage", "minEndpoints", OD "failure_percentage_minimum_hosts", TRAFFIC_COUNT, AT(ejection.failure_pct_min_hosts), 1, HOSTS_MAX, false, NULL},
    {"ejection.failurePercentage", "minVolume", OD "failure_percentage_request_volume", TRAFFIC_COUNT, AT(ejection.failure_pct_min_volume), 1, VOLUME_MAX, false, NULL},
    {"ejection.latency", "factor", OURS "latency_factor_pct", TRAFFIC_PERCENT, AT(ejection.latency_factor_pct), 110, 100000, true, NULL},
    {"ejection.latency", "minEndpoints", OURS "latency_min_hosts", TRAFFIC_COUNT, AT(ejection.latency_min_hosts), 2, HOSTS_MAX, false, NULL},
    {"ejection.latency", "minVolume", OURS "latency_min_volume", TRAFFIC_COUNT, AT(ejection.latency_min_volume), 1, VOLUME_MAX, false, NULL},

    {"limits", "maxConnections", CB "max_connections", TRAFFIC_COUNT, AT(limits.max_connections), 1, BOUND_MAX, true, NULL},
    {"limits", "maxPending", CB "max_pending_requests", TRAFFIC_COUNT, AT(limits.max_pending), 1, BOUND_MAX, true, NULL},
    {"limits", "maxConnectionsPerEndpoint", "circuit_breakers.per_host_thresholds.max_connections", TRAFFIC_COUNT, AT(limits.endpoint_max_connections), 1, BOUND_MAX, true, NULL},
    {"limits.retryBudget", "percent", CB "retry_budget.budget_percent", TRAFFIC_PERCENT, AT(limits.retry_budget_pct), 0, 100, true, NULL},
    {"limits.retryBudget", "minConcurrent", CB "retry_budget.min_retry_concurrency", TRAFFIC_COUNT, AT(limits.retry_min_concurrent), 0, TRAFFIC_RETRIES_MAX, true, NULL},

    {"retries", "maxAttempts", OURS "max_attempts", TRAFFIC_COUNT, AT(max_attempts), 1, 20, true, NULL},

    {"timeouts", "connect", "connect_timeout", TRAFFIC_DURATION, AT(connect_ns), 10 * MS, 10 * MINUTE, true, NULL},
    {"timeouts", "attempt", OURS "attempt_ns", TRAFFIC_DURATION, AT(attempt_ns), 10 * MS, 10 * MINUTE, true, NULL},
    {"timeouts", "race", OURS "race_ns", TRAFFIC_DURATION, AT(race_ns), MS, MINUTE, true, NULL},
    {"timeouts", "idle", OURS "idle_ns", TRAFFIC_DURATION, AT(idle_ns), SECOND, 168 * HOUR, true, NULL},
    {"protocolDetection", "timeout", OURS "detect_ns", TRAFFIC_DURATION, AT(detect_ns), MS, 10 * SECOND, true, NULL},
};
const size_t n_traffic_fields = ARRAY_LEN(traffic_fields);

const struct traffic_field traffic_check_fields[] = {
    {"", "timeout", HC "timeout", TRAFFIC_DURATION, CHECK_AT(timeout_ns), 10 * MS, 5 * MINUTE, false, NULL},
    {"", "interval", HC "interval", TRAFFIC_DURATION, CHECK_AT(interval_ns), 100 * MS, HOUR, false, NULL},
    {"", "jitter", HC "interval_jitter", TRAFFIC_DURATION, CHECK_AT(jitter_ns), 0, HOUR, true, NULL},
    {"", "unhealthyInterval", HC "unhealthy_interval", TRAFFIC_DURATION, CHECK_AT(unhealthy_interval_ns), 100 * MS, HOUR, true, NULL},
    {"", "unhealthyThreshold", HC "unhealthy_threshold", TRAFFIC_COUNT, CHECK_AT(unhealthy_threshold), 1, 100, false, NULL},
    {"", "healthyThreshold", HC "healthy_threshold", TRAFFIC_COUNT, CHECK_AT(healthy_threshold), 1, 100, false, NULL},
};
/* clang-format on */
const size_t n_traffic_check_fields = ARRAY_LEN(traffic_check_fields);

uint64_t traffic_field_get(const struct traffic_field *field, const void *object)
{
    const char *at = (const char *)object + field->offset;
    uint64_t wide;
    uint32_t narrow;
    bool is_on;
    switch (field->unit) {
    case TRAFFIC_DURATION: memcpy(&wide, at, sizeof(wide)); return wide;
    case TRAFFIC_SWITCH: memcpy(&is_on, at, sizeof(is_on)); return is_on;
    case TRAFFIC_COUNT:
    case TRAFFIC_PERCENT:
    case TRAFFIC_PERMILLE:
    case TRAFFIC_WORD: break;
    }
    memcpy(&narrow, at, sizeof(narrow));
    return narrow;
}

_Static_assert(sizeof(enum algorithm) == sizeof(uint32_t), "a word is written as a uint32_t");

void traffic_field_set(const struct traffic_field *field, void *object, uint64_t value)
{
    char *at = (char *)object + field->offset;
    const uint32_t narrow = (uint32_t)value;
    const bool is_on = value != 0;
    switch (field->unit) {
    case TRAFFIC_DURATION: memcpy(at, &value, sizeof(value)); return;
    case TRAFFIC_SWITCH: memcpy(at, &is_on, sizeof(is_on)); return;
    case TRAFFIC_COUNT:
    case TRAFFIC_PERCENT:
    case TRAFFIC_PERMILLE:
    case TRAFFIC_WORD: break;
    }
    memcpy(at, &narrow, sizeof(narrow));
}

bool traffic_field_takes(const struct traffic_field *field, uint64_t value)
{
    return (value >= field->min && value <= field->max) || (value == 0 && field->zero_is_fine);
}

bool traffic_parse_decimal(struct str text, unsigned digits, uint64_t *out)
{
    struct str whole = text, rest = {0};
    uint64_t fraction = 0, scale = 1, value;
    const bool has_point = str_split(text, '.', &whole, &rest);
    if (has_point && (rest.len == 0 || rest.len > digits))
        return false;
    if (has_point && !str_to_u64(rest, UINT64_MAX, &fraction))
        return false;
    for (size_t i = rest.len; i < digits; i++)
        fraction *= 10;
    for (unsigned i = 0; i < digits; i++)
        scale *= 10;
    return str_to_u64(whole, UINT32_MAX, &value) && !__builtin_mul_overflow(value, scale, &value) &&
           !__builtin_add_overflow(value, fraction, out);
}

bool traffic_tier(struct str name, uint64_t *out_recovery_ns)
{
    static const struct {
        const char *name;
        uint64_t recovery_ns;
    } tiers[] = {{"critical", 5 * MINUTE}, {"batch", HOUR}, {"development", 24 * HOUR}};

    for (size_t i = 0; i < ARRAY_LEN(tiers); i++) {
        if (str_eq(name, str_from(tiers[i].name))) {
            *out_recovery_ns = tiers[i].recovery_ns;
            return true;
        }
    }
    return false;
}

/* ---- the whole ---- */

static bool wrong(struct text *why, const char *format, ...) PRINTF_LIKE(2, 3);

static bool wrong(struct text *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_addv(why, format, args);
    va_end(args);
    return false;
}

static bool check_fields(const struct traffic_field *fields, size_t n, const void *object,
                         struct text *why)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t value = traffic_field_get(&fields[i], object);
        if (!traffic_field_takes(&fields[i], value))
            return wrong(why, "%s: %llu is not from %llu to %llu%s", fields[i].wire,
                         (unsigned long long)value, (unsigned long long)fields[i].min,
                         (unsigned long long)fields[i].max,
                         fields[i].zero_is_fine && fields[i].min > 0 ? " or 0" : "");
    }
    return true;
}

static bool is_prime(uint32_t n)
{
    for (uint32_t i = 2; (uint64_t)i * i <= n; i++)
        if (n % i == 0)
            return false;
    return n > 1;
}

static bool check_algorithm(const struct traffic_policy *policy, struct text *why)
{
    if (policy->ring_min > policy->ring_max)
        return wrong(why, "ring_hash_lb_config: minimum_ring_size %u is over maximum_ring_size %u",
                     policy->ring_min, policy->ring_max);
    if (!is_prime(policy->maglev_size))
        return wrong(why, "maglev_lb_config.table_size: %u is not a prime", policy->maglev_size);
    if (policy->ejection.max_ns < policy->ejection.base_ns)
        return wrong(why, "outlier_detection: max_ejection_time is under base_ejection_time");
    return true;
}

static bool check_localities(const struct traffic_policy *policy, struct text *why)
{
    uint64_t sum = 0;
    if (policy->n_localities > TRAFFIC_LOCALITIES_MAX)
        return wrong(why, "load_assignment.endpoints: %zu localities (at most %d)",
                     policy->n_localities, TRAFFIC_LOCALITIES_MAX);
    for (size_t i = 0; i < policy->n_localities; i++) {
        const struct locality_weight *locality = &policy->localities[i];
        if (str_is_empty(locality->region))
            return wrong(why, "load_assignment.endpoints: a locality without a region");
        for (size_t j = 0; j < i; j++)
            if (str_eq(policy->localities[j].region, locality->region) &&
                str_eq(policy->localities[j].zone, locality->zone))
                return wrong(why,
                             "load_assignment.endpoints: locality %.*s/%.*s stands there twice",
                             STR_ARG(locality->region), STR_ARG(locality->zone));
        sum += locality->weight;
    }
    if (sum > UINT32_MAX)
        return wrong(why, "load_assignment.endpoints: the weights sum up to %llu, %u at most",
                     (unsigned long long)sum, UINT32_MAX);
    if (policy->locality == LOCALITY_WEIGHTED && sum == 0)
        return wrong(why, "load_assignment.endpoints: no locality has a weight");
    return true;
}

static bool check_priorities(const struct traffic_policy *policy, struct text *why)
{
    bool is_there[TRAFFIC_CLUSTERS_MAX] = {false};
    uint32_t most = 0;
    for (size_t i = 0; i < policy->n_clusters; i++) {
        const uint32_t priority = policy->clusters[i].priority;
        if (priority >= TRAFFIC_CLUSTERS_MAX)
            return wrong(why, "TrafficDetails.clusters: priority %u (at most %d)", priority,
                         TRAFFIC_CLUSTERS_MAX - 1);
        is_there[priority] = true;
        most = priority > most ? priority : most;
    }
    for (uint32_t i = 0; i < most; i++)
        if (!is_there[i])
            return wrong(why, "TrafficDetails.clusters: priority %u is there, but not %u", most, i);
    return true;
}

static bool check_clusters(const struct traffic_policy *policy, struct text *why)
{
    uint64_t sum = 0;
    if (policy->n_clusters > TRAFFIC_CLUSTERS_MAX || policy->n_allowed > TRAFFIC_CLUSTERS_MAX)
        return wrong(why, "TrafficDetails: %zu clusters, %zu allowed (at most %d)",
                     policy->n_clusters, policy->n_allowed, TRAFFIC_CLUSTERS_MAX);
    for (size_t i = 0; i < policy->n_clusters; i++) {
        if (!name_is_cluster(policy->clusters[i].cluster))
            return wrong(why, "TrafficDetails.clusters: \"%.*s\" is not a cluster's name",
                         STR_ARG(str_sub(policy->clusters[i].cluster, 0, 80)));
        for (size_t j = 0; j < i; j++)
            if (str_eq(policy->clusters[j].cluster, policy->clusters[i].cluster))
                return wrong(why, "TrafficDetails.clusters: %.*s stands there twice",
                             STR_ARG(policy->clusters[i].cluster));
        if (policy->clusters[i].price_micro > TRAFFIC_PRICE_MAX_MICRO)
            return wrong(why, "TrafficDetails.clusters: the price of %.*s is over %llu",
                         STR_ARG(policy->clusters[i].cluster),
                         (unsigned long long)TRAFFIC_PRICE_MAX_MICRO);
        sum += policy->clusters[i].weight;
    }
    if (sum > UINT32_MAX)
        return wrong(why, "TrafficDetails.clusters: the weights sum up to %llu, %u at most",
                     (unsigned long long)sum, UINT32_MAX);
    if (policy->cluster_mode == CLUSTERS_WEIGHTED && sum == 0)
        return wrong(why, "TrafficDetails.clusters: no cluster has a weight");
    return !policy->has_priorities || check_priorities(policy, why);
}

static bool check_checks(const struct traffic_policy *policy, struct text *why)
{
    if (policy->n_checks > TRAFFIC_CHECKS_MAX)
        return wrong(why, "health_checks: there are %zu, %d at most", policy->n_checks,
                     TRAFFIC_CHECKS_MAX);
    for (size_t i = 0; i < policy->n_checks; i++) {
        const struct health_check *check = &policy->checks[i];
        if (!check_fields(traffic_check_fields, n_traffic_check_fields, check, why))
            return false;
        if (check->kind != CHECK_HTTP)
            continue;
        if (!str_starts_with(check->path, STR("/")))
            return wrong(why,
                         "health_checks.http_health_check.path: \"%.*s\" does not begin with /",
                         STR_ARG(str_sub(check->path, 0, 80)));
        if (check->status_min < 100 || check->status_max > 599 ||
            check->status_min > check->status_max)
            return wrong(why,
                         "health_checks.http_health_check.expected_statuses: %u to %u are not "
                         "statuses from 100 to 599",
                         check->status_min, check->status_max);
    }
    return true;
}

bool traffic_policy_check(const struct traffic_policy *policy, struct text *why)
{
    return check_fields(traffic_fields, n_traffic_fields, policy, why) &&
           check_algorithm(policy, why) && check_localities(policy, why) &&
           check_clusters(policy, why) && check_checks(policy, why) &&
           hash_keys_check(policy->hash_keys, policy->n_hash_keys, "TrafficDetails.hash_keys", why);
}
