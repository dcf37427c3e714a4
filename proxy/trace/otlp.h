/*
 * otlp.h - spans as OTLP writes them, and the collector's answer.
 *
 * Spans are grouped by the service whose they are, a resource each, so that tracing tools show the
 * services and not the proxies.
 *
 * Thread: any. Source: opentelemetry-proto 1.x; OTLP 1.x, OTLP/HTTP.
 */
#ifndef ISTHMUS_TRACE_OTLP_H
#define ISTHMUS_TRACE_OTLP_H

#include "proxy/base/text.h"
#include "proxy/trace/span.h"

struct otlp_origin { /* what is true of all spans of a process */
    struct str node, cluster, version;
};

/* Appends an ExportTraceServiceRequest with these records of spans. */
void otlp_encode(const struct otlp_origin *origin, const struct str *records, size_t n,
                 struct text *out);
/* How many spans an ExportTraceServiceResponse says were rejected, at most n; 0 for what is none.
 * Its sentence is copied into the arena. */
size_t otlp_rejected(struct str body, size_t n, struct arena *arena, struct str *out_sentence);

#endif
