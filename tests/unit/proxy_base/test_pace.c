#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/base/pace.h"

TestSuite(pace, .timeout = 20);

static bool is_offered_within(uint64_t span_ns)
{
    const uint64_t until_ns = clock_mono_ns() + span_ns;
    while (clock_mono_ns() < until_ns)
        if (pace())
            return true;
    return false;
}

Test(pace, a_thread_that_keeps_none_never_stops)
{
    cr_expect_not(is_offered_within(10 * PACE_NS));
}

Test(pace, long_work_offers_the_processor_again_and_again)
{
    pace_keep(PACE_NS);
    for (int n = 0; n < 10; n++)
        cr_expect(is_offered_within(10 * NS_PER_SEC), "offer %d", n);
}

Test(pace, short_steps_are_not_interrupted_each)
{
    enum { STEPS = 10000 };

    unsigned n_offers = 0;

    pace_keep(PACE_NS);
    const uint64_t begun_ns = clock_mono_ns();
    for (int n = 0; n < STEPS; n++)
        n_offers += pace();
    cr_expect_leq(n_offers, (clock_mono_ns() - begun_ns) / PACE_NS + 1);
}
