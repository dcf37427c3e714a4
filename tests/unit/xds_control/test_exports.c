/* The rules of the Multi-Cluster Services API over several clusters. */
#include <criterion/criterion.h>

#include "cluster.h"

#define NS_2026 INT64_C(1767225600000000000) /* 2026-01-01T00:00:00Z */
#define CART    "shop/cart.shop.svc.clusterset.local"

static struct cluster cluster;
static struct registry_peer *east;

static void init(void)
{
    cluster_init(&cluster);
    east = cluster_peer(&cluster, "east");
}

static void fini(void)
{
    cluster_fini(&cluster);
}

TestSuite(exports, .init = init, .fini = fini);

static void add_cart(const char *ports)
{
    cluster_pod(&cluster, "shop", "a", "10.1.0.1", "app: cart");
    cluster_service(&cluster, "shop", "cart", "10.96.0.1", ports, "app: cart");
}

Test(exports, an_export_makes_a_clusterset_service_here_and_for_the_peers)
{
    add_cart("{name: http, port: 80, targetPort: 8080}");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");

    const struct registry *registry = cluster_build(&cluster);

    const struct registry_import *import = find_import(registry, "shop/cart");
    cr_assert_not_null(import);
    cr_assert_eq(import->n_clusters, 1);
    assert_str(import->clusters[0], "west");
    cr_assert_eq(import->service.n_ports, 1);
    cr_assert_eq(import->service.ports[0].target_port, 0);
    const struct model_workload *a = find_workload(registry, "west//v1/Pod/shop/a");
    cr_assert_not_null(find_membership(a, CART));
    cr_assert_not_null(find_membership(a, "shop/cart.shop.svc.cluster.local"));
    const struct model_service *shared =
        find_shared_service(registry, "cart.shop.svc.clusterset.local");
    cr_assert_not_null(shared);
    cr_assert_eq(shared->n_addresses, 0);
    cr_assert_eq(shared->created_ns, NS_2026);
    assert_str(shared->ports[0].name, "http");
}

Test(exports, peers_are_told_of_nothing_but_exports)
{
    add_cart("{name: http, port: 80}");
    cluster_service(&cluster, "shop", "secret", "10.96.0.2", "{port: 81}", "app: cart");
    cluster_pod(&cluster, "shop", "other", "10.1.0.9", "app: other");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    cluster_add(&cluster,
                "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: "
                "{namespace: shop, name: p}, spec: {selector: {matchLabels: {app: cart}}, "
                "rules: [{}]}}");

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(registry->n_for_peers, 3, "a service, a workload, a bundle");
    const struct model_workload *a = find_shared_workload(registry, "west//v1/Pod/shop/a");
    cr_assert_not_null(a);
    cr_assert_eq(a->n_services, 1);
    assert_str(a->services[0].service, CART);
    cr_assert_eq(a->n_policies, 0);
    cr_assert(str_is_empty(a->node));
    cr_assert(str_is_empty(a->pod_uid));
    assert_str(find_workload(registry, "west//v1/Pod/shop/a")->pod_uid, "u-a");
    cr_assert_eq(find_workload(registry, "west//v1/Pod/shop/a")->n_policies, 1);
}

Test(exports, exports_of_nothing_and_of_external_names_are_not_valid)
{
    cluster_add(&cluster, "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: ext}, "
                          "spec: {type: ExternalName, externalName: example.com}}");
    cluster_export(&cluster, "shop", "ext", "2026-01-01T00:00:00Z");
    cluster_export(&cluster, "shop", "nothing", "2026-01-01T00:00:00Z");

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(find_export(registry, "ext")->validity, EXPORT_INVALID_TYPE);
    cr_assert_eq(find_export(registry, "nothing")->validity, EXPORT_NO_SERVICE);
    cr_assert_eq(registry->n_imports, 0);
    cr_assert_eq(registry->n_for_peers, 1);
    cr_assert_null(find_service(registry, "ext.shop.svc.cluster.local"));
}

Test(exports, a_service_that_is_not_exported_here_gives_no_endpoints)
{
    add_cart("{name: http, port: 80}");
    peer_service(&cluster, east, "shop", "cart", 80, "http", NS_2026);
    peer_workload(&cluster, east, "shop", "e", "10.2.0.1", CART, 80);

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(find_import(registry, "shop/cart")->n_clusters, 1);
    cr_assert_null(find_membership(find_workload(registry, "west//v1/Pod/shop/a"), CART));
    cr_assert_not_null(find_membership(find_workload(registry, "east//v1/Pod/shop/e"), CART));
}

