#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/dns/context.h"
#include "proxy/dns/wire.h"
#include "tests/kit/loop_kit.h"
#include "tests/unit/proxy_dns/peers.h"

TestSuite(dns_server, .timeout = 60);

#define WEB         "web.shop.svc.clusterset.local"
#define WEB_ANSWER  "NOERROR aa ra\nanswer " WEB ". 5 A 10.201.0.1"
#define EXAMPLE     "NOERROR ra\nanswer example.com. 77 A 192.0.2.1"
#define PATIENCE_MS 5000

static struct loop *loop;
static struct meter *meter;
static struct snapshot *snapshot;
static const struct snapshot *current;
static struct resolver resolver;
static struct dns_server *server;
static struct client client;

static void open_server(struct addr listen, struct addr to)
{
    const struct dns_server_options options = {.listen = listen, .resolver = to};
    int errnum;
    cr_assert_eq(dns_server_open(loop, &options, &current, meter, &server, &errnum), 0);
}

static void set_up(void)
{
    loop = loop_new();
    meter = meter_new();
    snapshot = zone_snapshot(7, true);
    current = snapshot;
    resolver_open(&resolver, loop);
    open_server(localhost(), resolver.addr);
}

static void tear_down(void)
{
    if (client.loop)
        client_close(&client);
    dns_server_close(server);
    resolver_close(&resolver);
    loop_finish(loop);
    snapshot_free(snapshot);
    meter_free(meter);
}

static void set_up_udp(void)
{
    set_up();
    client_open_udp(&client, loop, dns_server_udp_addr(server));
}

static void set_up_tcp(void)
{
    set_up();
    client_open_tcp(&client, loop, dns_server_tcp_addr(server));
}

/* ------------------------------------------------------------------ UDP */

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

/* An answer with everything that a proxy could be tempted to rewrite: odd flags, odd records, bytes
 * behind the end. */
static struct message odd_answer;

static void answer_oddly(struct resolver *from, struct asked *asked)
{
    resolver_make_answer(asked, &odd_answer);
    odd_answer.bytes[2] |= 0x02; /* TC */
    odd_answer.bytes[3] |= 0x7b; /* Z, AD, CD, RCODE 11 */
    message_add(&odd_answer, "\0\0\x29\x04\xd0\0\0\0\0\0\4\xfd\xe9\0\0 garbage", 24);
    resolver_send(from, asked, message_str(&odd_answer));
}

static void expect_same_but_id(struct str a, struct str b)
{
    cr_expect_eq(a.len, b.len);
    cr_expect(str_eq(str_sub(a, 2, a.len), str_sub(b, 2, b.len)));
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

/* ------------------------------------------------------------------ TCP */

Test(dns_server, a_silent_resolver_is_servfail_in_the_end, .init = set_up_tcp, .fini = tear_down)
{
    struct client other;
    client_open_udp(&other, loop, dns_server_udp_addr(server));
    client_ask(&client, "example.com", TYPE_A, 3);
    client_ask(&other, "example.com", TYPE_A, 4);
    cr_assert(run_until_count(loop, &client.n_got, 1, DNS_RELAY_TIMEOUT_MS + PATIENCE_MS));
    cr_assert(client_wait(&other, 1));
    cr_expect_str_eq(client_text(&client, 0), "SERVFAIL ra");
    cr_expect_eq(client_id(&client, 0), 3);
    cr_expect_str_eq(client_text(&other, 0), "SERVFAIL ra");
    cr_expect_eq(client_id(&other, 0), 4);
    cr_expect_eq(meter_total(METRIC_DNS_UPSTREAM_FAILURES), 2);
    resolver.on_asked = resolver_answer;
    client_ask(&client, "example.com", TYPE_A, 5);
    cr_assert(client_wait(&client, 2));
    cr_expect_str_eq(client_text(&client, 1), EXAMPLE, "it is asked again on a new connection");
    cr_expect_eq(resolver.n_streams, 2);
    client_close(&other);
}

Test(dns_server, pipelined_queries_are_answered_as_answers_come, .init = set_up_tcp,
     .fini = tear_down)
{
    client_ask(&client, "example.com", TYPE_A, 1);
    client_ask(&client, WEB, TYPE_A, 2);
    client_ask(&client, "EXAMPLE.com", TYPE_A, 1); /* the same id again: not nice, but harmless */
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), WEB_ANSWER, "it does not wait for the others");
    cr_assert(resolver_wait(&resolver, 2));
    resolver_answer(&resolver, &resolver.last[1]);
    resolver_answer(&resolver, &resolver.last[0]);
    cr_assert(client_wait(&client, 3));
    cr_expect_str_eq(client_text(&client, 1), "NOERROR ra\nanswer EXAMPLE.com. 77 A 192.0.2.1");
    cr_expect_str_eq(client_text(&client, 2), EXAMPLE);
    cr_expect(client_id(&client, 1) == 1 && client_id(&client, 2) == 1);
    cr_expect_eq(resolver.n_streams, 1, "one connection for all of them");
}

