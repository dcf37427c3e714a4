/*
 * sm.h - one door for state changes.
 *
 * An object with a life has one enum of states, a diagram beside it and a table of the legal moves.
 * sm_move() is the only writer of the state; a move the table does not have is a broken contract
 * (ensure).
 */
#ifndef ISTHMUS_BASE_SM_H
#define ISTHMUS_BASE_SM_H

#include "proxy/base/ensure.h"

struct sm_rule {
    const char *name; /* in lower case, as ctl and logs print it */
    unsigned allowed; /* bit mask of states one may move to: SM_TO(A) | SM_TO(B) */
};

#define SM_TO(state) (1u << (state))

/* Moves *state from its value to next under the object's table. */
static inline void sm_move(const struct sm_rule *rules, int *state, int next)
{
    ensure(rules[*state].allowed & (1u << next));
    *state = next;
}

#endif
