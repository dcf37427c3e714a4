/* What a change of a pod or a slice touches: workloads that are derived anew, services whose
 * endpoints are counted. */
#include "proxy/base/mem.h"
#include "xds/control/build.h"

bool workload_is_live(const struct own_workload *workload)
{
    return workload->pod && !workload->pod->is_finished && workload->pod->n_addresses > 0;
}

void workload_list_add(struct workload_list *list, struct own_workload *workload)
{
    if (list->len == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 64;
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
    }
    list->items[list->len++] = workload;
}

void workload_touch(struct registry_builder *builder, struct own_workload *workload)
{
    if (workload->is_touched)
        return;
    workload->is_touched = true;
    workload_list_add(&builder->touched, workload);
}

bool slice_serves(const struct own_slice *slice)
{
    return slice->n_ports > 0 || slice->service->k8s->n_ports == 0;
}

void services_touch(struct registry_builder *builder, struct own_service *service)
{
    if (service->is_touched)
        return;
    service->is_touched = true;
    service->was_ready = service->n_ready > 0;
    if (builder->n_touched_services == builder->cap_touched_services) {
        builder->cap_touched_services =
            builder->cap_touched_services ? builder->cap_touched_services * 2 : 64;
        builder->touched_services =
            mem_realloc(builder->touched_services,
                        builder->cap_touched_services * sizeof(*builder->touched_services));
    }
    builder->touched_services[builder->n_touched_services++] = service;
}

static bool is_draining(const struct k8s_endpoint *endpoint)
{
    return endpoint->is_serving && endpoint->is_terminating;
}

static void count(struct registry_builder *builder, const struct endpoint_ref *ref, bool is_there)
{
    struct own_service *service = ref->slice->service;
    size_t *strays = &builder->registry->n_stray_endpoints;
    services_touch(builder, service);
    if (!ref->workload || !workload_is_live(ref->workload)) {
        *strays += is_there ? 1 : (size_t)-1;
        return;
    }
    if (!slice_serves(ref->slice))
        return;
    if (ref->endpoint->is_ready)
        service->n_ready += is_there ? 1 : (size_t)-1;
    if (is_draining(ref->endpoint))
        service->n_draining += is_there ? 1 : (size_t)-1;
}

void ref_count(struct registry_builder *builder, const struct endpoint_ref *ref)
{
    count(builder, ref, true);
}

void ref_uncount(struct registry_builder *builder, const struct endpoint_ref *ref)
{
    count(builder, ref, false);
}

/* Those that still serve while they go count only as long as nobody is ready. */
static void touch_draining(struct registry_builder *builder, const struct own_service *service)
{
    list_foreach(link, &service->slices)
    {
        const struct own_slice *slice = list_entry(link, struct own_slice, link);
        for (size_t i = 0; i < slice->n_refs; i++)
            if (slice->refs[i].workload && is_draining(slice->refs[i].endpoint))
                workload_touch(builder, slice->refs[i].workload);
    }
}

void services_settle(struct registry_builder *builder)
{
    for (size_t i = 0; i < builder->n_touched_services; i++) {
        struct own_service *service = builder->touched_services[i];
        if (service->n_draining > 0 && service->was_ready != (service->n_ready > 0))
            touch_draining(builder, service);
        if (service->has_slices != !list_is_empty(&service->slices))
            builder->reaches_further = true;
        service->is_touched = false;
    }
    builder->n_touched_services = 0;
}
