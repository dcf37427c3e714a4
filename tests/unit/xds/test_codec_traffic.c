/* How a service is balanced, on the wire: our own encoding, what other control planes send. */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/err.h"
#include "traffic_kit.h"

TestSuite(codec_traffic, .timeout = 20, .fini = traffic_fini);

/* Every field is another than the default's. */
static struct traffic_policy rich(void)
{
    static struct locality_weight localities[3];
    static struct cluster_share clusters[2];
    static struct str allowed[2];
    static struct health_check checks[4];
    const struct locality_weight localities_[] = {
        {STR("eu"), STR("eu-1"), 3}, {STR("eu"), {0}, 1}, {STR("us"), STR(""), 0}};
    const struct cluster_share clusters_[] = {{STR("west"), 90, 0, 0},
                                              {STR("east.example"), 10, 20000, 1}};
    const struct str allowed_[] = {STR("west"), STR("east.example")};
    const struct health_check checks_[] = {
        {.kind = CHECK_TCP,
         .port = 99,
         .timeout_ns = SECOND,
         .interval_ns = 2 * SECOND,
         .jitter_ns = SECOND / 2,
         .unhealthy_interval_ns = 3 * SECOND,
         .unhealthy_threshold = 4,
         .healthy_threshold = 5},
        {.kind = CHECK_TLS,
         .timeout_ns = SECOND,
         .interval_ns = SECOND,
         .unhealthy_threshold = 1,
         .healthy_threshold = 1},
        {.kind = CHECK_HTTP,
         .timeout_ns = SECOND,
         .interval_ns = SECOND,
         .unhealthy_threshold = 1,
         .healthy_threshold = 1,
         .path = STR("/healthz"),
         .host = STR("web.example"),
         .status_min = 200,
         .status_max = 599},
        {.kind = CHECK_GRPC,
         .timeout_ns = SECOND,
         .interval_ns = SECOND,
         .unhealthy_threshold = 1,
         .healthy_threshold = 1,
         .grpc_service = STR("a.B")},
    };
    static struct hash_key hash_keys[2];
    hash_keys[0] = (struct hash_key){.kind = HASH_KEY_HEADER, .name = STR("x-user")};
    hash_keys[1] = (struct hash_key){.kind = HASH_KEY_COOKIE,
                                     .name = STR("s"),
                                     .is_terminal = true,
                                     .is_given = true,
                                     .ttl_ns = SECOND,
                                     .path = STR("/a")};
    memcpy(localities, localities_, sizeof(localities));
    memcpy(clusters, clusters_, sizeof(clusters));
    memcpy(allowed, allowed_, sizeof(allowed));
    memcpy(checks, checks_, sizeof(checks));
    return (struct traffic_policy){.name = STR("ns/web"),
                                   .algorithm = ALGORITHM_LEAST_REQUEST,
                                   .choice_count = 4,
                                   .active_bias_permille = 500,
                                   .decay_ns = 3 * SECOND,
                                   .hash_on = HASH_ON_SOURCE_PRINCIPAL,
                                   .hash_keys = hash_keys,
                                   .n_hash_keys = 2,
                                   .detect_ns = SECOND / 10,
                                   .ring_min = 1024,
                                   .ring_max = TRAFFIC_RING_MAX,
                                   .maglev_size = TRAFFIC_MAGLEV_DEFAULT,
                                   .hash_balance_factor_pct = 125,
                                   .locality = LOCALITY_WEIGHTED,
                                   .localities = localities,
                                   .n_localities = 3,
                                   .zone_min_endpoints = 9,
                                   .cluster_mode = CLUSTERS_WEIGHTED,
                                   .clusters = clusters,
                                   .n_clusters = 2,
                                   .has_priorities = true,
                                   .is_restricted = true,
                                   .allowed_clusters = allowed,
                                   .n_allowed = 2,
                                   .node_only = true,
                                   .drilled_cluster = STR("west"),
                                   .drill_id = UINT64_MAX,
                                   .drill_ns = 11 * UINT64_C(1000000000),
                                   .overprovisioning_pct = 200,
                                   .panic_pct = 0,
                                   .fail_on_panic = true,
                                   .spill_by_load = false,
                                   .slow_start_ns = 30 * SECOND,
                                   .slow_start_aggression_permille = 1500,
                                   .slow_start_min_pct = 5,
                                   .checks = checks,
                                   .n_checks = 4,
                                   .ejection = {.is_on = true,
                                                .consecutive_failures = 7,
                                                .interval_ns = 2 * SECOND,
                                                .base_ns = 3 * SECOND,
                                                .max_ns = 4 * SECOND,
                                                .max_pct = 30,
                                                .success_rate_min_hosts = 6,
                                                .success_rate_min_volume = 50,
                                                .success_rate_stdev_permille = 2500,
                                                .failure_pct = 40,
                                                .failure_pct_min_hosts = 7,
                                                .failure_pct_min_volume = 8,
                                                .latency_factor_pct = 0,
                                                .latency_min_hosts = 9,
                                                .latency_min_volume = 10},
                                   .limits = {.max_connections = 100,
                                              .max_pending = 10,
                                              .endpoint_max_connections = 20,
                                              .retry_budget_pct = 25,
                                              .retry_min_concurrent = 6},
                                   .max_attempts = 4,
                                   .connect_ns = 5 * SECOND,
                                   .attempt_ns = SECOND,
                                   .race_ns = SECOND / 4,
                                   .idle_ns = 60 * SECOND,
                                   .tier = STR("gold"),
                                   .recovery_time_ns = 120 * SECOND};
}

