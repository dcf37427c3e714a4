/*
 * http1_server.c - the end of an HTTP/1.1 connection that answers.
 *
 * Happy path: a head is read and shown with on_request(); the body follows as the stream is
 * resumed; respond() writes the head of the answer, the stream its body; once the owner has closed
 * the stream the next request is read, which until then waited where it was.
 *
 * Failure modes: what is no request is answered with its status and a sentence, and the connection
 * ends; a client that ends its direction while an answer is owed has gone (as everywhere between
 * servers: there is no other sign of it); an answer that was not whole when its stream was closed
 * resets the connection, so that the client learns that bytes are missing.
 */
#include <stdio.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/date.h"
#include "proxy/http/http1_conn.h"
#include "proxy/http/websocket.h"

#define DISCARD_BYTES UINT64_C(65536) /* of a body that its owner did not want */
#define SENTENCE_MAX  160

struct http1_server {
    struct http_server server; /* first */
    struct http1 conn;
    const struct http_server_events *events;
    void *owner;
    uint32_t n_requests;
    enum http_version version;
    char upgrade[HTTP1_PROTOCOL_MAX]; /* of the request, to be answered with 101 or not */
    char websocket_key[WEBSOCKET_KEY_LEN];
    bool has_websocket_key;
    bool is_head;
    bool is_asked_to_continue; /* and has not answered with 100 */
    bool awaits_switch;
    bool closes; /* after this exchange */
    bool is_draining;
};

static struct http1_server *server_of(struct http1 *conn)
{
    return container_of(conn, struct http1_server, conn);
}

/* ------------------------------------------------------------------ refusing */

static void answer(struct http1_server *server, unsigned status, const char *why)
{
    char body[SENTENCE_MAX], date[HTTP_DATE_MAX];
    const struct http_field fields[] = {
        {STR("date"), http_date_text(clock_wall_ns() / (int64_t)NS_PER_SEC, date)},
        {STR("server"), STR("isthmus")},
        {STR("content-type"), STR("text/plain")},
    };
    const int len = snprintf(body, sizeof(body), "%s\n", why);
    const struct http_response head = {.status = status,
                                       .fields = {.at = fields, .len = ARRAY_LEN(fields)}};
    const struct http1_hop hop = {.length = len, .closes = true};
    struct slab_pool *slabs = server->conn.exchange.stream.slabs;

    http1_send(&server->conn, http1_write_response(slabs, &head, &hop));
    if (!server->is_head)
        http1_send(&server->conn, slice_copy(slabs, body, (size_t)len));
}

static void refuse_as(struct http1 *conn, unsigned status, int err, const char *why)
{
    struct http1_server *server = server_of(conn);
    const bool can_answer = !conn->is_open || conn->out == HTTP1_OUT_NONE;

    if (can_answer)
        answer(server, status, why);
    http1_fail(conn, err);
    if (!conn->is_closed)
        server->events->on_refused(server->owner, can_answer ? status : 0, err, str_from(why));
    if (can_answer)
        http1_finish(conn, err, why);
    else
        http1_kill(conn, err, err, why);
}

static int head_err(const struct http1_head *head)
{
    if (head->fault == 414 || head->fault == 431)
        return -ERR_LIMIT;
    return head->is_ambiguous ? -ERR_HTTP_SMUGGLING : -ERR_HTTP_REQUEST;
}

/* Of a body it is where it ends that is not as it must be, or what its trailers are. */
static int body_err(const struct http1_body *body)
{
    return body->trailers && body->trailers->fault ? head_err(body->trailers) : -ERR_HTTP_SMUGGLING;
}

static void refuse(struct http1 *conn, unsigned status, const char *why)
{
    const bool is_body = conn->phase == HTTP1_BODY;

    if (is_body)
        refuse_as(conn, status, body_err(&conn->body), why);
    else
        refuse_as(conn, status, conn->head ? head_err(conn->head) : -ERR_HTTP_REQUEST, why);
}

/* ------------------------------------------------------------------ requests */

