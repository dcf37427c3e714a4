/*
 * Happy path: socket, options, source address -> connect -> on_done(0, stream).
 *
 * Failure modes: the kernel refuses an option, an address or the route at once: on_done from a
 * task at the end of the turn. Refused or unreachable: on_done from libuv's callback. No answer:
 * on_done from the timer. All of them end in finish().
 *
 * Cancelled: finish() without on_done.
 *
 * A Unix socket connects or is refused at once, so both ends come from a task.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/io/socket.h"
#include "proxy/io/tcp.h"
#include "proxy/io/tcp_uv.h"

#define DEFAULT_TIMEOUT_NS (10 * NS_PER_SEC)

struct tcp_connect {
    struct loop *loop;
    struct tcp *tcp; /* NULL once it was given away */
    struct addr remote;
    bool has_other_source; /* it comes from an address that is not the one it calls */
    struct timer timeout;
    struct task failing; /* or, of a Unix socket, succeeding */
    int err;
    void (*on_done)(void *owner, int err, struct stream *stream);
    void *owner;
};

/* The end of every path: nothing of the attempt is left but the memory, which goes with the turn.
 */
static void finish(struct tcp_connect *connect)
{
    timer_stop(&connect->timeout);
    task_cancel(&connect->failing);
    if (connect->tcp)
        tcp_dispose(connect->tcp);
    loop_bury(connect->loop, connect, mem_free);
}

static void fail(struct tcp_connect *connect, int err)
{
    finish(connect);
    connect->on_done(connect->owner, err, NULL);
}

static void succeed(struct tcp_connect *connect)
{
    struct tcp *tcp = connect->tcp;
    connect->tcp = NULL;
    finish(connect);
    connect->on_done(connect->owner, 0, &tcp->stream);
}

static void on_timeout(struct timer *timer)
{
    fail(container_of(timer, struct tcp_connect, timeout), -ERR_CONNECT_TIMEOUT);
}

static void run_failing(struct task *task)
{
    struct tcp_connect *connect = container_of(task, struct tcp_connect, failing);
    fail(connect, connect->err);
}

static void run_connected(struct task *task)
{
    succeed(container_of(task, struct tcp_connect, failing));
}

/* Nobody listens, and the kernel gave us the very port we called: the socket is connected to
 * itself. From another address it cannot be, and the kernel need not be asked. */
static bool is_own_echo(const struct tcp_connect *connect)
{
    if (connect->has_other_source)
        return false;
    const struct addr local = socket_local(connect->tcp->fd);
    return addr_eq(&local, &connect->remote);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct tcp_connect *connect = container_of(req, struct tcp_connecting, uv)->connect;
    if (status == UV_ECANCELED) /* finish() closed the socket; connect is freed already */
        return;
    tcp_request_done(connect->tcp);
    if (status < 0) {
        fail(connect, err_from_errno(-status));
        return;
    }
    connect->tcp->of.ends.remote = connect->remote;
    if (is_own_echo(connect))
        fail(connect, -ERR_REFUSED);
    else
        succeed(connect);
}

/* A socket that is ready to connect: the descriptor or a negative errno. */
static int open_socket(const struct addr *remote, const struct tcp_options *options)
{
    int family = socket_family(remote);
    if (!ip_is_none(&options->source.ip) && socket_family(&options->source) != family)
        return -EAFNOSUPPORT;
    const struct socket_options socket_options = {.mark = options->mark,
                                                  .transparent = options->transparent};
    int fd = socket_open(family, SOCK_STREAM, &socket_options);
    if (fd < 0)
        return fd;
    int err = socket_tune_tcp(fd);
    if (err == 0 && !ip_is_none(&options->source.ip))
        err = socket_bind_source(fd, &options->source);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

/* 0 or a negative errno. */
static int start(struct tcp_connect *connect, const struct tcp_options *options)
{
    struct tcp *tcp = connect->tcp;
    int fd = open_socket(&connect->remote, options);
    if (fd < 0)
        return fd;
    int err = tcp_attach(tcp, fd);
    if (err < 0) {
        close(fd);
        return err;
    }
    struct sockaddr_storage sa;
    addr_to_sockaddr(&connect->remote, &sa);
    union tcp_request *request = tcp_request_new(tcp);
    request->connect.connect = connect;
    return uv_tcp_connect(&request->connect.uv, &tcp->uv, (const struct sockaddr *)&sa,
                          on_connected);
}

static struct tcp_connect *connect_new(struct loop *loop,
                                       void (*on_done)(void *owner, int err, struct stream *stream),
                                       void *owner)
{
    struct tcp_connect *connect = mem_new(struct tcp_connect);
    connect->loop = loop;
    connect->tcp = tcp_new(loop);
    connect->failing.run = run_failing;
    connect->on_done = on_done;
    connect->owner = owner;
    return connect;
}

struct tcp_connect *tcp_connect(struct loop *loop, const struct addr *remote,
                                const struct tcp_options *options,
                                void (*on_done)(void *owner, int err, struct stream *stream),
                                void *owner)
{
    static const struct tcp_options none;
    if (!options)
        options = &none;
    struct tcp_connect *connect = connect_new(loop, on_done, owner);
    connect->remote = *remote;
    connect->has_other_source =
        !ip_is_none(&options->source.ip) && !ip_eq(&options->source.ip, &remote->ip);

    int err = start(connect, options);
    if (err < 0) {
        connect->err = err_from_errno(-err);
        loop_defer(loop, &connect->failing);
    } else {
        uint64_t timeout_ns = options->timeout_ns ? options->timeout_ns : DEFAULT_TIMEOUT_NS;
        timer_start(loop, &connect->timeout, timeout_ns, on_timeout);
    }
    return connect;
}

/* A connected socket, or a negative errno. */
static int open_unix(struct str path)
{
    static const struct socket_options plain;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (path.len == 0 || path.len >= sizeof(sa.sun_path))
        return -EINVAL;
    memcpy(sa.sun_path, path.ptr, path.len);
    int fd = socket_open(AF_UNIX, SOCK_STREAM, &plain);
    if (fd < 0)
        return fd;
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

struct tcp_connect *unix_connect(struct loop *loop, struct str path,
                                 void (*on_done)(void *owner, int err, struct stream *stream),
                                 void *owner)
{
    struct tcp_connect *connect = connect_new(loop, on_done, owner);
    int fd = open_unix(path);
    int err = fd < 0 ? fd : tcp_attach(connect->tcp, fd);
    if (err == 0)
        connect->failing.run = run_connected;
    else if (fd >= 0)
        close(fd);
    connect->err = err < 0 ? err_from_errno(-err) : 0;
    loop_defer(loop, &connect->failing);
    return connect;
}

void tcp_connect_cancel(struct tcp_connect *connect)
{
    finish(connect);
}
