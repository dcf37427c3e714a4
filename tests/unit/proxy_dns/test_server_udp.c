#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "proxy/dns/context.h"
#include "proxy/dns/wire.h"
#include "tests/unit/proxy_dns/served.h"

TestSuite(dns_server, .timeout = 60);

Test(dns_server, a_name_of_the_zone_is_answered_here, .init = set_up_udp, .fini = tear_down)
{
    client_ask(&client, WEB, TYPE_A, 1);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), WEB_ANSWER);
    cr_expect_eq(client_id(&client, 0), 1);
    cr_expect_eq(resolver.n_asked, 0);
    cr_expect_eq(meter_total(METRIC_DNS_REQUESTS), 1);
    cr_expect_eq(meter_total(METRIC_DNS_UPSTREAM_REQUESTS), 0);
}

Test(dns_server, the_snapshot_is_read_at_each_query, .init = set_up_udp, .fini = tear_down)
{
    current = NULL;
    client_ask(&client, WEB, TYPE_A, 1);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), "SERVFAIL ra");
    current = snapshot;
    client_ask(&client, WEB, TYPE_A, 2);
    cr_assert(client_wait(&client, 2));
    cr_expect_str_eq(client_text(&client, 1), WEB_ANSWER);
}

Test(dns_server, a_foreign_query_is_relayed_and_answered_byte_for_byte, .init = set_up_udp,
     .fini = tear_down)
{
    static struct message query;
    resolver.on_asked = answer_oddly;
    query_make(&query, "Example.COM", TYPE_PRIVATE);
    query_add_opt(&query, 4096, 3, STR("\xfd\xe9\0\2hi"));
    message_add(&query, "more garbage", 12);
    client_send(&client, message_str(&query));
    cr_assert(client_wait(&client, 1));
    expect_same_but_id(message_str(&resolver.last[0].query), message_str(&query));
    expect_same_but_id(client.got[0], message_str(&odd_answer));
    cr_expect_eq(client_id(&client, 0), 0x1234);
    cr_expect_eq(meter_total(METRIC_DNS_UPSTREAM_REQUESTS), 1);
    cr_expect_eq(meter_total(METRIC_DNS_UPSTREAM_FAILURES), 0);
}

Test(dns_server, each_relayed_query_has_an_id_and_a_port_of_its_own, .init = set_up_udp,
     .fini = tear_down)
{
    unsigned same_ids = 0, same_ports = 0;
    for (unsigned i = 0; i < 20; i++)
        client_ask(&client, "example.com", TYPE_A, 5);
    cr_assert(resolver_wait(&resolver, 20));
    for (unsigned i = 1; i < 20; i++) {
        same_ids += dns_id(message_str(&resolver.last[i].query)) ==
                    dns_id(message_str(&resolver.last[i - 1].query));
        same_ports += resolver.last[i].from.port == resolver.last[i - 1].from.port;
    }
    cr_expect(same_ids < 3 && same_ports == 0, "%u ids, %u ports", same_ids, same_ports);
}

static void answer_wrongly_first(struct resolver *from, struct asked *asked)
{
    static struct message answer;
    resolver_make_answer(asked, &answer);
    answer.bytes[answer.len - 1] = 66; /* not the address that is expected */
    answer.bytes[1] ^= 1;
    resolver_send(from, asked, message_str(&answer)); /* another id */
    answer.bytes[1] ^= 1;
    answer.bytes[13] ^= 1;
    resolver_send(from, asked, message_str(&answer));       /* another question */
    resolver_send(from, asked, message_str(&asked->query)); /* no answer */
    resolver_send(from, asked, STR("x"));
    resolver_answer(from, asked);
    resolver_answer(from, asked);
}

Test(dns_server, packets_that_are_no_answer_are_passed_over, .init = set_up_udp, .fini = tear_down)
{
    resolver.on_asked = answer_wrongly_first;
    client_ask(&client, "example.com", TYPE_A, 9);
    cr_assert(client_wait(&client, 1));
    run_turns(loop, 20);
    cr_expect_eq(client.n_got, 1, "the second answer finds nobody");
    cr_expect_str_eq(client_text(&client, 0), EXAMPLE);
    cr_expect_eq(client_id(&client, 0), 9);
}

static void ignore_packet(void *owner, struct str packet, const struct addr *from,
                          const struct addr *to)
{
    (void)owner, (void)packet, (void)from, (void)to;
}

Test(dns_server, an_answer_from_another_address_is_not_heard, .init = set_up_udp, .fini = tear_down)
{
    const struct udp_options options = {0};
    struct addr any = localhost();
    struct udp *stranger;
    static struct message answer;
    int errnum;
    cr_assert_eq(udp_open(loop, &any, &options, ignore_packet, NULL, &stranger, &errnum), 0);
    client_ask(&client, "example.com", TYPE_A, 9);
    cr_assert(resolver_wait(&resolver, 1));
    resolver_make_answer(&resolver.last[0], &answer);
    answer.bytes[answer.len - 1] = 66;
    (void)udp_send(stranger, message_str(&answer), &resolver.last[0].from);
    resolver_answer(&resolver, &resolver.last[0]);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), EXAMPLE);
    udp_close(stranger);
}

