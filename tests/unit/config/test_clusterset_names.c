/* The layout of the zone clusterset.local. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/text.h"
#include "scene.h"

TestSuite(clusterset_names, .init = scene_begin, .fini = scene_end, .timeout = 20);

#define VIP "shop/web.shop.svc.clusterset.local"
#define DB  "shop/db.shop.svc.clusterset.local"

/* What a name answers: "A:10.0.0.1 SRV:80:target", "" when it has no records, "NXDOMAIN" when it
 * does not exist. */
static const char *answer(const char *text)
{
    static char buf[2048];
    char ip[IP_TEXT_MAX];
    const struct dns_name *name = map_find(&snapshot->names, str_from(text));
    size_t len = 0;
    if (!name)
        return "NXDOMAIN";
    buf[0] = '\0';
    for (size_t i = 0; i < name->n_addresses; i++)
        len += (size_t)snprintf(buf + len, sizeof(buf) - len, "%sA:%s", len ? " " : "",
                                ip_text(&name->addresses[i], ip));
    for (size_t i = 0; i < name->n_srvs; i++)
        len += (size_t)snprintf(buf + len, sizeof(buf) - len, "%sSRV:%u:%.*s", len ? " " : "",
                                name->srvs[i].port, STR_ARG(name->srvs[i].target));
    return buf;
}

static void expect(const char *name, const char *expected)
{
    cr_expect_str_eq(answer(name), expected, "%s: %s, expected %s", name, answer(name), expected);
}

Test(clusterset_names, a_cluster_set_ip_has_addresses_and_srv_records)
{
    mesh_service(&mesh, VIP, "10.201.0.1 fd00:201::1", "http:80:8080 dns:53:53/udp");
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", VIP);
    snapshot = mesh_build(&mesh);
    expect("web.shop.svc.clusterset.local",
           "A:10.201.0.1 A:fd00:201::1 SRV:53:web.shop.svc.clusterset.local "
           "SRV:80:web.shop.svc.clusterset.local");
    expect("_http._tcp.web.shop.svc.clusterset.local", "SRV:80:web.shop.svc.clusterset.local");
    expect("_dns._udp.web.shop.svc.clusterset.local", "SRV:53:web.shop.svc.clusterset.local");
    expect("_dns._tcp.web.shop.svc.clusterset.local", "NXDOMAIN");
    expect("_tcp.web.shop.svc.clusterset.local", "");
    expect("_udp.web.shop.svc.clusterset.local", "");
}

Test(clusterset_names, the_names_above_exist_without_records)
{
    mesh_service(&mesh, VIP, "10.201.0.1", "http:80:8080");
    mesh_service(&mesh, "shop/local.shop.svc.cluster.local", "10.96.0.1", "http:80:8080");
    mesh_service(&mesh, "quiet/x.quiet.svc.cluster.local", "10.96.0.2", "http:80:8080");
    snapshot = mesh_build(&mesh);
    expect("clusterset.local", "");
    expect("svc.clusterset.local", "");
    expect("shop.svc.clusterset.local", "");
    expect("quiet.svc.clusterset.local", "NXDOMAIN");
    expect("local", "NXDOMAIN");
    expect("local.shop.svc.cluster.local", "NXDOMAIN");
}

Test(clusterset_names, the_apex_exists_in_an_empty_mesh)
{
    snapshot = mesh_build(&mesh);
    expect("clusterset.local", "");
    expect("svc.clusterset.local", "");
    cr_expect_eq(snapshot->names.len, 2);
}

Test(clusterset_names, unnamed_ports_have_no_srv_records)
{
    mesh_service(&mesh, VIP, "10.201.0.1", ":80:8080");
    snapshot = mesh_build(&mesh);
    expect("web.shop.svc.clusterset.local", "A:10.201.0.1");
    expect("_tcp.web.shop.svc.clusterset.local", "NXDOMAIN");
}

