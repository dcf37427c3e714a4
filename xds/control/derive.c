/*
 * A workload from all that is said of it: its pod, the endpoints that are it, the selectors that
 * select it, the policies for the services behind which it stands. Everything is put into an order
 * of its own, by name, so that the resource does not depend on that of files, documents or changes.
 *
 * One pod may stand in several slices of a service (one a family; while it is moved between them):
 * it is one backing, ready if one of them says so.
 */
#include <stdlib.h>
#include <string.h>

#include "xds/control/build.h"

struct backing { /* the workload, behind one of its services */
    struct own_service *service;
    const struct model_port *ports; /* shared with others behind the same slice */
    size_t n_ports;
    struct str dns_hostname;
    bool is_ready;
    bool is_terminating;
    bool is_draining; /* terminating but still serving */
    struct backing *next;
};

struct name { /* of a policy or RequestAuthentication */
    struct str key;
    struct name *next;
};

struct names {
    struct name *first;
    size_t len;
};

struct derivation {
    struct registry_builder *builder;
    const struct own_workload *workload;
    struct arena *arena; /* of what comes out */
    struct arena scratch;
    struct backing *backings;
    size_t n_backings, n_exported;
    struct names policies, request_auths;
    const struct k8s_peer_auth *peer_auth; /* the oldest that selects it */
};

/* ---- backings ---- */

