/*
 * What becomes of an exchange when one of its sides behaves badly: whoever is left gets an answer,
 * and the endpoint its lease back.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "exchange_kit.h"
#include "proxy/base/clock.h"

TestSuite(exchange, .timeout = 60);

Test(exchange, requests_that_follow_each_other_share_one_connection_of_the_server)
{
    open_with(&(struct walk_options){0});
    call_say(&call, GET GET GET);
    for (unsigned i = 1; i <= 3; i++) {
        cr_assert(is_asked(1));
        cr_assert(got(&town.served[0], "GET / HTTP/1.1", i));
        cr_expect_eq(balancer_flows(town.n1.balancer), 1);
        answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        cr_assert(got(&call.tap, "\r\n\r\nok", i));
    }
    cr_expect_eq(town.n_served, 1);
    close_all();
}

static bool has_left(void *ctx)
{
    (void)ctx;
    return walk_flows(town.n2.walk) == 0;
}

/* Else it could go on for as long as it is asked, with the doors closed to all others. */
Test(exchange, a_connection_that_begins_after_the_last_call_is_for_one_request)
{
    open_with(&(struct walk_options){0});
    call_end(&call);
    walk_last_call(town.n1.walk);
    run_turns(town.world.loop, 50);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    call_say(&call, GET);
    cr_assert(is_asked(1));
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_expect(got(&call.tap, "connection: close\r\n\r\nok", 1));
    cr_expect(tap_ended(town.world.loop, &call.tap));
    close_all();
}

/* Else the end of that drain would cut a request. */
Test(exchange, a_connection_through_a_tunnel_whose_node_drains_ends_with_its_request)
{
    open_with(&(struct walk_options){0});
    call_say(&call, GET);
    cr_assert(is_asked(1));

    acceptor_close_doors(town.n2.acceptor);
    run_turns(town.world.loop, 50);
    cr_expect_eq(walk_flows(town.n2.walk), 1);
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

    cr_expect(got(&call.tap, "\r\n\r\nok", 1));
    cr_expect(run_until(town.world.loop, has_left, NULL, PATIENCE_MS));
    close_all();
}

Test(exchange, a_connection_that_rests_and_whose_node_drains_is_not_used_again)
{
    open_with(&(struct walk_options){0});
    call_say(&call, GET);
    cr_assert(is_asked(1));
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_assert(got(&call.tap, "\r\n\r\nok", 1));

    acceptor_close_doors(town.n2.acceptor);
    run_turns(town.world.loop, 50);
    call_say(&call, GET);

    cr_expect(got(&call.tap, "HTTP/1.1 503", 1), "nobody else is there");
    cr_expect(run_until(town.world.loop, has_left, NULL, PATIENCE_MS));
    close_all();
}

Test(exchange, a_connection_on_which_nothing_came_before_the_drain_is_for_one_request)
{
    static const bool rows[] = {false, true}; /* is it asked? */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        open_with(&(struct walk_options){0});
        walk_drain(town.n1.walk);
        run_turns(town.world.loop, 20);
        cr_expect(!call.tap.ended && !call.tap.err);
        if (rows[i]) {
            call_say(&call, GET);
            cr_assert(is_asked(1));
            answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            cr_expect(got(&call.tap, "connection: close\r\n\r\nok", 1));
        }
        cr_expect(tap_ended(town.world.loop, &call.tap), "%zu", i);
        close_all();
    }
}

Test(exchange, the_log_says_where_tunnel_and_pod_are_whether_the_connection_is_new_or_not)
{
    open_with(&(struct walk_options){.log_access = true});
    call_say(&call,
             "GET /new HTTP/1.1\r\nHost: store\r\n\r\nGET /used HTTP/1.1\r\nHost: store\r\n\r\n");
    for (unsigned i = 1; i <= 2; i++) {
        cr_assert(is_asked(1));
        cr_assert(got(&town.served[0], "HTTP/1.1", i));
        answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        cr_assert(got(&call.tap, "\r\n\r\nok", i));
    }
    cr_expect_eq(town.n_served, 1);
    static const char *const paths[] = {"/new", "/used"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        cr_expect(LOGGED(&town, "request complete", paths[i], "\"mtls\":true",
                         "\"dst.addr\":\"" PAY1 ":15008\"", "\"dst.hbone_addr\":\"" PAY1 ":"),
                  "%s", paths[i]);
    }
    close_all();
}

