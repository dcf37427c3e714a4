#include "proxy/io/chore.h"

static void end(struct chore *chore)
{
    task_cancel(&chore->task);
    timer_stop(&chore->patience);
    chore->on_end(chore);
}

bool chore_has_buried_enough(const struct chore *chore)
{
    return loop_buried(chore->loop) >= CHORE_BURIED_MAX;
}

static bool goes_on_later(struct chore *chore)
{
    if (!chore_has_buried_enough(chore))
        return loop_put_off(chore->loop, &chore->task);
    loop_put_off_anyway(chore->loop, &chore->task);
    return true;
}

static void go_on(struct task *task)
{
    struct chore *chore = container_of(task, struct chore, task);
    while (chore->piece(chore))
        if (goes_on_later(chore))
            return;
    end(chore);
}

void chore_finish(struct chore *chore)
{
    while (chore->piece(chore))
        continue;
    end(chore);
}

static void on_patience(struct timer *timer)
{
    chore_finish(container_of(timer, struct chore, patience));
}

void chore_init(struct chore *chore, struct loop *loop, bool (*piece)(struct chore *chore),
                void (*on_end)(struct chore *chore))
{
    *chore = (struct chore){.task.run = go_on, .loop = loop, .piece = piece, .on_end = on_end};
}

void chore_start(struct chore *chore, uint64_t patience_ns)
{
    timer_start(chore->loop, &chore->patience, patience_ns, on_patience);
    go_on(&chore->task);
}

void chore_stop(struct chore *chore)
{
    task_cancel(&chore->task);
    timer_stop(&chore->patience);
}
