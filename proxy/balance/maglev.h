/*
 * maglev.h - consistent hashing by a table: a connection's hash modulo the table's size is looked
 * up, O(1); hosts fill the table in turns, each in its own pseudo-random order, so that their
 * shares are nearly even and few entries change when a host comes or goes.
 *
 * Built on the control thread into a snapshot, read by any. Cost: a lookup O(1), 4 bytes an entry;
 * building about size * ln(size) steps.
 * Source: Eisenbud et al., "Maglev", NSDI 2016, section 3.4; weights as in Envoy's maglev_lb.cc.
 * Errors: none; no host with a weight gives an empty table.
 */
#ifndef ISTHMUS_BALANCE_MAGLEV_H
#define ISTHMUS_BALANCE_MAGLEV_H

#include "proxy/balance/ring.h"

struct maglev {
    const uint32_t *table; /* host indices */
    uint32_t len;          /* a prime */
};

/* Whether a table may have this size: a prime above 2. */
bool maglev_is_size(uint32_t size);

/* Keys differ from each other. The order of hosts does not matter to who gets what. */
struct maglev maglev_build(struct arena *arena, const struct hash_host *hosts, size_t n,
                           uint32_t size);

/* The host for a hash; attempt 1, 2, ... look elsewhere. The table is not empty. */
uint32_t maglev_find(const struct maglev *maglev, uint64_t hash, uint32_t attempt);

#endif
