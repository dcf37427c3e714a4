/*
 * libuv polls a descriptor for one handle only, and the two sockets have theirs. So each is polled
 * through a duplicate of its descriptor: same socket, another entry for epoll. At any time one of
 * the two is waited for: the source while the pipe is empty, the destination while it is not.
 *
 * Happy path: splice_new -> (the destination's queue empties) -> splice_go -> on_ready, move ... ->
 * the source's end -> drop. Failure modes: an error of either end goes to its stream.
 */
#include "proxy/io/tcp_splice.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "proxy/base/mem.h"
#include "proxy/io/tcp_uv.h"

/* Of one event: then others have their turn. */
#define MOVES_A_TURN 8

struct splice {
    struct splice_hold hold; /* first: what the two streams know of it */
    struct loop *loop;
    struct tcp *from, *to;
    void (*on_moved)(void *owner, size_t bytes);
    void *owner;
    uv_poll_t from_poll, to_poll; /* of duplicates */
    int from_fd, to_fd;
    int pipe[2];
    const uv_poll_t *awaited; /* the one that is polled, or NULL */
    unsigned n_open;          /* handles */
    bool is_dropped;
};

/* ---- birth and death ---- */

static void on_closed(uv_handle_t *handle)
{
    struct splice *splice = handle->data;
    loop_handle_closed(splice->loop);
    if (--splice->n_open > 0)
        return;
    close(splice->from_fd);
    close(splice->to_fd);
    close(splice->pipe[0]);
    close(splice->pipe[1]);
    loop_splice_closed(splice->loop);
    mem_free(splice);
}

static void drop(struct splice_hold *hold)
{
    struct splice *splice = container_of(hold, struct splice, hold);
    if (splice->is_dropped)
        return;
    splice->is_dropped = true;
    splice->from->splice_out = NULL;
    splice->to->splice_in = NULL;
    uv_close((uv_handle_t *)&splice->from_poll, on_closed);
    uv_close((uv_handle_t *)&splice->to_poll, on_closed);
}

/* A pipe that holds less than a slab would cost more than it saves. */
static bool open_pipe(int out_fds[2])
{
    if (pipe2(out_fds, O_NONBLOCK | O_CLOEXEC) < 0)
        return false;
    if (fcntl(out_fds[0], F_SETPIPE_SZ, SPLICE_PIPE_BYTES) >= (int)SLAB_BYTES ||
        fcntl(out_fds[0], F_GETPIPE_SZ) >= (int)SLAB_BYTES)
        return true;
    close(out_fds[0]);
    close(out_fds[1]);
    return false;
}

static int duplicate(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static bool open_descriptors(struct splice *splice)
{
    if (!open_pipe(splice->pipe))
        return false;
    splice->from_fd = duplicate(splice->from->fd);
    splice->to_fd = duplicate(splice->to->fd);
    if (splice->from_fd >= 0 && splice->to_fd >= 0)
        return true;
    close_if_open(splice->from_fd);
    close_if_open(splice->to_fd);
    close(splice->pipe[0]);
    close(splice->pipe[1]);
    return false;
}

static void open_handle(struct splice *splice, uv_poll_t *poll, int fd)
{
    /* It can only fail for what cannot be polled, and sockets can. */
    ensure(uv_poll_init(loop_uv(splice->loop), poll, fd) == 0);
    poll->data = splice;
    splice->n_open++;
    loop_handle_opened(splice->loop);
}

static struct splice *splice_new(struct tcp *from, struct tcp *to)
{
    struct splice *splice = mem_new(struct splice);
    splice->loop = from->loop;
    splice->from = from;
    splice->to = to;
    if (!open_descriptors(splice)) {
        mem_free(splice);
        return NULL;
    }
    open_handle(splice, &splice->from_poll, splice->from_fd);
    open_handle(splice, &splice->to_poll, splice->to_fd);
    loop_splice_opened(splice->loop);
    return splice;
}

/* ---- moving ---- */

enum progress { MOVED, BLOCKED, OVER };

/* splice() that is not stopped by a signal: bytes, 0 at the end, or a negative errno. */
static ssize_t splice_some(int from, int to, size_t len)
{
    ssize_t n_moved;
    do
        n_moved = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n_moved < 0 && errno == EINTR);
    return n_moved < 0 ? -errno : n_moved;
}

