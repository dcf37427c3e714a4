/*
 * h2.h - one HTTP/2 connection over any stream, as client or server; each HTTP/2 stream is a struct
 * stream.
 *
 * nghttp2 is the codec; bytes go down once a turn, coalesced. The body of an HTTP/2 stream has all
 * of struct stream: back pressure (the window is given back as the owner takes bytes), half-close
 * (END_STREAM), abort (RST_STREAM).
 *
 * Windows: a stream starts with stream_window and grows, doubling, up to stream_window_max while
 * its owner keeps up, all of a connection by 3/4 of connection_window together. When 3/8 of that
 * wait in paused streams, streams start with 16 KiB, also those that are open and have not used
 * more, until it is 1/8: so readers that stand still, however many, do not use up the connection's
 * window, which is given back on receipt as long as what waits is under connection_window. A tunnel
 * never holds more than twice that.
 *
 * Write queues: a stream's takes 256 KiB (and a read more), as long as those of the connection hold
 * 1 MiB together; beyond it less, at 2 MiB and from there on a frame (32 KiB, and a read more),
 * which each always has. So the sum grows with the number of streams, but for that slowly, and a
 * stream that is read goes on whatever the others hold.
 *
 * Strictness beyond nghttp2: malformed fields, more than H2_RESETS_PER_SEC rapid resets (of a
 * stream that is younger than a second and was not answered; or resets that the peer's faults make
 * us send; H2_RESETS_WHEN_MANY while the connections that share options.resets have had more than
 * H2_RESETS_OF_CLIENT), more than H2_CONTROL_PER_SEC PING/SETTINGS/PRIORITY/empty frames a second,
 * more than H2_OUTBOUND_MAX of unsent control frames end the connection with ENHANCE_YOUR_CALM or
 * PROTOCOL_ERROR, and with the -ERR_H2_..._FLOOD that it was; -ERR_LIMIT for a head of four times
 * its limit, -ERR_HEAD_TIMEOUT for one that does not end, -ERR_H2 for all else.
 *
 * Resets: REFUSED_STREAM is -ERR_H2_REFUSED, PROTOCOL_ERROR and its like -ERR_H2, all else
 * -ERR_RESET; NO_ERROR, CANCEL or a server's INTERNAL_ERROR after its END_STREAM lets what it sent
 * be read first. stream_close(0) sends END_STREAM after what is queued, then RST_STREAM(NO_ERROR)
 * if the peer's half is still open; bytes that are dropped make it what stream_close(err) sends:
 * CANCEL from a client, INTERNAL_ERROR from a server, REFUSED_STREAM for -ERR_H2_REFUSED and
 * -ERR_OVERLOAD, INTERNAL_ERROR for -ERR_H2.
 *
 * Trust: where the lower stream fails, or h2_close() is called, with -ERR_TRUST_REMOVED or
 * -ERR_TLS_REVOKED, nothing is sent any more but that: GOAWAY, and RST_STREAM of the streams, with
 * INADEQUATE_SECURITY and the reason. Only where it can be sent at once (tls_part()).
 *
 * Keepalive: a PING when nothing was read for keepalive_ns; no answer within keepalive_timeout_ns
 * is -ERR_KEEPALIVE_TIMEOUT. The first SETTINGS must come within 10 s.
 *
 * Memory: when nothing came or went for still_ms, with open streams or without, the session is
 * folded (h2_nest.h) until it is used again.
 *
 * Owner:  h2_client_new()/h2_server_new() take the lower stream. h2_close() gives up the pointer;
 * all its streams fail first. Thread: the loop's. Source: RFC 9113.
 */
#ifndef ISTHMUS_HTTP_H2_H
#define ISTHMUS_HTTP_H2_H

#include "proxy/http/message.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

