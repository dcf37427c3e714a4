/* What manifests come to: workloads, services with their endpoints, policies. */
#include <criterion/criterion.h>

#include "cluster.h"

static struct cluster cluster;

static void init(void)
{
    cluster_init(&cluster);
}

static void fini(void)
{
    cluster_fini(&cluster);
}

TestSuite(registry, .init = init, .fini = fini);

Test(registry, a_pod_becomes_a_workload_with_all_its_names)
{
    cluster_node(&cluster, "n1");
    cluster_pod(&cluster, "shop", "cart-1", "10.1.0.5", "app: cart, version: v2");

    const struct registry *registry = cluster_build(&cluster);
    const struct model_workload *workload = find_workload(registry, "west//v1/Pod/shop/cart-1");

    cr_assert_not_null(workload);
    assert_str(workload->name, "cart-1");
    assert_str(workload->namespace_, "shop");
    assert_str(workload->service_account, "sa");
    assert_str(workload->trust_domain, "west.example");
    assert_str(workload->node, "n1");
    assert_str(workload->cluster, "west");
    assert_str(workload->region, "eu");
    assert_str(workload->zone, "eu-1");
    assert_str(workload->canonical_name, "cart");
    assert_str(workload->canonical_revision, "v2");
    assert_str(workload->workload_name, "cart-1");
    cr_assert(workload->speaks_hbone && workload->is_healthy && !workload->host_network);
    cr_assert_eq(workload->capacity, 1);
    cr_assert_eq(workload->n_addresses, 1);
}

