/* Rests, probation, ejection, slow start, limits. */
#include <criterion/criterion.h>

#include "stage.h"

TestSuite(health, .timeout = 60);

static struct stage stage;

static void open_stage(size_t n)
{
    stage_init(&stage, n);
    stage_level(&stage, LEVEL_ZONE, n);
}

static bool is_drawn(uint64_t key)
{
    bool seen = false;
    for (int i = 0; i < 300; i++)
        seen |= stage_draw(&stage) == key;
    return seen;
}

Test(health, a_failed_connect_rests_its_endpoint_and_one_flow_at_a_time_tries_it_again)
{
    struct lease trial, other;
    open_stage(3);
    stage_fail(&stage, 2, LEASE_FAILED);
    cr_expect_not(is_drawn(2));
    cr_expect_eq(stage_view(&stage, 2).until_ns, stage.now_ns + SUSPECT_MIN_NS);

    stage.now_ns += SUSPECT_MIN_NS;
    cr_assert_eq(stage_cut(&stage, &trial), 0);
    cr_expect_eq(trial.key, 2, "its time is over: the next flow tries it");
    cr_expect_eq(stage_view(&stage, 2).unfit, UNFIT_PROBATION);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(stage_cut(&stage, &other), 0);
        cr_expect_neq(other.key, 2, "one at a time");
        lease_return(stage.balancer, &other, LEASE_SERVED, stage.now_ns);
    }
    lease_return(stage.balancer, &trial, LEASE_FAILED, stage.now_ns);
    cr_expect_eq(stage_view(&stage, 2).until_ns, stage.now_ns + 2 * SUSPECT_MIN_NS, "doubled");

    stage.now_ns += 2 * SUSPECT_MIN_NS;
    cr_assert_eq(stage_cut(&stage, &trial), 0);
    cr_assert_eq(trial.key, 2);
    lease_confirm(stage.balancer, &trial, 1000, stage.now_ns);
    cr_expect_eq(stage_view(&stage, 2).unfit, UNFIT_NOT, "it is forgiven at once");
    lease_return(stage.balancer, &trial, LEASE_SERVED, stage.now_ns);
    cr_expect(is_drawn(2));
    stage_fini(&stage);
}

Test(health, failures_in_a_row_eject_for_longer_each_time)
{
    open_stage(4);
    for (int i = 0; i < 5; i++)
        stage_fail(&stage, 1, LEASE_RESET);
    cr_expect_eq(stage_view(&stage, 1).unfit, UNFIT_EJECTED);
    cr_expect_eq(stage_view(&stage, 1).until_ns, stage.now_ns + 5 * NS_PER_SEC);
    cr_expect_eq(meter_total(METRIC_EJECTIONS), 1);
    stage.now_ns += 5 * NS_PER_SEC;
    stage_fail(&stage, 1, LEASE_RESET);
    cr_expect_eq(stage_view(&stage, 1).unfit, UNFIT_EJECTED, "one bad trial is enough");
    cr_expect_eq(stage_view(&stage, 1).until_ns, stage.now_ns + 10 * NS_PER_SEC);
    stage.now_ns += 10 * NS_PER_SEC;
    cr_expect_eq(stage_draw(&stage), 1);
    cr_expect_eq(stage_view(&stage, 1).unfit, UNFIT_NOT);
    stage_fini(&stage);
}

Test(health, of_few_endpoints_one_may_always_go_and_the_last_never_does)
{
    open_stage(2);
    stage.policy.ejection.max_pct = 10;
    stage_changed(&stage);
    for (int i = 0; i < 5; i++)
        stage_fail(&stage, 1, LEASE_RESET);
    for (int i = 0; i < 20; i++)
        stage_fail(&stage, 2, LEASE_RESET);
    cr_expect_eq(stage_view(&stage, 1).unfit, UNFIT_EJECTED);
    cr_expect_eq(stage_view(&stage, 2).unfit, UNFIT_NOT);
    stage_fini(&stage);
}

