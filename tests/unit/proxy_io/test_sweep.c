/* All things are visited, in pieces, whatever they do meanwhile. */
#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/io/sweep.h"
#include "tests/kit/hogs.h"
#include "tests/kit/loop_kit.h"

TestSuite(sweep, .timeout = 60);

enum { EARLY = 3 * SWEEP_PIECE, LATE = 2 * SWEEP_PIECE, THINGS = EARLY + LATE };

struct thing {
    struct list link;
    unsigned n_visits;
};

static struct loop *loop;
static struct sweep sweep;
static struct list lists[2];
static struct thing things[THINGS];
static unsigned n_visited, n_visits, n_first;
static unsigned n_ends, n_visited_at_end, n_begun;
static struct task begin_task;
static uint64_t begun_ns;

/* A piece of these takes more than there is time for. */
static void visit(struct sweep *of, struct list *item)
{
    cr_expect_eq(of, &sweep);
    struct thing *thing = list_entry(item, struct thing, link);
    const uint64_t until_ns = clock_mono_ns() + 2 * LOOP_LATE_NS / SWEEP_PIECE;
    while (clock_mono_ns() < until_ns)
        continue;
    n_visited += thing->n_visits++ == 0;
    n_visits++;
}

static void on_end(struct sweep *of)
{
    cr_expect_eq(of, &sweep);
    n_visited_at_end = n_visited;
    n_ends++;
}

static void begin(struct task *task)
{
    (void)task;
    begun_ns = loop_now_ns(loop);
    sweep_start(&sweep);
    n_first = n_visited;
    n_begun++;
}

static void begin_again(unsigned n)
{
    loop_defer(loop, &begin_task);
    cr_assert(run_until_count(loop, &n_begun, n, 5000));
}

static void start_with(uint64_t patience_ns)
{
    loop = loop_new();
    for (int i = 0; i < 2; i++)
        list_init(&lists[i]);
    sweep_init(&sweep, loop, lists, 2, patience_ns, visit, on_end);
    for (int i = 0; i < THINGS; i++) {
        things[i] = (struct thing){0};
        list_push_back(&lists[i < EARLY ? 0 : 1], &things[i].link);
    }
    n_visited = n_visits = n_begun = n_ends = 0;
    begin_task.run = begin;
    begin_again(1);
}

/* With patience for a machine that stands still now and then. */
static void start(void)
{
    start_with(60 * NS_PER_SEC);
}

static void start_impatiently(void)
{
    start_with(SWEEP_NS);
}

static void finish(void)
{
    sweep_stop(&sweep);
    loop_finish(loop);
}

static void move(int i, struct list *to)
{
    sweep_loses(&sweep, &things[i].link);
    list_remove(&things[i].link);
    if (to)
        list_push_back(to, &things[i].link);
}

Test(sweep, goes_on_in_the_next_turns_until_it_has_seen_all, .init = start, .fini = finish)
{
    cr_expect_eq(n_first, SWEEP_PIECE, "%u", n_first);
    cr_expect(run_until_count(loop, &n_visited, THINGS, 5000));
    for (int i = 0; i < THINGS; i++)
        cr_expect_eq(things[i].n_visits, 1, "%d", i);
    cr_expect(run_until_count(loop, &n_ends, 1, 5000));
    cr_expect_eq(n_visited_at_end, THINGS);
    cr_expect_not(sweep_is_running(&sweep));
}

Test(sweep, misses_none_that_moves_and_sees_none_that_went, .init = start, .fini = finish)
{
    enum { LAST_SEEN = SWEEP_PIECE - 1 };

    /* The one that it stopped at, its neighbours, the last of the list. */
    static const int moves[] = {LAST_SEEN, LAST_SEEN + 1, LAST_SEEN - 1, EARLY - 1};

    for (size_t i = 0; i < ARRAY_LEN(moves); i++)
        move(moves[i], &lists[1]);
    move(EARLY - 2, &lists[0]);
    move(THINGS - 1, NULL);
    cr_expect(run_until_count(loop, &n_visited, THINGS - 1, 5000), "%u", n_visited);
    cr_expect_eq(things[THINGS - 1].n_visits, 0);
}

Test(sweep, sees_the_last_of_a_list_that_moves_within_it, .init = start, .fini = finish)
{
    for (int i = SWEEP_PIECE; i < EARLY; i++)
        move(i, &lists[0]);
    cr_expect(run_until_count(loop, &n_visited, THINGS, 5000), "%u", n_visited);
}

Test(sweep, one_that_is_asked_for_meanwhile_comes_behind_it_and_takes_nobodys_turn, .init = start,
     .fini = finish)
{
    for (unsigned i = 2; i <= 4; i++) {
        begin_again(i);
        cr_expect_lt(n_visited, THINGS, "it was not done at once");
    }
    cr_expect(run_until_count(loop, &n_ends, 1, 5000));
    cr_expect_eq(n_visited_at_end, THINGS);
    cr_expect(run_until_count(loop, &n_ends, 2, 5000));
    for (int i = 0; i < THINGS; i++)
        cr_expect_eq(things[i].n_visits, 2, "%d: the others that asked share the second", i);
    cr_expect_not(sweep_is_running(&sweep));
    cr_expect_eq(run_until_count(loop, &n_ends, 3, 20), false);
}

Test(sweep, comes_to_its_end_however_often_another_is_asked_for, .init = start, .fini = finish)
{
    for (unsigned i = 2; n_ends < 5; i++) {
        cr_assert_lt(i, 100000);
        begin_again(i);
        loop_turn(loop, false);
    }
    for (int i = 0; i < THINGS; i++)
        cr_expect_geq(things[i].n_visits, 5, "%d", i);
}

/* ---- others that want the rest of each turn ---- */

static struct hogs hogs;

static void nothing(void *ctx)
{
    (void)ctx;
}

/* Each of them has its turn before a piece has, and of those there are five. */
Test(sweep, is_not_kept_from_its_end_by_others_that_were_put_off, .init = start_impatiently,
     .fini = finish)
{
    const uint64_t since_ns = begun_ns;
    hogs_bring(&hogs, loop, nothing, NULL);
    cr_expect(run_until_count(loop, &n_ends, 1, 20000));
    cr_expect_eq(n_visited, THINGS);
    cr_expect_geq(clock_mono_ns() - since_ns, SWEEP_NS);
    hogs_send_away(&hogs);
}

/* The patience of the second began when it was asked for, not when the first had ended: it would
 * have its second piece twice that time later. */
Test(sweep, has_seen_all_for_the_second_who_asked_when_its_patience_is_over,
     .init = start_impatiently, .fini = finish)
{
    hogs_bring(&hogs, loop, nothing, NULL);
    begin_again(2);
    const uint64_t due_ns = begun_ns + SWEEP_NS;
    unsigned n_late = 0; /* turns that began when its time was over */
    while (n_ends < 2 && n_late < HOGS) {
        n_late += clock_mono_ns() > due_ns;
        loop_turn(loop, true);
    }
    cr_expect_eq(n_visits, 2 * THINGS);
    cr_expect_leq(n_late, 4, "%u", n_late);
    hogs_send_away(&hogs);
}
