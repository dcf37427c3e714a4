/*
 * Connecting: one attempt after the other until one is connected, or none is left.
 *
 * Happy path: attempt_outbound (or attempt_plain) -> on_connected -> pump. Failure modes: a connect
 * that failed goes back to pick while the bounds of attempts and time allow, since no byte of the
 * application has been sent; else the flow ends with the reason of the last one. A connect that is
 * slow is raced: after the policy's time another endpoint is asked beside it, the first of the two
 * that connects wins and the other is cancelled. Never more than FLOW_RACERS at once.
 * Source: RFC 8305 section 5, whose Connection Attempt Delay is 250 ms too.
 */
#include "proxy/base/mem.h"
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
    const uint64_t all_ns = flow->patience.connect_ns;
    return spent_ns < all_ns ? all_ns - spent_ns : 0;
}

static bool has_attempts_left(const struct flow *flow)
{
    return flow->n_attempts < flow->patience.max_attempts && time_left_ns(flow) > 0;
}

/* ---- racing ---- */

void attempt_show(struct flow *flow, const struct attempt *attempt)
{
    struct record *record = &flow->record;
    record->destination = attempt->reached.destination;
    record->hbone_addr = attempt->reached.hbone_addr;
    record->ruling = attempt->reached.ruling;
    record->trace = attempt->reached.trace;
    record->dry_run_policy = attempt->reached.dry_run_policy;
    record->is_same_node = attempt->reached.is_same_node;
}

static void remember_reached(struct attempt *attempt)
{
    const struct record *record = &attempt->flow->record;
    attempt->reached = (struct reached){
        .destination = record->destination,
        .hbone_addr = record->hbone_addr,
        .ruling = record->ruling,
        .trace = record->trace,
        .dry_run_policy = record->dry_run_policy,
        .is_same_node = record->is_same_node,
    };
}

/* A second endpoint is asked beside the first, which may still win. That nobody else can be asked
 * is no failure. */
static void on_race(struct timer *timer)
{
    struct flow *flow = container_of(timer, struct flow, race);
    if (!has_attempts_left(flow))
        return;
    if (connect_awaits_identity(flow->racers[0]->connect)) {
        timer_start(flow->walk->tools.loop, timer, flow->race_ns, on_race);
        return;
    }
    lease_doubt(flow->walk->tools.balancer, &flow->racers[0]->lease, flow_now_ns(flow));
    if (attempt_outbound(flow) == 0) {
        meter_add(flow->walk->tools.meter, METRIC_CONNECT_RACES, 1);
        return;
    }
    flow->record.detail = (struct str){0};
    attempt_show(flow, flow->racers[0]);
}

/* Whoever connects alone gets company when its time for that has passed. */
static void arm_race(struct flow *flow)
{
    timer_stop(&flow->race);
    if (flow->race_ns == 0 || !flow->racers[0] || flow->racers[1] || !has_attempts_left(flow))
        return;
    const uint64_t since_ns = flow_now_ns(flow) - flow->racers[0]->started_ns;
    timer_start(flow->walk->tools.loop, &flow->race,
                since_ns < flow->race_ns ? flow->race_ns - since_ns : 1, on_race);
}

/* The others have lost. Who had started before the winner was overtaken, which is as much of a
 * failure as a connect that took too long; who started after it did nothing wrong. */
static void end_race(struct flow *flow, struct attempt *winner)
{
    timer_stop(&flow->race);
    struct attempt *other = flow->racers[0] == winner ? flow->racers[1] : flow->racers[0];
    if (!other)
        return;
    const bool was_overtaken = other == flow->racers[0];
    if (was_overtaken) {
        meter_add(flow->walk->tools.meter, METRIC_CONNECT_RACES_WON, 1);
        connect_abandon(other->connect);
        other->connect = NULL;
    }
    flow_drop_attempt(flow, other, was_overtaken ? LEASE_FAILED : LEASE_UNUSED);
}

/* ---- failure ---- */

/* Nothing came back from where the tunnel was to end: the node may be gone, and not only the pod.
 */
static bool blames_node(const struct attempt *attempt, int err)
{
    return attempt->reached.hbone_addr.port != 0 &&
           (err == -ERR_CONNECT_TIMEOUT || err == -ERR_NETWORK_POLICY || err == -ERR_UNREACHABLE ||
            err == -ERR_KEEPALIVE_TIMEOUT);
}