Test(health, one_that_fails_too_often_or_answers_too_slowly_is_ejected_at_the_next_look)
{
    for (int slow = 0; slow <= 1; slow++) {
        open_stage(4);
        stage.policy.algorithm = ALGORITHM_ROUND_ROBIN;
        stage.policy.ejection.consecutive_failures = 0;
        stage.policy.ejection.failure_pct = 50;
        stage_changed(&stage);
        (void)stage_draw(&stage);
        stage.now_ns += 2 * NS_PER_SEC;
        (void)stage_draw(&stage); /* a new interval */
        for (int i = 0; i < 400; i++) {
            struct lease lease;
            cr_assert_eq(stage_cut(&stage, &lease), 0);
            const bool is_bad = lease.key == 3;
            if (slow || !is_bad)
                lease_sample(stage.balancer, &lease, (is_bad ? 100 : 10) * NS_PER_MS, stage.now_ns);
            lease_return(stage.balancer, &lease, is_bad && !slow ? LEASE_RESET : LEASE_SERVED,
                         stage.now_ns);
        }
        cr_expect_eq(stage_view(&stage, 3).unfit, UNFIT_NOT);
        stage.now_ns += NS_PER_SEC;
        (void)stage_draw(&stage);
        for (uint64_t key = 1; key <= 4; key++)
            cr_expect_eq(stage_view(&stage, key).unfit, key == 3 ? UNFIT_EJECTED : UNFIT_NOT,
                         "slow %d, endpoint %d", slow, (int)key);
        stage_fini(&stage);
    }
}

Test(health, a_node_that_two_endpoints_were_not_reached_on_rests_all_of_its_own)
{
    open_stage(6);
    for (size_t i = 0; i < 4; i++)
        stage.workloads[i].node = STR("gone");
    stage_changed(&stage);
    stage_fail(&stage, 1, LEASE_NODE_FAILED);
    cr_expect(is_drawn(2), "one pod that is gone is not its node");
    stage_fail(&stage, 2, LEASE_NODE_FAILED);
    for (int i = 0; i < 100; i++)
        cr_expect_geq(stage_draw(&stage), 5);
    stage_fini(&stage);
}

Test(health, one_that_leaves_a_connect_unanswered_is_avoided_until_it_answers)
{
    struct lease slow;
    open_stage(2);
    cr_assert_eq(stage_cut(&stage, &slow), 0);
    const uint64_t key = slow.key;
    stage.now_ns += 250 * NS_PER_MS;
    lease_doubt(stage.balancer, &slow, stage.now_ns);
    cr_expect_eq(stage_view(&stage, key).unfit, UNFIT_SUSPECT);
    cr_expect_not(is_drawn(key));
    lease_confirm(stage.balancer, &slow, 260 * NS_PER_MS, stage.now_ns);
    cr_expect_eq(stage_view(&stage, key).unfit, UNFIT_NOT, "it was slow, not gone");

    lease_return(stage.balancer, &slow, LEASE_SERVED, stage.now_ns);
    stage_fini(&stage);
}

Test(health, one_that_takes_another_connection_meanwhile_is_not_doubted)
{
    struct lease first, second;
    open_stage(1);
    cr_assert_eq(stage_cut(&stage, &first), 0);
    cr_assert_eq(stage_cut(&stage, &second), 0);
    stage.now_ns += 250 * NS_PER_MS;
    lease_confirm(stage.balancer, &first, 1000, stage.now_ns);
    lease_doubt(stage.balancer, &second, stage.now_ns);
    cr_expect_eq(stage_view(&stage, 1).unfit, UNFIT_NOT);
    lease_return(stage.balancer, &first, LEASE_SERVED, stage.now_ns);
    lease_return(stage.balancer, &second, LEASE_UNUSED, stage.now_ns);
    stage_fini(&stage);
}

Test(health, a_retry_leaves_the_level_and_after_silence_the_cluster)
{
    static const struct {
        enum lease_outcome outcome;
        uint64_t key;
    } rows[] = {{LEASE_FAILED, 2}, {LEASE_NODE_FAILED, 3}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct lease lease;
        stage_init(&stage, 3);
        stage_level(&stage, LEVEL_ZONE, 1);
        stage_level(&stage, LEVEL_REGION, 1);
        stage_level(&stage, LEVEL_OTHER_CLUSTER, 1);
        cr_assert_eq(stage_cut(&stage, &lease), 0);
        cr_assert_eq(lease.key, 1);
        stage.tried = (struct tried){.keys = {1}, .len = 1};
        lease_return(stage.balancer, &lease, rows[i].outcome, stage.now_ns);
        cr_assert_eq(stage_cut(&stage, &lease), 0);
        cr_expect_eq(lease.key, rows[i].key, "row %zu: %llu", i, (unsigned long long)lease.key);
        lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
        stage_fini(&stage);
    }
}