#define H2_RESETS_PER_SEC   200
#define H2_RESETS_OF_CLIENT 300 /* on all its connections; when there are more, */
#define H2_RESETS_WHEN_MANY 10  /* so many on each */
#define H2_CONTROL_PER_SEC  1000
#define H2_OUTBOUND_MAX     10000
#define H2_HEADS_MAX        ((size_t)8388608) /* of answers that wait to be sent, in bytes */
#define H2_HEADS_HIGH       ((size_t)262144)  /* from there on interims are left out */
#define H2_NO_KEEPALIVE     UINT64_MAX
#define H2_NEVER_STILL      UINT32_MAX
#define H2_ALWAYS_STILL     (UINT32_MAX - 1) /* after each turn, to prove that nobody can tell */

struct h2_field {
    struct str name, value;
};

struct h2_head {                   /* borrowed for the call that shows it */
    const struct h2_field *fields; /* pseudo-header fields first, as received */
    size_t len;
    bool end_stream; /* no body follows */
    bool is_cut;     /* of a server with options.http: beyond its limits, and not whole */
};

/* The value of a field by its lower-case name, or {0}. */
struct str h2_find(const struct h2_head *head, const char *name);

/* For a connection that carries HTTP messages instead of tunnels: its streams are struct
 * http_stream (message.h), what it hears comes here in place of h2_stream_events, and it is watched
 * more closely: frames on streams that were never opened or that the peer has ended, window updates
 * without a cause, heads and bodies that do not go on. */
struct h2_http {
    struct http_stream_ops ops;
    /* Client: a response's head, each 1xx too. False: malformed; the stream is reset. */
    bool (*on_response)(struct http_stream *stream, const struct h2_head *head);
    /* As soon as they come. False: malformed. */
    bool (*may_be_trailers)(const struct h2_head *trailers);
    /* In their turn, behind the body. */
    void (*on_trailers)(struct http_stream *stream, const struct h2_head *trailers);
    /* Server: a request was malformed (-ERR_H2), or its body too slow (-ERR_BODY_TIMEOUT), and its
     * stream is reset. May be NULL. */
    void (*on_refused)(void *owner, int err, struct str why);
};

struct h2_options {
    const struct h2_http *http;      /* NULL: tunnels */
    uint32_t max_fields;             /* of a head; 0: no limit but max_header_list_size */
    uint64_t head_ns;                /* from a head's first frame to its last; 0: no limit */
    uint64_t body_ns;                /* no byte of a stream that is awaited; 0: no limit */
    struct http_rate *resets;        /* as in struct http_limits */
    uint32_t resets_max;             /* 0 is H2_RESETS_PER_SEC */
    bool allow_protocols;            /* server: extended CONNECT (RFC 8441) */
    uint32_t stream_window;          /* 0 is 256 KiB */
    uint32_t stream_window_max;      /* 0 is 4 MiB */
    uint32_t connection_window;      /* 0 is 16 MiB */
    uint32_t max_frame_size;         /* 0 is 64 KiB: what we accept */
    uint32_t max_concurrent_streams; /* 0 is 1000: what we let the peer open */
    uint32_t max_header_list_size;   /* 0 is 16 KiB */
    uint32_t still_ms;               /* nothing moves for so long: fold; 0 is 2 s; H2_NEVER_STILL */
    uint64_t keepalive_ns;           /* 0 is 10 s; H2_NO_KEEPALIVE */
    uint64_t keepalive_timeout_ns;   /* 0 is 20 s */
};

struct h2;

struct h2_events {
    /* Server: a request's head arrived. The owner calls stream_set_owner() with its own events (and
     * h2_stream_events if it wants trailers), answers with h2_respond() now or later, or closes the
     * stream. */
    void (*on_request)(void *owner, struct stream *stream, const struct h2_head *head);
    /* The peer's first SETTINGS arrived: h2_can_open() is true to its word from here on. May be
     * NULL. */
    void (*on_ready)(void *owner);
    /* The peer takes no new streams (GOAWAY), or its limit changed, or a stream ended: ask
     * h2_can_open() again. May be NULL. */
    void (*on_capacity)(void *owner);
    /* The connection is dead; every stream of it got its on_fail before. err is -ERR_EOF when the
     * peer closed. why is a sentence. The owner still calls h2_close(). */
    void (*on_dead)(void *owner, int err, struct str why);
};

