/*
 * h1_server.c - connections of the admin ports, one request at a time.
 *
 *            whole request        h1_answer()             keep-alive
 *  READING ───────────────► HANDLING ─────────► ANSWERING ──────────► READING
 *     │ malformed, too large, too slow               │ else
 *     └──────────────► ANSWERING (its status) ──────►┴► closed
 *
 * An answer in pieces is ANSWERING from its head to its end, and has its exchange meanwhile.
 *
 * While a request is handled or answered the connection is paused, and what came with the same read
 * waits; so a client that sends ahead makes us keep one read. The answer goes out in pieces as the
 * client takes them.
 */
#include "proxy/http/h1_server.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/http/h1_reader.h"
#include "proxy/http/http1_head.h"

#define CONNECTIONS_MAX 64u
#define REQUEST_NS      (10 * NS_PER_SEC)
#define IDLE_NS         (60 * NS_PER_SEC)
#define PIECE_BYTES     ((size_t)32768)

enum conn_state { CONN_READING, CONN_HANDLING, CONN_ANSWERING, CONN_STATES };

static const struct sm_rule conn_rules[CONN_STATES] = {
    [CONN_READING] = {"reading", SM_TO(CONN_HANDLING) | SM_TO(CONN_ANSWERING)},
    [CONN_HANDLING] = {"handling", SM_TO(CONN_ANSWERING)},
    [CONN_ANSWERING] = {"answering", SM_TO(CONN_READING)},
};

struct h1_server {
    struct loop *loop;
    struct listener *listener;
    void (*handle)(void *owner, struct h1_exchange *exchange, const struct h1_request *request);
    void *owner;
    struct list conns;
    unsigned n_conns;
    struct addr addr;
    bool is_closed;
};

struct h1_exchange {
    struct h1_conn *conn; /* NULL: the client is gone */
    struct arena arena;   /* what the request points into */
    struct h1_request request;
    /* Of an answer in pieces. */
    void (*on_room)(void *owner);
    void *owner;
    bool is_waiting; /* for on_room */
};

struct h1_conn {
    struct list link;
    struct h1_server *server;
    struct stream *stream;
    int state;
    struct timer timer;
    struct task task; /* goes on with what came early */
    struct slice early;
    struct h1_exchange *exchange; /* while HANDLING, and while more of its answer is to come */
    struct h1_reader reader;
    bool is_begun; /* a request */
    /* The answer being written. */
    struct text answer;
    size_t answer_at;
    bool is_full;    /* the client has not taken what it was given */
    bool is_chunked; /* else the end of the connection ends it, when it comes in pieces */
    bool is_head;    /* HEAD: no body */
    bool keeps_alive;
    bool is_closed;
};

/* ------------------------------------------------------------------ a connection's end */

static void free_conn(void *ptr)
{
    struct h1_conn *conn = ptr;

    h1_reader_fini(&conn->reader);
    text_fini(&conn->answer);
    mem_free(conn);
}

static void tell_room(struct h1_exchange *exchange)
{
    if (!exchange->is_waiting)
        return;
    exchange->is_waiting = false;
    exchange->on_room(exchange->owner);
}

/* Who is told may end the exchange. */
static void lose_exchange(struct h1_conn *conn)
{
    struct h1_exchange *exchange = conn->exchange;
    conn->exchange = NULL;
    if (!exchange)
        return;
    exchange->conn = NULL;
    tell_room(exchange);
}

static void close_conn(struct h1_conn *conn, int err)
{
    if (conn->is_closed)
        return;
    conn->is_closed = true;
    timer_stop(&conn->timer);
    task_cancel(&conn->task);
    list_remove(&conn->link);
    conn->server->n_conns--;
    slice_release(conn->early);
    if (err == 0)
        stream_shutdown(conn->stream);
    stream_close(conn->stream, err);
    loop_bury(conn->server->loop, conn, free_conn);
    lose_exchange(conn);
}

static void on_timeout(struct timer *timer);

