/* A client and a server of HTTP/2 messages back to back: what goes in comes out. */
#include <criterion/criterion.h>
#include <string.h>

#include "http2_kit.h"
#include "proxy/base/clock.h"
#include "proxy/http/h2.h"

TestSuite(http2_exchange, .timeout = 60);

static struct duo duo;

static void start(void)
{
    duo_open(&duo, NULL, NULL);
}

static void finish(void)
{
    duo_close(&duo);
}

static void run(void)
{
    duo_run(&duo, 65536);
}

#define expect_text(got, wanted) cr_expect_str_eq(got, wanted)

Test(http2_exchange, a_request_and_its_answer, .init = start, .fini = finish)
{
    static const char *const fields[] = {"accept", "*/*", "te", "trailers", "x-empty", "", NULL};
    struct talk *asked = duo_get(&duo, "/some?q=1", fields);

    run();
    cr_assert_eq(duo.n_heard, 1);
    expect_text(duo.heard[0]->head, "GET http a.example /some?q=1 ");
    expect_text(duo.heard[0]->fields, "accept=*/*;te=trailers;x-empty=;");
    cr_expect_not(duo.heard[0]->has_body);
    cr_expect(duo.heard[0]->tap.ended);
    expect_text(asked->head, "200");
    expect_text(asked->fields, "x-from=server;");
    cr_expect_eq(asked->content_length, 2);
    cr_expect(str_eq(text_str(&asked->tap.got), STR("ok")));
    cr_expect(asked->tap.ended);
    cr_expect_eq(http_client_open(duo.client), 0);
}

Test(http2_exchange, bodies_and_trailers_go_both_ways, .init = start, .fini = finish)
{
    struct talk *asked;

    duo.manner = 'e';
    asked = duo_post(&duo, "/echo", HTTP_LENGTH_UNKNOWN);
    talk_write(asked, "hello");
    run();
    cr_expect(str_eq(text_str(&asked->tap.got), STR("hello")), "before the end of the request");
    talk_trailers(asked, "x-sum", "42");
    run();
    expect_text(duo.heard[0]->trailers, "x-sum=42;");
    expect_text(asked->trailers, "x-sum=42;");
    cr_expect(asked->tap.ended);
}

Test(http2_exchange, what_means_something_before_a_body_is_no_trailer, .init = start,
     .fini = finish)
{
    static const char *const names[] = {"authorization", "cookie",        "content-type",
                                        "expect",        "trailer",       "host",
                                        "connection",    "content-length"};

    duo.manner = 0;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        struct talk *asked = duo_post(&duo, "/", HTTP_LENGTH_UNKNOWN);
        talk_write(asked, "hello");
        talk_trailers(asked, names[i], "1");
        run();
        cr_expect_eq(duo.heard[i]->n_trailers, 0, "%s", names[i]);
        cr_expect(asked->tap.err < 0, "%s", names[i]);
    }
}

Test(http2_exchange, trailers_alone_are_the_whole_body, .init = start, .fini = finish)
{
    struct talk *asked;

    duo.manner = 0;
    asked = duo_get(&duo, "/", NULL);
    run();
    talk_respond(duo.heard[0], 200, HTTP_LENGTH_UNKNOWN, true);
    talk_trailers(duo.heard[0], "grpc-status", "5");
    run();
    expect_text(asked->head, "200");
    expect_text(asked->trailers, "grpc-status=5;");
    cr_expect(asked->tap.ended);
    cr_expect_eq(asked->tap.n_got, 0);
}

Test(http2_exchange, interim_answers_come_before_the_answer, .init = start, .fini = finish)
{
    const struct http_field link = {STR("link"), STR("</a>")};
    struct talk *asked;

    duo.manner = 0;
    asked = duo_post(&duo, "/", 2);
    run();
    http_interim(duo.heard[0]->stream, &(struct http_response){.status = 100});
    http_interim(duo.heard[0]->stream,
                 &(struct http_response){.status = 103, .fields = {.at = &link, .len = 1}});
    run();
    expect_text(asked->interims, "100 103 link=</a>;");
    cr_expect_eq(asked->n_heads, 0);
    talk_respond(duo.heard[0], 204, HTTP_LENGTH_UNKNOWN, false);
    run();
    expect_text(asked->head, "204");
    cr_expect(asked->tap.ended);
}

