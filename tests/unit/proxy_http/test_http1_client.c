#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "tests/unit/proxy_http/http1_kit.h"

TestSuite(http1_client, .timeout = 60);

static struct loop *loop;
static struct fake_stream *wire;
static struct http1_seen seen;
static struct http_limits limits;

static void start(void)
{
    limits = (struct http_limits){0};
    loop = loop_new();
    wire = fake_stream_new(loop);
    seen = (struct http1_seen){.closes_at_fail = true};
    seen.client = http1_client_new(loop, &wire->stream, &limits, &http1_seen_client, &seen);
    run_turns(loop, 5);
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

static void ask_with(const struct http_request *head)
{
    seen.stream = http_request(seen.client, head, &http1_seen_exchange, &http1_seen_stream, &seen);
    cr_assert(seen.stream);
    stream_resume(&seen.stream->stream);
}

static void ask(const char *method)
{
    const struct http_request head = {
        .method = str_from(method), .authority = STR("a"), .path = STR("/")};

    ask_with(&head);
}

static void end_and_close(void)
{
    stream_shutdown(&seen.stream->stream);
    http1_close(&seen, 0);
    run_turns(loop, 10);
}

Test(http1_client, asks_and_shows_the_answer_and_may_ask_again, .init = start, .fini = finish)
{
    for (unsigned i = 1; i <= 3; i++) {
        ask("GET");
        expect_sent("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        cr_expect(!http_client_can_open(seen.client));
        text_clear(&seen.log);
        feed("HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok");
        cr_expect_str_eq(seen.log.ptr, "RESPONSE 200 2 body\n x-a: 1\nDATA ok\nEND\n");
        cr_expect(!http_client_can_open(seen.client));
        end_and_close();
        cr_expect(http_client_can_open(seen.client));
        cr_expect_eq(seen.n_capacity, i);
    }
    cr_expect(!seen.is_dead);
}

Test(http1_client, a_body_of_unknown_length_is_chunked, .init = start, .fini = finish)
{
    const struct http_request head = {.method = STR("POST"),
                                      .authority = STR("a"),
                                      .path = STR("/"),
                                      .has_body = true,
                                      .content_length = HTTP_LENGTH_UNKNOWN};

    ask_with(&head);
    stream_write_copy(&seen.stream->stream, "abc", 3);
    stream_shutdown(&seen.stream->stream);
    expect_sent("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                "3\r\nabc\r\n0\r\n\r\n");
}

Test(http1_client, interim_answers_come_before_the_answer, .init = start, .fini = finish)
{
    ask("GET");
    feed("HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    cr_expect_str_eq(seen.log.ptr, "INTERIM 103\n link: a\nRESPONSE 204 -1 nothing\nEND\n");
    end_and_close();
    cr_expect(http_client_can_open(seen.client));
}

Test(http1_client, a_body_without_a_length_ends_with_the_connection, .init = start, .fini = finish)
{
    ask("GET");
    feed("HTTP/1.1 200 OK\r\n\r\nall of");
    fake_feed_text(wire, " it");
    fake_end(wire);
    run_turns(loop, 20);
    cr_expect_str_eq(seen.log.ptr, "RESPONSE 200 -1 body\nDATA all of it\nEND\n");
    end_and_close();
    cr_expect(seen.is_dead && !http_client_can_open(seen.client));
}

Test(http1_client, an_answer_that_is_not_well_formed_fails_the_exchange_and_the_connection,
     .init = start, .fini = finish)
{
    ask("GET");
    feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    cr_expect_str_eq(seen.log.ptr, "FAIL http_response\nDEAD http_response\n");
    cr_expect(wire->is_closed && wire->close_err < 0);
}

Test(http1_client, bytes_that_belong_to_no_request_end_the_connection, .init = start,
     .fini = finish)
{
    ask("GET");
    feed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    cr_expect(!seen.is_dead);
    end_and_close();
    cr_expect(!http_client_can_open(seen.client));
    cr_expect(seen.is_dead);
    cr_expect_eq(seen.dead_err, -ERR_HTTP_RESPONSE);
}

struct lost_row {
    const char *method;
    unsigned n_before;
    const char *part; /* of an answer */
    int wanted;
};

Test(http1_client, what_may_be_done_twice_is_refused_when_an_idle_connection_was_closed)
{
    static const struct lost_row rows[] = {
        {"GET", 1, "", -ERR_H2_REFUSED}, {"PUT", 1, "", -ERR_H2_REFUSED},
        {"POST", 1, "", -ERR_EOF},       {"GET", 0, "", -ERR_EOF},
        {"GET", 1, "H", -ERR_EOF},       {"GET", 1, "HTTP/1.1 100 Continue\r\n\r\n", -ERR_EOF},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start();
        for (unsigned n = 0; n < rows[i].n_before; n++) {
            ask("GET");
            feed("HTTP/1.1 204 No Content\r\n\r\n");
            end_and_close();
        }
        ask(rows[i].method);
        feed(rows[i].part);
        fake_end(wire);
        run_turns(loop, 20);
        cr_expect_eq(seen.fail_err, rows[i].wanted, "row %zu: %s", i, err_label(seen.fail_err));
        cr_expect_eq(seen.dead_err, -ERR_EOF, "row %zu", i);
        finish();
    }
}
