/*
 * reply.h - a parsed query and the answer that is written to it, on libknot's packets.
 *
 * Order of use: reply_begin(), then sections in the order of the message: answer, authority,
 * reply_additional() (which puts the OPT record there and opens the section), additional records,
 * reply_end(). The question is echoed as it was asked, letter case included, and owners are
 * pointers to it.
 *
 * Room: DNS_UDP_MIN without EDNS, what the client offers with it but at most DNS_UDP_MAX,
 * everything over TCP. Records of the answer section that do not fit are left out and TC is set; of
 * the additional section they are just left out.
 *
 * Owner: the caller; reply_end() frees. Thread: any.
 */
#ifndef ISTHMUS_DNS_REPLY_H
#define ISTHMUS_DNS_REPLY_H

#include <libknot/packet/pkt.h>

#include "config/snapshot.h"
#include "proxy/dns/wire.h"

#define REPLY_RECORDS_MAX 16 /* that a query may carry behind its question */

struct reply {
    struct arena arena;
    knot_mm_t mm;
    knot_pkt_t *query, *packet;
    bool has_edns;
    uint8_t edns_version; /* of the query */
    uint8_t ext_rcode;    /* the upper bits of the answer's, for the OPT record */
};

/* Which addresses of a name, and with which of them to start. */
struct reply_addresses {
    const struct ip *ips;
    size_t n_ips;
    uint8_t family_len; /* 4 or 16, as ip.len */
    uint32_t rotation;
};

/* Parses the query and starts an answer with its question, AA clear, NOERROR. False when the query
 * is malformed behind its question; nothing is held then. out_packet has room for DNS_TCP_MAX
 * bytes. */
bool reply_begin(struct reply *reply, struct str query, bool tcp, uint8_t *out_packet);

void reply_set_aa(struct reply *reply);
void reply_set_rcode(struct reply *reply, uint16_t rcode); /* up to 12 bits with EDNS */

/* Each puts one set of records, owner NULL for the name that was asked. False when nothing of it
 * was there. */
bool reply_put_addresses(struct reply *reply, const uint8_t *owner,
                         const struct reply_addresses *addresses);
bool reply_put_srvs(struct reply *reply, const struct dns_srv *srvs, size_t n_srvs,
                    uint32_t rotation);
void reply_put_txt(struct reply *reply, struct str text, uint32_t ttl_sec);
void reply_put_soa(struct reply *reply, const uint8_t *zone, uint32_t serial);
void reply_put_ns(struct reply *reply);

void reply_authority(struct reply *reply);
void reply_additional(struct reply *reply);
bool reply_is_truncated(const struct reply *reply);
/* The length of the answer. */
size_t reply_end(struct reply *reply);

/* An answer that is only header and, when question is not NULL, question: for what could not be
 * parsed. */
size_t reply_bare(struct str query, const struct dns_question *question, uint16_t rcode,
                  uint8_t *out_packet);

#endif
