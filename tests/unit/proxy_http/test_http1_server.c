#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/http/date.h"
#include "tests/unit/proxy_http/http1_wire.h"

TestSuite(http1_server, .timeout = 60);

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

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

Test(http1_server, an_answer_leaves_with_its_end_and_in_one_piece)
{
    static const struct {
        unsigned status;
        int64_t length;
        const char *body, *sent;
    } rows[] = {
        {200, 4, "fine", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"},
        {200, 0, NULL, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"},
        {304, 0, NULL, "HTTP/1.1 304 Not Modified\r\ncontent-length: 0\r\n\r\n"},
        {204, 0, NULL, "HTTP/1.1 204 No Content\r\n\r\n"},
        {200, HTTP_LENGTH_UNKNOWN, "ab",
         "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start();
        feed(GET);
        respond(rows[i].status, rows[i].length);
        if (rows[i].body) {
            cr_expect_eq(wire->n_writes, 0, "row %zu: its body may come yet", i);
            http1_say(&seen, rows[i].body);
        }
        cr_expect_eq(wire->n_writes, 1, "row %zu", i);
        cr_expect(str_eq(fake_written(wire), str_from(rows[i].sent)), "row %zu: %.*s", i,
                  STR_ARG(fake_written(wire)));
        http1_close(&seen, 0);
        run_turns(loop, 20);
        cr_expect_eq(wire->n_writes, 1, "row %zu", i);
        cr_expect(!wire->is_closed && !seen.is_dead, "row %zu", i);
        finish();
    }
}

Test(http1_server, refusals_of_requests_that_came_together_leave_together, .init = start,
     .fini = finish)
{
#define REFUSAL "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    seen.refuses = true;
    feed(GET GET GET);
    cr_expect_eq(seen.n_requests, 3);
    cr_expect_eq(wire->n_writes, 1);
    expect_sent(REFUSAL REFUSAL REFUSAL);
}

Test(http1_server, an_answer_waits_for_the_ones_before_it, .init = start, .fini = finish)
{
    const struct http_response head = http1_plain(204, 0);

    seen.answers = true;
    fake_hold(wire);
    feed(GET);
    seen.answers = false;
    feed(GET);
    cr_assert_eq(seen.n_requests, 2);
    http_respond(seen.stream, &head);
    http1_close(&seen, 0);
    fake_release(wire);
    expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n");
}

Test(http1_server, an_answer_of_unknown_length_is_chunked_and_has_trailers, .init = start,
     .fini = finish)
{
    static const struct http_field field = {{"x-sum", 5}, {"7", 1}};
    const struct http_fields trailers = {.at = &field, .len = 1};

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
    static const char begin[] = "HTTP/1.1 400 Bad Request\r\ndate: ";
    int64_t date_s;
    run_turns(loop, 20);
    const char *sent = wire->written.ptr ? wire->written.ptr : "";
    cr_assert(strncmp(sent, begin, strlen(begin)) == 0, "%s", sent);
    cr_expect(http_date_read(str_of(sent + strlen(begin), HTTP_DATE_MAX - 1), 0, &date_s), "%s",
              sent);
    cr_expect_str_eq(sent + strlen(begin) + HTTP_DATE_MAX - 1,
                     "\r\nserver: isthmus\r\ncontent-type: text/plain\r\n"
                     "content-length: 16\r\nconnection: close\r\n\r\nhost came twice\n");
    cr_expect_str_eq(seen.log.ptr, "REFUSED 400\nDEAD http_smuggling\n");
    cr_expect(wire->is_shut && wire->is_closed && wire->close_err == 0);
}

Test(http1_server, pieces_of_a_body_are_windows_into_what_came, .init = start, .fini = finish)
{
    char room[9000];

    seen.stays_paused = true;
    memset(room, 'x', sizeof(room));
    feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n");
    const uint64_t n_live = loop_slabs(loop)->n_live;
    fake_feed(wire, room, sizeof(room));
    stream_resume(&seen.stream->stream);
    run_turns(loop, 20);
    cr_expect_eq(seen.n_bytes, 9000);
    cr_expect_eq(loop_slabs(loop)->n_live, n_live, "nothing was copied or kept");
}

Test(http1_server, a_paused_exchange_reads_nothing_more, .init = start, .fini = finish)
{
    seen.stays_paused = true;
    feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    cr_expect(wire->is_paused);
    fake_feed_text(wire, "world");
    run_turns(loop, 20);
    cr_expect_eq(seen.n_bytes, 0);
    stream_resume(&seen.stream->stream);
    run_turns(loop, 20);
    cr_expect(http1_saw(&seen, "DATA helloworld\nEND\n"));
}

Test(http1_server, a_client_that_does_not_read_makes_the_owner_wait, .init = start, .fini = finish)
{
    static char room[60000];
    bool go_on = true;

    feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    respond(200, HTTP_LENGTH_UNKNOWN);
    fake_hold(wire);
    for (unsigned i = 0; go_on && i < 100; i++) {
        go_on = stream_write_copy(&seen.stream->stream, room, sizeof(room));
        run_turns(loop, 2);
    }
    cr_expect(!go_on);
    cr_expect_leq(stream_queued(&seen.stream->stream), 600000);
    cr_expect_eq(seen.n_drained, 0);
    fake_release(wire);
    run_turns(loop, 20);
    cr_expect_eq(seen.n_drained, 1);
    http1_say(&seen, "");
    http1_close(&seen, 0);
    run_turns(loop, 20);
    cr_expect(str_ends_with(fake_written(wire), STR("\r\n0\r\n\r\n")));
}

struct answer_row {
    const char *method;
    unsigned status;
    int64_t length;
    bool has_body;
    const char *wanted;
};

Test(http1_server, the_head_of_an_answer_says_what_its_body_is)
{
    static const struct answer_row rows[] = {
        {"GET", 200, 2, true, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"},
        {"GET", 200, 0, false, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"},
        {"GET", 299, -1, false, "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"},
        {"GET", 200, -1, true,
         "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
        {"GET", 204, 0, false, "HTTP/1.1 204 No Content\r\n\r\n"},
        {"GET", 304, 7, false, "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"},
        {"GET", 304, -1, false, "HTTP/1.1 304 Not Modified\r\n\r\n"},
        {"HEAD", 200, 7, false, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"},
        {"HEAD", 200, -1, false, "HTTP/1.1 200 OK\r\n\r\n"},
        {"HEAD", 200, 2, true, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char request[64];
        start();
        (void)snprintf(request, sizeof(request), "%s / HTTP/1.1\r\nHost: a\r\n\r\n",
                       rows[i].method);
        feed(request);
        http_respond(seen.stream, &(struct http_response){.status = rows[i].status,
                                                          .content_length = rows[i].length,
                                                          .has_body = rows[i].has_body});
        http1_say(&seen, "ok");
        http1_close(&seen, 0);
        run_turns(loop, 20);
        cr_expect(str_eq(fake_written(wire), str_from(rows[i].wanted)), "row %zu: %.*s", i,
                  STR_ARG(fake_written(wire)));
        cr_expect(!wire->is_closed, "row %zu", i);
        finish();
    }
}

Test(http1_server, an_answer_that_does_not_keep_to_its_length_breaks_the_connection)
{
    static const char *bodies[] = {"1", "123", NULL};

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        start();
        feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        respond(200, 2);
        if (bodies[i])
            http1_say(&seen, bodies[i]);
        else
            http1_close(&seen, 0); /* given up */
        run_turns(loop, 20);
        cr_expect(seen.is_dead && wire->is_closed && wire->close_err < 0, "row %zu", i);
        finish();
    }
}

Test(http1_server, continue_is_told_and_the_body_comes, .init = start, .fini = finish)
{
    feed("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    cr_expect(http1_saw(&seen, " expect: 100-continue\n"));
    http_interim(seen.stream, &(struct http_response){.status = 100});
    expect_sent("HTTP/1.1 100 Continue\r\n\r\n");
    feed("ab");
    cr_expect(http1_saw(&seen, "DATA ab\nEND\n"));
    respond(200, 2);
    http1_say(&seen, "ok");
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_expect(!wire->is_closed);
}

Test(http1_server, interims_are_not_kept_for_who_does_not_read, .init = start, .fini = finish)
{
    static char wide[60000];
    const struct http_field field = {STR("x-wide"), str_of(wide, sizeof(wide))};
    const struct http_response hint = {
        .status = 103, .fields = {&field, 1}, .content_length = HTTP_LENGTH_UNKNOWN};

    memset(wide, 'w', sizeof(wide));
    feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    fake_hold(wire);
    for (unsigned i = 0; i < 1000; i++)
        http_interim(seen.stream, &hint);
    run_turns(loop, 3);
    cr_expect(stream_queued(&seen.stream->stream) < (size_t)1 << 20, "%zu bytes",
              stream_queued(&seen.stream->stream));
    respond(204, HTTP_LENGTH_UNKNOWN);
    fake_release(wire);
    run_turns(loop, 3);
    cr_expect(str_ends_with(fake_written(wire), STR("HTTP/1.1 204 No Content\r\n\r\n")));
}

Test(http1_server, who_was_not_told_to_continue_gets_the_answer_and_a_close, .init = start,
     .fini = finish)
{
    feed("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    respond(413, 0);
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    cr_expect(wire->is_closed && wire->is_shut && wire->close_err == 0);
}

struct unread_row {
    const char *request;
    size_t rest;
    bool goes_on;
};

Test(http1_server, a_little_that_was_not_wanted_is_read_and_much_is_not)
{
    static const struct unread_row rows[] = {
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", 60000, true},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n", 100, false},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nea60\r\n", 60000, false},
    };
    static char room[70000];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start();
        seen.stays_paused = true;
        feed(rows[i].request);
        respond(200, 0);
        http1_close(&seen, 0);
        for (size_t at = 0; at < rows[i].rest; at += 10000)
            fake_feed(wire, room, rows[i].rest - at < 10000 ? rows[i].rest - at : 10000);
        run_turns(loop, 30);
        cr_expect_eq(wire->is_closed, !rows[i].goes_on, "row %zu", i);
        cr_expect_eq(str_contains(fake_written(wire), STR("connection: close")), !rows[i].goes_on,
                     "row %zu", i);
        feed("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        cr_expect_eq(seen.n_requests, rows[i].goes_on ? 2 : 1, "row %zu", i);
        finish();
    }
}

Test(http1_server, a_client_that_goes_while_its_answer_is_made_is_noticed, .init = start,
     .fini = finish)
{
    feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    fake_end(wire);
    run_turns(loop, 20);
    cr_expect_eq(seen.fail_err, -ERR_CLIENT_RESET);
    cr_expect(seen.is_dead && wire->is_closed);
}

Test(http1_server, an_upgrade_makes_both_directions_the_protocols, .init = start, .fini = finish)
{
    feed("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
    cr_expect_str_eq(seen.log.ptr, "REQUEST GET a /chat websocket -1 body\n");
    http_respond(seen.stream, &(struct http_response){.status = 101});
    stream_write_copy(&seen.stream->stream, "raw", 3);
    expect_sent("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                "\r\nraw");
    feed(" and late");
    cr_expect(http1_saw(&seen, "DATA early and late"));
    fake_end(wire);
    run_turns(loop, 20);
    cr_expect(http1_saw(&seen, "\nEND\n"));
    cr_expect(!seen.is_dead, "the other direction goes on");
    stream_write_copy(&seen.stream->stream, "last", 4);
    stream_shutdown(&seen.stream->stream);
    expect_sent("last");
    cr_expect(wire->is_shut && !wire->is_closed);
    http1_close(&seen, 0);
    run_turns(loop, 20);
    cr_expect(wire->is_closed && wire->close_err == 0 && seen.is_dead && seen.dead_err == 0);
}

/* Requests behind it would be read, routed and judged by nobody. */
Test(http1_server, an_upgrade_to_http_itself_is_passed_over, .init = start, .fini = finish)
{
    static const char *const protocols[] = {"h2c",      "H2C", "h2c/1",   "HTTP/2.0",
                                            "http/1.1", "h2",  "TLS/1.2", "TLS/1.0"};

    seen.answers = true;
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        struct text text = {0};

        text_clear(&seen.log);
        text_addf(&text,
                  "GET /%zu HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", i,
                  protocols[i]);
        feed(text.ptr);
        text_clear(&text);
        text_addf(&text, "REQUEST GET a /%zu", i);
        cr_expect(http1_saw(&seen, text.ptr), "%s: %s", protocols[i], seen.log.ptr);
        cr_expect_not(http1_saw(&seen, protocols[i]), "%s: %s", protocols[i], seen.log.ptr);
        text_fini(&text);
    }
}

Test(http1_server, an_upgrade_that_is_declined_is_a_request_like_any_other, .init = start,
     .fini = finish)
{
    feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
         "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    respond(403, 2);
    http1_say(&seen, "no");
    run_turns(loop, 20);
    cr_expect_eq(seen.n_ends, 1);
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    cr_expect_eq(seen.n_requests, 2);
}

Test(http1_server, the_last_of_so_many_requests_is_told, .fini = finish)
{
    limits = (struct http_limits){.requests = 2};
    begin();
    seen.answers = true;
    feed("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    feed("GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    cr_expect_eq(seen.n_requests, 2);
    cr_expect(wire->is_closed);
}

struct slow_row {
    struct http_limits limits;
    const char *request;
    unsigned status; /* 0: the connection just ends */
    bool is_paused;
};

Test(http1_server, who_is_too_slow_is_cut)
{
    static const struct slow_row rows[] = {
        {{.head_ns = 20 * NS_PER_MS}, "GET / HTT", 408, false},
        {{.head_ns = 20 * NS_PER_MS}, "GET / HTTP/1.1\r\nHost: a\r\n", 408, false},
        {{.body_ns = 20 * NS_PER_MS},
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx",
         408,
         false},
        {{.idle_ns = 20 * NS_PER_MS}, "", 0, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        limits = rows[i].limits;
        begin();
        fake_feed_text(wire, rows[i].request);
        cr_expect(run_until_set(loop, &seen.is_dead, PATIENCE_MS), "row %zu", i);
        cr_expect_eq(seen.refused_status, rows[i].status, "row %zu", i);
        cr_expect(wire->is_closed, "row %zu", i);
        finish();
    }
}

Test(http1_server, what_is_too_large_is_refused_before_it_is_whole)
{
    static const struct {
        const char *begin;
        unsigned status;
    } rows[] = {{"GET /", 414}, {"GET / HTTP/1.1\r\nHost: a\r\nX: ", 431}};

    char room[500];

    memset(room, 'x', sizeof(room));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        limits = (struct http_limits){.head_bytes = 2000};
        begin();
        feed(rows[i].begin);
        for (unsigned n = 0; n < 5; n++)
            fake_feed(wire, room, sizeof(room));
        run_turns(loop, 20);
        cr_expect_eq(seen.refused_status, rows[i].status, "row %zu: %u", i, seen.refused_status);
        cr_expect_eq(seen.dead_err, -ERR_LIMIT, "row %zu", i);
        finish();
    }
}

Test(http1_server, closed_by_its_maker_the_exchange_fails_first, .init = start, .fini = finish)
{
    feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    http_server_close(seen.server, 0);
    seen.server = NULL;
    cr_expect_eq(seen.fail_err, -ERR_SHUTDOWN);
    run_turns(loop, 20);
    cr_expect(!seen.is_dead, "nobody is told what he did");
    cr_expect(wire->is_closed);
}

Test(http1_server, fields_of_the_hop_and_those_it_names_are_taken_out, .init = start,
     .fini = finish)
{
    feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-hop, Keep-Alive\r\nKeep-Alive: 5\r\n"
         "X-Hop: 1\r\nProxy-Connection: y\r\nTE: gzip\r\nX-End: 2\r\nConnection: x-too\r\n"
         "x-too: 3\r\n\r\n");
    cr_expect_str_eq(seen.log.ptr, "REQUEST GET a /  0 nothing\n x-end: 2\nEND\n");
}

Test(http1_server, a_websockets_key_is_answered_when_who_agrees_has_no_word_for_it, .init = start,
     .fini = finish)
{
    feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    http_respond(seen.stream, &(struct http_response){.status = 101});
    expect_sent("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"); /* RFC 6455 1.3 */
}
