/* Policies at the ends of what they may be, huge weights, endpoints that flap, policies that change
 * while connections are in progress. */
#include <criterion/criterion.h>
#include <string.h>

#include "config/traffic_fields.h"
#include "stage.h"

TestSuite(extremes, .timeout = 120);

static struct stage stage;

/* As `stage`, on a node with so many workers. */
static void open_stage(size_t n, unsigned n_workers)
{
    stage_init(&stage, n);
    balancer_free(stage.balancer);
    stage.balancer = balancer_new(stage.meter, n_workers);
}

Test(extremes, the_largest_limits_let_everybody_through)
{
    for (unsigned n_workers = 1; n_workers <= 64; n_workers *= 2) {
        open_stage(4, n_workers);
        stage_level(&stage, LEVEL_ZONE, 4);
        stage.policy.limits.max_connections = UINT32_MAX - 1;
        stage.policy.limits.max_pending = UINT32_MAX - 1;
        stage.policy.limits.endpoint_max_connections = UINT32_MAX - 1;
        stage_changed(&stage);
        cr_expect_neq(stage_draw(&stage), 0, "%u workers", n_workers);
        stage_fini(&stage);
    }
}

/* Turns that are pushed far away by a weight near nothing must not stay there. */
Test(extremes, an_endpoint_that_was_cold_or_busy_gets_its_turns_again)
{
    static const struct {
        const char *name;
        enum algorithm algorithm;
        uint32_t aggression_permille, bias_permille;
    } rows[] = {
        {"cold to nothing", ALGORITHM_ROUND_ROBIN, 1, 1000},
        {"as cold, by load", ALGORITHM_LEAST_REQUEST, 1, 1000},
        {"busy to the tenth power", ALGORITHM_LEAST_REQUEST, 1000, 10000},
    };

    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        enum { HELD = 200 };
        struct lease held[HELD] = {0};
        unsigned n_drawn = 0;
        stage_init(&stage, 4);
        stage_level(&stage, LEVEL_ZONE, 4);
        stage.policy.algorithm = rows[r].algorithm;
        stage.policy.active_bias_permille = rows[r].bias_permille;
        stage.policy.slow_start_ns = 10 * NS_PER_SEC;
        stage.policy.slow_start_aggression_permille = rows[r].aggression_permille;
        stage.policy.slow_start_min_pct = 0;
        stage.endpoints[0].weight = 2; /* unequal weights: least request takes turns */
        stage_changed(&stage);
        for (int i = 0; i < HELD; i++)
            cr_assert_eq(stage_cut(&stage, &held[i]), 0);
        balancer_set_health(stage.balancer, stage.set.id, 3, CHECKED_BAD, stage.now_ns);
        balancer_set_health(stage.balancer, stage.set.id, 3, CHECKED_GOOD, stage.now_ns);
        for (int i = 0; i < 200; i++)
            (void)stage_draw(&stage);
        for (int i = 0; i < HELD; i++)
            lease_return(stage.balancer, &held[i], LEASE_SERVED, stage.now_ns);
        stage.now_ns += 60 * NS_PER_SEC;
        for (int i = 0; i < 20000; i++)
            n_drawn += stage_draw(&stage) == 3;
        cr_expect_gt(n_drawn, 2000, "%s: %u of 20000", rows[r].name, n_drawn);
        stage_fini(&stage);
    }
}

