/*
 * tcp_uv.h - the inside of a TCP stream, for tcp_connect.c and listener.c, which make them.
 *
 * Owner: tcp_dispose() frees it once libuv let go of the handle. Thread: the loop's.
 */
#ifndef ISTHMUS_IO_TCP_UV_H
#define ISTHMUS_IO_TCP_UV_H

#include "proxy/base/buf.h"
#include "proxy/io/loop_uv.h"
#include "proxy/io/tcp.h"

/* What a splice (tcp_splice.h) is for the two streams that it joins. */
struct splice_hold {
    size_t bytes; /* in the pipe */
    void (*drop)(struct splice_hold *hold);
    void (*on_queue_empty)(struct splice_hold *hold); /* of the destination */
};

struct tcp {
    struct stream stream; /* first: a stream is its tcp */
    struct loop *loop;
    uv_tcp_t uv;

    union { /* a socket connects before it writes */
        uv_connect_t connect;
        uv_write_t write;
    } req;
    struct buf queue;    /* what the socket did not take at once */
    size_t in_flight;    /* bytes at the front of queue that req.write has; 0: it is free */
    struct task uncork;  /* sends what was gathered, at the end of the turn */
    struct task failing; /* tells the owner of err at the end of the turn */
    struct timer linger;
    struct addr local, remote;
    struct splice_hold *splice_out,
        *splice_in; /* that reads this socket; that writes it; or NULL */
    int fd;
    int err; /* negative once the stream is dead */
    bool reading;
    bool ended;     /* the peer's direction */
    bool shut;      /* ours: nothing more is queued, FIN follows what is */
    bool lingering; /* closed by its owner, still flushing */
    bool closed;    /* given to uv_close() */
};

/* A stream without a socket. */
struct tcp *tcp_new(struct loop *loop);
/* Gives it a socket, whose descriptor it closes from now on: 0 or a negative errno, and then the
 * caller still owns fd. */
MUST_USE int tcp_attach(struct tcp *tcp, int fd);
/* Reads the local address of the socket, once it has one. */
void tcp_set_addrs(struct tcp *tcp, const struct addr *remote);
/* Closes the socket, if there is one, and frees the stream after the turn. Nothing is called any
 * more. */
void tcp_dispose(struct tcp *tcp);

/* For tcp_splice.c. The TCP stream behind a stream, or NULL. */
struct tcp *tcp_of_stream(struct stream *stream);
/* The socket is read by a splice from here on. */
void tcp_hand_over(struct tcp *tcp);
/* The splice saw the peer's end; or the socket die of a negative errno. */
void tcp_peer_ended(struct tcp *tcp);
void tcp_failed(struct tcp *tcp, int status);

#endif
