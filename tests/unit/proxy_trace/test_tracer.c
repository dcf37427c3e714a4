/* Spans on their way to a collector that is well, slow, unwilling, or not there. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/io/tcp.h"
#include "proxy/trace/tracer.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/loopback.h"

TestSuite(trace_tracer, .timeout = 60);

#define PATIENCE_MS 20000
#define OK          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define SAYS(rest)  "HTTP/1.1 " rest "\r\nContent-Length: 0\r\n\r\n"

#define ASKED_MAX 8

static struct loop *loop;
static struct listener *listener;
static struct tracer *tracer;
static const char *answers[ASKED_MAX]; /* to one request after the other; NULL: 200; "": none */
static struct exporter_times times;    /* 0: the usual ones */
static struct text asked[ASKED_MAX];
static unsigned n_asked, n_open;
static struct stream *streams[ASKED_MAX];

/* ---- the collector ---- */

/* A whole request is there when its body is as long as it says. */
static bool is_whole(const struct text *request)
{
    const char *length = request->ptr ? strstr(request->ptr, "Content-Length: ") : NULL;
    const char *end = request->ptr ? strstr(request->ptr, "\r\n\r\n") : NULL;
    return length && end &&
           request->len - (size_t)(end + 4 - request->ptr) >= strtoul(length + 16, NULL, 10);
}

static void on_data(void *owner, struct slice bytes)
{
    const unsigned i = (unsigned)(size_t)owner;
    text_add(&asked[i], slice_str(bytes));
    if (!is_whole(&asked[i]))
        return;
    const char *answer = answers[i] ? answers[i] : OK;
    n_asked++;
    if (!*answer)
        return;
    (void)stream_write_copy(streams[i], answer, strlen(answer));
    stream_shutdown(streams[i]);
    stream_close(streams[i], 0);
    streams[i] = NULL;
}

static void on_gone(void *owner)
{
    (void)owner;
}

static void on_fail(void *owner, int err)
{
    const unsigned i = (unsigned)(size_t)owner;
    stream_close(streams[i], err);
    streams[i] = NULL;
}

static const struct stream_events events = {on_data, on_gone, on_gone, on_fail};

static void on_accept(void *owner, struct stream *stream)
{
    (void)owner;
    cr_assert_lt(n_open, ASKED_MAX);
    streams[n_open] = stream;
    stream_set_owner(stream, &events, (void *)(size_t)n_open++);
    stream_resume(stream);
}

/* ---- the tracer ---- */

static void open_with(size_t ring_bytes, bool is_there)
{
    static const struct http_field fields[] = {{{"x-tenant", 8}, {"shop", 4}}};
    const struct addr local = {.ip = loopback_own(0)}; /* nobody listens there but we */
    static char host[IP_TEXT_MAX];
    int errnum;
    loop = loop_new();
    cr_assert_eq(listener_open(loop, &local, &(struct listener_options){0}, on_accept, NULL,
                               &listener, &errnum),
                 0);
    const struct tracer_options options = {
        .collector = {.host = str_from(ip_text(&local.ip, host)),
                      .port = listener_addr(listener).port,
                      .path = STR("/v1/traces"),
                      .is_plain = true,
                      .fields = {.at = fields, .len = 1},
                      .times = times},
        .origin = {STR("n1"), STR("west"), STR("1")},
        .sampling_ppm = TRACE_ALL_PPM,
        .n_workers = 1,
        .ring_bytes = ring_bytes,
    };
    if (!is_there) {
        listener_close(listener);
        listener = NULL;
    }
    tracer = tracer_open(loop, &options);
}

static void finish(void)
{
    if (listener)
        listener_close(listener);
    for (unsigned i = 0; i < ASKED_MAX; i++) {
        if (streams[i])
            stream_close(streams[i], -ERR_SHUTDOWN);
        text_fini(&asked[i]);
    }
    loop_finish(loop);
}

