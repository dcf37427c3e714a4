#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "tls_kit.h"

TestSuite(tls_stream, .timeout = 60);

#define MIB ((size_t)1 << 20)

static struct world world;
static struct side client, server;

static void start(void)
{
    world_open(&world);
    client = server = (struct side){0};
    tls_pair(&world, &client, &server);
}

static void finish(void)
{
    tap_free(&client.tap);
    tap_free(&server.tap);
    world_close(&world);
}

static void resume_both(void)
{
    stream_resume(client.tap.stream);
    stream_resume(server.tap.stream);
}

/* Writes until all is out and waits until the other side has it. */
static void send_pattern(struct tap *from, struct tap *to, size_t total, size_t piece)
{
    while (!tap_write_pattern(from, total, piece)) {
        unsigned drains = from->n_drains;
        cr_assert(run_until_count(world.loop, &from->n_drains, drains + 1, 5000));
    }
    cr_assert(tap_got(world.loop, to, total));
    cr_expect_eq(to->n_wrong, 0);
}

Test(tls_stream, carries_bytes_both_ways, .init = start, .fini = finish)
{
    resume_both();
    send_pattern(&client.tap, &server.tap, 5 * MIB, 60000);
    send_pattern(&server.tap, &client.tap, 5 * MIB, 16384);
    cr_expect_leq(client.tap.largest_queue, (size_t)262144 + 2 * 65536);
}

Test(tls_stream, one_byte_writes_arrive_in_order, .init = start, .fini = finish)
{
    resume_both();
    send_pattern(&client.tap, &server.tap, 20000, 1);
    cr_expect_lt(server.tap.n_reads, 200, "%u reads: they were not sealed together",
                 server.tap.n_reads);
}

Test(tls_stream, many_records_in_one_read_come_as_one_slice, .init = start, .fini = finish)
{
    stream_resume(client.tap.stream);
    for (size_t n = 1; n <= 200; n++) { /* a record a turn, while the reader is paused */
        tap_write_pattern(&client.tap, n * 10, 10);
        loop_turn(world.loop, false);
    }
    stream_resume(server.tap.stream);
    cr_assert(tap_got(world.loop, &server.tap, 2000));
    cr_expect_eq(server.tap.n_wrong, 0);
    cr_expect_leq(server.tap.n_reads, 3, "%u reads", server.tap.n_reads);
}

Test(tls_stream, a_paused_reader_stops_the_writer, .init = start, .fini = finish)
{
    size_t total = 64 * MIB;

    stream_resume(client.tap.stream);
    for (unsigned turn = 0; turn < 2000; turn++) {
        if (stream_queued(client.tap.stream) < 262144)
            (void)tap_write_pattern(&client.tap, total, 65536);
        loop_turn(world.loop, false);
    }
    cr_expect_lt(client.tap.n_wrote, total, "back pressure never came");
    cr_expect_eq(server.tap.n_got, 0);
    cr_expect_leq(client.tap.largest_queue, (size_t)262144 + 2 * 65536);
    cr_expect_lt(loop_slabs(world.loop)->live_bytes, 2 * MIB);

    size_t wrote = client.tap.n_wrote;
    stream_resume(server.tap.stream);
    cr_assert(tap_got(world.loop, &server.tap, wrote));
    cr_expect_eq(server.tap.n_wrong, 0);
    cr_expect_geq(client.tap.n_drains, 1);
}

Test(tls_stream, pausing_between_reads_loses_nothing, .init = start, .fini = finish)
{
    stream_resume(client.tap.stream);
    tap_write_pattern(&client.tap, 200000, 50000);
    for (unsigned round = 0; server.tap.n_got < 200000; round++) {
        cr_assert_lt(round, 1000, "stuck at %zu", server.tap.n_got);
        stream_resume(server.tap.stream);
        loop_turn(world.loop, true);
        stream_pause(server.tap.stream);
        size_t got = server.tap.n_got;
        run_turns(world.loop, 3);
        cr_assert_eq(server.tap.n_got, got, "data while paused");
    }
    cr_expect_eq(server.tap.n_wrong, 0);
}

