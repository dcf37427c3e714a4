#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/http/websocket.h"
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
        cr_expect_eq(seen.n_capacity, 0, "its owner knows");
    }
    cr_expect(!seen.is_dead);
}

Test(http1_client, a_request_without_a_body_leaves_at_once, .init = start, .fini = finish)
{
    const struct http_request head = {
        .method = STR("GET"), .authority = STR("a"), .path = STR("/")};

    seen.stream = http_request(seen.client, &head, &http1_seen_exchange, &http1_seen_stream, &seen);
    cr_expect_eq(wire->n_writes, 1);
    expect_sent("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    cr_expect_eq(wire->n_writes, 1);
}

Test(http1_client, who_closes_at_the_end_of_an_answer_may_ask_again_unless_more_came_with_it)
{
    static const struct {
        const char *bytes;
        bool may_ask_again;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", true},
        {"HTTP/1.1 204 No Content\r\n\r\n", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx\r\n", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n", false},
        {"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start();
        seen.closes_at_end = true;
        ask("GET");
        feed(rows[i].bytes);
        cr_expect(seen.n_ends == 1 && seen.n_responses == 1, "row %zu", i);
        cr_expect_eq(http_client_can_open(seen.client), rows[i].may_ask_again, "row %zu", i);
        cr_expect_eq(seen.is_dead, !rows[i].may_ask_again, "row %zu", i);
        finish();
    }
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

/* What is whole is acted on: a body that turns out longer than it said must not have been. */
Test(http1_client, the_last_bytes_of_a_body_leave_with_its_end, .init = start, .fini = finish)
{
    const struct http_request head = {.method = STR("POST"),
                                      .authority = STR("a"),
                                      .path = STR("/"),
                                      .has_body = true,
                                      .content_length = 6};

    ask_with(&head);
    stream_write_copy(&seen.stream->stream, "abc", 3);
    stream_write_copy(&seen.stream->stream, "def", 3);
    expect_sent("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc");
    stream_shutdown(&seen.stream->stream);
    expect_sent("def");
}

Test(http1_client, a_body_that_is_given_up_is_never_whole, .init = start, .fini = finish)
{
    const struct http_request head = {.method = STR("POST"),
                                      .authority = STR("a"),
                                      .path = STR("/"),
                                      .has_body = true,
                                      .content_length = 3};

    ask_with(&head);
    stream_write_copy(&seen.stream->stream, "abc", 3);
    run_turns(loop, 5);
    http1_close(&seen, -ERR_CLIENT_RESET);
    expect_sent("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
    cr_expect(wire->is_closed);
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

Test(http1_client, a_head_that_is_too_large_is_no_malformed_one)
{
    static char value[70000], fields[101 * 6 + 1];
    const char *const heads[] = {value, fields};

    memset(value, 'x', sizeof(value) - 1);
    for (size_t i = 0; i < 101; i++)
        memcpy(fields + i * 6, "a: 1\r\n", 6);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        start();
        ask("GET");
        feed(i == 0 ? "HTTP/1.1 200 OK\r\nX: " : "HTTP/1.1 200 OK\r\n");
        feed(heads[i]);
        feed("\r\n\r\n");
        cr_expect_str_eq(seen.log.ptr, "FAIL http_response_limit\nDEAD http_response_limit\n",
                         "head %zu", i);
        cr_expect(wire->is_closed && wire->close_err < 0, "head %zu", i);
        finish();
    }
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

struct answer_row {
    const char *method, *bytes, *log;
};

/* Each is followed by the end of the server's direction. */
Test(http1_client, answers_are_read_as_they_are_framed)
{
    static const struct answer_row rows[] = {
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "RESPONSE 200 0 nothing\nEND\n"},
        {"GET", "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx",
         "RESPONSE 200 1 body\nDATA x\nEND\n"},
        {"GET", "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", "RESPONSE 200 1 body\nDATA x\nEND\n"},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "RESPONSE 200 5 nothing\nEND\n"},
        {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
         "RESPONSE 200 -1 nothing\nEND\n"},
        {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
         "RESPONSE 304 5 nothing\nEND\n"},
        {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
         "RESPONSE 204 0 nothing\nEND\n"},
        {"GET", "HTTP/1.0 200 OK\r\n\r\nold", "RESPONSE 200 -1 body\nDATA old\nEND\n"},
        {"GET",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: 1\r\n\r\n",
         "RESPONSE 200 -1 body\nDATA ab\nTRAILERS\n x-t: 1\nEND\n"},
        {"GET",
         "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nX: 2\r\n"
         "Content-Length: 0\r\n\r\n",
         "RESPONSE 200 0 nothing\n x: 2\nEND\n"},
        {"GET",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
         "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
         "INTERIM 100\nINTERIM 102\nRESPONSE 200 0 nothing\nEND\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start();
        ask(rows[i].method);
        fake_feed_text(wire, rows[i].bytes);
        fake_end(wire);
        run_turns(loop, 20);
        cr_expect(str_eq(text_str(&seen.log), str_from(rows[i].log)), "row %zu: %.*s", i,
                  STR_ARG(text_str(&seen.log)));
        finish();
    }
}

struct bad_row {
    const char *bytes, *why;
};

Test(http1_client, an_answer_that_could_be_read_in_two_ways_is_never_shown)
{
    static const struct bad_row rows[] = {
        {"HTTP/1.1 OK\r\n\r\n", "the status is not three digits"},
        {"HTTP/1.1 20 OK\r\n\r\n", "the status is not three digits"},
        {"HTTP/1.1 2000 OK\r\n\r\n", "the status is not three digits"},
        {"HTTP/1.1 099 OK\r\n\r\n", "there is no such status"},
        {"HTTP/1.1 600 OK\r\n\r\n", "there is no such status"},
        {"HTTP/1.1  200 OK\r\n\r\n", "the status is not three digits"},
        {"HTTP/1.1 200 O\x01K\r\n\r\n", "the reason has a control character"},
        {"HTTP/2.0 200 OK\r\n\r\n", "the version is neither HTTP/1.1 nor HTTP/1.0"},
        {"ICY 200 OK\r\n\r\n", "the version is not of the form HTTP/1.1"},
        {"hello\r\n", "the status line has no status"},
        {"\r\nHTTP/1.1 200 OK\r\n\r\n", "the status line has no status"},
        {"HTTP/1.1 200 OK\nX: 1\n\n", "a line ends without a carriage return"},
        {"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n", "a line begins with a blank"},
        {"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", "a field's name is not a token"},
        {"HTTP/1.1 200 OK\r\nX\r\n\r\n", "a line has no colon"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
         "content-length came twice"},
        {"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", "content-length is not a length"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx", "content-length is not a length"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
         "transfer-encoding is not exactly chunked"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
         "transfer-encoding is not exactly chunked"},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
         "transfer-encoding came with HTTP/1.0"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
         "transfer-encoding and content-length came together"},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
         "a response that can have no body says that it has one"},
        {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
         "a response that can have no body says that it has one"},
        {"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
         "a response that can have no body says that it has one"},
        {"HTTP/1.0 100 Continue\r\n\r\n", "an interim response came with HTTP/1.0"},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
         "the answer switches to a protocol that was not asked for"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start();
        ask("GET");
        feed(rows[i].bytes);
        cr_expect_eq(seen.n_responses, 0, "row %zu", i);
        cr_expect_eq(seen.fail_err, -ERR_HTTP_RESPONSE, "row %zu: %s", i, err_label(seen.fail_err));
        cr_expect(str_eq(text_str(&seen.why), str_from(rows[i].why)), "row %zu: %.*s", i,
                  STR_ARG(text_str(&seen.why)));
        cr_expect(wire->is_closed && wire->close_err < 0, "row %zu", i);
        finish();
    }
}

Test(http1_client, a_body_that_is_cut_short_fails)
{
    static const struct bad_row rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "eof"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "eof"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n", "eof"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloo", "http_response"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start();
        ask("GET");
        fake_feed_text(wire, rows[i].bytes);
        fake_end(wire);
        run_turns(loop, 20);
        cr_expect_eq(seen.n_responses, 1, "row %zu", i);
        cr_expect_eq(seen.n_ends, 0, "row %zu", i);
        cr_expect_str_eq(err_label(seen.fail_err), rows[i].why, "row %zu", i);
        finish();
    }
}

struct reuse_row {
    const char *bytes;
    bool may_ask_again;
};

Test(http1_client, a_connection_is_used_again_only_if_that_is_safe)
{
    static const struct reuse_row rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", true},
        {"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", true},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false},
        {"HTTP/1.1 200 OK\r\nConnection: Foo, CLOSE\r\nContent-Length: 1\r\n\r\nx", false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start();
        ask("GET");
        feed(rows[i].bytes);
        cr_expect_eq(seen.n_ends, 1, "row %zu", i);
        end_and_close();
        cr_expect_eq(http_client_can_open(seen.client), rows[i].may_ask_again, "row %zu", i);
        cr_expect_eq(seen.is_dead, !rows[i].may_ask_again, "row %zu", i);
        finish();
    }
}

