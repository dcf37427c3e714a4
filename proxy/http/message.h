/*
 * message.h - HTTP messages and the two ends of a connection that carries them, whatever its
 * version.
 *
 * An exchange is a struct stream with a head before its body and perhaps trailers behind it. A
 * server's connection shows each request as such a stream; a client's connection makes one for each
 * request that it is given. Between two of them the body is pumped like any other bytes: windows or
 * a paused socket are the back pressure, stream_shutdown() ends the body, stream_close(err) cancels
 * the exchange (RST_STREAM; in HTTP/1.1 the connection ends with it).
 *
 *   on_request ──► http_interim()* ──► http_respond() ──► stream_write()* ──► http_trailers() or
 *                                                                             stream_shutdown()
 *   http_request() ──► on_interim* ──► on_response ──► on_data* ──► on_trailers? ──► on_end
 *
 * What a head holds is what is for the other end: the fields of one hop (connection and those that
 * it names, keep-alive, proxy-connection, transfer-encoding, upgrade, te but for "trailers") are
 * taken out when a head is read and written anew when one is sent. host and :authority are
 * authority; content-length is content_length. A message that is not strictly formed is never
 * shown: its sender is answered 400 (or what fits), or its stream is reset, and on_refused tells.
 *
 * An upgrade (RFC 9110 7.8) and an extended CONNECT (RFC 8441) are the same here: protocol is set,
 * the answer that agrees is status 101 at both ends, and from there the stream carries bytes of
 * that protocol. Its method is GET at both ends, has_body is true, and what a WebSocket handshake
 * needs more in HTTP/1.1 than in HTTP/2 is made up where it is missing. A peer whose SETTINGS allow
 * no extended CONNECT makes http_request() of one fail with -ERR_REFUSED. A plain CONNECT is
 * answered 501 and never shown.
 *
 * Owner:  the connection's maker, until http_server_close() or http_client_close(); streams are
 * owned by whoever got them until stream_close(). Thread: the loop's. Heads are borrowed for the
 * call. Source: RFC 9110, 9112, 9113, 8441.
 */
#ifndef ISTHMUS_HTTP_MESSAGE_H
#define ISTHMUS_HTTP_MESSAGE_H

#include "proxy/base/arena.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

enum http_version { HTTP_1_0, HTTP_1_1, HTTP_2 };

struct http_field {
    struct str name, value; /* the name in lower case */
};

struct http_fields {
    const struct http_field *at;
    size_t len;
    /* Each stands as the line "name: value" CRLF in one piece of memory, in this order; between two
     * of them may be lines that were taken out. Of fields that anybody put together it is false. */
    bool are_lines;
};

/* The value of the first field of a lower-case name, or {0}. */
struct str http_find_str(const struct http_fields *fields, struct str name);

static inline struct str http_find(const struct http_fields *fields, const char *name)
{
    return http_find_str(fields, str_from(name)); /* the length of a literal is known */
}

/* Copies that share nothing with what they were made of. */
struct http_fields http_fields_copy(const struct http_fields *fields, struct arena *arena);

#define HTTP_LENGTH_UNKNOWN (-1)
#define HTTP_PROTOCOL_MAX   31u /* bytes of the name of one to switch to */

struct http_request {
    struct str method;
    struct str scheme;    /* "http" where the version has no word for it */
    struct str authority; /* never empty but in HTTP/1.0 */
    struct str path;      /* with the query, as received; "*" for OPTIONS * */
    struct str protocol;  /* of an upgrade or extended CONNECT, "websocket"; else empty */
    struct http_fields fields;
    int64_t content_length; /* HTTP_LENGTH_UNKNOWN: to the end of the stream */
    bool has_body; /* false: the stream is at its end already, as on_end says when it is resumed */
    enum http_version version;
    struct str piece; /* one piece of memory in which nearly all of it lies, or empty */
};

/* A copy that shares nothing with it. */
void http_request_copy(const struct http_request *head, struct arena *arena,
                       struct http_request *out_copy);

