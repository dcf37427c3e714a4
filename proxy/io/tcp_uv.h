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

/* Most sockets never wait for room, so that the large requests of libuv are made when one does. */
union tcp_request {
    struct tcp_writing {
        uv_write_t uv;
        struct tcp *tcp;
    } write;

    struct tcp_connecting {
        uv_write_t uv; /* of nothing */
        struct tcp_connect *connect;
    } connect;
};

struct tcp {
    struct stream stream; /* first: a stream is its tcp */
    struct loop *loop;
    uv_tcp_t uv;

    union tcp_request *request; /* while libuv connects or writes; NULL: it does neither */
    struct buf queue;           /* what the socket did not take at once */
    size_t in_flight;           /* bytes at the front of queue that libuv writes */
    struct task task; /* at the end of the turn: tells the owner of err, or pauses and sends what
                         was gathered */

    union {
        struct tcp_ends {
            struct addr local, remote;
        } ends; /* while it has an owner */

        struct tcp_linger {
            struct timer timer;
            size_t dropped; /* bytes */
        } linger;           /* after that */
    } of;
    struct splice_hold *splice_out,
        *splice_in;                 /* that reads this socket; that writes it; or NULL */
    uint32_t read_turn, read_bytes; /* of which turn; read in it */
    int fd;
    int err; /* negative once the stream is dead */
    bool reading;
    bool paused; /* since this turn: reading is stopped at its end, unless it was resumed by then */
    bool ended;  /* the peer's direction */
    bool shut;   /* ours: nothing more is queued, FIN follows what is */
    bool broke;  /* a write found it reset; what came before that is still being read */
    bool lingering; /* closed by its owner, still flushing */
    bool is_curt;   /* reads little in a turn, lingers for its queue alone */
    bool closed;    /* given to uv_close() */
};

/* A stream without a socket. */
struct tcp *tcp_new(struct loop *loop);
/* Gives it a socket, whose descriptor it closes from now on: 0 or a negative errno, and then the
 * caller still owns fd. */
MUST_USE int tcp_attach(struct tcp *tcp, int fd);
/* Makes its request; what ended its connecting or writing calls tcp_request_done(). */
union tcp_request *tcp_request_new(struct tcp *tcp);
void tcp_request_done(struct tcp *tcp);
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
