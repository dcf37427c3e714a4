/*
 * http2_server.c - a server's HTTP/2 connection: requests in, answers out.
 *
 * Happy path: h2 shows a head, it is read strictly, the owner gets a stream. Failure modes: a head
 * that is malformed (a reset), too large (431) or a CONNECT (501); a flood, which is the
 * connection's end (h2_watch.c, h2_codec.c); silence between exchanges or too many of them, which
 * drain it.
 */
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/date.h"
#include "proxy/http/http2_head.h"

#define IDLE_NS  (3600 * NS_PER_SEC)
#define DRAIN_NS (5 * NS_PER_SEC) /* for the peer to learn that no new stream may come */

struct http2_server {
    struct http_server base;
    struct loop *loop;
    struct h2 *h2; /* NULL once it is dead */
    const struct http_server_events *events;
    void *owner;
    struct timer timer; /* idle, then drain */
    uint64_t idle_ns, idle_since_ns;
    uint32_t n_left; /* requests until it drains; 0: no limit */
    bool is_closed;
};

static struct http2_server *from_base(struct http_server *base)
{
    return container_of(base, struct http2_server, base);
}

/* ------------------------------------------------------------------ answers */

static void interim(struct http_stream *stream, const struct http_response *head)
{
    struct http2_nv nv;

    http2_write_response(head, &nv);
    h2_interim(&stream->stream, nv.at, nv.len);
    http2_nv_fini(&nv);
}

static void respond(struct http_stream *stream, const struct http_response *head)
{
    struct http_response sent = *head;
    struct http2_nv nv;
    bool has_body = head->has_body;

    if (head->status == 101) { /* RFC 8441 5: any 2xx agrees */
        sent.status = 200;
        sent.content_length = HTTP_LENGTH_UNKNOWN;
        has_body = true;
        h2_set_protocol(&stream->stream);
    }
    http2_write_response(&sent, &nv);
    h2_respond(&stream->stream, nv.at, nv.len, !has_body);
    http2_nv_fini(&nv);
}

static void on_stream_refused(void *owner, int err, struct str why);

static const struct h2_http http = {
    .ops = {interim, respond, http2_send_trailers},
    .may_be_trailers = http2_may_be_trailers,
    .on_trailers = http2_on_trailers,
    .on_refused = on_stream_refused,
};

/* ------------------------------------------------------------------ requests */

static void tell_refused(struct http2_server *server, unsigned status, int err, struct str why)
{
    if (server->events->on_refused && !server->is_closed)
        server->events->on_refused(server->owner, status, err, why);
}

static void on_stream_refused(void *owner, int err, struct str why)
{
    tell_refused(owner, 0, err, why);
}

/* Answers in place of an owner, who never hears of the stream. */
static void refuse(struct http2_server *server, struct stream *stream, unsigned status,
                   const char *why)
{
    char date[HTTP_DATE_MAX];
    const struct http_field fields[] = {
        {STR("date"), http_date_text(clock_wall_ns() / (int64_t)NS_PER_SEC, date)},
        {STR("server"), STR("isthmus")},
    };
    const struct http_response head = {.status = status,
                                       .fields = {.at = fields, .len = ARRAY_LEN(fields)}};

    if (status) {
        respond(container_of(stream, struct http_stream, stream), &head);
        stream_close(stream, 0);
    } else {
        h2_refuse(stream);
    }
    tell_refused(server, status, -ERR_H2, str_from(why));
}

static void drain_after_enough(struct http2_server *server)
{
    if (server->n_left > 0 && --server->n_left == 0)
        server->base.ops->drain(&server->base);
}

static void on_request(void *owner, struct stream *stream, const struct h2_head *head)
{
    struct http2_server *server = owner;
    struct http2_words words;
    struct http_request request;
    unsigned status;
    const char *why = http2_read_request(head, &words, &request, &status);

    server->idle_since_ns = 0;
    if (why) {
        refuse(server, stream, status, why);
    } else {
        if (!str_is_empty(request.protocol))
            h2_set_protocol(stream);
        server->events->on_request(server->owner, container_of(stream, struct http_stream, stream),
                                   &request);
    }
    http2_words_fini(&words);
    if (!server->is_closed && server->h2)
        drain_after_enough(server);
}

/* ------------------------------------------------------------------ the end */

static void die(struct http2_server *server, int err, struct str why)
{
    server->h2 = NULL;
    timer_stop(&server->timer);
    if (!server->is_closed)
        server->events->on_dead(server->owner, err, why);
}

static void end_in_order(struct http2_server *server)
{
    struct h2 *h2 = server->h2;

    server->h2 = NULL;
    h2_close(h2, 0);
    die(server, 0, STR("drained"));
}

static void on_dead(void *owner, int err, struct str why)
{
    struct http2_server *server = owner;
    struct h2 *h2 = server->h2;
    bool is_orderly = err == -ERR_EOF && h2_open_streams(h2) == 0;

    die(server, is_orderly ? 0 : err, why);
    h2_close(h2, 0);
}

static void on_timer(struct timer *timer)
{
    struct http2_server *server = container_of(timer, struct http2_server, timer);
    uint64_t quiet_ns = loop_now_ns(server->loop) - server->idle_since_ns;

    if (h2_is_draining(server->h2)) {
        h2_drain_now(server->h2);
        return;
    }
    if (server->idle_since_ns == 0)
        return; /* started again when it is idle */
    if (quiet_ns < server->idle_ns)
        timer_start(server->loop, timer, server->idle_ns - quiet_ns, on_timer);
    else
        server->base.ops->drain(&server->base);
}

static void note_idle(struct http2_server *server)
{
    if (server->idle_since_ns == 0)
        server->idle_since_ns = loop_now_ns(server->loop);
    if (!timer_is_running(&server->timer))
        timer_start(server->loop, &server->timer, server->idle_ns, on_timer);
}

static void on_capacity(void *owner)
{
    struct http2_server *server = owner;

    if (h2_is_drained(server->h2))
        end_in_order(server);
    else if (h2_open_streams(server->h2) == 0)
        note_idle(server);
}

static void drain(struct http_server *base)
{
    struct http2_server *server = from_base(base);

    if (!server->h2)
        return;
    h2_drain(server->h2);
    timer_start(server->loop, &server->timer, DRAIN_NS, on_timer);
}

static void close_server(struct http_server *base, int err)
{
    struct http2_server *server = from_base(base);
    struct h2 *h2 = server->h2;

    ensure(!server->is_closed);
    server->is_closed = true;
    server->h2 = NULL;
    timer_stop(&server->timer);
    if (h2)
        h2_close(h2, err);
    loop_bury(server->loop, server, mem_free);
}

static const struct http_server_ops server_ops = {drain, close_server};
static const struct h2_events h2_events = {
    .on_request = on_request,
    .on_capacity = on_capacity,
    .on_dead = on_dead,
};

struct http_server *http2_server_new(struct loop *loop, struct stream *lower,
                                     const struct http_limits *limits,
                                     const struct http_server_events *events, void *owner)
{
    struct http2_server *server = mem_new(struct http2_server);
    struct h2_options options = http2_options(limits, &http);

    server->base.ops = &server_ops;
    server->loop = loop;
    server->events = events;
    server->owner = owner;
    server->idle_ns = limits && limits->idle_ns ? limits->idle_ns : IDLE_NS;
    server->n_left = limits ? limits->requests : 0;
    server->h2 = h2_server_new(loop, lower, &options, &h2_events, server);
    note_idle(server);
    return &server->base;
}
