#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

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

static void dial_many(struct tap *taps, unsigned n)
{
    /* The kernel completes them; the loop does not turn, so that they wait in the backlog. */
    static const enum arrival_kind kinds[] = {ARRIVAL_OUTBOUND, ARRIVAL_PLAINTEXT, ARRIVAL_TUNNEL};
    struct loop *loop = loop_new();
    for (unsigned i = 0; i < n; i++) {
        struct house other = {.world = {.loop = loop}, .acceptor = house.acceptor};
        house_dial(&other, kinds[i % 3], &taps[i]);
        tap_close(&taps[i], 0);
    }
    loop_finish(loop);
}

Test(acceptor, draining_serves_who_is_in_the_backlog)
{
    struct tap taps[6] = {0};
    house_open(&house);
    dial_many(taps, 6);

    acceptor_drain(house.acceptor);

    cr_expect(house_has(&house, 4), "two doors; the tunnels wait for their handshakes");
    cr_expect_eq(acceptor_sessions(house.acceptor), 2);
    house_close(&house);
}

static bool has_session(void *ctx)
{
    (void)ctx;
    return acceptor_sessions(house.acceptor) == 1;
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
    cr_expect(run_until(house.world.loop, has_session, NULL, PATIENCE_MS));
    for (size_t i = 0; i < ARRAY_LEN(taps); i++)
        tap_close(&taps[i], 0);
    house_close(&house);
}

Test(acceptor, doors_that_close_serve_who_is_in_the_backlog)
{
    struct tap taps[3] = {0}, late[3] = {0};
    house_open(&house);
    acceptor_drain(house.acceptor);
    dial_many(taps, 3);

    acceptor_close_doors(house.acceptor);

    cr_expect(house_has(&house, 2));
    cr_expect_eq(acceptor_sessions(house.acceptor), 1);
    for (enum arrival_kind kind = 0; kind < ARRAY_LEN(late); kind++) {
        house_dial(&house, kind, &late[kind]);
        cr_expect_eq(late[kind].err, -ERR_REFUSED);
    }
    house_close(&house);
}

Test(acceptor, closing_turns_away_who_is_in_the_backlog)
{
    struct tap taps[6] = {0};
    house_open(&house);
    dial_many(taps, 6);

    acceptor_close(house.acceptor);
    house.acceptor = NULL; /* on_arrival() fails the test from here on */
    run_turns(house.world.loop, 10);

    cr_expect_eq(house.n_arrivals, 0);
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
