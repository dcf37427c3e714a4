/*
 * Pages are whole JSON however large the mesh is: near the bound of a page the rest is left out and
 * "truncated" says so.
 */
#include "proxy/admin/views.h"

#include <stdlib.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"

#define VIEW_BYTES_MAX                                                                             \
    ((size_t)48 << 20) /* below the bound of a text, with room for the last entry */

/* ---- JSON ---- */

/* The comma between this member and the one before it, if there is one. */
static void add_comma(struct text *out)
{
    if (out->len > 0 && out->ptr[out->len - 1] != '{' && out->ptr[out->len - 1] != '[')
        text_addc(out, ',');
}

static void add_key(struct text *out, const char *key)
{
    add_comma(out);
    text_addf(out, "\"%s\":", key);
}

static void add_str(struct text *out, const char *key, struct str value)
{
    add_key(out, key);
    text_add_json_string(out, value);
}

static void add_size(struct text *out, const char *key, size_t value)
{
    add_key(out, key);
    text_addf(out, "%zu", value);
}

static void add_bool(struct text *out, const char *key, bool value)
{
    add_key(out, key);
    text_add(out, value ? STR("true") : STR("false"));
}

static void add_time(struct text *out, const char *key, int64_t wall_ns)
{
    char buf[CLOCK_TEXT_MAX];
    add_key(out, key);
    if (wall_ns == 0)
        text_add(out, STR("null"));
    else
        text_addf(out, "\"%s\"", clock_text(wall_ns, buf));
}

