/*
 * session.h - the TCP connections of clients, each a row of queries and answers.
 *
 * A session reads a query, answers it from the snapshot or asks the resolver, and goes on to the
 * next without waiting, up to DNS_TCP_PIPELINE at once and as long as the client takes its answers:
 * whoever does not read is not read from, and goes after DNS_TCP_IDLE_MS. What is no DNS message
 * ends the session at once.
 *
 * Owner: the server. Thread: its loop's.
 */
#ifndef ISTHMUS_DNS_SESSION_H
#define ISTHMUS_DNS_SESSION_H

#include "proxy/dns/context.h"

struct dns_sessions {
    struct dns_context *context;
    struct list list; /* the one that was quiet the longest first */
    unsigned len;
};

void dns_sessions_init(struct dns_sessions *sessions, struct dns_context *context);
/* Takes the stream of a TCP connection. With DNS_TCP_CLIENTS of them, or DNS_TCP_PER_CLIENT of its
 * address, the quietest goes of which nothing waits; where there is none the new one is reset. */
void dns_sessions_take(struct dns_sessions *sessions, struct stream *stream);
void dns_sessions_fini(struct dns_sessions *sessions);

#endif
