#include "proxy/flow/exchange_record.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/flow/exchange_trace.h"
#include "proxy/flow/local_reply.h"
#include "proxy/flow/response_flags.h"
#include "proxy/flow/witness.h"
#include "proxy/meter/meter.h"

static const char *version_text(enum http_version version)
{
    switch (version) {
    case HTTP_1_0: return "HTTP/1.0";
    case HTTP_1_1: return "HTTP/1.1";
    case HTTP_2: return "HTTP/2";
    }
    return "-";
}

static void add_member(struct text *out, const char *key, struct str value)
{
    if (str_is_empty(value))
        return;
    text_addf(out, ",\"%s\":", key);
    text_add_json_string(out, value);
}

/* Envoy's RBAC filter has no flag, but says this; policies have the names that Istio gives them. */
static void add_code_details(const struct exchange *exchange, int err, struct text *line)
{
    const struct ruling *ruling = &exchange->call.record.ruling;
    struct text details = {0};
    struct str namespace_, name;
    if (err != -ERR_DENIED && err != -ERR_DENIED_LATE)
        return;
    if (str_split(ruling->policy, '/', &namespace_, &name))
        text_addf(&details, "rbac_access_denied_matched_policy[ns[%.*s]-policy[%.*s]-rule[%zu]]",
                  STR_ARG(namespace_), STR_ARG(name), ruling->rule_idx);
    else
        text_addf(&details, "rbac_access_denied_matched_policy[none]");
    add_member(line, "response.code_details", text_str(&details));
    text_fini(&details);
}

static void add_http(const struct exchange *exchange, struct text *line)
{
    add_member(line, "request.method", exchange->method);
    add_member(line, "request.path", exchange->path);
    add_member(line, "request.authority", exchange->head.authority);
    add_member(line, "request.protocol", str_from(version_text(exchange->head.version)));
    add_member(line, "route", exchange->route.rule);
    text_addf(line, ",\"response.code\":%u", exchange->status);
    add_member(line, "grpc.status", exchange->grpc_status);
    if (exchange->answered_ns > 0)
        text_addf(line, ",\"upstream_time\":\"%llums\"",
                  (unsigned long long)((exchange->answered_ns - exchange->asked_ns) / NS_PER_MS));
}

static void write_line(const struct exchange *exchange, const struct totals *totals,
                       uint64_t duration_ns, bool inbound_view)
{
    const struct record *record = &exchange->call.record;
    struct text line = {0};
    char now[CLOCK_TEXT_MAX];
    const uint64_t sent = inbound_view ? totals->sent : totals->received;
    const uint64_t received = inbound_view ? totals->received : totals->sent;
    text_addf(&line,
              "{\"time\":\"%s\",\"level\":\"%s\",\"scope\":\"access\",\"message\":\"request "
              "complete\",",
              clock_text(clock_wall_ns(), now), totals->err < 0 ? "error" : "info");
    record_json(record, inbound_view, &line);
    add_http(exchange, &line);
    add_code_details(exchange, totals->err, &line);
    add_member(&line, "response.flags", response_flags(totals->err, exchange->is_spent));
    exchange_trace_json(exchange, &line);
    text_addf(&line,
              ",\"bytes_sent\":%llu,\"bytes_recv\":%llu,\"duration\":\"%llums\",\"why\":\"%s\"",
              (unsigned long long)sent, (unsigned long long)received,
              (unsigned long long)(duration_ns / NS_PER_MS), err_label(totals->err));
    if (totals->err < 0)
        add_member(&line, "error",
                   str_is_empty(record->detail) ? str_from(err_text(totals->err)) : record->detail);
    text_addc(&line, '}');
    log_access(text_str(&line));
    text_fini(&line);
}

#define STATUS_DIGITS 3

/* Without printf, since it is said of each request. */
static struct str status_text(unsigned status, char room[STATUS_DIGITS])
{
    size_t at = STATUS_DIGITS;
    do
        room[--at] = (char)('0' + status % 10);
    while ((status /= 10) > 0 && at > 0);
    return str_of(room + at, STATUS_DIGITS - at);
}

/* A server may say what it likes, and a series is made of each: only the codes that there are. */
static struct str grpc_label(struct str said)
{
    static const char *const codes[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                        "9", "10", "11", "12", "13", "14", "15", "16"};
    uint64_t code;
    if (str_is_empty(said))
        return said;
    return str_to_u64(said, ARRAY_LEN(codes) - 1, &code) ? str_from(codes[code]) : STR("other");
}

