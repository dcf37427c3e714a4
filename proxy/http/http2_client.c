/*
 * http2_client.c - a client's HTTP/2 connection: requests out, responses in.
 *
 * Happy path: a head is written, h2 has a stream for it, its response is read strictly and shown.
 * Failure modes: a response that is malformed resets its stream and fails it, as all does that the
 * server does wrong (-ERR_HTTP_RESPONSE, -ERR_HTTP_RESPONSE_LIMIT); GOAWAY and REFUSED_STREAM say
 * which requests may be sent again (-ERR_H2_REFUSED); the connection's death fails all.
 */
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/http2_head.h"

#define IDLE_NS (3600 * NS_PER_SEC)

struct http2_client {
    struct http_client base;
    struct loop *loop;
    struct h2 *h2; /* NULL once it is dead */
    const struct http_client_events *events;
    void *owner;
    struct timer timer;
    uint64_t idle_ns, idle_since_ns; /* since 0: exchanges are open */
    bool is_closed;
};

static struct http2_client *from_base(struct http_client *base)
{
    return container_of(base, struct http2_client, base);
}

static const struct http2_client *peek_base(const struct http_client *base)
{
    return (const struct http2_client *)(const void *)base; /* base is the first member */
}

/* ------------------------------------------------------------------ responses */

static bool on_response(struct http_stream *stream, const struct h2_head *head)
{
    const struct http_stream_events *events = stream->http_events;
    struct http2_words words;
    struct http_response response;
    const char *why = http2_read_response(head, &words, &response);

    if (!why) {
        void (*tell)(void *, const struct http_response *) =
            response.status < 200 ? events->on_interim : events->on_response;

        if (h2_is_protocol(&stream->stream) && response.status / 100 == 2)
            response.status = 101;
        else if (h2_is_head(&stream->stream))
            response.has_body = false;
        if (tell)
            tell(stream->stream.owner, &response);
    }
    http2_words_fini(&words);
    return !why;
}

static const struct h2_http http = {
    .ops.trailers = http2_send_trailers, /* the others are a server's */
    .on_response = on_response,
    .may_be_trailers = http2_may_be_trailers,
    .on_trailers = http2_on_trailers,
};

/* ------------------------------------------------------------------ requests */

static bool can_open(const struct http_client *base)
{
    const struct http2_client *client = peek_base(base);

    return client->h2 && h2_can_open(client->h2);
}

static unsigned n_open(const struct http_client *base)
{
    const struct http2_client *client = peek_base(base);

    return client->h2 ? h2_open_streams(client->h2) : 0;
}

static unsigned n_allowed(const struct http_client *base)
{
    const struct http2_client *client = peek_base(base);

    return client->h2 ? h2_streams_allowed(client->h2) : 0;
}

static bool is_ready(const struct http_client *base)
{
    const struct http2_client *client = peek_base(base);

    return client->h2 && h2_is_ready(client->h2);
}

static struct http_stream *request(struct http_client *base, const struct http_request *head,
                                   const struct http_stream_events *http_events,
                                   const struct stream_events *events, void *owner)
{
    struct http2_client *client = from_base(base);
    struct http_stream *exchange;
    struct stream *stream;
    struct http2_nv nv;

    if (!can_open(base))
        return NULL;
    http2_write_request(head, &nv);
    if (str_is_empty(head->protocol))
        stream = h2_request(client->h2, nv.at, nv.len, !head->has_body, NULL, events, owner);
    else
        stream = h2_request_protocol(client->h2, nv.at, nv.len, events, owner);
    http2_nv_fini(&nv);
    exchange = container_of(stream, struct http_stream, stream);
    exchange->http_events = http_events;
    if (str_eq(head->method, STR("HEAD")))
        h2_set_head(stream);
    client->idle_since_ns = 0;
    return exchange;
}

/* ------------------------------------------------------------------ the end */

static void die(struct http2_client *client, int err, struct str why)
{
    client->h2 = NULL;
    timer_stop(&client->timer);
    if (!client->is_closed)
        client->events->on_dead(client->owner, err, why);
}

static void end_in_order(struct http2_client *client, struct str why)
{
    struct h2 *h2 = client->h2;

    client->h2 = NULL;
    h2_close(h2, 0);
    die(client, 0, why);
}

static void on_dead(void *owner, int err, struct str why)
{
    struct http2_client *client = owner;
    struct h2 *h2 = client->h2;

    die(client, err, why);
    h2_close(h2, 0);
}

static void on_timer(struct timer *timer)
{
    struct http2_client *client = container_of(timer, struct http2_client, timer);
    uint64_t quiet_ns = loop_now_ns(client->loop) - client->idle_since_ns;

    if (client->idle_since_ns == 0)
        return; /* started again when it is idle */
    if (quiet_ns < client->idle_ns)
        timer_start(client->loop, timer, client->idle_ns - quiet_ns, on_timer);
    else
        end_in_order(client, STR("idle"));
}

static void note_idle(struct http2_client *client)
{
    if (client->idle_since_ns == 0)
        client->idle_since_ns = loop_now_ns(client->loop);
    if (!timer_is_running(&client->timer))
        timer_start(client->loop, &client->timer, client->idle_ns, on_timer);
}

static void on_capacity(void *owner)
{
    struct http2_client *client = owner;

    if (h2_is_draining(client->h2) && h2_open_streams(client->h2) == 0) {
        end_in_order(client, STR("the peer takes no new requests"));
        return;
    }
    if (h2_open_streams(client->h2) == 0)
        note_idle(client);
    if (client->events->on_capacity)
        client->events->on_capacity(client->owner);
}

static void close_client(struct http_client *base, int err)
{
    struct http2_client *client = from_base(base);
    struct h2 *h2 = client->h2;

    ensure(!client->is_closed);
    client->is_closed = true;
    client->h2 = NULL;
    timer_stop(&client->timer);
    if (h2)
        h2_close(h2, err);
    loop_bury(client->loop, client, mem_free);
}

static const struct http_client_ops client_ops = {can_open, n_open,  n_allowed,
                                                  is_ready, request, close_client};
static const struct h2_events h2_events = {.on_capacity = on_capacity, .on_dead = on_dead};

struct http_client *http2_client_new(struct loop *loop, struct stream *lower,
                                     const struct http_limits *limits,
                                     const struct http_client_events *events, void *owner)
{
    struct http2_client *client = mem_new(struct http2_client);
    struct h2_options options = http2_options(limits, &http);

    client->base.ops = &client_ops;
    client->loop = loop;
    client->events = events;
    client->owner = owner;
    client->idle_ns = limits && limits->idle_ns ? limits->idle_ns : IDLE_NS;
    client->h2 = h2_client_new(loop, lower, &options, &h2_events, client);
    note_idle(client);
    return &client->base;
}