/* An exchange that came whole in one read is over with it: what is behind it is another's. */
Test(exchange, the_next_request_goes_on_the_same_connection_only_where_nothing_is_left_on_it)
{
    static const struct {
        const char *request, *answer, *rest;
        bool same;
    } rows[] = {
        {GET, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "", true},
        {GET, "HTTP/1.1 204 No Content\r\n\r\n", "", true},
        {GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n", "", true},
        {"HEAD / HTTP/1.1\r\nHost: store\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
         "", true},
        {GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "",
         true},
        {GET, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "",
         true},
        {"POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 2\r\n\r\nhi",
         "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", true},
        {"POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 4\r\n\r\nhi",
         "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "ho", false},
        {GET, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "", false},
        {GET, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 NOT YOURS\r\n\r\n", "",
         false},
        {GET, "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 NOT YOURS\r\n\r\n", "", false},
    };

    static const char teapot[] = "HTTP/1.1 418 \r\ncontent-length: 0\r\n\r\n";

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const unsigned other = rows[i].same ? 1 : 2;
        open_with(&(struct walk_options){0});
        call_say(&call, rows[i].request);
        cr_assert(is_asked(1), "row %zu", i);
        answer(rows[i].answer);
        cr_assert(got(&call.tap, "HTTP/1.1 ", 1), "row %zu", i);
        call_say(&call, rows[i].rest);
        call_say(&call, "GET /next HTTP/1.1\r\nHost: store\r\n\r\n");
        cr_assert(is_asked(other) && got(&town.served[other - 1], "GET /next ", 1), "row %zu", i);
        cr_expect_eq(town.n_served, other, "row %zu", i);
        (void)stream_write_copy(town.served[other - 1].stream, teapot, sizeof teapot - 1);
        cr_assert(got(&call.tap, "HTTP/1.1 418 ", 1), "row %zu", i);
        cr_expect_not(got_already("NOT YOURS"), "row %zu", i);
        cr_expect(LOGGED(&town, "\"response.code\":418", "\"request.path\":\"/next\""), "row %zu",
                  i);
        close_all();
    }
}

Test(exchange, a_server_that_says_nothing_for_the_idle_time_is_answered_for)
{
    open_with(&(struct walk_options){.idle_ns = 100 * NS_PER_MS});
    call_say(&call, GET);
    cr_assert(is_asked(1));
    cr_expect(got(&call.tap, "HTTP/1.1 504 ", 1));
    close_all();
}

Test(exchange, an_answer_that_is_no_http_is_502)
{
    open_with(&(struct walk_options){0});
    call_say(&call, GET);
    cr_assert(is_asked(1));
    answer("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    cr_expect(got(&call.tap, "HTTP/1.1 502 ", 1));
    close_all();
}

Test(exchange, an_answer_with_too_large_a_head_is_502_and_told_apart)
{
    static char value[70000];
    memset(value, 'x', sizeof value - 1);
    open_with(&(struct walk_options){0});
    call_say(&call, GET);
    cr_assert(is_asked(1));
    answer("HTTP/1.1 200 OK\r\nX: ");
    answer(value);
    cr_assert(got(&call.tap, "HTTP/1.1 502 ", 1));
    cr_expect(got(&call.tap, "\r\nx-isthmus-reason: http_response_limit\r\n", 1));
    cr_expect(got(&call.tap, "the head of the answer is over 64 KiB, or has over 100 fields", 1));
    cr_expect(LOGGED(&town, "\"why\":\"http_response_limit\"", "\"response.flags\":\"UPE\""));
    cr_expect_eq(meter_total(METRIC_HTTP_ANSWER_LIMIT), 1);
    cr_expect_eq(meter_total(METRIC_HTTP_ANSWER_MALFORMED), 0);
    close_all();
}

/* RFC 9112 9.5, 9.6: a client that hears "close" stops sending. */
Test(exchange, an_answer_before_the_body_says_close_if_the_rest_is_not_read)
{
    static const struct {
        const char *length, *answer;
        bool says_close;
    } rows[] = {
        {"Content-Length: 10", "413 Large\r\nConnection: close", true},
        {"Content-Length: 10", "413 Large", false}, /* so little is read, and it goes on */
        {"Content-Length: 70000", "413 Large\r\nConnection: close", true},
        {"Content-Length: 70000", "413 Large", true},
        {"Content-Length: 70000", "200 OK\r\nConnection: close", true},
        {"Content-Length: 10", "200 OK", false},
        {"Content-Length: 70000", "200 OK", true}, /* its end may come first */
        {"Content-Length: 70000", "303 Elsewhere", true},
        {"Transfer-Encoding: chunked", "401 Who\r\nConnection: close", true},
        {"Transfer-Encoding: chunked", "401 Who", true}, /* nobody knows how much it is */
        {"Transfer-Encoding: chunked", "200 OK", true},
        {"Content-Length: 0", "413 Large\r\nConnection: close", false}, /* it was sent whole */
    };

    char text[200];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        open_with(&(struct walk_options){0});
        (void)snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: store\r\n%s\r\n\r\n",
                       rows[i].length);
        call_say(&call, text);
        cr_assert(is_asked(1), "row %zu", i);
        (void)snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nok",
                       rows[i].answer);
        answer(text);
        cr_assert(got(&call.tap, "\r\n\r\nok", 1), "row %zu", i);
        cr_expect_eq(got_already("connection: close"), rows[i].says_close, "row %zu", i);
        close_all();
    }
}