static struct backing *find_backing(const struct derivation *at, const struct own_service *service)
{
    for (struct backing *it = at->backings; it; it = it->next)
        if (it->service == service)
            return it;
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

static void back(struct derivation *at, const struct backing *with)
{
    struct backing *backing = find_backing(at, with->service);
    if (backing) {
        add_ports(at->arena, backing, with->ports, with->n_ports);
        backing->is_ready = backing->is_ready || with->is_ready;
        backing->is_draining = backing->is_draining || with->is_draining;
        backing->is_terminating = backing->is_terminating || with->is_terminating;
        if (str_is_empty(backing->dns_hostname))
            backing->dns_hostname = with->dns_hostname;
        return;
    }
    backing = arena_new(&at->scratch, struct backing);
    *backing = *with;
    backing->next = at->backings;
    at->backings = backing;
    at->n_backings++;
}

static int compare_refs(const void *a, const void *b)
{
    const struct endpoint_ref *x = *(const struct endpoint_ref *const *)a;
    const struct endpoint_ref *y = *(const struct endpoint_ref *const *)b;
    if (x->slice != y->slice)
        return str_cmp(x->slice->key, y->slice->key);
    return x < y ? -1 : x > y;
}

static const struct endpoint_ref **sorted_refs(struct derivation *at, size_t *out_n)
{
    const struct endpoint_ref **refs;
    *out_n = 0;
    list_foreach(link, &at->workload->refs)++ *out_n;
    refs = arena_new_array(&at->scratch, const struct endpoint_ref *, *out_n);
    *out_n = 0;
    list_foreach(link, &at->workload->refs) refs[(*out_n)++] =
        list_entry(link, struct endpoint_ref, link);
    if (*out_n > 1)
        qsort(refs, *out_n, sizeof(struct endpoint_ref *), compare_refs);
    return refs;
}

static void back_by_slices(struct derivation *at)
{
    size_t n;
    const struct endpoint_ref **refs = sorted_refs(at, &n);
    for (size_t i = 0; i < n; i++) {
        const struct own_slice *slice = refs[i]->slice;
        const struct k8s_endpoint *endpoint = refs[i]->endpoint;
        const struct backing backing = {
            .service = slice->service,
            .ports = slice->ports,
            .n_ports = slice->n_ports,
            .dns_hostname = endpoint->hostname,
            .is_ready = endpoint->is_ready,
            .is_draining = endpoint->is_serving && endpoint->is_terminating,
            .is_terminating = endpoint->is_terminating,
        };
        if (slice_serves(slice))
            back(at, &backing);
    }
    /* Kubernetes' rule: as long as nobody is ready, those that still serve while they go are better
     * than none. */
    for (struct backing *it = at->backings; it; it = it->next)
        if (it->service->n_ready == 0)
            it->is_ready = it->is_draining;
}

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

static void back_selected(struct derivation *at, struct own_service *service)
{
    const struct k8s_pod *pod = at->workload->pod;
    struct backing backing = {.service = service, .is_ready = pod->is_ready};
    backing.ports = pod_ports(at->arena, service->k8s, pod, &backing.n_ports);
    if (str_eq(pod->subdomain, service->k8s->meta.name))
        backing.dns_hostname = pod->hostname;
    if (backing.n_ports > 0 || service->k8s->n_ports == 0)
        back(at, &backing);
}

/* ---- policies ---- */

static void add_name(struct derivation *at, struct names *names, struct str key)
{
    struct name *name = arena_new(&at->scratch, struct name);
    *name = (struct name){key, names->first};
    names->first = name;
    names->len++;
}

static int compare_keys(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Each once: who stands behind several services of a policy is named several times. */
static struct str *sorted_names(const struct derivation *at, const struct names *names,
                                size_t *out_n)
{
    struct str *keys = arena_new_array(at->arena, struct str, names->len);
    size_t n = 0;
    for (const struct name *it = names->first; it; it = it->next)
        keys[n++] = it->key;
    if (n > 1)
        qsort(keys, n, sizeof(*keys), compare_keys);
    *out_n = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !str_eq(keys[i], keys[i - 1]))
            keys[(*out_n)++] = keys[i];
    return keys;
}

static void on_selector(void *owner, const struct selector *selector)
{
    struct derivation *at = owner;
    switch (selector->kind) {
    case SELECTS_BACKING: back_selected(at, selector->service); break;
    case SELECTS_POLICY: add_name(at, &at->policies, selector->key); break;
    case SELECTS_REQUEST_AUTH: add_name(at, &at->request_auths, selector->key); break;
    case SELECTS_PEER_AUTH:
        if (!at->peer_auth || object_is_older(&selector->peer_auth->meta, &at->peer_auth->meta))
            at->peer_auth = selector->peer_auth;
        break;
    }
}

static void add_names_of_services(struct derivation *at)
{
    for (const struct backing *it = at->backings; it; it = it->next)
        for (const struct named *named = it->service->named; named; named = named->next)
            add_name(at, named->is_request_auth ? &at->request_auths : &at->policies, named->key);
}

static void add_peer_auth(struct derivation *at)
{
    struct str key =
        registry_peer_auth_key(at->builder, at->workload->pod->meta.namespace_, at->peer_auth);
    if (!str_is_empty(key))
        add_name(at, &at->policies, key);
}

/* ---- what comes out ---- */

static bool is_exported(const struct backing *backing)
{
    return !str_is_empty(backing->service->exported_name);
}

static struct model_membership membership_of(const struct derivation *at,
                                             const struct backing *backing, struct str service)
{
    struct model_membership membership = {
        .service = service,
        .ports = arena_new_array(at->arena, struct model_port, backing->n_ports),
        .n_ports = backing->n_ports,
        .dns_hostname = backing->dns_hostname,
        .not_ready = !backing->is_ready,
        .is_terminating = backing->is_terminating,
    };
    if (backing->n_ports > 0)
        memcpy(membership.ports, backing->ports, backing->n_ports * sizeof(*backing->ports));
    return membership;
}

static int compare_backings(const void *a, const void *b)
{
    const struct backing *x = *(const struct backing *const *)a;
    const struct backing *y = *(const struct backing *const *)b;
    return str_cmp(x->service->local_name, y->service->local_name);
}

static const struct backing **sorted_backings(struct derivation *at)
{
    const struct backing **sorted =
        arena_new_array(&at->scratch, const struct backing *, at->n_backings);
    size_t n = 0;
    for (const struct backing *it = at->backings; it; it = it->next)
        sorted[n++] = it;
    if (n > 1)
        qsort(sorted, n, sizeof(struct backing *), compare_backings);
    return sorted;
}

/* Each service by its name in the cluster and, when it is exported, by that in the clusterset. */
static void write_memberships(struct derivation *at, const struct backing *const *sorted,
                              struct model_workload *model)
{
    model->services = arena_new_array(at->arena, struct model_membership, 2 * at->n_backings);
    for (size_t i = 0; i < at->n_backings; i++) {
        const struct own_service *service = sorted[i]->service;
        model->services[model->n_services++] = membership_of(at, sorted[i], service->local_name);
        if (!is_exported(sorted[i]))
            continue;
        model->services[model->n_services++] = membership_of(at, sorted[i], service->exported_name);
        at->n_exported++;
    }
}

/* Peers see what reaches the workload and who it is; not its node, its policies or what else it
 * serves. */
static struct model_workload *shared_model(const struct derivation *at,
                                           const struct backing *const *sorted,
                                           const struct model_workload *own)
{
    struct model_workload *model = arena_new(at->arena, struct model_workload);
    *model = *own;
    model->node = (struct str){0};
    model->pod_uid = (struct str){0};
    model->policies = NULL;
    model->n_policies = 0;
    model->request_auths = NULL;
    model->n_request_auths = 0;
    model->services = arena_new_array(at->arena, struct model_membership, at->n_exported);
    model->n_services = 0;
    for (size_t i = 0; i < at->n_backings; i++)
        if (is_exported(sorted[i]))
            model->services[model->n_services++] =
                membership_of(at, sorted[i], sorted[i]->service->exported_name);
    return model;
}

static struct model_resource resource_of(struct model_workload *model)
{
    return (struct model_resource){
        .kind = MODEL_WORKLOAD, .name = model->uid, .of.workload = model};
}

void workload_derive(struct registry_builder *builder, struct own_workload *workload,
                     struct arena *arena)
{
    struct derivation at = {.builder = builder, .workload = workload, .arena = arena};
    struct model_workload *model = &workload->model;
    workload->own.resource = workload->shared.resource = (struct model_resource){0};
    if (!workload_is_live(workload))
        return;
    back_by_slices(&at);
    selection_each(builder, workload->pod, on_selector, &at);
    add_names_of_services(&at);
    add_peer_auth(&at);
    const struct backing *const *sorted = sorted_backings(&at);
    workload_fill(builder, workload->pod, arena, model);
    write_memberships(&at, sorted, model);
    model->policies = sorted_names(&at, &at.policies, &model->n_policies);
    model->request_auths = sorted_names(&at, &at.request_auths, &model->n_request_auths);
    workload->own.resource = resource_of(model);
    if (at.n_exported > 0)
        workload->shared.resource = resource_of(shared_model(&at, sorted, model));
    arena_fini(&at.scratch);
}

void registry_derive_all(struct registry_builder *builder)
{
    services_settle(builder);
    builder->reaches_further = false;
    for (size_t i = 0; i < builder->touched.len; i++)
        workload_derive(builder, builder->touched.items[i], &builder->registry->arena);
}
