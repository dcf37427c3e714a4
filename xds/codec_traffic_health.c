/* The health of a Cluster: its active checks, and outlier detection. */
#include "proxy/base/clock.h"
#include "xds/codec_traffic.h"

static void read_http_check(struct reading *reading,
                            const Envoy__Config__Core__V3__HealthCheck__HttpHealthCheck *from,
                            struct health_check *check)
{
    check->kind = CHECK_HTTP;
    check->host = codec_keep(reading->arena, from->host);
    check->path = codec_keep(reading->arena, from->path);
    check->status_min = check->status_max = 200; /* Envoy's */
    if (from->send || from->n_receive > 0)
        codec_reading_refuse(reading,
                             "health_checks.http_health_check: send and receive are not supported");
    if (from->n_expected_statuses > 1)
        codec_reading_refuse(
            reading, "health_checks.http_health_check.expected_statuses: %zu ranges, 1 at most",
            from->n_expected_statuses);
    if (from->n_expected_statuses == 0)
        return;
    const Envoy__Type__V3__Int64Range *range = from->expected_statuses[0];
    if (range->start < 100 || range->end > 600 || range->start >= range->end) {
        codec_reading_refuse(
            reading,
            "health_checks.http_health_check.expected_statuses: [%lld, %lld) is not within "
            "[100, 600)",
            (long long)range->start, (long long)range->end);
        return;
    }
    check->status_min = (uint16_t)range->start;
    check->status_max = (uint16_t)(range->end - 1);
}

static void read_check_kind(struct reading *reading,
                            const Envoy__Config__Core__V3__HealthCheck *from,
                            struct health_check *check)
{
    switch (from->health_checker_case) {
    case ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_HTTP_HEALTH_CHECK:
        read_http_check(reading, from->http_health_check, check);
        return;
    case ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_TCP_HEALTH_CHECK:
        check->kind = from->tls_options ? CHECK_TLS : CHECK_TCP;
        if (from->tcp_health_check->send || from->tcp_health_check->n_receive > 0)
            codec_reading_refuse(
                reading, "health_checks.tcp_health_check: send and receive are not supported");
        return;
    case ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_GRPC_HEALTH_CHECK:
        check->kind = CHECK_GRPC;
        check->grpc_service = codec_keep(reading->arena, from->grpc_health_check->service_name);
        return;
    case ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER__NOT_SET: break;
    case _ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER__CASE_IS_INT_SIZE: break;
    }
    codec_reading_refuse(reading, "health_checks: neither a TCP, an HTTP nor a gRPC check");
}

static void read_check(struct reading *reading, const Envoy__Config__Core__V3__HealthCheck *from,
                       struct health_check *check)
{
    const uint32_t port = codec_u32_of(from->alt_port, 0);

    check->timeout_ns = codec_duration_of(reading, from->timeout, "health_checks.timeout", 0);
    check->interval_ns = codec_duration_of(reading, from->interval, "health_checks.interval", 0);
    check->jitter_ns =
        codec_duration_of(reading, from->interval_jitter, "health_checks.interval_jitter", 0);
    if (from->interval_jitter_percent > 100)
        codec_reading_refuse(reading, "health_checks.interval_jitter_percent: %u is over 100",
                             from->interval_jitter_percent);
    check->jitter_ns += check->interval_ns / 100 * from->interval_jitter_percent;
    check->unhealthy_interval_ns =
        codec_duration_of(reading, from->unhealthy_interval, "health_checks.unhealthy_interval", 0);
    check->unhealthy_threshold = codec_u32_of(from->unhealthy_threshold, 0);
    check->healthy_threshold = codec_u32_of(from->healthy_threshold, 0);
    if (port > UINT16_MAX)
        codec_reading_refuse(reading, "health_checks.alt_port: %u is not a port (1 to 65535)",
                             port);
    check->port = (uint16_t)port;
    read_check_kind(reading, from, check);
}

void codec_read_checks(struct reading *reading, const Envoy__Config__Cluster__V3__Cluster *cluster)
{
    struct health_check *checks;

    if (cluster->n_health_checks > TRAFFIC_CHECKS_MAX) {
        codec_reading_refuse(reading, "health_checks: there are %zu, %d at most",
                             cluster->n_health_checks, TRAFFIC_CHECKS_MAX);
        return;
    }
    checks = arena_new_array(reading->arena, struct health_check, cluster->n_health_checks);
    for (size_t i = 0; i < cluster->n_health_checks; i++)
        read_check(reading, cluster->health_checks[i], &checks[i]);
    reading->policy->checks = checks;
    reading->policy->n_checks = cluster->n_health_checks;
}

/* Envoy enforces what it detects with a probability; here it is always or never. */
static bool is_enforced(struct reading *reading, const Google__Protobuf__UInt32Value *from,
                        const char *field, uint32_t fallback)
{
    const uint32_t pct = codec_u32_of(from, fallback);

    if (pct != 0 && pct != 100)
        codec_reading_refuse(reading, "outlier_detection.%s: %u is neither 0 nor 100", field, pct);
    return pct != 0;
}

static void read_rates(struct reading *reading,
                       const Envoy__Config__Cluster__V3__OutlierDetection *from)
{
    struct ejection *to = &reading->policy->ejection;

    to->success_rate_stdev_permille =
        is_enforced(reading, from->enforcing_success_rate, "enforcing_success_rate", 100)
            ? codec_u32_of(from->success_rate_stdev_factor, 1900)
            : 0;
    to->success_rate_min_hosts = codec_u32_of(from->success_rate_minimum_hosts, 5);
    to->success_rate_min_volume = codec_u32_of(from->success_rate_request_volume, 100);
    to->failure_pct =
        is_enforced(reading, from->enforcing_failure_percentage, "enforcing_failure_percentage", 0)
            ? codec_u32_of(from->failure_percentage_threshold, 85)
            : 0;
    to->failure_pct_min_hosts = codec_u32_of(from->failure_percentage_minimum_hosts, 5);
    to->failure_pct_min_volume = codec_u32_of(from->failure_percentage_request_volume, 50);
}

void codec_read_ejection(struct reading *reading,
                         const Envoy__Config__Cluster__V3__OutlierDetection *from)
{
    struct ejection *to = &reading->policy->ejection;

    to->is_on = from != NULL;
    if (!from)
        return;
    to->interval_ns =
        codec_duration_of(reading, from->interval, "outlier_detection.interval", 10 * NS_PER_SEC);
    to->base_ns = codec_duration_of(reading, from->base_ejection_time,
                                    "outlier_detection.base_ejection_time", 30 * NS_PER_SEC);
    to->max_ns = codec_duration_of(reading, from->max_ejection_time,
                                   "outlier_detection.max_ejection_time", 300 * NS_PER_SEC);
    if (!from->max_ejection_time && to->max_ns < to->base_ns)
        to->max_ns = to->base_ns;
    to->max_pct = codec_u32_of(from->max_ejection_percent, 10);
    to->consecutive_failures =
        is_enforced(reading, from->enforcing_consecutive_5xx, "enforcing_consecutive_5xx", 100)
            ? codec_u32_of(from->consecutive_5xx, 5)
            : 0;
    read_rates(reading, from);
}
