/* Live flows when what is known changes. */
#include <criterion/criterion.h>

#include "hole.h"
#include "proxy/base/clock.h"
#include "proxy/flow/walk.h"
#include "town.h"

TestSuite(recheck, .timeout = 60);

static struct town town;

static void finish(struct town_call *call)
{
    call_end(call);
    cr_expect(town_is_quiet(&town));
}

Test(recheck, a_policy_that_now_denies_cuts_the_live_flow)
{
    for (int same_node = 0; same_node < 2; same_node++) {
        struct town_call call;
        town_open(&town);
        if (same_node) {
            snap_drop(&town.snap, "pay-1");
            town_pay(&town, "pay-1", "n1", PAY1);
            town_learn(&town);
        }
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        cr_assert(call_echoes(&call, 1));

        snap_policy(&town.snap, "others", POLICY_DENY, "west.example/ns/shop/sa/other");
        town_learn(&town);
        cr_expect(call_echoes(&call, 1), "it is about another");
        snap_policy(&town.snap, "cart", POLICY_DENY, "west.example/ns/shop/sa/cart");
        town_learn(&town);
        cr_expect(tap_failed(town.world.loop, &call.tap));
        cr_expect(tap_failed(town.world.loop, &town.served[0]));
        finish(&call);

        cr_expect(LOGGED(&town, "\"why\":\"denied_late\"", "connection closed due to policy change",
                         "\"policy\":\"shop/cart\""));
        town_close(&town);
    }
}

/* A26: shown by policies that change without their mark, as none does that travels. */
Test(recheck, a26_only_flows_whose_policies_changed_are_asked_again)
{
    struct town_call call;
    town_open(&town);
    snap_policy(&town.snap, "p", POLICY_DENY, "west.example/ns/shop/sa/other")->mark = 7;
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&call, 1));

    for (uint64_t mark = 7; mark <= 8; mark++) {
        snap_drop(&town.snap, "shop/p");
        snap_policy(&town.snap, "p", POLICY_DENY, "west.example/ns/shop/sa/cart")->mark = mark;
        town_learn(&town);
        if (mark == 7)
            cr_expect(call_echoes(&call, 1), "it was asked again");
    }

    cr_expect(tap_failed(town.world.loop, &call.tap));
    finish(&call);
    town_close(&town);
}

Test(recheck, a_dry_run_policy_cuts_nothing)
{
    struct town_call call;
    town_open(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&call, 1));

    snap_policy(&town.snap, "trial", POLICY_DENY, NULL)->dry_run = true;
    town_learn(&town);

    cr_expect(call_echoes(&call, 1));
    finish(&call);
    town_close(&town);
}

Test(recheck, plaintext_is_cut_too)
{
    struct town_call call;
    town_open(&town);
    call_start(&call, &town.n2, ARRIVAL_PLAINTEXT, CART, PAY1, town.port);
    cr_assert(call_echoes(&call, 1));

    snap_policy(&town.snap, "cart-only", POLICY_ALLOW, "west.example/ns/shop/sa/cart");
    town_learn(&town);

    cr_expect(tap_failed(town.world.loop, &call.tap));
    finish(&call);
    cr_expect(LOGGED(&town, "\"why\":\"denied_late\""));
    town_close(&town);
}

Test(recheck, a_flow_that_is_still_connecting_is_cut_as_well)
{
    struct town_call call;
    town_open(&town);
    town.set_now = NULL; /* its certificate is awaited */
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    run_turns(town.world.loop, 5);

    snap_drop(&town.snap, "cart");
    town_learn(&town);

    cr_expect(tap_failed(town.world.loop, &call.tap));
    finish(&call);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"workload_gone\""));
    town_close(&town);
}

static unsigned n_rechecked;
static size_t n_left;

static void on_rechecked(struct task *task)
{
    (void)task;
    n_left = walk_flows(town.n1.walk);
    n_rechecked++;
}

