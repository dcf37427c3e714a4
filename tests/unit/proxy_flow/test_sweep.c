/* All flows are visited, in pieces, whatever they do meanwhile. */
#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/flow/walk.h"
#include "tests/kit/loop_kit.h"

TestSuite(sweep, .timeout = 60);

enum { CONNECTING = 3 * SWEEP_PIECE, PUMPING = 2 * SWEEP_PIECE, FLOWS = CONNECTING + PUMPING };

static struct walk walk;
static struct flow flows[FLOWS];
static unsigned n_visits[FLOWS], n_visited, n_first;
static unsigned n_ends, n_visited_at_end;
static struct task begin_task;
static unsigned n_begun;

/* A piece of these takes more than there is time for. */
static void visit(struct flow *flow)
{
    const uint64_t until_ns = clock_mono_ns() + 2 * LOOP_LATE_NS / SWEEP_PIECE;
    while (clock_mono_ns() < until_ns)
        continue;
    n_visited += n_visits[flow - flows]++ == 0;
}

static void on_end(struct walk *of)
{
    cr_expect_eq(of, &walk);
    n_visited_at_end = n_visited;
    n_ends++;
}

static void begin(struct task *task)
{
    (void)task;
    (void)loop_now_ns(walk.tools.loop);
    sweep_start(&walk.sweeps[SWEEP_RECHECK]);
    n_first = n_visited;
    n_begun++;
}

static void start(void)
{
    walk = (struct walk){.tools.loop = loop_new()};
    for (int i = 0; i < FLOW_STATES; i++)
        list_init(&walk.flows[i]);
    for (int i = 0; i < WALK_SWEEPS; i++)
        sweep_init(&walk.sweeps[i], &walk, FLOW_CONNECTING, FLOW_CLOSED, visit, on_end);
    for (int i = 0; i < FLOWS; i++) {
        flows[i] = (struct flow){.call.walk = &walk};
        flows[i].state = i < CONNECTING ? FLOW_CONNECTING : FLOW_PUMPING;
        list_push_back(&walk.flows[flows[i].state], &flows[i].by_state);
        n_visits[i] = 0;
    }
    n_visited = n_begun = n_ends = 0;
    begin_task.run = begin;
    loop_defer(walk.tools.loop, &begin_task);
    cr_assert(run_until_count(walk.tools.loop, &n_begun, 1, 5000));
}

static void finish(void)
{
    for (int i = 0; i < WALK_SWEEPS; i++)
        sweep_stop(&walk.sweeps[i]);
    loop_finish(walk.tools.loop);
}

Test(sweep, goes_on_in_the_next_turns_until_it_has_seen_all, .init = start, .fini = finish)
{
    cr_expect_eq(n_first, SWEEP_PIECE, "%u", n_first);
    cr_expect(run_until_count(walk.tools.loop, &n_visited, FLOWS, 5000));
    for (int i = 0; i < FLOWS; i++)
        cr_expect_eq(n_visits[i], 1, "%d", i);
    cr_expect(run_until_count(walk.tools.loop, &n_ends, 1, 5000));
    cr_expect_eq(n_visited_at_end, FLOWS);
}

Test(sweep, misses_none_that_moves_and_sees_none_that_went, .init = start, .fini = finish)
{
    enum { LAST_SEEN = SWEEP_PIECE - 1 };

    /* The one that it stopped at, its neighbours, the last of the list. */
    static const int moves[] = {LAST_SEEN, LAST_SEEN + 1, LAST_SEEN - 1, CONNECTING - 1};

    for (size_t i = 0; i < ARRAY_LEN(moves); i++)
        flow_move(&flows[moves[i]], FLOW_PUMPING);
    flow_move(&flows[CONNECTING - 2], FLOW_CONNECTING); /* it tries another endpoint */
    flow_move(&flows[FLOWS - 1], FLOW_CLOSED);
    cr_expect(run_until_count(walk.tools.loop, &n_visited, FLOWS - 1, 5000), "%u", n_visited);
    cr_expect_eq(n_visits[FLOWS - 1], 0);
}

Test(sweep, sees_the_last_of_a_list_that_moves_within_it, .init = start, .fini = finish)
{
    for (int i = SWEEP_PIECE; i < CONNECTING; i++)
        flow_move(&flows[i], FLOW_CONNECTING);
    cr_expect(run_until_count(walk.tools.loop, &n_visited, FLOWS, 5000), "%u", n_visited);
}

Test(sweep, another_one_lets_the_first_end, .init = start, .fini = finish)
{
    loop_defer(walk.tools.loop, &begin_task);
    cr_assert(run_until_count(walk.tools.loop, &n_begun, 2, 5000));
    cr_expect_eq(n_visited, FLOWS);
    cr_expect_eq(n_visits[0], 2);
    cr_expect_eq(n_visits[FLOWS - 1], 1);
    cr_expect_eq(n_ends, 0, "it is that of both");
    cr_expect(run_until_count(walk.tools.loop, &n_ends, 1, 5000));
    cr_expect_eq(n_visits[FLOWS - 1], 2);
}

/* ---- others that want the rest of each turn ---- */

enum { HOGS = 200 };

static struct task hogs[HOGS];
static unsigned n_hogged;

static void hog(struct task *task)
{
    const uint64_t until_ns = clock_mono_ns() + 2 * LOOP_LATE_NS;
    while (clock_mono_ns() < until_ns)
        continue;
    n_hogged++;
    cr_expect(loop_put_off(walk.tools.loop, task));
}

static void bring_hogs(struct task *task)
{
    (void)task;
    for (int i = 0; i < HOGS; i++) {
        hogs[i].run = hog;
        cr_expect(loop_put_off(walk.tools.loop, &hogs[i]));
    }
}

/* Each of them has its turn before a piece has. */
Test(sweep, is_not_kept_from_its_end_by_others_that_were_put_off, .init = start, .fini = finish)
{
    static struct task bring = {.run = bring_hogs};
    loop_defer(walk.tools.loop, &bring);
    cr_expect(run_until_count(walk.tools.loop, &n_ends, 1, 20000));
    cr_expect_eq(n_visited, FLOWS);
    cr_expect_lt(n_hogged, HOGS, "%u", n_hogged);
    for (int i = 0; i < HOGS; i++)
        task_cancel(&hogs[i]);
}
