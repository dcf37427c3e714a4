#include "tls_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 10000

struct tls_identity *world_identity(const struct test_ca *ca, const char *id)
{
    struct svid *svid = test_svid_new(ca, id);
    struct tls_identity *identity;

    cr_assert_eq(tls_identity_new(svid, &identity), 0);
    svid_unref(svid);
    return identity;
}

void world_open(struct world *world)
{
    *world = (struct world){.loop = loop_new()};
    world->west = test_ca_new("west.example");
    world->east = test_ca_new("east.example");
    test_trust_add(&world->trust, "west.example", world->west);
    test_trust_add(&world->trust, "east.example", world->east);
    world->trust_now = world->trust;
    world->a = world_identity(world->west, ID_A);
    world->b = world_identity(world->east, ID_B);
}

void world_close(struct world *world)
{
    tls_identity_unref(world->a);
    tls_identity_unref(world->b);
    trust_unref(world->trust);
    test_ca_free(world->west);
    test_ca_free(world->east);
    cr_expect(run_until_empty(world->loop, PATIENCE_MS));
    cr_expect_eq(loop_slabs(world->loop)->n_live, 0);
    loop_free(world->loop);
}

/* ------------------------------------------------------------------ taps */

static uint8_t pattern_at(size_t offset)
{
    return (uint8_t)(offset * 31 + (offset >> 8) * 7 + (offset >> 16));
}

static bool closed_inside(struct tap *tap, char event)
{
    if (tap->closes_at != event || !tap->stream)
        return false;
    tap_close(tap, tap->closes_with);
    return true;
}

static void on_data(void *owner, struct slice bytes)
{
    struct tap *tap = owner;

    cr_assert(bytes.len > 0);
    cr_assert(tap->stream, "data after the close");
    cr_assert(!tap->ended && !tap->err, "data after the end");
    for (size_t i = 0; i < bytes.len; i++)
        tap->n_wrong += bytes.ptr[i] != pattern_at(tap->n_got + i);
    tap->n_got += bytes.len;
    tap->n_reads++;
    if (tap->got.len < TAP_KEEPS)
        text_add(&tap->got, slice_str(bytes));
    closed_inside(tap, 'd');
}

static void on_end(void *owner)
{
    struct tap *tap = owner;

    cr_assert(tap->stream && !tap->ended && !tap->err);
    tap->ended = true;
    closed_inside(tap, 'e');
}

static void on_drain(void *owner)
{
    struct tap *tap = owner;

    cr_assert(tap->stream && !tap->err);
    tap->n_drains++;
    closed_inside(tap, 'r');
}

static void on_fail(void *owner, int err)
{
    struct tap *tap = owner;

    cr_assert(tap->stream && !tap->err && err < 0);
    tap->err = err;
    closed_inside(tap, 'f');
}

const struct stream_events tap_events = {on_data, on_end, on_drain, on_fail};

void tap_attach(struct tap *tap, struct stream *stream)
{
    tap->stream = stream;
    stream_set_owner(stream, &tap_events, tap);
}

void tap_close(struct tap *tap, int err)
{
    struct stream *stream = tap->stream;

    tap->stream = NULL;
    stream_close(stream, err);
}

void tap_free(struct tap *tap)
{
    if (tap->stream)
        tap_close(tap, tap->err);
    text_fini(&tap->got);
}

bool tap_write_pattern(struct tap *tap, size_t total, size_t piece)
{
    bool go_on = true;

    while (go_on && tap->n_wrote < total) {
        size_t left = total - tap->n_wrote;
        size_t len = left < piece ? left : piece;
        struct slab *slab = slab_new(tap->stream->slabs, len);
        struct slice bytes = {slab, slab->bytes, len};

        slab->used = (uint32_t)len;
        for (size_t i = 0; i < len; i++)
            slab->bytes[i] = pattern_at(tap->n_wrote + i);
        tap->n_wrote += len;
        go_on = stream_write(tap->stream, bytes);
        if (stream_queued(tap->stream) > tap->largest_queue)
            tap->largest_queue = stream_queued(tap->stream);
    }
    return tap->n_wrote == total;
}

