/* Service, EndpointSlice. */
#include <string.h>

#include "config/k8s.h"
#include "config/names.h"

#define ENDPOINTS_MAX   1000 /* of one slice, as Kubernetes bounds it */
#define ADDRESSES_MAX   100  /* of one endpoint, the same */
#define SLICE_PORTS_MAX 100

/* A number, or the name of a container port; the service's own port when absent. */
static void read_target(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                        struct k8s_service_port *port)
{
    port->target_port = port->port;
    if (!node)
        return;
    if (node->kind != YAML_TEXT || !node->quoted) {
        uint64_t number;
        port->target_port = 0;
        if (node->kind != YAML_TEXT || str_to_u64(node->text, UINT64_MAX, &number)) {
            port->target_port = k8s_port(reader, node, node, what);
            return;
        }
    }
    port->target_port = 0;
    port->target_name = k8s_name(reader, node, what, name_is_port,
                                 "a port (1 to 65535) or a port's name (RFC 6335)");
}

/* Of one of SCTP the name alone, which no other may have: its number stays 0. */
static void read_port(const struct k8s_reader *reader, const struct yaml *item, size_t idx,
                      struct k8s_service_port *port)
{
    char buf[WHAT_MAX];
    if (!k8s_item(reader, item, what_at(buf, "spec.ports[%zu]", idx)))
        return;
    port->name = k8s_name(reader, yaml_get(item, "name"), what_at(buf, "spec.ports[%zu].name", idx),
                          name_is_label, "a port's name (RFC 1123 label)");
    if (k8s_is_sctp(reader, yaml_get(item, "protocol"),
                    what_at(buf, "spec.ports[%zu].protocol", idx)))
        return;
    port->port =
        k8s_port(reader, yaml_get(item, "port"), item, what_at(buf, "spec.ports[%zu].port", idx));
    port->is_udp = k8s_is_udp(reader, yaml_get(item, "protocol"),
                              what_at(buf, "spec.ports[%zu].protocol", idx));
    port->app_protocol = k8s_text(reader, yaml_get(item, "appProtocol"),
                                  what_at(buf, "spec.ports[%zu].appProtocol", idx));
    read_target(reader, yaml_get(item, "targetPort"),
                what_at(buf, "spec.ports[%zu].targetPort", idx), port);
}

/* At most MODEL_PORTS_MAX ports, so all pairs are few. */
static void check_ports(const struct k8s_reader *reader, const struct yaml *list,
                        const struct k8s_service_port *ports, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (n > 1 && str_is_empty(ports[i].name))
            diag_error(reader->diag, list->items[i]->place,
                       "spec.ports[%zu].name: is required when there are several ports", i);
        for (size_t j = 0; j < i; j++) {
            if (!str_is_empty(ports[i].name) && str_eq(ports[i].name, ports[j].name))
                diag_error(reader->diag, list->items[i]->place,
                           "spec.ports[%zu].name: \"%.*s\" is the name of spec.ports[%zu] already",
                           i, STR_ARG(ports[i].name), j);
            if (ports[i].port != 0 && ports[i].port == ports[j].port &&
                ports[i].is_udp == ports[j].is_udp)
                diag_error(reader->diag, list->items[i]->place,
                           "spec.ports[%zu].port: %u is the port of spec.ports[%zu] already", i,
                           ports[i].port, j);
        }
    }
}

struct k8s_service_port *k8s_service_ports(const struct k8s_reader *reader, const struct yaml *node,
                                           size_t *out_n)
{
    size_t n = k8s_list(reader, node, "spec.ports", MODEL_PORTS_MAX);
    struct k8s_service_port *ports = arena_new_array(reader->arena, struct k8s_service_port, n);
    for (size_t i = 0; i < n; i++)
        read_port(reader, node->items[i], i, &ports[i]);
    check_ports(reader, node, ports, n);
    *out_n = 0;
    for (size_t i = 0; i < n; i++)
        if (ports[i].port != 0)
            ports[(*out_n)++] = ports[i];
    return ports;
}

static void add_cluster_ip(const struct k8s_reader *reader, const struct yaml *node,
                           const char *what, struct k8s_service *service)
{
    struct ip ip;
    if (node && node->kind == YAML_TEXT && str_eq(node->text, STR("None"))) {
        service->type = SERVICE_HEADLESS;
        return;
    }
    if (node && node->kind == YAML_TEXT && str_is_empty(node->text))
        return;
    if (!k8s_ip(reader, node, what, &ip))
        return;
    for (size_t i = 0; i < service->n_addresses; i++)
        if (ip_eq(&service->addresses[i], &ip))
            return;
    if (service->n_addresses < MODEL_ADDRESSES_MAX)
        service->addresses[service->n_addresses++] = ip;
}