struct http_response {
    unsigned status;
    struct http_fields fields;
    int64_t content_length;
    bool has_body; /* false: HEAD, 204, 304, or at its end already */
    /* Of HTTP/1.1: its server ends the connection with it. A client that still sends its request is
     * told so (RFC 9112 9.5, 9.6), who has sent it whole need not be. */
    bool closes;
};

struct http_rate { /* events in the current second */
    uint64_t window_start_ns;
    uint32_t n;
};

struct http_limits {     /* 0 is the default */
    uint32_t head_bytes; /* of names and values and 32 a field; 64 KiB */
    uint32_t fields;     /* 100 */
    uint32_t streams;    /* HTTP/2: open at once; 100 */
    uint32_t requests;   /* on one connection, after which it drains; no limit */
    uint64_t head_ns;    /* from the first byte of a head to its last; 10 s */
    uint64_t idle_ns;    /* between exchanges; 1 h */
    uint64_t body_ns;    /* no byte either way while a body is awaited and not paused; 5 min. Never
                            for an upgrade */
    uint32_t stream_window, stream_window_max, connection_window; /* as in h2.h */
    uint32_t still_ms;                                            /* HTTP/2: as in h2.h */
    uint32_t resets_max; /* HTTP/2: rapid ones of one connection in a second; 200 */
    /* HTTP/2: rapid resets of all connections of one client, which share and outlive it. A client
     * that makes up for the limit of a connection with their number finds each one's much lower.
     * NULL: each stands alone. */
    struct http_rate *resets;
};

/* Who hears of what stands around a body; set beside stream_set_owner(), for the same owner. Each
 * may be NULL. */
struct http_stream_events {
    /* Client: 1xx but 101. */
    void (*on_interim)(void *owner, const struct http_response *head);
    /* Client: the response, once. */
    void (*on_response)(void *owner, const struct http_response *head);
    /* Both: on_end follows. */
    void (*on_trailers)(void *owner, const struct http_fields *trailers);
};

/* A stream that is an exchange. Kinds embed it first. */
struct http_stream {
    struct stream stream;
    const struct http_stream_ops *http;
    const struct http_stream_events *http_events;
};

struct http_stream_ops {
    void (*interim)(struct http_stream *stream, const struct http_response *head);
    void (*respond)(struct http_stream *stream, const struct http_response *head);
    void (*trailers)(struct http_stream *stream, const struct http_fields *fields);
};

static inline void http_stream_set_owner(struct http_stream *stream,
                                         const struct http_stream_events *http_events,
                                         const struct stream_events *events, void *owner)
{
    stream->http_events = http_events;
    stream_set_owner(&stream->stream, events, owner);
}

/* Server: sends a 1xx but 101. To HTTP/1.0 nothing is sent. */
static inline void http_interim(struct http_stream *stream, const struct http_response *head)
{
    stream->http->interim(stream, head);
}

/* Server: sends the response's head, once. Without has_body the write side is at its end. */
static inline void http_respond(struct http_stream *stream, const struct http_response *head)
{
    stream->http->respond(stream, head);
}

/* Sends trailers after what is queued, in place of stream_shutdown(). Where the version or the
 * framing of the message knows none they are left out, and the body ends. */
static inline void http_trailers(struct http_stream *stream, const struct http_fields *fields)
{
    stream->http->trailers(stream, fields);
}

/* ---- server ---- */

struct http_server_events {
    /* A request's head. The owner calls http_stream_set_owner() from within, and answers now or
     * later, or closes the stream. The stream is paused. */
    void (*on_request)(void *owner, struct http_stream *stream, const struct http_request *head);
    /* Something came that is no request; it was answered with status (0: by a reset of the stream
     * or the end of the connection). why is a sentence. err is what on_dead would say of it. */
    void (*on_refused)(void *owner, unsigned status, int err, struct str why);
    /* The connection is dead and its streams have failed: err 0 for an orderly end. The owner still
     * calls http_server_close(). */
    void (*on_dead)(void *owner, int err, struct str why);
};

