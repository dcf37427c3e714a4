#include "proxy/flow/exchange_trace.h"

#include <stdio.h>

#include "proxy/base/clock.h"
#include "proxy/flow/local_reply.h"
#include "proxy/flow/response_flags.h"
#include "proxy/trace/tracer.h"

void exchange_trace_begin(struct exchange *exchange)
{
    struct call *call = &exchange->call;
    const struct tracer_pen *pen = call->walk->tools.tracer;
    if (!pen)
        return;
    exchange->trace = arena_new(&call->arena, struct trace_context);
    trace_begin(&exchange->head.fields, tracer_sampling_ppm(pen), loop_rng(call->walk->tools.loop),
                &call->arena, exchange->trace);
    exchange->head.fields = trace_forward(&exchange->head.fields, exchange->trace, &call->arena);
}

void exchange_trace_json(const struct exchange *exchange, struct text *out)
{
    char trace_id[2 * TRACE_ID_LEN], span_id[2 * TRACE_SPAN_LEN];
    if (!exchange->trace)
        return;
    trace_hex(exchange->trace->trace_id, TRACE_ID_LEN, trace_id);
    trace_hex(exchange->trace->span_id, TRACE_SPAN_LEN, span_id);
    text_addf(out, ",\"trace.id\":\"%.*s\",\"span.id\":\"%.*s\"", (int)sizeof trace_id, trace_id,
              (int)sizeof span_id, span_id);
}

/* ---- what it says ---- */

static bool is_known_method(struct str method)
{
    static const struct str known[] = {{"GET", 3},     {"HEAD", 4},   {"POST", 4},
                                       {"PUT", 3},     {"DELETE", 6}, {"CONNECT", 7},
                                       {"OPTIONS", 7}, {"TRACE", 5},  {"PATCH", 5}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(method, known[i]))
            return true;
    return false;
}

/* Without its query, which may hold secrets. */
static struct str plain_path(const struct exchange *exchange)
{
    struct str path = exchange->path, query;
    (void)str_split(exchange->path, '?', &path, &query);
    return path;
}

/* "/shop.Till/Pay" is "shop.Till/Pay". What anybody could make up is no name of a span: a tool
 * would show as many as there are paths. */
static void add_name(const struct exchange *exchange, bool is_grpc, struct span *span)
{
    const bool is_known = is_known_method(exchange->method);
    const struct str path = plain_path(exchange);
    if (is_grpc)
        span_text(span, SPAN_NAME, str_sub(path, 1, path.len));
    else
        span_text(span, SPAN_NAME, is_known ? exchange->method : STR("HTTP"));
    span_text(span, SPAN_METHOD, is_known ? exchange->method : STR("_OTHER"));
    if (!is_known)
        span_text(span, SPAN_METHOD_ORIGINAL, exchange->method);
}

static void add_authority(struct str authority, struct span *span)
{
    struct str host = authority, port;
    uint64_t number;
    if (!str_ends_with(authority, STR("]")) && str_rsplit(authority, ':', &host, &port) &&
        str_to_u64(port, UINT16_MAX, &number))
        span_number(span, SPAN_SERVER_PORT, (int64_t)number);
    if (host.len > 2 && host.ptr[0] == '[')
        host = str_sub(host, 1, host.len - 2);
    span_text(span, SPAN_SERVER_ADDRESS, host);
}

static void add_request(const struct exchange *exchange, struct span *span)
{
    static const struct str versions[] = {
        [HTTP_1_0] = {"1.0", 3}, [HTTP_1_1] = {"1.1", 3}, [HTTP_2] = {"2", 1}};
    span_text(span, SPAN_PATH, plain_path(exchange));
    span_text(span, SPAN_SCHEME, exchange->head.scheme);
    add_authority(exchange->head.authority, span);
    span_text(span, SPAN_VERSION, versions[exchange->head.version]);
    span_text(span, SPAN_ROUTE, exchange->route.rule);
}

static void add_parties(const struct exchange *exchange, bool is_inbound, struct span *span)
{
    static const struct {
        enum span_attribute attribute;
        enum traffic_label label;
    } names[] = {
        {SPAN_SOURCE_PRINCIPAL, LABEL_SOURCE_PRINCIPAL},
        {SPAN_SOURCE_WORKLOAD, LABEL_SOURCE_WORKLOAD},
        {SPAN_SOURCE_NAMESPACE, LABEL_SOURCE_WORKLOAD_NAMESPACE},
        {SPAN_SOURCE_CLUSTER, LABEL_SOURCE_CLUSTER},
        {SPAN_DESTINATION_PRINCIPAL, LABEL_DESTINATION_PRINCIPAL},
        {SPAN_DESTINATION_WORKLOAD, LABEL_DESTINATION_WORKLOAD},
        {SPAN_DESTINATION_NAMESPACE, LABEL_DESTINATION_WORKLOAD_NAMESPACE},
        {SPAN_DESTINATION_CLUSTER, LABEL_DESTINATION_CLUSTER},
        {SPAN_DESTINATION_SERVICE, LABEL_DESTINATION_SERVICE},
    };

    char text[ADDR_TEXT_MAX];
    const struct record *record = &exchange->call.record;
    const struct addr *called =
        record->hbone_addr.port != 0 ? &record->hbone_addr : &record->destination.addr;
    const struct addr *peer = is_inbound ? &record->source.addr : called;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        span_text(span, names[i].attribute, record_name(record, names[i].label));
    if (is_inbound || exchange->call.n_attempts > 0) { /* else it is the service's address */
        span_text(span, SPAN_PEER_ADDRESS, str_from(ip_text(&peer->ip, text)));
        span_number(span, SPAN_PEER_PORT, peer->port);
    }
}

