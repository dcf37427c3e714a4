#include "proxy/balance/overload.h"

double overload_scale(const struct overload_trigger *trigger, double pressure)
{
    const double from = trigger->scaling_permille / 1000.0;
    const double to = trigger->saturation_permille / 1000.0;
    if (pressure >= to)
        return 1;
    return pressure > from ? (pressure - from) / (to - from) : 0;
}

uint64_t overload_timeout_ns(uint64_t full_ns, uint64_t least_ns, double scale)
{
    if (full_ns <= least_ns)
        return full_ns;
    return least_ns + (uint64_t)((double)(full_ns - least_ns) * (1 - scale) + 0.5);
}
