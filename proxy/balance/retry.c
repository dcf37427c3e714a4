#include "proxy/balance/retry.h"

uint32_t retry_budget(uint32_t budget_pct, uint32_t min_concurrent, uint32_t n_in_progress)
{
    const uint64_t share = (uint64_t)budget_pct * n_in_progress / 100;
    const uint64_t budget = share > min_concurrent ? share : min_concurrent;
    return budget < UINT32_MAX ? (uint32_t)budget : UINT32_MAX;
}

uint64_t retry_wait_bound_ns(uint64_t base_ns, uint64_t max_ns, uint32_t retry)
{
    const uint64_t times = retry < 63 ? (UINT64_C(1) << retry) - 1 : INT64_MAX;
    if (base_ns > 0 && times > max_ns / base_ns)
        return max_ns;
    return times * base_ns;
}

uint64_t retry_wait_ns(uint64_t base_ns, uint64_t max_ns, uint32_t retry, struct rng *rng)
{
    const uint64_t bound_ns = retry_wait_bound_ns(base_ns, max_ns, retry);
    return bound_ns > 0 ? rng_next(rng) % bound_ns : 0;
}
