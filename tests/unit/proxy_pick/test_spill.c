/* Load moves shares: a near level in front of a far one, simulated with queues. */
#include <criterion/criterion.h>

#include "stage.h"

TestSuite(spill, .timeout = 60);

static struct stage stage;

#define SERVERS    4 /* of the near level, one flow at a time each */
#define SERVICE_NS (10 * NS_PER_MS)
#define WAY_NS     (40 * NS_PER_MS)
#define FLYING_MAX 20000

struct flying {
    struct lease lease;
    uint64_t done_ns;
};

/* Runs so long at so many flows a second; the share of the far level, in percent, over each
 * second goes to out_pct. */
static void run(unsigned seconds, unsigned rate, unsigned *out_pct)
{
    static struct flying flying[FLYING_MAX];
    static uint64_t busy_until_ns[SERVERS];
    size_t n = 0;
    const uint64_t gap_ns = NS_PER_SEC / rate;
    for (unsigned second = 0; second < seconds; second++) {
        unsigned n_far = 0;
        for (unsigned i = 0; i < rate; i++) {
            stage.now_ns += gap_ns;
            for (size_t j = 0; j < n;) {
                struct flying *done = &flying[j];
                if (done->done_ns > stage.now_ns) {
                    j++;
                    continue;
                }
                lease_sample(stage.balancer, &done->lease, done->done_ns - done->lease.cut_ns,
                             stage.now_ns);
                lease_return(stage.balancer, &done->lease, LEASE_SERVED, stage.now_ns);
                *done = flying[--n];
            }
            struct flying *flow = &flying[n++];
            cr_assert(n < FLYING_MAX);
            cr_assert_eq(stage_cut(&stage, &flow->lease), 0);
            const bool is_far = flow->lease.key > SERVERS;
            n_far += is_far;
            lease_confirm(stage.balancer, &flow->lease, is_far ? WAY_NS : NS_PER_MS, stage.now_ns);
            if (is_far) {
                flow->done_ns = stage.now_ns + WAY_NS + SERVICE_NS;
                continue;
            }
            uint64_t *busy_ns = &busy_until_ns[flow->lease.key - 1];
            *busy_ns = (*busy_ns > stage.now_ns ? *busy_ns : stage.now_ns) + SERVICE_NS;
            flow->done_ns = *busy_ns;
        }
        out_pct[second] = n_far * 100 / rate;
    }
    while (n > 0)
        lease_return(stage.balancer, &flying[--n].lease, LEASE_SERVED, stage.now_ns);
}

static void open_stage(void)
{
    stage_init(&stage, 8);
    stage.policy.spill_by_load = true;
    stage_level(&stage, LEVEL_CLUSTER, SERVERS);
    stage_level(&stage, LEVEL_OTHER_CLUSTER, 4);
    balancer_set_reach(stage.balancer, stage.levels[1].cluster, WAY_NS);
}

/* The near level serves 400 flows a second. */
Test(spill, nothing_crosses_while_the_near_level_can_carry_it)
{
    unsigned pct[20];
    open_stage();
    run(20, 300, pct);
    for (int i = 0; i < 20; i++)
        cr_expect_eq(pct[i], 0, "second %d: %u", i, pct[i]);
    stage_fini(&stage);
}

Test(spill, what_the_near_level_cannot_carry_crosses_and_comes_to_rest)
{
    unsigned pct[60], low = 100, high = 0, sum = 0;
    open_stage();
    run(60, 600, pct);
    for (int i = 30; i < 60; i++) {
        low = pct[i] < low ? pct[i] : low;
        high = pct[i] > high ? pct[i] : high;
        sum += pct[i];
    }
    cr_expect_leq(high - low, 10, "it swings from %u to %u", low, high);
    cr_expect(sum / 30 >= 31 && sum / 30 <= 43, "a third has to go: %u", sum / 30);
    unsigned back[60];
    run(60, 200, back);
    cr_expect_eq(back[59], 0, "all of it comes back: %u", back[59]);
    stage_fini(&stage);
}

/* One call a millisecond; how many of them were near. */
static unsigned count_near(unsigned n)
{
    unsigned n_near = 0;
    for (unsigned i = 0; i < n; i++) {
        stage.now_ns += NS_PER_MS;
        n_near += stage_draw(&stage) <= SERVERS;
    }
    return n_near;
}

static void leave_and_return(void)
{
    cr_assert_eq(count_near(100), 100);
    stage_ready(&stage, 0, 0);
    cr_assert_eq(count_near(1000), 0);
    stage_ready(&stage, 0, SERVERS);
}

Test(spill, a_rank_that_returns_has_its_whole_share_at_once_where_there_is_no_slow_start)
{
    open_stage();
    stage.policy.slow_start_ns = 0;
    leave_and_return();
    cr_expect_eq(count_near(1000), 1000);
    stage_fini(&stage);
}

Test(spill, a_rank_that_returns_has_its_whole_share_when_the_slow_start_is_over)
{
    unsigned last = 0;
    open_stage();
    stage.policy.slow_start_ns = 3 * NS_PER_SEC;
    leave_and_return();
    cr_expect_lt(count_near(100), 30, "it begins with a part");
    for (int i = 0; i < 3; i++) {
        const unsigned n_near = count_near(1000);
        cr_expect_gt(n_near + 50, last, "it only grows: %u after %u", n_near, last);
        last = n_near;
    }
    cr_expect_eq(count_near(1000), 1000);
    stage_fini(&stage);
}

/* It took twice what it serves before it left, and is as slow as then when it is back. */
Test(spill, a_rank_that_returns_congested_does_not_keep_what_it_cannot_carry)
{
    unsigned pct[20];
    open_stage();
    stage.policy.slow_start_ns = 0;
    leave_and_return();
    run(20, 800, pct);
    cr_expect_lt(pct[0], 70, "it is believed at first: %u %% are sent on", pct[0]);
    for (int i = 5; i < 20; i++)
        cr_expect_geq(pct[i], 40, "half of it cannot be served there: %u %% are sent on", pct[i]);
    stage_fini(&stage);
}

Test(spill, nothing_is_kept_away_from_a_rank_when_nobody_knows_why_any_more)
{
    unsigned pct[10];
    open_stage();
    run(10, 800, pct);
    cr_assert_geq(pct[9], 40);
    stage.now_ns += 10 * NS_PER_SEC; /* nobody calls: nothing is looked at either */
    cr_expect_eq(count_near(1), 1);
    cr_expect_eq(count_near(1000), 1000);
    stage_fini(&stage);
}
