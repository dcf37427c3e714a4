/*
 * Every name of ours is in one of four places: fixed by the schema (the table below), laid out in
 * the snapshot, or absent; and what is absent is said so only once the snapshot is complete
 * (SERVFAIL before).
 */
#include "proxy/dns/answer.h"

#include <libknot/codes.h>
#include <libknot/descriptor.h>
#include <string.h>

#include "proxy/base/ensure.h"
#include "proxy/dns/reply.h"
#include "proxy/dns/wire.h"

#define ADDITIONAL_TARGETS_MAX 32 /* SRV targets whose addresses are added, room permitting */

static const uint8_t zone_name[] = "\012clusterset\005local";

static bool is_in_zone(const struct dns_question *question)
{
    return knot_dname_in_bailiwick(question->name, zone_name) >= 0;
}

enum place_in_zone { PLACE_APEX, PLACE_VERSION, PLACE_EMPTY, PLACE_LAID_OUT, PLACE_ABSENT };

/* What exists whatever is in the mesh. The name server of the SOA has no address: nobody needs to
 * call it. */
static const struct {
    struct str name;
    enum place_in_zone place;
} fixed_names[] = {
    {{DNS_ZONE, sizeof(DNS_ZONE) - 1}, PLACE_APEX},
    {{"dns-version." DNS_ZONE, sizeof("dns-version." DNS_ZONE) - 1}, PLACE_VERSION},
    {{"svc." DNS_ZONE, sizeof("svc." DNS_ZONE) - 1}, PLACE_EMPTY},
    {{"pod." DNS_ZONE, sizeof("pod." DNS_ZONE) - 1}, PLACE_EMPTY},
    {{"dns." DNS_ZONE, sizeof("dns." DNS_ZONE) - 1}, PLACE_EMPTY},
    {{"ns.dns." DNS_ZONE, sizeof("ns.dns." DNS_ZONE) - 1}, PLACE_EMPTY},
};

static enum place_in_zone find_place(const struct snapshot *snapshot, const uint8_t *name,
                                     const struct dns_name **out_name)
{
    char buffer[DNS_NAME_TEXT_MAX + 1];
    struct str text;
    if (!dns_name_to_text(name, buffer, &text))
        return PLACE_ABSENT;
    for (size_t i = 0; i < ARRAY_LEN(fixed_names); i++) {
        if (str_eq(text, fixed_names[i].name))
            return fixed_names[i].place;
    }
    *out_name = map_find(&snapshot->names, text);
    return *out_name ? PLACE_LAID_OUT : PLACE_ABSENT;
}

struct asking {
    const struct snapshot *snapshot;
    const struct dns_question *question;
    uint32_t rotation;
    struct reply *reply;
};

static uint32_t serial_of(const struct snapshot *snapshot)
{
    return (uint32_t)snapshot->generation;
}

static bool asks_for(const struct asking *asking, uint16_t type)
{
    return asking->question->type == type || asking->question->type == KNOT_RRTYPE_ANY;
}

/* Each answer_ function puts the records of the type that was asked for, or for ANY those of the
 * first type that there is (RFC 8482 section 4.1), and says whether there were any. */

static bool answer_apex(const struct asking *asking)
{
    if (asks_for(asking, KNOT_RRTYPE_SOA))
        reply_put_soa(asking->reply, zone_name, serial_of(asking->snapshot));
    else if (asks_for(asking, KNOT_RRTYPE_NS))
        reply_put_ns(asking->reply);
    else
        return false;
    return true;
}

static bool answer_version(const struct asking *asking)
{
    if (!asks_for(asking, KNOT_RRTYPE_TXT))
        return false;
    reply_put_txt(asking->reply, STR(DNS_SCHEMA), DNS_VERSION_TTL);
    return true;
}

static bool put_family(const struct asking *asking, const uint8_t *owner,
                       const struct dns_name *name, uint8_t family_len)
{
    struct reply_addresses addresses = {
        .ips = name->addresses,
        .n_ips = name->n_addresses,
        .family_len = family_len,
        .rotation = name->is_headless ? asking->rotation : 0,
    };
    return reply_put_addresses(asking->reply, owner, &addresses);
}

static bool answer_laid_out(const struct asking *asking, const struct dns_name *name)
{
    assume(name);
    if (asks_for(asking, KNOT_RRTYPE_A) && put_family(asking, NULL, name, 4))
        return true;
    if (asks_for(asking, KNOT_RRTYPE_AAAA) && put_family(asking, NULL, name, 16))
        return true;
    return asks_for(asking, KNOT_RRTYPE_SRV) &&
           reply_put_srvs(asking->reply, name->srvs, name->n_srvs,
                          name->is_headless ? asking->rotation : 0);
}

