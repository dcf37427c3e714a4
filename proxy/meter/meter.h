/*
 * meter.h - counting without locks: one struct meter a thread, written by it alone, read by whoever
 * scrapes.
 *
 * Cells are relaxed atomics with a single writer, so an increment is a plain add. Exposition sums
 * over the threads.
 *
 * Owner:  meters live until meter_free(); their totals then stay counted.
 * Thread: meter_add()/meter_set() the owner's; meter_total(), meter_write() any.
 */
#ifndef ISTHMUS_METER_METER_H
#define ISTHMUS_METER_METER_H

#include <stdint.h>

#include "proxy/base/text.h"

#define METRIC(id, kind, name, help)   METRIC_##id,
#define REASON(id, name, reason, what) METRIC_##id,
#define FAMILY(name, help)

enum metric {

#include "proxy/meter/metrics.def"
    METRICS
};
#undef METRIC
#undef REASON
#undef FAMILY

struct meter;

struct meter *meter_new(void);
void meter_free(struct meter *meter);

void meter_add(struct meter *meter, enum metric metric, int64_t delta);

int64_t meter_total(enum metric metric);

/* All plain metrics, istio_build{component,tag} and the process_* metrics of this process (cpu,
 * memory, descriptors, start time), in the Prometheus text format, version 0.0.4. */
void meter_write(struct text *out, const char *component, const char *version);

/* When certificates end: the head once, then one line an identity. How many is the caller's to
 * bound. */
void meter_write_expiry_head(struct text *out);
void meter_write_expiry(struct text *out, struct str identity, int64_t not_after_ns);

#endif
