/* Namespace, Node, Pod. */
#include "config/k8s.h"
#include "config/names.h"

#define CONTAINERS_MAX 1024
#define PORTS_MAX      1024

void k8s_read_namespace(struct k8s_reader *reader, const struct yaml *doc,
                        const struct object *meta)
{
    struct k8s_namespace *namespace_ = vec_add(&reader->objects[K8S_NAMESPACE]);
    (void)doc;
    namespace_->meta = *meta;
}

static struct str either_label(const struct object *meta, const char *key, const char *old_key)
{
    struct str value = label_find(meta->labels, meta->n_labels, key);
    return str_is_empty(value) ? label_find(meta->labels, meta->n_labels, old_key) : value;
}

void k8s_read_node(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta)
{
    struct k8s_node *node = vec_add(&reader->objects[K8S_NODE]);
    (void)doc;
    node->meta = *meta;
    node->region = either_label(meta, "topology.kubernetes.io/region",
                                "failure-domain.beta.kubernetes.io/region");
    node->zone =
        either_label(meta, "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
}

static void read_container_ports(const struct k8s_reader *reader, const struct yaml *container,
                                 size_t idx, struct k8s_pod *pod)
{
    char buf[WHAT_MAX];
    const struct yaml *ports = yaml_get(container, "ports");
    size_t n = k8s_list(reader, ports, what_at(buf, "spec.containers[%zu].ports", idx), PORTS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct yaml *item = ports->items[i];
        if (!k8s_item(reader, item, what_at(buf, "spec.containers[%zu].ports[%zu]", idx, i)))
            continue;
        struct str name =
            k8s_name(reader, yaml_get(item, "name"),
                     what_at(buf, "spec.containers[%zu].ports[%zu].name", idx, i), name_is_port,
                     "a port's name (RFC 6335: a-z, 0-9 and -, 15 letters at most)");
        (void)what_at(buf, "spec.containers[%zu].ports[%zu].containerPort", idx, i);
        uint16_t port = k8s_port(reader, yaml_get(item, "containerPort"), item, buf);
        (void)what_at(buf, "spec.containers[%zu].ports[%zu].protocol", idx, i);
        const struct yaml *protocol = yaml_get(item, "protocol");
        if (str_is_empty(name) || (protocol && str_eq(protocol->text, STR("SCTP"))))
            continue; /* only names are looked up; pods may well speak SCTP beside us */
        bool is_udp = k8s_is_udp(reader, protocol, buf);
        pod->ports[pod->n_ports].name = name;
        pod->ports[pod->n_ports].port = port;
        pod->ports[pod->n_ports++].is_udp = is_udp;
    }
}

static void read_containers(const struct k8s_reader *reader, const struct yaml *spec,
                            struct k8s_pod *pod)
{
    char buf[WHAT_MAX];
    size_t n_ports = 0;
    const struct yaml *containers = yaml_get(spec, "containers");
    size_t n = k8s_list(reader, containers, "spec.containers", CONTAINERS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct yaml *ports = yaml_get(containers->items[i], "ports");
        n_ports += ports ? ports->len : 0;
    }
    pod->ports = arena_alloc_array(reader->arena, n_ports, sizeof(*pod->ports));
    for (size_t i = 0; i < n; i++)
        if (k8s_item(reader, containers->items[i], what_at(buf, "spec.containers[%zu]", i)))
            read_container_ports(reader, containers->items[i], i, pod);
}

static void add_address(struct k8s_pod *pod, const struct ip *ip)
{
    for (size_t i = 0; i < pod->n_addresses; i++)
        if (ip_eq(&pod->addresses[i], ip))
            return;
    if (pod->n_addresses < MODEL_ADDRESSES_MAX)
        pod->addresses[pod->n_addresses++] = *ip;
}

static void read_addresses(const struct k8s_reader *reader, const struct yaml *status,
                           struct k8s_pod *pod)
{
    char buf[WHAT_MAX];
    struct ip ip;
    const struct yaml *list = yaml_get(status, "podIPs");
    size_t n = k8s_list(reader, list, "status.podIPs", MODEL_ADDRESSES_MAX);
    if (k8s_ip(reader, yaml_get(status, "podIP"), "status.podIP", &ip))
        add_address(pod, &ip);
    for (size_t i = 0; i < n; i++) {
        if (k8s_item(reader, list->items[i], what_at(buf, "status.podIPs[%zu]", i)) &&
            k8s_ip(reader, yaml_get(list->items[i], "ip"), what_at(buf, "status.podIPs[%zu].ip", i),
                   &ip))
            add_address(pod, &ip);
    }
}

#define CONDITIONS_MAX 256

static bool says_not_ready(const struct k8s_reader *reader, const struct yaml *status)
{
    const struct yaml *list = yaml_get(status, "conditions");
    size_t n = k8s_list(reader, list, "status.conditions", CONDITIONS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct yaml *type = yaml_get(list->items[i], "type");
        const struct yaml *value = yaml_get(list->items[i], "status");
        if (type && value && str_eq(type->text, STR("Ready")))
            return !str_eq_ci(value->text, STR("True"));
    }
    return false;
}

/* Manifests written by hand have no phase; a pod with an address in them is meant to run. */
static void read_status(const struct k8s_reader *reader, const struct yaml *status,
                        struct k8s_pod *pod)
{
    const struct yaml *node = yaml_get(status, "phase");
    struct str phase = yaml_text(node, "status.phase", STR("Running"), reader->diag);
    static const char *const phases[] = {"Pending", "Running", "Succeeded", "Failed", "Unknown"};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(phases); i++)
        known = known || str_eq(phase, str_from(phases[i]));
    if (!known)
        diag_error(reader->diag, node->place,
                   "status.phase: \"%.*s\" is not one of Pending, Running, Succeeded, Failed, "
                   "Unknown",
                   STR_ARG(str_sub(phase, 0, 40)));
    pod->is_finished = str_eq(phase, STR("Succeeded")) || str_eq(phase, STR("Failed"));
    pod->is_ready = str_eq(phase, STR("Running")) && !says_not_ready(reader, status);
    read_addresses(reader, status, pod);
}

