/*
 * h1_fetch.h - one HTTP/1.1 request and its whole answer: what `isthmus ctl` asks the admin port
 * with, and an HTTP health check its endpoint.
 *
 * Bounded: 256 MiB of body, timeout_ns for all of it. Thread: the loop's.
 */
#ifndef ISTHMUS_HTTP_H1_FETCH_H
#define ISTHMUS_HTTP_H1_FETCH_H

#include "proxy/io/tcp.h"

struct h1_fetch;

/* Calls on_done once from the loop: err 0, the status and the body (borrowed); or err < 0. Cannot
 * be cancelled. */
void h1_fetch(struct loop *loop, const struct addr *remote, struct str method, struct str path,
              uint64_t timeout_ns,
              void (*on_done)(void *owner, int err, unsigned status, struct str body), void *owner);

/* A GET over a stream that is connected already, which it takes; at most 1 MiB of body. It has no
 * time limit of its own: the owner cancels it, after which on_done is not called. */
struct h1_fetch *
h1_fetch_over(struct loop *loop, struct stream *stream, struct str host, struct str path,
              void (*on_done)(void *owner, int err, unsigned status, struct str body), void *owner);
void h1_fetch_cancel(struct h1_fetch *fetch);

#endif
