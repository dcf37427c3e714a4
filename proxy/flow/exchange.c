/*
 * An exchange's states and its end. Every way to end goes through exchange_conclude(): written
 * about once, the lease comes back, the memory goes at the end of the turn.
 */
#include "proxy/flow/exchange.h"

#include "proxy/base/sm.h"
#include "proxy/flow/exchange_parts.h"
#include "proxy/flow/exchange_record.h"
#include "proxy/flow/mirror.h"
#include "proxy/meter/meter.h"

static const struct sm_rule exchange_rules[EXCHANGE_STATES] = {
    [EXCHANGE_SEEKING] = {"seeking", SM_TO(EXCHANGE_ASKED) | SM_TO(EXCHANGE_CLOSED)},
    [EXCHANGE_ASKED] = {"asked", SM_TO(EXCHANGE_SEEKING) | SM_TO(EXCHANGE_ANSWERED) |
                                     SM_TO(EXCHANGE_CLOSED)},
    [EXCHANGE_ANSWERED] = {"answered", SM_TO(EXCHANGE_CLOSED)},
    [EXCHANGE_CLOSED] = {"closed", 0},
};

void exchange_move(struct exchange *exchange, enum exchange_state next)
{
    sm_move(exchange_rules, &exchange->state, (int)next);
}

/* ---- the end ---- */

static void free_exchange(void *ptr)
{
    struct exchange *exchange = ptr;
    call_fini(&exchange->call);
    slab_block_free(exchange);
}

/* How the endpoint did, as far as this exchange can tell. */
static enum lease_outcome outcome_of(const struct exchange *exchange, int err)
{
    const unsigned status = exchange->was_local ? 0 : exchange->status; /* ours is no word of its */
    if (exchange->state == EXCHANGE_SEEKING)
        return LEASE_UNUSED;
    const bool was_silent = err == -ERR_RESPONSE_TIMEOUT && exchange->answered_ns == 0;
    if (status >= 500 || was_silent || err == -ERR_UPSTREAM_RESET || err == -ERR_HTTP_RESPONSE ||
        err == -ERR_HTTP_RESPONSE_LIMIT)
        return LEASE_RESET;
    return err == 0 || status != 0 ? LEASE_SERVED : LEASE_UNUSED;
}

void exchange_name(struct exchange *exchange)
{
    struct call *call = &exchange->call;
    if (!exchange->is_named)
        record_copy_source(&call->record, &call->arena, &exchange->side->flow->call.record);
    exchange->is_named = true;
}

/* Both streams are closed. */
void exchange_conclude(struct exchange *exchange, const struct totals *totals, struct str detail)
{
    struct call *call = &exchange->call;
    struct http_side *side = exchange->side;
    if (!str_is_empty(detail))
        call->record.detail = arena_str(&call->arena, detail);
    call->record.attempts = call->n_attempts;
    timer_stop(&exchange->deadline);
    timer_stop(&exchange->attempt);
    timer_stop(&exchange->backoff);
    http_wait_cancel(&exchange->wait);
    call_drop_attempts(call);
    lease_return(exchange_balancer(exchange), &call->lease, outcome_of(exchange, totals->err),
                 call_now_ns(call));
    if (exchange->is_mirror) {
        meter_add(call->walk->tools.meter, METRIC_MIRRORS, 1);
    } else {
        exchange_name(exchange);
        exchange_record(exchange, totals);
        side->totals.received += totals->received;
        side->totals.sent += totals->sent;
    }
    traffic_let_go(exchange->lender);
    record_lend_names(&call->record, NULL);
    replay_drop(&exchange->replay, &call->walk->replay_bytes);
    mirrors_leave(&exchange->copies);
    exchange_move(exchange, EXCHANGE_CLOSED);
    list_remove(&exchange->by_side);
    loop_bury(call->walk->tools.loop, exchange, free_exchange);
    if (side->is_over && list_is_empty(&side->exchanges))
        flow_end(side->flow, side->end, (struct str){0});
}

struct totals exchange_close_server(struct exchange *exchange, int err)
{
    struct totals totals = pump_totals(&exchange->pump);
    totals.err = err;
    if (exchange->pump.is_running)
        pump_release(&exchange->pump);
    if (exchange->server) {
        stream_close(&exchange->server->stream, err < 0 ? err : -ERR_SHUTDOWN);
        http_link_ended(exchange->link);
    }
    exchange->server = NULL;
    return totals;
}

void exchange_answer(struct exchange *exchange, const struct local_reply *reply, int err,
                     struct str detail)
{
    struct totals totals = exchange_close_server(exchange, err);
    exchange->status = reply->status;
    exchange->was_local = true;
    if (local_reply_is_grpc(&exchange->head.fields)) {
        exchange->status = LOCAL_REPLY_GRPC;
        exchange->grpc_status = local_reply_grpc_status(reply->status);
    }
    totals.sent +=
        local_reply_send(exchange->client, &exchange->head, reply, &exchange->call.arena);
    exchange->client = NULL;
    exchange_conclude(exchange, &totals, detail);
}

void exchange_end(struct exchange *exchange, int err, struct str detail)
{
    if (exchange->state < EXCHANGE_ANSWERED && exchange->client) {
        struct local_reply reply = local_reply_of(err);
        reply.challenge = exchange->challenge;
        exchange_answer(exchange, &reply, err, detail);
        return;
    }
    const struct totals totals = exchange_close_server(exchange, err);
    if (exchange->client)
        stream_close(&exchange->client->stream, err);
    exchange->client = NULL;
    exchange_conclude(exchange, &totals, detail);
}

/* ---- waiting: the client has nobody to talk to yet ---- */

static void on_waiting_data(void *owner, struct slice bytes)
{
    (void)bytes; /* paused: nothing comes */
    exchange_end(owner, -ERR_INVALID, (struct str){0});
}

static void on_waiting_end(void *owner)
{
    (void)owner;
}

static void on_waiting_fail(void *owner, int err)
{
    struct exchange *exchange = owner;
    stream_close(&exchange->client->stream, err);
    exchange->client = NULL;
    exchange_end(exchange, -ERR_CLIENT_RESET, (struct str){0});
}

const struct stream_events exchange_waiting_events = {
    .on_data = on_waiting_data,
    .on_end = on_waiting_end,
    .on_fail = on_waiting_fail,
};
