#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"
#include "proxy/meter/meter.h"
#include "proxy/meter/traffic.h"

TestSuite(traffic, .timeout = 30);

static struct traffic_labels labels_of(const char *source, const char *destination)
{
    struct traffic_labels labels = {0};

    labels.value[LABEL_REPORTER] = STR("source");
    labels.value[LABEL_SOURCE_WORKLOAD] = str_from(source);
    labels.value[LABEL_SOURCE_WORKLOAD_NAMESPACE] = STR("ns");
    labels.value[LABEL_DESTINATION_WORKLOAD] = str_from(destination);
    labels.value[LABEL_DESTINATION_WORKLOAD_NAMESPACE] = STR("ns");
    return labels;
}

/* The page of everything that the workers counted. */
static struct text page_of(struct traffic *const *workers, size_t n)
{
    struct traffic_report *all = traffic_report_of(workers[0]);
    struct text page = {0};

    for (size_t i = 1; i < n; i++)
        traffic_report_merge(all, traffic_report_of(workers[i]));
    traffic_report_write(all, &page);
    traffic_report_free(all);
    return page;
}

/* The sum of the samples of a metric whose line holds part; *n counts them. */
static unsigned long long sum_of(const struct text *page, const char *metric, const char *part,
                                 int *n)
{
    unsigned long long sum = 0, value;
    struct str rest = text_str(page), line;

    *n = 0;
    while (str_split(rest, '\n', &line, &rest)) {
        struct str head, tail;
        if (!str_starts_with(line, str_from(metric)) || !str_contains(line, str_from(part)))
            continue;
        cr_assert(str_rsplit(line, ' ', &head, &tail));
        cr_assert(str_to_u64(tail, UINT64_MAX, (uint64_t *)&value));
        sum += value;
        (*n)++;
    }
    return sum;
}

static void assert_sum(const struct text *page, const char *metric, const char *part, int n,
                       unsigned long long sum)
{
    int found;
    unsigned long long got = sum_of(page, metric, part, &found);

    cr_assert(found == n && got == sum, "%s %s: %d samples with sum %llu", metric, part, found,
              got);
}

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

/* ---- copies that are made in pieces, with counting in between */

enum { KINDS = 40 };

static struct traffic_labels kind(unsigned i)
{
    static char names[KINDS][16];

    (void)snprintf(names[i], sizeof(names[i]), "kind-%02u", i);
    return labels_of(names[i], "b");
}

static void request_of(struct traffic *traffic, unsigned i)
{
    const struct traffic_labels labels = kind(i);

    (void)traffic_request(traffic, &labels, &(struct traffic_request){1000000, 10, 100});
}

/* What a page has of one kind: how often its line is in it, and the numbers that belong together.
 */
struct shown {
    int n;
    unsigned long long requests, counts[3], bytes;
};

static struct shown shown_of(const struct text *page, unsigned i)
{
    static const char *const counts[] = {"istio_request_duration_milliseconds_count{",
                                         "istio_request_bytes_count{",
                                         "istio_response_bytes_count{"};
    struct shown shown;
    char part[32];
    int n;

    (void)snprintf(part, sizeof(part), "\"kind-%02u\"", i);
    shown.requests = sum_of(page, "istio_requests_total{", part, &shown.n);
    for (int k = 0; k < 3; k++)
        shown.counts[k] = sum_of(page, counts[k], part, &n);
    shown.bytes = sum_of(page, "istio_request_bytes_sum{", part, &n);
    return shown;
}

static struct text page_of_copy(struct traffic_copy *copy)
{
    struct traffic_report *report = traffic_copy_end(copy);
    struct text page = {0};

    traffic_report_write(report, &page);
    traffic_report_free(report);
    return page;
}

