/* The connection against a peer that is the test itself, frame by frame. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <string.h>

#include "h2_kit.h"
#include "proxy/base/clock.h"

TestSuite(h2_connection, .timeout = 60);

static struct raw raw;
static struct str payload;

static void server(void)
{
    raw_open(&raw, true, NULL);
    raw.peer.answers = true;
}

static void client(void)
{
    raw_open(&raw, false, NULL);
}

static void finish(void)
{
    raw_close(&raw);
}

static uint32_t setting(struct str settings, uint16_t id)
{
    for (size_t at = 0; at + 6 <= settings.len; at += 6) {
        if (((uint8_t)settings.ptr[at] << 8 | (uint8_t)settings.ptr[at + 1]) == id)
            return raw_code(settings, at + 2);
    }
    return UINT32_MAX;
}

Test(h2_connection, a_client_introduces_itself, .init = client, .fini = finish)
{
    cr_assert(str_starts_with(fake_written(raw.below), STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")));
    cr_assert(raw_saw(&raw, NGHTTP2_SETTINGS, 0, &payload));
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_ENABLE_PUSH), 0);
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE), 256 << 10);
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_MAX_FRAME_SIZE), 64 << 10);
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE), 16 << 10);
    cr_assert(raw_saw(&raw, NGHTTP2_WINDOW_UPDATE, 0, &payload));
    cr_expect_eq(raw_code(payload, 0), (16 << 20) - 65535);
}

/* Before it is sent a preface stands where all sessions of a thread make their frames. */
Test(h2_connection, clients_that_are_born_together_introduce_themselves_each)
{
    static struct peer peers[3];
    struct fake_stream *below[ARRAY_LEN(peers)];
    struct loop *loop = loop_new();

    for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
        below[i] = fake_stream_new(loop);
        peers[i].h2 = h2_client_new(loop, &below[i]->stream, NULL, &peer_events, &peers[i]);
    }
    run_turns(loop, 3);
    for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
        cr_expect(str_starts_with(fake_written(below[i]), STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
                  "client %zu", i);
        peer_free(&peers[i]);
    }
    run_turns(loop, 3);
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        fake_stream_free(below[i]);
    loop_finish(loop);
}

static size_t heap_bytes(void)
{
    const struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* Most of it is nghttp2's session; with a buffer of frames for each it would be 16 KiB more. */
#define CONNECTION_BYTES_MOST ((size_t)14000)

Test(h2_connection, a_connection_holds_no_buffer_of_frames)
{
    static struct peer peers[16];
    struct fake_stream *below[ARRAY_LEN(peers)];
    struct loop *loop = loop_new();

    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        below[i] = fake_stream_new(loop);
    const size_t before = heap_bytes();
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        peers[i].h2 = h2_server_new(loop, &below[i]->stream, NULL, &peer_events, &peers[i]);
    const size_t each = (heap_bytes() - before) / ARRAY_LEN(peers);
    if (before > 0) /* a sanitizer's heap tells nothing */
        cr_expect_lt(each, CONNECTION_BYTES_MOST, "%zu bytes a connection", each);

    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        peer_free(&peers[i]);
    run_turns(loop, 3);
    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        fake_stream_free(below[i]);
    loop_finish(loop);
}

Test(h2_connection, a_server_introduces_itself, .init = server, .fini = finish)
{
    cr_assert(raw_saw(&raw, NGHTTP2_SETTINGS, 0, &payload));
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS), 1000);
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE), 256 << 10);
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE), 16 << 10);
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_ENABLE_PUSH), UINT32_MAX,
                 "not a server's to say");
    cr_expect_eq(raw.peer.n_ready, 0);
    raw_greet(&raw);
    cr_expect_eq(raw.peer.n_ready, 1);
}

static void expect_dead(int err, const char *why)
{
    raw_run(&raw);
    cr_assert_eq(raw.peer.n_dead, 1, "it lives on");
    cr_expect_eq(raw.peer.dead_err, err, "%d %s", raw.peer.dead_err, raw.peer.dead_why);
    cr_expect(strstr(raw.peer.dead_why, why), "%s", raw.peer.dead_why);
    cr_expect(raw.below->is_closed);
}

