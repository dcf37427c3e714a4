/*
 * Happy path: read callbacks -> on_data; writes go to the socket at once, what it does not take
 * waits in the queue and is written by one libuv request at a time; on_end and stream_shutdown()
 * end the directions; stream_close().
 *
 * Failure modes: an error of a read or a write kills the stream: on_fail from a task at the end of
 * the turn, so that it never comes out of a call of the owner. What a peer said before its reset is
 * read first. A peer that does not read what is left at a polite close, or goes on sending, is
 * reset after STREAM_LINGER_MS or STREAM_LINGER_BYTES.
 */
#include "proxy/io/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/io/socket.h"
#include "proxy/io/tcp_uv.h"

#define FLUSH_SLICES 32
/* libuv reads up to 32 times from a socket before it looks at the next one. That is 2 MiB of bulk
 * in front of everybody else's small message; so much is as good for the bulk. */
#define READ_TURN_BYTES 262144
#define DROP_TURN_BYTES SLAB_BYTES /* of who lingers: nobody waits for what is dropped */
/* Of who is curt. A larger read opens the peer's window at once, and what it had ready then comes
 * through the kernel within our own system call. */
#define CURT_TURN_BYTES 16384
/* Pieces of bulk (records, frames) come several in a turn. Gathered into one send they leave in
 * packets as large as can be, which pass every hook on their way once; what is left over of each
 * send is a small packet, which passes as many. So sends are large, but the queue is not full of
 * what is gathered. Small messages never wait. */
#define CORK_LEAST_BYTES ((size_t)8192)
#define CORK_MOST_BYTES  (3 * SLAB_BYTES)
_Static_assert(CORK_MOST_BYTES < TCP_QUEUE_HIGH, "a queue that is only gathered never fills");
/* Of one request: small enough that on_drain comes before the queue is empty. */
#define FLUSH_BYTES ((size_t)131072)

static struct tcp *tcp_of(struct stream *stream)
{
    return container_of(stream, struct tcp, stream);
}

static const struct tcp *tcp_peek(const struct stream *stream) /* stream is the first member */
{
    return (const struct tcp *)(const void *)stream;
}

static void tcp_fail(struct tcp *tcp, int err);
static void write_failed(struct tcp *tcp, int err);
static void finish_linger(struct tcp *tcp);
static void reset_on_close(const struct tcp *tcp);
static void queue_is_empty(struct tcp *tcp);

static int err_from_socket(int status)
{
    if (status == UV_EPIPE || status == UV_ENOTCONN) /* of a write; of a shutdown */
        return -ERR_RESET;
    if (status ==
        UV_ETIMEDOUT) /* of keepalive or TCP_USER_TIMEOUT: the connection was made long ago */
        return -ERR_KEEPALIVE_TIMEOUT;
    return err_from_errno(-status);
}

/* ------------------------------------------------------------------ reading */

static uint32_t bytes_of_a_turn(const struct tcp *tcp)
{
    if (tcp->is_curt)
        return CURT_TURN_BYTES;
    return tcp->lingering ? DROP_TURN_BYTES : READ_TURN_BYTES;
}

/* How much may be read now. */
static uint32_t left_of_the_turn(struct tcp *tcp)
{
    const uint32_t turn = loop_turn_number(tcp->loop);
    if (tcp->read_turn != turn) {
        tcp->read_turn = turn;
        tcp->read_bytes = 0;
    }
    const uint32_t most = bytes_of_a_turn(tcp);
    return tcp->read_bytes < most ? most - tcp->read_bytes : 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested_bytes, uv_buf_t *out_room)
{
    (void)suggested_bytes;
    struct tcp *tcp = handle->data;
    const uint32_t left = left_of_the_turn(tcp);
    if (tcp->paused || left == 0) {
        *out_room = uv_buf_init(NULL, 0); /* libuv goes on with others: UV_ENOBUFS */
        return;
    }
    struct slab *slab = loop_read_slab(tcp->loop);
    const uint32_t room = slab->cap - slab->used;
    *out_room =
        uv_buf_init((char *)slab->bytes + slab->used, tcp->is_curt && left < room ? left : room);
}

