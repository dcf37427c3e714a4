/* The rules D23, D24 and D28, and what else is to be said about messages: room, EDNS, what is
 * malformed, what is hostile. */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/rng.h"
#include "tests/unit/proxy_dns/zone.h"

TestSuite(dns_messages, .timeout = 60);

#define SVC(name) name ".svc.clusterset.local"
#define WEB_A     "answer " SVC("web.shop") ". 5 A 10.201.0.1"

static struct snapshot *snapshot;
static struct message query, answer;

static void set_up(void)
{
    snapshot = zone_snapshot(7, true);
}

static void tear_down(void)
{
    snapshot_free(snapshot);
}

static unsigned count(unsigned at)
{
    return (unsigned)answer.bytes[at] << 8 | answer.bytes[at + 1];
}

static unsigned n_answers(void)
{
    return count(6);
}

static bool is_truncated(void)
{
    return answer.bytes[2] & 0x02;
}

static const char *send_query(bool tcp)
{
    cr_assert_eq(dns_answer(snapshot, message_str(&query), tcp, 0, answer.bytes, &answer.len),
                 DNS_ANSWERED);
    return message_text(message_str(&answer));
}

Test(dns_messages, what_does_not_fit_is_truncated_and_says_so, .init = set_up, .fini = tear_down)
{
    static const struct {
        uint16_t offered; /* 0: no EDNS */
        size_t room;
    } rows[] = {{0, 512},     {100, 512},   {512, 512},   {800, 800},
                {1232, 1232}, {4096, 1232}, {65535, 1232}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) { /* D23 D28 */
        query_make(&query, SVC("big.data"), TYPE_A);
        if (rows[i].offered)
            query_add_opt(&query, rows[i].offered, 0, (struct str){0});
        const char *got = send_query(false);
        cr_expect_eq(strncmp(got, "NOERROR aa tc ra\n", 17), 0, "%s", got);
        cr_expect(answer.len <= rows[i].room, "%zu bytes for %u", answer.len, rows[i].offered);
        cr_expect(answer.len + 16 > rows[i].room, "no record more would have fitted");
        cr_expect_eq(count(10), rows[i].offered ? 1 : 0, "the OPT record has its place");
        send_query(true);
        cr_expect_eq(n_answers(), N_BIG, "TCP has all of them");
        cr_expect_not(is_truncated());
    }
}

Test(dns_messages, a_long_row_of_srv_records_is_truncated_and_whole_over_tcp, .init = set_up,
     .fini = tear_down)
{
    query_make(&query, SVC("_sql._tcp.big.data"), TYPE_SRV);
    send_query(false);
    cr_expect(is_truncated() && n_answers() > 0 && answer.len <= 512); /* D23 */
    cr_expect_eq(count(10), 0, "no additional record where an answer is missing");
    send_query(true);
    cr_expect_eq(n_answers(), N_BIG);
    cr_expect_not(is_truncated());
}

Test(dns_messages, additional_records_go_before_an_answer_does, .init = set_up, .fini = tear_down)
{
    query_make(&query, SVC("six.data"), TYPE_SRV);
    send_query(true);
    unsigned n_additional = count(10);
    send_query(false); /* D5 D23 */
    cr_expect_eq(n_answers(), 6);
    cr_expect_not(is_truncated());
    cr_expect(count(10) < n_additional, "%u of %u", count(10), n_additional);
    cr_expect(answer.len <= 512);
}

Test(dns_messages, edns_is_answered_with_edns, .init = set_up, .fini = tear_down)
{
    /* D28. Options: a cookie, padding, one that nobody knows. */
    static const char options[] = "\0\12\0\10abcdefgh\0\14\0\2\0\0\376\355\0\1x";
    query_make(&query, SVC("web.shop"), TYPE_A);
    query_add_opt(&query, 1400, 0, (struct str){0});
    cr_expect_str_eq(send_query(false),
                     "NOERROR aa ra\n" WEB_A "\nadditional OPT version 0 payload 1232");
    query_make(&query, SVC("web.shop"), TYPE_A);
    query_add_opt(&query, 1400, 0, (struct str){options, sizeof(options) - 1});
    cr_expect_str_eq(send_query(false),
                     "NOERROR aa ra\n" WEB_A "\nadditional OPT version 0 payload 1232",
                     "unknown options are ignored and not sent back");
    query_make(&query, SVC("web.shop"), TYPE_A);
    query_add_opt(&query, 1400, 0, (struct str){0});
    query.bytes[query.len - 4] = 0x80; /* DO */
    cr_expect_str_eq(send_query(false),
                     "NOERROR aa ra\n" WEB_A "\nadditional OPT version 0 payload 1232 do");
    query.bytes[query.len - 6] = 0xff; /* the extended RCODE of a query means nothing */
    cr_expect_str_eq(send_query(false),
                     "NOERROR aa ra\n" WEB_A "\nadditional OPT version 0 payload 1232 do");
    query_make(&query, SVC("none.shop"), TYPE_A);
    query_add_opt(&query, 1400, 0, (struct str){0});
    cr_expect_str_eq(send_query(false), NXDOMAIN("7") "\nadditional OPT version 0 payload 1232");
}

