/*
 * Services, and the slices of those that have some. Who backs one without slices is up to its
 * selector (selection.c), and what comes of both is put together in derive.c.
 *
 * Slices name ports and pods; what they list beside the pods of the manifests (an address outside
 * of the cluster) is no workload and is counted.
 */
#include <string.h>

#include "proxy/base/mem.h"
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

/* ---- slices ---- */

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
static struct model_port *slice_ports(const struct k8s_service *service,
                                      const struct k8s_endpoint_slice *slice, size_t *out_n)
{
    struct model_port *ports = mem_new_array(struct model_port, service->n_ports + 1);
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

static void add_ref(struct registry_builder *builder, struct own_slice *slice,
                    const struct k8s_endpoint *endpoint)
{
    struct endpoint_ref *ref = &slice->refs[slice->n_refs++];
    *ref = (struct endpoint_ref){.slice = slice, .endpoint = endpoint};
    list_init(&ref->link);
    if (!str_is_empty(endpoint->target_pod)) {
        ref->workload = workload_of(builder, slice->k8s->meta.namespace_, endpoint->target_pod);
        list_push_back(&ref->workload->refs, &ref->link);
        workload_touch(builder, ref->workload);
    }
    ref_count(builder, ref);
    if (!ref->workload)
        addresses_mention(builder, ref);
}

static void drop_refs(struct registry_builder *builder, struct own_slice *slice)
{
    for (size_t i = 0; i < slice->n_refs; i++) {
        struct endpoint_ref *ref = &slice->refs[i];
        ref_uncount(builder, ref);
        if (ref->workload)
            workload_touch(builder, ref->workload);
        list_remove(&ref->link);
        addresses_forget(builder, ref);
    }
    if (slice->service) {
        services_touch(builder, slice->service);
        list_remove(&slice->link);
    }
    mem_free(slice->refs);
    mem_free(slice->ports);
    slice->service = NULL;
    slice->refs = NULL;
    slice->ports = NULL;
    slice->n_refs = slice->n_ports = 0;
}

static struct own_slice *slice_of(struct registry_builder *builder, const struct object *meta)
{
    struct own_slice *slice = key_find(&builder->slices, meta->namespace_, meta->name);
    struct text key = {0};
    if (slice)
        return slice;
    text_addf(&key, "%.*s/%.*s", STR_ARG(meta->namespace_), STR_ARG(meta->name));
    slice = mem_zalloc(sizeof(*slice) + key.len);
    char *behind = (char *)(slice + 1);
    memcpy(behind, key.ptr, key.len);
    slice->key = str_of(behind, key.len);
    map_put(&builder->slices, slice->key, slice);
    text_fini(&key);
    return slice;
}

/* The service of ours that a slice is about. Slices that another implementation made for an import
 * are about one that lives elsewhere. */
static struct own_service *slice_service(const struct registry_builder *builder,
                                         const struct k8s_endpoint_slice *slice)
{
    struct own_service *service;
    struct str imported = label_find(slice->meta.labels, slice->meta.n_labels,
                                     "multicluster.kubernetes.io/service-name");
    if (!str_is_empty(imported))
        return NULL;
    service = key_find(&builder->service_by_name, slice->meta.namespace_, slice->service);
    return service && service->k8s->type != SERVICE_EXTERNAL_NAME ? service : NULL;
}

void slice_put(struct registry_builder *builder, const struct k8s_endpoint_slice *k8s)
{
    struct own_slice *slice = slice_of(builder, &k8s->meta);
    drop_refs(builder, slice);
    slice->k8s = k8s;
    slice->service = slice_service(builder, k8s);
    if (!slice->service)
        return;
    list_push_back(&slice->service->slices, &slice->link);
    slice->ports = slice_ports(slice->service->k8s, k8s, &slice->n_ports);
    slice->refs = mem_new_array(struct endpoint_ref, k8s->n_endpoints + 1);
    services_touch(builder, slice->service);
    for (size_t i = 0; i < k8s->n_endpoints; i++)
        add_ref(builder, slice, &k8s->endpoints[i]);
}

void slice_remove(struct registry_builder *builder, const struct object *meta)
{
    struct own_slice *slice = key_find(&builder->slices, meta->namespace_, meta->name);
    if (!slice)
        return;
    drop_refs(builder, slice);
    (void)map_remove(&builder->slices, slice->key);
    mem_free(slice);
}

/* ---- services ---- */

static void add_service(struct registry_builder *builder, const struct k8s_service *k8s,
                        struct str domain)
{
    struct own_service *service = &builder->services[builder->n_services++];
    service->k8s = k8s;
    service->local_name = host_name(&builder->registry->arena, &k8s->meta, domain);
    list_init(&service->slices);
    map_put(&builder->service_by_name,
            key_make(&builder->scratch, k8s->meta.namespace_, k8s->meta.name), service);
}

static void need_selector(struct registry_builder *builder, struct own_service *service)
{
    const struct k8s_service *k8s = service->k8s;
    const struct selector selector = {
        .kind = SELECTS_BACKING,
        .namespace_ = k8s->meta.namespace_,
        .labels = k8s->selector,
        .n_labels = k8s->n_selector,
        .service = service,
    };
    if (k8s->n_selector > 0 && k8s->type != SERVICE_EXTERNAL_NAME)
        selection_add(builder, &selector);
}

void registry_add_services(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    struct str domain =
        arena_printf(&builder->scratch, "svc.%.*s", STR_ARG(builder->config->cluster_domain));
    builder->services = arena_new_array(&builder->scratch, struct own_service, set->n_services);
    for (size_t i = 0; i < set->n_services; i++)
        add_service(builder, &set->services[i], domain);
    for (size_t i = 0; i < set->n_slices; i++)
        slice_put(builder, &set->slices[i]);
    for (size_t i = 0; i < builder->n_services; i++) {
        struct own_service *service = &builder->services[i];
        service->has_slices = !list_is_empty(&service->slices);
        if (!service->has_slices)
            need_selector(builder, service);
    }
}

void registry_free_services(struct registry_builder *builder)
{
    struct str key;
    void *value;
    for (size_t idx = 0; map_next(&builder->slices, &idx, &key, &value);) {
        struct own_slice *slice = value;
        for (size_t i = 0; i < slice->n_refs; i++)
            mem_free(slice->refs[i].mentions);
        mem_free(slice->refs);
        mem_free(slice->ports);
        mem_free(slice);
    }
    map_fini(&builder->slices);
    map_fini(&builder->service_by_name);
    mem_free(builder->touched_services);
}
