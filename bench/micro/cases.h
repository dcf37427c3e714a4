/*
 * cases.h - the decisions that are measured: each is prepared once and then done again and again.
 */
#ifndef ISTHMUS_BENCH_CASES_H
#define ISTHMUS_BENCH_CASES_H

#include <stddef.h>

struct bench_case {
    const char *name;
    const char *what;
    void (*prepare)(size_t size);
    size_t size; /* what prepare() gets: endpoints, policies, services */
    void (*once)(size_t i);
};

/* http1.c */
void prepare_http1(size_t size);
void http1_once(size_t i);
void loop_turn_once(size_t i);

/* http_walk.c */
void prepare_http1_walk(size_t size);
void prepare_http1_audited(size_t size);
void http1_walk_once(size_t i);
void prepare_http1_connect(size_t size);
void http1_connect_once(size_t i);
void prepare_http2_walk(size_t size);
void http2_walk_once(size_t i);
void prepare_route(size_t n_rules);
void route_once(size_t i);

extern const struct bench_case bench_cases[];
extern const size_t bench_n_cases;

/* Those that move bytes between two nodes: dearer, so fewer of them are counted. */
extern const struct bench_case bench_moving_cases[];
extern const size_t bench_n_moving_cases;

#endif
