#include <criterion/criterion.h>

#include "proxy/base/mem.h"
#include "proxy/io/chore.h"
#include "tests/kit/loop_kit.h"

TestSuite(chore, .timeout = 60);

#define LONG_NS (UINT64_C(60) * 1000000000)

static struct loop *loop;
static struct chore chore;
static unsigned n_pieces, n_ends, n_wanted, n_buried, n_freed;
static struct task begin_task;

static void begin(struct task *task)
{
    (void)task;
    chore_start(&chore, LONG_NS);
}

static void on_end(struct chore *of)
{
    cr_expect_eq(of, &chore);
    cr_expect_not(chore_is_running(of));
    n_ends++;
}

static void start(bool (*piece)(struct chore *chore))
{
    loop = loop_new();
    chore_init(&chore, loop, piece, on_end);
    begin_task.run = begin;
    loop_defer(loop, &begin_task);
    loop_turn(loop, false);
}

static void free_grave(void *ptr)
{
    mem_free(ptr);
    n_freed++;
}

/* A piece takes no time, but leaves something for the end of the turn. */
static bool bury(struct chore *of)
{
    cr_expect_not(chore_has_buried_enough(of), "the turn had enough");
    loop_bury(loop, mem_alloc(1), free_grave);
    n_buried++;
    return n_buried < n_wanted;
}

Test(chore, ends_in_its_turn_when_there_is_little)
{
    n_wanted = CHORE_BURIED_MAX;
    start(bury);
    cr_expect_eq(n_ends, 1);
    cr_expect_eq(n_freed, CHORE_BURIED_MAX);
    loop_finish(loop);
}

Test(chore, leaves_no_turn_more_to_free_than_it_may_have)
{
    n_wanted = 3 * CHORE_BURIED_MAX;
    start(bury);
    for (unsigned i = 1; i <= 2; i++) {
        cr_expect_eq(n_freed, i * CHORE_BURIED_MAX);
        cr_expect_eq(n_ends, 0);
        loop_turn(loop, false);
    }
    cr_expect_eq(n_freed, n_wanted);
    cr_expect_eq(n_ends, 1);
    loop_finish(loop);
}

static bool count(struct chore *of)
{
    loop_put_off_anyway(of->loop, &of->task); /* as if the turn were late */
    return ++n_pieces < n_wanted;
}

Test(chore, may_be_finished_at_once_or_be_stopped)
{
    n_wanted = 1000;
    start(count);
    cr_expect(chore_is_running(&chore));
    chore_finish(&chore);
    cr_expect_eq(n_pieces, n_wanted);
    cr_expect_eq(n_ends, 1);

    n_pieces = 0;
    loop_defer(loop, &begin_task);
    loop_turn(loop, false);
    chore_stop(&chore);
    chore_stop(&chore);
    cr_expect_not(chore_is_running(&chore));
    run_turns(loop, 5);
    cr_expect_eq(n_ends, 1);
    loop_finish(loop);
}
