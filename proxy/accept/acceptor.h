/*
 * acceptor.h - one worker's doors: captured outbound, captured inbound plaintext, inbound tunnels.
 *
 * Each worker has its own three listeners in SO_REUSEPORT groups, so the kernel spreads connections
 * over workers and a connection never changes worker.
 *
 * Owner: the worker. Thread: its loop's.
 */
#ifndef ISTHMUS_ACCEPT_ACCEPTOR_H
#define ISTHMUS_ACCEPT_ACCEPTOR_H

#include "proxy/accept/tunnel_server.h"
#include "proxy/base/text.h"

struct acceptor_options {
    struct addr outbound, inbound,
        tunnel; /* where to listen: wildcard addresses; port 0 in tests */
    bool transparent;
    uint32_t mark;          /* of the doors to pods, whose connections conntrack follows */
    uint32_t outbound_mark; /* of the door of pods, whose connections it does not, see capture.h */
    struct tunnel_server_options tunnels;
};

struct acceptor;

/* Opens the doors. on_arrival gives each arrival away; what it brings is acknowledged late where it
 * is ARRIVAL_OUTBOUND (see tcp_ack_now()). 0, or -ERR_SYSTEM with which port and why in
 * *why. */
MUST_USE int acceptor_open(struct loop *loop, const struct acceptor_options *options,
                           struct meter *meter,
                           void (*on_arrival)(void *owner, struct arrival *arrival), void *owner,
                           struct acceptor **out_acceptor, struct text *why);
/* Where a door is, for tests that asked for port 0. */
struct addr acceptor_addr(const struct acceptor *acceptor, enum arrival_kind door);
/* Inbound tunnels that are open. */
size_t acceptor_sessions(const struct acceptor *acceptor);
/* The snapshot or trust has changed: see tunnel_server_recheck(). */
void acceptor_recheck(struct acceptor *acceptor);
/* Callers on other nodes go elsewhere from now on if they can: see tunnel_server_drain(). Pods of
 * this node cannot. The doors stay open. */
void acceptor_drain(struct acceptor *acceptor);
/* Closes the doors, their backlogs are still served, and tells whoever has a tunnel. */
void acceptor_close_doors(struct acceptor *acceptor);
/* Closes everything; who waits in a backlog is reset, and no arrival comes any more. */
void acceptor_close(struct acceptor *acceptor);

#endif
