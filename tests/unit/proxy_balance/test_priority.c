/*
 * Vectors: Envoy's docs/root/intro/arch_overview/upstream/load_balancing/{priority,degraded,
 * panic_threshold}.rst and its unit tests (load_balancer_impl_base_test.cc). Two rows of the
 * documents are not what Envoy's code gives; they are marked, and docs/balancing.md says why.
 */
#include <criterion/criterion.h>

#include "proxy/balance/priority.h"
#include "proxy/base/ensure.h"

TestSuite(priority, .timeout = 30);

#define N        3
#define NO_PANIC 0

struct row {
    const char *name;
    uint32_t factor_pct, panic_pct;
    uint64_t hosts[N][4]; /* all, healthy, degraded, excluded */
    size_t n;
    uint32_t healthy[N], degraded[N];
    bool panics[N];
};

static void expect_row(const struct row *row, bool is_weighted)
{
    const struct priority_policy policy = {row->factor_pct, row->panic_pct, is_weighted};
    struct priority_level levels[N] = {0};
    struct priority_load loads[N];
    uint32_t sum = 0;
    for (size_t i = 0; i < row->n; i++) {
        const uint64_t *hosts = row->hosts[i];
        levels[i].count = levels[i].weight =
            (struct priority_hosts){hosts[0], hosts[1], hosts[2], hosts[3]};
        if (is_weighted)
            levels[i].count = (struct priority_hosts){.all = 1, .healthy = 1};
    }

    priority_spread(&policy, levels, row->n, loads);

    for (size_t i = 0; i < row->n; i++) {
        cr_expect_eq(loads[i].healthy_pct, row->healthy[i], "%s: level %zu has %u, not %u",
                     row->name, i, loads[i].healthy_pct, row->healthy[i]);
        cr_expect_eq(loads[i].degraded_pct, row->degraded[i], "%s: degraded level %zu has %u",
                     row->name, i, loads[i].degraded_pct);
        cr_expect_eq(loads[i].is_in_panic, row->panics[i], "%s: panic of level %zu", row->name, i);
        sum += loads[i].healthy_pct + loads[i].degraded_pct;
    }
    cr_expect_eq(sum, 100, "%s: the sum is %u", row->name, sum);
}

static void expect_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect_row(&rows[i], false);
}

Test(priority, spreads_as_the_tables_of_envoys_priority_rst)
{
    static const struct row rows[] = {
        {"100, 100", 140, 50, {{100, 100}, {100, 100}}, 2, {100, 0}, {0}, {0}},
        {"72, 100", 140, 50, {{100, 72}, {100, 100}}, 2, {100, 0}, {0}, {0}},
        {"71, 100", 140, 50, {{100, 71}, {100, 100}}, 2, {99, 1}, {0}, {0}},
        {"50, 100", 140, 50, {{100, 50}, {100, 100}}, 2, {70, 30}, {0}, {0}},
        {"25, 100", 140, 50, {{100, 25}, {100, 100}}, 2, {35, 65}, {0}, {0}},
        {"0, 100", 140, 50, {{100, 0}, {100, 100}}, 2, {0, 100}, {0}, {0}},
        {"72, 72", 140, 50, {{100, 72}, {100, 72}}, 2, {100, 0}, {0}, {0}},
        {"71, 71", 140, 50, {{100, 71}, {100, 71}}, 2, {99, 1}, {0}, {0}},
        {"50, 50", 140, 50, {{100, 50}, {100, 50}}, 2, {70, 30}, {0}, {0}},
        {"25, 25", 140, 50, {{100, 25}, {100, 25}}, 2, {50, 50}, {0}, {1, 1}},
        {"100, 100, 100", 140, 50, {{100, 100}, {100, 100}, {100, 100}}, 3, {100}, {0}, {0}},
        {"72, 72, 100", 140, 50, {{100, 72}, {100, 72}, {100, 100}}, 3, {100}, {0}, {0}},
        {"71, 71, 100", 140, 50, {{100, 71}, {100, 71}, {100, 100}}, 3, {99, 1, 0}, {0}, {0}},
        {"50, 50, 100", 140, 50, {{100, 50}, {100, 50}, {100, 100}}, 3, {70, 30, 0}, {0}, {0}},
        {"25, 100, 100", 140, 50, {{100, 25}, {100, 100}, {100, 100}}, 3, {35, 65, 0}, {0}, {0}},
        {"25, 25, 100", 140, 50, {{100, 25}, {100, 25}, {100, 100}}, 3, {35, 35, 30}, {0}, {0}},
    };
    expect_rows(rows, ARRAY_LEN(rows));
}

Test(priority, the_row_25_25_20_of_priority_rst_is_rounded_otherwise_in_code)
{
    /* The document says 36/36/28. */
    static const struct row rows[] = {
        {"panic off", 140, 0, {{100, 25}, {100, 25}, {100, 20}}, 3, {37, 35, 28}, {0}, {0}},
        {"panic at 50",
         140,
         50,
         {{100, 25}, {100, 25}, {100, 20}},
         3,
         {34, 33, 33},
         {0},
         {1, 1, 1}},
    };
    expect_rows(rows, ARRAY_LEN(rows));
}