Test(exports, a_service_is_imported_only_where_its_namespace_exists)
{
    peer_service(&cluster, east, "shop", "cart", 80, "http", NS_2026);
    peer_workload(&cluster, east, "shop", "e", "10.2.0.1", CART, 80);

    const struct registry *registry = cluster_build(&cluster);
    cr_assert_eq(registry->n_imports, 0);
    cr_assert_null(find_workload(registry, "east//v1/Pod/shop/e"));
    cr_assert_eq(registry->peers[0].n_refused, 0, "it did nothing wrong");

    cluster_namespace(&cluster, "shop", "");
    registry = cluster_build(&cluster);
    cr_assert_not_null(find_import(registry, "shop/cart"), "without a Service of ours");
    cr_assert_not_null(find_workload(registry, "east//v1/Pod/shop/e"));
}

Test(exports, ports_of_all_clusters_are_added_up_and_the_difference_is_told)
{
    add_cart("{name: http, port: 80}");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    peer_service(&cluster, east, "shop", "cart", 81, "admin", NS_2026 + 1);

    const struct registry *registry = cluster_build(&cluster);
    const struct registry_import *import = find_import(registry, "shop/cart");

    cr_assert_eq(import->service.n_ports, 2);
    cr_assert_eq(import->conflicts, CONFLICT_PORT);
    cr_assert_eq(find_export(registry, "cart")->conflicts, CONFLICT_PORT);
}

Test(exports, the_oldest_export_wins_every_clash_of_ports)
{
    static const struct {
        int64_t east_created;
        uint16_t east_port;
        const char *east_name;
        uint16_t port; /* the one that is left */
        const char *name;
    } rows[] = {
        {NS_2026 - 1, 8080, "http", 8080, "http"}, /* one name, two numbers */
        {NS_2026 + 1, 8080, "http", 80, "http"},
        {NS_2026, 8080, "http", 8080, "http"}, /* as old: by the cluster's name */
        {NS_2026 - 1, 80, "web", 80, "web"},   /* one number, two names */
        {NS_2026 + 1, 80, "web", 80, "http"},
    };

    add_cart("{name: http, port: 80}");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    struct model_service *service = peer_service(&cluster, east, "shop", "cart", 0, "", 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        service->created_ns = rows[i].east_created;
        service->ports[0].service_port = rows[i].east_port;
        service->ports[0].name = str_from(rows[i].east_name);
        const struct registry_import *import = find_import(cluster_build(&cluster), "shop/cart");
        cr_assert_eq(import->service.n_ports, 1, "row %zu", i);
        cr_assert_eq(import->service.ports[0].service_port, rows[i].port, "row %zu", i);
        assert_str(import->service.ports[0].name, rows[i].name);
        cr_assert_eq(import->conflicts, CONFLICT_PORT, "row %zu", i);
    }
}

Test(exports, the_same_number_over_tcp_and_udp_is_no_clash)
{
    add_cart("{name: tcp, port: 42}");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    peer_service(&cluster, east, "shop", "cart", 42, "udp", NS_2026)->ports[0].is_udp = true;

    cr_assert_eq(find_import(cluster_build(&cluster), "shop/cart")->service.n_ports, 2);
}

Test(exports, the_oldest_export_decides_whether_it_is_headless)
{
    add_cart("{name: http, port: 80}");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    struct model_service *service = peer_service(&cluster, east, "shop", "cart", 80, "http", 0);
    service->is_headless = true;
    service->created_ns = NS_2026 - 1;
    const struct registry_import *import = find_import(cluster_build(&cluster), "shop/cart");
    cr_assert(import->service.is_headless);
    cr_assert_eq(import->conflicts, CONFLICT_TYPE);
    assert_str(import->clusters[0], "east");

    service->created_ns = NS_2026 + 1;
    import = find_import(cluster_build(&cluster), "shop/cart");
    cr_assert(!import->service.is_headless);
    cr_assert_eq(import->conflicts, CONFLICT_TYPE);
}