static void keep_upgrade(struct http1_server *server, const struct http_request *request)
{
    const struct str key = http_find(&request->fields, "sec-websocket-key");

    http1_keep(server->upgrade, request->protocol);
    server->awaits_switch = true;
    server->has_websocket_key = websocket_is(request->protocol) && key.len == WEBSOCKET_KEY_LEN;
    if (server->has_websocket_key)
        memcpy(server->websocket_key, key.ptr, key.len);
}

static void show(struct http1_server *server, const struct http_request *request,
                 const struct http1_verdict *verdict)
{
    struct http1 *conn = &server->conn;
    const uint32_t limit = conn->limits.requests;

    server->n_requests++;
    server->version = request->version;
    server->is_head = str_eq(request->method, STR("HEAD"));
    server->is_asked_to_continue = verdict->expects_continue;
    server->awaits_switch = false;
    if (verdict->upgrade.len > 0)
        keep_upgrade(server, request);
    server->closes =
        verdict->closes || server->is_draining || (limit > 0 && server->n_requests >= limit);
    http1_open(conn);
    http1_begin_in(conn, verdict->framing, request->content_length);
    if (server->awaits_switch)
        conn->in = HTTP1_IN_OPEN;
    server->events->on_request(server->owner, &conn->exchange, request);
    ensure(!conn->is_open || conn->exchange.stream.events);
}

static void on_head(struct http1 *conn)
{
    struct http1_server *server = server_of(conn);
    struct http1_head *head = conn->head;
    struct http_request request;
    struct http1_verdict verdict;

    conn->head = NULL;
    server->is_head = false;
    if (!http1_read_request(head, &request, &verdict))
        refuse_as(conn, head->fault, head_err(head), head->why);
    else if (verdict.upgrade.len >= HTTP1_PROTOCOL_MAX)
        refuse(conn, 400, "the protocol to upgrade to has too long a name");
    else
        show(server, &request, &verdict);
    http1_head_free(head);
}

/* ------------------------------------------------------------------ answers */

static struct slice write_head(const struct http1_server *server, const struct http_response *head,
                               const struct http1_hop *hop)
{
    return http1_write_response(server->conn.exchange.stream.slabs, head, hop);
}

/* To who does not read it is worth nothing, and a server may have more of them than a queue holds.
 */
static void interim(struct http_stream *exchange, const struct http_response *head)
{
    struct http1_server *server = server_of(http1_of(exchange));
    const struct http1_hop hop = {.length = HTTP_LENGTH_UNKNOWN};

    ensure(head->status >= 100 && head->status < 200 && head->status != 101);
    if (http1_is_over(&server->conn) || server->version == HTTP_1_0 || server->conn.lower_is_full)
        return;
    server->is_asked_to_continue &= head->status != 100;
    http1_send(&server->conn, write_head(server, head, &hop));
}

/* From here on both directions are the protocol's bytes. */
static void switch_protocol(struct http1_server *server, const struct http_response *head)
{
    struct http1 *conn = &server->conn;
    char accept[WEBSOCKET_ACCEPT_LEN];
    struct http1_hop hop = {.length = HTTP_LENGTH_UNKNOWN, .upgrade = str_from(server->upgrade)};

    /* HTTP/2 behind us has no word for it. */
    if (server->has_websocket_key && !http_find(&head->fields, "sec-websocket-accept").ptr) {
        websocket_accept(str_of(server->websocket_key, WEBSOCKET_KEY_LEN), accept);
        hop.websocket_accept = str_of(accept, sizeof(accept));
    }
    server->awaits_switch = false;
    server->closes = true;
    http1_begin_out(conn, write_head(server, head, &hop), HTTP1_UNTIL_CLOSE, 0);
    http1_begin_in(conn, HTTP1_UNTIL_CLOSE, 0);
    loop_defer(conn->loop, &conn->go_on);
}