Test(priority, spreads_as_the_table_of_envoys_degraded_rst)
{
    static const struct row rows[] = {
        {"100/0/0", 140, 50, {{100, 100, 0}}, 1, {100}, {0}, {0}},
        {"71/0/29", 140, 50, {{100, 71, 0}}, 1, {100}, {0}, {0}},
        {"71/29/0", 140, 50, {{100, 71, 29}}, 1, {99}, {1}, {0}},
        {"25/65/10", 140, 50, {{100, 25, 65}}, 1, {35}, {65}, {0}},
        {"5/0/95", 140, 0, {{100, 5, 0}}, 1, {100}, {0}, {0}},
    };
    expect_rows(rows, ARRAY_LEN(rows));
}

Test(priority, scales_what_is_left_as_the_comment_in_load_balancer_impl)
{
    /* Health 10, 20, 10 and degraded 20, 10, 0 percent: overprovisioning is 100 here. */
    static const struct row row = {
        "comment", 100,          NO_PANIC,    {{10, 1, 2}, {10, 2, 1}, {10, 1, 0}},
        3,         {16, 28, 14}, {28, 14, 0}, {0}};
    expect_row(&row, false);
}

Test(priority, leaves_out_the_excluded_as_envoys_documentation_of_excluded_hosts)
{
    static const struct row row = {"excluded", 140,      50,  {{3, 1, 0, 2}, {3, 3}},
                                   2,          {100, 0}, {0}, {0}};
    expect_row(&row, false);
}

Test(priority, spreads_as_envoys_load_balancer_impl_base_test)
{
    static const struct row rows[] = {
        {"(4,2)(4,2)", 140, 50, {{4, 2}, {4, 2}}, 2, {70, 30}, {0}, {0}},
        {"(4,2)(4,2) at 100", 100, 50, {{4, 2}, {4, 2}}, 2, {50, 50}, {0}, {0}},
        {"(1,0)(1,0)", 140, 50, {{1, 0}, {1, 0}}, 2, {50, 50}, {0}, {1, 1}},
        {"(1,0)(2,0)", 140, 50, {{1, 0}, {2, 0}}, 2, {34, 66}, {0}, {1, 1}},
        {"(1,0)(2,0)(1,1)", 140, 50, {{1, 0}, {2, 0}, {1, 1}}, 3, {0, 0, 100}, {0}, {0}},
        {"(4,1)(2,2)", 140, 50, {{4, 1}, {2, 2}}, 2, {35, 65}, {0}, {0}},
        {"(4,1)(4,1)", 140, 50, {{4, 1}, {4, 1}}, 2, {50, 50}, {0}, {1, 1}},
        {"(4,1,0,3)(5,1)", 140, 50, {{4, 1, 0, 3}, {5, 1}}, 2, {100, 0}, {0}, {0}},
        {"(4,0,0,4)(4,1)", 140, 50, {{4, 0, 0, 4}, {4, 1}}, 2, {50, 50}, {0}, {1, 1}},
        {"(4,0,0,1)(6,1,0,2)", 140, 50, {{4, 0, 0, 1}, {6, 1, 0, 2}}, 2, {40, 60}, {0}, {1, 1}},
        {"(5,1)x3", 140, 50, {{5, 1}, {5, 1}, {5, 1}}, 3, {34, 33, 33}, {0}, {1, 1, 1}},
        {"(5,0)(5,0)(5,5)", 140, 50, {{5, 0}, {5, 0}, {5, 5}}, 3, {0, 0, 100}, {0}, {0}},
        {"(5,0)(5,0)(5,4)", 140, 50, {{5, 0}, {5, 0}, {5, 4}}, 3, {0, 0, 100}, {0}, {0}},
        {"(5,0)(5,0)(5,2)", 140, 50, {{5, 0}, {5, 0}, {5, 2}}, 3, {34, 33, 33}, {0}, {1, 1, 1}},
        {"(5,0,5)(5,2,2)(5,2)", 140, 50, {{5, 0, 5}, {5, 2, 2}, {5, 2}}, 3, {0, 56, 44}, {0}, {0}},
        {"(5,0)(3,0)(2,0)", 140, 50, {{5, 0}, {3, 0}, {2, 0}}, 3, {50, 30, 20}, {0}, {1, 1, 1}},
        {"(5,0)(6,2)(3,1)", 140, 50, {{5, 0}, {6, 2}, {3, 1}}, 3, {37, 42, 21}, {0}, {1, 1, 1}},
        {"(5,0,1)(5,0,5)(5,1)",
         140,
         50,
         {{5, 0, 1}, {5, 0, 5}, {5, 1}},
         3,
         {0, 0, 28},
         {28, 44, 0},
         {0}},
        {"no panic (5,0)(5,0,2)(5,0,1)",
         140,
         NO_PANIC,
         {{5, 0}, {5, 0, 2}, {5, 0, 1}},
         3,
         {0},
         {0, 67, 33},
         {0}},
        {"(0,0)(6,0)(3,0)", 140, 50, {{0, 0}, {6, 0}, {3, 0}}, 3, {0, 67, 33}, {0}, {1, 1, 1}},
    };
    expect_rows(rows, ARRAY_LEN(rows));
}

