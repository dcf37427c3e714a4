#include "bench/sim/load_aware.h"

#include <math.h>
#include <stdlib.h>

#define PERIOD_S 1.0
#define TAU_S    5.0
#define VARIANCE 0.1  /* one's own may be so much busier than the others before it hands on */
#define PROBE    0.03 /* to the others in any case, so that their reports stay fresh */
#define POINTS   1000000

double orca_utilisation(const struct orca_report *report, bool application_first)
{
    const double first = application_first ? report->application : report->named;
    const double second = application_first ? report->named : report->application;
    if (first > 0)
        return first;
    return second > 0 ? second : report->cpu;
}

bool orca_weight(const struct orca_report *report, bool application_first, double penalty,
                 uint32_t *out_weight)
{
    const double utilisation = orca_utilisation(report, application_first);
    if (!(report->rps > 0) || !(utilisation > 0))
        return false;
    const double weight = report->rps / (utilisation + report->eps / report->rps * penalty);
    *out_weight = weight < UINT32_MAX ? (uint32_t)weight : UINT32_MAX;
    return true;
}

static int by_value(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

uint32_t orca_median(uint32_t *weights, size_t n)
{
    if (n == 0)
        return 1;
    qsort(weights, n, sizeof *weights, by_value);
    if (n % 2 == 1)
        return weights[n / 2];
    return (uint32_t)(((uint64_t)weights[n / 2 - 1] + weights[n / 2]) / 2);
}

static void smooth(struct load_aware *aware, const struct load_aware_locality *localities)
{
    const double alpha = 1 - exp(-PERIOD_S / TAU_S);
    for (size_t i = 0; i < aware->n; i++) {
        aware->ids[i] = localities[i].id;
        if (localities[i].n_hosts == 0)
            continue;
        const double now = localities[i].utilisation_sum / localities[i].n_hosts;
        aware->smoothed[i] =
            aware->is_known[i] ? aware->smoothed[i] + alpha * (now - aware->smoothed[i]) : now;
        aware->is_known[i] = true;
    }
}

/* By what is free; by numbers when nothing is. */
static void share_by_head_room(struct load_aware *aware,
                               const struct load_aware_locality *localities)
{
    double sum = 0;
    for (size_t i = 0; i < aware->n; i++) {
        const double head_room = 1 - aware->smoothed[i];
        aware->shares[i] = head_room > 0 ? localities[i].n_hosts * head_room : 0;
        sum += aware->shares[i];
    }
    for (size_t i = 0; i < aware->n && sum <= 0; i++)
        aware->shares[i] = localities[i].n_hosts;
}

static void normalise(struct load_aware *aware)
{
    double sum = 0;
    for (size_t i = 0; i < aware->n; i++)
        sum += aware->shares[i];
    for (size_t i = 0; i < aware->n && sum > 0; i++)
        aware->shares[i] /= sum;
}

void load_aware_tick(struct load_aware *aware, const struct load_aware_locality *localities,
                     size_t n)
{
    double remote = 0, n_remote = 0;
    aware->n = n;
    smooth(aware, localities);
    for (size_t i = 1; i < n; i++) {
        remote += aware->smoothed[i] * localities[i].n_hosts;
        n_remote += localities[i].n_hosts;
    }
    const bool stays = n > 0 && localities[0].n_hosts > 0 &&
                       (n_remote <= 0 || aware->smoothed[0] <= remote / n_remote + VARIANCE);
    if (!stays) {
        share_by_head_room(aware, localities);
        normalise(aware);
        return;
    }
    aware->shares[0] = n_remote > 0 ? 1 - PROBE : 1;
    for (size_t i = 1; i < n; i++)
        aware->shares[i] = n_remote > 0 ? PROBE * localities[i].n_hosts / n_remote : 0;
}

uint32_t load_aware_choose(const struct load_aware *aware, struct rng *rng)
{
    double point = (double)rng_below(rng, POINTS) / POINTS;
    for (size_t i = 0; i < aware->n; i++) {
        if (point < aware->shares[i])
            return aware->ids[i];
        point -= aware->shares[i];
    }
    return UINT32_MAX;
}
