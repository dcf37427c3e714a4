/*
 * upstream.h - the TCP connection to a resolver behind one client's TCP connection.
 *
 * Made with the first query and made again when the resolver had closed it. Queries go out with ids
 * of ours, answers come back in any order under the client's. A query that was under way when a
 * connection ended that had answered before (a resolver that closes idle ones, or gives one answer
 * a connection) is sent once more on the next connection.
 *
 * Failure modes: no connection, its end, DNS_RELAY_TIMEOUT_MS without an answer: on_failure for
 * each query concerned.
 *
 * Owner: the session. Thread: its loop's. Events come from the loop and out of dns_upstream_pump().
 */
#ifndef ISTHMUS_DNS_UPSTREAM_H
#define ISTHMUS_DNS_UPSTREAM_H

#include "proxy/dns/context.h"

struct dns_upstream;

struct dns_upstream_events {
    /* Is there room for an answer? When not, dns_upstream_pump() says that there is again. */
    bool (*has_room)(void *owner);
    /* An answer, with the client's id, in the context's packet. */
    void (*on_answer)(void *owner, size_t len);
    /* There is none; query is as the client sent it, borrowed. */
    void (*on_failure)(void *owner, struct str query);
};

struct dns_upstream *dns_upstream_open(struct dns_context *context, const struct addr *resolver,
                                       const struct ip *client,
                                       const struct dns_upstream_events *events, void *owner);
/* Sends a query on; false when a bound was reached. */
bool dns_upstream_ask(struct dns_upstream *upstream, struct str query);
unsigned dns_upstream_waiting(const struct dns_upstream *upstream);
void dns_upstream_pump(struct dns_upstream *upstream);
void dns_upstream_close(struct dns_upstream *upstream);

#endif
