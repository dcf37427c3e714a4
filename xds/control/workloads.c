/* Namespaces, nodes, and a workload for every pod that has an address and is not finished. */
#include <string.h>

#include "proxy/base/mem.h"
#include "xds/control/build.h"

static struct str label_of(const struct object *meta, const char *key)
{
    return label_find(meta->labels, meta->n_labels, key);
}

static struct str first_of(struct str a, struct str b)
{
    return str_is_empty(a) ? b : a;
}

/* ---- namespaces ---- */

/* An object cannot be in a namespace that does not exist, so sets written by hand may leave the
 * Namespace out. */
static struct own_namespace *imply_namespace(struct registry_builder *builder, struct str name)
{
    static const struct k8s_namespace implied;
    struct own_namespace *namespace_ = map_find(&builder->namespaces, name);
    if (namespace_)
        return namespace_;
    namespace_ = arena_new(&builder->scratch, struct own_namespace);
    namespace_->k8s = &implied;
    map_put(&builder->namespaces, arena_str(&builder->scratch, name), namespace_);
    return namespace_;
}

static void tell_namespace(struct registry_builder *builder, const struct object *meta)
{
    imply_namespace(builder, meta->namespace_)->is_told = true;
}

static void add_namespaces(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    for (size_t i = 0; i < set->n_namespaces; i++) {
        struct own_namespace *namespace_ = imply_namespace(builder, set->namespaces[i].meta.name);
        namespace_->k8s = &set->namespaces[i];
        namespace_->is_told = true;
    }
    for (size_t i = 0; i < set->n_services; i++)
        tell_namespace(builder, &set->services[i].meta);
    for (size_t i = 0; i < set->n_exports; i++)
        tell_namespace(builder, &set->exports[i].meta);
    for (size_t i = 0; i < set->n_imports; i++)
        tell_namespace(builder, &set->imports[i].meta);
}

bool registry_has_namespace(const struct registry_builder *builder, struct str namespace_)
{
    return map_find(&builder->namespaces, namespace_) != NULL;
}

/* One that only pods show comes and goes with them, and with it what peers export under its name.
 */
static void count_pod(struct registry_builder *builder, struct own_workload *workload,
                      const struct k8s_pod *pod)
{
    struct own_namespace *before = workload->namespace_, *after = NULL;
    if (pod)
        after = imply_namespace(builder, pod->meta.namespace_);
    if (after == before)
        return;
    if (before && --before->n_pods == 0 && !before->is_told)
        builder->reaches_further = true;
    if (after && after->n_pods++ == 0 && !after->is_told)
        builder->reaches_further = true;
    workload->namespace_ = after;
}

/* ---- what a pod says ---- */

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

void workload_fill(const struct registry_builder *builder, const struct k8s_pod *pod,
                   struct arena *arena, struct model_workload *out_model)
{
    const struct control_config *config = builder->config;
    const struct own_namespace *namespace_ = map_find(&builder->namespaces, pod->meta.namespace_);
    *out_model = (struct model_workload){
        .uid = arena_printf(arena, "%.*s//v1/Pod/%.*s/%.*s", STR_ARG(config->cluster),
                            STR_ARG(pod->meta.namespace_), STR_ARG(pod->meta.name)),
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
        .speaks_hbone = manifests_is_enrolled(pod, namespace_->k8s),
    };
    memcpy(out_model->addresses, pod->addresses, sizeof(out_model->addresses));
    set_canonical(out_model, &pod->meta);
    set_locality(out_model, map_find(&builder->registry->nodes, pod->node));
}

/* ---- placements ---- */

static struct str placement_key(struct text *out, struct str node, struct str namespace_,
                                struct str service_account)
{
    text_addf(out, "%.*s/%.*s/%.*s", STR_ARG(node), STR_ARG(namespace_), STR_ARG(service_account));
    return text_str(out);
}

bool registry_places(const struct registry *registry, struct str node, struct str namespace_,
                     struct str service_account)
{
    struct text text = {0};
    struct str key = placement_key(&text, node, namespace_, service_account);
    const bool places = map_find(&registry->placements, key) != NULL;
    text_fini(&text);
    return places;
}

static struct placement *placement_of(struct registry *registry, struct str key)
{
    struct placement *placement = map_find(&registry->placements, key);
    if (placement)
        return placement;
    placement = mem_zalloc(sizeof(*placement) + key.len);
    char *behind = (char *)(placement + 1);
    memcpy(behind, key.ptr, key.len);
    placement->key = str_of(behind, key.len);
    map_put(&registry->placements, placement->key, placement);
    return placement;
}

