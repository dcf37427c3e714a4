/* This cluster's workloads, services, policies and bundles as resources: all of it for the nodes,
 * what is exported for the peers. */
#include <string.h>

#include "xds/control/build.h"

static struct model_membership membership_of(const struct backing *backing, struct str service)
{
    return (struct model_membership){
        .service = service,
        .ports = backing->ports,
        .n_ports = backing->n_ports,
        .dns_hostname = backing->dns_hostname,
        .not_ready = !backing->is_ready,
        .is_terminating = backing->is_terminating,
    };
}

static bool is_exported(const struct backing *backing)
{
    return !str_is_empty(backing->service->exported_name);
}

/* Each service by its name in the cluster and, when it is exported, by that in the clusterset. */
static void write_memberships(struct arena *arena, struct own_workload *workload)
{
    struct model_workload *model = &workload->model;
    model->services = arena_new_array(arena, struct model_membership, 2 * workload->n_backings);
    for (const struct backing *it = workload->backings; it; it = it->next_of_workload) {
        model->services[model->n_services++] = membership_of(it, it->service->local_name);
        if (!is_exported(it))
            continue;
        model->services[model->n_services++] = membership_of(it, it->service->exported_name);
        workload->n_exported++;
    }
}

static void write_policies(struct arena *arena, struct own_workload *workload)
{
    struct model_workload *model = &workload->model;
    model->policies = arena_new_array(arena, struct str, workload->n_policies);
    for (const struct selected *it = workload->policies; it; it = it->next)
        model->policies[model->n_policies++] = it->policy;
    model->request_auths = arena_new_array(arena, struct str, workload->n_request_auths);
    for (const struct selected *it = workload->request_auths; it; it = it->next)
        model->request_auths[model->n_request_auths++] = it->policy;
}

static void push(struct model_resource *list, size_t *n, struct model_resource resource)
{
    list[(*n)++] = resource;
}

/* Peers see what reaches the workload and who it is; not its node, its policies or what else it
 * serves. */
static void share_workload(struct registry *registry, const struct own_workload *workload)
{
    struct model_workload *model = arena_new(&registry->arena, struct model_workload);
    *model = workload->model;
    model->node = (struct str){0};
    model->pod_uid = (struct str){0};
    model->policies = NULL;
    model->n_policies = 0;
    model->request_auths = NULL;
    model->n_request_auths = 0;
    model->services =
        arena_new_array(&registry->arena, struct model_membership, workload->n_exported);
    model->n_services = 0;
    for (const struct backing *it = workload->backings; it; it = it->next_of_workload)
        if (is_exported(it))
            model->services[model->n_services++] = membership_of(it, it->service->exported_name);
    push(registry->shared, &registry->n_shared,
         (struct model_resource){.kind = MODEL_WORKLOAD, .name = model->uid, .of.workload = model});
}

/* name is the resource's: "<namespace>/<host name>". */
static struct model_service *new_service(struct arena *arena, const struct own_service *from,
                                         struct str name)
{
    const struct k8s_service *k8s = from->k8s;
    struct model_service *service = arena_new(arena, struct model_service);
    *service = (struct model_service){
        .name = k8s->meta.name,
        .namespace_ = k8s->meta.namespace_,
        .hostname = str_sub(name, k8s->meta.namespace_.len + 1, name.len),
        .ports = registry_service_ports(arena, k8s),
        .n_ports = k8s->n_ports,
        .is_headless = k8s->type == SERVICE_HEADLESS,
        .allow_unhealthy = k8s->publish_not_ready,
    };
    return service;
}