Test(extremes, ten_thousand_endpoints_of_which_one_weighs_everything)
{
    enum { N = 10000 };

    for (unsigned algorithm = 0; algorithm < ALGORITHM_RING_HASH; algorithm++) {
        unsigned n_heavy = 0;
        stage_init(&stage, 2 * N);
        stage_level(&stage, LEVEL_ZONE, N);
        stage_level(&stage, LEVEL_OTHER_CLUSTER, N);
        stage.policy.algorithm = (enum algorithm)algorithm;
        stage.endpoints[N / 2].weight = UINT32_MAX;
        for (size_t i = N; i < 2 * N; i++)
            stage.endpoints[i].weight = UINT32_MAX;
        stage.policy.overprovisioning_pct = 1000;
        stage_changed(&stage);
        for (int i = 0; i < 1000; i++) {
            const uint64_t key = stage_draw(&stage);
            cr_assert(key >= 1 && key <= N, "the near level is whole");
            n_heavy += key == N / 2 + 1;
        }
        /* The power of two choices takes another one beside it, and it has less in progress. */
        cr_expect_gt(n_heavy, algorithm == ALGORITHM_PEAK_EWMA ? 0 : 990, "algorithm %u: %u",
                     algorithm, n_heavy);
        stage.endpoints[N / 2].is_ready = false;
        stage_changed(&stage);
        cr_expect_gt(stage_draw(&stage), N, "without it the near level weighs next to nothing");
        stage_fini(&stage);
    }
}

/* The value at an end of a field's range. */
static uint64_t extreme(const struct traffic_field *field, unsigned which)
{
    return which == 0 ? field->min : which == 1 ? field->max : field->zero_is_fine ? 0 : field->max;
}

/* One field at an end of its range, the others as they are; a sanitizer looks on. */
Test(extremes, every_field_at_each_end_of_its_range_still_balances)
{
    for (size_t f = 0; f < n_traffic_fields; f++)
        for (unsigned which = 0; which < 3; which++) {
            struct text why = {0};
            struct lease held[20] = {0};
            unsigned n_served = 0;
            open_stage(40, 1 + (unsigned)f % 3);
            for (size_t i = 0; i < 4; i++)
                stage_level(&stage, i < 2 ? LEVEL_ZONE : LEVEL_OTHER_CLUSTER, 10);
            traffic_field_set(&traffic_fields[f], &stage.policy,
                              extreme(&traffic_fields[f], which));
            if (stage.policy.algorithm >= ALGORITHM_RING_HASH) /* the stage makes no tables */
                stage.policy.algorithm = ALGORITHM_PEAK_EWMA;
            stage_changed(&stage);
            for (int step = 0; step < 600; step++) {
                struct lease *lease = &held[rng_below(&stage.rng, 20)];
                lease_sample(stage.balancer, lease, rng_next(&stage.rng) % (NS_PER_SEC * 60),
                             stage.now_ns);
                lease_return(stage.balancer, lease, (enum lease_outcome)rng_below(&stage.rng, 5),
                             stage.now_ns);
                n_served += stage_cut(&stage, lease) == 0;
                /* now and then a leap of a day, as after a machine that slept */
                stage.now_ns += rng_below(&stage.rng, 50) ? NS_PER_MS : 86400 * NS_PER_SEC;
                if (step % 50 == 0)
                    stage_ready(&stage, step / 50 % 4, rng_below(&stage.rng, 11));
            }
            for (size_t i = 0; i < ARRAY_LEN(held); i++)
                lease_return(stage.balancer, &held[i], LEASE_SERVED, stage.now_ns);
            /* A limit of one, by the worker, is one. */
            const bool is_limit = strncmp(traffic_fields[f].section, "limits", 6) == 0;
            cr_expect_gt(n_served, is_limit && which == 0 ? 10 : 100, "%s.%s at %llu: %u",
                         traffic_fields[f].section, traffic_fields[f].key,
                         (unsigned long long)extreme(&traffic_fields[f], which), n_served);
            cr_expect_eq(balancer_flows(stage.balancer), 0);
            text_fini(&why);
            stage_fini(&stage);
        }
}

Test(extremes, endpoints_that_flap_each_millisecond_are_used_only_while_they_are_ready)
{
    enum { N = 200 };

    stage_init(&stage, N);
    stage_level(&stage, LEVEL_ZONE, N / 2);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, N / 2);
    stage.policy.slow_start_ns = NS_PER_SEC;
    for (int ms = 0; ms < 3000; ms++) {
        stage.now_ns += NS_PER_MS;
        for (int i = 0; i < 20; i++) {
            struct endpoint *endpoint = &stage.endpoints[rng_below(&stage.rng, N)];
            endpoint->is_ready = !endpoint->is_ready;
        }
        stage_changed(&stage);
        size_t n_ready = 0;
        for (size_t i = 0; i < N; i++)
            n_ready += stage.endpoints[i].is_ready;
        const uint64_t key = stage_draw(&stage);
        cr_assert_neq(key, 0);
        /* Half of each level is ready on average; below that a level may be in panic. */
        if (n_ready > N * 8 / 10)
            cr_assert(stage.endpoints[key - 1].is_ready, "at %d ms", ms);
    }
    cr_expect_eq(balancer_flows(stage.balancer), 0);
    stage_fini(&stage);
}

