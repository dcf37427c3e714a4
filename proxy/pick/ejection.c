/*
 * Outliers: endpoints that do much worse than those beside them rest for a while.
 *
 * What is counted in an interval is kept in tallies, one for each member that was used, so a look
 * costs as much as there was traffic, not as there are endpoints, and at most TALLIES_MAX. The
 * thresholds are proxy/balance/outlier.h's; compared are endpoints of one level, since those of
 * another have another way.
 */
#include <stdlib.h>

#include "proxy/base/mem.h"
#include "proxy/meter/meter.h"
#include "proxy/pick/fleet.h"

static struct tally *tally_of(struct member *member)
{
    struct fleet *fleet = member->fleet;
    if (member->tally > 0)
        return &fleet->tallies[member->tally - 1];
    if (fleet->n_tallies == TALLIES_MAX)
        return NULL;
    if (!fleet->tallies)
        fleet->tallies = mem_new_array(struct tally, TALLIES_MAX);
    fleet->tallies[fleet->n_tallies] = (struct tally){.member = member};
    member->tally = ++fleet->n_tallies;
    return &fleet->tallies[fleet->n_tallies - 1];
}

void ejection_eject(struct member *member, enum rest_cause cause, uint64_t now_ns)
{
    const struct ejection *policy = &member->fleet->policy.ejection;
    const struct fleet_level *level = member_level(member);
    const bool is_again = member->is_ejected; /* its trial failed: it is counted already */
    const bool is_last = level->n_fit <= 1 && member->filing == FILED_FIT;
    if (!is_again &&
        (is_last || !outlier_may_eject(level->n_ejected, level->n_all, policy->max_pct, true)))
        return;
    const uint64_t rest_ns = outlier_rest_next(&member->rest, policy->base_ns, policy->max_ns);
    member->failures = 0;
    member_rest(member, now_ns + rest_ns, true, cause);
    meter_add(member->fleet->balancer->meter, METRIC_EJECTIONS, 1);
}

void ejection_count(struct member *member, bool is_good, uint64_t now_ns)
{
    const struct ejection *policy = &member->fleet->policy.ejection;
    struct tally *tally = tally_of(member);
    member->failures = is_good ? 0 : member->failures + 1;
    if (tally && is_good)
        tally->count.ok++;
    else if (tally)
        tally->count.failed++;
    if (member->is_on_trial && is_good) {
        member_recover(member, now_ns);
    } else if (member->is_on_trial && member->is_ejected) {
        ejection_eject(member, REST_TRIAL, now_ns);
    } else if (policy->is_on && policy->consecutive_failures > 0 && !member->is_ejected &&
               member->failures >= policy->consecutive_failures) {
        ejection_eject(member, REST_FAILURES, now_ns);
    }
}

void ejection_sample(struct member *member, uint64_t latency_ns, uint64_t now_ns)
{
    struct tally *tally = tally_of(member);
    const double limit_ns = member_level(member)->latency_limit_ns;
    if (tally) {
        tally->n_samples++;
        tally->sum_ns += (double)latency_ns;
    }
    if (member->is_on_trial && member->is_ejected && limit_ns > 0 && (double)latency_ns > limit_ns)
        ejection_eject(member, REST_LATENCY, now_ns);
}

/* ---- a look at an interval ---- */

struct group { /* the tallies of one level's serving members */
    struct fleet *fleet;
    struct fleet_level *level;
    const struct tally **tallies;
    size_t len;
};

static void look_at_success(const struct group *group, uint64_t now_ns)
{
    const struct ejection *policy = &group->fleet->policy.ejection;
    const struct outlier_rates rates = {policy->success_rate_min_hosts,
                                        policy->success_rate_min_volume};
    struct outlier_tally *counts = mem_new_array(struct outlier_tally, group->len);
    double threshold_pct;
    for (size_t i = 0; i < group->len; i++)
        counts[i] = group->tallies[i]->count;
    const bool is_judged = outlier_success_threshold(&rates, policy->success_rate_stdev_permille,
                                                     counts, group->len, &threshold_pct);
    for (size_t i = 0; is_judged && i < group->len; i++)
        if (outlier_can_judge(&rates, &counts[i]) &&
            outlier_success_pct(&counts[i]) < threshold_pct)
            ejection_eject(group->tallies[i]->member, REST_SUCCESS_RATE, now_ns);
    mem_free(counts);
}

