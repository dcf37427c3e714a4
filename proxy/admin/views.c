/*
 * Pages are whole JSON however large the mesh is: near the bound of a page the rest is left out and
 * "truncated" says so.
 */
#include "proxy/admin/views.h"

#include <stdlib.h>

#include "certs/crl.h"
#include "proxy/admin/json_out.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"

static void end_page(struct text *out, bool is_whole)
{
    text_addc(out, ']');
    if (!is_whole)
        json_out_bool(out, "truncated", true);
    text_add(out, STR("}\n"));
}

/* ---- services ---- */

static int compare_services(const void *a, const void *b)
{
    const struct service *x = *(const struct service *const *)a;
    const struct service *y = *(const struct service *const *)b;
    const int order = str_cmp(x->hostname, y->hostname);
    return order != 0 ? order : str_cmp(x->key, y->key);
}

const struct service **view_select(const struct snapshot *snapshot, struct str part,
                                   size_t *out_len)
{
    const struct service **found;
    struct str key;
    void *value;
    size_t len = 0;
    *out_len = 0;
    if (snapshot->services.len == 0)
        return NULL;
    found = mem_new_array(const struct service *, snapshot->services.len);
    for (size_t idx = 0; map_next(&snapshot->services, &idx, &key, &value);) {
        const struct service *service = value;
        if (str_contains(service->hostname, part))
            found[len++] = service;
    }
    if (len > 1)
        qsort(found, len, sizeof(const struct service *), compare_services);
    *out_len = len;
    return found;
}

static bool has_v4(const struct workload *workload)
{
    for (size_t i = 0; i < workload->n_addresses; i++) {
        if (workload->addresses[i].len == 4)
            return true;
    }
    return false;
}

/* Endpoints of both families, each workload once: one with both addresses is in both sets. */
static size_t count_endpoints(const struct snapshot *snapshot, const struct service_port *port,
                              size_t *out_ready)
{
    const struct endpoint_set *v4 = snapshot_set(snapshot, port, false);
    const struct endpoint_set *v6 = snapshot_set(snapshot, port, true);
    size_t len = v4->len, ready = 0;
    for (size_t i = 0; i < v4->len; i++)
        ready += v4->endpoints[i].is_ready;
    for (size_t i = 0; i < v6->len; i++) {
        const struct endpoint *endpoint = &v6->endpoints[i];
        if (has_v4(endpoint->workload))
            continue;
        len++;
        ready += endpoint->is_ready;
    }
    *out_ready = ready;
    return len;
}

static void add_ports(struct text *out, const struct snapshot *snapshot,
                      const struct service *service)
{
    json_out_key(out, "ports");
    text_addc(out, '[');
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct service_port *port = &service->ports[i];
        size_t ready;
        const size_t endpoints = count_endpoints(snapshot, port, &ready);
        json_out_comma(out);
        text_addc(out, '{');
        json_out_str(out, "name", port->name);
        json_out_size(out, "port", port->port);
        json_out_size(out, "target_port", port->target_port);
        json_out_str(out, "protocol", port->is_udp ? STR("UDP") : STR("TCP"));
        json_out_size(out, "endpoints", endpoints);
        json_out_size(out, "ready", ready);
        text_addc(out, '}');
    }
    text_addc(out, ']');
}

static void add_vips(struct text *out, const struct service *service)
{
    char buf[IP_TEXT_MAX];
    json_out_key(out, "vips");
    text_addc(out, '[');
    for (size_t i = 0; i < service->n_addresses; i++) {
        json_out_comma(out);
        text_addf(out, "\"%s\"", ip_text(&service->addresses[i], buf));
    }
    text_addc(out, ']');
}

static void gather_clusters(struct map *clusters, const struct endpoint_set *set)
{
    for (size_t i = 0; i < set->len; i++) {
        const struct workload *workload = set->endpoints[i].workload;
        (void)map_put(clusters, workload->cluster, clusters); /* a set: the value says nothing */
    }
}

