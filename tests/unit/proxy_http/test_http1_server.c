#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "tests/unit/proxy_http/http1_kit.h"

TestSuite(http1_server, .timeout = 60);

#define PATIENCE_MS 15000

static struct loop *loop;
static struct fake_stream *wire;
static struct http1_seen seen;
static struct http_limits limits;

static void begin(void)
{
    loop = loop_new();
    wire = fake_stream_new(loop);
    seen = (struct http1_seen){.closes_at_fail = true};
    seen.server = http1_server_new(loop, &wire->stream, &limits, &http1_seen_server, &seen);
}

static void start(void)
{
    limits = (struct http_limits){0};
    begin();
}

static void finish(void)
{
    http1_seen_fini(&seen);
    run_turns(loop, 20);
    fake_stream_free(wire);
    loop_finish(loop);
}

static void feed(const char *text)
{
    fake_feed_text(wire, text);
    run_turns(loop, 20);
}

static void expect_sent(const char *text)
{
    run_turns(loop, 20);
    cr_expect_str_eq(wire->written.ptr ? wire->written.ptr : "", text);
    fake_forget_written(wire);
}

static void respond(unsigned status, int64_t length)
{
    struct http_response head = http1_plain(status, length);

    http_respond(seen.stream, &head);
}

Test(http1_server, shows_a_request_and_sends_the_answer, .init = start, .fini = finish)
{
    feed("POST /a?b=1 HTTP/1.1\r\nHost: till.shop:80\r\nX-One:  1 \r\nx-two: a b\r\nX-One: 3\r\n"
         "Content-Length: 5\r\n\r\nhello");
    cr_expect_str_eq(seen.log.ptr, "REQUEST POST till.shop:80 /a?b=1  5 body\n x-one: 1\n"
                                   " x-two: a b\n x-one: 3\nDATA hello\nEND\n");
    respond(200, 4);
    http1_say(&seen, "fine");
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine");
    cr_expect(!wire->is_closed);
}

Test(http1_server, takes_pipelined_requests_one_after_the_other, .init = start, .fini = finish)
{
    feed("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
         "\r\nxyGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    for (unsigned i = 1; i <= 3; i++) {
        run_turns(loop, 20);
        cr_assert_eq(seen.n_requests, i);
        respond(200, 2);
        http1_say(&seen, "ok");
        http1_close(&seen, 0);
    }
    run_turns(loop, 20);
    cr_expect(http1_saw(&seen, "/2  2 body\nDATA xy\nEND\nREQUEST GET a /3"));
    cr_expect(!seen.is_dead);
}

Test(http1_server, an_answer_of_unknown_length_is_chunked_and_has_trailers, .init = start,
     .fini = finish)
{
    static const struct http_field field = {{"x-sum", 5}, {"7", 1}};
    const struct http_fields trailers = {&field, 1};

    feed("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    cr_expect(http1_saw(&seen, " te: trailers\n"));
    respond(200, HTTP_LENGTH_UNKNOWN);
    stream_write_copy(&seen.stream->stream, "0123456789abcdefg", 17);
    http_trailers(seen.stream, &trailers);
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                "11\r\n0123456789abcdefg\r\n0\r\nx-sum: 7\r\n\r\n");
}

Test(http1_server, to_http_1_0_a_body_ends_with_the_connection, .init = start, .fini = finish)
{
    feed("GET / HTTP/1.0\r\n\r\n");
    cr_assert_eq(seen.n_requests, 1);
    http_interim(seen.stream, &(struct http_response){.status = 103});
    respond(200, HTTP_LENGTH_UNKNOWN);
    http1_say(&seen, "all of it");
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it");
    cr_expect(wire->is_shut && wire->is_closed && wire->close_err == 0);
    cr_expect(seen.is_dead && seen.dead_err == 0);
}

Test(http1_server, what_is_no_request_is_answered_and_the_connection_ends, .init = start,
     .fini = finish)
{
    feed("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_sent("HTTP/1.1 400 Bad Request\r\nserver: isthmus\r\ncontent-type: text/plain\r\n"
                "content-length: 16\r\nconnection: close\r\n\r\nhost came twice\n");
    cr_expect_str_eq(seen.log.ptr, "REFUSED 400\nDEAD http_request\n");
    cr_expect(wire->is_shut && wire->is_closed && wire->close_err == 0);
}