static void wait_at_most(struct h1_conn *conn, uint64_t after_ns)
{
    timer_start(conn->server->loop, &conn->timer, after_ns, on_timeout);
}

/* ------------------------------------------------------------------ answering */

static void to_reading(struct h1_conn *conn)
{
    sm_move(conn_rules, &conn->state, CONN_READING);
    h1_reader_next(&conn->reader);
    text_fini(&conn->answer);
    conn->is_begun = false;
    conn->answer_at = 0;
    wait_at_most(conn, IDLE_NS);
    loop_defer(conn->server->loop, &conn->task);
}

static void pump_answer(struct h1_conn *conn)
{
    while (!conn->is_full && conn->answer_at < conn->answer.len) {
        size_t left = conn->answer.len - conn->answer_at;
        size_t len = left < PIECE_BYTES ? left : PIECE_BYTES;

        conn->is_full = !stream_write_copy(conn->stream, conn->answer.ptr + conn->answer_at, len);
        conn->answer_at += len;
    }
    if (conn->answer_at < conn->answer.len)
        wait_at_most(conn, IDLE_NS);
    else if (conn->exchange)
        timer_stop(&conn->timer); /* its owner's turn */
    else if (conn->keeps_alive)
        to_reading(conn);
    else
        close_conn(conn, 0);
}

static void to_answering(struct h1_conn *conn, unsigned status, const char *content_type,
                         struct str body)
{
    bool has_length = status >= 200 && status != 204 && status != 304;

    sm_move(conn_rules, &conn->state, CONN_ANSWERING);
    conn->answer.limit = SIZE_MAX; /* whoever made the body has bounded it */
    text_addf(&conn->answer, "HTTP/1.1 %u %s\r\n", status, http1_reason(status));
    if (has_length)
        text_addf(&conn->answer, "Content-Type: %s\r\nContent-Length: %zu\r\n", content_type,
                  body.len);
    text_addf(&conn->answer, "Connection: %s\r\n\r\n", conn->keeps_alive ? "keep-alive" : "close");
    if (has_length && !conn->is_head)
        text_add(&conn->answer, body);
    pump_answer(conn);
}

static void answer_refusal(struct h1_conn *conn, unsigned status)
{
    char body[64];
    int len = snprintf(body, sizeof(body), "%s\n", http1_reason(status));

    stream_pause(conn->stream);
    conn->keeps_alive = false;
    to_answering(conn, status, "text/plain", str_of(body, (size_t)len));
}

void h1_answer(struct h1_exchange *exchange, unsigned status, const char *content_type,
               struct str body)
{
    struct h1_conn *conn = exchange->conn;

    ensure(status >= 100 && status <= 599);
    if (conn) {
        conn->exchange = NULL;
        to_answering(conn, status, content_type, body);
    }
    arena_fini(&exchange->arena);
    mem_free(exchange);
}

/* ------------------------------------------------------------------ in pieces */

static bool has_room(const struct h1_conn *conn)
{
    return !conn->is_full && conn->answer_at == conn->answer.len;
}

void h1_pieces_begin(struct h1_exchange *exchange, const char *content_type,
                     void (*on_room)(void *owner), void *owner)
{
    struct h1_conn *conn = exchange->conn;

    exchange->on_room = on_room;
    exchange->owner = owner;
    if (!conn)
        return;
    sm_move(conn_rules, &conn->state, CONN_ANSWERING);
    conn->is_chunked = h1_reader_is_1_1(&conn->reader);
    conn->keeps_alive = conn->keeps_alive && conn->is_chunked;
    text_addf(&conn->answer, "HTTP/1.1 200 %s\r\nContent-Type: %s\r\n%sConnection: %s\r\n\r\n",
              http1_reason(200), content_type,
              conn->is_chunked ? "Transfer-Encoding: chunked\r\n" : "",
              conn->keeps_alive ? "keep-alive" : "close");
}

