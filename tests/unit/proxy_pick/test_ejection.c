/*
 * Outliers through the whole balancer, in virtual time: who is ejected by which rule, how many at
 * once, and how they come back. The thresholds alone are proxy_balance/test_outlier.c's.
 */
#include <criterion/criterion.h>

#include "stage.h"

TestSuite(ejection, .timeout = 60);

static struct stage stage;

#define INTERVAL_NS NS_PER_SEC

/* Round robin among n endpoints in one level, with nothing but what a test turns on. */
static void open_stage(size_t n)
{
    stage_init(&stage, n);
    stage_level(&stage, LEVEL_ZONE, n);
    stage.policy.algorithm = ALGORITHM_ROUND_ROBIN;
    stage.policy.slow_start_ns = 0;
    stage.policy.ejection = (struct ejection){.is_on = true,
                                              .interval_ns = INTERVAL_NS,
                                              .base_ns = 5 * NS_PER_SEC,
                                              .max_ns = 60 * NS_PER_SEC,
                                              .max_pct = 100};
    stage_changed(&stage);
    (void)stage_draw(&stage); /* the set is in use: the first interval begins */
    stage.now_ns += INTERVAL_NS;
    (void)stage_draw(&stage);
}

struct conduct { /* of one endpoint */
    uint64_t key;
    unsigned bad_of_100;
    uint64_t latency_ns;
};

static const struct conduct *conduct_of(const struct conduct *conducts, size_t n, uint64_t key)
{
    for (size_t i = 0; i < n; i++)
        if (conducts[i].key == key)
            return &conducts[i];
    return NULL;
}

/* Flows until each endpoint that is drawn had about n of them; the next look is due behind that.
 * Failures are spread evenly. */
static void live(unsigned n_each, const struct conduct *conducts, size_t n_conducts)
{
    unsigned n_flows[1000] = {0};
    cr_assert_lt(stage.set.len, ARRAY_LEN(n_flows));
    for (size_t i = 0; i < n_each * stage.set.len; i++) {
        struct lease lease;
        cr_assert_eq(stage_cut(&stage, &lease), 0);
        const struct conduct *conduct = conduct_of(conducts, n_conducts, lease.key);
        const unsigned n = n_flows[lease.key]++;
        const unsigned bad = conduct ? conduct->bad_of_100 : 0;
        const bool is_bad = (n + 1) * bad / 100 > n * bad / 100;
        if (!is_bad)
            lease_sample(stage.balancer, &lease,
                         conduct && conduct->latency_ns ? conduct->latency_ns : 10 * NS_PER_MS,
                         stage.now_ns);
        lease_return(stage.balancer, &lease, is_bad ? LEASE_RESET : LEASE_SERVED, stage.now_ns);
    }
    stage.now_ns += INTERVAL_NS;
    (void)stage_draw(&stage);
}

static void expect_ejected(const char *name, const uint64_t *keys, size_t n, enum rest_cause cause)
{
    for (uint64_t key = 1; key <= stage.set.len; key++) {
        bool is_one = false;
        for (size_t i = 0; i < n; i++)
            is_one |= keys[i] == key;
        const struct member_view view = stage_view(&stage, key);
        cr_expect_eq(view.unfit, is_one ? UNFIT_EJECTED : UNFIT_NOT, "%s: endpoint %d is %s", name,
                     (int)key, unfit_name(view.unfit));
        if (is_one) {
            cr_expect_eq(view.cause, cause, "%s: %s", name, rest_cause_text(view.cause));
            cr_expect_eq(view.until_ns, stage.now_ns + 5 * NS_PER_SEC, "%s", name);
        }
    }
}

/* Lives one interval as the policy has it, with one endpoint that conducts itself otherwise: is it
 * ejected, for that cause, and nobody else? Ends the stage. */
static void expect_judged(const char *name, unsigned n_each, const struct conduct *conduct,
                          bool is_ejected, enum rest_cause cause)
{
    stage_changed(&stage);
    live(n_each, conduct, 1);
    expect_ejected(name, &conduct->key, is_ejected, cause);
    stage_fini(&stage);
}

/* Envoy's vector (outlier_detection_impl_test.cc): rates 50, 100, 100, 100, 100 have the threshold
 * 52 at a factor of 1.9. */
