/*
 * One flow: its states, its end, and the verdicts that it lives under.
 *
 * Every way to end goes through flow_close(): the record is written once, the lease comes back, the
 * memory goes at the end of the turn.
 */
#include "proxy/flow/flow.h"

#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/flow/walk.h"
#include "proxy/flow/witness.h"
#include "proxy/meter/meter.h"

static const struct sm_rule flow_rules[FLOW_STATES] = {
    [FLOW_ACCEPTED] = {"accepted", SM_TO(FLOW_CONNECTING) | SM_TO(FLOW_CLOSED)},
    [FLOW_CONNECTING] = {"connecting",
                         SM_TO(FLOW_CONNECTING) | SM_TO(FLOW_PUMPING) | SM_TO(FLOW_CLOSED)},
    [FLOW_PUMPING] = {"pumping", SM_TO(FLOW_CLOSED)},
    [FLOW_CLOSED] = {"closed", 0},
};

const char *flow_state_name(enum flow_state state)
{
    return flow_rules[state].name;
}

void flow_move(struct flow *flow, enum flow_state next)
{
    sm_move(flow_rules, &flow->state, (int)next);
    list_remove(&flow->by_state);
    list_push_back(&flow->walk->flows[next], &flow->by_state);
}

const struct snapshot *flow_snapshot(const struct flow *flow)
{
    return *flow->walk->tools.snapshot;
}

uint64_t flow_now_ns(const struct flow *flow)
{
    return loop_now_ns(flow->walk->tools.loop);
}

/* ---- the end ---- */

static void free_flow(void *ptr)
{
    struct flow *flow = ptr;
    arena_fini(&flow->arena);
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

static void free_attempt(void *ptr)
{
    mem_free(ptr);
}

void flow_drop_attempt(struct flow *flow, struct attempt *attempt, enum lease_outcome outcome)
{
    struct walk *walk = flow->walk;
    if (attempt->connect)
        connect_cancel(attempt->connect);
    attempt->connect = NULL;
    lease_return(walk->tools.balancer, &attempt->lease, outcome, flow_now_ns(flow));
    if (flow->racers[0] == attempt)
        flow->racers[0] = flow->racers[1];
    flow->racers[1] = NULL;
    loop_bury(walk->tools.loop, attempt, free_attempt);
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

void flow_close(struct flow *flow, const struct totals *totals, struct str detail)
{
    struct walk *walk = flow->walk;
    const uint64_t now_ns = flow_now_ns(flow);
    if (!str_is_empty(detail))
        flow->record.detail = arena_str(&flow->arena, detail);
    flow->record.attempts = flow->n_attempts;
    if (flow->state == FLOW_PUMPING && is_lost_trust(totals->err))
        witness_cut(flow, str_is_empty(flow->record.detail) ? str_from(err_text(totals->err))
                                                            : flow->record.detail);
    record_open(&flow->record, walk->tools.traffic);
    meter_add(walk->tools.meter, METRIC_BYTES_SPLICED, (int64_t)totals->spliced);
    record_close(&flow->record, totals, now_ns - flow->started_ns, walk->options.log_access);
    witness_end(flow, totals, now_ns - flow->started_ns);
    lease_return(walk->tools.balancer, &flow->lease, outcome_of(totals), now_ns);
    flow_move(flow, FLOW_CLOSED);
    list_remove(&flow->by_state);
    walk->n_flows--;
    meter_add(walk->tools.meter, METRIC_SOCKETS_OPEN, -1);
    loop_bury(walk->tools.loop, flow, free_flow);
}

void flow_end(struct flow *flow, int err, struct str detail)
{
    struct totals totals = pump_cut(&flow->pump, err);
    while (flow->racers[0])
        flow_drop_attempt(flow, flow->racers[0], LEASE_UNUSED);
    timer_stop(&flow->race);
    if (flow->arrival)
        refuse_arrival(flow, err);
    flow_close(flow, &totals, detail);
}

/* ---- verdicts ---- */

static void count_verdict(struct meter *meter, const struct policy_answer *answer)
{
    const struct policy_dry_run *dry = &answer->dry_run;
    meter_add(meter, answer->allowed ? METRIC_VERDICTS_ALLOWED : METRIC_VERDICTS_DENIED, 1);
    if (answer->n_audits_matched > 0)
        meter_add(meter, METRIC_VERDICTS_AUDITED, 1);
    if (dry->is_asked && dry->would_deny == answer->allowed)
        meter_add(meter, dry->would_deny ? METRIC_VERDICTS_WOULD_DENY : METRIC_VERDICTS_WOULD_ALLOW,
                  1);
}

int flow_judge(struct flow *flow, const struct workload *destination,
               const struct principal *source, const struct addr *addr)
{
    char sentence[256];
    struct record *record = &flow->record;
    const struct verdict verdict = authorize(destination, source, addr);
    count_verdict(flow->walk->tools.meter, &verdict.answer);
    record->dry_run_policy = arena_str(&flow->arena, verdict.answer.dry_run.deny.policy);
    witness_verdict(flow, &verdict.answer, false);
    if (verdict.err < 0) {
        record->detail =
            arena_str(&flow->arena, str_from(verdict_text(&verdict, sentence, sizeof sentence)));
        return verdict.err;
    }
    flow->judged = (struct judged){
        .is_judged = true,
        .principal_id = arena_str(&flow->arena, source->id),
        .source = source->ip,
        .destination = *addr,
        .revision = destination->policies->revision,
    };
    return 0;
}