Test(http2_exchange, an_answer_without_a_body_ends_with_its_head, .init = start, .fini = finish)
{
    static const struct {
        const char *method;
        unsigned status;
        int64_t length;
    } rows[] = {
        {"HEAD", 200, 12345}, {"GET", 204, HTTP_LENGTH_UNKNOWN}, {"GET", 304, 10}, {"GET", 200, 0}};

    duo.manner = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_request head = {.method = str_from(rows[i].method),
                                    .authority = STR("a"),
                                    .path = STR("/"),
                                    .content_length = HTTP_LENGTH_UNKNOWN};
        struct talk *asked = duo_ask(&duo, &head);

        run();
        talk_respond(duo.heard[i], rows[i].status, rows[i].length, false);
        run();
        cr_expect_eq(asked->n_heads, 1);
        cr_expect_not(asked->has_body, "%s %u", rows[i].method, rows[i].status);
        cr_expect_eq(asked->content_length, rows[i].length, "%s %u", rows[i].method,
                     rows[i].status);
        cr_expect(asked->tap.ended && !asked->tap.err);
    }
}

Test(http2_exchange, cookie_crumbs_become_one_field, .init = start, .fini = finish)
{
    static const char *const fields[] = {"cookie", "a=1",    "x",   "y", "cookie",
                                         "b=2",    "cookie", "c=3", NULL};

    duo_get(&duo, "/", fields);
    run();
    expect_text(duo.heard[0]->fields, "cookie=a=1; b=2; c=3;x=y;");
}

Test(http2_exchange, host_is_the_authority, .init = start, .fini = finish)
{
    static const char *const same[] = {"host", "A.example", NULL};
    static const char *const other[] = {"host", "b.example", NULL};
    struct http_request only_host = {
        .method = STR("GET"), .path = STR("/"), .content_length = HTTP_LENGTH_UNKNOWN};
    const struct http_field host = {STR("host"), STR("c.example:80")};
    struct talk *refused;

    duo_get(&duo, "/", same);
    refused = duo_get(&duo, "/", other);
    only_host.fields = (struct http_fields){.at = &host, .len = 1};
    duo_ask(&duo, &only_host);
    run();
    cr_assert_eq(duo.n_heard, 2);
    expect_text(duo.heard[0]->head, "GET http a.example / ");
    expect_text(duo.heard[0]->fields, "");
    expect_text(duo.heard[1]->head, "GET http c.example:80 / ");
    cr_expect_eq(refused->tap.err, -ERR_HTTP_RESPONSE);
    cr_expect_eq(duo.n_refused, 1);
    cr_expect_str_eq(duo.refused_why, "host is not :authority");
}

Test(http2_exchange, an_extended_connect_is_an_upgrade, .init = start, .fini = finish)
{
    struct http_request head = {.method = STR("GET"),
                                .scheme = STR("http"),
                                .authority = STR("a"),
                                .path = STR("/chat"),
                                .protocol = STR("websocket"),
                                .content_length = HTTP_LENGTH_UNKNOWN,
                                .has_body = true};
    struct talk *asked;

    duo.manner = 'e';
    asked = duo_ask(&duo, &head); /* before the server's SETTINGS came */
    run();
    cr_assert_eq(duo.n_heard, 1);
    expect_text(duo.heard[0]->head, "GET http a /chat websocket");
    expect_text(asked->head, "101");
    talk_write(asked, "frame");
    run();
    cr_expect(str_eq(text_str(&asked->tap.got), STR("frame")));
    stream_shutdown(asked->tap.stream);
    run();
    cr_expect(asked->tap.ended && duo.heard[0]->tap.ended);
}

Test(http2_exchange, an_upgrade_may_be_declined, .init = start, .fini = finish)
{
    struct http_request head = {.method = STR("GET"),
                                .authority = STR("a"),
                                .path = STR("/chat"),
                                .protocol = STR("websocket"),
                                .has_body = true};
    struct talk *asked;

    duo.manner = 0;
    run();
    asked = duo_ask(&duo, &head);
    run();
    talk_respond(duo.heard[0], 403, 0, false);
    run();
    expect_text(asked->head, "403");
    cr_expect(asked->tap.ended);
}

Test(http2_exchange, a_cancelled_request_is_a_reset_at_once, .init = start, .fini = finish)
{
    struct talk *asked;

    duo.manner = 0;
    asked = duo_post(&duo, "/", 10);
    talk_write(asked, "12345");
    run();
    tap_close(&asked->tap, -ERR_CLIENT_RESET);
    run();
    cr_expect_eq(duo.heard[0]->tap.err, -ERR_RESET);
    cr_expect_not(duo.heard[0]->tap.ended);
}