static void read_cluster_ips(const struct k8s_reader *reader, const struct yaml *spec,
                             struct k8s_service *service)
{
    char buf[WHAT_MAX];
    const struct yaml *list = yaml_get(spec, "clusterIPs");
    size_t n = k8s_list(reader, list, "spec.clusterIPs", 2);
    add_cluster_ip(reader, yaml_get(spec, "clusterIP"), "spec.clusterIP", service);
    for (size_t i = 0; i < n; i++)
        add_cluster_ip(reader, list->items[i], what_at(buf, "spec.clusterIPs[%zu]", i), service);
}

static void read_type(const struct k8s_reader *reader, const struct yaml *spec,
                      struct k8s_service *service)
{
    const struct yaml *node = yaml_get(spec, "type");
    struct str type = yaml_text(node, "spec.type", STR("ClusterIP"), reader->diag);
    if (str_eq(type, STR("ExternalName"))) {
        service->type = SERVICE_EXTERNAL_NAME;
        return;
    }
    if (!str_eq(type, STR("ClusterIP")) && !str_eq(type, STR("NodePort")) &&
        !str_eq(type, STR("LoadBalancer")))
        diag_error(reader->diag, node->place,
                   "spec.type: \"%.*s\" is not one of ClusterIP, NodePort, LoadBalancer, "
                   "ExternalName",
                   STR_ARG(str_sub(type, 0, 40)));
    service->type = SERVICE_CLUSTER_IP;
    read_cluster_ips(reader, spec, service);
}

/* Where Kubernetes itself says that traffic should stay. */
static void read_traffic_words(const struct k8s_reader *reader, const struct yaml *spec,
                               struct k8s_service *service)
{
    const struct object *meta = &service->meta;
    k8s_service_words(reader, spec, &service->words);
    const struct str mode =
        label_find(meta->annotations, meta->n_annotations, "service.kubernetes.io/topology-mode");
    service->is_topology_aware = str_eq_ci(mode, STR("Auto"));
}

void k8s_read_service(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta)
{
    struct k8s_service *service = vec_add(&reader->objects[K8S_SERVICE]);
    const struct yaml *spec = yaml_get(doc, "spec");
    service->meta = *meta;
    if (!yaml_is_mapping(spec, "spec", reader->diag)) {
        if (!spec)
            diag_error(reader->diag, doc->place, "Service %.*s: spec: is required",
                       STR_ARG(meta->name));
        return;
    }
    read_type(reader, spec, service);
    read_traffic_words(reader, spec, service);
    const struct yaml *ports = yaml_get(spec, "ports");
    service->ports = k8s_service_ports(reader, ports, &service->n_ports);
    if (service->type == SERVICE_CLUSTER_IP &&
        (!ports || (ports->kind == YAML_SEQUENCE && ports->len == 0)))
        diag_error(reader->diag, ports ? ports->place : spec->place,
                   "Service %.*s: spec.ports: a Service needs at least one port unless it is "
                   "headless or an ExternalName",
                   STR_ARG(meta->name));
    service->selector =
        k8s_labels(reader, yaml_get(spec, "selector"), "spec.selector", &service->n_selector);
    service->publish_not_ready = yaml_bool(yaml_get(spec, "publishNotReadyAddresses"),
                                           "spec.publishNotReadyAddresses", false, reader->diag);
}

/* Kubernetes has slices of host names, too: nobody who could be in the mesh stands behind them. */
static bool is_of_names(const struct k8s_reader *reader, const struct yaml *node)
{
    if (!node || node->kind != YAML_TEXT || !str_eq(node->text, STR("FQDN")))
        return false;
    diag_warn(reader->diag, node->place,
              "addressType: FQDN is passed over with its endpoints: only IPv4 and IPv6 are read");
    return true;
}

