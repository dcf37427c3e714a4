#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/tls/tls_internal.h"
#include "tls_kit.h"

TestSuite(tls_handshake, .timeout = 60);

static struct world world;

static void start(void)
{
    world_open(&world);
}

static void finish(void)
{
    world_close(&world);
}

/* Carries what one fake stream wrote to the other, in chunks of at most so many bytes. */
static bool carry(struct fake_stream *from, struct fake_stream *to, size_t chunk)
{
    struct text bytes = {0};

    text_add(&bytes, fake_written(from));
    fake_forget_written(from);
    for (size_t at = 0; at < bytes.len; at += chunk)
        fake_feed(to, bytes.ptr + at, bytes.len - at < chunk ? bytes.len - at : chunk);
    bool moved = bytes.len > 0;
    text_fini(&bytes);
    return moved;
}

static bool has_arrivals(const struct fake_stream *fake)
{
    return !list_is_empty(&fake->arrivals) && !fake->is_paused && !fake->is_closed &&
           !fake->is_dead;
}

/* Until nothing moves any more. */
static void carry_all(struct fake_stream *a, struct fake_stream *b, size_t chunk)
{
    for (unsigned quiet = 0; quiet < 3;) {
        bool moved = false;

        run_turns(world.loop, 2);
        moved |= carry(a, b, chunk);
        moved |= carry(b, a, chunk);
        while (has_arrivals(a) || has_arrivals(b))
            loop_turn(world.loop, false);
        quiet = moved ? 0 : quiet + 1;
    }
}

/* A node that comes back meets all its neighbours at once. */
Test(tls_handshake, of_many_at_once_only_some_are_done_in_one_turn, .init = start, .fini = finish)
{
    enum { PAIRS = 60, TURNS_MOST = 100000 };
    static struct side clients[PAIRS], servers[PAIRS];
    const struct tls_options client = world_options(&world, TLS_CLIENT);
    const struct tls_options server = world_options(&world, TLS_SERVER);
    struct stream *near[PAIRS], *far[PAIRS];
    unsigned n_done = 0, most = 0;

    for (int i = 0; i < PAIRS; i++)
        tcp_pair(world.loop, &near[i], &far[i]);
    for (int i = 0; i < PAIRS; i++) {
        side_start(&clients[i], &world, near[i], &client);
        side_start(&servers[i], &world, far[i], &server);
    }
    for (unsigned turn = 0; turn < TURNS_MOST && n_done < 2 * PAIRS; turn++) {
        const unsigned before = n_done;
        loop_turn(world.loop, true);
        n_done = 0;
        for (int i = 0; i < PAIRS; i++)
            n_done += clients[i].is_done + servers[i].is_done;
        if (most < n_done - before)
            most = n_done - before;
    }

    cr_expect_eq(n_done, 2 * PAIRS, "%u of %d", n_done, 2 * PAIRS);
    cr_expect_lt(most, PAIRS, "%u in one turn", most);
    for (int i = 0; i < PAIRS; i++) {
        cr_expect_eq(clients[i].err, 0, "%s", clients[i].why);
        cr_expect_eq(servers[i].err, 0, "%s", servers[i].why);
        tap_free(&clients[i].tap);
        tap_free(&servers[i].tap);
    }
}

/* ---- what came while there was no time ---- */

/* Events of a lower stream that take a turn's time before the handshake hears of them; and how it
 * ends in the turn in which its step was put off. */
static struct slow {
    struct fake_stream *lower;
    const struct stream_events *events;
    uint64_t for_ns;
    struct tls_handshake *cancels;
    int fails;
    unsigned n_reads, n_paused;
} slow;

static void slow_on_data(void *owner, struct slice bytes)
{
    const uint64_t begun_ns = loop_now_ns(world.loop);

    while (clock_mono_ns() - begun_ns < slow.for_ns)
        continue;
    slow.n_reads++;
    slow.events->on_data(owner, bytes);
    slow.n_paused += slow.lower->is_paused;
    if (slow.cancels)
        tls_handshake_cancel(slow.cancels);
    else if (slow.fails)
        slow.events->on_fail(owner, slow.fails);
}

static void slow_on_end(void *owner)
{
    slow.events->on_end(owner);
}

static void slow_on_drain(void *owner)
{
    slow.events->on_drain(owner);
}

static void slow_on_fail(void *owner, int err)
{
    slow.events->on_fail(owner, err);
}