/* So many flows whose connects nobody answers for long; they are over then. */
static void meet_silence(unsigned n, size_t level)
{
    struct lease leases[16];
    for (unsigned i = 0; i < n; i++) {
        cr_assert_eq(stage_cut(&stage, &leases[i]), 0);
        cr_assert_eq(stage.endpoints[leases[i].key - 1].level, level, "flow %u", i);
    }
    stage.now_ns += 250 * NS_PER_MS;
    for (unsigned i = 0; i < n; i++) {
        lease_doubt(stage.balancer, &leases[i], stage.now_ns);
        lease_return(stage.balancer, &leases[i], LEASE_FAILED, stage.now_ns);
    }
}

static void open_three_levels(void)
{
    stage_init(&stage, 48);
    stage_level(&stage, LEVEL_ZONE, 16);
    stage_level(&stage, LEVEL_REGION, 16);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 16);
}

Test(health, a_level_that_does_not_answer_is_asked_by_one_flow_at_a_time_and_what_is_beside_it_too)
{
    struct lease asking;
    unsigned n[3];
    open_three_levels();
    meet_silence(4, 0);
    cr_assert_eq(stage_cut(&stage, &asking), 0);
    cr_expect_eq(stage.endpoints[asking.key - 1].level, 1, "the region is asked at once");
    stage_count(&stage, 100, n);
    cr_expect_eq(n[2], 100, "and not trusted before it answers: %u, %u", n[0], n[1]);
    cr_expect(stage_view(&stage, 16).is_level_silent && stage_view(&stage, 32).is_level_silent);
    cr_expect_not(stage_view(&stage, 48).is_level_silent);
    lease_confirm(stage.balancer, &asking, NS_PER_MS, stage.now_ns);
    lease_return(stage.balancer, &asking, LEASE_SERVED, stage.now_ns);
    stage_count(&stage, 100, n);
    cr_expect_eq(n[1], 100, "it has answered");

    stage.now_ns += SUSPECT_MIN_NS;
    cr_assert_eq(stage_cut(&stage, &asking), 0);
    cr_expect_eq(stage.endpoints[asking.key - 1].level, 0, "it is time to ask the zone");
    stage_count(&stage, 100, n);
    cr_expect_eq(n[1], 100, "one is enough");
    lease_confirm(stage.balancer, &asking, NS_PER_MS, stage.now_ns);
    lease_return(stage.balancer, &asking, LEASE_SERVED, stage.now_ns);
    stage_count(&stage, 100, n);
    cr_expect_geq(n[0], 90, "four of its endpoints still rest, or are tried: %u", n[0]);
    stage_fini(&stage);
}

Test(health, what_answers_meanwhile_is_not_silent_and_the_last_level_never_is)
{
    struct lease first;
    unsigned n[3];
    open_three_levels();
    cr_assert_eq(stage_cut(&stage, &first), 0);
    meet_silence(0, 0);
    lease_confirm(stage.balancer, &first, NS_PER_MS, stage.now_ns);
    lease_return(stage.balancer, &first, LEASE_SERVED, stage.now_ns);
    stage.now_ns -= 250 * NS_PER_MS; /* cut before that answer */
    meet_silence(4, 0);
    stage_count(&stage, 100, n);
    cr_expect_eq(n[0], 100);
    stage_fini(&stage);

    open_stage(16);
    meet_silence(4, 0);
    stage_count(&stage, 100, n);
    cr_expect_eq(n[0], 100);
    stage_fini(&stage);
}

