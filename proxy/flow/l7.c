#include "proxy/flow/l7.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/flow/http_refusals.h"
#include "proxy/flow/sniff.h"
#include "proxy/flow/witness.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#define PREFACE_LEN (sizeof preface - 1)

/* ---- the connection ---- */

/* A request that came whole is acknowledged with its answer. Whatever else came first is at once:
 * its sender may wait for that before it sends the rest (Nagle's algorithm). */
static void acknowledge(struct http_side *side, bool now)
{
    if (side->unacked && now)
        tcp_ack_now(side->unacked);
    side->unacked = NULL;
}

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    struct http_side *side = owner;
    acknowledge(side, head->has_body);
    side->flow->spoke_no_http = false;
    exchange_start(side, stream, head);
}

static void note_fault(const struct http_side *side)
{
    if (side->client)
        client_note_fault(side->client, call_now_ns(&side->flow->call));
}

#define WHY_MAX ((size_t)128)

/* One connection may be refused without end, for one reason and then another: the last one is kept
 * in the place of the one before. */
static void keep_why(struct http_side *side, struct str why)
{
    struct call *call = &side->flow->call;
    const size_t len = why.len < WHY_MAX ? why.len : WHY_MAX;
    if (!side->why)
        side->why = arena_alloc(&call->arena, WHY_MAX);
    if (len > 0)
        memmove(side->why, why.ptr, len);
    call->record.detail = str_of(side->why, len);
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    struct http_side *side = owner;
    note_fault(side);
    meter_add(side->flow->call.walk->tools.meter, http_refusal_of(status, err), 1);
    side->totals.err = err;
    side->flow->spoke_no_http = side->is_here && side->n_exchanges == 0;
    keep_why(side, why);
}

/* HTTP/1.1 has told what it refuses before it ends for it; HTTP/2 refuses streams, and goes on. */
static void note_cut(const struct http_side *side, int err)
{
    const bool was_told = err == side->totals.err && err != -ERR_H2;
    enum metric metric;
    if (was_told || !http_cut_of(err, &metric))
        return;
    note_fault(side);
    meter_add(side->flow->call.walk->tools.meter, metric, 1);
}

/* Ends what the client waits for. True: copies that were said whole are left, which nobody waits
 * for and which need no client. The flow is theirs until the last of them is over. */
static bool leaves_copies(struct http_side *side, int err)
{
    list_foreach(it, &side->exchanges) /* a copy stands in front of what it is one of */
    {
        struct exchange *exchange = list_entry(it, struct exchange, by_side);
        if (!exchange->is_mirror && !pump_settle(&exchange->pump))
            exchange_end(exchange, err < 0 ? err : -ERR_CLIENT_RESET, (struct str){0});
    }
    return !list_is_empty(&side->exchanges);
}

static void end_side(struct http_side *side, int err, struct str why)
{
    if (!leaves_copies(side, err)) {
        flow_end(side->flow, err, why);
        return;
    }
    if (!str_is_empty(why))
        keep_why(side, why);
    if (side->server)
        http_server_close(side->server, err);
    side->server = NULL;
    side->is_over = true;
    side->end = err;
}

static void on_dead(void *owner, int err, struct str why)
{
    struct http_side *side = owner;
    const bool is_orderly = err == 0 || err == -ERR_EOF;
    const bool has_served = side->is_h2 && side->n_exchanges > 0;
    if (is_orderly) { /* what is queued, as the answer to what was no request, is still sent */
        http_server_close(side->server, 0);
        side->server = NULL;
    }
    note_cut(side, err);
    if (is_orderly)
        end_side(side, has_served ? 0 : side->totals.err, (struct str){0});
    else
        end_side(side, err, why);
}

static const struct http_server_events server_events = {
    .on_request = on_request,
    .on_refused = on_refused,
    .on_dead = on_dead,
};

static void serve(struct http_side *side, struct stream *client, bool is_h2, struct slice bytes)
{
    struct loop *loop = side->flow->call.walk->tools.loop;
    const struct http_limits limits = {.idle_ns = side->idle_ns,
                                       .resets = side->client ? &side->client->resets : NULL,
                                       .resets_max = side->is_late ? CLIENT_LATE_RESETS : 0,
                                       .head_bytes = side->is_late ? CLIENT_LATE_HEAD_BYTES : 0};
    timer_stop(&side->patience);
    if (is_h2)
        acknowledge(side, true);
    call_end_search(&side->flow->call);
    stream_pause(client);
    side->stream = NULL;
    side->is_h2 = is_h2;
    side->server = is_h2 ? http2_server_new(loop, client, &limits, &server_events, side)
                         : http1_server_new(loop, client, &limits, &server_events, side);
    if (side->n_preface > 0) {
        struct slice seen = slice_copy(loop_slabs(loop), preface, side->n_preface);
        client->events->on_data(client->owner, seen);
        slice_release(seen);
    }
    if (side->server && bytes.len > 0)
        client->events->on_data(client->owner, bytes);
    acknowledge(side, side->server != NULL);
    if (side->server && side->is_draining)
        http_server_drain(side->server);
}

