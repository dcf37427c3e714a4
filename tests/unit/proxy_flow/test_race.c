#include <criterion/criterion.h>

#include "hole.h"
#include "proxy/base/clock.h"
#include "town.h"

TestSuite(race, .timeout = 60);

#define PAY3 "127.0.0.23"

static struct town town;
static struct traffic_policy policy;

static void finish(struct town_call *call)
{
    call_end(call);
    cr_expect(town_is_quiet(&town));
}

/* ---- the town ---- */

static void add_silent(const char *name, const char *address)
{
    town_pay(&town, name, "n9", address)->speaks_hbone = false;
}

/* The service's policy with another time before a race; what a snapshot holds is only the test's.
 */
static void race_after(uint64_t race_ns)
{
    size_t idx = 0;
    struct str key;
    void *value;
    policy = *traffic_policy_default();
    policy.race_ns = race_ns;
    while (map_next(&town.n1.snapshot->services, &idx, &key, &value))
        ((struct service *)value)->traffic = &policy;
}

/* pay-2 and pay-3, neither of which answers. */
static void open_silent(struct hole *two, struct hole *three, uint64_t race_ns)
{
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    add_silent("pay-2", PAY2);
    add_silent("pay-3", PAY3);
    town_service(&town);
    town_learn(&town);
    race_after(race_ns);
    hole_dig(two, PAY2, town.port);
    hole_dig(three, PAY3, town.port);
}

static bool has_raced(void *ctx)
{
    return meter_total(METRIC_CONNECT_RACES) >= *(const int64_t *)ctx;
}

static bool await_races(int64_t n)
{
    return run_until(town.world.loop, has_raced, &n, PATIENCE_MS);
}

/* Calls until one was overtaken; every call is served. One to pay-1 may be raced too, where the
 * machine is slow, and wins. */
static unsigned call_until_overtaken(void)
{
    unsigned n = 0;
    while (n < 40 && meter_total(METRIC_CONNECT_RACES_WON) == 0) {
        struct town_call call;
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
        cr_assert(call_echoes(&call, ++n), "call %u", n);
        finish(&call);
    }
    return n;
}

Test(race, a_slow_endpoint_is_overtaken_by_another_and_avoided_after)
{
    struct hole hole;
    town_open(&town);
    add_silent("pay-2", PAY2);
    town_service(&town);
    town_learn(&town);
    race_after(20 * NS_PER_MS);
    hole_dig(&hole, PAY2, town.port);

    unsigned n = call_until_overtaken();
    const uint64_t rested_ns = clock_mono_ns() + SUSPECT_MIN_NS;
    const int64_t n_races = meter_total(METRIC_CONNECT_RACES);

    cr_expect_eq(meter_total(METRIC_CONNECT_RACES_WON), 1);
    cr_expect_eq(meter_total(METRIC_CONNECT_RETRIES), 0, "nothing failed");
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"attempts\":2",
                     "\"dst.workload\":\"pay-1\"", "\"why\":\"client_reset\"", "\"mtls\":true"));
    race_after(PATIENCE_MS / 4 * NS_PER_MS); /* whoever is raced now does not answer */
    for (unsigned i = 0; i < 10 && clock_mono_ns() < rested_ns; i++) {
        struct town_call call;
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
        cr_expect(call_echoes(&call, ++n));
        finish(&call);
        cr_expect_eq(meter_total(METRIC_CONNECT_RACES), n_races, "it is suspect now");
    }
    hole_fill(&hole);
    town_close(&town);
}

static bool is_pumping(void *ctx)
{
    struct text flows = {0};
    (void)ctx;
    struct flow_page page = {.state = STR("pumping"), .max = 1};
    walk_page(town.n1.walk, &page, &flows);
    const bool any = flows.len > 0;
    text_fini(&flows);
    return any;
}

