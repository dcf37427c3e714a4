/*
 * backend_h2.h - one HTTP/2 connection of bench_backend, by prior knowledge: GET /N answers N
 * bytes.
 *
 * Owner: who made it. Errors: false, and the connection is to be dropped.
 */
#ifndef ISTHMUS_BENCH_BACKEND_H2_H
#define ISTHMUS_BENCH_BACKEND_H2_H

#include <stdbool.h>

struct backend_h2;

struct backend_h2 *backend_h2_new(int fd);
void backend_h2_free(struct backend_h2 *h2); /* accepts NULL */

/* Reads and answers what came; *out_blocked: the socket does not take all of it. */
bool backend_h2_run(struct backend_h2 *h2, bool *out_blocked);

#endif
