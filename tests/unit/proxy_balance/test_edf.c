/* Vectors: the schedules that Envoy's LocalityWrr tests expect of its edf_scheduler.h. */
#include <criterion/criterion.h>
#include <math.h>

#include "proxy/balance/edf.h"
#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"

TestSuite(edf, .timeout = 30);

static uint32_t turn(struct edf *edf, const double *weights)
{
    const uint32_t item = edf_peek(edf);
    edf_turn(edf, weights[item]);
    return item;
}

Test(edf, takes_turns_as_envoys_locality_wrr_tests)
{
    static const struct {
        double weights[3];
        size_t n;
        uint32_t turns[6];
        size_t n_turns;
    } rows[] = {
        {{1, 2}, 2, {1, 0, 1, 1, 0, 1}, 6},
        {{1, 1, 1}, 3, {0, 1, 2, 0, 1, 2}, 6},
        {{1, 0, 1}, 3, {0, 2, 0, 2}, 4},
    };
    struct edf edf = {0};

    for (size_t row = 0; row < ARRAY_LEN(rows); row++) {
        edf_start(&edf, rows[row].weights, rows[row].n, 0);
        for (size_t i = 0; i < rows[row].n_turns; i++) {
            const uint32_t item = turn(&edf, rows[row].weights);
            cr_expect_eq(item, rows[row].turns[i], "row %zu turn %zu: %u", row, i, item);
        }
    }
    edf_fini(&edf);
}

Test(edf, a_start_in_the_middle_is_where_so_many_turns_would_have_led)
{
    static const double weights[] = {1, 2, 3, 0.5, 0, 4};
    unsigned counts[6];

    for (uint32_t turns = 0; turns < 200; turns++) {
        struct edf walked = {0}, started = {0};
        memset(counts, 0, sizeof counts);
        edf_start(&walked, weights, 6, 0);
        for (uint32_t i = 0; i < turns; i++)
            counts[turn(&walked, weights)]++;
        edf_start(&started, weights, 6, turns);
        for (int i = 0; i < 21; i++)
            counts[turn(&started, weights)]++;
        for (size_t i = 0; i < 6; i++) {
            const double share = (turns + 21) * weights[i] / 10.5;
            cr_assert(fabs(counts[i] - share) <= 3, "%u turns, item %zu: %u of %f", turns, i,
                      counts[i], share);
        }
        edf_fini(&walked);
        edf_fini(&started);
    }
}

Test(edf, clients_of_different_seeds_begin_with_different_items)
{
    double weights[100];
    unsigned n_first[100] = {0};
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < 100; i++)
        weights[i] = i % 2 ? 2 : 1;

    for (int client = 0; client < 1000; client++) {
        struct edf edf = {0};
        edf_start(&edf, weights, 100, (uint32_t)rng_next(&rng));
        n_first[edf_peek(&edf)]++;
        edf_fini(&edf);
    }

    for (size_t i = 0; i < 100; i++)
        cr_expect(n_first[i] < 60, "item %zu is the first of %u clients", i, n_first[i]);
}

Test(edf, shares_are_those_of_the_weights_and_evenly_spread)
{
    static const double weights[] = {5, 1, 1, 3};
    unsigned n[4] = {0};
    unsigned in_a_row = 0, longest = 0;
    struct edf edf = {0};
    edf_start(&edf, weights, 4, 3);

    for (int i = 0; i < 10000; i++) {
        const uint32_t item = turn(&edf, weights);
        n[item]++;
        in_a_row = item == 0 ? in_a_row + 1 : 0;
        longest = in_a_row > longest ? in_a_row : longest;
    }

    cr_expect(abs((int)n[0] - 5000) <= 1 && abs((int)n[1] - 1000) <= 1);
    cr_expect(abs((int)n[2] - 1000) <= 1 && abs((int)n[3] - 3000) <= 1);
    cr_expect_leq(longest, 2);
    edf_fini(&edf);
}

Test(edf, a_weight_of_zero_leaves_and_may_come_back)
{
    static const double weights[] = {1, 1};
    struct edf edf = {0};
    edf_start(&edf, weights, 2, 0);

    cr_expect_eq(edf_peek(&edf), 0);
    edf_turn(&edf, 0);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(turn(&edf, weights), 1);
    edf_add(&edf, 0, 1);
    bool seen[2] = {0};
    for (int i = 0; i < 4; i++)
        seen[turn(&edf, weights)] = true;
    cr_expect(seen[0] && seen[1]);
    edf_turn(&edf, -1);
    edf_turn(&edf, (double)NAN);
    cr_expect(edf_is_empty(&edf));
    edf_add(&edf, 7, 0);
    cr_expect(edf_is_empty(&edf));
    edf_fini(&edf);
}

Test(edf, nobody_has_a_turn_when_nobody_weighs_anything)
{
    static const double weights[] = {0, 0};
    struct edf edf = {0};

    edf_start(&edf, weights, 2, 12345);

    cr_expect(edf_is_empty(&edf));
    edf_fini(&edf);
}
