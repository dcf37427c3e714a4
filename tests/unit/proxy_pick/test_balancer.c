/* The way down: who serves, from which level, and who is left when nobody is fit. */
#include <criterion/criterion.h>

#include "proxy/base/mem.h"
#include "proxy/pick/fleet.h"
#include "stage.h"
#include "tests/kit/snap.h"

TestSuite(balancer, .timeout = 60);

static struct stage stage;

Test(balancer, nobody_is_no_endpoint)
{
    struct lease lease = {.key = 77};
    stage_init(&stage, 1);
    cr_expect_eq(stage_cut(&stage, &lease), -ERR_NO_HEALTHY_UPSTREAM);
    cr_expect_eq(lease.key, 77, "untouched");
    cr_expect_eq(balancer_sets(stage.balancer), 0);
    stage_fini(&stage);
}

Test(balancer, the_nearest_level_serves_and_each_farther_one_when_those_before_it_fail)
{
    stage_init(&stage, 5);
    stage_level(&stage, LEVEL_NODE, 1);
    stage_level(&stage, LEVEL_ZONE, 2);
    stage_level(&stage, LEVEL_CLUSTER, 1);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 1);

    for (int i = 0; i < 50; i++)
        cr_expect_eq(stage_draw(&stage), 1);
    stage_ready(&stage, 0, 0);
    for (int i = 0; i < 50; i++)
        cr_expect_eq(stage_draw(&stage) / 2, 1, "2 or 3");
    stage_fail(&stage, 2, LEASE_FAILED);
    stage_fail(&stage, 3, LEASE_FAILED);
    for (int i = 0; i < 50; i++)
        cr_expect_eq(stage_draw(&stage), 4);
    stage.tried = (struct tried){{4}, 1};
    for (int i = 0; i < 50; i++)
        cr_expect_eq(stage_draw(&stage), 5);
    stage.tried = (struct tried){{4, 5}, 2};
    cr_expect_eq(stage_draw(&stage) / 2, 1, "better a doubtful endpoint than none");
    stage.tried = (struct tried){{4, 5, 2, 3}, 4};
    cr_expect_eq(stage_draw(&stage), 1, "and an unready one than none at all");
    stage.policy.fail_on_panic = true;
    stage_changed(&stage);
    cr_expect_eq(stage_draw(&stage), 0, "unless the policy would rather fail");
    stage_fini(&stage);
}

Test(balancer, picks_are_counted_by_distance_and_as_spilled_beyond_a_level_that_could_serve)
{
    unsigned n[2];
    stage_init(&stage, 3);
    stage_level(&stage, LEVEL_ZONE, 2);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 1);
    stage_ready(&stage, 0, 1);
    stage_count(&stage, 100, n);
    cr_expect(n[0] > 0 && n[1] > 0, "%u and %u", n[0], n[1]);
    cr_expect_eq(meter_total(METRIC_PICKS_ZONE), n[0]);
    cr_expect_eq(meter_total(METRIC_PICKS_OTHER_CLUSTER), n[1]);
    cr_expect_eq(meter_total(METRIC_PICKS_SPILLED), n[1]);
    stage_ready(&stage, 0, 0);
    cr_expect_eq(stage_draw(&stage), 3);
    cr_expect_eq(meter_total(METRIC_PICKS_SPILLED), n[1], "nobody nearer is fit");
    stage_fini(&stage);
}

struct row {
    const char *name;

    struct {
        size_t all, healthy;
    } levels[3];

    unsigned pct[3];
};

/* Envoy's published tables (priority.rst, panic_threshold.rst) and its unit tests'
 * (load_balancer_impl_base_test.cc), through the whole balancer. */
