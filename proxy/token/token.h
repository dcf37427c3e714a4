/*
 * token.h - request -> token: who speaks, beside the connection's own principal.
 *
 * Asked where the destination is, once for each request, after its path was normalised and before
 * authorize. Every place that a rule of the workload names is looked at. A token that stands in one
 * must be verified by a rule that names the place, or the request is refused; so is a request with
 * two different tokens. One without a token passes without a principal: it is the policies' to ask
 * for one.
 *
 * What goes on to the workload is in the answer, whole, in place of the request's own fields and
 * path: a token is taken out unless its rule forwards it, the headers that rules write are taken
 * out whoever sent them, and written anew from the verified token.
 *
 * A token that was verified is remembered until it expires, at most TOKEN_CACHE_ENTRIES of them, so
 * that one which comes again costs a digest and not a signature. Of refused ones nothing is kept.
 *
 * Owner: the room belongs to a worker; answers borrow from the head and the caller's arena, and
 * from nothing else. Thread: the worker's. Units: now_s is the wall clock's, seconds since 1970.
 * Source: Istio RequestAuthentication; RFC 7515, 7519, 8725; RFC 6750 for the answer.
 */
#ifndef ISTHMUS_TOKEN_TOKEN_H
#define ISTHMUS_TOKEN_TOKEN_H

#include "config/policy.h"
#include "config/snapshot.h"
#include "proxy/http/message.h"
#include "proxy/meter/meter.h"

#define TOKEN_MAX_BYTES     8192 /* of one token; a longer one is refused */
#define TOKEN_LEEWAY_S      60   /* clocks differ */
#define TOKEN_CACHE_ENTRIES 1024 /* a worker */

struct token_room;

struct token_room *token_room_new(struct meter *meter);
void token_room_free(struct token_room *room);

struct token_answer {
    int err;              /* 0, or -ERR_TOKEN_REFUSED: answer 401 with the challenge */
    const char *why;      /* a sentence (static) when refused */
    struct str challenge; /* the value of www-authenticate then */

    const struct policy_token *token; /* NULL: the request has none */
    struct http_fields fields;        /* as they are forwarded */
    struct str path;                  /* the same, with the query */
};

/* port: of the workload. Cheap where the workload has no rules: the head comes back as it is. */
struct token_answer token_check(struct token_room *room, const struct workload *destination,
                                uint16_t port, const struct http_request *head, uint64_t now_s,
                                struct arena *arena);

#endif