static void leave_place(struct registry *registry, struct own_workload *workload)
{
    struct placement *placement = workload->placement;
    workload->placement = NULL;
    if (!placement || --placement->n_pods > 0)
        return;
    (void)map_remove(&registry->placements, placement->key);
    mem_free(placement);
}

static void take_place(struct registry *registry, struct own_workload *workload)
{
    const struct k8s_pod *pod = workload->pod;
    struct text text = {0};
    if (!workload_is_live(workload) || str_is_empty(pod->node) ||
        !manifests_is_enrolled(pod, workload->namespace_->k8s))
        return;
    workload->placement = placement_of(
        registry, placement_key(&text, pod->node, pod->meta.namespace_, pod->service_account));
    workload->placement->n_pods++;
    text_fini(&text);
}

/* ---- workloads ---- */

struct own_workload *workload_of(struct registry_builder *builder, struct str namespace_,
                                 struct str name)
{
    struct own_workload *workload = key_find(&builder->workloads, namespace_, name);
    if (workload)
        return workload;
    const size_t len = namespace_.len + 1 + name.len;
    workload = mem_zalloc(sizeof(*workload) + len);
    char *behind = (char *)(workload + 1);
    memcpy(behind, namespace_.ptr, namespace_.len);
    behind[namespace_.len] = '/';
    memcpy(behind + namespace_.len + 1, name.ptr, name.len);
    workload->key = str_of(behind, len);
    list_init(&workload->refs);
    map_put(&builder->workloads, workload->key, workload);
    return workload;
}

static bool same_addresses(const struct k8s_pod *a, const struct k8s_pod *b)
{
    if (!a || !b || a->n_addresses != b->n_addresses || a->host_network != b->host_network ||
        a->is_finished != b->is_finished)
        return false;
    for (size_t i = 0; i < a->n_addresses; i++)
        if (!str_eq(ip_key(&a->addresses[i]), ip_key(&b->addresses[i])))
            return false;
    return true;
}

void workload_set_pod(struct registry_builder *builder, struct own_workload *workload,
                      const struct k8s_pod *pod)
{
    const bool moves = !same_addresses(workload->pod, pod);
    struct registry *registry = builder->registry;
    workload_touch(builder, workload);
    leave_place(registry, workload);
    if (moves)
        addresses_leave(builder, workload);
    list_foreach(link, &workload->refs)
        ref_uncount(builder, list_entry(link, struct endpoint_ref, link));
    registry->n_pods -= workload_is_live(workload) ? 1 : 0;
    count_pod(builder, workload, pod);
    workload->pod = pod;
    registry->n_pods += workload_is_live(workload) ? 1 : 0;
    list_foreach(link, &workload->refs)
        ref_count(builder, list_entry(link, struct endpoint_ref, link));
    if (moves)
        addresses_join(builder, workload);
    take_place(registry, workload);
}

void workload_free_unused(struct registry_builder *builder, struct own_workload *workload)
{
    if (workload->pod || !list_is_empty(&workload->refs))
        return;
    (void)map_remove(&builder->workloads, workload->key);
    arena_fini(&workload->arena);
    mem_free(workload);
}

void registry_add_workloads(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    for (size_t i = 0; i < set->n_nodes; i++)
        map_put(&builder->registry->nodes, set->nodes[i].meta.name, &set->nodes[i]);
    add_namespaces(builder);
    for (size_t i = 0; i < set->n_pods; i++) {
        const struct object *meta = &set->pods[i].meta;
        workload_set_pod(builder, workload_of(builder, meta->namespace_, meta->name),
                         &set->pods[i]);
    }
}

static void free_values(struct map *map)
{
    struct str key;
    void *value;
    for (size_t idx = 0; map_next(map, &idx, &key, &value);)
        mem_free(value);
    map_fini(map);
}

void registry_free_workloads(struct registry_builder *builder)
{
    struct str key;
    void *value;
    for (size_t idx = 0; map_next(&builder->workloads, &idx, &key, &value);) {
        struct own_workload *workload = value;
        arena_fini(&workload->arena);
        mem_free(workload->holders);
    }
    free_values(&builder->workloads);
    free_values(&builder->addresses);
    free_values(&builder->registry->placements);
    map_fini(&builder->namespaces);
    mem_free(builder->touched.items);
}
