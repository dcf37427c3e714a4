/*
 * Services and who backs them: from EndpointSlices where there are any, else from the selector.
 *
 * Slices name ports and pods; what they list beside the pods of the manifests (an address outside
 * of the cluster) is no workload and is counted. One pod may stand in several slices of a service
 * (one a family; while it is moved between them): it is one backing, ready if one of them says so.
 */
#include <string.h>

#include "xds/control/build.h"

struct model_port *registry_service_ports(struct arena *arena, const struct k8s_service *service)
{
    struct model_port *ports = arena_new_array(arena, struct model_port, service->n_ports);
    for (size_t i = 0; i < service->n_ports; i++)
        ports[i] = (struct model_port){
            .service_port = service->ports[i].port,
            .app_protocol = k8s_app_protocol(&service->ports[i]),
            .name = service->ports[i].name,
            .is_udp = service->ports[i].is_udp,
        };
    return ports;
}

static struct str host_name(struct arena *arena, const struct object *meta, struct str domain)
{
    return arena_printf(arena, "%.*s/%.*s.%.*s.%.*s", STR_ARG(meta->namespace_),
                        STR_ARG(meta->name), STR_ARG(meta->namespace_), STR_ARG(domain));
}

/* The service of ours that a slice is about. Slices that another implementation made for an import
 * are about one that lives elsewhere. */
static struct own_service *slice_service(const struct registry_builder *builder,
                                         const struct k8s_endpoint_slice *slice)
{
    struct str imported = label_find(slice->meta.labels, slice->meta.n_labels,
                                     "multicluster.kubernetes.io/service-name");
    if (!str_is_empty(imported))
        return NULL;
    return key_find(&builder->service_by_name, slice->meta.namespace_, slice->service);
}

static void mark_slices(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    for (size_t i = 0; i < set->n_slices; i++) {
        struct own_service *service = slice_service(builder, &set->slices[i]);
        if (service)
            service->has_slices = true;
    }
}

void registry_add_services(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    struct arena *arena = &builder->registry->arena;
    struct str domain =
        arena_printf(&builder->scratch, "svc.%.*s", STR_ARG(builder->config->cluster_domain));
    builder->services = arena_new_array(&builder->scratch, struct own_service, set->n_services);
    for (size_t i = 0; i < set->n_services; i++) {
        struct own_service *service = &builder->services[builder->n_services++];
        service->k8s = &set->services[i];
        service->local_name = host_name(arena, &service->k8s->meta, domain);
        map_put(&builder->service_by_name,
                key_make(&builder->scratch, service->k8s->meta.namespace_, service->k8s->meta.name),
                service);
    }
    mark_slices(builder);
    for (size_t i = 0; i < builder->n_services; i++)
        if (!builder->services[i].has_slices)
            selection_need(builder, builder->services[i].k8s->selector,
                           builder->services[i].k8s->n_selector);
}

static struct backing *find_backing(const struct own_workload *workload,
                                    const struct own_service *service)
{
    for (struct backing *backing = workload->backings; backing; backing = backing->next_of_workload)
        if (backing->service == service)
            return backing;
    return NULL;
}

static bool has_port(const struct backing *backing, const struct model_port *port)
{
    for (size_t i = 0; i < backing->n_ports; i++)
        if (backing->ports[i].service_port == port->service_port &&
            backing->ports[i].is_udp == port->is_udp)
            return true;
    return false;
}

/* Ports that an earlier slice did not have; the shared array is copied, not changed. */
static void add_ports(struct arena *arena, struct backing *backing, const struct model_port *ports,
                      size_t n_ports)
{
    struct model_port *all = NULL;
    for (size_t i = 0; i < n_ports; i++) {
        if (has_port(backing, &ports[i]))
            continue;
        if (!all) {
            all = arena_new_array(arena, struct model_port, backing->n_ports + n_ports);
            if (backing->n_ports > 0)
                memcpy(all, backing->ports, backing->n_ports * sizeof(*all));
            backing->ports = all;
        }
        all[backing->n_ports++] = ports[i];
    }
}

static void back(struct registry_builder *builder, const struct backing *with)
{
    struct own_workload *workload = with->workload;
    struct own_service *service = with->service;
    struct backing *backing = find_backing(workload, service);
    if (backing) {
        add_ports(&builder->registry->arena, backing, with->ports, with->n_ports);
        backing->is_ready = backing->is_ready || with->is_ready;
        backing->is_draining = backing->is_draining || with->is_draining;
        backing->is_terminating = backing->is_terminating || with->is_terminating;
        if (str_is_empty(backing->dns_hostname))
            backing->dns_hostname = with->dns_hostname;
        return;
    }
    backing = arena_new(&builder->scratch, struct backing);
    *backing = *with;
    backing->next_of_workload = workload->backings;
    backing->next_of_service = service->backings;
    workload->backings = service->backings = backing;
    workload->n_backings++;
}

/* ---- from slices ---- */

static uint16_t slice_port(const struct k8s_endpoint_slice *slice,
                           const struct k8s_service_port *port)
{
    for (size_t i = 0; i < slice->n_ports; i++)
        if (slice->ports[i].is_udp == port->is_udp && str_eq(slice->ports[i].name, port->name))
            return slice->ports[i].port;
    return 0;
}

/* The service's ports with where the slice's endpoints serve them; those it does not name are left
 * out. */
