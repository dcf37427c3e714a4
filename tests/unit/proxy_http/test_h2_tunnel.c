/* Real connections: HTTP/2 over TLS over TCP, both ends in one loop. */
#include <criterion/criterion.h>
#include <string.h>

#include "h2_kit.h"

TestSuite(h2_tunnel, .timeout = 120);

#define MIB ((size_t)1 << 20)

static struct link link_;
static struct call *client, *server;

static void start(void)
{
    link_open_tls(&link_);
}

static void finish(void)
{
    link_close(&link_);
}

static struct loop *loop(void)
{
    return link_.loop;
}

struct transfer {
    struct tap *from, *to;
    size_t total;
};

static bool is_through(void *ctx)
{
    struct transfer *t = ctx;

    if (t->from->n_wrote < t->total && stream_queued(t->from->stream) < 65536)
        (void)tap_write_pattern(t->from, t->total, 65536);
    return t->to->n_got == t->total;
}

static bool both_through(void *ctx)
{
    struct transfer *t = ctx;
    bool first = is_through(&t[0]);

    return is_through(&t[1]) && first;
}

Test(h2_tunnel, request_and_response_with_trailers, .init = start, .fini = finish)
{
    static const char *const fields[] = {":method",      "POST", ":scheme",    "https",
                                         ":path",        "/x",   ":authority", "host.example",
                                         "content-type", "a/b",  NULL};
    struct h2_field trailer = {STR("grpc-status"), STR("0")};

    client = peer_request(&link_.client, false, fields);
    stream_write_copy(client->tap.stream, "question", 8);
    stream_shutdown(client->tap.stream);
    cr_assert(peer_has_calls(loop(), &link_.server, 1));
    server = peer_last(&link_.server);
    cr_assert(tap_ended(loop(), &server->tap));
    cr_expect_str_eq(server->method, "POST");
    cr_expect_str_eq(server->authority, "host.example");
    cr_expect(str_eq(text_str(&server->tap.got), STR("question")));

    stream_write_copy(server->tap.stream, "answer", 6);
    h2_send_trailers(server->tap.stream, &trailer, 1);
    cr_assert(call_has_head(loop(), client));
    stream_resume(client->tap.stream);
    cr_assert(tap_ended(loop(), &client->tap));
    cr_expect_str_eq(client->status, "200");
    cr_expect(str_eq(text_str(&client->tap.got), STR("answer")));
    cr_expect_str_eq(client->trailer, "0");
    cr_expect_eq(client->tap.err, 0);
    cr_expect_eq(h2_open_streams(link_.client.h2), 0);
    cr_expect_eq(h2_open_streams(link_.server.h2), 0);
}

Test(h2_tunnel, connect_carries_ten_megabytes_each_way_and_ends_by_halves, .init = start,
     .fini = finish)
{
    link_tunnel(&link_, &client, &server);
    cr_expect_str_eq(server->method, "CONNECT");
    cr_expect_str_eq(server->authority, "10.0.0.1:80");
    struct transfer both[2] = {{&client->tap, &server->tap, 10 * MIB},
                               {&server->tap, &client->tap, 10 * MIB}};
    cr_assert(run_until(loop(), both_through, both, 60000));
    cr_expect(client->tap.n_wrong == 0 && server->tap.n_wrong == 0);

    stream_shutdown(client->tap.stream);
    cr_assert(tap_ended(loop(), &server->tap));
    both[1].total += MIB; /* the other half is still open */
    cr_assert(run_until(loop(), is_through, &both[1], 20000));
    cr_expect(!client->tap.ended);
    stream_shutdown(server->tap.stream);
    cr_assert(tap_ended(loop(), &client->tap));
    cr_expect(client->tap.err == 0 && server->tap.err == 0);
    tap_close(&client->tap, 0);
    tap_close(&server->tap, 0);
    cr_expect_eq(link_.client.n_dead + link_.server.n_dead, 0);
}

