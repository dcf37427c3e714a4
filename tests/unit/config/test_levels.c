/* How a policy shapes the levels of an endpoint set: endpoints are "<cluster>/<region>/<zone>",
 * seen from west/eu/a. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/snapshot_build.h"
#include "proxy/base/mem.h"

#define PODS_MAX 16

struct place {
    const char *name, *cluster, *region, *zone, *node;
};

static const struct place places[] = {
    {"here", "west", "eu", "a", "n1"}, {"zone", "west", "eu", "a", "n2"},
    {"reg", "west", "eu", "b", "n3"},  {"far", "west", "us", "c", "n4"},
    {"e1", "east", "eu", "a", "n1"},   {"e2", "east", "eu", "b", "n2"},
    {"n", "north", "eu", "a", "n1"},   {"s", "south", "eu", "a", "n1"},
};

struct stage {
    struct snapshot *snapshot;
    struct snapshot_builder builder;
    struct service service;
    struct traffic_policy policy;
    struct endpoint_set set;
};

static void stage_init(struct stage *stage)
{
    memset(stage, 0, sizeof *stage);
    stage->snapshot = mem_new(struct snapshot);
    stage->snapshot->n_holders = 1;
    stage->snapshot->vantage = (struct vantage){
        .node = STR("n1"), .cluster = STR("west"), .region = STR("eu"), .zone = STR("a")};
    stage->builder.snapshot = stage->snapshot;
    stage->policy = *traffic_policy_default();
    stage->service.traffic = &stage->policy;
    stage->builder.workloads = arena_new_array(&stage->snapshot->arena, struct workload, PODS_MAX);
    stage->builder.workload_models =
        arena_new_array(&stage->snapshot->arena, const struct model_workload *, PODS_MAX);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct model_workload *model = arena_new(&stage->snapshot->arena, struct model_workload);
        model->cluster = str_from(places[i].cluster);
        model->region = str_from(places[i].region);
        model->zone = str_from(places[i].zone);
        model->node = str_from(places[i].node);
        model->speaks_hbone = true;
        stage->builder.workloads[i].name = str_from(places[i].name);
        stage->builder.workload_models[i] = model;
        stage->builder.n_workloads++;
    }
}

static void stage_fini(struct stage *stage)
{
    arena_fini(&stage->builder.scratch);
    snapshot_free(stage->snapshot);
}

/* "here:0 zone:1 ...": the levels in their order, "|" between them, "/" between ranks, "!" before a
 * last resort, "*n" behind one that shares its rank by weight. */
static const char *shape(struct stage *stage)
{
    static char buf[512];
    struct endpoint endpoints[PODS_MAX];
    const struct model_workload *models[PODS_MAX];
    struct hidden_endpoint hidden[PODS_MAX];
    struct gathering gathering = {.endpoints = endpoints, .models = models, .hidden = hidden};
    for (size_t i = 0; i < stage->builder.n_workloads; i++) {
        endpoints[i] = (struct endpoint){.key = i + 1,
                                         .workload = &stage->builder.workloads[i],
                                         .addr = {{4, {10, 0, 0, (uint8_t)i}}, 80},
                                         .is_ready = true,
                                         .weight = 1};
        models[i] = stage->builder.workload_models[i];
        gathering.len++;
    }
    stage->set = (struct endpoint_set){.id = 7};
    snapshot_level_set(&stage->builder, &stage->service, &gathering, &stage->set);
    size_t len = 0;
    for (size_t i = 0; i < stage->set.n_levels; i++) {
        const struct level *level = &stage->set.levels[i];
        const char *gap = i == 0 ? "" : level->rank != level[-1].rank ? " / " : " | ";
        len += (size_t)snprintf(buf + len, sizeof buf - len, "%s%s", gap,
                                level->is_last_resort ? "!" : "");
        for (size_t j = 0; j < level->len; j++)
            len += (size_t)snprintf(buf + len, sizeof buf - len, "%s%.*s", j ? "," : "",
                                    STR_ARG(stage->set.endpoints[level->start + j].workload->name));
        if (level->share_weight != 1)
            len += (size_t)snprintf(buf + len, sizeof buf - len, "*%u", level->share_weight);
    }
    return buf;
}

static struct stage stage;

static void begin(void)
{
    stage_init(&stage);
}

static void end(void)
{
    stage_fini(&stage);
}

TestSuite(levels, .init = begin, .fini = end, .timeout = 30);

Test(levels, the_default_is_nearest_first_then_the_other_clusters_by_name)
{
    cr_expect_str_eq(shape(&stage), "here,zone / reg / far / e1,e2 / n / s");
    cr_expect(str_eq(stage.set.levels[3].cluster, STR("east")));
    cr_expect_eq(stage.set.levels[3].kind, LEVEL_OTHER_CLUSTER);
    cr_expect_eq(stage.set.endpoints[4].distance, LEVEL_OTHER_CLUSTER);
}

Test(levels, other_clusters_stand_in_the_order_of_their_price)
{
    const struct cluster_share shares[] = {{STR("east"), 0, 20000, 0}, {STR("south"), 0, 10000, 0}};
    stage.policy.clusters = shares;
    stage.policy.n_clusters = 2;
    cr_expect_str_eq(shape(&stage), "here,zone / reg / far / n / s / e1,e2");
    cr_expect_eq(stage.set.levels[4].price_micro, 10000);
}

