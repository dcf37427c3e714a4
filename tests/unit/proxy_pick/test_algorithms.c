/* What each algorithm promises inside a level. */
#include <criterion/criterion.h>

#include "proxy/balance/maglev.h"
#include "stage.h"

TestSuite(algorithms, .timeout = 60);

static struct stage stage;

static void open_stage(enum algorithm algorithm, size_t n)
{
    stage_init(&stage, n);
    stage.policy.algorithm = algorithm;
    stage_level(&stage, LEVEL_ZONE, n);
}

static void count_keys(unsigned draws, unsigned *n)
{
    for (unsigned i = 0; i < draws; i++)
        n[stage_draw(&stage)]++;
}

Test(algorithms, weights_are_respected_by_all_but_hashing)
{
    static const uint32_t weights[] = {1, 3, 0, 6};

    static const enum algorithm algorithms[] = {ALGORITHM_PEAK_EWMA, ALGORITHM_LEAST_REQUEST,
                                                ALGORITHM_ROUND_ROBIN, ALGORITHM_RANDOM};

    for (size_t a = 0; a < ARRAY_LEN(algorithms); a++) {
        unsigned n[5] = {0};
        open_stage(algorithms[a], 4);
        for (size_t i = 0; i < 4; i++)
            stage.endpoints[i].weight = weights[i];
        stage_changed(&stage);
        count_keys(10000, n);
        cr_expect(n[1] > 800 && n[1] < 1200, "%zu: %u", a, n[1]);
        cr_expect(n[2] > 2700 && n[2] < 3300, "%zu: %u", a, n[2]);
        cr_expect_eq(n[3], 0, "%zu", a);
        cr_expect(n[4] > 5600 && n[4] < 6400, "%zu: %u", a, n[4]);
        stage_fini(&stage);
    }
}

Test(algorithms, round_robin_takes_turns_and_passes_over_who_is_not_fit)
{
    unsigned n[6] = {0};
    open_stage(ALGORITHM_ROUND_ROBIN, 5);
    count_keys(50, n);
    for (int key = 1; key <= 5; key++)
        cr_expect_eq(n[key], 10, "%d: %u", key, n[key]);
    balancer_set_health(stage.balancer, 77, 3, CHECKED_BAD, stage.now_ns);
    count_keys(40, n);
    cr_expect_eq(n[3], 10);
    for (int key = 1; key <= 5; key++)
        cr_expect(key == 3 || (n[key] >= 19 && n[key] <= 21), "%d: %u", key, n[key]);
    stage_fini(&stage);
}

/* Or all nodes that start together would begin with the same one. */
Test(algorithms, round_robin_begins_anywhere)
{
    unsigned n[6] = {0}, n_begun = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        open_stage(ALGORITHM_ROUND_ROBIN, 5);
        rng_seed(&stage.rng, seed);
        n[stage_draw(&stage)]++;
        stage_fini(&stage);
    }
    for (int key = 1; key <= 5; key++)
        n_begun += n[key] > 0;
    cr_expect_geq(n_begun, 4, "%u", n_begun);
}

Test(algorithms, round_robin_spares_who_starts_slowly)
{
    unsigned n[5] = {0};
    open_stage(ALGORITHM_ROUND_ROBIN, 4);
    stage_ready(&stage, 0, 3);
    count_keys(30, n);
    stage.now_ns += NS_PER_SEC;
    stage_ready(&stage, 0, 4);
    count_keys(400, n);
    cr_expect(n[4] > 0 && n[4] < 70, "%u of 400 in the first moment", n[4]);
    stage_fini(&stage);
}

Test(algorithms, least_request_keeps_a_thousand_flows_level)
{
    struct lease leases[1000];
    open_stage(ALGORITHM_LEAST_REQUEST, 10);
    for (size_t i = 0; i < ARRAY_LEN(leases); i++)
        cr_assert_eq(stage_cut(&stage, &leases[i]), 0);
    for (uint64_t key = 1; key <= 10; key++) {
        const uint32_t flows = stage_view(&stage, key).flows;
        cr_expect(flows >= 95 && flows <= 105, "%u", flows);
    }
    for (size_t i = 0; i < ARRAY_LEN(leases); i++)
        lease_return(stage.balancer, &leases[i], LEASE_SERVED, stage.now_ns);
    stage_fini(&stage);
}

struct held {
    struct lease leases[400];
    size_t len;
};

static void hold(struct held *held, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(stage_cut(&stage, &held->leases[held->len++]), 0);
}

/* Those of an endpoint, or with key 0 all. */
static void give_back(struct held *held, uint64_t key)
{
    size_t left = 0;
    for (size_t i = 0; i < held->len; i++) {
        if (key == 0 || held->leases[i].key == key)
            lease_return(stage.balancer, &held->leases[i], LEASE_SERVED, stage.now_ns);
        else
            held->leases[left++] = held->leases[i];
    }
    held->len = left;
}

