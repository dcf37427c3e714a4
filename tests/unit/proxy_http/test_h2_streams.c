/* One stream's life, between two ends of ours over a wire in memory. */
#include <criterion/criterion.h>
#include <string.h>

#include "h2_kit.h"
#include "proxy/base/clock.h"

TestSuite(h2_streams, .timeout = 60);

static struct link link_;
static struct call *client, *server;

static void start(void)
{
    link_open(&link_, NULL, NULL);
}

static void finish(void)
{
    link_close(&link_);
}

static struct loop *loop(void)
{
    return link_.loop;
}

Test(h2_streams, head_comes_to_a_paused_stream_but_no_body, .init = start, .fini = finish)
{
    client = peer_connect(&link_.client);
    cr_assert(peer_has_calls(loop(), &link_.server, 1));
    server = peer_last(&link_.server);
    stream_write_copy(server->tap.stream, "early", 5);
    stream_shutdown(server->tap.stream);
    cr_assert(call_has_head(loop(), client));
    run_turns(loop(), 10);
    cr_expect(client->tap.n_got == 0 && !client->tap.ended);
    cr_expect_eq(client->n_heads, 1);

    stream_resume(client->tap.stream);
    cr_expect_eq(client->tap.n_got, 0, "data inside a call of the owner");
    cr_assert(tap_ended(loop(), &client->tap));
    cr_expect_eq(client->tap.n_got, 5);
}

Test(h2_streams, a_tunnel_may_have_a_time_for_its_bytes_too, .fini = finish)
{
    link_open(&link_, NULL, &(struct h2_options){.body_ns = NS_PER_MS});
    client = peer_connect(&link_.client);
    cr_assert(call_has_head(loop(), client));
    stream_resume(client->tap.stream);
    cr_assert(tap_failed(loop(), &client->tap));
    cr_expect_eq(client->tap.err, -ERR_RESET);
    cr_expect_eq(peer_last(&link_.server)->tap.err, -ERR_BODY_TIMEOUT);
}

Test(h2_streams, responses_without_body_end_at_once, .init = start, .fini = finish)
{
    link_.server.answers = false;
    client = peer_request(&link_.client, true, get_fields);
    cr_assert(peer_has_calls(loop(), &link_.server, 1));
    server = peer_last(&link_.server);
    cr_expect(server->head_ends);
    call_respond(server, "503", true);
    tap_close(&server->tap, 0); /* in the same turn: the answer still goes out */
    stream_resume(client->tap.stream);
    cr_assert(tap_ended(loop(), &client->tap));
    cr_expect_str_eq(client->status, "503");
    cr_expect(client->head_ends);
    cr_expect_eq(client->tap.err, 0);
    tap_close(&client->tap, 0);
    cr_assert(peer_is_idle(loop(), &link_.client) && peer_is_idle(loop(), &link_.server));
}

Test(h2_streams, refusing_an_open_tunnel_is_an_answer, .init = start, .fini = finish)
{
    link_.server.answers = false;
    client = peer_connect(&link_.client); /* our half stays open */
    stream_resume(client->tap.stream);
    cr_assert(peer_has_calls(loop(), &link_.server, 1));
    server = peer_last(&link_.server);
    call_respond(server, "401", true);
    tap_close(&server->tap, 0);
    cr_assert(tap_failed(loop(), &client->tap));
    cr_expect_str_eq(client->status, "401");
    cr_expect(client->tap.ended, "what the server sent was whole");
    cr_expect_eq(client->tap.err, -ERR_RESET, "and it wants no more");
    cr_expect_eq(h2_open_streams(link_.client.h2), 0);
}

