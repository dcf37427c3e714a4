/* Vectors: the defaults and formulas of Envoy's circuit_breaker.proto and router_filter.rst. */
#include <criterion/criterion.h>

#include "proxy/balance/retry.h"
#include "proxy/base/clock.h"
#include "proxy/base/ensure.h"

TestSuite(retry, .timeout = 30);

Test(retry, the_budget_is_a_share_and_a_few_for_the_quiet)
{
    cr_expect_eq(retry_budget(20, 3, 0), 3);
    cr_expect_eq(retry_budget(20, 3, 15), 3);
    cr_expect_eq(retry_budget(20, 3, 20), 4);
    cr_expect_eq(retry_budget(20, 3, 1000), 200);
    cr_expect_eq(retry_budget(0, 0, 1000), 0);
    cr_expect_eq(retry_budget(1000, 3, UINT32_MAX), UINT32_MAX);
}

Test(retry, the_range_of_waits_doubles_up_to_its_bound)
{
    static const uint64_t bounds_ms[] = {25, 75, 175, 250, 250};

    for (uint32_t n = 1; n <= ARRAY_LEN(bounds_ms); n++)
        cr_expect_eq(retry_wait_bound_ns(25 * NS_PER_MS, 250 * NS_PER_MS, n),
                     bounds_ms[n - 1] * NS_PER_MS, "retry %u", n);
    cr_expect_eq(retry_wait_bound_ns(25 * NS_PER_MS, 250 * NS_PER_MS, 64), 250 * NS_PER_MS);
    cr_expect_eq(retry_wait_bound_ns(25 * NS_PER_MS, 250 * NS_PER_MS, UINT32_MAX), 250 * NS_PER_MS);
    cr_expect_eq(retry_wait_bound_ns(0, 250, 3), 0);
}

Test(retry, waits_are_drawn_from_the_whole_range)
{
    unsigned n_upper = 0;
    struct rng rng;
    rng_seed(&rng, 9);

    for (int i = 0; i < 1000; i++) {
        const uint64_t wait_ns = retry_wait_ns(25 * NS_PER_MS, 250 * NS_PER_MS, 2, &rng);
        cr_assert_lt(wait_ns, 75 * NS_PER_MS);
        n_upper += wait_ns > 75 * NS_PER_MS / 2;
    }
    cr_expect(n_upper > 400 && n_upper < 600, "%u", n_upper);
    cr_expect_eq(retry_wait_ns(0, 0, 1, &rng), 0);
}
