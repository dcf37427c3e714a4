/* What a client speaks is found out of its first bytes, where a policy wants it; none is lost. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/connect/http_pool.h"
#include "proxy/flow/sniff.h"
#include "proxy/meter/meter.h"
#include "town.h"

TestSuite(sniff, .timeout = 60);

static struct town town;
static struct town_call call;

Test(sniff, tells_http_by_a_method_with_a_target_and_by_the_preface)
{
    static const struct {
        struct str first;
        enum sniffed sniffed;
    } rows[] = {
        {STR(""), SNIFFED_NOTHING},
        {STR("G"), SNIFFED_NOTHING},
        {STR("GET"), SNIFFED_NOTHING},
        {STR("GET "), SNIFFED_NOTHING},
        {STR("GET /"), SNIFFED_HTTP_1},
        {STR("GET / HTTP/1.1\r\n"), SNIFFED_HTTP_1},
        {STR("OPTIONS *"), SNIFFED_HTTP_1},
        {STR("CONNECT [::1]:80"), SNIFFED_HTTP_1},
        {STR("GET http://a/"), SNIFFED_HTTP_1},
        {STR("GET  /"), SNIFFED_BYTES},
        {STR("GETS foo\r\n"), SNIFFED_BYTES}, /* memcached */
        {STR("get foo\r\n"), SNIFFED_BYTES},
        {STR("P"), SNIFFED_NOTHING},
        {STR("PR"), SNIFFED_NOTHING},
        {STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), SNIFFED_NOTHING},
        {STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), SNIFFED_HTTP_2},
        {STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"), SNIFFED_HTTP_2},
        {STR("PRI * HTTP/2.1"), SNIFFED_BYTES},
        {STR("PING\r\n"), SNIFFED_BYTES},                                     /* redis */
        {STR("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), SNIFFED_BYTES}, /* TLS */
        {STR("\0\0\0\x08\x04\xd2\x16\x2f"), SNIFFED_BYTES},                   /* PostgreSQL */
        {STR("SSH-2.0-"), SNIFFED_BYTES},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(sniff_look(rows[i].first), rows[i].sniffed, "row %zu: %.*s", i,
                     STR_ARG(rows[i].first));
}

static void open_with(uint64_t detect_ns)
{
    town_open(&town);
    const struct model_service *service = town_service(&town);
    snap_traffic(&town.snap, service)->detect_ns = detect_ns;
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
}

static void close_all(void)
{
    struct ip cart;
    cr_assert_eq(ip_parse(STR(CART), &cart), 0);
    call_end(&call);
    run_turns(town.world.loop, 5);
    http_pool_forget(connector_http_pool(town.n1.connector), &cart);
    cr_expect(town_is_quiet(&town));
    cr_expect_eq(balancer_flows(town.n1.balancer), 0);
    town_close(&town);
}

static void say(struct str text)
{
    (void)stream_write_copy(call.tap.stream, text.ptr, text.len);
}

static bool has_come(void *ctx)
{
    const struct str *wanted = ctx;
    return town.n_served > 0 && town.served[0].n_got >= wanted->len;
}

static bool arrives(struct str wanted)
{
    return run_until(town.world.loop, has_come, &wanted, PATIENCE_MS) &&
           str_starts_with(text_str(&town.served[0].got), wanted);
}

static bool has_ended(void *ctx)
{
    (void)ctx;
    return town.n_served > 0 && town.served[0].ended;
}

static bool is_served(void *ctx)
{
    (void)ctx;
    return town.n_served > 0;
}

static size_t n_links(void)
{
    return http_pool_links(connector_http_pool(town.n1.connector));
}

#define HELLO STR("\x16\x03\x01\x00\x05hello")

Test(sniff, a_server_that_speaks_first_is_reached_when_the_time_is_over)
{
    open_with(30 * NS_PER_MS);
    run_turns(town.world.loop, 3);
    cr_expect_eq(town.n_served, 0);
    cr_assert(run_until(town.world.loop, is_served, NULL, PATIENCE_MS));
    cr_expect(call_echoes(&call, 1));
    cr_expect_eq(n_links(), 0);
    close_all();
}

Test(sniff, other_bytes_go_on_at_once_and_whole)
{
    open_with(LONG_NS);
    say(HELLO);
    cr_expect(arrives(HELLO));
    cr_expect_eq(n_links(), 0);
    say(STR("more"));
    cr_expect(arrives(STR("\x16\x03\x01\x00\x05hellomore")));
    cr_expect_eq(town.served[0].n_got, 14);
    close_all();
}

Test(sniff, a_part_of_a_preface_goes_on_as_bytes_when_nothing_follows)
{
    open_with(30 * NS_PER_MS);
    say(STR("PRI *"));
    run_turns(town.world.loop, 2);
    say(STR(" HTTP"));
    cr_expect(arrives(STR("PRI * HTTP")));
    cr_expect_eq(n_links(), 0);
    close_all();
}

Test(sniff, an_end_goes_on_behind_what_came_before_it)
{
    open_with(LONG_NS);
    say(STR("PO"));
    stream_shutdown(call.tap.stream);
    cr_expect(arrives(STR("PO")));
    cr_expect(run_until(town.world.loop, has_ended, NULL, PATIENCE_MS));
    close_all();
}

Test(sniff, a_request_in_pieces_is_served_as_one)
{
    open_with(LONG_NS);
    say(STR("GE"));
    run_turns(town.world.loop, 2);
    say(STR("T /a HTTP/1.1\r\nHost: store\r\n\r\n"));
    cr_expect(arrives(STR("GET /a HTTP/1.1\r\n")));
    cr_expect_eq(n_links(), 1);
    close_all();
}

/* The client is one from now on, for some seconds. */
static struct client *become_nuisance(void)
{
    struct ip cart;
    cr_assert_eq(ip_parse(STR(CART), &cart), 0);
    struct client *client = clients_enter(&town.n1.walk->clients, &cart);
    for (unsigned i = 0; i < CLIENT_FAULTS_MAX; i++)
        client_note_fault(client, loop_now_ns(town.world.loop));
    client_leave(client);
    return client;
}

/* Whose request comes late, behind others of its connections that wait. */
static void is_served_late(unsigned n_before)
{
    open_with(LONG_NS);
    struct client *client = become_nuisance();
    const uint64_t start_ns = loop_now_ns(town.world.loop);
    uint64_t wait_ns = 0;
    for (unsigned i = 0; i < n_before; i++)
        wait_ns = client_penance_ns(client, start_ns);
    say(STR("GET /a HTTP/1.1\r\nHost: store\r\n\r\n"));
    cr_expect(arrives(STR("GET /a HTTP/1.1\r\n")));
    cr_expect_eq(meter_total(METRIC_HTTP_DELAYED), 1);
    cr_expect_gt(loop_now_ns(town.world.loop) - start_ns, wait_ns > 0 ? wait_ns : NS_PER_SEC / 2);
    close_all();
}

Test(sniff, a_request_of_a_nuisance_is_served_late)
{
    is_served_late(0);
}

Test(sniff, a_request_of_a_nuisance_is_served_behind_those_that_wait_before_it)
{
    is_served_late(100);
}

static struct stream *accepted;

static void on_accept(void *owner, struct stream *stream)
{
    (void)owner;
    accepted = stream;
}

static bool is_accepted(void *ctx)
{
    (void)ctx;
    return accepted != NULL;
}

static struct addr addr_of(const char *ip, uint16_t port)
{
    struct addr addr = {.port = port};
    cr_assert_eq(ip_parse(str_from(ip), &addr.ip), 0);
    return addr;
}

/* A socket of the client, from which a connection to the service arrives. */
static int connect_client(void)
{
    struct loop *loop = town.world.loop;
    const struct addr any = addr_of("127.0.0.1", 0), from = addr_of(CART, 40001);
    const struct addr to = addr_of(VIP, 6379);
    struct listener *listener;
    struct sockaddr_storage sa;
    int errnum;
    accepted = NULL;
    cr_assert_eq(listener_open(loop, &any, NULL, on_accept, NULL, &listener, &errnum), 0);
    const struct addr at = listener_addr(listener);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&sa, addr_to_sockaddr(&at, &sa)), 0);
    cr_assert(run_until(loop, is_accepted, NULL, PATIENCE_MS));
    listener_close(listener);
    walk_start(town.n1.walk, arrival_new(ARRIVAL_OUTBOUND, accepted, &from, &to));
    return fd;
}

