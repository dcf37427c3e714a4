/*
 * called.h - what a connection of HTTP called, and who did, as a generation of the snapshot has
 * them: a service, or a pod of this node where its requests are judged.
 *
 * It is looked up with the first request that sees a generation; those that follow find it here. A
 * pod that left, a service that is gone, other endpoints, a route that came: each comes with a
 * generation of its own.
 *
 * Owner: the connection. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_CALLED_H
#define ISTHMUS_FLOW_CALLED_H

#include "proxy/flow/record.h"
#include "proxy/resolve/resolve.h"

struct called {
    struct str key; /* of the service, in the flow's arena */
    uint16_t port;

    uint64_t generation; /* 0: nobody has looked yet */
    const struct workload
        *pod; /* that calls; NULL: it may not, or no more, or another has its address */
    const struct service *service;
    const struct service_port *service_port; /* NULL: there is none, or no service */
    const struct endpoint_set *endpoints;
    bool passes; /* requests go there as they are: route_passes() */
};

/* As that snapshot has it; the record is of the connection. */
const struct called *called_now(struct called *called, const struct snapshot *snapshot,
                                const struct record *record);

struct judged;

struct visit {                  /* {0}: nobody has looked yet */
    uint64_t generation;        /* 0: nobody has */
    const struct workload *pod; /* that was called; NULL: it has left */
    struct principal caller;    /* borrows from the snapshot, and from what was judged */
    int err;                    /* why the caller is not known */
};

/* The same of a connection to a pod of this node; judged is what its verdict was about. */
const struct visit *visit_now(struct visit *visit, const struct snapshot *snapshot,
                              const struct judged *judged);

#endif
