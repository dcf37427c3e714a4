/*
 * tracer.h - the spans of a process: each worker gets a pen, the control thread gathers and sends.
 *
 * A worker packs a span into its pen and commits it: bytes copied into a bounded ring, never a
 * wait, a lock, an allocation or a call of the system. Every TRACER_TURN_NS the control thread
 * moves what the rings hold to the exporter. A ring that overflows loses spans, which are counted;
 * no request notices.
 *
 * Happy path: tracer_open -> tracer_pen for each worker -> once the workers are gone, tracer_close,
 * which sends what is left for TRACER_FLUSH_NS at most.
 *
 * Owner: the proxy process. Thread: open and close the control thread's; a pen its worker's.
 */
#ifndef ISTHMUS_TRACE_TRACER_H
#define ISTHMUS_TRACE_TRACER_H

#include "proxy/trace/exporter.h"

#define TRACER_TURN_NS    (UINT64_C(100) * NS_PER_MS)
#define TRACER_RING_BYTES ((size_t)1 << 20) /* a worker; untouched pages take no memory */
#define TRACER_FLUSH_NS   (UINT64_C(2) * NS_PER_SEC)

struct tracer_options { /* what the strings point to outlives the tracer */
    struct collector collector;
    struct otlp_origin origin;
    uint32_t sampling_ppm; /* of the traces that begin here */
    unsigned n_workers;
    size_t ring_bytes; /* 0 is TRACER_RING_BYTES; a power of two */
};

struct tracer;

struct tracer *tracer_open(struct loop *loop, const struct tracer_options *options);
/* Turns the loop while it sends what is left. The workers are gone. */
void tracer_close(struct tracer *tracer);

struct tracer_pen;

/* The pen of a worker, below n_workers. */
struct tracer_pen *tracer_pen(struct tracer *tracer, unsigned worker);
uint32_t tracer_sampling_ppm(const struct tracer_pen *pen);
/* An empty span of this context. Fill it with span_text() and span_number(), then commit it. */
struct span *tracer_begin(struct tracer_pen *pen, const struct trace_context *context,
                          enum span_kind kind);
void tracer_commit(struct tracer_pen *pen, int64_t start_ns, int64_t end_ns, bool has_failed);

#endif
