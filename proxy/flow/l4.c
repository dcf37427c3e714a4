/*
 * The walk at layer 4. Only order lives here; how a thing is done is its room's.
 *
 * Happy path: walk_start -> begin_* -> attempt -> on_connected -> pump -> on_pumped -> CLOSED.
 * Failure modes: every refusal of a room ends the flow with its reason; a connect that failed goes
 * back to pick while the bounds of attempts and time allow, since no byte of the application has
 * been sent.
 */
#include <stdio.h>

#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/flow/walk.h"
#include "proxy/http/hbone.h"
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

static void move(struct flow *flow, enum flow_state next)
{
    sm_move(flow_rules, &flow->state, (int)next);
    list_remove(&flow->by_state);
    list_push_back(&flow->walk->flows[next], &flow->by_state);
}

static const struct snapshot *snapshot_of(const struct flow *flow)
{
    return *flow->walk->tools.snapshot;
}

static uint64_t now_of(const struct flow *flow)
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

static void close_flow(struct flow *flow, const struct totals *totals, struct str detail)
{
    struct walk *walk = flow->walk;
    const uint64_t now_ns = now_of(flow);
    if (!str_is_empty(detail))
        flow->record.detail = arena_str(&flow->arena, detail);
    flow->record.attempts = flow->attempts;
    record_open(&flow->record, walk->tools.traffic);
    record_close(&flow->record, totals, now_ns - flow->started_ns, walk->options.log_access);
    lease_return(walk->tools.memory, &flow->lease, LEASE_SERVED, now_ns);
    move(flow, FLOW_CLOSED);
    list_remove(&flow->by_state);
    walk->n_flows--;
    meter_add(walk->tools.meter, METRIC_SOCKETS_OPEN, -1);
    loop_bury(walk->tools.loop, flow, free_flow);
}

void flow_end(struct flow *flow, int err, struct str detail)
{
    struct totals totals = pump_cut(&flow->pump, err);
    if (flow->connect)
        connect_cancel(flow->connect);
    flow->connect = NULL;
    if (flow->arrival)
        refuse_arrival(flow, err);
    close_flow(flow, &totals, detail);
}

static void on_pumped(void *owner, const struct totals *totals)
{
    close_flow(owner, totals, (struct str){0});
}

/* ---- verdicts ---- */

/* Asks the destination's policies and keeps the question for the day they change. */
static int judge(struct flow *flow, const struct workload *destination,
                 const struct principal *source, const struct addr *addr)
{
    char sentence[256];
    struct record *record = &flow->record;
    const struct verdict verdict = authorize(destination, source, addr);
    record->policy = arena_str(&flow->arena, verdict.answer.policy);
    record->dry_run_policy = arena_str(&flow->arena, verdict.answer.dry_run_policy);
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
    };
    return 0;
}

/* ---- connecting ---- */

struct plan {                        /* one attempt: who is to be reached, and how */
    const struct workload *workload; /* NULL: a plain address */
    const struct service *service;   /* NULL: none was named */
    struct addr addr;
    bool is_last; /* no other endpoint is left to try */
};

static int attempt(struct flow *flow);

static bool may_try_again(int err)
{
    switch (-err) {
    case ERR_TUNNEL_DENIED:
    case ERR_TUNNEL_BAD_REQUEST:
    case ERR_TUNNEL_STATUS:
    case ERR_SYSTEM: return false;
    default: return true;
    }
}

/* These say nothing about the endpoint: the tunnel to it was about to end anyway, or our own
 * certificate is awaited. */
static bool is_blameless(int err)
{
    return err == -ERR_H2_GOAWAY || err == -ERR_H2_REFUSED || err == -ERR_NO_IDENTITY;
}

/* So that others are warned of the endpoint. Who was refused by a policy, or what our own node
 * could not do, is no failure of it: else one denied client would drive everybody's flows to
 * endpoints farther away. */
static bool is_suspicious(int err)
{
    switch (-err) {
    case ERR_TUNNEL_DENIED:
    case ERR_TUNNEL_BAD_REQUEST:
    case ERR_SYSTEM:
    case ERR_OVERLOAD: return false;
    default: return !is_blameless(err);
    }
}

static uint64_t time_left_ns(const struct flow *flow)
{
    const uint64_t spent_ns = now_of(flow) - flow->started_ns;
    const uint64_t all_ns = flow->walk->options.connect_ns;
    return spent_ns < all_ns ? all_ns - spent_ns : 0;
}