static void write_service(struct registry *registry, const struct own_service *from)
{
    struct model_service *service = new_service(&registry->arena, from, from->local_name);
    memcpy(service->addresses, from->k8s->addresses, sizeof(service->addresses));
    service->n_addresses = from->k8s->n_addresses;
    push(registry->own, &registry->n_own,
         (struct model_resource){
             .kind = MODEL_SERVICE, .name = from->local_name, .of.service = service});
    registry->n_services++;
    if (str_is_empty(from->exported_name))
        return;
    service = new_service(&registry->arena, from, from->exported_name);
    service->created_ns = from->exported_ns;
    service->words = from->k8s->words;
    push(registry->shared, &registry->n_shared,
         (struct model_resource){
             .kind = MODEL_SERVICE, .name = from->exported_name, .of.service = service});
}

static void write_policy_resources(struct registry_builder *builder)
{
    struct registry *registry = builder->registry;
    for (size_t i = 0; i < builder->n_policies; i++) {
        struct model_policy *policy = &builder->policies[i];
        push(registry->own, &registry->n_own,
             (struct model_resource){
                 .kind = MODEL_POLICY,
                 .name = key_make(&registry->arena, policy->namespace_, policy->name),
                 .of.policy = policy,
             });
    }
}

static void write_request_auths(struct registry_builder *builder)
{
    struct registry *registry = builder->registry;
    for (size_t i = 0; i < builder->n_request_auths; i++) {
        struct model_request_auth *auth = &builder->request_auths[i];
        push(registry->own, &registry->n_own,
             (struct model_resource){
                 .kind = MODEL_REQUEST_AUTH,
                 .name = key_make(&registry->arena, auth->namespace_, auth->name),
                 .of.request_auth = auth,
             });
    }
}

static struct model_resource bundle_resource(struct arena *arena, struct str trust_domain,
                                             struct str pem, struct str crls)
{
    struct model_bundle *bundle = arena_new(arena, struct model_bundle);
    bundle->trust_domain = arena_str(arena, trust_domain);
    bundle->pem = arena_str(arena, pem);
    bundle->crls = arena_str(arena, crls);
    return (struct model_resource){
        .kind = MODEL_BUNDLE,
        .name = arena_printf(arena, "spiffe://%.*s", STR_ARG(trust_domain)),
        .of.bundle = bundle,
    };
}

static void write_bundles(struct registry_builder *builder)
{
    struct registry *registry = builder->registry;
    const struct registry_input *input = builder->input;
    for (size_t i = 0; i < input->n_bundles; i++)
        push(registry->own, &registry->n_own,
             bundle_resource(&registry->arena, input->bundles[i].trust_domain,
                             input->bundles[i].pem, input->bundles[i].crls));
    push(registry->shared, &registry->n_shared,
         bundle_resource(&registry->arena, input->config->trust_domain, input->own_roots_pem,
                         input->own_crls));
}

void registry_write_own(struct registry_builder *builder)
{
    struct registry *registry = builder->registry;
    const size_t n_objects = builder->n_workloads + builder->n_services;
    const size_t n_traffic = builder->n_services + registry->n_imports;
    const size_t n_own = n_objects + builder->n_policies + builder->n_request_auths +
                         builder->input->n_bundles + n_traffic + registry_count_routes(builder);
    registry->own = arena_new_array(&registry->arena, struct model_resource, n_own);
    registry->shared = arena_new_array(&registry->arena, struct model_resource, n_objects + 1);
    for (size_t i = 0; i < builder->n_workloads; i++) {
        struct own_workload *workload = &builder->workloads[i];
        write_memberships(&registry->arena, workload);
        write_policies(&registry->arena, workload);
        push(registry->own, &registry->n_own,
             (struct model_resource){.kind = MODEL_WORKLOAD,
                                     .name = workload->model.uid,
                                     .of.workload = &workload->model});
        if (workload->n_exported > 0)
            share_workload(registry, workload);
    }
    for (size_t i = 0; i < builder->n_services; i++)
        if (builder->services[i].k8s->type != SERVICE_EXTERNAL_NAME)
            write_service(registry, &builder->services[i]);
    write_policy_resources(builder);
    write_request_auths(builder);
    write_bundles(builder);
    registry_write_traffic(builder);
    registry_write_routes(builder);
}
