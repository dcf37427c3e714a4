/*
 * The number of points is scaled until the lightest host has a whole number of them; the others'
 * need not be whole, so running sums say when a host has enough: rounding then never adds up.
 */
#include "proxy/balance/ring.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/balance/murmur.h"
#include "proxy/base/mem.h"

#define NUMBER_MAX 24 /* "_" and a 64-bit number */

static int by_hash(const void *left, const void *right)
{
    const struct ring_point *a = left, *b = right;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return a->host < b->host ? -1 : a->host > b->host;
}

static double points_in_all(const struct hash_host *hosts, size_t n, double sum,
                            uint32_t min_points, uint32_t max_points)
{
    double lightest = sum;
    for (size_t i = 0; i < n; i++) {
        if (hosts[i].weight > 0 && hosts[i].weight < lightest)
            lightest = hosts[i].weight;
    }
    lightest /= sum;
    const double points = ceil(lightest * min_points) / lightest;
    return points < max_points ? points : max_points;
}

static uint64_t place_of(enum ring_function function, struct str text)
{
    return function == RING_MURMUR_HASH_2 ? murmur_hash2(text) : str_hash(text, 0);
}

struct ring ring_build(struct arena *arena, const struct hash_host *hosts, size_t n,
                       enum ring_function function, uint32_t min_points, uint32_t max_points)
{
    double sum = 0, made = 0, wanted = 0;
    size_t longest = 0, len = 0;
    for (size_t i = 0; i < n; i++) {
        sum += hosts[i].weight;
        longest = hosts[i].key.len > longest ? hosts[i].key.len : longest;
    }
    if (!(sum > 0))
        return (struct ring){0};
    const double scale = points_in_all(hosts, n, sum, min_points, max_points);
    const size_t cap = (size_t)ceil(scale) + 1; /* one more: sums of fractions may overshoot */
    struct ring_point *points = arena_new_array(arena, struct ring_point, cap);
    char *text = mem_alloc(longest + NUMBER_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct str key = hosts[i].key;
        wanted += scale * (hosts[i].weight / sum);
        if (key.len > 0)
            memcpy(text, key.ptr, key.len);
        /* Counted in fractions of a point, as the ring of Envoy is. NOLINTNEXTLINE(cert-flp30-c) */
        for (uint64_t number = 0; made < wanted && len < cap; number++, made++) {
            const int digits =
                snprintf(text + key.len, NUMBER_MAX, "_%llu", (unsigned long long)number);
            const uint64_t hash = place_of(function, str_of(text, key.len + (size_t)digits));
            points[len++] = (struct ring_point){hash, (uint32_t)i};
        }
    }
    mem_free(text);
    qsort(points, len, sizeof *points, by_hash);
    return (struct ring){points, len};
}

uint32_t ring_find(const struct ring *ring, uint64_t hash, uint32_t attempt)
{
    size_t low = 0, high = ring->len; /* the first point at or after the hash lies in [low, high] */
    ensure(ring->len > 0);
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (ring->points[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return ring->points[(low + attempt) % ring->len].host;
}
