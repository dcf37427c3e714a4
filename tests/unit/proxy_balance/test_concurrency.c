/* Vectors: the formulas of Envoy's adaptive_concurrency_filter.rst and gradient_controller.cc. */
#include <criterion/criterion.h>

#include "proxy/balance/concurrency.h"
#include "proxy/base/clock.h"
#include "proxy/base/ensure.h"

TestSuite(concurrency, .timeout = 30);

#define MS NS_PER_MS

static const struct concurrency_policy policy = {
    .min_limit = 3,
    .max_limit = 1000,
    .quantile_pct = 90,
    .buffer_pct = 25,
    .window_ns = 100 * MS,
    .interval_ns = 60 * NS_PER_SEC,
    .jitter_pct = 10,
    .n_measure = 50,
    .n_windows_stuck = 5,
};

Test(concurrency, the_next_limit_is_the_gradients_with_head_room_of_its_square_root)
{
    static const struct {
        uint32_t limit;
        uint64_t least_ms, sample_ms;
        uint32_t next;
    } rows[] = {
        {100, 8, 10, 110},  /* gradient 1: 100 + 10 */
        {100, 8, 20, 57},   /* 0.5: 50 + 7 */
        {100, 8, 1000, 57}, /* clamped to 0.5 */
        {100, 8, 5, 214},   /* 2: 200 + 14 */
        {100, 8, 1, 214},   /* clamped to 2 */
        {3, 8, 1000, 3},    /* never below the least */
        {900, 8, 5, 1000},  /* nor above the most */
        {100, 8, 0, 214},   /* a latency too short to measure */
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const uint32_t next = concurrency_next_limit(&policy, rows[i].limit, rows[i].least_ms * MS,
                                                     rows[i].sample_ms * MS);
        cr_expect_eq(next, rows[i].next, "row %zu: %u", i, next);
    }
}

struct run {
    struct concurrency concurrency;
    struct rng rng;
    uint64_t now_ns;
};

static void run_init(struct run *run)
{
    *run = (struct run){.now_ns = NS_PER_SEC};
    rng_seed(&run->rng, 4);
    concurrency_init(&run->concurrency, &policy, run->now_ns);
}

/* n samples of one latency, a millisecond apart. */
static void run_samples(struct run *run, unsigned n, uint64_t latency_ms)
{
    for (unsigned i = 0; i < n; i++) {
        run->now_ns += MS;
        concurrency_add(&run->concurrency, &policy, latency_ms * MS, run->now_ns, &run->rng);
    }
}

Test(concurrency, measures_first_and_then_grows_while_latency_stays)
{
    struct run run;
    run_init(&run);

    cr_expect(concurrency_has_room(&run.concurrency, 2));
    cr_expect_not(concurrency_has_room(&run.concurrency, 3));
    run_samples(&run, 49, 10);
    cr_expect(run.concurrency.is_measuring);
    run_samples(&run, 1, 10);
    cr_expect_not(run.concurrency.is_measuring);
    cr_expect_eq(run.concurrency.least_ns, 10 * MS);
    run_samples(&run, 2000, 10);
    cr_expect_gt(run.concurrency.limit, 50);
}

Test(concurrency, shrinks_when_it_gets_slow_and_measures_anew_when_stuck)
{
    struct run run;
    run_init(&run);
    run_samples(&run, 3000, 10);
    const uint32_t before = run.concurrency.limit;

    run_samples(&run, 300, 50);
    cr_expect_lt(run.concurrency.limit, before / 2);
    /* Slower for good: the least latency is measured again, and the limit grows again. */
    run_samples(&run, 6000, 50);
    cr_expect_eq(run.concurrency.least_ns, 50 * MS);
    cr_expect_gt(run.concurrency.limit, 10);
}

Test(concurrency, measures_anew_after_its_interval_and_goes_back_to_its_limit)
{
    struct run run;
    unsigned n_measurements = 0;
    bool was_measuring = false;
    run_init(&run);
    run_samples(&run, 5000, 10);

    for (int i = 0; i < 140000; i++) {
        run_samples(&run, 1, 10);
        n_measurements += run.concurrency.is_measuring && !was_measuring;
        was_measuring = run.concurrency.is_measuring;
    }

    cr_expect_eq(n_measurements, 2, "%u in 140 s", n_measurements);
    cr_expect_gt(run.concurrency.limit, 500);
}

Test(concurrency, keeps_a_fair_draw_of_more_samples_than_it_holds)
{
    struct run run;
    run_init(&run);
    run_samples(&run, 50, 10);

    /* One window of 10,000 samples, of which the first 512 alone would look slow. */
    for (int i = 0; i < 10000; i++)
        concurrency_add(&run.concurrency, &policy, (i < 512 ? 1000 : 10) * MS, run.now_ns + 1,
                        &run.rng);
    run_samples(&run, 100, 10);

    cr_expect_gt(run.concurrency.limit, 3, "5 %% of slow ones are below the 90th percentile");
}
