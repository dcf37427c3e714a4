/*
 * server.h - DNS for the pods of this node, on UDP and TCP, one server a worker.
 *
 * Happy path: packet -> dns_answer() -> answer from the address that was asked; or relay to that
 * address and the answer back, verbatim but for the message id, which is ours on the way out.
 * Failure modes: no answer from the resolver within DNS_RELAY_TIMEOUT_MS -> SERVFAIL; more than
 * DNS_RELAYS_MAX queries waiting -> SERVFAIL at once; a truncated UDP answer is handed on with TC
 * and the client comes back over TCP, which is relayed over TCP.
 *
 * Relayed UDP answers must come from the resolver's address and match id and question. TCP:
 * DNS_TCP_CLIENTS connections, DNS_TCP_PER_CLIENT of them from one address (the one that was quiet
 * the longest makes room for a new one, the newcomer's own first), DNS_TCP_IDLE_MS, pipelined
 * queries answered in any order, at most DNS_TCP_PIPELINE waiting each. A query whose resolver is
 * this very server is answered SERVFAIL, not relayed.
 *
 * Owner: the worker. Thread: its loop's.
 */
#ifndef ISTHMUS_DNS_SERVER_H
#define ISTHMUS_DNS_SERVER_H

#include "config/snapshot.h"
#include "proxy/io/tcp.h"
#include "proxy/meter/meter.h"

#define DNS_RELAYS_MAX        512 /* UDP and TCP together */
#define DNS_RELAYS_PER_CLIENT 128 /* of them, for one client's address */
#define DNS_RELAY_TIMEOUT_MS  5000
#define DNS_TCP_CLIENTS       256
#define DNS_TCP_PER_CLIENT    64 /* of them, from one client's address */
#define DNS_TCP_IDLE_MS       10000
#define DNS_TCP_PIPELINE      32

struct dns_server_options {
    struct addr listen; /* wildcard address with the port; port 0 in tests */
    bool transparent;   /* behind TPROXY: queries keep their destination, answers come from it */
    bool reuse_port;
    uint32_t mark; /* of the sockets that relay */
    uint32_t
        listen_mark; /* of those that pods talk to: their packets are not tracked, see capture.h */
    struct addr resolver; /* where to relay to when not transparent ("none": SERVFAIL) */
};

struct dns_server;

/* snapshot: the worker's current one, read at each query; *snapshot may be NULL before the first
 * sync. 0, or -ERR_SYSTEM with errno in *out_errno. */
MUST_USE int dns_server_open(struct loop *loop, const struct dns_server_options *options,
                             const struct snapshot *const *snapshot, struct meter *meter,
                             struct dns_server **out_server, int *out_errno);
struct addr dns_server_udp_addr(const struct dns_server *server);
struct addr dns_server_tcp_addr(const struct dns_server *server);
/* A captured TCP connection to port 53 that came in elsewhere; takes the stream. */
void dns_server_take(struct dns_server *server, struct stream *stream);
void dns_server_close(struct dns_server *server);

#endif