Test(traffic, a_copy_in_pieces_has_each_series_once_with_numbers_of_one_moment)
{
    struct traffic *traffic = traffic_new();

    for (unsigned i = 0; i < 6; i++)
        request_of(traffic, i);
    struct traffic_copy *copy = traffic_copy_new(traffic);
    cr_assert(traffic_copy_go_on(copy, 2));
    struct traffic_copy *second = traffic_copy_new(traffic);
    for (unsigned i = 0; i < 6; i++)
        request_of(traffic, i);
    request_of(traffic, 6);
    cr_assert_eq(traffic_forget_idle(traffic, STR("ns"), STR("kind-01")), 1, "where the copy is");
    cr_assert_eq(traffic_forget_idle(traffic, STR("ns"), STR("kind-04")), 1, "before it is there");
    request_of(traffic, 1);
    cr_assert(traffic_copy_go_on(second, 100) == false);
    request_of(traffic, 2);
    struct text page = page_of_copy(copy), page_of_second = page_of_copy(second);

    static const unsigned long long first_has[] = {1, 1, 3, 2, 0, 2, 0};
    static const unsigned long long second_has[] = {2, 0, 2, 2, 0, 2, 0};
    for (unsigned i = 0; i < 7; i++) {
        const struct shown a = shown_of(&page, i), b = shown_of(&page_of_second, i);
        cr_expect_eq(a.requests, first_has[i], "%u: %llu", i, a.requests);
        cr_expect_eq(a.n, first_has[i] > 0, "%u", i);
        cr_expect_eq(b.requests, second_has[i], "%u: %llu of the second", i, b.requests);
        cr_expect_eq(b.n, second_has[i] > 0, "%u", i);
    }
    text_fini(&page);
    text_fini(&page_of_second);
    traffic_free(traffic);
}

/* Whatever happens in between, of several copies at once: see struct shown. */
static void copy_at_random(uint64_t seed)
{
    struct traffic *traffic = traffic_new();
    struct rng rng;
    unsigned long long before[KINDS] = {0};
    int forgotten[KINDS] = {0}; /* in which scrape, at last */
    struct traffic_copy *other = NULL;

    rng_seed(&rng, seed);
    for (int scrape = 2; scrape < 8; scrape++) {
        struct traffic_copy *copy = traffic_copy_new(traffic);
        bool goes_on = true;
        while (goes_on) {
            for (unsigned n = rng_below(&rng, 10); n > 0; n--)
                request_of(traffic, rng_below(&rng, KINDS));
            const unsigned leaves = rng_below(&rng, KINDS);
            char name[16];
            (void)snprintf(name, sizeof(name), "kind-%02u", leaves);
            if (rng_below(&rng, 4) == 0 &&
                traffic_forget_idle(traffic, STR("ns"), str_from(name)) > 0)
                forgotten[leaves] = scrape;
            if (!other)
                other = traffic_copy_new(traffic);
            else if (!traffic_copy_go_on(other, 1 + rng_below(&rng, 5))) {
                traffic_report_free(traffic_copy_end(other));
                other = NULL;
            }
            goes_on = traffic_copy_go_on(copy, 1 + rng_below(&rng, 5));
        }
        struct text page = page_of_copy(copy);
        for (unsigned i = 0; i < KINDS; i++) {
            const struct shown shown = shown_of(&page, i);
            cr_assert_leq(shown.n, 1, "%u is there twice (seed %llu)", i, (unsigned long long)seed);
            for (int k = 0; k < 3; k++)
                cr_assert_eq(shown.counts[k], shown.requests, "%u (seed %llu)", i,
                             (unsigned long long)seed);
            cr_assert_eq(shown.bytes, 10 * shown.requests, "%u (seed %llu)", i,
                         (unsigned long long)seed);
            cr_assert(forgotten[i] >= scrape - 1 || shown.requests >= before[i],
                      "%u: %llu after %llu (seed %llu)", i, shown.requests, before[i],
                      (unsigned long long)seed);
            before[i] = shown.requests;
        }
        text_fini(&page);
    }
    if (other)
        traffic_report_free(traffic_copy_end(other));
    traffic_free(traffic);
}

Test(traffic, copies_in_pieces_lose_nothing_and_have_nothing_twice_whatever_happens_meanwhile)
{
    for (uint64_t seed = 1; seed <= 12; seed++)
        copy_at_random(seed);
}

Test(traffic, a_copy_that_is_not_ended_before_its_worker_is_a_broken_contract, .signal = SIGABRT)
{
    struct traffic *traffic = traffic_new();

    (void)traffic_copy_new(traffic);
    traffic_free(traffic);
}