static void be_slow(struct fake_stream *lower, uint64_t for_ns)
{
    static const struct stream_events events = {slow_on_data, slow_on_end, slow_on_drain,
                                                slow_on_fail};

    slow = (struct slow){lower, lower->stream.events, .for_ns = for_ns};
    stream_set_owner(&lower->stream, &events, lower->stream.owner);
}

/* The last flight of a client, with all that it has to say and its end in the same read. */
Test(tls_handshake, what_comes_behind_a_flight_that_is_put_off_is_heard, .init = start,
     .fini = finish)
{
    for (int is_late = 0; is_late < 2; is_late++) {
        struct fake_stream *near = fake_stream_new(world.loop), *far = fake_stream_new(world.loop);
        const struct tls_options client_options = world_options(&world, TLS_CLIENT);
        const struct tls_options server_options = world_options(&world, TLS_SERVER);
        struct side client = {0}, server = {0};

        side_start(&client, &world, &near->stream, &client_options);
        side_start(&server, &world, &far->stream, &server_options);
        be_slow(far, is_late ? LOOP_LATE_NS : 0);
        while (!client.is_done) {
            run_turns(world.loop, 3);
            (void)carry(far, near, SIZE_MAX);
            if (!client.is_done)
                (void)carry(near, far, SIZE_MAX);
        }
        cr_assert_eq(client.err, 0, "%s", client.why);
        cr_assert(!server.is_done);
        stream_write_copy(client.tap.stream, "hello", 5);
        stream_shutdown(client.tap.stream);
        run_turns(world.loop, 3);
        cr_assert(carry(near, far, SIZE_MAX));
        cr_assert(side_wait(&world, &server));
        cr_assert_eq(server.err, 0, "%s", server.why);
        stream_resume(server.tap.stream);
        cr_assert(tap_ended(world.loop, &server.tap));
        cr_expect(str_eq(text_str(&server.tap.got), STR("hello")));
        cr_expect_eq(slow.n_reads, 2);
        cr_expect(!is_late || slow.n_paused == 2, "nothing is read while a step is put off");
        tap_free(&client.tap);
        tap_free(&server.tap);
        run_turns(world.loop, 3);
        fake_stream_free(near);
        fake_stream_free(far);
    }
}

Test(tls_handshake, one_that_ends_while_it_is_put_off_takes_no_more_steps, .init = start,
     .fini = finish)
{
    for (int fails = -ERR_RESET, row = 0; row < 2; row++, fails = 0) {
        struct fake_stream *near = fake_stream_new(world.loop), *far = fake_stream_new(world.loop);
        const struct tls_options client_options = world_options(&world, TLS_CLIENT);
        const struct tls_options server_options = world_options(&world, TLS_SERVER);
        struct side client = {0}, server = {0};

        side_start(&client, &world, &near->stream, &client_options);
        side_start(&server, &world, &far->stream, &server_options);
        be_slow(far, LOOP_LATE_NS);
        slow.fails = fails;
        slow.cancels = fails ? NULL : server.handshake;
        run_turns(world.loop, 2);
        cr_assert(carry(near, far, SIZE_MAX));
        cr_assert(run_until_count(world.loop, &slow.n_reads, 1, 5000));
        run_turns(world.loop, 3);
        cr_expect(far->is_closed && far->n_written == 0, "no step was taken");
        cr_expect_eq(server.is_done, fails != 0, "cancelled says nothing");
        cr_expect_eq(server.err, fails);
        tls_handshake_cancel(client.handshake);
        run_turns(world.loop, 3);
        fake_stream_free(near);
        fake_stream_free(far);
    }
}

Test(tls_handshake, shows_each_side_the_other, .init = start, .fini = finish)
{
    struct side client = {0}, server = {0};
    const struct tls_peer *peer;

    tls_pair(&world, &client, &server);

    peer = tls_peer(client.tap.stream);
    cr_expect(str_eq(peer->id, STR(ID_B)));
    cr_expect_str_eq(peer->version, "TLSv1.3");
    cr_expect_str_eq(peer->cipher, "TLS_AES_128_GCM_SHA256");
    cr_expect(peer->serial.len > 0 && peer->not_after_ns > clock_wall_ns());
    cr_expect(str_eq(tls_peer(server.tap.stream)->id, STR(ID_A)));
    cr_expect(tcp_local(tls_lower(server.tap.stream)).port != 0);
    tap_free(&client.tap);
    tap_free(&server.tap);
}

