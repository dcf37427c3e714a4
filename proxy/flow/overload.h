/*
 * overload.h - when a worker sheds new work: before memory or latency goes.
 *
 * Three signs are read ten times a second: the memory of the process against its bound, how late
 * the loop is, how few descriptors are left. While one is beyond its bound new flows are refused
 * with -ERR_OVERLOAD; those that exist are untouched. Memory that relief.h got back counts as free
 * before it is looked at, and none counts as used while it is another worker's turn to get some
 * back. It ends later than it began (hysteresis), so that a node at its bound does not flap.
 *
 *                begins                            ends
 *   memory       at the bound                      below 90 % of it
 *   descriptors  95 % of the limit are taken       below 90 %
 *   lag          LAG_SAMPLES in a row beyond it    CALM_SAMPLES in a row below half of it
 *
 * Owner: the walk. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_OVERLOAD_H
#define ISTHMUS_FLOW_OVERLOAD_H

#include <stdbool.h>
#include <stdint.h>

#define OVERLOAD_SAMPLE_NS UINT64_C(100000000)
#define LAG_SAMPLES        2
#define CALM_SAMPLES       10

enum strain { STRAIN_NONE, STRAIN_MEMORY, STRAIN_DESCRIPTORS, STRAIN_LAG, STRAINS };

/* A sentence for the access log. */
const char *strain_text(enum strain strain);

struct overload_bounds {
    uint64_t memory_bytes, lag_ns; /* 0: none */
};

struct overload_reading {
    uint64_t memory_bytes, lag_ns;
    unsigned descriptors_pct; /* of the limit, taken */
};

struct overload {
    enum strain strain;
    unsigned n_late, n_calm; /* samples in a row */
};

/* Whether so many bytes are too many: at the bound, or not far enough below it yet. */
bool overload_lacks_memory(const struct overload *overload, uint64_t bound, uint64_t bytes);
/* Takes one sample into account. */
void overload_note(struct overload *overload, const struct overload_bounds *bounds,
                   const struct overload_reading *reading);

#endif
