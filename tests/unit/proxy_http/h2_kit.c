#include "h2_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/mem.h"

#define PATIENCE_MS 20000

const char *const connect_fields[] = {":method", "CONNECT", ":authority", "10.0.0.1:80", NULL};
const char *const get_fields[] = {":method", "GET",        ":scheme",      "https", ":path",
                                  "/some",   ":authority", "host.example", NULL};

/* ------------------------------------------------------------------ calls */

static struct call *new_call(struct peer *peer)
{
    struct call *call = mem_new(struct call);

    cr_assert(peer->n_calls < CALLS_MAX);
    call->peer = peer;
    peer->calls[peer->n_calls++] = call;
    return call;
}

static void keep(char *room, size_t size, struct str value)
{
    snprintf(room, size, "%.*s", STR_ARG(value));
}

static bool closed_connection(struct peer *peer, char event)
{
    struct h2 *h2 = peer->h2;

    if (peer->closes_at != event || !h2)
        return false;
    peer->h2 = NULL;
    h2_close(h2, 0);
    return true;
}

static void on_head(void *owner, const struct h2_head *head)
{
    struct call *call = owner;

    cr_assert(call->tap.stream);
    call->n_heads++;
    call->head_ends = head->end_stream;
    keep(call->status, sizeof(call->status), h2_find(head, ":status"));
    if (closed_connection(call->peer, 'h'))
        return;
    if (call->tap.closes_at == 'h')
        tap_close(&call->tap, call->tap.closes_with);
}

static void on_trailers(void *owner, const struct h2_head *trailers)
{
    struct call *call = owner;

    cr_assert(!call->tap.ended);
    call->n_trailers++;
    keep(call->trailer, sizeof(call->trailer), h2_find(trailers, "grpc-status"));
}

const struct h2_stream_events call_events = {on_head, on_trailers};

static size_t make_fields(const char *const *from, struct h2_field *fields)
{
    size_t n = 0;

    for (; from[n * 2]; n++)
        fields[n] = (struct h2_field){str_from(from[n * 2]), str_from(from[n * 2 + 1])};
    return n;
}

struct call *peer_request(struct peer *peer, bool end_stream, const char *const *from)
{
    struct call *call = new_call(peer);
    struct h2_field fields[16];
    size_t n = make_fields(from, fields);

    call->tap.stream =
        h2_request(peer->h2, fields, n, end_stream, &call_events, &tap_events, &call->tap);
    cr_assert(call->tap.stream);
    return call;
}

struct call *peer_connect(struct peer *peer)
{
    return peer_request(peer, false, connect_fields);
}

struct call *peer_last(const struct peer *peer)
{
    cr_assert(peer->n_calls > 0);
    return peer->calls[peer->n_calls - 1];
}

void call_respond(struct call *call, const char *status, bool end_stream)
{
    struct h2_field fields[] = {{STR(":status"), str_from(status)}, {STR("baggage"), STR("x=y")}};

    h2_respond(call->tap.stream, fields, 2, end_stream);
}

/* ------------------------------------------------------------------ peers */

static void on_request(void *owner, struct stream *stream, const struct h2_head *head)
{
    struct peer *peer = owner;
    struct call *call = new_call(peer);

    cr_assert_eq(h2_of(stream), peer->h2);
    tap_attach(&call->tap, stream);
    h2_stream_set_events(stream, &call_events);
    keep(call->method, sizeof(call->method), h2_find(head, ":method"));
    keep(call->authority, sizeof(call->authority), h2_find(head, ":authority"));
    call->head_ends = head->end_stream;
    if (closed_connection(peer, 'q'))
        return;
    if (peer->refuses) {
        tap_close(&call->tap, -ERR_H2_REFUSED);
    } else if (peer->answers) {
        call_respond(call, "200", false);
        stream_resume(stream);
    }
}

static void on_ready(void *owner)
{
    struct peer *peer = owner;

    peer->n_ready++;
    closed_connection(peer, 'y');
}

static void on_capacity(void *owner)
{
    ((struct peer *)owner)->n_capacity++;
}