Test(tls_stream, each_direction_ends_by_itself, .init = start, .fini = finish)
{
    resume_both();
    tap_write_pattern(&client.tap, 1000, 1000);
    stream_shutdown(client.tap.stream);
    cr_assert(tap_ended(world.loop, &server.tap));
    cr_expect_eq(server.tap.n_got, 1000);

    send_pattern(&server.tap, &client.tap, MIB, 65536); /* the other direction is open */
    cr_expect(!client.tap.ended);
    stream_shutdown(server.tap.stream);
    cr_assert(tap_ended(world.loop, &client.tap));
    cr_expect(client.tap.err == 0 && server.tap.err == 0);
}

Test(tls_stream, close_after_shutdown_still_delivers, .init = start, .fini = finish)
{
    stream_resume(server.tap.stream);
    stream_pause(server.tap.stream);
    tap_write_pattern(&client.tap, 262144, 65536);
    stream_shutdown(client.tap.stream);
    tap_close(&client.tap, 0);
    run_turns(world.loop, 5);
    stream_resume(server.tap.stream);
    cr_assert(tap_ended(world.loop, &server.tap));
    cr_expect_eq(server.tap.n_got, 262144);
    cr_expect_eq(server.tap.n_wrong, 0);
}

Test(tls_stream, close_that_drops_bytes_is_no_end, .init = start, .fini = finish)
{
    stream_resume(server.tap.stream);
    tap_write_pattern(&client.tap, 1000, 1000);
    tap_close(&client.tap, 0); /* in the same turn, without shutdown */
    cr_assert(tap_failed(world.loop, &server.tap));
    cr_expect_eq(server.tap.err, -ERR_EOF);
    cr_expect(!server.tap.ended);
}

Test(tls_stream, abortive_close_resets_the_peer, .init = start, .fini = finish)
{
    resume_both();
    tap_close(&client.tap, -ERR_DENIED_LATE);
    cr_assert(tap_failed(world.loop, &server.tap));
    cr_expect_eq(server.tap.err, -ERR_RESET);
}

Test(tls_stream, writes_after_shutdown_are_dropped, .init = start, .fini = finish)
{
    resume_both();
    stream_shutdown(client.tap.stream);
    cr_expect(stream_write_copy(client.tap.stream, "late", 4));
    cr_assert(tap_ended(world.loop, &server.tap));
    cr_expect_eq(server.tap.n_got, 0);
}

Test(tls_stream, keys_change_under_way, .init = start, .fini = finish)
{
    resume_both();
    for (size_t n = 1; n <= 20; n++) {
        tls_rekey(client.tap.stream);
        tls_rekey(server.tap.stream);
        send_pattern(&client.tap, &server.tap, n * 30000, 30000);
        send_pattern(&server.tap, &client.tap, n * 30000, 30000);
    }
}

/* One connection, in which the given event closes the server's stream from inside. */
static void close_inside(char event, int with)
{
    client = server = (struct side){0};
    tls_pair(&world, &client, &server);
    server.tap.closes_at = event;
    server.tap.closes_with = with;
    resume_both();
    if (event == 'r') {
        while (tap_write_pattern(&server.tap, 64 * MIB, 65536))
            loop_turn(world.loop, false);
    } else if (event == 'f') {
        tap_close(&client.tap, -ERR_RESET);
    } else {
        tap_write_pattern(&client.tap, 200000, 50000);
        stream_shutdown(client.tap.stream);
    }
    for (unsigned turn = 0; server.tap.stream && turn < 1000; turn++)
        loop_turn(world.loop, true);
    cr_assert_null(server.tap.stream, "event %c never came", event);
    tap_free(&client.tap);
    tap_free(&server.tap);
    cr_assert(run_until_empty(world.loop, 8000), "event %c with %d", event, with);
}

static void only_world(void)
{
    world_open(&world);
}

static void end_world(void)
{
    world_close(&world);
}

Test(tls_stream, owner_may_close_in_every_event, .init = only_world, .fini = end_world)
{
    static const char events[] = "derf";

    for (const char *event = events; *event; event++) {
        close_inside(*event, 0);
        close_inside(*event, -ERR_RESET);
    }
}

/* Over a fake stream whose peer we are: what the wire may do to an established stream. */
struct wire {
    struct fake_stream *below;
    SSL_CTX *ctx;
    SSL *ssl; /* the peer: a client of OpenSSL's own */
    BIO *in, *out;
    struct side side;
};