Test(levels, priorities_go_before_the_own_cluster_price_and_round_trip_time)
{
    const struct cluster_share shares[] = {{STR("north"), 0, 0, 0}, {STR("east"), 0, 5, 1}};
    stage.policy.has_priorities = true;
    stage.policy.clusters = shares;
    stage.policy.n_clusters = 2;
    cr_expect_str_eq(shape(&stage), "n / e1,e2 / here,zone / reg / far / s");
}

Test(levels, for_the_zone_its_nodes_are_alike)
{
    stage.policy.locality = LOCALITY_ZONE;
    cr_expect_str_eq(shape(&stage), "here,zone / reg / far / e1,e2 / n / s");
    cr_expect_eq(stage.set.levels[0].kind, LEVEL_ZONE);
}

Test(levels, without_locality_the_own_cluster_is_one_level)
{
    stage.policy.locality = LOCALITY_NONE;
    cr_expect_str_eq(shape(&stage), "here,zone,reg,far / e1,e2 / n / s");
    cr_expect_eq(stage.set.levels[0].kind, LEVEL_CLUSTER);
    cr_expect_eq(stage.set.endpoints[1].distance, LEVEL_ZONE, "still known");
}

Test(levels, weighted_localities_share_a_rank_and_the_others_fail_over)
{
    const struct locality_weight localities[] = {{STR("eu"), STR("a"), 3}, {STR("eu"), {0}, 2}};
    stage.policy.locality = LOCALITY_WEIGHTED;
    stage.policy.localities = localities;
    stage.policy.n_localities = 2;
    cr_expect_str_eq(shape(&stage), "reg*2 | here,zone*3 / e1,e2 / n / s / !far");
}

Test(levels, active_active_is_one_level_of_all_clusters)
{
    stage.policy.cluster_mode = CLUSTERS_ACTIVE_ACTIVE;
    cr_expect_str_eq(shape(&stage), "here,zone,reg,far,e1,e2,n,s");
    cr_expect_eq(stage.set.levels[0].kind, LEVEL_CLUSTERSET);
}

Test(levels, weighted_clusters_share_a_rank_and_those_without_weight_are_the_last_resort)
{
    const struct cluster_share shares[] = {
        {STR("west"), 90, 0, 0}, {STR("east"), 10, 0, 0}, {STR("south"), 0, 0, 0}};
    stage.policy.cluster_mode = CLUSTERS_WEIGHTED;
    stage.policy.clusters = shares;
    stage.policy.n_clusters = 3;
    cr_expect_str_eq(shape(&stage), "here,zone,reg,far*90 | e1,e2*10 / !n / !s");
}

Test(levels, an_endpoint_of_a_cluster_that_is_not_allowed_is_not_there)
{
    const struct str allowed[] = {STR("east"), STR("west")};
    stage.policy.is_restricted = true;
    cr_expect_str_eq(shape(&stage), "", "nobody is allowed");
    cr_expect_eq(stage.set.len, 0);
    stage.policy.allowed_clusters = allowed;
    stage.policy.n_allowed = 2;
    cr_expect_str_eq(shape(&stage), "here,zone / reg / far / e1,e2");
    cr_expect_eq(stage.set.n_hidden, 2);
    cr_expect_eq(stage.set.hidden[0].key, 0, "it is not healthy");
    for (size_t i = 0; i < PODS_MAX; i++)
        stage.builder.workloads[i].is_healthy = true;
    (void)shape(&stage);
    cr_expect_neq(stage.set.hidden[0].key, 0, "it would be an endpoint");
    cr_expect_neq(stage.set.hidden[0].key, stage.set.hidden[1].key);
}

Test(levels, zone_aware_splits_the_own_cluster_by_zone_and_knows_its_callers)
{
    stage.policy.locality = LOCALITY_ZONE_AWARE;
    cr_expect_str_eq(shape(&stage), "here,zone,reg,far / e1,e2 / n / s", "four are too few");
    stage.policy.zone_min_endpoints = 4;
    cr_expect_str_eq(shape(&stage), "here,zone | reg | far / e1,e2 / n / s");
    cr_expect_eq(stage.set.levels[0].n_callers, 2);
    cr_expect_eq(stage.set.levels[1].n_callers, 1);
    cr_expect_eq(stage.set.n_callers, 4);
}

Test(levels, the_fingerprint_changes_with_what_is_there_and_with_the_policy_s_shape_only)
{
    (void)shape(&stage);
    const uint64_t before = stage.set.fingerprint;
    stage.policy.algorithm = ALGORITHM_RANDOM;
    (void)shape(&stage);
    cr_expect_eq(stage.set.fingerprint, before);
    stage.policy.locality = LOCALITY_NONE;
    (void)shape(&stage);
    cr_expect_neq(stage.set.fingerprint, before);
    stage.policy.locality = LOCALITY_LEVELS;
    stage.builder.n_workloads--;
    (void)shape(&stage);
    cr_expect_neq(stage.set.fingerprint, before);
}
