/*
 * http1_conn.h - what both ends of an HTTP/1.1 connection share: one message after the other comes
 * in, one goes out, and the exchange they belong to is a stream.
 *
 *          first byte      head read      body's end      exchange over
 *   IDLE ────────────► HEAD ──────► BODY ──────────► DONE ───────────► IDLE
 *     │ (client: a      │  └──────────────────────────► ▲
 *     │  request goes   │          (no body)            │ a 101: back to BODY
 *     ▼  out)           ▼
 *   FINISHING (what is queued goes out) ──► DEAD       every state ──► DEAD
 *
 * What came and cannot be taken now waits in `kept`, one read at most, and meanwhile nothing is
 * read. In DONE one read more is taken, so that a peer that goes away is noticed while the answer
 * is made. What goes out waits in `queue` until its message is whole, at the latest until the end of
 * the turn, so that a head, a small body and the frames of chunks leave as one piece; large pieces
 * pass by reference.
 *
 * A request whose length is out is whole to its server, and acted on. So the last bytes of its body
 * wait in `last` for the body's end: what turns out longer than it said, or is given up, never is
 * whole.
 *
 * Each end says with a role what is its own: what a head means, what to do about faults, ends and
 * timeouts. Owners are called from the loop only; what a call of theirs causes waits for go_on.
 *
 * Owner: the end that embeds it. Thread: the loop's.
 */
#ifndef ISTHMUS_HTTP_HTTP1_CONN_H
#define ISTHMUS_HTTP_HTTP1_CONN_H

#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/http/http1_body.h"

enum http1_phase {
    HTTP1_IDLE,
    HTTP1_HEAD,
    HTTP1_BODY,
    HTTP1_DONE,
    HTTP1_FINISHING,
    HTTP1_DEAD,
    HTTP1_PHASES
};

enum http1_in { HTTP1_IN_OPEN, HTTP1_IN_ENDING, HTTP1_IN_ENDED }; /* the end is not told, is told */

enum http1_out {
    HTTP1_OUT_NONE, /* its head was not sent */
    HTTP1_OUT_HELD, /* waits for a 101 */
    HTTP1_OUT_BODY,
    HTTP1_OUT_ENDED
};

struct http1;

struct http1_role {
    enum http1_kind kind;
    /* A head is whole in conn->head. */
    void (*on_head)(struct http1 *conn);
    /* The peer sent what is no message. */
    void (*on_fault)(struct http1 *conn, unsigned status, const char *why);
    /* The peer ended its direction; a body that ends with it has ended. */
    void (*on_lower_end)(struct http1 *conn);
    void (*on_lower_fail)(struct http1 *conn, int err);
    /* The owner closed the stream, and the connection is not dead. */
    void (*on_closed)(struct http1 *conn, int err);
    /* The exchange is closed and the rest of its message was read and dropped. */
    void (*on_discarded)(struct http1 *conn);
    void (*on_timeout)(struct http1 *conn);
    /* From the loop after something changed. May be NULL. */
    void (*on_turn)(struct http1 *conn);
    void (*on_dead)(struct http1 *conn, int err, const char *why);
};

struct http1 {
    struct http_stream exchange; /* first */
    const struct http1_role *role;
    void *self; /* what is freed at the end: whoever embeds this */
    struct loop *loop;
    struct stream *lower; /* NULL: dead */
    struct http_limits limits;
    int phase;

    struct slice kept;
    struct http1_head *head; /* while one is gathered */
    struct http1_body body;
    enum http1_in in;
    enum http1_out out;
    enum http1_framing out_framing;
    uint64_t out_left; /* of a body with a length */
    struct slice last; /* of a request's body: its last bytes, until the body has ended as well */
    struct buf queue;  /* on its way to lower */
    struct buf held;   /* written before the 101 came */
    struct task flush, go_on;
    struct timer timer;
    uint64_t deadline_ns; /* of what is waited for; the timer may fire earlier. 0: nothing */
    uint64_t discard_left;

    int doom_err, doom_dead_err; /* set in a call of the owner: go_on kills */
    int end_err;                 /* of FINISHING */
    const char *why;

