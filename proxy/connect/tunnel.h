/*
 * tunnel.h - one outbound HBONE tunnel: TCP, mutual TLS under a pod's identity, HTTP/2.
 *
 *            connected            secured              idle, old, refused, GOAWAY
 *  DIALING ────────────► SECURING ────────► UP ──────────────────────────────────► RETIRED
 *     └── failed ───────────┴── failed ──────┴── died ──► DEAD ◄── last stream ended ──┘
 *
 * A RETIRED tunnel takes no new streams and ends with its last one. The pool that made the tunnel
 * hears of every change and frees it when it is DEAD.
 *
 * Owner: the pool. Thread: the loop's. Source: ztunnel's pool (idle release 5 min, streams per
 * connection 100).
 */
#ifndef ISTHMUS_CONNECT_TUNNEL_H
#define ISTHMUS_CONNECT_TUNNEL_H

#include "proxy/http/h2.h"
#include "proxy/io/tcp.h"
#include "proxy/tls/tls_stream.h"

#define TUNNEL_STREAMS_MAX  100
#define TUNNEL_UNSENT_BYTES ((size_t)131072) /* in the kernel, in front of a small message */
#define TUNNEL_IDLE_NS      (UINT64_C(300) * 1000000000)

enum tunnel_state {
    TUNNEL_DIALING,
    TUNNEL_SECURING,
    TUNNEL_UP,
    TUNNEL_RETIRED,
    TUNNEL_DEAD,
    TUNNEL_STATES
};

struct tunnel;

struct tunnel_options {
    struct addr remote;               /* the pod's address and the tunnel port */
    struct tls_identity *identity;    /* borrowed for the call */
    const struct trust *const *trust; /* outlives the tunnel */
    bool follows_trust;               /* see tls_options: it dies with the trust that it rests on */
    struct verified *verified;        /* the same; NULL: servers are not remembered */
    const struct str *expected;       /* SPIFFE IDs, copied */
    size_t n_expected;
    uint32_t mark;
    struct ip source; /* "none": the kernel's choice */
    uint64_t connect_ns, handshake_ns;
    uint64_t idle_ns; /* 0 is TUNNEL_IDLE_NS */
};

struct tunnel_events {
    void (*on_up)(void *owner, struct tunnel *tunnel);
    /* A stream ended or the peer changed its mind: capacity may have changed. */
    void (*on_capacity)(void *owner, struct tunnel *tunnel);
    /* It is gone; err says why. The owner must not use it any more (it frees itself at the end of
     * the turn). */
    void (*on_dead)(void *owner, struct tunnel *tunnel, int err, struct str why);
};

struct tunnel *tunnel_open(struct loop *loop, const struct tunnel_options *options,
                           const struct tunnel_events *events, void *owner);
enum tunnel_state tunnel_state(const struct tunnel *tunnel);
/* UP, and the peer and we have room for one more stream. */
bool tunnel_has_room(const struct tunnel *tunnel);
/* Opens a CONNECT stream; NULL when there is no room. See h2_request(). */
struct stream *tunnel_request(struct tunnel *tunnel, const struct h2_field *fields, size_t n_fields,
                              const struct h2_stream_events *head_events,
                              const struct stream_events *events, void *owner);
/* Takes no new streams from now on. */
void tunnel_retire(struct tunnel *tunnel);
/* Whether its peer still stands under this trust, see tls_recheck(). 0 while it is not up. */
MUST_USE int tunnel_recheck(struct tunnel *tunnel, const struct trust *trust);
/* Whether more may be asked on this stream: the peer of its tunnel still stands, if that follows
 * trust, and has not said GOAWAY, after which its node may end any time. */
bool tunnel_stream_stands(const struct stream *stream);
/* The peer has said something after that time, about whatever stream: it is alive. */
bool tunnel_was_heard_since(const struct tunnel *tunnel, uint64_t since_ns);
/* Ends it at once; its streams fail with err (0: as on an end of its own). No event comes. */
void tunnel_close(struct tunnel *tunnel, int err);
/* Who is at the other end; valid when UP or RETIRED. */
const struct tls_peer *tunnel_peer(const struct tunnel *tunnel);

#endif