Test(algorithms, least_request_with_unequal_weights_counts_load_as_much_as_the_bias_says)
{
    static const struct {
        uint32_t bias_permille, least, most;
    } rows[] = {{0, 295, 305}, {1000, 230, 275}}; /* by weight; by weight over load */

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static struct held held;
        open_stage(ALGORITHM_LEAST_REQUEST, 2);
        stage.policy.active_bias_permille = rows[i].bias_permille;
        stage.endpoints[1].weight = 3;
        stage_changed(&stage);
        hold(&held, 400);
        const uint32_t flows = stage_view(&stage, 2).flows;
        cr_expect(flows >= rows[i].least && flows <= rows[i].most, "%u: %u of 400",
                  rows[i].bias_permille, flows);
        give_back(&held, 0);
        stage_fini(&stage);
    }
}

Test(algorithms, peak_ewma_weighs_the_load_of_an_endpoint_by_its_weight)
{
    static struct held held;
    open_stage(ALGORITHM_PEAK_EWMA, 2);
    stage.endpoints[1].weight = 3;
    stage_changed(&stage);
    hold(&held, 400);
    const uint32_t flows = stage_view(&stage, 2).flows;
    cr_expect(flows > 280 && flows < 320, "%u of 400", flows);
    give_back(&held, 0);
    stage_fini(&stage);
}

/* Whoever draws ten times among three finds the idle one; with two draws a third would miss it. */
Test(algorithms, least_request_draws_as_often_as_the_policy_says)
{
    static struct held held;
    unsigned n[4] = {0};
    open_stage(ALGORITHM_LEAST_REQUEST, 3);
    stage.policy.choice_count = 10;
    stage_changed(&stage);
    hold(&held, 30);
    give_back(&held, 3);
    count_keys(300, n);
    cr_expect_geq(n[3], 290, "%u of 300", n[3]);
    give_back(&held, 0);
    stage_fini(&stage);
}

/* Were it taken for a fast one, it would get every flow for which it is drawn: half of them. */
Test(algorithms, peak_ewma_takes_who_is_not_known_for_as_fast_as_the_others)
{
    static struct held held;
    open_stage(ALGORITHM_PEAK_EWMA, 4);
    stage.policy.slow_start_ns = 0;
    stage_ready(&stage, 0, 3);
    stage_changed(&stage);
    for (int i = 0; i < 100; i++) {
        struct lease lease;
        cr_assert_eq(stage_cut(&stage, &lease), 0);
        lease_sample(stage.balancer, &lease, 10 * NS_PER_MS, stage.now_ns);
        lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
        stage.now_ns += 10 * NS_PER_MS;
    }
    stage_ready(&stage, 0, 4);
    stage_changed(&stage);
    hold(&held, 200);
    const uint32_t flows = stage_view(&stage, 4).flows;
    cr_expect(flows > 30 && flows < 70, "%u of 200", flows);
    give_back(&held, 0);
    stage_fini(&stage);
}

/* Of four, one that answers twenty times more slowly: with two different ones drawn it is never the
 * better one. */
Test(algorithms, peak_ewma_leaves_a_slow_endpoint_alone_and_tries_it_again_later)
{
    unsigned n_slow = 0;
    open_stage(ALGORITHM_PEAK_EWMA, 4);
    stage.policy.ejection.is_on = false;
    stage_changed(&stage);
    for (int i = 0; i < 2000; i++) {
        struct lease lease;
        cr_assert_eq(stage_cut(&stage, &lease), 0);
        n_slow += i >= 100 && lease.key == 2;
        lease_confirm(stage.balancer, &lease, NS_PER_MS, stage.now_ns);
        lease_sample(stage.balancer, &lease, (lease.key == 2 ? 200 : 10) * NS_PER_MS, stage.now_ns);
        lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
        stage.now_ns += NS_PER_MS;
    }
    cr_expect_leq(n_slow, 1, "%u", n_slow);
    n_slow = 0;
    for (int i = 0; i < 6000; i++) { /* a minute */
        struct lease lease;
        cr_assert_eq(stage_cut(&stage, &lease), 0);
        n_slow += lease.key == 2;
        lease_sample(stage.balancer, &lease, 10 * NS_PER_MS, stage.now_ns);
        lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
        stage.now_ns += 10 * NS_PER_MS;
    }
    cr_expect_geq(n_slow, 5, "what was slow a minute ago is no more: %u", n_slow);
    stage_fini(&stage);
}

static uint64_t draw_from(uint8_t client)
{
    struct lease lease;
    struct question question = stage_question(&stage);
    question.source.bytes[3] = client;
    cr_assert_eq(lease_cut(stage.balancer, &question, stage.now_ns, &stage.rng, &lease), 0);
    const uint64_t key = lease.key;
    lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
    return key;
}

