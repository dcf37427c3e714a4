/* Tables of consistent hashing: which are built, which are those of the snapshot before. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "mesh.h"

#define WEB    "shop/web.shop.svc.clusterset.local"
#define TILL   "shop/till.shop.svc.clusterset.local"
#define N_PODS 20

static struct mesh mesh;
static struct traffic_policy *policy;
static struct model_workload *pods[N_PODS];
static struct snapshot *before, *after;

static void begin(void)
{
    mesh_begin(&mesh);
    mesh_service(&mesh, WEB, "10.201.0.1", "http:80:8080 admin:81:8081");
    mesh_service(&mesh, TILL, "10.201.0.2", "http:80:8080");
    for (int i = 0; i < N_PODS; i++) {
        char name[16], ip[16];
        snprintf(name, sizeof(name), "web-%02d", i);
        snprintf(ip, sizeof(ip), "10.0.0.%d", i + 1);
        pods[i] = mesh_workload(&mesh, "west", name, "n1", ip, WEB);
    }
    mesh_workload(&mesh, "west", "till", "n1", "10.0.1.1", TILL);
    policy = mesh_traffic(&mesh, WEB);
    policy->algorithm = ALGORITHM_MAGLEV;
    policy->maglev_size = 1009;
    before = mesh_build(&mesh);
}

static void end(void)
{
    snapshot_free(before);
    snapshot_free(after);
    mesh_end(&mesh);
}

TestSuite(snapshot_hash, .init = begin, .fini = end, .timeout = 20);

static void build_next(void)
{
    snapshot_free(after);
    after = snapshot_build_next(before, mesh.resources, mesh.n, &mesh.vantage, 2, true);
}

static const struct level *level_of(const struct snapshot *snapshot, size_t port)
{
    const struct service *service = map_find(&snapshot->services, STR(WEB));
    cr_assert_eq(service->ports[port].v4.n_levels, 1);
    return &service->ports[port].v4.levels[0];
}

Test(snapshot_hash, only_levels_of_services_that_hash_have_a_table)
{
    cr_expect_eq(before->n_tables_built, 2, "two ports of web, none of till");
    cr_expect_eq(level_of(before, 0)->maglev.len, 1009);
    cr_expect_null(level_of(before, 0)->ring.points);
}

Test(snapshot_hash, what_did_not_change_is_taken_over_and_outlives_the_snapshot_before)
{
    build_next();
    cr_expect_eq(after->n_tables_built, 0);
    cr_expect_eq(level_of(after, 0)->maglev.table, level_of(before, 0)->maglev.table);
    snapshot_free(before);
    before = NULL;
    unsigned n[N_PODS] = {0};
    for (uint64_t hash = 0; hash < 1009; hash++)
        n[maglev_find(&level_of(after, 0)->maglev, hash, 0)]++;
    for (size_t i = 0; i < N_PODS; i++)
        cr_expect_gt(n[i], 40, "pod %zu", i);
}

Test(snapshot_hash, readiness_and_other_services_build_nothing_anew)
{
    pods[3]->is_healthy = false;
    pods[4]->services[0].not_ready = true;
    mesh_workload(&mesh, "west", "till-2", "n1", "10.0.1.2", TILL);
    build_next();
    cr_expect_eq(after->n_tables_built, 0);
}

Test(snapshot_hash, each_thing_that_a_table_is_built_from_builds_it_anew)
{
    static const struct {
        const char *name;
        size_t n_built;
    } rows[] = {{"a weight", 2}, {"an address", 2},    {"a network", 2},    {"one more", 2},
                {"the size", 2}, {"the algorithm", 2}, {"its function", 2}, {"a ring's size", 2}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        switch (i) {
        case 0: pods[0]->capacity = 7; break;
        case 1: pods[0]->addresses[0].bytes[3] = 200; break;
        case 2: pods[0]->network = STR("elsewhere"); break;
        case 3: mesh_workload(&mesh, "west", "web-new", "n1", "10.0.0.99", WEB); break;
        case 4: policy->maglev_size = 2003; break;
        case 5: policy->algorithm = ALGORITHM_RING_HASH; break;
        case 6: policy->ring_function = RING_MURMUR_HASH_2; break;
        default: policy->ring_min = 2048; break;
        }
        build_next();
        cr_expect_eq(after->n_tables_built, rows[i].n_built, "%s: %zu", rows[i].name,
                     after->n_tables_built);
        snapshot_free(before);
        before = after;
        after = NULL;
    }
}

Test(snapshot_hash, the_same_table_is_built_whatever_came_before)
{
    policy->algorithm = ALGORITHM_RING_HASH;
    build_next();
    struct snapshot *alone = mesh_build(&mesh);
    const struct ring *one = &level_of(after, 0)->ring, *other = &level_of(alone, 0)->ring;
    cr_assert_eq(one->len, other->len);
    for (size_t i = 0; i < one->len; i++)
        cr_assert(one->points[i].hash == other->points[i].hash &&
                  one->points[i].host == other->points[i].host);
    snapshot_free(alone);
}