/* Its counters are forgotten then. */
Test(recheck, is_over_when_all_flows_of_a_pod_that_left_have_ended)
{
    enum { CALLS = 4 * SWEEP_PIECE };

    static struct town_call calls[CALLS];
    static struct task task = {.run = on_rechecked};
    town_open(&town);
    town.set_now = NULL; /* its certificate is awaited */
    town.n1.rechecked = &task;
    town_walk(&town.n1, &(struct walk_options){0});
    for (int i = 0; i < CALLS; i++)
        call_start(&calls[i], &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert_eq(walk_flows(town.n1.walk), CALLS);

    snap_drop(&town.snap, "cart");
    town_learn(&town);

    cr_expect(run_until_count(town.world.loop, &n_rechecked, 1, 5000));
    cr_expect_eq(n_left, 0);
    for (int i = 0; i < CALLS; i++) {
        cr_expect(tap_failed(town.world.loop, &calls[i].tap));
        call_end(&calls[i]);
    }
    cr_expect(run_until_count(town.world.loop, &n_rechecked, 1, 5000));
    cr_expect_eq(n_rechecked, 1);
    town_close(&town);
}

Test(recheck, flows_of_a_pod_that_left_the_node_end_on_either_side)
{
    static const char *const leavers[] = {"cart", "pay-1"};
    for (size_t i = 0; i < ARRAY_LEN(leavers); i++) {
        struct town_call call;
        town_open(&town);
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        cr_assert(call_echoes(&call, 1));

        snap_drop(&town.snap, leavers[i]);
        town_learn(&town);

        cr_expect(tap_failed(town.world.loop, &call.tap));
        finish(&call);
        cr_expect(LOGGED(&town, "\"why\":\"workload_gone\""), "%s", leavers[i]);
        town_close(&town);
    }
}

Test(recheck, an_address_that_another_identity_has_now_is_not_the_pod_that_called)
{
    struct town_call call;
    town_open(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&call, 1));

    snap_drop(&town.snap, "cart");
    snap_pod(&town.snap, "other", "n1", CART);
    town_learn(&town);

    cr_expect(tap_failed(town.world.loop, &call.tap));
    finish(&call);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"workload_gone\""));
    town_close(&town);
}

Test(recheck, a_verdict_on_an_endpoint_that_failed_does_not_follow_the_flow_to_another)
{
    struct town_call call;
    town_open(&town);
    town_pay(&town, "pay-2", "n1", PAY2); /* here, nearest, and nobody listens */
    town_service(&town);
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_assert(call_echoes(&call, 1), "pay-1 served it");

    snap_drop(&town.snap, "pay-2");
    town_learn(&town);

    cr_expect(call_echoes(&call, 1), "it has nothing to do with pay-2");
    finish(&call);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"dst.workload\":\"pay-1\""));
    town_close(&town);
}

Test(recheck, a_retry_leaves_no_trace_of_the_tunnel_that_was_tried_first)
{
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-2", "n2", PAY2);                                /* nobody listens */
    struct model_workload *plain = town_pay(&town, "pay-1", "n9", PAY1); /* outside the mesh */
    plain->speaks_hbone = false;
    plain->cluster = STR("east"); /* farther */
    town_service(&town);
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_assert(call_echoes(&call, 1));
    finish(&call);

    cr_expect(LOGGED(&town, "\"dst.workload\":\"pay-1\"", "\"mtls\":false", "\"attempts\":2"));
    cr_expect_not(LOGGED(&town, "\"dst.workload\":\"pay-1\"", "hbone_addr"));
    town_close(&town);
}

/* ---- pods that leave while they are asked ---- */

/* pay-2, on cart's node, drops packets; pay-1 serves, far away, where it is not to be alone. */
static void open_holed(struct hole *hole, bool alone)
{
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-2", "n1", PAY2);
    if (!alone)
        town_pay(&town, "pay-1", "n2", PAY1)->region = STR("r2");
    const struct model_service *service = town_service(&town);
    snap_traffic(&town.snap, service)->race_ns = 0;
    town_learn(&town);
    hole_dig(hole, PAY2, town.port);
}

static void leave(void)
{
    cr_expect_eq(walk_flows(town.n1.walk), 1);
    snap_drop(&town.snap, "pay-2");
    town_service(&town);
    town_learn(&town);
}