static void on_dead(void *owner, int err, struct str why)
{
    struct peer *peer = owner;

    cr_assert(peer->h2 && peer->n_dead == 0);
    cr_expect(why.len > 0);
    peer->n_dead++;
    peer->dead_err = err;
    keep(peer->dead_why, sizeof(peer->dead_why), why);
    for (unsigned i = 0; i < peer->n_calls; i++)
        peer->n_ended_at_death += !peer->calls[i]->tap.stream || peer->calls[i]->tap.err;
    closed_connection(peer, 'd');
}

const struct h2_events peer_events = {on_request, on_ready, on_capacity, on_dead};

void peer_free(struct peer *peer)
{
    for (unsigned i = 0; i < peer->n_calls; i++) {
        tap_free(&peer->calls[i]->tap);
        mem_free(peer->calls[i]);
    }
    peer->n_calls = 0;
    if (peer->h2)
        h2_close(peer->h2, 0);
    peer->h2 = NULL;
}

/* ------------------------------------------------------------------ waiting */

struct wait {
    const struct peer *peer;
    const struct call *call;
    unsigned n;
};

static bool has_calls(void *ctx)
{
    struct wait *wait = ctx;

    return wait->peer->n_calls >= wait->n;
}

bool peer_has_calls(struct loop *loop, const struct peer *peer, unsigned n)
{
    struct wait wait = {.peer = peer, .n = n};

    return run_until(loop, has_calls, &wait, PATIENCE_MS);
}

static bool has_head(void *ctx)
{
    struct wait *wait = ctx;

    return wait->call->n_heads > 0 || wait->call->tap.err;
}

bool call_has_head(struct loop *loop, const struct call *call)
{
    struct wait wait = {.call = call};

    return run_until(loop, has_head, &wait, PATIENCE_MS) && call->n_heads > 0;
}

static bool is_dead(void *ctx)
{
    return ((struct wait *)ctx)->peer->n_dead > 0;
}

bool peer_dies(struct loop *loop, const struct peer *peer)
{
    struct wait wait = {.peer = peer};

    return run_until(loop, is_dead, &wait, PATIENCE_MS);
}

static bool is_idle(void *ctx)
{
    return h2_open_streams(((struct wait *)ctx)->peer->h2) == 0;
}

bool peer_is_idle(struct loop *loop, const struct peer *peer)
{
    struct wait wait = {.peer = peer};

    return run_until(loop, is_idle, &wait, PATIENCE_MS);
}

/* ------------------------------------------------------------------ links */

static void wait_ready(struct link *link)
{
    cr_assert(run_until_count(link->loop, &link->client.n_ready, 1, PATIENCE_MS));
    cr_assert(run_until_count(link->loop, &link->server.n_ready, 1, PATIENCE_MS));
}

void link_open(struct link *link, const struct h2_options *client, const struct h2_options *server)
{
    *link = (struct link){.loop = loop_new()};
    fake_stream_pair(link->loop, &link->below_client, &link->below_server);
    link->client.h2 =
        h2_client_new(link->loop, &link->below_client->stream, client, &peer_events, &link->client);
    link->server.h2 =
        h2_server_new(link->loop, &link->below_server->stream, server, &peer_events, &link->server);
    link->server.answers = true;
    wait_ready(link);
}

void link_open_tls(struct link *link)
{
    struct side client = {0}, server = {0};

    *link = (struct link){0};
    world_open(&link->world);
    link->loop = link->world.loop;
    tls_pair(&link->world, &client, &server);
    link->client.h2 =
        h2_client_new(link->loop, client.tap.stream, NULL, &peer_events, &link->client);
    link->server.h2 =
        h2_server_new(link->loop, server.tap.stream, NULL, &peer_events, &link->server);
    link->server.answers = true;
    wait_ready(link);
}

void link_close(struct link *link)
{
    peer_free(&link->client);
    peer_free(&link->server);
    if (link->below_client) {
        cr_expect(run_until_empty(link->loop, PATIENCE_MS));
        fake_stream_free(link->below_client);
        fake_stream_free(link->below_server);
        loop_finish(link->loop);
    } else {
        world_close(&link->world);
    }
}

void link_tunnel(struct link *link, struct call **out_client, struct call **out_server)
{
    struct call *call = peer_connect(&link->client);
    unsigned n = link->server.n_calls;

    cr_assert(peer_has_calls(link->loop, &link->server, n + 1));
    cr_assert(call_has_head(link->loop, call));
    stream_resume(call->tap.stream);
    *out_client = call;
    *out_server = peer_last(&link->server);
}

