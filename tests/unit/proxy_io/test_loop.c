#include <criterion/criterion.h>
#include <signal.h>
#include <time.h>

#include "proxy/base/clock.h"
#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"
#include "proxy/io/loop.h"
#include "tests/kit/loop_kit.h"

TestSuite(loop, .timeout = 20);

static struct loop *loop;
static char trace[64];
static size_t trace_len;

static void note(char c)
{
    cr_assert_lt(trace_len + 1, sizeof(trace));
    trace[trace_len++] = c;
}

struct step {
    struct timer timer;
    struct task task;
    char name;
    unsigned n_runs;
};

static struct step a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};

static void on_fire(struct timer *timer)
{
    struct step *step = container_of(timer, struct step, timer);
    step->n_runs++;
    note(step->name);
}

static void on_run(struct task *task)
{
    struct step *step = container_of(task, struct step, task);
    step->n_runs++;
    note(step->name);
}

Test(loop, timers_fire_in_the_order_of_their_deadlines_and_not_early)
{
    loop = loop_new();
    uint64_t start_ns = clock_mono_ns();
    timer_start(loop, &b.timer, 20 * NS_PER_MS, on_fire);
    timer_start(loop, &c.timer, 30 * NS_PER_MS, on_fire);
    timer_start(loop, &a.timer, 10 * NS_PER_MS, on_fire);
    cr_assert(run_until_count(loop, &c.n_runs, 1, 10000));

    cr_expect_str_eq(trace, "abc");
    cr_expect_geq(clock_mono_ns() - start_ns, 30 * NS_PER_MS);
    cr_expect_not(timer_is_running(&a.timer));
    loop_finish(loop);
}

Test(loop, starting_a_running_timer_moves_its_deadline)
{
    loop = loop_new();
    timer_start(loop, &a.timer, 10 * NS_PER_MS, on_fire);
    timer_start(loop, &b.timer, 20 * NS_PER_MS, on_fire);
    timer_start(loop, &a.timer, 40 * NS_PER_MS, on_fire);
    cr_assert(run_until_count(loop, &a.n_runs, 1, 10000));

    cr_expect_str_eq(trace, "ba");
    cr_expect_eq(a.n_runs, 1);
    loop_finish(loop);
}

Test(loop, a_stopped_timer_does_not_fire_and_stopping_twice_is_harmless)
{
    loop = loop_new();
    timer_start(loop, &a.timer, NS_PER_MS, on_fire);
    timer_start(loop, &b.timer, 10 * NS_PER_MS, on_fire);
    timer_stop(&a.timer);
    timer_stop(&a.timer);
    cr_assert(run_until_count(loop, &b.n_runs, 1, 10000));

    cr_expect_str_eq(trace, "b");
    loop_finish(loop);
}

static void fire_again(struct timer *timer)
{
    if (++a.n_runs < 5)
        timer_start(timer->loop, timer, NS_PER_MS, fire_again);
}

Test(loop, a_timer_may_start_itself_in_its_callback)
{
    loop = loop_new();
    timer_start(loop, &a.timer, 0, fire_again);
    cr_assert(run_until_count(loop, &a.n_runs, 5, 10000));
    loop_finish(loop);
}

static unsigned n_many;

static void on_many(struct timer *timer)
{
    (void)timer;
    n_many++;
}

Test(loop, a_hundred_thousand_timers_are_cheap_to_start_stop_and_fire)
{
    enum { N_TIMERS = 100000 };

    loop = loop_new();
    struct timer *timers = mem_new_array(struct timer, N_TIMERS);
    const uint64_t start_ns = clock_thread_ns();
    for (unsigned idx = 0; idx < N_TIMERS; idx++)
        timer_start(loop, &timers[idx], (idx % 50) * NS_PER_MS, on_many);
    for (unsigned idx = 0; idx < N_TIMERS; idx += 2)
        timer_stop(&timers[idx]);
    cr_assert(run_until_count(loop, &n_many, N_TIMERS / 2, 10000));

    cr_expect_eq(n_many, N_TIMERS / 2);
    cr_expect_lt(clock_thread_ns() - start_ns, 8 * NS_PER_SEC);
    mem_free(timers);
    loop_finish(loop);
}

static void defer_b_and_bury(struct task *task);

static void free_noted(void *ptr)
{
    note('g');
    mem_free(ptr);
}

static void defer_b_and_bury(struct task *task)
{
    loop_bury(loop, mem_alloc(8), free_noted);
    b.task.run = on_run;
    loop_defer(loop, &b.task);
    loop_defer(loop, &b.task);
    on_run(task);
}

