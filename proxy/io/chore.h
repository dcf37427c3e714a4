/*
 * chore.h - work that there is much of, done in pieces so that sockets are looked at in between.
 *
 * Happy path: chore_start() -> what there is time for is done at once -> the rest in the next turns
 * -> on_end. A turn has time as long as it is not late (loop_put_off()) and has not buried much
 * either: what is closed costs most when its memory goes, at the end of the turn.
 *
 * Others wait for the rest of a turn too, handshakes of strangers among them. So that they cannot
 * keep it from its end, what is left when its patience is over is done at once.
 *
 * Owner: whoever embeds it. Thread: the loop's. Units: ns.
 */
#ifndef ISTHMUS_IO_CHORE_H
#define ISTHMUS_IO_CHORE_H

#include "proxy/io/loop.h"

#define CHORE_BURIED_MAX 64 /* of a turn, with what it buries besides: some 10 us each */

struct chore {
    struct task task;
    struct timer patience; /* runs as long as the chore does */
    struct loop *loop;
    bool (*piece)(struct chore *chore);  /* some 50 us of it; false: that was all */
    void (*on_end)(struct chore *chore); /* may free it, or start it again */
};

void chore_init(struct chore *chore, struct loop *loop, bool (*piece)(struct chore *chore),
                void (*on_end)(struct chore *chore));
/* One that does not run. May call on_end before it returns. */
void chore_start(struct chore *chore, uint64_t patience_ns);
/* The rest of one that runs, at once. */
void chore_finish(struct chore *chore);
/* It ends where it is, and on_end is not called. Harmless when it does not run. */
void chore_stop(struct chore *chore);

static inline bool chore_is_running(const struct chore *chore)
{
    return timer_is_running(&chore->patience);
}

/* The turn has buried so much that a piece should end early. */
bool chore_has_buried_enough(const struct chore *chore);

#endif