/* How the server closes, and what the client hears. */
Test(h2_streams, each_way_to_close_has_its_meaning, .init = start, .fini = finish)
{
    static const struct {
        const char *name;
        bool shuts, writes;
        int with;
        bool ended;
        int err;
    } rows[] = {
        {"both halves ended", true, true, 0, true, -ERR_RESET},
        {"nothing unsent", false, false, 0, true, -ERR_RESET},
        {"bytes dropped", false, true, 0, false, -ERR_RESET},
        {"abort", false, true, -ERR_CLIENT_RESET, false, -ERR_RESET},
        {"abort after shutdown", true, true, -ERR_CLIENT_RESET, false, -ERR_RESET},
        {"refused", false, false, -ERR_H2_REFUSED, false, -ERR_H2_REFUSED},
        {"overload", false, false, -ERR_OVERLOAD, false, -ERR_H2_REFUSED},
        {"protocol", false, false, -ERR_H2, false, -ERR_RESET},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        link_tunnel(&link_, &client, &server);
        if (rows[i].writes)
            (void)tap_write_pattern(&server->tap, 5000, 5000);
        if (rows[i].shuts)
            stream_shutdown(server->tap.stream);
        tap_close(&server->tap, rows[i].with);
        cr_assert(tap_failed(loop(), &client->tap), "%s", rows[i].name);
        cr_expect_eq(client->tap.ended, rows[i].ended, "%s", rows[i].name);
        cr_expect_eq(client->tap.err, rows[i].err, "%s: %d", rows[i].name, client->tap.err);
        cr_expect_eq(client->tap.n_wrong, 0);
        cr_expect_eq(stream_write_copy(client->tap.stream, "x", 1), true, "dropped");
        tap_close(&client->tap, client->tap.err);
        cr_assert(peer_is_idle(loop(), &link_.server) && peer_is_idle(loop(), &link_.client), "%s",
                  rows[i].name);
    }
}

/* gRPC makes CANCELLED of CANCEL, which a client takes for its own doing. */
Test(h2_streams, a_server_that_breaks_off_does_not_say_that_the_client_cancelled)
{
    static const struct {
        const char *name;
        bool is_server, writes;
        int with;
        uint32_t code;
    } rows[] = {
        {"an answer breaks off", true, true, -ERR_UPSTREAM_RESET, NGHTTP2_INTERNAL_ERROR},
        {"the rest is dropped", true, true, 0, NGHTTP2_INTERNAL_ERROR},
        {"a client has enough", false, false, -ERR_CLIENT_RESET, NGHTTP2_CANCEL},
        {"the connection is gone", true, true, -ERR_UPSTREAM_RESET, NGHTTP2_NO_ERROR},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct raw raw;
        struct str payload;
        raw_open(&raw, rows[i].is_server, NULL);
        raw.peer.answers = true;
        raw_greet(&raw);
        if (rows[i].is_server)
            raw_headers(&raw, 0, 1, connect_fields);
        else
            (void)peer_connect(&raw.peer);
        raw_run(&raw);
        struct call *call = peer_last(&raw.peer);
        if (rows[i].writes)
            (void)tap_write_pattern(&call->tap, 5000, 5000);
        if (rows[i].code == NGHTTP2_NO_ERROR) {
            fake_fail(raw.below, -ERR_RESET);
            raw_run(&raw);
        }
        tap_close(&call->tap, rows[i].with);
        raw_run(&raw);
        cr_expect_eq(raw_saw(&raw, NGHTTP2_RST_STREAM, 1, &payload),
                     rows[i].code != NGHTTP2_NO_ERROR, "%s", rows[i].name);
        if (rows[i].code != NGHTTP2_NO_ERROR)
            cr_expect_eq(raw_code(payload, 0), rows[i].code, "%s", rows[i].name);
        raw_close(&raw);
    }
}

Test(h2_streams, a_client_may_abort_too, .init = start, .fini = finish)
{
    link_tunnel(&link_, &client, &server);
    tap_close(&client->tap, -ERR_CLIENT_RESET);
    cr_assert(tap_failed(loop(), &server->tap));
    cr_expect_eq(server->tap.err, -ERR_RESET);
    cr_expect_eq(server->tap.n_drains, 0);
}

Test(h2_streams, a_request_taken_back_before_it_was_sent_is_never_seen, .init = start,
     .fini = finish)
{
    client = peer_connect(&link_.client);
    tap_close(&client->tap, -ERR_CONNECT_TIMEOUT);
    run_turns(loop(), 10);
    cr_expect_eq(link_.server.n_calls, 0);
    cr_expect_eq(h2_open_streams(link_.client.h2), 0);
    link_tunnel(&link_, &client, &server); /* the connection is as good as before */
}