Test(registry, names_of_a_workload_come_from_labels_and_owners_in_order)
{
    static const struct {
        const char *labels, *owner_kind, *owner, *name, *canonical, *revision;
    } rows[] = {
        {"a: b", "ReplicaSet", "web-5d4f", "web", "web", "latest"},
        {"pod-template-hash: 5d4f", "ReplicaSet", "web-5d4f", "web", "web", "latest"},
        {"pod-template-hash: other", "ReplicaSet", "web-5d4f", "web-5d4f", "web-5d4f", "latest"},
        {"app: a", "StatefulSet", "db-0", "db-0", "a", "latest"},
        {"app: a, app.kubernetes.io/name: n", "DaemonSet", "d", "d", "n", "latest"},
        {"app: a, service.istio.io/canonical-name: c, app.kubernetes.io/name: n", "Job", "j-1",
         "j-1", "c", "latest"},
        {"version: v, app.kubernetes.io/version: kv", "Node", "n1", "p5", "p5", "kv"},
        {"service.istio.io/canonical-revision: r, version: v", "Job", "j", "j", "j", "r"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cluster_addf(
            &cluster,
            "{apiVersion: v1, kind: Pod, metadata: {namespace: x, name: p%zu%s, labels: {%s}, "
            "ownerReferences: [{kind: %s, name: %s, controller: true}]}, spec: {}, "
            "status: {podIP: 10.1.0.%zu}}",
            i == 6 ? (size_t)5 : i, i == 5 ? "x" : "", rows[i].labels, rows[i].owner_kind,
            rows[i].owner, i + 1);

    const struct registry *registry = cluster_build(&cluster);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct model_workload *found = NULL;
        for (size_t j = 0; j < registry->n_for_nodes; j++)
            if (registry->for_nodes[j]->kind == MODEL_WORKLOAD &&
                registry->for_nodes[j]->of.workload->addresses[0].bytes[3] == i + 1)
                found = registry->for_nodes[j]->of.workload;
        cr_assert_not_null(found);
        assert_str(found->workload_name, rows[i].name);
        assert_str(found->canonical_name, rows[i].canonical);
        assert_str(found->canonical_revision, rows[i].revision);
    }
}

Test(registry, pods_without_an_address_or_that_are_finished_are_no_workloads)
{
    cluster_add(&cluster,
                "{apiVersion: v1, kind: Pod, metadata: {namespace: x, name: a}, spec: {}}");
    cluster_add(&cluster,
                "{apiVersion: v1, kind: Pod, metadata: {namespace: x, name: b}, spec: {}, "
                "status: {phase: Succeeded, podIP: 10.1.0.1}}");
    cluster_add(&cluster, "{apiVersion: v1, kind: Pod, metadata: {namespace: x, name: c}, spec: "
                          "{hostNetwork: true}, status: {phase: Pending, podIP: 10.1.0.2}}");

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(registry->n_pods, 1);
    const struct model_workload *workload = find_workload(registry, "west//v1/Pod/x/c");
    cr_assert_not_null(workload);
    cr_assert(!workload->is_healthy && workload->host_network && !workload->speaks_hbone);
}

Test(registry, a_service_without_slices_is_backed_by_its_selector)
{
    cluster_pod(&cluster, "shop", "a", "10.1.0.1", "app: cart");
    cluster_pod(&cluster, "shop", "b", "10.1.0.2", "app: cart, tier: x");
    cluster_pod(&cluster, "shop", "c", "10.1.0.3", "app: other");
    cluster_pod(&cluster, "other", "d", "10.1.0.4", "app: cart");
    cluster_service(&cluster, "shop", "cart", "10.96.0.1",
                    "{name: http, port: 80, targetPort: 8080}, {name: named, port: 81, targetPort: "
                    "web}, {name: gone, port: 82, targetPort: nowhere}, {name: u, port: 53, "
                    "protocol: UDP}",
                    "app: cart");

    const struct registry *registry = cluster_build(&cluster);
    const struct model_service *service = find_service(registry, "cart.shop.svc.cluster.local");

    cr_assert_not_null(service);
    cr_assert_eq(service->n_addresses, 1);
    cr_assert_eq(service->n_ports, 4);
    cr_assert_eq(service->ports[0].app_protocol, APP_HTTP11);
    const struct model_membership *membership = find_membership(
        find_workload(registry, "west//v1/Pod/shop/b"), "shop/cart.shop.svc.cluster.local");
    cr_assert_not_null(membership);
    cr_assert_eq(membership->n_ports, 3, "the pod has no port called nowhere");
    cr_assert_eq(membership->ports[0].target_port, 8080);
    cr_assert_eq(membership->ports[1].target_port, 8088);
    cr_assert_eq(membership->ports[2].target_port, 53);
    cr_assert(membership->ports[2].is_udp);
    cr_assert_not_null(find_membership(find_workload(registry, "west//v1/Pod/shop/a"),
                                       "shop/cart.shop.svc.cluster.local"));
    cr_assert_eq(find_workload(registry, "west//v1/Pod/shop/c")->n_services, 0);
    cr_assert_eq(find_workload(registry, "west//v1/Pod/other/d")->n_services, 0);
}

static void add_slice(const char *name, const char *type, const char *ports, const char *endpoints)
{
    cluster_addf(
        &cluster,
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, "
        "name: %s, labels: {kubernetes.io/service-name: cart}}, addressType: %s, ports: "
        "[%s], endpoints: [%s]}",
        name, type, ports, endpoints);
}

static const struct model_membership *cart_of(const struct registry *registry, const char *pod)
{
    struct arena arena = {0};
    struct str uid = arena_printf(&arena, "west//v1/Pod/shop/%s", pod);
    const struct model_membership *found =
        find_membership(find_workload(registry, uid.ptr), "shop/cart.shop.svc.cluster.local");
    arena_fini(&arena);
    return found;
}

Test(registry, slices_say_who_backs_a_service_and_the_selector_does_not)
{
    cluster_pod(&cluster, "shop", "a", "10.1.0.1", "app: cart");
    cluster_pod(&cluster, "shop", "b", "10.1.0.2", "app: cart");
    cluster_pod(&cluster, "shop", "c", "10.1.0.3", "");
    cluster_pod(&cluster, "shop", "d", "10.1.0.4", "");
    cluster_service(&cluster, "shop", "cart", "None",
                    "{name: http, port: 80}, {name: admin, port: 81}", "app: cart");
    add_slice(
        "v4", "IPv4", "{name: http, port: 9000}",
        "{addresses: [10.1.0.3], hostname: h3, targetRef: {kind: Pod, name: c}},"
        "{addresses: [10.1.0.4], conditions: {ready: false}},"
        "{addresses: [192.0.2.1]}, {addresses: [10.1.0.1], targetRef: {kind: Pod, name: zz}}");
    add_slice("v6", "IPv6", "{name: admin, port: 9001}",
              "{addresses: [\"fd00::3\"], targetRef: {kind: Pod, name: c}}");

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_null(cart_of(registry, "a"));
    cr_assert_null(cart_of(registry, "b"));
    const struct model_membership *c = cart_of(registry, "c"), *d = cart_of(registry, "d");
    cr_assert_not_null(c);
    cr_assert_eq(c->n_ports, 2, "of both slices");
    assert_str(c->dns_hostname, "h3");
    cr_assert(!c->not_ready);
    cr_assert_not_null(d, "found by its address");
    cr_assert(d->not_ready);
    cr_assert_eq(d->n_ports, 1, "what one slice adds for a pod is not everybody's");
    cr_assert_eq(registry->n_stray_endpoints, 2);
    cr_assert(find_service(registry, "cart.shop.svc.cluster.local")->is_headless);
}

Test(registry, slices_of_another_implementations_imports_are_passed_over)
{
    cluster_pod(&cluster, "shop", "a", "10.1.0.1", "app: cart");
    cluster_service(&cluster, "shop", "cart", "10.96.0.1", "{port: 80}", "app: cart");
    cluster_add(&cluster, "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: "
                          "{namespace: shop, name: imported, labels: {kubernetes.io/service-name: "
                          "cart, multicluster.kubernetes.io/service-name: cart}}, addressType: "
                          "IPv4, ports: [{port: 80}], endpoints: [{addresses: [10.9.0.1]}]}");

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_not_null(cart_of(registry, "a"), "by its selector");
    cr_assert_eq(registry->n_stray_endpoints, 0);
}

Test(registry, endpoints_that_drain_serve_while_no_other_does)
{
    cluster_pod(&cluster, "shop", "a", "10.1.0.1", "");
    cluster_pod(&cluster, "shop", "b", "10.1.0.2", "");
    cluster_service(&cluster, "shop", "cart", "10.96.0.1", "{port: 80}", "");
    add_slice("one", "IPv4", "{port: 80}",
              "{addresses: [10.1.0.1], conditions: {ready: false, serving: true, terminating: "
              "true}}, {addresses: [10.1.0.2], conditions: {ready: false, serving: false, "
              "terminating: true}}");

    const struct registry *registry = cluster_build(&cluster);
    cr_assert(!cart_of(registry, "a")->not_ready);
    cr_assert(cart_of(registry, "b")->not_ready);

    cluster_pod(&cluster, "shop", "c", "10.1.0.3", "");
    add_slice("two", "IPv4", "{port: 80}", "{addresses: [10.1.0.3]}");
    registry = cluster_build(&cluster);
    cr_assert(cart_of(registry, "a")->not_ready);
    cr_assert(!cart_of(registry, "c")->not_ready);
}

static void add_policy(const char *namespace_, const char *name, const char *selector)
{
    cluster_addf(&cluster,
                 "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: "
                 "{namespace: %s, name: %s}, spec: {%s action: DENY, rules: [{}]}}",
                 namespace_, name, selector);
}

Test(registry, policies_get_their_scope_from_namespace_and_selector)
{
    cluster_pod(&cluster, "shop", "a", "10.1.0.1", "app: cart");
    cluster_pod(&cluster, "shop", "b", "10.1.0.2", "app: x");
    cluster_pod(&cluster, "bank", "c", "10.1.0.3", "app: cart");
    add_policy("isthmus-system", "all", "");
    add_policy("isthmus-system", "carts", "selector: {matchLabels: {app: cart}},");
    add_policy("shop", "ns", "");
    add_policy("shop", "one", "selector: {matchLabels: {app: cart}},");

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(find_policy(registry, "/all")->scope, POLICY_GLOBAL);
    cr_assert_eq(find_policy(registry, "shop/ns")->scope, POLICY_NAMESPACE);
    cr_assert_eq(find_policy(registry, "shop/one")->scope, POLICY_WORKLOAD);
    cr_assert_eq(find_policy(registry, "isthmus-system/carts")->scope, POLICY_WORKLOAD);
    const struct model_workload *a = find_workload(registry, "west//v1/Pod/shop/a");
    cr_assert_eq(a->n_policies, 2);
    cr_assert_eq(find_workload(registry, "west//v1/Pod/shop/b")->n_policies, 0);
    const struct model_workload *c = find_workload(registry, "west//v1/Pod/bank/c");
    cr_assert_eq(c->n_policies, 1);
    assert_str(c->policies[0], "isthmus-system/carts");
}

Test(registry, a_node_may_have_the_identities_of_its_enrolled_pods_only)
{
    cluster_node(&cluster, "n1");
    cluster_node(&cluster, "n2");
    cluster_pod(&cluster, "shop", "a", "10.1.0.1", "");
    cluster_add(&cluster,
                "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: out}, spec: "
                "{nodeName: n1, serviceAccountName: plain}, status: {podIP: 10.1.0.2}}");

    const struct registry *registry = cluster_build(&cluster);

    cr_assert(registry_places(registry, STR("n1"), STR("shop"), STR("sa")));
    cr_assert(!registry_places(registry, STR("n2"), STR("shop"), STR("sa")));
    cr_assert(!registry_places(registry, STR("n1"), STR("bank"), STR("sa")));
    cr_assert(!registry_places(registry, STR("n1"), STR("shop"), STR("plain")));
    cr_assert(registry_has_node(registry, STR("n2")) && !registry_has_node(registry, STR("n3")));
}

Test(registry, nodes_get_the_bundles_of_all_and_peers_ours_only)
{
    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(registry->n_for_nodes, 2);
    cr_assert_eq(registry->n_for_peers, 1);
    assert_str(registry->for_peers[0]->name, "spiffe://west.example");
}

/* Quadratic work would take minutes here. */
Test(registry, many_services_and_pods_are_quick, .timeout = 20)
{
    for (unsigned i = 0; i < 1000; i++) {
        cluster_addf(&cluster,
                     "{apiVersion: v1, kind: Service, metadata: {namespace: x, name: s%u}, spec: "
                     "{clusterIP: None, ports: [{port: 80}], selector: {all: one, app: a%u}}}",
                     i, i);
        for (unsigned j = 0; j < 3; j++)
            cluster_addf(&cluster,
                         "{apiVersion: v1, kind: Pod, metadata: {namespace: x, name: p%u-%u, "
                         "labels: {all: one, app: a%u}}, spec: {}, status: {podIP: 10.%u.%u.%u}}",
                         i, j, i, j, i / 250, i % 250);
    }

    const struct registry *registry = cluster_build(&cluster);

    cr_assert_eq(registry->n_services, 1000);
    cr_assert_eq(registry->n_pods, 3000);
    cr_assert_not_null(find_membership(find_workload(registry, "west//v1/Pod/x/p7-2"),
                                       "x/s7.x.svc.cluster.local"));
}
