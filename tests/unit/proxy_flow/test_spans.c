/*
 * What a trace is told of a request.
 */
#include <criterion/criterion.h>

#include "exchange_kit.h"
#include "proxy/trace/tracer.h"

TestSuite(spans, .timeout = 60);

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define GET_TRACED(sampled)                                                                        \
    "GET /a?secret HTTP/1.1\r\nHost: store:80\r\ntraceparent: 00-" TRACE                           \
    "-b7ad6b7169203331-" sampled "\r\nTraceState: a=1\r\ntracestate: b=2\r\n\r\n"

static struct listener *collector;
static struct tap collected;

static void on_collected(void *owner, struct stream *stream)
{
    (void)owner;
    tap_attach(&collected, stream);
    stream_resume(stream);
    const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    (void)stream_write_copy(stream, ok, sizeof ok - 1);
}

static void trace(void)
{
    struct addr local;
    int errnum;
    cr_assert_eq(addr_parse(STR("127.0.0.1:0"), &local), 0);
    cr_assert_eq(listener_open(town.world.loop, &local, &(struct listener_options){0}, on_collected,
                               NULL, &collector, &errnum),
                 0);
    const struct tracer_options options = {
        .collector = {.host = STR("127.0.0.1"),
                      .port = listener_addr(collector).port,
                      .path = STR("/v1/traces"),
                      .is_plain = true},
        .origin = {STR("n1"), STR("west"), STR("1")},
        .sampling_ppm = TRACE_ALL_PPM,
        .n_workers = 1,
    };
    town.tracer = tracer_open(town.world.loop, &options);
    town_walk(&town.n1, &(struct walk_options){0});
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
}

static void open_traced(void)
{
    town_open(&town);
    struct model_service *service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
    town_learn(&town);
    trace();
}

static void close_traced(void)
{
    tracer_close(town.tracer);
    town.tracer = NULL;
    listener_close(collector);
    tap_free(&collected);
    close_all();
}

Test(spans, a_trace_goes_on_under_our_span_and_is_exported)
{
    open_traced();
    call_say(&call, GET_TRACED("01"));
    cr_assert(is_asked(1));
    const struct str asked = text_str(&town.served[0].got);
    cr_expect(str_contains(asked, STR("traceparent: 00-" TRACE "-")));
    cr_expect_not(str_contains(asked, STR("b7ad6b7169203331")), "the parent is our span");
    cr_expect(str_contains(asked, STR("tracestate: a=1,b=2\r\n")));
    answer("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nok");
    cr_assert(got(&call.tap, "\r\n\r\nok", 1));
    cr_assert(got(&collected, "isthmus.destination.service", 1));
    static const char *const parts[] = {"POST /v1/traces ",
                                        "url.path",
                                        "http.request.method",
                                        "server.address",
                                        "network.peer.address",
                                        PAY1,
                                        ID_A,
                                        ID_B,
                                        "error.type",
                                        "a=1,b=2"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        cr_expect(str_contains(text_str(&collected.got), str_from(parts[i])), "%s", parts[i]);
    cr_expect_not(str_contains(text_str(&collected.got), STR("secret")), "a query is nobody's");
    cr_expect(LOGGED(&town, "request complete", "\"trace.id\":\"" TRACE "\"", "\"span.id\""));
    close_traced();
}

Test(spans, the_name_of_a_grpc_span_has_no_query_either)
{
    open_traced();
    call_say(&call, "POST /shop.Till/Pay?secret HTTP/1.1\r\nHost: store\r\n"
                    "Content-Type: application/grpc\r\nContent-Length: 0\r\n\r\n");
    cr_assert(is_asked(1));
    answer("HTTP/1.1 200 OK\r\ngrpc-status: 0\r\ncontent-length: 2\r\n\r\nok");
    cr_assert(got(&call.tap, "\r\n\r\nok", 1));
    cr_assert(got(&collected, "isthmus.destination.service", 1));
    const struct str told = text_str(&collected.got);
    cr_expect(str_contains(told, STR("shop.Till/Pay")));
    cr_expect_not(str_contains(told, STR("/shop.Till/Pay?")));
    cr_expect_not(str_contains(told, STR("secret")));
    close_traced();
}

Test(spans, a_span_tells_that_its_request_was_sent_anew_whatever_for)
{
    open_traced();
    call_say(&call, GET);
    cr_assert(is_asked(1));
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_assert(got(&call.tap, "\r\n\r\nok", 1));
    call_say(&call, GET);
    cr_assert(got(&town.served[0], "GET / ", 2));
    tap_close(&town.served[0], 0); /* it was at rest: this costs none of a route's retries */
    cr_assert(is_asked(2));
    (void)stream_write_copy(town.served[1].stream, "HTTP/1.1 204 \r\n\r\n", 17);
    cr_assert(got(&call.tap, "HTTP/1.1 204 ", 1));
    cr_assert(got(&collected, "isthmus.destination.service", 2));
    cr_expect(got(&collected, "http.request.resend_count", 1));
    close_traced();
}

Test(spans, a_span_of_a_request_for_which_nobody_was_found_has_no_peer)
{
    open_traced();
    snap_drop(&town.snap, "pay-1");
    town_learn(&town);
    call_say(&call, GET);
    cr_assert(got(&call.tap, "HTTP/1.1 503 ", 1));
    cr_assert(got(&collected, "isthmus.destination.service", 1));
    cr_expect_not(str_contains(text_str(&collected.got), STR("network.peer")), "it is no service");
    close_traced();
}

Test(spans, what_is_not_sampled_goes_on_and_is_not_exported)
{
    const int64_t before = meter_total(METRIC_SPANS_EXPORTED);
    open_traced();
    call_say(&call, GET_TRACED("00"));
    cr_assert(is_asked(1));
    cr_expect(str_contains(text_str(&town.served[0].got), STR("traceparent: 00-" TRACE "-")));
    cr_expect_not(str_contains(text_str(&town.served[0].got), STR("b7ad6b7169203331")));
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_assert(got(&call.tap, "\r\n\r\nok", 1));
    close_traced();
    cr_expect_eq(meter_total(METRIC_SPANS_EXPORTED), before);
}

Test(spans, without_a_tracer_a_traceparent_passes_as_it_came)
{
    open_with(&(struct walk_options){0});
    call_say(&call, GET_TRACED("01"));
    cr_assert(is_asked(1));
    cr_expect(str_contains(text_str(&town.served[0].got), STR("-b7ad6b7169203331-01\r\n")));
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_assert(got(&call.tap, "\r\n\r\nok", 1));
    close_all();
}
