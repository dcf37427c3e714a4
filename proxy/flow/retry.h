/*
 * retry.h - which answers a route wants tried again, and when.
 *
 * No I/O, no state. Thread: any. Units: ns. Source: GEP-1731; RFC 9110 10.2.3 (retry-after);
 * Envoy's retry_on words (config/route.h).
 */
#ifndef ISTHMUS_FLOW_RETRY_H
#define ISTHMUS_FLOW_RETRY_H

#include "config/route.h"
#include "proxy/base/rng.h"
#include "proxy/http/message.h"

#define RETRY_AFTER_MAX_S 60

/* ROUTE_RETRY_ words that hold for an answer. gRPC's count only where its status stands in the
 * head: what came behind a body cannot be taken back. */
unsigned retry_reasons(const struct route_retry *retry, const struct http_response *head);

/* How long the server asks us to wait, in seconds or by a date; RETRY_AFTER_MAX_S at most. 0: it
 * says nothing. now_s: the wall clock's, seconds since 1970. */
uint64_t retry_after_ns(const struct http_response *head, int64_t now_s);

/* The pause before the n-th try after the first (n from 1): doubling, at most its bound, between
 * half of it and all. */
uint64_t retry_pause_ns(const struct route_retry *retry, unsigned n, struct rng *rng);

#endif
