/*
 * retry.h - how many retries may be in progress at once, and how long to wait before one.
 *
 * A budget is a share of what is in progress, so that retries cannot multiply the load of a service
 * that is failing; a minimum lets quiet services retry at all. Waits are drawn from a range that
 * doubles with every retry of one connection ("full jitter").
 *
 * Source: Envoy, CircuitBreakers.Thresholds.RetryBudget, RetryPolicy.RetryBackOff. Thread: any.
 */
#ifndef ISTHMUS_BALANCE_RETRY_H
#define ISTHMUS_BALANCE_RETRY_H

#include <stdint.h>

#include "proxy/base/rng.h"

/* Retries that may be in progress beside so many connections. */
uint32_t retry_budget(uint32_t budget_pct, uint32_t min_concurrent, uint32_t n_in_progress);

/* The bound below which the wait before the retry-th retry (from 1) is drawn: (2^retry - 1) times
 * the base, at most max_ns. */
uint64_t retry_wait_bound_ns(uint64_t base_ns, uint64_t max_ns, uint32_t retry);
uint64_t retry_wait_ns(uint64_t base_ns, uint64_t max_ns, uint32_t retry, struct rng *rng);

#endif