Test(codec_traffic, keeps_every_field)
{
    const struct traffic_policy from = rich();
    struct str bytes = traffic_encode(&from);
    struct traffic_policy to;

    cr_assert_eq(traffic_decode_bytes(bytes, &to), 0, "%s", why.ptr);
    cr_expect(str_eq(traffic_encode(&to), bytes), "it encodes to the same bytes again");
    cr_expect_eq(to.algorithm, ALGORITHM_LEAST_REQUEST);
    cr_expect_eq(to.choice_count, 4);
    cr_expect_eq(to.active_bias_permille, 500);
    cr_expect_eq(to.decay_ns, 3 * SECOND);
    cr_expect_eq(to.hash_on, HASH_ON_SOURCE_PRINCIPAL);
    cr_assert_eq(to.n_hash_keys, 2);
    cr_expect(str_eq(to.hash_keys[0].name, STR("x-user")) && !to.hash_keys[0].is_terminal);
    cr_expect(to.hash_keys[1].kind == HASH_KEY_COOKIE && to.hash_keys[1].is_terminal &&
              to.hash_keys[1].is_given && to.hash_keys[1].ttl_ns == SECOND &&
              str_eq(to.hash_keys[1].path, STR("/a")));
    cr_expect_eq(to.detect_ns, SECOND / 10);
    cr_expect_eq(to.hash_balance_factor_pct, 125);
    cr_expect_eq(to.locality, LOCALITY_WEIGHTED);
    cr_assert_eq(to.n_localities, 3);
    cr_expect(str_eq(to.localities[0].zone, STR("eu-1")) && to.localities[0].weight == 3);
    cr_expect(str_is_empty(to.localities[1].zone) && to.localities[2].weight == 0);
    cr_expect_eq(to.zone_min_endpoints, 9);
    cr_expect_eq(to.cluster_mode, CLUSTERS_WEIGHTED);
    cr_assert_eq(to.n_clusters, 2);
    cr_expect(str_eq(to.clusters[1].cluster, STR("east.example")));
    cr_expect_eq(to.clusters[1].price_micro, 20000);
    cr_expect_eq(to.clusters[1].priority, 1);
    cr_expect(to.has_priorities && to.is_restricted && to.node_only && to.fail_on_panic);
    cr_assert_eq(to.n_allowed, 2);
    cr_expect(str_eq(to.drilled_cluster, STR("west")));
    cr_expect_eq(to.drill_id, UINT64_MAX);
    cr_expect_eq(to.drill_ns, 11 * UINT64_C(1000000000));
    cr_expect_eq(to.overprovisioning_pct, 200);
    cr_expect_eq(to.panic_pct, 0);
    cr_expect_not(to.spill_by_load);
    cr_expect_eq(to.slow_start_ns, 30 * SECOND);
    cr_expect_eq(to.slow_start_aggression_permille, 1500);
    cr_expect_eq(to.slow_start_min_pct, 5);
    cr_expect_eq(to.limits.endpoint_max_connections, 20);
    cr_expect_eq(to.limits.retry_min_concurrent, 6);
    cr_expect_eq(to.ejection.max_ns, 4 * SECOND);
    cr_expect_eq(to.ejection.success_rate_stdev_permille, 2500);
    cr_expect_eq(to.ejection.failure_pct, 40);
    cr_expect_eq(to.ejection.latency_factor_pct, 0);
    cr_expect_eq(to.connect_ns, 5 * SECOND);
    cr_expect_eq(to.race_ns, SECOND / 4);
    cr_expect(str_eq(to.tier, STR("gold")) && str_eq(to.name, STR("ns/web")));
}