static struct traffic_series *count_by_labels(const struct exchange *exchange,
                                              const struct ending *ending, const char *reporter,
                                              const struct traffic_request *request)
{
    char status[STATUS_DIGITS];
    const struct call *call = &exchange->call;
    struct traffic_labels labels = {0};
    record_labels(&call->record, reporter, &labels);
    labels.value[LABEL_REQUEST_PROTOCOL] = ending->is_grpc ? STR("grpc") : STR("http");
    labels.value[LABEL_RESPONSE_CODE] = status_text(ending->status, status);
    labels.value[LABEL_RESPONSE_FLAGS] = response_flags(ending->err, ending->is_spent);
    if (ending->is_grpc)
        labels.value[LABEL_GRPC_RESPONSE_STATUS] = grpc_label(exchange->grpc_status);
    return traffic_request(call->walk->tools.traffic, &labels, request);
}

/* Where its series are known, or will be; NULL: nowhere, as it was for one endpoint after another,
 * for one of a snapshot of before, or for none. */
static struct acquaintance *place_of(struct exchange *exchange)
{
    const struct call *call = &exchange->call;
    if (exchange->side->is_here)
        return call->record.own_names ? NULL : &exchange->side->known;
    if (exchange->n_named != 1 || exchange->generation != call_snapshot(call)->generation)
        return NULL;
    return acquaintances_place(&call->walk->acquaintances, exchange->generation, &exchange->key);
}

static bool is_known(const struct acquaintance *place, const struct exchange *exchange,
                     const struct ending *ending)
{
    const struct call *call = &exchange->call;
    if (!place || !place->series[0] || place->names != call->record.names ||
        !acquaintance_ended_so(place, ending))
        return false;
    const struct str *labels = traffic_names(call->walk->tools.traffic, place->series[0]);
    return !ending->is_grpc ||
           str_eq(labels[LABEL_GRPC_RESPONSE_STATUS], grpc_label(exchange->grpc_status));
}

/* The series of those that did not fit are nobody's. */
static void keep(struct exchange *exchange, struct acquaintance *place,
                 struct traffic_series *const series[2], const struct ending *ending)
{
    const struct traffic *traffic = exchange->call.walk->tools.traffic;
    const struct str *names = traffic_names(traffic, series[0]);
    if (!names || (series[1] && !traffic_names(traffic, series[1])))
        return;
    if (exchange->side->is_here)
        names = exchange->call.record.names;
    acquaintance_keep(place, &exchange->key, names, series, ending);
}

/* By its source and its destination where both are pods of this node, as if they were of two. */
static void count(struct exchange *exchange, const struct totals *totals, uint64_t duration_ns)
{
    const struct call *call = &exchange->call;
    const struct record *record = &call->record;
    const bool is_inbound = record->kind != ARRIVAL_OUTBOUND;
    const struct ending ending = {
        .status = exchange->status,
        .err = totals->err,
        .is_spent = exchange->is_spent,
        .is_mutual_tls = record->is_mutual_tls,
        .is_same_node = record->is_same_node,
        .is_grpc = local_reply_is_grpc(&exchange->head.fields),
    };
    const struct traffic_request request = {
        .duration_ns = duration_ns,
        .request_bytes = totals->received,
        .response_bytes = totals->sent,
    };
    struct acquaintance *place = place_of(exchange);
    if (is_known(place, exchange, &ending)) {
        for (size_t i = 0; i < ARRAY_LEN(place->series) && place->series[i]; i++)
            traffic_request_again(place->series[i], &request);
        return;
    }
    struct traffic_series *series[2] = {
        count_by_labels(exchange, &ending, is_inbound ? "destination" : "source", &request)};
    if (!is_inbound && record->is_same_node)
        series[1] = count_by_labels(exchange, &ending, "destination", &request);
    if (place)
        keep(exchange, place, series, &ending);
}

void exchange_record(struct exchange *exchange, const struct totals *totals)
{
    struct call *call = &exchange->call;
    const struct walk *walk = call->walk;
    const uint64_t duration_ns = call_now_ns(call) - call->started_ns;
    const bool is_inbound = call->record.kind != ARRIVAL_OUTBOUND;
    meter_add(walk->tools.meter, METRIC_EXCHANGES, 1);
    if (totals->err < 0)
        meter_add(walk->tools.meter, METRIC_EXCHANGES_FAILED, 1);
    count(exchange, totals, duration_ns);
    witness_end(call, totals, duration_ns);
    exchange_trace_end(exchange, totals, duration_ns);
    if (!walk->options.log_access)
        return;
    write_line(exchange, totals, duration_ns, is_inbound);
    if (!is_inbound && call->record.is_same_node)
        write_line(exchange, totals, duration_ns, true);
}