Test(priority, weighs_health_as_envoys_weighted_priority_health_tests)
{
    static const struct row rows[] = {
        {"healthy 6 of 10", 100, 50, {{10, 6}, {1, 1}}, 2, {60, 40}, {0}, {0}},
        {"excluded 10", 100, 50, {{20, 4, 0, 10}, {1, 1}}, 2, {40, 60}, {0}, {0}},
        {"degraded", 100, 50, {{10, 4, 3}, {10, 1, 9}}, 2, {40, 10}, {30, 20}, {0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_row(&rows[i], true);
}

Test(priority, weights_may_be_as_large_as_they_come)
{
    const uint64_t huge = UINT64_C(1) << 60;
    const struct row rows[] = {
        {"whole", 1000, 50, {{huge, huge}, {1, 1}}, 2, {100, 0}, {0}, {0}},
        {"half at 100", 100, 50, {{huge, huge / 2}, {huge, huge}}, 2, {50, 50}, {0}, {0}},
        {"a little", 100, 0, {{huge, huge / 64}, {huge, huge}}, 2, {1, 99}, {0}, {0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_row(&rows[i], true);
}

Test(priority, panics_as_the_table_of_envoys_panic_threshold_rst)
{
    static const struct row rows[] = {
        {"50, 60", 140, 50, {{100, 50}, {100, 60}}, 2, {70, 30}, {0}, {0}},
        {"25, 100", 140, 50, {{100, 25}, {100, 100}}, 2, {35, 65}, {0}, {0}},
        {"25, 25", 140, 50, {{100, 25}, {100, 25}}, 2, {50, 50}, {0}, {1, 1}},
        {"total panic by size, 5 and 5", 140, 50, {{5, 0}, {5, 0}}, 2, {50, 50}, {0}, {1, 1}},
        {"total panic by size, 2 and 8", 140, 50, {{2, 0}, {8, 0}}, 2, {20, 80}, {0}, {1, 1}},
    };
    expect_rows(rows, ARRAY_LEN(rows));
}

Test(priority, the_row_5_65_of_panic_threshold_rst_is_rounded_otherwise_in_code)
{
    /* The document says 7/93; the remainder of rounding goes to the first level. */
    static const struct row row = {"5, 65", 140,     50,  {{100, 5}, {100, 65}},
                                   2,       {8, 92}, {0}, {1, 0}};
    expect_row(&row, false);
}

Test(priority, nobody_at_all_is_the_first_levels_failure)
{
    static const struct row rows[] = {
        {"no hosts", 140, 50, {{0}, {0}}, 2, {100, 0}, {0}, {1, 1}},
        {"nobody healthy, panic off", 140, NO_PANIC, {{5, 0}, {5, 0}}, 2, {100, 0}, {0}, {0}},
    };
    expect_rows(rows, ARRAY_LEN(rows));
}

Test(priority, a_level_without_hosts_hands_everything_on)
{
    static const struct row row = {"gap", 140, 50, {{4, 2}, {0}, {4, 4}}, 3, {70, 0, 30}, {0}, {0}};
    expect_row(&row, false);
}

Test(priority, a_hash_falls_to_each_level_as_often_as_its_load_says)
{
    static const struct priority_load loads[] = {{.healthy_pct = 28, .degraded_pct = 2},
                                                 {.healthy_pct = 0, .degraded_pct = 70}};
    unsigned healthy[2] = {0}, degraded[2] = {0};

    for (uint64_t hash = 0; hash < 1000; hash++) {
        bool is_degraded;
        const size_t level = priority_choose(loads, 2, hash, &is_degraded);
        (is_degraded ? degraded : healthy)[level]++;
    }

    cr_expect(healthy[0] == 280 && healthy[1] == 0 && degraded[0] == 20 && degraded[1] == 700);
}

Test(priority, shares_move_by_single_percents_as_hosts_go)
{
    const struct priority_policy policy = {140, 50, false};
    struct priority_load loads[2];
    uint32_t before = 100;

    for (uint64_t healthy = 1000; healthy-- > 0;) {
        const struct priority_level levels[] = {{.count = {1000, healthy, 0, 0}},
                                                {.count = {1000, 1000, 0, 0}}};
        priority_spread(&policy, levels, 2, loads);
        cr_assert(before - loads[0].healthy_pct <= 1, "from %u to %u", before,
                  loads[0].healthy_pct);
        before = loads[0].healthy_pct;
    }
    cr_expect_eq(before, 0);
}
