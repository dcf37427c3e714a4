#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/flow/ledger.h"

TestSuite(ledger, .timeout = 20);

#define MIB   (UINT64_C(1) << 20)
#define SOON  (NS_PER_SEC / 10)
#define START (UINT64_C(1000) * NS_PER_SEC)

static struct ledger *ledger;
static uint64_t now_ns;

static void start(void)
{
    ledger = ledger_new(3);
    now_ns = START;
}

static void finish(void)
{
    ledger_free(ledger);
}

static struct client_key pod(uint8_t last)
{
    return (struct client_key){{4, {10, 0, 0, last}}, 0};
}

/* Holds that many MiB at the worker, and nobody else there anything. */
static void tell(unsigned worker, struct client_key client, uint64_t mib)
{
    const struct holding holding = {client, mib * MIB};
    ledger_tell(ledger, worker, now_ns, &holding, mib > 0);
}

static enum ledger_say judge(unsigned worker)
{
    const struct ledger_verdict verdict = ledger_judge(ledger, worker, now_ns, 100 * MIB);
    if (verdict.say == LEDGER_CUT)
        ledger_note_cut(ledger, worker, now_ns, &verdict, 0);
    return verdict.say;
}

Test(ledger, whose_worker_it_is_cuts_and_others_wait, .init = start, .fini = finish)
{
    tell(0, pod(1), 5);
    tell(1, pod(2), 60);
    tell(2, pod(3), 0);
    cr_expect_eq(judge(0), LEDGER_WAIT);
    cr_expect_eq(judge(1), LEDGER_CUT);
    cr_expect_eq(judge(2), LEDGER_WAIT);
}

Test(ledger, who_holds_most_is_who_holds_most_at_all_workers_together, .init = start,
     .fini = finish)
{
    const struct holding at_0[] = {{pod(1), 20 * MIB}, {pod(2), 15 * MIB}};
    ledger_tell(ledger, 0, now_ns, at_0, 2);
    tell(1, pod(2), 15);
    tell(2, pod(3), 0);
    const struct ledger_verdict verdict = ledger_judge(ledger, 0, now_ns, 100 * MIB);
    const struct client_key spread = pod(2);
    cr_expect_eq(verdict.say, LEDGER_CUT);
    cr_expect(client_key_eq(&verdict.client, &spread));
    cr_expect_eq(verdict.bytes, 15 * MIB, "no more than it holds here");
    cr_expect_eq(judge(1), LEDGER_CUT);
}

Test(ledger, one_identity_of_a_node_is_not_another, .init = start, .fini = finish)
{
    struct client_key hog = pod(1), other = pod(1);
    hog.identity = 1;
    other.identity = 2;
    tell(0, hog, 60);
    tell(1, other, 5);
    tell(2, pod(1), 5);
    cr_expect_eq(judge(0), LEDGER_CUT);
    cr_expect_eq(judge(1), LEDGER_WAIT);
    cr_expect_eq(judge(2), LEDGER_WAIT);
}

Test(ledger, nobody_is_cut_who_holds_little_everywhere, .init = start, .fini = finish)
{
    for (unsigned i = 0; i < 3; i++)
        tell(i, pod(1), 1);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(judge(i), LEDGER_NOBODY);
    tell(2, pod(1), 2);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(judge(i), LEDGER_CUT, "4 MiB together");
}

Test(ledger, who_has_not_told_is_waited_for_and_not_for_long, .init = start, .fini = finish)
{
    tell(0, pod(1), 60);
    tell(1, pod(2), 0);
    cr_expect_eq(judge(0), LEDGER_WAIT, "worker 2 may have a greater one");
    now_ns += LEDGER_TOLD_NS;
    cr_expect_eq(judge(0), LEDGER_CUT);
    cr_expect_eq(judge(1), LEDGER_WAIT, "it is being cut");
}