/* Whether the only flow is being connected to that pod; a racer's beginning takes another turn. */
static bool is_asking(const char *pod)
{
    struct text flows = {0};
    struct flow_page page = {.state = STR("connecting"), .max = 1};
    walk_page(town.n1.walk, &page, &flows);
    cr_assert_gt(flows.len, 0);
    const bool is = str_contains(text_str(&flows), str_from(pod));
    text_fini(&flows);
    return is;
}

/* The kernel asks a full listener again a second later, or another two. */
Test(race, the_first_may_still_win_and_the_second_is_not_blamed)
{
    struct hole two, three;
    struct town_call call;
    open_silent(&two, &three, 100 * NS_PER_MS);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    struct hole *first = is_asking("pay-2") ? &two : &three;
    cr_expect(await_races(1));
    hole_make_room(first);
    cr_expect(run_until(town.world.loop, is_pumping, NULL, PATIENCE_MS));
    finish(&call);

    cr_expect_eq(meter_total(METRIC_CONNECT_RACES_WON), 0);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"attempts\":2"));
    cr_expect_eq(town_blamed(&town.n1), 0, "nobody is blamed");
    hole_fill(&two);
    hole_fill(&three);
    town_close(&town);
}

/* On one's own node it is known at once who leaves. */
Test(race, one_whose_pod_leaves_is_lost_and_the_other_goes_on)
{
    struct hole two, three;
    struct town_call call;
    open_silent(&two, &three, 0);
    for (int i = 0; i < 2; i++)
        snap_drop(&town.snap, i == 0 ? "pay-2" : "pay-3");
    town_pay(&town, "pay-2", "n1", PAY2);
    town_pay(&town, "pay-3", "n1", PAY3);
    town_service(&town);
    town_learn(&town);
    race_after(5 * NS_PER_MS);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    const bool is_two_first = is_asking("pay-2");
    const char *const first = is_two_first ? "pay-2" : "pay-3";
    const char *const second = is_two_first ? "pay-3" : "pay-2";
    cr_expect(await_races(1));
    cr_expect(is_asking(second));
    snap_drop(&town.snap, second);
    town_learn(&town);
    cr_expect(is_asking(first));
    hole_make_room(is_two_first ? &two : &three);
    cr_expect(run_until(town.world.loop, is_pumping, NULL, PATIENCE_MS));
    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", first, "\"attempts\":2",
                     "\"why\":\"client_reset\""));
    hole_fill(&two);
    hole_fill(&three);
    town_close(&town);
}

static void open_with_silent_only(struct hole *hole, uint64_t race_ns)
{
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    add_silent("pay-2", PAY2);
    town_service(&town);
    town_learn(&town);
    race_after(race_ns);
    hole_dig(hole, PAY2, town.port);
}

/* pay-2, the only one, was on a node that died; pay-1 takes its place. */
Test(race, who_comes_while_the_only_endpoint_is_silent_is_asked)
{
    struct hole hole;
    struct town_call call;
    open_with_silent_only(&hole, NS_PER_MS);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect_not(run_until(town.world.loop, is_pumping, NULL, 20));

    snap_drop(&town.snap, "pay-2");
    town_pay(&town, "pay-1", "n2", PAY1);
    town_service(&town);
    town_learn(&town);
    race_after(NS_PER_MS);

    cr_expect(call_echoes(&call, 1));
    finish(&call);
    cr_expect_eq(meter_total(METRIC_CONNECT_RACES), 1);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"dst.workload\":\"pay-1\"",
                     "\"attempts\":2", "\"mtls\":true"));
    hole_fill(&hole);
    town_close(&town);
}

Test(race, the_last_one_that_is_asked_has_all_the_time_that_is_left)
{
    struct hole two, three;
    struct town_call call;
    open_silent(&two, &three, 20 * NS_PER_MS);
    hole_fill(&three); /* it refuses */
    town_walk(&town.n1, &(struct walk_options){.attempt_ns = 700 * NS_PER_MS});
    for (int i = 0; i < 30; i++) { /* until the silent one is asked first */
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
        if (is_asking("pay-2"))
            break;
        walk_cut_all(town.n1.walk, -ERR_SHUTDOWN);
        finish(&call);
    }

    cr_expect(await_races(1));
    hole_make_room(&two); /* the kernel asks again a second after it asked first */
    cr_expect(run_until(town.world.loop, is_pumping, NULL, PATIENCE_MS));
    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"dst.workload\":\"pay-2\"",
                     "\"attempts\":2", "\"why\":\"client_reset\""));
    hole_fill(&two);
    town_close(&town);
}