static bool is_answered(void *ctx)
{
    char bytes[1024];
    return recv(*(const int *)ctx, bytes, sizeof bytes, MSG_DONTWAIT) == 0;
}

static bool sends(int fd)
{
    return send(fd, "more", 4, MSG_NOSIGNAL) == 4;
}

/* Whether it may go on to send when it has been told that its request is none, and its end. */
static bool is_read_when_refused(bool is_nuisance)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    open_with(LONG_NS);
    if (is_nuisance)
        (void)become_nuisance();
    int fd = connect_client();
    cr_assert_eq(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    cr_assert(run_until(town.world.loop, is_answered, &fd, PATIENCE_MS));
    run_turns(town.world.loop, 3);
    (void)sends(fd);
    run_turns(town.world.loop, 3);
    const bool is_read = sends(fd);
    close(fd);
    close_all();
    return is_read;
}

Test(sniff, what_a_client_sends_after_its_refusal_is_read_but_not_a_nuisances)
{
    cr_expect(is_read_when_refused(false));
    cr_expect_not(is_read_when_refused(true));
}

static bool is_answered_431(void *ctx)
{
    (void)ctx;
    return str_starts_with(text_str(&call.tap.got), STR("HTTP/1.1 431 "));
}

Test(sniff, a_nuisance_has_shorter_heads)
{
    static char pad[CLIENT_LATE_HEAD_BYTES];
    memset(pad, 'a', sizeof pad);
    for (unsigned is_nuisance = 0; is_nuisance < 2; is_nuisance++) {
        open_with(LONG_NS);
        if (is_nuisance)
            (void)become_nuisance();
        say(STR("GET /a HTTP/1.1\r\nHost: store\r\nX: "));
        say(str_of(pad, sizeof pad));
        say(STR("\r\n\r\n"));
        if (is_nuisance)
            cr_expect(run_until(town.world.loop, is_answered_431, NULL, PATIENCE_MS));
        else
            cr_expect(arrives(STR("GET /a HTTP/1.1\r\n")));
        close_all();
    }
}

