/*
 * bench_sim [--quick] [--brief] [--check] [--seed N] [--scenario NAME] [--trace] [--margin PCT]
 *           [--only NAME | --against NAME]
 *
 * Prints how each way of choosing endpoints fares in each scenario. --check ends with 1 when ours
 * misses a goal: the lowest 99th percentile or within a margin of it, no oscillation, hardly more
 * sent to other clusters than had to be. --brief ends ten seconds after the change settled.
 * --margin sets the first goal's margin. --only runs one way of choosing, --against ours and one
 * other.
 */
#include <stdio.h>
#include <string.h>

#include "bench/sim/sim.h"
#include "proxy/base/mem.h"

#define MARGIN_PCT       5.0  /* above the lowest 99th percentile */
#define MARGIN_QUICK_PCT 10.0 /* the same of fewer connections, whose percentiles are rougher */
#define SWING_POINTS     10.0
#define CROSSED_PCT      10.0 /* above what was needed */
#define CROSSED_POINTS   0.5  /* and so many points of the traffic: finding out costs something */
#define BRIEF_NS         (10 * SIM_SEC) /* --brief: what is seen of what settled */
#define THIN             3.0            /* --quick: how many times fewer connections */
#define OTHERS_MAX       16

struct options {
    bool is_quick, is_brief, is_check, is_trace;
    uint64_t seed;
    uint64_t margin_pct;                   /* 0: the goal's */
    const char *scenario, *only, *against; /* NULL: all */
};

static void print_head(void)
{
    (void)printf("%-14s %-17s %8s %8s %9s %8s %7s %8s %8s\n", "scenario", "", "p50 ms", "p99 ms",
                 "p99.9 ms", "failed", "swing", "crossed", "needed");
}

static void print_row(const char *scenario, const char *name, const struct sim_result *result)
{
    (void)printf("%-14s %-17s %8.1f %8.1f %9.1f %7.3f%% %7.1f %7.2f%% %7.2f%%\n", scenario, name,
                 (double)result->p50_ns / SIM_MS, (double)result->p99_ns / SIM_MS,
                 (double)result->p999_ns / SIM_MS,
                 100 * (double)result->n_failed / (double)(result->n ? result->n : 1),
                 result->swing_points, result->crossed_pct, result->needed_pct);
    (void)fflush(stdout);
}

/* Says what ours misses; true when nothing. */
static bool judge(const char *scenario, const struct sim_result *ours, double lowest_p99,
                  const char *lowest, double margin_pct)
{
    bool is_good = true;
    const double over_pct = 100 * ((double)ours->p99_ns / lowest_p99 - 1);
    const double allowed = ours->needed_pct * (1 + CROSSED_PCT / 100) + CROSSED_POINTS;
    if (over_pct > margin_pct) {
        (void)printf("MISSED %s: p99 is %.1f %% above that of %s\n", scenario, over_pct, lowest);
        is_good = false;
    }
    if (ours->swing_points > SWING_POINTS) {
        (void)printf("MISSED %s: a share swings by %.1f points\n", scenario, ours->swing_points);
        is_good = false;
    }
    if (ours->crossed_pct > allowed) {
        (void)printf("MISSED %s: %.2f %% went to other clusters, %.2f %% is the most\n", scenario,
                     ours->crossed_pct, allowed);
        is_good = false;
    }
    return is_good;
}

static bool is_run(const struct options *options, const struct chooser_kind *kind)
{
    if (options->only)
        return strcmp(options->only, kind->name) == 0;
    return !options->against || kind == &chooser_isthmus ||
           strcmp(options->against, kind->name) == 0;
}

static bool run_scenario(const struct sim_scenario *scenario, const struct options *options)
{
    struct sim_fleet *fleet = mem_new(struct sim_fleet);
    struct sim_result ours = {0};
    double lowest_p99 = 0;
    const char *lowest = NULL;
    scenario->make(fleet);
    if (options->is_quick)
        sim_thin(fleet, THIN);
    if (options->is_brief && fleet->length_ns > fleet->settled_ns + BRIEF_NS)
        fleet->length_ns = fleet->settled_ns + BRIEF_NS;
    for (size_t i = 0; i <= n_choosers_of_others; i++) {
        const struct chooser_kind *kind = i == 0 ? &chooser_isthmus : &choosers_of_others[i - 1];
        if (!is_run(options, kind))
            continue;
        const struct sim_result result =
            sim_run(fleet, kind, options->seed, options->is_trace && i == 0);
        print_row(scenario->name, kind->name, &result);
        if (i == 0)
            ours = result;
        else if (!lowest || (double)result.p99_ns < lowest_p99) {
            lowest_p99 = (double)result.p99_ns;
            lowest = kind->name;
        }
    }
    mem_free(fleet);
    if (!lowest || ours.n == 0)
        return true;
    const double goal_pct = options->is_quick ? MARGIN_QUICK_PCT : MARGIN_PCT;
    return judge(scenario->name, &ours, lowest_p99, lowest,
                 options->margin_pct > 0 ? (double)options->margin_pct : goal_pct);
}

static bool read_options(int argc, char **argv, struct options *out)
{
    *out = (struct options){.seed = 1};
    for (int i = 1; i < argc; i++) {
        const bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--quick") == 0)
            out->is_quick = true;
        else if (strcmp(argv[i], "--brief") == 0)
            out->is_brief = true;
        else if (strcmp(argv[i], "--check") == 0)
            out->is_check = true;
        else if (strcmp(argv[i], "--trace") == 0)
            out->is_trace = true;
        else if (strcmp(argv[i], "--seed") == 0 && has_value) {
            if (!str_to_u64(str_from(argv[++i]), UINT64_MAX, &out->seed))
                return false;
        } else if (strcmp(argv[i], "--margin") == 0 && has_value) {
            if (!str_to_u64(str_from(argv[++i]), 1000, &out->margin_pct))
                return false;
        } else if (strcmp(argv[i], "--scenario") == 0 && has_value)
            out->scenario = argv[++i];
        else if (strcmp(argv[i], "--only") == 0 && has_value)
            out->only = argv[++i];
        else if (strcmp(argv[i], "--against") == 0 && has_value)
            out->against = argv[++i];
        else
            return false;
    }
    return true;
}

static int usage(void)
{
    (void)fputs(
        "usage: bench_sim [--quick] [--brief] [--check] [--seed N] [--scenario NAME] [--only NAME] "
        "[--against NAME] [--trace] [--margin PCT]\nscenarios:\n",
        stderr);
    for (size_t i = 0; i < sim_n_scenarios; i++)
        (void)fprintf(stderr, "  %-14s %s\n", sim_scenarios[i].name, sim_scenarios[i].what);
    return 2;
}

int main(int argc, char **argv)
{
    struct options options;
    bool is_good = true, is_found = false;
    if (!read_options(argc, argv, &options))
        return usage();
    print_head();
    for (size_t i = 0; i < sim_n_scenarios; i++) {
        if (options.scenario && strcmp(options.scenario, sim_scenarios[i].name) != 0)
            continue;
        is_found = true;
        is_good = run_scenario(&sim_scenarios[i], &options) && is_good;
    }
    if (!is_found)
        return usage();
    return options.is_check && !is_good;
}
