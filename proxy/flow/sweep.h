/*
 * sweep.h - going through the flows of a worker in pieces, so that sockets are looked at in
 * between.
 *
 * Happy path: sweep_start() -> what there is time for is visited at once -> the rest in the next
 * turns -> all that were there at the start have been visited. Flows that end or move to another
 * state meanwhile are no reason to miss one: states only go up, and so does the sweep. One that
 * began since, or moved, may be visited although it need not be, or twice.
 *
 * Others wait for the rest of a turn too, handshakes of strangers among them. So that they cannot
 * keep a flow from being looked at, what is left after SWEEP_NS is visited at once.
 *
 * Owner: the walk. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_SWEEP_H
#define ISTHMUS_FLOW_SWEEP_H

#include "proxy/io/loop.h"

#define SWEEP_PIECE 64 /* flows that are visited before the time is looked at */
#define SWEEP_NS    (UINT64_C(250) * 1000000)

struct walk;
struct flow;

struct sweep {
    struct task task;
    struct timer patience;
    struct walk *walk;
    void (*visit)(struct flow *flow);  /* may end it, and others */
    void (*on_end)(struct walk *walk); /* all have been visited; NULL: nobody waits for that */
    int first, end;                    /* states, without the last */
    int state;                         /* whose flows it is among */
    struct list *at;                   /* behind it are those to come; NULL: it does not run */
};

void sweep_init(struct sweep *sweep, struct walk *walk, int first, int end,
                void (*visit)(struct flow *flow), void (*on_end)(struct walk *walk));
/* If it still runs, its rest is visited first, at once: who comes last is not put off for ever. Its
 * end is then that of both. */
void sweep_start(struct sweep *sweep);
void sweep_stop(struct sweep *sweep);
/* This flow is taken out of the list of its state. */
void sweep_loses(struct sweep *sweep, const struct list *by_state);

#endif
