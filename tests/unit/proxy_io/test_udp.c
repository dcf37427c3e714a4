#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "captured_net.h"
#include "proxy/base/text.h"
#include "proxy/io/udp.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/loopback.h"

TestSuite(udp, .timeout = 20);

#define PATIENCE_MS 5000

static struct loop *loop;

struct inbox {
    struct udp *udp;
    unsigned n_packets;
    size_t last_len;
    char last[64];
    struct addr from, to;
    struct addr answer_from; /* with a port: answers every packet from there */
    bool closes;
};

static void on_packet(void *owner, struct str packet, const struct addr *from,
                      const struct addr *to)
{
    struct inbox *inbox = owner;
    inbox->n_packets++;
    inbox->last_len = packet.len;
    memcpy(inbox->last, packet.ptr, packet.len < 64 ? packet.len : 64);
    inbox->from = *from;
    inbox->to = *to;
    if (inbox->answer_from.port)
        cr_expect_eq(udp_send_from(inbox->udp, packet, from, &inbox->answer_from), 0);
    if (inbox->closes) {
        udp_close(inbox->udp);
        inbox->udp = NULL;
    }
}

static struct addr address(const char *text, uint16_t port)
{
    struct addr addr;
    cr_assert_eq(addr_parse(str_from(text), &addr), 0);
    addr.port = port;
    return addr;
}

static void open_inbox(struct inbox *inbox, const struct addr *local,
                       const struct udp_options *options)
{
    int errnum = 0;
    cr_assert_eq(udp_open(loop, local, options, on_packet, inbox, &inbox->udp, &errnum), 0, "%s",
                 strerror(errnum));
}

/* A socket that sends to an address and takes answers of any. */
static void open_client(struct inbox *inbox)
{
    struct addr local = address("127.0.0.1:0", 0);
    open_inbox(inbox, &local, NULL);
}

/* A server at every address, and a client of it: where the client finds it. */
static struct addr open_both(struct inbox *server, struct inbox *client)
{
    const struct addr any = {0};
    loop = loop_new();
    open_inbox(server, &any, NULL);
    open_client(client);
    return address("127.0.0.1:0", udp_addr(server->udp).port);
}

static void expect_packet(struct inbox *inbox, const char *text)
{
    cr_assert(run_until_count(loop, &inbox->n_packets, 1, PATIENCE_MS), "no packet: %s", text);
    cr_expect_eq(inbox->last_len, strlen(text));
    cr_expect_eq(memcmp(inbox->last, text, strlen(text)), 0);
    inbox->n_packets = 0;
}

Test(udp, tells_where_a_packet_came_from_and_which_address_it_was_sent_to)
{
    static const char *const hosts[] = {"127.0.0.1:0", "127.0.0.77:0", "[::1]:0"};
    struct inbox server = {0};
    struct addr any = {0};
    loop = loop_new();
    open_inbox(&server, &any, NULL);
    for (size_t row = 0; row < ARRAY_LEN(hosts); row++) {
        struct addr to = address(hosts[row], udp_addr(server.udp).port);
        struct inbox client = {0};
        cr_assert_eq(udp_connect(loop, &to, NULL, on_packet, &client, &client.udp), 0);
        cr_assert_eq(udp_send(client.udp, STR("query"), NULL), 0);
        expect_packet(&server, "query");

        struct addr client_addr = udp_addr(client.udp);
        cr_expect(addr_eq(&server.from, &client_addr), "%s", hosts[row]);
        cr_expect(addr_eq(&server.to, &to), "%s", hosts[row]);
        cr_assert_eq(udp_send_from(server.udp, STR("answer"), &server.from, &server.to), 0);
        expect_packet(&client,
                      "answer"); /* a connected socket takes answers of that address only */
        cr_expect(addr_eq(&client.from, &to));
        udp_close(client.udp);
    }
    udp_close(server.udp);
    loop_finish(loop);
}

Test(udp, answering_from_its_own_address_does_not_divert_later_packets)
{
    struct inbox server = {0}, client = {0};
    const struct addr to = open_both(&server, &client);
    server.answer_from = to;
    for (unsigned round = 0; round < 3; round++) {
        cr_assert_eq(udp_send(client.udp, STR("again"), &to), 0);
        expect_packet(&client, "again");
        cr_expect(addr_eq(&client.from, &to));
    }
    cr_expect_eq(loop_open_handles(loop), 2, "no socket was opened for it");
    udp_close(server.udp);
    udp_close(client.udp);
    loop_finish(loop);
}

Test(udp, answers_from_another_port_through_a_bounded_set_of_sockets)
{
    struct inbox server = {0}, client = {0};
    (void)open_both(&server, &client);
    struct addr client_addr = udp_addr(client.udp), spare = address("127.0.0.1:0", 0);
    struct inbox probe = {0};
    open_inbox(&probe, &spare, NULL); /* takes a port that nobody has */
    uint16_t port = udp_addr(probe.udp).port;

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned host = 1; host <= UDP_REPLY_SOCKETS + 10; host++) {
            char text[ADDR_TEXT_MAX];
            snprintf(text, sizeof(text), "127.0.9.%u:0", host);
            struct addr source = address(text, port);
            cr_assert_eq(udp_send_from(server.udp, STR("from afar"), &client_addr, &source), 0);
            expect_packet(&client, "from afar");
            cr_expect(addr_eq(&client.from, &source));
        }
        loop_turn(loop, false);
        cr_expect_eq(loop_open_handles(loop), 3 + UDP_REPLY_SOCKETS);
    }
    udp_close(probe.udp);
    udp_close(server.udp);
    udp_close(client.udp);
    loop_finish(loop);
}