static void fire_and_defer(struct timer *timer)
{
    a.task.run = defer_b_and_bury;
    loop_defer(loop, &a.task);
    c.timer = *timer;
    note('t');
}

Test(loop, a_turn_goes_from_timers_over_tasks_and_what_they_defer_to_the_graveyard)
{
    loop = loop_new();
    timer_start(loop, &a.timer, 0, fire_and_defer);
    cr_assert(run_until_count(loop, &b.n_runs, 1, 10000));
    cr_expect_str_eq(trace, "tabg", "got %s", trace);
    cr_expect_eq(b.n_runs, 1, "a task that is deferred twice runs once");
    loop_finish(loop);
}

Test(loop, a_cancelled_task_does_not_run)
{
    loop = loop_new();
    a.task.run = b.task.run = on_run;
    loop_defer(loop, &a.task);
    loop_defer(loop, &b.task);
    task_cancel(&a.task);
    task_cancel(&a.task);
    loop_turn(loop, true);

    cr_expect_str_eq(trace, "b");
    loop_finish(loop);
}

static void defer_for_ever(struct task *task)
{
    loop_defer(loop, task);
}

Test(loop, a_task_that_defers_itself_without_end_is_a_broken_contract, .signal = SIGABRT)
{
    loop = loop_new();
    a.task.run = defer_for_ever;
    loop_defer(loop, &a.task);
    loop_turn(loop, false);
}

static void bury_more(void *ptr)
{
    note('1');
    loop_bury(loop, ptr, free_noted);
}

Test(loop, freeing_what_is_buried_may_bury_more)
{
    loop = loop_new();
    for (unsigned idx = 0; idx < 3; idx++)
        loop_bury(loop, mem_alloc(1), bury_more);
    loop_turn(loop, false);
    cr_expect_str_eq(trace, "111ggg");
    loop_finish(loop);
}

Test(loop, work_that_was_asked_for_between_turns_does_not_wait_for_the_poll)
{
    loop = loop_new();
    struct timer far = {0};
    timer_start(loop, &far, 600 * NS_PER_SEC, on_many);
    uint64_t start_ns = clock_mono_ns();
    a.task.run = on_run;
    loop_defer(loop, &a.task);
    loop_turn(loop, true);
    loop_bury(loop, mem_alloc(1), free_noted);
    loop_turn(loop, true);

    cr_expect_str_eq(trace, "ag");
    cr_expect_lt(clock_mono_ns() - start_ns, 10 * NS_PER_SEC);
    timer_stop(&far);
    loop_finish(loop);
}

Test(loop, a_turn_with_nothing_to_wait_for_returns)
{
    loop = loop_new();
    cr_expect_not(loop_turn(loop, true));
    timer_start(loop, &a.timer, NS_PER_SEC, on_fire);
    cr_expect(loop_turn(loop, false));
    timer_stop(&a.timer);
    loop_finish(loop);
}

static void fire_stop(struct timer *timer)
{
    on_fire(timer);
    b.task.run = on_run;
    loop_defer(loop, &b.task);
    loop_stop(loop);
}

Test(loop, stop_ends_the_run_at_the_end_of_the_turn)
{
    loop = loop_new();
    timer_start(loop, &a.timer, NS_PER_MS, fire_stop);
    loop_run(loop);
    cr_expect_str_eq(trace, "ab");

    trace_len = 0;
    timer_start(loop, &a.timer, NS_PER_MS, fire_stop);
    loop_run(loop);
    cr_expect_str_eq(trace, "ab");
    loop_finish(loop);
}

static uint64_t times_ns[2];

static void fire_slowly(struct timer *timer)
{
    times_ns[0] = loop_now_ns(timer->loop);
    while (clock_mono_ns() < times_ns[0] + 3 * NS_PER_MS)
        continue;
    times_ns[1] = loop_now_ns(timer->loop);
    a.n_runs++;
}

Test(loop, time_stands_still_within_a_turn_and_goes_on_between_turns)
{
    loop = loop_new();
    timer_start(loop, &a.timer, NS_PER_MS, fire_slowly);
    cr_assert(run_until_count(loop, &a.n_runs, 1, 10000));
    cr_expect_eq(times_ns[0], times_ns[1]);
    cr_expect_geq(loop_now_ns(loop), times_ns[1] + 3 * NS_PER_MS);
    loop_finish(loop);
}

Test(loop, turns_of_nothing_are_not_long)
{
    enum { CALM = 500 };

    loop = loop_new();
    for (unsigned n = 0; n < CALM; n++)
        loop_turn(loop, false);
    const struct long_turns calm = loop_long_turns(loop);
    cr_expect_lt(calm.n_worked + calm.n_waited, CALM / 2, "%lu of %d",
                 (unsigned long)(calm.n_worked + calm.n_waited), CALM);
    loop_finish(loop);
}

