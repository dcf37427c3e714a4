#include "proxy/flow/record.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/http/hbone.h"

void record_party(struct party *party, struct arena *arena, const struct workload *workload,
                  const struct addr *addr)
{
    *party = (struct party){.addr = *addr};
    if (!workload)
        return;
    party->workload = arena_str(arena, workload->name);
    party->namespace_ = arena_str(arena, workload->namespace_);
    party->identity = arena_str(arena, workload->identity);
    party->cluster = arena_str(arena, workload->cluster);
    party->canonical_service = arena_str(arena, workload->canonical_name);
    party->canonical_revision = arena_str(arena, workload->canonical_revision);
}

void record_service(struct record *record, struct arena *arena, const struct service *service)
{
    if (!service || !str_is_empty(record->service_host))
        return;
    record->service_host = arena_str(arena, service->hostname);
    record->service_name = arena_str(arena, service->name);
    record->service_namespace = arena_str(arena, service->namespace_);
}

void record_peer(struct party *party, struct arena *arena, struct str id, struct str baggage)
{
    party->identity = arena_str(arena, id);
    party->proof = "mtls";
    if (!str_is_empty(party->workload))
        return;
    struct hbone_labels labels;
    hbone_parse_baggage(baggage, &labels);
    party->workload = arena_str(arena, labels.workload);
    party->namespace_ = arena_str(arena, labels.namespace_);
    party->cluster = arena_str(arena, labels.cluster);
    party->canonical_service = arena_str(arena, labels.service);
    party->canonical_revision = arena_str(arena, labels.revision);
}

static void fill_labels(const struct record *record, const char *reporter,
                        struct traffic_labels *labels)
{
    const struct party *source = &record->source, *destination = &record->destination;
    struct str *value = labels->value;
    value[LABEL_REPORTER] = str_from(reporter);
    value[LABEL_SOURCE_WORKLOAD] = source->workload;
    value[LABEL_SOURCE_CANONICAL_SERVICE] = source->canonical_service;
    value[LABEL_SOURCE_CANONICAL_REVISION] = source->canonical_revision;
    value[LABEL_SOURCE_WORKLOAD_NAMESPACE] = source->namespace_;
    value[LABEL_SOURCE_PRINCIPAL] = source->identity;
    value[LABEL_SOURCE_APP] = source->canonical_service;
    value[LABEL_SOURCE_VERSION] = source->canonical_revision;
    value[LABEL_SOURCE_CLUSTER] = source->cluster;
    value[LABEL_DESTINATION_SERVICE] = record->service_host;
    value[LABEL_DESTINATION_SERVICE_NAMESPACE] = record->service_namespace;
    value[LABEL_DESTINATION_SERVICE_NAME] = record->service_name;
    value[LABEL_DESTINATION_WORKLOAD] = destination->workload;
    value[LABEL_DESTINATION_CANONICAL_SERVICE] = destination->canonical_service;
    value[LABEL_DESTINATION_CANONICAL_REVISION] = destination->canonical_revision;
    value[LABEL_DESTINATION_WORKLOAD_NAMESPACE] = destination->namespace_;
    value[LABEL_DESTINATION_PRINCIPAL] = destination->identity;
    value[LABEL_DESTINATION_APP] = destination->canonical_service;
    value[LABEL_DESTINATION_VERSION] = destination->canonical_revision;
    value[LABEL_DESTINATION_CLUSTER] = destination->cluster;
    value[LABEL_REQUEST_PROTOCOL] = STR("tcp");
    value[LABEL_CONNECTION_SECURITY_POLICY] =
        record->is_mutual_tls ? STR("mutual_tls") : STR("unknown");
}

void record_open(struct record *record, struct traffic *traffic)
{
    struct traffic_labels labels = {0};
    if (record->series[0])
        return;
    const bool is_outbound = record->kind == ARRIVAL_OUTBOUND;
    fill_labels(record, is_outbound ? "source" : "destination", &labels);
    record->series[0] = traffic_open(traffic, &labels);
    if (is_outbound && record->is_same_node) {
        labels.value[LABEL_REPORTER] = STR("destination");
        record->series[1] = traffic_open(traffic, &labels);
    }
}