Test(h2_tunnel, a_paused_reader_stops_its_writer_and_nobody_else, .init = start, .fini = finish)
{
    struct call *other_client, *other_server;

    link_tunnel(&link_, &client, &server);
    link_tunnel(&link_, &other_client, &other_server);
    stream_pause(server->tap.stream);
    for (unsigned turn = 0; turn < 300; turn++) {
        if (stream_queued(client->tap.stream) < 65536)
            (void)tap_write_pattern(&client->tap, 64 * MIB, 65536);
        loop_turn(loop(), false);
    }
    cr_expect_lt(client->tap.n_wrote, MIB, "%zu bytes went into a stalled stream",
                 client->tap.n_wrote);
    cr_expect_leq(client->tap.largest_queue, (size_t)262144 + 65536);
    cr_expect_eq(server->tap.n_got, 0);
    cr_expect_lt(loop_slabs(loop())->live_bytes, 4 * MIB);

    struct transfer other = {&other_client->tap, &other_server->tap, 20 * MIB};
    cr_assert(run_until(loop(), is_through, &other, 60000), "the other stream was stalled too");

    size_t wrote = client->tap.n_wrote;
    stream_resume(server->tap.stream);
    cr_assert(tap_got(loop(), &server->tap, wrote));
    cr_expect_eq(server->tap.n_wrong, 0);
    cr_expect_geq(client->tap.n_drains, 1);
}

#define STILL 300

/* Each would take its whole window, which together is more than the connection's. */
static unsigned first_still;

static void stand_still(void)
{
    first_still = link_.client.n_calls;
    for (unsigned i = 0; i < STILL; i++) {
        link_tunnel(&link_, &client, &server);
        stream_pause(server->tap.stream);
    }
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < STILL; i++) {
            struct tap *tap = &link_.client.calls[first_still + i]->tap;
            if (stream_queued(tap->stream) < 8192)
                (void)tap_write_pattern(tap, 64 * MIB, 65536);
        }
        run_turns(loop(), 10);
    }
}

static size_t left_for_readers(void)
{
    size_t total = 0;
    for (unsigned i = 0; i < STILL; i++) {
        const struct tap *tap = &link_.client.calls[first_still + i]->tap;
        total += tap->n_wrote - stream_queued(tap->stream);
    }
    return total;
}

Test(h2_tunnel, however_many_readers_stand_still_they_hold_little_and_stall_nobody, .init = start,
     .fini = finish)
{
    struct call *other_client, *other_server;

    link_tunnel(&link_, &other_client, &other_server);
    stand_still();
    const size_t held = left_for_readers();
    cr_expect_lt(held, 16 * MIB, "%zu", held);
    cr_expect_eq(stream_kept(link_.server.calls[STILL]->tap.stream),
                 link_.client.calls[STILL]->tap.n_wrote -
                     stream_queued(link_.client.calls[STILL]->tap.stream));

    struct transfer other = {&other_client->tap, &other_server->tap, 20 * MIB};
    cr_assert(run_until(loop(), is_through, &other, 20000), "one from before");
    link_tunnel(&link_, &other_client, &other_server);
    other = (struct transfer){&other_client->tap, &other_server->tap, 20 * MIB};
    cr_assert(run_until(loop(), is_through, &other, 20000), "one from now");

    for (unsigned i = 1; i <= STILL; i++) /* and every byte comes when they go on */
        stream_resume(link_.server.calls[i]->tap.stream);
    for (unsigned i = 1; i <= STILL; i++) {
        const struct tap *reader = &link_.server.calls[i]->tap;
        cr_assert(tap_got(loop(), reader, link_.client.calls[i]->tap.n_wrote), "stream %u", i);
        cr_expect_eq(reader->n_wrong, 0);
    }
}

