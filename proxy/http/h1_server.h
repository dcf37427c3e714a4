/*
 * h1_server.h - the small HTTP/1.1 server behind the admin, metrics and readiness ports.
 *
 * llhttp is the codec. One request at a time a connection, keep-alive, no pipelining depth beyond
 * one, head up to 16 KiB, body up to 64 KiB, 10 s for a request and 60 s of idling, 64 connections:
 * one more ends the oldest that says nothing or reads nothing. Anything else is answered with its
 * status and closed.
 *
 * Owner: the control thread. Thread: the loop's.
 */
#ifndef ISTHMUS_HTTP_H1_SERVER_H
#define ISTHMUS_HTTP_H1_SERVER_H

#include "proxy/base/arena.h"
#include "proxy/base/text.h"
#include "proxy/io/tcp.h"

struct arena;
struct h1_server;
struct h1_exchange;

struct h1_request {                 /* borrowed until the answer */
    struct str method, path, query; /* path before the '?', percent-encoding left as it is */
    struct str body;
    struct str host;
    struct str origin; /* what a browser sends when a page of elsewhere makes it ask; else "" */
    struct str accept_encoding;
};

/* Listens. handle() is called for each request and must later call h1_answer() exactly once for its
 * exchange (at once is fine), also when the client went away meanwhile: then that does nothing.
 * 0, or -ERR_SYSTEM with errno in *out_errno. */
MUST_USE int h1_server_open(struct loop *loop, const struct addr *local,
                            void (*handle)(void *owner, struct h1_exchange *exchange,
                                           const struct h1_request *request),
                            void *owner, struct h1_server **out_server, int *out_errno);
struct addr h1_server_addr(const struct h1_server *server);
/* status 100..599; content_type constant; body is copied. */
void h1_answer(struct h1_exchange *exchange, unsigned status, const char *content_type,
               struct str body);

/*
 * An answer in pieces, for what is too much for one: h1_pieces_begin -> h1_pieces_go_on as long as
 * it says so -> h1_pieces_end. A client takes a piece before the next is asked for, so there is one
 * of them in memory, however slowly it reads; one that takes nothing for 60 s is closed.
 *
 * on_room is called once the client has taken what H1_WAIT was said of, or is gone.
 */
enum h1_room {
    H1_GO_ON, /* the next piece may come */
    H1_WAIT,  /* not before on_room */
    H1_GONE,  /* nobody is there to take it; end it */
};

/* Of status 200. */
void h1_pieces_begin(struct h1_exchange *exchange, const char *content_type,
                     void (*on_room)(void *owner), void *owner);
/* piece: not empty, copied. */
MUST_USE enum h1_room h1_pieces_go_on(struct h1_exchange *exchange, struct str piece);
bool h1_pieces_is_gone(const struct h1_exchange *exchange);
/* The exchange is over, whatever was said before. last: copied, may be empty. */
void h1_pieces_end(struct h1_exchange *exchange, struct str last);
/* It cannot be completed: the connection is cut, so that nobody takes it for whole. */
void h1_pieces_abort(struct h1_exchange *exchange);

/* Closes the listener and every connection. Open exchanges may still be answered. */
void h1_server_close(struct h1_server *server);

/* The value of a query parameter ("state" in "a=1&state=open"), percent-decoded into the arena; {0}
 * when absent. */
struct str h1_query(struct arena *arena, struct str query, const char *name);

#endif