Test(dns_messages, another_version_of_edns_is_badvers, .init = set_up, .fini = tear_down)
{
    for (unsigned version = 1; version < 256; version += 127) {
        query_make(&query, SVC("web.shop"), TYPE_A);
        query_add_opt(&query, 1400, (uint8_t)version, (struct str){0});
        cr_expect_str_eq(send_query(false),
                         "BADVERS ra\nadditional OPT version 0 payload 1232"); /* D28 */
    }
}

Test(dns_messages, flags_of_the_query_are_kept_or_dropped_as_they_should, .init = set_up,
     .fini = tear_down)
{
    query_make(&query, SVC("web.shop"), TYPE_A);
    query.bytes[2] = 0x06;                                     /* AA and TC, no RD */
    query.bytes[3] = 0xf5;                                     /* RA, Z, AD, CD, an RCODE */
    cr_expect_str_eq(send_query(false), "NOERROR aa\n" WEB_A); /* D23 */
    cr_expect_eq(answer.bytes[2], 0x84, "QR and AA");
    cr_expect_eq(answer.bytes[3] & 0xef, 0x00, "%02x: only CD may be kept (RFC 4035)",
                 answer.bytes[3]);
    cr_expect_eq(count(0), 0x1234, "the id is the client's");
}

/* A question whose name is n labels of len bytes in front of the zone. */
static void make_labels(unsigned n_labels, unsigned len)
{
    query_make(&query, "clusterset.local", TYPE_A);
    struct message tail = query;
    query.len = 12;
    for (unsigned i = 0; i < n_labels; i++) {
        message_add(&query, &(uint8_t){(uint8_t)len}, 1);
        for (unsigned j = 0; j < len; j++)
            message_add(&query, "a", 1);
    }
    message_add(&query, tail.bytes + 12, tail.len - 12);
}

