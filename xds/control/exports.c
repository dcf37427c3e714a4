/*
 * The merge of the Multi-Cluster Services API: what all clusters export under one name is one
 * service.
 *
 * The oldest export (by creation, then by the cluster's name, so that all clusters come to the
 * same) decides what cannot be both: the type, a port's number where a name is claimed twice, its
 * name where a number is. Other ports are added. An endpoint serves those ports of the result that
 * its own cluster exports; that follows from the memberships, which list just these.
 */
#include <stdlib.h>
#include <string.h>

#include "xds/control/build.h"

struct constituent { /* one cluster's export of a service */
    struct str cluster;
    int64_t created_ns;
    struct model_port *ports;
    size_t n_ports;
    bool is_headless, allow_unhealthy;
    struct service_words words;
    struct constituent *next;
};

struct merge {
    struct str key, namespace_, name;
    struct constituent *constituents;
    size_t n_constituents;
};

static void add_constituent(struct registry_builder *builder, struct str namespace_,
                            struct str name, const struct constituent *with)
{
    struct merge *merge = key_find(&builder->imports, namespace_, name);
    if (!merge) {
        merge = &builder->merges[builder->n_merges++];
        *merge = (struct merge){
            .key = key_make(&builder->registry->arena, namespace_, name),
            .namespace_ = namespace_,
            .name = name,
        };
        map_put(&builder->imports, merge->key, merge);
    }
    struct constituent *constituent = arena_new(&builder->scratch, struct constituent);
    *constituent = *with;
    constituent->next = merge->constituents;
    merge->constituents = constituent;
    merge->n_constituents++;
}

/* ---- our own ---- */

static void add_own(struct registry_builder *builder, const struct k8s_export *export_,
                    struct registry_export *row)
{
    struct arena *arena = &builder->registry->arena;
    const struct object *meta = &export_->meta;
    struct own_service *service = key_find(&builder->service_by_name, meta->namespace_, meta->name);
    row->namespace_ = meta->namespace_;
    row->name = meta->name;
    if (!service) {
        row->validity = EXPORT_NO_SERVICE;
        return;
    }
    if (service->k8s->type == SERVICE_EXTERNAL_NAME) {
        row->validity = EXPORT_INVALID_TYPE;
        return;
    }
    service->exported_ns = meta->created_ns;
    service->exported_name =
        arena_printf(arena, "%.*s/%.*s.%.*s." CLUSTERSET_DOMAIN, STR_ARG(meta->namespace_),
                     STR_ARG(meta->name), STR_ARG(meta->namespace_));
    add_constituent(builder, meta->namespace_, meta->name,
                    &(struct constituent){
                        .cluster = builder->config->cluster,
                        .created_ns = meta->created_ns,
                        .ports = registry_service_ports(arena, service->k8s),
                        .n_ports = service->k8s->n_ports,
                        .is_headless = service->k8s->type == SERVICE_HEADLESS,
                        .allow_unhealthy = service->k8s->publish_not_ready,
                        .words = service->k8s->words,
                    });
}

static int compare_exports(const void *a, const void *b)
{
    const struct registry_export *x = a, *y = b;
    const int order = str_cmp(x->namespace_, y->namespace_);
    return order ? order : str_cmp(x->name, y->name);
}

static void add_own_exports(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    struct registry *registry = builder->registry;
    registry->exports = arena_new_array(&registry->arena, struct registry_export, set->n_exports);
    registry->n_exports = set->n_exports;
    for (size_t i = 0; i < set->n_exports; i++)
        add_own(builder, &set->exports[i], &registry->exports[i]);
    if (set->n_exports > 1)
        qsort(registry->exports, set->n_exports, sizeof(*registry->exports), compare_exports);
}

/* ---- the peers' ---- */

static struct model_port *copy_ports(struct arena *arena, const struct model_service *service)
{
    struct model_port *ports = arena_new_array(arena, struct model_port, service->n_ports);
    for (size_t i = 0; i < service->n_ports; i++) {
        ports[i] = service->ports[i];
        ports[i].name = arena_str(arena, service->ports[i].name);
        ports[i].target_port = 0;
    }
    return ports;
}

