#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/pick/lease.h"
#include "tests/kit/snap.h"

TestSuite(lease, .timeout = 30);

#define SEC NS_PER_SEC

/* Endpoints with the keys 1, 2, ... sorted by level, as a snapshot lays them out. */
struct few {
    struct endpoint_set set;
    struct endpoint *endpoints;
    struct level levels[LEVEL_KINDS];
    struct memory *memory;
    struct rng rng;
    struct tried tried;
};

static void few_init(struct few *few, const enum level_kind *levels, size_t n)
{
    *few = (struct few){.endpoints = mem_new_array(struct endpoint, n), .memory = memory_new()};
    rng_seed(&few->rng, 42);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || levels[i] != levels[i - 1])
            few->levels[few->set.n_levels++] = (struct level){.kind = levels[i], .start = i};
        few->endpoints[i] = (struct endpoint){.key = i + 1,
                                              .addr = {{4, {10, 0, 0, (uint8_t)i}}, 80},
                                              .distance = levels[i],
                                              .level = (uint16_t)(few->set.n_levels - 1),
                                              .is_ready = true,
                                              .weight = 1};
        few->levels[few->set.n_levels - 1].len++;
        few->levels[few->set.n_levels - 1].max_weight = 1;
    }
    few->set.levels = few->levels;
    few->set.endpoints = few->endpoints;
    few->set.len = n;
}

static void few_same_level(struct few *few, size_t n)
{
    enum level_kind *levels = mem_new_array(enum level_kind, n);
    for (size_t i = 0; i < n; i++)
        levels[i] = LEVEL_ZONE;
    few_init(few, levels, n);
    mem_free(levels);
}

static void few_weigh(struct few *few, const uint32_t *weights)
{
    for (size_t i = 0; i < few->set.len; i++) {
        uint32_t *max = &few->levels[few->endpoints[i].level].max_weight;
        few->endpoints[i].weight = weights[i];
        if (*max < weights[i])
            *max = weights[i];
    }
}

static void few_fini(struct few *few)
{
    memory_free(few->memory);
    mem_free(few->endpoints);
}

/* The key of a lease that is given back at once; 0 when there is none. */
static uint64_t draw_at(struct few *few, uint64_t now_ns, bool allow_unhealthy)
{
    struct lease lease;
    const int err =
        lease_cut(few->memory, &few->set, allow_unhealthy, &few->tried, now_ns, &few->rng, &lease);
    if (err < 0) {
        cr_assert_eq(err, -ERR_NO_HEALTHY_UPSTREAM);
        return 0;
    }
    const uint64_t key = lease.key;
    lease_return(few->memory, &lease, LEASE_SERVED, now_ns);
    cr_assert_eq(lease.key, 0);
    return key;
}

static uint64_t draw(struct few *few)
{
    return draw_at(few, 1, false);
}

static void fail(struct few *few, uint64_t key)
{
    memory_failed(few->memory, key, 0);
}

Test(lease, nobody_is_no_endpoint)
{
    struct few few;
    few_init(&few, NULL, 0);
    struct lease lease = {.key = 77};

    cr_expect_eq(lease_cut(few.memory, &few.set, true, NULL, 1, &few.rng, &lease),
                 -ERR_NO_HEALTHY_UPSTREAM);

    cr_expect_eq(lease.key, 77, "untouched");
    cr_expect_eq(memory_len(few.memory), 0);
    few_fini(&few);
}

