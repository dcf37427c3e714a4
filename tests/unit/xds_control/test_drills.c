/* Clusters taken out of services for a while: what is refused, and what ends it. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "cluster.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "tests/kit/loop_kit.h"
#include "xds/control/drills.h"

#define TILL "shop/till.shop.svc.clusterset.local"

static struct cluster cluster;
static struct peer_config peers[1];
static struct loop *loop;
static struct drills *drills;
static unsigned n_changes;
static struct text why;

static void on_change(void *owner)
{
    (void)owner;
    n_changes++;
}

static void init(void)
{
    log_set_level(LOG_ERROR);
    cluster_init(&cluster);
    peers[0] = (struct peer_config){.name = STR("east")};
    cluster.config.peers = peers;
    cluster.config.n_peers = 1;
    cluster_namespace(&cluster, "shop", "");
    cluster_service(&cluster, "shop", "till", "10.96.0.1", "{port: 80}", "app: till");
    cluster_export(&cluster, "shop", "till", "2026-01-01T00:00:00Z");
    loop = loop_new();
    drills = drills_new(loop, on_change, NULL);
}

static void fini(void)
{
    drills_free(drills);
    loop_finish(loop);
    text_fini(&why);
    cluster_fini(&cluster);
}

TestSuite(drills, .init = init, .fini = fini, .timeout = 30);

static void add_west(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[16], ip[32];
        snprintf(name, sizeof(name), "w%u", i);
        snprintf(ip, sizeof(ip), "10.1.0.%u", i + 1);
        cluster_pod(&cluster, "shop", name, ip, "app: till");
    }
}

static struct registry_peer *add_east(unsigned n)
{
    struct registry_peer *east = cluster_peer(&cluster, "east");
    peer_service(&cluster, east, "shop", "till", 80, "", 1);
    for (unsigned i = 0; i < n; i++) {
        char name[16], ip[32];
        snprintf(name, sizeof(name), "e%u", i);
        snprintf(ip, sizeof(ip), "10.2.0.%u", i + 1);
        peer_workload(&cluster, east, "shop", name, ip, TILL, 80)->is_healthy = true;
    }
    return east;
}

static int check(const char *service, const char *of, bool is_forced, struct drill_ground *ground)
{
    const struct drill_request request = {str_from(service), str_from(of), 10 * NS_PER_SEC,
                                          is_forced};
    struct drill_ground unused;
    text_clear(&why);
    return drill_check(cluster.registry, &cluster.config, &request, ground ? ground : &unused,
                       &why);
}

static void expect_why(const char *part)
{
    cr_expect(str_contains(text_str(&why), str_from(part)), "\"%s\" is not in \"%s\"", part,
              why.ptr ? why.ptr : "");
}

Test(drills, a_service_is_known_by_its_names)
{
    static const char *const names[] = {"shop/till", "till.shop.svc.clusterset.local", TILL};
    struct drill_ground ground;
    add_west(2);
    add_east(2);
    cluster_build(&cluster);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        cr_assert_eq(check(names[i], "west", false, &ground), 0, "%s: %s", names[i], why.ptr);
        assert_str(ground.service, TILL);
        cr_expect_eq(ground.ready_taken, 2);
        cr_expect_eq(ground.ready_left, 2);
    }
}

Test(drills, what_does_not_exist_is_refused_with_what_was_expected)
{
    add_west(1);
    add_east(0);
    cluster_build(&cluster);
    cr_expect_eq(check("shop/tills", "west", true, NULL), -ERR_NOT_FOUND);
    expect_why("there is no service \"shop/tills\": expected NAMESPACE/NAME");
    cr_expect_eq(check("shop/till", "south", true, NULL), -ERR_NOT_FOUND);
    expect_why("there is no cluster \"south\"; there are west, east");
    cr_expect_eq(check("shop/till", "east", true, NULL), -ERR_NOT_FOUND);
    expect_why("cluster east has no endpoint of " TILL);
}

Test(drills, a_length_out_of_range_is_refused)
{
    struct drill_request request = {STR("shop/till"), STR("west"), 0, true};
    struct drill_ground ground;
    add_west(1);
    cluster_build(&cluster);
    cr_expect_eq(drill_check(cluster.registry, &cluster.config, &request, &ground, &why),
                 -ERR_INVALID);
    expect_why("a drill lasts 1s to 1h");
    request.length_ns = DRILL_LENGTH_MAX_NS + 1;
    cr_expect_eq(drill_check(cluster.registry, &cluster.config, &request, &ground, &why),
                 -ERR_INVALID);
}

/* Overprovisioning is 140 % by default: 5 carry the load of 7, not that of 8. */
Test(drills, it_is_refused_when_the_others_could_not_carry_the_load)
{
    static const struct {
        unsigned west, east;
        const char *why; /* NULL: it may be */
    } rows[] = {
        {1, 1, NULL},
        {7, 5, NULL},
        {8, 5,
         "the 5 ready endpoints of the other clusters (capacity 5, times overprovisioning "
         "of 140%) could not carry what the 8 of west do (capacity 8)"},
        {2, 0, "no other cluster has a ready endpoint of " TILL ": every call would fail"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fini();
        why = (struct text){0};
        init();
        add_west(rows[i].west);
        add_east(rows[i].east);
        cluster_build(&cluster);
        cr_expect_eq(check("shop/till", "west", false, NULL), rows[i].why ? -ERR_LIMIT : 0,
                     "row %zu: %s", i, why.ptr);
        if (rows[i].why)
            expect_why(rows[i].why);
        cr_expect_eq(check("shop/till", "west", true, NULL), 0, "row %zu, forced", i);
    }
}

Test(drills, endpoints_that_are_not_ready_carry_nothing)
{
    struct registry_peer *east;
    add_west(1);
    east = add_east(0);
    peer_workload(&cluster, east, "shop", "e", "10.2.0.9", TILL, 80)->is_healthy = false;
    cluster_build(&cluster);
    cr_expect_eq(check("shop/till", "west", false, NULL), -ERR_LIMIT);
    expect_why("no other cluster has a ready endpoint");
}

Test(drills, clusters_that_the_policy_does_not_admit_carry_nothing)
{
    add_west(1);
    add_east(1);
    cluster_add(&cluster,
                "{apiVersion: isthmus.io/v1alpha1, kind: TrafficPolicy, metadata: {name: p, "
                "namespace: shop}, spec: {targetRef: {group: multicluster.x-k8s.io, kind: "
                "ServiceImport, name: till}, clusters: {allow: {names: [west]}}}}");
    cluster_build(&cluster);
    cr_expect_eq(check("shop/till", "west", false, NULL), -ERR_LIMIT);
    expect_why("no other cluster has a ready endpoint");
    cr_expect_eq(check("shop/till", "east", true, NULL), -ERR_NOT_FOUND);
}

Test(drills, endpoints_that_a_drill_keeps_out_are_still_known)
{
    struct traffic_policy *policy = NULL;
    add_west(1);
    add_east(1);
    cluster_add(&cluster,
                "{apiVersion: isthmus.io/v1alpha1, kind: TrafficPolicy, metadata: {name: p, "
                "namespace: shop}, spec: {targetRef: {group: multicluster.x-k8s.io, kind: "
                "ServiceImport, name: till}}}");
    cluster_build(&cluster);
    for (size_t i = 0; i < cluster.registry->n_own; i++)
        if (cluster.registry->own[i].kind == MODEL_TRAFFIC)
            policy = &cluster.registry->own[i].of.traffic->policy;
    cr_assert_not_null(policy);
    policy->drilled_cluster = STR("west");
    cr_expect_eq(check("shop/till", "west", false, NULL), 0, "%s", why.ptr);
}

/* ---- life ---- */

static uint64_t start(const char *service, uint64_t length_ns)
{
    uint64_t id = 0;
    cr_assert_eq(drills_start(drills, str_from(service), STR("west"), length_ns, &id, &why), 0,
                 "%s", why.ptr);
    return id;
}

static bool is_none(void *ctx)
{
    (void)ctx;
    return drills_at(drills, 0) == NULL;
}

Test(drills, one_begins_at_once_and_ends_at_once_when_it_is_stopped)
{
    const uint64_t id = start(TILL, 60 * NS_PER_SEC);
    struct registry_drill list[DRILLS_MAX];
    cr_expect_eq(n_changes, 1);
    cr_assert_eq(drills_list(drills, list), 1);
    assert_str(list[0].service, TILL);
    assert_str(list[0].cluster, "west");
    cr_expect_eq(list[0].id, id);
    cr_expect_eq(list[0].length_ns, 60 * NS_PER_SEC);
    cr_assert_eq(drills_stop(drills, id), 0);
    cr_expect_eq(n_changes, 2);
    cr_expect_eq(drills_list(drills, list), 0);
    cr_expect_eq(drills_stop(drills, id), -ERR_NOT_FOUND);
    cr_expect_eq(drills_renew(drills, id), -ERR_NOT_FOUND);
}

Test(drills, the_lease_runs_out_when_nobody_renews_it)
{
    const uint64_t begun_ns = clock_mono_ns();
    (void)start(TILL, 60 * NS_PER_SEC);
    cr_assert(run_until(loop, is_none, NULL, 20000));
    cr_expect_geq(clock_mono_ns() - begun_ns, DRILL_LEASE_NS);
    cr_expect_eq(n_changes, 2);
}

Test(drills, the_length_ends_it_however_often_it_is_renewed)
{
    const uint64_t id = start(TILL, DRILL_LENGTH_MIN_NS);
    const uint64_t begun_ns = clock_mono_ns();
    while (drills_renew(drills, id) == 0 && clock_mono_ns() - begun_ns < 10 * NS_PER_SEC)
        loop_turn(loop, true);
    cr_expect(is_none(NULL));
    cr_expect_lt(clock_mono_ns() - begun_ns, 10 * NS_PER_SEC);
}

Test(drills, a_renewed_one_lives_on)
{
    const uint64_t id = start(TILL, 60 * NS_PER_SEC);
    loop_turn(loop, false);
    const uint64_t first_ns = drills_at(drills, 0)->lease_end_ns;
    const uint64_t begun_ns = clock_mono_ns();
    while (clock_mono_ns() - begun_ns < 5 * NS_PER_MS)
        loop_turn(loop, false);
    cr_assert_eq(drills_renew(drills, id), 0);
    cr_expect_gt(drills_at(drills, 0)->lease_end_ns, first_ns);
    cr_expect_eq(n_changes, 1, "nothing changes for the nodes");
}

Test(drills, a_service_has_one_at_a_time)
{
    uint64_t id = 0;
    (void)start(TILL, 60 * NS_PER_SEC);
    cr_expect_eq(drills_start(drills, STR(TILL), STR("east"), 60 * NS_PER_SEC, &id, &why),
                 -ERR_LIMIT);
    expect_why(TILL " is being drilled without cluster west already; one drill a service");
    for (int i = 1; i < DRILLS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "shop/s%d", i);
        (void)start(name, 60 * NS_PER_SEC);
    }
    text_clear(&why);
    cr_expect_eq(drills_start(drills, STR("shop/more"), STR("east"), NS_PER_SEC, &id, &why),
                 -ERR_LIMIT);
    expect_why("16 drills are in progress");
}
