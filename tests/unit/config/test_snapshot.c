#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "certs/svid.h"
#include "config/policy.h"
#include "proxy/base/rng.h"
#include "proxy/base/text.h"
#include "scene.h"

TestSuite(snapshot, .init = scene_begin, .fini = scene_end, .timeout = 60);

#define WEB "shop/web.shop.svc.cluster.local"

static const struct service *service_of(const char *key)
{
    return map_find(&snapshot->services, str_from(key));
}

static const struct workload *workload_of(const char *uid)
{
    return map_find(&snapshot->workloads, str_from(uid));
}

/* The names of a set's workloads, level by level as they follow: "a|b c|d". */
static const char *levels_of(const struct endpoint_set *set)
{
    static char buf[512];
    size_t len = 0;
    buf[0] = '\0';
    for (size_t level = 0; level < set->n_levels; level++) {
        const struct level *span = &set->levels[level];
        for (size_t i = span->start; i < span->start + span->len; i++) {
            cr_expect_eq(set->endpoints[i].level, level);
            len +=
                (size_t)snprintf(buf + len, sizeof(buf) - len, "%s%.*s", i > span->start ? " " : "",
                                 STR_ARG(set->endpoints[i].workload->name));
        }
        if (level + 1 < set->n_levels)
            len += (size_t)snprintf(buf + len, sizeof(buf) - len, "|");
    }
    return buf;
}

static void place(struct model_workload *workload, const char *region, const char *zone)
{
    workload->region = str_from(region);
    workload->zone = str_from(zone);
}

Test(snapshot, of_nothing_is_empty_and_keeps_who_asked)
{
    struct ip ip = {4, {10, 0, 0, 1}};
    snapshot = snapshot_build(NULL, 0, &mesh.vantage, 3, false);
    cr_expect_eq(snapshot->generation, 3);
    cr_expect_not(snapshot->is_synced);
    cr_expect(str_eq(snapshot->vantage.cluster, STR("west")));
    cr_expect_null(snapshot_workload_by_ip(snapshot, &ip));
    cr_expect_null(snapshot_service_by_ip(snapshot, &ip));
    cr_expect_null(snapshot_service_by_host(snapshot, STR("a.b")));
    cr_expect_eq(snapshot->n_local, 0);
    snapshot_free(NULL);
}

Test(snapshot, sorts_endpoints_by_how_near_they_are)
{
    mesh_service(&mesh, WEB, "10.96.0.1", "http:80:8080");
    place(mesh_workload(&mesh, "west", "here", "n1", "10.1.0.1", WEB), "eu", "a");
    place(mesh_workload(&mesh, "west", "zone", "n2", "10.1.0.2", WEB), "eu", "a");
    place(mesh_workload(&mesh, "west", "region", "n3", "10.1.0.3", WEB), "eu", "b");
    place(mesh_workload(&mesh, "west", "far", "n4", "10.1.0.4", WEB), "us", "a");
    place(mesh_workload(&mesh, "west", "unknown", "n5", "10.1.0.5", WEB), "", "");
    place(mesh_workload(&mesh, "east", "other", "n1", "10.2.0.1", WEB), "eu", "a");
    snapshot = mesh_build(&mesh);
    const struct service_port *port = service_find_port(service_of(WEB), 80);
    cr_assert_not_null(port);
    cr_expect_str_eq(levels_of(&port->v4), "here zone|region|far unknown|other");
    cr_expect_eq(port->v6.len, 0);
    cr_expect(str_eq(snapshot->vantage.region, STR("eu")));
    cr_expect(str_eq(snapshot->vantage.zone, STR("a")));
}

Test(snapshot, knows_the_largest_weight_of_each_level)
{
    mesh_service(&mesh, WEB, "10.96.0.1", "http:80:8080");
    mesh_workload(&mesh, "west", "here", "n1", "10.1.0.1", WEB)->capacity = 3;
    mesh_workload(&mesh, "west", "heavy", "n1", "10.1.0.2", WEB)->capacity = 7;
    mesh_workload(&mesh, "east", "other", "n9", "10.2.0.1", WEB)->capacity = 0;
    snapshot = mesh_build(&mesh);
    const struct endpoint_set *set = &service_of(WEB)->ports[0].v4;
    cr_assert_eq(set->n_levels, 2);
    cr_expect_eq(set->levels[0].kind, LEVEL_ZONE);
    cr_expect_eq(set->levels[0].max_weight, 7);
    cr_expect_eq(set->levels[1].kind, LEVEL_OTHER_CLUSTER);
    cr_expect(str_eq(set->levels[1].cluster, STR("east")));
    cr_expect_eq(set->levels[1].max_weight, 1);
}

