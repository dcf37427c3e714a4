/*
 * The rules D1 to D30 of DNS for clusterset.local (KEP-1645, the Multicluster DNS specification,
 * the conformance suite, CoreDNS), as far as they speak of names and records. test_messages.c has
 * those about messages.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/proxy_dns/zone.h"

TestSuite(dns_names, .timeout = 20);

#define SVC(name) name ".svc.clusterset.local"

static struct snapshot *snapshot;

static void set_up(void)
{
    snapshot = zone_snapshot(7, true);
}

static void tear_down(void)
{
    snapshot_free(snapshot);
}

struct row {
    const char *rule, *name;
    uint16_t type;
    const char *expected;
};

static void check(const struct row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++) {
        const char *got = ask(snapshot, rows[i].name, rows[i].type);
        cr_expect_str_eq(got, rows[i].expected, "%s: %s type %u\n--- got\n%s\n--- expected\n%s",
                         rows[i].rule, rows[i].name, rows[i].type, got, rows[i].expected);
    }
}

#define CHECK(...)                                                                                 \
    do {                                                                                           \
        const struct row rows[] = {__VA_ARGS__};                                                   \
        check(rows, ARRAY_LEN(rows));                                                              \
    } while (0)

Test(dns_names, the_version_of_the_schema_is_told, .init = set_up, .fini = tear_down)
{
    CHECK({"D1", "dns-version.clusterset.local", TYPE_TXT,
           "NOERROR aa ra\nanswer dns-version.clusterset.local. 28800 TXT \"1.1.0\""},
          {"D1 D12", "dns-version.clusterset.local", TYPE_A, NODATA("7")},
          {"D12", "x.dns-version.clusterset.local", TYPE_TXT, NXDOMAIN("7")});
}

Test(dns_names, a_service_answers_with_its_clusterset_ips, .init = set_up, .fini = tear_down)
{
    CHECK({"D2 D20", SVC("web.shop"), TYPE_A,
           "NOERROR aa ra\nanswer " SVC("web.shop") ". 5 A 10.201.0.1"},
          {"D2", SVC("web.shop"), TYPE_AAAA,
           "NOERROR aa ra\nanswer " SVC("web.shop") ". 5 AAAA fd00:201::1"},
          {"D11: nobody serves it", SVC("empty.shop"), TYPE_A,
           "NOERROR aa ra\nanswer " SVC("empty.shop") ". 5 A 10.201.0.3"},
          {"D12: no such family", SVC("hello.test"), TYPE_AAAA, NODATA("7")});
}

Test(dns_names, srv_records_name_the_ports_that_have_names, .init = set_up, .fini = tear_down)
{
    CHECK({"D3 D4 D5", SVC("_http._tcp.web.shop"), TYPE_SRV,
           "NOERROR aa ra\nanswer " SVC("_http._tcp.web.shop") ". 5 SRV 0 0 80 " SVC(
               "web.shop") "."
                           "\nadditional " SVC("web.shop") ". 5 A 10.201.0.1"
                                                           "\nadditional " SVC(
                                                               "web.shop") ". 5 AAAA fd00:201::1"},
          {"D16: the bare name has them too, unnamed ports none (D3)", SVC("web.shop"), TYPE_SRV,
           "NOERROR aa ra\nanswer " SVC("web.shop") ". 5 SRV 0 0 80 " SVC(
               "web.shop") "."
                           "\nadditional " SVC("web.shop") ". 5 A 10.201.0.1"
                                                           "\nadditional " SVC(
                                                               "web.shop") ". 5 AAAA fd00:201::1"},
          {"D17: tcp/42 and udp/42 are one record", SVC("hello.test"), TYPE_SRV,
           "NOERROR aa ra\nanswer " SVC("hello.test") ". 5 SRV 0 0 42 " SVC(
               "hello.test") "."
                             "\nadditional " SVC("hello.test") ". 5 A 10.201.0.2"},
          {"D3", SVC("_udp._udp.hello.test"), TYPE_SRV,
           "NOERROR aa ra\nanswer " SVC("_udp._udp.hello.test") ". 5 SRV 0 0 42 " SVC(
               "hello.test") "."
                             "\nadditional " SVC("hello.test") ". 5 A 10.201.0.2"},
          {"D3: the protocol counts", SVC("_http._udp.web.shop"), TYPE_SRV, NXDOMAIN("7")},
          {"D12", SVC("_http._tcp.web.shop"), TYPE_A, NODATA("7")},
          {"D13: above a port", SVC("_tcp.web.shop"), TYPE_SRV, NODATA("7")});
}

Test(dns_names, srv_data_is_priority_weight_port_target, .init = set_up, .fini = tear_down)
{
    /* D4, in bytes: a reader that swaps the words of RFC 2782 would swap them in its dump, too. */
    static const char rdata[] = "\0\0\0\0\0\120\3web\4shop\3svc\12clusterset\5local";
    struct message query;
    static struct message answer;
    query_make(&query, SVC("_http._tcp.web.shop"), TYPE_SRV);
    cr_assert_eq(dns_answer(snapshot, message_str(&query), true, 0, answer.bytes, &answer.len),
                 DNS_ANSWERED);
    /* The record follows the question: owner as a pointer, type, class, TTL, length. */
    cr_expect_arr_eq(answer.bytes + query.len + 12, rdata, sizeof(rdata));
}