static void look_at_failures(const struct group *group, uint64_t now_ns)
{
    const struct ejection *policy = &group->fleet->policy.ejection;
    const struct outlier_rates rates = {policy->failure_pct_min_hosts,
                                        policy->failure_pct_min_volume};
    uint32_t n = 0;
    for (size_t i = 0; i < group->len; i++)
        n += outlier_can_judge(&rates, &group->tallies[i]->count);
    for (size_t i = 0; n >= rates.min_hosts && i < group->len; i++)
        if (outlier_fails_too_often(&rates, policy->failure_pct, &group->tallies[i]->count))
            ejection_eject(group->tallies[i]->member, REST_FAILURE_RATE, now_ns);
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool has_latency(const struct group *group, size_t idx)
{
    return group->tallies[idx]->n_samples > 0 &&
           group->tallies[idx]->n_samples >= group->fleet->policy.ejection.latency_min_volume;
}

static double mean_latency_ns(const struct tally *tally)
{
    return tally->sum_ns / tally->n_samples;
}

/* The median of the members' means; 0 when too few can be judged. */
static double median_latency_ns(const struct group *group)
{
    double *means = mem_new_array(double, group->len);
    size_t n = 0;
    for (size_t i = 0; i < group->len; i++)
        if (has_latency(group, i))
            means[n++] = mean_latency_ns(group->tallies[i]);
    qsort(means, n, sizeof(*means), compare_doubles);
    const bool is_judged = n > 0 && n >= group->fleet->policy.ejection.latency_min_hosts;
    const double median_ns = is_judged ? means[(n - 1) / 2] : 0;
    mem_free(means);
    return median_ns;
}

static void look_at_latency(const struct group *group, uint64_t now_ns)
{
    const uint32_t factor_pct = group->fleet->policy.ejection.latency_factor_pct;
    const double limit_ns = median_latency_ns(group) * factor_pct / 100;
    if (limit_ns > 0)
        group->level->latency_limit_ns = limit_ns;
    for (size_t i = 0; limit_ns > 0 && i < group->len; i++)
        if (has_latency(group, i) && mean_latency_ns(group->tallies[i]) > limit_ns)
            ejection_eject(group->tallies[i]->member, REST_LATENCY, now_ns);
}

static void look_at_group(const struct group *group, uint64_t now_ns)
{
    const struct ejection *policy = &group->fleet->policy.ejection;
    if (policy->success_rate_stdev_permille > 0)
        look_at_success(group, now_ns);
    if (policy->failure_pct > 0)
        look_at_failures(group, now_ns);
    if (policy->latency_factor_pct > 0)
        look_at_latency(group, now_ns);
}

/* Sorts the tallies into levels by counting, so that a look is linear. */
static void look_at_levels(struct fleet *fleet, uint64_t now_ns)
{
    const struct tally **sorted = mem_new_array(const struct tally *, fleet->n_tallies);
    size_t end[LEVELS_MAX + 1] = {0};
    for (uint32_t i = 0; i < fleet->n_tallies; i++)
        if (fleet->tallies[i].member->state == MEMBER_SERVING)
            end[fleet->tallies[i].member->level + 1]++;
    for (size_t i = 0; i < fleet->n_levels; i++)
        end[i + 1] += end[i];
    for (uint32_t i = 0; i < fleet->n_tallies; i++)
        if (fleet->tallies[i].member->state == MEMBER_SERVING)
            sorted[end[fleet->tallies[i].member->level]++] = &fleet->tallies[i];
    for (size_t i = 0, start = 0; i < fleet->n_levels; start = end[i++]) {
        const struct group group = {fleet, &fleet->levels[i], sorted + start, end[i] - start};
        if (group.len > 0)
            look_at_group(&group, now_ns);
    }
    mem_free(sorted);
}

static void start_interval(struct fleet *fleet, uint64_t now_ns)
{
    for (uint32_t i = 0; i < fleet->n_tallies; i++) {
        struct member *member = fleet->tallies[i].member;
        if (!member->is_ejected)
            outlier_rest_relax(&member->rest);
        member->tally = 0;
    }
    fleet->n_tallies = 0;
    fleet->look_at_ns = now_ns + fleet->policy.ejection.interval_ns;
}

void ejection_look(struct fleet *fleet, uint64_t now_ns)
{
    if (now_ns < fleet->look_at_ns)
        return;
    if (fleet->policy.ejection.is_on && fleet->n_tallies > 0)
        look_at_levels(fleet, now_ns);
    start_interval(fleet, now_ns);
}
