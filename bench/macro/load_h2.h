/*
 * load_h2.h - one HTTP/2 connection of bench_load: so many requests at once, each followed by the
 * next when its answer is whole, or by none.
 *
 * Owner: who made it. Errors: false, and the connection is of no more use.
 */
#ifndef ISTHMUS_BENCH_LOAD_H2_H
#define ISTHMUS_BENCH_LOAD_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_h2;

struct load_h2_plan {
    unsigned n_streams; /* at once */
    bool is_once;       /* none follows */
    size_t size;        /* of an answer's body; the request says it */
    uint64_t (*now_ns)(void);
    /* An answer is whole. */
    void (*on_answer)(void *owner, uint64_t begun_ns);
};

/* The first requests are on their way with the first load_h2_send(). plan is borrowed. */
struct load_h2 *load_h2_new(const struct load_h2_plan *plan, void *owner);
void load_h2_free(struct load_h2 *h2); /* accepts NULL */

bool load_h2_receive(struct load_h2 *h2, const uint8_t *bytes, size_t len);
/* Writes what waits; *out_blocked: the socket did not take all of it. */
bool load_h2_send(struct load_h2 *h2, int fd, bool *out_blocked);

#endif
