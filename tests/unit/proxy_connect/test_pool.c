#include <criterion/criterion.h>

#include "far.h"
#include "proxy/base/clock.h"
#include "proxy/connect/http_pool.h"
#include "proxy/io/sweep.h"
#include "tests/kit/hogs.h"

TestSuite(pool, .timeout = 60);

static struct near near;
static struct attempt attempts[FAR_STREAMS_MAX];

static bool has_no_tunnel(void *ctx)
{
    (void)ctx;
    return pool_tunnels(connector_pool(near.connector)) == 0;
}

Test(pool, three_requests_one_after_another_share_one_tunnel)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();

    for (int i = 0; i < 3; i++) {
        attempt_start(&attempts[i], &near, &request);
        cr_assert(attempt_wait(&attempts[i]));
        attempt_end(&attempts[i]);
    }

    cr_expect_eq(near.far.n_requests, 3);
    cr_expect_eq(near.far.n_accepted, 1);
    cr_expect_eq(pool_tunnels(connector_pool(near.connector)), 1);
    cr_expect_eq(meter_total(METRIC_TUNNELS_OPENED), 1);
    near_close(&near);
}

Test(pool, a_server_that_is_dialled_again_is_remembered)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();

    for (unsigned i = 0; i < 3; i++) {
        attempt_start(&attempts[i], &near, &request);
        cr_assert(attempt_wait(&attempts[i]), "%s", attempts[i].why);
        cr_expect_eq(meter_total(METRIC_PEERS_RECALLED), i);
        attempt_end(&attempts[i]);
        far_kill(&near.far, i);
        cr_assert(run_until(near.world.loop, has_no_tunnel, NULL, PATIENCE_MS));
    }

    cr_expect_eq(near.far.n_accepted, 3);
    near_close(&near);
}

Test(pool, more_streams_than_a_tunnel_holds_get_more_tunnels)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();

    for (int i = 0; i < 250; i++)
        attempt_start(&attempts[i], &near, &request);
    for (int i = 0; i < 250; i++)
        cr_assert(attempt_wait(&attempts[i]), "%d: %s", i, err_label(attempts[i].err));

    cr_expect_eq(near.far.n_requests, 250);
    cr_expect_eq(near.far.n_accepted, 3);
    for (int i = 0; i < 250; i++)
        attempt_end(&attempts[i]);
    near_close(&near);
}

Test(pool, a_peer_that_allows_few_streams_has_more_tunnels_when_callers_ask_again)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    near.far.h2.max_concurrent_streams = 2;
    attempt_start(&attempts[0], &near, &request); /* with it comes the peer's limit */
    cr_assert(attempt_wait(&attempts[0]));
    run_turns(near.world.loop, 20);

    for (int i = 1; i < 10; i++) {
        attempts[i].n_again = 4;
        attempt_start(&attempts[i], &near, &request);
    }
    for (int i = 1; i < 10; i++)
        cr_expect(attempt_wait(&attempts[i]), "%d: %s", i, err_label(attempts[i].err));

    for (int i = 0; i < 10; i++)
        attempt_end(&attempts[i]);
    near_close(&near);
}

Test(pool, each_source_destination_and_expectation_has_tunnels_of_its_own)
{
    static const struct str two[] = {STR(ID_B), STR("spiffe://east.example/ns/shop/sa/other")};
    near_open(&near, NULL);
    struct tls_identity *other =
        world_identity(near.world.west, "spiffe://west.example/ns/shop/sa/other");
    tls_set_add(near.set, other);
    struct connect_request requests[3];
    for (int i = 0; i < 3; i++)
        requests[i] = near_request();
    requests[1].identity = STR("spiffe://west.example/ns/shop/sa/other");
    requests[2].expected = two;
    requests[2].n_expected = 2;

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            struct attempt *attempt = &attempts[round * 3 + i];
            attempt_start(attempt, &near, &requests[i]);
            cr_assert(attempt_wait(attempt));
            cr_expect_str_eq(attempt->peer_id, ID_B);
        }
    }

    cr_expect_eq(near.far.n_accepted, 3);
    for (int i = 0; i < 6; i++)
        attempt_end(&attempts[i]);
    near_close(&near);
    tls_identity_unref(other);
}