Test(lease, the_nearest_level_with_somebody_fit_serves)
{
    static const enum level_kind levels[] = {LEVEL_NODE, LEVEL_ZONE, LEVEL_ZONE, LEVEL_CLUSTER,
                                             LEVEL_OTHER_CLUSTER};
    struct few few;
    few_init(&few, levels, ARRAY_LEN(levels));

    for (int i = 0; i < 50; i++)
        cr_expect_eq(draw(&few), 1);
    few.endpoints[0].is_ready = false;
    for (int i = 0; i < 50; i++)
        cr_expect_eq(draw(&few) / 2, 1, "2 or 3");
    fail(&few, 2);
    for (int i = 0; i < 50; i++)
        cr_expect_eq(draw(&few), 3);
    few.tried = (struct tried){{3}, 1};
    for (int i = 0; i < 50; i++)
        cr_expect_eq(draw(&few), 4);
    few.tried = (struct tried){{3, 4}, 2};
    cr_expect_eq(draw(&few), 5);
    few.tried = (struct tried){{3, 4, 5}, 3};
    cr_expect_eq(draw(&few), 2, "better a doubtful endpoint than none");
    few.tried = (struct tried){{3, 4, 5, 2}, 4};
    cr_expect_eq(draw(&few), 0);
    cr_expect_eq(draw_at(&few, 1, true), 1, "unready ones serve where the service allows it");
    few_fini(&few);
}

Test(lease, p2c_prefers_the_less_loaded_of_two)
{
    static const enum level_kind levels[] = {LEVEL_ZONE, LEVEL_ZONE};
    struct few few;
    unsigned n_loaded = 0;
    few_init(&few, levels, 2);
    for (int i = 0; i < 10; i++)
        memory_flow_began(few.memory, 1);

    for (int i = 0; i < 1000; i++)
        n_loaded += draw(&few) == 1;

    /* The loaded one is taken only when it was drawn twice: one in four. */
    cr_expect(n_loaded > 180 && n_loaded < 320, "%u", n_loaded);
    for (int i = 0; i < 10; i++)
        memory_flow_ended(few.memory, 1);
    few_fini(&few);
}

Test(lease, p2c_keeps_a_thousand_flows_level)
{
    struct few few;
    struct lease *leases = mem_new_array(struct lease, 1000);
    few_same_level(&few, 10);

    for (int i = 0; i < 1000; i++)
        cr_assert_eq(lease_cut(few.memory, &few.set, false, NULL, 1, &few.rng, &leases[i]), 0);
    for (uint64_t key = 1; key <= 10; key++)
        cr_expect(memory_flows(few.memory, key) >= 95 && memory_flows(few.memory, key) <= 105, "%u",
                  memory_flows(few.memory, key));

    for (int i = 0; i < 1000; i++)
        lease_return(few.memory, &leases[i], LEASE_SERVED, 1);
    cr_expect_eq(memory_len(few.memory), 0);
    mem_free(leases);
    few_fini(&few);
}

Test(lease, weights_are_respected_in_the_draw)
{
    static const uint32_t weights[] = {1, 3, 0, 6};
    unsigned n[5] = {0};
    struct few few;
    few_same_level(&few, 4);
    few_weigh(&few, weights);

    for (int i = 0; i < 10000; i++)
        n[draw(&few)]++;

    cr_expect(n[1] > 800 && n[1] < 1200, "%u", n[1]);
    cr_expect(n[2] > 2700 && n[2] < 3300, "%u", n[2]);
    cr_expect_eq(n[3], 0);
    cr_expect(n[4] > 5600 && n[4] < 6400, "%u", n[4]);
    few_fini(&few);
}

Test(lease, a_rare_weight_beside_a_huge_one_is_still_found_when_the_other_was_tried)
{
    static const uint32_t weights[] = {1, UINT32_MAX};
    struct few few;
    few_same_level(&few, 2);
    few_weigh(&few, weights);
    few.tried = (struct tried){{2}, 1};

    for (int i = 0; i < 100; i++)
        cr_expect_eq(draw(&few), 1);
    few_fini(&few);
}

Test(lease, suspects_are_passed_over_until_their_time_is_over)
{
    struct few few;
    few_same_level(&few, 3);
    fail(&few, 1);
    fail(&few, 2);

    for (int i = 0; i < 100; i++)
        cr_expect_eq(draw(&few), 3);
    bool seen[4] = {0};
    for (int i = 0; i < 200; i++)
        seen[draw_at(&few, SUSPECT_MIN_NS, false)] = true;
    cr_expect(seen[1] && seen[2] && seen[3]);
    few_fini(&few);
}