static void work_for_long(struct timer *timer)
{
    const uint64_t until_ns = clock_thread_ns() + LOOP_LONG_NS;

    (void)timer;
    while (clock_thread_ns() < until_ns)
        continue;
    a.n_runs++;
}

static void wait_for_long(struct timer *timer)
{
    const struct timespec rest = {.tv_nsec = LOOP_LONG_NS + 1};

    (void)timer;
    (void)nanosleep(&rest, NULL);
    a.n_runs++;
}

Test(loop, a_long_turn_is_told_apart_by_whether_it_worked_or_waited)
{
    enum { TURNS = 20 };

    static const struct {
        const char *name;
        void (*fire)(struct timer *timer);
        bool works;
    } rows[] = {{"works", work_for_long, true}, {"waits", wait_for_long, false}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        loop = loop_new();
        a.n_runs = 0;
        for (int n = 1; n <= TURNS; n++) {
            timer_start(loop, &a.timer, 1, rows[i].fire);
            cr_assert(run_until_count(loop, &a.n_runs, n, 10000));
        }
        const struct long_turns found = loop_long_turns(loop);
        const uint64_t right = rows[i].works ? found.n_worked : found.n_waited;
        /* Of work nothing is missed; in a wait others' interrupts may be counted as our work. */
        cr_expect_geq(right, rows[i].works ? TURNS : TURNS / 2, "%s: %lu worked, %lu waited",
                      rows[i].name, (unsigned long)found.n_worked, (unsigned long)found.n_waited);
        loop_finish(loop);
    }
}

/* ---- what is put off ---- */

enum { PATIENT = 3 };

static struct patient {
    struct task task;
    unsigned in_turn;
} patients[PATIENT];

static unsigned n_run, turn_now;

static void take_long(void)
{
    const uint64_t begun_ns = loop_now_ns(loop);
    while (clock_mono_ns() - begun_ns < LOOP_LATE_NS)
        continue;
}

static void be_served(struct task *task)
{
    struct patient *patient = container_of(task, struct patient, task);
    cr_expect_eq(patient, &patients[n_run], "they come in their order");
    n_run++;
    patient->in_turn = turn_now;
    take_long();
}

static void put_all_off(struct timer *timer)
{
    (void)timer;
    take_long();
    for (int i = 0; i < PATIENT; i++) {
        patients[i] = (struct patient){.task.run = be_served};
        cr_expect(loop_put_off(loop, &patients[i].task));
        cr_expect(loop_put_off(loop, &patients[i].task), "twice is once");
    }
}

Test(loop, what_is_put_off_runs_in_its_order_one_a_turn_where_there_is_no_time)
{
    loop = loop_new();
    n_run = 0;
    timer_start(loop, &a.timer, 1, put_all_off);
    for (turn_now = 0; n_run < PATIENT && turn_now < 2000; turn_now++)
        loop_turn(loop, true);
    cr_assert_eq(n_run, PATIENT);
    for (int i = 1; i < PATIENT; i++)
        cr_expect_eq(patients[i].in_turn, patients[i - 1].in_turn + 1, "%d", i);
    loop_finish(loop);
}

static unsigned n_left;

static void leave(struct timer *timer)
{
    put_all_off(timer);
    for (int i = 0; i < PATIENT; i++)
        task_cancel(&patients[i].task);
    n_left++;
}

Test(loop, what_is_put_off_can_be_taken_back)
{
    loop = loop_new();
    n_run = 0;
    timer_start(loop, &a.timer, 1, leave);
    cr_assert(run_until_count(loop, &n_left, 1, 10000));
    run_turns(loop, 3);
    cr_expect_eq(n_run, 0);
    loop_finish(loop);
}

static void ask_at_once(struct timer *timer)
{
    const bool is_put_off = loop_put_off(loop, &patients[0].task);
    if (is_put_off) /* somebody had the processor: once more */
        task_cancel(&patients[0].task);
    else
        n_run++;
    timer_start(loop, timer, 1, ask_at_once);
}

Test(loop, nothing_is_put_off_while_there_is_time)
{
    loop = loop_new();
    n_run = 0;
    timer_start(loop, &a.timer, 1, ask_at_once);
    cr_expect(run_until_count(loop, &n_run, 1, 10000));
    timer_stop(&a.timer);
    loop_finish(loop);
}

Test(loop, freeing_a_loop_with_a_running_timer_is_a_broken_contract, .signal = SIGABRT)
{
    loop = loop_new();
    timer_start(loop, &a.timer, 60 * NS_PER_SEC, on_fire);
    loop_free(loop);
}
