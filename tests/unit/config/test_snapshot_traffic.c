#include <criterion/criterion.h>
#include <stdio.h>

#include "scene.h"

TestSuite(snapshot_traffic, .init = scene_begin, .fini = scene_end, .timeout = 20);

#define WEB "shop/web.shop.svc.clusterset.local"

static const struct service *web(void)
{
    snapshot_free(snapshot);
    snapshot = mesh_build(&mesh);
    return map_find(&snapshot->services, STR(WEB));
}

/* Names of the endpoints of the first port, in order. */
static const char *endpoints_of(const struct service *service)
{
    static char buf[256];
    const struct endpoint_set *set = &service->ports[0].v4;
    size_t len = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < set->len; i++)
        len += (size_t)snprintf(buf + len, sizeof(buf) - len, "%s%.*s", i > 0 ? " " : "",
                                STR_ARG(set->endpoints[i].workload->name));
    return buf;
}

static void add_web(void)
{
    mesh_service(&mesh, WEB, "10.201.0.1", "http:80:8080");
    mesh_workload(&mesh, "west", "own", "n1", "10.0.0.1", WEB);
    mesh_workload(&mesh, "west", "beside", "n2", "10.0.0.2", WEB);
    mesh_workload(&mesh, "east", "far", "n1", "10.0.1.1", WEB);
    mesh_workload(&mesh, "north", "further", "n9", "10.0.2.1", WEB);
}

Test(snapshot_traffic, of_a_service_without_a_policy_is_the_default)
{
    add_web();
    cr_assert_eq(web()->traffic, traffic_policy_default());
    cr_expect_str_eq(endpoints_of(web()), "own beside far further");
}

Test(snapshot_traffic, belongs_to_the_snapshot)
{
    static char tier[] = "gold", zone[] = "z1", cluster[] = "east", path[] = "/healthz";
    add_web();
    struct traffic_policy *policy = mesh_traffic(&mesh, WEB);
    const struct locality_weight localities[] = {{STR("r"), str_from(zone), 3}};
    const struct cluster_share clusters[] = {{.cluster = str_from(cluster), .weight = 2}};
    const struct health_check checks[] = {{.kind = CHECK_HTTP, .path = str_from(path)}};
    policy->tier = str_from(tier);
    policy->localities = localities;
    policy->n_localities = 1;
    policy->clusters = clusters;
    policy->n_clusters = 1;
    policy->checks = checks;
    policy->n_checks = 1;
    const struct traffic_policy *made = web()->traffic;
    tier[0] = zone[0] = cluster[0] = path[0] = '#';
    cr_expect(str_eq(made->tier, STR("gold")));
    cr_expect(str_eq(made->localities[0].zone, STR("z1")));
    cr_expect(str_eq(made->clusters[0].cluster, STR("east")));
    cr_expect(str_eq(made->checks[0].path, STR("/healthz")));
}

Test(snapshot_traffic, leaves_out_endpoints_that_the_policy_does_not_admit)
{
    const struct str allowed[] = {STR("west"), STR("north")};

    static const struct {
        const char *row;
        bool is_restricted, node_only;
        size_t n_allowed;
        const char *drilled, *expected;
    } rows[] = {
        {"open", false, false, 0, "", "own beside far further"},
        {"two clusters", true, false, 2, "", "own beside further"},
        {"one cluster", true, false, 1, "", "own beside"},
        {"no cluster", true, false, 0, "", ""},
        {"this node", false, true, 0, "", "own"},
        {"a drill of the own cluster", false, false, 0, "west", "far further"},
        {"a drill of another", false, false, 0, "east", "own beside further"},
        {"a drill of a cluster that is not there", false, false, 0, "south",
         "own beside far further"},
        {"a drill of all that is allowed", true, false, 1, "west", ""},
    };

    add_web();
    struct traffic_policy *policy = mesh_traffic(&mesh, WEB);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        policy->is_restricted = rows[i].is_restricted;
        policy->node_only = rows[i].node_only;
        policy->allowed_clusters = allowed;
        policy->n_allowed = rows[i].n_allowed;
        policy->drilled_cluster = str_from(rows[i].drilled);
        cr_expect_str_eq(endpoints_of(web()), rows[i].expected, "%s", rows[i].row);
    }
}

Test(snapshot_traffic, keeps_what_is_not_admitted_out_of_headless_names_too)
{
    struct traffic_policy *policy = mesh_traffic(&mesh, WEB);
    mesh_service(&mesh, WEB, "", "http:80:8080");
    mesh_workload(&mesh, "west", "own", "n1", "10.0.0.1", WEB);
    mesh_workload(&mesh, "east", "far", "n2", "10.0.1.1", WEB);
    policy->drilled_cluster = STR("east");
    (void)web();
    const struct dns_name *name = map_find(&snapshot->names, STR("web.shop.svc.clusterset.local"));
    cr_assert_not_null(name);
    cr_expect_eq(name->n_addresses, 1);
    cr_expect_eq(name->addresses[0].bytes[2], 0);
}
