/*
 * http1_client.c - the end of an HTTP/1.1 connection that asks.
 *
 * Happy path: request() writes a head, the stream its body; the answer's head comes with
 * on_response(), its body as the stream is resumed; when both are whole and the owner has closed
 * the stream the connection may be used again. Answers are read as strictly as requests.
 *
 * Failure modes: an answer that is not well formed or whose head is too large, bytes that belong to
 * no request, the end of the connection within an answer: the connection dies of each. A connection
 * that was used before and ends before the first byte of an answer has most likely been idle too
 * long for the server; what may be done twice is then said to be refused, so that it is done again.
 */
#include "proxy/base/mem.h"
#include "proxy/http/http1_conn.h"
#include "proxy/http/websocket.h"

#define INTERIM_MAX 100u /* before an answer */
#define TOO_LARGE   431u /* what a request would be answered */

struct http1_client {
    struct http_client client; /* first */
    struct http1 conn;
    const struct http_client_events *events;
    void *owner;
    uint32_t n_requests;
    unsigned n_interim;
    char upgrade[HTTP1_PROTOCOL_MAX]; /* asked for */
    char websocket_key[WEBSOCKET_KEY_LEN];
    bool has_made_key; /* a WebSocket handshake came without one: from HTTP/2 */
    bool is_head;
    bool is_repeatable; /* RFC 9110 9.2.2 */
    bool has_answer;    /* its head, or a byte of it, has come */
    bool closes;        /* after this exchange */
    bool capacity_changed;
};

static struct http1_client *client_of(struct http1 *conn)
{
    return container_of(conn, struct http1_client, conn);
}

static void break_off(struct http1 *conn, unsigned status, const char *why)
{
    const int err = status == TOO_LARGE ? -ERR_HTTP_RESPONSE_LIMIT : -ERR_HTTP_RESPONSE;

    http1_kill(conn, err, err, why);
}

/* ------------------------------------------------------------------ answers */

static void tell_interim(struct http1_client *client, const struct http_response *response)
{
    struct http1 *conn = &client->conn;
    const struct http_stream_events *events = conn->exchange.http_events;

    if (++client->n_interim > INTERIM_MAX)
        break_off(conn, 0, "too many interim responses came");
    else if (conn->is_open && !conn->is_failed && events && events->on_interim)
        events->on_interim(conn->exchange.stream.owner, response);
}

static bool agrees(const struct http1_client *client, const struct http_response *response,
                   const struct http1_verdict *verdict)
{
    char accept[WEBSOCKET_ACCEPT_LEN];

    if (client->conn.out != HTTP1_OUT_HELD ||
        !str_eq_ci(verdict->upgrade, str_from(client->upgrade)))
        return false;
    if (!client->has_made_key)
        return true;
    websocket_accept(str_of(client->websocket_key, WEBSOCKET_KEY_LEN), accept);
    return str_eq(http_find(&response->fields, "sec-websocket-accept"),
                  str_of(accept, sizeof(accept)));
}

static void tell_response(struct http1_client *client, const struct http_response *response,
                          const struct http1_verdict *verdict)
{
    struct http1 *conn = &client->conn;
    const struct http_stream_events *events = conn->exchange.http_events;

    client->closes |= verdict->closes;
    if (response->status == 101)
        http1_begin_out(conn, (struct slice){0}, HTTP1_UNTIL_CLOSE, 0);
    else if (conn->out == HTTP1_OUT_HELD)
        http1_begin_out(conn, (struct slice){0}, HTTP1_NO_BODY, 0);
    http1_begin_in(conn, verdict->framing, response->content_length);
    if (conn->is_open && !conn->is_failed && events && events->on_response)
        events->on_response(conn->exchange.stream.owner, response);
}

static void on_head(struct http1 *conn)
{
    struct http1_client *client = client_of(conn);
    struct http1_head *head = conn->head;
    struct http_response response;
    struct http1_verdict verdict;

    conn->head = NULL;
    conn->head_is_timed = false;
    client->has_answer = true;
    http1_wait_not(conn);
    if (!http1_read_response(head, client->is_head, &response, &verdict)) {
        break_off(conn, head->fault, head->why);
        http1_head_free(head);
        return;
    }
    response.closes = verdict.closes;
    if (response.status == 101 && !agrees(client, &response, &verdict))
        break_off(conn, 0, "the answer switches to a protocol that was not asked for");
    else if (response.status < 200 && response.status != 101)
        tell_interim(client, &response);
    else
        tell_response(client, &response, &verdict);
    http1_head_free(head);
}

