/* A peer speaks for itself only. */
#include <criterion/criterion.h>

#include "cluster.h"

#define CART "shop/cart.shop.svc.clusterset.local"

static struct cluster cluster;
static struct registry_peer *east;

static void init(void)
{
    cluster_init(&cluster);
    cluster_pod(&cluster, "shop", "mine", "10.1.0.1", "app: cart");
    cluster_service(&cluster, "shop", "cart", "10.96.0.1", "{name: http, port: 80}", "app: cart");
    cluster_export(&cluster, "shop", "cart", "2026-01-01T00:00:00Z");
    east = cluster_peer(&cluster, "east");
    peer_service(&cluster, east, "shop", "cart", 80, "http", 1);
}

static void fini(void)
{
    cluster_fini(&cluster);
}

TestSuite(foreign, .init = init, .fini = fini);

static struct model_workload *add_workload(void)
{
    return peer_workload(&cluster, east, "shop", "e", "10.2.0.1", CART, 80);
}

static size_t count_of(const struct registry *registry, const char *cluster_name)
{
    size_t n = 0;
    for (size_t i = 0; i < registry->n_for_nodes; i++)
        n += registry->for_nodes[i]->kind == MODEL_WORKLOAD &&
             str_eq(registry->for_nodes[i]->of.workload->cluster, str_from(cluster_name));
    return n;
}

Test(foreign, a_good_workload_is_taken_over_as_the_peers)
{
    struct model_workload *workload = add_workload();
    struct str policies[] = {STR("shop/missing")};
    workload->cluster = STR("west");
    workload->pod_uid = STR("u-e");
    workload->policies = policies;
    workload->n_policies = 1;

    const struct registry *registry = cluster_build(&cluster);
    const struct model_workload *taken = find_workload(registry, "east//v1/Pod/shop/e");

    cr_assert_not_null(taken);
    assert_str(taken->cluster, "east");
    assert_str(taken->trust_domain, "east.example");
    cr_assert(str_is_empty(taken->pod_uid));
    cr_assert_eq(taken->n_policies, 0);
    cr_assert_eq(taken->services[0].ports[0].target_port, 8080);
    cr_assert_eq(registry->peers[0].n_refused, 0);
    cr_assert_eq(registry->peers[0].n_workloads, 1);
    cr_assert_null(find_shared_workload(registry, "east//v1/Pod/shop/e"), "never passed on");
}

Test(foreign, policies_and_tokens_are_a_matter_of_its_own_cluster)
{
    struct str names[] = {STR("shop/p")};
    struct model_workload *workload = add_workload();
    workload->policies = workload->request_auths = names;
    workload->n_policies = workload->n_request_auths = 1;

    const struct model_workload *taken =
        find_workload(cluster_build(&cluster), "east//v1/Pod/shop/e");

    cr_assert_not_null(taken);
    cr_assert_eq(taken->n_policies, 0);
    cr_assert_eq(taken->n_request_auths, 0);
    cr_assert_null(taken->request_auths);
}

enum lie {
    LIE_OUR_UID,
    LIE_OTHER_PEERS_UID,
    LIE_OUR_TRUST_DOMAIN,
    LIE_OUR_POD_ADDRESS,
    LIE_VIP_ADDRESS,
    LIE_LOOPBACK,
    LIE_UNSPECIFIED,
    LIE_METADATA,
    LIE_V6_LOOPBACK,
    LIE_LOCAL_SERVICE,
    LIE_NAMESPACE,
    LIES
};

static void lie_with(enum lie lie, struct model_workload *workload)
{
    static const char *const addresses[LIES] = {
        [LIE_OUR_POD_ADDRESS] = "10.1.0.1", [LIE_VIP_ADDRESS] = "10.201.0.9",
        [LIE_LOOPBACK] = "127.0.0.1",       [LIE_UNSPECIFIED] = "0.0.0.0",
        [LIE_METADATA] = "169.254.169.254", [LIE_V6_LOOPBACK] = "::1",
    };
    if (addresses[lie])
        cr_assert_eq(ip_parse(str_from(addresses[lie]), &workload->addresses[0]), 0);
    if (lie == LIE_OUR_UID)
        workload->uid = STR("west//v1/Pod/shop/mine");
    if (lie == LIE_OTHER_PEERS_UID)
        workload->uid = STR("east-2//v1/Pod/shop/e");
    if (lie == LIE_OUR_TRUST_DOMAIN)
        workload->trust_domain = STR("west.example");
    if (lie == LIE_LOCAL_SERVICE)
        workload->services[0].service = STR("shop/cart.shop.svc.cluster.local");
    if (lie == LIE_NAMESPACE)
        workload->namespace_ = STR("shop/sa/x");
}

