#include "proxy/balance/concurrency.h"

#include <math.h>
#include <stdlib.h>

#define GRADIENT_MIN 0.5
#define GRADIENT_MAX 2.0

uint32_t concurrency_next_limit(const struct concurrency_policy *policy, uint32_t limit,
                                uint64_t least_ns, uint64_t sample_ns)
{
    const double allowed = (double)least_ns * (1 + policy->buffer_pct / 100.0);
    double gradient = sample_ns > 0 ? allowed / (double)sample_ns : GRADIENT_MAX;
    gradient = gradient < GRADIENT_MIN ? GRADIENT_MIN : gradient;
    gradient = gradient > GRADIENT_MAX ? GRADIENT_MAX : gradient;
    const double scaled = limit * gradient;
    const double next = scaled + sqrt(scaled);
    if (next <= policy->min_limit)
        return policy->min_limit;
    return next < policy->max_limit ? (uint32_t)next : policy->max_limit;
}

static int by_value(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static uint64_t quantile(struct concurrency *concurrency, uint32_t pct)
{
    qsort(concurrency->samples, concurrency->n_kept, sizeof concurrency->samples[0], by_value);
    const uint32_t rank = (concurrency->n_kept * pct + 99) / 100;
    return concurrency->samples[rank > 0 ? rank - 1 : 0];
}

static void begin_window(struct concurrency *concurrency, const struct concurrency_policy *policy,
                         uint64_t now_ns)
{
    concurrency->n_seen = concurrency->n_kept = 0;
    concurrency->window_end_ns = now_ns + policy->window_ns;
}

static void begin_measuring(struct concurrency *concurrency,
                            const struct concurrency_policy *policy, uint64_t now_ns)
{
    concurrency->is_measuring = true;
    concurrency->limit_before = concurrency->limit;
    concurrency->limit = policy->min_limit;
    begin_window(concurrency, policy, now_ns);
}

static void end_measuring(struct concurrency *concurrency, const struct concurrency_policy *policy,
                          uint64_t now_ns, struct rng *rng)
{
    const uint64_t jitter_ns = policy->interval_ns / 100 * policy->jitter_pct;
    concurrency->least_ns = quantile(concurrency, policy->quantile_pct);
    concurrency->is_measuring = false;
    concurrency->limit = concurrency->limit_before;
    concurrency->n_stuck = 0;
    concurrency->measure_at_ns =
        now_ns + policy->interval_ns + (jitter_ns > 0 ? rng_next(rng) % jitter_ns : 0);
    begin_window(concurrency, policy, now_ns);
}

static void end_window(struct concurrency *concurrency, const struct concurrency_policy *policy,
                       uint64_t now_ns)
{
    concurrency->limit = concurrency_next_limit(policy, concurrency->limit, concurrency->least_ns,
                                                quantile(concurrency, policy->quantile_pct));
    const bool is_least = concurrency->limit <= policy->min_limit;
    concurrency->n_stuck = is_least ? concurrency->n_stuck + 1 : 0;
    if (now_ns >= concurrency->measure_at_ns || concurrency->n_stuck >= policy->n_windows_stuck)
        begin_measuring(concurrency, policy, now_ns);
    else
        begin_window(concurrency, policy, now_ns);
}

void concurrency_init(struct concurrency *concurrency, const struct concurrency_policy *policy,
                      uint64_t now_ns)
{
    *concurrency = (struct concurrency){.limit = policy->min_limit};
    begin_measuring(concurrency, policy, now_ns);
}

void concurrency_add(struct concurrency *concurrency, const struct concurrency_policy *policy,
                     uint64_t latency_ns, uint64_t now_ns, struct rng *rng)
{
    concurrency->n_seen++;
    if (concurrency->n_kept < CONCURRENCY_SAMPLES_MAX) {
        concurrency->samples[concurrency->n_kept++] = latency_ns;
    } else {
        const uint32_t at = rng_below(rng, concurrency->n_seen);
        if (at < CONCURRENCY_SAMPLES_MAX)
            concurrency->samples[at] = latency_ns;
    }
    if (concurrency->is_measuring) {
        if (concurrency->n_seen >= policy->n_measure)
            end_measuring(concurrency, policy, now_ns, rng);
    } else if (now_ns >= concurrency->window_end_ns) {
        end_window(concurrency, policy, now_ns);
    }
}
