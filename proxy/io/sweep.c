#include "proxy/io/sweep.h"

/* NULL: that was all. */
static struct list *take_next(struct sweep *sweep)
{
    while (sweep->at && sweep->at->next == &sweep->lists[sweep->list])
        sweep->at = ++sweep->list < sweep->n_lists ? &sweep->lists[sweep->list] : NULL;
    if (sweep->at)
        sweep->at = sweep->at->next;
    return sweep->at;
}

static bool visit_piece(struct chore *chore)
{
    struct sweep *sweep = container_of(chore, struct sweep, chore);
    for (unsigned n = 0; n < SWEEP_PIECE; n++) {
        struct list *item = take_next(sweep);
        if (!item)
            return false;
        sweep->visit(sweep, item);
        if (chore_has_buried_enough(chore))
            break;
    }
    return true;
}

static void begin(struct sweep *sweep, uint64_t patience_ns)
{
    sweep->list = 0;
    sweep->at = &sweep->lists[0];
    chore_start(&sweep->chore, patience_ns);
}

static void on_end(struct chore *chore)
{
    struct sweep *sweep = container_of(chore, struct sweep, chore);
    const uint64_t again_ns = sweep->again_ns;
    sweep->again_ns = 0;
    if (sweep->on_end)
        sweep->on_end(sweep);
    if (again_ns == 0)
        return;
    const uint64_t waited_ns = loop_now_ns(chore->loop) - again_ns;
    begin(sweep, waited_ns < sweep->patience_ns ? sweep->patience_ns - waited_ns : 0);
}

void sweep_init(struct sweep *sweep, struct loop *loop, struct list *lists, unsigned n_lists,
                uint64_t patience_ns, void (*visit)(struct sweep *sweep, struct list *item),
                void (*end)(struct sweep *sweep))
{
    *sweep = (struct sweep){.lists = lists,
                            .n_lists = n_lists,
                            .patience_ns = patience_ns,
                            .visit = visit,
                            .on_end = end};
    chore_init(&sweep->chore, loop, visit_piece, on_end);
}

void sweep_start(struct sweep *sweep)
{
    if (!sweep_is_running(sweep))
        begin(sweep, sweep->patience_ns);
    else if (sweep->again_ns == 0)
        sweep->again_ns = loop_now_ns(sweep->chore.loop);
}

void sweep_stop(struct sweep *sweep)
{
    chore_stop(&sweep->chore);
    sweep->at = NULL;
    sweep->again_ns = 0;
}

void sweep_loses(struct sweep *sweep, const struct list *item)
{
    if (sweep->at == item)
        sweep->at = item->prev;
}