Test(http2_exchange, a_server_that_gives_up_resets, .init = start, .fini = finish)
{
    struct talk *early, *late, *refused;

    duo.manner = 0;
    early = duo_get(&duo, "/1", NULL);
    late = duo_get(&duo, "/2", NULL);
    refused = duo_get(&duo, "/3", NULL);
    run();
    talk_respond(duo.heard[1], 200, 10, true);
    talk_write(duo.heard[1], "1234");
    run();
    tap_close(&duo.heard[0]->tap, -ERR_UPSTREAM_RESET);
    tap_close(&duo.heard[1]->tap, -ERR_UPSTREAM_RESET);
    tap_close(&duo.heard[2]->tap, -ERR_OVERLOAD);
    run();
    cr_expect_eq(early->tap.err, -ERR_RESET);
    cr_expect_eq(late->tap.err, -ERR_RESET);
    cr_expect_eq(late->tap.n_got, 4);
    cr_expect_not(late->tap.ended);
    cr_expect_eq(refused->tap.err, -ERR_H2_REFUSED);
}

Test(http2_exchange, an_answer_may_come_before_the_end_of_the_request, .init = start,
     .fini = finish)
{
    struct talk *asked;

    duo.manner = 'o';
    asked = duo_post(&duo, "/early", HTTP_LENGTH_UNKNOWN);
    run();
    tap_close(&duo.heard[0]->tap, 0);
    run();
    expect_text(asked->head, "200");
    cr_expect(asked->tap.ended, "what was sent is whole");
    cr_expect_eq(asked->tap.err, -ERR_RESET, "and nothing more is read of us");
}