/* ---- the first bytes ---- */

#define PREFACE_NS (UINT64_C(10) * NS_PER_SEC) /* as long as a head may take */

static void on_silence(struct timer *timer);

/* Part of the preface has come: the rest is not waited for as long as a first byte is. */
static void await_preface(struct http_side *side, size_t len)
{
    acknowledge(side, true);
    if (side->n_preface == 0)
        timer_start(side->flow->call.walk->tools.loop, &side->patience, PREFACE_NS, on_silence);
    side->n_preface += len;
}

static void on_first_bytes(void *owner, struct slice bytes)
{
    struct http_side *side = owner;
    const char *text = (const char *)bytes.ptr;
    for (size_t i = 0; i < bytes.len && side->n_preface + i < PREFACE_LEN; i++) {
        if (text[i] != preface[side->n_preface + i]) {
            serve(side, side->stream, false, bytes);
            return;
        }
    }
    if (side->n_preface + bytes.len >= PREFACE_LEN)
        serve(side, side->stream, true, bytes);
    else
        await_preface(side, bytes.len);
}

static void on_first_end(void *owner)
{
    struct http_side *side = owner;
    flow_end(side->flow, 0, (struct str){0});
}

static void on_first_fail(void *owner, int err)
{
    struct http_side *side = owner;
    flow_end(side->flow, err == -ERR_RESET || err == -ERR_EOF ? -ERR_CLIENT_RESET : err,
             (struct str){0});
}

static const struct stream_events first_events = {
    .on_data = on_first_bytes,
    .on_end = on_first_end,
    .on_fail = on_first_fail,
};

static void on_silence(struct timer *timer)
{
    struct http_side *side = container_of(timer, struct http_side, patience);
    flow_end(side->flow, side->is_draining ? 0 : -ERR_IDLE_TIMEOUT, (struct str){0});
}

/* Where the process is about to end, as long as any connection is waited for that is idle. */
static uint64_t first_byte_ns(const struct http_side *side)
{
    return side->is_draining && side->idle_ns > HTTP_DRAIN_IDLE_NS ? HTTP_DRAIN_IDLE_NS
                                                                   : side->idle_ns;
}

static void hear(struct http_side *side)
{
    struct loop *loop = side->flow->call.walk->tools.loop;
    timer_start(loop, &side->patience, first_byte_ns(side), on_silence);
    stream_resume(side->stream);
    sniff_repeat(side->flow, side->stream);
}

static void on_penance(struct timer *timer)
{
    hear(container_of(timer, struct http_side, patience));
}

static void hear_in_time(struct http_side *side)
{
    const struct walk *walk = side->flow->call.walk;
    const uint64_t now_ns = loop_now_ns(walk->tools.loop);
    if (!client_is_nuisance(side->client, now_ns)) {
        hear(side);
        return;
    }
    meter_add(walk->tools.meter, METRIC_HTTP_DELAYED, 1);
    side->is_late = true;
    tcp_be_curt(side->stream); /* that we read much is what a flood wants */
    timer_start(walk->tools.loop, &side->patience, client_penance_ns(side->client, now_ns),
                on_penance);
}

/* ---- as a whole ---- */

static struct totals l7_totals(const struct flow *flow)
{
    struct totals totals = flow->side.totals;
    list_foreach(it, &flow->side.exchanges)
    {
        const struct exchange *exchange = list_entry(it, struct exchange, by_side);
        const struct totals part = pump_totals(&exchange->pump);
        totals.received += part.received;
        totals.sent += part.sent;
    }
    return totals;
}

static struct totals l7_end(struct flow *flow, int err)
{
    struct http_side *side = &flow->side;
    side->is_over = false;
    timer_stop(&side->patience);
    while (!list_is_empty(&side->exchanges)) { /* one may end others: its mirrors */
        struct exchange *exchange = list_entry(side->exchanges.next, struct exchange, by_side);
        if (!pump_settle(&exchange->pump))
            exchange_end(exchange, err < 0 ? err : -ERR_CLIENT_RESET, (struct str){0});
    }
    if (side->stream)
        stream_close(side->stream, err);
    if (side->server)
        http_server_close(side->server, err);
    if (side->reached)
        stream_close(side->reached, 0);
    if (side->client)
        client_leave(side->client);
    if (side->is_here)
        acquaintance_forget(&side->known);
    side->stream = NULL;
    side->server = NULL;
    flow->work = NULL;
    return (struct totals){side->totals.received, side->totals.sent, 0, err};
}

