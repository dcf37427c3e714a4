#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "house.h"

TestSuite(acceptor, .timeout = 60);

static struct house house;

Test(acceptor, an_arrival_says_who_knocked_for_where_at_which_door)
{
    static const enum arrival_kind kinds[] = {ARRIVAL_OUTBOUND, ARRIVAL_PLAINTEXT};

    house_open(&house);

    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        struct tap tap = {0};
        const struct addr door = house_door(&house, kinds[i]);
        house_dial(&house, kinds[i], &tap);
        cr_assert(house_has(&house, i + 1));

        const struct arrival *arrival = house.arrivals[i];
        const struct addr source = tcp_local(tap.stream);
        cr_expect_eq(arrival->kind, kinds[i]);
        cr_expect(addr_eq(&arrival->destination, &door));
        cr_expect(addr_eq(&arrival->source, &source));
        cr_expect_not_null(arrival->stream);
        tap_free(&tap);
    }
    house_close(&house);
}

Test(acceptor, an_arrival_that_is_refused_resets_its_connection)
{
    struct tap tap = {0};
    house_open(&house);
    house_dial(&house, ARRIVAL_OUTBOUND, &tap);
    cr_assert(house_has(&house, 1));

    arrival_free(house.arrivals[0], -ERR_DENIED);
    house.arrivals[0] = NULL;

    cr_expect(tap_failed(house.world.loop, &tap));
    cr_expect_eq(tap.err, -ERR_RESET);
    tap_free(&tap);
    house_close(&house);
}

Test(acceptor, a_taken_port_is_named_and_leaves_nothing_open)
{
    house_open(&house);
    struct acceptor *second = NULL;
    struct text why = {0};
    struct addr taken;
    struct listener *listener;
    int errnum;
    const struct addr loopback = {{4, {127, 0, 0, 1}}, 0};
    /* Without SO_REUSEPORT nobody may join it. */
    cr_assert_eq(listener_open(house.world.loop, &loopback, NULL, NULL, NULL, &listener, &errnum),
                 0);
    taken = listener_addr(listener);
    const struct acceptor_options options = {
        .outbound = loopback,
        .inbound = loopback,
        .tunnel = taken,
        .tunnels = {.snapshot = &house.snapshot_now, .tls = &house.set_now, .trust = &house.trust}};
    char addr[ADDR_TEXT_MAX];

    cr_expect_eq(acceptor_open(house.world.loop, &options, house.meter, NULL, NULL, &second, &why),
                 -ERR_SYSTEM);

    cr_expect_null(second);
    cr_expect_not_null(strstr(why.ptr, addr_text(&taken, addr)), "%s", why.ptr);
    cr_expect_not_null(strstr(why.ptr, "in use"), "%s", why.ptr);

    struct acceptor_options any = options;
    char sentence[96];
    any.tunnel = (struct addr){.port = taken.port};
    text_clear(&why);
    cr_expect_eq(acceptor_open(house.world.loop, &any, house.meter, NULL, NULL, &second, &why),
                 -ERR_SYSTEM);
    (void)snprintf(sentence, sizeof sentence, "cannot listen on port %u: Address already in use",
                   taken.port);
    cr_expect_str_eq(why.ptr, sentence);
    text_fini(&why);
    listener_close(listener);
    house_close(&house);
}

enum { MANY = 6 };

static int fds[MANY];

/* The kernel completes them; the loop does not turn, so that they wait in the backlog. */
static void dial_many(unsigned n)
{
    static const enum arrival_kind kinds[] = {ARRIVAL_OUTBOUND, ARRIVAL_PLAINTEXT, ARRIVAL_TUNNEL};

    for (unsigned i = 0; i < n; i++) {
        const struct addr door = house_door(&house, kinds[i % 3]);
        struct sockaddr_storage sa;
        const socklen_t len = addr_to_sockaddr(&door, &sa);
        fds[i] = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(connect(fds[i], (const struct sockaddr *)&sa, len), 0, "%s", strerror(errno));
    }
}

static void hang_up_many(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
}

static bool has_sessions(void *ctx)
{
    return acceptor_sessions(house.acceptor) == *(const size_t *)ctx;
}

static bool sessions_become(size_t n)
{
    return run_until(house.world.loop, has_sessions, &n, PATIENCE_MS);
}

Test(acceptor, draining_serves_who_is_in_the_backlog)
{
    house_open(&house);
    dial_many(MANY);

    acceptor_drain(house.acceptor);

    cr_expect(house_has(&house, 4), "two doors; the tunnels wait for their handshakes");
    cr_expect(sessions_become(2));
    hang_up_many(MANY);
    house_close(&house);
}

Test(acceptor, draining_leaves_the_doors_open)
{
    struct tap taps[3] = {0};
    house_open(&house);
    acceptor_drain(house.acceptor);

    house_dial(&house, ARRIVAL_OUTBOUND, &taps[0]);
    house_dial(&house, ARRIVAL_PLAINTEXT, &taps[1]);
    house_dial(&house, ARRIVAL_TUNNEL, &taps[2]);

    cr_expect(house_has(&house, 2));
    cr_expect(sessions_become(1));
    for (size_t i = 0; i < ARRAY_LEN(taps); i++)
        tap_close(&taps[i], 0);
    house_close(&house);
}

Test(acceptor, doors_that_close_serve_who_is_in_the_backlog)
{
    struct tap late[3] = {0};
    house_open(&house);
    acceptor_drain(house.acceptor);
    dial_many(3);

    acceptor_close_doors(house.acceptor);

    cr_expect(house_has(&house, 2));
    cr_expect(sessions_become(1));
    for (enum arrival_kind kind = 0; kind < ARRAY_LEN(late); kind++) {
        house_dial(&house, kind, &late[kind]);
        cr_expect_eq(late[kind].err, -ERR_REFUSED);
    }
    hang_up_many(3);
    house_close(&house);
}

Test(acceptor, closing_turns_away_who_is_in_the_backlog)
{
    house_open(&house);
    dial_many(MANY);

    acceptor_close(house.acceptor);
    house.acceptor = NULL; /* on_arrival() fails the test from here on */
    run_turns(house.world.loop, 10);

    cr_expect_eq(house.n_arrivals, 0);
    hang_up_many(MANY);
    house_close(&house);
}

Test(acceptor, closing_after_draining_closes_once)
{
    house_open(&house);
    acceptor_drain(house.acceptor);
    acceptor_close(house.acceptor);
    house.acceptor = NULL;
    house_close(&house);
}
