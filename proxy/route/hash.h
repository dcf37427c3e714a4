/*
 * hash.h - what of a request consistent hashing goes by; inside the room.
 *
 * The keys of the rule, else those of the service's policy, are asked in order. A cookie that is to
 * be given is made by chance, so that clients behind one address spread.
 *
 * Thread: any. Source: Envoy's HashPolicyImpl: xxHash64 of the value; what comes before is rotated
 * by one bit and mixed in by exclusive or.
 */
#ifndef ISTHMUS_ROUTE_HASH_H
#define ISTHMUS_ROUTE_HASH_H

#include "proxy/route/route.h"

/* Where no rule says otherwise. */
bool route_hashes(const struct service *service);
/* rule NULL: none. */
void route_hash_make(const struct route_question *question, const struct route_rule *rule,
                     const struct service *service, struct arena *arena,
                     struct route_hash *out_hash);

#endif
