/*
 * The walk at layer 4. Only order lives here; how a thing is done is its room's.
 *
 * Happy path: walk_start -> begin_* -> an attempt (attempt.c) -> pump -> CLOSED. Failure modes:
 * every refusal of a room ends the flow with its reason.
 */
#include "proxy/base/mem.h"
#include "proxy/flow/walk.h"
#include "proxy/http/hbone.h"
#include "proxy/meter/meter.h"

/* ---- beginnings ---- */

static int begin_outbound(struct flow *flow)
{
    const struct snapshot *snapshot = flow_snapshot(flow);
    struct principal source;
    record_party(&flow->record.source, &flow->arena,
                 snapshot_workload_by_ip(snapshot, &flow->arrival->source.ip),
                 &flow->arrival->source);
    flow->record.destination.addr = flow->arrival->destination;
    const int err = identify_pod(snapshot, &flow->arrival->source.ip, &source);
    if (err < 0)
        return err;
    flow->record.source.proof = "node";
    return attempt_outbound(flow);
}

/* Judges and dials a pod of this node: the end of both inbound walks. */
static int deliver(struct flow *flow, const struct target *target, const struct principal *source,
                   const struct ip *come_from)
{
    record_service(&flow->record, &flow->arena, target->service);
    flow->record.destination.proof = "node";
    const int err = flow_judge(flow, target->workload, source, &target->addr);
    if (err < 0)
        return err;
    attempt_plain(flow, &target->addr, come_from, true);
    return 0;
}

static int begin_tunnel(struct flow *flow)
{
    const struct snapshot *snapshot = flow_snapshot(flow);
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
    record->source.identity = arena_str(&flow->arena, arrival->peer_id);
    record->source.proof = "mtls";
    record->peer_serial = arena_str(&flow->arena, arrival->peer_serial);
    record->peer_not_after_ns = arrival->peer_not_after_ns;
    if (hbone_is_traceparent(arrival->traceparent))
        record->trace = arena_str(&flow->arena, arrival->traceparent);
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
    const struct snapshot *snapshot = flow_snapshot(flow);
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

/* Descriptors are looked at again before somebody is refused for them: they may have come back. */
static bool is_overloaded(struct flow *flow)
{
    struct walk *walk = flow->walk;
    if (walk->overload.strain == STRAIN_DESCRIPTORS)
        walk_sample(walk, 0);
    if (walk->overload.strain != STRAIN_NONE)
        flow->record.detail = str_from(strain_text(walk->overload.strain));
    else if (walk->n_flows > walk->options.max_flows)
        flow->record.detail =
            STR("the worker has as many connections as it may (limits.connections)");
    else
        return false;
    meter_add(walk->tools.meter, METRIC_FLOWS_SHED, 1);
    return true;
}

static int begin(struct flow *flow)
{
    const struct snapshot *snapshot = flow_snapshot(flow);
    if (is_overloaded(flow))
        return -ERR_OVERLOAD;
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
    flow->patience = (struct patience){walk->options.max_attempts, walk->options.connect_ns,
                                       walk->options.attempt_ns, walk->options.idle_ns};
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