Test(ejection, a_success_rate_far_below_the_others_ejects_as_envoys_vector_says)
{
    static const struct {
        const char *name;
        uint32_t stdev_permille, min_hosts, min_volume;
        unsigned bad_of_100, n_each;
        bool is_ejected;
    } rows[] = {
        {"50 is under 52", 1900, 5, 100, 50, 110, true},
        {"with a factor of 2.1 the threshold is 48", 2100, 5, 100, 50, 110, false},
        {"six hosts are wanted", 1900, 6, 100, 50, 110, false},
        {"too few calls", 1900, 5, 1000, 50, 110, false},
        {"off", 0, 5, 100, 50, 110, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct conduct bad = {.key = 3, .bad_of_100 = rows[i].bad_of_100};
        open_stage(5);
        stage.policy.ejection.success_rate_stdev_permille = rows[i].stdev_permille;
        stage.policy.ejection.success_rate_min_hosts = rows[i].min_hosts;
        stage.policy.ejection.success_rate_min_volume = rows[i].min_volume;
        expect_judged(rows[i].name, rows[i].n_each, &bad, rows[i].is_ejected, REST_SUCCESS_RATE);
    }
}

/* Envoy ejects at the threshold; gRPC (A50) above it. */
Test(ejection, a_failure_percentage_ejects_from_its_threshold_on)
{
    static const struct {
        const char *name;
        unsigned bad_of_100, n_each;
        uint32_t min_hosts, min_volume;
        bool is_ejected;
    } rows[] = {
        {"85 of 85", 85, 100, 3, 50, true},
        {"84 of 85", 84, 100, 3, 50, false},
        {"five hosts are wanted", 85, 100, 5, 50, false},
        {"too few calls", 85, 40, 3, 50, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct conduct bad = {.key = 2, .bad_of_100 = rows[i].bad_of_100};
        open_stage(4);
        stage.policy.ejection.failure_pct = 85;
        stage.policy.ejection.failure_pct_min_hosts = rows[i].min_hosts;
        stage.policy.ejection.failure_pct_min_volume = rows[i].min_volume;
        expect_judged(rows[i].name, rows[i].n_each, &bad, rows[i].is_ejected, REST_FAILURE_RATE);
    }
}

Test(ejection, a_latency_beyond_the_factor_of_the_median_ejects)
{
    static const struct {
        const char *name;
        uint64_t latency_ns;
        unsigned n_each;
        uint32_t min_hosts, min_volume;
        bool is_ejected;
    } rows[] = {
        {"just over five times", 51 * NS_PER_MS, 10, 3, 5, true},
        {"five times", 50 * NS_PER_MS, 10, 3, 5, false},
        {"five hosts are wanted", 500 * NS_PER_MS, 10, 5, 5, false},
        {"too few answers", 500 * NS_PER_MS, 10, 3, 50, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct conduct slow = {.key = 4, .latency_ns = rows[i].latency_ns};
        open_stage(4);
        stage.policy.ejection.latency_factor_pct = 500;
        stage.policy.ejection.latency_min_hosts = rows[i].min_hosts;
        stage.policy.ejection.latency_min_volume = rows[i].min_volume;
        expect_judged(rows[i].name, rows[i].n_each, &slow, rows[i].is_ejected, REST_LATENCY);
    }
}

/* How many may go of a level; Envoy's own rule never ejects anybody from fewer than ten at 10 %. */
Test(ejection, of_each_level_no_more_go_than_its_cap_and_one_always_may)
{
    static const struct {
        size_t n;
        uint32_t max_pct;
        size_t may;
    } rows[] = {{3, 10, 1},  {9, 10, 1},  {9, 0, 1},   {9, 33, 2},  {9, 34, 3},
                {9, 100, 8}, {10, 10, 1}, {10, 50, 5}, {2, 100, 1}, {1, 100, 0}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n_ejected = 0;
        open_stage(rows[i].n);
        stage.policy.ejection.consecutive_failures = 5;
        stage.policy.ejection.max_pct = rows[i].max_pct;
        stage_changed(&stage);
        for (size_t j = 0; j < 40 * rows[i].n; j++) {
            struct lease lease;
            cr_assert_eq(stage_cut(&stage, &lease), 0);
            lease_return(stage.balancer, &lease, LEASE_RESET, stage.now_ns);
        }
        for (uint64_t key = 1; key <= rows[i].n; key++)
            n_ejected += stage_view(&stage, key).unfit == UNFIT_EJECTED;
        cr_expect_eq(n_ejected, rows[i].may, "%zu endpoints, at most %u %%: %zu", rows[i].n,
                     rows[i].max_pct, n_ejected);
        stage_fini(&stage);
    }
}

Test(ejection, the_last_fit_one_stays_whatever_the_unready_ones_would_leave_of_the_cap)
{
    open_stage(3);
    stage.policy.ejection.consecutive_failures = 5;
    stage_ready(&stage, 0, 1);
    for (size_t i = 0; i < 40; i++) {
        struct lease lease;
        cr_assert_eq(stage_cut(&stage, &lease), 0);
        lease_return(stage.balancer, &lease, LEASE_RESET, stage.now_ns);
    }
    cr_expect_eq(stage_view(&stage, 1).unfit, UNFIT_NOT);
    stage_fini(&stage);
}

Test(ejection, the_cap_is_counted_for_each_level_alone)
{
    size_t n_ejected[2] = {0};
    stage_init(&stage, 8);
    stage_level(&stage, LEVEL_ZONE, 4);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 4);
    stage.levels[1].rank = 0; /* one rank: both get traffic */
    stage.policy.ejection.max_pct = 50;
    stage.policy.ejection.consecutive_failures = 3;
    stage_changed(&stage);
    for (size_t i = 0; i < 800; i++) {
        struct lease lease;
        cr_assert_eq(stage_cut(&stage, &lease), 0);
        /* Everything in the first level fails: over both levels half could go, all of the first. */
        const bool is_bad = lease.key <= 4;
        lease_return(stage.balancer, &lease, is_bad ? LEASE_RESET : LEASE_SERVED, stage.now_ns);
    }
    for (uint64_t key = 1; key <= 8; key++)
        n_ejected[key > 4] += stage_view(&stage, key).unfit == UNFIT_EJECTED;
    cr_expect_eq(n_ejected[0], 2);
    cr_expect_eq(n_ejected[1], 0);
    stage_fini(&stage);
}

/* A rest over, one flow decides; a look at a full interval after that decides again. */
Test(ejection, who_was_ejected_by_a_rate_comes_back_on_probation_and_goes_again_for_longer)
{
    const struct conduct bad = {.key = 3, .bad_of_100 = 50};
    struct lease trial;
    open_stage(5);
    stage.policy.ejection.success_rate_stdev_permille = 1900;
    stage.policy.ejection.success_rate_min_hosts = 5;
    stage.policy.ejection.success_rate_min_volume = 100;
    stage_changed(&stage);
    live(110, &bad, 1);
    cr_assert_eq(stage_view(&stage, 3).unfit, UNFIT_EJECTED);
    for (int i = 0; i < 200; i++)
        cr_assert_neq(stage_draw(&stage), 3, "it rests");

    stage.now_ns += 5 * NS_PER_SEC;
    cr_assert_eq(stage_cut(&stage, &trial), 0);
    cr_expect_eq(trial.key, 3, "the first flow after its rest tries it");
    cr_expect_eq(stage_view(&stage, 3).unfit, UNFIT_PROBATION);
    for (int i = 0; i < 200; i++)
        cr_assert_neq(stage_draw(&stage), 3, "and nobody else meanwhile");
    lease_sample(stage.balancer, &trial, 10 * NS_PER_MS, stage.now_ns);
    lease_return(stage.balancer, &trial, LEASE_SERVED, stage.now_ns);
    cr_expect_eq(stage_view(&stage, 3).unfit, UNFIT_NOT, "it answered");

    live(110, &bad, 1);
    cr_expect_eq(stage_view(&stage, 3).unfit, UNFIT_EJECTED, "no better than before");
    cr_expect_eq(stage_view(&stage, 3).until_ns, stage.now_ns + 10 * NS_PER_SEC, "for longer");
    stage_fini(&stage);
}

Test(ejection, a_trial_that_answers_as_slowly_as_before_ends_the_probation)
{
    const struct conduct slow = {.key = 4, .latency_ns = 500 * NS_PER_MS};
    struct lease trial;
    open_stage(4);
    stage.policy.ejection.latency_factor_pct = 500;
    stage.policy.ejection.latency_min_hosts = 3;
    stage.policy.ejection.latency_min_volume = 5;
    stage_changed(&stage);
    live(10, &slow, 1);
    cr_assert_eq(stage_view(&stage, 4).unfit, UNFIT_EJECTED);
    for (unsigned round = 2; round <= 3; round++) {
        stage.now_ns = stage_view(&stage, 4).until_ns;
        cr_assert_eq(stage_cut(&stage, &trial), 0);
        cr_assert_eq(trial.key, 4);
        lease_sample(stage.balancer, &trial, 51 * NS_PER_MS, stage.now_ns); /* the limit is 50 */
        lease_return(stage.balancer, &trial, LEASE_SERVED, stage.now_ns);
        cr_expect_eq(stage_view(&stage, 4).unfit, UNFIT_EJECTED, "round %u", round);
        cr_expect_eq(stage_view(&stage, 4).cause, REST_LATENCY);
        cr_expect_eq(stage_view(&stage, 4).until_ns, stage.now_ns + round * 5 * NS_PER_SEC);
    }
    stage.now_ns = stage_view(&stage, 4).until_ns;
    cr_assert_eq(stage_cut(&stage, &trial), 0);
    cr_assert_eq(trial.key, 4);
    lease_sample(stage.balancer, &trial, 10 * NS_PER_MS, stage.now_ns);
    lease_return(stage.balancer, &trial, LEASE_SERVED, stage.now_ns);
    cr_expect_eq(stage_view(&stage, 4).unfit, UNFIT_NOT);
    stage_fini(&stage);
}

/* Istio's complaint (istio#52435): the gateway or node on the way is ejected for one bad pod behind
 * it. A pod that refuses, breaks or is slow says nothing about its node. */
Test(ejection, a_node_is_not_blamed_for_the_pods_on_it)
{
    static const enum lease_outcome outcomes[] = {LEASE_FAILED, LEASE_RESET};

    for (size_t o = 0; o < ARRAY_LEN(outcomes); o++) {
        unsigned n_drawn[7] = {0};
        open_stage(6);
        stage.policy.ejection.consecutive_failures = 3;
        for (size_t i = 0; i < 4; i++)
            stage.workloads[i].node = STR("behind-the-gateway");
        stage_changed(&stage);
        for (int i = 0; i < 200; i++) {
            struct lease lease;
            cr_assert_eq(stage_cut(&stage, &lease), 0);
            lease_return(stage.balancer, &lease, lease.key <= 2 ? outcomes[o] : LEASE_SERVED,
                         stage.now_ns);
        }
        cr_expect_neq(stage_view(&stage, 1).unfit, UNFIT_NOT);
        cr_expect_neq(stage_view(&stage, 2).unfit, UNFIT_NOT);
        for (uint64_t key = 3; key <= 6; key++)
            cr_expect_eq(stage_view(&stage, key).unfit, UNFIT_NOT, "outcome %zu, endpoint %d", o,
                         (int)key);
        for (int i = 0; i < 400; i++)
            n_drawn[stage_draw(&stage)]++;
        for (uint64_t key = 3; key <= 6; key++)
            cr_expect_gt(n_drawn[key], 80, "outcome %zu, endpoint %d", o, (int)key);
        stage_fini(&stage);
    }
}

Test(ejection, switched_off_ejects_nobody)
{
    open_stage(4);
    stage.policy.ejection.is_on = false;
    stage.policy.ejection.consecutive_failures = 1;
    stage.policy.ejection.failure_pct = 1;
    stage.policy.ejection.failure_pct_min_hosts = 1;
    stage.policy.ejection.failure_pct_min_volume = 1;
    stage_changed(&stage);
    live(50, &(struct conduct){.key = 1, .bad_of_100 = 100}, 1);
    expect_ejected("off", NULL, 0, REST_NEVER);
    stage_fini(&stage);
}
