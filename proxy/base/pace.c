#include "proxy/base/pace.h"

#include <sched.h>

#include "proxy/base/clock.h"

static _Thread_local struct {
    uint64_t every_ns; /* 0: no pace is kept */
    uint64_t offered_ns;
} own;

void pace_keep(uint64_t every_ns)
{
    own.every_ns = every_ns;
}

bool pace(void)
{
    if (own.every_ns == 0 || clock_mono_ns() - own.offered_ns < own.every_ns)
        return false;
    (void)sched_yield();
    own.offered_ns = clock_mono_ns();
    return true;
}