static void expect_goaway(uint32_t code)
{
    cr_assert(raw_saw(&raw, NGHTTP2_GOAWAY, 0, &payload), "no GOAWAY");
    cr_expect_eq(raw_code(payload, 4), code, "code %u", raw_code(payload, 4));
}

Test(h2_connection, http_1_is_refused, .init = server, .fini = finish)
{
    fake_feed_text(raw.below, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_dead(-ERR_H2, "");
}

Test(h2_connection, what_it_ends_for_is_said_in_words_to_us_as_well, .init = server, .fini = finish)
{
    raw_greet(&raw);
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, "x", 1);
    expect_dead(-ERR_H2, "stream in idle");
    expect_goaway(NGHTTP2_PROTOCOL_ERROR);
}

Test(h2_connection, an_http_1_answer_is_refused, .init = client, .fini = finish)
{
    fake_feed_text(raw.below, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    expect_dead(-ERR_H2, "");
}

Test(h2_connection, the_end_of_the_peer_is_eof, .init = server, .fini = finish)
{
    raw_greet(&raw);
    raw_headers(&raw, 0, 1, connect_fields);
    raw_run(&raw);
    fake_end(raw.below);
    expect_dead(-ERR_EOF, "");
    cr_expect_eq(peer_last(&raw.peer)->tap.err, -ERR_EOF);
    cr_expect_eq(raw.peer.n_ended_at_death, 1);
}

Test(h2_connection, owner_may_close_it_when_it_dies_or_gets_ready, .init = server, .fini = finish)
{
    raw.peer.closes_at = 'd';
    fake_feed_text(raw.below, "no preface at all, by any means");
    expect_dead(-ERR_H2, "");
    cr_expect_null(raw.peer.h2);
    raw_close(&raw);

    server();
    raw.peer.closes_at = 'y';
    fake_feed_text(raw.below, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
    raw_run(&raw);
    cr_expect_null(raw.peer.h2);
    cr_expect(raw.below->is_closed);
    expect_goaway(NGHTTP2_NO_ERROR);
}

Test(h2_connection, frames_may_come_in_single_bytes, .init = server, .fini = finish)
{
    struct fake_stream *below = raw.below;
    struct text all = {0};

    raw_greet(&raw);
    raw_headers(&raw, 0, 1, connect_fields);
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, "drop by drop", 12);
    raw_run(&raw);
    cr_expect_str_eq(peer_last(&raw.peer)->authority, "10.0.0.1:80");

    for (unsigned i = 0; i < 3; i++) { /* DATA frames byte by byte, by hand */
        static const char frame[] = "\0\0\3\0\0\0\0\0\1abc";
        for (size_t at = 0; at < 12; at++)
            fake_feed(below, frame + at, 1);
    }
    raw_run(&raw);
    cr_expect(str_eq(text_str(&peer_last(&raw.peer)->tap.got), STR("drop by dropabcabcabc")));
    text_fini(&all);
}

Test(h2_connection, data_that_is_read_gives_its_window_back, .init = server, .fini = finish)
{
    static char chunk[16384];

    raw_greet(&raw);
    raw_headers(&raw, 0, 1, connect_fields);
    for (unsigned i = 0; i < 9; i++) /* more than half of the window */
        raw_frame(&raw, NGHTTP2_DATA, 0, 1, chunk, sizeof(chunk));
    raw_run(&raw);
    cr_assert(raw_saw(&raw, NGHTTP2_WINDOW_UPDATE, 1, &payload));
    cr_expect_geq(raw_code(payload, 0), 128 << 10);
}

Test(h2_connection, a_paused_stream_gives_none_back, .init = server, .fini = finish)
{
    static char chunk[16384];

    raw.peer.answers = false; /* so it stays paused */
    raw_greet(&raw);
    raw_headers(&raw, 0, 1, connect_fields);
    for (unsigned i = 0; i < 16; i++)
        raw_frame(&raw, NGHTTP2_DATA, 0, 1, chunk, sizeof(chunk));
    raw_run(&raw);
    cr_expect(!raw_saw(&raw, NGHTTP2_WINDOW_UPDATE, 1, &payload));
    cr_expect_eq(raw.peer.n_dead, 0);
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, chunk, 1); /* one byte beyond the window */
    raw_run(&raw);
    cr_expect(raw_saw(&raw, NGHTTP2_RST_STREAM, 1, &payload) ||
              raw_saw(&raw, NGHTTP2_GOAWAY, 0, &payload));
}