Test(dns_names, a_cluster_before_the_service_is_reserved, .init = set_up, .fini = tear_down)
{
    CHECK({"D6", SVC("west.web.shop"), TYPE_A, NXDOMAIN("7")},
          {"D6: headless too", SVC("west.db.data"), TYPE_A, NXDOMAIN("7")},
          {"D6", SVC("east.db.data"), TYPE_SRV, NXDOMAIN("7")});
}

Test(dns_names, a_headless_service_answers_with_its_ready_endpoints, .init = set_up,
     .fini = tear_down)
{
    CHECK(
        {"D7 D30: of all clusters, not the one that is not ready", SVC("db.data"), TYPE_A,
         "NOERROR aa ra\nanswer " SVC("db.data") ". 5 A 10.1.0.10\nanswer " SVC(
             "db.data") ". 5 A 10.1.0.21"
                        "\nanswer " SVC("db.data") ". 5 A 10.1.0.22\nanswer " SVC(
                            "db.data") ". 5 A 172.0.0.2"},
        {"D7", SVC("db.data"), TYPE_AAAA,
         "NOERROR aa ra\nanswer " SVC("db.data") ". 5 AAAA 5678:abcd::1"
                                                 "\nanswer " SVC("db.data") ". 5 AAAA fd00:1::10"},
        {"D8", SVC("db-0.west.db.data"), TYPE_A,
         "NOERROR aa ra\nanswer " SVC("db-0.west.db.data") ". 5 A 10.1.0.10"},
        {"D8", SVC("db-0.west.db.data"), TYPE_AAAA,
         "NOERROR aa ra\nanswer " SVC("db-0.west.db.data") ". 5 AAAA fd00:1::10"},
        {"D8: one name, two endpoints", SVC("twin.west.db.data"), TYPE_A,
         "NOERROR aa ra\nanswer " SVC(
             "twin.west.db.data") ". 5 A 10.1.0.21"
                                  "\nanswer " SVC("twin.west.db.data") ". 5 A 10.1.0.22"},
        {"D8: in that cluster only", SVC("db-0.east.db.data"), TYPE_A, NXDOMAIN("7")},
        {"D8: not ready", SVC("db-9.west.db.data"), TYPE_A, NXDOMAIN("7")},
        {"D9", SVC("172-0-0-2.east.db.data"), TYPE_A,
         "NOERROR aa ra\nanswer " SVC("172-0-0-2.east.db.data") ". 5 A 172.0.0.2"},
        {"D9", SVC("5678-abcd--1.east.db.data"), TYPE_AAAA,
         "NOERROR aa ra\nanswer " SVC("5678-abcd--1.east.db.data") ". 5 AAAA 5678:abcd::1"},
        {"D10: none is ready", SVC("idle.data"), TYPE_A, NXDOMAIN("7")},
        {"D10", SVC("idle.data"), TYPE_SRV, NXDOMAIN("7")});
}