Test(pool, after_a_goaway_the_next_request_has_a_new_tunnel_and_old_streams_go_on)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    attempt_start(&attempts[0], &near, &request);
    cr_assert(attempt_wait(&attempts[0]));

    far_drain(&near.far, 0);
    run_turns(near.world.loop, 30);
    attempt_start(&attempts[1], &near, &request);
    cr_expect(attempt_wait(&attempts[1]), "%s", err_label(attempts[1].err));

    cr_expect_eq(near.far.n_accepted, 2);
    cr_assert(tap_write_pattern(&attempts[0].tap, 1000, 1000));
    cr_expect(tap_got(near.world.loop, &near.far.streams[0], 1000));
    attempt_end(&attempts[0]);
    cr_expect(far_has_lost(&near.far, 1), "the drained tunnel ends with its last stream");
    attempt_end(&attempts[1]);
    near_close(&near);
}

Test(pool, requests_that_race_a_goaway_are_not_lost)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    attempt_start(&attempts[0], &near, &request);
    cr_assert(attempt_wait(&attempts[0]));

    far_drain(&near.far, 0);
    for (int i = 1; i < 30; i++) {
        attempts[i].n_again = 1; /* refused before it was handled: the caller asks again */
        attempt_start(&attempts[i], &near, &request);
        loop_turn(near.world.loop, false);
    }
    for (int i = 1; i < 30; i++)
        cr_expect(attempt_wait(&attempts[i]), "%d: %s", i, err_label(attempts[i].err));

    for (int i = 0; i < 30; i++)
        attempt_end(&attempts[i]);
    near_close(&near);
}

Test(pool, a_tunnel_that_cannot_be_made_fails_all_who_wait_and_those_who_ask_again_wait_anew)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    const struct addr nobody = dead_end();
    connector_free(near.connector);
    const struct connector_options options = {
        .tunnel_port = nobody.port, .connect_ns = LONG_NS, .handshake_ns = LONG_NS};
    near.connector =
        connector_new(near.world.loop, &options, &near.set_now, &near.world.trust_now, near.meter);

    for (unsigned i = 0; i < 20; i++) {
        attempts[i].n_again = i % 4;
        attempt_start(&attempts[i], &near, &request);
    }
    for (unsigned i = 0; i < 20; i++) {
        cr_expect_not(attempt_wait(&attempts[i]));
        cr_expect_eq(attempts[i].err, -ERR_REFUSED, "%s", err_label(attempts[i].err));
        cr_expect_eq(attempts[i].n_done, i % 4 + 1);
    }

    cr_expect_eq(pool_tunnels(connector_pool(near.connector)), 0);
    near_close(&near);
}

Test(pool, a_tunnel_that_dies_fails_its_streams_and_a_new_one_is_made)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    near.far.status = NULL;
    for (int i = 0; i < 5; i++)
        attempt_start(&attempts[i], &near, &request);
    cr_assert(far_has_requests(&near.far, 5));

    far_kill(&near.far, 0);
    for (int i = 0; i < 5; i++) {
        cr_expect_not(attempt_wait(&attempts[i]));
        cr_expect_lt(attempts[i].err, 0);
    }
    near.far.status = "200";
    attempt_start(&attempts[5], &near, &request);

    cr_expect(attempt_wait(&attempts[5]));
    cr_expect_eq(near.far.n_accepted, 2);
    attempt_end(&attempts[5]);
    near_close(&near);
}

Test(pool, tunnels_of_an_identity_that_left_take_nothing_new)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    attempt_start(&attempts[0], &near, &request);
    cr_assert(attempt_wait(&attempts[0]));

    pool_retire_identity(connector_pool(near.connector), STR("spiffe://west.example/ns/shop/sa/x"));
    attempt_start(&attempts[1], &near, &request);
    cr_assert(attempt_wait(&attempts[1]));
    cr_expect_eq(near.far.n_accepted, 1, "another's identity is another's matter");
    pool_retire_identity(connector_pool(near.connector), STR(ID_A));
    attempt_start(&attempts[2], &near, &request);
    cr_assert(attempt_wait(&attempts[2]));

    cr_expect_eq(near.far.n_accepted, 2);
    for (int i = 0; i < 3; i++)
        attempt_end(&attempts[i]);
    near_close(&near);
}

