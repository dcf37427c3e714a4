/* Vectors: Envoy's outlier_detection_impl_test.cc and the comments of outlier_detection.proto. */
#include <criterion/criterion.h>
#include <math.h>

#include "proxy/balance/outlier.h"
#include "proxy/base/clock.h"
#include "proxy/base/ensure.h"

TestSuite(outlier, .timeout = 30);

static const struct outlier_rates rates = {.min_hosts = 5, .min_volume = 100};

Test(outlier, the_success_rate_threshold_is_that_of_envoys_test)
{
    static const struct outlier_tally tallies[] = {
        {50, 50}, {100, 0}, {100, 0}, {100, 0}, {100, 0}};
    double threshold;

    cr_assert(outlier_success_threshold(&rates, 1900, tallies, 5, &threshold));

    cr_expect(fabs(threshold - 52) < 1e-9, "%f", threshold);
    cr_expect(outlier_success_pct(&tallies[0]) < threshold);
    cr_expect(outlier_success_pct(&tallies[1]) >= threshold);
}

Test(outlier, nobody_is_judged_among_too_few_or_by_too_little)
{
    static const struct outlier_tally tallies[] = {{50, 50}, {100, 0}, {100, 0},
                                                   {100, 0}, {99, 0},  {0, 0}};
    const struct outlier_rates none = {0};
    double threshold = 7;

    cr_expect_not(outlier_success_threshold(&rates, 1900, tallies, 4, &threshold), "four hosts");
    cr_expect_not(outlier_success_threshold(&rates, 1900, tallies, 6, &threshold),
                  "the fifth had 99, the sixth none");
    cr_expect_not(outlier_success_threshold(&none, 1900, NULL, 0, &threshold));
    cr_expect_eq(threshold, 7, "untouched");
    cr_expect_not(outlier_can_judge(&none, &tallies[5]));
    cr_expect_eq(outlier_success_pct(&tallies[5]), 100);
}

Test(outlier, the_failure_percentage_counts_from_its_threshold_on)
{
    static const struct outlier_tally at = {15, 85}, below = {16, 84}, little = {0, 99};

    cr_expect(outlier_fails_too_often(&rates, 85, &at), "gRPC would not");
    cr_expect_not(outlier_fails_too_often(&rates, 85, &below));
    cr_expect_not(outlier_fails_too_often(&rates, 85, &little));
}

Test(outlier, no_more_than_the_share_rests_and_never_the_last_one)
{
    static const struct {
        uint32_t n_ejected, n_hosts, max_pct;
        bool always_one, may;
    } rows[] = {
        {0, 10, 10, false, true}, {1, 10, 10, false, false}, {0, 9, 10, false, false},
        {0, 9, 10, true, true},   {1, 9, 10, true, false},   {0, 2, 10, true, true},
        {0, 1, 100, true, false}, {0, 0, 100, true, false},  {2, 4, 50, false, false},
        {1, 4, 50, false, true},  {8, 10, 100, true, true},  {9, 10, 100, true, false},
        {0, 10, 0, false, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(outlier_may_eject(rows[i].n_ejected, rows[i].n_hosts, rows[i].max_pct,
                                       rows[i].always_one),
                     rows[i].may, "row %zu", i);
}

Test(outlier, rests_grow_to_their_bound_and_relax_step_by_step)
{
    struct outlier_rest rest = {0};

    for (uint64_t n = 1; n <= 12; n++) {
        const uint64_t seconds =
            outlier_rest_next(&rest, 30 * NS_PER_SEC, 300 * NS_PER_SEC) / NS_PER_SEC;
        cr_expect_eq(seconds, n < 10 ? 30 * n : 300, "ejection %llu: %llu s", (unsigned long long)n,
                     (unsigned long long)seconds);
    }
    cr_expect_eq(rest.multiplier, 11, "it stops where max + base is reached");
    for (int i = 0; i < 9; i++)
        outlier_rest_relax(&rest);
    cr_expect_eq(outlier_rest_next(&rest, 30 * NS_PER_SEC, 300 * NS_PER_SEC), 90 * NS_PER_SEC);
    for (int i = 0; i < 20; i++)
        outlier_rest_relax(&rest);
    cr_expect_eq(outlier_rest_next(&rest, 30 * NS_PER_SEC, 300 * NS_PER_SEC), 30 * NS_PER_SEC);
}

Test(outlier, a_base_above_the_maximum_is_the_maximum)
{
    struct outlier_rest rest = {0};
    cr_expect_eq(outlier_rest_next(&rest, 60, 10), 60);
    cr_expect_eq(outlier_rest_next(&rest, 60, 10), 60);
}
