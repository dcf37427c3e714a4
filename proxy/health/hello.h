/*
 * hello.h - the TLS check: a server that answers a ClientHello with a handshake of its own is well.
 *
 * No certificate is judged and no handshake finished: whether the server's certificate is good is
 * its clients' matter. An alert is an answer, too, but one that says no.
 *
 * Happy path: hello_start() -> on_done(ANSWER_GOOD). Failure modes: an alert (ANSWER_BAD), the
 * connection ends or something else than TLS comes (ANSWER_NONE); no time limit of its own.
 *
 * Owner: hello_start()'s caller until on_done or hello_cancel(). Thread: the loop's.
 * Source: RFC 8446 section 4.1.2.
 */
#ifndef ISTHMUS_HEALTH_HELLO_H
#define ISTHMUS_HEALTH_HELLO_H

#include "proxy/health/standing.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

struct hello;

/* Takes the stream. host is sent as the server's name when it is not empty. */
struct hello *hello_start(struct loop *loop, struct stream *stream, struct str host,
                          void (*on_done)(void *owner, enum answer answer, struct str why),
                          void *owner);
void hello_cancel(struct hello *hello);

#endif
