/*
 * base64url.h - base64 as JSON Web Signatures write it: the alphabet for URLs, without padding.
 *
 * Strict, so that no two texts stand for the same bytes: any other character, a length that no
 * bytes have and bits that are left over and not zero are refused.
 *
 * Thread: any. Source: RFC 4648 section 5, RFC 7515 section 2.
 */
#ifndef ISTHMUS_BASE_BASE64URL_H
#define ISTHMUS_BASE_BASE64URL_H

#include "proxy/base/str.h"

/* Room for the bytes that so many characters stand for. */
#define BASE64URL_BYTES(n_chars) ((n_chars) / 4 * 3 + 2)

/* False, with out in no particular state, when text is not strictly that. */
bool base64url_decode(struct str text, unsigned char *out, size_t *out_len);

#endif
