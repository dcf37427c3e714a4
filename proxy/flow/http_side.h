/*
 * http_side.h - what the exchanges of an HTTP connection share.
 *
 * Owner: the flow, which it is a part of and which outlives the exchanges. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_HTTP_SIDE_H
#define ISTHMUS_FLOW_HTTP_SIDE_H

#include "proxy/connect/http_pool.h"
#include "proxy/flow/acquaintance.h"
#include "proxy/flow/called.h"
#include "proxy/flow/clients.h"
#include "proxy/pump/pump.h"

struct flow;

struct http_side {
    struct flow *flow;
    struct stream *stream;      /* until the version is known */
    struct stream *unacked;     /* the client's, while its first bytes are acknowledged late */
    struct http_server *server; /* from then on */
    struct client *client;      /* outbound */
    struct list exchanges;
    struct timer patience; /* for the first byte; then for the exchange that is silent longest */
    uint64_t idle_ns;
    size_t n_preface;     /* bytes of HTTP/2's preface that have been seen */
    struct totals totals; /* of the exchanges that have ended */
    uint64_t n_exchanges;
    char *why;        /* of what was refused last, in the flow's arena; NULL: nothing was */
    bool is_late;     /* a nuisance's: it was heard late */
    bool is_draining; /* since before its version was known, or from the start */
    bool is_h2;       /* what it refuses is a stream, and the connection goes on */
    bool is_over;     /* the client has gone; copies of what it asked are still on their way */
    int end;          /* is_over: how */
    /* A pod of this node is called, where the requests are judged: as flow->call.judged says. */
    bool is_here;
    enum app_protocol protocol; /* there: the word of its port */

    union {
        struct called called; /* not is_here */

        struct {                       /* is_here */
            struct acquaintance known; /* of what is written about them */
            struct visit *visit;       /* in the flow's arena */
        };
    };

    struct stream
        *reached; /* is_here: the plain connection to it; NULL: an exchange has taken it */
};

#endif
