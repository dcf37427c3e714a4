/*
 * Every allocation that libknot makes goes into the reply's arena and is freed with it. Record sets
 * are laid out here in one piece, since knot_rrset_add_rdata() sorts and copies at each step:
 * quadratic for a service of a thousand pods.
 */
#include "proxy/dns/reply.h"

#include <libknot/codes.h>
#include <libknot/descriptor.h>
#include <libknot/errcode.h>
#include <libknot/rrtype/opt.h>
#include <string.h>

#include "proxy/dns/answer.h"

#define RR_HEAD_BYTES   12 /* owner as a pointer, type, class, TTL, length */
#define OPT_BYTES       11
#define SRV_HEAD_BYTES  6 /* priority, weight, port */
#define SOA_REFRESH_SEC 7200
#define SOA_RETRY_SEC   1800
#define SOA_EXPIRE_SEC  86400
#define NAME_SERVER     "ns.dns." DNS_ZONE
#define HOSTMASTER      "hostmaster." DNS_ZONE

static void *mm_alloc(void *arena, size_t len)
{
    return arena_alloc(arena, len);
}

static void mm_free(void *ptr)
{
    (void)ptr; /* goes with the arena */
}

static uint16_t room(const struct reply *reply, bool tcp)
{
    if (tcp)
        return DNS_TCP_MAX;
    if (!reply->has_edns)
        return DNS_UDP_MIN;
    uint16_t offered = knot_edns_get_payload(reply->query->opt_rr);
    if (offered < DNS_UDP_MIN)
        return DNS_UDP_MIN; /* RFC 6891 section 6.2.3 */
    return offered < DNS_UDP_MAX ? offered : DNS_UDP_MAX;
}

static bool has_too_many_records(struct str query)
{
    const uint8_t *head = (const uint8_t *)query.ptr;
    return knot_wire_get_ancount(head) + knot_wire_get_nscount(head) + knot_wire_get_arcount(head) >
           REPLY_RECORDS_MAX;
}

/* On a copy: libknot takes a TSIG record out of the message that it parses. */
static knot_pkt_t *parse(struct reply *reply, struct str query)
{
    if (query.len > DNS_TCP_MAX || has_too_many_records(query))
        return NULL;
    uint8_t *copy = arena_alloc(&reply->arena, query.len);
    memcpy(copy, query.ptr, query.len);
    knot_pkt_t *packet = knot_pkt_new(copy, (uint16_t)query.len, &reply->mm);
    if (!packet || knot_pkt_parse(packet, 0) != KNOT_EOK)
        return NULL;
    return packet;
}

bool reply_begin(struct reply *reply, struct str query, bool tcp, uint8_t *out_packet)
{
    *reply = (struct reply){0};
    reply->mm = (knot_mm_t){.ctx = &reply->arena, .alloc = mm_alloc, .free = mm_free};
    reply->query = parse(reply, query);
    if (!reply->query) {
        arena_fini(&reply->arena);
        return false;
    }
    reply->has_edns = knot_pkt_has_edns(reply->query);
    if (reply->has_edns)
        reply->edns_version = knot_edns_get_version(reply->query->opt_rr);
    reply->packet = knot_pkt_new(out_packet, room(reply, tcp), &reply->mm);
    ensure(reply->packet && knot_pkt_init_response(reply->packet, reply->query) == KNOT_EOK);
    if (reply->has_edns)
        ensure(knot_pkt_reserve(reply->packet, OPT_BYTES) == KNOT_EOK);
    knot_wire_set_rcode(out_packet, KNOT_RCODE_NOERROR); /* a query may have anything there */
    /* Names outside the zone are relayed to where recursion may be had, so a client that wants it
     * is not turned away. */
    if (knot_wire_get_rd(out_packet))
        knot_wire_set_ra(out_packet);
    knot_pkt_begin(reply->packet, KNOT_ANSWER);
    return true;
}

void reply_set_aa(struct reply *reply)
{
    knot_wire_set_aa(reply->packet->wire);
}

void reply_set_rcode(struct reply *reply, uint16_t rcode)
{
    knot_wire_set_rcode(reply->packet->wire, (uint8_t)KNOT_EDNS_RCODE_LO(rcode));
    reply->ext_rcode = (uint8_t)KNOT_EDNS_RCODE_HI(rcode);
}

/* A set whose records follow one another in memory, filled by set_add(). */
struct set {
    knot_rrset_t rrset;
    uint8_t *next;
};

