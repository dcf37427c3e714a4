/* TrafficPolicies, Kubernetes' own words, labels and prices of clusters, as resources of the nodes.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "cluster.h"
#include "config/manifests.h"

static struct cluster cluster;

static void init(void)
{
    cluster_init(&cluster);
}

static void fini(void)
{
    cluster_fini(&cluster);
}

TestSuite(traffic, .init = init, .fini = fini, .timeout = 20);

#define LOCAL  "shop/web.shop.svc.cluster.local"
#define IMPORT "shop/web.shop.svc.clusterset.local"

static const struct traffic_policy *policy_of(const struct registry *registry, const char *name)
{
    for (size_t i = 0; i < registry->n_for_nodes; i++)
        if (registry->for_nodes[i]->kind == MODEL_TRAFFIC &&
            str_eq(registry->for_nodes[i]->name, str_from(name)))
            return &registry->for_nodes[i]->of.traffic->policy;
    return NULL;
}

static void add_service(const char *words, const char *annotations)
{
    cluster_addf(&cluster,
                 "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop, "
                 "annotations: {%s}}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: "
                 "[{port: 80}]%s}}",
                 annotations, words);
    cluster_export(&cluster, "shop", "web", "2026-01-01T00:00:00Z");
}

static void add_policy(const char *name, const char *created, const char *target, const char *spec)
{
    cluster_addf(&cluster,
                 "{apiVersion: isthmus.io/v1alpha1, kind: TrafficPolicy, metadata: {name: %s, "
                 "namespace: shop, creationTimestamp: \"%s\"}, spec: {targetRef: %s%s}}",
                 name, created, target, spec);
}

#define SERVICE_REF "{kind: Service, name: web}"
#define IMPORT_REF  "{group: multicluster.x-k8s.io, kind: ServiceImport, name: web}"

Test(traffic, of_a_service_about_which_nobody_says_anything_is_no_resource)
{
    add_service("", "");
    const struct registry *registry = cluster_build(&cluster);
    cr_expect_null(policy_of(registry, LOCAL));
    cr_expect_null(policy_of(registry, IMPORT));
}

Test(traffic, of_a_target_is_the_target_s_alone)
{
    add_service("", "");
    add_policy("a", "2026-01-01T00:00:00Z", SERVICE_REF, ", tier: batch");
    add_policy("b", "2026-01-01T00:00:00Z", IMPORT_REF, ", tier: critical");
    const struct registry *registry = cluster_build(&cluster);
    assert_str(policy_of(registry, LOCAL)->tier, "batch");
    assert_str(policy_of(registry, IMPORT)->tier, "critical");
}

Test(traffic, of_two_for_one_target_the_oldest_wins)
{
    add_service("", "");
    add_policy("a", "2026-02-01T00:00:00Z", SERVICE_REF, ", tier: batch");
    add_policy("b", "2026-01-01T00:00:00Z", SERVICE_REF, ", tier: critical");
    assert_str(policy_of(cluster_build(&cluster), LOCAL)->tier, "critical");
}

/* A policy that says no more than the default is not made. */
static const struct traffic_policy *policy_or_default(const struct registry *registry,
                                                      const char *service)
{
    const struct traffic_policy *policy = policy_of(registry, service);
    return policy ? policy : traffic_policy_default();
}