Test(h2_streams, polite_close_flushes_a_long_queue, .init = start, .fini = finish)
{
    link_tunnel(&link_, &client, &server);
    stream_pause(client->tap.stream);
    (void)tap_write_pattern(&server->tap, 262144, 65536);
    run_turns(loop(), 20); /* the window is full of it */
    size_t first = server->tap.n_wrote;
    (void)tap_write_pattern(&server->tap, first + 200000, 50000);
    stream_shutdown(server->tap.stream);
    size_t total = server->tap.n_wrote;
    tap_close(&server->tap, 0);
    run_turns(loop(), 10);
    cr_expect_eq(client->tap.n_got, 0);
    stream_resume(client->tap.stream);
    cr_assert(tap_ended(loop(), &client->tap));
    cr_expect_eq(client->tap.n_got, total);
    cr_expect_eq(client->tap.n_wrong, 0);
}

Test(h2_streams, bytes_before_the_response_head_wait_for_it, .init = start, .fini = finish)
{
    link_.server.answers = false;
    client = peer_connect(&link_.client);
    stream_resume(client->tap.stream);
    (void)tap_write_pattern(&client->tap, 1000, 1000); /* no 200 yet: sent all the same */
    cr_assert(peer_has_calls(loop(), &link_.server, 1));
    server = peer_last(&link_.server);
    (void)tap_write_pattern(&server->tap, 1000, 1000);
    stream_resume(server->tap.stream);
    cr_assert(tap_got(loop(), &server->tap, 1000));
    cr_expect_eq(client->tap.n_got, 0);
    call_respond(server, "200", false);
    cr_assert(tap_got(loop(), &client->tap, 1000));
}

Test(h2_streams, complete_responses_outlive_the_connection, .init = start, .fini = finish)
{
    link_.server.answers = false;
    client = peer_request(&link_.client, true, get_fields);
    cr_assert(peer_has_calls(loop(), &link_.server, 1));
    server = peer_last(&link_.server);
    call_respond(server, "200", false);
    (void)tap_write_pattern(&server->tap, 9000, 9000);
    stream_shutdown(server->tap.stream);
    cr_assert(peer_is_idle(loop(), &link_.client)); /* all of it is here, but not read */
    fake_fail(link_.below_client, -ERR_RESET);
    cr_assert(peer_dies(loop(), &link_.client));
    cr_expect_eq(link_.client.dead_err, -ERR_RESET);
    cr_expect_eq(client->tap.err, 0);

    stream_resume(client->tap.stream);
    cr_assert(tap_ended(loop(), &client->tap));
    cr_expect_eq(client->tap.n_got, 9000);
    cr_expect_eq(client->tap.n_wrong, 0);
}

Test(h2_streams, drained_servers_finish_what_is_open, .init = start, .fini = finish)
{
    link_tunnel(&link_, &client, &server);
    h2_drain(link_.server.h2);
    h2_drain(link_.server.h2);
    cr_expect(h2_is_draining(link_.server.h2));
    while (!h2_is_draining(link_.client.h2))
        loop_turn(loop(), true);
    cr_expect_geq(link_.client.n_capacity, 1);
    cr_expect(!h2_can_open(link_.client.h2));
    cr_expect_null(h2_request(link_.client.h2, NULL, 0, true, &call_events, &tap_events, NULL));
    run_turns(loop(), 10);

    (void)tap_write_pattern(&client->tap, 100000, 50000);
    (void)tap_write_pattern(&server->tap, 100000, 50000);
    cr_assert(tap_got(loop(), &server->tap, 100000) && tap_got(loop(), &client->tap, 100000));
    unsigned before = link_.server.n_capacity;
    stream_shutdown(client->tap.stream);
    stream_shutdown(server->tap.stream);
    cr_assert(tap_ended(loop(), &client->tap) && tap_ended(loop(), &server->tap));
    cr_assert(peer_is_idle(loop(), &link_.server));
    run_turns(loop(), 3);
    cr_expect_gt(link_.server.n_capacity, before, "the last stream's end was not told");
    cr_expect_eq(link_.server.n_dead + link_.client.n_dead, 0);
}

Test(h2_streams, drained_clients_open_nothing_more, .init = start, .fini = finish)
{
    link_tunnel(&link_, &client, &server);
    h2_drain(link_.client.h2);
    cr_expect(!h2_can_open(link_.client.h2));
    (void)tap_write_pattern(&client->tap, 1000, 1000);
    cr_assert(tap_got(loop(), &server->tap, 1000));
}

static void limited(void)
{
    link_open(&link_, NULL, &(struct h2_options){.max_concurrent_streams = 2});
}

