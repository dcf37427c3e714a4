#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/meter/meter.h"
#include "traffic_page.h"

TestSuite(traffic, .timeout = 30);

Test(traffic, flows_with_equal_labels_share_a_series)
{
    struct traffic *traffic = traffic_new();
    struct traffic_labels a = labels_of("a", "b"), again = labels_of("a", "b"),
                          c = labels_of("ab", "");

    struct traffic_series *first = traffic_open(traffic, &a),
                          *second = traffic_open(traffic, &again);
    struct traffic_series *other = traffic_open(traffic, &c);
    cr_assert_eq(first, second);
    cr_assert_neq(first, other, "labels must not run into each other");
    traffic_bytes(first, 10, 20);
    traffic_bytes(second, 1, 2);
    traffic_close(first, ERR_OK);
    struct text page = page_of(&traffic, 1);

    assert_sum(&page, "istio_tcp_connections_opened_total{", "source_workload=\"a\"", 1, 2);
    assert_sum(&page, "istio_tcp_connections_closed_total{", "source_workload=\"a\"", 1, 1);
    assert_sum(&page, "istio_tcp_received_bytes_total{", "source_workload=\"a\"", 1, 11);
    assert_sum(&page, "istio_tcp_sent_bytes_total{", "source_workload=\"a\"", 1, 22);
    assert_sum(&page, "istio_tcp_connections_opened_total{", "", 2, 3);
    text_fini(&page);
    traffic_free(traffic);
}

Test(traffic, a_sample_has_ztunnels_labels_and_unknown_for_what_is_empty)
{
    struct traffic *traffic = traffic_new();
    struct traffic_labels labels = labels_of("a\"b", "c");

    (void)traffic_open(traffic, &labels);
    struct text page = page_of(&traffic, 1);

    cr_assert_not_null(strstr(
        page.ptr,
        "istio_tcp_connections_opened_total{reporter=\"source\",source_workload=\"a\\\"b\","
        "source_canonical_service=\"unknown\",source_canonical_revision=\"unknown\","
        "source_workload_namespace=\"ns\",source_principal=\"unknown\",source_app=\"unknown\","
        "source_version=\"unknown\",source_cluster=\"unknown\",destination_service=\"unknown\","
        "destination_service_namespace=\"unknown\",destination_service_name=\"unknown\","
        "destination_workload=\"c\",destination_canonical_service=\"unknown\","
        "destination_canonical_revision=\"unknown\",destination_workload_namespace=\"ns\","
        "destination_principal=\"unknown\",destination_app=\"unknown\","
        "destination_version=\"unknown\",destination_cluster=\"unknown\","
        "request_protocol=\"unknown\",connection_security_policy=\"unknown\","
        "response_flags=\"-\"} 1\n"));
    text_fini(&page);
    traffic_free(traffic);
}

Test(traffic, a_series_keeps_its_own_labels)
{
    struct traffic *traffic = traffic_new();
    char name[] = "web";
    struct traffic_labels labels = labels_of(name, "b");

    struct traffic_series *series = traffic_open(traffic, &labels);
    name[0] = 'X';

    cr_assert(str_eq(traffic_label(series, LABEL_SOURCE_WORKLOAD), STR("web")));
    cr_assert(str_eq(traffic_label(series, LABEL_CONNECTION_SECURITY_POLICY), STR("")));
    traffic_free(traffic);
}

Test(traffic, a_label_that_is_too_long_is_cut)
{
    struct traffic *traffic = traffic_new();
    char *endless = mem_alloc(70001);
    struct traffic_labels labels = labels_of("", "b");

    memset(endless, 'x', 70001);
    labels.value[LABEL_SOURCE_WORKLOAD] = str_of(endless, 70001);
    struct traffic_series *series = traffic_open(traffic, &labels);

    cr_assert_eq(traffic_label(series, LABEL_SOURCE_WORKLOAD).len, TRAFFIC_LABEL_BYTES_MAX);
    cr_assert(str_eq(traffic_label(series, LABEL_DESTINATION_WORKLOAD), STR("b")));
    mem_free(endless);
    traffic_free(traffic);
}