static void stop_reading(struct tcp *tcp)
{
    if (tcp->reading)
        uv_read_stop((uv_stream_t *)&tcp->uv);
    tcp->reading = false;
    tcp->paused = false;
}

static void drop(struct tcp *tcp, size_t bytes)
{
    tcp->read_bytes += (uint32_t)bytes;
    tcp->of.linger.dropped += bytes;
    if (tcp->of.linger.dropped > STREAM_LINGER_BYTES) {
        reset_on_close(tcp);
        tcp_dispose(tcp);
    }
}

static void on_read(uv_stream_t *handle, ssize_t n_read, const uv_buf_t *room)
{
    (void)room; /* but for the assume() below */
    struct tcp *tcp = handle->data;
    if (tcp->paused) { /* also where libuv tells of the end: it is asked for again */
        stop_reading(tcp);
        return;
    }
    if (n_read == UV_ENOBUFS)
        return; /* the rest is read in the next turn */
    if (n_read == UV_EOF) {
        tcp_peer_ended(tcp);
    } else if (n_read < 0) {
        tcp_fail(tcp, err_from_socket((int)n_read));
    } else if (n_read > 0 && tcp->lingering) {
        drop(tcp, (size_t)n_read);
    } else if (n_read > 0) {
        tcp->read_bytes += (uint32_t)n_read;
        struct slab *slab =
            loop_read_slab(tcp->loop); /* the one of on_alloc(): nothing ran since */
        assume((uint8_t *)room->base == slab->bytes + slab->used);
        struct slice bytes = slice_of(slab, slab->used, (size_t)n_read); /* counts them as used */
        tcp->stream.events->on_data(tcp->stream.owner, bytes);
        slice_release(bytes);
    }
}

static void start_reading(struct tcp *tcp)
{
    tcp->paused = false;
    if (tcp->reading || tcp->ended || tcp->err || tcp->splice_out)
        return;
    int status = uv_read_start((uv_stream_t *)&tcp->uv, on_alloc, on_read);
    if (status < 0)
        tcp_fail(tcp, err_from_socket(status));
    else
        tcp->reading = true;
}

/*
 * libuv 1.44 says EOF when a read was short and the poll had seen a hang-up, without asking the
 * socket again. But a reset hangs up, too, and then bytes are missing: the socket has the last
 * word.
 */
void tcp_peer_ended(struct tcp *tcp)
{
    uint8_t byte;
    ssize_t n_left = recv(tcp->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);
    stop_reading(tcp);
    if (n_left < 0) {
        tcp_fail(tcp, err_from_socket(-errno));
        return;
    }
    if (n_left > 0) {
        start_reading(tcp);
        return;
    }
    if (tcp->broke) { /* the write that noticed it took the error along */
        tcp_fail(tcp, -ERR_RESET);
        return;
    }
    tcp->ended = true;
    if (tcp->lingering)
        finish_linger(tcp);
    else
        tcp->stream.events->on_end(tcp->stream.owner);
}

/* Most who pause are another's a moment later, and read: two calls of the kernel less. */
static void tcp_pause(struct stream *stream)
{
    struct tcp *tcp = tcp_of(stream);
    if (!tcp->reading)
        return;
    tcp->paused = true;
    loop_defer(tcp->loop, &tcp->task);
}

static void tcp_resume(struct stream *stream)
{
    start_reading(tcp_of(stream));
}

/* ------------------------------------------------------------------ writing */

static void send_fin(struct tcp *tcp)
{
    if (shutdown(tcp->fd, SHUT_WR) < 0)
        write_failed(tcp, err_from_socket(-errno));
    else if (tcp->lingering)
        finish_linger(tcp);
}

static void queue_is_empty(struct tcp *tcp)
{
    if (tcp->shut)
        send_fin(tcp);
    else if (tcp->splice_in)
        tcp->splice_in->on_queue_empty(tcp->splice_in);
}

static void on_written(uv_write_t *req, int status);

