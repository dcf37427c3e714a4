/*
 * exchange_record.h - what is written about an exchange at its end: its line in the access log and
 * its share in the metrics.
 *
 * Thread: the worker's. Source: the fields of Envoy's default access log, under the names that this
 * log has for connections.
 */
#ifndef ISTHMUS_FLOW_EXCHANGE_RECORD_H
#define ISTHMUS_FLOW_EXCHANGE_RECORD_H

#include "proxy/flow/exchange.h"

void exchange_record(struct exchange *exchange, const struct totals *totals);

#endif
