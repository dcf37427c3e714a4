#include "proxy/balance/murmur.h"

#define FACTOR UINT64_C(0xc6a4a7935bd1e995)
#define SEED   UINT64_C(0xc70f6907)
#define WORD   8 /* bytes */
#define SHIFT  47

/* Little-endian, whatever the machine is; len is at most a word. */
static uint64_t load(const char *bytes, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)(unsigned char)bytes[i] << (8 * i);
    return word;
}

static uint64_t fold(uint64_t value)
{
    return value ^ value >> SHIFT;
}

uint64_t murmur_hash2(struct str text)
{
    uint64_t hash = SEED ^ text.len * FACTOR;
    size_t at = 0;
    for (; at + WORD <= text.len; at += WORD)
        hash = (hash ^ fold(load(text.ptr + at, WORD) * FACTOR) * FACTOR) * FACTOR;
    if (at < text.len)
        hash = (hash ^ load(text.ptr + at, text.len - at)) * FACTOR;
    return fold(fold(hash) * FACTOR);
}