static void add_foreign_export(struct registry_builder *builder, const struct registry_peer *peer,
                               const struct model_service *service)
{
    struct arena *arena = &builder->registry->arena;
    add_constituent(builder, arena_str(arena, service->namespace_), arena_str(arena, service->name),
                    &(struct constituent){
                        .cluster = peer->cluster,
                        .created_ns = service->created_ns,
                        .ports = copy_ports(arena, service),
                        .n_ports = service->n_ports,
                        .is_headless = service->is_headless,
                        .allow_unhealthy = service->allow_unhealthy,
                        .words = service->words,
                    });
}

static void add_foreign_exports(struct registry_builder *builder, size_t peer_idx)
{
    const struct registry_peer *peer = &builder->input->peers[peer_idx];
    struct text why = {0};
    for (size_t i = 0; i < peer->n_resources; i++) {
        const struct model_resource *resource = peer->resources[i];
        if (resource->kind != MODEL_SERVICE)
            continue;
        const struct model_service *service = resource->of.service;
        text_clear(&why);
        if (builder->registry->peers[peer_idx].n_services == PEER_SERVICES_MAX) {
            registry_refuse(builder, peer_idx, "more than %d services of %.*s", PEER_SERVICES_MAX,
                            STR_ARG(peer->cluster));
            continue;
        }
        if (!foreign_service_is_good(peer, service, &why)) {
            registry_refuse(builder, peer_idx, "%.*s", STR_ARG(text_str(&why)));
            continue;
        }
        builder->registry->peers[peer_idx].n_services++;
        /* A name exists only where its namespace does. */
        if (registry_has_namespace(builder, service->namespace_))
            add_foreign_export(builder, peer, service);
    }
    text_fini(&why);
}

/* ---- the merge ---- */

static int compare_constituents(const void *a, const void *b)
{
    const struct constituent *x = *(const struct constituent *const *)a;
    const struct constituent *y = *(const struct constituent *const *)b;
    if (x->created_ns != y->created_ns)
        return x->created_ns < y->created_ns ? -1 : 1;
    return str_cmp(x->cluster, y->cluster);
}

static const struct constituent **by_age(struct arena *arena, const struct merge *merge)
{
    const struct constituent **sorted =
        arena_new_array(arena, const struct constituent *, merge->n_constituents);
    size_t n = 0;
    for (const struct constituent *it = merge->constituents; it; it = it->next)
        sorted[n++] = it;
    if (n > 1)
        qsort(sorted, n, sizeof(struct constituent *), compare_constituents);
    return sorted;
}

static bool clashes(const struct model_service *service, const struct model_port *port)
{
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct model_port *taken = &service->ports[i];
        if (str_eq(taken->name, port->name) ||
            (taken->service_port == port->service_port && taken->is_udp == port->is_udp))
            return true;
    }
    return service->n_ports == MODEL_PORTS_MAX;
}

static void merge_ports(struct model_service *service, const struct constituent *with)
{
    for (size_t i = 0; i < with->n_ports; i++)
        if (!clashes(service, &with->ports[i]))
            service->ports[service->n_ports++] = with->ports[i];
}

static bool same_ports(const struct constituent *a, const struct constituent *b)
{
    bool same = a->n_ports == b->n_ports;
    for (size_t i = 0; i < a->n_ports && same; i++) {
        same = false;
        for (size_t j = 0; j < b->n_ports && !same; j++)
            same = a->ports[i].service_port == b->ports[j].service_port &&
                   a->ports[i].is_udp == b->ports[j].is_udp &&
                   str_eq(a->ports[i].name, b->ports[j].name);
    }
    return same;
}

/* What two exports of one service say differently. */
static unsigned conflicts_of(const struct constituent *a, const struct constituent *b)
{
    unsigned conflicts = 0;
    if (!same_ports(a, b))
        conflicts |= CONFLICT_PORT;
    if (a->is_headless != b->is_headless)
        conflicts |= CONFLICT_TYPE;
    if ((a->words.affinity_s == 0) != (b->words.affinity_s == 0))
        conflicts |= CONFLICT_AFFINITY;
    else if (a->words.affinity_s != b->words.affinity_s)
        conflicts |= CONFLICT_AFFINITY_CONFIG;
    if (a->words.is_node_local != b->words.is_node_local)
        conflicts |= CONFLICT_INTERNAL;
    if (a->words.distribution != b->words.distribution)
        conflicts |= CONFLICT_DISTRIBUTION;
    return conflicts;
}

