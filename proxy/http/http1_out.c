/*
 * http1_out.c - what goes out on an HTTP/1.1 connection: the queue, the frames around a body, and
 * back pressure.
 */
#include <string.h>

#include "proxy/http/http1_conn.h"

#define FLUSH_BYTES  ((size_t)65536) /* queued: no need to wait for the end of the turn */
#define GATHER_BYTES ((size_t)8192)  /* a piece below this is filled up from the next one */
#define CHUNK_LINE   20u

/* The front of the queue as one piece of its own. */
static struct slice gather(struct http1 *conn, const struct iovec *iov, unsigned n)
{
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

/* Small pieces are filled up, so that a head and its body, or a chunk's line and its data, are one
 * write of the stream below. */
__attribute__((noinline)) static struct slice next_of_several(struct http1 *conn)
{
    struct iovec iov[8];
    const unsigned n = buf_peek(&conn->queue, iov, 8);
    bool drained;

    return iov[0].iov_len < GATHER_BYTES ? gather(conn, iov, n) : buf_shift(&conn->queue, &drained);
}

static struct slice next_piece(struct http1 *conn)
{
    bool drained;

    return conn->queue.len > 1 ? next_of_several(conn) : buf_shift(&conn->queue, &drained);
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

void http1_run_flush(struct task *task)
{
    struct http1 *conn = container_of(task, struct http1, flush);

    push_down(conn);
    if (conn->phase == HTTP1_FINISHING && conn->queue.bytes == 0)
        http1_end_finishing(conn);
}

/* A head of many fields. */
__attribute__((noinline)) static struct slice push_all_but_its_end(struct http1 *conn,
                                                                   struct slice bytes)
{
    size_t at = 0;

    for (; bytes.len - at > SLAB_BYTES; at += SLAB_BYTES)
        (void)buf_push(&conn->queue, slice_sub(bytes, at, SLAB_BYTES));
    bytes.ptr += at;
    bytes.len -= at;
    return bytes;
}

void http1_send(struct http1 *conn, struct slice bytes)
{
    if (bytes.len > SLAB_BYTES)
        bytes = push_all_but_its_end(conn, bytes);
    (void)buf_push(&conn->queue, bytes);
    if (conn->queue.bytes >= FLUSH_BYTES)
        push_down(conn);
    loop_defer(conn->loop, &conn->flush);
}

/* The message is whole: nothing follows that it could leave with. But while this connection is read
 * the next one may be answered in the same turn. */
static void let_go(struct http1 *conn)
{
    if (conn->is_taking) {
        loop_defer(conn->loop, &conn->flush);
        return;
    }
    task_cancel(&conn->flush);
    push_down(conn);
}

/* A head that is the whole message. */
static void send_alone(struct http1 *conn, struct slice head)
{
    const bool may_pass = conn->queue.bytes == 0 && !conn->lower_is_full && !conn->is_taking;

    if (may_pass && head.len <= SLAB_BYTES) {
        conn->lower_is_full = !stream_write(conn->lower, head);
        return;
    }
    http1_send(conn, head);
    let_go(conn);
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

bool http1_write_op(struct stream *stream, struct slice bytes)
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
    if (conn->out_framing == HTTP1_LENGTH && conn->out_left == 0 &&
        conn->role->kind == HTTP1_RESPONSE)
        conn->last = bytes;
    else if (conn->out_framing == HTTP1_CHUNKED)
        send_chunk(conn, bytes);
    else
        http1_send(conn, bytes);
    http1_settle_time(conn); /* a byte that goes is a sign of life as well */
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
    if (conn->last.len > 0)
        http1_send(conn, conn->last);
    conn->last = (struct slice){0};
    if (conn->out_framing == HTTP1_CHUNKED)
        http1_send(conn, http1_write_trailers(conn->exchange.stream.slabs, trailers));
    conn->out_shuts = conn->out_framing == HTTP1_UNTIL_CLOSE;
    let_go(conn);
}

void http1_shutdown_op(struct stream *stream)
{
    end_out(container_of(stream, struct http1, exchange.stream), &(struct http_fields){0});
}

void http1_send_trailers(struct http_stream *exchange, const struct http_fields *trailers)
{
    end_out(http1_of(exchange), trailers);
}

void http1_tell_drained(struct http1 *conn)
{
    if (!conn->owner_waits || conn->lower_is_full || conn->out != HTTP1_OUT_BODY ||
        http1_is_deaf(conn) || http1_is_over(conn))
        return;
    conn->owner_waits = false;
    conn->exchange.stream.events->on_drain(conn->exchange.stream.owner);
}

void http1_begin_out(struct http1 *conn, struct slice head, enum http1_framing framing,
                     int64_t length)
{
    bool drained;

    conn->out = framing == HTTP1_NO_BODY ? HTTP1_OUT_ENDED : HTTP1_OUT_BODY;
    conn->out_framing = framing;
    conn->out_left = framing == HTTP1_LENGTH ? (uint64_t)length : 0;
    if (head.len > 0 && framing == HTTP1_NO_BODY)
        send_alone(conn, head);
    else if (head.len > 0)
        http1_send(conn, head);
    while (conn->out == HTTP1_OUT_BODY && conn->held.bytes > 0)
        http1_send(conn, buf_shift(&conn->held, &drained));
    if (conn->held.cap > 0)
        buf_fini(&conn->held);
    if (conn->owner_waits)
        loop_defer(conn->loop, &conn->go_on); /* what it waits for may have left already */
}

size_t http1_queued_op(const struct stream *stream) /* the exchange is first, its stream too */
{
    const struct http1 *conn = (const struct http1 *)(const void *)stream;

    return conn->lower ? conn->held.bytes + conn->queue.bytes + stream_queued(conn->lower) : 0;
}

void http1_on_lower_drain(void *owner)
{
    struct http1 *conn = owner;

    conn->lower_is_full = false;
    push_down(conn);
    if (conn->phase == HTTP1_FINISHING && conn->queue.bytes == 0) {
        http1_end_finishing(conn);
        return;
    }
    http1_tell_drained(conn);
    if (conn->phase == HTTP1_IDLE && !http1_is_over(conn))
        loop_defer(conn->loop, &conn->go_on); /* for the request that waits */
}
