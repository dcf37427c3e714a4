#include "cluster.h"

#include <criterion/criterion.h>
#include <sys/stat.h>

#include "proxy/base/file.h"

void cluster_init(struct cluster *cluster)
{
    *cluster = (struct cluster){
        .dir = temp_dir_new(),
        .config =
            {
                .cluster = STR("west"),
                .trust_domain = STR("west.example"),
                .cluster_domain = STR("cluster.local"),
                .root_namespace = STR("isthmus-system"),
                .n_ranges = 1,
            },
    };
    cr_assert_eq(cidr_parse(STR("10.201.0.0/16"), &cluster->config.ranges[0]), 0);
}

void cluster_fini(struct cluster *cluster)
{
    registry_free(cluster->registry);
    manifests_free(cluster->manifests);
    text_fini(&cluster->yaml);
    arena_fini(&cluster->arena);
    temp_dir_remove(&cluster->dir);
}

void cluster_add(struct cluster *cluster, const char *document)
{
    text_addf(&cluster->yaml, "---\n%s\n", document);
}

void cluster_addf(struct cluster *cluster, const char *format, ...)
{
    va_list args;
    text_add(&cluster->yaml, STR("---\n"));
    va_start(args, format);
    text_addv(&cluster->yaml, format, args);
    va_end(args);
    text_addc(&cluster->yaml, '\n');
}

void cluster_pod(struct cluster *cluster, const char *namespace_, const char *name, const char *ip,
                 const char *labels)
{
    cluster_addf(
        cluster,
        "{apiVersion: v1, kind: Pod, metadata: {namespace: %s, name: %s, uid: u-%s, labels: "
        "{isthmus.io/mesh: enabled%s%s}}, spec: {nodeName: n1, serviceAccountName: sa, "
        "containers: [{name: c, ports: [{name: web, containerPort: 8088}]}]}, status: "
        "{podIP: \"%s\"}}",
        namespace_, name, name, *labels ? ", " : "", labels, ip);
}

void cluster_namespace(struct cluster *cluster, const char *name, const char *labels)
{
    cluster_addf(cluster, "{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {%s}}}",
                 name, labels);
}

void cluster_node(struct cluster *cluster, const char *name)
{
    cluster_addf(cluster,
                 "{apiVersion: v1, kind: Node, metadata: {name: %s, labels: "
                 "{topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}}}",
                 name);
}

void cluster_service(struct cluster *cluster, const char *namespace_, const char *name,
                     const char *cluster_ip, const char *ports, const char *selector)
{
    cluster_addf(cluster,
                 "{apiVersion: v1, kind: Service, metadata: {namespace: %s, name: %s}, spec: "
                 "{clusterIP: \"%s\", ports: [%s], selector: {%s}}}",
                 namespace_, name, cluster_ip, ports, selector);
}

void cluster_export(struct cluster *cluster, const char *namespace_, const char *name,
                    const char *created)
{
    cluster_addf(cluster,
                 "{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceExport, metadata: "
                 "{namespace: %s, name: %s, creationTimestamp: \"%s\"}}",
                 namespace_, name, created);
}

void cluster_write(struct cluster *cluster, const char *folder)
{
    struct text path = {0};
    text_addf(&path, "%s/all.yaml", folder);
    if (cluster->yaml.len == 0)
        cluster_namespace(cluster, "default", "");
    cr_assert_eq(file_write_atomic(text_str(&path), text_str(&cluster->yaml), 0600), 0);
    text_fini(&path);
}

static void read_manifests(struct cluster *cluster)
{
    struct diag diag = {0};
    struct text said = {0};
    cluster_write(cluster, cluster->dir.path);
    manifests_free(cluster->manifests);
    cluster->manifests = manifests_read(cluster->dir.path, &diag);
    diag_print(&diag, &said);
    cr_assert_not_null(cluster->manifests, "%s", said.ptr);
    text_fini(&said);
    diag_fini(&diag);
}

struct registry *cluster_build(struct cluster *cluster)
{
    static const struct model_bundle bundles[] = {{STR("west.example"), STR("WEST ROOTS"), {0}},
                                                  {STR("east.example"), STR("EAST ROOTS"), {0}}};
    const struct registry_input input = {
        .config = &cluster->config,
        .peers = cluster->peers,
        .n_peers = cluster->n_peers,
        .keys = cluster->keys,
        .n_keys = cluster->n_keys,
        .bundles = bundles,
        .n_bundles = ARRAY_LEN(bundles),
        .own_roots_pem = STR("WEST ROOTS"),
    };
    struct registry_input with_manifests = input;
    registry_free(cluster->registry);
    read_manifests(cluster);
    with_manifests.manifests = cluster->manifests;
    cluster->registry = registry_build(&with_manifests);
    registry_emit(cluster->registry);
    return cluster->registry;
}

/* ---- finding ---- */

static const struct model_resource *find(const struct model_resource *const *list, size_t n,
                                         enum model_kind kind, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->kind == kind && str_eq(list[i]->name, str_from(name)))
            return list[i];
    return NULL;
}

static const struct model_service *find_host(const struct model_resource *const *list, size_t n,
                                             const char *hostname)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->kind == MODEL_SERVICE &&
            str_eq(list[i]->of.service->hostname, str_from(hostname)))
            return list[i]->of.service;
    return NULL;
}

