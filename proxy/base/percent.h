/*
 * percent.h - percent escapes of URIs.
 *
 * Two writings of one URI are equal when escapes of unreserved characters (RFC 3986 section 2.3)
 * are decoded and the others are in upper case.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_BASE_PERCENT_H
#define ISTHMUS_BASE_PERCENT_H

#include "proxy/base/ascii.h"

/* The byte that "%41" at index at stands for; -1 when there is no escape. */
int percent_byte(struct str text, size_t at);

static inline bool percent_is_unreserved(unsigned char c)
{
    return ascii_is_alnum((char)c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* Writes the normal form of the part into to, which has room for text.len bytes. False when a "%"
 * has no two hexadecimal digits behind it; the length otherwise in *out_len. */
bool percent_normalize(struct str text, char *to, size_t *out_len);

/* The next byte of *rest, decoded when it is an escape, and taken off; -1 at its end. */
int percent_next(struct str *rest);
/* Is that what the text says, once its escapes are decoded? */
bool percent_says(struct str text, struct str plain);

/* Every escape decoded, into to with room for text.len bytes; what is no escape stays. */
size_t percent_decode(struct str text, char *to);

#endif
