/* kind: ProxyConfig. */
#include "config/bootstrap_doc.h"
#include "config/bootstrap_fields.h"
#include "config/names.h"
#include "proxy/base/clock.h"

#define MS       NS_PER_MS
#define SECOND   NS_PER_SEC
#define MINUTE   (60 * NS_PER_SEC)
#define HOUR     (60 * MINUTE)
#define TIME_MAX (168 * HOUR)

static void read_control(const struct fields *top, struct proxy_config *config)
{
    static const char *const keys[] = {"address", "trustBundle", "tokenFile", NULL};
    (void)field(top, "control", FIELD_REQUIRED);
    struct fields fields = fields_below(top, "control", "control.");
    if (!fields.node)
        return;
    yaml_only_keys(fields.node, "control", keys, fields.diag);
    config->control = field_endpoint(&fields, "address");
    config->control_trust_bundle = field_path(&fields, "trustBundle", FIELD_REQUIRED);
    config->control_token_file =
        field_path(&fields, "tokenFile",
                   config->identity.node == IDENTITY_CONTROL ? FIELD_REQUIRED : FIELD_OPTIONAL);
}

/* Tables 253 to 255 are the kernel's own (default, main, local); a route in them would not be ours
 * to remove. */
static void check_route_table(const struct fields *fields, const struct proxy_config *config)
{
    if (config->route_table >= 253 && config->route_table <= 255)
        diag_error(fields->diag, yaml_get(fields->node, "routeTable")->place,
                   "capture.routeTable: %u is a table of the system, choose another",
                   config->route_table);
}

static void read_capture(const struct fields *top, struct proxy_config *config)
{
    static const char *const keys[] = {"mode", "onExit", "mark", "routeTable", NULL};
    static const char *const modes[] = {"none", "tproxy", NULL};
    static const char *const exits[] = {"remove", "hold", NULL};
    struct fields fields = fields_below(top, "capture", "capture.");
    yaml_only_keys(fields.node, "capture", keys, fields.diag);
    config->capture = (enum capture_mode)field_word(&fields, "mode", modes, CAPTURE_TPROXY);
    config->capture_on_exit =
        (enum capture_on_exit)field_word(&fields, "onExit", exits, CAPTURE_EXIT_REMOVE);
    config->mark = (uint32_t)field_u64(&fields, "mark", 1, UINT32_MAX, 1337);
    config->route_table = (uint32_t)field_u64(&fields, "routeTable", 1, UINT32_MAX, 133);
    check_route_table(&fields, config);
}

static void read_ports(const struct fields *top, struct proxy_config *config)
{
    static const char *const keys[] = {"outbound", "inbound", "tunnel", "dns",
                                       "metrics",  "ready",   "admin",  NULL};
    const struct port_field ports[] = {
        {"outbound", 15001, &config->ports.outbound}, {"inbound", 15006, &config->ports.inbound},
        {"tunnel", 15008, &config->ports.tunnel},     {"dns", 15053, &config->ports.dns},
        {"metrics", 15020, &config->ports.metrics},   {"ready", 15021, &config->ports.ready},
        {"admin", 15000, &config->ports.admin},
    };
    struct fields fields = fields_below(top, "ports", "ports.");
    yaml_only_keys(fields.node, "ports", keys, fields.diag);
    field_ports(&fields, ports, ARRAY_LEN(ports), 0, "");
}

static void read_timeouts(const struct fields *top, struct proxy_config *config)
{
    static const char *const keys[] = {"handshake", "connect", "attempt", "idle",
                                       "halfClose", "drain",   NULL};
    struct fields fields = fields_below(top, "timeouts", "timeouts.");
    yaml_only_keys(fields.node, "timeouts", keys, fields.diag);
    config->handshake_ns = field_duration(&fields, "handshake", MS, HOUR, 10 * SECOND);
    config->connect_ns = field_duration(&fields, "connect", MS, HOUR, 10 * SECOND);
    config->attempt_ns = field_duration(&fields, "attempt", MS, HOUR, 400 * MS);
    config->idle_ns = field_duration(&fields, "idle", MS, TIME_MAX, HOUR);
    config->half_close_ns = field_duration(&fields, "halfClose", MS, TIME_MAX, 5 * MINUTE);
    config->drain_ns = field_duration(&fields, "drain", MS, HOUR, 20 * SECOND);
}