Test(h2_streams, the_peers_limit_is_kept, .init = limited, .fini = finish)
{
    struct call *third;

    link_tunnel(&link_, &client, &server);
    peer_connect(&link_.client);
    cr_expect(!h2_can_open(link_.client.h2));
    tap_close(&client->tap, -ERR_RESET);
    cr_assert(h2_can_open(link_.client.h2));
    third = peer_connect(&link_.client);
    cr_assert(call_has_head(loop(), third));
}

static void small_windows(void)
{
    struct h2_options small = {
        .stream_window = 65535, .stream_window_max = 65535, .connection_window = 131072};

    link_open(&link_, &small, &small);
}

Test(h2_streams, stalled_streams_are_bounded_together, .init = small_windows, .fini = finish)
{
    struct call *calls[16][2];
    size_t total = 0;

    for (unsigned i = 0; i < 16; i++) {
        link_tunnel(&link_, &calls[i][0], &calls[i][1]);
        stream_pause(calls[i][1]->tap.stream);
    }
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 16; i++) {
            if (stream_queued(calls[i][0]->tap.stream) < 65536)
                (void)tap_write_pattern(&calls[i][0]->tap, (size_t)1 << 20, 65536);
        }
        run_turns(loop(), 20);
    }
    for (unsigned i = 0; i < 16; i++)
        total += calls[i][0]->tap.n_wrote - stream_queued(calls[i][0]->tap.stream);
    cr_expect_leq(total, (size_t)2 * 131072 + 65536, "%zu bytes left the senders", total);

    for (unsigned i = 0; i < 16; i++)
        stream_resume(calls[i][1]->tap.stream);
    for (unsigned i = 0; i < 16; i++) { /* and every byte comes when they go on */
        cr_assert(tap_got(loop(), &calls[i][1]->tap, calls[i][0]->tap.n_wrote), "stream %u", i);
        cr_expect_eq(calls[i][1]->tap.n_wrong, 0);
    }
}

Test(h2_streams, closing_a_stalled_stream_gives_its_window_back, .init = small_windows,
     .fini = finish)
{
    for (unsigned i = 0; i < 20; i++) {
        link_tunnel(&link_, &client, &server);
        stream_pause(server->tap.stream);
        (void)tap_write_pattern(&client->tap, 60000, 60000);
        run_turns(loop(), 10);
        tap_close(&server->tap, -ERR_RESET);
        cr_assert(tap_failed(loop(), &client->tap), "stream %u", i);
        tap_close(&client->tap, -ERR_RESET);
    }
    link_tunnel(&link_, &client, &server);
    (void)tap_write_pattern(&client->tap, 200000, 50000);
    cr_assert(tap_got(loop(), &server->tap, 200000));
}

#define UNREAD ((size_t)100)
#define MIB    ((size_t)1 << 20)
#define WHOLE  ((size_t)262143) /* a queue, but for the byte that the window took */

/* Streams whose client gives no window, and whose server writes until it is told to stop. */
static size_t stand_still(size_t n)
{
    size_t queued = 0;

    for (size_t i = 0; i < n; i++) {
        link_tunnel(&link_, &client, &server);
        stream_pause(client->tap.stream);
        while (tap_write_pattern(&server->tap, 64 * MIB, 65536))
            ;
        run_turns(loop(), 10); /* what the window still takes leaves, and is written anew */
        while (stream_queued(server->tap.stream) < 32768 &&
               tap_write_pattern(&server->tap, 64 * MIB, 65536))
            ;
        cr_assert_gt(stream_queued(server->tap.stream), 0);
        queued += stream_queued(server->tap.stream);
    }
    return queued;
}

static void no_windows(void)
{
    struct h2_options narrow = {.stream_window = 1, .stream_window_max = 65535};

    link_open(&link_, &narrow, NULL);
}

Test(h2_streams, what_waits_on_a_connection_is_bounded_however_many_streams_are_unread,
     .init = no_windows, .fini = finish)
{
    const size_t alone = stand_still(1), few = alone + stand_still(3),
                 many = few + stand_still(UNREAD - 4);

    cr_expect(alone >= WHOLE && alone <= WHOLE + 65536, "%zu", alone);
    cr_expect_geq(few, 4 * WHOLE, "a few wait as if each were alone: %zu", few);
    cr_expect_leq(many, 2 * MIB + UNREAD * 65536, "%zu", many);
}