/* ------------------------------------------------------------------ the exchange's end */

static bool has_room(const struct http1 *conn)
{
    return conn->phase == HTTP1_IDLE && !http1_is_over(conn) && !conn->is_open &&
           conn->kept.len == 0 && !conn->lower_is_full;
}

/* That there is room for the next at once its owner can see; that there is not, or not yet, is
 * told. */
static void rest(struct http1_client *client)
{
    struct http1 *conn = &client->conn;

    http1_next(conn);
    http1_wait_idle(conn);
    if (has_room(conn))
        return;
    client->capacity_changed = true;
    loop_defer(conn->loop, &conn->go_on);
}

static void on_closed(struct http1 *conn, int err)
{
    struct http1_client *client = client_of(conn);
    const bool is_whole = conn->phase == HTTP1_DONE && conn->out == HTTP1_OUT_ENDED;

    if (conn->is_failed)
        return;
    if (err == 0 && client->closes && conn->out == HTTP1_OUT_ENDED) {
        http1_finish(conn, 0, ""); /* whatever of the answer was not wanted */
    } else if (err < 0 || !is_whole) {
        http1_doom(conn, err < 0 ? err : -ERR_SHUTDOWN, 0, "the exchange was given up");
    } else if (conn->lower_has_ended) {
        http1_finish(conn, 0, "");
    } else {
        rest(client);
    }
}

static void on_discarded(struct http1 *conn)
{
    (void)conn; /* a client does not discard: it gives the connection up */
}

static void on_turn(struct http1 *conn)
{
    struct http1_client *client = client_of(conn);

    if (!client->capacity_changed)
        return;
    client->capacity_changed = false;
    if (!conn->is_closed && client->events->on_capacity)
        client->events->on_capacity(client->owner);
}

/* ------------------------------------------------------------------ the server goes, or is slow */

static void lose(struct http1 *conn, int err, const char *why)
{
    const struct http1_client *client = client_of(conn);
    const bool was_idle = conn->phase == HTTP1_HEAD && !conn->head && !client->has_answer &&
                          client->n_requests > 1 && client->is_repeatable;

    http1_kill(conn, was_idle ? -ERR_H2_REFUSED : err, err, why);
}

static void on_lower_end(struct http1 *conn)
{
    if (conn->phase == HTTP1_DONE)
        client_of(conn)->closes = true;
    else
        lose(conn, -ERR_EOF,
             conn->phase == HTTP1_IDLE ? "the server closed an idle connection"
                                       : "the connection ended within an answer");
}

static void on_lower_fail(struct http1 *conn, int err)
{
    lose(conn, err, "the connection failed");
}

static void on_timeout(struct http1 *conn)
{
    if (conn->phase == HTTP1_IDLE)
        http1_finish(conn, 0, "");
    else
        http1_kill(conn, -ERR_IDLE_TIMEOUT, -ERR_IDLE_TIMEOUT, "the answer did not go on in time");
}

static void on_dead(struct http1 *conn, int err, const char *why)
{
    struct http1_client *client = client_of(conn);

    client->events->on_dead(client->owner, err, str_from(why));
}

static const struct http1_role role = {
    .kind = HTTP1_RESPONSE,
    .on_head = on_head,
    .on_fault = break_off,
    .on_lower_end = on_lower_end,
    .on_lower_fail = on_lower_fail,
    .on_closed = on_closed,
    .on_discarded = on_discarded,
    .on_timeout = on_timeout,
    .on_turn = on_turn,
    .on_dead = on_dead,
};

/* ------------------------------------------------------------------ requests */

static void no_answer(struct http_stream *exchange, const struct http_response *head)
{
    (void)exchange, (void)head; /* it is the server that answers */
}

static const struct http_stream_ops exchange_ops = {no_answer, no_answer, http1_send_trailers};

static struct http1_client *self_of(struct http_client *client)
{
    return container_of(client, struct http1_client, client);
}

static const struct http1_client *peek(const struct http_client *client) /* it is first */
{
    return (const struct http1_client *)(const void *)client;
}

static bool can_open_op(const struct http_client *base)
{
    return has_room(&peek(base)->conn);
}

