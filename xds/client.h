/*
 * client.h - the control stream as its client sees it: a channel, a delta engine on it, the last
 * good state on disk.
 *
 * Happy path: load the saved state (on_change at once if there is one) -> channel up -> stream ->
 * responses -> on_change, gathered over CLIENT_SETTLE_MS so that a burst is one change -> saved to
 * disk at most once a second. Failure modes: the channel goes down: everything held stays, the
 * stream is made anew with what is held; a stream that ends with a status is retried like a
 * connect; a full disk is logged and counted, the state in memory stays.
 *
 * Owner: proxy/run, and xds/control for each peer. Thread: the loop's.
 */
#ifndef ISTHMUS_XDS_CLIENT_H
#define ISTHMUS_XDS_CLIENT_H

#include "proxy/meter/meter.h"
#include "xds/channel.h"
#include "xds/delta.h"

#define CLIENT_SETTLE_MS 20

struct xds_client_options {
    struct str node_id, cluster;
    bool subscribed[XDS_TYPES];
    struct str state_file; /* "" keeps nothing on disk */
    size_t max_bytes;      /* delta_client_limit(); 0: none */
};

struct xds_client_events {
    void (*on_change)(void *owner); /* what is held changed, or the first sync was reached */
    void (*on_connected)(void *owner, bool is_up); /* the stream came up or went down */
};

struct xds_client;

/* The channel is the caller's, shared with other calls; the caller passes its ups and downs on, and
 * calls xds_client_channel_down() before it closes the channel. Takes a copy of events. */
struct xds_client *xds_client_open(struct loop *loop, const struct xds_client_options *options,
                                   struct meter *meter, const struct xds_client_events *events,
                                   void *owner);
void xds_client_channel_up(struct xds_client *client, struct h2 *h2);
void xds_client_channel_down(struct xds_client *client);
void xds_client_close(struct xds_client *client);

/* delta_client_mark() of its state. */
void xds_client_mark(struct xds_client *client);
const struct delta_client *xds_client_state(const struct xds_client *client);
bool xds_client_is_connected(const struct xds_client *client);
/* Forgets what is held: the peer's lease ran out. on_change follows. */
void xds_client_clear(struct xds_client *client);

#endif