Test(pool, a_renewed_certificate_is_used_for_the_tunnels_that_come)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    attempt_start(&attempts[0], &near, &request);
    cr_assert(attempt_wait(&attempts[0]));
    struct tls_identity *renewed = world_identity(near.world.west, ID_A);
    struct tls_set *next = tls_set_new(2, near.world.trust);
    tls_set_add(next, renewed);
    tls_identity_unref(renewed);

    near.set_now = next;
    tls_set_free(near.set);
    near.set = next;
    far_drain(&near.far, 0);
    run_turns(near.world.loop, 30);
    attempt_start(&attempts[1], &near, &request);

    cr_expect(attempt_wait(&attempts[1]));
    cr_expect_eq(near.far.n_accepted, 2);
    attempt_end(&attempts[0]);
    attempt_end(&attempts[1]);
    near_close(&near);
}

Test(pool, a_thousand_at_once_stay_within_a_bounded_number_of_tunnels)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    near.far.h2.max_concurrent_streams = 3; /* a peer that gives little */
    for (unsigned i = 0; i < 380; i++)
        attempt_start(&attempts[i], &near, &request);
    for (unsigned i = 0; i < 380; i++) {
        (void)attempt_wait(&attempts[i]);
        attempt_end(&attempts[i]);
        cr_assert_leq(pool_tunnels(connector_pool(near.connector)), POOL_TUNNELS_PER_KEY);
    }
    near_close(&near);
}

Test(pool, retired_tunnels_that_still_carry_flows_do_not_use_up_the_bound)
{
    near_open(&near, NULL);
    struct connect_request request = near_request();
    const unsigned n = POOL_TUNNELS_PER_KEY + 20;

    for (unsigned i = 0; i < n;
         i++) { /* a flow that stays, then one that hangs and retires the tunnel */
        struct attempt hanging = {0};
        near.far.status = "200";
        request.timeout_ns = LONG_NS;
        attempt_start(&attempts[i], &near, &request);
        cr_assert(attempt_wait(&attempts[i]), "%u: %s", i, err_label(attempts[i].err));
        run_turns(near.world.loop, 10);
        near.far.status = NULL;
        request.timeout_ns = 10 * NS_PER_MS;
        attempt_start(&hanging, &near, &request);
        cr_assert_not(attempt_wait(&hanging));
    }

    cr_expect_gt(near.far.n_accepted, POOL_TUNNELS_PER_KEY);
    for (unsigned i = 0; i < n; i++)
        attempt_end(&attempts[i]);
    near_close(&near);
}

Test(pool, R4_a_removed_root_cuts_the_tunnels_that_rest_on_it)
{
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    struct pool *pool = connector_pool(near.connector);
    struct trust *without = NULL;
    struct text why = {0};
    attempt_start(&attempts[0], &near, &request);
    cr_assert(attempt_wait(&attempts[0]));

    pool_recheck_trust(pool);
    cr_expect_eq(pool_tunnels(pool), 1, "nothing was removed");
    cr_assert_eq(trust_with(near.world.trust, STR("east.example"), STR(""), &without, &why), 0);
    near.world.trust_now = without;
    pool_recheck_trust(pool);

    cr_expect_eq(pool_tunnels(pool), 0);
    cr_expect_eq(meter_total(METRIC_TUNNELS_CUT), 1);
    cr_assert(tap_failed(near.world.loop, &attempts[0].tap));
    cr_expect_eq(attempts[0].tap.err, -ERR_TRUST_REMOVED);
    cr_assert(run_until_count(near.world.loop, &near.far.n_lost, 1, PATIENCE_MS));
    cr_expect_not_null(strstr(near.far.lost_why, "INADEQUATE_SECURITY"), "%s", near.far.lost_why);
    attempt_end(&attempts[0]);
    near_close(&near);
    trust_unref(without);
}

/* ---- more tunnels than there is time for in a turn */

enum { MANY = 4 * SWEEP_PIECE };

static struct hogs hogs;

static struct connect_request many_request(int i, struct str expected[2], char other[48])
{
    struct connect_request request = near_request();
    (void)snprintf(other, 48, "spiffe://east.example/ns/shop/sa/pay%d", i);
    expected[0] = STR(ID_B);
    expected[1] = str_from(other);
    request.expected = expected;
    request.n_expected = 2;
    return request;
}

