/*
 * Requests that are asked again at another endpoint, or are not.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "requests_kit.h"

TestSuite(again, .timeout = 60);

Test(again, requests_whose_pod_leaves_before_it_answers_are_asked_elsewhere_as_after_a_reset)
{
    static const struct {
        unsigned on;
        const char *method;
        bool is_again;
    } rows[] = {{ROUTE_RETRY_RESET, "GET", true},
                {ROUTE_RETRY_RESET, "POST", false},
                {ROUTE_RETRY_CONNECT, "GET", false}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[64];
        unsigned idx = 0;
        open_near_and_far(APP_HTTP11);
        town_open_second(&town);
        snap_route(&town.snap, service)->retry =
            (struct route_retry){2, rows[i].on, NULL, 0, NS_PER_MS, NS_PER_MS};
        start();
        (void)snprintf(text, sizeof text, "%s / HTTP/1.1\r\nHost: store\r\n\r\n", rows[i].method);
        call_say(&call, text);
        cr_assert(run_until(town.world.loop, find_asked, &idx, PATIENCE_MS));
        cr_assert(town.is_of_second[idx]);
        n_answered[idx]++;

        leave_near();

        cr_expect_eq(
            run_until(town.world.loop, find_asked, &idx, rows[i].is_again ? PATIENCE_MS : 50),
            rows[i].is_again, "%zu", i);
        if (rows[i].is_again)
            answer(idx, "200");
        const char *const told = rows[i].is_again ? "HTTP/1.1 200 " : "HTTP/1.1 503 ";
        cr_expect(run_until(town.world.loop, is_told, (void *)told, PATIENCE_MS), "%zu", i);
        close_all();
    }
}

/* ---- bodies that are said again ---- */

static struct text body;

static void make_body(size_t len)
{
    text_clear(&body);
    for (size_t i = 0; i < len; i++)
        text_addc(&body, (char)('a' + i * i % 23));
}

static void say_body(size_t from, size_t to)
{
    for (size_t at = from; at < to; at += 9000)
        (void)stream_write_copy(call.tap.stream, body.ptr + at, to - at < 9000 ? to - at : 9000);
}

struct received {
    unsigned idx;
    size_t len;
};

static struct str body_at(unsigned idx)
{
    struct str text = text_str(&town.served[idx].got), head, rest = {0};
    while (str_split(text, '\n', &head, &rest) && !str_eq(head, STR("\r")))
        text = rest;
    return rest;
}

static bool has_received(void *ctx)
{
    const struct received *received = ctx;
    return town.n_served > received->idx &&
           times_in(text_str(&town.served[received->idx].got), "\r\n\r\n") > 0 &&
           body_at(received->idx).len >= received->len;
}

static bool receives(unsigned idx, size_t len)
{
    struct received received = {idx, len};
    return run_until(town.world.loop, has_received, &received, PATIENCE_MS) &&
           str_eq(body_at(idx), str_sub(text_str(&body), 0, len));
}

Test(again, requests_with_a_small_body_are_said_again_byte_by_byte_where_they_may_be)
{
    static const struct {
        const char *what, *method;
        size_t len, sent;   /* before the first endpoint fails */
        const char *answer; /* NULL: it breaks off */
        bool is_again;
        const char *told;
    } rows[] = {
        {"a listed answer", "POST", 40000, 40000, "503", true, "HTTP/1.1 200 "},
        {"a reset within the body of what may be done twice", "PUT", 40000, 20000, NULL, true,
         "HTTP/1.1 200 "},
        {"a reset within the body of what may not", "POST", 40000, 20000, NULL, false,
         "HTTP/1.1 502 "},
        {"a reset before the body of what may not", "POST", 40000, 0, NULL, true, "HTTP/1.1 200 "},
        {"a reset of what may not and is whole without a body", "POST", 0, 0, NULL, false,
         "HTTP/1.1 502 "},
        {"a body that is too large", "POST", 80000, 80000, "503", false, "HTTP/1.1 503 "},
        {"an answer that is not listed", "PUT", 40000, 40000, "500", false, "HTTP/1.1 500 "},
    };

    static const uint16_t codes[] = {503};
    char head[128];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        open_two(APP_HTTP11);
        struct route_rule *rule = snap_route(&town.snap, service);
        rule->retry = (struct route_retry){
            2,         ROUTE_RETRY_CONNECT | ROUTE_RETRY_RESET | ROUTE_RETRY_CODES,
            codes,     1,
            NS_PER_MS, NS_PER_MS};
        start();
        make_body(rows[i].len);
        (void)snprintf(head, sizeof head,
                       "%s / HTTP/1.1\r\nHost: store\r\nContent-Length: %zu\r\n\r\n",
                       rows[i].method, rows[i].len);
        call_say(&call, head);
        say_body(0, rows[i].sent);
        cr_assert(receives(0, rows[i].sent), "%s", rows[i].what);
        if (rows[i].answer)
            answer(0, rows[i].answer);
        else
            tap_close(&town.served[0], -ERR_RESET);
        if (rows[i].is_again) {
            cr_assert(receives(1, rows[i].sent), "%s", rows[i].what);
            cr_expect_neq(town.is_of_second[1], town.is_of_second[0], "%s", rows[i].what);
            say_body(rows[i].sent, rows[i].len);
            cr_assert(receives(1, rows[i].len), "%s", rows[i].what);
            answer(1, "200");
        }
        cr_expect(run_until(town.world.loop, is_told, (void *)(uintptr_t)rows[i].told, PATIENCE_MS),
                  "%s: %.*s", rows[i].what, STR_ARG(text_str(&call.tap.got)));
        cr_expect_eq(town.n_served, rows[i].is_again ? 2 : 1, "%s", rows[i].what);
        close_all();
    }
    text_fini(&body);
}