/* What calls a pod of this node must come to our own port, and not to the pod's. */
static void check_same_node(const struct fields *fields, const struct proxy_config *config)
{
    if (config->same_node == SAME_NODE_TUNNEL && config->capture != CAPTURE_TPROXY)
        diag_error(
            fields->diag, yaml_get(fields->node, "sameNode")->place,
            "dataPath.sameNode: tunnel needs capture.mode: tproxy, whose routing rule brings "
            "a tunnel to a pod of this node to the proxy's own port");
}

static void read_rest(const struct fields *top, struct proxy_config *config)
{
    static const char *const limit_keys[] = {"connections", "connectAttempts", "memoryBytes",
                                             "loopLag", NULL};
    static const char *const path_keys[] = {"spliceAfterBytes", "sameNode", NULL};
    static const char *const ways[] = {"direct", "tunnel", NULL};
    static const char *const log_keys[] = {"level", "access", NULL};
    static const char *const trust_keys[] = {"cutOnRemoval", NULL};
    struct fields trust = fields_below(top, "trust", "trust.");
    struct fields limits = fields_below(top, "limits", "limits.");
    struct fields path = fields_below(top, "dataPath", "dataPath.");
    struct fields log = fields_below(top, "log", "log.");
    yaml_only_keys(limits.node, "limits", limit_keys, limits.diag);
    yaml_only_keys(path.node, "dataPath", path_keys, path.diag);
    yaml_only_keys(log.node, "log", log_keys, log.diag);
    yaml_only_keys(trust.node, "trust", trust_keys, trust.diag);
    config->max_connections = (unsigned)field_u64(&limits, "connections", 1, 10000000, 20000);
    config->max_connect_attempts = (unsigned)field_u64(&limits, "connectAttempts", 1, 100, 5);
    config->max_memory_bytes = field_u64(&limits, "memoryBytes", 0, UINT64_C(1) << 50, 0);
    config->max_lag_ns = field_duration(&limits, "loopLag", 10 * MS, HOUR, SECOND);
    config->splice_after_bytes =
        field_u64(&path, "spliceAfterBytes", 0, UINT64_C(1) << 40, UINT64_C(1) << 20);
    config->same_node = (enum same_node_way)field_word(&path, "sameNode", ways, SAME_NODE_DIRECT);
    check_same_node(&path, config);
    config->log_level = field_log_level(&log, "level");
    config->log_access = field_bool(&log, "access", true);
    config->cut_on_removal = field_bool(&trust, "cutOnRemoval", true);
}

/* ---- the audit log ---- */

#define AUDIT_FILE_BYTES_MIN (UINT64_C(64) << 10)
#define AUDIT_FILE_BYTES_MAX (UINT64_C(1) << 40)

static void read_audit_event(const struct fields *fields, const struct yaml *item,
                             struct audit_config *audit)
{
    if (item->kind == YAML_TEXT && str_eq(item->text, STR("verdicts")))
        audit->verdicts = true;
    else if (item->kind == YAML_TEXT && str_eq(item->text, STR("ends")))
        audit->ends = true;
    else if (item->kind == YAML_TEXT && str_eq(item->text, STR("requests")))
        audit->requests = true;
    else
        diag_error(fields->diag, item->place,
                   "audit.events: \"%.*s\" is not one of verdicts, ends, requests",
                   STR_ARG(item->text));
}

