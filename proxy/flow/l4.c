/*
 * The walk at layer 4. Only order lives here; how a thing is done is its room's.
 *
 * Happy path: walk_start -> begin_* -> an attempt (attempt.c) -> on_reached -> pump -> CLOSED.
 * Failure modes: every refusal of a room ends the flow with its reason.
 */
#include "proxy/base/mem.h"
#include "proxy/flow/l7.h"
#include "proxy/flow/sniff.h"
#include "proxy/http/hbone.h"
#include "proxy/meter/meter.h"

/* ---- beginnings ---- */

/* What was called, when that is a port of a service. */
static bool find_port(const struct flow *flow, struct target *out_target)
{
    return resolve_outbound(call_snapshot(&flow->call), &flow->call.walk->options.own,
                            &flow->arrival->destination, out_target) == 0 &&
           out_target->kind == TARGET_SERVICE;
}

/* The client's first bytes have been looked at, or it has none to say. */
static void on_sniffed(struct flow *flow, enum sniffed sniffed)
{
    const bool is_http = sniffed == SNIFFED_HTTP_1 || sniffed == SNIFFED_HTTP_2;
    struct target target;
    int err = call_recheck(&flow->call); /* the pod may have gone meanwhile */
    if (err == 0 && is_http && find_port(flow, &target)) {
        l7_begin(flow, target.service, target.port);
        return;
    }
    if (err == 0)
        err = attempt_outbound(&flow->call);
    if (err < 0)
        flow_end(flow, err, (struct str){0});
}

static void on_lost(struct flow *flow, int err)
{
    flow_end(flow, err, (struct str){0});
}

static const struct sniff_events sniff_events = {on_sniffed, on_lost};

/* The port says nothing of what it speaks, and its service's policy wants to know. */
static bool is_to_be_sniffed(const struct target *target)
{
    return target->service->traffic->detect_ns > 0 && target->port->app_protocol == APP_UNKNOWN;
}

static int begin_outbound(struct flow *flow)
{
    const struct snapshot *snapshot = call_snapshot(&flow->call);
    const struct workload *pod = snapshot_workload_by_ip(snapshot, &flow->arrival->source.ip);
    struct principal source;
    struct target target;
    const bool is_port = find_port(flow, &target);
    const bool is_http = is_port && target.port->http_mode != HTTP_MODE_NONE;
    if (is_http)
        record_room(&flow->call.arena, pod, target.service, target.service->key);
    record_party(&flow->call.record, PARTY_SOURCE, &flow->call.arena, pod, &flow->arrival->source);
    flow->call.record.destination.addr = flow->arrival->destination;
    const int err = identify_pod(snapshot, &flow->arrival->source.ip, &source);
    if (err < 0)
        return err;
    flow->call.record.source.proof = "node";
    if (is_http) {
        l7_begin(flow, target.service, target.port);
        return 0;
    }
    tcp_ack_now(flow->arrival->stream); /* who knows what it waits for */
    if (is_port && is_to_be_sniffed(&target))
        sniff_begin(flow, target.service->traffic->detect_ns, &sniff_events);
    else
        return attempt_outbound(&flow->call);
    return 0;
}

/* Judges and dials a pod of this node: the end of both inbound walks. */
static int deliver(struct flow *flow, const struct target *target, const struct principal *source,
                   const struct ip *come_from)
{
    record_service(&flow->call.record, &flow->call.arena, target->service);
    flow->call.record.destination.proof = "node";
    const int err = call_judge(&flow->call, target->workload, source, &target->addr);
    if (err < 0)
        return err;
    /* A tunnel is agreed to only once the pod is reached, so that the caller's node can try another
     * one. In plaintext nobody waits for that: the pod is dialed for a request that may come. */
    if (flow->call.record.kind == ARRIVAL_PLAINTEXT && flow->call.judged.is_by_request)
        l7_begin_here(flow, NULL);
    else
        attempt_plain(&flow->call, &target->addr, come_from, true);
    return 0;
}

