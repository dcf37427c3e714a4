/*
 * loop.h - one event loop with what belongs to it: time, timers, deferred work, the graveyard,
 * slabs.
 *
 * Every thread that does I/O has one. Nothing in a loop is touched from another thread except its
 * mailbox.
 *
 * The five rules of lifetimes, for everything in proxy/io and above:
 *   1. A completion is delivered from the loop, never before the call that started it returns.
 *   2. After x_close(x) none of x's callbacks is called any more.
 *   3. Closing unlinks at once; memory goes at the end of the turn (loop_bury), so a pointer held
 * up-stack stays valid to look at.
 *   4. Whoever starts a timer stops it on the way out of the state it belongs to.
 *   5. Every open handle is counted; loop_free() ensures that none is left.
 *
 * A turn: poll -> I/O callbacks -> timers -> what was put off (loop_put_off) -> deferred tasks
 * (loop_defer) -> graveyard.
 *
 * Thread: the loop's own; loop_new() before it runs. Units: ns.
 */
#ifndef ISTHMUS_IO_LOOP_H
#define ISTHMUS_IO_LOOP_H

#include "proxy/base/list.h"
#include "proxy/base/rng.h"
#include "proxy/base/slice.h"

#define LOOP_LATE_NS 1000000 /* after which a turn begins nothing that can wait */
#define LOOP_LONG_NS 2000000
#define LOOP_LOOK_NS 250000 /* between looks at the processor time, by the length of the turns */

struct loop;

struct loop *loop_new(void);
/* Ensures that nothing is open, queued or buried any more, then frees. */
void loop_free(struct loop *loop);

/* Runs until loop_stop(). */
void loop_run(struct loop *loop);
/* Runs one turn, waiting at most until the next timer or event when may_wait; tests use it. True
 * while something is open. */
bool loop_turn(struct loop *loop, bool may_wait);
/* Makes loop_run() return at the end of the turn. */
void loop_stop(struct loop *loop);

/* Monotonic time at the start of this turn: cheap, read as often as you like. */
uint64_t loop_now_ns(const struct loop *loop);
struct rng *loop_rng(struct loop *loop);
struct slab_pool *loop_slabs(struct loop *loop);

/* Turns that took LOOP_LONG_NS and more from when somebody first asked for the time to the next
 * look at the sockets: whoever was ready then had to wait. */
struct long_turns {
    uint64_t n_worked; /* that much of it was processor time of this thread, in which there may be
                          LOOP_LOOK_NS of turns before it */
    uint64_t n_waited; /* others had the processor, or the kernel kept it waiting */
};

struct long_turns loop_long_turns(const struct loop *loop);
/* Handles that are open: 0 is what a test wants to see at its end. */
unsigned loop_open_handles(const struct loop *loop);

/* Work for the end of this turn, once however often it is asked for: flush what the turn produced.
 */
struct task {
    struct list link;
    void (*run)(struct task *task);
};

void loop_defer(struct loop *loop, struct task *task);
/* Takes the task back; harmless if it was not deferred. Owners call it before they go. */
void task_cancel(struct task *task);

/* Whether this turn has lasted so long that what can wait should. */
bool loop_is_late(const struct loop *loop);
/* Work that takes long by itself, or that there is much of: a handshake, a look at every flow.
 * False: there is time for it now. True: there is not, or others wait already, and the task runs in
 * one of the next turns, which do not wait for events. They run in the order in which they were put
 * off, as many a turn as there is time for, and one in any case. */
MUST_USE bool loop_put_off(struct loop *loop, struct task *task);
/* The same whatever the time: for who knows what the end of this turn will take. */
void loop_put_off_anyway(struct loop *loop, struct task *task);

/* Calls free_fn(ptr) at the end of the turn, after the deferred tasks. */
void loop_bury(struct loop *loop, void *ptr, void (*free_fn)(void *ptr));
/* How much has been buried in this turn so far. */
size_t loop_buried(const struct loop *loop);

/*
 * Timers are embedded, cost no allocation and stop at once (no close callback). They fire at or
 * after their deadline, at a resolution of about 1 ms. A timer is one-shot; the callback may start
 * it again.
 */
struct timer {
    struct list link;
    uint64_t deadline_ns; /* 0: not running */
    void (*fire)(struct timer *timer);
    struct loop *loop; /* set by timer_start() */
};

void timer_start(struct loop *loop, struct timer *timer, uint64_t after_ns,
                 void (*fire)(struct timer *timer));
void timer_stop(struct timer *timer); /* harmless when it does not run */

static inline bool timer_is_running(const struct timer *timer)
{
    return timer->deadline_ns != 0;
}

#endif