static void read_audit_events(const struct fields *fields, struct audit_config *audit)
{
    const struct yaml *events = yaml_get(fields->node, "events");
    audit->verdicts = audit->ends = events == NULL;
    if (!yaml_is_sequence(events, "audit.events", fields->diag))
        return;
    for (size_t i = 0; i < events->len; i++)
        read_audit_event(fields, events->items[i], audit);
}

static void check_audit_file(const struct fields *fields, struct str file)
{
    if (file.len > 0 && file.ptr[file.len - 1] == '/')
        diag_error(fields->diag, yaml_get(fields->node, "file")->place,
                   "audit.file: \"%.*s\" is a folder, expected the path of a file", STR_ARG(file));
}

/* On unless it is turned off: a log that is missing when it is asked for proves nothing. */
static void read_audit(const struct fields *top, struct proxy_config *config)
{
    static const char *const keys[] = {"file", "maxBytes", "keep", "fsync", "events", NULL};
    static const char *const syncs[] = {"never", "second", "always", NULL};
    struct audit_config *audit = &config->audit;
    struct fields fields = fields_below(top, "audit", "audit.");
    yaml_only_keys(fields.node, "audit", keys, fields.diag);
    audit->file = field_path(&fields, "file", FIELD_OPTIONAL);
    audit->max_bytes = field_u64(&fields, "maxBytes", AUDIT_FILE_BYTES_MIN, AUDIT_FILE_BYTES_MAX,
                                 UINT64_C(64) << 20);
    audit->keep = (unsigned)field_u64(&fields, "keep", 1, 10000, 7);
    audit->fsync = (enum audit_fsync)field_word(&fields, "fsync", syncs, AUDIT_FSYNC_SECOND);
    read_audit_events(&fields, audit);
    check_audit_file(&fields, audit->file);
    if (!audit->verdicts && !audit->ends && !audit->requests)
        audit->file = (struct str){0};
    else if (str_is_empty(audit->file))
        audit->file =
            arena_printf(&config->arena, "%.*s/audit/audit.log", STR_ARG(config->state_dir));
}

void bootstrap_doc_proxy(const struct yaml *doc, struct proxy_config *config, struct diag *diag)
{
    static const char *const keys[] = {
        "apiVersion",    "kind",    "node",     "cluster", "network",  "trustDomain",
        "clusterDomain", "workers", "stateDir", "control", "capture",  "ports",
        "timeouts",      "limits",  "dataPath", "log",     "identity", "trustBundles",
        "trust",         "audit",   "tracing",  NULL};
    struct fields top = {&config->arena, diag, doc, ""};
    if (!yaml_is_mapping(doc, "the document", diag))
        return;
    yaml_only_keys(doc, "", keys, diag);
    field_version(&top);
    config->node = field_name(&top, "node", FIELD_REQUIRED, "", name_is_subdomain,
                              "a node's name (RFC 1123, such as west-1)");
    config->cluster = field_name(&top, "cluster", FIELD_REQUIRED, "", name_is_cluster,
                                 "a cluster's name (RFC 1123, 127 letters at most)");
    config->network = field_text(&top, "network", FIELD_OPTIONAL, "");
    config->trust_domain = field_trust_domain(&top, "trustDomain");
    config->cluster_domain = field_name(&top, "clusterDomain", FIELD_OPTIONAL, "cluster.local",
                                        name_is_subdomain, "a domain (RFC 1123)");
    config->workers = (unsigned)field_u64(&top, "workers", 0, 1024, 0);
    config->state_dir = field_path(&top, "stateDir", FIELD_REQUIRED);
    read_identity(&top, config);
    config->trust_bundles = read_trust_bundles(&top, false, &config->n_trust_bundles);
    read_control(&top, config);
    read_capture(&top, config);
    read_ports(&top, config);
    read_timeouts(&top, config);
    read_rest(&top, config);
    read_audit(&top, config);
    read_tracing(&top, &config->tracing);
}