Test(udp, a_source_that_is_not_ours_is_an_error_and_counted)
{
    struct inbox server = {0};
    struct addr local = address("127.0.0.1:0", 0), source = address("192.0.2.1:0", 53);
    loop = loop_new();
    open_inbox(&server, &local, NULL);
    struct addr to = udp_addr(server.udp);
    cr_expect_lt(udp_send_from(server.udp, STR("x"), &to, &source), 0);
    cr_expect_eq(udp_dropped(server.udp), 1);
    cr_expect_eq(loop_open_handles(loop), 1);
    udp_close(server.udp);
    loop_finish(loop);
}

Test(udp, takes_a_burst_larger_than_a_batch_and_packets_of_any_size)
{
    static const size_t sizes[] = {0, 1, 512, 1232, 4096, 65507};
    static char bytes[65507];
    struct inbox server = {0}, client = {0};
    const struct addr to = open_both(&server, &client);
    for (unsigned idx = 0; idx < 100; idx++)
        cr_assert_eq(udp_send(client.udp, STR("burst"), &to), 0);
    cr_assert(run_until_count(loop, &server.n_packets, 100, PATIENCE_MS));
    for (size_t row = 0; row < ARRAY_LEN(sizes); row++) {
        server.n_packets = 0;
        cr_assert_eq(udp_send(client.udp, str_of(bytes, sizes[row]), &to), 0);
        cr_assert(run_until_count(loop, &server.n_packets, 1, PATIENCE_MS), "%zu", sizes[row]);
        cr_expect_eq(server.last_len, sizes[row]);
    }
    udp_close(server.udp);
    udp_close(client.udp);
    loop_finish(loop);
}

Test(udp, may_be_closed_inside_a_packet_of_a_batch)
{
    struct inbox server = {.closes = true}, client = {0};
    const struct addr to = open_both(&server, &client);
    for (unsigned idx = 0; idx < 10; idx++)
        cr_assert_eq(udp_send(client.udp, STR("burst"), &to), 0);
    cr_assert(run_until_count(loop, &server.n_packets, 1, PATIENCE_MS));
    run_turns(loop, 3);
    cr_expect_eq(server.n_packets, 1);
    udp_close(client.udp);
    loop_finish(loop);
}

Test(udp, a_refused_packet_of_a_relay_does_not_stop_the_socket)
{
    struct inbox gone = {0}, relay = {0};
    const struct addr local = {.ip = loopback_own(0)}; /* nobody takes its port meanwhile */
    loop = loop_new();
    open_inbox(&gone, &local, NULL);
    struct addr to = udp_addr(gone.udp);
    cr_assert_eq(udp_connect(loop, &to, NULL, on_packet, &relay, &relay.udp), 0);
    udp_close(gone.udp);
    loop_turn(loop, false);
    cr_expect_eq(udp_send(relay.udp, STR("anybody?"), NULL), 0);
    run_turns(loop, 10);
    cr_expect_eq(relay.n_packets, 0);

    open_inbox(&gone, &to, NULL);
    cr_assert_eq(udp_send(relay.udp, STR("and now?"), NULL), 0);
    expect_packet(&gone, "and now?");
    udp_close(gone.udp);
    udp_close(relay.udp);
    loop_finish(loop);
}

Test(udp, an_address_in_use_is_an_error_with_its_errno)
{
    struct inbox server = {0}, second = {0};
    struct addr local = address("127.0.0.1:0", 0);
    loop = loop_new();
    open_inbox(&server, &local, NULL);
    struct addr taken = udp_addr(server.udp);
    int errnum = 0;
    cr_expect_eq(udp_open(loop, &taken, NULL, on_packet, &second, &second.udp, &errnum),
                 -ERR_SYSTEM);
    cr_expect_eq(errnum, EADDRINUSE);
    cr_expect_null(second.udp);
    udp_close(server.udp);
    loop_finish(loop);
}

Test(udp, behind_tproxy_sees_the_original_destination_and_answers_from_it)
{
    static const char *const asked[] = {"10.96.0.10:53", "[fd96::10]:53", "10.96.0.11:53"};
    if (!captured_net_enter())
        cr_skip_test("needs CAP_NET_ADMIN, CAP_SYS_ADMIN and nft");
    const struct udp_options options = {.transparent = true, .mark = CAPTURED_NET_MARK};
    struct addr any = {.port = 15053};
    struct inbox server = {0};
    loop = loop_new();
    open_inbox(&server, &any, &options);
    for (unsigned round = 0; round < 2; round++)
        for (size_t row = 0; row < ARRAY_LEN(asked); row++) {
            struct addr to = address(asked[row], 53);
            struct inbox client = {0};
            cr_assert_eq(udp_connect(loop, &to, NULL, on_packet, &client, &client.udp), 0);
            cr_assert_eq(udp_send(client.udp, STR("who is it"), NULL), 0);
            expect_packet(&server, "who is it");
            cr_expect(addr_eq(&server.to, &to), "%s", asked[row]);
            cr_assert_eq(udp_send_from(server.udp, STR("it is me"), &server.from, &server.to), 0);
            expect_packet(&client, "it is me");
            udp_close(client.udp);
        }
    udp_close(server.udp);
    loop_finish(loop);
}
