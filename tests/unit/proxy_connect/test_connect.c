#include <criterion/criterion.h>
#include <unistd.h>

#include "far.h"
#include "proxy/base/clock.h"

TestSuite(connect, .timeout = 60);

static struct near near;

Test(connect, through_a_tunnel_says_who_and_where_and_carries_bytes)
{
    near_open(&near, NULL);
    struct attempt attempt = {0};
    const struct connect_request request = near_request();
    near.far.first_words = "welcome";

    attempt_start(&attempt, &near, &request);
    cr_assert(attempt_wait(&attempt), "%s", attempt.why);

    cr_expect_str_eq(near.far.authority, "127.0.0.1:8080");
    cr_expect_str_eq(near.far.baggage, "k8s.cluster.name=west");
    cr_expect_str_eq(near.far.forwarded, "for=\"10.0.0.1:4711\"");
    cr_expect_eq(strlen(near.far.traceparent), 55);
    cr_expect_str_eq(near.far.peer_id, ID_A);
    cr_expect_str_eq(attempt.peer_id, ID_B);
    cr_expect_str_eq(attempt.baggage, "k8s.pod.name=pay-1");
    cr_expect(tap_got(near.world.loop, &attempt.tap, 7));
    cr_assert(tap_write_pattern(&attempt.tap, 100000, 10000));
    cr_expect(tap_got(near.world.loop, &near.far.streams[0], 100000));
    cr_expect_eq(near.far.streams[0].n_wrong, 0);
    attempt_end(&attempt);
    near_close(&near);
}

Test(connect, statuses_have_their_reasons)
{
    static const struct {
        const char *status;
        bool body_follows;
        int err;
    } rows[] = {
        {"401", false, -ERR_TUNNEL_DENIED},      {"400", false, -ERR_TUNNEL_BAD_REQUEST},
        {"503", false, -ERR_TUNNEL_UNAVAILABLE}, {"404", false, -ERR_TUNNEL_STATUS},
        {"204", false, -ERR_TUNNEL_STATUS},      {"401", true, -ERR_TUNNEL_DENIED},
        {"503", true, -ERR_TUNNEL_UNAVAILABLE},
    };

    near_open(&near, NULL);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct attempt attempt = {0};
        const struct connect_request request = near_request();
        near.far.status = rows[i].status;
        near.far.body_follows = rows[i].body_follows;
        attempt_start(&attempt, &near, &request);
        cr_expect_not(attempt_wait(&attempt));
        cr_expect_eq(attempt.err, rows[i].err, "%s: %s", rows[i].status, err_label(attempt.err));
        cr_expect_str_eq(attempt.why, rows[i].status);
    }
    cr_expect_eq(near.far.n_accepted, 1, "a refusal does not cost the tunnel");
    near_close(&near);
}

Test(connect, a_server_that_is_another_is_refused)
{
    static const struct str other[] = {STR("spiffe://east.example/ns/shop/sa/other")};
    static const struct str both[] = {STR("spiffe://east.example/ns/shop/sa/other"), STR(ID_B)};
    near_open(&near, NULL);
    struct attempt attempt = {0}, second = {0};
    struct connect_request request = near_request();

    request.expected = other;
    attempt_start(&attempt, &near, &request);
    cr_expect_not(attempt_wait(&attempt));
    cr_expect_eq(attempt.err, -ERR_TLS_IDENTITY);
    cr_expect_not_null(strstr(attempt.why, "pay"), "%s", attempt.why);
    cr_expect_eq(near.far.n_requests, 0, "nothing was asked of it");

    request.expected = both;
    request.n_expected = 2;
    attempt_start(&second, &near, &request);
    cr_expect(attempt_wait(&second), "one of several is enough");
    attempt_end(&second);
    near_close(&near);
}

Test(connect, a_trust_domain_without_a_bundle_is_refused)
{
    near_open(&near, NULL);
    struct attempt attempt = {0};
    const struct connect_request request = near_request();
    struct trust *west = NULL;
    test_trust_add(&west, "west.example", near.world.west);
    near.world.trust_now = west;

    attempt_start(&attempt, &near, &request);

    cr_expect_not(attempt_wait(&attempt));
    cr_expect_eq(attempt.err, -ERR_TLS_TRUST_DOMAIN, "%s", err_label(attempt.err));
    near_close(&near);
    trust_unref(west);
}

Test(connect, a_server_that_does_not_know_us_fails_it_before_a_byte)
{
    near_open(&near, NULL);
    struct attempt attempt = {0};
    const struct connect_request request = near_request();
    struct trust *east = NULL;
    test_trust_add(&east, "east.example", near.world.east);
    near.far.trust = east;

    attempt_start(&attempt, &near, &request);

    cr_expect_not(attempt_wait(&attempt));
    cr_expect(attempt.err == -ERR_TLS || attempt.err == -ERR_RESET, "%s", err_label(attempt.err));
    cr_expect_eq(near.far.n_requests, 0);
    near_close(&near);
    trust_unref(east);
}