static void on_ready(uv_poll_t *poll, int status, int events);

/* libuv asks the kernel anew even for the same events, so it is asked for changes only. */
static void wait_for(struct splice *splice, uv_poll_t *poll, int events)
{
    uv_poll_t *other = poll == &splice->from_poll ? &splice->to_poll : &splice->from_poll;
    if (splice->awaited == poll)
        return;
    splice->awaited = poll;
    ensure(uv_poll_stop(other) == 0);
    ensure(uv_poll_start(poll, events, on_ready) == 0);
}

static void fail(struct splice *splice, struct tcp *tcp, int status)
{
    drop(&splice->hold);
    tcp_failed(tcp, status);
}

/* The source's end: everything it sent has left the pipe. */
static void end(struct splice *splice)
{
    struct tcp *from = splice->from;
    drop(&splice->hold);
    tcp_peer_ended(from);
}

static enum progress fill(struct splice *splice)
{
    const ssize_t n_moved = splice_some(splice->from_fd, splice->pipe[1], SPLICE_PIPE_BYTES);
    if (n_moved > 0) {
        splice->hold.bytes = (size_t)n_moved;
        return MOVED;
    }
    if (n_moved == -EAGAIN)
        return BLOCKED;
    if (n_moved == 0)
        end(splice);
    else
        fail(splice, splice->from, (int)n_moved);
    return OVER;
}

static enum progress empty(struct splice *splice)
{
    while (splice->hold.bytes > 0) {
        const ssize_t n_moved = splice_some(splice->pipe[0], splice->to_fd, splice->hold.bytes);
        if (n_moved == -EAGAIN)
            return BLOCKED;
        if (n_moved <= 0) {
            fail(splice, splice->to, n_moved < 0 ? (int)n_moved : -EPIPE);
            return OVER;
        }
        splice->hold.bytes -= (size_t)n_moved;
        splice->on_moved(splice->owner, (size_t)n_moved);
    }
    return MOVED;
}

static void move(struct splice *splice)
{
    enum progress progress = empty(splice);
    for (int i = 0; i < MOVES_A_TURN && progress == MOVED; i++) {
        progress = fill(splice);
        if (progress == BLOCKED)
            break;
        if (progress == MOVED)
            progress = empty(splice);
    }
    if (progress == OVER)
        return;
    if (splice->hold.bytes > 0)
        wait_for(splice, &splice->to_poll, UV_WRITABLE);
    else
        wait_for(splice, &splice->from_poll, UV_READABLE);
}

/* With a status below 0 libuv has stopped polling; what is wrong with the socket comes out of the
 * move. */
static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct splice *splice = poll->data;
    (void)events;
    if (status < 0)
        splice->awaited = NULL;
    move(splice);
}

static void go(struct splice_hold *hold)
{
    struct splice *splice = container_of(hold, struct splice, hold);
    if (!splice->awaited)
        wait_for(splice, &splice->from_poll, UV_READABLE);
}

bool tcp_splice(struct stream *from_stream, struct stream *to_stream,
                void (*on_moved)(void *owner, size_t bytes), void *owner)
{
    struct tcp *from = tcp_of_stream(from_stream), *to = tcp_of_stream(to_stream);
    if (!from || !to || from->err || to->err || from->ended || to->shut || from->splice_out ||
        to->splice_in || loop_splices(from->loop) >= SPLICES_MAX)
        return false;
    struct splice *splice = splice_new(from, to);
    if (!splice)
        return false;
    splice->on_moved = on_moved;
    splice->owner = owner;
    splice->hold.drop = drop;
    splice->hold.on_queue_empty = go;
    from->splice_out = to->splice_in = &splice->hold;
    tcp_hand_over(from);
    if (to->queue.bytes == 0)
        go(&splice->hold);
    return true;
}
