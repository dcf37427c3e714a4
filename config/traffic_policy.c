#include "config/traffic_policy.h"

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS     UINT64_C(1000000)

const struct traffic_policy *traffic_policy_default(void)
{
    static const struct traffic_policy policy = {
        .algorithm = ALGORITHM_PEAK_EWMA,
        .choice_count = 2,
        .active_bias_permille = 1000,
        .decay_ns = 10 * SECOND_NS,
        .ring_min = 1024,
        .ring_max = TRAFFIC_RING_MAX,
        .maglev_size = TRAFFIC_MAGLEV_DEFAULT,
        .locality = LOCALITY_ZONE,
        .zone_min_endpoints = 6,
        .overprovisioning_pct = 140,
        .panic_pct = 50,
        .spill_by_load = true,
        .race_ns = 250 * MS_NS,
        .slow_start_ns = 10 * SECOND_NS,
        .slow_start_aggression_permille = 1000,
        .slow_start_min_pct = 10,
        .ejection =
            {
                .is_on = true,
                .consecutive_failures = 5,
                .interval_ns = SECOND_NS,
                .base_ns = 5 * SECOND_NS,
                .max_ns = 60 * SECOND_NS,
                .max_pct = 50,
                .success_rate_min_hosts = 5,
                .success_rate_min_volume = 100,
                .success_rate_stdev_permille = 1900,
                .failure_pct_min_hosts = 3,
                .failure_pct_min_volume = 20,
                .latency_factor_pct = 500,
                .latency_min_hosts = 3,
                .latency_min_volume = 5,
            },
        .limits =
            {
                .retry_budget_pct = 20,
                /* Before a byte was sent a second connect costs little: many callers of an
                 * endpoint that dies find another at once. */
                .retry_min_concurrent = 1000,
            },
    };
    return &policy;
}

const struct health_check *traffic_check_default(void)
{
    static const struct health_check check = {
        .timeout_ns = SECOND_NS,
        .interval_ns = 5 * SECOND_NS,
        .jitter_ns = SECOND_NS / 2,
        .unhealthy_threshold = 3,
        .healthy_threshold = 2,
        .status_min = 200,
        .status_max = 299,
    };
    return &check;
}

static struct health_check *copy_checks(struct arena *arena, const struct traffic_policy *from)
{
    struct health_check *checks = arena_new_array(arena, struct health_check, from->n_checks);
    for (size_t i = 0; i < from->n_checks; i++) {
        checks[i] = from->checks[i];
        checks[i].path = arena_str(arena, checks[i].path);
        checks[i].host = arena_str(arena, checks[i].host);
        checks[i].grpc_service = arena_str(arena, checks[i].grpc_service);
    }
    return checks;
}

static struct locality_weight *copy_localities(struct arena *arena,
                                               const struct traffic_policy *from)
{
    struct locality_weight *localities =
        arena_new_array(arena, struct locality_weight, from->n_localities);
    for (size_t i = 0; i < from->n_localities; i++) {
        localities[i] = from->localities[i];
        localities[i].region = arena_str(arena, localities[i].region);
        localities[i].zone = arena_str(arena, localities[i].zone);
    }
    return localities;
}

static struct cluster_share *copy_clusters(struct arena *arena, const struct traffic_policy *from)
{
    struct cluster_share *clusters = arena_new_array(arena, struct cluster_share, from->n_clusters);
    for (size_t i = 0; i < from->n_clusters; i++) {
        clusters[i] = from->clusters[i];
        clusters[i].cluster = arena_str(arena, clusters[i].cluster);
    }
    return clusters;
}

struct traffic_policy traffic_policy_copy(struct arena *arena, const struct traffic_policy *from)
{
    struct traffic_policy to = *from;
    struct str *allowed = arena_new_array(arena, struct str, from->n_allowed);
    for (size_t i = 0; i < from->n_allowed; i++)
        allowed[i] = arena_str(arena, from->allowed_clusters[i]);
    to.name = arena_str(arena, from->name);
    to.tier = arena_str(arena, from->tier);
    to.drilled_cluster = arena_str(arena, from->drilled_cluster);
    to.hash_keys = hash_keys_copy(arena, from->hash_keys, from->n_hash_keys);
    to.allowed_clusters = allowed;
    to.localities = copy_localities(arena, from);
    to.clusters = copy_clusters(arena, from);
    to.checks = copy_checks(arena, from);
    return to;
}

bool traffic_policy_admits(const struct traffic_policy *policy, struct str cluster,
                           bool is_own_node)
{
    bool is_allowed = !policy->is_restricted;
    for (size_t i = 0; i < policy->n_allowed && !is_allowed; i++)
        is_allowed = str_eq(policy->allowed_clusters[i], cluster);
    if (!is_allowed || (policy->node_only && !is_own_node))
        return false;
    return str_is_empty(policy->drilled_cluster) || !str_eq(policy->drilled_cluster, cluster);
}
