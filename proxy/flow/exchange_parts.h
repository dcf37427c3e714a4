/*
 * exchange_parts.h - what the files of an exchange share: its beginning (exchange_start.c), its
 * asking and what comes back (exchange_ask.c), its verdict (exchange_judge.c), its end
 * (exchange.c), which know each other in this order.
 *
 * Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_EXCHANGE_PARTS_H
#define ISTHMUS_FLOW_EXCHANGE_PARTS_H

#include "proxy/flow/exchange.h"
#include "proxy/flow/local_reply.h"

/* ---- exchange.c ---- */

void exchange_move(struct exchange *exchange, enum exchange_state next);
/* Gives up the server's side; the client's stays. What has moved, with err as its end. */
struct totals exchange_close_server(struct exchange *exchange, int err);
/* Answers in nobody's stead and ends. */
void exchange_answer(struct exchange *exchange, const struct local_reply *reply, int err,
                     struct str detail);
/* The record says from now on what who asks is called, if it does not yet. */
void exchange_name(struct exchange *exchange);
/* Both streams are closed: the end. */
void exchange_conclude(struct exchange *exchange, const struct totals *totals, struct str detail);
/* Of a stream that has nobody to talk to yet. */
extern const struct stream_events exchange_waiting_events;

/* ---- exchange_judge.c ---- */

/* Keeps tokens that stand where the pod's rules look for them out of the record. */
void exchange_hide(struct exchange *exchange, const struct workload *pod);
/* The request's trailers, as far as the pod that is asked may have them. */
struct http_fields exchange_trailers(struct exchange *exchange);
/* Which pod of this node its connection called, and who did, by the snapshot of now. */
const struct visit *exchange_visit(const struct exchange *exchange);
/* Of call_events. */
int exchange_show(struct call *call, const struct workload *destination, const struct addr *addr,
                  const struct policy_request **out_request);
const struct policy_request *exchange_reveal(struct call *call);
const struct policy_request *exchange_glimpse(struct call *call);
/* What goes to the endpoint that was judged about: without the token, if it is not to have it. It
 * may be put into the room. */
const struct http_request *exchange_told(const struct exchange *exchange,
                                         struct http_request *room);
/* One attempt of an exchange whose connection's end is a pod of this node: judged, then on its way
 * there. As attempt_outbound(). */
MUST_USE int exchange_approach(struct exchange *exchange);

/* ---- exchange_ask.c ---- */

extern const struct call_events exchange_call_events;
/* Looks for an endpoint and asks it; not before after_ns, and not within this call. */
void exchange_seek(struct exchange *exchange);
void exchange_seek_later(struct exchange *exchange, uint64_t after_ns);

static inline struct balancer *exchange_balancer(const struct exchange *exchange)
{
    return exchange->call.walk->tools.balancer;
}

#endif
