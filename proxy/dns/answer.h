/*
 * answer.h - a DNS query and a snapshot in, a DNS answer out. No I/O.
 *
 * Names at or below clusterset.local are answered from the snapshot: A, AAAA, SRV (with the
 * targets' addresses in the additional section while they fit), the headless forms, dns-version TXT
 * ("1.1.0"), SOA and NS at the apex; NODATA with SOA for what exists without that type, NXDOMAIN
 * with SOA for what does not, SERVFAIL before the first sync. Everything else is for the relay. A
 * multi-address answer of a headless name starts at a rotating place. ANY is answered with one set
 * of records, zone transfers and classes other than IN are refused.
 *
 * Source: KEP-1645 specification.md 2.x; RFC 1035, 2308 (negative answers), 2782 (SRV),
 *         6891 (EDNS), 8482 (ANY).
 * Thread: any; pure but for the rotation the caller passes.
 */
#ifndef ISTHMUS_DNS_ANSWER_H
#define ISTHMUS_DNS_ANSWER_H

#include "config/snapshot.h"
#include "proxy/base/ensure.h"
#include "proxy/base/err.h"

#define DNS_ZONE        "clusterset.local"
#define DNS_SCHEMA      "1.1.0"
#define DNS_TTL_SEC     5
#define DNS_VERSION_TTL 28800
#define DNS_UDP_MIN     512
#define DNS_UDP_MAX     1232 /* what we answer over UDP at the most, whatever the client offers */
#define DNS_TCP_MAX     65535

enum dns_verdict {
    DNS_ANSWERED, /* send out_packet */
    DNS_RELAY,    /* not ours: relay the query as it is */
    DNS_DROP      /* no answer can be given: not even a header, or it is an answer itself */
};

/* query is one message. tcp: no truncation below 64 KiB. out_packet has room for DNS_TCP_MAX bytes
 * and is not the query's memory; *out_len is set when ANSWERED. snapshot NULL: before the first
 * sync. Malformed messages with a readable header are answered FORMERR; opcodes other than QUERY
 * NOTIMP; EDNS version > 0 BADVERS. A message whose question is readable and outside the zone is
 * relayed whatever its opcode and whatever stands behind the question: an UPDATE for somebody's own
 * server is not ours to refuse. */
enum dns_verdict dns_answer(const struct snapshot *snapshot, struct str query, bool tcp,
                            uint32_t rotation, uint8_t *out_packet, size_t *out_len);

/* A SERVFAIL for a query that was relayed in vain. False when the query has no readable header. */
bool dns_servfail(struct str query, uint8_t *out_packet, size_t *out_len);
/* A REFUSED for one that we are not here for; the same. */
bool dns_refuse(struct str query, uint8_t *out_packet, size_t *out_len);

/* True when packet is an answer to query: same id and opcode, QR set, same question
 * (case-insensitive). The question may be left out where servers leave it out: with FORMERR,
 * SERVFAIL, NOTIMP, REFUSED, and for opcodes other than QUERY. */
bool dns_is_answer_to(struct str packet, struct str query);

#endif
