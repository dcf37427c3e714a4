/*
 * server.h - the control port: delta xDS and certificate signing over gRPC on TLS.
 *
 * Each connection is one verified peer, or an anonymous one that may only ask for a certificate
 * with a token. Who gets which resources, and who gets which certificate, is the owner's to decide.
 *
 * Bounds: SERVER_CONNECTIONS connections, of them SERVER_UNPROVEN in their handshake or anonymous
 * and SERVER_SAME_PEER of one identity (one more ends the oldest of those), SERVER_STREAMS calls
 * each, 10 s for a handshake. A connection ends when its peer's certificate does. Owner:
 * xds/control. Thread: the loop's.
 */
#ifndef ISTHMUS_XDS_SERVER_H
#define ISTHMUS_XDS_SERVER_H

#include "proxy/tls/tls_stream.h"
#include "xds/delta.h"
#include "xds/grpc.h"

#define SERVER_CONNECTIONS 5000
#define SERVER_UNPROVEN    1000
#define SERVER_SAME_PEER   8 /* a node has one, and the one before it until that is noticed */
#define SERVER_STREAMS     64

struct server_peer { /* borrowed for the call */
    struct str id;   /* verified SPIFFE ID, "" for an anonymous one */
    struct addr remote;
};

struct certificate_request {
    struct str csr_pem, token; /* token "" when none was sent */
    struct str wanted_id;      /* ImpersonatedIdentity, "" when absent */
    int64_t validity_sec;      /* 0 when not asked for */
};

struct xds_server_events {
    /* The set a peer may read, or NULL to refuse the stream with PERMISSION_DENIED and *out_why. */
    struct resource_set *(*on_subscribe)(void *owner, const struct server_peer *peer,
                                         const char **out_why);
    /* A stream of that peer came up (true) or ended. For status pages. */
    void (*on_stream)(void *owner, const struct server_peer *peer, bool is_up);
    /* Appends the chain, leaf first, one certificate a text; the roots last as one text, through
     * add(). GRPC_OK or the status to refuse with, and the reason in *why. */
    enum grpc_status (*on_certificate)(void *owner, const struct server_peer *peer,
                                       const struct certificate_request *request,
                                       struct text *out_chain_pem, struct text *out_root_pem,
                                       struct text *why);
    /* A peer refused resources. For metrics and status pages. May be NULL. */
    void (*on_nack)(void *owner, const struct server_peer *peer);
};

struct xds_server_options {
    struct addr listen;
    struct tls_identity *const *identity; /* the owner's current one, read at each handshake */
    const struct trust *const *trust;     /* the same */
};

struct xds_server;

/* 0, or -ERR_SYSTEM with errno in *out_errno. Takes a copy of options and events. */
MUST_USE int xds_server_open(struct loop *loop, const struct xds_server_options *options,
                             const struct xds_server_events *events, void *owner,
                             struct xds_server **out_server, int *out_errno);
struct addr xds_server_addr(const struct xds_server *server);
/* A set has changed: every stream reading it sends what is due. */
void xds_server_notify(struct xds_server *server, struct resource_set *set);
/* Ends the streams and connections of a peer (it is no longer configured, or its trust is gone). */
void xds_server_disconnect(struct xds_server *server, struct str peer_id);
/* The trust has changed: connections whose peer would not be let in any more end. */
void xds_server_recheck(struct xds_server *server, const struct trust *trust);
void xds_server_close(struct xds_server *server);

#endif