static void add_piece(struct h1_conn *conn, struct str piece)
{
    if (conn->is_chunked)
        text_addf(&conn->answer, "%zx\r\n", piece.len);
    text_add(&conn->answer, piece);
    if (conn->is_chunked)
        text_add(&conn->answer, STR("\r\n"));
    ensure(!conn->answer.truncated);
}

enum h1_room h1_pieces_go_on(struct h1_exchange *exchange, struct str piece)
{
    struct h1_conn *conn = exchange->conn;

    ensure(piece.len > 0);
    if (!conn || conn->is_head)
        return H1_GONE;
    add_piece(conn, piece);
    pump_answer(conn);
    if (has_room(conn)) {
        text_clear(&conn->answer);
        conn->answer_at = 0;
        return H1_GO_ON;
    }
    exchange->is_waiting = true;
    wait_at_most(conn, IDLE_NS);
    return H1_WAIT;
}

bool h1_pieces_is_gone(const struct h1_exchange *exchange)
{
    return !exchange->conn;
}

static void free_exchange(struct h1_exchange *exchange)
{
    if (exchange->conn)
        exchange->conn->exchange = NULL;
    arena_fini(&exchange->arena);
    mem_free(exchange);
}

void h1_pieces_end(struct h1_exchange *exchange, struct str last)
{
    struct h1_conn *conn = exchange->conn;

    free_exchange(exchange);
    if (!conn)
        return;
    if (last.len > 0 && !conn->is_head)
        add_piece(conn, last);
    if (conn->is_chunked && !conn->is_head)
        text_add(&conn->answer, STR("0\r\n\r\n"));
    pump_answer(conn);
}

void h1_pieces_abort(struct h1_exchange *exchange)
{
    struct h1_conn *conn = exchange->conn;

    free_exchange(exchange);
    if (conn)
        close_conn(conn, -ERR_SHUTDOWN);
}

/* ------------------------------------------------------------------ reading */

static struct h1_exchange *new_exchange(struct h1_conn *conn)
{
    struct h1_exchange *exchange = mem_new(struct h1_exchange);
    struct h1_request *request = &exchange->request;
    struct arena *arena = &exchange->arena;
    const struct h1_reader *reader = &conn->reader;
    struct str url = arena_str(arena, text_str(&reader->url));

    exchange->conn = conn;
    request->method = arena_str(arena, h1_reader_method(reader));
    request->path = url;
    (void)str_split(url, '?', &request->path, &request->query);
    request->body = arena_str(arena, text_str(&reader->body));
    request->host = arena_str(arena, text_str(&reader->host));
    request->origin = arena_str(arena, text_str(&reader->origin));
    request->accept_encoding = arena_str(arena, text_str(&reader->accept_encoding));
    return exchange;
}

static void to_handling(struct h1_conn *conn)
{
    struct h1_exchange *exchange = new_exchange(conn);

    sm_move(conn_rules, &conn->state, CONN_HANDLING);
    timer_stop(&conn->timer);
    stream_pause(conn->stream);
    conn->exchange = exchange;
    conn->server->handle(conn->server->owner, exchange, &exchange->request);
}

/* Takes from the bytes what belongs to the request; what follows it waits. */
static void read_request(struct h1_conn *conn, struct slice bytes)
{
    const struct str text = str_of((const char *)bytes.ptr, bytes.len);
    size_t used;

    switch (h1_reader_take(&conn->reader, text, &used)) {
    case H1_READING: break;
    case H1_WHOLE:
        conn->early = slice_sub(bytes, used, bytes.len - used);
        conn->is_head = str_eq(h1_reader_method(&conn->reader), STR("HEAD"));
        conn->keeps_alive = h1_reader_keeps_alive(&conn->reader);
        to_handling(conn);
        break;
    case H1_REFUSED: answer_refusal(conn, conn->reader.refusal); break;
    }
}

static void on_data(void *owner, struct slice bytes)
{
    struct h1_conn *conn = owner;

    if (conn->state != CONN_READING)
        return;
    if (!conn->is_begun)
        wait_at_most(conn, REQUEST_NS); /* for all of it, however it drips */
    conn->is_begun = true;
    read_request(conn, bytes);
}

