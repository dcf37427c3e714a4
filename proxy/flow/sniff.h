/*
 * sniff.h - what a client speaks on a port that does not say: its first bytes decide.
 *
 *   sniff_begin ──► a request of HTTP/1, HTTP/2's preface ──► HTTP (l7.h)
 *        └── other bytes, an end, too little in time ──► bytes (l4.c), those that came first
 *
 * Bytes that were looked at are kept and go on before any other, and so does an end. A port whose
 * server speaks first pays the policy's time.
 *
 * Bounds: what one read of the client's brings, since fewer than 24 bytes always decide.
 * Owner: the flow. Thread: the worker's. Units: ns.
 */
#ifndef ISTHMUS_FLOW_SNIFF_H
#define ISTHMUS_FLOW_SNIFF_H

#include "proxy/flow/walk.h"

enum sniffed { SNIFFED_NOTHING, SNIFFED_HTTP_1, SNIFFED_HTTP_2, SNIFFED_BYTES };

/* What begins so; SNIFFED_NOTHING when more is needed to tell. */
enum sniffed sniff_look(struct str first);

struct sniff_events {
    void (*on_sniffed)(struct flow *flow, enum sniffed sniffed);
    void (*on_lost)(struct flow *flow, int err); /* the client is gone */
};

/* Listens to the arrival's client for so long; then tells, once, from the loop. */
void sniff_begin(struct flow *flow, uint64_t detect_ns, const struct sniff_events *events);
/* Says to the stream's owner what was heard before it was that; harmless when nothing was. */
void sniff_repeat(struct flow *flow, struct stream *client);
/* The flow is over, or needs nothing of it any more. Harmless when nothing was sniffed. */
void sniff_end(struct flow *flow);

#endif