static void l7_recheck(struct flow *flow)
{
    list_foreach(it, &flow->side.exchanges)
    {
        struct exchange *exchange = list_entry(it, struct exchange, by_side);
        const int err = call_recheck(&exchange->call);
        if (err < 0)
            exchange_end(exchange, err, (struct str){0});
    }
}

static void l7_tell(struct flow *flow, uint64_t before_ns)
{
    list_foreach(it, &flow->side.exchanges)
    {
        struct call *call = &list_entry(it, struct exchange, by_side)->call;
        if (call->started_ns < before_ns)
            witness_tell(call);
    }
}

static uint64_t l7_held(const struct flow *flow)
{
    const struct list *exchanges = &flow->side.exchanges;
    uint64_t bytes = 0;
    for (struct list *it = exchanges->next; it != exchanges; it = it->next)
        bytes += pump_held(&list_entry(it, struct exchange, by_side)->pump);
    return bytes;
}

static void l7_drain(struct flow *flow)
{
    struct http_side *side = &flow->side;
    struct loop *loop = flow->call.walk->tools.loop;
    if (side->server) {
        http_server_drain(side->server);
        return;
    }
    if (side->is_over) {
        flow_end(flow, side->end, (struct str){0});
        return;
    }
    side->is_draining = true; /* its first request may be on its way */
    if (side->patience.fire == on_silence &&
        side->patience.deadline_ns > loop_now_ns(loop) + HTTP_DRAIN_IDLE_NS)
        timer_start(loop, &side->patience, HTTP_DRAIN_IDLE_NS, on_silence);
}

static const struct flow_work l7_work = {
    .end = l7_end,
    .totals = l7_totals,
    .recheck = l7_recheck,
    .drain = l7_drain,
    .tell = l7_tell,
    .held = l7_held,
};

static struct http_side *begin(struct flow *flow, uint64_t idle_ns)
{
    struct http_side *side = &flow->side;
    flow->work = &l7_work;
    memset(side, 0, sizeof *side);
    side->flow = flow;
    side->idle_ns = idle_ns;
    side->is_draining = flow->call.walk->is_last_call;
    list_init(&side->exchanges);
    side->stream = arrival_take_stream(flow->arrival);
    arrival_free(flow->arrival, 0);
    flow->arrival = NULL;
    flow_move(flow, FLOW_SERVING);
    stream_set_owner(side->stream, &first_events, side);
    return side;
}

void l7_begin(struct flow *flow, const struct service *service, const struct service_port *port)
{
    struct call *call = &flow->call;
    const uint64_t idle_ns = service->traffic->idle_ns;
    record_service(&call->record, &call->arena, service);
    struct http_side *side = begin(flow, idle_ns > 0 ? idle_ns : call->walk->options.idle_ns);
    side->unacked = flow->sniff ? NULL : side->stream;
    side->called.key = arena_str(&call->arena, service->key);
    side->called.port = port->port;
    side->client = clients_enter(&call->walk->clients, &call->record.source.addr.ip);
    hear_in_time(side);
}

/* ---- the pod that was reached before there was a request ---- */

/* It closed, or said what nobody asked for: the first request makes a connection of its own. */
static void on_reached_fail(void *owner, int err)
{
    struct http_side *side = owner;
    stream_close(side->reached, err);
    side->reached = NULL;
}

static void on_reached_data(void *owner, struct slice bytes)
{
    (void)bytes;
    on_reached_fail(owner, 0);
}

static void on_reached_end(void *owner)
{
    on_reached_fail(owner, 0);
}

static const struct stream_events reached_events = {
    .on_data = on_reached_data,
    .on_end = on_reached_end,
    .on_fail = on_reached_fail,
};

static void keep_reached(struct http_side *side, struct stream *reached)
{
    side->reached = reached;
    stream_set_owner(reached, &reached_events, side);
    stream_resume(reached);
}

static enum app_protocol protocol_of(const struct call *call)
{
    const struct addr *pod = &call->judged.destination;
    const struct workload *workload = snapshot_workload_by_ip(call_snapshot(call), &pod->ip);
    return workload ? workload_protocol(workload, pod->port) : APP_UNKNOWN;
}

void l7_begin_here(struct flow *flow, const struct upstream *upstream)
{
    struct call *call = &flow->call;
    meter_add(call->walk->tools.meter, METRIC_TUNNEL_STREAMS_OPEN, call->record.is_mutual_tls);
    struct http_side *side = begin(flow, call->search->patience.idle_ns);
    side->is_here = true;
    side->visit = arena_new(&call->arena, struct visit);
    side->protocol = protocol_of(call);
    if (upstream)
        keep_reached(side, upstream->stream); /* plain: there is no more to it */
    if (call->record.kind != ARRIVAL_OUTBOUND) {
        hear(side);
        return;
    }
    side->client = clients_enter(&call->walk->clients, &call->record.source.addr.ip);
    hear_in_time(side);
}
