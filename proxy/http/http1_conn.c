#include "proxy/http/http1_conn.h"

#include <string.h>

#define QUEUE_LOW  ((size_t)32768)
#define QUEUE_HIGH ((size_t)262144)
#define PIN_FACTOR 4 /* a kept slice pins at most so many times its bytes */

/* ------------------------------------------------------------------ reading */

/* A request is not begun while the answers before it do not leave. */
static bool may_take(const struct http1 *conn)
{
    if (http1_is_over(conn))
        return false;
    switch ((enum http1_phase)conn->phase) {
    case HTTP1_IDLE: return conn->role->kind == HTTP1_RESPONSE || !conn->lower_is_full;
    case HTTP1_HEAD: return true;
    case HTTP1_BODY: return conn->is_discarding || !conn->is_paused;
    case HTTP1_DONE:
    case HTTP1_FINISHING:
    case HTTP1_DEAD:
    case HTTP1_PHASES: break;
    }
    return false;
}

static bool wants_more(const struct http1 *conn)
{
    if (conn->kept.len > 0 || conn->lower_has_ended || http1_is_over(conn))
        return false;
    return conn->phase == HTTP1_DONE || may_take(conn);
}

void http1_settle(struct http1 *conn)
{
    if (conn->phase == HTTP1_DEAD || conn->is_taking)
        return;
    if (conn->phase == HTTP1_HEAD || conn->phase == HTTP1_BODY)
        http1_settle_time(conn);

    const bool wants = wants_more(conn);
    if (wants == conn->is_reading)
        return;
    conn->is_reading = wants;
    if (wants)
        stream_resume(conn->lower);
    else
        stream_pause(conn->lower);
}

__attribute__((noinline)) static void tell_it_ended(struct http1 *conn)
{
    const struct http_stream_events *http_events = conn->exchange.http_events;
    struct http_fields trailers;

    conn->in = HTTP1_IN_ENDED;
    if (http_events && http_events->on_trailers && http1_body_trailers(&conn->body, &trailers))
        http_events->on_trailers(conn->exchange.stream.owner, &trailers);
    http1_body_fini(&conn->body);
    if (!http1_is_deaf(conn) && !http1_is_over(conn))
        conn->exchange.stream.events->on_end(conn->exchange.stream.owner);
}

static void tell_end(struct http1 *conn)
{
    if (conn->in == HTTP1_IN_ENDING && !conn->is_paused && !http1_is_deaf(conn) &&
        !http1_is_over(conn))
        tell_it_ended(conn);
}

void http1_end_in(struct http1 *conn)
{
    conn->in = HTTP1_IN_ENDING;
    http1_wait_not(conn);
    http1_move(conn, HTTP1_DONE);
    if (conn->is_discarding)
        conn->role->on_discarded(conn);
    else
        tell_end(conn);
}

static void discard(struct http1 *conn, size_t len)
{
    if (len > conn->discard_left) {
        conn->role->on_discarded(conn);
        return;
    }
    conn->discard_left -= len;
}

static size_t take_body(struct http1 *conn, struct slice rest)
{
    size_t used, n_data;
    const enum http1_step step = http1_body_step(&conn->body, rest.ptr, rest.len, &used, &n_data);

    switch (step) {
    case HTTP1_STEP_MORE: break;
    case HTTP1_STEP_DATA:
        if (conn->is_discarding)
            discard(conn, n_data);
        else
            conn->exchange.stream.events->on_data(
                conn->exchange.stream.owner,
                (struct slice){rest.slab, rest.ptr + used - n_data, n_data});
        break;
    case HTTP1_STEP_END: http1_end_in(conn); break;
    case HTTP1_STEP_FAULT: conn->role->on_fault(conn, conn->body.fault, conn->body.why); break;
    }
    return used;
}

static size_t take_head(struct http1 *conn, struct slice rest)
{
    size_t used;

    if (!conn->head)
        conn->head = http1_head_new(conn->exchange.stream.slabs, conn->role->kind, &conn->limits);
    used = http1_take(conn->head, rest.ptr, rest.len);
    if (conn->head->fault)
        conn->role->on_fault(conn, conn->head->fault, conn->head->why);
    else if (conn->head->is_whole)
        conn->role->on_head(conn);
    return used;
}

static size_t take_some(struct http1 *conn, struct slice rest)
{
    if (conn->phase == HTTP1_BODY)
        return take_body(conn, rest);
    if (conn->phase == HTTP1_IDLE && conn->role->kind == HTTP1_RESPONSE) {
        conn->role->on_fault(conn, 0, "bytes came that belong to no request");
        return rest.len;
    }
    if (conn->phase == HTTP1_IDLE)
        http1_move(conn, HTTP1_HEAD);
    return take_head(conn, rest);
}

/* A body with a length ends with its last byte, not with the one behind it. */
static bool has_silent_end(const struct http1 *conn)
{
    return conn->phase == HTTP1_BODY && conn->body.framing == HTTP1_LENGTH && conn->body.left == 0;
}

static void keep(struct http1 *conn, struct slice rest)
{
    const bool is_sparse = rest.len * PIN_FACTOR < rest.slab->cap;

    conn->kept =
        is_sparse ? slice_copy(conn->exchange.stream.slabs, rest.ptr, rest.len) : slice_ref(rest);
}

/* Borrows. Each step looks again, since the owner may end everything in any of them. */
static void take(struct http1 *conn, struct slice rest)
{
    conn->is_taking = true;
    while (rest.len > 0 && may_take(conn)) {
        const size_t used = take_some(conn, rest);
        rest.ptr += used;
        rest.len -= used;
        if (has_silent_end(conn) && !http1_is_over(conn))
            http1_end_in(conn);
    }
    if (rest.len > 0 && !http1_is_over(conn))
        keep(conn, rest);
    tell_end(conn);
    conn->is_taking = false;
    http1_settle(conn);
}