static int begin_tunnel(struct flow *flow)
{
    const struct snapshot *snapshot = call_snapshot(&flow->call);
    const struct arrival *arrival = flow->arrival;
    struct record *record = &flow->call.record;
    struct addr claimed;
    struct str host;
    struct principal source;
    struct target target;
    hbone_parse_forwarded(arrival->forwarded, &claimed, &host);
    record->is_mutual_tls = true;
    record->tls_version = arrival->tls_version;
    record->cipher = arrival->cipher;
    record_party(record, PARTY_DESTINATION, &flow->call.arena,
                 snapshot_workload_by_ip(snapshot, &arrival->destination.ip),
                 &arrival->destination);
    record->source.addr = arrival->source;
    record_set_name(record, &flow->call.arena, LABEL_SOURCE_PRINCIPAL, arrival->peer_id);
    record->source.proof = "mtls";
    record->peer_serial = arena_str(&flow->call.arena, arrival->peer_serial);
    record->peer_not_after_ns = arrival->peer_not_after_ns;
    if (hbone_is_traceparent(arrival->traceparent))
        record->trace = arena_str(&flow->call.arena, arrival->traceparent);
    int err = identify_svid(snapshot, arrival->peer_id, &arrival->source.ip, &claimed.ip, &source);
    if (err < 0)
        return err;
    record_party(record, PARTY_SOURCE, &flow->call.arena, source.workload, &arrival->source);
    record_peer(record, PARTY_SOURCE, &flow->call.arena, source.id, arrival->baggage);
    record_service(record, &flow->call.arena, snapshot_service_by_host(snapshot, host));
    if (!str_eq(arrival->method, STR("CONNECT"))) {
        record->detail = arena_printf(&flow->call.arena, "expected method CONNECT, got %.*s",
                                      STR_ARG(arrival->method));
        return -ERR_BAD_METHOD;
    }
    err = resolve_inbound(snapshot, &flow->call.walk->options.own, arrival->authority,
                          &arrival->destination.ip, &target);
    if (err < 0) {
        record->detail =
            arena_printf(&flow->call.arena, "%s: %.*s", err_text(err), STR_ARG(arrival->authority));
        return err;
    }
    record->hbone_addr = target.addr;
    static const struct ip own_address = {0};
    return deliver(flow, &target, &source, source.workload ? &source.ip : &own_address);
}

static int begin_plaintext(struct flow *flow)
{
    const struct snapshot *snapshot = call_snapshot(&flow->call);
    struct principal source;
    struct target target;
    identify_plaintext(snapshot, &flow->arrival->source.ip, &source);
    record_party(&flow->call.record, PARTY_SOURCE, &flow->call.arena, source.workload,
                 &flow->arrival->source);
    /* Nobody proved it, so nobody is told that it was this identity. */
    record_set_name(&flow->call.record, &flow->call.arena, LABEL_SOURCE_PRINCIPAL, (struct str){0});
    record_party(&flow->call.record, PARTY_DESTINATION, &flow->call.arena,
                 snapshot_workload_by_ip(snapshot, &flow->arrival->destination.ip),
                 &flow->arrival->destination);
    const int err = resolve_plaintext(snapshot, &flow->call.walk->options.own,
                                      &flow->arrival->destination, &target);
    return err < 0 ? err : deliver(flow, &target, &source, &source.ip);
}

/* ---- reached ---- */

static struct flow *flow_of(struct call *call)
{
    return container_of(call, struct flow, call);
}

/* The caller's node, which may know nothing of our pod, is told whom it reached. */
static void accept_arrival(struct flow *flow)
{
    const struct workload *workload =
        snapshot_workload_by_ip(call_snapshot(&flow->call), &flow->call.judged.destination.ip);
    const struct str baggage =
        workload ? hbone_baggage(&flow->call.arena, workload) : (struct str){0};
    arrival_answer(flow->arrival, "200", baggage, false);
}

static void on_pumped(void *owner, const struct totals *totals)
{
    flow_close(owner, totals, (struct str){0});
}

static void on_answer(void *owner, uint64_t latency_ns)
{
    struct call *call = &((struct flow *)owner)->call;
    lease_sample(call->walk->tools.balancer, &call->lease, latency_ns, call_now_ns(call));
}

/* The address that was called may be nobody's by now, or another service's: a call that was for one
 * in the mesh goes on neither past it nor to that. */
static bool is_what_was_called(const struct call *call, const struct target *target)
{
    const struct str called = record_name(&call->record, LABEL_DESTINATION_SERVICE);
    switch (target->kind) {
    case TARGET_SERVICE: return str_eq(target->service->hostname, called);
    case TARGET_WORKLOAD: return str_is_empty(called);
    case TARGET_PASSTHROUGH: break;
    }
    return false;
}