Test(snapshot, two_workloads_with_one_address_are_one_endpoint_with_their_weights_summed)
{
    mesh_service(&mesh, WEB, "10.96.0.1", "http:80:8080");
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", WEB)->capacity = 3;
    mesh_workload(&mesh, "west", "b", "n1", "10.1.0.1", WEB)->capacity = 4;
    mesh_workload(&mesh, "west", "gone", "n2", "10.1.0.2", WEB)->is_healthy = false;
    mesh_workload(&mesh, "west", "new", "n2", "10.1.0.2", WEB);
    mesh_workload(&mesh, "east", "c", "n1", "10.1.0.1", WEB)->network = STR("far");
    snapshot = mesh_build(&mesh);
    const struct service *service = service_of(WEB);
    const struct endpoint_set *set = &service->ports[0].v4;
    cr_expect_str_eq(levels_of(set), "a|new|c", "another network is another address");
    cr_expect_eq(set->endpoints[0].weight, 7);
    cr_expect_eq(set->endpoints[1].weight, 1, "one that is ready is believed");
    cr_expect(set->endpoints[1].is_ready);
    cr_expect_eq(service_target_port(snapshot, service, workload_of("west//v1/Pod/shop/b"), 80),
                 8080);
    cr_expect_eq(service_target_port(snapshot, service, workload_of("west//v1/Pod/shop/gone"), 80),
                 8080);
}

Test(snapshot, without_a_locality_of_its_own_all_are_of_the_cluster)
{
    mesh_service(&mesh, WEB, "10.96.0.1", "http:80:8080");
    place(mesh_workload(&mesh, "west", "a", "n2", "10.1.0.1", WEB), "", "");
    place(mesh_workload(&mesh, "west", "b", "n3", "10.1.0.2", WEB), "eu", "a");
    place(mesh_workload(&mesh, "east", "c", "n1", "10.1.0.3", WEB), "us", "b");
    snapshot = mesh_build(&mesh);
    cr_expect_str_eq(levels_of(&service_of(WEB)->ports[0].v4), "a b|c");
    cr_expect(str_is_empty(snapshot->vantage.region));
}

Test(snapshot, an_endpoint_of_both_families_is_in_both_sets)
{
    mesh_service(&mesh, WEB, "10.96.0.1 fd00:96::1", "http:80:8080");
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1 fd00::1", WEB);
    mesh_workload(&mesh, "west", "b", "n1", "fd00::2", WEB);
    snapshot = mesh_build(&mesh);
    const struct service_port *port = &service_of(WEB)->ports[0];
    char text[ADDR_TEXT_MAX];
    cr_expect_eq(port->v4.len, 1);
    cr_assert_eq(port->v6.len, 2);
    cr_expect_str_eq(addr_text(&port->v6.endpoints[0].addr, text), "[fd00::1]:8080");
    cr_expect_eq(port->v4.endpoints[0].key, port->v6.endpoints[0].key);
    cr_expect_neq(port->v6.endpoints[0].key, port->v6.endpoints[1].key);
}

Test(snapshot, the_endpoints_own_ports_win_and_a_missing_port_leaves_it_out)
{
    struct model_port own[] = {{.service_port = 80, .target_port = 9080}};
    mesh_service(&mesh, WEB, "10.96.0.1", "http:80:8080 admin:81:8081 dns:80:53/udp");
    struct model_workload *a = mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", WEB);
    a->services[0].ports = own;
    a->services[0].n_ports = 1;
    mesh_workload(&mesh, "west", "b", "n1", "10.1.0.2", WEB);
    snapshot = mesh_build(&mesh);
    const struct service *service = service_of(WEB);
    cr_expect_eq(service_target_port(snapshot, service, workload_of("west//v1/Pod/shop/a"), 80),
                 9080);
    cr_expect_eq(service_target_port(snapshot, service, workload_of("west//v1/Pod/shop/b"), 80),
                 8080);
    cr_expect_eq(service_target_port(snapshot, service, workload_of("west//v1/Pod/shop/a"), 81), 0);
    cr_expect_eq(service_target_port(snapshot, service, workload_of("west//v1/Pod/shop/b"), 81),
                 8081);
    cr_expect_eq(service_target_port(snapshot, service, workload_of("west//v1/Pod/shop/b"), 99), 0);
    cr_expect_str_eq(levels_of(&service_find_port(service, 81)->v4), "b");
    cr_expect_eq(service->n_ports, 3);
    cr_expect_not(service_find_port(service, 80)->is_udp);
    cr_expect_eq(service->ports[1].v4.len, 0, "UDP is named, not balanced");
}

