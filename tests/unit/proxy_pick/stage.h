/*
 * stage.h - a balancer over an endpoint set made by hand: levels and their endpoints in a line
 * each.
 *
 * Endpoints have the keys 1, 2, ... in the order in which they are added. Whatever is changed in
 * the set (readiness, weights, who is there) is seen after stage_changed(). Time stands still but
 * for stage->now_ns, which starts at a second.
 */
#ifndef TESTS_UNIT_PROXY_PICK_STAGE_H
#define TESTS_UNIT_PROXY_PICK_STAGE_H

#include "proxy/base/clock.h"
#include "proxy/pick/balancer.h"

#define STAGE_LEVELS_MAX 8

struct stage {
    struct arena arena;
    struct endpoint *endpoints;
    struct workload *workloads;
    size_t cap;
    struct level levels[STAGE_LEVELS_MAX];
    struct traffic_policy policy; /* starts as the default, without spill by load */
    struct service service;
    struct endpoint_set set;
    struct tried tried;
    struct balancer *balancer;
    struct meter *meter;
    struct rng rng;
    uint64_t now_ns;
};

void stage_init(struct stage *stage, size_t cap);
void stage_fini(struct stage *stage);
/* A level of the next rank with n ready endpoints of weight 1. */
struct level *stage_level(struct stage *stage, enum level_kind kind, size_t n);
void stage_changed(struct stage *stage);
/* How many of the level's first endpoints are ready; the others are not. */
void stage_ready(struct stage *stage, size_t level, size_t n);

struct question stage_question(const struct stage *stage);
/* The key of a lease that is given back at once as served, 0 when there is none. */
uint64_t stage_draw(struct stage *stage);
int stage_cut(struct stage *stage, struct lease *lease);
/* Draws so often and counts by level. */
void stage_count(struct stage *stage, unsigned n, unsigned *out_by_level);
struct member_view stage_view(struct stage *stage, uint64_t key);
/* A flow on whatever endpoint it gets until it got this one, which fails so. */
void stage_fail(struct stage *stage, uint64_t key, enum lease_outcome outcome);

#endif
