/*
 * sweep.h - going through lists of things (the flows of a worker, its tunnels) in pieces, as a
 * chore.
 *
 * Happy path: sweep_start() -> what there is time for is visited at once -> the rest in the next
 * turns -> all that were there at the start have been visited. Things that end or move to another
 * of the lists meanwhile are no reason to miss one: they only move to later lists, and so does the
 * sweep. One that came since, or moved, may be visited although it need not be, or twice.
 *
 * Who asks for a sweep while one runs gets another behind it, and so do all who ask until that
 * begins; its patience counts from the first of them. So however often it is asked for, each sweep
 * comes to its end, and each thing is visited within the patience of whoever asked.
 *
 * Owner: whoever embeds it, and has the lists. Thread: the loop's. Units: ns.
 */
#ifndef ISTHMUS_IO_SWEEP_H
#define ISTHMUS_IO_SWEEP_H

#include "proxy/base/list.h"
#include "proxy/io/chore.h"

#define SWEEP_PIECE 16 /* that are visited before the time is looked at */
#define SWEEP_NS    (UINT64_C(250) * 1000000)

struct sweep {
    struct chore chore;
    struct list *lists; /* one behind the other in memory */
    unsigned n_lists;
    uint64_t patience_ns;
    void (*visit)(struct sweep *sweep, struct list *item); /* may end it, and others */
    void (*on_end)(struct sweep *sweep); /* all have been visited; NULL: nobody waits for that */
    unsigned list;                       /* that it is in */
    struct list *at;                     /* behind it are those to come; NULL: it does not run */
    uint64_t again_ns;                   /* since when another is asked for; 0: none is */
};

void sweep_init(struct sweep *sweep, struct loop *loop, struct list *lists, unsigned n_lists,
                uint64_t patience_ns, void (*visit)(struct sweep *sweep, struct list *item),
                void (*on_end)(struct sweep *sweep));
void sweep_start(struct sweep *sweep);
void sweep_stop(struct sweep *sweep);
/* This item is taken out of its list. */
void sweep_loses(struct sweep *sweep, const struct list *item);

/* Whoever changes something now that visits depend on: not all see it before on_end. */
static inline bool sweep_is_running(const struct sweep *sweep)
{
    return sweep->at != NULL;
}

#endif