Test(connect, an_identity_that_comes_late_is_waited_for)
{
    near_open(&near, NULL);
    struct attempt attempt = {0};
    const struct connect_request request = near_request();
    near.set_now = NULL;

    attempt_start(&attempt, &near, &request);
    run_turns(near.world.loop, 20);
    cr_expect_not(attempt.is_done);
    near.set_now = near.set;

    cr_expect(attempt_wait(&attempt));
    attempt_end(&attempt);
    near_close(&near);
}

Test(connect, an_identity_that_never_comes_is_the_reason)
{
    near_open(&near, NULL);
    struct attempt attempt = {0};
    struct connect_request request = near_request();
    request.identity = STR("spiffe://west.example/ns/shop/sa/nobody");
    request.timeout_ns = 120 * NS_PER_MS;

    attempt_start(&attempt, &near, &request);

    cr_expect_not(attempt_wait(&attempt));
    cr_expect_eq(attempt.err, -ERR_NO_IDENTITY);
    cr_expect_eq(near.far.n_accepted, 0);
    near_close(&near);
}

Test(connect, may_be_cancelled_at_every_stage)
{
    /* Turns until: just asked, dialling, securing, up, answered; the far side answers nothing, so
     * it never is. */
    for (unsigned n_turns = 0; n_turns < 40; n_turns++) {
        near_open(&near, NULL);
        struct attempt attempt = {0};
        const struct connect_request request = near_request();
        near.far.status = NULL;
        attempt_start(&attempt, &near, &request);
        run_turns(near.world.loop, n_turns);

        connect_cancel(attempt.connect);

        run_turns(near.world.loop, 20);
        cr_expect_eq(attempt.n_done, 0, "after %u turns", n_turns);
        near_close(&near);
    }
}

Test(connect, cancelled_while_the_answer_is_awaited_it_resets_the_stream_and_keeps_the_tunnel)
{
    near_open(&near, NULL);
    struct attempt first = {0}, second = {0};
    const struct connect_request request = near_request();
    near.far.status = NULL;
    attempt_start(&first, &near, &request);
    cr_assert(far_has_requests(&near.far, 1));
    stream_resume(near.far.streams[0].stream);

    attempt_end(&first);
    cr_expect(tap_failed(near.world.loop, &near.far.streams[0]));
    near.far.status = "200";
    attempt_start(&second, &near, &request);

    cr_expect(attempt_wait(&second));
    cr_expect_eq(near.far.n_accepted, 1);
    attempt_end(&second);
    near_close(&near);
}

Test(connect, an_answer_that_does_not_come_in_time_retires_the_tunnel_but_not_its_flows)
{
    near_open(&near, NULL);
    struct attempt flowing = {0}, hanging = {0}, next = {0};
    struct connect_request request = near_request();
    attempt_start(&flowing, &near, &request);
    cr_assert(attempt_wait(&flowing));

    near.far.status = NULL;
    request.timeout_ns = 50 * NS_PER_MS;
    attempt_start(&hanging, &near, &request);
    cr_expect_not(attempt_wait(&hanging));
    cr_expect_eq(hanging.err, -ERR_CONNECT_TIMEOUT);
    near.far.status = "200";
    request.timeout_ns = LONG_NS;
    attempt_start(&next, &near, &request);
    cr_expect(attempt_wait(&next));

    cr_expect_eq(near.far.n_accepted, 2, "a fresh tunnel");
    cr_assert(tap_write_pattern(&flowing.tap, 1000, 1000));
    cr_expect(tap_got(near.world.loop, &near.far.streams[0], 1000), "the old one still carries");
    attempt_end(&flowing);
    cr_expect(far_has_lost(&near.far, 1), "and ends with its last stream");
    attempt_end(&next);
    near_close(&near);
}

struct chatter {
    struct timer timer;
    struct tap *tap;
};

static void say_more(struct timer *timer)
{
    struct chatter *chatter = container_of(timer, struct chatter, timer);
    (void)tap_write_pattern(chatter->tap, chatter->tap->n_wrote + 10, 10);
    timer_start(near.world.loop, timer, 5 * NS_PER_MS, say_more);
}