Test(balancer, levels_share_the_traffic_as_the_published_tables_say)
{
    static const struct row rows[] = {
        {"100", {{100, 100}, {100, 100}}, {100, 0}},
        {"72", {{100, 72}, {100, 100}}, {100, 0}},
        {"71", {{100, 71}, {100, 100}}, {99, 1}},
        {"50", {{100, 50}, {100, 100}}, {70, 30}},
        {"25", {{100, 25}, {100, 100}}, {35, 65}},
        {"0", {{100, 0}, {100, 100}}, {0, 100}},
        {"72 72", {{100, 72}, {100, 72}}, {100, 0}},
        {"50 60", {{100, 50}, {100, 60}}, {70, 30}},
        {"25 25", {{100, 25}, {100, 25}}, {50, 50}},
        {"5 65, by the code", {{100, 5}, {100, 65}}, {8, 92}},
        {"71 71 100", {{100, 71}, {100, 71}, {100, 100}}, {99, 1, 0}},
        {"25 100 100", {{100, 25}, {100, 100}, {100, 100}}, {35, 65, 0}},
        {"25 25 100", {{100, 25}, {100, 25}, {100, 100}}, {35, 35, 30}},
        {"(4,2)(4,2)", {{4, 2}, {4, 2}}, {70, 30}},
        {"(1,0)(1,0)", {{1, 0}, {1, 0}}, {50, 50}},
        {"(1,0)(2,0)", {{1, 0}, {2, 0}}, {34, 66}},
        {"(4,1)(2,2)", {{4, 1}, {2, 2}}, {35, 65}},
        {"(4,1)(4,1)", {{4, 1}, {4, 1}}, {50, 50}},
        {"(5,0)(5,0)(5,2)", {{5, 0}, {5, 0}, {5, 2}}, {34, 33, 33}},
        {"(5,0)(3,0)(2,0)", {{5, 0}, {3, 0}, {2, 0}}, {50, 30, 20}},
        {"(5,0)(6,2)(3,1)", {{5, 0}, {6, 2}, {3, 1}}, {37, 42, 21}},
        {"panic by size", {{2, 0}, {8, 0}}, {20, 80}},
    };
    const unsigned draws = 20000;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        unsigned n[3] = {0};
        stage_init(&stage, 300);
        rng_seed(&stage.rng, r);
        for (size_t i = 0; i < 3 && rows[r].levels[i].all > 0; i++)
            stage_level(&stage, i == 0 ? LEVEL_CLUSTER : LEVEL_OTHER_CLUSTER,
                        rows[r].levels[i].all);
        for (size_t i = 0; i < stage.set.n_levels; i++)
            stage_ready(&stage, i, rows[r].levels[i].healthy);
        stage_count(&stage, draws, n);
        for (size_t i = 0; i < stage.set.n_levels; i++) {
            const int off = (int)n[i] - (int)(rows[r].pct[i] * draws / 100);
            cr_expect(off > -250 && off < 250, "%s: level %zu got %u of %u", rows[r].name, i, n[i],
                      draws);
            cr_expect(rows[r].pct[i] > 0 || n[i] == 0, "%s: level %zu got any", rows[r].name, i);
            const double share =
                stage_view(&stage, stage.levels[i].start + 1).level_share * 100 + 0.5;
            cr_expect_eq((unsigned)share, rows[r].pct[i], "%s: level %zu", rows[r].name, i);
        }
        stage_fini(&stage);
    }
}

Test(balancer, only_in_panic_are_the_unready_used)
{
    bool seen[5] = {0};
    stage_init(&stage, 4);
    stage_level(&stage, LEVEL_ZONE, 4);
    stage_ready(&stage, 0, 2);
    for (int i = 0; i < 200; i++)
        seen[stage_draw(&stage)] = true;
    cr_expect(seen[1] && seen[2] && !seen[3] && !seen[4], "half of them is enough");
    stage_ready(&stage, 0, 1);
    for (int i = 0; i < 200; i++)
        seen[stage_draw(&stage)] = true;
    cr_expect(seen[3] && seen[4], "fewer are too few to be believed");
    cr_expect_geq(meter_total(METRIC_PANIC_PICKS), 100);
    stage.policy.panic_pct = 0;
    stage_changed(&stage);
    for (int i = 0; i < 200; i++)
        cr_expect_eq(stage_draw(&stage), 1);
    stage_fini(&stage);
}

Test(balancer, panic_does_not_bring_back_those_that_were_just_seen_failing)
{
    stage_init(&stage, 4);
    stage_level(&stage, LEVEL_ZONE, 4);
    for (uint64_t key = 1; key <= 3; key++)
        stage_fail(&stage, key, LEASE_FAILED);
    for (int i = 0; i < 200; i++)
        cr_expect_eq(stage_draw(&stage), 4);
    stage_fini(&stage);
}

