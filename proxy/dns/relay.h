/*
 * relay.h - queries that came over UDP and wait for a resolver.
 *
 * Each is sent as it came, but for the message id, from a socket of its own (random port, random
 * id), and its first answer that comes from the resolver and fits the question is handed back under
 * the client's id, byte for byte. Nothing is retried: the client does that. Without an answer in
 * DNS_RELAY_TIMEOUT_MS it is SERVFAIL.
 *
 * Owner: the server. Thread: its loop's.
 */
#ifndef ISTHMUS_DNS_RELAY_H
#define ISTHMUS_DNS_RELAY_H

#include "proxy/dns/context.h"

/* packet is borrowed; it goes to the client, from the address that was asked. */
typedef void dns_on_relayed(void *owner, struct str packet, const struct addr *client,
                            const struct addr *asked);

struct dns_relays {
    struct dns_context *context;
    struct list list;
    dns_on_relayed *on_relayed;
    void *owner;
};

void dns_relays_init(struct dns_relays *relays, struct dns_context *context,
                     dns_on_relayed *on_relayed, void *owner);
/* Sends the query on; false when it cannot be: no resolver, ourselves, a bound, no socket. */
bool dns_relay(struct dns_relays *relays, struct str query, const struct addr *client,
               const struct addr *asked);
/* Forgets all of them; on_relayed is not called. */
void dns_relays_fini(struct dns_relays *relays);

#endif
