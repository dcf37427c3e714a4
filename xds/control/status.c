/* What operators see of a control process, as JSON. */
#include "proxy/base/clock.h"
#include "xds/control/control.h"
#include "xds/control/inside.h"

static void add_key(struct text *out, const char *key, bool is_first)
{
    text_addf(out, "%s\"%s\":", is_first ? "" : ",", key);
}

static void add_string(struct text *out, const char *key, struct str value)
{
    add_key(out, key, false);
    text_add_json_string(out, value);
}

static void add_time(struct text *out, const char *key, int64_t wall_ns)
{
    char buf[CLOCK_TEXT_MAX];
    add_string(out, key, wall_ns ? str_from(clock_text(wall_ns, buf)) : (struct str){0});
}

static void add_bool(struct text *out, const char *key, bool value)
{
    text_addf(out, ",\"%s\":%s", key, value ? "true" : "false");
}

static void add_count(struct text *out, const char *key, uint64_t value)
{
    text_addf(out, ",\"%s\":%llu", key, (unsigned long long)value);
}

/* Between the items of a list. */
static void add_comma(struct text *out, size_t idx)
{
    if (idx > 0)
        text_addc(out, ',');
}

static void add_ip(struct text *out, size_t idx, const struct ip *ip)
{
    char buf[IP_TEXT_MAX];
    add_comma(out, idx);
    text_add_json_string(out, str_from(ip_text(ip, buf)));
}

/* ---- status ---- */

static void add_manifests(const struct control *control, struct text *out)
{
    const struct registry *registry = control->registry;
    if (control->source) {
        text_add(out, STR(",\"kubernetes\":"));
        kube_source_json(control->source, out);
        text_add(out, STR(",\"manifests\":{\"objects\":"));
        text_addf(out, "%zu", control->manifests->n_files);
    } else {
        text_add(out, STR(",\"manifests\":{\"folder\":"));
        text_add_json_string(out, control->config->manifests_dir);
        add_count(out, "files", control->manifests->n_files);
    }
    add_count(out, "loaded", control->n_loaded);
    add_count(out, "refused", control->n_refused);
    add_time(out, "loaded_at", control->loaded_ns);
    add_string(out, "error", text_str(&control->manifests_error));
    add_count(out, "workloads", registry->n_pods);
    add_count(out, "services", registry->n_services);
    add_count(out, "policies", registry->n_policies);
    add_count(out, "endpoints_without_pod", registry->n_stray_endpoints);
    text_addc(out, '}');
}

static void add_peer(const struct control *control, size_t idx, struct text *out)
{
    const struct registry_peer_row *row = &control->registry->peers[idx];
    struct peer_status status;
    peer_status(control->peers[idx], &status);
    add_comma(out, idx);
    text_add(out, STR("{\"name\":"));
    text_add_json_string(out, status.config->name);
    add_string(out, "trust_domain", status.config->trust_domain);
    add_bool(out, "connected", status.is_connected);
    add_string(out, "lease",
               status.is_connected ? STR("held")
               : status.is_expired ? STR("expired")
                                   : STR("running out"));
    add_time(out, "since", status.changed_ns);
    add_string(out, "roots",
               !status.has_roots          ? STR("none")
               : status.roots_from_stream ? STR("from its stream")
                                          : STR("from the configured file"));
    add_string(out, "last_error", status.last_error);
    add_count(out, "services", row->n_services);
    add_count(out, "workloads", row->n_workloads);
    add_count(out, "refused", row->n_refused);
    add_string(out, "refusal", row->refusal);
    text_addc(out, '}');
}

static void add_trust_bundles(const struct control *control, struct text *out)
{
    struct federation_status status;
    for (size_t idx = 0, n = 0; federation_next(control->federation, &idx, &status); n++) {
        add_comma(out, n);
        text_add(out, STR("{\"trust_domain\":"));
        text_add_json_string(out, status.config->trust_domain);
        add_string(out, "url", status.config->url);
        add_string(out, "profile",
                   status.config->is_spiffe ? STR("https_spiffe") : STR("https_web"));
        add_time(out, "fetched_at", status.fetched_ns);
        if (status.has_sequence)
            add_count(out, "sequence", status.sequence);
        add_count(out, "refresh_s", status.hint_s);
        add_string(out, "last_error", status.last_error);
        text_addc(out, '}');
    }
}

