#include "proxy/http/http1_conn.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"

#define QUEUE_LOW    ((size_t)32768)
#define QUEUE_HIGH   ((size_t)262144)
#define FLUSH_BYTES  ((size_t)65536) /* queued: no need to wait for the end of the turn */
#define GATHER_BYTES ((size_t)8192)  /* a piece below this is filled up from the next one */
#define PIN_FACTOR   4               /* a kept slice pins at most so many times its bytes */
#define CHUNK_LINE   20u
#define BODY_NS      (300 * NS_PER_SEC)
#define HEAD_NS      (10 * NS_PER_SEC)

#define LIVE_ENDS (SM_TO(HTTP1_FINISHING) | SM_TO(HTTP1_DEAD))

static const struct sm_rule phases[HTTP1_PHASES] = {
    [HTTP1_IDLE] = {"idle", SM_TO(HTTP1_HEAD) | LIVE_ENDS},
    [HTTP1_HEAD] = {"head", SM_TO(HTTP1_BODY) | SM_TO(HTTP1_DONE) | LIVE_ENDS},
    [HTTP1_BODY] = {"body", SM_TO(HTTP1_DONE) | LIVE_ENDS},
    [HTTP1_DONE] = {"done", SM_TO(HTTP1_IDLE) | SM_TO(HTTP1_BODY) | LIVE_ENDS},
    [HTTP1_FINISHING] = {"finishing", SM_TO(HTTP1_DEAD)},
};

static void move(struct http1 *conn, enum http1_phase phase)
{
    sm_move(phases, &conn->phase, (int)phase);
}

static bool is_deaf(const struct http1 *conn) /* the owner is to hear nothing */
{
    return !conn->is_open || conn->is_failed;
}

/* ------------------------------------------------------------------ time */

static void on_timer(struct timer *timer)
{
    struct http1 *conn = container_of(timer, struct http1, timer);
    const uint64_t now_ns = loop_now_ns(conn->loop);

    if (conn->deadline_ns == 0)
        return;
    if (now_ns < conn->deadline_ns) {
        timer_start(conn->loop, timer, conn->deadline_ns - now_ns, on_timer);
        return;
    }
    conn->deadline_ns = 0;
    if (conn->phase == HTTP1_FINISHING)
        http1_kill(conn, -ERR_IDLE_TIMEOUT, conn->end_err, conn->why);
    else
        conn->role->on_timeout(conn);
}

/* A timer that would fire too early is left alone, so that a message does not cost two. */
void http1_wait(struct http1 *conn, uint64_t after_ns)
{
    conn->deadline_ns = loop_now_ns(conn->loop) + after_ns;
    if (!timer_is_running(&conn->timer) || conn->timer.deadline_ns > conn->deadline_ns)
        timer_start(conn->loop, &conn->timer, after_ns, on_timer);
}

void http1_wait_not(struct http1 *conn)
{
    conn->deadline_ns = 0;
}

static bool is_switched(const struct http1 *conn) /* to another protocol, both ways */
{
    return conn->body.framing == HTTP1_UNTIL_CLOSE && conn->out_framing == HTTP1_UNTIL_CLOSE;
}

static void settle_time(struct http1 *conn)
{
    if (conn->phase == HTTP1_HEAD && conn->head && !conn->head_is_timed) {
        conn->head_is_timed = true;
        http1_wait(conn, conn->limits.head_ns ? conn->limits.head_ns : HEAD_NS);
    } else if (conn->phase == HTTP1_BODY && conn->is_discarding) {
        http1_wait(conn, STREAM_LINGER_MS * NS_PER_MS);
    } else if (conn->phase == HTTP1_BODY && (conn->is_paused || is_switched(conn))) {
        http1_wait_not(conn);
    } else if (conn->phase == HTTP1_BODY) {
        http1_wait(conn, conn->limits.body_ns ? conn->limits.body_ns : BODY_NS);
    }
}

/* ------------------------------------------------------------------ the end */

static void free_conn(void *ptr)
{
    mem_free(ptr);
}

static void bury_if_over(struct http1 *conn)
{
    if (conn->phase != HTTP1_DEAD || !conn->is_closed || conn->is_open || conn->is_buried)
        return;
    conn->is_buried = true;
    loop_bury(conn->loop, conn->self, free_conn);
}