Test(balancer, levels_of_one_rank_share_it_by_weight_times_health)
{
    /* Zone A: 5 endpoints of weight 1; zone B: one of weight 2 (Envoy's locality_wrr tests). */
    static const unsigned pct_of_b[] = {67, 67, 71, 78, 88, 100};
    for (size_t unhealthy = 0; unhealthy <= 5; unhealthy++) {
        unsigned n[2];
        stage_init(&stage, 6);
        stage_level(&stage, LEVEL_CLUSTER, 5);
        stage_level(&stage, LEVEL_CLUSTER, 1)->share_weight = 2;
        stage.levels[1].rank = 0;
        stage.policy.panic_pct = 0;
        stage_ready(&stage, 0, 5 - unhealthy);
        stage_count(&stage, 10000, n);
        const int off = (int)n[1] - (int)pct_of_b[unhealthy] * 100;
        cr_expect(off > -200 && off < 200, "%zu unhealthy: %u", unhealthy, n[1]);
        stage_fini(&stage);
    }
}

Test(balancer, a_last_resort_serves_only_when_nobody_else_can)
{
    unsigned n[2];
    stage_init(&stage, 5);
    stage_level(&stage, LEVEL_CLUSTER, 4);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 1)->is_last_resort = true;
    stage_ready(&stage, 0, 1);
    stage_count(&stage, 500, n);
    cr_expect_eq(n[1], 0, "a quarter of health would spill to anybody else");
    stage_ready(&stage, 0, 0);
    stage_count(&stage, 500, n);
    cr_expect_eq(n[1], 500);
    stage_fini(&stage);
}

Test(balancer, zone_aware_routing_fills_the_own_zone_as_far_as_its_share_goes)
{
    unsigned n[3];
    stage_init(&stage, 8);
    /* Callers 40/40/20 %, servers 25/50/25 %: 62.5 % stay, the rest goes 2 to 1 (Envoy). */
    stage_level(&stage, LEVEL_ZONE, 2)->n_callers = 40;
    stage_level(&stage, LEVEL_REGION, 4)->n_callers = 40;
    stage_level(&stage, LEVEL_REGION, 2)->n_callers = 20;
    stage.levels[1].rank = stage.levels[2].rank = 0;
    stage.policy.locality = LOCALITY_ZONE_AWARE;
    stage_changed(&stage);
    stage_count(&stage, 30000, n);
    cr_expect(n[0] > 18300 && n[0] < 19200, "%u", n[0]);
    cr_expect(n[1] > 7100 && n[1] < 7900, "%u", n[1]);
    cr_expect(n[2] > 3400 && n[2] < 4100, "%u", n[2]);
    stage_fini(&stage);
}

Test(balancer, another_is_left_while_one_is_fit_and_was_not_tried)
{
    stage_init(&stage, 3);
    stage_level(&stage, LEVEL_ZONE, 3);
    stage.endpoints[1].is_ready = false;
    stage_changed(&stage);
    cr_assert_neq(stage_draw(&stage), 0);
    struct fleet *fleet = fleet_find(stage.balancer, stage.set.id);
    const struct lease lease = {.key = 1, .member = fleet_find_member(fleet, 1)};
    struct question question = stage_question(&stage);
    cr_expect(lease_has_other(&question, &lease));
    stage.tried = (struct tried){{3}, 1};
    cr_expect_not(lease_has_other(&question, &lease));
    stage_fini(&stage);
}

Test(balancer, other_clusters_of_one_price_change_places_when_one_is_much_nearer)
{
    unsigned n[3];
    stage_init(&stage, 3);
    stage_level(&stage, LEVEL_CLUSTER, 1);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 1);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 1);
    stage_ready(&stage, 0, 0);
    stage_count(&stage, 100, n);
    cr_expect_eq(n[1], 100);
    balancer_set_reach(stage.balancer, stage.levels[1].cluster, 80 * NS_PER_MS);
    balancer_set_reach(stage.balancer, stage.levels[2].cluster, 60 * NS_PER_MS);
    stage.now_ns += 5 * NS_PER_SEC;
    stage_count(&stage, 100, n);
    cr_expect_eq(n[1], 100, "60 ms is not much nearer than 80");
    balancer_set_reach(stage.balancer, stage.levels[2].cluster, 20 * NS_PER_MS);
    stage.now_ns += 5 * NS_PER_SEC;
    stage_count(&stage, 100, n);
    cr_expect_eq(n[2], 100);
    stage.levels[2].price_micro = 1;
    stage_changed(&stage);
    stage.now_ns += 5 * NS_PER_SEC;
    stage_count(&stage, 100, n);
    cr_expect_eq(n[1], 100, "but price goes first");
    stage_fini(&stage);
}

/* ---- across snapshots ---- */