static void on_lower_data(void *owner, struct slice bytes)
{
    struct http1 *conn = owner;

    ensure(conn->kept.len == 0);
    take(conn, bytes);
}

static void on_lower_end(void *owner)
{
    struct http1 *conn = owner;

    conn->lower_has_ended = true;
    if (http1_is_over(conn))
        return;
    if (conn->phase == HTTP1_BODY && conn->body.framing == HTTP1_UNTIL_CLOSE)
        http1_end_in(conn);
    else
        conn->role->on_lower_end(conn);
    http1_settle(conn);
}

static void on_lower_fail(void *owner, int err)
{
    struct http1 *conn = owner;

    conn->role->on_lower_fail(conn, err);
}

static const struct stream_events lower_events = {on_lower_data, on_lower_end, http1_on_lower_drain,
                                                  on_lower_fail};

/* ------------------------------------------------------------------ the owner's side */

static void run_go_on(struct task *task)
{
    struct http1 *conn = container_of(task, struct http1, go_on);
    const struct slice kept = conn->kept;

    if (conn->doom_err || conn->doom_dead_err) {
        http1_kill(conn, conn->doom_err, conn->doom_dead_err, conn->why);
        return;
    }
    if (kept.len > 0 && may_take(conn)) {
        conn->kept = (struct slice){0};
        take(conn, kept);
        slice_release(kept);
    }
    tell_end(conn);
    http1_tell_drained(conn);
    if (http1_is_over(conn))
        return;
    http1_settle(conn);
    if (conn->role->on_turn)
        conn->role->on_turn(conn);
}

static void pause_op(struct stream *stream)
{
    struct http1 *conn = container_of(stream, struct http1, exchange.stream);

    conn->is_paused = true;
    http1_settle(conn);
}

static void resume_op(struct stream *stream)
{
    struct http1 *conn = container_of(stream, struct http1, exchange.stream);

    conn->is_paused = false;
    if (conn->phase == HTTP1_DEAD || conn->phase == HTTP1_HEAD) /* a head is read all the same */
        return;
    http1_settle(conn);
    if (conn->kept.len > 0 || (conn->in == HTTP1_IN_ENDING && !conn->is_taking))
        loop_defer(conn->loop, &conn->go_on);
}

static void close_op(struct stream *stream, int err)
{
    struct http1 *conn = container_of(stream, struct http1, exchange.stream);

    ensure(conn->is_open);
    conn->is_open = false;
    conn->exchange.stream.events = NULL;
    conn->exchange.http_events = NULL;
    if (conn->phase == HTTP1_DEAD)
        http1_bury_if_over(conn);
    else if (!http1_is_over(conn))
        conn->role->on_closed(conn, err);
}

static size_t kept_op(const struct stream *stream)
{
    const struct http1 *conn = (const struct http1 *)(const void *)stream; /* its first member */

    return conn->kept.len + (conn->lower ? stream_kept(conn->lower) : 0);
}

static const struct stream_ops exchange_ops = {
    .write = http1_write_op,
    .shutdown = http1_shutdown_op,
    .pause = pause_op,
    .resume = resume_op,
    .close = close_op,
    .queued = http1_queued_op,
    .kept = kept_op,
};

/* ------------------------------------------------------------------ messages */

void http1_begin_in(struct http1 *conn, enum http1_framing framing, int64_t length)
{
    http1_body_init(&conn->body, framing, length, &conn->limits, conn->exchange.stream.slabs);
    conn->in = framing == HTTP1_NO_BODY ? HTTP1_IN_ENDING : HTTP1_IN_OPEN;
    http1_move(conn, framing == HTTP1_NO_BODY ? HTTP1_DONE : HTTP1_BODY);
    http1_wait_not(conn);
}

void http1_await(struct http1 *conn)
{
    http1_move(conn, HTTP1_HEAD);
    http1_wait_not(conn);
}

void http1_open(struct http1 *conn)
{
    conn->is_open = true;
    conn->is_failed = false;
    conn->is_paused = true;
    conn->owner_waits = false;
    conn->out = HTTP1_OUT_NONE;
    conn->in = HTTP1_IN_OPEN;
}

void http1_next(struct http1 *conn)
{
    http1_move(conn, HTTP1_IDLE);
    http1_body_fini(&conn->body);
    conn->is_discarding = false;
    conn->head_is_timed = false;
    if (conn->kept.len > 0 || wants_more(conn) != conn->is_reading)
        loop_defer(conn->loop, &conn->go_on);
}

void http1_discard(struct http1 *conn, uint64_t bytes_max)
{
    conn->is_discarding = true;
    conn->discard_left = bytes_max;
    loop_defer(conn->loop, &conn->go_on);
}

void http1_init(struct http1 *conn, void *self, const struct http1_role *role, struct loop *loop,
                struct stream *lower, const struct http_limits *limits)
{
    conn->role = role;
    conn->self = self;
    conn->loop = loop;
    conn->lower = lower;
    conn->limits = *limits;
    conn->exchange.stream.ops = &exchange_ops;
    conn->exchange.stream.slabs = loop_slabs(loop);
    conn->flush.run = http1_run_flush;
    conn->go_on.run = run_go_on;
    buf_init(&conn->queue, loop_slabs(loop), QUEUE_LOW, QUEUE_HIGH);
    buf_init(&conn->held, loop_slabs(loop), QUEUE_LOW, QUEUE_HIGH);
    stream_set_owner(lower, &lower_events, conn);
    loop_defer(loop, &conn->go_on);
}
