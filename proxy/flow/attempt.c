/*
 * Connecting: one attempt after the other until one is connected, or none is left.
 *
 * Happy path: attempt_outbound (or attempt_plain) -> on_connected -> pump. Failure modes: a connect
 * that failed goes back to pick while the bounds of attempts and time allow, since no byte of the
 * application has been sent; else the call ends with the reason of the last one. A connect that is
 * slow is raced: after the policy's time another endpoint is asked beside it, the first of the two
 * that connects wins and the other is cancelled. Never more than CALL_RACERS at once. Where there
 * is no other, it is looked for again and again, after twice the time: the only pod may have been
 * replaced by one that this call did not know of when it began. Where the policy has no races, the
 * other is asked in place of the first, once that has had an attempt's time.
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

/* These say nothing about the endpoint: the tunnel to it was about to end anyway, our own
 * certificate is awaited, or its pod has left; the next one of that name may be there already. */
static bool is_blameless(int err)
{
    return err == -ERR_H2_GOAWAY || err == -ERR_H2_REFUSED || err == -ERR_NO_IDENTITY ||
           err == -ERR_WORKLOAD_GONE;
}

/* So that others are warned of the endpoint. Who was refused by a policy, or what our own node
 * could not do, is no failure of it: else one denied client would drive everybody's calls to
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

static uint64_t time_left_ns(const struct call *call)
{
    const uint64_t now_ns = call_now_ns(call), since_ns = call->search->since_ns;
    const uint64_t spent_ns = now_ns > since_ns ? now_ns - since_ns : 0;
    const uint64_t all_ns = call->search->patience.connect_ns;
    return spent_ns < all_ns ? all_ns - spent_ns : 0;
}

static bool has_attempts_left(const struct call *call)
{
    return call->n_attempts < call->search->patience.max_attempts && time_left_ns(call) > 0;
}

/* An attempt gets little time where another may follow it. Nobody will: the one that is left has
 * all there is, since it may only be slow. */
static void be_patient(struct call *call)
{
    connect_give_time(call->search->racers[0]->connect, time_left_ns(call));
}

/* ---- racing ---- */

static void remember_reached(struct attempt *attempt)
{
    const struct record *record = &attempt->call->record;
    attempt->reached = (struct reached){
        .destination = record->destination,
        .hbone_addr = record->hbone_addr,
        .ruling = record->ruling,
        .trace = record->trace,
        .dry_run_policy = record->dry_run_policy,
        .is_same_node = record->is_same_node,
    };
    record_save_names(record, PARTY_DESTINATION, attempt->reached.names);
}

static void on_race(struct timer *timer);

/* Somebody may come to be there while the only one is silent. */
static void look_later(struct call *call, uint64_t after_ns)
{
    call->search->race_ns = after_ns;
    timer_start(call->walk->tools.loop, &call->search->race, after_ns, on_race);
}

static void give_up_first(struct call *call);

/* Who went on a connection that was there already is not searching any more. */
static void count_company(struct call *call)
{
    const struct search *search = call->search;
    const bool is_in_turn = search && search->is_in_turn;
    meter_add(call->walk->tools.meter, is_in_turn ? METRIC_CONNECT_RETRIES : METRIC_CONNECT_RACES,
              1);
    if (is_in_turn && search->racers[1])
        give_up_first(call);
}

/* A second endpoint is asked beside the first, which may still win, or in its place. That nobody
 * else can be asked is no failure. */
static void on_race(struct timer *timer)
{
    struct call *call = container_of(timer, struct search, race)->call;
    const uint64_t waited_ns = call->search->race_ns;
    if (!has_attempts_left(call))
        return;
    if (connect_awaits_identity(call->search->racers[0]->connect)) {
        timer_start(call->walk->tools.loop, timer, call->search->race_ns, on_race);
        return;
    }
    if (call->search->has_other)
        lease_doubt(call->walk->tools.balancer, &call->search->racers[0]->lease, call_now_ns(call));
    const int err = attempt_outbound(call);
    if (err == 0) {
        count_company(call);
        return;
    }
    call->record.detail = (struct str){0};
    call_show(call, call->search->racers[0]);
    if (err == -ERR_NO_HEALTHY_UPSTREAM) {
        be_patient(call);
        look_later(call, 2 * waited_ns);
    }
}