Test(health,
     what_is_known_of_a_silent_level_outlives_snapshots_but_not_that_control_says_it_is_back)
{
    unsigned n[3];
    open_three_levels();
    meet_silence(4, 0);
    (void)stage_draw(&stage); /* asks the region */
    stage.endpoints[40].weight = 2;
    stage_changed(&stage);
    stage_count(&stage, 100, n);
    cr_expect_eq(n[0], 0);
    stage_ready(&stage, 0, 0);
    stage_count(&stage, 100, n);
    stage.policy.slow_start_ns = 0;
    stage_ready(&stage, 0, 16);
    stage_count(&stage, 100, n);
    cr_expect_geq(n[0], 90, "%u", n[0]);
    stage_fini(&stage);
}

Test(health, active_checks_take_endpoints_out_and_back)
{
    open_stage(3);
    (void)stage_draw(&stage);
    balancer_set_health(stage.balancer, 77, 1, CHECKED_BAD, stage.now_ns);
    balancer_set_health(stage.balancer, 77, 99, CHECKED_BAD, stage.now_ns); /* nobody */
    balancer_set_health(stage.balancer, 78, 1, CHECKED_BAD, stage.now_ns);
    cr_expect_not(is_drawn(1));
    cr_expect_eq(stage_view(&stage, 1).unfit, UNFIT_CHECK);
    balancer_set_health(stage.balancer, 77, 1, CHECKED_GOOD, stage.now_ns);
    cr_expect(is_drawn(1));
    stage_fini(&stage);
}

Test(health, who_is_new_or_healthy_again_starts_slowly)
{
    unsigned n[3] = {0};
    open_stage(2);
    stage.policy.algorithm = ALGORITHM_RANDOM;
    stage.policy.slow_start_ns = 10 * NS_PER_SEC;
    stage.endpoints[1].is_ready = false;
    stage_changed(&stage);
    (void)stage_draw(&stage);
    stage.endpoints[1].is_ready = true;
    stage_changed(&stage);
    for (int i = 0; i < 11000; i++)
        n[stage_draw(&stage)]++;
    cr_expect(n[2] > 800 && n[2] < 1200, "a tenth of the other's: %u", n[2]);
    stage.now_ns += 10 * NS_PER_SEC;
    n[2] = 0;
    for (int i = 0; i < 10000; i++)
        n[stage_draw(&stage)]++;
    cr_expect(n[2] > 4700 && n[2] < 5300, "%u", n[2]);
    stage_fini(&stage);
}

Test(health, a_level_that_comes_back_gets_its_traffic_back_over_the_slow_start)
{
    unsigned n[2], last = 0;
    stage_init(&stage, 8);
    stage.policy.slow_start_ns = 10 * NS_PER_SEC;
    stage_level(&stage, LEVEL_CLUSTER, 4);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 4);
    stage_ready(&stage, 0, 0);
    stage_count(&stage, 100, n);
    cr_expect_eq(n[0], 0);
    stage_ready(&stage, 0, 4);
    for (int second = 0; second <= 10; second++) {
        stage_count(&stage, 2000, n);
        cr_expect(n[0] + 100 > last, "it only grows");
        cr_expect(n[0] < last + 500, "and not at once: %u after %u", n[0], last);
        last = n[0];
        stage.now_ns += NS_PER_SEC;
    }
    cr_expect_eq(last, 2000);
    stage_fini(&stage);
}

/* As in a drill: the near level is not in the set while it lasts. */
static void take_out_near(const struct hidden_endpoint *hidden, size_t n)
{
    stage.set.hidden = hidden;
    stage.set.n_hidden = n;
    stage.set.endpoints = stage.endpoints + n;
    stage.set.levels = &stage.levels[1];
    stage.set.len -= n;
    stage.set.n_levels = 1;
    stage.levels[1].start = stage.levels[1].rank = 0;
    for (size_t i = 0; i < stage.set.len; i++)
        stage.endpoints[n + i].level = 0;
    stage_changed(&stage);
}

static void put_back_near(size_t n)
{
    stage.set.n_hidden = 0;
    stage.set.endpoints = stage.endpoints;
    stage.set.levels = stage.levels;
    stage.set.len += n;
    stage.set.n_levels = 2;
    stage.levels[1].start = n;
    stage.levels[1].rank = 1;
    for (size_t i = n; i < stage.set.len; i++)
        stage.endpoints[i].level = 1;
    stage_changed(&stage);
}

