/*
 * str.h - a view of bytes that somebody else owns.
 *
 * Pointer and length, passed by value. Not NUL-terminated unless its maker says so (arena_str()
 * does). The empty string is {0}. Comparison is by bytes; *_ci folds ASCII letters only.
 */
#ifndef ISTHMUS_BASE_STR_H
#define ISTHMUS_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proxy/base/ensure.h"

struct str {
    const char *ptr;
    size_t len;
};

/* A string literal as a str. */
#define STR(literal) ((struct str){("" literal), sizeof(literal) - 1})

/* For printf: printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).len, ((s).ptr ? (s).ptr : "")

/* From a C string; NULL gives the empty string. */
static inline struct str str_from(const char *text)
{
    return text ? (struct str){text, strlen(text)} : (struct str){0};
}

static inline struct str str_of(const void *ptr, size_t len)
{
    return (struct str){(const char *)ptr, len};
}

/* memcmp() must not be given NULL, not even for no bytes. */
static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, b.len) == 0);
}

bool str_eq_ci(struct str a, struct str b);
int str_cmp(struct str a, struct str b); /* like memcmp, shorter first on a tie */
bool str_starts_with(struct str text, struct str prefix);
bool str_ends_with(struct str text, struct str suffix);
bool str_contains(struct str text, struct str part);

static inline bool str_is_empty(struct str text)
{
    return text.len == 0;
}

/* The part of text from index start, len bytes at most; clamped, never out of bounds. */
struct str str_sub(struct str text, size_t start, size_t len);

/* Splits at the first / last separator: true and both parts without it, or false with the outs
 * untouched. */
bool str_split(struct str text, char separator, struct str *out_head, struct str *out_tail);
bool str_rsplit(struct str text, char separator, struct str *out_head, struct str *out_tail);

/* A decimal number in the given range, digits only, no sign, no blank: true and the value, or
 * false. */
bool str_to_u64(struct str text, uint64_t max, uint64_t *out_value);

/* The length of the well-formed UTF-8 sequence (RFC 3629) that starts at index at; 0 if none does.
 */
size_t str_utf8_len(struct str text, size_t at);

/* xxHash64 of the bytes. Stable across processes and machines for one seed. */
uint64_t str_hash(struct str text, uint64_t seed);

#endif
