#include <criterion/criterion.h>
#include <signal.h>

#include "proxy/base/sm.h"

TestSuite(sm, .timeout = 5);

enum { OPENING, OPEN, CLOSED, STATES };

static const struct sm_rule rules[STATES] = {
    [OPENING] = {"opening", SM_TO(OPEN) | SM_TO(CLOSED)},
    [OPEN] = {"open", SM_TO(CLOSED)},
    [CLOSED] = {"closed", 0},
};

Test(sm, makes_the_moves_of_the_table)
{
    int state = OPENING;

    sm_move(rules, &state, OPEN);
    cr_assert_eq(state, OPEN);
    sm_move(rules, &state, CLOSED);
    cr_assert_eq(state, CLOSED);
}

Test(sm, a_move_that_the_table_lacks_is_a_broken_contract, .signal = SIGABRT)
{
    int state = CLOSED;

    sm_move(rules, &state, OPEN);
}
