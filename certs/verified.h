/*
 * verified.h - peers that were verified, so that their next connection costs no signature of their
 * CA.
 *
 * A verdict of verify_peer() rests on the leaf, on what was sent with it, the role, the trust and
 * the clock. One is filed under the first three as bytes, compared whole; it belongs to one
 * generation of trust, its revocation lists with it, with whose successor all are forgotten; and it
 * holds while every date of its path does. What is left is asked each time: who was expected. In
 * any doubt there is no entry, and the long way says what is wrong. That the peer has the key is
 * proven in every handshake, by TLS, and after this; who shows a copy of somebody's certificate
 * gains a place in the table for it and no more, and who shows a bad one not even that.
 *
 * Bounds: VERIFIED_SETS * VERIFIED_WAYS peers; the one of its set that is longest there makes room.
 * Owner:  who makes it. Thread: one.
 */
#ifndef ISTHMUS_CERTS_VERIFIED_H
#define ISTHMUS_CERTS_VERIFIED_H

#include "certs/verify.h"

#define VERIFIED_SETS    32
#define VERIFIED_WAYS    4
#define VERIFIED_KEY_MAX 4096 /* bytes: a leaf and a few intermediates */

struct verified_peer {
    struct str key; /* empty: nobody */
    struct str id;
    char serial[64];
    int64_t not_after_ns;
    int64_t from_ns, until_ns; /* wall clock: within them no date of the path is in question */
    STACK_OF(X509) * path;
};

struct verified;

struct verified *verified_new(void);
void verified_free(struct verified *verified);

/* What a verdict is filed under, in room (VERIFIED_KEY_MAX bytes); empty if that is too little. */
struct str verified_key(uint8_t *room, enum verify_role role, X509 *leaf,
                        const STACK_OF(X509) * chain);
/* Borrowed until the next verified_put(), or NULL. */
const struct verified_peer *verified_find(struct verified *verified, const struct trust *trust,
                                          struct str key, int64_t now_ns);
/* Keeps copies, and references to the path. The peer is none that verified_find() has. */
void verified_put(struct verified *verified, const struct trust *trust,
                  const struct verified_peer *peer);

#endif