static enum lease_outcome outcome_of(const struct attempt *attempt, int err)
{
    if (!is_suspicious(err))
        return LEASE_UNUSED;
    return blames_node(attempt, err) ? LEASE_NODE_FAILED : LEASE_FAILED;
}

static void note_failure(struct flow *flow, struct attempt *attempt, int err)
{
    if (attempt->lease.key != 0 && !is_blameless(err) && flow->tried.len < PICK_TRIES_MAX)
        flow->tried.keys[flow->tried.len++] = attempt->lease.key;
    flow_drop_attempt(flow, attempt, outcome_of(attempt, err));
}

static void on_connect_failed(struct attempt *attempt, int err, struct str why)
{
    struct flow *flow = attempt->flow;
    const bool has_another = attempt->lease.key != 0 || is_blameless(err);
    struct text detail = {0};
    int last_err = err;
    note_failure(flow, attempt, err);
    if (flow->racers[0]) {
        attempt_show(flow, flow->racers[0]);
        arm_race(flow);
        return;
    }
    if (has_another && flow->record.kind == ARRIVAL_OUTBOUND && may_try_again(err) &&
        has_attempts_left(flow)) {
        const int again = attempt_outbound(flow);
        if (again == 0) {
            meter_add(flow->walk->tools.meter, METRIC_CONNECT_RETRIES, 1);
            return;
        }
        if (again == -ERR_RETRY_BUDGET)
            text_addf(&detail, "%s, after: ", err_text(again));
        if (again == -ERR_DENIED || again == -ERR_RETRY_BUDGET)
            last_err = again;
    }
    if (last_err != -ERR_DENIED) {
        text_addf(&detail, "%s", err_text(err));
        if (!str_is_empty(why))
            text_addf(&detail, ": %.*s", STR_ARG(why));
    }
    flow_end(flow, last_err, text_str(&detail));
    text_fini(&detail);
}

/* ---- success ---- */

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

/* The flow goes on with what this attempt reached. */
static void settle(struct flow *flow, struct attempt *winner)
{
    end_race(flow, winner);
    flow->lease = winner->lease;
    winner->lease = (struct lease){0};
    flow->judged = winner->judged;
    attempt_show(flow, winner);
    const uint64_t connect_ns = flow_now_ns(flow) - winner->started_ns;
    flow_drop_attempt(flow, winner, LEASE_UNUSED);
    lease_confirm(flow->walk->tools.balancer, &flow->lease, connect_ns, flow_now_ns(flow));
}

static void on_answer(void *owner, uint64_t latency_ns)
{
    struct flow *flow = owner;
    lease_sample(flow->walk->tools.balancer, &flow->lease, latency_ns, flow_now_ns(flow));
}

static void on_connected(void *owner, int err, const struct upstream *upstream, struct str why)
{
    struct attempt *attempt = owner;
    struct flow *flow = attempt->flow;
    attempt->connect = NULL;
    if (err < 0) {
        on_connect_failed(attempt, err, why);
        return;
    }
    settle(flow, attempt);
    if (upstream->is_tunnel) {
        flow->record.is_mutual_tls = true;
        flow->record.tls_version = upstream->tls_version;
        flow->record.cipher = upstream->cipher;
        flow->record.peer_serial = arena_str(&flow->arena, upstream->peer_serial);
        flow->record.peer_not_after_ns = upstream->peer_not_after_ns;
        record_peer(&flow->record.destination, &flow->arena, upstream->peer_id, upstream->baggage);
    }
    record_open(&flow->record, flow->walk->tools.traffic);
    if (flow->arrival->kind == ARRIVAL_TUNNEL)
        accept_arrival(flow);
    struct stream *client = arrival_take_stream(flow->arrival);
    arrival_free(flow->arrival, 0);
    flow->arrival = NULL;
    flow_move(flow, FLOW_PUMPING);
    const struct pump_options pump = {
        .idle_ns = flow->patience.idle_ns,
        .half_close_ns = flow->walk->options.half_close_ns,
        .on_answer = flow->lease.key != 0 ? on_answer : NULL,
        .splice_after_bytes = flow->walk->options.splice_after_bytes,
    };
    pump_start(&flow->pump, flow->walk->tools.loop, client, upstream->stream, &pump, on_pumped,
               flow);
}

/* A first attempt gets little time while another endpoint is left, since a silent one costs its
 * caller that time. */