Test(tls_handshake, R7_an_established_connection_holds_no_key, .init = start, .fini = finish)
{
    struct side client = {0}, server = {0};

    tls_pair(&world, &client, &server);
    const struct tls_stream *ends[] = {container_of(client.tap.stream, struct tls_stream, base),
                                       container_of(server.tap.stream, struct tls_stream, base)};
    for (size_t i = 0; i < 2; i++) {
        cr_expect_null(SSL_get_privatekey(ends[i]->ssl));
        cr_expect_null(SSL_CTX_get0_privatekey(SSL_get_SSL_CTX(ends[i]->ssl)));
    }
    stream_resume(server.tap.stream);
    cr_assert(tap_write_pattern(&client.tap, 100000, 5000));
    cr_expect(tap_got(world.loop, &server.tap, 100000), "and works without it");
    tap_free(&client.tap);
    tap_free(&server.tap);
}

Test(tls_handshake, works_in_chunks_of_every_size, .init = start, .fini = finish)
{
    static const size_t chunks[] = {1, 2, 3, 5, 100, 1000, 65536};

    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        struct fake_stream *a = fake_stream_new(world.loop), *b = fake_stream_new(world.loop);
        struct side client = {0}, server = {0};
        struct tls_options co = world_options(&world, TLS_CLIENT);
        struct tls_options so = world_options(&world, TLS_SERVER);

        side_start(&client, &world, &a->stream, &co);
        side_start(&server, &world, &b->stream, &so);
        carry_all(a, b, chunks[i]);
        cr_assert(client.is_done && server.is_done, "chunks of %zu", chunks[i]);
        cr_assert(client.err == 0 && server.err == 0, "chunks of %zu: %s %s", chunks[i], client.why,
                  server.why);

        tap_free(&client.tap);
        tap_free(&server.tap);
        run_turns(world.loop, 2);
        fake_stream_free(a);
        fake_stream_free(b);
    }
}

/* Who refuses whom for what; the server side and the client side. */
struct refusal {
    const char *name;
    bool client_is_anonymous, optional, client_is_stranger, server_is_stranger;
    const char *client_expects, *server_expects;
    bool no_trust;
    int client_err, server_err; /* 0: its handshake succeeds */
    const char *why;            /* part of the refuser's sentence */
};

static const struct refusal refusals[] = {
    {.name = "all is well"},
    {.name = "expected", .client_expects = ID_B, .server_expects = ID_A},
    {.name = "anonymous",
     .client_is_anonymous = true,
     .server_err = -ERR_TLS_NO_CERTIFICATE,
     .why = "certificate"},
    {.name = "anonymous is fine", .client_is_anonymous = true, .optional = true},
    {.name = "client of an unknown domain",
     .client_is_stranger = true,
     .server_err = -ERR_TLS_TRUST_DOMAIN,
     .why = "north.example"},
    {.name = "the same although optional",
     .client_is_stranger = true,
     .optional = true,
     .server_err = -ERR_TLS_TRUST_DOMAIN,
     .why = "north.example"},
    {.name = "server of an unknown domain",
     .server_is_stranger = true,
     .client_err = -ERR_TLS_TRUST_DOMAIN,
     .server_err = -ERR_TLS,
     .why = "north.example"},
    {.name = "another server",
     .client_expects = ID_A,
     .client_err = -ERR_TLS_IDENTITY,
     .server_err = -ERR_TLS,
     .why = "pay"},
    {.name = "another client",
     .server_expects = ID_B,
     .server_err = -ERR_TLS_IDENTITY,
     .why = "cart"},
    {.name = "no trust yet",
     .no_trust = true,
     .client_err = -ERR_TLS_TRUST_DOMAIN,
     .server_err = -ERR_TLS,
     .why = "bundle"},
};

