#include "bench/macro/arrivals.h"

#include <math.h>

/* Uniform in (0, 1]. Source: splitmix64 (Steele, Lea, Flood, 2014). */
static double draw(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return ((double)((z ^ (z >> 31)) >> 11) + 1) / 9007199254740992.0;
}

void arrivals_init(struct arrivals *arrivals, uint64_t first_ns, double rate)
{
    *arrivals = (struct arrivals){1, first_ns, 1e9 / rate};
}

uint64_t arrivals_take(struct arrivals *arrivals)
{
    const uint64_t at_ns = arrivals->next_ns;
    arrivals->next_ns += (uint64_t)(-log(draw(&arrivals->state)) * arrivals->interval_ns);
    return at_ns;
}
