/*
 * Happy path: socket, options, bind, listen -> readable -> accept what is there -> on_accept for
 * each.
 *
 * Failure modes: out of descriptors or memory: the listener stops polling for LISTENER_REST_NS
 * (the connections wait in the backlog). A connection that died in the backlog is passed over.
 *
 * Close: a task at the end of the turn empties the backlog first, since closing a listening socket
 * resets what is in it.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/io/socket.h"
#include "proxy/io/tcp.h"
#include "proxy/io/tcp_uv.h"

#define DEFAULT_BACKLOG  4096
#define ACCEPTS_A_TURN   64 /* others of the loop want their turn, too */
#define LISTENER_REST_NS (100 * NS_PER_MS)

struct listener {
    struct loop *loop;
    uv_poll_t poll;
    int fd;
    int backlog;
    struct addr addr;
    struct timer rest;
    struct task closing;
    bool is_closing;
    void (*on_accept)(void *owner, struct stream *stream);
    void *owner;
};

static bool is_exhaustion(int errnum)
{
    return errnum == EMFILE || errnum == ENFILE || errnum == ENOBUFS || errnum == ENOMEM;
}

static void deliver(struct listener *listener, int fd, const struct sockaddr *sa)
{
    struct tcp *tcp = tcp_new(listener->loop);
    int err = tcp_attach(tcp, fd);
    if (err < 0) {
        log_warn("an accepted connection could not be watched",
                 log_cstr("error", uv_strerror(err)));
        close(fd);
        tcp_dispose(tcp);
        return;
    }
    struct addr remote;
    addr_from_sockaddr(sa, &remote);
    tcp_set_addrs(tcp, &remote);
    listener->on_accept(listener->owner, &tcp->stream);
}

/* Accepts one connection and gives it away: 0, or the errno for which there is none. */
static int accept_one(struct listener *listener)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int fd = accept4(listener->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return errno;
    deliver(listener, fd, (const struct sockaddr *)&sa);
    return 0;
}

/* Accepts until the backlog is empty (0), the limit is reached or the turn is late (0: the next one
 * goes on, unless it closes) or nothing is left to accept with (an errno). Other errors are those
 * of a connection that died while it waited (accept(2), "Error handling"). */
static int accept_some(struct listener *listener, int max)
{
    for (int n_accepts = 0; n_accepts < max; n_accepts++) {
        bool was_closing = listener->is_closing;
        int errnum = accept_one(listener);
        if (errnum == EAGAIN)
            return 0;
        if (is_exhaustion(errnum))
            return errnum;
        if (listener->is_closing != was_closing)
            return 0; /* the owner closed it meanwhile: its task goes on */
        if (!listener->is_closing && loop_is_late(listener->loop))
            return 0;
    }
    return 0;
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void watch(struct listener *listener)
{
    ensure(uv_poll_start(&listener->poll, UV_READABLE, on_readable) == 0);
}

static void on_rested(struct timer *timer)
{
    watch(container_of(timer, struct listener, rest));
}

static void log_exhausted(const struct listener *listener, int errnum)
{
    log_error("a listener cannot accept and rests", log_addr("listener", &listener->addr),
              log_cstr("error", uv_strerror(-errnum)),
              log_u64("rest_ms", LISTENER_REST_NS / NS_PER_MS));
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    struct listener *listener = poll->data;
    int errnum = accept_some(listener, ACCEPTS_A_TURN);
    if (errnum == 0)
        return;
    log_exhausted(listener, errnum);
    uv_poll_stop(&listener->poll);
    timer_start(listener->loop, &listener->rest, LISTENER_REST_NS, on_rested);
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;
    loop_handle_closed(listener->loop);
    mem_free(listener);
}

static void run_closing(struct task *task)
{
    struct listener *listener = container_of(task, struct listener, closing);
    int errnum = accept_some(listener, listener->backlog);
    if (errnum != 0)
        log_exhausted(listener, errnum);
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    close(listener->fd);
}

void listener_close(struct listener *listener)
{
    ensure(!listener->is_closing);
    listener->is_closing = true;
    uv_poll_stop(&listener->poll);
    timer_stop(&listener->rest);
    loop_defer(listener->loop, &listener->closing);
}

struct addr listener_addr(const struct listener *listener)
{
    return listener->addr;
}

/* ------------------------------------------------------------------ birth */

/* A listening descriptor or a negative errno. */
static int open_socket(const struct addr *local, const struct listener_options *options,
                       int backlog)
{
    const struct socket_options socket_options = {.mark = options->mark,
                                                  .transparent = options->transparent,
                                                  .reuse_addr = true,
                                                  .reuse_port = options->reuse_port,
                                                  .v6_only = options->v6_only};
    struct addr bind_to;
    int fd = socket_open_local(local, SOCK_STREAM, &socket_options, &bind_to);
    if (fd < 0)
        return fd;
    int err = socket_tune_tcp(fd);
    if (err == 0)
        err = socket_bind(fd, &bind_to);
    if (err == 0 && listen(fd, backlog) < 0)
        err = -errno;
    if (err == 0 && options->acks_late)
        socket_ack_late(fd); /* listen() forgets it */
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

int listener_open(struct loop *loop, const struct addr *local,
                  const struct listener_options *options,
                  void (*on_accept)(void *owner, struct stream *stream), void *owner,
                  struct listener **out_listener, int *out_errno)
{
    static const struct listener_options none;
    if (!options)
        options = &none;
    int backlog = options->backlog > 0 ? options->backlog : DEFAULT_BACKLOG;
    int fd = open_socket(local, options, backlog);
    if (fd < 0) {
        *out_errno = -fd;
        return -ERR_SYSTEM;
    }
    struct listener *listener = mem_new(struct listener);
    *listener = (struct listener){.loop = loop,
                                  .fd = fd,
                                  .backlog = backlog,
                                  .addr = socket_local(fd),
                                  .closing = {.run = run_closing},
                                  .on_accept = on_accept,
                                  .owner = owner};
    int status = uv_poll_init(loop_uv(loop), &listener->poll, fd);
    if (status < 0) {
        close(fd);
        mem_free(listener);
        *out_errno = -status;
        return -ERR_SYSTEM;
    }
    listener->poll.data = listener;
    loop_handle_opened(loop);
    watch(listener);
    *out_listener = listener;
    return 0;
}
