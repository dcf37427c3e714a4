/*
 * One flow: its states and its end.
 *
 * Every way to end goes through flow_close(): the record is written once, the lease comes back, the
 * memory goes at the end of the turn.
 */
#include "proxy/flow/flow.h"

#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/flow/sniff.h"
#include "proxy/flow/witness.h"
#include "proxy/meter/meter.h"

static const struct sm_rule flow_rules[FLOW_STATES] = {
    [FLOW_ACCEPTED] = {"accepted",
                       SM_TO(FLOW_CONNECTING) | SM_TO(FLOW_SERVING) | SM_TO(FLOW_CLOSED)},
    [FLOW_CONNECTING] = {"connecting", SM_TO(FLOW_CONNECTING) | SM_TO(FLOW_PUMPING) |
                                           SM_TO(FLOW_SERVING) | SM_TO(FLOW_CLOSED)},
    [FLOW_PUMPING] = {"pumping", SM_TO(FLOW_CLOSED)},
    [FLOW_SERVING] = {"serving", SM_TO(FLOW_CLOSED)},
    [FLOW_CLOSED] = {"closed", 0},
};

const char *flow_state_name(enum flow_state state)
{
    return flow_rules[state].name;
}

void flow_move(struct flow *flow, enum flow_state next)
{
    sm_move(flow_rules, &flow->state, (int)next);
    for (int i = 0; i < WALK_SWEEPS; i++)
        sweep_loses(&flow->call.walk->sweeps[i], &flow->by_state);
    list_remove(&flow->by_state);
    list_push_back(&flow->call.walk->flows[next], &flow->by_state);
}

/* ---- the end ---- */

static void free_flow(void *ptr)
{
    struct flow *flow = ptr;
    call_end_search(&flow->call);
    call_fini(&flow->call);
    mem_free(flow);
}

static const char *tunnel_status(int err)
{
    switch (-err) {
    case ERR_BAD_METHOD:
    case ERR_BAD_AUTHORITY:
    case ERR_IP_MISMATCH: return "400";
    case ERR_DENIED: return "401";
    default: return "503";
    }
}

/* The caller learns that it failed: a tunnel by a status, a socket by a reset. */
static void refuse_arrival(struct flow *flow, int err)
{
    struct arrival *arrival = flow->arrival;
    if (arrival->kind == ARRIVAL_TUNNEL && arrival->stream) {
        arrival_answer(arrival, tunnel_status(err), (struct str){0}, true);
        arrival_free(arrival, 0);
    } else {
        arrival_free(arrival, err);
    }
    flow->arrival = NULL;
}

/* How the endpoint did: who broke a connection before it said anything did badly, and so did the
 * node whose tunnel fell silent. */
static enum lease_outcome outcome_of(const struct totals *totals)
{
    if (totals->err == -ERR_KEEPALIVE_TIMEOUT)
        return LEASE_NODE_FAILED;
    return totals->err == -ERR_UPSTREAM_RESET && totals->sent == 0 ? LEASE_RESET : LEASE_SERVED;
}

static bool is_lost_trust(int err)
{
    return err == -ERR_TRUST_REMOVED || err == -ERR_TLS_REVOKED;
}

/* By the path that they took. */
static void count_bytes(struct meter *meter, bool is_tunnelled, const struct totals *totals)
{
    const int64_t moved = (int64_t)(totals->received + totals->sent - totals->spliced);
    meter_add(meter, METRIC_BYTES_SPLICED, (int64_t)totals->spliced);
    meter_add(meter, is_tunnelled ? METRIC_BYTES_TUNNELLED : METRIC_BYTES_COPIED, moved);
}

void flow_close(struct flow *flow, const struct totals *totals, struct str detail)
{
    struct call *call = &flow->call;
    struct walk *walk = call->walk;
    const uint64_t now_ns = call_now_ns(call);
    const uint64_t duration_ns = now_ns - call->started_ns;
    if (!str_is_empty(detail))
        call->record.detail = arena_str(&call->arena, detail);
    call->record.attempts = call->n_attempts;
    const bool is_live = flow->state == FLOW_PUMPING || flow->state == FLOW_SERVING;
    audit_tell_connection(walk->tools.audit, call->id); /* what was before stands before */
    if (is_live && is_lost_trust(totals->err))
        witness_cut(call, str_is_empty(call->record.detail) ? str_from(err_text(totals->err))
                                                            : call->record.detail);
    if (is_live)
        meter_add(walk->tools.meter, METRIC_TUNNEL_STREAMS_OPEN, -call->record.is_mutual_tls);
    if (flow->state != FLOW_SERVING || flow->spoke_no_http) { /* else its exchanges were */
        count_bytes(walk->tools.meter, call->record.is_mutual_tls, totals);
        record_open(&call->record, walk->tools.traffic);
        record_close(&call->record, totals, duration_ns, walk->options.log_access);
    }
    sniff_end(flow);
    witness_end(call, totals, duration_ns);
    lease_return(walk->tools.balancer, &call->lease, outcome_of(totals), now_ns);
    flow_move(flow, FLOW_CLOSED);
    list_remove(&flow->by_state);
    listing_remove(&walk->listing, &flow->by_age);
    walk->n_flows--;
    meter_add(walk->tools.meter, METRIC_SOCKETS_OPEN, -1);
    loop_bury(walk->tools.loop, flow, free_flow);
}

void flow_end(struct flow *flow, int err, struct str detail)
{
    const struct totals totals =
        flow->work ? flow->work->end(flow, err) : pump_cut(&flow->pump, err);
    call_drop_attempts(&flow->call);
    if (flow->arrival)
        refuse_arrival(flow, err);
    flow_close(flow, &totals, detail);
}