Test(balancer, what_is_known_of_an_endpoint_outlives_snapshots)
{
    struct lease lease;
    stage_init(&stage, 8);
    stage_level(&stage, LEVEL_ZONE, 3);
    stage_fail(&stage, 2, LEASE_FAILED);
    cr_assert_eq(stage_cut(&stage, &lease), 0);
    const uint64_t held = lease.key;

    stage_level(&stage, LEVEL_CLUSTER, 2); /* others come, */
    struct endpoint first = stage.endpoints[0];
    stage.endpoints[0] = stage.endpoints[2]; /* and these change places */
    stage.endpoints[2] = first;
    stage_changed(&stage);
    cr_assert_neq(stage_draw(&stage), 0);

    cr_expect_eq(stage_view(&stage, 2).unfit, UNFIT_SUSPECT);
    cr_expect_eq(stage_view(&stage, held).flows, 1);
    lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
    cr_expect_eq(stage_view(&stage, held).flows, 0);
    stage_fini(&stage);
}

Test(balancer, an_endpoint_that_left_with_flows_is_forgotten_when_they_end)
{
    struct lease leases[8];
    struct member_view view;
    stage_init(&stage, 2);
    stage_level(&stage, LEVEL_ZONE, 2);
    for (size_t i = 0; i < ARRAY_LEN(leases); i++)
        cr_assert_eq(stage_cut(&stage, &leases[i]), 0);
    stage.set.len = stage.levels[0].len = 1;
    stage_changed(&stage);
    cr_expect_eq(stage_draw(&stage), 1);
    cr_expect_not(balancer_view(stage.balancer, stage.set.id, 2, stage.now_ns, &view));
    for (size_t i = 0; i < ARRAY_LEN(leases); i++) {
        lease_sample(stage.balancer, &leases[i], 1000, stage.now_ns);
        lease_confirm(stage.balancer, &leases[i], 1000, stage.now_ns);
        lease_return(stage.balancer, &leases[i], LEASE_FAILED, stage.now_ns);
    }
    cr_expect_eq(balancer_flows(stage.balancer), 0);
    stage_fini(&stage);
}

Test(balancer, a_set_that_is_no_longer_used_is_forgotten_with_its_crew)
{
    struct lease lease;
    stage_init(&stage, 2);
    stage_level(&stage, LEVEL_ZONE, 2);
    cr_assert_eq(stage_cut(&stage, &lease), 0);
    balancer_tick(stage.balancer, stage.now_ns + 2 * BALANCER_IDLE_NS);
    cr_expect_eq(balancer_sets(stage.balancer), 1, "it has a flow");
    lease_return(stage.balancer, &lease, LEASE_SERVED, stage.now_ns);
    balancer_tick(stage.balancer, stage.now_ns + 3 * BALANCER_IDLE_NS);
    cr_expect_eq(balancer_sets(stage.balancer), 0);
    stage_fini(&stage);
}

Test(balancer, the_sets_in_use_are_listed_with_who_used_them)
{
    struct set_in_use set;
    size_t idx = 0;
    stage_init(&stage, 2);
    stage_level(&stage, LEVEL_ZONE, 2);
    cr_expect_not(balancer_next_set(stage.balancer, &idx, &set));
    (void)stage_draw(&stage);
    idx = 0;
    cr_assert(balancer_next_set(stage.balancer, &idx, &set));
    cr_expect_eq(set.id, 77);
    cr_expect_eq(set.port, 80);
    cr_expect_eq(set.n_endpoints, 2);
    cr_expect(str_eq(set.service, stage.service.key));
    cr_expect(str_eq(set.principal, STR("spiffe://west.example/ns/shop/sa/web")));
    cr_expect_eq(set.last_used_ns, stage.now_ns);
    cr_expect_not(balancer_next_set(stage.balancer, &idx, &set));
    stage_fini(&stage);
}

Test(balancer, is_the_same_for_the_same_seed)
{
    uint64_t keys[2][200];
    for (int round = 0; round < 2; round++) {
        stage_init(&stage, 20);
        stage_level(&stage, LEVEL_ZONE, 10);
        stage_level(&stage, LEVEL_OTHER_CLUSTER, 10);
        stage_ready(&stage, 0, 5);
        for (size_t i = 0; i < 200; i++)
            keys[round][i] = stage_draw(&stage);
        stage_fini(&stage);
    }
    for (size_t i = 0; i < 200; i++)
        cr_expect_eq(keys[0][i], keys[1][i]);
}