static void set_init(struct reply *reply, struct set *set, const uint8_t *owner, uint16_t type,
                     uint32_t ttl_sec, size_t rdata_bytes)
{
    size_t owner_len = owner ? knot_dname_size(owner) : reply->query->qname_size;
    knot_dname_t *name = arena_alloc(&reply->arena, owner_len);
    memcpy(name, owner ? owner : knot_pkt_qname(reply->query), owner_len);
    knot_rrset_init(&set->rrset, name, type, KNOT_CLASS_IN, ttl_sec);
    set->rrset.rrs.rdata = arena_alloc(&reply->arena, rdata_bytes ? rdata_bytes : 1);
    set->next = (uint8_t *)set->rrset.rrs.rdata;
}

static void set_add(struct set *set, const uint8_t *rdata, size_t len)
{
    knot_rdata_init((knot_rdata_t *)(void *)set->next, (uint16_t)len, rdata);
    size_t size = knot_rdata_size((uint16_t)len);
    set->next += size;
    set->rrset.rrs.size += (uint32_t)size;
    set->rrset.rrs.count++;
}

static bool is_answering(const struct reply *reply)
{
    return reply->packet->current == KNOT_ANSWER;
}

/* The bytes that records may still take. */
static size_t room_left(const struct reply *reply)
{
    size_t taken = reply->packet->size + reply->packet->reserved;
    return reply->packet->max_size > taken ? reply->packet->max_size - taken : 0;
}

static bool put(struct reply *reply, const knot_rrset_t *rrset, bool owner_is_question)
{
    uint16_t hint = owner_is_question ? KNOT_COMPR_HINT_QNAME : KNOT_COMPR_HINT_NONE;
    uint16_t flags = is_answering(reply) ? 0 : KNOT_PF_NOTRUNC;
    return rrset->rrs.count > 0 && knot_pkt_put(reply->packet, hint, rrset, flags) == KNOT_EOK;
}

static size_t count_family(const struct reply_addresses *addresses)
{
    size_t n = 0;
    for (size_t i = 0; i < addresses->n_ips; i++)
        n += addresses->ips[i].len == addresses->family_len;
    return n;
}

/* Of n records of the given size in the answer section, as many as there is room for; TC tells
 * about the others. A client that cannot come back over TCP still has something to call. */
static size_t clamp_to_room(struct reply *reply, size_t n, size_t record_bytes)
{
    size_t fitting = room_left(reply) / record_bytes;
    if (n <= fitting || !is_answering(reply))
        return n;
    knot_wire_set_tc(reply->packet->wire);
    return fitting;
}

bool reply_put_addresses(struct reply *reply, const uint8_t *owner,
                         const struct reply_addresses *addresses)
{
    size_t len = addresses->family_len, n = count_family(addresses);
    if (n == 0)
        return false;
    size_t skip = addresses->rotation % n, kept = clamp_to_room(reply, n, RR_HEAD_BYTES + len);
    if (kept == 0)
        return true; /* there are some, and TC says so */
    struct set set = {0};
    set_init(reply, &set, owner, len == 4 ? KNOT_RRTYPE_A : KNOT_RRTYPE_AAAA, DNS_TTL_SEC,
             kept * knot_rdata_size((uint16_t)len));
    /* Twice around at the most: skip to where the rotation starts, then take what is kept. */
    for (size_t i = 0; set.rrset.rrs.count < kept; i++) {
        const struct ip *ip = &addresses->ips[i % addresses->n_ips];
        if (ip->len != len)
            continue;
        if (skip > 0)
            skip--;
        else
            set_add(&set, ip->bytes, len);
    }
    return put(reply, &set.rrset, owner == NULL) || is_answering(reply);
}

/* The record's data, or 0 when its target is no name. RFC 2782: priority, weight, port, target, not
 * compressed. */
static size_t srv_rdata(const struct dns_srv *srv, uint8_t *rdata)
{
    size_t target_len = dns_name_from_text(srv->target, rdata + SRV_HEAD_BYTES);
    memset(rdata, 0, 4); /* priority and weight: all alike */
    rdata[4] = (uint8_t)(srv->port >> 8);
    rdata[5] = (uint8_t)srv->port;
    return target_len ? SRV_HEAD_BYTES + target_len : 0;
}

bool reply_put_srvs(struct reply *reply, const struct dns_srv *srvs, size_t n_srvs,
                    uint32_t rotation)
{
    if (n_srvs == 0)
        return false;
    uint8_t rdata[SRV_HEAD_BYTES + DNS_NAME_BYTES_MAX];
    size_t left = room_left(reply), bytes = 0, kept = 0;
    for (; kept < n_srvs; kept++) {
        size_t len = srv_rdata(&srvs[(rotation + kept) % n_srvs], rdata);
        if (len + RR_HEAD_BYTES > left)
            break;
        left -= len + RR_HEAD_BYTES;
        bytes += knot_rdata_size((uint16_t)len);
    }
    if (kept < n_srvs)
        knot_wire_set_tc(reply->packet->wire);
    struct set set = {0};
    set_init(reply, &set, NULL, KNOT_RRTYPE_SRV, DNS_TTL_SEC, bytes);
    for (size_t i = 0; i < kept; i++) {
        size_t len = srv_rdata(&srvs[(rotation + i) % n_srvs], rdata);
        if (len > 0)
            set_add(&set, rdata, len);
    }
    put(reply, &set.rrset, true);
    return true;
}