Test(health, who_was_kept_out_by_the_policy_alone_is_not_new_when_it_is_back)
{
    unsigned n[2];
    stage_init(&stage, 4);
    stage.policy.slow_start_ns = 10 * NS_PER_SEC;
    stage_level(&stage, LEVEL_CLUSTER, 2);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 2);
    stage_count(&stage, 100, n);
    cr_assert_eq(n[0], 100);
    const struct hidden_endpoint hidden[] = {{.key = 1}, {.key = 2}};
    take_out_near(hidden, 2);
    cr_expect_gt(stage_draw(&stage), 2);
    stage.endpoints[2].weight = 2; /* and something else changes meanwhile */
    stage_changed(&stage);
    cr_expect_gt(stage_draw(&stage), 2);
    put_back_near(2);
    stage_count(&stage, 1000, n);
    cr_expect_eq(n[0], 1000);

    const struct hidden_endpoint one_died[] = {{.key = 1}, {.key = 0}};
    take_out_near(one_died, 2);
    cr_expect_gt(stage_draw(&stage), 2);
    put_back_near(2);
    stage_count(&stage, 1000, n);
    cr_expect(n[0] > 700 && n[0] < 840, "half of it is new, 140 %% of 55 %%: %u", n[0]);
    stage_fini(&stage);
}

Test(health, limits_refuse_with_their_own_reason)
{
    struct lease leases[6], more = {0};
    open_stage(2);
    stage.policy.limits.endpoint_max_connections = 2;
    stage_changed(&stage);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(stage_cut(&stage, &leases[i]), 0);
    cr_expect_eq(stage_view(&stage, 1).unfit, UNFIT_FULL);
    cr_expect_eq(stage_cut(&stage, &more), -ERR_CIRCUIT_OPEN);
    stage.policy.limits.endpoint_max_connections = 0;
    stage.policy.limits.max_connections = 5;
    stage_changed(&stage);
    cr_assert_eq(stage_cut(&stage, &leases[4]), 0);
    cr_expect_eq(stage_cut(&stage, &more), -ERR_CIRCUIT_OPEN);
    stage.policy.limits.max_connections = 0;
    stage.policy.limits.max_pending = 5;
    stage_changed(&stage);
    cr_expect_eq(stage_cut(&stage, &more), -ERR_CIRCUIT_OPEN, "five are not connected yet");
    lease_confirm(stage.balancer, &leases[0], 1000, stage.now_ns);
    cr_assert_eq(stage_cut(&stage, &leases[5]), 0);
    cr_expect_eq(meter_total(METRIC_CIRCUIT_OVERFLOWS), 3);
    for (int i = 0; i < 6; i++)
        lease_return(stage.balancer, &leases[i], LEASE_SERVED, stage.now_ns);
    stage_fini(&stage);
}

Test(health, a_single_endpoint_that_is_full_is_told_as_full)
{
    struct lease lease, more = {0};
    open_stage(1);
    stage.policy.limits.endpoint_max_connections = 1;
    stage_changed(&stage);
    cr_assert_eq(stage_cut(&stage, &lease), 0);
    cr_expect_eq(stage_cut(&stage, &more), -ERR_CIRCUIT_OPEN);
    lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
    stage_fini(&stage);
}

Test(health, retries_beyond_the_budget_are_refused)
{
    struct lease leases[3], more;
    open_stage(10);
    stage.policy.limits.retry_min_concurrent = 3;
    stage_changed(&stage);
    stage.tried = (struct tried){{1}, 1};
    for (int i = 0; i < 3; i++)
        cr_assert_eq(stage_cut(&stage, &leases[i]), 0);
    cr_expect_eq(stage_cut(&stage, &more), -ERR_RETRY_BUDGET);
    lease_confirm(stage.balancer, &leases[0], 1000, stage.now_ns);
    cr_expect_neq(stage_draw(&stage), 0, "one is no longer in progress");
    for (int i = 0; i < 3; i++)
        lease_return(stage.balancer, &leases[i], LEASE_SERVED, stage.now_ns);
    stage_fini(&stage);
}
