/*
 * Happy path: socket, options, source address -> connect -> on_done(0, stream).
 *
 * Who listens on this machine, as a pod of the node does, has answered before connect() returns: it
 * says EINPROGRESS all the same, and asked again that the connection is there. on_done then comes
 * from a task at the end of the turn, and libuv never waited for the socket. Otherwise it waits
 * until the socket takes nothing, which it does once it is connected and no sooner:
 * uv_tcp_connect() would have to be the one who connects.
 *
 * Failure modes: the kernel refuses an option, an address or the route at once: on_done from a
 * task at the end of the turn. Refused or unreachable: from the same, or from libuv's callback. No
 * answer: on_done from the timer. All of them end in finish().
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
    bool may_echo; /* it comes from the address that it calls, as far as we know */
    struct timer timeout;
    struct task told; /* what was known at once */
    int err;
    void (*on_done)(void *owner, int err, struct stream *stream);
    void *owner;
};

/* The end of every path: nothing of the attempt is left but the memory, which goes with the turn.
 */
static void finish(struct tcp_connect *connect)
{
    timer_stop(&connect->timeout);
    task_cancel(&connect->told);
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
    struct tcp_connect *connect = container_of(task, struct tcp_connect, told);
    fail(connect, connect->err);
}

/* Nobody listens, and the kernel gave us the very port we called: the socket is connected to
 * itself. From another address it cannot be, and the kernel need not be asked. */
static bool is_own_echo(const struct tcp_connect *connect)
{
    if (!connect->may_echo)
        return false;
    const struct addr local = socket_local(connect->tcp->fd);
    return addr_eq(&local, &connect->remote);
}

static void be_connected(struct tcp_connect *connect)
{
    connect->tcp->of.ends.remote = connect->remote;
    if (is_own_echo(connect))
        fail(connect, -ERR_REFUSED);
    else
        succeed(connect);
}

static void run_connected(struct task *task)
{
    be_connected(container_of(task, struct tcp_connect, told));
}

static void on_writable(uv_write_t *req, int status)
{
    struct tcp_connect *connect = container_of(req, struct tcp_connecting, uv)->connect;
    if (status == UV_ECANCELED) /* finish() closed the socket; connect is freed already */
        return;
    tcp_request_done(connect->tcp);
    if (status < 0)
        fail(connect, err_from_errno(-status));
    else
        be_connected(connect);
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

/* 0; -EALREADY: it is on its way; or another negative errno. */
static int call(int fd, const struct addr *remote)
{
    struct sockaddr_storage sa;
    const socklen_t len = addr_to_sockaddr(remote, &sa);
    int status = connect(fd, (const struct sockaddr *)&sa, len);
    if (status < 0 && errno == EINPROGRESS)
        status = connect(fd, (const struct sockaddr *)&sa, len);
    return status == 0 ? 0 : -errno;
}

static void tell(struct tcp_connect *connect, int status)
{
    connect->err = status < 0 ? err_from_errno(-status) : 0;
    connect->told.run = status < 0 ? run_failing : run_connected;
    loop_defer(connect->loop, &connect->told);
}

static void await(struct tcp_connect *connect, uint64_t timeout_ns)
{
    struct tcp *tcp = connect->tcp;
    const uv_buf_t nothing = uv_buf_init(NULL, 0);
    union tcp_request *request = tcp_request_new(tcp);
    request->connect.connect = connect;
    int status = uv_write(&request->connect.uv, (uv_stream_t *)&tcp->uv, &nothing, 1, on_writable);
    if (status < 0)
        tell(connect, status);
    else if (timeout_ns != UINT64_MAX)
        timer_start(connect->loop, &connect->timeout, timeout_ns ? timeout_ns : DEFAULT_TIMEOUT_NS,
                    on_timeout);
}

/* Its status is 0, -EALREADY or another negative errno. */
static int start(struct tcp_connect *connect, const struct tcp_options *options)
{
    int fd = open_socket(&connect->remote, options);
    if (fd < 0)
        return fd;
    int status = call(fd, &connect->remote);
    int err = status == 0 || status == -EALREADY ? tcp_attach(connect->tcp, fd) : status;
    if (err == 0)
        return status;
    close(fd);
    return err;
}

static struct tcp_connect *connect_new(struct loop *loop,
                                       void (*on_done)(void *owner, int err, struct stream *stream),
                                       void *owner)
{
    struct tcp_connect *connect = mem_new(struct tcp_connect);
    connect->loop = loop;
    connect->tcp = tcp_new(loop);
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
    connect->may_echo = ip_is_none(&options->source.ip) || ip_eq(&options->source.ip, &remote->ip);

    int status = start(connect, options);
    if (status == -EALREADY)
        await(connect, options->timeout_ns);
    else
        tell(connect, status);
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
    int status = fd < 0 ? fd : tcp_attach(connect->tcp, fd);
    if (status < 0 && fd >= 0)
        close(fd);
    tell(connect, status);
    return connect;
}

void tcp_connect_cancel(struct tcp_connect *connect)
{
    finish(connect);
}