static void note_failure(struct flow *flow, int err)
{
    if (flow->lease.key != 0 && !is_blameless(err) && flow->tried.len < PICK_TRIES_MAX)
        flow->tried.keys[flow->tried.len++] = flow->lease.key;
    lease_return(flow->walk->tools.memory, &flow->lease,
                 is_suspicious(err) ? LEASE_FAILED : LEASE_UNUSED, now_of(flow));
}

static void on_connect_failed(struct flow *flow, int err, struct str why)
{
    const bool had_lease = flow->lease.key != 0;
    const bool has_another = had_lease || is_blameless(err);
    note_failure(flow, err);
    if (has_another && flow->record.kind == ARRIVAL_OUTBOUND && may_try_again(err) &&
        flow->attempts < flow->walk->options.max_attempts && time_left_ns(flow) > 0) {
        const int again = attempt(flow);
        if (again == 0) {
            meter_add(flow->walk->tools.meter, METRIC_CONNECT_RETRIES, 1);
            return;
        }
        if (again == -ERR_DENIED)
            err = again;
    }
    struct text detail = {0};
    if (err != -ERR_DENIED) {
        text_addf(&detail, "%s", err_text(err));
        if (!str_is_empty(why))
            text_addf(&detail, ": %.*s", STR_ARG(why));
    }
    flow_end(flow, err, text_str(&detail));
    text_fini(&detail);
}

/* The caller's node, which may know nothing of our pod, is told whom it reached. */
static void accept_arrival(struct flow *flow)
{
    const struct workload *workload =
        snapshot_workload_by_ip(snapshot_of(flow), &flow->judged.destination.ip);
    const struct str baggage = workload ? hbone_baggage(&flow->arena, workload) : (struct str){0};
    arrival_answer(flow->arrival, "200", baggage, false);
}

static void on_connected(void *owner, int err, const struct upstream *upstream, struct str why)
{
    struct flow *flow = owner;
    const struct walk_options *options = &flow->walk->options;
    flow->connect = NULL;
    if (err < 0) {
        on_connect_failed(flow, err, why);
        return;
    }
    lease_confirm(flow->walk->tools.memory, &flow->lease);
    if (upstream->is_tunnel) {
        flow->record.is_mutual_tls = true;
        flow->record.tls_version = upstream->tls_version;
        flow->record.cipher = upstream->cipher;
        record_peer(&flow->record.destination, &flow->arena, upstream->peer_id, upstream->baggage);
    }
    record_open(&flow->record, flow->walk->tools.traffic);
    if (flow->arrival->kind == ARRIVAL_TUNNEL)
        accept_arrival(flow);
    struct stream *client = arrival_take_stream(flow->arrival);
    arrival_free(flow->arrival, 0);
    flow->arrival = NULL;
    move(flow, FLOW_PUMPING);
    const struct pump_options pump = {options->idle_ns, options->half_close_ns};
    pump_start(&flow->pump, flow->walk->tools.loop, client, upstream->stream, &pump, on_pumped,
               flow);
}

/* A first attempt gets little time while another endpoint is left, since a silent one costs its
 * caller that time. */
static uint64_t attempt_time_ns(const struct flow *flow, bool is_last)
{
    const uint64_t left_ns = time_left_ns(flow);
    const uint64_t shift = flow->attempts < 8 ? flow->attempts : 8;
    const uint64_t share_ns = flow->walk->options.attempt_ns << shift;
    return is_last || share_ns > left_ns ? left_ns : share_ns;
}

static void go(struct flow *flow, struct connect_request *request)
{
    flow->attempts++;
    move(flow, FLOW_CONNECTING);
    flow->connect = connect_start(flow->walk->tools.connector, request, on_connected, flow);
}

static int go_through_tunnel(struct flow *flow, const struct plan *plan,
                             const struct principal *source)
{
    const struct workload *workload = plan->workload;
    const struct service *service = plan->service;
    struct arena scratch = {0};
    if (str_is_empty(workload->identity))
        return -ERR_TLS_IDENTITY;
    const size_t n_sans = service ? service->n_sans : 0;
    struct str *expected = arena_new_array(&scratch, struct str, 1 + n_sans);
    expected[0] = workload->identity;
    for (size_t i = 0; i < n_sans; i++)
        expected[1 + i] = service->sans[i];
    struct connect_request request = {
        .through_tunnel = true,
        .addr = plan->addr,
        .identity = source->id,
        .expected = expected,
        .n_expected = 1 + n_sans,
        .baggage = hbone_baggage(&scratch, source->workload),
        .forwarded = hbone_forwarded(&scratch, &flow->record.source.addr,
                                     service ? service->hostname : (struct str){0}),
        .traceparent = hbone_traceparent(&scratch, loop_rng(flow->walk->tools.loop)),
        .timeout_ns = attempt_time_ns(flow, plan->is_last),
    };
    flow->record.hbone_addr = plan->addr;
    flow->record.destination.addr.port = CONNECT_TUNNEL_PORT;
    go(flow, &request);
    arena_fini(&scratch);
    return 0;
}