struct wanted {
    const struct tap *tap;
    size_t n_bytes;
};

static bool has_bytes(void *ctx)
{
    const struct wanted *wanted = ctx;

    return wanted->tap->n_got >= wanted->n_bytes || wanted->tap->err;
}

bool tap_got(struct loop *loop, const struct tap *tap, size_t n_bytes)
{
    struct wanted wanted = {tap, n_bytes};

    return run_until(loop, has_bytes, &wanted, PATIENCE_MS) && tap->n_got == n_bytes;
}

static bool has_ended(void *ctx)
{
    const struct tap *tap = ctx;

    return tap->ended || tap->err;
}

bool tap_ended(struct loop *loop, const struct tap *tap)
{
    union {
        const struct tap *from;
        void *to;
    } cast = {.from = tap};

    return run_until(loop, has_ended, cast.to, PATIENCE_MS) && tap->ended;
}

static bool has_failed(void *ctx)
{
    const struct tap *tap = ctx;

    return tap->err != 0;
}

bool tap_failed(struct loop *loop, const struct tap *tap)
{
    union {
        const struct tap *from;
        void *to;
    } cast = {.from = tap};

    return run_until(loop, has_failed, cast.to, PATIENCE_MS);
}

/* ------------------------------------------------------------------ handshakes */

static void on_done(void *owner, int err, struct stream *stream, struct str why)
{
    struct side *side = owner;

    cr_assert(!side->is_done);
    cr_assert_eq(err == 0, stream != NULL);
    side->is_done = true;
    side->err = err;
    side->handshake = NULL;
    snprintf(side->why, sizeof(side->why), "%.*s", STR_ARG(why));
    if (stream)
        tap_attach(&side->tap, stream);
}

struct tls_options world_options(const struct world *world, enum tls_role role)
{
    return (struct tls_options){
        .role = role,
        .identity = role == TLS_CLIENT ? world->a : world->b,
        .trust = &world->trust_now,
        .verified = world->verified,
    };
}

void side_start(struct side *side, struct world *world, struct stream *lower,
                const struct tls_options *options)
{
    side->handshake = tls_handshake(world->loop, lower, options, on_done, side);
}

bool side_wait(struct world *world, struct side *side)
{
    return run_until_set(world->loop, &side->is_done, PATIENCE_MS);
}

/* ------------------------------------------------------------------ pairs */

struct pair {
    struct stream *client, *server;
};

static void on_accept(void *owner, struct stream *stream)
{
    ((struct pair *)owner)->server = stream;
}

static void on_connect(void *owner, int err, struct stream *stream)
{
    cr_assert_eq(err, 0);
    ((struct pair *)owner)->client = stream;
}

static bool is_paired(void *ctx)
{
    const struct pair *pair = ctx;

    return pair->client && pair->server;
}

void tcp_pair(struct loop *loop, struct stream **out_client, struct stream **out_server)
{
    struct pair pair = {0};
    struct listener *listener;
    struct addr local, bound;
    int errnum;

    cr_assert_eq(addr_parse(STR("127.0.0.1:0"), &local), 0);
    cr_assert_eq(listener_open(loop, &local, &(struct listener_options){0}, on_accept, &pair,
                               &listener, &errnum),
                 0);
    bound = listener_addr(listener);
    tcp_connect(loop, &bound, &(struct tcp_options){0}, on_connect, &pair);
    cr_assert(run_until(loop, is_paired, &pair, PATIENCE_MS));
    listener_close(listener);
    *out_client = pair.client;
    *out_server = pair.server;
}

void tls_pair(struct world *world, struct side *client, struct side *server)
{
    struct tls_options client_options = world_options(world, TLS_CLIENT);
    struct tls_options server_options = world_options(world, TLS_SERVER);
    struct stream *lower_client, *lower_server;

    tcp_pair(world->loop, &lower_client, &lower_server);
    side_start(client, world, lower_client, &client_options);
    side_start(server, world, lower_server, &server_options);
    cr_assert(side_wait(world, client) && side_wait(world, server));
    cr_assert_eq(client->err, 0, "%s", client->why);
    cr_assert_eq(server->err, 0, "%s", server->why);
}
