#include "proxy/base/keyed_hash.h"

#include <string.h>

#include "proxy/base/rng.h"

static struct keyed_hash_key process_key; /* before main(), then never written */

__attribute__((constructor)) static void draw_key(void)
{
    rng_secret(&process_key, sizeof(process_key));
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t value, unsigned n_bits)
{
    return value << n_bits | value >> (64 - n_bits);
}

static inline void mix(struct sip *sip)
{
    sip->v0 += sip->v1;
    sip->v2 += sip->v3;
    sip->v1 = rotate(sip->v1, 13) ^ sip->v0;
    sip->v3 = rotate(sip->v3, 16) ^ sip->v2;
    sip->v0 = rotate(sip->v0, 32);
    sip->v2 += sip->v1;
    sip->v0 += sip->v3;
    sip->v1 = rotate(sip->v1, 17) ^ sip->v2;
    sip->v3 = rotate(sip->v3, 21) ^ sip->v0;
    sip->v2 = rotate(sip->v2, 32);
}

static inline void take(struct sip *sip, uint64_t word)
{
    sip->v3 ^= word;
    mix(sip);
    mix(sip);
    sip->v0 ^= word;
}

/* Little endian, as the paper has it; 8 bytes at most. */
static inline uint64_t word_of(const char *bytes, size_t len)
{
    uint64_t word = 0;

    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)(unsigned char)bytes[i] << (8 * i);
    return word;
}

uint64_t keyed_hash_under(const struct keyed_hash_key *key, uint64_t first, struct str bytes)
{
    struct sip sip = {
        key->half[0] ^ UINT64_C(0x736f6d6570736575), key->half[1] ^ UINT64_C(0x646f72616e646f6d),
        key->half[0] ^ UINT64_C(0x6c7967656e657261), key->half[1] ^ UINT64_C(0x7465646279746573)};
    size_t at = 0;

    take(&sip, first);
    for (; at + 8 <= bytes.len; at += 8)
        take(&sip, word_of(bytes.ptr + at, 8));
    const uint64_t rest = at < bytes.len ? word_of(bytes.ptr + at, bytes.len - at) : 0;
    take(&sip, rest | (uint64_t)(bytes.len + sizeof(first)) << 56);
    sip.v2 ^= 0xff;
    for (int i = 0; i < 4; i++)
        mix(&sip);
    return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}

uint64_t keyed_hash(uint64_t first, struct str bytes)
{
    return keyed_hash_under(&process_key, first, bytes);
}