Test(http1_client, an_exchange_that_is_given_up_ends_the_connection, .init = start, .fini = finish)
{
    ask("GET");
    feed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    http1_close(&seen, -ERR_CLIENT_RESET);
    run_turns(loop, 10);
    cr_expect(wire->is_closed && wire->close_err < 0);
    cr_expect(seen.is_dead && !http_client_can_open(seen.client));
}

static void ask_for_upgrade(void)
{
    static const struct http_field key = {{"sec-websocket-key", 17},
                                          {"dGhlIHNhbXBsZSBub25jZQ==", 24}};
    const struct http_request head = {.method = STR("GET"),
                                      .authority = STR("a"),
                                      .path = STR("/"),
                                      .protocol = STR("websocket"),
                                      .fields = {.at = &key, .len = 1},
                                      .has_body = true,
                                      .content_length = HTTP_LENGTH_UNKNOWN};

    ask_with(&head);
}

Test(http1_client, what_is_written_before_a_101_waits_for_it, .init = start, .fini = finish)
{
    ask_for_upgrade();
    stream_write_copy(&seen.stream->stream, "early", 5);
    expect_sent("GET / HTTP/1.1\r\nhost: a\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "connection: upgrade\r\nupgrade: websocket\r\n\r\n");
    feed(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nraw");
    cr_expect_str_eq(seen.log.ptr, "RESPONSE 101 -1 body\nDATA raw");
    expect_sent("early");
    fake_end(wire);
    run_turns(loop, 10);
    cr_expect_eq(seen.n_ends, 1);
    stream_write_copy(&seen.stream->stream, "last", 4);
    end_and_close();
    expect_sent("last");
    cr_expect(wire->is_shut && wire->is_closed && wire->close_err == 0);
}

Test(http1_client, who_was_stopped_before_a_101_may_go_on_behind_it, .init = start, .fini = finish)
{
    static const char piece[65536];
    bool may_go_on = true;
    size_t n_bytes = 0;

    ask_for_upgrade();
    for (; may_go_on && n_bytes < (size_t)1 << 20; n_bytes += sizeof(piece))
        may_go_on = stream_write_copy(&seen.stream->stream, piece, sizeof(piece));
    cr_assert_not(may_go_on);
    feed("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    run_turns(loop, 10);
    cr_expect(wire->n_written > n_bytes, "all of it has left");
    cr_expect_eq(seen.n_drained, 1);
}

Test(http1_client, what_is_written_before_a_refusal_is_dropped, .init = start, .fini = finish)
{
    ask_for_upgrade();
    stream_write_copy(&seen.stream->stream, "early", 5);
    feed("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    cr_expect_str_eq(seen.log.ptr, "RESPONSE 403 2 body\nDATA no\nEND\n");
    fake_forget_written(wire);
    end_and_close();
    expect_sent("");
    cr_expect(http_client_can_open(seen.client), "and the connection goes on");
}

Test(http1_client, interim_answers_without_end_are_cut, .init = start, .fini = finish)
{
    ask("GET");
    for (unsigned i = 0; i <= 100 && !wire->is_closed; i++)
        feed("HTTP/1.1 102 Processing\r\n\r\n");
    cr_expect_eq(seen.fail_err, -ERR_HTTP_RESPONSE);
}

Test(http1_client, trailers_follow_a_chunked_request, .init = start, .fini = finish)
{
    static const struct http_field field = {{"x-sum", 5}, {"7", 1}};
    const struct http_request head = {.method = STR("PUT"),
                                      .authority = STR("a"),
                                      .path = STR("/"),
                                      .has_body = true,
                                      .content_length = HTTP_LENGTH_UNKNOWN};

    ask_with(&head);
    http_trailers(seen.stream, &(struct http_fields){.at = &field, .len = 1});
    expect_sent("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                "0\r\nx-sum: 7\r\n\r\n");
}

Test(http1_client, methods_that_may_have_a_body_say_when_there_is_none, .init = start,
     .fini = finish)
{
    ask("POST");
    expect_sent("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
}

/* As it comes from HTTP/2: RFC 8441 has no key. */
static void ask_without_key(struct text *out_key)
{
    const struct http_request head = {.method = STR("GET"),
                                      .authority = STR("a"),
                                      .path = STR("/"),
                                      .protocol = STR("websocket"),
                                      .has_body = true,
                                      .content_length = HTTP_LENGTH_UNKNOWN};
    struct str before, key;

    ask_with(&head);
    run_turns(loop, 5);
    cr_assert(str_split(fake_written(wire), '=', &before, &key));
    cr_assert_gt(before.len, 22);
    text_add(out_key, str_sub(before, before.len - 22, 22));
    text_add(out_key, STR("=="));
    cr_expect(str_contains(fake_written(wire), STR("\r\nsec-websocket-key: ")));
}

Test(http1_client, a_websocket_without_a_key_gets_one_and_its_answer_is_checked)
{
    for (unsigned is_right = 0; is_right < 2; is_right++) {
        struct text key = {0}, answer = {0};
        char accept[WEBSOCKET_ACCEPT_LEN];

        start();
        ask_without_key(&key);
        websocket_accept(text_str(&key), accept);
        accept[0] ^= is_right ? 0 : 1;
        text_addf(&answer,
                  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                  "Upgrade: websocket\r\nSec-WebSocket-Accept: %.*s\r\n\r\n",
                  (int)sizeof(accept), accept);
        feed(answer.ptr);
        cr_expect_eq(seen.n_responses, is_right);
        cr_expect_eq(seen.fail_err, is_right ? 0 : -ERR_HTTP_RESPONSE);
        text_fini(&key);
        text_fini(&answer);
        finish();
    }
}

Test(http1_client, a_switched_connection_may_be_closed_politely_before_its_peer_ends, .init = start,
     .fini = finish)
{
    ask_for_upgrade();
    feed("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    fake_forget_written(wire);
    stream_write_copy(&seen.stream->stream, "last", 4);
    end_and_close();
    expect_sent("last");
    cr_expect(wire->is_closed && wire->is_shut && wire->close_err == 0);
    cr_expect(seen.is_dead && seen.dead_err == 0);
}
