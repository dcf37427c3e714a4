/*
 * keyed_hash.h - a hash that nobody outside of the process can foresee: SipHash-2-4 under a key
 * that is drawn from the kernel when the process starts.
 *
 * For "is this what it was?" about bytes that others write, where only their hash is kept: of
 * str_hash() they could compute two contents with one hash, and hide a change of their own. 64 bits
 * are enough, since nobody can try: whoever does not know the key has one guess in 2^64.
 *
 * It means nothing to another process, and nothing after a restart. What is written to disk or sent
 * is digest_sha256()'s.
 *
 * Thread: any. Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.
 */
#ifndef ISTHMUS_BASE_KEYED_HASH_H
#define ISTHMUS_BASE_KEYED_HASH_H

#include "proxy/base/str.h"

/* Of a number, as a kind or what was hashed before, and the bytes behind it. */
uint64_t keyed_hash(uint64_t first, struct str bytes);

struct keyed_hash_key {
    uint64_t half[2];
};

/* The same under a key of the caller's. */
uint64_t keyed_hash_under(const struct keyed_hash_key *key, uint64_t first, struct str bytes);

#endif
