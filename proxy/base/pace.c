#include "proxy/base/pace.h"

#include <sched.h>

#include "proxy/base/clock.h"

static _Thread_local struct {
    bool is_kept;
    uint64_t offered_ns;
} own;

void pace_keep(void)
{
    own.is_kept = true;
}

bool pace(void)
{
    if (!own.is_kept || clock_mono_ns() - own.offered_ns < PACE_NS)
        return false;
    (void)sched_yield();
    own.offered_ns = clock_mono_ns();
    return true;
}
