#include "proxy/base/str.h"

#include <string.h>
#include <xxhash.h>

#include "proxy/base/ascii.h"

/* memcmp() must not be given NULL, not even for no bytes. */
static int compare(const char *a, const char *b, size_t len)
{
    return len ? memcmp(a, b, len) : 0;
}

bool str_eq_ci(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
            return false;
    return true;
}

int str_cmp(struct str a, struct str b)
{
    int order = compare(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool str_starts_with(struct str text, struct str prefix)
{
    return text.len >= prefix.len && compare(text.ptr, prefix.ptr, prefix.len) == 0;
}

bool str_ends_with(struct str text, struct str suffix)
{
    return text.len >= suffix.len &&
           str_eq(str_sub(text, text.len - suffix.len, suffix.len), suffix);
}

bool str_contains(struct str text, struct str part)
{
    if (part.len == 0)
        return true;
    return text.len >= part.len && memmem(text.ptr, text.len, part.ptr, part.len) != NULL;
}

struct str str_sub(struct str text, size_t start, size_t len)
{
    if (start >= text.len)
        return (struct str){0};
    if (len > text.len - start)
        len = text.len - start;
    return (struct str){text.ptr + start, len};
}

static bool split_at(struct str text, const char *at, struct str *out_head, struct str *out_tail)
{
    if (!at)
        return false;
    size_t idx = (size_t)(at - text.ptr);
    *out_head = (struct str){text.ptr, idx};
    *out_tail = (struct str){at + 1, text.len - idx - 1};
    return true;
}

bool str_split(struct str text, char separator, struct str *out_head, struct str *out_tail)
{
    const char *at = text.len ? memchr(text.ptr, separator, text.len) : NULL;

    return split_at(text, at, out_head, out_tail);
}

bool str_rsplit(struct str text, char separator, struct str *out_head, struct str *out_tail)
{
    const char *at = text.len ? memrchr(text.ptr, separator, text.len) : NULL;

    return split_at(text, at, out_head, out_tail);
}

bool str_to_u64(struct str text, uint64_t max, uint64_t *out_value)
{
    uint64_t value = 0;

    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text.ptr[i] - '0');
        if (digit > max || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out_value = value;
    return true;
}

/* Unicode 15, table 3-7: no overlong forms, no surrogates, nothing past U+10FFFF. */
size_t str_utf8_len(struct str text, size_t at)
{
    const unsigned char *p;
    size_t left = at < text.len ? text.len - at : 0;
    unsigned char low = 0x80, high = 0xbf;
    size_t len;

    if (left == 0)
        return 0;
    p = (const unsigned char *)text.ptr + at;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (left < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

uint64_t str_hash(struct str text, uint64_t seed)
{
    return XXH64(text.len ? text.ptr : "", text.len, seed);
}
