/* What needs more than one object to see. */
#include "config/manifests.h"
#include "proxy/base/map.h"
#include "proxy/base/text.h"

struct index {
    struct arena arena;         /* the keys */
    struct map services, nodes; /* -> the object */
    struct map namespaces;      /* of pods -> the first pod in it, see next_in_namespace */
    size_t *next_in_namespace;  /* by pod: the next one of its namespace plus one, 0 at the end */
};

static struct str key_of(struct index *index, const struct object *meta)
{
    return arena_printf(&index->arena, "%.*s/%.*s", STR_ARG(meta->namespace_), STR_ARG(meta->name));
}

static void build_index(struct index *index, const struct manifests *set)
{
    for (size_t i = 0; i < set->n_services; i++)
        map_put(&index->services, key_of(index, &set->services[i].meta), &set->services[i]);
    for (size_t i = 0; i < set->n_nodes; i++)
        map_put(&index->nodes, set->nodes[i].meta.name, &set->nodes[i]);
    index->next_in_namespace = arena_new_array(&index->arena, size_t, set->n_pods);
    for (size_t i = 0; i < set->n_pods; i++) {
        struct str namespace_ = set->pods[i].meta.namespace_;
        const struct k8s_pod *before = map_put(&index->namespaces, namespace_, &set->pods[i]);
        index->next_in_namespace[i] = before ? (size_t)(before - set->pods) + 1 : 0;
    }
}

static void tell_export(struct diag *diag, bool strict, const struct object *meta, const char *why)
{
    if (strict)
        diag_error(diag, meta->place, "ServiceExport %.*s/%.*s: %s", STR_ARG(meta->namespace_),
                   STR_ARG(meta->name), why);
    else
        diag_warn(diag, meta->place, "ServiceExport %.*s/%.*s: %s", STR_ARG(meta->namespace_),
                  STR_ARG(meta->name), why);
}

static void check_exports(struct index *index, const struct manifests *set, bool strict,
                          struct diag *diag)
{
    for (size_t i = 0; i < set->n_exports; i++) {
        const struct object *meta = &set->exports[i].meta;
        const struct k8s_service *service = map_find(&index->services, key_of(index, meta));
        if (!service)
            tell_export(diag, strict, meta, "there is no Service of that name to export");
        else if (service->type == SERVICE_EXTERNAL_NAME)
            tell_export(diag, strict, meta, "an ExternalName Service cannot be exported");
    }
}

/* Of one of another implementation, which is of a service that lives elsewhere, nothing is told. */
static bool is_imported(const struct k8s_endpoint_slice *slice)
{
    return !str_is_empty(label_find(slice->meta.labels, slice->meta.n_labels,
                                    "multicluster.kubernetes.io/service-name"));
}

static void check_slice(const struct k8s_endpoint_slice *slice, bool has_service, struct diag *diag)
{
    if (is_imported(slice))
        return;
    if (str_is_empty(slice->service))
        diag_warn(diag, slice->meta.place,
                  "EndpointSlice %.*s/%.*s: has no label kubernetes.io/service-name, so it "
                  "belongs to no Service",
                  STR_ARG(slice->meta.namespace_), STR_ARG(slice->meta.name));
    else if (!has_service)
        diag_warn(diag, slice->meta.place, "EndpointSlice %.*s/%.*s: there is no Service \"%.*s\"",
                  STR_ARG(slice->meta.namespace_), STR_ARG(slice->meta.name),
                  STR_ARG(slice->service));
}

static void check_slices(struct index *index, const struct manifests *set, struct diag *diag)
{
    for (size_t i = 0; i < set->n_slices; i++) {
        const struct k8s_endpoint_slice *slice = &set->slices[i];
        const struct object wanted = {.namespace_ = slice->meta.namespace_, .name = slice->service};
        check_slice(slice, map_find(&index->services, key_of(index, &wanted)) != NULL, diag);
    }
}

static void check_pod(const struct k8s_pod *pod, bool has_node, struct diag *diag)
{
    if (!str_is_empty(pod->node) && !pod->is_finished && !has_node)
        diag_warn(diag, pod->meta.place, "Pod %.*s/%.*s: there is no Node \"%.*s\"",
                  STR_ARG(pod->meta.namespace_), STR_ARG(pod->meta.name), STR_ARG(pod->node));
}

/* A set without any Node says nothing about nodes. */
static void check_pods(const struct index *index, const struct manifests *set, struct diag *diag)
{
    for (size_t i = 0; i < set->n_pods && set->n_nodes > 0; i++)
        check_pod(&set->pods[i], map_find(&index->nodes, set->pods[i].node) != NULL, diag);
}