static enum http1_framing framing_of(const struct http1_server *server,
                                     const struct http_response *head)
{
    if (!head->has_body || server->is_head || head->status == 204 || head->status == 304)
        return HTTP1_NO_BODY;
    if (head->content_length != HTTP_LENGTH_UNKNOWN)
        return HTTP1_LENGTH;
    return server->version == HTTP_1_0 ? HTTP1_UNTIL_CLOSE : HTTP1_CHUNKED;
}

/* What content-length says: of HEAD and 304 what another answer would have had. */
static int64_t length_of(const struct http1_server *server, const struct http_response *head,
                         enum http1_framing framing)
{
    if (head->status == 204)
        return HTTP_LENGTH_UNKNOWN;
    if (framing != HTTP1_NO_BODY || server->is_head || head->status == 304)
        return head->content_length;
    return 0;
}

/* Of chunks nobody knows beforehand. */
static bool is_much_left(const struct http1 *conn)
{
    return conn->body.framing != HTTP1_LENGTH || conn->body.left > DISCARD_BYTES;
}

/* With the answer the exchange ends, and what is left of the request's body then is read only if it
 * is little. Else the client is to hear with the head that the connection ends too (RFC 9112 9.5,
 * 9.6). One that still waits to be told to go on may send the body or not: RFC 9110 10.1.1. */
static bool may_end_early(const struct http1_server *server, const struct http_response *head)
{
    return server->is_asked_to_continue || head->closes || is_much_left(&server->conn);
}

static void respond(struct http_stream *exchange, const struct http_response *head)
{
    struct http1 *conn = http1_of(exchange);
    struct http1_server *server = server_of(conn);
    const enum http1_framing framing = framing_of(server, head);
    struct http1_hop hop = {.is_chunked = framing == HTTP1_CHUNKED,
                            .length = length_of(server, head, framing)};

    if (http1_is_over(conn) || conn->out != HTTP1_OUT_NONE)
        return;
    if (head->status == 101 && server->awaits_switch) {
        switch_protocol(server, head);
        return;
    }
    if (head->status < 200) {
        http1_doom(conn, -ERR_INVALID, -ERR_INVALID,
                   "an answer switches to what was not asked for");
        return;
    }
    if (server->awaits_switch) { /* declined: the request was one without a body */
        server->awaits_switch = false;
        conn->in = HTTP1_IN_ENDING;
        loop_defer(conn->loop, &conn->go_on);
    }
    server->closes |= server->is_draining || framing == HTTP1_UNTIL_CLOSE ||
                      (conn->phase == HTTP1_BODY && may_end_early(server, head));
    hop.closes = server->closes;
    http1_begin_out(conn, write_head(server, head, &hop), framing, head->content_length);
}

static const struct http_stream_ops exchange_ops = {interim, respond, http1_send_trailers};

/* ------------------------------------------------------------------ between exchanges */

/* A client that keeps asking learns with its next answer that it is to go elsewhere. Ended at once,
 * the connection would take a request with it that has been sent already. */
static void wait_for_last(struct http1 *conn)
{
    if (conn->deadline_ns > loop_now_ns(conn->loop) + HTTP_DRAIN_IDLE_NS)
        http1_wait(conn, HTTP_DRAIN_IDLE_NS);
}

static void next(struct http1_server *server)
{
    struct http1 *conn = &server->conn;

    if (server->closes || conn->lower_has_ended) {
        http1_finish(conn, 0, "");
        return;
    }
    server->is_head = false;
    http1_next(conn);
    http1_wait_idle(conn);
    if (server->is_draining)
        wait_for_last(conn);
}

static void on_closed(struct http1 *conn, int err)
{
    struct http1_server *server = server_of(conn);

    if (conn->is_failed)
        return;
    if (err < 0 || conn->out != HTTP1_OUT_ENDED)
        http1_doom(conn, err < 0 ? err : -ERR_SHUTDOWN, err, "the exchange was given up");
    else if (conn->phase == HTTP1_BODY && !server->closes)
        http1_discard(conn, DISCARD_BYTES);
    else if (conn->phase == HTTP1_BODY)
        http1_finish(conn, 0, "");
    else
        next(server);
}