static void add_token_keys(const struct control *control, struct text *out)
{
    struct token_keys_status status;
    for (size_t idx = 0, n = 0; token_keys_next(control->token_keys, &idx, &status); n++) {
        add_comma(out, n);
        text_add(out, STR("{\"uri\":"));
        text_add_json_string(out, status.uri);
        add_bool(out, "has_keys", status.has_keys);
        add_time(out, "fetched_at", status.fetched_ns);
        add_string(out, "last_error", status.last_error);
        text_addc(out, '}');
    }
}

static void add_nodes(const struct control *control, struct text *out)
{
    struct str name, id;
    void *value;
    char buf[ADDR_TEXT_MAX];
    size_t n = 0;
    for (size_t idx = 0; map_next(&control->registry->nodes, &idx, &name, &value);) {
        struct arena arena = {0};
        id = spiffe_for_node(&arena, control->config->trust_domain, name);
        const struct node_row *row = map_find(&control->nodes, id);
        add_comma(out, n++);
        text_add(out, STR("{\"name\":"));
        text_add_json_string(out, name);
        add_bool(out, "connected", row != NULL);
        if (row) {
            add_string(out, "remote", str_from(addr_text(&row->remote, buf)));
            add_time(out, "since", row->since_ns);
            add_count(out, "nacks", row->n_nacks);
        }
        text_addc(out, '}');
        arena_fini(&arena);
    }
}

static void add_condition(struct text *out, const char *type, bool is_true, const char *reason,
                          struct str message)
{
    text_addf(out, "{\"type\":\"%s\",\"status\":\"%s\",\"reason\":\"%s\"", type,
              is_true ? "True" : "False", reason);
    if (!str_is_empty(message))
        add_string(out, "message", message);
    text_addc(out, '}');
}

static void add_conflicts(struct text *out, unsigned conflicts)
{
    struct text reasons = {0};
    conflict_reasons(conflicts, &reasons);
    add_condition(out, "Conflict", conflicts != 0, reasons.ptr, (struct str){0});
    text_fini(&reasons);
}

static void add_export(const struct registry_export *row, size_t idx, struct text *out)
{
    add_comma(out, idx);
    text_add(out, STR("{\"namespace\":"));
    text_add_json_string(out, row->namespace_);
    add_string(out, "name", row->name);
    text_add(out, STR(",\"conditions\":["));
    add_condition(out, "Valid", row->validity == EXPORT_VALID,
                  export_validity_reason(row->validity), (struct str){0});
    if (row->validity == EXPORT_VALID) {
        text_addc(out, ',');
        add_conflicts(out, row->conflicts);
    }
    text_add(out, STR("]}"));
}

void control_status_json(const struct control *control, struct text *out)
{
    text_add(out, STR("{\"cluster\":"));
    text_add_json_string(out, control->config->cluster);
    add_string(out, "trust_domain", control->config->trust_domain);
    add_string(out, "network", control->config->network);
    add_manifests(control, out);
    text_add(out, STR(",\"peers\":["));
    for (size_t i = 0; i < control->n_peers; i++)
        add_peer(control, i, out);
    text_add(out, STR("],\"trust_bundles\":["));
    add_trust_bundles(control, out);
    text_add(out, STR("],\"token_keys\":["));
    add_token_keys(control, out);
    text_add(out, STR("],\"nodes\":["));
    add_nodes(control, out);
    text_add(out, STR("],\"exports\":["));
    for (size_t i = 0; i < control->registry->n_exports; i++)
        add_export(&control->registry->exports[i], i, out);
    text_add(out, STR("]"));
    add_count(out, "resources_for_nodes", resource_set_count(control->nodes_set));
    add_count(out, "resources_for_peers", resource_set_count(control->peers_set));
    text_add(out, STR("}\n"));
}

/* ---- services ---- */

static void add_port(const struct model_port *port, size_t idx, struct text *out)
{
    add_comma(out, idx);
    text_addf(out, "{\"port\":%u,\"protocol\":\"%s\",\"name\":", port->service_port,
              port->is_udp ? "UDP" : "TCP");
    text_add_json_string(out, port->name);
    text_addc(out, '}');
}