struct http_server {
    const struct http_server_ops *ops;
};

struct http_server_ops {
    void (*drain)(struct http_server *server);
    void (*close)(struct http_server *server, int err);
};

/* Take the lower stream, which is paused. */
struct http_server *http1_server_new(struct loop *loop, struct stream *lower,
                                     const struct http_limits *limits,
                                     const struct http_server_events *events, void *owner);
struct http_server *http2_server_new(struct loop *loop, struct stream *lower,
                                     const struct http_limits *limits,
                                     const struct http_server_events *events, void *owner);

#define HTTP_DRAIN_IDLE_NS UINT64_C(250000000)

/* No new exchange after those that are open: GOAWAY, or "connection: close" with the next answer.
 * HTTP/1.1 has no other word for it, so where nothing is open it takes one request more, which may
 * be on its way, within HTTP_DRAIN_IDLE_NS. on_dead follows when the last one has ended. */
static inline void http_server_drain(struct http_server *server)
{
    server->ops->drain(server);
}

/* Ends the connection and frees it. err 0: what is queued is still sent. Open streams fail with err
 * (0: -ERR_SHUTDOWN) before this returns; they are still to be closed by their owners. */
static inline void http_server_close(struct http_server *server, int err)
{
    server->ops->close(server, err);
}

/* ---- client ---- */

struct http_client_events {
    /* http_client_can_open() may have changed. Not told when an exchange of HTTP/1.1 was closed and
     * left room for the next: http_client_can_open() says so at once. May be NULL. */
    void (*on_capacity)(void *owner);
    /* As a server's. err -ERR_EOF: the peer closed it. */
    void (*on_dead)(void *owner, int err, struct str why);
};

struct http_client {
    const struct http_client_ops *ops;
};

struct http_client_ops {
    bool (*can_open)(const struct http_client *client);
    unsigned (*n_open)(const struct http_client *client);
    unsigned (*n_allowed)(const struct http_client *client);
    bool (*is_ready)(const struct http_client *client);
    struct http_stream *(*request)(struct http_client *client, const struct http_request *head,
                                   const struct http_stream_events *http_events,
                                   const struct stream_events *events, void *owner);
    void (*close)(struct http_client *client, int err);
};

struct http_client *http1_client_new(struct loop *loop, struct stream *lower,
                                     const struct http_limits *limits,
                                     const struct http_client_events *events, void *owner);
struct http_client *http2_client_new(struct loop *loop, struct stream *lower,
                                     const struct http_limits *limits,
                                     const struct http_client_events *events, void *owner);

/* True when a request may be sent now: HTTP/1.1 has one exchange at a time, and none after one
 * whose framing or fields do not allow another. */
static inline bool http_client_can_open(const struct http_client *client)
{
    return client->ops->can_open(client);
}

/* Its server has said how many exchanges it takes at once; on_capacity comes with that. HTTP/1.1
 * knows from the start. */
static inline bool http_client_is_ready(const struct http_client *client)
{
    return client->ops->is_ready(client);
}

/* How many exchanges it takes at once, by its latest word. */
static inline unsigned http_client_allowed(const struct http_client *client)
{
    return client->ops->n_allowed(client);
}

/* Exchanges that have not ended. */
static inline unsigned http_client_open(const struct http_client *client)
{
    return client->ops->n_open(client);
}

/* Sends a request's head; the stream comes paused for its body, on_response comes all the same.
 * NULL when http_client_can_open() is false. If the peer has promised (GOAWAY, REFUSED_STREAM) or
 * shown (an idle HTTP/1.1 connection that it closed before a byte of an answer) that it did not act
 * on the request, on_fail says -ERR_H2_REFUSED: it may be sent again. */
static inline struct http_stream *http_request(struct http_client *client,
                                               const struct http_request *head,
                                               const struct http_stream_events *http_events,
                                               const struct stream_events *events, void *owner)
{
    return client->ops->request(client, head, http_events, events, owner);
}

static inline void http_client_close(struct http_client *client, int err)
{
    client->ops->close(client, err);
}

#endif
