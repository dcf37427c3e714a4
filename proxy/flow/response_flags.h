/*
 * response_flags.h - how a request ended, in the words of Envoy's response flags: who reads
 * istio_requests_total, an access log or a span knows those.
 *
 * Thread: any. Source: Envoy's access log, %RESPONSE_FLAGS%.
 */
#ifndef ISTHMUS_FLOW_RESPONSE_FLAGS_H
#define ISTHMUS_FLOW_RESPONSE_FLAGS_H

#include "proxy/base/str.h"

/* Of an end for the reason err; spent: no more retries were allowed when one was called for. "-"
 * says that there is nothing to say. */
struct str response_flags(int err, bool spent);

#endif
