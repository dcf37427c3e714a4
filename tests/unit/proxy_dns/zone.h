/*
 * zone.h - a small mesh to ask about, queries, and answers as text that a test can compare.
 *
 * The mesh, all below svc.clusterset.local:
 *   web.shop       10.201.0.1, fd00:201::1; http 80, and 9090 without a name; served
 *   hello.test     10.201.0.2; tcp 42 and udp 42 (the conformance suite's service)
 *   empty.shop     10.201.0.3; http 80; served by nobody
 *   db.data        headless; sql 5432: db-0.west (10.1.0.10, fd00:1::10), twin.west (10.1.0.21 and
 * .22), 172.0.0.2 and 5678:abcd::1 in east without host names, db-9.west not ready idle.data
 * headless; nobody is ready six.data       headless; six endpoints: their SRV records fit into 512
 * bytes, with all addresses they do not big.data       headless; N_BIG endpoints: does not fit into
 * a packet and, in cluster.local, cart.shop.svc.cluster.local.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_DNS_ZONE_H
#define ISTHMUS_TESTS_UNIT_PROXY_DNS_ZONE_H

#include "config/snapshot.h"
#include "proxy/dns/answer.h"

#define N_BIG 200

struct snapshot *zone_snapshot(uint64_t generation, bool is_synced);

enum {
    TYPE_A = 1,
    TYPE_NS = 2,
    TYPE_SOA = 6,
    TYPE_PTR = 12,
    TYPE_MX = 15,
    TYPE_TXT = 16,
    TYPE_AAAA = 28,
    TYPE_SRV = 33,
    TYPE_IXFR = 251,
    TYPE_AXFR = 252,
    TYPE_ANY = 255,
    TYPE_PRIVATE = 65400
};

struct message {
    size_t len;
    uint8_t bytes[DNS_TCP_MAX];
};

/* A query with id 0x1234 and RD, without EDNS. The name is written as it is, even when no name may
 * be like that. */
void query_make(struct message *message, const char *name, uint16_t type);
/* Appends an OPT record; options are raw bytes of its data. */
void query_add_opt(struct message *message, uint16_t payload, uint8_t version, struct str options);
void message_set_u16(struct message *message, size_t at, uint16_t value);
void message_add(struct message *message, const void *bytes, size_t len);
struct str message_str(const struct message *message);

/* "NOERROR aa" with the flags that are set out of aa tc ra, then a line for every record:
 * "\nanswer web.shop.svc.clusterset.local. 5 A 10.201.0.1". What cannot be parsed is "unreadable".
 * Good until the next eight calls. */
const char *message_text(struct str packet);

/* What dns_answer() says: the text of the answer, or "relay" or "drop". */
const char *ask(const struct snapshot *snapshot, const char *name, uint16_t type);
const char *ask_message(const struct snapshot *snapshot, const struct message *query, bool tcp);

#define ZONE_SOA(serial)                                                                           \
    "\nauthority clusterset.local. 5 SOA ns.dns.clusterset.local. "                                \
    "hostmaster.clusterset.local. " serial " 7200 1800 86400 5"
#define NODATA(serial)   "NOERROR aa ra" ZONE_SOA(serial)
#define NXDOMAIN(serial) "NXDOMAIN aa ra" ZONE_SOA(serial)

#endif