/* ---- trailers ---- */

/* The service as it is on pay-1 far away, or with pay-2 beside cart as well. */
static void serve_with(uint16_t *code)
{
    service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
    snap_route(&town.snap, service)->retry =
        (struct route_retry){2, ROUTE_RETRY_CODES, code, 1, NS_PER_MS, NS_PER_MS};
}

struct ending {
    unsigned idx;
    const char *text;
};

static bool has_ending(void *ctx)
{
    const struct ending *ending = ctx;
    return str_ends_with(text_str(&town.served[ending->idx].got), str_from(ending->text));
}

static bool ends_with(unsigned idx, const char *text)
{
    return run_until(town.world.loop, has_ending, &(struct ending){idx, text}, 1000);
}

/* Where the first pod is, its node looks; where the second one is, this one does. */
Test(again, trailers_are_held_against_the_policies_of_the_pod_that_gets_them)
{
    static const char request[] =
        "POST / HTTP/1.1\r\nHost: store\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
        "X-Sum: 1\r\nX-Role: root\r\n\r\n";
    uint16_t code = 503;
    unsigned idx = 0;
    open_near_and_far(APP_HTTP11);
    town_open_second(&town);
    snap_drop(&town.snap, "pay-2");
    serve_with(&code);
    struct model_policy *policy = snap_policy(&town.snap, "no-root", POLICY_DENY, NULL);
    snap_asks(&town.snap, policy, REQUEST_HEADER, "x-role", MATCH_EXACT, "root");
    start();
    call_say(&call, request);
    cr_assert(run_until(town.world.loop, find_asked, &idx, PATIENCE_MS));
    cr_assert_not(town.is_of_second[idx]);

    n_answered[idx] += times_in(text_str(&town.served[idx].got), "\r\n\r\n");
    town_pay(&town, "pay-2", "n1", PAY2);
    serve_with(&code);
    town_learn(&town);
    answer(idx, "503");

    cr_assert(run_until(town.world.loop, find_asked, &idx, PATIENCE_MS));
    cr_assert(town.is_of_second[idx]);
    cr_expect(ends_with(idx, "0\r\nx-sum: 1\r\n\r\n"), "%.*s",
              STR_ARG(text_str(&town.served[idx].got)));
    answer(idx, "200");
    cr_expect(run_until(town.world.loop, is_told, "HTTP/1.1 200 ", PATIENCE_MS));
    close_all();
}

static bool has_hello(void *ctx)
{
    const unsigned *idx = ctx;
    return times_in(text_str(&town.served[*idx].got), "\r\n\r\nhello") > 0;
}

static void serve_http1(void)
{
    service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
}

/* That it was not acted on is a guess there, not the server's word: "h2_refused" is a promise. */
Test(again, what_crosses_the_close_of_a_resting_connection_and_cannot_be_said_again_is_502)
{
    static const char *const methods[] = {"PUT", "POST"};
    char head[128];

    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        open_two(APP_HTTP11);
        snap_drop(&town.snap, "pay-2"); /* so that the second request goes where the first did */
        serve_http1();
        start();
        call_say(&call, "GET / HTTP/1.1\r\nHost: store\r\n\r\n");
        unsigned idx = 0;
        cr_assert(run_until(town.world.loop, find_asked, &idx, PATIENCE_MS));
        answer(idx, "200");
        cr_assert(run_until(town.world.loop, is_told, "HTTP/1.1 200 ", PATIENCE_MS));
        n_answered[idx]++;

        (void)snprintf(head, sizeof head,
                       "%s / HTTP/1.1\r\nHost: store\r\nContent-Length: 10\r\n\r\nhello",
                       methods[i]);
        call_say(&call, head);
        cr_assert(run_until(town.world.loop, find_asked, &idx, PATIENCE_MS));
        cr_assert(run_until(town.world.loop, has_hello, &idx, PATIENCE_MS));
        cr_assert_eq(town.n_served, 1);
        town_pay(&town, "pay-2", "n2", PAY2);
        serve_http1();
        town_learn(&town);
        tap_close(&town.served[idx], 0);

        cr_expect(run_until(town.world.loop, is_told, "HTTP/1.1 502 ", PATIENCE_MS), "%s: %.*s",
                  methods[i], STR_ARG(text_str(&call.tap.got)));
        cr_expect_eq(times_in(text_str(&call.tap.got), "x-isthmus-reason: upstream_reset"), 1);
        close_all();
    }
}