static void flush(struct tcp *tcp)
{
    struct iovec iov[FLUSH_SLICES];
    uv_buf_t bufs[FLUSH_SLICES];
    unsigned n_slices = buf_peek(&tcp->queue, iov, FLUSH_SLICES), n_bufs = 0;
    size_t bytes = 0;
    while (n_bufs < n_slices && bytes < FLUSH_BYTES) {
        bufs[n_bufs] = uv_buf_init(iov[n_bufs].iov_base, (unsigned)iov[n_bufs].iov_len);
        bytes += iov[n_bufs++].iov_len;
    }
    union tcp_request *request = tcp_request_new(tcp);
    request->write.tcp = tcp;
    int status = uv_write(&request->write.uv, (uv_stream_t *)&tcp->uv, bufs, n_bufs, on_written);
    if (status == 0) {
        tcp->in_flight = bytes;
        return;
    }
    tcp_request_done(tcp);
    tcp_fail(tcp, err_from_socket(status));
}

static void on_written(uv_write_t *req, int status)
{
    struct tcp *tcp = container_of(req, struct tcp_writing, uv)->tcp;
    size_t bytes = tcp->in_flight;
    tcp->in_flight = 0;
    tcp_request_done(tcp);
    if (tcp->closed || tcp->err)
        return;
    if (status < 0) {
        write_failed(tcp, err_from_socket(status));
        return;
    }
    bool drained = buf_pop(&tcp->queue, bytes);
    if (tcp->queue.bytes > 0)
        flush(tcp);
    else
        queue_is_empty(tcp);
    if (drained && !tcp->err && !tcp->shut)
        tcp->stream.events->on_drain(tcp->stream.owner);
}

static ssize_t sent(ssize_t n_sent)
{
    if (n_sent >= 0)
        return n_sent;
    return errno == EAGAIN || errno == ENOBUFS ? 0 : -errno;
}

/* The number of bytes that the socket took, or a negative errno. */
static ssize_t send_piece(const struct tcp *tcp, struct slice bytes)
{
    ssize_t n_sent;
    do
        n_sent = send(tcp->fd, bytes.ptr, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n_sent < 0 && errno == EINTR);
    return sent(n_sent);
}