Test(dns_messages, names_at_and_beyond_the_limits_are_answered, .init = set_up, .fini = tear_down)
{
    static const struct {
        unsigned n_labels, len;
        const char *expected;
    } rows[] = {
        /* D24; the zone takes 18 bytes of the 255 */
        {1, 63, NXDOMAIN("7")}, {1, 64, "FORMERR"}, {118, 1, NXDOMAIN("7")}, {119, 1, "FORMERR"},
        {3, 63, NXDOMAIN("7")}, {4, 63, "FORMERR"}, {1, 0xc0, "FORMERR"},    {2000, 1, "FORMERR"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        make_labels(rows[i].n_labels, rows[i].len);
        const char *got = send_query(false);
        cr_expect_str_eq(got, rows[i].expected, "%u labels of %u: %s", rows[i].n_labels,
                         rows[i].len, got);
    }
}

Test(dns_messages, a_question_may_not_point, .init = set_up, .fini = tear_down)
{
    static const uint8_t pointers[][2] = {{0xc0, 12}, {0xc0, 0}, {0xc0, 14}, {0xff, 0xff}};
    for (size_t i = 0; i < ARRAY_LEN(pointers); i++) {
        query_make(&query, "", TYPE_A);
        query.len = 12;
        message_add(&query, pointers[i], 2);
        message_add(&query, "\0\1\0\1", 4);
        cr_expect_str_eq(send_query(false), "FORMERR");
    }
}

Test(dns_messages, a_loop_of_pointers_behind_the_question_is_an_error, .init = set_up,
     .fini = tear_down)
{
    query_make(&query, SVC("web.shop"), TYPE_A);
    uint8_t to_itself[2] = {0xc0, (uint8_t)query.len};
    message_add(&query, to_itself, 2);
    message_add(&query, "\0\1\0\1\0\0\0\0\0\4\1\2\3\4", 14);
    query.bytes[11] = 1;
    cr_expect_str_eq(send_query(false), "FORMERR");
}

Test(dns_messages, what_is_malformed_with_a_header_is_formerr, .init = set_up, .fini = tear_down)
{
    query_make(&query, SVC("web.shop"), TYPE_A);
    const struct message good = query;
    for (uint16_t qdcount = 0; qdcount < 4; qdcount++) {
        query = good;
        message_set_u16(&query, 4, qdcount);
        const char *got = send_query(false);
        cr_expect_str_eq(got, qdcount == 1 ? "NOERROR aa ra\n" WEB_A : "FORMERR", "QDCOUNT %u: %s",
                         qdcount, got);
    }
    query = good;
    message_add(&query, "x", 1);
    cr_expect_str_eq(send_query(false), "FORMERR", "bytes behind the end");
    query = good;
    message_set_u16(&query, 10, 1);
    cr_expect_str_eq(send_query(false), "FORMERR", "a record that is not there");
    query = good;
    query_add_opt(&query, 1232, 0, (struct str){0});
    query_add_opt(&query, 1232, 0, (struct str){0});
    cr_expect_str_eq(send_query(false), "FORMERR", "two OPT records");
    query = good;
    query_add_opt(&query, 1232, 0, STR("\0\12\0\10ab"));
    cr_expect_str_eq(send_query(false), "FORMERR", "an option that is longer than its record");
}

Test(dns_messages, a_query_full_of_records_is_not_even_parsed, .init = set_up, .fini = tear_down)
{
    query_make(&query, SVC("web.shop"), TYPE_A);
    for (unsigned i = 0; i < 5000; i++)
        message_add(&query, "\xc0\x0c\0\1\0\1\0\0\0\0\0\0", 12);
    message_set_u16(&query, 10, 5000);
    cr_expect_str_eq(send_query(true), "FORMERR");
}

Test(dns_messages, other_opcodes_and_classes_are_declined_in_the_zone_alone, .init = set_up,
     .fini = tear_down)
{
    for (unsigned opcode = 1; opcode < 16; opcode++) {
        query_make(&query, SVC("web.shop"), TYPE_A);
        query.bytes[2] = (uint8_t)(opcode << 3);
        cr_expect_str_eq(send_query(false), "NOTIMP", "opcode %u", opcode);
        query_make(&query, "example.com", TYPE_SOA);
        query.bytes[2] = (uint8_t)(opcode << 3);
        cr_expect_str_eq(ask_message(snapshot, &query, false), "relay", "opcode %u", opcode);
    }
    query_make(&query, SVC("web.shop"), TYPE_TXT);
    query.bytes[query.len - 1] = 3; /* CH */
    cr_expect_str_eq(send_query(false), "REFUSED ra");
    query_make(&query, "version.bind", TYPE_TXT);
    query.bytes[query.len - 1] = 3;
    cr_expect_str_eq(ask_message(snapshot, &query, false), "relay");
}

Test(dns_messages, what_has_no_header_or_is_an_answer_is_dropped, .init = set_up, .fini = tear_down)
{
    query_make(&query, SVC("web.shop"), TYPE_A);
    for (query.len = 0; query.len < 12; query.len++)
        cr_expect_str_eq(ask_message(snapshot, &query, false), "drop", "%zu bytes", query.len);
    query_make(&query, SVC("web.shop"), TYPE_A);
    query.bytes[2] |= 0x80;
    cr_expect_str_eq(ask_message(snapshot, &query, false), "drop");
    query_make(&query, "example.com", TYPE_A);
    query.bytes[2] |= 0x80;
    cr_expect_str_eq(ask_message(snapshot, &query, false), "drop");
}

Test(dns_messages, whatever_stands_behind_a_foreign_question_is_the_resolvers_affair,
     .init = set_up, .fini = tear_down)
{
    query_make(&query, "example.com", TYPE_PRIVATE);
    query_add_opt(&query, 4096, 1, STR("\0\12\0\10ab"));
    message_add(&query, "garbage", 7);
    cr_expect_str_eq(ask_message(snapshot, &query, false), "relay");
}

/* Whatever is answered can be read again, has the query's id and fits. */
static void expect_sane(const struct message *sent, bool tcp)
{
    if (dns_answer(snapshot, message_str(sent), tcp, 3, answer.bytes, &answer.len) != DNS_ANSWERED)
        return;
    cr_assert(answer.len >= 12 && answer.len <= (tcp ? DNS_TCP_MAX : DNS_UDP_MAX));
    cr_assert(answer.bytes[2] & 0x80);
    cr_assert_arr_eq(answer.bytes, sent->bytes, 2);
    cr_assert_str_neq(message_text(message_str(&answer)), "unreadable");
}

Test(dns_messages, every_beginning_and_every_flipped_byte_is_survived, .init = set_up,
     .fini = tear_down)
{
    query_make(&query, SVC("_sql._tcp.db.data"), TYPE_SRV);
    query_add_opt(&query, 1232, 0, STR("\0\12\0\10abcdefgh"));
    static struct message sent;
    for (size_t len = 0; len <= query.len; len++) {
        sent = query;
        sent.len = len;
        expect_sane(&sent, len & 1);
    }
    sent = query;
    for (size_t at = 0; at < query.len; at++) {
        for (unsigned value = 0; value < 256; value++) {
            sent.bytes[at] = (uint8_t)value;
            expect_sane(&sent, value & 1);
        }
        sent.bytes[at] = query.bytes[at];
    }
}

Test(dns_messages, random_bytes_are_survived, .init = set_up, .fini = tear_down)
{
    struct rng rng;
    rng_seed(&rng, 20261122);
    static struct message sent;
    for (unsigned round = 0; round < 20000; round++) {
        query_make(&sent, round & 1 ? SVC("db.data") : "", (uint16_t)rng_below(&rng, 300));
        size_t from = round & 1 ? sent.len : 2;
        sent.len += rng_below(&rng, 60);
        for (size_t at = from; at < sent.len; at++)
            sent.bytes[at] = (uint8_t)rng_next(&rng);
        sent.bytes[2] &= 0x7f;
        sent.bytes[11] = (uint8_t)rng_below(&rng, 3);
        expect_sane(&sent, false);
    }
}

Test(dns_messages, servfail_is_given_for_what_was_relayed_in_vain)
{
    query_make(&query, "example.com", TYPE_PRIVATE);
    cr_assert(dns_servfail(message_str(&query), answer.bytes, &answer.len));
    cr_expect_str_eq(message_text(message_str(&answer)), "SERVFAIL ra");
    cr_expect(dns_is_answer_to(message_str(&answer), message_str(&query)));
    query_add_opt(&query, 4096, 0, (struct str){0});
    cr_assert(dns_servfail(message_str(&query), answer.bytes, &answer.len));
    cr_expect_str_eq(message_text(message_str(&answer)),
                     "SERVFAIL ra\nadditional OPT version 0 payload 1232");
    message_add(&query, "garbage", 7);
    cr_assert(dns_servfail(message_str(&query), answer.bytes, &answer.len));
    cr_expect_str_eq(message_text(message_str(&answer)), "SERVFAIL");
    query.len = 11;
    cr_expect_not(dns_servfail(message_str(&query), answer.bytes, &answer.len));
}

Test(dns_messages, refused_is_given_to_who_is_none_of_ours)
{
    query_make(&query, SVC("db.data"), TYPE_A);
    cr_assert(dns_refuse(message_str(&query), answer.bytes, &answer.len));
    cr_expect_str_eq(message_text(message_str(&answer)), "REFUSED ra");
    cr_expect_leq(answer.len, query.len);
    query.bytes[2] |= 0x80;
    cr_expect_not(dns_refuse(message_str(&query), answer.bytes, &answer.len), "an answer");
}

static bool answers(const struct message *packet)
{
    return dns_is_answer_to(message_str(packet), message_str(&query));
}

Test(dns_messages, an_answer_has_the_id_and_the_question_of_its_query)
{
    query_make(&query, "Example.com", TYPE_A);
    struct message good = query, bad;
    good.bytes[2] |= 0x80;
    cr_expect(answers(&good));
    query_make(&bad, "eXAMPLE.COM", TYPE_A);
    bad.bytes[2] |= 0x80;
    cr_expect(answers(&bad), "letter case does not matter");
    cr_expect_not(answers(&query), "a query is no answer");
    bad = good;
    bad.bytes[1] ^= 1;
    cr_expect_not(answers(&bad), "another id");
    bad = good;
    bad.bytes[2] |= 0x20;
    cr_expect_not(answers(&bad), "another opcode");
    bad = good;
    bad.bytes[bad.len - 3] = TYPE_AAAA;
    cr_expect_not(answers(&bad), "another type");
    bad = good;
    bad.bytes[bad.len - 1] = 3;
    cr_expect_not(answers(&bad), "another class");
    query_make(&bad, "example.org", TYPE_A);
    bad.bytes[2] |= 0x80;
    cr_expect_not(answers(&bad), "another name");
    bad = good;
    bad.len--;
    cr_expect_not(answers(&bad), "cut short");
}

Test(dns_messages, an_answer_may_be_a_bare_header_only_where_servers_do_that)
{
    static const struct {
        unsigned rcode;
        bool expected;
    } rows[] = {{0, false}, {1, true}, {2, true}, {3, false}, {4, true}, {5, true}, {9, false}};

    query_make(&query, "example.com", TYPE_A);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct message bare = query;
        bare.len = 12;
        bare.bytes[2] |= 0x80;
        bare.bytes[3] = (uint8_t)rows[i].rcode;
        bare.bytes[5] = 0;
        cr_expect_eq(answers(&bare), rows[i].expected, "RCODE %u", rows[i].rcode);
    }
    query.bytes[2] = 5 << 3; /* UPDATE: RFC 2136 section 3.8 */
    struct message bare = query;
    bare.len = 12;
    bare.bytes[2] |= 0x80;
    bare.bytes[5] = 0;
    cr_expect(answers(&bare));
}