Test(balancer, an_endpoint_of_a_snapshot_is_cut)
{
    struct snap snap;
    snap_init(&snap, "n1");
    const struct model_service *store = snap_service(&snap, "store", "10.96.0.1", 6379, 6380);
    snap_serve(&snap, snap_pod(&snap, "far", "n9", "10.0.0.9"), store);
    snap_serve(&snap, snap_pod(&snap, "here", "n1", "10.0.0.1"), store);
    struct snapshot *snapshot = snap_build(&snap);
    const struct service *service =
        snapshot_service_by_host(snapshot, STR("store.shop.svc.clusterset.local"));
    struct meter *meter = meter_new();
    struct balancer *balancer = balancer_new(meter, 2);
    const struct question question = {.service = service, .set = &service->ports[0].v4};
    struct rng rng;
    struct lease lease;
    rng_seed(&rng, 1);

    cr_assert_eq(lease_cut(balancer, &question, 1, &rng, &lease), 0);

    cr_expect(str_eq(lease.endpoint->workload->name, STR("here")));
    cr_expect_eq(lease.distance, LEVEL_NODE);
    cr_expect_eq(lease.addr.port, 6380);
    lease_return(balancer, &lease, LEASE_SERVED, 1);
    lease_return(balancer, &lease, LEASE_FAILED, 1); /* empty: harmless */
    balancer_free(balancer);
    meter_free(meter);
    snapshot_free(snapshot);
    snap_fini(&snap);
}

/* Seeds: random changes of everything at once; nothing may be lost or counted wrongly. */
Test(balancer, survives_whatever_happens)
{
    enum { HELD = 200, CAP = 60 };

    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct lease held[HELD] = {0};
        stage_init(&stage, CAP);
        rng_seed(&stage.rng, seed);
        stage.policy.slow_start_ns = seed % 2 ? NS_PER_SEC : 0;
        stage.policy.limits.endpoint_max_connections = seed % 3 ? 0 : 5;
        stage.policy.algorithm = (enum algorithm)(seed % ALGORITHM_RING_HASH);
        stage.policy.spill_by_load = seed % 5 == 0;
        for (size_t i = 0; i < 6; i++)
            stage_level(&stage, i < 3 ? (enum level_kind)i : LEVEL_OTHER_CLUSTER, 10);
        for (int step = 0; step < 3000; step++) {
            struct lease *lease = &held[rng_below(&stage.rng, HELD)];
            stage.now_ns += rng_below(&stage.rng, 20 * NS_PER_MS);
            switch (rng_below(&stage.rng, 8)) {
            case 0:
                stage.endpoints[rng_below(&stage.rng, CAP)].is_ready = rng_below(&stage.rng, 3) > 0;
                stage.endpoints[rng_below(&stage.rng, CAP)].weight = rng_below(&stage.rng, 4);
                stage_changed(&stage);
                break;
            case 1:
                balancer_set_health(stage.balancer, 77, 1 + rng_below(&stage.rng, CAP),
                                    (enum checked)rng_below(&stage.rng, 3), stage.now_ns);
                break;
            case 2: lease_confirm(stage.balancer, lease, 1000, stage.now_ns); break;
            case 3:
                lease_sample(stage.balancer, lease, rng_below(&stage.rng, 50) * NS_PER_MS,
                             stage.now_ns);
                break;
            case 4: {
                const size_t i = rng_below(&stage.rng, CAP);
                stage.endpoints[i].key = stage.endpoints[i].key <= CAP ? i + 1 + CAP : i + 1;
                stage_changed(&stage);
                break;
            }
            case 5: balancer_tick(stage.balancer, stage.now_ns); break;
            default:
                lease_return(stage.balancer, lease,
                             (enum lease_outcome)rng_below(&stage.rng, LEASE_UNUSED + 1),
                             stage.now_ns);
                stage.tried.len = rng_below(&stage.rng, 4) ? 0 : 2;
                for (size_t i = 0; i < stage.tried.len; i++)
                    stage.tried.keys[i] = 1 + rng_below(&stage.rng, CAP);
                if (stage_cut(&stage, lease) < 0)
                    *lease = (struct lease){0};
            }
        }
        for (size_t i = 0; i < HELD; i++)
            lease_return(stage.balancer, &held[i], LEASE_SERVED, stage.now_ns);
        cr_expect_eq(balancer_flows(stage.balancer), 0, "seed %llu", (unsigned long long)seed);
        stage_fini(&stage);
    }
}
