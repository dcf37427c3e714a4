/*
 * Vectors: Envoy's locality_weight.rst and zone_aware.rst, its unit tests
 * (load_balancer_impl_base_test.cc, LocalityWrr*), and the comment in ZoneAwareLoadBalancerBase.
 */
#include <criterion/criterion.h>
#include <math.h>

#include "proxy/balance/edf.h"
#include "proxy/balance/locality.h"
#include "proxy/base/ensure.h"

TestSuite(locality, .timeout = 30);

/* Of 100 turns between two localities, those of the first. */
static unsigned turns_of_first(double first, double second)
{
    const double weights[] = {first, second};
    struct edf edf = {0};
    unsigned n = 0;
    edf_start(&edf, weights, 2, 0);
    for (int i = 0; i < 100; i++) {
        const uint32_t item = edf_peek(&edf);
        n += item == 0;
        edf_turn(&edf, weights[item]);
    }
    edf_fini(&edf);
    return n;
}

Test(locality, weights_shrink_with_health_as_envoys_locality_weight_rst)
{
    static const struct {
        unsigned x_healthy, x_pct;
    } rows[] = {{100, 33}, {70, 33}, {69, 33}, {50, 26}, {25, 15}, {0, 0}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const double x = locality_weight(1, rows[i].x_healthy, 100, 140);
        const double y = locality_weight(2, 100, 100, 140);
        const double pct = 100 * x / (x + y);
        /* The document truncates 32.57 to 32 and rounds elsewhere: within one. */
        cr_expect(fabs(pct - rows[i].x_pct) < 1, "%u healthy: %f", rows[i].x_healthy, pct);
    }
}

Test(locality, turns_follow_health_as_envoys_locality_wrr_tests)
{
    static const unsigned firsts[] = {0, 12, 22, 29, 33, 33}; /* of 0, 1, ... 5 healthy of 5 */

    for (unsigned healthy = 0; healthy <= 5; healthy++) {
        const unsigned n =
            turns_of_first(locality_weight(1, healthy, 5, 140), locality_weight(2, 1, 1, 140));
        cr_expect_eq(n, firsts[healthy], "%u healthy: %u turns", healthy, n);
    }
}

Test(locality, half_healthy_counts_by_the_overprovisioning_as_envoys_tests)
{
    static const struct {
        uint32_t factor_pct;
        unsigned first;
    } rows[] = {{140, 41}, {100, 33}, {200, 50}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const unsigned n = turns_of_first(locality_weight(1, 1, 2, rows[i].factor_pct),
                                          locality_weight(1, 2, 2, rows[i].factor_pct));
        cr_expect_eq(n, rows[i].first, "%u %%: %u turns", rows[i].factor_pct, n);
    }
}

Test(locality, nobody_there_weighs_nothing)
{
    cr_expect_eq(locality_weight(7, 0, 10, 140), 0);
    cr_expect_eq(locality_weight(7, 0, 0, 140), 0);
    cr_expect_eq(locality_weight(0, 10, 10, 140), 0);
}

static struct zone_split split_of(const struct zone *zones, size_t n)
{
    struct zone_split split;
    cr_assert(zone_split_make(zones, n, 6, &split));
    return split;
}

Test(zones, split_as_the_comment_in_envoys_zone_aware_load_balancer)
{
    static const struct zone zones[] = {{40, 25}, {40, 50}, {20, 25}};

    const struct zone_split split = split_of(zones, 3);

    cr_expect_eq(split.local_permyriad, 6250);
    cr_expect_eq(split.residual[0], 0);
    cr_expect_eq(split.residual[1], 1000);
    cr_expect_eq(split.residual[2], 1500);
}

Test(zones, everything_stays_while_the_own_zone_has_its_share)
{
    static const struct zone zones[] = {{4, 5}, {4, 4}, {4, 3}};
    struct rng rng;
    rng_seed(&rng, 1);

    const struct zone_split split = split_of(zones, 3);

    cr_expect_eq(split.local_permyriad, 10000);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(zone_choose(&split, &rng), 0);
}

Test(zones, a_zone_without_servers_sends_everything_where_there_are_some_left_over)
{
    static const struct zone zones[] = {{10, 0}, {10, 10}, {0, 10}};
    unsigned n[3] = {0};
    struct rng rng;
    rng_seed(&rng, 1);

    const struct zone_split split = split_of(zones, 3);
    for (int i = 0; i < 1000; i++)
        n[zone_choose(&split, &rng)]++;

    cr_expect_eq(split.local_permyriad, 0);
    cr_expect_eq(n[0], 0);
    cr_expect_eq(n[1], 0, "it has as many servers as its own clients need");
    cr_expect_eq(n[2], 1000);
}

Test(zones, the_choice_follows_the_split)
{
    static const struct zone zones[] = {{40, 25}, {40, 50}, {20, 25}};
    unsigned n[3] = {0};
    struct rng rng;
    rng_seed(&rng, 7);

    const struct zone_split split = split_of(zones, 3);
    for (int i = 0; i < 100000; i++)
        n[zone_choose(&split, &rng)]++;

    cr_expect(n[0] > 62000 && n[0] < 63000, "%u", n[0]);
    cr_expect(n[1] > 24500 && n[1] < 25500, "two thirds of the rest: %u", n[1]);
    cr_expect(n[2] > 12000 && n[2] < 13000, "one third of the rest: %u", n[2]);
}

Test(zones, with_nobody_left_over_the_rest_goes_anywhere)
{
    const struct zone_split split = {.n = 3, .local_permyriad = 0};
    bool seen[3] = {0};
    struct rng rng;
    rng_seed(&rng, 3);

    for (int i = 0; i < 100; i++)
        seen[zone_choose(&split, &rng)] = true;

    cr_expect(seen[0] && seen[1] && seen[2]);
}

Test(zones, there_is_nothing_to_split_without_two_zones_clients_and_enough_servers)
{
    static const struct zone one_zone[] = {{10, 10}, {10, 0}};
    static const struct zone no_clients[] = {{0, 10}, {10, 10}};
    static const struct zone few[] = {{1, 2}, {1, 3}};
    struct zone_split split;

    cr_expect_not(zone_split_make(one_zone, 2, 6, &split));
    cr_expect_not(zone_split_make(no_clients, 2, 6, &split));
    cr_expect_not(zone_split_make(few, 2, 6, &split));
    cr_expect_not(zone_split_make(NULL, 0, 0, &split));
    cr_expect(zone_split_make(few, 2, 5, &split));
}
