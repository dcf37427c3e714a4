#include "stage.h"

#include <criterion/criterion.h>

void stage_init(struct stage *stage, size_t cap)
{
    *stage = (struct stage){.cap = cap, .now_ns = NS_PER_SEC};
    stage->endpoints = arena_new_array(&stage->arena, struct endpoint, cap);
    stage->workloads = arena_new_array(&stage->arena, struct workload, cap);
    stage->policy = *traffic_policy_default();
    stage->policy.spill_by_load = false;
    stage->service.key = STR("shop/till.shop.svc.clusterset.local");
    stage->service.traffic = &stage->policy;
    stage->set = (struct endpoint_set){
        .id = 77, .port = 80, .endpoints = stage->endpoints, .levels = stage->levels};
    stage->meter = meter_new();
    stage->balancer = balancer_new(stage->meter, 1);
    rng_seed(&stage->rng, 42);
}

void stage_fini(struct stage *stage)
{
    balancer_free(stage->balancer);
    meter_free(stage->meter);
    arena_fini(&stage->arena);
}

struct level *stage_level(struct stage *stage, enum level_kind kind, size_t n)
{
    const size_t idx = stage->set.n_levels++;
    struct level *level = &stage->levels[idx];
    cr_assert(idx < STAGE_LEVELS_MAX && stage->set.len + n <= stage->cap);
    *level = (struct level){.kind = kind,
                            .cluster = kind == LEVEL_OTHER_CLUSTER
                                           ? arena_printf(&stage->arena, "other-%zu", idx)
                                           : STR("west"),
                            .start = stage->set.len,
                            .len = n,
                            .max_weight = 1,
                            .rank = (uint16_t)idx,
                            .share_weight = 1};
    for (size_t i = 0; i < n; i++) {
        const size_t at = stage->set.len++;
        struct workload *workload = &stage->workloads[at];
        workload->cluster = level->cluster;
        workload->node = arena_printf(&stage->arena, "n%zu", at);
        stage->endpoints[at] = (struct endpoint){
            .key = at + 1,
            .workload = workload,
            .addr = {{4, {10, (uint8_t)(at >> 16), (uint8_t)(at >> 8), (uint8_t)at}}, 80},
            .distance = kind == LEVEL_CLUSTERSET ? LEVEL_CLUSTER : kind,
            .level = (uint16_t)idx,
            .is_ready = true,
            .weight = 1};
    }
    stage_changed(stage);
    return level;
}

void stage_changed(struct stage *stage)
{
    stage->set.generation++;
    stage->set.fingerprint++;
}

void stage_ready(struct stage *stage, size_t level, size_t n)
{
    for (size_t i = 0; i < stage->levels[level].len; i++)
        stage->endpoints[stage->levels[level].start + i].is_ready = i < n;
    stage_changed(stage);
}

struct question stage_question(const struct stage *stage)
{
    return (struct question){.service = &stage->service,
                             .set = &stage->set,
                             .source = {4, {10, 9, 0, 1}},
                             .principal = STR("spiffe://west.example/ns/shop/sa/web"),
                             .tried = &stage->tried};
}

int stage_cut(struct stage *stage, struct lease *lease)
{
    const struct question question = stage_question(stage);
    return lease_cut(stage->balancer, &question, stage->now_ns, &stage->rng, lease);
}

uint64_t stage_draw(struct stage *stage)
{
    struct lease lease;
    const int err = stage_cut(stage, &lease);
    if (err < 0)
        return 0;
    const uint64_t key = lease.key;
    lease_return(stage->balancer, &lease, LEASE_SERVED, stage->now_ns);
    cr_assert_eq(lease.key, 0);
    return key;
}

void stage_count(struct stage *stage, unsigned n, unsigned *out_by_level)
{
    for (size_t i = 0; i < stage->set.n_levels; i++)
        out_by_level[i] = 0;
    for (unsigned i = 0; i < n; i++) {
        const uint64_t key = stage_draw(stage);
        cr_assert_neq(key, 0, "nobody at draw %u", i);
        out_by_level[stage->endpoints[key - 1].level]++;
    }
}

struct member_view stage_view(struct stage *stage, uint64_t key)
{
    struct member_view view = {.unfit = UNFITS};
    cr_assert(balancer_view(stage->balancer, stage->set.id, key, stage->now_ns, &view));
    return view;
}

void stage_fail(struct stage *stage, uint64_t key, enum lease_outcome outcome)
{
    for (int i = 0; i < 100000; i++) {
        struct lease lease;
        cr_assert_eq(stage_cut(stage, &lease), 0);
        const bool is_it = lease.key == key;
        lease_return(stage->balancer, &lease, is_it ? outcome : LEASE_UNUSED, stage->now_ns);
        if (is_it)
            return;
    }
    cr_assert_fail("endpoint %llu was never picked", (unsigned long long)key);
}
