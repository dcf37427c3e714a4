/*
 * mirror.h - a copy of a request, sent to another service, whose answer nobody reads.
 *
 * To its exchange a mirror is a client like any other: a stream from which a request's body comes.
 * What the real client says is passed to it by reference; a mirror that is slower than the exchange
 * it copies may hold MIRROR_QUEUE_MAX bytes back and is cut when it would be more, since nobody
 * waits for it.
 *
 * Owner: the exchange it is the client of; the one that it copies knows it while it still speaks.
 * Thread: the worker's. Source: Gateway API RequestMirror; Envoy's shadowing ("-shadow" behind the
 * host).
 */
#ifndef ISTHMUS_FLOW_MIRROR_H
#define ISTHMUS_FLOW_MIRROR_H

#include "proxy/base/buf.h"
#include "proxy/http/message.h"

#define MIRROR_QUEUE_MAX ((size_t)262144)

struct mirror {
    struct http_stream stream; /* first; the exchange's client */
    struct loop *loop;
    struct list by_copied; /* in the list of the exchange that it copies; alone: it is over there */
    struct buf waiting;
    struct task deliver;
    bool is_paused, has_ended, end_was_told, is_failed;
};

struct mirror *mirror_new(struct loop *loop, struct list *copies);

/* The client of the copied exchange said this, or ended. */
void mirrors_say(struct list *copies, struct slice bytes);
void mirrors_end(struct list *copies);
/* The copied exchange is over: those that have not heard it to the end are cut. */
void mirrors_leave(struct list *copies);

#endif