static void add_service(const struct model_service *service, size_t idx, struct text *out)
{
    add_comma(out, idx);
    text_add(out, STR("{\"host\":"));
    text_add_json_string(out, service->hostname);
    add_bool(out, "headless", service->is_headless);
    text_add(out, STR(",\"vips\":["));
    for (size_t i = 0; i < service->n_addresses; i++)
        add_ip(out, i, &service->addresses[i]);
    text_add(out, STR("],\"ports\":["));
    for (size_t i = 0; i < service->n_ports; i++)
        add_port(&service->ports[i], i, out);
    text_addc(out, ']');
}

static void add_import(const struct registry_import *import, size_t idx, struct text *out)
{
    add_service(&import->service, idx, out);
    text_add(out, STR(",\"clusters\":["));
    for (size_t i = 0; i < import->n_clusters; i++) {
        add_comma(out, i);
        text_add_json_string(out, import->clusters[i]);
    }
    text_add(out, STR("],\"conditions\":["));
    const bool is_ready = str_is_empty(import->problem);
    add_condition(out, "Ready", is_ready, is_ready ? "Ready" : "Pending", import->problem);
    text_addc(out, ',');
    add_conflicts(out, import->conflicts);
    text_add(out, STR("]}"));
}

void control_services_json(const struct control *control, struct text *out)
{
    const struct registry *registry = control->registry;
    size_t n = 0;
    text_add(out, STR("{\"services\":["));
    for (; n < registry->n_imports; n++)
        add_import(&registry->imports[n], n, out);
    for (size_t i = 0; i < registry->n_own; i++) {
        if (registry->own[i].kind != MODEL_SERVICE)
            continue;
        add_service(registry->own[i].of.service, n++, out);
        text_add(out, STR(",\"clusters\":["));
        text_add_json_string(out, control->config->cluster);
        text_add(out, STR("],\"conditions\":[]}"));
    }
    text_add(out, STR("]}\n"));
}

/* ---- endpoints ---- */

static void add_endpoint(const struct model_workload *workload,
                         const struct model_membership *membership, const struct model_port *port,
                         const struct ip *ip, size_t idx, struct text *out)
{
    struct str namespace_, host;
    char buf[IP_TEXT_MAX];
    if (!str_split(membership->service, '/', &namespace_, &host))
        host = membership->service;
    add_comma(out, idx);
    text_add(out, STR("{\"service\":"));
    text_add_json_string(out, host);
    add_string(out, "cluster", workload->cluster);
    add_string(out, "workload", workload->uid);
    add_string(out, "address", str_from(ip_text(ip, buf)));
    text_addf(out, ",\"port\":%u,\"service_port\":%u", port->target_port, port->service_port);
    add_bool(out, "ready", workload->is_healthy && !membership->not_ready);
    text_addc(out, '}');
}

struct listing { /* of the endpoints of a page */
    const struct control_page *page;
    size_t n_met, n_written;
    struct text *out;
};

static bool is_on_page(struct listing *listing)
{
    const struct control_page *page = listing->page;
    const size_t idx = listing->n_met++;
    return idx >= page->offset && idx - page->offset < page->limit;
}

static void list_endpoints(struct listing *listing, const struct model_workload *workload)
{
    for (size_t i = 0; i < workload->n_services; i++) {
        const struct model_membership *membership = &workload->services[i];
        if (!str_contains(membership->service, listing->page->host))
            continue;
        for (size_t j = 0; j < membership->n_ports; j++)
            for (size_t k = 0; k < workload->n_addresses; k++)
                if (is_on_page(listing))
                    add_endpoint(workload, membership, &membership->ports[j],
                                 &workload->addresses[k], listing->n_written++, listing->out);
    }
}

void control_endpoints_json(const struct control *control, const struct control_page *page,
                            struct text *out)
{
    const struct registry *registry = control->registry;
    struct listing listing = {.page = page, .out = out};
    text_add(out, STR("{\"endpoints\":["));
    for (size_t i = 0; i < registry->n_for_nodes; i++)
        if (registry->for_nodes[i]->kind == MODEL_WORKLOAD)
            list_endpoints(&listing, registry->for_nodes[i]->of.workload);
    text_addf(out, "],\"total\":%zu,\"offset\":%zu}\n", listing.n_met, page->offset);
}
