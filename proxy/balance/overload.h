/*
 * overload.h - how hard to brake when a resource runs short, from 0 (not at all) to 1 (fully).
 *
 * A pressure is the part of a resource that is used. Below the scaling threshold nothing happens,
 * at saturation everything; between them the answer grows evenly, so that shedding begins before
 * the resource is gone and does not flap.
 *
 * Source: Envoy's overload manager (threshold and scaled triggers, reduced timeouts). Thread: any.
 */
#ifndef ISTHMUS_BALANCE_OVERLOAD_H
#define ISTHMUS_BALANCE_OVERLOAD_H

#include <stdint.h>

struct overload_trigger { /* permille of the resource; scaling < saturation */
    uint32_t scaling_permille, saturation_permille;
};

/* 0 to 1. A pressure outside of 0 to 1 counts as the nearer of them. */
double overload_scale(const struct overload_trigger *trigger, double pressure);

/* A timeout under that: the full one at 0, the least at 1. */
uint64_t overload_timeout_ns(uint64_t full_ns, uint64_t least_ns, double scale);

#endif