static void build_tables(void)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct hash_host hosts[5];
    for (size_t i = 0; i < 5; i++)
        hosts[i] = (struct hash_host){str_from(names[i]), 1};
    stage.levels[0].maglev = maglev_build(&stage.arena, hosts, 5, 251);
    stage.levels[0].ring = ring_build(&stage.arena, hosts, 5, RING_XX_HASH, 1024, 4096);
    stage_changed(&stage);
}

Test(algorithms, a_hash_goes_to_one_endpoint_and_only_those_of_one_that_fell_out_move)
{
    static const enum algorithm algorithms[] = {ALGORITHM_RING_HASH, ALGORITHM_MAGLEV};

    for (size_t a = 0; a < ARRAY_LEN(algorithms); a++) {
        uint64_t keys[256];
        unsigned n[6] = {0};
        open_stage(algorithms[a], 5);
        build_tables();
        for (unsigned i = 0; i < 256; i++)
            n[keys[i] = draw_from((uint8_t)i)]++;
        for (int key = 1; key <= 5; key++)
            cr_expect_geq(n[key], 15, "%zu: %u", a, n[key]);
        balancer_set_health(stage.balancer, 77, 4, CHECKED_BAD, stage.now_ns);
        for (unsigned i = 0; i < 256; i++) {
            const uint64_t key = draw_from((uint8_t)i);
            cr_expect(keys[i] == 4 ? key != 4 : key == keys[i], "%zu: client %u", a, i);
            cr_expect_eq(draw_from((uint8_t)i), key, "%zu: client %u keeps where it went", a, i);
        }
        balancer_set_health(stage.balancer, 77, 4, CHECKED_GOOD, stage.now_ns);
        for (unsigned i = 0; i < 256; i++)
            cr_expect_eq(draw_from((uint8_t)i), keys[i]);
        stage_fini(&stage);
    }
}

static uint64_t draw_for(const struct request_hash *request)
{
    struct lease lease;
    struct question question = stage_question(&stage);
    question.request = request;
    cr_assert_eq(lease_cut(stage.balancer, &question, stage.now_ns, &stage.rng, &lease), 0);
    const uint64_t key = lease.key;
    lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
    return key;
}

Test(algorithms, what_a_request_is_hashed_by_goes_before_its_source_and_nothing_is_chance)
{
    const struct hash_key keys[] = {{.kind = HASH_KEY_HEADER, .name = STR("x")},
                                    {.kind = HASH_KEY_SOURCE_ADDRESS}};
    const struct request_hash none = {0};
    unsigned n[6] = {0}, of_requests[6] = {0};
    open_stage(ALGORITHM_MAGLEV, 5);
    build_tables();
    for (uint64_t i = 0; i < 256; i++) {
        const struct request_hash request = {true, str_hash(str_of((const char *)&i, 8), 0)};
        const uint64_t key = draw_for(&request);
        cr_expect_eq(draw_for(&request), key);
        of_requests[key]++;
        n[draw_for(&none)]++;
    }
    for (int key = 1; key <= 5; key++)
        cr_expect(n[key] >= 15 && of_requests[key] >= 15, "%d: %u %u", key, n[key],
                  of_requests[key]);
    const uint64_t of_source = draw_from(7);
    stage.policy.hash_keys = keys;
    stage.policy.n_hash_keys = 2;
    for (int i = 0; i < 20; i++)
        cr_expect_eq(draw_from(7), of_source, "a connection has its source");
    stage.policy.n_hash_keys = 1;
    unsigned n_other = 0;
    for (int i = 0; i < 64; i++)
        n_other += draw_from(7) != of_source;
    cr_expect_gt(n_other, 20, "and no header field");
    stage_fini(&stage);
}

Test(algorithms, bounded_load_passes_on_what_is_more_than_an_endpoint_s_share)
{
    struct lease leases[50];
    open_stage(ALGORITHM_MAGLEV, 5);
    stage.policy.hash_balance_factor_pct = 125;
    build_tables();
    for (size_t i = 0; i < ARRAY_LEN(leases); i++) /* one client only */
        cr_assert_eq(stage_cut(&stage, &leases[i]), 0);
    uint32_t most = 0;
    for (uint64_t key = 1; key <= 5; key++) {
        const uint32_t flows = stage_view(&stage, key).flows;
        cr_expect_leq(flows, 15);
        most = flows > most ? flows : most;
    }
    cr_expect_geq(most, 12, "its own endpoint is filled up to the bound first: %u", most);
    for (size_t i = 0; i < ARRAY_LEN(leases); i++)
        lease_return(stage.balancer, &leases[i], LEASE_SERVED, stage.now_ns);
    stage_fini(&stage);
}