/* ------------------------------------------------------------------ raw peers */

void raw_open(struct raw *raw, bool is_server, const struct h2_options *options)
{
    *raw = (struct raw){.loop = loop_new()};
    raw->below = fake_stream_new(raw->loop);
    if (is_server)
        raw->peer.h2 =
            h2_server_new(raw->loop, &raw->below->stream, options, &peer_events, &raw->peer);
    else
        raw->peer.h2 =
            h2_client_new(raw->loop, &raw->below->stream, options, &peer_events, &raw->peer);
    cr_assert_eq(nghttp2_hd_deflate_new(&raw->deflater, 4096), 0);
    raw_run(raw);
}

void raw_close(struct raw *raw)
{
    peer_free(&raw->peer);
    nghttp2_hd_deflate_del(raw->deflater);
    run_turns(raw->loop, 3);
    fake_stream_free(raw->below);
    loop_finish(raw->loop);
}

void raw_run(struct raw *raw)
{
    run_turns(raw->loop, 4);
    for (unsigned i = 0;
         i < 5000 && !list_is_empty(&raw->below->arrivals) && !raw->below->is_closed; i++)
        loop_turn(raw->loop, false);
    run_turns(raw->loop, 4);
}

void raw_frame(struct raw *raw, uint8_t type, uint8_t flags, int32_t stream_id, const void *payload,
               size_t len)
{
    uint8_t head[9] = {(uint8_t)(len >> 16),
                       (uint8_t)(len >> 8),
                       (uint8_t)len,
                       type,
                       flags,
                       (uint8_t)(stream_id >> 24),
                       (uint8_t)(stream_id >> 16),
                       (uint8_t)(stream_id >> 8),
                       (uint8_t)stream_id};
    struct text frame = {0};

    text_add(&frame, str_of(head, sizeof(head)));
    text_add(&frame, str_of(payload, len));
    fake_feed(raw->below, frame.ptr, frame.len);
    text_fini(&frame);
}

void raw_greet(struct raw *raw)
{
    if (h2_can_open(raw->peer.h2)) /* ours is the client */
        raw_frame(raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
    else {
        fake_feed_text(raw->below, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw_frame(raw, NGHTTP2_SETTINGS, 0, 0, "", 0);
    }
    raw_frame(raw, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
    raw_run(raw);
}

void raw_headers(struct raw *raw, uint8_t flags, int32_t stream_id, const char *const *fields)
{
    nghttp2_nv nv[1100];
    static uint8_t block[200000];
    size_t n = 0;

    for (; fields[n * 2]; n++) {
        nv[n] =
            (nghttp2_nv){.namelen = strlen(fields[n * 2]), .valuelen = strlen(fields[n * 2 + 1])};
        memcpy(&nv[n].name, &fields[n * 2], sizeof(nv[n].name));
        memcpy(&nv[n].value, &fields[n * 2 + 1], sizeof(nv[n].value));
    }
    ssize_t len = nghttp2_hd_deflate_hd(raw->deflater, block, sizeof(block), nv, n);
    cr_assert(len > 0);
    raw_frame(raw, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, stream_id, block,
              (size_t)len);
}

bool raw_saw(const struct raw *raw, uint8_t type, int32_t stream_id, struct str *out_payload)
{
    struct str all = fake_written(raw->below);
    size_t at = str_starts_with(all, STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) ? 24 : 0;

    while (at + 9 <= all.len) {
        const uint8_t *head = (const uint8_t *)all.ptr + at;
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        int32_t id = (int32_t)((uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 |
                               (uint32_t)head[7] << 8 | head[8]);
        if (head[3] == type && id == stream_id && !(head[4] & 1 && type == NGHTTP2_SETTINGS)) {
            *out_payload = str_sub(all, at + 9, len);
            return true;
        }
        at += 9 + len;
    }
    return false;
}

uint32_t raw_code(struct str payload, size_t at)
{
    uint8_t b[4];

    cr_assert(at + 4 <= payload.len);
    memcpy(b, payload.ptr + at, 4);
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}