/* "cart.shop": whose span it is. */
static void add_service(const struct exchange *exchange, bool is_inbound, struct span *span)
{
    char text[256];
    const struct record *record = &exchange->call.record;
    const struct str name = record_name(record, is_inbound ? LABEL_DESTINATION_CANONICAL_SERVICE
                                                           : LABEL_SOURCE_CANONICAL_SERVICE);
    const struct str of = record_name(record, is_inbound ? LABEL_DESTINATION_WORKLOAD_NAMESPACE
                                                         : LABEL_SOURCE_WORKLOAD_NAMESPACE);
    const int len = snprintf(text, sizeof text, "%.*s.%.*s", STR_ARG(name), STR_ARG(of));
    if (!str_is_empty(name) && len > 0)
        span_text(span, SPAN_SERVICE, str_sub(str_from(text), 0, (size_t)len));
}

/* ---- how it ended ---- */

struct outcome {
    int err;
    unsigned status;
    bool is_grpc, is_inbound;
    struct str grpc_status;
    uint64_t grpc_code;
};

/* Of a server's span only those that are the server's fault: rpc.grpc.status_code in the
 * conventions for gRPC. */
static bool is_grpc_failure(const struct outcome *outcome)
{
    static const unsigned of_server = 1u << 2 | 1u << 4 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 15;
    if (outcome->grpc_code == 0 || outcome->grpc_code > 16)
        return outcome->grpc_code > 16;
    return !outcome->is_inbound || (of_server >> outcome->grpc_code & 1) != 0;
}

static bool has_failed(const struct outcome *outcome)
{
    return outcome->err < 0 || outcome->status >= (outcome->is_inbound ? 500u : 400u) ||
           is_grpc_failure(outcome);
}

static void add_outcome(const struct exchange *exchange, const struct outcome *outcome,
                        struct span *span)
{
    char text[16];
    const struct str flags = response_flags(outcome->err, exchange->is_spent);
    if (outcome->status != 0)
        span_number(span, SPAN_STATUS, outcome->status);
    if (outcome->is_grpc)
        span_text(span, SPAN_RPC_SYSTEM, STR("grpc"));
    if (!str_is_empty(outcome->grpc_status))
        span_number(span, SPAN_GRPC_STATUS, (int64_t)outcome->grpc_code);
    if (exchange->n_asked > 1)
        span_number(span, SPAN_RESENDS, exchange->n_asked - 1);
    if (!str_eq(flags, STR("-")))
        span_text(span, SPAN_FLAGS, flags);
    if (!has_failed(outcome))
        return;
    (void)snprintf(text, sizeof text, "%u", outcome->status);
    if (outcome->err < 0)
        span_text(span, SPAN_ERROR, str_from(err_label(outcome->err)));
    else
        span_text(span, SPAN_ERROR,
                  is_grpc_failure(outcome) ? outcome->grpc_status : str_from(text));
}

static struct outcome outcome_of(const struct exchange *exchange, int err)
{
    struct outcome outcome = {
        .err = err,
        .status = exchange->status,
        .is_grpc = local_reply_is_grpc(&exchange->head.fields),
        .is_inbound = exchange->call.record.kind != ARRIVAL_OUTBOUND,
        .grpc_status = exchange->grpc_status,
    };
    if (!str_to_u64(outcome.grpc_status, UINT16_MAX, &outcome.grpc_code))
        outcome.grpc_status = (struct str){0};
    return outcome;
}

void exchange_trace_end(const struct exchange *exchange, const struct totals *totals,
                        uint64_t duration_ns)
{
    if (!exchange->trace || !trace_is_sampled(exchange->trace))
        return;
    struct tracer_pen *pen = exchange->call.walk->tools.tracer;
    const int64_t now_ns = clock_wall_ns();
    const struct outcome outcome = outcome_of(exchange, totals->err);
    const enum span_kind kind = outcome.is_inbound ? SPAN_SERVER : SPAN_CLIENT;
    struct span *span = tracer_begin(pen, exchange->trace, kind);
    add_service(exchange, outcome.is_inbound, span);
    add_name(exchange, outcome.is_grpc, span);
    add_outcome(exchange, &outcome, span);
    add_request(exchange, span);
    add_parties(exchange, outcome.is_inbound, span);
    span_number(span, SPAN_REQUEST_BYTES, (int64_t)totals->received);
    span_number(span, SPAN_RESPONSE_BYTES, (int64_t)totals->sent);
    tracer_commit(pen, now_ns - (int64_t)duration_ns, now_ns, has_failed(&outcome));
}