static void go_plainly(struct flow *flow, const struct addr *addr, const struct ip *source,
                       bool is_last)
{
    struct connect_request request = {
        .addr = *addr,
        .source = *source,
        .timeout_ns = attempt_time_ns(flow, is_last),
    };
    go(flow, &request);
}

/* Turns a target into the plan of one attempt; a service's takes a lease. */
static int make_plan(struct flow *flow, const struct target *target, struct plan *out_plan)
{
    struct plan plan = {.workload = target->workload, .addr = target->addr, .is_last = true};
    if (target->kind == TARGET_SERVICE) {
        const struct walk_tools *tools = &flow->walk->tools;
        const int err =
            lease_cut(tools->memory, target->endpoints, target->service->allow_unhealthy,
                      &flow->tried, now_of(flow), loop_rng(tools->loop), &flow->lease);
        if (err < 0)
            return err;
        plan.workload = flow->lease.endpoint->workload;
        plan.addr = flow->lease.addr;
        plan.service = target->service;
        plan.is_last = flow->attempts + 1 >= flow->walk->options.max_attempts ||
                       !lease_has_other(target->endpoints, target->service->allow_unhealthy,
                                        &flow->tried, &flow->lease);
    }
    *out_plan = plan;
    return 0;
}

/* What an attempt before this one left: its verdict was about another endpoint. */
static void forget_attempt(struct flow *flow)
{
    flow->judged = (struct judged){0};
    flow->record.policy = (struct str){0};
    flow->record.dry_run_policy = (struct str){0};
    flow->record.hbone_addr = (struct addr){0};
}

static int follow_plan(struct flow *flow, const struct plan *plan, const struct principal *source)
{
    const struct workload *workload = plan->workload;
    forget_attempt(flow);
    flow->record.is_same_node = workload && workload->is_local && workload->speaks_hbone;
    flow->record.is_mutual_tls = false;
    record_party(&flow->record.destination, &flow->arena, workload, &plan->addr);
    record_service(&flow->record, &flow->arena, plan->service);
    if (flow->record.is_same_node) {
        const int err = judge(flow, workload, source, &plan->addr);
        if (err < 0)
            return err;
    }
    if (workload && workload->speaks_hbone && !workload->is_local)
        return go_through_tunnel(flow, plan, source);
    go_plainly(flow, &plan->addr, &source->ip, plan->is_last);
    return 0;
}

/* One attempt of an outbound flow, by the snapshot of now. On failure nothing is in progress. */
static int attempt(struct flow *flow)
{
    const struct snapshot *snapshot = snapshot_of(flow);
    struct principal source;
    struct target target;
    struct plan plan;
    int err = identify_pod(snapshot, &flow->record.source.addr.ip, &source);
    if (err < 0)
        return err;
    err =
        resolve_outbound(snapshot, &flow->walk->options.own, &flow->arrival->destination, &target);
    if (err < 0)
        return err;
    record_service(&flow->record, &flow->arena, target.service);
    err = make_plan(flow, &target, &plan);
    if (err < 0)
        return err;
    err = follow_plan(flow, &plan, &source);
    if (err < 0)
        lease_return(flow->walk->tools.memory, &flow->lease, LEASE_UNUSED, now_of(flow));
    return err;
}

/* ---- beginnings ---- */

static int begin_outbound(struct flow *flow)
{
    const struct snapshot *snapshot = snapshot_of(flow);
    struct principal source;
    record_party(&flow->record.source, &flow->arena,
                 snapshot_workload_by_ip(snapshot, &flow->arrival->source.ip),
                 &flow->arrival->source);
    flow->record.destination.addr = flow->arrival->destination;
    const int err = identify_pod(snapshot, &flow->arrival->source.ip, &source);
    return err < 0 ? err : attempt(flow);
}