static unsigned n_open_op(const struct http_client *base)
{
    return peek(base)->conn.is_open;
}

static unsigned n_allowed_op(const struct http_client *base)
{
    (void)base;
    return 1;
}

static bool is_repeatable(struct str method)
{
    return str_eq(method, STR("GET")) || str_eq(method, STR("HEAD")) ||
           str_eq(method, STR("OPTIONS")) || str_eq(method, STR("TRACE")) ||
           str_eq(method, STR("PUT")) || str_eq(method, STR("DELETE"));
}

/* A method whose request may well have a body says when it has none: RFC 9110 8.6. */
static bool expects_body(struct str method)
{
    return str_eq(method, STR("POST")) || str_eq(method, STR("PUT")) ||
           str_eq(method, STR("PATCH"));
}

static enum http1_framing framing_of(const struct http_request *head)
{
    if (!head->has_body || head->protocol.len > 0)
        return HTTP1_NO_BODY;
    return head->content_length == HTTP_LENGTH_UNKNOWN ? HTTP1_CHUNKED : HTTP1_LENGTH;
}

static struct slice write_head(struct http1_client *client, const struct http_request *head,
                               enum http1_framing framing)
{
    struct http1_hop hop = {.is_chunked = framing == HTTP1_CHUNKED,
                            .length = HTTP_LENGTH_UNKNOWN,
                            .upgrade = head->protocol};

    client->has_made_key =
        websocket_is(head->protocol) && !http_find(&head->fields, "sec-websocket-key").ptr;
    if (client->has_made_key) {
        websocket_make_key(client->websocket_key);
        hop.websocket_key = str_of(client->websocket_key, WEBSOCKET_KEY_LEN);
    }
    if (framing == HTTP1_LENGTH)
        hop.length = head->content_length;
    else if (framing == HTTP1_NO_BODY && expects_body(head->method))
        hop.length = 0;
    return http1_write_request(client->conn.exchange.stream.slabs, head, &hop);
}

static struct http_stream *request_op(struct http_client *base, const struct http_request *head,
                                      const struct http_stream_events *http_events,
                                      const struct stream_events *events, void *owner)
{
    struct http1_client *client = self_of(base);
    struct http1 *conn = &client->conn;
    const enum http1_framing framing = framing_of(head);

    if (!can_open_op(base))
        return NULL;
    ensure(head->protocol.len < HTTP1_PROTOCOL_MAX);
    client->n_requests++;
    client->n_interim = 0;
    client->has_answer = client->closes = false;
    client->is_head = str_eq(head->method, STR("HEAD"));
    client->is_repeatable = is_repeatable(head->method);
    http1_keep(client->upgrade, head->protocol);
    http1_open(conn);
    http_stream_set_owner(&conn->exchange, http_events, events, owner);
    http1_await(conn);
    http1_begin_out(conn, write_head(client, head, framing), framing, head->content_length);
    if (head->protocol.len > 0) {
        conn->out = HTTP1_OUT_HELD;
        conn->out_framing = HTTP1_UNTIL_CLOSE; /* if a 101 comes */
    }
    return &conn->exchange;
}

/* ------------------------------------------------------------------ the connection */

static void close_client_op(struct http_client *base, int err)
{
    struct http1 *conn = &self_of(base)->conn;
    const int stream_err = err < 0 ? err : -ERR_SHUTDOWN;

    http1_release(conn);
    if (err < 0 || conn->is_open)
        http1_kill(conn, stream_err, stream_err, "");
    else
        http1_finish(conn, 0, "");
}

static bool is_ready_op(const struct http_client *base)
{
    (void)base;
    return true;
}

static const struct http_client_ops client_ops = {can_open_op, n_open_op,  n_allowed_op,
                                                  is_ready_op, request_op, close_client_op};

struct http_client *http1_client_new(struct loop *loop, struct stream *lower,
                                     const struct http_limits *limits,
                                     const struct http_client_events *events, void *owner)
{
    struct http1_client *client = mem_new(struct http1_client);

    client->client.ops = &client_ops;
    client->events = events;
    client->owner = owner;
    http1_init(&client->conn, client, &role, loop, lower, limits);
    client->conn.exchange.http = &exchange_ops;
    http1_wait_idle(&client->conn);
    return &client->client;
}
