/*
 * Vectors: the formula of Finagle's PeakEwma and tower's peak_ewma, worked out by hand; tower's
 * own test (a decay of 1 s: an estimate of 1,000 ms is 367.9 ms a second later, and so on).
 */
#include <criterion/criterion.h>
#include <math.h>

#include "proxy/balance/ewma.h"
#include "proxy/base/clock.h"

TestSuite(ewma, .timeout = 30);

#define MS  NS_PER_MS
#define SEC NS_PER_SEC

static void expect_ms(double ns, double ms)
{
    cr_expect(fabs(ns / (double)MS - ms) < 0.01, "%f ms, not %f", ns / (double)MS, ms);
}

Test(ewma, decays_by_1_over_e_in_each_decay_time)
{
    struct ewma ewma;
    ewma_init(&ewma, 1000 * MS, 5 * SEC);

    expect_ms(ewma_read(&ewma, 5 * SEC, SEC), 1000);
    expect_ms(ewma_read(&ewma, 6 * SEC, SEC), 367.88);
    expect_ms(ewma_read(&ewma, 7 * SEC, SEC), 135.34);
    expect_ms(ewma_read(&ewma, 8 * SEC, SEC), 49.79);
    expect_ms(ewma_read(&ewma, 4 * SEC, SEC), 1000); /* a clock that stands a little behind */
}

Test(ewma, believes_a_worse_sample_at_once_and_a_better_one_by_and_by)
{
    struct ewma ewma;
    ewma_init(&ewma, 30 * MS, 0);

    ewma_add(&ewma, 500 * MS, 1, 10 * SEC);
    expect_ms(ewma_read(&ewma, 1, 10 * SEC), 500);
    ewma_add(&ewma, 100 * MS, 1 + 10 * SEC, 10 * SEC);
    expect_ms(ewma_read(&ewma, 1 + 10 * SEC, 10 * SEC), 500 * 0.367879 + 100 * 0.632121);
}

Test(ewma, samples_at_one_moment_keep_the_worst)
{
    struct ewma ewma = {0};

    ewma_add(&ewma, 20 * MS, 7, SEC);
    ewma_add(&ewma, 50 * MS, 7, SEC);
    ewma_add(&ewma, 10 * MS, 7, SEC);

    expect_ms(ewma_read(&ewma, 7, SEC), 50);
}

Test(ewma, the_cost_grows_with_what_is_in_progress)
{
    struct ewma ewma;
    ewma_init(&ewma, 30 * MS, 0);

    expect_ms(ewma_cost(&ewma, 0, 0, SEC), 30);
    expect_ms(ewma_cost(&ewma, 4, 0, SEC), 150);
    expect_ms(ewma_cost(&ewma, 4, SEC, SEC), 150 * 0.367879);
}

Test(ewma, nothing_known_costs_nothing)
{
    const struct ewma ewma = {0};
    cr_expect_eq(ewma_cost(&ewma, 10, 5 * SEC, SEC), 0);
}