/* 4 or 16; 0 with an error. */
static uint8_t read_address_type(const struct k8s_reader *reader, const struct yaml *doc)
{
    const struct yaml *node = yaml_get(doc, "addressType");
    struct str type = yaml_text(node, "addressType", (struct str){0}, reader->diag);
    if (!node)
        diag_error(reader->diag, doc->place, "addressType: is required (IPv4 or IPv6)");
    else if (str_eq(type, STR("IPv4")))
        return 4;
    else if (str_eq(type, STR("IPv6")))
        return 16;
    else if (node->kind == YAML_TEXT)
        diag_error(reader->diag, node->place, "addressType: \"%.*s\" is not IPv4 or IPv6",
                   STR_ARG(str_sub(type, 0, 40)));
    return 0;
}

static void read_endpoint_addresses(const struct k8s_reader *reader, const struct yaml *item,
                                    size_t idx, uint8_t ip_len, struct k8s_endpoint *endpoint)
{
    char buf[WHAT_MAX];
    struct ip ip;
    const struct yaml *list = yaml_get(item, "addresses");
    size_t n = k8s_list(reader, list, what_at(buf, "endpoints[%zu].addresses", idx), ADDRESSES_MAX);
    if (!list || (list->kind == YAML_SEQUENCE && list->len == 0))
        diag_error(reader->diag, item->place, "endpoints[%zu].addresses: is required", idx);
    for (size_t i = 0; i < n; i++) {
        if (!k8s_ip(reader, list->items[i], what_at(buf, "endpoints[%zu].addresses[%zu]", idx, i),
                    &ip))
            continue;
        if (ip_len != 0 && ip.len != ip_len)
            diag_error(reader->diag, list->items[i]->place,
                       "%s: \"%.*s\" is not an IPv%c address, as addressType says", buf,
                       STR_ARG(list->items[i]->text), ip_len == 4 ? '4' : '6');
        /* Kubernetes: all of them are the same endpoint, and consumers may choose to use the first
         * ones only. */
        else if (endpoint->n_addresses < MODEL_ADDRESSES_MAX)
            endpoint->addresses[endpoint->n_addresses++] = ip;
    }
}

static void read_conditions(const struct k8s_reader *reader, const struct yaml *item, size_t idx,
                            struct k8s_endpoint *endpoint)
{
    char buf[WHAT_MAX];
    const struct yaml *conditions = yaml_get(item, "conditions");
    (void)yaml_is_mapping(conditions, what_at(buf, "endpoints[%zu].conditions", idx), reader->diag);
    /* Absent means unknown, which the API tells consumers to read as ready. */
    endpoint->is_ready =
        yaml_bool(yaml_get(conditions, "ready"),
                  what_at(buf, "endpoints[%zu].conditions.ready", idx), true, reader->diag);
    endpoint->is_serving = yaml_bool(yaml_get(conditions, "serving"),
                                     what_at(buf, "endpoints[%zu].conditions.serving", idx),
                                     endpoint->is_ready, reader->diag);
    endpoint->is_terminating =
        yaml_bool(yaml_get(conditions, "terminating"),
                  what_at(buf, "endpoints[%zu].conditions.terminating", idx), false, reader->diag);
}

static void read_endpoint(const struct k8s_reader *reader, const struct yaml *item, size_t idx,
                          uint8_t ip_len, struct k8s_endpoint *endpoint)
{
    char buf[WHAT_MAX];
    endpoint->place = k8s_place(reader, item);
    if (!k8s_item(reader, item, what_at(buf, "endpoints[%zu]", idx)))
        return;
    read_endpoint_addresses(reader, item, idx, ip_len, endpoint);
    read_conditions(reader, item, idx, endpoint);
    endpoint->hostname =
        k8s_name(reader, yaml_get(item, "hostname"), what_at(buf, "endpoints[%zu].hostname", idx),
                 name_is_label, "a host name (RFC 1123 label)");
    endpoint->node =
        k8s_name(reader, yaml_get(item, "nodeName"), what_at(buf, "endpoints[%zu].nodeName", idx),
                 name_is_subdomain, "a node's name (RFC 1123)");
    endpoint->zone =
        k8s_text(reader, yaml_get(item, "zone"), what_at(buf, "endpoints[%zu].zone", idx));
    const struct yaml *target = yaml_get(item, "targetRef");
    struct str kind =
        yaml_text(yaml_get(target, "kind"), what_at(buf, "endpoints[%zu].targetRef.kind", idx),
                  (struct str){0}, reader->diag);
    if (str_eq(kind, STR("Pod")))
        endpoint->target_pod = k8s_text(reader, yaml_get(target, "name"),
                                        what_at(buf, "endpoints[%zu].targetRef.name", idx));
}

