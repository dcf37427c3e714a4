/* How long a node keeps a cluster out of a service for a drill. */
#include <criterion/criterion.h>

#include "proxy/run/drill_watch.h"

TestSuite(drill_watch, .timeout = 20);

#define SECOND UINT64_C(1000000000)
#define START  (100 * SECOND)

static struct drill_watch watch;
static struct arena arena;
static uint64_t next_ns;

/* One look at one service's policy: is the cluster kept out? */
static bool keeps_out(uint64_t id, uint64_t length_ns, uint64_t now_ns, bool is_connected)
{
    struct model_traffic traffic = {
        .service = STR("shop/till"),
        .policy = {.drilled_cluster = STR("west"), .drill_id = id, .drill_ns = length_ns}};
    const struct model_resource resource = {
        .kind = MODEL_TRAFFIC, .name = traffic.service, .of.traffic = &traffic};
    drill_watch_begin(&watch);
    const struct model_resource *judged =
        drill_watch_judge(&watch, &resource, &arena, now_ns, is_connected);
    next_ns = drill_watch_end(&watch);
    cr_assert(str_eq(judged->of.traffic->service, traffic.service));
    cr_assert(str_eq(traffic.policy.drilled_cluster, STR("west")), "what is held stays as it is");
    return !str_is_empty(judged->of.traffic->policy.drilled_cluster);
}

Test(drill_watch, a_drill_holds_for_its_length_and_not_longer)
{
    cr_expect(keeps_out(1, 10 * SECOND, START, true));
    cr_expect_eq(next_ns, START + 10 * SECOND);
    cr_expect(keeps_out(1, 10 * SECOND, START + 9 * SECOND, true), "from when it was heard first");
    cr_expect_eq(next_ns, START + 10 * SECOND);
    cr_expect_not(keeps_out(1, 10 * SECOND, START + 10 * SECOND, true));
    cr_expect_eq(next_ns, 0);
    arena_fini(&arena);
}

Test(drill_watch, a_drill_is_let_go_with_the_stream_and_not_taken_up_with_it)
{
    cr_expect(keeps_out(1, 10 * SECOND, START, true));
    cr_expect_not(keeps_out(1, 10 * SECOND, START + 1, false));
    cr_expect_not(keeps_out(1, 10 * SECOND, START + 2, true));
    cr_expect(keeps_out(2, 10 * SECOND, START + 3, true), "the next drill is another one");
    arena_fini(&arena);
}

Test(drill_watch, a_drill_off_the_disk_never_begins)
{
    cr_expect_not(keeps_out(1, 10 * SECOND, START, false));
    cr_expect_not(keeps_out(1, 10 * SECOND, START + SECOND, true));
    arena_fini(&arena);
}

Test(drill_watch, a_drill_without_a_length_never_begins_and_the_longest_does_not_overflow)
{
    cr_expect_not(keeps_out(1, 0, START, true));
    cr_expect(keeps_out(2, UINT64_MAX, START, true));
    cr_expect_eq(next_ns, UINT64_MAX);
    arena_fini(&arena);
}

Test(drill_watch, more_drills_than_the_bound_do_not_begin)
{
    drill_watch_begin(&watch);
    for (uint64_t id = 1; id <= DRILL_WATCH_MAX + 1; id++) {
        struct model_traffic traffic = {
            .policy = {.drilled_cluster = STR("west"), .drill_id = id, .drill_ns = SECOND}};
        const struct model_resource resource = {.kind = MODEL_TRAFFIC, .of.traffic = &traffic};
        const struct model_resource *judged =
            drill_watch_judge(&watch, &resource, &arena, START, true);
        cr_assert_eq(judged == &resource, id <= DRILL_WATCH_MAX, "drill %llu",
                     (unsigned long long)id);
    }
    drill_watch_end(&watch);
    drill_watch_begin(&watch);
    drill_watch_end(&watch);
    cr_expect_eq(watch.len, 0, "those of which nobody tells are forgotten");
    arena_fini(&arena);
}

Test(drill_watch, those_that_keep_a_cluster_out_are_counted)
{
    (void)keeps_out(1, 10 * SECOND, START, true);
    cr_expect_eq(drill_watch_count(&watch), 1);
    (void)keeps_out(1, 10 * SECOND, START + 10 * SECOND, true);
    cr_expect_eq(drill_watch_count(&watch), 0, "it is over, though control still tells of it");
    (void)keeps_out(2, 10 * SECOND, START + 11 * SECOND, true);
    cr_expect_eq(drill_watch_count(&watch), 1);
    (void)keeps_out(2, 10 * SECOND, START + 12 * SECOND, false);
    cr_expect_eq(drill_watch_count(&watch), 0, "let go with the stream");
    arena_fini(&arena);
}