static uint64_t attempt_time_ns(const struct flow *flow, bool is_last)
{
    const uint64_t left_ns = time_left_ns(flow);
    const uint64_t shift = flow->n_attempts < 8 ? flow->n_attempts : 8;
    const uint64_t share_ns = flow->patience.attempt_ns << shift;
    return is_last || share_ns > left_ns ? left_ns : share_ns;
}

/* Takes what the plan has left in the flow: the lease, the verdict, the record. */
static void go(struct flow *flow, struct connect_request *request)
{
    struct attempt *attempt = mem_new(struct attempt);
    attempt->flow = flow;
    attempt->started_ns = flow_now_ns(flow);
    attempt->lease = flow->lease;
    attempt->judged = flow->judged;
    flow->lease = (struct lease){0};
    flow->judged = (struct judged){0};
    remember_reached(attempt);
    flow->n_attempts++;
    flow->racers[flow->racers[0] ? 1 : 0] = attempt;
    flow_move(flow, FLOW_CONNECTING);
    attempt->connect = connect_start(flow->walk->tools.connector, request, on_connected, attempt);
    arm_race(flow);
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
    flow->record.trace = hbone_traceparent(&flow->arena, loop_rng(flow->walk->tools.loop));
    struct connect_request request = {
        .through_tunnel = true,
        .addr = plan->addr,
        .identity = source->workload ? source->workload->svid_key : source->id,
        .expected = expected,
        .n_expected = 1 + n_sans,
        .baggage = hbone_baggage(&scratch, source->workload),
        .forwarded = hbone_forwarded(&scratch, &flow->record.source.addr,
                                     service ? service->hostname : (struct str){0}),
        .traceparent = flow->record.trace,
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

/* Whom not to ask: those that failed, and the one that is being asked. */
static struct tried not_again(const struct flow *flow)
{
    struct tried tried = flow->tried;
    if (flow->racers[0] && tried.len < PICK_TRIES_MAX)
        tried.keys[tried.len++] = flow->racers[0]->lease.key;
    return tried;
}

/* What the service's policy says in place of the node's own settings. */
static void take_patience(struct patience *patience, const struct traffic_policy *policy)
{
    if (policy->max_attempts > 0)
        patience->max_attempts = policy->max_attempts;
    if (policy->connect_ns > 0)
        patience->connect_ns = policy->connect_ns;
    if (policy->attempt_ns > 0)
        patience->attempt_ns = policy->attempt_ns;
    if (policy->idle_ns > 0)
        patience->idle_ns = policy->idle_ns;
}

/* Turns a target into the plan of one attempt; a service's takes a lease. */
static int make_plan(struct flow *flow, const struct target *target, const struct principal *source,
                     struct plan *out_plan)
{
    struct plan plan = {.workload = target->workload, .addr = target->addr, .is_last = true};
    const struct tried tried = not_again(flow);
    flow->race_ns = 0;
    if (target->kind == TARGET_SERVICE) {
        const struct walk_tools *tools = &flow->walk->tools;
        const struct question question = {
            .service = target->service,
            .set = target->endpoints,
            .source = flow->record.source.addr.ip,
            .principal = source->id,
            .tried = &tried,
        };
        take_patience(&flow->patience, target->service->traffic);
        const int err = lease_cut(tools->balancer, &question, flow_now_ns(flow),
                                  loop_rng(tools->loop), &flow->lease);
        if (err < 0)
            return err;
        plan.workload = flow->lease.endpoint->workload;
        plan.addr = flow->lease.addr;
        plan.service = target->service;
        plan.is_last = flow->n_attempts + 1 >= flow->patience.max_attempts ||
                       !lease_has_other(tools->balancer, &question, &flow->lease);
        flow->race_ns = plan.is_last ? 0 : target->service->traffic->race_ns;
    }
    *out_plan = plan;
    return 0;
}

/* What an attempt before this one left: its verdict was about another endpoint. */
static void forget_attempt(struct flow *flow)
{
    flow->judged = (struct judged){0};
    flow->record.ruling = (struct ruling){0};
    flow->record.trace = (struct str){0};
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
        flow->record.destination.proof = "node";
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
    err = make_plan(flow, &target, &source, &plan);
    if (err < 0)
        return err;
    err = follow_plan(flow, &plan, &source);
    if (err < 0)
        lease_return(flow->walk->tools.balancer, &flow->lease, LEASE_UNUSED, flow_now_ns(flow));
    return err;
}
