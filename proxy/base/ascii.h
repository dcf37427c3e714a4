/*
 * ascii.h - kinds of characters, as protocols mean them: of ASCII alone, whatever the locale.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_BASE_ASCII_H
#define ISTHMUS_BASE_ASCII_H

#include "proxy/base/arena.h"

static inline bool ascii_is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* The value of a hexadecimal digit of either case; -1 of every other character. */
static inline int ascii_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    const char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* A token of RFC 9110 section 5.6.2: a method, a protocol, the name of a field or a cookie. Not
 * empty. */
bool ascii_is_token(struct str text);
/* The length of the token that text begins with; 0 if there is none. */
size_t ascii_token_len(const char *text, size_t len);
/* The first without upper case letters, as HTTP/2 has names. */
bool ascii_is_lower_token(struct str text);

/* Turns the token that text begins with into lower case where it stands; answers its length, 0 if
 * there is none. */
size_t ascii_lower_token(char *text, size_t len);

/* A copy in lower case, in the arena. */
struct str ascii_lower_str(struct arena *arena, struct str text);

#endif
