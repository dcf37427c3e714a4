/*
 * context.h - what the parts of one DNS server share: where they are, what they may use, how many
 * queries wait.
 *
 * A query that waits for a resolver costs memory and often a socket, so their number is bounded:
 * DNS_RELAYS_MAX a server, and DNS_RELAYS_PER_CLIENT of one address, so that a pod whose resolver
 * is dead does not take the others' share.
 *
 * Owner: the server. Thread: its loop's.
 */
#ifndef ISTHMUS_DNS_CONTEXT_H
#define ISTHMUS_DNS_CONTEXT_H

#include "proxy/dns/answer.h"
#include "proxy/dns/server.h"

#define DNS_FRAME_HEAD_BYTES 2 /* the length before a message on TCP: RFC 1035 section 4.2.2 */

struct dns_context {
    struct loop *loop;
    struct meter *meter;
    const struct snapshot *const *snapshot;
    struct dns_server_options options;
    uint16_t udp_port, tcp_port; /* our own, to notice a query that would come back to us */
    uint32_t rotation;
    struct list waiting; /* of struct dns_waiting */
    unsigned n_waiting;
    uint8_t frame[DNS_FRAME_HEAD_BYTES + DNS_TCP_MAX]; /* the answer that is being written */
};

/* A query that waits for a resolver, as a part of whoever waits. */
struct dns_waiting {
    struct list link;
    struct ip client;
};

/* Where answers are written to: behind the room for the length. */
static inline uint8_t *dns_context_packet(struct dns_context *context)
{
    return context->frame + DNS_FRAME_HEAD_BYTES;
}

/* Answers a query that was sent to asked from the snapshot into dns_context_packet(), counting it
 * and what is wrong with it. REFUSED is one that was sent to our own port, not captured. */
enum dns_verdict dns_context_answer(struct dns_context *context, struct str query,
                                    const struct addr *asked, bool tcp, size_t *out_len);

/* Files one more waiting query: false when a bound was reached. */
bool dns_context_admit(struct dns_context *context, struct dns_waiting *waiting,
                       const struct ip *client);
void dns_context_leave(struct dns_context *context, struct dns_waiting *waiting);

/* The resolver for a query that was sent to asked: "none" when there is none, as on the loopback.
 */
struct addr dns_context_resolver(const struct dns_context *context, const struct addr *asked);

/* Would a query to this address come back to our own listener on own_port? local is the address
 * that our socket to the resolver got: the kernel gives the very same one to whoever calls an
 * address of this host. */
bool dns_is_ourselves(const struct addr *resolver, const struct ip *local, uint16_t own_port);

/* A message id that nobody can guess. */
uint16_t dns_fresh_id(void);

#endif