Test(dns_server, a_relayed_answer_of_tcp_is_the_same_byte_for_byte, .init = set_up_tcp,
     .fini = tear_down)
{
    static struct message query;
    resolver.on_asked = answer_oddly;
    query_make(&query, "Example.COM", TYPE_PRIVATE);
    query_add_opt(&query, 4096, 3, STR("\xfd\xe9\0\2hi"));
    client_send(&client, message_str(&query));
    cr_assert(client_wait(&client, 1));
    expect_same_but_id(message_str(&resolver.last[0].query), message_str(&query));
    expect_same_but_id(client.got[0], message_str(&odd_answer));
    cr_expect_eq(client_id(&client, 0), 0x1234);
}

Test(dns_server, more_queries_than_may_wait_wait_their_turn, .init = set_up_tcp, .fini = tear_down)
{
    unsigned n = 3 * DNS_TCP_PIPELINE;
    for (unsigned i = 0; i < n; i++)
        client_ask(&client, "example.com", TYPE_A, (uint16_t)i);
    cr_assert(resolver_wait(&resolver, DNS_TCP_PIPELINE));
    run_turns(loop, 50);
    cr_expect_eq(resolver.n_asked, DNS_TCP_PIPELINE, "no more at once");
    resolver.on_asked = resolver_answer;
    for (unsigned i = 0; i < DNS_TCP_PIPELINE; i++)
        resolver_answer(&resolver, &resolver.last[i]);
    cr_assert(client_wait(&client, n));
    cr_expect_eq(resolver.n_asked, n);
}

/* A query with so many bytes behind its question that a few of them fill a connection. */
static void ask_at_length(uint16_t id)
{
    static struct message query;
    query_make(&query, "example.com", TYPE_A);
    dns_set_id(query.bytes, id);
    query.len = 65000;
    client_send(&client, message_str(&query));
}

static bool is_all_sent(void *ctx)
{
    return stream_queued(ctx) == 0;
}

Test(dns_server, a_resolver_that_reads_late_gets_every_query, .init = set_up_tcp, .fini = tear_down)
{
    resolver.on_asked = resolver_answer;
    client_ask(&client, "example.com", TYPE_A, 999);
    cr_assert(client_wait(&client, 1));
    stream_pause(resolver.streams[0]);
    for (uint16_t i = 0; i < DNS_TCP_PIPELINE; i++) {
        ask_at_length(i);
        cr_assert(run_until(loop, is_all_sent, client.stream, PATIENCE_MS));
    }
    run_turns(loop, 50);
    stream_resume(resolver.streams[0]);
    cr_assert(client_wait(&client, 1 + DNS_TCP_PIPELINE));
    for (unsigned i = 0; i <= DNS_TCP_PIPELINE; i++)
        cr_expect_str_eq(client_text(&client, i), EXAMPLE);
}

static void answer_and_hang_up(struct resolver *from, struct asked *asked)
{
    struct stream *stream = asked->stream;
    resolver_answer(from, asked);
    resolver_hang_up(from, stream);
}

Test(dns_server, a_resolver_with_one_answer_a_connection_is_called_again, .init = set_up_tcp,
     .fini = tear_down)
{
    resolver.on_asked = answer_and_hang_up;
    for (unsigned i = 0; i < 5; i++)
        client_ask(&client, "example.com", TYPE_A, (uint16_t)i);
    cr_assert(client_wait(&client, 5));
    for (unsigned i = 0; i < 5; i++)
        cr_expect_str_eq(client_text(&client, i), EXAMPLE);
    cr_expect_eq(resolver.n_streams, 5);
    cr_expect_eq(meter_total(METRIC_DNS_UPSTREAM_FAILURES), 0);
}

static void only_hang_up(struct resolver *from, struct asked *asked)
{
    resolver_hang_up(from, asked->stream);
}