Test(recheck, a_call_on_its_way_to_a_pod_that_leaves_goes_to_another)
{
    struct hole hole;
    struct town_call call;
    open_holed(&hole, false);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    run_turns(town.world.loop, 5);

    leave();

    cr_expect(call_echoes(&call, 1));
    finish(&call);
    cr_expect_eq(meter_total(METRIC_CONNECT_RETRIES), 1);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"dst.workload\":\"pay-1\"",
                     "\"attempts\":2", "\"mtls\":true"));
    cr_expect_not(LOGGED(&town, "workload_gone"));
    hole_fill(&hole);
    town_close(&town);
}

/* As one of a StatefulSet does. */
Test(recheck, a_call_on_its_way_to_a_pod_that_comes_back_elsewhere_follows_it)
{
    struct hole hole;
    struct town_call call;
    open_holed(&hole, true);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    run_turns(town.world.loop, 5);

    snap_drop(&town.snap, "pay-2");
    town_pay(&town, "pay-2", "n2", PAY1);
    town_service(&town);
    town_learn(&town);

    cr_expect(call_echoes(&call, 1));
    finish(&call);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"attempts\":2", "\"mtls\":true"));
    cr_expect_eq(town_blamed(&town.n1), 0);
    hole_fill(&hole);
    town_close(&town);
}

/* pay-2 leaves, and another has its address at once. */
static void replace(void)
{
    snap_drop(&town.snap, "pay-2");
    snap_pod(&town.snap, "other", "n1", PAY2);
    town_service(&town);
    town_learn(&town);
}

Test(recheck, a_call_on_its_way_to_a_pod_whose_address_another_has_does_not_reach_that)
{
    struct hole hole;
    struct town_call call;
    open_holed(&hole, true);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    run_turns(town.world.loop, 5);

    replace();
    hole_make_room(&hole);

    cr_expect(call_refused(&call));
    finish(&call);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"workload_gone\""));
    hole_fill(&hole);
    town_close(&town);
}

Test(recheck, calls_to_a_pod_whose_address_another_has_are_cut)
{
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-2", "n1", PAY2);
    town_service(&town);
    town_open_second(&town);
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_assert(call_echoes(&call, 1));

    replace();

    cr_expect(tap_failed(town.world.loop, &call.tap));
    finish(&call);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"workload_gone\""));
    town_close(&town);
}

/* Its address is nobody's then, and what is nobody's is passed through; or another service's. */
Test(recheck, a_call_whose_service_vanishes_while_it_is_tried_goes_nowhere_else)
{
    static const bool rows[] = {false, true}; /* is its address another service's? */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct hole hole;
        struct town_call call;
        town_open(&town);
        snap_drop(&town.snap, "pay-1");
        const struct model_service *service = /* at an address where somebody would answer */
            snap_service(&town.snap, "store", PAY1, town.port, town.port);
        snap_serve(&town.snap, town_pay(&town, "pay-2", "n1", PAY2), service);
        town_learn(&town);
        hole_dig(&hole, PAY2, town.port);
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        run_turns(town.world.loop, 5);
        cr_assert_eq(walk_flows(town.n1.walk), 1);

        snap_drop(&town.snap, "pay-2");
        snap_drop(&town.snap, "store.shop.svc.clusterset.local");
        if (rows[i]) {
            service = snap_service(&town.snap, "other", PAY1, town.port, town.port);
            snap_serve(&town.snap, town_pay(&town, "pay-1", "n2", PAY1), service);
        }
        town_learn(&town);

        cr_expect(call_refused(&call), "%zu", i);
        finish(&call);
        cr_expect_eq(town.n_served, 0, "%zu", i);
        cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"workload_gone\""));
        cr_expect_not(LOGGED(&town, "\"attempts\":2"));
        hole_fill(&hole);
        town_close(&town);
    }
}

Test(recheck, a_call_on_its_way_to_the_only_pod_ends_when_that_leaves)
{
    struct hole hole;
    struct town_call call;
    open_holed(&hole, true);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    run_turns(town.world.loop, 5);

    leave();

    cr_expect(call_refused(&call));
    finish(&call);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"workload_gone\""));
    hole_fill(&hole);
    town_close(&town);
}