#define OWNERS_MAX 64

static void read_owner(const struct k8s_reader *reader, const struct yaml *doc, struct k8s_pod *pod)
{
    char buf[WHAT_MAX];
    const struct yaml *list = yaml_path(doc, "metadata.ownerReferences");
    size_t n = k8s_list(reader, list, "metadata.ownerReferences", OWNERS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct yaml *owner = list->items[i];
        (void)what_at(buf, "metadata.ownerReferences[%zu].controller", i);
        if (!yaml_bool(yaml_get(owner, "controller"), buf, false, reader->diag))
            continue;
        pod->owner_kind = k8s_text(reader, yaml_get(owner, "kind"), "ownerReferences.kind");
        pod->owner_name = k8s_text(reader, yaml_get(owner, "name"), "ownerReferences.name");
        return;
    }
}

void k8s_read_pod(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta)
{
    struct k8s_pod *pod = vec_add(&reader->objects[K8S_POD]);
    const struct yaml *spec = yaml_get(doc, "spec"), *status = yaml_get(doc, "status");
    pod->meta = *meta;
    (void)yaml_is_mapping(spec, "spec", reader->diag);
    (void)yaml_is_mapping(status, "status", reader->diag);
    pod->node = k8s_name(reader, yaml_get(spec, "nodeName"), "spec.nodeName", name_is_subdomain,
                         "a node's name (RFC 1123)");
    pod->service_account =
        k8s_name(reader, yaml_get(spec, "serviceAccountName"), "spec.serviceAccountName",
                 name_is_subdomain, "a service account's name (RFC 1123)");
    if (str_is_empty(pod->service_account))
        pod->service_account = STR("default");
    pod->hostname = k8s_name(reader, yaml_get(spec, "hostname"), "spec.hostname", name_is_label,
                             "a host name (RFC 1123 label)");
    pod->subdomain = k8s_name(reader, yaml_get(spec, "subdomain"), "spec.subdomain", name_is_label,
                              "a subdomain (RFC 1123 label)");
    pod->host_network =
        yaml_bool(yaml_get(spec, "hostNetwork"), "spec.hostNetwork", false, reader->diag);
    read_owner(reader, doc, pod);
    read_containers(reader, spec, pod);
    read_status(reader, status, pod);
}
