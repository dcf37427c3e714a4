#include "proxy/io/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include <uv.h>

#include "proxy/base/log.h"

#define KEEPALIVE_IDLE_SEC 180
#define USER_TIMEOUT_MS    60000

struct option {
    int level;
    int name;
    int value;
    const char *text;
};

/* 0, or the negative errno of the first that was refused. */
static int set_options(int fd, const struct option *options, size_t n_options)
{
    for (size_t idx = 0; idx < n_options; idx++) {
        const struct option *option = &options[idx];
        if (setsockopt(fd, option->level, option->name, &option->value, sizeof(option->value)) == 0)
            continue;
        int err = -errno;
        log_warn("the kernel refused a socket option", log_cstr("option", option->text),
                 log_cstr("error", uv_strerror(err)));
        return err;
    }
    return 0;
}

int socket_family(const struct addr *addr)
{
    return addr->ip.len == 4 ? AF_INET : AF_INET6;
}

static int apply(int fd, int family, const struct socket_options *options)
{
    struct option list[6];
    size_t len = 0;
    if (options->mark)
        list[len++] = (struct option){SOL_SOCKET, SO_MARK, (int)options->mark, "SO_MARK"};
    if (options->reuse_addr)
        list[len++] = (struct option){SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"};
    if (options->reuse_port)
        list[len++] = (struct option){SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT"};
    if (family == AF_INET6)
        list[len++] = (struct option){SOL_IPV6, IPV6_V6ONLY, options->v6_only, "IPV6_V6ONLY"};
    if (options->transparent && family == AF_INET6) {
        list[len++] = (struct option){SOL_IPV6, IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT"};
    } else if (options->transparent) {
        list[len++] = (struct option){SOL_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT"};
    }
    return set_options(fd, list, len);
}

int socket_open(int family, int type, const struct socket_options *options)
{
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int err = apply(fd, family, options);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

int socket_open_local(const struct addr *local, int type, const struct socket_options *options,
                      struct addr *out_local)
{
    struct addr bind_to = *local;
    int fd = socket_open(socket_family(local), type, options);
    if (fd == -EAFNOSUPPORT && ip_is_none(&local->ip)) {
        bind_to.ip = (struct ip){.len = 4};
        fd = socket_open(AF_INET, type, options);
    }
    if (fd >= 0)
        *out_local = bind_to;
    return fd;
}

int socket_tune_tcp(int fd)
{
    static const struct option list[] = {
        {SOL_TCP, TCP_NODELAY, 1, "TCP_NODELAY"},
        {SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE"},
        {SOL_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SEC, "TCP_KEEPIDLE"},
        /* It counts for probes too, in place of TCP_KEEPCNT; what is over by it is noticed a
         * TCP_KEEPINTVL (75 s) after the first probe. */
        {SOL_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS, "TCP_USER_TIMEOUT"},
    };
    return set_options(fd, list, ARRAY_LEN(list));
}

static void set_quick_ack(int fd, int value)
{
    (void)setsockopt(fd, SOL_TCP, TCP_QUICKACK, &value, sizeof(value));
}

void socket_ack_late(int fd)
{
    set_quick_ack(fd, 0);
}

void socket_ack_now(int fd)
{
    set_quick_ack(fd, 1);
}

int socket_bind(int fd, const struct addr *local)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(local, &sa);
    return bind(fd, (const struct sockaddr *)&sa, len) == 0 ? 0 : -errno;
}

int socket_bind_source(int fd, const struct addr *source)
{
    static const struct option late[] = {
        {SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1, "IP_BIND_ADDRESS_NO_PORT"},
    };
    int err = source->port == 0 ? set_options(fd, late, ARRAY_LEN(late)) : 0;
    return err ? err : socket_bind(fd, source);
}

struct addr socket_local(int fd)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    struct addr addr = {0};
    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr((const struct sockaddr *)&sa, &addr);
    return addr;
}