Test(snapshot, a_port_that_only_udp_has_is_not_found)
{
    mesh_service(&mesh, WEB, "10.96.0.1", "dns:53:53/udp");
    snapshot = mesh_build(&mesh);
    cr_expect_null(service_find_port(service_of(WEB), 53));
}

Test(snapshot, readiness_takes_health_the_slice_and_the_service_into_account)
{
    static const struct {
        bool healthy, not_ready, allow, ready;
    } rows[] = {
        {true, false, false, true},
        {false, false, false, false},
        {true, true, false, false},
        {false, true, true, true},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mesh m;
        mesh_begin(&m);
        mesh_service(&m, WEB, "10.96.0.1", "http:80:8080")->allow_unhealthy = rows[i].allow;
        struct model_workload *workload = mesh_workload(&m, "west", "a", "n1", "10.1.0.1", WEB);
        workload->is_healthy = rows[i].healthy;
        workload->services[0].not_ready = rows[i].not_ready;
        struct snapshot *built = mesh_build(&m);
        const struct service *service = map_find(&built->services, STR(WEB));
        cr_assert_eq(service->ports[0].v4.len, 1);
        cr_expect_eq(service->ports[0].v4.endpoints[0].is_ready, rows[i].ready, "row %zu", i);
        snapshot_free(built);
        mesh_end(&m);
    }
}

Test(snapshot, finds_workloads_by_address_in_this_network_only)
{
    struct ip ip = {4, {10, 1, 0, 1}}, host = {4, {10, 0, 0, 9}}, v6;
    cr_assert_eq(ip_parse(STR("fd00::1"), &v6), 0);
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1 fd00::1", "");
    mesh_workload(&mesh, "east", "b", "n1", "10.1.0.1", "")->network = STR("far");
    mesh_workload(&mesh, "west", "h", "n1", "10.0.0.9", "")->host_network = true;
    snapshot = mesh_build(&mesh);
    cr_expect_eq(snapshot_workload_by_ip(snapshot, &ip), workload_of("west//v1/Pod/shop/a"));
    cr_expect_eq(snapshot_workload_by_ip(snapshot, &v6), workload_of("west//v1/Pod/shop/a"));
    cr_expect_null(snapshot_workload_by_ip(snapshot, &host));
    cr_expect_not_null(workload_of("east//v1/Pod/shop/b"));
}

Test(snapshot, of_two_workloads_with_one_address_the_healthy_one_is_found)
{
    struct ip ip = {4, {10, 1, 0, 1}};
    mesh_workload(&mesh, "west", "a-gone", "n1", "10.1.0.1", "")->is_healthy = false;
    mesh_workload(&mesh, "west", "b", "n1", "10.1.0.1", "");
    mesh_workload(&mesh, "west", "c-gone", "n1", "10.1.0.1", "")->is_healthy = false;
    snapshot = mesh_build(&mesh);
    cr_expect_eq(snapshot_workload_by_ip(snapshot, &ip), workload_of("west//v1/Pod/shop/b"));
}

Test(snapshot, knows_its_own_workloads_and_their_identities)
{
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", WEB);
    mesh_workload(&mesh, "west", "b", "n1", "10.1.0.2", "")->speaks_hbone = false;
    mesh_workload(&mesh, "west", "c", "n2", "10.1.0.3", "");
    mesh_workload(&mesh, "east", "d", "n1", "10.1.0.4", "")->service_account = (struct str){0};
    mesh_service(&mesh, WEB, "10.96.0.1", "http:80:8080");
    snapshot = mesh_build(&mesh);
    cr_assert_eq(snapshot->n_local, 1);
    const struct workload *a = snapshot->local[0];
    cr_expect(str_eq(a->name, STR("a")));
    cr_expect(str_eq(a->identity, STR("spiffe://td/ns/shop/sa/web")));
    cr_assert_eq(a->n_services, 1);
    cr_expect_eq(a->services[0], service_of(WEB));
    cr_expect(workload_of("west//v1/Pod/shop/b")->is_local);
    cr_expect_not(workload_of("west//v1/Pod/shop/c")->is_local);
    cr_expect_not(workload_of("east//v1/Pod/shop/d")->is_local);
    cr_expect(str_is_empty(workload_of("east//v1/Pod/shop/d")->identity));
}

