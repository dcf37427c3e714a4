/*
 * local_reply.h - the answer to a request that nobody else answers: refused, not reached,
 * redirected.
 *
 * Recognisable as ours: "server: isthmus" and "x-isthmus-reason", whose value is the reason that
 * the access log and the metrics give. A gRPC call gets its status in gRPC's words: 200 and
 * grpc-status. Thread: the worker's. Source: RFC 9110; gRPC over HTTP/2 ("HTTP to gRPC status
 * mapping").
 */
#ifndef ISTHMUS_FLOW_LOCAL_REPLY_H
#define ISTHMUS_FLOW_LOCAL_REPLY_H

#include "proxy/http/message.h"
#include "proxy/route/route.h"

#define LOCAL_REPLY_GRPC 200u

struct local_reply {
    unsigned status;
    struct str reason;                   /* one word */
    struct str body;                     /* "": the status' own phrase */
    struct str location;                 /* of a redirect, else "" */
    struct str challenge;                /* of a 401, else "" */
    const struct route_edit_list *edits; /* of its fields; may be NULL */
};

/* What an error looks like to a client: 403 for a policy's word, 504 for what took too long, 503
 * for what could not be reached. */
struct local_reply local_reply_of(int err);

bool local_reply_is_grpc(const struct http_fields *request_fields);
/* What a gRPC call hears for a status; the status of HTTP is LOCAL_REPLY_GRPC then. */
struct str local_reply_grpc_status(unsigned status);

/* Answers, ends and closes the stream. Returns the bytes of the body. */
size_t local_reply_send(struct http_stream *client, const struct http_request *request,
                        const struct local_reply *reply, struct arena *arena);

#endif