Test(ledger, whose_turn_it_is_and_who_does_nothing_is_not_waited_for_forever, .init = start,
     .fini = finish)
{
    for (unsigned i = 0; i < 3; i++)
        tell(i, pod((uint8_t)(i + 1)), i == 2 ? 60 : 0);
    cr_expect_eq(judge(0), LEDGER_WAIT);
    now_ns += LEDGER_PATIENCE_NS - 1;
    cr_expect_eq(judge(0), LEDGER_WAIT);
    now_ns++;
    cr_expect_eq(judge(0), LEDGER_NOBODY);

    const struct ledger_verdict verdict = ledger_judge(ledger, 2, now_ns, MIB);
    cr_assert_eq(verdict.say, LEDGER_CUT);
    ledger_note_cut(ledger, 2, now_ns, &verdict, MIB);
    cr_expect_eq(judge(0), LEDGER_WAIT, "something was cut");
    now_ns += LEDGER_PATIENCE_NS;
    cr_expect_eq(judge(0), LEDGER_NOBODY);
    ledger_note_enough(ledger);
    cr_expect_eq(judge(0), LEDGER_WAIT, "it is short anew");
}

Test(ledger, right_after_a_cut_nobody_is_refused_although_nobody_holds_much, .init = start,
     .fini = finish)
{
    for (unsigned i = 0; i < 3; i++)
        tell(i, pod(1), i == 2 ? 60 : 0);
    const struct ledger_verdict verdict = ledger_judge(ledger, 2, now_ns, 60 * MIB);
    cr_assert_eq(verdict.say, LEDGER_CUT);
    ledger_note_cut(ledger, 2, now_ns, &verdict, 60 * MIB);
    ledger_note_enough(ledger);
    now_ns += LEDGER_PATIENCE_NS - 1;
    for (unsigned i = 0; i < 3; i++)
        tell(i, pod(1), 1);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(judge(i), LEDGER_WAIT);
    now_ns++;
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(judge(i), LEDGER_NOBODY);
}

/* One that is cut each second, for little, while what others hold grows. */
Test(ledger, cuts_that_are_never_enough_are_no_reason_to_refuse_nobody, .init = start,
     .fini = finish)
{
    unsigned n_waits = 0;
    for (; now_ns < START + 2 * LEDGER_SHORT_NS; now_ns += LEDGER_PATIENCE_NS / 2) {
        for (unsigned i = 0; i < 3; i++)
            tell(i, pod(1), i == 2 ? 5 : 0);
        const struct ledger_verdict verdict = ledger_judge(ledger, 2, now_ns, 60 * MIB);
        cr_assert_eq(verdict.say, LEDGER_CUT);
        ledger_note_cut(ledger, 2, now_ns, &verdict, 5 * MIB);
        const enum ledger_say other = judge(0); /* whose turn it is not */
        tell(2, pod(1), 0);
        const enum ledger_say rest = judge(2);
        cr_expect_eq(other, rest);
        cr_expect_eq(rest, now_ns < START + LEDGER_SHORT_NS ? LEDGER_WAIT : LEDGER_NOBODY);
        n_waits += rest == LEDGER_WAIT;
    }
    cr_expect_gt(n_waits, 0);
    ledger_note_enough(ledger);
    cr_expect_eq(judge(0), LEDGER_WAIT, "it is short anew");
}

Test(ledger, what_one_cuts_the_others_need_not, .init = start, .fini = finish)
{
    for (unsigned i = 0; i < 3; i++)
        tell(i, pod(1), 30);
    const struct ledger_verdict verdict = ledger_judge(ledger, 0, now_ns, 20 * MIB);
    cr_assert_eq(verdict.bytes, 20 * MIB);
    cr_expect_eq(ledger_owed(ledger), 20 * MIB, "already while it cuts");
    ledger_note_cut(ledger, 0, now_ns, &verdict, 21 * MIB);
    cr_expect_eq(ledger_owed(ledger), 21 * MIB);
    ledger_note_paid(ledger, 1);
    cr_expect_eq(ledger_owed(ledger), 21 * MIB);
    ledger_note_paid(ledger, 0);
    cr_expect_eq(ledger_owed(ledger), 0);
}

Test(ledger, what_a_worker_forgets_is_nobodys, .init = start, .fini = finish)
{
    for (unsigned i = 0; i < 3; i++)
        tell(i, pod(1), 30);
    for (unsigned i = 0; i < 3; i++)
        ledger_forget(ledger, i);
    now_ns += SOON;
    cr_expect_eq(judge(0), LEDGER_WAIT);
    now_ns += LEDGER_TOLD_NS;
    cr_expect_eq(judge(0), LEDGER_NOBODY);
}
