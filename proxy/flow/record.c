#include "proxy/flow/record.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/http/hbone.h"

/* In the order in which a party's names are saved. */
static const enum traffic_label labels_of[2][PARTY_NAMES] = {
    [PARTY_SOURCE] = {LABEL_SOURCE_WORKLOAD, LABEL_SOURCE_WORKLOAD_NAMESPACE,
                      LABEL_SOURCE_PRINCIPAL, LABEL_SOURCE_CLUSTER, LABEL_SOURCE_CANONICAL_SERVICE,
                      LABEL_SOURCE_CANONICAL_REVISION},
    [PARTY_DESTINATION] = {LABEL_DESTINATION_WORKLOAD, LABEL_DESTINATION_WORKLOAD_NAMESPACE,
                           LABEL_DESTINATION_PRINCIPAL, LABEL_DESTINATION_CLUSTER,
                           LABEL_DESTINATION_CANONICAL_SERVICE,
                           LABEL_DESTINATION_CANONICAL_REVISION},
};

static struct party *party_of(struct record *record, enum party_side side)
{
    return side == PARTY_SOURCE ? &record->source : &record->destination;
}

/* ---- names ---- */

struct str record_name(const struct record *record, enum traffic_label label)
{
    return record->names ? record->names[label] : (struct str){0};
}

static struct str *own_names(struct record *record, struct arena *arena)
{
    if (!record->own_names) {
        record->own_names = arena_new_array(arena, struct str, TRAFFIC_LABELS);
        if (record->names)
            memcpy(record->own_names, record->names, TRAFFIC_LABELS * sizeof(struct str));
        record->names = record->own_names;
    }
    return record->own_names;
}

void record_lend_names(struct record *record, const struct str *names)
{
    record->names = names;
    record->own_names = NULL;
}

void record_set_name(struct record *record, struct arena *arena, enum traffic_label label,
                     struct str name)
{
    if (!str_eq(record_name(record, label), name))
        own_names(record, arena)[label] = arena_str(arena, name);
}

void record_save_names(const struct record *record, enum party_side side,
                       struct str names[PARTY_NAMES])
{
    for (size_t i = 0; i < PARTY_NAMES; i++)
        names[i] = record_name(record, labels_of[side][i]);
}

void record_load_names(struct record *record, struct arena *arena, enum party_side side,
                       const struct str names[PARTY_NAMES])
{
    for (size_t i = 0; i < PARTY_NAMES; i++)
        own_names(record, arena)[labels_of[side][i]] = names[i];
}

static void set_names(struct record *record, enum party_side side, struct arena *arena,
                      const struct str names[PARTY_NAMES])
{
    for (size_t i = 0; i < PARTY_NAMES; i++)
        record_set_name(record, arena, labels_of[side][i], names[i]);
}

static void names_of(const struct workload *workload, struct str out_names[PARTY_NAMES])
{
    static const struct workload nobody;
    const struct workload *who = workload ? workload : &nobody;
    out_names[0] = who->name;
    out_names[1] = who->namespace_;
    out_names[2] = who->identity;
    out_names[3] = who->cluster;
    out_names[4] = who->canonical_name;
    out_names[5] = who->canonical_revision;
}

static size_t names_room(const struct str *names, size_t n_names)
{
    size_t room = 0;
    for (size_t i = 0; i < n_names; i++)
        room += str_is_empty(names[i]) ? 0 : arena_room(names[i].len + 1);
    return room;
}

void record_room(struct arena *arena, const struct workload *source, const struct service *service,
                 struct str text)
{
    const struct str names[] = {service->hostname, service->name, service->namespace_, text};
    struct str own[PARTY_NAMES];
    size_t room = arena_room(TRAFFIC_LABELS * sizeof(struct str));
    room += names_room(names, ARRAY_LEN(names));
    names_of(source, own);
    arena_start(arena, room + names_room(own, PARTY_NAMES));
}

void record_party(struct record *record, enum party_side side, struct arena *arena,
                  const struct workload *workload, const struct addr *addr)
{
    struct str names[PARTY_NAMES];
    names_of(workload, names);
    *party_of(record, side) = (struct party){.addr = *addr};
    set_names(record, side, arena, names);
}

void record_service(struct record *record, struct arena *arena, const struct service *service)
{
    if (!service || !str_is_empty(record_name(record, LABEL_DESTINATION_SERVICE)))
        return;
    record_set_name(record, arena, LABEL_DESTINATION_SERVICE, service->hostname);
    record_set_name(record, arena, LABEL_DESTINATION_SERVICE_NAME, service->name);
    record_set_name(record, arena, LABEL_DESTINATION_SERVICE_NAMESPACE, service->namespace_);
}