void manifests_cross_check_changes(const struct manifests *manifests,
                                   const struct manifests_changes *changes, struct diag *diag)
{
    struct text key = {0};
    for (size_t i = 0; i < changes->n_slices; i++) {
        const struct k8s_endpoint_slice *slice = changes->slices[i];
        text_clear(&key);
        text_addf(&key, "Service/%.*s/%.*s", STR_ARG(slice->meta.namespace_),
                  STR_ARG(slice->service));
        check_slice(slice, map_find(&manifests->seen, text_str(&key)) != NULL, diag);
    }
    for (size_t i = 0; i < changes->n_pods && manifests->n_nodes > 0; i++) {
        text_clear(&key);
        text_addf(&key, "Node//%.*s", STR_ARG(changes->pods[i]->node));
        check_pod(changes->pods[i], map_find(&manifests->seen, text_str(&key)) != NULL, diag);
    }
    text_fini(&key);
}

struct selecting { /* a policy or a RequestAuthentication */
    const struct object *meta;
    const struct label *selector;
    size_t n_selector;
};

static bool selects(const struct selecting *by, const struct k8s_pod *pod)
{
    return label_select(by->selector, by->n_selector, pod->meta.labels, pod->meta.n_labels);
}

/* In its own namespace; one of a namespace without pods may be the root namespace, whose policies
 * select everywhere. */
static bool selects_any(const struct index *index, const struct manifests *set,
                        const struct selecting *by)
{
    const struct k8s_pod *pod = map_find(&index->namespaces, by->meta->namespace_);
    for (size_t i = 0; !pod && i < set->n_pods; i++)
        if (selects(by, &set->pods[i]))
            return true;
    while (pod) {
        if (selects(by, pod))
            return true;
        size_t next = index->next_in_namespace[pod - set->pods];
        pod = next ? &set->pods[next - 1] : NULL;
    }
    return false;
}

static void check_selector(const struct index *index, const struct manifests *set,
                           const struct selecting *by, const char *kind, struct diag *diag)
{
    if (!selects_any(index, set, by))
        diag_warn(diag, by->meta->place, "%s %.*s/%.*s: its selector selects no pod", kind,
                  STR_ARG(by->meta->namespace_), STR_ARG(by->meta->name));
}

static void check_selectors(const struct index *index, const struct manifests *set,
                            struct diag *diag)
{
    for (size_t i = 0; i < set->n_policies; i++) {
        const struct k8s_policy *policy = &set->policies[i];
        const struct selecting by = {&policy->meta, policy->selector, policy->n_selector};
        if (policy->has_selector)
            check_selector(index, set, &by, "AuthorizationPolicy", diag);
    }
    for (size_t i = 0; i < set->n_request_auths; i++) {
        const struct k8s_request_auth *auth = &set->request_auths[i];
        const struct selecting by = {&auth->meta, auth->selector, auth->n_selector};
        if (auth->n_selector > 0)
            check_selector(index, set, &by, "RequestAuthentication", diag);
    }
}

static bool has_export(const struct manifests *set, struct str namespace_, struct str name)
{
    for (size_t i = 0; i < set->n_exports; i++)
        if (str_eq(set->exports[i].meta.namespace_, namespace_) &&
            str_eq(set->exports[i].meta.name, name))
            return true;
    return false;
}

/* What is for a service that nothing here serves applies to nobody. */
static void check_target(struct index *index, const struct manifests *set,
                         const struct object *meta, const struct k8s_target *target,
                         const char *kind, struct diag *diag)
{
    const struct object wanted = {.namespace_ = meta->namespace_, .name = target->name};
    const char *lack = NULL;
    if (!map_find(&index->services, key_of(index, &wanted)))
        lack = "there is no Service";
    else if (target->is_import && !has_export(set, wanted.namespace_, wanted.name))
        lack = "this cluster does not export a Service";
    if (lack)
        diag_warn(diag, target->place,
                  "%s %.*s/%.*s: %s \"%.*s\" here, so it applies to nothing through this target",
                  kind, STR_ARG(meta->namespace_), STR_ARG(meta->name), lack,
                  STR_ARG(target->name));
}

static void check_targets(struct index *index, const struct manifests *set, struct diag *diag)
{
    for (size_t i = 0; i < set->n_policies; i++)
        for (size_t t = 0; t < set->policies[i].n_targets; t++)
            check_target(index, set, &set->policies[i].meta, &set->policies[i].targets[t],
                         "AuthorizationPolicy", diag);
    for (size_t i = 0; i < set->n_request_auths; i++)
        for (size_t t = 0; t < set->request_auths[i].n_targets; t++)
            check_target(index, set, &set->request_auths[i].meta, &set->request_auths[i].targets[t],
                         "RequestAuthentication", diag);
}