Test(traffic, kubernetes_own_words_count_where_the_policy_says_nothing)
{
    static const struct {
        const char *row, *words, *annotations, *spec;
        enum locality_mode locality;
        bool node_only;
    } rows[] = {
        {"close", ", trafficDistribution: PreferClose", "", "", LOCALITY_ZONE, false},
        {"zone", ", trafficDistribution: PreferSameZone", "", "", LOCALITY_ZONE, false},
        {"node", ", trafficDistribution: PreferSameNode", "", "", LOCALITY_LEVELS, false},
        {"node only", ", internalTrafficPolicy: Local", "", "", LOCALITY_ZONE, true},
        {"auto", "", "service.kubernetes.io/topology-mode: Auto", "", LOCALITY_ZONE_AWARE, false},
        {"a policy of something else",
         ", internalTrafficPolicy: Local, trafficDistribution: "
         "PreferClose",
         "", ", tier: batch", LOCALITY_ZONE, true},
        {"a policy of the same", ", internalTrafficPolicy: Local, trafficDistribution: PreferClose",
         "", ", locality: {mode: None, nodeOnly: false}", LOCALITY_NONE, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fini();
        init();
        add_service(rows[i].words, rows[i].annotations);
        if (*rows[i].spec)
            add_policy("p", "2026-01-01T00:00:00Z", SERVICE_REF, rows[i].spec);
        const struct registry *registry = cluster_build(&cluster);
        const struct traffic_policy *policy = policy_or_default(registry, LOCAL);
        cr_expect_eq(policy->locality, rows[i].locality, "%s", rows[i].row);
        cr_expect_eq(policy->node_only, rows[i].node_only, "%s", rows[i].row);
        if (!*rows[i].spec)
            cr_expect_eq(policy_or_default(registry, IMPORT)->locality, rows[i].locality, "%s",
                         rows[i].row);
    }
}

/* M15: a client stays with its endpoint, whatever the load. */
Test(traffic, affinity_of_a_client_is_hashing_unless_the_policy_says_an_algorithm)
{
    static const struct {
        const char *row, *words, *spec;
        enum algorithm algorithm;
        bool spills;
    } rows[] = {
        {"none", ", sessionAffinity: None", "", ALGORITHM_PEAK_EWMA, true},
        {"of a client", ", sessionAffinity: ClientIP", "", ALGORITHM_MAGLEV, false},
        {"a policy of something else", ", sessionAffinity: ClientIP", ", tier: batch",
         ALGORITHM_MAGLEV, false},
        {"a policy of an algorithm", ", sessionAffinity: ClientIP",
         ", loadBalancing: {algorithm: RoundRobin}", ALGORITHM_ROUND_ROBIN, true},
        {"a policy of load", ", sessionAffinity: ClientIP", ", failover: {spillByLoad: true}",
         ALGORITHM_MAGLEV, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fini();
        init();
        add_service(rows[i].words, "");
        if (*rows[i].spec) {
            add_policy("p", "2026-01-01T00:00:00Z", SERVICE_REF, rows[i].spec);
            add_policy("q", "2026-01-01T00:00:00Z", IMPORT_REF, rows[i].spec);
        }
        const struct registry *registry = cluster_build(&cluster);
        static const char *const names[] = {LOCAL, IMPORT};
        for (size_t j = 0; j < ARRAY_LEN(names); j++) {
            const struct traffic_policy *policy = policy_or_default(registry, names[j]);
            cr_expect_eq(policy->algorithm, rows[i].algorithm, "%s, %s", rows[i].row, names[j]);
            cr_expect_eq(policy->spill_by_load, rows[i].spills, "%s, %s", rows[i].row, names[j]);
            cr_expect_eq(policy->hash_on, HASH_ON_SOURCE_ADDRESS);
        }
    }
}

Test(traffic, affinity_of_a_headless_service_is_passed_over)
{
    cluster_add(&cluster, "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, "
                          "spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}], "
                          "sessionAffinity: ClientIP}}");
    cluster_export(&cluster, "shop", "web", "2026-01-01T00:00:00Z");
    const struct registry *registry = cluster_build(&cluster);
    cr_expect_null(policy_of(registry, LOCAL));
    cr_expect_null(policy_of(registry, IMPORT));
}

static void name_peers(struct peer_config *peers)
{
    static struct label eu[] = {{{"region", 6}, {"eu", 2}}};
    peers[0] = (struct peer_config){
        .name = STR("east"), .labels = eu, .n_labels = 1, .price_micro = 20000};
    peers[1] = (struct peer_config){.name = STR("north")};
    cluster.config.peers = peers;
    cluster.config.n_peers = 2;
}

Test(traffic, clusters_are_selected_by_names_and_by_labels)
{
    static const struct {
        const char *allow, *first;
        size_t n;
    } rows[] = {
        {"{names: [west, north]}", "west", 2},
        {"{matchLabels: {region: eu}}", "east", 1},
        {"{names: [north], matchLabels: {region: eu}}", "", 0},
        {"{names: [east, west], matchLabels: {region: eu}}", "east", 1},
    };
    struct peer_config peers[2];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char spec[256];
        fini();
        init();
        name_peers(peers);
        add_service("", "");
        snprintf(spec, sizeof(spec), ", clusters: {allow: %s}", rows[i].allow);
        add_policy("p", "2026-01-01T00:00:00Z", IMPORT_REF, spec);
        const struct traffic_policy *policy = policy_of(cluster_build(&cluster), IMPORT);
        cr_assert(policy && policy->is_restricted, "%s", rows[i].allow);
        cr_assert_eq(policy->n_allowed, rows[i].n, "%s", rows[i].allow);
        if (rows[i].n > 0)
            assert_str(policy->allowed_clusters[0], rows[i].first);
    }
}

Test(traffic, prices_of_the_configuration_count_where_the_policy_says_none)
{
    struct peer_config peers[2];
    name_peers(peers);
    add_service("", "");
    const struct traffic_policy *policy = policy_of(cluster_build(&cluster), IMPORT);
    cr_assert_not_null(policy, "also without a TrafficPolicy");
    cr_assert_eq(policy->n_clusters, 1);
    assert_str(policy->clusters[0].cluster, "east");
    cr_expect_eq(policy->clusters[0].price_micro, 20000);
    fini();
    init();
    name_peers(peers);
    add_service("", "");
    add_policy("p", "2026-01-01T00:00:00Z", IMPORT_REF,
               ", clusters: {members: [{name: east, pricePerGB: 0.5}]}");
    policy = policy_of(cluster_build(&cluster), IMPORT);
    cr_assert_eq(policy->n_clusters, 1);
    cr_expect_eq(policy->clusters[0].price_micro, 500000);
}
