#include <criterion/criterion.h>

#include "proxy/base/mem.h"
#include "proxy/base/rng.h"
#include "proxy/io/wheel.h"

TestSuite(wheel, .timeout = 20);

#define TICK_NS  (UINT64_C(1) << WHEEL_TICK_SHIFT)
#define N_PROBES 4000

static struct wheel wheel;
static uint64_t now_ns, last_deadline_ns;
static unsigned n_fired, n_early, n_late, n_disordered;

static void start_at(uint64_t at_ns)
{
    now_ns = at_ns;
    wheel_init(&wheel, now_ns);
}

struct probe {
    struct timer timer;
    uint64_t due_ns; /* the deadline it was started with, which firing clears */
    unsigned n_fired;
};

static void on_fire(struct timer *timer)
{
    struct probe *probe = container_of(timer, struct probe, timer);
    probe->n_fired++;
    n_fired++;
    n_early += now_ns < probe->due_ns;
    n_disordered += probe->due_ns + TICK_NS < last_deadline_ns;
    last_deadline_ns = probe->due_ns;
}

static void add(struct probe *probe, uint64_t after_ns)
{
    probe->due_ns = probe->timer.deadline_ns = now_ns + after_ns;
    probe->timer.fire = on_fire;
    wheel_add(&wheel, &probe->timer);
}

static void advance(uint64_t by_ns)
{
    now_ns += by_ns;
    last_deadline_ns = 0;
    wheel_expire(&wheel, now_ns);
}

Test(wheel, fires_at_the_deadline_or_up_to_a_tick_later_but_never_before)
{
    static const uint64_t spans_ns[] = {1,
                                        TICK_NS - 1,
                                        TICK_NS,
                                        63 * TICK_NS,
                                        64 * TICK_NS,
                                        65 * TICK_NS + 1,
                                        4095 * TICK_NS,
                                        4096 * TICK_NS,
                                        300000 * TICK_NS,
                                        UINT64_C(1) << 50};
    for (size_t idx = 0; idx < ARRAY_LEN(spans_ns); idx++) {
        struct probe probe = {0};
        start_at(UINT64_C(123456789123));
        add(&probe, spans_ns[idx]);

        advance(spans_ns[idx] - 1);
        cr_assert_eq(probe.n_fired, 0, "a timer of %lu ns fired early",
                     (unsigned long)spans_ns[idx]);
        advance(1 + TICK_NS);
        cr_assert_eq(probe.n_fired, 1, "a timer of %lu ns did not fire",
                     (unsigned long)spans_ns[idx]);
    }
}

Test(wheel, fires_thousands_of_random_timers_in_order_over_random_jumps)
{
    struct rng rng;
    rng_seed(&rng, 7);
    start_at(UINT64_C(987654321987));
    struct probe *probes = mem_new_array(struct probe, N_PROBES);
    uint64_t last_ns = 0;
    for (unsigned idx = 0; idx < N_PROBES; idx++) {
        uint64_t after_ns = rng_next(&rng) >> (24 + rng_below(&rng, 30));
        last_ns = after_ns > last_ns ? after_ns : last_ns;
        add(&probes[idx], after_ns);
    }

    uint64_t end_ns = now_ns + last_ns + 2 * TICK_NS;
    while (now_ns < end_ns) {
        advance(rng_next(&rng) >> (24 + rng_below(&rng, 30)));
        for (unsigned idx = 0; idx < N_PROBES; idx++)
            n_late += !probes[idx].n_fired && probes[idx].due_ns + TICK_NS <= now_ns;
    }

    cr_expect_eq(n_fired, N_PROBES);
    cr_expect_eq(n_early, 0);
    cr_expect_eq(n_late, 0);
    cr_expect_eq(n_disordered, 0);
    cr_expect_eq(wheel.n_timers, 0);
    mem_free(probes);
}

Test(wheel, wakes_in_time_for_every_timer_and_not_too_often)
{
    struct probe probe = {0};
    start_at(UINT64_C(55555555555));
    add(&probe, UINT64_C(3600) * 1000000000);

    unsigned n_wakes = 0;
    while (!probe.n_fired) {
        uint64_t wake_ns = wheel_wake_ns(&wheel);
        cr_assert_leq(wake_ns, probe.due_ns + TICK_NS);
        now_ns = wake_ns;
        wheel_expire(&wheel, now_ns);
        n_wakes++;
    }
    cr_expect_leq(n_wakes, WHEEL_LEVELS);
    cr_expect_eq(wheel_wake_ns(&wheel), UINT64_MAX);
}

static struct probe victim, killer;

static void kill_victim(struct timer *timer)
{
    (void)timer;
    if (timer_is_running(&victim.timer))
        wheel_remove(&wheel, &victim.timer);
}

Test(wheel, a_callback_may_stop_a_timer_of_the_same_tick)
{
    start_at(TICK_NS * 100);
    killer.timer.deadline_ns = now_ns + TICK_NS;
    killer.timer.fire = kill_victim;
    wheel_add(&wheel, &killer.timer);
    add(&victim, TICK_NS);

    advance(3 * TICK_NS);
    cr_expect_eq(victim.n_fired, 0);
    cr_expect_eq(wheel.n_timers, 0);
}

static void again_at_once(struct timer *timer)
{
    n_fired++;
    timer->deadline_ns = now_ns;
    wheel_add(&wheel, timer);
}

Test(wheel, a_timer_that_starts_itself_anew_at_once_does_not_hold_the_wheel_up)
{
    struct timer timer = {.fire = again_at_once};
    start_at(TICK_NS * 64);
    timer.deadline_ns = now_ns;
    wheel_add(&wheel, &timer);

    advance(5 * TICK_NS);
    cr_expect_leq(n_fired, 2);
    unsigned before = n_fired;
    advance(TICK_NS);
    cr_expect_gt(n_fired, before);
    wheel_remove(&wheel, &timer);
}

Test(wheel, a_deadline_beyond_all_levels_is_kept_and_can_be_stopped)
{
    struct probe probe = {0};
    start_at(TICK_NS);
    probe.timer.deadline_ns = UINT64_MAX;
    probe.timer.fire = on_fire;
    wheel_add(&wheel, &probe.timer);
    advance(UINT64_C(1) << 55);
    cr_expect_eq(probe.n_fired, 0);
    wheel_remove(&wheel, &probe.timer);
    cr_expect_eq(wheel_wake_ns(&wheel), UINT64_MAX);
}