Test(lease, one_of_ten_thousand_is_found_and_all_suspect_are_nearest_first)
{
    const size_t n = 10000;
    enum level_kind *levels = mem_new_array(enum level_kind, n);
    struct few few;
    for (size_t i = 0; i < n; i++)
        levels[i] = i < n / 2 ? LEVEL_REGION : LEVEL_OTHER_CLUSTER;
    few_init(&few, levels, n);
    for (size_t i = 0; i < n; i++)
        fail(&few, i + 1);

    for (int i = 0; i < 20; i++)
        cr_expect_leq(draw(&few), n / 2);
    memory_succeeded(few.memory, n); /* the farthest one works again */
    for (int i = 0; i < 20; i++)
        cr_expect_eq(draw(&few), n);
    mem_free(levels);
    few_fini(&few);
}

Test(lease, a_failed_one_makes_its_endpoint_suspect_an_unused_one_does_not)
{
    struct few few;
    struct lease lease;
    few_same_level(&few, 1);

    cr_assert_eq(lease_cut(few.memory, &few.set, false, NULL, 1, &few.rng, &lease), 0);
    lease_return(few.memory, &lease, LEASE_UNUSED, 1);
    cr_expect_not(memory_is_suspect(few.memory, 1, 1));
    cr_assert_eq(lease_cut(few.memory, &few.set, false, NULL, 1, &few.rng, &lease), 0);
    lease_return(few.memory, &lease, LEASE_FAILED, 1);
    cr_expect(memory_is_suspect(few.memory, 1, 2));
    cr_expect_eq(memory_flows(few.memory, 1), 0);
    cr_assert_eq(lease_cut(few.memory, &few.set, false, NULL, 2, &few.rng, &lease), 0);
    lease_confirm(few.memory, &lease);
    cr_expect_not(memory_is_suspect(few.memory, 1, 2));
    lease_return(few.memory, &lease, LEASE_SERVED, 2);
    lease_return(few.memory, &lease, LEASE_FAILED, 2); /* empty: harmless */
    cr_expect_eq(memory_len(few.memory), 0);
    few_fini(&few);
}

Test(lease, another_is_left_while_one_is_fit_and_was_not_tried)
{
    struct few few;
    few_same_level(&few, 3);
    const struct lease lease = {.key = 1};
    few.endpoints[1].is_ready = false;

    cr_expect(lease_has_other(&few.set, false, NULL, &lease));
    few.tried = (struct tried){{3}, 1};
    cr_expect_not(lease_has_other(&few.set, false, &few.tried, &lease));
    cr_expect(lease_has_other(&few.set, true, &few.tried, &lease), "the unready one");
    few.endpoints[1].weight = 0;
    cr_expect_not(lease_has_other(&few.set, true, &few.tried, &lease));
    few_fini(&few);
}

Test(lease, an_endpoint_of_a_snapshot_is_cut)
{
    struct snap snap;
    snap_init(&snap, "n1");
    const struct model_service *store = snap_service(&snap, "store", "10.96.0.1", 6379, 6380);
    snap_serve(&snap, snap_pod(&snap, "far", "n9", "10.0.0.9"), store);
    snap_serve(&snap, snap_pod(&snap, "here", "n1", "10.0.0.1"), store);
    struct snapshot *snapshot = snap_build(&snap);
    const struct service *service =
        snapshot_service_by_host(snapshot, STR("store.shop.svc.clusterset.local"));
    struct memory *memory = memory_new();
    struct rng rng;
    struct lease lease;
    rng_seed(&rng, 1);

    cr_assert_eq(lease_cut(memory, &service->ports[0].v4, false, NULL, 1, &rng, &lease), 0);

    cr_expect(str_eq(lease.endpoint->workload->name, STR("here")));
    cr_expect_eq(lease.distance, LEVEL_NODE);
    cr_expect_eq(lease.addr.port, 6380);
    lease_return(memory, &lease, LEASE_SERVED, 1);
    memory_free(memory);
    snapshot_free(snapshot);
    snap_fini(&snap);
}
