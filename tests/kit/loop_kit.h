/*
 * loop_kit.h - turning a loop in tests: until something holds, never for a fixed time.
 *
 * Thread: the loop's.
 */
#ifndef ISTHMUS_TESTS_KIT_LOOP_KIT_H
#define ISTHMUS_TESTS_KIT_LOOP_KIT_H

#include "proxy/io/loop.h"

/* Turns the loop until done(ctx); false when max_ms passed before, of which a pause of the machine
 * counts for a fraction of a second. Asks before the first turn, too. */
bool run_until(struct loop *loop, bool (*done)(void *ctx), void *ctx, unsigned max_ms);
/* The same for a flag and for a counter that shall reach a number. */
bool run_until_set(struct loop *loop, const bool *flag, unsigned max_ms);
bool run_until_count(struct loop *loop, const unsigned *counter, unsigned at_least,
                     unsigned max_ms);
/* A number of turns that do not wait: for proving that something does not happen. */
void run_turns(struct loop *loop, unsigned n_turns);

/* Turns until nothing is open or buried, at most max_ms. */
bool run_until_empty(struct loop *loop, unsigned max_ms);

/* The end of every test with a loop: lets what was closed go (soon, unless the machine is busy) and
 * frees the loop, which ensures that no handle, timer, task or slab is left. */
void loop_finish(struct loop *loop);

#endif
