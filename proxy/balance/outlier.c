#include "proxy/balance/outlier.h"

#include <math.h>

bool outlier_can_judge(const struct outlier_rates *rates, const struct outlier_tally *tally)
{
    const uint64_t volume = tally->ok + tally->failed;
    return volume > 0 && volume >= rates->min_volume;
}

double outlier_success_pct(const struct outlier_tally *tally)
{
    const uint64_t volume = tally->ok + tally->failed;
    return volume > 0 ? 100.0 * (double)tally->ok / (double)volume : 100;
}

bool outlier_success_threshold(const struct outlier_rates *rates, uint32_t stdev_permille,
                               const struct outlier_tally *tallies, size_t n,
                               double *out_threshold_pct)
{
    double sum = 0, squares = 0;
    size_t judged = 0;
    for (size_t i = 0; i < n; i++) {
        if (!outlier_can_judge(rates, &tallies[i]))
            continue;
        sum += outlier_success_pct(&tallies[i]);
        judged++;
    }
    if (judged == 0 || judged < rates->min_hosts)
        return false;
    const double mean = sum / (double)judged;
    for (size_t i = 0; i < n; i++) {
        const double off = outlier_success_pct(&tallies[i]) - mean;
        if (outlier_can_judge(rates, &tallies[i]))
            squares += off * off;
    }
    *out_threshold_pct = mean - sqrt(squares / (double)judged) * (stdev_permille / 1000.0);
    return true;
}

bool outlier_fails_too_often(const struct outlier_rates *rates, uint32_t failure_pct,
                             const struct outlier_tally *tally)
{
    return outlier_can_judge(rates, tally) &&
           100 * tally->failed >= failure_pct * (tally->ok + tally->failed);
}

bool outlier_may_eject(uint32_t n_ejected, uint32_t n_hosts, uint32_t max_pct, bool always_one)
{
    if (n_hosts == 0 || n_ejected >= n_hosts - 1)
        return false;
    return (n_ejected == 0 && always_one) ||
           UINT64_C(100) * (n_ejected + 1) <= (uint64_t)max_pct * n_hosts;
}

uint64_t outlier_rest_next(struct outlier_rest *rest, uint64_t base_ns, uint64_t max_ns)
{
    const uint64_t longest_ns = max_ns > base_ns ? max_ns : base_ns;
    if (rest->multiplier * base_ns < longest_ns + base_ns)
        rest->multiplier++;
    const uint64_t rest_ns = rest->multiplier * base_ns;
    return rest_ns < longest_ns ? rest_ns : longest_ns;
}

void outlier_rest_relax(struct outlier_rest *rest)
{
    if (rest->multiplier > 0)
        rest->multiplier--;
}