static bool is_repeated(const struct dns_name *name, size_t idx)
{
    for (size_t i = 0; i < idx; i++) {
        if (str_eq(name->srvs[i].target, name->srvs[idx].target))
            return true;
    }
    return false;
}

/* The addresses of the targets, as long as there is room: whoever misses one can ask for it. */
static void add_targets(const struct asking *asking, const struct dns_name *name)
{
    size_t n = name->n_srvs < ADDITIONAL_TARGETS_MAX ? name->n_srvs : ADDITIONAL_TARGETS_MAX;
    for (size_t i = 0; i < n; i++) {
        uint8_t owner[DNS_NAME_BYTES_MAX];
        const struct dns_name *target = map_find(&asking->snapshot->names, name->srvs[i].target);
        if (!target || is_repeated(name, i) || !dns_name_from_text(target->name, owner))
            continue;
        put_family(asking, owner, target, 4);
        put_family(asking, owner, target, 16);
    }
}

static void answer_in_zone(const struct asking *asking)
{
    const struct dns_name *name = NULL;
    enum place_in_zone place = find_place(asking->snapshot, asking->question->name, &name);
    bool found = false;
    switch (place) {
    case PLACE_APEX: found = answer_apex(asking); break;
    case PLACE_VERSION: found = answer_version(asking); break;
    case PLACE_LAID_OUT: found = answer_laid_out(asking, name); break;
    case PLACE_EMPTY: break;
    case PLACE_ABSENT: reply_set_rcode(asking->reply, KNOT_RCODE_NXDOMAIN); break;
    }
    if (!found) { /* RFC 2308: the SOA says how long the absence may be remembered */
        reply_authority(asking->reply);
        reply_put_soa(asking->reply, zone_name, serial_of(asking->snapshot));
    }
    reply_additional(asking->reply);
    if (found && place == PLACE_LAID_OUT && asking->question->type == KNOT_RRTYPE_SRV &&
        !reply_is_truncated(asking->reply))
        add_targets(asking, name);
}

static bool is_transfer(const struct dns_question *question)
{
    return question->type == KNOT_RRTYPE_AXFR || question->type == KNOT_RRTYPE_IXFR;
}

static void answer_parsed(const struct asking *asking)
{
    struct reply *reply = asking->reply;
    if (reply->has_edns && reply->edns_version > KNOT_EDNS_VERSION) {
        reply_set_rcode(reply, KNOT_RCODE_BADVERS);
    } else if (asking->question->class_ != KNOT_CLASS_IN || is_transfer(asking->question)) {
        reply_set_rcode(reply, KNOT_RCODE_REFUSED);
    } else if (!asking->snapshot || !asking->snapshot->is_synced) {
        reply_set_rcode(reply, KNOT_RCODE_SERVFAIL);
    } else {
        reply_set_aa(reply);
        answer_in_zone(asking);
    }
}

enum dns_verdict dns_answer(const struct snapshot *snapshot, struct str query, bool tcp,
                            uint32_t rotation, uint8_t *out_packet, size_t *out_len)
{
    struct dns_question question;
    if (query.len < DNS_HEADER_BYTES || dns_is_response(query))
        return DNS_DROP;
    bool is_readable = dns_question_read(query, &question);
    if (is_readable && !is_in_zone(&question))
        return DNS_RELAY;

    struct reply reply;
    if (dns_opcode(query) != KNOT_OPCODE_QUERY) {
        *out_len =
            reply_bare(query, is_readable ? &question : NULL, KNOT_RCODE_NOTIMPL, out_packet);
    } else if (!is_readable || !reply_begin(&reply, query, tcp, out_packet)) {
        *out_len =
            reply_bare(query, is_readable ? &question : NULL, KNOT_RCODE_FORMERR, out_packet);
    } else {
        answer_parsed(&(struct asking){snapshot, &question, rotation, &reply});
        *out_len = reply_end(&reply);
    }
    return DNS_ANSWERED;
}

static bool fail_with(struct str query, uint16_t rcode, uint8_t *out_packet, size_t *out_len)
{
    struct dns_question question;
    struct reply reply;
    if (query.len < DNS_HEADER_BYTES || dns_is_response(query))
        return false;
    bool is_readable = dns_question_read(query, &question);
    if (!is_readable || !reply_begin(&reply, query, false, out_packet)) {
        *out_len = reply_bare(query, is_readable ? &question : NULL, rcode, out_packet);
        return true;
    }
    reply_set_rcode(&reply, rcode);
    *out_len = reply_end(&reply);
    return true;
}

bool dns_servfail(struct str query, uint8_t *out_packet, size_t *out_len)
{
    return fail_with(query, KNOT_RCODE_SERVFAIL, out_packet, out_len);
}

bool dns_refuse(struct str query, uint8_t *out_packet, size_t *out_len)
{
    return fail_with(query, KNOT_RCODE_REFUSED, out_packet, out_len);
}