static int resolve_called(struct call *call, const struct snapshot *snapshot,
                          struct principal *out_source, struct target *out_target)
{
    const struct ip *source = &call->record.source.addr.ip;
    const struct workload *pod = record_caller(&call->record, snapshot);
    if (!pod)
        return -ERR_UNKNOWN_SOURCE;
    *out_source = identify_as(pod, source);
    const int err = resolve_outbound(snapshot, &call->walk->options.own,
                                     &flow_of(call)->arrival->destination, out_target);
    if (err == 0 && call->n_attempts > 0 && !is_what_was_called(call, out_target))
        return -ERR_UNKNOWN_DESTINATION;
    return err;
}

static void on_attempt(struct call *call, struct attempt *attempt,
                       const struct connect_request *request)
{
    (void)attempt, (void)request;
    flow_move(flow_of(call), FLOW_CONNECTING);
}

static void on_failed(struct call *call, int err, struct str detail)
{
    flow_end(flow_of(call), err, detail);
}

static void on_reached(struct call *call, const struct upstream *upstream)
{
    struct flow *flow = flow_of(call);
    const struct walk *walk = call->walk;
    if (flow->arrival->kind == ARRIVAL_TUNNEL)
        accept_arrival(flow);
    if (call->judged.is_by_request) {
        l7_begin_here(flow, upstream);
        return;
    }
    record_open(&call->record, walk->tools.traffic);
    struct stream *client = arrival_take_stream(flow->arrival);
    arrival_free(flow->arrival, 0);
    flow->arrival = NULL;
    flow_move(flow, FLOW_PUMPING);
    meter_add(walk->tools.meter, METRIC_TUNNEL_STREAMS_OPEN, call->record.is_mutual_tls);
    const struct pump_options pump = {
        .idle_ns = call->search->patience.idle_ns,
        .half_close_ns = walk->options.half_close_ns,
        .on_answer = call->lease.key != 0 ? on_answer : NULL,
        .splice_after_bytes = walk->options.splice_after_bytes,
    };
    call_fold(call);
    pump_start(&flow->pump, walk->tools.loop, client, upstream->stream, &pump, on_pumped, flow);
    sniff_repeat(flow, client);
}

static const struct call_events flow_events = {
    .resolve = resolve_called,
    .on_attempt = on_attempt,
    .on_reached = on_reached,
    .on_failed = on_failed,
};

/* Descriptors are looked at again before somebody is refused for them: they may have come back. */
static bool is_overloaded(struct flow *flow)
{
    struct walk *walk = flow->call.walk;
    if (walk->overload.strain == STRAIN_DESCRIPTORS)
        walk_sample(walk, 0);
    if (walk->overload.strain != STRAIN_NONE)
        flow->call.record.detail = str_from(strain_text(walk->overload.strain));
    else if (walk->n_flows > walk->options.max_flows)
        flow->call.record.detail =
            STR("the worker has as many connections as it may (limits.connections)");
    else
        return false;
    meter_add(walk->tools.meter, METRIC_FLOWS_SHED, 1);
    return true;
}

static int begin(struct flow *flow)
{
    const struct snapshot *snapshot = call_snapshot(&flow->call);
    if (is_overloaded(flow))
        return -ERR_OVERLOAD;
    if (!snapshot || !snapshot->is_synced)
        return -ERR_NOT_SYNCED;
    switch (flow->call.record.kind) {
    case ARRIVAL_OUTBOUND: return begin_outbound(flow);
    case ARRIVAL_TUNNEL: return begin_tunnel(flow);
    case ARRIVAL_PLAINTEXT: return begin_plaintext(flow);
    }
    return -ERR_INVALID;
}

void walk_start(struct walk *walk, struct arrival *arrival)
{
    struct flow *flow = mem_new(struct flow);
    call_init(&flow->call, walk, &flow_events, mem_new(struct search));
    flow->arrival = arrival;
    flow->call.record.kind = arrival->kind;
    flow->call.record.source.addr = arrival->source;
    flow->call.record.destination.addr = arrival->destination;
    list_push_back(&walk->flows[FLOW_ACCEPTED], &flow->by_state);
    listing_add(&walk->listing, &flow->by_age);
    walk->n_flows++;
    meter_add(walk->tools.meter, METRIC_SOCKETS_OPEN, 1);
    const int err = begin(flow);
    if (err < 0)
        flow_end(flow, err, (struct str){0});
}