Test(snapshot, finds_services_by_address_and_by_host_in_any_case)
{
    struct ip vip = {4, {10, 201, 0, 1}};
    mesh_service(&mesh, "shop/Web.shop.svc.ClusterSet.local", "10.201.0.1", "http:80:0");
    mesh_service(&mesh, WEB, "10.96.0.1", "http:80:8080");
    snapshot = mesh_build(&mesh);
    const struct service *imported =
        snapshot_service_by_host(snapshot, STR("web.shop.SVC.clusterset.local."));
    cr_assert_not_null(imported);
    cr_expect_eq(imported->scope, SERVICE_CLUSTERSET);
    cr_expect_eq(snapshot_service_by_ip(snapshot, &vip), imported);
    cr_expect_eq(service_of(WEB)->scope, SERVICE_CLUSTER_LOCAL);
    cr_expect_null(snapshot_service_by_host(snapshot, STR("web.shop.svc.clusterset.local..")));
    cr_expect_null(snapshot_service_by_host(snapshot, STR(".")));
}

Test(snapshot, leaves_out_services_and_workloads_that_are_not_there)
{
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", "shop/ghost.shop.svc.cluster.local");
    mesh_service(&mesh, WEB, "10.96.0.1", "http:80:8080");
    snapshot = mesh_build(&mesh);
    cr_expect_eq(workload_of("west//v1/Pod/shop/a")->n_services, 0);
    cr_expect_eq(service_of(WEB)->ports[0].v4.len, 0);
}

/* The keys of a workload's policies, layer by layer. */
static const char *policies_of(const char *uid)
{
    static char buf[256];
    const struct policy_set *set = workload_of(uid)->policies;
    size_t len = 0;
    buf[0] = '\0';
    for (size_t l = 0; l < set->n_layers; l++)
        for (size_t i = 0; i < set->layers[l]->n_policies; i++)
            len += (size_t)snprintf(buf + len, sizeof(buf) - len, "%s%.*s", len > 0 ? " " : "",
                                    STR_ARG(set->layers[l]->policies[i]->key));
    return buf;
}

Test(snapshot, gathers_policies_by_scope_denials_first)
{
    struct str selected[] = {STR("shop/own-allow"), STR("shop/own-deny")};
    mesh_policy(&mesh, "shop/ns-allow", POLICY_ALLOW, POLICY_NAMESPACE);
    mesh_policy(&mesh, "root/mesh-deny", POLICY_DENY, POLICY_GLOBAL);
    mesh_policy(&mesh, "shop/own-deny", POLICY_DENY, POLICY_WORKLOAD);
    mesh_policy(&mesh, "shop/own-allow", POLICY_ALLOW, POLICY_WORKLOAD);
    mesh_policy(&mesh, "other/ns-deny", POLICY_DENY, POLICY_NAMESPACE);
    struct model_workload *a = mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", "");
    a->policies = selected;
    a->n_policies = 2;
    mesh_workload(&mesh, "west", "b", "n1", "10.1.0.2", "");
    mesh_workload(&mesh, "west", "c", "n1", "10.1.0.3", "")->namespace_ = STR("quiet");
    snapshot = mesh_build(&mesh);
    cr_expect_str_eq(policies_of("west//v1/Pod/shop/a"),
                     "root/mesh-deny shop/ns-allow shop/own-deny shop/own-allow");
    cr_expect_str_eq(policies_of("west//v1/Pod/shop/b"), "root/mesh-deny shop/ns-allow");
    cr_expect_str_eq(policies_of("west//v1/Pod/shop/c"), "root/mesh-deny");
    cr_expect(str_is_empty(workload_of("west//v1/Pod/shop/a")->policies->missing));
}

Test(snapshot, a_policy_that_is_not_there_is_told)
{
    struct str selected[] = {STR("shop/gone")};
    struct model_workload *a = mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", "");
    a->policies = selected;
    a->n_policies = 1;
    snapshot = mesh_build(&mesh);
    cr_expect(str_eq(workload_of("west//v1/Pod/shop/a")->policies->missing, STR("shop/gone")));
    cr_expect_eq(workload_of("west//v1/Pod/shop/a")->policies->n_layers, 0);
}