Test(dns_names, a_headless_service_has_an_srv_record_for_every_endpoint, .init = set_up,
     .fini = tear_down)
{
#define DB_SRV(owner, host) "\nanswer " SVC(owner) ". 5 SRV 0 0 5432 " SVC(host) "."
    static const char of_port[] = DB_SRV("_sql._tcp.db.data", "172-0-0-2.east.db.data") /* D15 */
        DB_SRV("_sql._tcp.db.data", "5678-abcd--1.east.db.data")
            DB_SRV("_sql._tcp.db.data", "db-0.west.db.data")
                DB_SRV("_sql._tcp.db.data", "twin.west.db.data");
    static const char of_name[] = DB_SRV("db.data", "172-0-0-2.east.db.data") /* D16 */
        DB_SRV("db.data", "5678-abcd--1.east.db.data") DB_SRV("db.data", "db-0.west.db.data")
            DB_SRV("db.data", "twin.west.db.data");
    const char *got = ask(snapshot, SVC("_sql._tcp.db.data"), TYPE_SRV);
    cr_expect(strstr(got, of_port), "%s", got);
    cr_expect(strstr(got, "\nadditional " SVC("twin.west.db.data") ". 5 A 10.1.0.22"), "%s", got);
    got = ask(snapshot, SVC("db.data"), TYPE_SRV);
    cr_expect(strstr(got, of_name), "%s", got);
}

Test(dns_names, what_is_there_without_the_type_is_empty_and_what_is_not_there_is_nxdomain,
     .init = set_up, .fini = tear_down)
{
    CHECK({"D12", SVC("web.shop"), TYPE_TXT, NODATA("7")},
          {"D12", SVC("web.shop"), TYPE_MX, NODATA("7")},
          {"D12", SVC("web.shop"), TYPE_PRIVATE, NODATA("7")},
          {"D12", SVC("nothing.shop"), TYPE_A, NXDOMAIN("7")},
          {"D12", SVC("nothing.shop"), TYPE_MX, NXDOMAIN("7")},
          {"D13", "clusterset.local", TYPE_A, NODATA("7")},
          {"D13", "svc.clusterset.local", TYPE_A, NODATA("7")},
          {"D13", "pod.clusterset.local", TYPE_A, NODATA("7")},
          {"D13", SVC("shop"), TYPE_A, NODATA("7")},
          {"D13: a namespace with nothing ready", SVC("data"), TYPE_SRV, NODATA("7")},
          {"D14", SVC("nowhere"), TYPE_A, NXDOMAIN("7")},
          {"D14", SVC("web.nowhere"), TYPE_A, NXDOMAIN("7")},
          {"D18: reverse names are not of the zone", "1.0.201.10.in-addr.arpa", TYPE_PTR, "relay"},
          {"D25", "10-1-0-5.shop.pod.clusterset.local", TYPE_A, NXDOMAIN("7")},
          {"D25", "web.shop.nonsense.clusterset.local", TYPE_A, NXDOMAIN("7")},
          {"D26: a dot in a cluster's name is not guessed", SVC("db-0.we.st.db.data"), TYPE_A,
           NXDOMAIN("7")},
          {"D13 D21", "ns.dns.clusterset.local", TYPE_A, NODATA("7")},
          {"D13", "dns.clusterset.local", TYPE_A, NODATA("7")});
}

Test(dns_names, names_are_compared_without_case_and_echoed_with_it, .init = set_up,
     .fini = tear_down)
{
    CHECK({"D19", "WEB.Shop.sVc.ClusterSet.LOCAL", TYPE_A,
           "NOERROR aa ra\nanswer WEB.Shop.sVc.ClusterSet.LOCAL. 5 A 10.201.0.1"},
          {"D19", "DNS-Version.clusterset.local", TYPE_TXT,
           "NOERROR aa ra\nanswer DNS-Version.clusterset.local. 28800 TXT \"1.1.0\""});
}

Test(dns_names, the_soa_moves_with_the_snapshot, .init = set_up, .fini = tear_down)
{
    struct snapshot *next = zone_snapshot(8, true);
    CHECK({"D21", "clusterset.local", TYPE_SOA,
           "NOERROR aa ra\nanswer clusterset.local. 5 SOA ns.dns.clusterset.local. "
           "hostmaster.clusterset.local. 7 "
           "7200 1800 86400 5"},
          {"D21", "clusterset.local", TYPE_NS,
           "NOERROR aa ra\nanswer clusterset.local. 5 NS ns.dns.clusterset.local."},
          {"D20 D21: not elsewhere", SVC("web.shop"), TYPE_SOA, NODATA("7")});
    cr_expect_str_eq(ask(next, SVC("nothing.shop"), TYPE_A), NXDOMAIN("8"));
    snapshot_free(next);
}

