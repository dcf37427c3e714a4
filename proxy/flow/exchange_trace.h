/*
 * exchange_trace.h - an exchange as a span: what its request says of the trace when it is sent on,
 * and what is exported at its end.
 *
 * One span an exchange, whatever it took: attempts that were repeated are a count in it, and all of
 * them carry it as their parent, as mirrors do. At the source it is a client's, at the destination
 * a server's. Without a tracer nothing is read and nothing is written: a traceparent passes as it
 * came.
 *
 * Thread: the worker's. Source: OpenTelemetry semantic conventions for HTTP spans.
 */
#ifndef ISTHMUS_FLOW_EXCHANGE_TRACE_H
#define ISTHMUS_FLOW_EXCHANGE_TRACE_H

#include "proxy/flow/exchange.h"

/* The head is kept and is that of a client, not of a mirror. */
void exchange_trace_begin(struct exchange *exchange);
void exchange_trace_end(const struct exchange *exchange, const struct totals *totals,
                        uint64_t duration_ns);
/* Its ids as members of a line of the access log. */
void exchange_trace_json(const struct exchange *exchange, struct text *out);

#endif