Test(traffic, the_reason_decides_flag_and_failure)
{
    static const struct {
        int err;
        const char *flag;
        bool failed;
    } rows[] = {
        {ERR_OK, "-", false},
        {ERR_RESET, "-", false},
        {ERR_CLIENT_RESET, "-", false},
        {ERR_UPSTREAM_RESET, "-", false},
        {-ERR_RESET, "-", false},
        {ERR_REFUSED, "CONNECT", true},
        {-ERR_REFUSED, "CONNECT", true},
        {ERR_DENIED, "DENY", true},
        {ERR_IDLE_TIMEOUT, "-", true},
        {ERR_TLS_CHAIN, "TLS_FAILURE", true},
        {ERR_H2, "H2_HANDSHAKE_FAILURE", true},
        {ERR_NETWORK_POLICY, "NETWORK_POLICY", true},
        {ERR_NO_IDENTITY, "IDENTITY_ERROR", true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct traffic *traffic = traffic_new();
        struct traffic_labels labels = labels_of("a", "b");
        char part[64];
        traffic_close(traffic_open(traffic, &labels), rows[i].err);
        struct text page = page_of(&traffic, 1);
        (void)snprintf(part, sizeof(part), "response_flags=\"%s\"} 1", rows[i].flag);
        assert_sum(&page, "istio_tcp_connections_closed_total{", part, 1, 1);
        assert_sum(&page, "istio_tcp_connections_failed_total{", part, rows[i].failed,
                   rows[i].failed);
        text_fini(&page);
        traffic_free(traffic);
    }
}

/* A word that errors.def has and the table of flags lacks would be counted as "-". */
Test(traffic, every_flag_of_every_error_is_written)
{
    for (int err = 0; err < ERR_COUNT; err++) {
        struct traffic *traffic = traffic_new();
        struct traffic_labels labels = labels_of("a", "b");
        char part[64];
        traffic_close(traffic_open(traffic, &labels), err);
        struct text page = page_of(&traffic, 1);
        (void)snprintf(part, sizeof(part), "response_flags=\"%s\"", err_info(err)->flag);
        assert_sum(&page, "istio_tcp_connections_closed_total{", part, 1, 1);
        text_fini(&page);
        traffic_free(traffic);
    }
}

Test(traffic, workers_reports_add_up)
{
    struct traffic *workers[3];
    struct traffic_labels shared = labels_of("a", "b");

    for (int i = 0; i < 3; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "own%d", i);
        struct traffic_labels own = labels_of(name, "b");
        workers[i] = traffic_new();
        traffic_bytes(traffic_open(workers[i], &shared), 1, 10);
        traffic_close(traffic_open(workers[i], &shared), ERR_REFUSED);
        (void)traffic_open(workers[i], &own);
    }
    struct text page = page_of(workers, 3);

    assert_sum(&page, "istio_tcp_connections_opened_total{", "source_workload=\"a\"", 1, 6);
    assert_sum(&page, "istio_tcp_connections_opened_total{", "source_workload=\"own", 3, 3);
    assert_sum(&page, "istio_tcp_received_bytes_total{", "source_workload=\"a\"", 1, 3);
    assert_sum(&page, "istio_tcp_sent_bytes_total{", "source_workload=\"a\"", 1, 30);
    assert_sum(&page, "istio_tcp_connections_failed_total{", "\"CONNECT\"", 1, 3);
    text_fini(&page);
    for (int i = 0; i < 3; i++)
        traffic_free(workers[i]);
}

Test(traffic, a_report_outlives_its_worker)
{
    struct traffic *traffic = traffic_new();
    struct traffic_labels labels = labels_of("a", "b");
    struct text page = {0};

    (void)traffic_open(traffic, &labels);
    struct traffic_report *report = traffic_report_of(traffic);
    (void)traffic_open(traffic, &labels);
    traffic_free(traffic);
    traffic_report_write(report, &page);

    assert_sum(&page, "istio_tcp_connections_opened_total{", "source_workload=\"a\"", 1, 1);
    traffic_report_free(report);
    traffic_report_free(NULL);
    text_fini(&page);
}

