/* This cluster's services, policies and bundles as resources: all of it for the nodes, what is
 * exported for the peers. And the two lists of everything. */
#include <string.h>

#include "proxy/base/mem.h"
#include "xds/control/build.h"

static void push(struct model_resource *list, size_t *n, struct model_resource resource)
{
    list[(*n)++] = resource;
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
    const size_t n_traffic = builder->n_services + registry->n_imports;
    const size_t n_own = builder->n_services + builder->n_policies + builder->n_request_auths +
                         builder->input->n_bundles + n_traffic + registry_count_routes(builder);
    registry->own = arena_new_array(&registry->arena, struct model_resource, n_own);
    registry->shared =
        arena_new_array(&registry->arena, struct model_resource, builder->n_services + 1);
    for (size_t i = 0; i < builder->n_services; i++)
        if (builder->services[i].k8s->type != SERVICE_EXTERNAL_NAME)
            write_service(registry, &builder->services[i]);
    write_policy_resources(builder);
    write_request_auths(builder);
    write_bundles(builder);
    registry_write_traffic(builder);
    registry_write_routes(builder);
}

/* ---- the two lists ---- */

static void enlist(struct resource_list *list, const struct model_resource ***resources,
                   size_t *n_resources, struct listed *listed)
{
    const size_t n_others = *n_resources - list->len;
    if (list->len == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 64;
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
        *resources = mem_realloc(*resources, (n_others + list->cap) * sizeof(**resources));
    }
    list->items[list->len++] = listed;
    (*resources)[(*n_resources)++] = &listed->resource;
    listed->at = list->len;
}

/* The last one takes its place. */
static void delist(struct resource_list *list, const struct model_resource **resources,
                   size_t *n_resources, struct listed *listed)
{
    const size_t n_others = *n_resources - list->len, idx = listed->at - 1;
    struct listed *last = list->items[--list->len];
    list->items[idx] = last;
    resources[n_others + idx] = resources[--*n_resources];
    last->at = listed->at;
    listed->at = 0;
}

static void list(struct resource_list *list, const struct model_resource ***resources,
                 size_t *n_resources, struct listed *listed)
{
    const bool is_there = listed->resource.of.workload != NULL;
    if (is_there && listed->at == 0)
        enlist(list, resources, n_resources, listed);
    else if (!is_there && listed->at > 0)
        delist(list, *resources, n_resources, listed);
}

void registry_list_for_nodes(struct registry *registry, struct listed *listed)
{
    list(&registry->builder->nodes_end, &registry->for_nodes, &registry->n_for_nodes, listed);
}

void registry_list_for_peers(struct registry *registry, struct listed *listed)
{
    list(&registry->builder->peers_end, &registry->for_peers, &registry->n_for_peers, listed);
}

/* Those that stay as they are until the registry is built anew. */
static void emit_others(struct registry *registry)
{
    const size_t n = registry->n_own + registry->n_imports;
    struct model_resource *imports =
        arena_new_array(&registry->arena, struct model_resource, registry->n_imports);
    registry->for_nodes = mem_new_array(const struct model_resource *, n + 1);
    for (size_t i = 0; i < registry->n_own; i++)
        registry->for_nodes[registry->n_for_nodes++] = &registry->own[i];
    for (size_t i = 0; i < registry->n_imports; i++) {
        struct model_service *service = &registry->imports[i].service;
        imports[i] = (struct model_resource){
            .kind = MODEL_SERVICE,
            .name = key_make(&registry->arena, service->namespace_, service->hostname),
            .of.service = service,
        };
        registry->for_nodes[registry->n_for_nodes++] = &imports[i];
    }
    registry->for_peers = mem_new_array(const struct model_resource *, registry->n_shared + 1);
    for (size_t i = 0; i < registry->n_shared; i++)
        registry->for_peers[registry->n_for_peers++] = &registry->shared[i];
}

void registry_emit(struct registry *registry)
{
    struct registry_builder *builder = registry->builder;
    struct str uid;
    void *value;
    emit_others(registry);
    for (size_t idx = 0; map_next(&builder->foreign, &idx, &uid, &value);)
        registry_list_for_nodes(registry, &((struct foreign_workload *)value)->listed);
    for (size_t i = 0; i < builder->touched.len; i++) {
        struct own_workload *workload = builder->touched.items[i];
        workload->is_touched = false;
        registry_list_for_nodes(registry, &workload->own);
        registry_list_for_peers(registry, &workload->shared);
    }
    builder->touched.len = 0;
}
