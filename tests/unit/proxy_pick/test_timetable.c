#include <criterion/criterion.h>

#include "proxy/base/rng.h"
#include "proxy/pick/timetable.h"

TestSuite(timetable, .timeout = 10);

#define MANY 200

Test(timetable, gives_out_what_is_due_in_the_order_of_time)
{
    struct timetable timetable = {0};
    struct appointment appointments[MANY] = {0};
    struct rng rng;
    uint64_t last_ns = 0;
    size_t n = 0;
    rng_seed(&rng, 3);
    for (int i = 0; i < MANY; i++)
        timetable_set(&timetable, &appointments[i], 1 + rng_below(&rng, 1000));
    for (int i = 0; i < MANY; i += 3) /* moved, */
        timetable_set(&timetable, &appointments[i], 1 + rng_below(&rng, 1000));
    for (int i = 0; i < MANY; i += 5) /* and called off */
        timetable_cancel(&timetable, &appointments[i]);
    timetable_cancel(&timetable, &appointments[0]);

    cr_expect_null(timetable_next(&timetable, 0));
    for (uint64_t now_ns = 1; now_ns <= 1000; now_ns++)
        for (struct appointment *due; (due = timetable_next(&timetable, now_ns)); n++) {
            cr_expect_eq(due->due_ns, now_ns);
            cr_expect_geq(due->due_ns, last_ns);
            last_ns = due->due_ns;
            cr_expect_neq((due - appointments) % 5, 0);
        }

    cr_expect_eq(n, MANY - MANY / 5);
    cr_expect_eq(timetable.len, 0);
    timetable_fini(&timetable);
}