/* Whoever connects alone gets company when its time for that has passed. */
static void arm_race(struct call *call)
{
    timer_stop(&call->search->race);
    if (call->search->race_ns == 0 || !call->search->racers[0] || call->search->racers[1] ||
        !has_attempts_left(call))
        return;
    const uint64_t since_ns = call_now_ns(call) - call->search->racers[0]->started_ns;
    timer_start(call->walk->tools.loop, &call->search->race,
                since_ns < call->search->race_ns ? call->search->race_ns - since_ns : 1, on_race);
}

/* The others have lost. Who had started before the winner was overtaken, which is as much of a
 * failure as a connect that took too long; who started after it did nothing wrong. */
static void end_race(struct call *call, struct attempt *winner)
{
    timer_stop(&call->search->race);
    struct attempt *other =
        call->search->racers[0] == winner ? call->search->racers[1] : call->search->racers[0];
    if (!other)
        return;
    const bool was_overtaken = other == call->search->racers[0];
    if (was_overtaken) {
        meter_add(call->walk->tools.meter, METRIC_CONNECT_RACES_WON, 1);
        connect_abandon(other->connect);
        other->connect = NULL;
    }
    call_drop_attempt(call, other, was_overtaken ? LEASE_FAILED : LEASE_UNUSED);
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

static void note_failure(struct call *call, struct attempt *attempt, int err)
{
    if (attempt->lease.key != 0 && !is_blameless(err) && call->search->tried.len < PICK_TRIES_MAX)
        call->search->tried.keys[call->search->tried.len++] = attempt->lease.key;
    call_drop_attempt(call, attempt, outcome_of(attempt, err));
}

/* As at the end of its time, since another has begun. */
static void give_up_first(struct call *call)
{
    struct attempt *first = call->search->racers[0];
    connect_abandon(first->connect);
    first->connect = NULL;
    note_failure(call, first, -ERR_CONNECT_TIMEOUT);
    arm_race(call);
}

static void on_connect_failed(struct attempt *attempt, int err, struct str why)
{
    struct call *call = attempt->call;
    const bool has_another = attempt->lease.key != 0 || is_blameless(err);
    struct text detail = {0};
    int last_err = err;
    note_failure(call, attempt, err);
    if (call->search->racers[0]) {
        call_show(call, call->search->racers[0]);
        if (!has_attempts_left(call))
            be_patient(call);
        arm_race(call);
        return;
    }
    if (has_another && call->record.kind == ARRIVAL_OUTBOUND && may_try_again(err) &&
        has_attempts_left(call)) {
        const int again = attempt_outbound(call);
        if (again == 0) {
            meter_add(call->walk->tools.meter, METRIC_CONNECT_RETRIES, 1);
            return;
        }
        if (again == -ERR_RETRY_BUDGET)
            text_addf(&detail, "%s, after: ", err_text(again));
        if (again == -ERR_DENIED || again == -ERR_TOKEN_REFUSED || again == -ERR_RETRY_BUDGET)
            last_err = again;
    }
    if (last_err != -ERR_DENIED && last_err != -ERR_TOKEN_REFUSED) {
        text_addf(&detail, "%s", err_text(err));
        if (!str_is_empty(why))
            text_addf(&detail, ": %.*s", STR_ARG(why));
    }
    call->events->on_failed(call, last_err, text_str(&detail));
    text_fini(&detail);
}

void attempt_lose(struct attempt *attempt, int err)
{
    on_connect_failed(attempt, err, (struct str){0});
}

/* ---- success ---- */

/* The call goes on with what this attempt reached. */
static void settle(struct call *call, struct attempt *winner)
{
    end_race(call, winner);
    call->lease = winner->lease;
    winner->lease = (struct lease){0};
    call->judged = winner->judged;
    call_show(call, winner);
    const uint64_t connect_ns = call_now_ns(call) - winner->started_ns;
    call_drop_attempt(call, winner, LEASE_UNUSED);
    lease_confirm(call->walk->tools.balancer, &call->lease, connect_ns, call_now_ns(call));
}

static void on_connected(void *owner, int err, const struct upstream *upstream, struct str why)
{
    struct attempt *attempt = owner;
    struct call *call = attempt->call;
    attempt->connect = NULL;
    if (err < 0) {
        on_connect_failed(attempt, err, why);
        return;
    }
    settle(call, attempt);
    call_note_upstream(call, upstream);
    call->events->on_reached(call, upstream);
}

/* A first attempt gets little time while another endpoint is left, since a silent one costs its
 * caller that time. */
static uint64_t attempt_time_ns(const struct call *call, bool is_last)
{
    const uint64_t left_ns = time_left_ns(call);
    const uint64_t shift = call->n_attempts < 8 ? call->n_attempts : 8;
    const uint64_t share_ns = call->search->patience.attempt_ns << shift;
    return is_last || share_ns > left_ns ? left_ns : share_ns;
}

/* Takes what the plan has left in the call: the lease, the verdict, the record. */
static void go(struct call *call, struct connect_request *request)
{
    struct attempt *attempt = mem_new(struct attempt);
    attempt->call = call;
    attempt->started_ns = call_now_ns(call);
    attempt->lease = call->lease;
    attempt->judged = call->judged;
    call->lease = (struct lease){0};
    call->judged = (struct judged){0};
    remember_reached(attempt);
    call->n_attempts++;
    call->search->racers[call->search->racers[0] ? 1 : 0] = attempt;
    call->events->on_attempt(call, attempt, request);
    attempt->connect = connect_start(call->walk->tools.connector, request, on_connected, attempt);
    arm_race(call);
}

static int go_through_tunnel(struct call *call, const struct plan *plan,
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
    call->record.trace = hbone_traceparent(&call->arena, loop_rng(call->walk->tools.loop));
    struct connect_request request = {
        .through_tunnel = true,
        .is_own_node = workload->is_local,
        .addr = plan->addr,
        .identity = source->workload ? source->workload->svid_key : source->id,
        .expected = expected,
        .n_expected = 1 + n_sans,
        .baggage = hbone_baggage(&scratch, source->workload),
        .forwarded = hbone_forwarded(&scratch, &call->record.source.addr,
                                     service ? service->hostname : (struct str){0}),
        .traceparent = call->record.trace,
        .timeout_ns = attempt_time_ns(call, plan->is_last),
    };
    call->record.hbone_addr = plan->addr;
    call->record.destination.addr.port = CONNECT_TUNNEL_PORT;
    go(call, &request);
    arena_fini(&scratch);
    return 0;
}

void attempt_plain(struct call *call, const struct addr *addr, const struct ip *source,
                   bool is_last)
{
    struct connect_request request = {
        .addr = *addr,
        .source = *source,
        .timeout_ns = attempt_time_ns(call, is_last),
    };
    go(call, &request);
}

/* Whom not to ask: those that failed, and the one that is being asked, for which there is room. */
static const struct tried *not_again(const struct call *call, struct tried *room)
{
    if (!call->search->racers[0])
        return &call->search->tried;
    *room = call->search->tried;
    if (room->len < PICK_TRIES_MAX)
        room->keys[room->len++] = call->search->racers[0]->lease.key;
    return room;
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

/* Where nobody races, who is alone may be looked past as soon as it has had an attempt's time. */
static void take_race(struct call *call, const struct traffic_policy *policy)
{
    struct search *search = call->search;
    search->is_in_turn = policy->race_ns == 0;
    search->race_ns = search->is_in_turn ? attempt_time_ns(call, false) : policy->race_ns;
}

/* Turns a target into the plan of one attempt; a service's takes a lease. */
static int make_plan(struct call *call, const struct target *target, const struct principal *source,
                     struct plan *out_plan)
{
    struct plan plan = {.workload = target->workload, .addr = target->addr, .is_last = true};
    struct tried room;
    call->search->race_ns = 0;
    call->search->has_other = false;
    if (target->kind == TARGET_SERVICE) {
        const struct walk_tools *tools = &call->walk->tools;
        const struct question question = {
            .service = target->service,
            .set = target->endpoints,
            .source = call->record.source.addr.ip,
            .principal = source->id,
            .tried = not_again(call, &room),
            .request = call->search->is_request ? &call->search->request_hash : NULL,
        };
        take_patience(&call->search->patience, target->service->traffic);
        take_race(call, target->service->traffic);
        const int err = lease_cut(tools->balancer, &question, call_now_ns(call),
                                  loop_rng(tools->loop), &call->lease);
        if (err < 0)
            return err;
        plan.workload = call->lease.endpoint->workload;
        plan.addr = call->lease.addr;
        plan.service = target->service;
        call->search->has_other = lease_has_other(&question, &call->lease);
        if (call->search->is_in_turn && call->search->has_other)
            call->search->race_ns = 0; /* its time is as short */
        plan.is_last =
            call->n_attempts + 1 >= call->search->patience.max_attempts || !call->search->has_other;
    }
    *out_plan = plan;
    return 0;
}

/* What an attempt before this one left: its verdict was about another endpoint. */
static void forget_attempt(struct call *call)
{
    call_forget_verdict(call);
    call->record.trace = (struct str){0};
    call->record.hbone_addr = (struct addr){0};
}

static void name_endpoint(struct call *call, const struct plan *plan,
                          const struct principal *source)
{
    const struct acquaintance_key key = {source->workload, plan->workload, plan->service};
    call->record.destination = (struct party){.addr = plan->addr};
    if (call->events->recall && call->events->recall(call, &key))
        return;
    record_party(&call->record, PARTY_DESTINATION, &call->arena, plan->workload, &plan->addr);
    record_service(&call->record, &call->arena, plan->service);
}

static int follow_plan(struct call *call, const struct plan *plan, const struct principal *source)
{
    const struct workload *workload = plan->workload;
    forget_attempt(call);
    const bool is_in_mesh = workload && workload->speaks_hbone;
    const bool through_tunnel =
        is_in_mesh && (!workload->is_local || call->walk->options.tunnels_own_node);
    call->record.is_same_node = is_in_mesh && !through_tunnel;
    call->record.is_mutual_tls = false;
    name_endpoint(call, plan, source);
    if (call->record.is_same_node) {
        call->record.destination.proof = "node";
        const int err = call_judge(call, workload, source, &plan->addr);
        if (err < 0)
            return err;
    }
    if (call->events->reuse && call->events->reuse(call, &plan->addr, through_tunnel))
        return 0;
    if (through_tunnel)
        return go_through_tunnel(call, plan, source);
    attempt_plain(call, &plan->addr, &source->ip, plan->is_last);
    return 0;
}

int attempt_outbound(struct call *call)
{
    const struct snapshot *snapshot = call_snapshot(call);
    struct principal source;
    struct target target;
    struct plan plan;
    int err = call->events->resolve(call, snapshot, &source, &target);
    if (err < 0)
        return err;
    err = make_plan(call, &target, &source, &plan);
    if (err < 0) {
        record_service(&call->record, &call->arena, target.service);
        return err;
    }
    err = follow_plan(call, &plan, &source);
    if (err < 0)
        lease_return(call->walk->tools.balancer, &call->lease, LEASE_UNUSED, call_now_ns(call));
    return err;
}