static void end_page(struct text *out, bool is_whole)
{
    text_addc(out, ']');
    if (!is_whole)
        add_bool(out, "truncated", true);
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

/* The services whose host contains the part, sorted; NULL when there are none. The caller frees the
 * array. */
static const struct service **select_services(const struct snapshot *snapshot, struct str part,
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
static size_t count_endpoints(const struct service_port *port, size_t *out_ready)
{
    size_t len = port->v4.len, ready = 0;
    for (size_t i = 0; i < port->v4.len; i++)
        ready += port->v4.endpoints[i].is_ready;
    for (size_t i = 0; i < port->v6.len; i++) {
        const struct endpoint *endpoint = &port->v6.endpoints[i];
        if (has_v4(endpoint->workload))
            continue;
        len++;
        ready += endpoint->is_ready;
    }
    *out_ready = ready;
    return len;
}

static void add_ports(struct text *out, const struct service *service)
{
    add_key(out, "ports");
    text_addc(out, '[');
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct service_port *port = &service->ports[i];
        size_t ready;
        const size_t endpoints = count_endpoints(port, &ready);
        add_comma(out);
        text_addc(out, '{');
        add_str(out, "name", port->name);
        add_size(out, "port", port->port);
        add_size(out, "target_port", port->target_port);
        add_str(out, "protocol", port->is_udp ? STR("UDP") : STR("TCP"));
        add_size(out, "endpoints", endpoints);
        add_size(out, "ready", ready);
        text_addc(out, '}');
    }
    text_addc(out, ']');
}

static void add_vips(struct text *out, const struct service *service)
{
    char buf[IP_TEXT_MAX];
    add_key(out, "vips");
    text_addc(out, '[');
    for (size_t i = 0; i < service->n_addresses; i++) {
        add_comma(out);
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
static void add_clusters(struct text *out, const struct service *service)
{
    struct map clusters = {0};
    struct str key;
    void *value;
    size_t len = 0;
    for (size_t i = 0; i < service->n_ports; i++) {
        gather_clusters(&clusters, &service->ports[i].v4);
        gather_clusters(&clusters, &service->ports[i].v6);
    }
    struct str *names = mem_new_array(struct str, clusters.len + 1);
    for (size_t idx = 0; map_next(&clusters, &idx, &key, &value);)
        names[len++] = key;
    qsort(names, len, sizeof(*names), compare_strs);
    add_key(out, "clusters");
    text_addc(out, '[');
    for (size_t i = 0; i < len; i++) {
        add_comma(out);
        text_add_json_string(out, names[i]);
    }
    text_addc(out, ']');
    mem_free(names);
    map_fini(&clusters);
}

static void add_service(struct text *out, const struct service *service)
{
    add_comma(out);
    text_addc(out, '{');
    add_str(out, "host", service->hostname);
    add_str(out, "namespace", service->namespace_);
    add_str(out, "scope",
            service->scope == SERVICE_CLUSTERSET ? STR("clusterset") : STR("cluster"));
    add_vips(out, service);
    add_bool(out, "headless", service->is_headless);
    add_ports(out, service);
    add_clusters(out, service);
    text_addc(out, '}');
}

void view_services(const struct snapshot *snapshot, struct str host, struct text *out)
{
    size_t len, i = 0;
    const struct service **services = select_services(snapshot, host, &len);
    text_add(out, STR("{\"services\":["));
    for (; i < len && out->len < VIEW_BYTES_MAX; i++)
        add_service(out, services[i]);
    end_page(out, i == len);
    mem_free(services);
}

/* ---- endpoints ---- */

static void add_endpoint(struct text *out, const struct service *service, uint16_t port,
                         const struct endpoint *endpoint)
{
    char buf[ADDR_TEXT_MAX];
    const struct workload *workload = endpoint->workload;
    add_comma(out);
    text_addc(out, '{');
    add_str(out, "service", service->hostname);
    add_size(out, "port", port);
    add_str(out, "cluster", workload->cluster);
    add_str(out, "node", workload->node);
    add_str(out, "workload", workload->name);
    add_str(out, "namespace", workload->namespace_);
    add_str(out, "address", str_from(addr_text(&endpoint->addr, buf)));
    add_str(out, "level", str_from(level_kind_name(endpoint->distance)));
    add_bool(out, "ready", endpoint->is_ready);
    add_str(out, "identity", workload->identity);
    text_addc(out, '}');
}

/* False when the page is full. */
static bool add_endpoints(struct text *out, const struct service *service,
                          const struct service_port *port, const struct endpoint_set *set)
{
    for (size_t i = 0; i < set->len; i++) {
        if (out->len >= VIEW_BYTES_MAX)
            return false;
        add_endpoint(out, service, port->port, &set->endpoints[i]);
    }
    return true;
}

static bool add_service_endpoints(struct text *out, const struct service *service)
{
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct service_port *port = &service->ports[i];
        if (!add_endpoints(out, service, port, &port->v4) ||
            !add_endpoints(out, service, port, &port->v6))
            return false;
    }
    return true;
}

void view_endpoints(const struct snapshot *snapshot, struct str host, struct text *out)
{
    size_t len;
    bool is_whole = true;
    const struct service **services = select_services(snapshot, host, &len);
    text_add(out, STR("{\"endpoints\":["));
    for (size_t i = 0; i < len && is_whole; i++)
        is_whole = add_service_endpoints(out, services[i]);
    end_page(out, is_whole);
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
    add_comma(out);
    text_addc(out, '{');
    add_str(out, "identity", svid_key_id(status->id));
    add_str(out, "workload", svid_key_workload(status->id));
    add_str(out, "source", str_from(status->source));
    add_str(out, "state", str_from(status->state));
    add_str(out, "serial", status->serial);
    add_time(out, "not_before", status->not_before_ns);
    add_time(out, "not_after", status->not_after_ns);
    add_str(out, "error", status->last_error);
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
    add_key(out, "certificates");
    text_addc(out, '[');
    for (size_t i = 0; i < len; i++)
        add_certificate(out, &held[i]);
    text_addc(out, ']');
    mem_free(held);
}

static int compare_bundles(const void *a, const void *b)
{
    const struct bundle *x = *(const struct bundle *const *)a;
    const struct bundle *y = *(const struct bundle *const *)b;
    return str_cmp(x->trust_domain, y->trust_domain);
}

static void add_bundle(struct text *out, const struct bundle *bundle)
{
    add_comma(out);
    text_addc(out, '{');
    add_str(out, "trust_domain", bundle->trust_domain);
    add_size(out, "roots", bundle_n_roots(bundle));
    add_time(out, "not_after", bundle->not_after_ns);
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
    add_key(out, "bundles");
    text_addc(out, '[');
    for (size_t i = 0; i < len; i++)
        add_bundle(out, bundles[i]);
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