static void wire_carry(struct wire *wire)
{
    struct str theirs = fake_written(wire->below);
    char *ours;
    long len;

    BIO_write(wire->in, theirs.ptr, (int)theirs.len);
    fake_forget_written(wire->below);
    len = BIO_get_mem_data(wire->out, &ours);
    if (len > 0)
        fake_feed(wire->below, ours, (size_t)len);
    (void)BIO_reset(wire->out);
}

static void wire_open(struct wire *wire)
{
    struct svid *svid = test_svid_new(world.west, ID_A);
    struct tls_options options = world_options(&world, TLS_SERVER);

    *wire = (struct wire){.below = fake_stream_new(world.loop)};
    wire->ctx = SSL_CTX_new(TLS_client_method());
    cr_assert_eq(SSL_CTX_use_certificate(wire->ctx, svid->leaf), 1);
    cr_assert_eq(SSL_CTX_use_PrivateKey(wire->ctx, svid->key), 1);
    svid_unref(svid);
    wire->ssl = SSL_new(wire->ctx);
    cr_assert_eq(SSL_set_alpn_protos(wire->ssl, (const unsigned char *)"\x02h2", 3), 0);
    wire->in = BIO_new(BIO_s_mem());
    wire->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(wire->in, -1);
    SSL_set_bio(wire->ssl, wire->in, wire->out);
    side_start(&wire->side, &world, &wire->below->stream, &options);
    for (unsigned round = 0; round < 20 && !wire->side.is_done; round++) {
        (void)SSL_connect(wire->ssl);
        wire_carry(wire);
        run_turns(world.loop, 3);
    }
    cr_assert(wire->side.is_done && wire->side.err == 0, "%s", wire->side.why);
    wire_carry(wire);
    stream_resume(wire->side.tap.stream);
}

static void wire_close(struct wire *wire)
{
    tap_free(&wire->side.tap);
    run_turns(world.loop, 3);
    fake_stream_free(wire->below);
    SSL_free(wire->ssl);
    SSL_CTX_free(wire->ctx);
}

static void wire_say(struct wire *wire, const char *text)
{
    cr_assert_eq(SSL_write(wire->ssl, text, (int)strlen(text)), (int)strlen(text));
    wire_carry(wire);
    run_turns(world.loop, 4);
}