static bool is_through_beside(void *ctx)
{
    struct call **ends = ctx;

    while (ends[1]->tap.n_wrote < 4 * MIB && stream_queued(ends[1]->tap.stream) < 8192)
        (void)tap_write_pattern(&ends[1]->tap, 4 * MIB, 65536);
    return ends[0]->tap.n_got == 4 * MIB;
}

Test(h2_streams, a_stream_that_is_read_goes_on_beside_those_that_are_not, .init = no_windows,
     .fini = finish)
{
    struct call *ends[2];

    (void)stand_still(UNREAD);
    link_tunnel(&link_, &ends[0], &ends[1]);
    cr_expect(!tap_write_pattern(&ends[1]->tap, 4 * MIB, 65536), "told to stop at a frame");
    cr_assert(run_until(loop(), is_through_beside, ends, 20000), "%zu", ends[0]->tap.n_got);
    cr_expect_eq(ends[0]->tap.n_wrong, 0);
    cr_expect_geq(ends[1]->tap.n_drains, 1);
}

Test(h2_streams, what_unread_streams_held_is_everybodys_again_when_they_end, .init = no_windows,
     .fini = finish)
{
    (void)stand_still(UNREAD);
    for (size_t i = 0; i < UNREAD; i++)
        tap_close(&link_.client.calls[i]->tap, -ERR_RESET);
    for (size_t i = 0; i < UNREAD; i++)
        cr_assert(tap_failed(loop(), &link_.server.calls[i]->tap));
    cr_expect_geq(stand_still(1), WHOLE);
}

/* The server's stream, or its whole connection, is closed inside one of its events. */
static void close_inside(char event, int with, bool connection)
{
    link_open(&link_, NULL, NULL);
    struct peer *closer = event == 'h' ? &link_.client : &link_.server;

    if (connection)
        closer->closes_at = event;
    if (event == 'q' && !connection) {
        link_.server.refuses = true;
        client = peer_connect(&link_.client);
        cr_assert(tap_failed(loop(), &client->tap));
    } else if (event == 'h' || event == 'q') {
        client = peer_connect(&link_.client);
        client->tap.closes_at = connection ? 0 : event;
        client->tap.closes_with = with;
        run_turns(loop(), 20);
        cr_expect(connection ? closer->h2 == NULL : client->tap.stream == NULL);
    } else {
        link_tunnel(&link_, &client, &server);
        server->tap.closes_at = event;
        server->tap.closes_with = with;
        (void)tap_write_pattern(&client->tap, 100000, 10000);
        stream_shutdown(client->tap.stream);
        if (event == 'r')
            (void)tap_write_pattern(&server->tap, 1000000, 65536);
        if (event == 'f')
            tap_close(&client->tap, -ERR_RESET);
        for (unsigned turn = 0; turn < 100 && server->tap.stream; turn++)
            loop_turn(loop(), false);
        cr_assert_null(server->tap.stream, "event %c never came", event);
    }
    link_close(&link_);
}

Test(h2_streams, owner_may_close_in_every_event)
{
    static const char events[] = "qhderf";

    for (const char *event = events; *event; event++) {
        close_inside(*event, 0, false);
        close_inside(*event, -ERR_RESET, false);
    }
    close_inside('q', 0, true);
    close_inside('h', 0, true);
}

/* The data event of one stream closes the whole connection, on which others are open. */
static struct h2 *doomed;

static void close_all(void *owner, struct slice bytes)
{
    struct h2 *h2 = doomed;

    (void)owner, (void)bytes;
    doomed = NULL;
    if (h2)
        h2_close(h2, -ERR_DENIED_LATE);
}

Test(h2_streams, connection_may_be_closed_in_the_data_of_a_stream, .init = start, .fini = finish)
{
    struct stream_events events = tap_events;
    struct call *other_client, *other_server;

    events.on_data = close_all;
    link_tunnel(&link_, &client, &server);
    link_tunnel(&link_, &other_client, &other_server);
    stream_set_owner(server->tap.stream, &events, &server->tap);
    doomed = link_.server.h2;
    link_.server.h2 = NULL;
    (void)tap_write_pattern(&client->tap, 100000, 100);
    cr_assert(tap_failed(loop(), &client->tap));
    cr_expect_eq(server->tap.err, -ERR_DENIED_LATE);
    cr_expect_eq(other_server->tap.err, -ERR_DENIED_LATE);
    cr_assert(peer_dies(loop(), &link_.client));
    cr_expect_eq(other_client->tap.err, -ERR_EOF);
}