Test(traffic, help_stands_once_a_metric_even_without_series)
{
    struct traffic *traffic = traffic_new();
    struct text page = page_of(&traffic, 1);
    int n = 0;

    for (const char *at = page.ptr; (at = strstr(at, "# HELP ")) != NULL; at++)
        n++;
    cr_assert_eq(n, 10);
    cr_assert_not_null(strstr(page.ptr, "# TYPE istio_tcp_connections_failed_total counter"));
    const char *failed = strstr(page.ptr, "# HELP istio_tcp_connections_failed_total ");
    cr_assert_not_null(failed);
    cr_assert_lt(strstr(failed, "unstable"), strchr(failed, '\n'));
    text_fini(&page);
    traffic_free(traffic);
}

Test(traffic, beyond_the_bound_flows_count_as_overflow)
{
    struct traffic *traffic = traffic_new();
    const int extra = 7;

    for (int i = 0; i < TRAFFIC_SERIES_MAX + extra; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "w%d", i);
        struct traffic_labels labels = labels_of(name, "b");
        struct traffic_series *series = traffic_open(traffic, &labels);
        bool over = str_eq(traffic_label(series, LABEL_SOURCE_WORKLOAD), STR("overflow"));
        cr_assert_eq(over, i >= TRAFFIC_SERIES_MAX);
        traffic_close(series, ERR_OK);
    }
    cr_assert_eq(meter_total(METRIC_SERIES_OVERFLOW), extra);
    struct traffic_labels known = labels_of("w0", "b");
    cr_assert(
        str_eq(traffic_label(traffic_open(traffic, &known), LABEL_SOURCE_WORKLOAD), STR("w0")),
        "what is known stays known");
    traffic_free(traffic);
    cr_assert_eq(meter_total(METRIC_SERIES_OVERFLOW), extra);
}

Test(traffic, strangers_leave_room_for_whom_we_know)
{
    struct traffic *traffic = traffic_new();
    char name[16];

    for (int i = 0; i < TRAFFIC_STRANGERS_MAX + 7; i++) {
        (void)snprintf(name, sizeof(name), "s%d", i);
        struct traffic_labels labels = labels_of(name, "b");
        labels.are_strangers = true;
        labels.value[LABEL_REPORTER] = STR("destination");
        struct traffic_series *series = traffic_open(traffic, &labels);
        bool over = str_eq(traffic_label(series, LABEL_SOURCE_WORKLOAD), STR("overflow"));
        cr_assert_eq(over, i >= TRAFFIC_STRANGERS_MAX);
        traffic_close(series, ERR_OK);
    }
    struct traffic_labels known = labels_of("w0", "c");
    struct traffic_series *series = traffic_open(traffic, &known);
    cr_assert(str_eq(traffic_label(series, LABEL_SOURCE_WORKLOAD), STR("w0")));
    traffic_close(series, ERR_OK);

    cr_assert_eq(traffic_forget_idle(traffic, STR("ns"), STR("b")), TRAFFIC_STRANGERS_MAX);
    struct traffic_labels stranger = labels_of("anew", "b");
    stranger.are_strangers = true;
    series = traffic_open(traffic, &stranger);
    cr_assert(str_eq(traffic_label(series, LABEL_SOURCE_WORKLOAD), STR("anew")));
    traffic_close(series, ERR_OK);
    traffic_free(traffic);
}

Test(traffic, a_page_that_is_too_long_ends_at_a_line)
{
    struct traffic *traffic = traffic_new();
    struct text page = {.limit = 5000};

    for (int i = 0; i < 100; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "w%d", i);
        struct traffic_labels labels = labels_of(name, "b");
        (void)traffic_open(traffic, &labels);
    }
    struct traffic_report *report = traffic_report_of(traffic);
    traffic_report_write(report, &page);

    cr_assert(page.truncated);
    cr_assert_gt(page.len, 3000);
    cr_assert_eq(page.ptr[page.len - 1], '\n');
    cr_assert_eq(strlen(page.ptr), page.len);
    traffic_report_free(report);
    traffic_free(traffic);
    text_fini(&page);
}

