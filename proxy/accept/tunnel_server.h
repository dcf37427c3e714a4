/*
 * tunnel_server.h - inbound HBONE: from a TCP connection on the tunnel port to one arrival a
 * CONNECT.
 *
 * The address that was dialled (kept by TPROXY) names the pod, the pod its identity, and that
 * identity is shown in the handshake; the client must show one that verifies against the bundle of
 * its own trust domain.
 *
 *   accepted ──no such pod here, no certificate──► refused (RST)
 *      └──► handshake ──fails──► refused: logged, counted, told
 *               └──► HTTP/2 session ──CONNECT──► arrival, ...  ──GOAWAY, silence, error──► gone
 *
 * Bounds: SESSIONS_MAX sessions; of one address, once half of the places are taken, the share
 * SESSIONS_PEER_SHARE says, so that nobody takes them all; SESSION_STREAMS_MAX streams each;
 * SESSIONS_UNPROVEN_MAX in their handshake, beyond which the oldest of those goes, the newcomer's
 * own if it has any, so that a flood of half-open ones displaces itself; a session without streams
 * ends after SESSION_IDLE_NS, twice what clients keep an idle tunnel. Owner: the acceptor. Thread:
 * the worker's loop.
 */
#ifndef ISTHMUS_ACCEPT_TUNNEL_SERVER_H
#define ISTHMUS_ACCEPT_TUNNEL_SERVER_H

#include "config/snapshot.h"
#include "proxy/accept/arrival.h"
#include "proxy/io/loop.h"
#include "proxy/meter/meter.h"
#include "proxy/tls/tls_stream.h"

#define SESSIONS_MAX          20000
#define SESSIONS_PEER_SHARE   16 /* a sixteenth: 1,250 */
#define SESSION_STREAMS_MAX   1000
#define SESSION_UNSENT_BYTES  ((size_t)131072) /* in the kernel, in front of a small message */
#define SESSIONS_UNPROVEN_MAX 1000
#define SESSION_IDLE_NS       (UINT64_C(600) * 1000000000)

struct tunnel_server;

struct refusal { /* somebody for whom no tunnel came to be; borrowed for the call */
    struct addr peer, dialled;
    int err;
    struct str detail;      /* the sentence behind err; may be "" */
    struct tls_claim claim; /* who it said it is */
};

struct tunnel_server_options {
    uint64_t handshake_ns;
    size_t max_sessions; /* 0: SESSIONS_MAX */
    /* Told of each refusal, with the owner of the arrivals; NULL: nobody is. */
    void (*on_refusal)(void *owner, const struct refusal *refusal);
    const struct snapshot *const
        *snapshot; /* where the worker keeps its current ones; read at each connection */
    const struct tls_set *const *tls;
    const struct trust *const *trust;
    bool follows_trust; /* live sessions end with the trust that they rest on */
};

struct tunnel_server *tunnel_server_new(struct loop *loop,
                                        const struct tunnel_server_options *options,
                                        struct meter *meter,
                                        void (*on_arrival)(void *owner, struct arrival *arrival),
                                        void *owner);
/* A connection to the tunnel port; takes the stream. */
void tunnel_server_take(struct tunnel_server *server, struct stream *tcp);
/* The snapshot or trust has changed: sessions of pods that left this node end, and, if they follow
 * trust, those whose client would not be let in any more. Of very many the last are looked at some
 * turns later, TRUST_SWEEP_NS at most; until then each is asked before there is an arrival on it,
 * and one that follows trust carries nothing at all before. */
void tunnel_server_recheck(struct tunnel_server *server);
/* Callers of a pod whose services are all served on other nodes as well are sent there: GOAWAY to
 * its sessions, of very many to the last some turns later, and RST to who connects. Those of other
 * pods have nowhere else to go, and are served. */
void tunnel_server_drain(struct tunnel_server *server);
/* GOAWAY to every session. */
void tunnel_server_last_call(struct tunnel_server *server);
size_t tunnel_server_sessions(const struct tunnel_server *server);
/* Ends every session; flows on them were cut before. */
void tunnel_server_free(struct tunnel_server *server);

#endif