Test(http2_exchange, a_length_that_is_not_kept_fails_the_request, .init = start, .fini = finish)
{
    static const struct {
        int64_t length;
        const char *body;
    } rows[] = {{10, "123"}, {3, "1234"}, {0, "1"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct talk *asked;

        duo.manner = 0;
        asked = duo_post(&duo, "/", rows[i].length);
        run();
        talk_write(asked, rows[i].body);
        stream_shutdown(asked->tap.stream);
        run();
        cr_expect_eq(asked->tap.err, -ERR_HTTP_RESPONSE, "row %zu: %d", i, asked->tap.err);
        cr_expect_eq(duo.heard[i]->tap.err, -ERR_H2, "row %zu", i);
        cr_expect_not(duo.heard[i]->tap.ended, "row %zu", i);
    }
}

Test(http2_exchange, a_length_that_is_not_kept_fails_the_answer, .init = start, .fini = finish)
{
    static const struct {
        int64_t length;
        const char *body;
    } rows[] = {{10, "123"}, {3, "1234"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct talk *asked;

        duo.manner = 0;
        asked = duo_get(&duo, "/", NULL);
        run();
        talk_respond(duo.heard[i], 200, rows[i].length, true);
        talk_write(duo.heard[i], rows[i].body);
        stream_shutdown(duo.heard[i]->tap.stream);
        run();
        cr_expect_eq(asked->tap.err, -ERR_HTTP_RESPONSE, "row %zu: %d", i, asked->tap.err);
        cr_expect_not(asked->tap.ended, "row %zu", i);
    }
}

/* ------------------------------------------------------------------ pressure */

/* Writes as far as the stream lets; true when all is out. */
static bool write_on(struct talk *talk, size_t total, size_t piece)
{
    if (stream_queued(talk->tap.stream) > 65536)
        return false;
    return tap_write_pattern(&talk->tap, total, piece);
}

Test(http2_exchange, a_reader_who_pauses_holds_the_writer_back, .fini = finish)
{
    static const struct http_limits limits = {.stream_window = 65536, .stream_window_max = 65536};
    struct talk *asked;

    duo_open(&duo, &limits, &limits);
    duo.manner = 0;
    asked = duo_post(&duo, "/", HTTP_LENGTH_UNKNOWN);
    run();
    stream_pause(duo.heard[0]->tap.stream);
    for (unsigned i = 0; i < 50; i++) {
        write_on(asked, 8 << 20, 16384);
        run();
    }
    cr_expect_leq(duo.heard[0]->tap.n_got, 65536);
    cr_expect_lt(duo.carried[0], 200000, "%zu bytes passed", duo.carried[0]);
    cr_expect_lt(stream_queued(asked->tap.stream), 400000);
    stream_resume(duo.heard[0]->tap.stream);
    while (!write_on(asked, 8 << 20, 16384))
        run();
    run();
    cr_expect_eq(duo.heard[0]->tap.n_got, 8u << 20);
    cr_expect_eq(duo.heard[0]->tap.n_wrong, 0);
}

Test(http2_exchange, megabytes_under_random_pauses_are_whole, .fini = finish)
{
    enum { STREAMS = 4, TOTAL = 2 << 20 };
    struct talk *asked[STREAMS];
    struct rng rng;
    bool done = false;

    duo_open(&duo, NULL, NULL);
    rng_seed(&rng, 7);
    duo.manner = 'e';
    for (unsigned i = 0; i < STREAMS; i++)
        asked[i] = duo_post(&duo, "/", TOTAL);
    for (unsigned turn = 0; turn < 100000 && !done; turn++) {
        struct talk *talk = asked[rng_below(&rng, STREAMS)];
        struct tap *tap = &talk->tap;

        if (rng_below(&rng, 4) == 0)
            stream_pause(tap->stream);
        else
            stream_resume(tap->stream);
        if (tap->n_wrote < TOTAL && write_on(talk, TOTAL, 1 + rng_below(&rng, 16384)))
            stream_shutdown(tap->stream);
        duo_carry(&duo, rng_below(&rng, 2), 1 + rng_below(&rng, 60000));
        run_turns(duo.loop, 1);
        done = true;
        for (unsigned i = 0; i < STREAMS; i++)
            done = done && asked[i]->tap.ended;
    }
    cr_assert(done);
    for (unsigned i = 0; i < STREAMS; i++) {
        cr_expect_eq(asked[i]->tap.n_got, TOTAL);
        cr_expect_eq(asked[i]->tap.n_wrong, 0);
    }
}

/* ------------------------------------------------------------------ at each byte */

static void tell_a_story(void)
{
    struct talk *asked;

    duo.manner = 'e';
    asked = duo_post(&duo, "/story", HTTP_LENGTH_UNKNOWN);
    talk_write(asked, "body");
    talk_trailers(asked, "x-sum", "1");
    duo_get(&duo, "/second", NULL);
}

Test(http2_exchange, pieces_of_any_size_make_the_same_story)
{
    for (size_t piece = 1; piece < 80; piece++) {
        duo_open(&duo, NULL, NULL);
        tell_a_story();
        duo_run(&duo, piece);
        cr_assert_eq(duo.n_heard, 2, "pieces of %zu", piece);
        cr_expect(str_eq(text_str(&duo.asked[0]->tap.got), STR("body")), "pieces of %zu", piece);
        cr_expect_str_eq(duo.asked[0]->trailers, "x-sum=1;", "pieces of %zu", piece);
        cr_expect(duo.asked[0]->tap.ended && duo.asked[1]->tap.ended, "pieces of %zu", piece);
        cr_expect_eq(duo.asked[0]->tap.err + duo.asked[1]->tap.err, 0);
        duo_close(&duo);
    }
}

static size_t story_bytes(bool to_client)
{
    size_t n_bytes;

    duo_open(&duo, NULL, NULL);
    tell_a_story();
    run();
    n_bytes = duo.carried[to_client];
    duo_close(&duo);
    return n_bytes;
}

/* Both ends hear of it, once, and nothing of the loop is left. */
static void cut_after(bool to_client, size_t n_bytes, bool is_reset)
{
    duo_open(&duo, NULL, NULL);
    tell_a_story();
    for (unsigned quiet = 0; quiet < 6;) {
        size_t left = n_bytes - duo.carried[to_client];
        bool moved = duo_carry(&duo, !to_client, 65536);

        moved |= left > 0 && duo_carry(&duo, to_client, left);
        quiet = moved ? 0 : quiet + 1;
        run_turns(duo.loop, 1);
    }
    if (is_reset) {
        fake_fail(duo.below_client, -ERR_RESET);
        fake_fail(duo.below_server, -ERR_RESET);
    } else {
        fake_end(duo.below_client);
        fake_end(duo.below_server);
    }
    run_turns(duo.loop, 4);
    cr_assert_eq(duo.n_client_dead, 1, "byte %zu", n_bytes);
    cr_assert_eq(duo.n_server_dead, 1, "byte %zu", n_bytes);
    for (unsigned i = 0; i < duo.n_asked; i++)
        cr_expect(duo.asked[i]->tap.ended || duo.asked[i]->tap.err, "byte %zu, %u", n_bytes, i);
    for (unsigned i = 0; i < duo.n_heard; i++)
        cr_expect(!duo.heard[i]->tap.stream || duo.heard[i]->tap.ended || duo.heard[i]->tap.err,
                  "byte %zu, %u", n_bytes, i);
    duo_close(&duo);
}

Test(http2_exchange, a_wire_cut_at_any_byte_is_told_to_both_ends)
{
    for (unsigned to_client = 0; to_client < 2; to_client++) {
        size_t total = story_bytes(to_client);

        for (size_t at = 0; at <= total; at++)
            cut_after(to_client, at, at % 2);
    }
}

Test(http2_exchange, what_the_peer_never_handled_may_be_sent_again, .init = start, .fini = finish)
{
    /* GOAWAY with last stream 0, NO_ERROR */
    static const uint8_t goaway[] = {0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    struct talk *asked;

    run();
    asked = duo_get(&duo, "/", NULL);
    run_turns(duo.loop, 2);
    fake_feed(duo.below_client, goaway, sizeof(goaway));
    run_turns(duo.loop, 4);
    cr_expect_eq(asked->tap.err, -ERR_H2_REFUSED);
}
