/*
 * http_refusals.h - what of clients HTTP refused or cut, as isthmus_http_refused_total has it.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_FLOW_HTTP_REFUSALS_H
#define ISTHMUS_FLOW_HTTP_REFUSALS_H

#include <stdbool.h>

#include "proxy/meter/meter.h"

/* The counter of what on_refused() told with this status and reason. */
enum metric http_refusal_of(unsigned status, int err);
/* Whether a connection that is dead for this reason was cut for what its client did; then the
 * counter. */
bool http_cut_of(int err, enum metric *out_metric);

#endif