const struct model_workload *find_workload(const struct registry *registry, const char *uid)
{
    const struct model_resource *found =
        find(registry->for_nodes, registry->n_for_nodes, MODEL_WORKLOAD, uid);
    return found ? found->of.workload : NULL;
}

const struct model_service *find_service(const struct registry *registry, const char *hostname)
{
    return find_host(registry->for_nodes, registry->n_for_nodes, hostname);
}

const struct model_policy *find_policy(const struct registry *registry, const char *name)
{
    const struct model_resource *found =
        find(registry->for_nodes, registry->n_for_nodes, MODEL_POLICY, name);
    return found ? found->of.policy : NULL;
}

const struct model_workload *find_shared_workload(const struct registry *registry, const char *uid)
{
    const struct model_resource *found =
        find(registry->for_peers, registry->n_for_peers, MODEL_WORKLOAD, uid);
    return found ? found->of.workload : NULL;
}

const struct model_service *find_shared_service(const struct registry *registry,
                                                const char *hostname)
{
    return find_host(registry->for_peers, registry->n_for_peers, hostname);
}

const struct model_membership *find_membership(const struct model_workload *workload,
                                               const char *service)
{
    for (size_t i = 0; workload && i < workload->n_services; i++)
        if (str_eq(workload->services[i].service, str_from(service)))
            return &workload->services[i];
    return NULL;
}

const struct registry_import *find_import(const struct registry *registry, const char *key)
{
    for (size_t i = 0; i < registry->n_imports; i++)
        if (str_eq(registry->imports[i].key, str_from(key)))
            return &registry->imports[i];
    return NULL;
}

const struct registry_export *find_export(const struct registry *registry, const char *name)
{
    for (size_t i = 0; i < registry->n_exports; i++)
        if (str_eq(registry->exports[i].name, str_from(name)))
            return &registry->exports[i];
    return NULL;
}

/* ---- peers ---- */

#define PEER_RESOURCES_MAX 16

struct registry_peer *cluster_peer(struct cluster *cluster, const char *name)
{
    cr_assert_lt(cluster->n_peers, PEERS_OF_TESTS);
    struct registry_peer *peer = &cluster->peers[cluster->n_peers++];
    *peer = (struct registry_peer){
        .cluster = str_from(name),
        .trust_domain = arena_printf(&cluster->arena, "%s.example", name),
        .resources =
            arena_new_array(&cluster->arena, const struct model_resource *, PEER_RESOURCES_MAX),
    };
    return peer;
}

struct model_resource *peer_add(struct cluster *cluster, struct registry_peer *peer,
                                struct model_resource resource)
{
    struct model_resource *added = arena_new(&cluster->arena, struct model_resource);
    const struct model_resource **list =
        (const struct model_resource **)(uintptr_t)peer->resources; /* ours, see cluster_peer() */
    cr_assert_lt(peer->n_resources, PEER_RESOURCES_MAX);
    *added = resource;
    list[peer->n_resources++] = added;
    return added;
}

struct model_service *peer_service(struct cluster *cluster, struct registry_peer *peer,
                                   const char *namespace_, const char *name, uint16_t port,
                                   const char *port_name, int64_t created_ns)
{
    struct arena *arena = &cluster->arena;
    struct model_service *service = arena_new(arena, struct model_service);
    *service = (struct model_service){
        .name = str_from(name),
        .namespace_ = str_from(namespace_),
        .hostname = arena_printf(arena, "%s.%s.svc.clusterset.local", name, namespace_),
        .ports = arena_new(arena, struct model_port),
        .n_ports = 1,
        .created_ns = created_ns,
    };
    service->ports[0] = (struct model_port){.service_port = port, .name = str_from(port_name)};
    peer_add(cluster, peer,
             (struct model_resource){
                 .kind = MODEL_SERVICE,
                 .name = arena_printf(arena, "%s/%.*s", namespace_, STR_ARG(service->hostname)),
                 .of.service = service,
             });
    return service;
}

struct model_workload *peer_workload(struct cluster *cluster, struct registry_peer *peer,
                                     const char *namespace_, const char *name, const char *ip,
                                     const char *service, uint16_t port)
{
    struct arena *arena = &cluster->arena;
    struct model_workload *workload = arena_new(arena, struct model_workload);
    *workload = (struct model_workload){
        .uid = arena_printf(arena, "%.*s//v1/Pod/%s/%s", STR_ARG(peer->cluster), namespace_, name),
        .name = str_from(name),
        .namespace_ = str_from(namespace_),
        .service_account = STR("sa"),
        .trust_domain = peer->trust_domain,
        .cluster = peer->cluster,
        .n_addresses = 1,
        .speaks_hbone = true,
        .is_healthy = true,
        .capacity = 1,
        .services = arena_new(arena, struct model_membership),
        .n_services = 1,
    };
    cr_assert_eq(ip_parse(str_from(ip), &workload->addresses[0]), 0);
    workload->services[0] = (struct model_membership){
        .service = str_from(service),
        .ports = arena_new(arena, struct model_port),
        .n_ports = 1,
    };
    workload->services[0].ports[0] =
        (struct model_port){.service_port = port, .target_port = (uint16_t)(port + 8000)};
    peer_add(cluster, peer,
             (struct model_resource){
                 .kind = MODEL_WORKLOAD, .name = workload->uid, .of.workload = workload});
    return workload;
}