/* Judges and dials a pod of this node: the end of both inbound walks. */
static int deliver(struct flow *flow, const struct target *target, const struct principal *source,
                   const struct ip *come_from)
{
    record_service(&flow->record, &flow->arena, target->service);
    const int err = judge(flow, target->workload, source, &target->addr);
    if (err < 0)
        return err;
    go_plainly(flow, &target->addr, come_from, true);
    return 0;
}

static int begin_tunnel(struct flow *flow)
{
    const struct snapshot *snapshot = snapshot_of(flow);
    const struct arrival *arrival = flow->arrival;
    struct record *record = &flow->record;
    struct addr claimed;
    struct str host;
    struct principal source;
    struct target target;
    hbone_parse_forwarded(arrival->forwarded, &claimed, &host);
    record->is_mutual_tls = true;
    record->tls_version = arrival->tls_version;
    record->cipher = arrival->cipher;
    record_party(&record->destination, &flow->arena,
                 snapshot_workload_by_ip(snapshot, &arrival->destination.ip),
                 &arrival->destination);
    record->source.addr = arrival->source;
    int err = identify_svid(snapshot, arrival->peer_id, &arrival->source.ip, &claimed.ip, &source);
    if (err < 0)
        return err;
    record_party(&record->source, &flow->arena, source.workload, &arrival->source);
    record_peer(&record->source, &flow->arena, source.id, arrival->baggage);
    record_service(record, &flow->arena, snapshot_service_by_host(snapshot, host));
    if (!str_eq(arrival->method, STR("CONNECT"))) {
        record->detail = arena_printf(&flow->arena, "expected method CONNECT, got %.*s",
                                      STR_ARG(arrival->method));
        return -ERR_BAD_METHOD;
    }
    err = resolve_inbound(snapshot, &flow->walk->options.own, arrival->authority,
                          &arrival->destination.ip, &target);
    if (err < 0) {
        record->detail =
            arena_printf(&flow->arena, "%s: %.*s", err_text(err), STR_ARG(arrival->authority));
        return err;
    }
    record->hbone_addr = target.addr;
    static const struct ip own_address = {0};
    return deliver(flow, &target, &source, source.workload ? &source.ip : &own_address);
}

static int begin_plaintext(struct flow *flow)
{
    const struct snapshot *snapshot = snapshot_of(flow);
    struct principal source;
    struct target target;
    identify_plaintext(snapshot, &flow->arrival->source.ip, &source);
    record_party(&flow->record.source, &flow->arena, source.workload, &flow->arrival->source);
    /* Nobody proved it, so nobody is told that it was this identity. */
    flow->record.source.identity = (struct str){0};
    record_party(&flow->record.destination, &flow->arena,
                 snapshot_workload_by_ip(snapshot, &flow->arrival->destination.ip),
                 &flow->arrival->destination);
    const int err =
        resolve_plaintext(snapshot, &flow->walk->options.own, &flow->arrival->destination, &target);
    return err < 0 ? err : deliver(flow, &target, &source, &source.ip);
}

static int begin(struct flow *flow)
{
    const struct snapshot *snapshot = snapshot_of(flow);
    if (flow->walk->n_flows > flow->walk->options.max_flows) {
        meter_add(flow->walk->tools.meter, METRIC_FLOWS_SHED, 1);
        return -ERR_OVERLOAD;
    }
    if (!snapshot || !snapshot->is_synced)
        return -ERR_NOT_SYNCED;
    switch (flow->record.kind) {
    case ARRIVAL_OUTBOUND: return begin_outbound(flow);
    case ARRIVAL_TUNNEL: return begin_tunnel(flow);
    case ARRIVAL_PLAINTEXT: return begin_plaintext(flow);
    }
    return -ERR_INVALID;
}

void walk_start(struct walk *walk, struct arrival *arrival)
{
    struct flow *flow = mem_new(struct flow);
    flow->walk = walk;
    flow->arrival = arrival;
    flow->id = walk->next_id++;
    flow->started_ns = loop_now_ns(walk->tools.loop);
    flow->record.kind = arrival->kind;
    flow->record.source.addr = arrival->source;
    flow->record.destination.addr = arrival->destination;
    list_push_back(&walk->flows[FLOW_ACCEPTED], &flow->by_state);
    walk->n_flows++;
    meter_add(walk->tools.meter, METRIC_SOCKETS_OPEN, 1);
    const int err = begin(flow);
    if (err < 0)
        flow_end(flow, err, (struct str){0});
}