    bool is_open;   /* the stream is its owner's */
    bool is_failed; /* on_fail was told */
    bool is_paused;
    bool is_discarding;
    bool is_taking;       /* what came is being read: what that changes is settled behind it */
    bool is_reading;      /* lower is resumed */
    bool lower_is_full;   /* it said stop */
    bool owner_waits;     /* for on_drain */
    bool lower_has_ended; /* it told on_end */
    bool out_shuts;       /* lower is shut down when the queue is out */
    bool lower_is_shut;
    bool head_is_timed;
    bool is_closed; /* the maker of the connection gave it up */
    bool is_buried;
};

void http1_init(struct http1 *conn, void *self, const struct http1_role *role, struct loop *loop,
                struct stream *lower, const struct http_limits *limits);

/* A head is awaited from here on. */
void http1_await(struct http1 *conn);
/* A message's head was read: its body is as the framing says. */
void http1_begin_in(struct http1 *conn, enum http1_framing framing, int64_t length);
/* The body that comes in has ended. */
void http1_end_in(struct http1 *conn);
/* Sends our head, or the empty slice if that is out already: the body follows in this framing, what
 * was held first. Takes the reference. */
void http1_begin_out(struct http1 *conn, struct slice head, enum http1_framing framing,
                     int64_t length);
/* The stream is the owner's, paused, until it closes it. */
void http1_open(struct http1 *conn);
/* An exchange is over: the next message. */
void http1_next(struct http1 *conn);
/* Reads and drops what is left of the message, at most so many bytes; role->on_discarded then. */
void http1_discard(struct http1 *conn, uint64_t bytes_max);

/* For struct http_stream_ops. */
void http1_send_trailers(struct http_stream *exchange, const struct http_fields *trailers);

/* Queues; takes the reference. */
void http1_send(struct http1 *conn, struct slice bytes);

/* Between exchanges: as long as the limits say. */
void http1_wait_idle(struct http1 *conn);
/* Calls role->on_timeout after that time, unless another wait or http1_wait_not() comes before. */
void http1_wait(struct http1 *conn, uint64_t after_ns);
void http1_wait_not(struct http1 *conn);

/* Nobody hears of the exchange any more but on_fail, unless it was whole. */
void http1_fail(struct http1 *conn, int err);
/* The end, at once: the exchange fails with err, on_dead says dead_err. */
void http1_kill(struct http1 *conn, int err, int dead_err, const char *why);
/* The same from go_on, for calls of the owner. */
void http1_doom(struct http1 *conn, int err, int dead_err, const char *why);
/* The end once what is queued is out; on_dead says err. No exchange is under way. */
void http1_finish(struct http1 *conn, int err, const char *why);
/* The maker of the connection gives it up: no event of it comes any more. */
void http1_release(struct http1 *conn);

/* What may be read is read; asked for whenever something changed that decides it. */
void http1_settle(struct http1 *conn);

/* ---- shared by http1_conn.c (what comes in) -> http1_out.c (what goes out) -> http1_life.c ----
 */

void http1_move(struct http1 *conn, enum http1_phase phase);
/* How long the present phase may go on without a byte. */
void http1_settle_time(struct http1 *conn);
/* FINISHING, and the queue is out. */
void http1_end_finishing(struct http1 *conn);
/* Frees it once it is dead, given up, and has no stream. */
void http1_bury_if_over(struct http1 *conn);
void http1_run_flush(struct task *task);
void http1_on_lower_drain(void *owner);
/* The owner may write again, if it waits for that and may. */
void http1_tell_drained(struct http1 *conn);
bool http1_write_op(struct stream *stream, struct slice bytes);
void http1_shutdown_op(struct stream *stream);
size_t http1_queued_op(const struct stream *stream);

static inline bool http1_is_deaf(const struct http1 *conn) /* the owner is to hear nothing */
{
    return !conn->is_open || conn->is_failed;
}

static inline bool http1_is_over(const struct http1 *conn) /* nothing is taken or begun any more */
{
    return conn->phase >= HTTP1_FINISHING || conn->doom_dead_err || conn->doom_err;
}

#define HTTP1_PROTOCOL_MAX (HTTP_PROTOCOL_MAX + 1) /* with its NUL */

static inline void http1_keep(char *room, struct str protocol) /* shorter than that */
{
    if (protocol.len > 0)
        memcpy(room, protocol.ptr, protocol.len);
    room[protocol.len] = 0;
}

static inline struct http1 *http1_of(struct http_stream *exchange)
{
    return container_of(exchange, struct http1, exchange);
}

#endif