Test(h2_connection, malformed_requests_are_never_shown, .init = server, .fini = finish)
{
    static const char *const rows[][12] = {
        {":method", "GET", ":scheme", "https", ":authority", "x", NULL}, /* no :path */
        {":method", "CONNECT", ":path", "/", ":scheme", "https", ":authority", "x", NULL},
        {":method", "GET", ":scheme", "https", ":path", "/", "Upper", "x", NULL},
        {":method", "GET", ":scheme", "https", ":path", "/", "connection", "close", NULL},
        {":method", "GET", ":scheme", "https", ":path", "/", "a", "b\r\nc", NULL},
        {"x", "y", ":method", "GET", ":scheme", "https", ":path", "/", NULL},
    };
    size_t n = sizeof(rows) / sizeof(rows[0]);

    raw_greet(&raw);
    for (size_t i = 0; i < n; i++) {
        int32_t id = (int32_t)(i * 2 + 1);
        raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, id, rows[i]);
        raw_run(&raw);
        cr_assert(raw_saw(&raw, NGHTTP2_RST_STREAM, id, &payload), "row %zu", i);
        cr_expect_eq(raw_code(payload, 0), NGHTTP2_PROTOCOL_ERROR, "row %zu", i);
    }
    cr_expect_eq(raw.peer.n_calls, 0);
    cr_expect_eq(h2_open_streams(raw.peer.h2), 0);
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, (int32_t)(n * 2 + 1), get_fields);
    raw_run(&raw);
    cr_expect_eq(raw.peer.n_calls, 1, "the connection is as good as before");
}

Test(h2_connection, header_blocks_are_bounded, .init = server, .fini = finish)
{
    static char large[9000];
    const char *fields[] = {":method", "GET", ":scheme", "https", ":path", "/",
                            "a",       large, "b",       large,   NULL};

    memset(large, 'x', sizeof(large) - 1);
    raw_greet(&raw);
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1,
                fields); /* 18 KB: beyond a frame of 16 KiB, within 64 */
    raw_run(&raw);
    cr_assert(raw_saw(&raw, NGHTTP2_RST_STREAM, 1, &payload));
    cr_expect_eq(raw_code(payload, 0), NGHTTP2_ENHANCE_YOUR_CALM);
    cr_expect_eq(raw.peer.n_calls, 0);
    cr_expect_eq(raw.peer.n_dead, 0);
}

Test(h2_connection, too_large_an_answer_fails_its_stream, .init = client, .fini = finish)
{
    static char large[9000];
    const char *fields[] = {":status", "200", "a", large, "b", large, NULL};
    struct call *call;

    memset(large, 'x', sizeof(large) - 1);
    raw_greet(&raw);
    call = peer_connect(&raw.peer);
    raw_run(&raw);
    raw_headers(&raw, 0, 1, fields);
    raw_run(&raw);
    cr_expect_eq(call->tap.err, -ERR_LIMIT, "%d", call->tap.err);
    cr_expect_eq(call->n_heads, 0);
}

Test(h2_connection, interim_answers_are_left_out, .init = client, .fini = finish)
{
    static const char *const hints[] = {":status", "103", "link", "x", NULL};
    static const char *const ok[] = {":status", "200", NULL};
    struct call *call;

    raw_greet(&raw);
    call = peer_request(&raw.peer, true, get_fields);
    raw_run(&raw);
    raw_headers(&raw, 0, 1, hints);
    raw_headers(&raw, 0, 1, hints);
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, ok);
    stream_resume(call->tap.stream);
    raw_run(&raw);
    cr_expect_eq(call->n_heads, 1);
    cr_expect_str_eq(call->status, "200");
    cr_expect(call->tap.ended);
}