static void import_one(struct registry_builder *builder, const struct merge *merge,
                       struct registry_import *import)
{
    struct arena *arena = &builder->registry->arena;
    const struct constituent **sorted = by_age(&builder->scratch, merge);
    struct str *clusters = arena_new_array(arena, struct str, merge->n_constituents);
    struct model_service *service = &import->service;
    size_t n_ports = 0;
    for (size_t i = 0; i < merge->n_constituents; i++)
        n_ports += sorted[i]->n_ports;
    import->key = merge->key;
    service->name = merge->name;
    service->namespace_ = merge->namespace_;
    service->hostname = arena_printf(arena, "%.*s.%.*s." CLUSTERSET_DOMAIN, STR_ARG(merge->name),
                                     STR_ARG(merge->namespace_));
    service->is_headless = sorted[0]->is_headless;
    service->allow_unhealthy = sorted[0]->allow_unhealthy;
    import->words = sorted[0]->words;
    service->ports = arena_new_array(arena, struct model_port, n_ports);
    for (size_t i = 0; i < merge->n_constituents; i++) {
        clusters[import->n_clusters++] = sorted[i]->cluster;
        merge_ports(service, sorted[i]);
        import->conflicts |= conflicts_of(sorted[0], sorted[i]);
    }
    import->clusters = clusters;
}

static int compare_imports(const void *a, const void *b)
{
    const struct registry_import *x = a, *y = b;
    return str_cmp(x->key, y->key);
}

static void say(struct registry_import *import, const struct k8s_import *from)
{
    if (from->says_affinity)
        import->words.affinity_s = from->words.affinity_s;
    if (from->says_internal)
        import->words.is_node_local = from->words.is_node_local;
    if (from->says_distribution)
        import->words.distribution = from->words.distribution;
}

/* What a ServiceImport manifest asks for; and the conflicts, which every export of the service is
 * told. */
static void annotate(struct registry_builder *builder)
{
    struct registry *registry = builder->registry;
    const struct manifests *set = builder->manifests;
    struct map by_key = {0};
    for (size_t i = 0; i < registry->n_imports; i++)
        map_put(&by_key, registry->imports[i].key, &registry->imports[i]);
    for (size_t i = 0; i < set->n_imports; i++) {
        const struct k8s_import *from = &set->imports[i];
        struct registry_import *import = key_find(&by_key, from->meta.namespace_, from->meta.name);
        if (!import)
            continue;
        for (size_t j = 0; j < from->n_addresses; j++)
            import->wanted[import->n_wanted++] = from->addresses[j];
        say(import, from);
    }
    for (size_t i = 0; i < registry->n_exports; i++) {
        struct registry_export *row = &registry->exports[i];
        const struct registry_import *import = key_find(&by_key, row->namespace_, row->name);
        if (import && row->validity == EXPORT_VALID)
            row->conflicts = import->conflicts;
    }
    map_fini(&by_key);
}

void registry_add_exports(struct registry_builder *builder)
{
    struct registry *registry = builder->registry;
    size_t most = builder->manifests->n_exports;
    for (size_t i = 0; i < builder->input->n_peers; i++)
        most += builder->input->peers[i].n_resources;
    builder->merges = arena_new_array(&builder->scratch, struct merge, most);
    add_own_exports(builder);
    for (size_t i = 0; i < builder->input->n_peers; i++)
        add_foreign_exports(builder, i);
    registry->imports =
        arena_new_array(&registry->arena, struct registry_import, builder->n_merges);
    registry->n_imports = builder->n_merges;
    for (size_t i = 0; i < builder->n_merges; i++)
        import_one(builder, &builder->merges[i], &registry->imports[i]);
    if (registry->n_imports > 1)
        qsort(registry->imports, registry->n_imports, sizeof(*registry->imports), compare_imports);
    annotate(builder);
}
