/*
 * exporter.h - sends spans to a collector: OTLP over HTTP, protobuf, one batch at a time.
 *
 *           EXPORTER_BATCH_SPANS wait, or the oldest EXPORTER_WAIT_NS
 *   RESTING ─────────────────────────────────────────► SENDING ──► RESTING: taken, or refused
 *                                                        ▲ │ not reached, 429, 502, 503, 504
 *                                   the pause is over    │ ▼
 *                                                       PAUSING ──► RESTING: given up
 *
 * What waits is bounded by EXPORTER_QUEUE_SPANS and _BYTES: a collector that is slow or gone costs
 * the oldest spans, which are counted. A batch that was not taken is sent again after a pause that
 * doubles and is jittered, or what the collector's retry-after asks for, and given up
 * EXPORTER_PATIENCE_NS after its first failure. Any other status refuses it for good.
 *
 * Owner: the tracer. Thread: the control thread's. Source: OTLP 1.x, OTLP/HTTP "Failures".
 */
#ifndef ISTHMUS_TRACE_EXPORTER_H
#define ISTHMUS_TRACE_EXPORTER_H

#include "proxy/base/clock.h"
#include "proxy/io/loop.h"
#include "proxy/meter/meter.h"
#include "proxy/trace/otlp.h"

#define EXPORTER_BATCH_SPANS 512u
#define EXPORTER_QUEUE_SPANS 8192u
#define EXPORTER_QUEUE_BYTES ((size_t)8 << 20)
#define EXPORTER_WAIT_NS     NS_PER_SEC
#define EXPORTER_TIMEOUT_NS  (UINT64_C(10) * NS_PER_SEC) /* of one request */
#define EXPORTER_PAUSE_NS    NS_PER_SEC                  /* before the first repetition */
#define EXPORTER_PAUSE_MAX   (UINT64_C(30) * NS_PER_SEC) /* also of what a collector asks for */
#define EXPORTER_PATIENCE_NS (UINT64_C(300) * NS_PER_SEC)

struct exporter_times { /* 0: as above */
    uint64_t wait_ns, timeout_ns, pause_ns, pause_max_ns, patience_ns;
};

struct collector { /* borrowed for the life of the exporter */
    struct str host;
    uint16_t port;
    struct str path;
    bool is_plain;             /* http; else https, under the system's authorities */
    struct http_fields fields; /* that every request carries */
    uint32_t mark;             /* of the packets to it; 0: none */
    struct exporter_times times;
};

struct exporter;

struct exporter *exporter_new(struct loop *loop, const struct collector *collector,
                              const struct otlp_origin *origin, struct meter *meter);
/* What is left is counted as lost. */
void exporter_free(struct exporter *exporter);

/* A record of a span, copied. */
void exporter_take(struct exporter *exporter, struct str record);
/* Sends what waits without waiting for more, from now on. */
void exporter_hurry(struct exporter *exporter);
/* Nothing waits and nothing is under way. */
bool exporter_is_done(const struct exporter *exporter);

#endif
