/*
 * channel.h - one HTTP/2 connection to a control process or to an API of SPIFFE, kept up: over
 * mutual TLS, or in the clear to the Workload API, which has no other form; to a host or a Unix
 * socket.
 *
 *           lookup, connect        handshake            SETTINGS
 *  RESTING ───────────────► DIALING ─────────► SECURING ─────────► UP
 *     ▲                        │ failed           │ failed          │ died, or channel_redial()
 *     └────────────────────────┴──────────────────┴─────────────────┘
 *
 * A rest is jittered and exponential, 100 ms to 15 s; back to 100 ms after 5 s of being UP.
 *
 * Owner: whoever opened it. Thread: the loop's.
 */
#ifndef ISTHMUS_XDS_CHANNEL_H
#define ISTHMUS_XDS_CHANNEL_H

#include "config/bootstrap.h"
#include "proxy/http/h2.h"
#include "proxy/tls/tls_stream.h"

struct channel_options {
    struct endpoint_name server;
    struct str unix_path; /* in place of server */
    bool plaintext;       /* no TLS: what follows but mark and the keepalives is not used */
    uint32_t mark;        /* SO_MARK of the socket */
    const struct trust *const *trust; /* read at each handshake */
    struct str expected_id;           /* the server's SPIFFE ID */
    /* The identity to show, asked before each dial; NULL shows none. Borrowed. */
    struct tls_identity *(*identity)(void *owner);
    uint64_t keepalive_ns, keepalive_timeout_ns; /* as in h2_options; 0 is h2's own */
};

struct channel_events {
    void (*on_up)(void *owner, struct h2 *h2);
    /* err and why say what ended it or why it could not be made; the next dial comes by itself. */
    void (*on_down)(void *owner, int err, struct str why);
};

struct channel;

/* Takes a copy of options and events; what options point to stays the owner's. */
struct channel *channel_open(struct loop *loop, const struct channel_options *options,
                             const struct channel_events *events, void *owner);
void channel_close(struct channel *channel);
/* The connection when UP, else NULL. */
struct h2 *channel_h2(const struct channel *channel);
/* The trust has changed: a connection whose server would not be trusted any more ends as if it had
 * died, with on_down, and is dialed again after a rest. */
void channel_recheck(struct channel *channel, const struct trust *trust);
/* Dials anew at once, for instance because the identity to show has changed. */
void channel_redial(struct channel *channel);

#endif