Test(dns_names, nothing_is_said_before_the_first_sync)
{
    struct snapshot *unsynced = zone_snapshot(1, false);
    cr_expect_str_eq(ask(unsynced, SVC("nothing.shop"), TYPE_A), "SERVFAIL ra"); /* D22 */
    cr_expect_str_eq(ask(unsynced, SVC("web.shop"), TYPE_A), "SERVFAIL ra");
    cr_expect_str_eq(ask(NULL, SVC("web.shop"), TYPE_A), "SERVFAIL ra");
    cr_expect_str_eq(ask(NULL, "example.com", TYPE_A), "relay", "other names do not wait for it");
    snapshot_free(unsynced);
}

Test(dns_names, the_zone_is_not_the_zones_that_look_like_it, .init = set_up, .fini = tear_down)
{
    CHECK({"D27", "clusterset.local.evil.com", TYPE_A, "relay"},
          {"D27", "xclusterset.local", TYPE_A, "relay"},
          {"D27", "web.shop.svc.xclusterset.local", TYPE_A, "relay"},
          {"D27", "local", TYPE_A, "relay"}, {"D27", "clusterset", TYPE_A, "relay"},
          {"D27", "", TYPE_NS, "relay"}, {"D29", "cart.shop.svc.cluster.local", TYPE_A, "relay"},
          {"D29: not even a clusterset service's", "web.shop.svc.cluster.local", TYPE_A, "relay"},
          {"D19 D27: compressed into the question's letters", "ClusterSet.LOCAL", TYPE_NS,
           "NOERROR aa ra\nanswer ClusterSet.LOCAL. 5 NS ns.dns.ClusterSet.LOCAL."});
}

Test(dns_names, a_dot_inside_a_label_does_not_make_two, .init = set_up, .fini = tear_down)
{
    struct message query;
    query_make(&query, "webXshop.svc.clusterset.local", TYPE_A); /* one label */
    query.bytes[12 + 4] = '.';
    cr_expect_str_eq(ask_message(snapshot, &query, true), NXDOMAIN("7"));
    query_make(&query, "xXclusterset.local", TYPE_A); /* the label "x.clusterset" */
    query.bytes[12 + 2] = '.';
    cr_expect_str_eq(ask_message(snapshot, &query, true), "relay");
}

Test(dns_names, the_order_of_a_headless_answer_rotates, .init = set_up, .fini = tear_down)
{
    static const char *const first[] = {"10.1.0.10", "10.1.0.21", "10.1.0.22", "172.0.0.2",
                                        "10.1.0.10"};
    struct message query;
    static struct message answer;
    query_make(&query, SVC("db.data"), TYPE_A);
    for (uint32_t rotation = 0; rotation < ARRAY_LEN(first); rotation++) {
        char expected[128];
        snprintf(expected, sizeof(expected), "NOERROR aa ra\nanswer %s. 5 A %s\n", SVC("db.data"),
                 first[rotation]);
        dns_answer(snapshot, message_str(&query), false, rotation, answer.bytes, &answer.len);
        const char *got = message_text(message_str(&answer)); /* D30 */
        cr_expect_eq(strncmp(got, expected, strlen(expected)), 0, "rotation %u: %s", rotation, got);
        cr_expect_eq(answer.bytes[7], 4, "all of them whatever comes first");
    }
}

Test(dns_names, any_is_answered_with_one_set_of_records, .init = set_up, .fini = tear_down)
{
    CHECK(
        {"RFC 8482", SVC("web.shop"), TYPE_ANY,
         "NOERROR aa ra\nanswer " SVC("web.shop") ". 5 A 10.201.0.1"},
        {"RFC 8482", SVC("5678-abcd--1.east.db.data"), TYPE_ANY,
         "NOERROR aa ra\nanswer " SVC("5678-abcd--1.east.db.data") ". 5 AAAA 5678:abcd::1"},
        {"RFC 8482", SVC("_http._tcp.web.shop"), TYPE_ANY,
         "NOERROR aa ra\nanswer " SVC("_http._tcp.web.shop") ". 5 SRV 0 0 80 " SVC("web.shop") "."},
        {"RFC 8482", "dns-version.clusterset.local", TYPE_ANY,
         "NOERROR aa ra\nanswer dns-version.clusterset.local. 28800 TXT \"1.1.0\""},
        {"RFC 8482", SVC("shop"), TYPE_ANY, NODATA("7")},
        {"transfers", "clusterset.local", TYPE_AXFR, "REFUSED ra"},
        {"transfers", "clusterset.local", TYPE_IXFR, "REFUSED ra"});
}
