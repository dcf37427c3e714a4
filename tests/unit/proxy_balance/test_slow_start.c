/* Vectors: the figures of Envoy's slow_start.rst for a window of 60 s. */
#include <criterion/criterion.h>
#include <math.h>

#include "proxy/balance/slow_start.h"
#include "proxy/base/clock.h"
#include "proxy/base/ensure.h"

TestSuite(slow_start, .timeout = 30);

Test(slow_start, grows_as_envoys_slow_start_rst)
{
    static const struct {
        unsigned seconds;
        uint32_t aggression_permille;
        double factor;
    } rows[] = {
        {1, 1000, 0.1},   {1, 2000, 0.129},  {6, 1000, 0.1},    {6, 2000, 0.316},  {15, 1000, 0.25},
        {15, 2000, 0.5},  {15, 500, 0.1},    {30, 1000, 0.5},   {30, 2000, 0.707}, {30, 500, 0.25},
        {45, 1000, 0.75}, {45, 2000, 0.866}, {45, 500, 0.5625}, {60, 1000, 1},     {60, 2000, 1},
        {60, 500, 1},     {90, 2000, 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct slow_start policy = {60 * NS_PER_SEC, rows[i].aggression_permille, 10};
        const double factor = slow_start_factor(&policy, rows[i].seconds * NS_PER_SEC);
        cr_expect(fabs(factor - rows[i].factor) < 0.0006, "%u s at %u: %f", rows[i].seconds,
                  rows[i].aggression_permille, factor);
    }
}

Test(slow_start, never_begins_at_zero_nor_exceeds_one)
{
    const struct slow_start no_floor = {60 * NS_PER_SEC, 1000, 0};
    const struct slow_start all_floor = {60 * NS_PER_SEC, 1000, 200};

    const struct slow_start steep = {60 * NS_PER_SEC, 1, 0};

    cr_expect_gt(slow_start_factor(&no_floor, 0), 0);
    cr_expect_gt(slow_start_factor(&steep, 0), 0);
    cr_expect_eq(slow_start_factor(&no_floor, 0), slow_start_factor(&no_floor, NS_PER_MS));
    cr_expect_eq(slow_start_factor(&all_floor, 1), 1);
}

Test(slow_start, without_a_window_everybody_is_warm)
{
    const struct slow_start off = {0, 1000, 10};
    cr_expect_eq(slow_start_factor(&off, 0), 1);
}