/* Whoever the policy forbids is no member: neither those that were used before it forbade them, nor
 * in panic. */
Test(extremes, a_service_of_which_everybody_is_forbidden_is_never_served)
{
    struct lease before;
    stage_init(&stage, 4);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 4);
    stage.policy.panic_pct = 100;
    cr_assert_eq(stage_cut(&stage, &before), 0);
    const struct endpoint_set allowed = stage.set;
    stage.set.len = stage.set.n_levels = 0; /* as the snapshot has it: all hidden */
    stage_changed(&stage);
    for (int i = 0; i < 100; i++) {
        struct lease lease;
        stage.now_ns += 100 * NS_PER_MS;
        balancer_tick(stage.balancer, stage.now_ns);
        cr_assert_eq(stage_cut(&stage, &lease), -ERR_NO_HEALTHY_UPSTREAM);
    }
    lease_return(stage.balancer, &before, LEASE_FAILED, stage.now_ns);
    stage.set.len = allowed.len;
    stage.set.n_levels = allowed.n_levels;
    stage_changed(&stage);
    cr_expect_neq(stage_draw(&stage), 0, "allowed again");
    stage_fini(&stage);
}

Test(extremes, a_policy_that_changes_under_load_loses_no_flow_and_no_count)
{
    enum { HELD = 300 };
    static struct lease held[HELD];
    stage_init(&stage, 60);
    for (size_t i = 0; i < 6; i++)
        stage_level(&stage, i < 3 ? LEVEL_ZONE : LEVEL_OTHER_CLUSTER, 10);
    const size_t n_levels = stage.set.n_levels, len = stage.set.len;
    for (int step = 0; step < 20000; step++) {
        struct lease *lease = &held[rng_below(&stage.rng, HELD)];
        stage.now_ns += rng_below(&stage.rng, 5 * NS_PER_MS);
        if (step % 7 == 0) {
            const struct traffic_field *field =
                &traffic_fields[rng_below(&stage.rng, (uint32_t)n_traffic_fields)];
            traffic_field_set(field, &stage.policy, extreme(field, rng_below(&stage.rng, 3)));
            if (stage.policy.algorithm >= ALGORITHM_RING_HASH)
                stage.policy.algorithm = ALGORITHM_ROUND_ROBIN;
            stage.set.len = rng_below(&stage.rng, 9) ? len : 0;
            stage.set.n_levels = stage.set.len > 0 ? n_levels : 0;
            stage_changed(&stage);
        }
        lease_confirm(stage.balancer, lease, 1000, stage.now_ns);
        lease_sample(stage.balancer, lease, rng_below(&stage.rng, 100) * NS_PER_MS, stage.now_ns);
        lease_return(stage.balancer, lease, (enum lease_outcome)rng_below(&stage.rng, 5),
                     stage.now_ns);
        if (stage_cut(&stage, lease) < 0)
            *lease = (struct lease){0};
        if (step % 100 == 0)
            balancer_tick(stage.balancer, stage.now_ns);
    }
    size_t n_held = 0;
    for (size_t i = 0; i < HELD; i++)
        n_held += held[i].key != 0;
    cr_expect_eq(balancer_flows(stage.balancer), n_held);
    for (size_t i = 0; i < HELD; i++)
        lease_return(stage.balancer, &held[i], LEASE_SERVED, stage.now_ns);
    cr_expect_eq(balancer_flows(stage.balancer), 0);
    stage_fini(&stage);
}
