/*
 * lane.h - the whole way of a route: manifests, the registry, the wire and back, a snapshot, and
 * requests that are asked there.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_ROUTE_LANE_H
#define ISTHMUS_TESTS_UNIT_PROXY_ROUTE_LANE_H

#include "../xds_control/cluster.h"
#include "proxy/route/route.h"

struct lane {
    struct cluster cluster;
    struct snapshot *snapshot;
    struct arena arena; /* of decisions and of what travelled */
};

/* Namespaces mesh and consumer; Services echo (10.96.0.1), echo-v1 (.11), echo-v2 (.12), each with
 * ports http 80, http-alt 8080, grpc 7070 and a pod. */
void lane_begin(struct lane *lane);
void lane_end(struct lane *lane);

/* kind HTTPRoute or GRPCRoute; spec is what follows parentRefs, in flow style. */
void lane_route(struct lane *lane, const char *kind, const char *namespace_, const char *name,
                const char *created, const char *parent, const char *rules);
/* Everything that was added, through the wire. */
void lane_build(struct lane *lane);

struct call { /* a request; what is left out is a GET of http://echo/ to echo's port 80 */
    const char *path, *method, *host, *service, *source;
    const char *headers[10]; /* names and values */
    uint16_t port;
    uint64_t random;
};

/* The decision; good until lane_end(). */
struct route_decision lane_ask(struct lane *lane, const struct call *call);
/* "echo-v1:80" where it goes, or "404", or "302 http://..." */
const char *lane_says(struct lane *lane, const struct call *call);

/* The value of a field, several joined by ","; "" without. */
const char *field_of(struct lane *lane, const struct http_fields *fields, const char *name);
struct http_fields fields_of(struct lane *lane, const struct call *call);

#define V1 "backendRefs: [{name: echo-v1, port: 80}]"
#define V2 "backendRefs: [{name: echo-v2, port: 80}]"

#endif