static void drop_all(struct http1 *conn)
{
    task_cancel(&conn->flush);
    task_cancel(&conn->go_on);
    timer_stop(&conn->timer);
    slice_release(conn->kept);
    conn->kept = (struct slice){0};
    http1_head_free(conn->head);
    conn->head = NULL;
    http1_body_fini(&conn->body);
    buf_fini(&conn->queue);
    buf_fini(&conn->held);
    conn->lower = NULL;
}

static void die(struct http1 *conn, int err, const char *why)
{
    if (!conn->is_closed)
        conn->role->on_dead(conn, err, why);
    bury_if_over(conn);
}

void http1_fail(struct http1 *conn, int err)
{
    if (is_deaf(conn) || (conn->in == HTTP1_IN_ENDED && conn->out == HTTP1_OUT_ENDED))
        return;
    conn->is_failed = true;
    conn->exchange.stream.events->on_fail(conn->exchange.stream.owner, err);
}

void http1_kill(struct http1 *conn, int err, int dead_err, const char *why)
{
    struct stream *lower = conn->lower;

    if (conn->phase == HTTP1_DEAD)
        return;
    move(conn, HTTP1_DEAD);
    drop_all(conn);
    stream_close(lower, dead_err < 0 ? dead_err : err);
    http1_fail(conn, err);
    die(conn, dead_err, why);
}

void http1_doom(struct http1 *conn, int err, int dead_err, const char *why)
{
    if (http1_is_over(conn))
        return;
    conn->doom_err = err;
    conn->doom_dead_err = dead_err;
    conn->why = why;
    loop_defer(conn->loop, &conn->go_on);
}

void http1_finish(struct http1 *conn, int err, const char *why)
{
    if (http1_is_over(conn))
        return;
    move(conn, HTTP1_FINISHING);
    conn->end_err = err;
    conn->why = why;
    http1_settle(conn);
    http1_wait(conn, STREAM_LINGER_MS * NS_PER_MS);
    loop_defer(conn->loop, &conn->flush);
}

static void end_finishing(struct http1 *conn)
{
    struct stream *lower = conn->lower;
    const bool was_shut = conn->lower_is_shut;

    move(conn, HTTP1_DEAD);
    drop_all(conn);
    if (!was_shut)
        stream_shutdown(lower);
    stream_close(lower, 0);
    die(conn, conn->end_err, conn->why);
}

void http1_release(struct http1 *conn)
{
    conn->is_closed = true;
    bury_if_over(conn);
}

/* ------------------------------------------------------------------ writing */

/* The front of the queue as one piece: small ones are filled up, so that a head and its body, or a
 * chunk's line and its data, are one write of the stream below. */
static struct slice next_piece(struct http1 *conn)
{
    struct iovec iov[8];
    const unsigned n = buf_peek(&conn->queue, iov, 8);
    bool drained;

    if (n == 1 || iov[0].iov_len >= GATHER_BYTES)
        return buf_shift(&conn->queue, &drained);

    struct slab *slab = slab_new(conn->queue.pool, GATHER_BYTES);
    size_t used = 0;
    for (unsigned i = 0; i < n && used < GATHER_BYTES; i++) {
        const size_t room = GATHER_BYTES - used;
        const size_t len = iov[i].iov_len < room ? iov[i].iov_len : room;
        memcpy(slab->bytes + used, iov[i].iov_base, len);
        used += len;
    }
    struct slice piece = slice_of(slab, 0, used);
    slab_unref(slab);
    (void)buf_pop(&conn->queue, used);
    return piece;
}

static void push_down(struct http1 *conn)
{
    while (conn->queue.bytes > 0 && !conn->lower_is_full)
        conn->lower_is_full = !stream_write(conn->lower, next_piece(conn));
    if (conn->queue.bytes == 0 && conn->out_shuts && !conn->lower_is_shut) {
        conn->lower_is_shut = true;
        stream_shutdown(conn->lower);
    }
}

static void run_flush(struct task *task)
{
    struct http1 *conn = container_of(task, struct http1, flush);

    push_down(conn);
    if (conn->phase == HTTP1_FINISHING && conn->queue.bytes == 0)
        end_finishing(conn);
}