Test(dns_server, a_resolver_that_hangs_up_without_an_answer_is_servfail, .init = set_up_tcp,
     .fini = tear_down)
{
    resolver.on_asked = only_hang_up;
    client_ask(&client, "example.com", TYPE_A, 8);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), "SERVFAIL ra");
    cr_expect_eq(resolver.n_streams, 1, "that is not asked for twice");
}

Test(dns_server, a_refused_connection_is_servfail, .init = set_up, .fini = tear_down)
{
    struct addr nobody = resolver.addr;
    dns_server_close(server);
    resolver_close(&resolver);
    cr_assert(run_until_empty(loop, PATIENCE_MS));
    open_server(localhost(), nobody);
    client_open_tcp(&client, loop, dns_server_tcp_addr(server));
    client_ask(&client, "example.com", TYPE_A, 8);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), "SERVFAIL ra");
    resolver_open(&resolver, loop);
}

static void transfer(struct resolver *from, struct asked *asked)
{
    static struct message answer;
    resolver_answer(from, asked);
    resolver_make_answer(asked, &answer);
    resolver_send(from, asked, message_str(&answer));
    answer.len = 12; /* later messages may lack the question: RFC 5936 section 2.2 */
    message_set_u16(&answer, 4, 0);
    message_set_u16(&answer, 6, 0);
    resolver_send(from, asked, message_str(&answer));
}

Test(dns_server, every_message_of_a_transfer_is_handed_on, .init = set_up_tcp, .fini = tear_down)
{
    resolver.on_asked = transfer;
    client_ask(&client, "example.com", TYPE_AXFR, 8);
    cr_assert(client_wait(&client, 3));
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(client_id(&client, i), 8);
}

Test(dns_server, a_client_that_ends_its_direction_still_gets_its_answers, .init = set_up_tcp,
     .fini = tear_down)
{
    client_ask(&client, "example.com", TYPE_A, 1);
    client_ask(&client, WEB, TYPE_A, 2);
    stream_shutdown(client.stream);
    cr_assert(resolver_wait(&resolver, 1));
    cr_expect_not(client.is_ended);
    resolver_answer(&resolver, &resolver.last[0]);
    cr_assert(client_wait(&client, 2));
    cr_expect(run_until_set(loop, &client.is_ended, PATIENCE_MS));
}

Test(dns_server, what_is_no_message_ends_the_connection, .init = set_up_tcp, .fini = tear_down)
{
    client_send(&client, STR("GET / HTTP"));
    cr_expect(run_until_set(loop, &client.is_failed, PATIENCE_MS));
    cr_expect_eq(meter_total(METRIC_DNS_MALFORMED), 1);
}

static bool has_everything_been_sent(void *ctx)
{
    return stream_queued(ctx) == 0;
}

Test(dns_server, a_client_that_does_not_read_is_not_read_from, .init = set_up_tcp,
     .fini = tear_down)
{
    enum { N_QUERIES = 4000 }; /* 13 MB of answers */
    struct client other;
    stream_pause(client.stream);
    for (unsigned i = 0; i < N_QUERIES; i++)
        client_ask(&client, "big.data.svc.clusterset.local", TYPE_A, (uint16_t)i);
    client_open_udp(&other, loop, dns_server_udp_addr(server));
    for (unsigned i = 0; i < 50; i++) { /* others are served meanwhile */
        client_ask(&other, WEB, TYPE_A, (uint16_t)i);
        cr_assert(client_wait(&other, i + 1));
    }
    cr_expect(meter_total(METRIC_DNS_REQUESTS) < N_QUERIES, "it was not asked for all");
    cr_expect(loop_slabs(loop)->live_bytes < 2000000, "%llu bytes",
              (unsigned long long)loop_slabs(loop)->live_bytes);
    stream_resume(client.stream);
    cr_assert(run_until(loop, has_everything_been_sent, client.stream, 20000));
    cr_assert(run_until_count(loop, &client.n_got, N_QUERIES, 20000), "%u", client.n_got);
    for (unsigned i = 0; i < N_QUERIES; i++)
        cr_assert_eq(client_id(&client, i), (uint16_t)i);
    client_close(&other);
}

