#include "proxy/flow/overload.h"

#define DESCRIPTORS_BEGIN_PCT 95
#define DESCRIPTORS_END_PCT   90
#define MEMORY_END_PCT        90

const char *strain_text(enum strain strain)
{
    static const char *const texts[STRAINS] = {
        "nothing is strained",
        "the memory of the proxy is at its bound (limits.memoryBytes)",
        "descriptors are running out (RLIMIT_NOFILE)",
        "the worker is late (limits.loopLag)",
    };
    return texts[strain];
}

bool overload_lacks_memory(const struct overload *overload, uint64_t bound, uint64_t bytes)
{
    const uint64_t end = bound / 100 * MEMORY_END_PCT;
    return bound > 0 && bytes >= (overload->strain == STRAIN_MEMORY ? end : bound);
}

static bool are_descriptors_short(const struct overload *overload,
                                  const struct overload_reading *reading)
{
    return reading->descriptors_pct >=
           (overload->strain == STRAIN_DESCRIPTORS ? DESCRIPTORS_END_PCT : DESCRIPTORS_BEGIN_PCT);
}

static bool is_late(struct overload *overload, const struct overload_bounds *bounds,
                    const struct overload_reading *reading)
{
    if (bounds->lag_ns == 0)
        return false;
    overload->n_late = reading->lag_ns >= bounds->lag_ns ? overload->n_late + 1 : 0;
    overload->n_calm = reading->lag_ns < bounds->lag_ns / 2 ? overload->n_calm + 1 : 0;
    return overload->strain == STRAIN_LAG ? overload->n_calm < CALM_SAMPLES
                                          : overload->n_late >= LAG_SAMPLES;
}

void overload_note(struct overload *overload, const struct overload_bounds *bounds,
                   const struct overload_reading *reading)
{
    const bool was_late = is_late(overload, bounds, reading);
    if (overload_lacks_memory(overload, bounds->memory_bytes, reading->memory_bytes))
        overload->strain = STRAIN_MEMORY;
    else if (are_descriptors_short(overload, reading))
        overload->strain = STRAIN_DESCRIPTORS;
    else
        overload->strain = was_late ? STRAIN_LAG : STRAIN_NONE;
}
