/* Namespaces, nodes, and a workload for every pod that has an address and is not finished. */
#include <string.h>

#include "xds/control/build.h"

static struct str label_of(const struct object *meta, const char *key)
{
    return label_find(meta->labels, meta->n_labels, key);
}

static struct str first_of(struct str a, struct str b)
{
    return str_is_empty(a) ? b : a;
}

/* An object cannot be in a namespace that does not exist, so sets written by hand may leave the
 * Namespace out. */
static void imply_namespace(struct registry_builder *builder, const struct object *meta)
{
    static struct k8s_namespace implied;
    if (!map_find(&builder->namespaces, meta->namespace_))
        map_put(&builder->namespaces, meta->namespace_, &implied);
}

static void add_namespaces(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    for (size_t i = 0; i < set->n_namespaces; i++)
        map_put(&builder->namespaces, set->namespaces[i].meta.name, &set->namespaces[i]);
    for (size_t i = 0; i < set->n_pods; i++)
        imply_namespace(builder, &set->pods[i].meta);
    for (size_t i = 0; i < set->n_services; i++)
        imply_namespace(builder, &set->services[i].meta);
    for (size_t i = 0; i < set->n_exports; i++)
        imply_namespace(builder, &set->exports[i].meta);
    for (size_t i = 0; i < set->n_imports; i++)
        imply_namespace(builder, &set->imports[i].meta);
}

bool registry_has_namespace(const struct registry_builder *builder, struct str namespace_)
{
    return map_find(&builder->namespaces, namespace_) != NULL;
}

/* What made the pod: a Deployment's ReplicaSet is called after it, with the hash of the pod's
 * template behind. */
static struct str workload_name(const struct k8s_pod *pod)
{
    struct str name = pod->owner_name, hash = label_of(&pod->meta, "pod-template-hash");
    struct str head, tail;
    if (str_is_empty(name) || str_eq(pod->owner_kind, STR("Node")))
        return pod->meta.name;
    if (!str_eq(pod->owner_kind, STR("ReplicaSet")) || !str_rsplit(name, '-', &head, &tail))
        return name;
    return str_is_empty(hash) || str_eq(hash, tail) ? head : name;
}

static void set_canonical(struct model_workload *model, const struct object *meta)
{
    struct str name = label_of(meta, "service.istio.io/canonical-name");
    name = first_of(name, label_of(meta, "app.kubernetes.io/name"));
    name = first_of(name, label_of(meta, "app"));
    model->canonical_name = first_of(name, model->workload_name);
    struct str revision = label_of(meta, "service.istio.io/canonical-revision");
    revision = first_of(revision, label_of(meta, "app.kubernetes.io/version"));
    revision = first_of(revision, label_of(meta, "version"));
    model->canonical_revision = first_of(revision, STR("latest"));
}

static void set_locality(struct model_workload *model, const struct k8s_node *node)
{
    if (!node)
        return;
    model->region = node->region;
    model->zone = node->zone;
    model->subzone = label_of(&node->meta, "topology.istio.io/subzone");
}

static void fill_workload(const struct registry_builder *builder, struct own_workload *workload,
                          const struct k8s_pod *pod)
{
    const struct control_config *config = builder->config;
    struct model_workload *model = &workload->model;
    workload->pod = pod;
    *model = (struct model_workload){
        .uid = arena_printf(&builder->registry->arena, "%.*s//v1/Pod/%.*s/%.*s",
                            STR_ARG(config->cluster), STR_ARG(pod->meta.namespace_),
                            STR_ARG(pod->meta.name)),
        .name = pod->meta.name,
        .namespace_ = pod->meta.namespace_,
        .service_account = pod->service_account,
        .trust_domain = config->trust_domain,
        .node = pod->node,
        .cluster = config->cluster,
        .network = config->network,
        .pod_uid = pod->meta.uid,
        .workload_name = workload_name(pod),
        .n_addresses = pod->n_addresses,
        .is_healthy = pod->is_ready,
        .host_network = pod->host_network,
        .capacity = 1,
    };
    memcpy(model->addresses, pod->addresses, sizeof(model->addresses));
    set_canonical(model, &pod->meta);
    set_locality(model, map_find(&builder->registry->nodes, pod->node));
    model->speaks_hbone =
        manifests_is_enrolled(pod, map_find(&builder->namespaces, pod->meta.namespace_));
}

/* Pods of the host's network share its addresses, so a pod with an address of its own is the better
 * match. */
static void file_workload(struct registry_builder *builder, struct own_workload *workload)
{
    const struct model_workload *model = &workload->model;
    map_put(&builder->workload_by_pod, key_make(&builder->scratch, model->namespace_, model->name),
            workload);
    for (size_t i = 0; i < model->n_addresses; i++) {
        struct str key = ip_key(&model->addresses[i]);
        const struct own_workload *before = map_find(&builder->workload_by_ip, key);
        if (!before || (before->model.host_network && !model->host_network))
            map_put(&builder->workload_by_ip, key, workload);
    }
}

bool registry_places(const struct registry *registry, struct str node, struct str namespace_,
                     struct str service_account)
{
    struct text key = {0};
    text_addf(&key, "%.*s/%.*s/%.*s", STR_ARG(node), STR_ARG(namespace_), STR_ARG(service_account));
    const bool places = map_find(&registry->placements, text_str(&key)) != NULL;
    text_fini(&key);
    return places;
}

static void file_placement(struct registry *registry, const struct model_workload *model)
{
    if (!model->speaks_hbone || str_is_empty(model->node) ||
        registry_places(registry, model->node, model->namespace_, model->service_account))
        return;
    struct str *key = arena_new(&registry->arena, struct str);
    *key = arena_printf(&registry->arena, "%.*s/%.*s/%.*s", STR_ARG(model->node),
                        STR_ARG(model->namespace_), STR_ARG(model->service_account));
    map_put(&registry->placements, *key, key);
}

void registry_add_workloads(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    struct registry *registry = builder->registry;
    for (size_t i = 0; i < set->n_nodes; i++)
        map_put(&registry->nodes, set->nodes[i].meta.name, &set->nodes[i]);
    add_namespaces(builder);
    builder->workloads = arena_new_array(&registry->arena, struct own_workload, set->n_pods);
    for (size_t i = 0; i < set->n_pods; i++) {
        if (set->pods[i].is_finished || set->pods[i].n_addresses == 0)
            continue;
        struct own_workload *workload = &builder->workloads[builder->n_workloads++];
        fill_workload(builder, workload, &set->pods[i]);
        file_workload(builder, workload);
        file_placement(registry, &workload->model);
    }
    registry->n_pods = builder->n_workloads;
}
