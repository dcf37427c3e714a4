/*
 * exchange.h - one HTTP request with its response, on its way from a client's connection to an
 * endpoint.
 *
 *            routed, leased, reached          the answer's head        both bodies ended
 *  SEEKING ─────────────────────────► ASKED ────────────────────► ANSWERED ───────────► CLOSED
 *     │  ▲   lost before an answer, or an answer that is       │
 *     │  └──────────── to be tried again ─────┘                └── lost: the client is cut
 *     └── refused, nobody left: answered here ──► CLOSED
 *
 * It is a call of its own: routed, judged and balanced by itself, tried at another endpoint while
 * nothing of its body was sent or all that was is kept, and written about once, at its end.
 *
 * Owner: itself; the connection it came on knows it until its end. It stands at the front of a
 * block of the loop's slabs, and its arena behind it. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_EXCHANGE_H
#define ISTHMUS_FLOW_EXCHANGE_H

#include "proxy/connect/http_pool.h"
#include "proxy/flow/replay.h"
#include "proxy/flow/walk.h"
#include "proxy/route/route.h"

enum exchange_state {
    EXCHANGE_SEEKING,
    EXCHANGE_ASKED,
    EXCHANGE_ANSWERED,
    EXCHANGE_CLOSED,
    EXCHANGE_STATES
};

struct trace_context;

struct exchange {
    struct call call;
    int state;
    struct list by_side;
    struct http_side *side;
    struct http_stream *client, *server; /* NULL: not, or no longer */
    struct http_link *link;              /* of server */
    struct http_wait wait;               /* for a link that another exchange makes */
    uint64_t generation;         /* of the snapshot that the route's service and the key are of */
    struct acquaintance_key key; /* of the endpoint that was named last */
    unsigned n_named;
    struct traffic_series *lender; /* held: the record's names are its; NULL: they are not */
    struct http_request head;      /* as it is forwarded; in the arena */
    struct route_decision route;
    struct str path; /* as it came but for tokens, for the record */
    struct str method;
    struct pump pump;
    struct timer deadline, attempt, backoff;
    struct http_fields up_trailers, down_trailers;
    struct str grpc_status;
    uint64_t asked_ns, answered_ns;
    unsigned status;
    unsigned n_asked;            /* how often it was sent */
    unsigned n_retries;          /* of them by the route's word */
    struct trace_context *trace; /* NULL: nobody traces */
    struct replay replay;        /* what was sent of its body */
    struct list copies;          /* its mirrors that still listen */
    bool is_mirror;              /* its answer is nobody's */
    bool is_named;               /* the record says who asks; at the latest when it is written */
    bool is_spent;               /* it was to be tried again, and its attempts are used up */
    bool is_repeating;           /* what the server is told now it would have been told before */
    bool is_said;                /* the client's end has been heard */
    bool was_local;              /* the answer is ours */
    bool speaks_h2;              /* the backend */
    uint16_t port;               /* of the service that the route chose */
    struct ip source;            /* for whom it asks: no other's connections are used */
    struct str challenge;        /* of a token that was refused: what a good one would be */
    struct search search;        /* the call's; last, as call_init() fills it */
};

/* Takes a request that came on a connection. */
void exchange_start(struct http_side *side, struct http_stream *stream,
                    const struct http_request *head);
/* Ends it now: answers with what fits err where nothing was answered yet, else cuts. */
void exchange_end(struct exchange *exchange, int err, struct str detail);

#endif