/* The same where nobody races: in its place, once an attempt's time is over. */
Test(race, without_races_who_comes_while_the_only_endpoint_is_silent_is_asked_in_its_place)
{
    struct hole hole;
    struct town_call call;
    open_with_silent_only(&hole, 0);
    town_walk(&town.n1, &(struct walk_options){.attempt_ns = 10 * NS_PER_MS,
                                               .connect_ns = 2 * PATIENCE_MS * NS_PER_MS});
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect_not(run_until(town.world.loop, is_pumping, NULL, 50));
    cr_expect(is_asking("pay-2"));

    snap_drop(&town.snap, "pay-2");
    town_pay(&town, "pay-1", "n2", PAY1);
    town_service(&town);
    town_learn(&town);
    race_after(0);

    cr_expect(call_echoes(&call, 1));
    finish(&call);
    cr_expect_eq(meter_total(METRIC_CONNECT_RACES), 0);
    cr_expect_eq(meter_total(METRIC_CONNECT_RETRIES), 1);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"dst.workload\":\"pay-1\"",
                     "\"attempts\":2", "\"mtls\":true"));
    hole_fill(&hole);
    town_close(&town);
}

Test(race, who_fails_while_racing_is_replaced_after_its_rivals_time)
{
    struct hole two, three;
    struct town_call call;
    open_silent(&two, &three, 20 * NS_PER_MS);
    town_walk(&town.n1,
              &(struct walk_options){.attempt_ns = 60 * NS_PER_MS, .connect_ns = 1500 * NS_PER_MS});

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(await_races(1));
    cr_expect(call_refused(&call));
    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"connect_timeout\"",
                     "\"attempts\":2"));
    hole_fill(&two);
    hole_fill(&three);
    town_close(&town);
}

Test(race, what_ends_the_flow_ends_both_attempts)
{
    struct hole two, three;
    struct town_call call;
    open_silent(&two, &three, 5 * NS_PER_MS);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(await_races(1));
    walk_cut_all(town.n1.walk, -ERR_SHUTDOWN);
    cr_expect(call_refused(&call));
    finish(&call);
    cr_expect(LOGGED(&town, "\"why\":\"shutdown\"", "\"attempts\":2"));
    cr_expect_leq(town_blamed(&town.n1), 1,
                  "both leases came back; at most who did not answer before the race is doubted");

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(await_races(2));
    snap_drop(&town.snap, "cart");
    town_learn(&town);
    cr_expect(call_refused(&call));
    finish(&call);
    cr_expect(LOGGED(&town, "\"why\":\"workload_gone\""));
    hole_fill(&two);
    hole_fill(&three);
    town_close(&town);
}

Test(race, there_is_none_without_a_policy_for_it_or_without_another_endpoint)
{
    struct hole hole;
    struct town_call call;
    town_open(&town);
    add_silent("pay-2", PAY2);
    town_service(&town);
    snap_drop(&town.snap, "pay-1");
    town_learn(&town);
    race_after(NS_PER_MS);
    hole_dig(&hole, PAY2, town.port);
    town_walk(&town.n1, &(struct walk_options){.connect_ns = 100 * NS_PER_MS});

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(call_refused(&call));
    finish(&call);
    cr_expect_eq(meter_total(METRIC_CONNECT_RACES), 0, "nobody else is there");

    add_silent("pay-3", PAY3);
    town_service(&town);
    town_learn(&town);
    race_after(0);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    (void)call_refused(&call);
    finish(&call);
    cr_expect_eq(meter_total(METRIC_CONNECT_RACES), 0, "the policy has none");
    hole_fill(&hole);
    town_close(&town);
}