Test(clusterset_names, one_number_over_tcp_and_udp_is_one_srv_record_of_the_bare_name)
{
    mesh_service(&mesh, VIP, "10.201.0.1", "tcp:42:42 udp:42:42/udp");
    snapshot = mesh_build(&mesh);
    expect("web.shop.svc.clusterset.local", "A:10.201.0.1 SRV:42:web.shop.svc.clusterset.local");
    expect("_tcp._tcp.web.shop.svc.clusterset.local", "SRV:42:web.shop.svc.clusterset.local");
    expect("_udp._udp.web.shop.svc.clusterset.local", "SRV:42:web.shop.svc.clusterset.local");
}

Test(clusterset_names, a_cluster_set_ip_without_endpoints_exists_a_headless_service_does_not)
{
    mesh_service(&mesh, VIP, "10.201.0.1", "http:80:8080");
    mesh_service(&mesh, "other/db.other.svc.clusterset.local", "", "db:5432:5432");
    mesh_workload(&mesh, "west", "sick", "n1", "10.1.0.9", "other/db.other.svc.clusterset.local")
        ->is_healthy = false;
    snapshot = mesh_build(&mesh);
    expect("web.shop.svc.clusterset.local", "A:10.201.0.1 SRV:80:web.shop.svc.clusterset.local");
    expect("db.other.svc.clusterset.local", "NXDOMAIN");
    expect("_tcp.db.other.svc.clusterset.local", "NXDOMAIN");
    expect("_db._tcp.db.other.svc.clusterset.local", "NXDOMAIN");
    expect("other.svc.clusterset.local", "");
}

Test(clusterset_names, headless_names_are_those_of_the_ready_endpoints)
{
    mesh_service(&mesh, DB, "", "db:5432:6432");
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", DB)->services[0].dns_hostname = STR("db-0");
    mesh_workload(&mesh, "east", "b", "n1", "10.2.0.1 5678:abcd::1", DB);
    mesh_workload(&mesh, "west", "c", "n1", "10.1.0.3", DB)->services[0].not_ready = true;
    snapshot = mesh_build(&mesh);
    expect("db-0.west.db.shop.svc.clusterset.local", "A:10.1.0.1");
    expect("10-2-0-1.east.db.shop.svc.clusterset.local", "A:10.2.0.1");
    expect("5678-abcd--1.east.db.shop.svc.clusterset.local", "A:5678:abcd::1");
    expect("10-1-0-3.west.db.shop.svc.clusterset.local", "NXDOMAIN");
    const char *srvs = "SRV:6432:10-2-0-1.east.db.shop.svc.clusterset.local "
                       "SRV:6432:5678-abcd--1.east.db.shop.svc.clusterset.local "
                       "SRV:6432:db-0.west.db.shop.svc.clusterset.local";
    char whole[1024];
    snprintf(whole, sizeof(whole), "A:10.1.0.1 A:10.2.0.1 A:5678:abcd::1 %s", srvs);
    expect("db.shop.svc.clusterset.local", whole);
    expect("_db._tcp.db.shop.svc.clusterset.local", srvs);
    const struct dns_name *name = map_find(&snapshot->names, STR("db.shop.svc.clusterset.local"));
    cr_expect(name->is_headless);
}

Test(clusterset_names, the_name_of_a_cluster_is_reserved)
{
    mesh_service(&mesh, DB, "", "db:5432:5432");
    mesh_service(&mesh, VIP, "10.201.0.1", "http:80:8080");
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", DB);
    mesh_workload(&mesh, "west", "b", "n1", "10.1.0.2", VIP);
    snapshot = mesh_build(&mesh);
    expect("10-1-0-1.west.db.shop.svc.clusterset.local", "A:10.1.0.1");
    expect("west.db.shop.svc.clusterset.local", "NXDOMAIN");
    expect("west.web.shop.svc.clusterset.local", "NXDOMAIN");
}

