/*
 * Connecting: one attempt after the other until one is connected, or none is left.
 *
 * Happy path: attempt_outbound (or attempt_plain) -> on_connected -> pump. Failure modes: a connect
 * that failed goes back to pick while the bounds of attempts and time allow, since no byte of the
 * application has been sent; else the flow ends with the reason of the last one.
 */
#include "proxy/flow/walk.h"
#include "proxy/http/hbone.h"
#include "proxy/meter/meter.h"

struct plan {                        /* one attempt: who is to be reached, and how */
    const struct workload *workload; /* NULL: a plain address */
    const struct service *service;   /* NULL: none was named */
    struct addr addr;
    bool is_last; /* no other endpoint is left to try */
};

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
    const uint64_t spent_ns = flow_now_ns(flow) - flow->started_ns;
    const uint64_t all_ns = flow->walk->options.connect_ns;
    return spent_ns < all_ns ? all_ns - spent_ns : 0;
}

static void note_failure(struct flow *flow, int err)
{
    if (flow->lease.key != 0 && !is_blameless(err) && flow->tried.len < PICK_TRIES_MAX)
        flow->tried.keys[flow->tried.len++] = flow->lease.key;
    lease_return(flow->walk->tools.memory, &flow->lease,
                 is_suspicious(err) ? LEASE_FAILED : LEASE_UNUSED, flow_now_ns(flow));
}

static void on_connect_failed(struct flow *flow, int err, struct str why)
{
    const bool had_lease = flow->lease.key != 0;
    const bool has_another = had_lease || is_blameless(err);
    note_failure(flow, err);
    if (has_another && flow->record.kind == ARRIVAL_OUTBOUND && may_try_again(err) &&
        flow->attempts < flow->walk->options.max_attempts && time_left_ns(flow) > 0) {
        const int again = attempt_outbound(flow);
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
        snapshot_workload_by_ip(flow_snapshot(flow), &flow->judged.destination.ip);
    const struct str baggage = workload ? hbone_baggage(&flow->arena, workload) : (struct str){0};
    arrival_answer(flow->arrival, "200", baggage, false);
}

static void on_pumped(void *owner, const struct totals *totals)
{
    flow_close(owner, totals, (struct str){0});
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
    flow_move(flow, FLOW_PUMPING);
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
    flow_move(flow, FLOW_CONNECTING);
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
        .identity = source->workload ? source->workload->svid_key : source->id,
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

void attempt_plain(struct flow *flow, const struct addr *addr, const struct ip *source,
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
                      &flow->tried, flow_now_ns(flow), loop_rng(tools->loop), &flow->lease);
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
        const int err = flow_judge(flow, workload, source, &plan->addr);
        if (err < 0)
            return err;
    }
    if (workload && workload->speaks_hbone && !workload->is_local)
        return go_through_tunnel(flow, plan, source);
    attempt_plain(flow, &plan->addr, &source->ip, plan->is_last);
    return 0;
}

int attempt_outbound(struct flow *flow)
{
    const struct snapshot *snapshot = flow_snapshot(flow);
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
        lease_return(flow->walk->tools.memory, &flow->lease, LEASE_UNUSED, flow_now_ns(flow));
    return err;
}