/* HTTP/2: so many requests that are reset at once. */
static void say_resets(unsigned n)
{
    char pair[] = "\x00\x00\x0a\x01\x05\x00\x00\x00\x00" /* HEADERS */
                  "\x82\x86\x84\x41\x05store"
                  "\x00\x00\x04\x03\x00\x00\x00\x00\x00" /* RST_STREAM */
                  "\x00\x00\x00\x08";
    say(STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    say(str_of("\x00\x00\x00\x04\x00\x00\x00\x00\x00", 9)); /* SETTINGS */
    for (unsigned i = 0; i < n; i++) {
        pair[8] = pair[27] = (char)(2 * i + 1);
        say(str_of(pair, sizeof pair - 1));
    }
}

static bool has_been_cut(void *ctx)
{
    (void)ctx;
    return meter_total(METRIC_HTTP_RESETS) > 0;
}

Test(sniff, a_nuisance_has_fewer_resets_before_it_is_cut)
{
    for (unsigned is_nuisance = 0; is_nuisance < 2; is_nuisance++) {
        open_with(LONG_NS);
        if (is_nuisance)
            (void)become_nuisance();
        say_resets(CLIENT_LATE_RESETS + 1);
        const uint64_t patience_ms = is_nuisance ? PATIENCE_MS : 300;
        cr_expect_eq(run_until(town.world.loop, has_been_cut, NULL, patience_ms), is_nuisance);
        close_all();
    }
}

Test(sniff, the_preface_in_pieces_is_served_as_http_2_and_spoken_so_to_the_backend)
{
    static const char request[] = "\x00\x00\x00\x04\x00\x00\x00\x00\x00" /* SETTINGS */
                                  "\x00\x00\x0a\x01\x05\x00\x00\x00\x01" /* HEADERS */
                                  "\x82\x86\x84\x41\x05store";
    open_with(LONG_NS);
    say(STR("PRI * HTTP/2"));
    run_turns(town.world.loop, 2);
    say(STR(".0\r\n\r\nSM\r\n\r\n"));
    say(str_of(request, sizeof request - 1));
    cr_expect(arrives(STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")));
    cr_expect_eq(n_links(), 1);
    close_all();
}

Test(sniff, a_client_that_leaves_meanwhile_is_forgotten)
{
    open_with(LONG_NS);
    say(STR("PO"));
    run_turns(town.world.loop, 3);
    tap_close(&call.tap, -ERR_RESET);
    cr_expect(town_is_quiet(&town));
    cr_expect_eq(town.n_served, 0);
    close_all();
}

Test(sniff, nothing_is_looked_at_where_no_policy_wants_it_or_the_port_says_what_it_is)
{
    for (int says = 0; says < 2; says++) {
        town_open(&town);
        struct model_service *service = town_service(&town);
        snap_traffic(&town.snap, service)->detect_ns = says ? LONG_NS : 0;
        if (says)
            service->ports[0].app_protocol = APP_TCP;
        town_learn(&town);
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
        cr_expect(run_until(town.world.loop, is_served, NULL, PATIENCE_MS), "at once");
        say(STR("GET / HTTP/1.1\r\n"));
        cr_expect(arrives(STR("GET / HTTP/1.1\r\n")));
        cr_expect_eq(n_links(), 0);
        close_all();
    }
}
