/*
 * Vectors: Envoy's orca_weight_manager tests and gRPC A58 (weights), the worked example in the
 * documentation of load_aware_locality (shares).
 */
#include <criterion/criterion.h>
#include <math.h>

#include "bench/sim/load_aware.h"

TestSuite(load_aware, .timeout = 30);

Test(load_aware, weighs_reports_as_envoys_orca_weight_manager)
{
    const struct orca_report plain = {.rps = 1000, .application = 0.5, .cpu = -1, .named = -1};
    const struct orca_report failing = {
        .rps = 1000, .eps = 100, .application = 0.5, .cpu = -1, .named = -1};
    const struct orca_report huge = {.rps = 1e13, .application = 1e-7, .cpu = -1, .named = -1};
    const struct orca_report silent = {.rps = 0, .application = 0.5, .cpu = -1, .named = -1};
    const struct orca_report idle = {.rps = 1000, .application = 0, .cpu = 0, .named = 0};
    uint32_t weight;

    cr_assert(orca_weight(&plain, false, 1, &weight));
    cr_expect_eq(weight, 2000);
    cr_assert(orca_weight(&failing, false, 2, &weight));
    cr_expect_eq(weight, 1428);
    cr_assert(orca_weight(&huge, false, 1, &weight));
    cr_expect_eq(weight, UINT32_MAX);
    cr_expect_not(orca_weight(&silent, false, 1, &weight));
    cr_expect_not(orca_weight(&idle, false, 1, &weight));
}

Test(load_aware, named_metrics_come_first_and_came_second_in_the_older_order)
{
    const struct orca_report report = {.rps = 1, .application = 0.5, .cpu = 0.6, .named = 0.3};

    cr_expect_eq(orca_utilisation(&report, false), 0.3);
    cr_expect_eq(orca_utilisation(&report, true), 0.5);
}

Test(load_aware, who_has_no_weight_gets_the_median)
{
    uint32_t odd[] = {9, 1, 5}, even[] = {8, 1, 5, 2};

    cr_expect_eq(orca_median(odd, 3), 5);
    cr_expect_eq(orca_median(even, 4), 3);
    cr_expect_eq(orca_median(NULL, 0), 1);
}

Test(load_aware, shares_are_those_of_envoys_worked_example)
{
    static const struct load_aware_locality busy[] = {{0, 10, 7}, {1, 10, 3}, {2, 10, 4}};
    static const double shares[] = {3.0 / 16, 7.0 / 16, 6.0 / 16}; /* 19, 44, 37 % */
    struct load_aware aware = {0};

    load_aware_tick(&aware, busy, 3);

    for (size_t i = 0; i < 3; i++)
        cr_expect(fabs(aware.shares[i] - shares[i]) < 1e-9, "%zu: %f", i, aware.shares[i]);
}

Test(load_aware, stays_at_home_but_for_probes_while_home_is_hardly_busier)
{
    static const struct load_aware_locality even[] = {{0, 10, 4.4}, {1, 10, 3}, {2, 20, 8}};
    struct load_aware aware = {0};

    load_aware_tick(&aware, even, 3);

    cr_expect(fabs(aware.shares[0] - 0.97) < 1e-9);
    cr_expect(fabs(aware.shares[1] - 0.01) < 1e-9);
    cr_expect(fabs(aware.shares[2] - 0.02) < 1e-9);
}

Test(load_aware, with_everybody_overloaded_numbers_decide)
{
    static const struct load_aware_locality full[] = {{0, 10, 14}, {1, 30, 33}};
    struct load_aware aware = {0};

    load_aware_tick(&aware, full, 2);

    cr_expect(fabs(aware.shares[0] - 0.25) < 1e-9 && fabs(aware.shares[1] - 0.75) < 1e-9);
}

/* The table of probe intervals in the documentation: with 3 % of the calls an idle remote host is
 * asked so often; beyond three minutes its report has expired before the next one. */
Test(load_aware, a_remote_host_is_probed_as_often_as_envoys_table_says)
{
    static const struct {
        double rps;
        uint32_t n_remotes, n_hosts;
        double interval_s, within_s;
    } rows[] = {{1000, 3, 10, 1, 0.01}, {1000, 100, 10, 33, 0.5}, {100, 100, 10, 330, 5}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const uint32_t n_far = rows[i].n_remotes * rows[i].n_hosts;
        const struct load_aware_locality idle[] = {{0, 10, 4}, {1, n_far, 0.4 * n_far}};
        struct load_aware aware = {0};
        load_aware_tick(&aware, idle, 2);
        const double interval_s = n_far / (aware.shares[1] * rows[i].rps);
        cr_expect(fabs(interval_s - rows[i].interval_s) < rows[i].within_s, "row %zu: %f s", i,
                  interval_s);
    }
}

Test(load_aware, the_first_report_counts_as_it_is_and_later_ones_by_and_by)
{
    static const struct load_aware_locality before[] = {{0, 10, 4}, {1, 10, 4}};
    static const struct load_aware_locality later[] = {{0, 10, 9}, {1, 10, 4}};
    struct load_aware aware = {0};

    load_aware_tick(&aware, before, 2);
    cr_expect_eq(aware.smoothed[0], 0.4);
    load_aware_tick(&aware, later, 2);
    /* alpha = 1 - e^(-1 s / 5 s) = 0.18127 */
    cr_expect(fabs(aware.smoothed[0] - (0.4 + 0.5 * 0.181269)) < 1e-6, "%f", aware.smoothed[0]);
}
