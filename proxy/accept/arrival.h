/*
 * arrival.h - who knocked, for where: what the accept room gives to the walk.
 *
 * Owner:  the flow that takes it: arrival_free() ends it with its stream, unless the stream was
 * taken out.
 * Thread: the worker's.
 */
#ifndef ISTHMUS_ACCEPT_ARRIVAL_H
#define ISTHMUS_ACCEPT_ARRIVAL_H

#include "proxy/base/addr.h"
#include "proxy/base/arena.h"
#include "proxy/io/stream.h"

enum arrival_kind {
    ARRIVAL_OUTBOUND, /* a pod of this node called somebody */
    ARRIVAL_TUNNEL,   /* a CONNECT on an inbound tunnel */
    ARRIVAL_PLAINTEXT /* somebody called a pod of this node without a tunnel */
};

struct arrival {
    enum arrival_kind kind;
    struct stream *stream; /* paused; NULL once taken */
    struct addr source;    /* the socket's peer */
    struct addr
        destination;    /* what was called; a tunnel's: the pod's address and the tunnel port */
    struct arena arena; /* the strings below */
    /* ARRIVAL_TUNNEL */
    struct str peer_id; /* verified */
    struct str method, authority, baggage, forwarded, traceparent;
    struct str peer_serial;
    int64_t peer_not_after_ns;
    const char *tls_version, *cipher; /* constants */
};

struct arrival *arrival_new(enum arrival_kind kind, struct stream *stream,
                            const struct addr *source, const struct addr *destination);
/* Takes the stream out; the arrival no longer closes it. */
struct stream *arrival_take_stream(struct arrival *arrival);
/* A tunnel's answer to its CONNECT. With end_stream (every status but 200) nothing follows it. */
void arrival_answer(struct arrival *arrival, const char *status, struct str baggage,
                    bool end_stream);
/* Closes the stream with err if it was not taken, and frees. */
void arrival_free(struct arrival *arrival, int err);

#endif
