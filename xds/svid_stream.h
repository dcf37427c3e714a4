/*
 * svid_stream.h - one call that is answered with SVIDs for as long as it lives: FetchX509SVID of
 * the SPIFFE Workload API, SubscribeToX509SVID of the Broker API.
 *
 *           start              message
 *  RESTING ────────► ASKING ────────────► TOLD ──┐
 *     ▲                │ ended              └────┘ message
 *     └────────────────┴──── TOLD ended: asked again at once
 *
 * A call that ends before it said anything is made again after a rest of 1 s, 2 s, ... 30 s, with
 * jitter; one that had a message before, at once. INVALID_ARGUMENT and UNIMPLEMENTED are faults of
 * ours or the server's that time does not mend: the call is not made again on this connection.
 *
 * Owner: whoever opened it. Thread: the loop's. Source: SPIFFE Workload Endpoint section 6, Broker
 * Endpoint section 6.
 */
#ifndef ISTHMUS_XDS_SVID_STREAM_H
#define ISTHMUS_XDS_SVID_STREAM_H

#include "xds/grpc.h"
#include "xds/svid_update.h"

struct svid_stream;

struct svid_stream_events {
    /* Whole and checked; borrowed for the call. */
    void (*on_update)(void *owner, const struct svid_update *update);
    /* Nothing new, for the reason why. status is the call's, or GRPC_OK for a message that was
     * refused. */
    void (*on_trouble)(void *owner, int status, struct str why);
};

struct svid_stream_options { /* borrowed for the stream's life */
    const char *path;
    struct h2_field metadata;
};

/* request: the message that is sent, copied. */
struct svid_stream *svid_stream_open(struct loop *loop, const struct svid_stream_options *options,
                                     struct str request, const struct svid_stream_events *events,
                                     void *owner);
/* The connection to ask on; NULL while there is none. A new one is asked at once. */
void svid_stream_set_h2(struct svid_stream *stream, struct h2 *h2);
/* Safe inside events; none follows. */
void svid_stream_close(struct svid_stream *stream);

#endif
