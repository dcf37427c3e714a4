/*
 * grpc_check.h - the gRPC check: asks grpc.health.v1.Health/Check whether a service is served.
 *
 * Its two messages have one field each, so they are written and read here by hand.
 *
 * Happy path: grpc_check_start() -> on_done(ANSWER_GOOD). Failure modes: not SERVING or another
 * gRPC status (ANSWER_BAD); no HTTP/2, a broken connection, a malformed answer (ANSWER_NONE); no
 * time limit of its own.
 *
 * Owner: grpc_check_start()'s caller until on_done or grpc_check_cancel(). Thread: the loop's.
 * Source: grpc/grpc doc/health-checking.md; grpc.health.v1.
 */
#ifndef ISTHMUS_HEALTH_GRPC_CHECK_H
#define ISTHMUS_HEALTH_GRPC_CHECK_H

#include "proxy/health/standing.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

struct grpc_check;

/* Takes the stream. authority is what the request names; service may be empty. */
struct grpc_check *
grpc_check_start(struct loop *loop, struct stream *stream, struct str authority, struct str service,
                 void (*on_done)(void *owner, enum answer answer, struct str why), void *owner);
void grpc_check_cancel(struct grpc_check *check);

#endif