Test(h2_connection, goaway_fails_the_streams_that_were_not_handled, .init = client, .fini = finish)
{
    static const uint8_t goaway[] = {0, 0, 0, 1, 0, 0, 0, 0}; /* up to stream 1, no error */
    struct call *first, *second;

    raw_greet(&raw);
    first = peer_connect(&raw.peer);
    second = peer_connect(&raw.peer);
    raw_run(&raw);
    raw_frame(&raw, NGHTTP2_GOAWAY, 0, 0, goaway, sizeof(goaway));
    raw_run(&raw);
    cr_expect_eq(first->tap.err, 0);
    cr_expect_eq(second->tap.err, -ERR_H2_REFUSED);
    cr_expect(h2_is_draining(raw.peer.h2) && !h2_can_open(raw.peer.h2));
    cr_expect_geq(raw.peer.n_capacity, 1);
    cr_expect_eq(raw.peer.n_dead, 0);
}

/* What differs each time would put out of the table of fields what does not. */
Test(h2_connection, what_tunnels_repeat_is_sent_once, .init = client, .fini = finish)
{
    static const char baggage[] =
        "k8s.cluster.name=west,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart,"
        "service.version=v1";

    enum { REQUESTS = 80 };
    struct str head;
    size_t repeated = 0;

    raw_greet(&raw);
    for (int i = 0; i < REQUESTS; i++) {
        char trace[64], forwarded[64];
        const char *const fields[] = {":method",   "CONNECT", ":authority",  "10.0.0.1:80",
                                      "baggage",   baggage,   "traceparent", trace,
                                      "forwarded", forwarded, NULL};
        snprintf(trace, sizeof(trace), "00-%032x-%016x-00", 1000003u * (unsigned)i, i + 1);
        snprintf(forwarded, sizeof(forwarded), "for=\"10.0.0.1:%d\"", 40000 + i);
        (void)peer_request(&raw.peer, false, fields);
        raw_run(&raw);
        cr_assert(raw_saw(&raw, NGHTTP2_HEADERS, 2 * i + 1, &head));
        if (i == 1)
            repeated = head.len;
        if (i > 1)
            cr_expect_leq(head.len, repeated + 4, "request %d: %zu bytes", i, head.len);
    }
}

Test(h2_connection, a_draining_server_says_it_twice, .init = server, .fini = finish)
{
    raw_greet(&raw);
    raw_headers(&raw, 0, 1, connect_fields);
    raw_run(&raw);
    h2_drain(raw.peer.h2);
    raw_run(&raw);
    cr_assert(raw_saw(&raw, NGHTTP2_GOAWAY, 0, &payload));
    cr_expect_eq(raw_code(payload, 0), INT32_MAX);
    raw_headers(&raw, 0, 3, connect_fields); /* was on its way: still served */
    raw_run(&raw);
    cr_expect_eq(raw.peer.n_calls, 2);

    cr_assert(raw_saw(&raw, NGHTTP2_PING, 0, &payload));
    struct text ping = {0};
    text_add(&ping, payload);
    fake_forget_written(raw.below);
    raw_frame(&raw, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, ping.ptr, ping.len);
    text_fini(&ping);
    raw_run(&raw);
    cr_assert(raw_saw(&raw, NGHTTP2_GOAWAY, 0, &payload));
    cr_expect_eq(raw_code(payload, 0), 3);
    raw_headers(&raw, 0, 5, connect_fields); /* after the last word: ignored */
    raw_run(&raw);
    cr_expect_eq(raw.peer.n_calls, 2);
    cr_expect_eq(raw.peer.n_dead, 0);
}

/* ------------------------------------------------------------------ floods */

