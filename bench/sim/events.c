#include "bench/sim/events.h"

#include <stdbool.h>

#include "proxy/base/mem.h"

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

void events_add(struct events *events, uint64_t at_ns, enum event_kind kind, uint32_t subject,
                uint64_t attempt)
{
    if (events->n == events->cap) {
        events->cap = events->cap ? 2 * events->cap : 1024;
        events->heap = mem_realloc(events->heap, events->cap * sizeof *events->heap);
    }
    const struct event event = {at_ns, events->n_made++, attempt, kind, subject};
    size_t at = events->n++;
    for (; at > 0 && is_before(&event, &events->heap[(at - 1) / 2]); at = (at - 1) / 2)
        events->heap[at] = events->heap[(at - 1) / 2];
    events->heap[at] = event;
}

struct event events_take(struct events *events)
{
    const struct event first = events->heap[0], last = events->heap[--events->n];
    size_t at = 0;
    for (size_t child = 1; child < events->n; child = 2 * at + 1) {
        if (child + 1 < events->n && is_before(&events->heap[child + 1], &events->heap[child]))
            child++;
        if (!is_before(&events->heap[child], &last))
            break;
        events->heap[at] = events->heap[child];
        at = child;
    }
    events->heap[at] = last;
    return first;
}

void events_fini(struct events *events)
{
    mem_free(events->heap);
    *events = (struct events){0};
}
