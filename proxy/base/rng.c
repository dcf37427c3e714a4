#include "proxy/base/rng.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#include "proxy/base/ensure.h"

/* splitmix64, as the authors of xoshiro advise for seeding: no seed gives the all-zero state. */
static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void rng_seed(struct rng *rng, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_LEN(rng->state); i++)
        rng->state[i] = splitmix(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* Lemire, "Fast random integer generation in an interval" (2019): a division only when the draw is
 * near a border. */
uint32_t rng_below(struct rng *rng, uint32_t bound)
{
    uint64_t product;

    ensure(bound > 0);
    product = (rng_next(rng) >> 32) * bound;
    if ((uint32_t)product < bound) {
        uint32_t floor = (0u - bound) % bound;
        while ((uint32_t)product < floor)
            product = (rng_next(rng) >> 32) * bound;
    }
    return (uint32_t)(product >> 32);
}

void rng_secret(void *out_bytes, size_t len)
{
    unsigned char *at = out_bytes;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0) {
            ensure(errno == EINTR);
            continue;
        }
        at += got;
        len -= (size_t)got;
    }
}