/* A24: what is not there yet is never skipped, whichever of the two arrives first. */
Test(snapshot, a24_policy_and_workload_may_arrive_in_either_order)
{
    static struct str selected[] = {STR("shop/own")};
    const struct policy_question question = {.principal = STR("west.example/ns/shop/sa/a"),
                                             .port = 80};
    for (int policy_first = 0; policy_first < 2; policy_first++) {
        mesh_end(&mesh);
        mesh_begin(&mesh);
        for (int step = 0; step < 2; step++) {
            if (step == policy_first) {
                struct model_workload *a = mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", "");
                a->policies = selected;
                a->n_policies = 1;
            } else {
                mesh_policy(&mesh, "shop/own", POLICY_DENY, POLICY_WORKLOAD); /* of nothing */
            }
            snapshot_free(snapshot);
            snapshot = mesh_build(&mesh);
            const struct workload *workload =
                map_find(&snapshot->workloads, STR("west//v1/Pod/shop/a"));
            if (step == 0 && policy_first) {
                cr_expect_null(workload);
                continue;
            }
            const struct policy_answer answer = policy_ask(workload->policies, &question);
            cr_expect_eq(answer.allowed, step == 1, "policy first: %d", policy_first);
            if (step == 0)
                cr_expect(str_eq(answer.policy, selected[0]));
        }
    }
}

/* Everything about endpoints and names in one text, in the order of the services' names. */
static void describe(const struct snapshot *s, size_t n_services, struct text *out)
{
    for (size_t i = 0; i < n_services; i++) {
        char key[64], addr[ADDR_TEXT_MAX];
        snprintf(key, sizeof(key), "shop/s%zu.shop.svc.clusterset.local", i);
        const struct service *service = map_find(&s->services, str_from(key));
        const struct endpoint_set *set = &service->ports[0].v4;
        for (size_t j = 0; j < set->len; j++)
            text_addf(out, "%s %u %llx\n", addr_text(&set->endpoints[j].addr, addr),
                      (unsigned)set->endpoints[j].level, (unsigned long long)set->endpoints[j].key);
        const struct dns_name *name = map_find(&s->names, service->hostname);
        for (size_t j = 0; j < name->n_addresses; j++)
            text_addf(out, "%s\n", ip_text(&name->addresses[j], addr));
        for (size_t j = 0; j < name->n_srvs; j++)
            text_addf(out, "%u %.*s\n", name->srvs[j].port, STR_ARG(name->srvs[j].target));
    }
}

Test(snapshot, does_not_depend_on_the_order_of_the_resources)
{
    struct text first = {0}, second = {0};
    struct rng rng;
    for (unsigned i = 0; i < 20; i++) {
        char key[64], name[32], ip[32];
        snprintf(key, sizeof(key), "shop/s%u.shop.svc.clusterset.local", i);
        snprintf(ip, sizeof(ip), "10.201.0.%u", i + 1);
        mesh_service(&mesh, key, i % 2 ? ip : "", "http:80:8080 b:81:81");
        for (unsigned j = 0; j < 5; j++) {
            snprintf(name, sizeof(name), "w%u-%u", i, j);
            snprintf(ip, sizeof(ip), "10.%u.0.%u", i + 1, j + 1);
            mesh_workload(&mesh, j % 2 ? "west" : "east", name, "n1", ip, key);
        }
    }
    snapshot = mesh_build(&mesh);
    describe(snapshot, 20, &first);
    rng_seed(&rng, 42);
    for (size_t i = mesh.n; i > 1; i--) {
        size_t j = rng_below(&rng, (uint32_t)i);
        const struct model_resource *swap = mesh.resources[i - 1];
        mesh.resources[i - 1] = mesh.resources[j];
        mesh.resources[j] = swap;
    }
    struct snapshot *again = mesh_build(&mesh);
    describe(again, 20, &second);
    cr_expect_gt(first.len, 1000);
    cr_expect_str_eq(first.ptr, second.ptr);
    snapshot_free(again);
    text_fini(&first);
    text_fini(&second);
}

