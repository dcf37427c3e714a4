/*
 * h1_fetch.h - one HTTP/1.1 request and its whole answer: what `isthmus ctl` asks the admin port
 * with.
 *
 * Bounded: 256 MiB of body, timeout_ns for all of it. Thread: the loop's.
 */
#ifndef ISTHMUS_HTTP_H1_FETCH_H
#define ISTHMUS_HTTP_H1_FETCH_H

#include "proxy/io/tcp.h"

/* Calls on_done once from the loop: err 0, the status and the body (borrowed); or err < 0. Cannot
 * be cancelled. */
void h1_fetch(struct loop *loop, const struct addr *remote, struct str method, struct str path,
              uint64_t timeout_ns,
              void (*on_done)(void *owner, int err, unsigned status, struct str body), void *owner);

#endif
