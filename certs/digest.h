/*
 * digest.h - SHA-256 of bytes in memory, for rooms that may not see OpenSSL.
 *
 * Thread: any. Errors: none; a library without SHA-256 ends the process.
 * Source: FIPS 180-4; computed by OpenSSL's default provider, so a FIPS provider serves as well.
 */
#ifndef ISTHMUS_CERTS_DIGEST_H
#define ISTHMUS_CERTS_DIGEST_H

#include "proxy/base/str.h"

#define DIGEST_LEN     32
#define DIGEST_HEX_LEN 64

/* Into out: DIGEST_LEN bytes. */
void digest_sha256(struct str bytes, unsigned char out[DIGEST_LEN]);

/* The first eight bytes of it, for a number that is shown. Who may choose two contents finds some
 * with one number in 2^32 tries: nothing may rest on their being different. */
uint64_t digest_number(struct str bytes);

/* Into out_hex: 64 lower-case hex digits and a NUL. */
void digest_sha256_hex(struct str bytes, char out_hex[DIGEST_HEX_LEN + 1]);

#endif
