/*
 * grpc.h - calls over HTTP/2 streams: messages in five-byte frames, a status in the trailers.
 *
 * Both ends: unary calls are streams of one message. Messages up to GRPC_MESSAGE_MAX; compressed
 * ones are refused with UNIMPLEMENTED. A message is delivered whole, gathered in a buffer that
 * grows with what really arrived. A call's sender obeys back pressure: grpc_send() false means stop
 * until on_writable.
 *
 * Owner: grpc_call/grpc_serve's caller until grpc_finish()/grpc_cancel() or on_end, after which the
 * call is gone. Thread: the loop's. Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md).
 */
#ifndef ISTHMUS_XDS_GRPC_H
#define ISTHMUS_XDS_GRPC_H

#include "proxy/http/h2.h"

#define GRPC_MESSAGE_MAX ((size_t)64 << 20)

enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_UNAUTHENTICATED = 16
};

struct grpc_call;

struct grpc_events {
    void (*on_message)(void *owner, struct str bytes); /* borrowed for the call */
    /* The peer's direction ended. Client: with the call's status, and the call is gone. Server: the
     * client sends no more (status GRPC_OK), the call is still to be finished; or it was cancelled
     * (GRPC_CANCELLED) and is gone. */
    void (*on_end)(void *owner, int status, struct str message);
    void (*on_writable)(void *owner); /* may be NULL */
    /* Client: the server took the call (its head arrived), whatever comes of it. May be NULL. */
    void (*on_accepted)(void *owner);
};

/* Client: starts a call. path is "/package.Service/Method"; metadata are extra header fields;
 * timeout_ns 0 is none. NULL when the connection takes no new stream. */
struct grpc_call *grpc_start(struct loop *loop, struct h2 *h2, struct str path,
                             const struct h2_field *metadata, size_t n_metadata,
                             uint64_t timeout_ns, const struct grpc_events *events, void *owner);
/* Server: takes a request's stream as a call. The head was checked by grpc_check_request(). */
struct grpc_call *grpc_serve(struct loop *loop, struct stream *stream,
                             const struct grpc_events *events, void *owner);
/* Server: sends the response's head now instead of with the first message, so that the client
 * learns that it is served. */
void grpc_accept(struct grpc_call *call);
/* Messages of the peer may be no longer than that; GRPC_MESSAGE_MAX by default. */
void grpc_limit_messages(struct grpc_call *call, size_t max_bytes);
/* The same; and what the peer sends holds keys: every byte of it is overwritten once it was taken.
 */
void grpc_keep_secret(struct grpc_call *call, size_t max_bytes);
/* POST, content-type application/grpc, te trailers: 0, else the HTTP status to answer with (404,
 * 405, 415). */
unsigned grpc_check_request(const struct h2_head *head);

/* Sends one message (copied). True: go on. False: queued, stop until on_writable. */
bool grpc_send(struct grpc_call *call, struct str bytes);
/* Client: sends no more messages. */
void grpc_half_close(struct grpc_call *call);
/* Server: ends the call with a status; the call is gone. message may be empty; percent-encoded on
 * the wire. */
void grpc_finish(struct grpc_call *call, enum grpc_status status, struct str message);
/* Either end: gives the call up at once; no event follows. */
void grpc_cancel(struct grpc_call *call);

#endif