struct h2 *h2_client_new(struct loop *loop, struct stream *lower, const struct h2_options *options,
                         const struct h2_events *events, void *owner);
struct h2 *h2_server_new(struct loop *loop, struct stream *lower, const struct h2_options *options,
                         const struct h2_events *events, void *owner);

/* True when a request may be sent now without waiting for a stream to end. */
bool h2_can_open(const struct h2 *h2);
/* The peer's first SETTINGS came: what h2_can_open() says is its word. */
bool h2_is_ready(const struct h2 *h2);
/* The peer has said (GOAWAY) or we have said (h2_drain) that no new stream may come. */
bool h2_is_draining(const struct h2 *h2);
unsigned h2_open_streams(const struct h2 *h2);
/* How many of ours may be open at once by the peer's latest SETTINGS. */
uint32_t h2_streams_allowed(const struct h2 *h2);
/* When anything was last read from the peer. */
uint64_t h2_last_read_ns(const struct h2 *h2);

struct h2_stream_events {
    /* Client: the response's head (1xx left out). Server: not called. */
    void (*on_head)(void *owner, const struct h2_head *head);
    /* Trailers; on_end follows. May be NULL. */
    void (*on_trailers)(void *owner, const struct h2_head *trailers);
};

/* Sends a request head; end_stream when no body follows. The stream comes paused for its body;
 * on_head comes all the same. NULL when h2_can_open() is false. owner and events as in
 * stream_set_owner(). */
struct stream *h2_request(struct h2 *h2, const struct h2_field *fields, size_t n_fields,
                          bool end_stream, const struct h2_stream_events *head_events,
                          const struct stream_events *events, void *owner);

/* The same for an extended CONNECT: waits for the peer's SETTINGS, and fails with -ERR_REFUSED when
 * they do not allow one. */
struct stream *h2_request_protocol(struct h2 *h2, const struct h2_field *fields, size_t n_fields,
                                   const struct stream_events *events, void *owner);

/* Sets who hears of trailers on a server's stream. */
void h2_stream_set_events(struct stream *stream, const struct h2_stream_events *head_events);

/* Server: sends the response's head. With end_stream the stream's write side is at its end. */
void h2_respond(struct stream *stream, const struct h2_field *fields, size_t n_fields,
                bool end_stream);
/* Server: sends a 1xx. Not after h2_respond(). */
void h2_interim(struct stream *stream, const struct h2_field *fields, size_t n_fields);
/* Closes the stream with PROTOCOL_ERROR: its head is malformed. */
void h2_refuse(struct stream *stream);
/* The stream carries bytes of another protocol, and may be silent for as long as it likes. */
void h2_set_protocol(struct stream *stream);
bool h2_is_protocol(const struct stream *stream);
/* Client: the request's method is HEAD. */
void h2_set_head(struct stream *stream);
bool h2_is_head(const struct stream *stream);
/* Sends trailers after what is queued, in place of stream_shutdown(). */
void h2_send_trailers(struct stream *stream, const struct h2_field *fields, size_t n_fields);

/* Graceful end: GOAWAY; open streams go on. A server sends it twice (the last-stream-id dance of
 * RFC 9113 6.8). */
void h2_drain(struct h2 *h2);
/* The end of that dance at once, for a peer that does not answer. */
void h2_drain_now(struct h2 *h2);
/* Nothing of the peer's is open, and nothing new can come. */
bool h2_is_drained(const struct h2 *h2);
/* Ends the connection and frees it; open streams fail with err (or -ERR_SHUTDOWN when err is 0),
 * their on_fail comes before this returns. A stream whose both halves have ended stays readable.
 * Safe inside events. */
void h2_close(struct h2 *h2, int err);
/* The lower stream, borrowed: for tls_peer(). NULL once the connection is dead. */
struct stream *h2_lower(const struct h2 *h2);
/* The connection a stream belongs to; NULL once that is dead. */
struct h2 *h2_of(const struct stream *stream);

#endif