Test(traffic, what_a_workload_reported_is_forgotten_when_it_left_and_its_flows_ended)
{
    struct traffic *traffic = traffic_new();
    struct traffic_labels ours = labels_of("a", "b"), other = labels_of("c", "a");
    struct traffic_labels inbound = labels_of("c", "a");

    inbound.value[LABEL_REPORTER] = STR("destination");
    struct traffic_series *open = traffic_open(traffic, &ours);
    traffic_close(traffic_open(traffic, &other), ERR_OK);
    traffic_close(traffic_open(traffic, &inbound), ERR_OK);
    cr_assert_eq(traffic_forget_idle(traffic, STR("elsewhere"), STR("a")), 0);
    cr_assert_eq(traffic_forget_idle(traffic, STR("ns"), STR("a")), 1, "the inbound one");
    traffic_close(open, ERR_OK);
    cr_assert_eq(traffic_forget_idle(traffic, STR("ns"), STR("a")), 1, "now the outbound one");
    struct text page = page_of(&traffic, 1);

    assert_sum(&page, "istio_tcp_connections_opened_total{", "", 1, 1);
    assert_sum(&page, "istio_tcp_connections_opened_total{", "source_workload=\"c\"", 1, 1);
    text_fini(&page);
    traffic_free(traffic);
}

Test(traffic, closing_twice_is_a_broken_contract, .signal = SIGABRT)
{
    struct traffic *traffic = traffic_new();
    struct traffic_labels labels = labels_of("a", "b");
    struct traffic_series *series = traffic_open(traffic, &labels);

    traffic_close(series, ERR_OK);
    traffic_close(series, ERR_OK);
}

static struct traffic_labels request_labels(const char *code, const char *grpc)
{
    struct traffic_labels labels = labels_of("a", "b");

    labels.value[LABEL_REQUEST_PROTOCOL] = STR("http");
    labels.value[LABEL_RESPONSE_CODE] = str_from(code);
    labels.value[LABEL_GRPC_RESPONSE_STATUS] = str_from(grpc);
    labels.value[LABEL_RESPONSE_FLAGS] = STR("-");
    return labels;
}

Test(traffic, requests_of_two_workers_add_up_by_code_in_buckets_that_hold_those_below)
{
    struct traffic *workers[] = {traffic_new(), traffic_new()};
    const struct traffic_labels good = request_labels("200", ""), bad = request_labels("503", "");
    const struct traffic_request quick = {400000, 0, 100}, slow = {3000000000, 7, 4000000};

    traffic_request(workers[0], &good, &quick);
    traffic_request(workers[1], &good, &slow);
    traffic_request(workers[1], &bad, &quick);
    struct text page = page_of(workers, 2);

    assert_sum(&page, "istio_requests_total{", "response_code=\"200\"", 1, 2);
    assert_sum(&page, "istio_requests_total{", "response_code=\"503\"", 1, 1);
    assert_sum(&page, "istio_request_duration_milliseconds_bucket{",
               "response_code=\"200\",response_flags=\"-\",le=\"0.5\"", 1, 1);
    assert_sum(&page, "istio_request_duration_milliseconds_bucket{",
               "response_code=\"200\",response_flags=\"-\",le=\"2500\"", 1, 1);
    assert_sum(&page, "istio_request_duration_milliseconds_bucket{",
               "response_code=\"200\",response_flags=\"-\",le=\"5000\"", 1, 2);
    assert_sum(&page, "istio_response_bytes_bucket{",
               "response_code=\"200\",response_flags=\"-\",le=\"+Inf\"", 1, 2);
    assert_sum(&page, "istio_response_bytes_sum{", "response_code=\"200\"", 1, 4000100);
    assert_sum(&page, "istio_tcp_connections_opened_total{", "", 0, 0);
    cr_assert_null(strstr(page.ptr, "grpc_response_status"));
    text_fini(&page);
    traffic_free(workers[0]);
    traffic_free(workers[1]);
}

