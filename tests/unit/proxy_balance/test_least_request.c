/* Vectors: the worked example of Envoy's LeastRequestLoadBalancer (weight 2, 4 active, bias 1). */
#include <criterion/criterion.h>
#include <math.h>

#include "proxy/balance/least_request.h"
#include "proxy/base/ensure.h"

TestSuite(least_request, .timeout = 30);

Test(least_request, weighs_as_envoys_example)
{
    cr_expect(fabs(least_request_weight(2, 4, 1000) - 0.4) < 1e-12);
    cr_expect(fabs(least_request_weight(2, 0, 1000) - 2) < 1e-12);
    cr_expect(fabs(least_request_weight(2, 4, 0) - 2) < 1e-12, "bias 0 is round robin");
    cr_expect(fabs(least_request_weight(2, 3, 2000) - 0.125) < 1e-12);
    cr_expect(fabs(least_request_weight(2, 3, 500) - 1) < 1e-12);
}

Test(least_request, of_two_drawn_the_first_wins_a_tie)
{
    static const uint32_t actives[] = {3, 3, 3, 3};
    struct rng rng, same;
    rng_seed(&rng, 5);
    rng_seed(&same, 5);

    for (int i = 0; i < 100; i++) {
        const size_t first = rng_below(&same, 4);
        (void)rng_below(&same, 4);
        cr_assert_eq(least_request_draw(actives, 4, 2, &rng), first);
    }
}

Test(least_request, the_busiest_is_chosen_only_when_drawn_alone)
{
    static const uint32_t actives[] = {9, 1};
    unsigned n = 0;
    struct rng rng;
    rng_seed(&rng, 5);

    for (int i = 0; i < 10000; i++)
        n += least_request_draw(actives, 2, 2, &rng) == 0;

    cr_expect(n > 2300 && n < 2700, "a quarter: %u", n);
}

Test(least_request, a_scan_finds_the_fewest_and_draws_among_ties)
{
    static const uint32_t actives[] = {4, 2, 7, 2, 2, 5};
    unsigned n[6] = {0};
    struct rng rng;
    rng_seed(&rng, 5);

    for (int i = 0; i < 9000; i++)
        n[least_request_scan(actives, 6, &rng)]++;

    cr_expect(n[0] == 0 && n[2] == 0 && n[5] == 0);
    cr_expect(n[1] > 2800 && n[3] > 2800 && n[4] > 2800, "%u %u %u", n[1], n[3], n[4]);
}