static void on_discarded(struct http1 *conn)
{
    if (conn->phase == HTTP1_DONE)
        next(server_of(conn));
    else
        http1_finish(conn, 0, "");
}

/* ------------------------------------------------------------------ the client goes, or is slow */

static void on_lower_end(struct http1 *conn)
{
    struct http1_server *server = server_of(conn);

    switch ((enum http1_phase)conn->phase) {
    case HTTP1_IDLE: http1_finish(conn, 0, ""); break;
    case HTTP1_HEAD: refuse(conn, 400, "the connection ended within a head"); break;
    case HTTP1_BODY:
        if (conn->is_discarding)
            http1_finish(conn, 0, "");
        else
            http1_kill(conn, -ERR_CLIENT_RESET, -ERR_CLIENT_RESET,
                       "the client went away within a body");
        break;
    case HTTP1_DONE:
        server->closes = true;
        if (conn->out != HTTP1_OUT_ENDED && conn->body.framing != HTTP1_UNTIL_CLOSE)
            http1_kill(conn, -ERR_CLIENT_RESET, -ERR_CLIENT_RESET,
                       "the client went away before its answer");
        break;
    case HTTP1_FINISHING:
    case HTTP1_DEAD:
    case HTTP1_PHASES: break;
    }
}

static void on_lower_fail(struct http1 *conn, int err)
{
    http1_kill(conn, err == -ERR_RESET ? -ERR_CLIENT_RESET : err, err, "the connection failed");
}

static void on_timeout(struct http1 *conn)
{
    if (conn->phase == HTTP1_HEAD)
        refuse_as(conn, 408, -ERR_HEAD_TIMEOUT, "the head did not come in time");
    else if (conn->phase == HTTP1_BODY && !conn->is_discarding)
        refuse_as(conn, 408, -ERR_BODY_TIMEOUT, "the body did not come in time");
    else
        http1_finish(conn, 0, "");
}

static void on_dead(struct http1 *conn, int err, const char *why)
{
    struct http1_server *server = server_of(conn);

    server->events->on_dead(server->owner, err, str_from(why));
}

static const struct http1_role role = {
    .kind = HTTP1_REQUEST,
    .on_head = on_head,
    .on_fault = refuse,
    .on_lower_end = on_lower_end,
    .on_lower_fail = on_lower_fail,
    .on_closed = on_closed,
    .on_discarded = on_discarded,
    .on_timeout = on_timeout,
    .on_dead = on_dead,
};

/* ------------------------------------------------------------------ the connection */

static struct http1_server *self_of(struct http_server *server)
{
    return container_of(server, struct http1_server, server);
}

static void drain_op(struct http_server *base)
{
    struct http1_server *server = self_of(base);

    server->is_draining = true;
    if (server->conn.phase == HTTP1_IDLE)
        wait_for_last(&server->conn);
}

/* An answer whose end is that of the connection must not look whole. */
static void close_server_op(struct http_server *base, int err)
{
    struct http1 *conn = &self_of(base)->conn;
    const bool is_cut = conn->out == HTTP1_OUT_BODY && conn->out_framing == HTTP1_UNTIL_CLOSE;
    const int stream_err = err < 0 ? err : -ERR_SHUTDOWN;

    http1_release(conn);
    if (err < 0 || (conn->is_open && is_cut)) {
        http1_kill(conn, stream_err, stream_err, "");
        return;
    }
    http1_fail(conn, stream_err);
    http1_finish(conn, 0, "");
}

static const struct http_server_ops server_ops = {drain_op, close_server_op};

struct http_server *http1_server_new(struct loop *loop, struct stream *lower,
                                     const struct http_limits *limits,
                                     const struct http_server_events *events, void *owner)
{
    struct http1_server *server = mem_new(struct http1_server);

    server->server.ops = &server_ops;
    server->events = events;
    server->owner = owner;
    http1_init(&server->conn, server, &role, loop, lower, limits);
    server->conn.exchange.http = &exchange_ops;
    http1_wait_idle(&server->conn);
    return &server->server;
}