static void send_ping(unsigned i)
{
    (void)i;
    raw_frame(&raw, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void send_settings(unsigned i)
{
    (void)i;
    raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
}

static void send_empty_data(unsigned i)
{
    if (i == 0)
        raw_headers(&raw, 0, 1, connect_fields);
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, "", 0);
}

static void send_priority(unsigned i)
{
    raw_frame(&raw, NGHTTP2_PRIORITY, 0, (int32_t)(i * 2 + 1), "\0\0\0\0\x10", 5);
}

static void send_rapid_reset(unsigned i)
{
    raw_headers(&raw, 0, (int32_t)(i * 2 + 1), connect_fields);
    raw_frame(&raw, NGHTTP2_RST_STREAM, 0, (int32_t)(i * 2 + 1), "\0\0\0\x8", 4);
}

static void send_fault(unsigned i) /* makes us reset: a request without a path */
{
    static const char *const fields[] = {":method", "GET", ":scheme", "https", NULL};

    raw_headers(&raw, 0, (int32_t)(i * 2 + 1), fields);
}

static const struct {
    const char *name;
    void (*send)(unsigned i);
    unsigned n_fine, n_fatal;
    int err;
} floods[] = {
    {"ping", send_ping, 500, 1100, -ERR_H2_PING_FLOOD},
    {"settings", send_settings, 500, 1100, -ERR_H2_SETTINGS_FLOOD},
    {"empty data", send_empty_data, 500, 1100, -ERR_H2_EMPTY_FLOOD},
    {"priority", send_priority, 500, 1100, -ERR_H2_CONTROL_FLOOD},
    {"rapid reset", send_rapid_reset, 150, 300, -ERR_H2_RESET_FLOOD},
    {"faults", send_fault, 150, 300, -ERR_H2_RESET_FLOOD},
};

static void flood(size_t row, unsigned n, bool kills)
{
    /* All within one turn: one chunk of one read, so that the clock of the test does not matter. */
    raw_open(&raw, true, NULL);
    raw_greet(&raw);
    for (unsigned i = 0; i < n; i++)
        floods[row].send(i);
    uint64_t before_ns = clock_mono_ns();
    raw_run(&raw);
    if (kills && clock_mono_ns() - before_ns > NS_PER_SEC / 2)
        kills = raw.peer.n_dead > 0; /* too slow a machine to flood anybody */
    cr_expect_eq(raw.peer.n_dead, kills ? 1u : 0u, "%s x %u: %s", floods[row].name, n,
                 raw.peer.dead_why);
    if (kills) {
        cr_expect_eq(raw.peer.dead_err, floods[row].err, "%s: %d", floods[row].name,
                     raw.peer.dead_err);
        expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
    }
    raw_close(&raw);
}

Test(h2_connection, floods_end_the_connection_and_mere_traffic_does_not)
{
    for (size_t row = 0; row < sizeof(floods) / sizeof(floods[0]); row++) {
        flood(row, floods[row].n_fine, false);
        flood(row, floods[row].n_fatal, true);
    }
}

Test(h2_connection, resets_of_answered_streams_are_no_flood, .init = server, .fini = finish)
{
    raw_greet(&raw);
    for (int32_t i = 0; i < 400; i++)
        raw_headers(&raw, 0, i * 2 + 1, connect_fields);
    raw_run(&raw);
    cr_assert_eq(raw.peer.n_calls, 400);
    for (int32_t i = 0; i < 400; i++)
        raw_frame(&raw, NGHTTP2_RST_STREAM, 0, i * 2 + 1, "\0\0\0\x8", 4);
    raw_run(&raw);
    cr_expect_eq(raw.peer.n_dead, 0, "%s", raw.peer.dead_why);
    cr_expect_eq(h2_open_streams(raw.peer.h2), 0);
}

Test(h2_connection, a_peer_that_reads_nothing_cannot_make_us_queue, .init = server, .fini = finish)
{
    raw_greet(&raw);
    fake_hold(raw.below);
    raw_headers(&raw, 0, 1, connect_fields);
    raw_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\0\0\0", 4);
    raw_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, 1, "\x7f\0\0\0", 4);
    raw_run(&raw);
    struct tap *tap = &peer_last(&raw.peer)->tap;
    for (unsigned i = 0; i < 100; i++) {
        if (stream_queued(tap->stream) < 65536)
            (void)tap_write_pattern(tap, (size_t)64 << 20, 65536);
        run_turns(raw.loop, 3);
    }
    cr_expect_lt(tap->n_wrote, (size_t)2 << 20);
    cr_expect_lt(loop_slabs(raw.loop)->live_bytes, (size_t)2 << 20);

    unsigned drains = tap->n_drains;
    fake_release(raw.below);
    raw_run(&raw);
    cr_expect_gt(tap->n_drains, drains);
    cr_expect_eq(stream_queued(tap->stream), 0);
}