Test(tls_stream, follows_the_peers_key_updates, .init = only_world, .fini = end_world)
{
    struct wire wire;
    char got[64];

    wire_open(&wire);
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(SSL_key_update(wire.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        wire_say(&wire, "under a new key.");
        cr_assert(stream_write_copy(wire.side.tap.stream, "and back", 8));
        run_turns(world.loop, 2);
        wire_carry(&wire);
        cr_assert_eq(SSL_read(wire.ssl, got, sizeof(got)), 8, "round %u", i);
    }
    cr_expect_eq(wire.side.tap.n_got, 5 * 16);
    cr_expect_eq(wire.side.tap.err, 0);
    wire_close(&wire);
}

/* Each costs us keys, and an answer where it is asked for. */
static void flood_with_key_updates(int kind)
{
    struct wire wire;

    wire_open(&wire);
    fake_forget_written(wire.below);
    for (unsigned i = 0; i < 2000; i++) {
        cr_assert_eq(SSL_key_update(wire.ssl, kind), 1);
        cr_assert_eq(SSL_do_handshake(wire.ssl), 1);
    }
    fake_hold(wire.below); /* and it reads nothing of what it is answered */
    wire_carry(&wire);
    run_turns(world.loop, 10);
    cr_expect_eq(wire.side.tap.err, -ERR_TLS_FLOOD, "%s", err_text(wire.side.tap.err));
    cr_expect_lt(stream_queued(wire.side.tap.stream), 4096);
    wire_close(&wire);
}

Test(tls_stream, a_flood_of_key_updates_ends_it, .init = only_world, .fini = end_world)
{
    flood_with_key_updates(SSL_KEY_UPDATE_REQUESTED);
    flood_with_key_updates(SSL_KEY_UPDATE_NOT_REQUESTED);
}

Test(tls_stream, key_updates_between_data_are_none, .init = only_world, .fini = end_world)
{
    static const char data[4096] = {0};
    struct wire wire;

    wire_open(&wire);
    for (unsigned i = 0; i < 500; i++) {
        cr_assert_eq(SSL_key_update(wire.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        cr_assert_eq(SSL_write(wire.ssl, data, sizeof(data)), sizeof(data));
        wire_carry(&wire);
        run_turns(world.loop, 4);
    }
    cr_expect_eq(wire.side.tap.n_got, 500 * sizeof(data));
    cr_expect_eq(wire.side.tap.err, 0);
    wire_close(&wire);
}

Test(tls_stream, an_end_without_close_notify_is_a_failure, .init = only_world, .fini = end_world)
{
    struct wire wire;

    wire_open(&wire);
    wire_say(&wire, "half a sen");
    fake_end(wire.below);
    run_turns(world.loop, 3);
    cr_expect_eq(wire.side.tap.err, -ERR_EOF);
    cr_expect(!wire.side.tap.ended);
    cr_expect_eq(wire.side.tap.n_got, 10);
    wire_close(&wire);
}

Test(tls_stream, close_notify_is_an_end_and_the_fin_after_it_is_nothing, .init = only_world,
     .fini = end_world)
{
    struct wire wire;

    wire_open(&wire);
    (void)SSL_shutdown(wire.ssl);
    wire_carry(&wire);
    fake_end(wire.below);
    run_turns(world.loop, 5);
    cr_expect(wire.side.tap.ended);
    cr_expect_eq(wire.side.tap.err, 0);
    wire_close(&wire);
}

Test(tls_stream, a_damaged_record_kills_it_with_an_alert, .init = only_world, .fini = end_world)
{
    struct wire wire;
    char *bytes;
    char got[8];

    wire_open(&wire);
    cr_assert_eq(SSL_write(wire.ssl, "secret", 6), 6);
    long len = BIO_get_mem_data(wire.out, &bytes);
    bytes[len - 1] ^= 1;
    wire_carry(&wire);
    run_turns(world.loop, 3);
    cr_expect_eq(wire.side.tap.err, -ERR_TLS);
    cr_expect_eq(wire.side.tap.n_got, 0);
    wire_carry(&wire);
    int n = SSL_read(wire.ssl, got, sizeof(got));
    cr_expect_leq(n, 0);
    cr_expect_eq(SSL_get_error(wire.ssl, n), SSL_ERROR_SSL, "the peer got no alert");
    wire_close(&wire);
}

Test(tls_stream, records_in_single_bytes, .init = only_world, .fini = end_world)
{
    struct wire wire;
    char *bytes;

    wire_open(&wire);
    cr_assert_eq(SSL_write(wire.ssl, "drop by drop", 12), 12);
    long len = BIO_get_mem_data(wire.out, &bytes);
    for (long i = 0; i < len; i++)
        fake_feed(wire.below, bytes + i, 1);
    (void)BIO_reset(wire.out);
    run_turns(world.loop, (unsigned)len + 10);
    cr_expect(str_eq(text_str(&wire.side.tap.got), STR("drop by drop")));
    wire_close(&wire);
}

Test(tls_stream, a_full_wire_bounds_what_is_sealed, .init = only_world, .fini = end_world)
{
    struct wire wire;

    wire_open(&wire);
    fake_hold(wire.below);
    for (unsigned turn = 0; turn < 50; turn++) {
        if (stream_queued(wire.side.tap.stream) < 262144)
            (void)tap_write_pattern(&wire.side.tap, 64 * MIB, 65536);
        run_turns(world.loop, 2);
    }
    cr_expect_lt(wire.side.tap.n_wrote, 2 * MIB);
    unsigned drains = wire.side.tap.n_drains;
    fake_release(wire.below);
    size_t wrote = wire.side.tap.n_wrote, got = 0;
    char room[16384];
    for (unsigned turn = 0; got < wrote && turn < 2000; turn++) {
        run_turns(world.loop, 2);
        wire_carry(&wire);
        for (int n; (n = SSL_read(wire.ssl, room, sizeof(room))) > 0;)
            got += (size_t)n;
    }
    cr_expect_eq(got, wrote);
    cr_expect_eq(wire.side.tap.n_drains, drains + 1);
    wire_close(&wire);
}