static void read_slice_ports(const struct k8s_reader *reader, const struct yaml *doc,
                             struct k8s_endpoint_slice *slice)
{
    char buf[WHAT_MAX];
    const struct yaml *list = yaml_get(doc, "ports");
    size_t n = k8s_list(reader, list, "ports", SLICE_PORTS_MAX);
    slice->ports = arena_alloc_array(reader->arena, n, sizeof(*slice->ports));
    for (size_t i = 0; i < n; i++) {
        const struct yaml *item = list->items[i];
        if (!k8s_item(reader, item, what_at(buf, "ports[%zu]", i)) ||
            k8s_is_sctp(reader, yaml_get(item, "protocol"), what_at(buf, "ports[%zu].protocol", i)))
            continue;
        const bool is_udp = k8s_is_udp(reader, yaml_get(item, "protocol"), buf);
        slice->ports[slice->n_ports].is_udp = is_udp;
        slice->ports[slice->n_ports].name =
            k8s_name(reader, yaml_get(item, "name"), what_at(buf, "ports[%zu].name", i),
                     name_is_label, "a port's name (RFC 1123 label)");
        slice->ports[slice->n_ports++].port =
            k8s_port(reader, yaml_get(item, "port"), item, what_at(buf, "ports[%zu].port", i));
    }
}

/* Two endpoints with one address would be one that is counted twice. */
static void check_addresses(const struct k8s_reader *reader, const struct yaml *list,
                            const struct k8s_endpoint_slice *slice)
{
    struct map seen = {0};
    char buf[IP_TEXT_MAX];
    for (size_t i = 0; i < slice->n_endpoints; i++) {
        const struct k8s_endpoint *endpoint = &slice->endpoints[i];
        for (size_t j = 0; j < endpoint->n_addresses; j++) {
            const struct k8s_endpoint *other =
                map_put(&seen, ip_key(&endpoint->addresses[j]), (void *)(uintptr_t)endpoint);
            if (other && other != endpoint)
                diag_error(reader->diag, list->items[i]->place,
                           "endpoints[%zu].addresses: %s is an address of endpoints[%zu] already",
                           i, ip_text(&endpoint->addresses[j], buf),
                           (size_t)(other - slice->endpoints));
        }
    }
    map_fini(&seen);
}

void k8s_read_slice(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta)
{
    struct k8s_endpoint_slice *slice = vec_add(&reader->objects[K8S_ENDPOINT_SLICE]);
    const struct yaml *list = yaml_get(doc, "endpoints");
    slice->meta = *meta;
    slice->service = label_find(meta->labels, meta->n_labels, "kubernetes.io/service-name");
    if (is_of_names(reader, yaml_get(doc, "addressType")))
        return;
    uint8_t ip_len = read_address_type(reader, doc);
    size_t n = k8s_list(reader, list, "endpoints", ENDPOINTS_MAX);
    slice->endpoints = arena_new_array(reader->arena, struct k8s_endpoint, n);
    slice->n_endpoints = n;
    for (size_t i = 0; i < n; i++)
        read_endpoint(reader, list->items[i], i, ip_len, &slice->endpoints[i]);
    check_addresses(reader, list, slice);
    read_slice_ports(reader, doc, slice);
}

enum app_protocol k8s_app_protocol(const struct k8s_service_port *port)
{
    static const struct {
        const char *word;
        enum app_protocol protocol;
    } words[] = {
        {"http", APP_HTTP11},
        {"http2", APP_HTTP2},
        {"grpc", APP_GRPC},
        {"grpc-web", APP_HTTP11},
        {"kubernetes.io/ws", APP_HTTP11},
        {"kubernetes.io/h2c", APP_HTTP2},
        {"tcp", APP_TCP},
        {"mongo", APP_TCP},
        {"mysql", APP_TCP},
        {"redis", APP_TCP},
        {"tls", APP_TLS},
        {"https", APP_TLS},
        {"kubernetes.io/wss", APP_TLS},
    };
    struct str word = port->app_protocol, head, tail;
    if (str_is_empty(word)) {
        word = port->name;
        if (str_eq_ci(str_sub(word, 0, 9), STR("grpc-web-")))
            word = str_sub(word, 0, 8);
        else if (!str_eq_ci(word, STR("grpc-web")) && str_split(word, '-', &head, &tail))
            word = head;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq_ci(word, str_from(words[i].word)))
            return words[i].protocol;
    return APP_UNKNOWN;
}