/* "content-length: 123" of the n-th message, or "". */
static struct str length_line(unsigned n)
{
    const char *at = call.tap.got.ptr;
    for (unsigned i = 0; at && i < n; i++)
        at = strstr(at + (i > 0), "content-length: ");
    return at ? str_sub(str_from(at), 0, strcspn(at, "\r")) : (struct str){0};
}

Test(exchange, our_own_answer_to_a_head_says_what_one_to_a_get_would_and_when)
{
    open_with(&(struct walk_options){0});
    call_say(&call, "GET /%zz HTTP/1.1\r\nHost: store\r\n\r\n");
    cr_assert(got(&call.tap, "HTTP/1.1 400 ", 1));
    call_say(&call, "HEAD /%zz HTTP/1.1\r\nHost: store\r\n\r\n" GET);
    cr_assert(got(&call.tap, "HTTP/1.1 400 ", 2));
    cr_assert(is_asked(1), "and what follows is a request");
    cr_expect(got(&call.tap, "\r\nx-isthmus-reason: bad_path\r\n", 2));
    cr_expect(got(&call.tap, "\r\ncontent-type: text/plain\r\n", 2));
    cr_expect(got(&call.tap, " GMT\r\nserver: isthmus\r\n", 2), "with a date");
    cr_expect_gt(length_line(1).len, strlen("content-length: 0"));
    cr_expect(str_eq(length_line(1), length_line(2)), "%.*s, %.*s", STR_ARG(length_line(1)),
              STR_ARG(length_line(2)));
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_expect(got(&call.tap, "\r\n\r\nok", 1));
    close_all();
}

static const struct str any_host = STR("*");
static const struct route_rule not_modified = {
    .name = STR("shop/cached/0"),
    .action = ROUTE_RESPOND,
    .status = 304,
    .body = STR("never sent"),
};
static const struct route_host answers_for_all = {
    .domains = &any_host, .n_domains = 1, .rules = &not_modified, .n_rules = 1};

Test(exchange, a_route_s_own_304_has_neither_body_nor_length)
{
    static struct model_routes routes = {
        .service = STR("shop/store.shop.svc.clusterset.local"),
        .hosts = &answers_for_all,
        .n_hosts = 1,
    };
    town_open(&town);
    town_service(&town)->ports[0].app_protocol = APP_HTTP11;
    snap_add(&town.snap,
             &(struct model_resource){MODEL_ROUTES, routes.service, {.routes = &routes}});
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    call_say(&call, GET GET);
    cr_assert(got(&call.tap, "HTTP/1.1 304 Not Modified\r\n", 2));
    cr_expect(got(&call.tap, "\r\n\r\n", 2));
    cr_expect_eq(length_line(1).len, 0, "%.*s", STR_ARG(length_line(1)));
    cr_expect_null(strstr(call.tap.got.ptr, "never sent"));
    close_all();
}

Test(exchange, a_client_of_http_1_0_that_names_no_host_means_whom_it_called)
{
    open_with(&(struct walk_options){0});
    call_say(&call, "GET / HTTP/1.0\r\n\r\n");
    cr_assert(is_asked(1));
    cr_expect(got(&town.served[0], "\r\nhost: store.shop.svc.clusterset.local:6379\r\n", 1));
    answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    cr_expect(got(&call.tap, "\r\n\r\nok", 1), "without chunks");
    close_all();
}

