/*
 * tcp.h - TCP connections as streams, listeners, and the socket options a transparent proxy needs.
 *
 * Every socket is non-blocking, close-on-exec, TCP_NODELAY, with keepalive (180 s) and
 * TCP_USER_TIMEOUT, so that a vanished peer is noticed. Our own packets carry a mark, by which the
 * capture rules let them pass.
 *
 * Happy path: tcp_connect() -> on_done(stream), in the same turn where the peer is on this machine
 * and answered already -> events.  Failure modes: refused, unreachable,
 * timed out, each as its error; cancelled with tcp_connect_cancel(), after which nothing is called.
 *
 * Write queue marks: TCP_QUEUE_LOW / TCP_QUEUE_HIGH. Reads are at most SLAB_BYTES. A small write is
 * tried at once; large ones are gathered until there are three slabs of them or the turn ends. What
 * the socket does not take is queued (by reference). Of what a socket has received, a bounded part
 * is read in one turn, so that nobody's bulk keeps others waiting.
 *
 * Thread: the loop's.
 */
#ifndef ISTHMUS_IO_TCP_H
#define ISTHMUS_IO_TCP_H

#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

#define TCP_QUEUE_HIGH ((size_t)262144)
#define TCP_QUEUE_LOW  ((size_t)65536)

struct tcp_options {
    uint32_t mark;       /* SO_MARK, 0 for none */
    struct addr source;  /* bind to this address first ("none": the kernel chooses); port 0 with
                            IP_BIND_ADDRESS_NO_PORT */
    bool transparent;    /* IP_TRANSPARENT: source may be an address that is not ours */
    uint64_t timeout_ns; /* for the connect; 0 is 10 s, UINT64_MAX none: the caller has its own */
};

struct tcp_connect;

/* Starts to connect. on_done(owner, 0, stream) gives the stream away; on_done(owner, -ERR_...,
 * NULL) on failure. Never NULL; the handle is gone once on_done was called. A socket option that
 * fails is reported through on_done. */
struct tcp_connect *tcp_connect(struct loop *loop, const struct addr *remote,
                                const struct tcp_options *options,
                                void (*on_done)(void *owner, int err, struct stream *stream),
                                void *owner);
/* The same to a Unix socket by its path; such a stream has no addresses ("none"), and all else is
 * as for TCP. A path that does not fit or where nobody listens is reported through on_done. */
struct tcp_connect *unix_connect(struct loop *loop, struct str path,
                                 void (*on_done)(void *owner, int err, struct stream *stream),
                                 void *owner);
/* Stops it; on_done is not called. */
void tcp_connect_cancel(struct tcp_connect *connect);

/* The addresses of a TCP stream's socket, read once when it was made: local is what the client
 * called (kept by TPROXY). */
struct addr tcp_local(const struct stream *stream);
struct addr tcp_remote(const struct stream *stream);

/* Keeps what the kernel has taken but not sent yet near that size, so that bulk which waits for a
 * slow link waits with us, where small messages of others overtake it. As far as the kernel can. */
void tcp_bound_unsent(struct stream *stream, size_t bytes);

/* Nothing that was written waits any more, neither here nor in the kernel for the peer to read: it
 * is on its way, or has arrived. Not of TCP: nothing waits here. */
bool tcp_has_sent_all(struct stream *stream);

/* It reads little in a turn, writes at the turn's end, and a polite close of it sends what is
 * queued and is over: no more is read of what the peer sends, who may therefore see a reset in
 * place of our last bytes. Not of TCP: nothing happens. */
void tcp_be_curt(struct stream *stream);

/* Acknowledges what has come, and what comes from here on when the kernel thinks best: of a stream
 * from a listener that acknowledges late. Not of TCP, or closed: nothing happens. */
void tcp_ack_now(struct stream *stream);

struct listener_options {
    bool transparent; /* IP_TRANSPARENT, for TPROXY */
    bool acks_late;   /* what a connection brings first is acknowledged with what answers it, a
                         packet less. Who accepts it calls tcp_ack_now() where its peer may wait for
                         that before it says the rest */
    bool reuse_port;  /* SO_REUSEPORT, one listener a worker */
    bool v6_only;
    int backlog; /* 0 is 4096, capped by net.core.somaxconn */
    uint32_t mark;
};

struct listener;

/* Opens a listening socket. 0 and the listener, or -ERR_SYSTEM with errno kept in *out_errno
 * (address in use, ...). on_accept gives the stream away (its owner sets events). On EMFILE the
 * listener rests 100 ms and says so in the log. */
MUST_USE int listener_open(struct loop *loop, const struct addr *local,
                           const struct listener_options *options,
                           void (*on_accept)(void *owner, struct stream *stream), void *owner,
                           struct listener **out_listener, int *out_errno);
/* The bound address: port 0 asks the kernel for one. */
struct addr listener_addr(const struct listener *listener);
/* Stops accepting: what is in the backlog is accepted first and still delivered during this call's
 * turn, then the socket closes. Gives up the pointer. */
void listener_close(struct listener *listener);

#endif