static void put_one(struct reply *reply, const uint8_t *owner, uint16_t type, uint32_t ttl_sec,
                    const uint8_t *rdata, size_t len)
{
    struct set set = {0};
    set_init(reply, &set, owner, type, ttl_sec, knot_rdata_size((uint16_t)len));
    set_add(&set, rdata, len);
    put(reply, &set.rrset, owner == NULL);
}

void reply_put_txt(struct reply *reply, struct str text, uint32_t ttl_sec)
{
    uint8_t rdata[256];
    ensure(text.len < sizeof(rdata));
    rdata[0] = (uint8_t)text.len;
    memcpy(rdata + 1, text.ptr, text.len);
    put_one(reply, NULL, KNOT_RRTYPE_TXT, ttl_sec, rdata, text.len + 1);
}

static size_t put_u32(uint8_t *at, uint32_t value)
{
    knot_wire_write_u32(at, value);
    return sizeof(value);
}

void reply_put_soa(struct reply *reply, const uint8_t *zone, uint32_t serial)
{
    uint8_t rdata[2 * DNS_NAME_BYTES_MAX + 20];
    size_t len = dns_name_from_text(STR(NAME_SERVER), rdata);
    len += dns_name_from_text(STR(HOSTMASTER), rdata + len);
    len += put_u32(rdata + len, serial);
    len += put_u32(rdata + len, SOA_REFRESH_SEC);
    len += put_u32(rdata + len, SOA_RETRY_SEC);
    len += put_u32(rdata + len, SOA_EXPIRE_SEC);
    len += put_u32(rdata + len, DNS_TTL_SEC); /* how long a "no" may be kept: RFC 2308 section 4 */
    put_one(reply, is_answering(reply) ? NULL : zone, KNOT_RRTYPE_SOA, DNS_TTL_SEC, rdata, len);
}

void reply_put_ns(struct reply *reply)
{
    uint8_t rdata[DNS_NAME_BYTES_MAX];
    size_t len = dns_name_from_text(STR(NAME_SERVER), rdata);
    put_one(reply, NULL, KNOT_RRTYPE_NS, DNS_TTL_SEC, rdata, len);
}

void reply_authority(struct reply *reply)
{
    knot_pkt_begin(reply->packet, KNOT_AUTHORITY);
}

void reply_additional(struct reply *reply)
{
    knot_pkt_begin(reply->packet, KNOT_ADDITIONAL);
    if (!reply->has_edns)
        return;
    knot_rrset_t opt;
    ensure(knot_edns_init(&opt, DNS_UDP_MAX, reply->ext_rcode, KNOT_EDNS_VERSION, &reply->mm) ==
           KNOT_EOK);
    if (knot_edns_do(reply->query->opt_rr))
        knot_edns_set_do(&opt); /* RFC 3225 section 3: handed back as it came */
    knot_pkt_reclaim(reply->packet, OPT_BYTES);
    ensure(knot_pkt_put(reply->packet, KNOT_COMPR_HINT_NONE, &opt, 0) == KNOT_EOK);
}

bool reply_is_truncated(const struct reply *reply)
{
    return knot_wire_get_tc(reply->packet->wire);
}

size_t reply_end(struct reply *reply)
{
    if (reply->packet->current != KNOT_ADDITIONAL)
        reply_additional(reply);
    size_t len = reply->packet->size;
    arena_fini(&reply->arena);
    return len;
}

size_t reply_bare(struct str query, const struct dns_question *question, uint16_t rcode,
                  uint8_t *out_packet)
{
    size_t len = question ? question->end : DNS_HEADER_BYTES;
    memcpy(out_packet, query.ptr, len);
    memset(out_packet + KNOT_WIRE_OFFSET_QDCOUNT, 0, DNS_HEADER_BYTES - KNOT_WIRE_OFFSET_QDCOUNT);
    knot_wire_set_qdcount(out_packet, question ? 1 : 0);
    out_packet[KNOT_WIRE_OFFSET_FLAGS1] &= (uint8_t)(KNOT_WIRE_OPCODE_MASK | KNOT_WIRE_RD_MASK);
    knot_wire_set_qr(out_packet);
    out_packet[KNOT_WIRE_OFFSET_FLAGS2] = (uint8_t)KNOT_EDNS_RCODE_LO(rcode);
    return len;
}
