/*
 * l7.h - a flow that is an HTTP connection, with exchanges in it.
 *
 * The client speaks first: its first bytes tell HTTP/2 (the preface of RFC 9113 3.4) from HTTP/1.
 * From there on the connection is the codec's, and each request an exchange of its own.
 *
 * Owner: the flow. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_L7_H
#define ISTHMUS_FLOW_L7_H

#include "proxy/flow/exchange.h"

/* Takes the arrival's stream: the flow serves HTTP from now on, for a port of a service. What was
 * sniffed of it comes first; the flow may be over with that. */
void l7_begin(struct flow *flow, const struct service *service, const struct service_port *port);
/* The same for a flow whose endpoint is a pod of this node, and whose requests are to be
 * judged: all of them go there. Takes the upstream's stream, which is for the first of them; NULL:
 * the pod is not reached yet, and is for the first that is allowed. */
void l7_begin_here(struct flow *flow, const struct upstream *upstream);
#endif