Test(dns_server, the_quietest_connection_makes_room_for_a_new_one, .init = set_up,
     .fini = tear_down)
{
    struct client *clients = mem_new_array(struct client, DNS_TCP_CLIENTS + 1);
    resolver.on_asked = NULL;
    for (unsigned i = 0; i < DNS_TCP_CLIENTS; i++) {
        char source[16];
        (void)snprintf(source, sizeof(source), "127.0.1.%u", i / 32 + 1);
        client_open_tcp_from(&clients[i], loop, dns_server_tcp_addr(server), source);
        client_ask(&clients[i], WEB, TYPE_A, 1);
        cr_assert(client_wait(&clients[i], 1));
    }
    client_ask(&clients[0], WEB, TYPE_A, 2); /* now the second is the quietest */
    cr_assert(client_wait(&clients[0], 2));
    client_open_tcp(&clients[DNS_TCP_CLIENTS], loop, dns_server_tcp_addr(server));
    client_ask(&clients[DNS_TCP_CLIENTS], WEB, TYPE_A, 1);
    cr_assert(client_wait(&clients[DNS_TCP_CLIENTS], 1));
    cr_expect(run_until_set(loop, &clients[1].is_ended, PATIENCE_MS));
    cr_expect_not(clients[0].is_ended);
    for (unsigned i = 0; i <= DNS_TCP_CLIENTS; i++)
        client_close(&clients[i]);
    mem_free(clients);
}

Test(dns_server, one_client_cannot_take_the_connections_of_all, .init = set_up, .fini = tear_down)
{
    struct client *clients = mem_new_array(struct client, DNS_TCP_CLIENTS + 1);
    struct client *other = &clients[DNS_TCP_CLIENTS];
    resolver.on_asked = NULL;
    for (unsigned i = 0; i < DNS_TCP_CLIENTS; i++) {
        client_open_tcp(&clients[i], loop, dns_server_tcp_addr(server));
        if (i > 0)
            continue;
        client_ask(&clients[0], "example.com", TYPE_A, 1); /* the quietest waits */
        cr_assert(resolver_wait(&resolver, 1));
    }
    cr_expect(run_until_set(loop, &clients[1].is_ended, PATIENCE_MS), "its own made room");
    cr_expect_not(clients[DNS_TCP_CLIENTS - 1].is_ended);
    client_open_tcp_from(other, loop, dns_server_tcp_addr(server), "127.0.0.2");
    client_ask(other, WEB, TYPE_A, 1);
    cr_assert(client_wait(other, 1));
    cr_expect_str_eq(client_text(other, 0), WEB_ANSWER);
    for (unsigned i = 0; i <= DNS_TCP_CLIENTS; i++)
        client_close(&clients[i]);
    mem_free(clients);
}

static void take_elsewhere(void *owner, struct stream *stream)
{
    (void)owner;
    dns_server_take(server, stream);
}

Test(dns_server, a_connection_that_came_in_elsewhere_is_taken, .init = set_up, .fini = tear_down)
{
    const struct listener_options options = {0};
    struct addr any = localhost();
    struct listener *listener;
    int errnum;
    cr_assert_eq(listener_open(loop, &any, &options, take_elsewhere, NULL, &listener, &errnum), 0);
    client_open_tcp(&client, loop, listener_addr(listener));
    client_ask(&client, WEB, TYPE_A, 2);
    cr_assert(client_wait(&client, 1));
    cr_expect_str_eq(client_text(&client, 0), WEB_ANSWER);
    listener_close(listener);
}

Test(dns_server, closing_forgets_what_waits, .init = set_up_tcp, .fini = tear_down)
{
    struct client other;
    client_open_udp(&other, loop, dns_server_udp_addr(server));
    for (unsigned i = 0; i < 10; i++) {
        client_ask(&client, "example.com", TYPE_A, (uint16_t)i);
        client_ask(&other, "example.com", TYPE_A, (uint16_t)i);
    }
    cr_assert(resolver_wait(&resolver, 20));
    dns_server_close(server);
    for (unsigned i = 0; i < 20; i++) {
        if (!resolver.last[i].stream)
            resolver_answer(&resolver, &resolver.last[i]);
    }
    cr_expect(run_until_set(loop, &client.is_failed, PATIENCE_MS));
    cr_expect_eq(client.n_got + other.n_got, 0);
    client_close(&other);
    open_server(localhost(),
                resolver.addr); /* for tear_down(), which proves that nothing is left */
}

Test(dns_server, a_taken_port_is_told, .init = set_up, .fini = tear_down)
{
    const struct dns_server_options options = {.listen = dns_server_udp_addr(server)};
    struct dns_server *second = NULL;
    int errnum = 0;
    cr_expect_eq(dns_server_open(loop, &options, &current, meter, &second, &errnum), -ERR_SYSTEM);
    cr_expect_eq(errnum, EADDRINUSE);
    cr_expect_null(second);
}