/* The same of several pieces; sendmsg() costs more: it reads a header and a list first. */
static ssize_t send_now(const struct tcp *tcp, struct iovec *iov, unsigned n_iov, int flags)
{
    const struct msghdr message = {.msg_iov = iov, .msg_iovlen = n_iov};
    ssize_t n_sent;
    do
        n_sent = sendmsg(tcp->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
    while (n_sent < 0 && errno == EINTR);
    return sent(n_sent);
}

/* Sends what was gathered; what the socket does not take is libuv's from here on. With MSG_MORE
 * more is written at once, or the end, which then leaves in the packet of the last bytes. */
static void uncork(struct tcp *tcp, int flags)
{
    struct iovec iov[FLUSH_SLICES];
    task_cancel(&tcp->task);
    const unsigned n_iov = buf_peek(&tcp->queue, iov, FLUSH_SLICES);
    const ssize_t n_sent = send_now(tcp, iov, n_iov, flags);
    if (n_sent < 0) {
        write_failed(tcp, err_from_socket((int)n_sent));
        return;
    }
    /* Nobody waits for the queue to drain: corked it has not reached its high mark, and cork() says
     * itself how it is after a piece that is larger. */
    (void)buf_pop(&tcp->queue, (size_t)n_sent);
    if (tcp->queue.bytes > 0)
        flush(tcp);
    else if (flags == 0 || tcp->shut)
        queue_is_empty(tcp);
}

static void run_task(struct task *task)
{
    struct tcp *tcp = container_of(task, struct tcp, task);
    if (tcp->err) {
        tcp->stream.events->on_fail(tcp->stream.owner, tcp->err);
        return;
    }
    if (tcp->paused)
        stop_reading(tcp);
    if (tcp->queue.bytes > 0 && tcp->in_flight == 0)
        uncork(tcp, tcp->shut ? MSG_MORE : 0);
}

/* Nothing is being written by libuv, so what is queued waits for uncork() alone. The last piece
 * stays until the turn ends, so that the kernel may keep an incomplete packet for it until then. */
static bool cork(struct tcp *tcp, struct slice bytes)
{
    if (tcp->queue.bytes > 0 && tcp->queue.bytes + bytes.len > CORK_MOST_BYTES)
        uncork(tcp, MSG_MORE);
    if (tcp->err || tcp->shut) {
        slice_release(bytes);
        return true;
    }
    (void)buf_push(&tcp->queue, bytes);
    if (tcp->in_flight == 0 && tcp->queue.bytes > CORK_MOST_BYTES)
        uncork(tcp, 0);
    else if (tcp->in_flight == 0)
        loop_defer(tcp->loop, &tcp->task);
    return !tcp->queue.full || tcp->err;
}

static bool tcp_write(struct stream *stream, struct slice bytes)
{
    struct tcp *tcp = tcp_of(stream);
    if (tcp->err || tcp->shut || bytes.len == 0) {
        slice_release(bytes);
        return true;
    }
    if (tcp->in_flight == 0 &&
        (tcp->queue.bytes > 0 || bytes.len >= CORK_LEAST_BYTES || tcp->is_curt))
        return cork(tcp, bytes);
    if (tcp->queue.bytes == 0) {
        ssize_t n_sent = send_piece(tcp, bytes);
        if (n_sent < 0)
            write_failed(tcp, err_from_socket((int)n_sent));
        if (n_sent < 0 || (size_t)n_sent == bytes.len) {
            slice_release(bytes);
            return true;
        }
        struct slice rest = slice_sub(bytes, (size_t)n_sent, bytes.len - (size_t)n_sent);
        slice_release(bytes);
        bytes = rest;
    }
    bool go_on = buf_push(&tcp->queue, bytes);
    if (tcp->in_flight == 0)
        flush(tcp);
    return go_on || tcp->err;
}

static void tcp_shutdown(struct stream *stream)
{
    struct tcp *tcp = tcp_of(stream);
    if (tcp->err || tcp->shut)
        return;
    tcp->shut = true;
    if (tcp->queue.bytes == 0)
        send_fin(tcp);
}

static size_t tcp_queued(const struct stream *stream)
{
    const struct tcp *tcp = tcp_peek(stream);
    size_t unsent = uv_stream_get_write_queue_size((const uv_stream_t *)&tcp->uv);
    const size_t spliced = tcp->splice_in ? tcp->splice_in->bytes : 0;
    return spliced + tcp->queue.bytes - tcp->in_flight + (tcp->in_flight ? unsent : 0);
}

/* ------------------------------------------------------------------ the end */

static void drop_splices(struct tcp *tcp)
{
    if (tcp->splice_out)
        tcp->splice_out->drop(tcp->splice_out);
    if (tcp->splice_in)
        tcp->splice_in->drop(tcp->splice_in);
}

static void tcp_fail(struct tcp *tcp, int err)
{
    if (tcp->err)
        return;
    tcp->err = err;
    stop_reading(tcp);
    drop_splices(tcp);
    if (tcp->lingering)
        tcp_dispose(tcp);
    else
        loop_defer(tcp->loop, &tcp->task);
}

/* A peer that refuses what it is sent says why and closes: that is waiting to be read when the
 * reset of what was sent behind it comes. Nothing is written any more, and there is no clean end.
 */
static void write_failed(struct tcp *tcp, int err)
{
    uint8_t byte;
    if (err != -ERR_RESET || tcp->ended || tcp->lingering || tcp->splice_in || tcp->splice_out ||
        recv(tcp->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) <= 0) {
        tcp_fail(tcp, err);
        return;
    }
    tcp->broke = tcp->shut = true;
    (void)buf_pop(&tcp->queue, tcp->queue.bytes);
}

static void reset_on_close(const struct tcp *tcp)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    /* If it fails the socket is gone already, which is what is wanted. */
    (void)setsockopt(tcp->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

static void on_linger_over(struct timer *timer)
{
    struct tcp *tcp = container_of(timer, struct tcp, of.linger.timer);
    if (tcp->queue.bytes > 0)
        reset_on_close(tcp); /* the peer must learn that bytes are missing */
    tcp_dispose(tcp);
}

static bool has_parted(const struct tcp *tcp)
{
    return (tcp->ended || tcp->is_curt) && tcp->queue.bytes == 0;
}

static void finish_linger(struct tcp *tcp)
{
    if (has_parted(tcp))
        tcp_dispose(tcp);
}

/*
 * Our last bytes are on their way. What the peer still sends is read and dropped until its end:
 * were it left unread, the kernel would answer it with a reset, and that can destroy the very bytes
 * we want to arrive (RFC 2525 section 2.17).
 */
static void start_linger(struct tcp *tcp)
{
    tcp->lingering = true;
    tcp->of.linger = (struct tcp_linger){0};
    timer_start(tcp->loop, &tcp->of.linger.timer, STREAM_LINGER_MS * NS_PER_MS, on_linger_over);
    if (tcp->is_curt)
        stop_reading(tcp);
    else
        start_reading(tcp);
}

static void tcp_close(struct stream *stream, int err)
{
    struct tcp *tcp = tcp_of(stream);
    ensure(!tcp->closed && !tcp->lingering);
    drop_splices(tcp);
    if (tcp->err)
        task_cancel(&tcp->task); /* its owner need not be told any more */
    stream_set_owner(stream, NULL, NULL);
    if (err == 0 && tcp->shut && !tcp->broke && !tcp->err && !has_parted(tcp)) {
        start_linger(tcp);
        return;
    }
    if (err < 0 && tcp->err != -ERR_RESET) /* then it is reset */
        reset_on_close(tcp);
    tcp_dispose(tcp);
}

static void on_closed(uv_handle_t *handle)
{
    struct tcp *tcp = handle->data;
    loop_handle_closed(tcp->loop);
    tcp_request_done(tcp);
    buf_fini(&tcp->queue);
    mem_free(tcp);
}

void tcp_dispose(struct tcp *tcp)
{
    if (tcp->closed)
        return;
    tcp->closed = true;
    if (tcp->lingering)
        timer_stop(&tcp->of.linger.timer);
    task_cancel(&tcp->task);
    uv_close((uv_handle_t *)&tcp->uv, on_closed);
}

/* ------------------------------------------------------------------ birth */

static const struct stream_ops tcp_ops = {
    .write = tcp_write,
    .shutdown = tcp_shutdown,
    .pause = tcp_pause,
    .resume = tcp_resume,
    .close = tcp_close,
    .queued = tcp_queued,
};

struct tcp *tcp_new(struct loop *loop)
{
    struct tcp *tcp = mem_new(struct tcp);
    tcp->stream.ops = &tcp_ops;
    tcp->stream.slabs = loop_slabs(loop);
    tcp->loop = loop;
    tcp->fd = -1;
    tcp->task.run = run_task;
    buf_init(&tcp->queue, loop_slabs(loop), TCP_QUEUE_LOW, TCP_QUEUE_HIGH);
    ensure(uv_tcp_init(loop_uv(loop), &tcp->uv) == 0);
    tcp->uv.data = tcp;
    loop_handle_opened(loop);
    return tcp;
}

int tcp_attach(struct tcp *tcp, int fd)
{
    int status = uv_tcp_open(&tcp->uv, fd);
    if (status == 0)
        tcp->fd = fd;
    return status;
}

union tcp_request *tcp_request_new(struct tcp *tcp)
{
    ensure(!tcp->request);
    tcp->request = mem_new(union tcp_request);
    return tcp->request;
}

void tcp_request_done(struct tcp *tcp)
{
    mem_free(tcp->request);
    tcp->request = NULL;
}

void tcp_set_addrs(struct tcp *tcp, const struct addr *remote)
{
    tcp->of.ends = (struct tcp_ends){socket_local(tcp->fd), *remote};
}

struct tcp *tcp_of_stream(struct stream *stream)
{
    return stream->ops == &tcp_ops ? tcp_of(stream) : NULL;
}

void tcp_be_curt(struct stream *stream)
{
    struct tcp *tcp = tcp_of_stream(stream);
    if (tcp)
        tcp->is_curt = true;
}

void tcp_hand_over(struct tcp *tcp)
{
    stop_reading(tcp);
}

void tcp_failed(struct tcp *tcp, int status)
{
    tcp_fail(tcp, err_from_socket(status));
}

struct addr tcp_local(const struct stream *stream)
{
    ensure(stream->ops == &tcp_ops);
    const struct tcp *tcp = tcp_peek(stream);
    return ip_is_none(&tcp->of.ends.local.ip) ? socket_local(tcp->fd) : tcp->of.ends.local;
}

struct addr tcp_remote(const struct stream *stream)
{
    ensure(stream->ops == &tcp_ops);
    return tcp_peek(stream)->of.ends.remote;
}
