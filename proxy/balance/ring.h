/*
 * ring.h - consistent hashing on a ring: a connection's hash belongs to the first point at or after
 * it, and a host that comes or goes moves only the connections next to its points.
 *
 * Each host has points in proportion to its weight, at the hash of "<key>_<n>" (xxHash64, or
 * MurmurHash2 for a fleet that began with it), so that every node and every other proxy that builds
 * the ring from the same keys agrees.
 *
 * Built on the control thread into a snapshot, read by any. Cost: a lookup O(log points), 16 bytes
 * a point.
 * Source: Envoy, ring_hash_lb.cc. Errors: none; no host with a weight gives an empty ring.
 */
#ifndef ISTHMUS_BALANCE_RING_H
#define ISTHMUS_BALANCE_RING_H

#include "proxy/base/arena.h"

struct hash_host { /* a key is what names the host to every client: "10.0.0.1:80" */
    struct str key;
    uint32_t weight; /* 0: no points */
};

enum ring_function { /* that places the points; numbered as on the wire */
                     RING_XX_HASH,
                     RING_MURMUR_HASH_2,
                     RING_FUNCTIONS
};

struct ring_point {
    uint64_t hash;
    uint32_t host; /* its index in what the ring was built of */
};

struct ring {
    const struct ring_point *points; /* by hash */
    size_t len;
};

/* At least min_points in all, and so many more that the lightest host has whole ones, but about
 * max_points at most. 0 < min_points <= max_points. */
struct ring ring_build(struct arena *arena, const struct hash_host *hosts, size_t n,
                       enum ring_function function, uint32_t min_points, uint32_t max_points);

/* The host for a hash; attempt 1, 2, ... are the points after it. The ring is not empty. */
uint32_t ring_find(const struct ring *ring, uint64_t hash, uint32_t attempt);

#endif
