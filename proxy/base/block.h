/*
 * block.h - sixteen bytes looked at in one go (header only).
 *
 * Lanes are 0 or 0xff, as comparisons of vectors give them, and combined with & and |. The compiler
 * makes of them what the machine has.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_BASE_BLOCK_H
#define ISTHMUS_BASE_BLOCK_H

#include <endian.h>
#include <string.h>

#include "proxy/base/str.h"

typedef uint8_t block __attribute__((vector_size(16)));

#define BLOCK_BYTES sizeof(block)

static inline block block_at(const char *at)
{
    block bytes;

    memcpy(&bytes, at, sizeof(bytes));
    return bytes;
}

/* The lanes whose byte is one of these. */
static inline block block_from_to(block bytes, uint8_t first, uint8_t last)
{
    return (block)((block)(bytes - first) <= (uint8_t)(last - first));
}

/* Where the first lane is that is set; BLOCK_BYTES when none is. */
static inline size_t block_first(block lanes)
{
#ifdef __SSE2__
    typedef char chars __attribute__((vector_size(16)));

    return (size_t)__builtin_ctz((unsigned)__builtin_ia32_pmovmskb128((chars)lanes) | 0x10000U);
#else
    uint64_t halves[2];

    memcpy(halves, &lanes, sizeof(halves));
    if (halves[0])
        return (size_t)__builtin_ctzll(le64toh(halves[0])) / 8;
    return halves[1] ? 8 + (size_t)__builtin_ctzll(le64toh(halves[1])) / 8 : BLOCK_BYTES;
#endif
}

static inline bool block_is_clear(block lanes)
{
#ifdef __SSE2__
    typedef char chars __attribute__((vector_size(16)));

    return __builtin_ia32_pmovmskb128((chars)lanes) == 0;
#else
    uint64_t halves[2];

    memcpy(halves, &lanes, sizeof(halves));
    return (halves[0] | halves[1]) == 0;
#endif
}

/* The bytes of a text of 1 to 16: every one of them, some twice. */
static inline block block_of_short(struct str text)
{
    const char *const end = text.ptr + text.len;
    uint64_t halves[2];
    block bytes;

    if (text.len >= 8) {
        memcpy(&halves[0], text.ptr, 8);
        memcpy(&halves[1], end - 8, 8);
    } else if (text.len >= 4) {
        memcpy(halves, text.ptr, 4);
        memcpy((char *)halves + 4, end - 4, 4);
        halves[1] = halves[0];
    } else {
        halves[0] = (uint8_t)text.ptr[0] * UINT64_C(0x0101010101010000) +
                    (uint64_t)((uint8_t)text.ptr[text.len / 2] << 8) + (uint8_t)end[-1];
        halves[1] = halves[0];
    }
    memcpy(&bytes, halves, sizeof(bytes));
    return bytes;
}

/* Whether find sets a lane for no byte of the text. */
static inline bool block_lacks(struct str text, block (*find)(block bytes))
{
    if (text.len == 0)
        return true;
    if (text.len <= BLOCK_BYTES)
        return block_is_clear(find(block_of_short(text)));

    block found = find(block_at(text.ptr + text.len - BLOCK_BYTES)); /* the rest, and some again */
    for (size_t at = 0; at + BLOCK_BYTES <= text.len; at += BLOCK_BYTES)
        found |= find(block_at(text.ptr + at));
    return block_is_clear(found);
}

/* How many bytes stand before the first for which find sets a lane. */
static inline size_t block_before(const char *bytes, size_t len, block (*find)(block bytes))
{
    const char *at = bytes, *const end = bytes + len;
    char rest[BLOCK_BYTES] = {0};

    for (; end - at >= (ptrdiff_t)BLOCK_BYTES; at += BLOCK_BYTES) {
        const block found = find(block_at(at));
        if (!block_is_clear(found))
            return (size_t)(at - bytes) + block_first(found);
    }
    memcpy(rest, at, (size_t)(end - at));
    const size_t n = block_first(find(block_at(rest)));
    return n < (size_t)(end - at) ? (size_t)(at - bytes) + n : len;
}

#endif