void http1_send(struct http1 *conn, struct slice bytes)
{
    size_t at = 0;

    while (bytes.len - at > SLAB_BYTES) { /* a head of many fields */
        (void)buf_push(&conn->queue, slice_sub(bytes, at, SLAB_BYTES));
        at += SLAB_BYTES;
    }
    if (at > 0) {
        (void)buf_push(&conn->queue, slice_sub(bytes, at, bytes.len - at));
        slice_release(bytes);
    } else {
        (void)buf_push(&conn->queue, bytes);
    }
    if (conn->queue.bytes >= FLUSH_BYTES)
        push_down(conn);
    loop_defer(conn->loop, &conn->flush);
}

static void send_text(struct http1 *conn, const char *text, size_t len)
{
    http1_send(conn, slice_copy(conn->exchange.stream.slabs, text, len));
}

static void send_chunk(struct http1 *conn, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    char line[CHUNK_LINE];
    size_t at = sizeof(line);

    line[--at] = '\n';
    line[--at] = '\r';
    for (size_t left = bytes.len; left > 0; left >>= 4)
        line[--at] = digits[left & 15];
    send_text(conn, line + at, sizeof(line) - at);
    http1_send(conn, bytes);
    send_text(conn, "\r\n", 2);
}

static bool write_op(struct stream *stream, struct slice bytes)
{
    struct http1 *conn = container_of(stream, struct http1, exchange.stream);
    const bool is_open = conn->out == HTTP1_OUT_BODY || conn->out == HTTP1_OUT_HELD;

    if (!is_open || bytes.len == 0 || http1_is_over(conn) || conn->out_framing == HTTP1_NO_BODY) {
        slice_release(bytes);
        return true;
    }
    if (conn->out == HTTP1_OUT_HELD) {
        conn->owner_waits = !buf_push(&conn->held, bytes);
        return !conn->owner_waits;
    }
    if (conn->out_framing == HTTP1_LENGTH && bytes.len > conn->out_left) {
        slice_release(bytes);
        http1_doom(conn, -ERR_INVALID, -ERR_INVALID, "a body is longer than its content-length");
        return true;
    }
    if (conn->out_framing == HTTP1_LENGTH)
        conn->out_left -= bytes.len;
    if (conn->out_framing == HTTP1_CHUNKED)
        send_chunk(conn, bytes);
    else
        http1_send(conn, bytes);
    settle_time(conn); /* a byte that goes is a sign of life as well */
    conn->owner_waits = conn->lower_is_full;
    return !conn->owner_waits;
}

/* The body is out, with these trailers behind it if its framing has a place for them. */
static void end_out(struct http1 *conn, const struct http_fields *trailers)
{
    if (conn->out != HTTP1_OUT_BODY || http1_is_over(conn))
        return;
    if (conn->out_framing == HTTP1_LENGTH && conn->out_left > 0) {
        http1_doom(conn, -ERR_INVALID, -ERR_INVALID, "a body is shorter than its content-length");
        return;
    }
    conn->out = HTTP1_OUT_ENDED;
    if (conn->out_framing == HTTP1_CHUNKED)
        http1_send(conn, http1_write_trailers(conn->exchange.stream.slabs, trailers));
    conn->out_shuts = conn->out_framing == HTTP1_UNTIL_CLOSE;
    loop_defer(conn->loop, &conn->flush);
}

static void shutdown_op(struct stream *stream)
{
    end_out(container_of(stream, struct http1, exchange.stream), &(struct http_fields){0});
}

void http1_send_trailers(struct http_stream *exchange, const struct http_fields *trailers)
{
    end_out(http1_of(exchange), trailers);
}

void http1_begin_out(struct http1 *conn, enum http1_framing framing, int64_t length)
{
    bool drained;

    conn->out = framing == HTTP1_NO_BODY ? HTTP1_OUT_ENDED : HTTP1_OUT_BODY;
    conn->out_framing = framing;
    conn->out_left = framing == HTTP1_LENGTH ? (uint64_t)length : 0;
    while (conn->out == HTTP1_OUT_BODY && conn->held.bytes > 0)
        http1_send(conn, buf_shift(&conn->held, &drained));
    buf_fini(&conn->held);
}

