/*
 * rng.h - a small, fast, seedable generator for choices that need no secrecy (which endpoint, how
 * much jitter). xoshiro256** of Blackman and Vigna, public domain algorithm. The same seed gives
 * the same choices. For keys, tokens and DNS ids use rng_secret(), which asks the kernel.
 */
#ifndef ISTHMUS_BASE_RNG_H
#define ISTHMUS_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state[4];
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
/* Uniform in [0, bound), bound > 0, without modulo bias. */
uint32_t rng_below(struct rng *rng, uint32_t bound);

/* Bytes from getrandom(2). */
void rng_secret(void *out_bytes, size_t len);

#endif