static void go_on(struct task *task)
{
    struct h1_conn *conn = container_of(task, struct h1_conn, task);
    struct slice early = conn->early;

    conn->early = (struct slice){0};
    if (early.len > 0) {
        on_data(conn, early);
        slice_release(early);
    }
    if (!conn->is_closed && conn->state == CONN_READING)
        stream_resume(conn->stream);
}

static void on_end(void *owner)
{
    struct h1_conn *conn = owner;

    if (conn->state == CONN_READING)
        close_conn(conn, 0);
}

static void on_drain(void *owner)
{
    struct h1_conn *conn = owner;

    conn->is_full = false;
    if (conn->state != CONN_ANSWERING)
        return;
    pump_answer(conn);
    if (conn->exchange && has_room(conn)) {
        text_clear(&conn->answer);
        conn->answer_at = 0;
        tell_room(conn->exchange);
    }
}

static void on_fail(void *owner, int err)
{
    close_conn(owner, err);
}

static const struct stream_events conn_events = {on_data, on_end, on_drain, on_fail};

static void on_timeout(struct timer *timer)
{
    struct h1_conn *conn = container_of(timer, struct h1_conn, timer);

    if (conn->state == CONN_READING && conn->is_begun)
        answer_refusal(conn, 408);
    else
        close_conn(conn, conn->state == CONN_READING ? 0 : -ERR_IDLE_TIMEOUT);
}

/* ------------------------------------------------------------------ the server */

static bool close_oldest(struct h1_server *server, enum conn_state state)
{
    list_foreach(link, &server->conns)
    {
        struct h1_conn *conn = list_entry(link, struct h1_conn, link);

        if (conn->state != (int)state)
            continue;
        close_conn(conn, -ERR_OVERLOAD);
        return true;
    }
    return false;
}

/* Whoever can reach the port can hold connections and say nothing, or read nothing: that is not to
 * keep a probe of readiness out. */
static bool make_room(struct h1_server *server)
{
    return server->n_conns < CONNECTIONS_MAX || close_oldest(server, CONN_READING) ||
           close_oldest(server, CONN_ANSWERING);
}

static void on_accept(void *owner, struct stream *stream)
{
    struct h1_server *server = owner;
    struct h1_conn *conn;

    if (server->is_closed) { /* from the backlog */
        stream_close(stream, 0);
        return;
    }
    const bool has_room = make_room(server);
    conn = mem_new(struct h1_conn);
    conn->server = server;
    conn->stream = stream;
    conn->task.run = go_on;
    h1_reader_init(&conn->reader);
    list_push_back(&server->conns, &conn->link);
    server->n_conns++;
    stream_set_owner(stream, &conn_events, conn);
    if (!has_room) {
        answer_refusal(conn, 503);
        return;
    }
    wait_at_most(conn, IDLE_NS);
    stream_resume(stream);
}

int h1_server_open(struct loop *loop, const struct addr *local,
                   void (*handle)(void *owner, struct h1_exchange *exchange,
                                  const struct h1_request *request),
                   void *owner, struct h1_server **out_server, int *out_errno)
{
    struct listener_options options = {0};
    struct h1_server *server = mem_new(struct h1_server);
    int err;

    server->loop = loop;
    server->handle = handle;
    server->owner = owner;
    list_init(&server->conns);
    err = listener_open(loop, local, &options, on_accept, server, &server->listener, out_errno);
    if (err) {
        mem_free(server);
        return err;
    }
    server->addr = listener_addr(server->listener);
    *out_server = server;
    return 0;
}

struct addr h1_server_addr(const struct h1_server *server)
{
    return server->addr;
}

static void free_server(void *ptr)
{
    mem_free(ptr);
}

void h1_server_close(struct h1_server *server)
{
    server->is_closed = true;
    listener_close(server->listener);
    while (!list_is_empty(&server->conns))
        close_conn(list_entry(server->conns.next, struct h1_conn, link), 0);
    loop_bury(server->loop, server, free_server);
}
