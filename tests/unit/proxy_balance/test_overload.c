/* Vectors: the examples of Envoy's overload_manager.rst. */
#include <criterion/criterion.h>
#include <math.h>

#include "proxy/balance/overload.h"
#include "proxy/base/clock.h"

TestSuite(overload, .timeout = 30);

static const struct overload_trigger trigger = {850, 950};

Test(overload, scales_between_the_thresholds)
{
    cr_expect_eq(overload_scale(&trigger, 0), 0);
    cr_expect_eq(overload_scale(&trigger, 0.85), 0);
    cr_expect(fabs(overload_scale(&trigger, 0.9) - 0.5) < 1e-9);
    cr_expect_eq(overload_scale(&trigger, 0.95), 1);
    cr_expect_eq(overload_scale(&trigger, 7), 1);
    cr_expect_eq(overload_scale(&trigger, -1), 0);
}

Test(overload, shortens_timeouts_as_the_example_of_envoys_overload_manager_rst)
{
    const double scale = overload_scale(&trigger, 0.92);

    const uint64_t ns = overload_timeout_ns(600 * NS_PER_SEC, 2 * NS_PER_SEC, scale);
    cr_expect(fabs((double)ns / NS_PER_SEC - 181.4) < 1e-6, "%f", (double)ns / NS_PER_SEC);
    cr_expect_eq(overload_timeout_ns(600 * NS_PER_SEC, 60 * NS_PER_SEC, 1), 60 * NS_PER_SEC,
                 "a least scale of 10 %%");
    cr_expect_eq(overload_timeout_ns(600 * NS_PER_SEC, 60 * NS_PER_SEC, 0), 600 * NS_PER_SEC);
    cr_expect_eq(overload_timeout_ns(1, 60, 1), 1, "never longer than the full one");
}