static void refuse_one(const struct refusal *row)
{
    struct test_ca *north = test_ca_new("north.example");
    struct tls_identity *stranger = world_identity(north, "spiffe://north.example/ns/x/sa/y");
    struct tls_identity *nobody = tls_identity_anonymous();
    struct str client_expects = str_from(row->client_expects);
    struct str server_expects = str_from(row->server_expects);
    struct tls_options co = world_options(&world, TLS_CLIENT);
    struct tls_options so = world_options(&world, TLS_SERVER);
    struct side client = {0}, server = {0};
    struct stream *lower_client, *lower_server;

    if (row->client_is_anonymous)
        co.identity = nobody;
    if (row->client_is_stranger)
        co.identity = stranger;
    if (row->server_is_stranger)
        so.identity = stranger;
    so.peer_certificate_optional = row->optional;
    co.expected = &client_expects;
    co.n_expected = row->client_expects ? 1 : 0;
    so.expected = &server_expects;
    so.n_expected = row->server_expects ? 1 : 0;
    world.trust_now = row->no_trust ? NULL : world.trust;

    tcp_pair(world.loop, &lower_client, &lower_server);
    side_start(&client, &world, lower_client, &co);
    side_start(&server, &world, lower_server, &so);
    cr_assert(side_wait(&world, &client) && side_wait(&world, &server), "%s", row->name);

    cr_expect_eq(client.err, row->client_err, "%s: client %d %s", row->name, client.err,
                 client.why);
    cr_expect_eq(server.err, row->server_err, "%s: server %d %s", row->name, server.err,
                 server.why);
    if (row->why)
        cr_expect(strstr(row->client_err ? client.why : server.why, row->why), "%s: %s / %s",
                  row->name, client.why, server.why);
    if (row->server_err && !row->client_err) { /* TLS 1.3: the client hears of it when it reads */
        stream_resume(client.tap.stream);
        cr_expect(tap_failed(world.loop, &client.tap), "%s", row->name);
        cr_expect_eq(client.tap.err, -ERR_TLS, "%s: %d", row->name, client.tap.err);
    }
    tap_free(&client.tap);
    tap_free(&server.tap);
    cr_expect(run_until_empty(world.loop, 5000), "%s", row->name);
    tls_identity_unref(stranger);
    tls_identity_unref(nobody);
    test_ca_free(north);
}

Test(tls_handshake, refuses_whom_it_must, .init = start, .fini = finish)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        refuse_one(&refusals[i]);
}

/* What a server says to bytes that are no good ClientHello. */
Test(tls_handshake, server_refuses_what_is_not_tls, .init = start, .fini = finish)
{
    static const struct {
        const char *bytes;
        size_t len;
        int err;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, -ERR_TLS},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, -ERR_TLS},
        {"\0\0\0\0\0\0\0\0\0\0\0\0", 12, -ERR_TLS},
        {"\x16\x03\x01\xff\xff\x01\x00\x00\x00\x00", 10, -ERR_TLS},
        {"\x15\x03\x03\x00\x02\x02\x28", 7, -ERR_TLS},
        {"SSH-2.0-OpenSSH_9.2p1\r\n", 23, -ERR_TLS},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fake_stream *lower = fake_stream_new(world.loop);
        struct tls_options options = world_options(&world, TLS_SERVER);
        struct side server = {0};

        side_start(&server, &world, &lower->stream, &options);
        fake_feed(lower, rows[i].bytes, rows[i].len);
        cr_assert(side_wait(&world, &server), "row %zu", i);
        cr_expect_eq(server.err, rows[i].err, "row %zu: %s", i, server.why);
        cr_expect(strlen(server.why) > 0);
        cr_expect(lower->is_closed);
        run_turns(world.loop, 2);
        fake_stream_free(lower);
    }
}

Test(tls_handshake, end_in_the_middle_is_eof, .init = start, .fini = finish)
{
    struct fake_stream *lower = fake_stream_new(world.loop);
    struct tls_options options = world_options(&world, TLS_SERVER);
    struct side server = {0};

    side_start(&server, &world, &lower->stream, &options);
    fake_feed(lower, "\x16\x03\x01", 3);
    fake_end(lower);
    cr_assert(side_wait(&world, &server));
    cr_expect_eq(server.err, -ERR_EOF);
    run_turns(world.loop, 2);
    fake_stream_free(lower);
}

Test(tls_handshake, death_below_is_told_as_it_is, .init = start, .fini = finish)
{
    struct fake_stream *lower = fake_stream_new(world.loop);
    struct tls_options options = world_options(&world, TLS_CLIENT);
    struct side client = {0};

    side_start(&client, &world, &lower->stream, &options);
    run_turns(world.loop, 1);
    fake_fail(lower, -ERR_RESET);
    cr_assert(side_wait(&world, &client));
    cr_expect_eq(client.err, -ERR_RESET);
    run_turns(world.loop, 2);
    fake_stream_free(lower);
}