Test(exchange, a_client_that_leaves_gives_the_lease_back_and_blames_nobody)
{
    open_with(&(struct walk_options){0});
    call_say(&call, GET);
    cr_assert(is_asked(1));
    tap_close(&call.tap, -ERR_RESET);
    cr_expect(town_has_leased_nothing(&town));
    cr_expect_eq(town_blamed(&town.n1), 0);
    close_all();
}

Test(exchange, the_node_may_stop_while_exchanges_run_and_links_rest)
{
    open_with(&(struct walk_options){0});
    call_say(&call, GET GET);
    cr_assert(is_asked(1));
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_assert(got(&town.served[0], "GET / HTTP/1.1", 2));
    town_walk(&town.n1, &(struct walk_options){0});
    cr_expect(tap_failed(town.world.loop, &call.tap) || call.tap.ended);
    cr_expect_eq(balancer_flows(town.n1.balancer), 0);
    cr_expect_eq(town_blamed(&town.n1), 0, "that we stop is no failure of the endpoint");
    close_all();
}

/* ---- what is refused is counted by its kind ---- */

#define BYTES(literal)                                                                             \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }

#define PRI      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define SETTINGS "\0\0\0\x4\0\0\0\0\0"
#define PING                                                                                       \
    "\0\0\x8\x6\0\0\0\0\0"                                                                         \
    "12345678"
#define PRIORITY                                                                                   \
    "\0\0\x5\x2\0\0\0\0\x3"                                                                        \
    "\0\0\0\0\x10"
#define WINDOW                                                                                     \
    "\0\0\x4\x8\0\0\0\0\0"                                                                         \
    "\0\0\0\x1"

static void say_bytes(struct str bytes)
{
    (void)stream_write_copy(call.tap.stream, bytes.ptr, bytes.len);
}

struct expected {
    enum metric metric;
    int64_t total;
};

static bool is_counted(void *ctx)
{
    const struct expected *expected = ctx;
    return meter_total(expected->metric) >= expected->total;
}

Test(exchange, what_http_refuses_is_counted_by_its_kind)
{

    static const struct {
        const char *name;
        struct str first, again;
        unsigned n_again;
        enum metric metric;
    } rows[] = {
        {"two lengths",
         BYTES("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
               "Transfer-Encoding: chunked\r\n\r\n"),
         BYTES(""), 0, METRIC_HTTP_SMUGGLING},
        {"no HTTP", BYTES("HELLO\r\n\r\n"), BYTES(""), 0, METRIC_HTTP_MALFORMED},
        {"a long head", BYTES("GET / HTTP/1.1\r\nHost: a\r\nx: "), BYTES("aaaaaaaaaaaaaaaa"), 5000,
         METRIC_HTTP_HEAD_LIMIT},
        {"pings", BYTES(PRI SETTINGS), BYTES(PING), 1500, METRIC_HTTP_PINGS},
        {"settings", BYTES(PRI SETTINGS), BYTES(SETTINGS), 1500, METRIC_HTTP_SETTINGS},
        {"priorities", BYTES(PRI SETTINGS), BYTES(PRIORITY), 1500, METRIC_HTTP_CONTROLS},
        {"window updates", BYTES(PRI SETTINGS), BYTES(WINDOW), 22000, METRIC_HTTP_WINDOWS},
        {"no frames", BYTES(PRI "\0\0\x1\0\0\0\0\0\0x"), BYTES(""), 0, METRIC_HTTP_H2},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text again = {0};
        open_with(&(struct walk_options){0});
        struct expected expected = {rows[i].metric, meter_total(rows[i].metric) + 1};
        say_bytes(rows[i].first);
        for (unsigned n = 0; n < rows[i].n_again; n++)
            text_add(&again, rows[i].again);
        for (size_t at = 0; at < again.len; at += SLAB_BYTES)
            say_bytes(str_sub(text_str(&again), at, SLAB_BYTES));
        cr_expect(run_until(town.world.loop, is_counted, &expected, PATIENCE_MS), "%s",
                  rows[i].name);
        cr_expect_eq(meter_total(rows[i].metric), expected.total, "%s: once", rows[i].name);
        text_fini(&again);
        close_all();
    }
}