static void make_spans(unsigned n)
{
    struct tracer_pen *pen = tracer_pen(tracer, 0);
    struct trace_context context = {.flags = TRACE_SAMPLED};
    for (unsigned i = 0; i < n; i++) {
        memcpy(context.trace_id, &i, sizeof i);
        context.span_id[0] = 1;
        struct span *span = tracer_begin(pen, &context, SPAN_CLIENT);
        span_text(span, SPAN_NAME, STR("GET"));
        span_text(span, SPAN_SERVICE, STR("cart.shop"));
        tracer_commit(pen, 1, 2, false);
    }
}

struct wanted {
    enum metric metric;
    int64_t total;
};

static bool has_counted(void *ctx)
{
    const struct wanted *wanted = ctx;
    return meter_total(wanted->metric) >= wanted->total;
}

static bool counted(enum metric metric, int64_t total)
{
    struct wanted wanted = {metric, total};
    return run_until(loop, has_counted, &wanted, PATIENCE_MS);
}

Test(trace_tracer, spans_arrive_in_one_request_and_are_counted, .fini = finish)
{
    open_with(0, true);
    make_spans(3);
    cr_assert(counted(METRIC_SPANS_EXPORTED, 3));
    cr_expect_eq(n_asked, 1);
    cr_expect(str_starts_with(text_str(&asked[0]), STR("POST /v1/traces HTTP/1.1\r\n")));
    cr_expect(str_contains(text_str(&asked[0]), STR("Content-Type: application/x-protobuf\r\n")));
    cr_expect(str_contains(text_str(&asked[0]), STR("x-tenant: shop\r\n")));
    cr_expect(str_contains(text_str(&asked[0]), STR("cart.shop")));
    tracer_close(tracer);
}

Test(trace_tracer, a_batch_that_was_not_taken_is_sent_again_as_it_was, .fini = finish)
{
    answers[0] = SAYS("503 Service Unavailable\r\nRetry-After: 2");
    answers[1] = SAYS("429 Too Many Requests");
    open_with(0, true);
    make_spans(2);
    const uint64_t began_ns = loop_now_ns(loop);
    cr_assert(counted(METRIC_SPANS_EXPORTED, 2));
    cr_expect_geq(loop_now_ns(loop) - began_ns, 2 * NS_PER_SEC, "as the collector asked");
    cr_expect_eq(n_asked, 3);
    cr_expect(str_eq(text_str(&asked[0]), text_str(&asked[2])));
    cr_expect_eq(meter_total(METRIC_SPAN_EXPORTS_FAILED), 2);
    tracer_close(tracer);
    cr_expect_eq(meter_total(METRIC_SPANS_LOST_UNAVAILABLE), 0);
}

#define UNWELL SAYS("503 Service Unavailable")

/* The first failure begins it, and the second is beyond. */
Test(trace_tracer, a_batch_is_given_up_when_patience_is_over_and_the_next_has_its_own,
     .fini = finish)
{
    answers[0] = answers[1] = answers[2] = UNWELL;
    times = (struct exporter_times){.wait_ns = 1, .pause_ns = NS_PER_MS, .patience_ns = 1};
    open_with(0, true);
    make_spans(4);
    cr_assert(counted(METRIC_SPANS_LOST_UNAVAILABLE, 4));
    cr_expect_eq(n_asked, 2);
    make_spans(3);
    cr_assert(counted(METRIC_SPANS_EXPORTED, 3), "after one failure, for which there is patience");
    cr_expect_eq(n_asked, 4);
    cr_expect_eq(meter_total(METRIC_SPANS_LOST_UNAVAILABLE), 4);
    tracer_close(tracer);
}

Test(trace_tracer, pauses_double, .fini = finish)
{
    const uint64_t first_ns = 40 * NS_PER_MS;
    answers[0] = answers[1] = answers[2] = UNWELL;
    times = (struct exporter_times){.wait_ns = 1, .pause_ns = first_ns};
    open_with(0, true);
    make_spans(1);
    const uint64_t began_ns = loop_now_ns(loop);
    cr_assert(counted(METRIC_SPANS_EXPORTED, 1));
    cr_expect_eq(n_asked, 4);
    cr_expect_geq(loop_now_ns(loop) - began_ns, (1 + 2 + 4) * first_ns / 2,
                  "jitter takes half of each at most");
    tracer_close(tracer);
}