static size_t queued_op(const struct stream *stream) /* the exchange is first, its stream too */
{
    const struct http1 *conn = (const struct http1 *)(const void *)stream;

    return conn->lower ? conn->held.bytes + conn->queue.bytes + stream_queued(conn->lower) : 0;
}

static void on_lower_drain(void *owner)
{
    struct http1 *conn = owner;

    conn->lower_is_full = false;
    push_down(conn);
    if (conn->phase == HTTP1_FINISHING && conn->queue.bytes == 0) {
        end_finishing(conn);
        return;
    }
    if (conn->owner_waits && !conn->lower_is_full && conn->out == HTTP1_OUT_BODY &&
        !is_deaf(conn) && !http1_is_over(conn)) {
        conn->owner_waits = false;
        conn->exchange.stream.events->on_drain(conn->exchange.stream.owner);
    }
    if (conn->phase == HTTP1_IDLE && !http1_is_over(conn))
        loop_defer(conn->loop, &conn->go_on); /* for the request that waits */
}

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
    const bool wants = wants_more(conn);

    if (conn->phase == HTTP1_DEAD)
        return;
    settle_time(conn);
    if (wants == conn->is_reading)
        return;
    conn->is_reading = wants;
    if (wants)
        stream_resume(conn->lower);
    else
        stream_pause(conn->lower);
}

static void tell_end(struct http1 *conn)
{
    const struct http_stream_events *http_events = conn->exchange.http_events;
    struct http_fields trailers;

    if (conn->in != HTTP1_IN_ENDING || conn->is_paused || is_deaf(conn) || http1_is_over(conn))
        return;
    conn->in = HTTP1_IN_ENDED;
    if (http_events && http_events->on_trailers && http1_body_trailers(&conn->body, &trailers))
        http_events->on_trailers(conn->exchange.stream.owner, &trailers);
    http1_body_fini(&conn->body);
    if (!is_deaf(conn) && !http1_is_over(conn))
        conn->exchange.stream.events->on_end(conn->exchange.stream.owner);
}

void http1_end_in(struct http1 *conn)
{
    conn->in = HTTP1_IN_ENDING;
    http1_wait_not(conn);
    move(conn, HTTP1_DONE);
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
        conn->head = http1_head_new(conn->role->kind, &conn->limits);
    used = http1_gather(conn->head, rest.ptr, rest.len);
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
        move(conn, HTTP1_HEAD);
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

static const struct stream_events lower_events = {on_lower_data, on_lower_end, on_lower_drain,
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
    if (http1_is_over(conn))
        return;
    http1_settle(conn);
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
    if (conn->phase == HTTP1_DEAD)
        return;
    http1_settle(conn);
    if (conn->kept.len > 0 || conn->in == HTTP1_IN_ENDING)
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
        bury_if_over(conn);
    else if (!http1_is_over(conn))
        conn->role->on_closed(conn, err);
}

static const struct stream_ops exchange_ops = {
    .write = write_op,
    .shutdown = shutdown_op,
    .pause = pause_op,
    .resume = resume_op,
    .close = close_op,
    .queued = queued_op,
};

/* ------------------------------------------------------------------ messages */

void http1_begin_in(struct http1 *conn, enum http1_framing framing, int64_t length)
{
    http1_body_init(&conn->body, framing, length, &conn->limits);
    conn->in = framing == HTTP1_NO_BODY ? HTTP1_IN_ENDING : HTTP1_IN_OPEN;
    move(conn, framing == HTTP1_NO_BODY ? HTTP1_DONE : HTTP1_BODY);
    http1_wait_not(conn);
}

void http1_await(struct http1 *conn)
{
    move(conn, HTTP1_HEAD);
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
    move(conn, HTTP1_IDLE);
    http1_body_fini(&conn->body);
    conn->is_discarding = false;
    conn->head_is_timed = false;
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
    conn->flush.run = run_flush;
    conn->go_on.run = run_go_on;
    buf_init(&conn->queue, loop_slabs(loop), QUEUE_LOW, QUEUE_HIGH);
    buf_init(&conn->held, loop_slabs(loop), QUEUE_LOW, QUEUE_HIGH);
    stream_set_owner(lower, &lower_events, conn);
    loop_defer(loop, &conn->go_on);
}