/* M15 to M17: carried to every cluster, the oldest export's; M10: told to all. */
Test(exports, the_oldest_export_decides_on_affinity_and_locality)
{
    static const struct {
        const char *name, *words;
        struct service_words east;
        unsigned conflicts;
        const char *reason;
    } rows[] = {
        {"affinity",
         "sessionAffinity: ClientIP",
         {0},
         CONFLICT_AFFINITY,
         "SessionAffinityConflict"},
        {"its timeout",
         "sessionAffinity: ClientIP",
         {.affinity_s = 60},
         CONFLICT_AFFINITY_CONFIG,
         "SessionAffinityConfigConflict"},
        {"node local",
         "internalTrafficPolicy: Local",
         {0},
         CONFLICT_INTERNAL,
         "InternalTrafficPolicyConflict"},
        {"distribution",
         "trafficDistribution: PreferSameNode",
         {.distribution = DISTRIBUTION_SAME_ZONE},
         CONFLICT_DISTRIBUTION,
         "TrafficDistributionConflict"},
        {"two of them",
         "internalTrafficPolicy: Local, sessionAffinity: ClientIP",
         {0},
         CONFLICT_INTERNAL | CONFLICT_AFFINITY,
         "SessionAffinityConflict,InternalTrafficPolicyConflict"},
        {"none", "sessionAffinity: ClientIP", {.affinity_s = AFFINITY_S_DEFAULT}, 0, "NoConflicts"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text reasons = {0};
        fini();
        init();
        cluster_addf(
            &cluster,
            "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: "
            "{clusterIP: 10.96.0.1, ports: [{name: http, port: 80}], %s}}",
            rows[i].words);
        cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
        struct model_service *service = peer_service(&cluster, east, "shop", "cart", 80, "http", 0);
        service->words = rows[i].east;
        service->created_ns = NS_2026 - 1;
        const struct registry *registry = cluster_build(&cluster);
        const struct registry_import *import = find_import(registry, "shop/cart");
        cr_expect_eq(import->conflicts, rows[i].conflicts, "%s", rows[i].name);
        cr_expect_eq(find_export(registry, "cart")->conflicts, rows[i].conflicts, "%s",
                     rows[i].name);
        cr_expect_eq(import->words.affinity_s, rows[i].east.affinity_s, "%s", rows[i].name);
        cr_expect_eq(import->words.is_node_local, rows[i].east.is_node_local, "%s", rows[i].name);
        cr_expect_eq(import->words.distribution, rows[i].east.distribution, "%s", rows[i].name);
        conflict_reasons(import->conflicts, &reasons);
        cr_expect_str_eq(reasons.ptr, rows[i].reason);
        text_fini(&reasons);

        service->created_ns = NS_2026 + 1;
        const struct service_words *words =
            &find_import(cluster_build(&cluster), "shop/cart")->words;
        cr_expect(words->affinity_s != rows[i].east.affinity_s ||
                      words->is_node_local != rows[i].east.is_node_local ||
                      words->distribution != rows[i].east.distribution || rows[i].conflicts == 0,
                  "%s: ours is older now", rows[i].name);
    }
}

Test(exports, peers_are_told_of_affinity_and_locality)
{
    cluster_addf(&cluster,
                 "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, "
                 "spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}], "
                 "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: "
                 "{timeoutSeconds: 60}}, internalTrafficPolicy: Local, "
                 "trafficDistribution: PreferSameNode}}");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    const struct registry *registry = cluster_build(&cluster);
    const struct service_words *words = NULL;
    for (size_t i = 0; i < registry->n_for_peers; i++)
        if (registry->for_peers[i]->kind == MODEL_SERVICE)
            words = &registry->for_peers[i]->of.service->words;
    cr_assert_not_null(words);
    cr_expect_eq(words->affinity_s, 60);
    cr_expect(words->is_node_local);
    cr_expect_eq(words->distribution, DISTRIBUTION_SAME_NODE);
}

Test(exports, a_service_import_manifest_goes_before_what_the_exports_say)
{
    peer_service(&cluster, east, "shop", "cart", 80, "http", NS_2026)->words.is_node_local = true;
    cluster_add(&cluster, "{apiVersion: multicluster.x-k8s.io/v1beta1, kind: ServiceImport, "
                          "metadata: {name: cart, namespace: shop}, spec: {type: ClusterSetIP, "
                          "ports: [{port: 80}], sessionAffinity: ClientIP}}");
    const struct service_words *words = &find_import(cluster_build(&cluster), "shop/cart")->words;
    cr_expect_eq(words->affinity_s, AFFINITY_S_DEFAULT);
    cr_expect(words->is_node_local, "of which it says nothing");
}

Test(exports, equal_exports_have_no_conflict)
{
    add_cart("{name: http, port: 80}");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    peer_service(&cluster, east, "shop", "cart", 80, "http", NS_2026 + 5);

    const struct registry *registry = cluster_build(&cluster);
    cr_assert_eq(find_import(registry, "shop/cart")->conflicts, 0);
    cr_assert_eq(find_import(registry, "shop/cart")->n_clusters, 2);
}

Test(exports, a_service_import_manifest_asks_for_an_address)
{
    add_cart("{name: http, port: 80}");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    cluster_add(&cluster,
                "{apiVersion: multicluster.x-k8s.io/v1beta1, kind: ServiceImport, metadata: "
                "{namespace: shop, name: cart}, spec: {type: ClusterSetIP, ips: "
                "[10.201.7.7], ports: [{port: 80}]}}");

    const struct registry_import *import = find_import(cluster_build(&cluster), "shop/cart");
    cr_assert_eq(import->n_wanted, 1);
}

Test(exports, a_peer_whose_lease_ran_out_keeps_its_services_without_endpoints)
{
    cluster_namespace(&cluster, "shop", "");
    peer_service(&cluster, east, "shop", "cart", 80, "http", NS_2026);
    peer_workload(&cluster, east, "shop", "e", "10.2.0.1", CART, 80);
    east->is_expired = true;

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_not_null(find_import(registry, "shop/cart"));
    cr_assert_null(find_workload(registry, "east//v1/Pod/shop/e"));
}
