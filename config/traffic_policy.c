#include "config/traffic_policy.h"

#define SECOND_NS UINT64_C(1000000000)

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
        .zone_min_endpoints = 6,
        .overprovisioning_pct = 140,
        .panic_pct = 50,
        .spill_by_load = true,
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
                .retry_min_concurrent = 3,
            },
    };
    return &policy;
}