/* 1,000 services with 10 endpoints each, in an array of its own. */
Test(snapshot, builds_a_large_mesh)
{
    enum { SERVICES = 1000, EACH = 10 };
    struct arena arena = {0};
    const struct model_resource **all =
        arena_new_array(&arena, const struct model_resource *, SERVICES *(EACH + 1));
    size_t n = 0;
    for (unsigned i = 0; i < SERVICES; i++) {
        char key[64];
        mesh.n = 0;
        snprintf(key, sizeof(key), "shop/s%u.shop.svc.clusterset.local", i);
        char vip[32], ip[32], name[32];
        snprintf(vip, sizeof(vip), "10.201.%u.%u", i / 250, i % 250 + 1);
        mesh_service(&mesh, key, vip, "http:80:8080");
        for (unsigned j = 0; j < EACH; j++) {
            snprintf(name, sizeof(name), "w%u-%u", i, j);
            snprintf(ip, sizeof(ip), "10.%u.%u.%u", j, i / 250, i % 250 + 1);
            mesh_workload(&mesh, j < 7 ? "west" : "east", name, j == 0 ? "n1" : "n2", ip, key);
        }
        memcpy(all + n, mesh.resources, mesh.n * sizeof(*all));
        n += mesh.n;
    }
    snapshot = snapshot_build(all, n, &mesh.vantage, 1, true);
    cr_expect_eq(snapshot->services.len, SERVICES);
    cr_expect_eq(snapshot->service_by_ip.len, SERVICES);
    cr_expect_eq(snapshot->workloads.len, SERVICES * EACH);
    cr_expect_eq(snapshot->workload_by_ip.len, SERVICES * EACH);
    cr_expect_eq(snapshot->n_local, SERVICES);
    /* apex, svc, shop; and a name, _tcp and _http._tcp of each */
    cr_expect_eq(snapshot->names.len, 3 + 3 * SERVICES);
    for (unsigned i = 0; i < SERVICES; i++) {
        char key[64];
        snprintf(key, sizeof(key), "shop/s%u.shop.svc.clusterset.local", i);
        const struct endpoint_set *set = &service_of(key)->ports[0].v4;
        cr_assert_eq(set->len, EACH);
        cr_assert_eq(set->n_levels, 3);
        cr_assert_eq(set->levels[0].len, 1);
        cr_assert_eq(set->levels[2].start, 7);
        cr_assert_eq(set->levels[2].kind, LEVEL_OTHER_CLUSTER);
    }
    arena_fini(&arena);
}

Test(snapshot, names_every_level)
{
    cr_expect_str_eq(level_kind_name(LEVEL_NODE), "node");
    cr_expect_str_eq(level_kind_name(LEVEL_OTHER_CLUSTER), "other cluster");
    cr_expect_str_eq(level_kind_name(LEVEL_CLUSTERSET), "clusterset");
    cr_expect_str_eq(level_kind_name(LEVEL_KINDS), "unknown");
}

Test(snapshot, k5_pods_of_one_identity_have_keys_of_their_own_where_each_has_an_svid)
{
    mesh_workload(&mesh, "west", "a", "n1", "10.0.0.1", "");
    mesh_workload(&mesh, "west", "b", "n1", "10.0.0.2", "");
    snapshot = mesh_build(&mesh);
    cr_assert_eq(snapshot->n_local, 2);
    cr_expect(str_eq(snapshot->local[0]->svid_key, snapshot->local[0]->identity));
    cr_expect(str_eq(snapshot->local[0]->svid_key, snapshot->local[1]->svid_key));
    snapshot_free(snapshot);

    mesh.vantage.svid_per_workload = true;
    snapshot = mesh_build(&mesh);
    cr_expect_not(str_eq(snapshot->local[0]->svid_key, snapshot->local[1]->svid_key));
    for (size_t i = 0; i < snapshot->n_local; i++) {
        const struct workload *workload = snapshot->local[i];
        cr_expect(str_starts_with(workload->svid_key, workload->identity));
        cr_expect(str_ends_with(workload->svid_key, workload->uid));
    }
}

Test(snapshot, k7_a_pod_made_anew_under_its_name_has_another_key)
{
    struct arena kept = {0};
    struct model_workload *pod = mesh_workload(&mesh, "west", "a", "n1", "10.0.0.1", "");
    mesh.vantage.svid_per_workload = true;
    pod->pod_uid = STR("u-1");
    snapshot = mesh_build(&mesh);
    const struct str first = arena_str(&kept, snapshot->local[0]->svid_key);
    cr_expect(str_eq(svid_key_pod_uid(first), STR("u-1")));
    snapshot_free(snapshot);

    pod->pod_uid = STR("u-2");
    snapshot = mesh_build(&mesh);
    cr_expect_not(str_eq(snapshot->local[0]->svid_key, first));
    cr_expect(str_eq(svid_key_workload(snapshot->local[0]->svid_key), snapshot->local[0]->uid));
    arena_fini(&kept);
}
