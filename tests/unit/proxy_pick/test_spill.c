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