Test(clusterset_names, endpoints_that_share_a_host_name_share_its_addresses)
{
    mesh_service(&mesh, DB, "", "db:5432:5432");
    mesh_workload(&mesh, "west", "a", "n1", "10.1.0.2", DB)->services[0].dns_hostname = STR("dup");
    mesh_workload(&mesh, "west", "b", "n1", "10.1.0.1", DB)->services[0].dns_hostname = STR("Dup");
    snapshot = mesh_build(&mesh);
    expect("dup.west.db.shop.svc.clusterset.local", "A:10.1.0.1 A:10.1.0.2");
    expect("_db._tcp.db.shop.svc.clusterset.local",
           "SRV:5432:dup.west.db.shop.svc.clusterset.local");
}

Test(clusterset_names, headless_ports_are_those_that_the_endpoint_serves)
{
    struct model_port own[] = {{.service_port = 42, .target_port = 4242},
                               {.service_port = 42, .target_port = 4243, .is_udp = true}};
    mesh_service(&mesh, DB, "", "t:42:42 u:42:42/udp x:99:99");
    struct model_workload *a = mesh_workload(&mesh, "west", "a", "n1", "10.1.0.1", DB);
    a->services[0].ports = own;
    a->services[0].n_ports = 2;
    snapshot = mesh_build(&mesh);
    expect("_t._tcp.db.shop.svc.clusterset.local",
           "SRV:4242:10-1-0-1.west.db.shop.svc.clusterset.local");
    expect("_u._udp.db.shop.svc.clusterset.local",
           "SRV:4243:10-1-0-1.west.db.shop.svc.clusterset.local");
    expect("_x._tcp.db.shop.svc.clusterset.local", "NXDOMAIN");
}

Test(clusterset_names, names_are_in_lower_case)
{
    mesh_service(&mesh, "shop/DB.Shop.svc.clusterset.local", "", "Pg:5432:5432");
    mesh_workload(&mesh, "West", "a", "n1", "10.1.0.1", "shop/DB.Shop.svc.clusterset.local");
    snapshot = mesh_build(&mesh);
    expect("_pg._tcp.db.shop.svc.clusterset.local",
           "SRV:5432:10-1-0-1.west.db.shop.svc.clusterset.local");
}

Test(clusterset_names, a_cluster_with_a_dot_is_laid_out_as_it_is)
{
    mesh_service(&mesh, DB, "", "db:5432:5432");
    mesh_workload(&mesh, "w.eu", "a", "n1", "10.1.0.1", DB);
    snapshot = mesh_build(&mesh);
    expect("10-1-0-1.w.eu.db.shop.svc.clusterset.local", "A:10.1.0.1");
    expect("w.eu.db.shop.svc.clusterset.local", "NXDOMAIN");
    expect("eu.db.shop.svc.clusterset.local", "NXDOMAIN");
}

Test(clusterset_names, names_that_do_not_fit_dns_are_left_out)
{
    char label[65], key[512], cluster[512];
    memset(label, 'a', 64);
    label[64] = '\0';
    snprintf(key, sizeof(key), "shop/%s.shop.svc.clusterset.local", label);
    mesh_service(&mesh, key, "10.201.0.1", "http:80:8080");
    mesh_service(&mesh, "shop/a..svc.clusterset.local", "10.201.0.2", "http:80:8080");
    mesh_service(&mesh, DB, "", "db:5432:5432");
    snprintf(cluster, sizeof(cluster), "%.60s.%.60s.%.60s.%.60s", label, label, label, label);
    mesh_workload(&mesh, cluster, "a", "n1", "10.1.0.1", DB);
    snapshot = mesh_build(&mesh);
    expect("db.shop.svc.clusterset.local", "A:10.1.0.1");
    expect("_db._tcp.db.shop.svc.clusterset.local", "NXDOMAIN");
    /* clusterset.local, svc, shop and db: nothing else */
    cr_expect_eq(snapshot->names.len, 4);
}