bool object_is_older(const struct object *a, const struct object *b)
{
    if (a->created_ns != b->created_ns)
        return a->created_ns < b->created_ns;
    const int order = str_cmp(a->name, b->name);
    return order != 0 ? order < 0 : str_cmp(a->namespace_, b->namespace_) < 0;
}

/* The oldest without a selector counts in each namespace. */
static void check_peer_auths(const struct manifests *set, struct str root_namespace,
                             struct diag *diag)
{
    struct map oldest = {0};
    for (size_t i = 0; i < set->n_peer_auths; i++) {
        const struct k8s_peer_auth *auth = &set->peer_auths[i];
        const struct k8s_peer_auth *other = map_find(&oldest, auth->meta.namespace_);
        if (auth->n_selector == 0 && (!other || object_is_older(&auth->meta, &other->meta)))
            map_put(&oldest, auth->meta.namespace_, (void *)(uintptr_t)auth);
    }
    for (size_t i = 0; i < set->n_peer_auths; i++) {
        const struct k8s_peer_auth *auth = &set->peer_auths[i];
        const struct k8s_peer_auth *other = map_find(&oldest, auth->meta.namespace_);
        if (auth->n_selector > 0 && str_eq(auth->meta.namespace_, root_namespace))
            diag_warn(diag, auth->meta.place,
                      "PeerAuthentication %.*s/%.*s: has no effect: one with a selector does not "
                      "count in the root namespace",
                      STR_ARG(auth->meta.namespace_), STR_ARG(auth->meta.name));
        else if (auth->n_selector == 0 && other != auth)
            diag_warn(diag, auth->meta.place,
                      "PeerAuthentication %.*s/%.*s: has no effect: %.*s is older and for the same "
                      "namespace",
                      STR_ARG(auth->meta.namespace_), STR_ARG(auth->meta.name),
                      STR_ARG(other->meta.name));
    }
    map_fini(&oldest);
}

/* The oldest of several for one target counts; without a time, the first by name. */
static bool yields(const struct k8s_traffic *a, const struct k8s_traffic *b)
{
    if (a->meta.created_ns != b->meta.created_ns)
        return a->meta.created_ns > b->meta.created_ns;
    return str_cmp(a->meta.name, b->meta.name) > 0;
}

static void tell_rivals(const struct manifests *set, const struct k8s_traffic *traffic,
                        struct diag *diag)
{
    for (size_t i = 0; i < set->n_traffics; i++) {
        const struct k8s_traffic *other = &set->traffics[i];
        if (other == traffic || other->is_import != traffic->is_import ||
            !str_eq(other->target, traffic->target) ||
            !str_eq(other->meta.namespace_, traffic->meta.namespace_) || !yields(traffic, other))
            continue;
        diag_warn(diag, traffic->meta.place,
                  "TrafficPolicy %.*s/%.*s: has no effect: %.*s is older and has the same target",
                  STR_ARG(traffic->meta.namespace_), STR_ARG(traffic->meta.name),
                  STR_ARG(other->meta.name));
        return;
    }
}

/* What a ServiceImport stands for may be exported by another cluster alone, so only its own
 * manifests can be asked, and absence is no proof. */
static void check_traffics(struct index *index, const struct manifests *set, struct diag *diag)
{
    for (size_t i = 0; i < set->n_traffics; i++) {
        const struct k8s_traffic *traffic = &set->traffics[i];
        const struct object target = {.namespace_ = traffic->meta.namespace_,
                                      .name = traffic->target};
        if (!traffic->is_import && !map_find(&index->services, key_of(index, &target)))
            diag_warn(diag, traffic->meta.place,
                      "TrafficPolicy %.*s/%.*s: there is no Service \"%.*s\"",
                      STR_ARG(traffic->meta.namespace_), STR_ARG(traffic->meta.name),
                      STR_ARG(traffic->target));
        tell_rivals(set, traffic, diag);
    }
}

void manifests_cross_check(const struct manifests *manifests, struct str root_namespace,
                           bool strict, struct diag *diag)
{
    struct index index = {0};
    build_index(&index, manifests);
    check_exports(&index, manifests, strict, diag);
    check_slices(&index, manifests, diag);
    check_pods(&index, manifests, diag);
    check_selectors(&index, manifests, diag);
    check_targets(&index, manifests, diag);
    check_peer_auths(manifests, root_namespace, diag);
    check_traffics(&index, manifests, diag);
    routes_cross_check(manifests, strict, diag);
    map_fini(&index.services);
    map_fini(&index.nodes);
    map_fini(&index.namespaces);
    arena_fini(&index.arena);
}
