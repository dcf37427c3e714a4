/*
 * histogram.h - latencies by their size, to within 1 %, in a fixed table.
 *
 * Values below 128 ns have a bucket each; above, every power of two is cut into 128.
 *
 * Units: ns. Owner: the caller, zero is empty. Source: the layout of HdrHistogram, with two digits.
 */
#ifndef ISTHMUS_BENCH_HISTOGRAM_H
#define ISTHMUS_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS   128
#define HISTOGRAM_BUCKETS (58 * HISTOGRAM_STEPS)

struct histogram {
    uint64_t n, max_ns;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t ns);
/* The value that a share of all (in [0, 1]) does not exceed; 0 when nothing was added. */
uint64_t histogram_at(const struct histogram *histogram, double share);

#endif