Test(trace_tracer, a_collector_may_ask_for_no_more_than_the_longest_pause, .fini = finish)
{
    answers[0] = SAYS("503 Service Unavailable\r\nRetry-After: 4000000000");
    times = (struct exporter_times){.wait_ns = 1, .pause_ns = 1, .pause_max_ns = 50 * NS_PER_MS};
    open_with(0, true);
    make_spans(1);
    const uint64_t began_ns = loop_now_ns(loop);
    cr_assert(counted(METRIC_SPANS_EXPORTED, 1));
    cr_expect_geq(loop_now_ns(loop) - began_ns, 50 * NS_PER_MS);
    tracer_close(tracer);
}

Test(trace_tracer, a_collector_that_does_not_answer_in_time_is_asked_again, .fini = finish)
{
    answers[0] = "";
    times =
        (struct exporter_times){.wait_ns = 1, .timeout_ns = 300 * NS_PER_MS, .pause_ns = NS_PER_MS};
    open_with(0, true);
    make_spans(2);
    cr_assert(counted(METRIC_SPANS_EXPORTED, 2));
    cr_expect_geq(n_asked, 2);
    cr_expect_geq(meter_total(METRIC_SPAN_EXPORTS_FAILED), 1);
    cr_expect_eq(meter_total(METRIC_SPANS_LOST_UNAVAILABLE), 0);
    tracer_close(tracer);
}

Test(trace_tracer, what_the_collector_refuses_is_not_sent_again, .fini = finish)
{
    answers[0] = SAYS("400 Bad Request");
    answers[1] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x01";
    open_with(0, true);
    make_spans(5);
    cr_assert(counted(METRIC_SPANS_LOST_REFUSED, 5));
    make_spans(3);
    cr_assert(counted(METRIC_SPANS_EXPORTED, 2));
    cr_expect_eq(meter_total(METRIC_SPANS_LOST_REFUSED), 6, "one of a partial success");
    cr_expect_eq(n_asked, 2);
    tracer_close(tracer);
}

Test(trace_tracer, a_ring_that_overflows_loses_spans_and_counts_them, .fini = finish)
{
    open_with(4096, true);
    make_spans(1000);
    cr_assert(counted(METRIC_SPANS_EXPORTED, 1));
    const int64_t lost = meter_total(METRIC_SPANS_LOST_OVERRUN);
    cr_expect_gt(lost, 900);
    cr_expect_eq(lost + meter_total(METRIC_SPANS_EXPORTED), 1000);
    tracer_close(tracer);
}

Test(trace_tracer, a_collector_that_is_gone_costs_the_oldest_spans, .fini = finish)
{
    open_with((size_t)4 << 20, false);
    make_spans(1);
    cr_assert(counted(METRIC_SPAN_EXPORTS_FAILED, 1)); /* that one is in the batch now */
    for (unsigned n = 0; n < EXPORTER_QUEUE_SPANS + 1000; n += 1000)
        make_spans(1000);
    cr_assert(counted(METRIC_SPANS_LOST_QUEUE, 1));
    tracer_close(tracer);
    cr_expect_eq(meter_total(METRIC_SPANS_LOST_QUEUE) + meter_total(METRIC_SPANS_LOST_UNAVAILABLE),
                 10001);
    cr_expect_eq(meter_total(METRIC_SPANS_LOST_UNAVAILABLE), EXPORTER_QUEUE_SPANS + 1);
}

Test(trace_tracer, the_end_sends_what_is_left, .fini = finish)
{
    open_with(0, true);
    make_spans(700);
    tracer_close(tracer);
    cr_expect_eq(meter_total(METRIC_SPANS_EXPORTED), 700);
    cr_expect_eq(n_asked, 2);
}