Test(dns_server, one_client_cannot_take_the_relays_of_all, .init = set_up_udp, .fini = tear_down)
{
    for (unsigned i = 0; i < DNS_RELAYS_PER_CLIENT + 2; i++) {
        client_ask(&client, "example.com", TYPE_A, (uint16_t)i);
        run_turns(loop, 1);
    }
    cr_assert(client_wait(&client, 2));
    for (unsigned i = 0; i < 2; i++) {
        cr_expect_str_eq(client_text(&client, i), "SERVFAIL ra");
        cr_expect_eq(client_id(&client, i), DNS_RELAYS_PER_CLIENT + i, "the last ones");
    }
    cr_expect_eq(meter_total(METRIC_DNS_UPSTREAM_FAILURES), 2);
    client_ask(&client, WEB, TYPE_A, 1);
    cr_assert(client_wait(&client, 3));
    cr_expect_str_eq(client_text(&client, 2), WEB_ANSWER, "names of the zone need no relay");
}

Test(dns_server, without_a_resolver_it_is_servfail, .init = set_up, .fini = tear_down)
{
    dns_server_close(server);
    open_server(localhost(), (struct addr){0});
    client_open_udp(&client, loop, dns_server_udp_addr(server));
    client_ask(&client, "example.com", TYPE_A, 1);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), "SERVFAIL ra");
    client_close(&client);
    client_open_tcp(&client, loop, dns_server_tcp_addr(server));
    client_ask(&client, "example.com", TYPE_A, 1);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), "SERVFAIL ra");
}

Test(dns_server, a_query_is_not_relayed_to_ourselves, .init = set_up, .fini = tear_down)
{
    /* The resolver's port, which is free for UDP and TCP once it is closed. */
    struct addr own = resolver.addr;
    resolver_close(&resolver);
    dns_server_close(server);
    cr_assert(run_until_empty(loop, PATIENCE_MS));
    open_server(own, own);
    client_open_udp(&client, loop, own);
    client_ask(&client, "example.com", TYPE_A, 1);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), "SERVFAIL ra");
    client_close(&client);
    client_open_tcp(&client, loop, own);
    client_ask(&client, "example.com", TYPE_A, 1);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), "SERVFAIL ra");
    cr_expect_eq(meter_total(METRIC_DNS_REQUESTS), 2, "none came around again");
    resolver_open(&resolver, loop);
}

Test(dns_server, what_was_asked_is_the_resolver_but_for_the_nodes_loopback)
{
    static const struct {
        const char *asked;
        bool is_resolver;
    } rows[] = {{"10.1.0.53:53", true},  {"[fd00::53]:53", true},  {"169.254.20.10:53", true},
                {"127.0.0.1:53", false}, {"127.0.0.53:53", false}, {"0.0.0.0:53", false},
                {"[::1]:53", false},     {"[::]:53", false}};
    static struct dns_context context = {.options.transparent = true};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr asked;
        cr_assert_eq(addr_parse(str_from(rows[i].asked), &asked), 0);
        const struct addr found = dns_context_resolver(&context, &asked);
        cr_expect_eq(!ip_is_none(&found.ip), rows[i].is_resolver, "%s", rows[i].asked);
    }
}

Test(dns_server, ourselves_is_our_port_at_an_address_of_this_host)
{
    struct addr resolver_addr;
    struct ip same, other;
    cr_assert_eq(addr_parse(STR("10.1.0.1:15053"), &resolver_addr), 0);
    cr_assert_eq(ip_parse(STR("10.1.0.1"), &same), 0);
    cr_assert_eq(ip_parse(STR("10.1.0.2"), &other), 0);
    cr_expect(dns_is_ourselves(&resolver_addr, &same, 15053));
    cr_expect_not(dns_is_ourselves(&resolver_addr, &other, 15053), "the same port of another host");
    cr_expect_not(dns_is_ourselves(&resolver_addr, &same, 53), "another server of this host");
}

Test(dns_server, answers_and_empty_packets_are_not_answered, .init = set_up_udp, .fini = tear_down)
{
    static struct message query;
    query_make(&query, "example.com", TYPE_A);
    query.bytes[2] |= 0x80;
    client_send(&client, message_str(&query));
    client_send(&client, STR("0123456789a"));
    query_make(&query, WEB, TYPE_A);
    query.len--;
    client_send(&client, message_str(&query));
    cr_assert(client_wait(&client, 1));
    run_turns(loop, 10);
    cr_expect_eq(client.n_got, 1);
    cr_expect_str_eq(client_text(&client, 0), "FORMERR");
    cr_expect_eq(meter_total(METRIC_DNS_MALFORMED), 3);
}