Test(codec_traffic, keeps_every_check)
{
    const struct traffic_policy from = rich();
    struct traffic_policy to;

    cr_assert_eq(traffic_decode_bytes(traffic_encode(&from), &to), 0, "%s", why.ptr);
    cr_assert_eq(to.n_checks, 4);
    for (size_t i = 0; i < 4; i++) {
        const struct health_check *a = &from.checks[i], *b = &to.checks[i];
        cr_expect(a->kind == b->kind && a->port == b->port && a->timeout_ns == b->timeout_ns &&
                      a->interval_ns == b->interval_ns && a->jitter_ns == b->jitter_ns &&
                      a->unhealthy_interval_ns == b->unhealthy_interval_ns &&
                      a->unhealthy_threshold == b->unhealthy_threshold &&
                      a->healthy_threshold == b->healthy_threshold && str_eq(a->path, b->path) &&
                      str_eq(a->host, b->host) && a->status_min == b->status_min &&
                      a->status_max == b->status_max && str_eq(a->grpc_service, b->grpc_service),
                  "check %zu", i);
    }
}

Test(codec_traffic, keeps_each_algorithm_with_what_belongs_to_it)
{
    for (unsigned algorithm = 0; algorithm < ALGORITHMS; algorithm++) {
        struct traffic_policy from = *traffic_policy_default(), to;
        from.algorithm = (enum algorithm)algorithm;
        from.slow_start_ns = SECOND;
        if (algorithm == ALGORITHM_RING_HASH) {
            from.ring_min = 12;
            from.ring_function = RING_MURMUR_HASH_2;
        }
        if (algorithm == ALGORITHM_MAGLEV)
            from.maglev_size = 7;
        cr_assert_eq(traffic_decode_bytes(traffic_encode(&from), &to), 0, "%u: %s", algorithm,
                     why.ptr);
        cr_expect_eq(to.algorithm, algorithm);
        cr_expect_eq(to.slow_start_ns, SECOND, "%u", algorithm);
        cr_expect_eq(to.ring_min, from.ring_min);
        cr_expect_eq(to.ring_function, from.ring_function);
        cr_expect_eq(to.maglev_size, from.maglev_size);
    }
}