Test(connect, one_that_hangs_does_not_cost_a_tunnel_that_is_plainly_alive)
{
    near_open(&near, NULL);
    struct attempt flowing = {0}, hanging = {0}, next = {0};
    struct connect_request request = near_request();
    attempt_start(&flowing, &near, &request);
    cr_assert(attempt_wait(&flowing));
    struct chatter chatter = {.tap = &near.far.streams[0]};
    timer_start(near.world.loop, &chatter.timer, 1, say_more);

    near.far.status = NULL;
    request.timeout_ns = 100 * NS_PER_MS;
    hanging.beside = &flowing.tap;
    attempt_start(&hanging, &near, &request);
    run_turns(near.world.loop, 3);
    const size_t n_before = flowing.tap.n_got;
    cr_expect_not(attempt_wait(&hanging));
    near.far.status = "200";
    request.timeout_ns = LONG_NS;
    attempt_start(&next, &near, &request);
    cr_expect(attempt_wait(&next));

    const bool was_heard = hanging.n_beside > n_before; /* not if the machine stood still */
    cr_expect_eq(near.far.n_accepted, was_heard ? 1 : near.far.n_accepted);
    timer_stop(&chatter.timer);
    attempt_end(&flowing);
    attempt_end(&next);
    near_close(&near);
}

Test(connect, a_port_that_drops_packets_may_be_a_network_policys)
{
    int fds[4];
    const struct addr hole = black_hole(fds);
    near_open(&near, NULL);
    connector_free(near.connector);
    const struct connector_options options = {
        .tunnel_port = hole.port, .connect_ns = 300 * NS_PER_MS, .handshake_ns = LONG_NS};
    near.connector =
        connector_new(near.world.loop, &options, &near.set_now, &near.world.trust_now, near.meter);
    static const uint64_t timeouts_ns[] = {100 * NS_PER_MS, 300 * NS_PER_MS, LONG_NS};

    for (size_t i = 0; i < ARRAY_LEN(timeouts_ns); i++) {
        bool was_dialled = false;
        while (!was_dialled) { /* in its time, but for a machine that stands still */
            struct attempt attempt = {0};
            struct connect_request request = near_request();
            request.timeout_ns = timeouts_ns[i];
            const uint64_t begun_ns = clock_mono_ns();
            attempt_start(&attempt, &near, &request);
            run_turns(near.world.loop, 2);
            was_dialled = clock_mono_ns() - begun_ns < timeouts_ns[i];
            cr_expect_not(attempt_wait(&attempt));
            cr_expect(attempt.err == -ERR_NETWORK_POLICY || !was_dialled, "row %zu: %s", i,
                      err_label(attempt.err));
        }
    }
    near_close(&near);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

Test(connect, a_handshake_that_hangs_is_no_network_policy)
{
    near_open(&near, NULL);
    struct attempt patient = {0}, attempt = {0};
    struct connect_request request = near_request();
    near.far.is_deaf = true;
    attempt_start(&patient, &near, &request); /* whose dial may take its time */
    cr_assert(run_until_count(near.world.loop, &near.far.n_accepted, 1, PATIENCE_MS));
    run_turns(near.world.loop, 5);
    request.timeout_ns = 100 * NS_PER_MS;

    attempt_start(&attempt, &near, &request);

    cr_expect_not(attempt_wait(&attempt));
    cr_expect_eq(attempt.err, -ERR_CONNECT_TIMEOUT, "%s", err_label(attempt.err));
    cr_expect_eq(near.far.n_accepted, 1);
    attempt_end(&patient);
    near_close(&near);
}

Test(connect, plainly_it_reaches_refuses_and_times_out)
{
    int fds[4];
    const struct addr hole = black_hole(fds), nobody = dead_end();
    near_open(&near, NULL);
    near.far.is_deaf = true; /* a plain TCP server */

    const struct {
        struct addr addr;
        int err;
    } rows[] = {
        {listener_addr(near.far.listener), 0},
        {nobody, -ERR_REFUSED},
        {hole, -ERR_CONNECT_TIMEOUT},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct attempt attempt = {0};
        const bool hangs = rows[i].err == -ERR_CONNECT_TIMEOUT;
        const struct connect_request request = {.addr = rows[i].addr,
                                                .timeout_ns = hangs ? NS_PER_SEC / 4 : LONG_NS};
        attempt_start(&attempt, &near, &request);
        cr_expect_eq(attempt_wait(&attempt), rows[i].err == 0);
        cr_expect_eq(attempt.err, rows[i].err, "row %zu: %s", i, err_label(attempt.err));
        attempt_end(&attempt);
    }
    struct attempt cancelled = {0};
    const struct connect_request request = {.addr = hole, .timeout_ns = LONG_NS};
    attempt_start(&cancelled, &near, &request);
    run_turns(near.world.loop, 5);
    attempt_end(&cancelled);
    cr_expect_eq(cancelled.n_done, 0);
    near_close(&near);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}