Test(h2_connection, a_stream_that_holds_more_than_what_its_window_became_goes_on, .fini = finish)
{
    const struct h2_options options = {.stream_window = 131072, .connection_window = 262144};
    static const char zeros[32768];

    raw_open(&raw, true, &options);
    raw.peer.answers = true;
    raw_greet(&raw);
    raw_headers(&raw, 0, 1, connect_fields);
    raw_headers(&raw, 0, 3, connect_fields);
    raw_run(&raw);
    struct tap *full = &raw.peer.calls[0]->tap, *other = &raw.peer.calls[1]->tap;
    stream_pause(full->stream);
    stream_pause(other->stream);
    fake_forget_written(raw.below);
    for (unsigned i = 0; i < 4; i++)
        raw_frame(&raw, NGHTTP2_DATA, 0, 1, zeros, sizeof(zeros));
    raw_run(&raw);
    cr_assert(raw_saw(&raw, NGHTTP2_SETTINGS, 0, &payload));
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE), 16384);

    raw_frame(&raw, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
    raw_frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "", 0);
    raw_frame(&raw, NGHTTP2_DATA, 0, 3, zeros, 16384);
    raw_run(&raw);
    cr_expect(!raw_saw(&raw, NGHTTP2_RST_STREAM, 3, &payload));
    raw_frame(&raw, NGHTTP2_DATA, 0, 3, zeros, 1);
    raw_run(&raw);
    cr_assert(raw_saw(&raw, NGHTTP2_RST_STREAM, 3, &payload), "it was open when that was said");
    cr_expect_eq(raw_code(payload, 0), NGHTTP2_FLOW_CONTROL_ERROR);

    fake_forget_written(raw.below);
    stream_resume(full->stream);
    raw_run(&raw);
    cr_expect(full->n_got == 131072 && full->ended && full->err == 0, "%zu", full->n_got);
    cr_assert(raw_saw(&raw, NGHTTP2_SETTINGS, 0, &payload));
    cr_expect_eq(setting(payload, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE), 131072);
    cr_expect_eq(raw.peer.n_dead, 0, "%s", raw.peer.dead_why);
}

/* ------------------------------------------------------------------ time */

static void impatient(void)
{
    raw_open(&raw, true,
             &(struct h2_options){.keepalive_ns = 20 * NS_PER_MS,
                                  .keepalive_timeout_ns = 40 * NS_PER_MS});
}

Test(h2_connection, a_peer_that_swallows_is_noticed, .init = impatient, .fini = finish)
{
    raw.peer.answers = true;
    raw_greet(&raw);
    raw_headers(&raw, 0, 1, connect_fields);
    raw_run(&raw);
    cr_assert(peer_dies(raw.loop, &raw.peer));
    cr_expect_eq(raw.peer.dead_err, -ERR_KEEPALIVE_TIMEOUT);
    cr_expect_eq(peer_last(&raw.peer)->tap.err, -ERR_KEEPALIVE_TIMEOUT);
    cr_expect_eq(raw.below->close_err, -ERR_KEEPALIVE_TIMEOUT);
    cr_expect(raw_saw(&raw, NGHTTP2_PING, 0, &payload));
}

Test(h2_connection, a_peer_that_answers_pings_lives)
{
    struct h2_options fast = {.keepalive_ns = 10 * NS_PER_MS,
                              .keepalive_timeout_ns = 1000 * NS_PER_MS};
    static struct link link_;
    struct call *a, *b;

    link_open(&link_, &fast, NULL);
    link_tunnel(&link_, &a, &b);
    const size_t five_pings = link_.below_client->n_written + 5 * 17;
    while (link_.below_client->n_written < five_pings && link_.client.n_dead == 0)
        loop_turn(link_.loop, true);
    cr_expect_eq(link_.client.n_dead, 0);
    link_close(&link_);
}

Test(h2_connection, settings_must_come_in_time, .init = server, .fini = finish)
{
    fake_feed_text(raw.below, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    cr_assert(peer_dies(raw.loop, &raw.peer)); /* ten seconds */
    cr_expect_eq(raw.peer.dead_err, -ERR_H2);
    expect_goaway(NGHTTP2_SETTINGS_TIMEOUT);
}
