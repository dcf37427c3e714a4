#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "proxy/base/mem.h"
#include "proxy/dns/wire.h"
#include "tests/unit/proxy_dns/served.h"

TestSuite(dns_server, .timeout = 60);

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