/* Each expects something else, so that each has a tunnel of its own. */
static void start_one_of_many(int slot, int i)
{
    static struct str expected[MANY + 1][2];
    static char others[MANY + 1][48];
    const struct connect_request request = many_request(i, expected[slot], others[slot]);
    attempt_start(&attempts[slot], &near, &request);
}

static uint64_t changed_ns;

static void change_trust(void *ctx)
{
    changed_ns = clock_mono_ns();
    near.world.trust_now = ctx;
    pool_recheck_trust(connector_pool(near.connector));
    start_one_of_many(MANY, MANY - 1);
}

Test(pool, R4_of_many_tunnels_none_is_given_away_before_it_was_looked_at)
{
    struct trust *without = NULL;
    struct text why = {0};
    near_open(&near, NULL);
    struct pool *pool = connector_pool(near.connector);
    for (int i = 0; i < MANY; i++) {
        start_one_of_many(i, i);
        cr_assert(attempt_wait(&attempts[i]));
    }
    cr_assert_eq(pool_tunnels(pool), MANY);
    cr_assert_eq(trust_with(near.world.trust, STR("east.example"), STR(""), &without, &why), 0);

    hogs_bring(&hogs, near.world.loop, change_trust, without);
    cr_expect(pool_tunnels(pool) == MANY - SWEEP_PIECE - 1 + 1 ||
                  clock_mono_ns() - changed_ns >= TRUST_SWEEP_NS, /* the machine stood still */
              "%zu: but for one that was asked for, with another in its place", pool_tunnels(pool));
    cr_expect_not(attempt_wait(&attempts[MANY]));
    cr_expect_eq(attempts[MANY].err, -ERR_TLS_TRUST_DOMAIN, "it was another tunnel's handshake: %s",
                 err_label(attempts[MANY].err));

    cr_expect(tap_write_pattern(&attempts[MANY - 2].tap, 1000, 1000));
    cr_assert(tap_failed(near.world.loop, &attempts[MANY - 2].tap));
    cr_expect_eq(attempts[MANY - 2].tap.err, -ERR_TRUST_REMOVED);
    for (unsigned i = 0; i < near.far.n_requests; i++)
        cr_expect_eq(near.far.streams[i].n_got, 0, "%u", i);
    cr_expect(run_until(near.world.loop, has_no_tunnel, NULL, PATIENCE_MS));
    cr_expect_eq(meter_total(METRIC_TUNNELS_CUT), MANY);
    hogs_send_away(&hogs);
    for (int i = 0; i <= MANY; i++)
        attempt_end(&attempts[i]);
    near_close(&near);
    trust_unref(without);
}

static struct http_link *kept;

static void keep_link(void *owner, int err, const struct upstream *upstream, struct str why)
{
    (void)why;
    cr_assert_eq(err, 0);
    kept = http_pool_add(connector_http_pool(near.connector), owner, upstream);
}

static bool has_link(void *ctx)
{
    (void)ctx;
    return kept != NULL;
}

Test(pool, R4_no_exchange_begins_on_a_link_through_a_tunnel_that_does_not_stand)
{
    struct http_link_key key = {.service = STR("web"), .through_tunnel = true};
    struct trust *without = NULL;
    struct text why = {0};
    near_open(&near, NULL);
    const struct connect_request request = near_request();
    struct http_pool *pool = connector_http_pool(near.connector);
    (void)connect_start(near.connector, &request, keep_link, &key);
    cr_assert(run_until(near.world.loop, has_link, NULL, PATIENCE_MS));
    cr_assert_eq(trust_with(near.world.trust, STR("east.example"), STR(""), &without, &why), 0);

    cr_expect_eq(http_pool_find(pool, &key), kept);
    near.world.trust_now = without;
    cr_expect_null(http_pool_find(pool, &key));

    pool_recheck_trust(connector_pool(near.connector));
    cr_expect(run_until(near.world.loop, has_no_tunnel, NULL, PATIENCE_MS));
    cr_expect_eq(http_pool_links(pool), 0);
    near_close(&near);
    trust_unref(without);
}
