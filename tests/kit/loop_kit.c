#include "tests/kit/loop_kit.h"

#include "proxy/base/clock.h"

#define FINISH_MS 15000
#define SLICE_MS  200 /* so much patience does one pause of the machine cost, however long it is */

struct patience {
    struct timer timer;
    unsigned left_ms; /* behind the slice that runs */
};

static void on_slice(struct timer *timer);

static void begin_slice(struct loop *loop, struct patience *patience)
{
    const unsigned slice_ms = patience->left_ms < SLICE_MS ? patience->left_ms : SLICE_MS;
    patience->left_ms -= slice_ms;
    timer_start(loop, &patience->timer, slice_ms * NS_PER_MS, on_slice);
}

static void on_slice(struct timer *timer)
{
    struct patience *patience = container_of(timer, struct patience, timer);
    if (patience->left_ms > 0)
        begin_slice(timer->loop, patience);
}

bool run_until(struct loop *loop, bool (*done)(void *ctx), void *ctx, unsigned max_ms)
{
    struct patience patience = {.left_ms = max_ms};
    begin_slice(loop, &patience);
    while (!done(ctx) && timer_is_running(&patience.timer))
        loop_turn(loop, true);
    timer_stop(&patience.timer);
    return done(ctx);
}

static bool is_set(void *ctx)
{
    return *(const bool *)ctx;
}

bool run_until_set(struct loop *loop, const bool *flag, unsigned max_ms)
{
    return run_until(loop, is_set, (void *)(uintptr_t)flag, max_ms);
}

struct goal {
    const unsigned *counter;
    unsigned at_least;
};

static bool is_reached(void *ctx)
{
    const struct goal *goal = ctx;
    return *goal->counter >= goal->at_least;
}

bool run_until_count(struct loop *loop, const unsigned *counter, unsigned at_least, unsigned max_ms)
{
    struct goal goal = {counter, at_least};
    return run_until(loop, is_reached, &goal, max_ms);
}

void run_turns(struct loop *loop, unsigned n_turns)
{
    for (unsigned turn = 0; turn < n_turns; turn++)
        loop_turn(loop, false);
}

static bool is_empty(void *ctx)
{
    return loop_open_handles(ctx) == 0;
}

bool run_until_empty(struct loop *loop, unsigned max_ms)
{
    bool empty = run_until(loop, is_empty, loop, max_ms);
    run_turns(loop, 2);
    return empty;
}

void loop_finish(struct loop *loop)
{
    run_until_empty(loop, FINISH_MS);
    loop_free(loop);
}