Test(h2_tunnel, windows_are_wide_again_when_nobody_stands_still, .init = start, .fini = finish)
{
    stand_still();
    for (unsigned i = 0; i < STILL; i++)
        tap_close(&link_.server.calls[i]->tap, -ERR_RESET);
    for (unsigned i = 0; i < STILL; i++)
        cr_assert(tap_failed(loop(), &link_.client.calls[i]->tap));
    run_turns(loop(), 20);
    link_tunnel(&link_, &client, &server);
    stream_pause(server->tap.stream);
    while (client->tap.n_wrote < MIB && tap_write_pattern(&client->tap, MIB, 65536))
        ;
    run_turns(loop(), 20);
    const size_t ahead = client->tap.n_wrote - stream_queued(client->tap.stream);
    cr_expect_eq(ahead, 262144, "%zu", ahead);
}

Test(h2_tunnel, the_window_grows_for_a_reader_that_keeps_up, .init = start, .fini = finish)
{
    link_tunnel(&link_, &client, &server);
    struct transfer t = {&client->tap, &server->tap, 16 * MIB};
    cr_assert(run_until(loop(), is_through, &t, 60000));

    stream_pause(server->tap.stream);
    for (unsigned turn = 0; turn < 2000; turn++) {
        if (stream_queued(client->tap.stream) < 65536)
            (void)tap_write_pattern(&client->tap, 64 * MIB, 65536);
        loop_turn(loop(), false);
    }
    size_t ahead = client->tap.n_wrote - 16 * MIB;
    cr_expect_geq(ahead, 4 * MIB, "%zu", ahead); /* the window, and the writer's own queue */
    cr_expect_lt(ahead, 5 * MIB, "%zu", ahead);
    stream_resume(server->tap.stream);
    cr_assert(tap_got(loop(), &server->tap, client->tap.n_wrote));
    cr_expect_eq(server->tap.n_wrong, 0);
}

Test(h2_tunnel, a_thousand_streams_at_once, .init = start, .fini = finish)
{
    for (unsigned i = 0; i < 1000; i++) {
        while (!h2_can_open(link_.client.h2))
            loop_turn(loop(), true);
        struct call *call = peer_connect(&link_.client);
        (void)tap_write_pattern(&call->tap, 3000, 1000);
        stream_shutdown(call->tap.stream);
        stream_resume(call->tap.stream);
    }
    cr_assert(peer_has_calls(loop(), &link_.server, 1000));
    cr_expect_eq(h2_open_streams(link_.client.h2), 1000);
    cr_expect(!h2_can_open(link_.client.h2), "the server allows 1000");
    for (unsigned i = 0; i < 1000; i++) {
        struct call *call = link_.server.calls[i];
        cr_assert(tap_ended(loop(), &call->tap));
        cr_assert(call->tap.n_got == 3000 && call->tap.n_wrong == 0);
        (void)tap_write_pattern(&call->tap, 500, 500);
        stream_shutdown(call->tap.stream);
        tap_close(&call->tap, 0);
    }
    for (unsigned i = 0; i < 1000; i++) {
        struct call *call = link_.client.calls[i];
        cr_assert(tap_ended(loop(), &call->tap), "stream %u: %d", i, call->tap.err);
        cr_assert(call->tap.n_got == 500 && call->tap.n_wrong == 0);
        tap_close(&call->tap, 0);
    }
    cr_assert(peer_is_idle(loop(), &link_.client) && peer_is_idle(loop(), &link_.server));
    cr_expect(h2_can_open(link_.client.h2));
    cr_expect_geq(link_.client.n_capacity, 1);
}

Test(h2_tunnel, the_death_of_tcp_fails_the_streams_first, .init = start, .fini = finish)
{
    link_tunnel(&link_, &client, &server);
    cr_expect(str_eq(tls_peer(h2_lower(link_.server.h2))->id, STR(ID_A)));
    struct h2 *h2 = link_.client.h2;
    link_.client.h2 = NULL;
    h2_close(h2, -ERR_SHUTDOWN);
    cr_expect_eq(client->tap.err, -ERR_SHUTDOWN);
    cr_expect_null(h2_of(client->tap.stream));
    cr_assert(peer_dies(loop(), &link_.server));
    cr_expect_eq(link_.server.dead_err, -ERR_EOF);
    cr_expect_eq(link_.server.n_ended_at_death, 1);
    cr_expect_eq(server->tap.err, -ERR_EOF);
}