Test(codec_traffic, keeps_each_mode_and_switch)
{
    for (unsigned mode = 0; mode < LOCALITY_MODES; mode++) {
        const struct locality_weight locality = {STR("eu"), {0}, 1};
        struct traffic_policy from = *traffic_policy_default(), to;
        from.locality = (enum locality_mode)mode;
        from.localities = &locality;
        from.n_localities = 1;
        from.ejection.is_on = false;
        cr_assert_eq(traffic_decode_bytes(traffic_encode(&from), &to), 0, "%u: %s", mode, why.ptr);
        cr_expect_eq(to.locality, mode);
        cr_expect_not(to.ejection.is_on);
        cr_expect_eq(to.limits.max_connections, 0, "no bound stays none");
        cr_expect_not(to.fail_on_panic);
        cr_expect(to.spill_by_load);
    }
}

Test(codec_traffic, of_another_control_plane_means_what_envoy_makes_of_it)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Cluster__V3__OutlierDetection outlier =
        ENVOY__CONFIG__CLUSTER__V3__OUTLIER_DETECTION__INIT;
    struct traffic_policy policy;

    cr_assert_eq(traffic_decode(&cluster, &policy), 0, "%s", why.ptr);
    cr_expect_eq(policy.algorithm, ALGORITHM_ROUND_ROBIN);
    cr_expect_not(policy.ejection.is_on, "Envoy has none unless it is said");
    cr_expect_eq(policy.panic_pct, 50);
    cr_expect_eq(policy.overprovisioning_pct, 140);
    cr_expect_eq(policy.limits.max_connections, 0);
    cr_expect_eq(policy.locality, LOCALITY_ZONE, "as ours, which Envoy has no word for");
    cluster.outlier_detection = &outlier;
    cr_assert_eq(traffic_decode(&cluster, &policy), 0, "%s", why.ptr);
    cr_expect(policy.ejection.is_on);
    cr_expect_eq(policy.ejection.consecutive_failures, 5);
    cr_expect_eq(policy.ejection.interval_ns, 10 * SECOND);
    cr_expect_eq(policy.ejection.base_ns, 30 * SECOND);
    cr_expect_eq(policy.ejection.max_ns, 300 * SECOND);
    cr_expect_eq(policy.ejection.max_pct, 10);
    cr_expect_eq(policy.ejection.success_rate_stdev_permille, 1900);
    cr_expect_eq(policy.ejection.failure_pct, 0, "not enforced");
}

Test(codec_traffic, a_check_of_another_control_plane_expects_200_alone)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Core__V3__HealthCheck check = ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__INIT;
    Envoy__Config__Core__V3__HealthCheck *list[] = {&check};
    Envoy__Config__Core__V3__HealthCheck__HttpHealthCheck http =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HTTP_HEALTH_CHECK__INIT;
    Google__Protobuf__Duration second = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Protobuf__UInt32Value one = GOOGLE__PROTOBUF__UINT32_VALUE__INIT;
    struct traffic_policy policy;

    second.seconds = one.value = 1;
    check.timeout = check.interval = &second;
    check.unhealthy_threshold = check.healthy_threshold = &one;
    check.health_checker_case =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_HTTP_HEALTH_CHECK;
    check.http_health_check = &http;
    http.path = (char *)(uintptr_t) "/healthz";
    cluster.health_checks = list;
    cluster.n_health_checks = 1;
    cr_assert_eq(traffic_decode(&cluster, &policy), 0, "%s", why.ptr);
    cr_assert_eq(policy.n_checks, 1);
    cr_expect_eq(policy.checks[0].status_min, 200);
    cr_expect_eq(policy.checks[0].status_max, 200);
}

Test(codec_traffic, takes_what_is_cut_off_for_nothing)
{
    const struct traffic_policy from = rich();
    struct str bytes = traffic_encode(&from);
    struct traffic_policy out;

    for (size_t len = 1; len < bytes.len; len++) {
        struct str part = str_sub(bytes, 0, len);
        (void)traffic_decode_bytes(part, &out); /* no crash, no leak; a sanitizer looks on */
    }
    cr_expect_eq(traffic_decode_bytes(str_sub(bytes, 0, bytes.len - 1), &out), -ERR_INVALID);
}