static struct model_port *slice_ports(struct arena *arena, const struct k8s_service *service,
                                      const struct k8s_endpoint_slice *slice, size_t *out_n)
{
    struct model_port *ports = arena_new_array(arena, struct model_port, service->n_ports);
    *out_n = 0;
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct k8s_service_port *port = &service->ports[i];
        const uint16_t target = slice_port(slice, port);
        if (target != 0)
            ports[(*out_n)++] = (struct model_port){
                .service_port = port->port, .target_port = target, .is_udp = port->is_udp};
    }
    return ports;
}

static struct own_workload *endpoint_workload(const struct registry_builder *builder,
                                              const struct k8s_endpoint_slice *slice,
                                              const struct k8s_endpoint *endpoint)
{
    struct own_workload *workload = NULL;
    if (!str_is_empty(endpoint->target_pod))
        return key_find(&builder->workload_by_pod, slice->meta.namespace_, endpoint->target_pod);
    for (size_t i = 0; i < endpoint->n_addresses && !workload; i++)
        workload = map_find(&builder->workload_by_ip, ip_key(&endpoint->addresses[i]));
    return workload;
}

static void back_from_slice(struct registry_builder *builder, struct own_service *service,
                            const struct k8s_endpoint_slice *slice)
{
    size_t n_ports;
    struct model_port *ports =
        slice_ports(&builder->registry->arena, service->k8s, slice, &n_ports);
    for (size_t i = 0; i < slice->n_endpoints; i++) {
        const struct k8s_endpoint *endpoint = &slice->endpoints[i];
        struct backing backing = {
            .workload = endpoint_workload(builder, slice, endpoint),
            .service = service,
            .ports = ports,
            .n_ports = n_ports,
            .dns_hostname = endpoint->hostname,
            .is_ready = endpoint->is_ready,
            .is_draining = endpoint->is_serving && endpoint->is_terminating,
            .is_terminating = endpoint->is_terminating,
        };
        if (!backing.workload)
            builder->registry->n_stray_endpoints++;
        else if (n_ports > 0 || service->k8s->n_ports == 0)
            back(builder, &backing);
    }
}

static void back_from_slices(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    for (size_t i = 0; i < set->n_slices; i++) {
        const struct k8s_endpoint_slice *slice = &set->slices[i];
        struct own_service *service = slice_service(builder, slice);
        if (service && service->k8s->type != SERVICE_EXTERNAL_NAME)
            back_from_slice(builder, service, slice);
    }
}

/* Kubernetes' rule: as long as nobody is ready, those that still serve while they go are better
 * than none. */
static void use_draining(struct own_service *service)
{
    for (struct backing *it = service->backings; it; it = it->next_of_service)
        if (it->is_ready)
            return;
    for (struct backing *it = service->backings; it; it = it->next_of_service)
        it->is_ready = it->is_draining;
}

/* ---- from selectors ---- */

struct selecting {
    struct registry_builder *builder;
    struct own_service *service;
    struct model_port *shared; /* when no port is a name: the same for every pod */
};

static uint16_t pod_port(const struct k8s_pod *pod, const struct k8s_service_port *port)
{
    if (port->target_port != 0)
        return port->target_port;
    for (size_t i = 0; i < pod->n_ports; i++)
        if (pod->ports[i].is_udp == port->is_udp && str_eq(pod->ports[i].name, port->target_name))
            return pod->ports[i].port;
    return 0;
}

static struct model_port *pod_ports(struct arena *arena, const struct k8s_service *service,
                                    const struct k8s_pod *pod, size_t *out_n)
{
    struct model_port *ports = arena_new_array(arena, struct model_port, service->n_ports);
    *out_n = 0;
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct k8s_service_port *port = &service->ports[i];
        const uint16_t target = pod_port(pod, port);
        if (target != 0)
            ports[(*out_n)++] = (struct model_port){
                .service_port = port->port, .target_port = target, .is_udp = port->is_udp};
    }
    return ports;
}

static bool names_ports(const struct k8s_service *service)
{
    for (size_t i = 0; i < service->n_ports; i++)
        if (service->ports[i].target_port == 0)
            return true;
    return false;
}

static void back_selected(void *owner, struct own_workload *workload)
{
    struct selecting *selecting = owner;
    const struct k8s_service *service = selecting->service->k8s;
    struct backing backing = {
        .workload = workload,
        .service = selecting->service,
        .ports = selecting->shared,
        .n_ports = service->n_ports,
        .is_ready = workload->pod->is_ready,
    };
    if (!backing.ports) {
        backing.ports = pod_ports(&selecting->builder->registry->arena, service, workload->pod,
                                  &backing.n_ports);
        if (!names_ports(service))
            selecting->shared = backing.ports;
    }
    if (str_eq(workload->pod->subdomain, service->meta.name))
        backing.dns_hostname = workload->pod->hostname;
    if (backing.n_ports > 0 || service->n_ports == 0)
        back(selecting->builder, &backing);
}

void registry_back_services(struct registry_builder *builder)
{
    back_from_slices(builder);
    for (size_t i = 0; i < builder->n_services; i++) {
        struct own_service *service = &builder->services[i];
        struct selecting selecting = {builder, service, NULL};
        if (service->has_slices)
            use_draining(service);
        else if (service->k8s->n_selector > 0 && service->k8s->type != SERVICE_EXTERNAL_NAME)
            selection_each(builder, service->k8s->meta.namespace_, service->k8s->selector,
                           service->k8s->n_selector, back_selected, &selecting);
    }
}