void record_peer(struct record *record, enum party_side side, struct arena *arena, struct str id,
                 struct str baggage)
{
    struct hbone_labels labels;
    party_of(record, side)->proof = "mtls";
    if (!str_is_empty(record_name(record, labels_of[side][0]))) {
        record_set_name(record, arena, labels_of[side][2], id);
        return;
    }
    hbone_parse_baggage(baggage, &labels);
    const struct str names[PARTY_NAMES] = {labels.workload, labels.namespace_, id,
                                           labels.cluster,  labels.service,    labels.revision};
    set_names(record, side, arena, names);
    party_of(record, side)->is_stranger = true;
}

const struct workload *record_caller(const struct record *connection,
                                     const struct snapshot *snapshot)
{
    const struct workload *pod = identify_caller(snapshot, &connection->source.addr.ip);
    return pod && str_eq(pod->identity, record_name(connection, LABEL_SOURCE_PRINCIPAL)) ? pod
                                                                                         : NULL;
}

void record_copy_connection(struct record *record, const struct record *connection)
{
    *record = (struct record){
        .kind = connection->kind,
        .is_same_node = connection->is_same_node,
        .is_mutual_tls = connection->is_mutual_tls,
        .source = connection->source,
        .destination = connection->destination,
        .hbone_addr = connection->hbone_addr,
        .tls_version = connection->tls_version,
        .cipher = connection->cipher,
        .peer_serial = connection->peer_serial,
        .peer_not_after_ns = connection->peer_not_after_ns,
        .trace = connection->trace,
    };
    record_lend_names(record, connection->names);
}

void record_copy_ends(struct record *record, const struct record *connection)
{
    record->kind = connection->kind;
    record->source = connection->source;
    record->destination.addr = connection->destination.addr;
}

/* It stands in one piece of the labels. */
void record_copy_source(struct record *record, struct arena *arena, const struct record *connection)
{
    struct str *names = own_names(record, arena);
    for (unsigned i = LABEL_SOURCE_WORKLOAD; i <= LABEL_SOURCE_CLUSTER && connection->names; i++)
        names[i] = connection->names[i];
}

/* ---- series ---- */

void record_labels(const struct record *record, const char *reporter,
                   struct traffic_labels *out_labels)
{
    struct str *value = out_labels->value;
    for (unsigned i = 0; i < TRAFFIC_LABELS; i++)
        value[i] = record_name(record, (enum traffic_label)i);
    out_labels->are_strangers = record->source.is_stranger || record->destination.is_stranger;
    value[LABEL_REPORTER] = str_from(reporter);
    value[LABEL_SOURCE_APP] = value[LABEL_SOURCE_CANONICAL_SERVICE];
    value[LABEL_SOURCE_VERSION] = value[LABEL_SOURCE_CANONICAL_REVISION];
    value[LABEL_DESTINATION_APP] = value[LABEL_DESTINATION_CANONICAL_SERVICE];
    value[LABEL_DESTINATION_VERSION] = value[LABEL_DESTINATION_CANONICAL_REVISION];
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
    record_labels(record, is_outbound ? "source" : "destination", &labels);
    record->series[0] = traffic_open(traffic, &labels);
    if (is_outbound && record->is_same_node) {
        labels.value[LABEL_REPORTER] = STR("destination");
        record->series[1] = traffic_open(traffic, &labels);
    }
}

bool record_fold(struct record *record, const struct traffic *traffic)
{
    const struct str *names = traffic_names(traffic, record->series[0]);
    if (!names)
        return false;
    record_lend_names(record, names);
    return true;
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
    text_addf(out, "\"direction\":\"%s\"", inbound_view ? "inbound" : "outbound");
    add_addr(out, "src.addr", &record->source.addr);
    add_member(out, "src.workload", record_name(record, LABEL_SOURCE_WORKLOAD));
    add_member(out, "src.namespace", record_name(record, LABEL_SOURCE_WORKLOAD_NAMESPACE));
    add_member(out, "src.identity", record_name(record, LABEL_SOURCE_PRINCIPAL));
    add_member(out, "src.cluster", record_name(record, LABEL_SOURCE_CLUSTER));
    add_addr(out, "dst.addr", &record->destination.addr);
    add_addr(out, "dst.hbone_addr", &record->hbone_addr);
    add_member(out, "dst.service", record_name(record, LABEL_DESTINATION_SERVICE));
    add_member(out, "dst.workload", record_name(record, LABEL_DESTINATION_WORKLOAD));
    add_member(out, "dst.namespace", record_name(record, LABEL_DESTINATION_WORKLOAD_NAMESPACE));
    add_member(out, "dst.identity", record_name(record, LABEL_DESTINATION_PRINCIPAL));
    add_member(out, "dst.cluster", record_name(record, LABEL_DESTINATION_CLUSTER));
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
