/*
 * connect.h - lease -> upstream: reaches one endpoint, plainly or through a tunnel.
 *
 * Plain: a TCP connection, from the pod's own address where that was asked for. Tunnel: a CONNECT
 * stream on a pooled HBONE tunnel; the upstream is there when the far side answered 200, which is
 * when it has connected to the pod.
 *
 * Happy path: connect_start -> on_done(0, upstream). Failure modes, as on_done's err: the endpoint
 * refused, timed out, the tunnel could not be made (-ERR_TLS..., -ERR_NETWORK_POLICY), the far side
 * said 401 (-ERR_TUNNEL_DENIED), 400, 503, another status. On every failure no byte of the
 * application has been sent, so the caller may try another endpoint.
 *
 * Owner: the flow owns the connect until on_done or connect_cancel(). Thread: the loop's. Units:
 * ns.
 */
#ifndef ISTHMUS_CONNECT_CONNECT_H
#define ISTHMUS_CONNECT_CONNECT_H

#include "proxy/connect/pool.h"

#define CONNECT_TUNNEL_PORT 15008 /* where the nodes of all peers listen, as ztunnel's do */

struct connector_options {
    uint32_t mark;
    bool transparent; /* may bind to addresses that are not ours */
    uint16_t tunnel_port;
    /* For tunnels to a pod of our own node: where our listener is, and the mark by which a packet
     * to the pod's address is routed to us. They come from loopback, where the answer finds us. */
    uint16_t own_tunnel_port;
    uint32_t own_tunnel_mark;
    uint64_t connect_ns, handshake_ns;
    uint64_t idle_ns;   /* after which a tunnel without streams is released; 0 is TUNNEL_IDLE_NS */
    bool follows_trust; /* live tunnels end with the trust that they rest on */
};

struct connector;
struct http_pool;

/* tls and trust: where the worker keeps its current set and trust, read at each new tunnel and
 * handshake, trust also by the tunnels that follow it; the places outlive the connector. */
struct connector *connector_new(struct loop *loop, const struct connector_options *options,
                                const struct tls_set *const *tls, const struct trust *const *trust,
                                struct meter *meter);
/* Ends the tunnels. No connect may be in progress. */
void connector_free(struct connector *connector);
struct pool *connector_pool(struct connector *connector);
struct http_pool *connector_http_pool(struct connector *connector);

struct connect_request { /* borrowed for the call */
    bool through_tunnel;
    bool is_own_node;           /* tunnel: it ends at this node */
    struct addr addr;           /* where the bytes are to end */
    struct ip source;           /* plain: the address to come from, "none" for our own */
    struct str identity;        /* tunnel: the key of the SVID under which we speak */
    const struct str *expected; /* tunnel: IDs of which the far side must have one */
    size_t n_expected;
    struct str baggage, forwarded, traceparent;
    uint64_t timeout_ns;
};

struct upstream {
    struct stream *stream; /* paused, for the caller to own */
    bool is_tunnel;
    const char *tls_version, *cipher;         /* constants; NULL when plain */
    struct str peer_id, peer_serial, baggage; /* borrowed for the call of on_done */
    int64_t peer_not_after_ns;
};

struct connect;

struct connect *connect_start(struct connector *connector, const struct connect_request *request,
                              void (*on_done)(void *owner, int err, const struct upstream *upstream,
                                              struct str why),
                              void *owner);
/* It waits for the certificate of our own identity: the far side has not been asked for anything.
 */
bool connect_awaits_identity(const struct connect *connect);
/* From now on it has that much time, whatever it was given. */
void connect_give_time(struct connect *connect, uint64_t timeout_ns);
/* Gives it up; on_done is not called. */
void connect_cancel(struct connect *connect);
/* The same for one that took too long: as at its timeout, a tunnel on which nothing was heard since
 * it was asked takes no new streams. */
void connect_abandon(struct connect *connect);

#endif