void record_bytes(struct record *record, const struct totals *totals)
{
    const uint64_t received = totals->received - record->reported_received;
    const uint64_t sent = totals->sent - record->reported_sent;
    record->reported_received = totals->received;
    record->reported_sent = totals->sent;
    for (int i = 0; i < 2; i++) {
        if (record->series[i])
            traffic_bytes(record->series[i], received, sent);
    }
}

static void add_member(struct text *out, const char *key, struct str value)
{
    if (str_is_empty(value))
        return;
    text_addf(out, ",\"%s\":", key);
    text_add_json_string(out, value);
}

static void add_addr(struct text *out, const char *key, const struct addr *addr)
{
    char buf[ADDR_TEXT_MAX];
    if (!ip_is_none(&addr->ip))
        text_addf(out, ",\"%s\":\"%s\"", key, addr_text(addr, buf));
}

void record_json(const struct record *record, bool inbound_view, struct text *out)
{
    const struct party *source = &record->source, *destination = &record->destination;
    text_addf(out, "\"direction\":\"%s\"", inbound_view ? "inbound" : "outbound");
    add_addr(out, "src.addr", &source->addr);
    add_member(out, "src.workload", source->workload);
    add_member(out, "src.namespace", source->namespace_);
    add_member(out, "src.identity", source->identity);
    add_member(out, "src.cluster", source->cluster);
    add_addr(out, "dst.addr", &destination->addr);
    add_addr(out, "dst.hbone_addr", &record->hbone_addr);
    add_member(out, "dst.service", record->service_host);
    add_member(out, "dst.workload", destination->workload);
    add_member(out, "dst.namespace", destination->namespace_);
    add_member(out, "dst.identity", destination->identity);
    add_member(out, "dst.cluster", destination->cluster);
    text_addf(out, ",\"mtls\":%s", record->is_mutual_tls ? "true" : "false");
    add_member(out, "tls.version", str_from(record->tls_version));
    add_member(out, "tls.cipher", str_from(record->cipher));
    add_member(out, "policy", record->ruling.policy);
    add_member(out, "policy.dry_run", record->dry_run_policy);
    if (record->attempts > 1)
        text_addf(out, ",\"attempts\":%u", record->attempts);
}

static void write_line(const struct record *record, const struct totals *totals,
                       uint64_t duration_ns, bool inbound_view)
{
    struct text line = {0};
    char now[CLOCK_TEXT_MAX];
    /* Seen from where the record is made: outbound sends the request, inbound sends the answer. */
    const uint64_t sent = inbound_view ? totals->sent : totals->received;
    const uint64_t received = inbound_view ? totals->received : totals->sent;
    text_addf(&line,
              "{\"time\":\"%s\",\"level\":\"%s\",\"scope\":\"access\",\"message\":\"connection "
              "complete\",",
              clock_text(clock_wall_ns(), now), totals->err < 0 ? "error" : "info");
    record_json(record, inbound_view, &line);
    text_addf(&line,
              ",\"bytes_sent\":%llu,\"bytes_recv\":%llu,\"duration\":\"%llums\",\"why\":\"%s\"",
              (unsigned long long)sent, (unsigned long long)received,
              (unsigned long long)(duration_ns / NS_PER_MS), err_label(totals->err));
    if (totals->err < 0) {
        text_addf(&line, ",\"error\":");
        text_add_json_string(&line, str_is_empty(record->detail) ? str_from(err_text(totals->err))
                                                                 : record->detail);
    }
    text_addc(&line, '}');
    log_access(text_str(&line));
    text_fini(&line);
}

void record_close(struct record *record, const struct totals *totals, uint64_t duration_ns,
                  bool log_access)
{
    record_bytes(record, totals);
    for (int i = 0; i < 2; i++) {
        if (record->series[i])
            traffic_close(record->series[i], totals->err);
        record->series[i] = NULL;
    }
    if (!log_access)
        return;
    write_line(record, totals, duration_ns, record->kind != ARRIVAL_OUTBOUND);
    if (record->kind == ARRIVAL_OUTBOUND && record->is_same_node)
        write_line(record, totals, duration_ns, true);
}
