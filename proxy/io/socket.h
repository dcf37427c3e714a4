/*
 * socket.h - sockets with the options that a transparent proxy needs; for the files of this room.
 *
 * Everything here answers with 0 (or a descriptor) or a negative errno, which is what libuv speaks
 * too: callers need the errno for their own out parameters. A refused option is logged with its
 * name where it happens.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_IO_SOCKET_H
#define ISTHMUS_IO_SOCKET_H

#include "proxy/base/addr.h"

struct socket_options {
    uint32_t mark;    /* SO_MARK, 0 for none */
    bool transparent; /* IP_TRANSPARENT */
    bool reuse_addr;
    bool reuse_port;
    bool v6_only;
};

/* The family of sockets that reach the address; IPv6 for none. */
int socket_family(const struct addr *addr);

/* A non-blocking, close-on-exec socket: the descriptor or a negative errno. */
MUST_USE int socket_open(int family, int type, const struct socket_options *options);
/* The same for a socket that will be bound to local; a "none" address is all addresses of both
 * families, or of IPv4 where the kernel has no IPv6. What to bind to is written to out_local. */
MUST_USE int socket_open_local(const struct addr *local, int type,
                               const struct socket_options *options, struct addr *out_local);
/* TCP_NODELAY, keepalive, TCP_USER_TIMEOUT. Sockets that a listener accepts inherit them. */
MUST_USE int socket_tune_tcp(int fd);
/* Of a socket or of a listener for its sockets: what came is acknowledged with what answers it, 40
 * ms later at most. As far as the kernel can. */
void socket_ack_late(int fd);
/* What came is acknowledged now, and from here on when the kernel thinks best. */
void socket_ack_now(int fd);
/* Binds; with port 0 an address of ours holds no port until the connect, so that ports do not run
 * out. */
MUST_USE int socket_bind_source(int fd, const struct addr *source);
MUST_USE int socket_bind(int fd, const struct addr *local);

struct addr socket_local(int fd);

#endif
