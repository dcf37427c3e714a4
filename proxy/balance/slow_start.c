#include "proxy/balance/slow_start.h"

#include <math.h>

#define ELAPSED_MIN_NS 1000000 /* a new endpoint is not at zero, which it would never leave, */
#define FACTOR_MIN     1e-6    /* however steep the curve */

double slow_start_factor(const struct slow_start *policy, uint64_t elapsed_ns)
{
    if (elapsed_ns >= policy->window_ns)
        return 1;
    if (elapsed_ns < ELAPSED_MIN_NS)
        elapsed_ns = ELAPSED_MIN_NS;
    const double time = (double)elapsed_ns / (double)policy->window_ns;
    double factor = time;
    if (policy->aggression_permille != 1000)
        factor = pow(time, 1000.0 / policy->aggression_permille);
    const double floor = policy->min_pct / 100.0;
    factor = factor > floor ? factor : floor;
    factor = factor > FACTOR_MIN ? factor : FACTOR_MIN;
    return factor < 1 ? factor : 1;
}
