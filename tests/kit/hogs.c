#include "tests/kit/hogs.h"

#include "proxy/base/clock.h"

static void waste_a_turn(void)
{
    const uint64_t until_ns = clock_mono_ns() + 2 * LOOP_LATE_NS;
    while (clock_mono_ns() < until_ns)
        continue;
}

static void on_turn(struct task *task)
{
    const struct hog *hog = container_of(task, struct hog, task);
    waste_a_turn();
    loop_put_off_anyway(hog->hogs->loop, task);
}

static void bring(struct task *task)
{
    struct hogs *hogs = container_of(task, struct hogs, bring);
    (void)loop_now_ns(hogs->loop);
    for (int i = 0; i < HOGS; i++) {
        hogs->hogs[i] = (struct hog){.task.run = on_turn, .hogs = hogs};
        loop_put_off_anyway(hogs->loop, &hogs->hogs[i].task);
    }
    waste_a_turn();
    hogs->then(hogs->ctx);
    hogs->is_here = true;
}

void hogs_bring(struct hogs *hogs, struct loop *loop, void (*then)(void *ctx), void *ctx)
{
    *hogs = (struct hogs){.loop = loop, .bring.run = bring, .then = then, .ctx = ctx};
    loop_defer(loop, &hogs->bring);
    while (!hogs->is_here)
        loop_turn(loop, false);
}

void hogs_send_away(struct hogs *hogs)
{
    for (int i = 0; i < HOGS; i++)
        task_cancel(&hogs->hogs[i].task);
}
