/*
 * http1_wire.h - a server of HTTP/1.1 and the bytes of its client, one at a time.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_HTTP_HTTP1_WIRE_H
#define ISTHMUS_TESTS_UNIT_PROXY_HTTP_HTTP1_WIRE_H

#include "tests/unit/proxy_http/http1_kit.h"

#define PATIENCE_MS 15000

extern struct loop *loop;
extern struct fake_stream *wire;
extern struct http1_seen seen;
extern struct http_limits limits; /* of the next begin() */

void begin(void);
void start(void); /* the same without limits */
void finish(void);
void feed(const char *text);
/* All that the client was sent since this was asked last. */
void expect_sent(const char *text);
/* The head of an answer to the request that was shown last. */
void respond(unsigned status, int64_t length);

#endif
