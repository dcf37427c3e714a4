#include "proxy/flow/sweep.h"

#include "proxy/flow/walk.h"

static struct list *flows_of(const struct sweep *sweep, int state)
{
    return &sweep->walk->flows[state];
}

/* NULL: that was all. */
static struct flow *take_next(struct sweep *sweep)
{
    while (sweep->at && sweep->at->next == flows_of(sweep, sweep->state))
        sweep->at = ++sweep->state < sweep->end ? flows_of(sweep, sweep->state) : NULL;
    if (!sweep->at)
        return NULL;
    sweep->at = sweep->at->next;
    return list_entry(sweep->at, struct flow, by_state);
}

/* False when that was all. */
static bool visit_piece(struct sweep *sweep)
{
    for (unsigned n = 0; n < SWEEP_PIECE; n++) {
        struct flow *flow = take_next(sweep);
        if (!flow)
            return false;
        sweep->visit(flow);
    }
    return true;
}

static void end(struct sweep *sweep)
{
    timer_stop(&sweep->patience);
    if (sweep->on_end)
        sweep->on_end(sweep->walk);
}

static void go_on(struct task *task)
{
    struct sweep *sweep = container_of(task, struct sweep, task);
    while (visit_piece(sweep))
        if (loop_put_off(sweep->walk->tools.loop, &sweep->task))
            return;
    end(sweep);
}

static void visit_rest(struct sweep *sweep)
{
    task_cancel(&sweep->task);
    while (visit_piece(sweep))
        continue;
}

static void on_patience(struct timer *timer)
{
    struct sweep *sweep = container_of(timer, struct sweep, patience);
    visit_rest(sweep);
    end(sweep);
}

void sweep_init(struct sweep *sweep, struct walk *walk, int first, int end,
                void (*visit)(struct flow *flow), void (*on_end)(struct walk *walk))
{
    *sweep = (struct sweep){.task.run = go_on,
                            .walk = walk,
                            .visit = visit,
                            .on_end = on_end,
                            .first = first,
                            .end = end};
}

void sweep_start(struct sweep *sweep)
{
    visit_rest(sweep);
    timer_start(sweep->walk->tools.loop, &sweep->patience, SWEEP_NS, on_patience);
    sweep->state = sweep->first;
    sweep->at = flows_of(sweep, sweep->first);
    go_on(&sweep->task);
}

void sweep_stop(struct sweep *sweep)
{
    task_cancel(&sweep->task);
    timer_stop(&sweep->patience);
    sweep->at = NULL;
}

void sweep_loses(struct sweep *sweep, const struct list *by_state)
{
    if (sweep->at == by_state)
        sweep->at = by_state->prev;
}