static int compare_strs(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The clusters that have endpoints of it. */
static void add_clusters(struct text *out, const struct snapshot *snapshot,
                         const struct service *service)
{
    struct map clusters = {0};
    struct str key;
    void *value;
    size_t len = 0;
    for (size_t i = 0; i < service->n_ports; i++) {
        gather_clusters(&clusters, snapshot_set(snapshot, &service->ports[i], false));
        gather_clusters(&clusters, snapshot_set(snapshot, &service->ports[i], true));
    }
    struct str *names = mem_new_array(struct str, clusters.len + 1);
    for (size_t idx = 0; map_next(&clusters, &idx, &key, &value);)
        names[len++] = key;
    qsort(names, len, sizeof(*names), compare_strs);
    json_out_key(out, "clusters");
    text_addc(out, '[');
    for (size_t i = 0; i < len; i++) {
        json_out_comma(out);
        text_add_json_string(out, names[i]);
    }
    text_addc(out, ']');
    mem_free(names);
    map_fini(&clusters);
}

static void add_service(struct text *out, const struct snapshot *snapshot,
                        const struct service *service)
{
    json_out_comma(out);
    text_addc(out, '{');
    json_out_str(out, "host", service->hostname);
    json_out_str(out, "namespace", service->namespace_);
    json_out_str(out, "scope",
                 service->scope == SERVICE_CLUSTERSET ? STR("clusterset") : STR("cluster"));
    add_vips(out, service);
    json_out_bool(out, "headless", service->is_headless);
    add_ports(out, snapshot, service);
    add_clusters(out, snapshot, service);
    text_addc(out, '}');
}

void view_services(const struct snapshot *snapshot, struct str host, struct text *out)
{
    size_t len, i = 0;
    const struct service **services = view_select(snapshot, host, &len);
    text_add(out, STR("{\"services\":["));
    for (; i < len && out->len < JSON_OUT_MAX; i++) {
        (void)pace();
        add_service(out, snapshot, services[i]);
    }
    end_page(out, i == len);
    mem_free(services);
}

/* ---- certificates ---- */

static int compare_certificates(const void *a, const void *b)
{
    const struct rotation_status *x = a, *y = b;
    return str_cmp(x->id, y->id);
}

static size_t count_certificates(const struct rotation *const *rotations, size_t n_rotations)
{
    struct rotation_status status;
    size_t len = 0;
    for (size_t i = 0; i < n_rotations; i++)
        for (size_t idx = 0; rotation_next(rotations[i], &idx, &status);)
            len++;
    return len;
}

static void add_certificate(struct text *out, const struct rotation_status *status)
{
    json_out_comma(out);
    text_addc(out, '{');
    json_out_str(out, "identity", svid_key_id(status->id));
    json_out_str(out, "workload", svid_key_workload(status->id));
    json_out_str(out, "source", str_from(status->source));
    json_out_str(out, "state", str_from(status->state));
    json_out_str(out, "serial", status->serial);
    json_out_time(out, "not_before", status->not_before_ns);
    json_out_time(out, "not_after", status->not_after_ns);
    json_out_str(out, "error", status->last_error);
    text_addc(out, '}');
}

static void add_certificates(struct text *out, const struct rotation *const *rotations,
                             size_t n_rotations)
{
    size_t len = count_certificates(rotations, n_rotations), n = 0;
    struct rotation_status *held = mem_new_array(struct rotation_status, len + 1);
    for (size_t i = 0; i < n_rotations; i++)
        for (size_t idx = 0; n < len && rotation_next(rotations[i], &idx, &held[n]);)
            n++;
    qsort(held, len, sizeof(*held), compare_certificates);
    json_out_key(out, "certificates");
    text_addc(out, '[');
    for (size_t i = 0; i < len; i++) {
        (void)pace();
        add_certificate(out, &held[i]);
    }
    text_addc(out, ']');
    mem_free(held);
}

static int compare_bundles(const void *a, const void *b)
{
    const struct bundle *x = *(const struct bundle *const *)a;
    const struct bundle *y = *(const struct bundle *const *)b;
    return str_cmp(x->trust_domain, y->trust_domain);
}

static void add_bundle(struct text *out, const struct bundle *bundle,
                       const struct revocations *revocations)
{
    const int64_t due_ns = revocations ? crl_next_update_ns(revocations->crls) : INT64_MAX;
    json_out_comma(out);
    text_addc(out, '{');
    json_out_str(out, "trust_domain", bundle->trust_domain);
    json_out_size(out, "roots", bundle_n_roots(bundle));
    json_out_time(out, "not_after", bundle->not_after_ns);
    json_out_size(out, "crls", revocations ? crl_count(revocations->crls) : 0);
    json_out_time(out, "crl_next_update", due_ns == INT64_MAX ? 0 : due_ns);
    text_addc(out, '}');
}

static void add_bundles(struct text *out, const struct trust *trust)
{
    struct str key;
    void *value;
    size_t len = 0;
    const struct bundle **bundles = mem_new_array(const struct bundle *, trust->bundles.len + 1);
    for (size_t idx = 0; map_next(&trust->bundles, &idx, &key, &value);)
        bundles[len++] = value;
    qsort(bundles, len, sizeof(const struct bundle *), compare_bundles);
    json_out_key(out, "bundles");
    text_addc(out, '[');
    for (size_t i = 0; i < len; i++)
        add_bundle(out, bundles[i], trust_find_crls(trust, bundles[i]->trust_domain));
    text_addc(out, ']');
    mem_free(bundles);
}

void view_certificates(const struct rotation *const *rotations, size_t n_rotations,
                       const struct trust *trust, struct text *out)
{
    text_addc(out, '{');
    add_certificates(out, rotations, n_rotations);
    add_bundles(out, trust);
    text_add(out, STR("}\n"));
}
