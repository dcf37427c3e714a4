/*
 * hbone.h - the fields that an HBONE CONNECT carries: baggage, forwarded, traceparent.
 *
 * Formats are ztunnel's: baggage is
 * "k8s.cluster.name=C,k8s.namespace.name=NS,k8s.deployment.name=W,service.name=APP,
 * service.version=REV,..." without percent-encoding; forwarded is for="ip:port" with an optional
 * ;host=name; traceparent is W3C version 00. What a peer sends is bounded and unknown parts are
 * passed over, as are names longer than any. None of it is trusted for access.
 *
 * Thread: any. Strings of the parsers borrow from the input.
 */
#ifndef ISTHMUS_HTTP_HBONE_H
#define ISTHMUS_HTTP_HBONE_H

#include "config/snapshot.h"
#include "proxy/base/rng.h"

struct hbone_labels { /* what a peer says of a workload */
    struct str cluster, namespace_, workload, service, revision, region, zone;
};

struct str hbone_baggage(struct arena *arena, const struct workload *workload);
void hbone_parse_baggage(struct str baggage, struct hbone_labels *out_labels);

/* host is left out when empty. */
struct str hbone_forwarded(struct arena *arena, const struct addr *client, struct str host);
/* The first element's for= as an address ("none" when it is absent or no address) and host= (""
 * when absent). */
void hbone_parse_forwarded(struct str forwarded, struct addr *out_client, struct str *out_host);

/* A new root traceparent; flags 00, since nothing is exported. */
#define TRACEPARENT_LEN 55
struct str hbone_traceparent(struct arena *arena, struct rng *rng);
/* One of version 00, as W3C Trace Context 3.2.2 writes it. */
bool hbone_is_traceparent(struct str text);

#endif