Test(tls_handshake, times_out_on_a_silent_peer, .init = start, .fini = finish)
{
    struct fake_stream *lower = fake_stream_new(world.loop);
    struct tls_options options = world_options(&world, TLS_SERVER);
    struct side server = {0};

    options.timeout_ns = 20 * NS_PER_MS;
    side_start(&server, &world, &lower->stream, &options);
    cr_assert(side_wait(&world, &server));
    cr_expect_eq(server.err, -ERR_HANDSHAKE_TIMEOUT);
    cr_expect_eq(lower->close_err, -ERR_HANDSHAKE_TIMEOUT);
    run_turns(world.loop, 2);
    fake_stream_free(lower);
}

Test(tls_handshake, cancelled_says_nothing, .init = start, .fini = finish)
{
    struct fake_stream *lower = fake_stream_new(world.loop);
    struct tls_options options = world_options(&world, TLS_CLIENT);
    struct side early = {0}, late = {0};

    side_start(&early, &world, &lower->stream, &options);
    tls_handshake_cancel(early.handshake); /* before its first step */
    run_turns(world.loop, 3);
    cr_expect(!early.is_done && lower->is_closed);
    fake_stream_free(lower);

    lower = fake_stream_new(world.loop);
    side_start(&late, &world, &lower->stream, &options);
    run_turns(world.loop, 2);
    cr_expect(lower->n_written > 0);
    tls_handshake_cancel(late.handshake);
    run_turns(world.loop, 3);
    cr_expect(!late.is_done && lower->is_closed);
    fake_stream_free(lower);
}

/* A client of OpenSSL's own, whose ALPN we choose. Its bytes go through memory. */
static int alpn_refused(const char *alpn, size_t len)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct fake_stream *lower = fake_stream_new(world.loop);
    struct tls_options options = world_options(&world, TLS_SERVER);
    struct side server = {0};
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    char *bytes;
    long n_bytes;

    if (len > 0)
        cr_assert_eq(SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)len), 0);
    SSL_set_bio(ssl, in, out);
    cr_assert_eq(SSL_connect(ssl), -1);
    n_bytes = BIO_get_mem_data(out, &bytes);
    side_start(&server, &world, &lower->stream, &options);
    fake_feed(lower, bytes, (size_t)n_bytes);
    cr_assert(side_wait(&world, &server));
    run_turns(world.loop, 2);

    struct str alert = fake_written(lower);
    cr_assert_eq(alert.len, 7);
    cr_expect_eq(alert.ptr[0], 21, "an alert");
    cr_expect_eq(alert.ptr[6], 120, "no_application_protocol");
    fake_stream_free(lower);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return server.err;
}

Test(tls_handshake, server_wants_h2, .init = start, .fini = finish)
{
    cr_expect_eq(alpn_refused("\x08http/1.1", 9), -ERR_TLS_ALPN);
    cr_expect_eq(alpn_refused("", 0), -ERR_TLS_ALPN);
}

/* Flips one byte of one flight after the other: whatever happens, both sides come to an end and
 * nothing is left. */
Test(tls_handshake, survives_a_flipped_byte_anywhere, .init = start, .fini = finish)
{
    for (size_t at = 0; at < 2400; at += 37) {
        struct fake_stream *a = fake_stream_new(world.loop), *b = fake_stream_new(world.loop);
        struct side client = {0}, server = {0};
        struct tls_options co = world_options(&world, TLS_CLIENT);
        struct tls_options so = world_options(&world, TLS_SERVER);
        size_t seen = 0;

        side_start(&client, &world, &a->stream, &co);
        side_start(&server, &world, &b->stream, &so);
        for (unsigned round = 0; round < 4; round++) {
            run_turns(world.loop, 3);
            struct text bytes = {0};
            struct fake_stream *from = round % 2 ? b : a, *to = round % 2 ? a : b;
            text_add(&bytes, fake_written(from));
            fake_forget_written(from);
            if (at >= seen && at < seen + bytes.len)
                bytes.ptr[at - seen] ^= 0x20;
            seen += bytes.len;
            if (bytes.len > 0 && !to->is_closed)
                fake_feed(to, bytes.ptr, bytes.len);
            text_fini(&bytes);
        }
        run_turns(world.loop, 3);
        if (!a->is_closed)
            fake_end(a);
        if (!b->is_closed)
            fake_end(b);
        run_turns(world.loop, 3);
        cr_assert(client.is_done && server.is_done, "byte %zu", at);
        tap_free(&client.tap);
        tap_free(&server.tap);
        run_turns(world.loop, 3);
        fake_stream_free(a);
        fake_stream_free(b);
    }
}
