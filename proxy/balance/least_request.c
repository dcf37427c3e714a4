#include "proxy/balance/least_request.h"

#include <math.h>

#include "proxy/base/ensure.h"

double least_request_weight(double weight, uint32_t n_active, uint32_t bias_permille)
{
    const double load = (double)n_active + 1;
    if (bias_permille == 1000)
        return weight / load;
    return weight / pow(load, bias_permille / 1000.0);
}

size_t least_request_draw(const uint32_t *actives, size_t n, uint32_t n_choices, struct rng *rng)
{
    ensure(n > 0);
    size_t best = rng_below(rng, (uint32_t)n);
    for (uint32_t i = 1; i < n_choices; i++) {
        const size_t drawn = rng_below(rng, (uint32_t)n);
        if (actives[drawn] < actives[best])
            best = drawn;
    }
    return best;
}

size_t least_request_scan(const uint32_t *actives, size_t n, struct rng *rng)
{
    size_t best = 0;
    uint32_t ties = 1;
    ensure(n > 0);
    for (size_t i = 1; i < n; i++) {
        if (actives[i] > actives[best])
            continue;
        ties = actives[i] < actives[best] ? 1 : ties + 1;
        if (rng_below(rng, ties) == 0)
            best = i;
    }
    return best;
}
