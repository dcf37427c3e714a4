/*
 * server_call.h - the calls of one connection to the control port: the delta stream and certificate
 * signing.
 *
 * server.c owns connections, this file what is asked over them; it never calls back into server.c.
 * A stream has at most one response a type in flight, so it holds at most XDS_TYPES times
 * DELTA_RESPONSE_BYTES, or one resource that is larger.
 *
 * Owner: the connection; every call ends before it does. Thread: the loop's.
 */
#ifndef ISTHMUS_XDS_SERVER_CALL_H
#define ISTHMUS_XDS_SERVER_CALL_H

#include "xds/server.h"

struct server_context { /* what calls need of their connection; embedded in it */
    struct loop *loop;
    const struct xds_server_events *events;
    void *owner;
    struct server_peer peer;
    struct list calls;
    bool is_silent; /* the server is being closed: the owner hears nothing any more */
};

/* Takes a request: its stream becomes a call, or is answered at once. */
void server_call_begin(struct server_context *context, struct stream *stream,
                       const struct h2_head *head);
/* Every stream that reads the set sends what is due. */
void server_call_notify(struct server_context *context, const struct resource_set *set);

#endif