Test(traffic, requests_that_take_turns_or_were_forgotten_count_under_their_own_labels)
{
    struct traffic *traffic = traffic_new();
    const struct traffic_labels good = request_labels("200", ""), bad = request_labels("503", "");
    struct traffic_labels like_good = request_labels("200", "");
    like_good.value[LABEL_SOURCE_WORKLOAD] = STR("c"); /* as long as "a" */

    for (int i = 0; i < 3; i++) {
        traffic_request(traffic, &good, &(struct traffic_request){0});
        traffic_request(traffic, &like_good, &(struct traffic_request){0});
        traffic_request(traffic, &bad, &(struct traffic_request){0});
    }
    struct text page = page_of(&traffic, 1);
    assert_sum(&page, "istio_requests_total{", "response_code=\"200\"", 2, 6);
    assert_sum(&page, "istio_requests_total{", "source_workload=\"c\"", 1, 3);
    assert_sum(&page, "istio_requests_total{", "response_code=\"503\"", 1, 3);
    text_fini(&page);

    cr_assert_eq(traffic_forget_idle(traffic, STR("ns"), STR("a")), 2);
    traffic_request(traffic, &good, &(struct traffic_request){0});
    page = page_of(&traffic, 1);
    assert_sum(&page, "istio_requests_total{", "source_workload=\"a\"", 1, 1);
    assert_sum(&page, "istio_requests_total{", "source_workload=\"c\"", 1, 3);
    text_fini(&page);
    traffic_free(traffic);
}

Test(traffic, a_series_that_is_held_is_not_forgotten_and_counts_on)
{
    struct traffic *traffic = traffic_new();
    const struct traffic_labels good = request_labels("200", "");

    struct traffic_series *held = traffic_request(traffic, &good, &(struct traffic_request){0});
    traffic_hold(held);
    cr_expect_eq(traffic_forget_idle(traffic, STR("ns"), STR("a")), 0);
    traffic_request_again(held, &(struct traffic_request){0});
    struct text page = page_of(&traffic, 1);
    assert_sum(&page, "istio_requests_total{", "source_workload=\"a\"", 1, 2);
    text_fini(&page);
    traffic_let_go(held);
    cr_expect_eq(traffic_forget_idle(traffic, STR("ns"), STR("a")), 1);
    traffic_hold(NULL);
    traffic_let_go(NULL);
    traffic_free(traffic);
}

Test(traffic, a_grpc_request_has_its_status_as_a_label)
{
    struct traffic *traffic = traffic_new();
    const struct traffic_labels labels = request_labels("200", "14");

    traffic_request(traffic, &labels, &(struct traffic_request){0});
    struct text page = page_of(&traffic, 1);
    assert_sum(&page, "istio_requests_total{", "grpc_response_status=\"14\"", 1, 1);
    text_fini(&page);
    traffic_free(traffic);
}

Test(traffic, verdicts_of_two_workers_add_up_by_policy_and_word)
{
    struct traffic *workers[] = {traffic_new(), traffic_new()};

    traffic_verdict(workers[0], STR("shop/only"), SAID_DENY);
    traffic_verdict(workers[1], STR("shop/only"), SAID_DENY);
    traffic_verdict(workers[1], STR("shop/only"), SAID_WOULD_ALLOW);
    traffic_verdict(workers[1], (struct str){0}, SAID_ALLOW);
    struct text page = page_of(workers, 2);
    assert_sum(&page, "isthmus_policy_verdicts_total{", "policy=\"shop/only\",verdict=\"deny\"", 1,
               2);
    assert_sum(&page, "isthmus_policy_verdicts_total{",
               "policy=\"shop/only\",verdict=\"would-allow\"", 1, 1);
    assert_sum(&page, "isthmus_policy_verdicts_total{", "policy=\"none\",verdict=\"allow\"", 1, 1);
    assert_sum(&page, "isthmus_policy_verdicts_total{", "", 3, 4);
    text_fini(&page);
    traffic_free(workers[0]);
    traffic_free(workers[1]);
}

Test(traffic, policies_beyond_the_bound_count_for_overflow)
{
    struct traffic *traffic = traffic_new();
    char name[32];

    for (int i = 0; i < VERDICTS_POLICIES_MAX + 50; i++) {
        (void)snprintf(name, sizeof name, "shop/%d", i);
        traffic_verdict(traffic, str_from(name), SAID_ALLOW);
    }
    struct text page = page_of(&traffic, 1);
    assert_sum(&page, "isthmus_policy_verdicts_total{", "policy=\"overflow\"", 1, 50);
    text_fini(&page);
    traffic_free(traffic);
}