Test(foreign, lies_of_a_peer_are_refused_and_told)
{
    for (int lie = 0; lie < LIES; lie++) {
        cluster_fini(&cluster);
        init();
        lie_with((enum lie)lie, add_workload());
        const struct registry *registry = cluster_build(&cluster);
        cr_assert_eq(registry->peers[0].n_refused, 1, "lie %d", lie);
        cr_assert(!str_is_empty(registry->peers[0].refusal), "lie %d", lie);
        cr_assert_eq(count_of(registry, "east"), 0, "lie %d", lie);
        const struct model_workload *mine = find_workload(registry, "west//v1/Pod/shop/mine");
        cr_assert_not_null(mine, "lie %d", lie);
        assert_str(mine->trust_domain, "west.example");
    }
}

Test(foreign, services_outside_of_the_clusterset_and_with_odd_names_are_refused)
{
    static const char *const hosts[] = {"cart.shop.svc.cluster.local",
                                        "cart.bank.svc.clusterset.local",
                                        "x.cart.shop.svc.clusterset.local", "clusterset.local"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        peer_service(&cluster, east, "shop", "cart", 99, "x", 0)->hostname = str_from(hosts[i]);
    peer_service(&cluster, east, "shop", "car.t", 99, "x", 0);
    peer_service(&cluster, east, "Shop", "cart", 99, "x", 0);

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(registry->peers[0].n_refused, 6);
    cr_assert_eq(registry->n_imports, 1);
    cr_assert_eq(find_import(registry, "shop/cart")->service.n_ports, 1);
}

Test(foreign, what_a_service_of_a_peer_says_of_addresses_and_identities_is_dropped)
{
    struct str sans[] = {STR("spiffe://west.example/ns/bank/sa/vault")};
    struct model_service *service = peer_service(&cluster, east, "shop", "other", 80, "http", 1);
    cr_assert_eq(ip_parse(STR("10.96.0.1"), &service->addresses[0]), 0);
    service->n_addresses = 1;
    service->sans = sans;
    service->n_sans = 1;

    const struct registry_import *import = find_import(cluster_build(&cluster), "shop/other");

    cr_assert_not_null(import);
    cr_assert_eq(import->service.n_addresses, 0);
    cr_assert_eq(import->service.n_sans, 0);
}

Test(foreign, policies_and_foreign_bundles_are_refused)
{
    static struct model_policy policy = {.name = STR("p"), .namespace_ = STR("shop")};
    static struct model_bundle bundle = {.trust_domain = STR("west.example"), .pem = STR("PEM")};
    static struct model_bundle own = {.trust_domain = STR("east.example"), .pem = STR("PEM")};
    peer_add(&cluster, east,
             (struct model_resource){MODEL_POLICY, STR("shop/p"), .of.policy = &policy});
    peer_add(
        &cluster, east,
        (struct model_resource){MODEL_BUNDLE, STR("spiffe://west.example"), .of.bundle = &bundle});
    peer_add(
        &cluster, east,
        (struct model_resource){MODEL_BUNDLE, STR("spiffe://east.example"), .of.bundle = &own});

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(registry->peers[0].n_refused, 2);
    cr_assert_null(find_policy(registry, "shop/p"));
    for (size_t i = 0; i < registry->n_for_nodes; i++)
        cr_assert(registry->for_nodes[i]->kind != MODEL_BUNDLE ||
                  !str_eq(registry->for_nodes[i]->of.bundle->pem, STR("PEM")));
}

Test(foreign, of_two_peers_that_claim_one_address_the_first_has_it)
{
    struct registry_peer *north = cluster_peer(&cluster, "north");
    add_workload();
    peer_service(&cluster, north, "shop", "cart", 80, "http", 2);
    peer_workload(&cluster, north, "shop", "n", "10.2.0.1", CART, 80);

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(count_of(registry, "east"), 1);
    cr_assert_eq(count_of(registry, "north"), 0);
    cr_assert_eq(registry->peers[1].n_refused, 1);
}

Test(foreign, in_another_network_an_address_of_ours_is_somebody_else)
{
    struct model_workload *workload = add_workload();
    workload->network = STR("far");
    workload->addresses[0] = (struct ip){4, {10, 1, 0, 1}};

    cr_assert_eq(count_of(cluster_build(&cluster), "east"), 1);
}

Test(foreign, a_workload_serves_only_what_its_own_cluster_exports)
{
    struct registry_peer *north = cluster_peer(&cluster, "north");
    peer_workload(&cluster, north, "shop", "n", "10.3.0.1", CART, 80);

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_null(find_workload(registry, "north//v1/Pod/shop/n"));
    cr_assert_eq(find_import(registry, "shop/cart")->n_clusters, 2);
}
