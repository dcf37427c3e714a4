#include <criterion/criterion.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/pace.h"
#include "proxy/io/scheduling.h"

TestSuite(scheduling, .timeout = 20);

static struct sched_attr present(void)
{
    struct sched_attr attr = {.size = sizeof attr};
    cr_assert_eq(syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0), 0);
    return attr;
}

static bool has_slices(void) /* Linux 6.12 and later */
{
    struct utsname name;
    unsigned major = 0, minor = 0;
    cr_assert_eq(uname(&name), 0);
    cr_assert_eq(sscanf(name.release, "%u.%u", &major, &minor), 2);
    return major > 6 || (major == 6 && minor >= 12);
}

/* Than whoever runs the tests, up to the nicest there is. */
static int nicer_by(int steps)
{
    const int nicest = 19, nice = getpriority(PRIO_PROCESS, 0) + steps;
    return nice < nicest ? nice : nicest;
}

Test(scheduling, who_answers_soon_has_the_shortest_slices_and_no_larger_share)
{
    const int nice = nicer_by(3);
    cr_assert_eq(setpriority(PRIO_PROCESS, 0, nice), 0);
    scheduling_answer_soon();
    const struct sched_attr after = present();
    cr_expect_eq(after.sched_policy, SCHED_NORMAL);
    cr_expect_eq(after.sched_nice, nice);
    if (has_slices())
        cr_expect_eq(after.sched_runtime, 100000);
}

Test(scheduling, who_has_a_policy_of_its_own_keeps_all_of_it)
{
    struct sched_attr batch = present();
    batch.sched_policy = SCHED_BATCH;
    cr_assert_eq(syscall(SYS_sched_setattr, 0, &batch, 0), 0);
    const struct sched_attr before = present();
    scheduling_answer_soon();
    const struct sched_attr after = present();
    cr_expect_eq(after.sched_policy, SCHED_BATCH);
    cr_expect_eq(after.sched_runtime, before.sched_runtime);
}

Test(scheduling, who_gives_way_is_nicer_than_before)
{
    const int nicer = nicer_by(5);
    scheduling_give_way();
    cr_expect_eq(getpriority(PRIO_PROCESS, 0), nicer);
    cr_expect_eq(present().sched_policy, SCHED_BATCH);
    const uint64_t until_ns = clock_mono_ns() + 10 * NS_PER_SEC;
    bool is_offered = false;
    while (!is_offered && clock_mono_ns() < until_ns)
        is_offered = pace();
    cr_expect(is_offered, "it offers the processor in the midst of its work");
}

Test(scheduling, who_stands_back_has_its_share_and_breaks_into_nobodys_work)
{
    const int before = getpriority(PRIO_PROCESS, 0);
    scheduling_stand_back();
    cr_expect_eq(getpriority(PRIO_PROCESS, 0), before);
    cr_expect_eq(present().sched_policy, SCHED_BATCH);
    cr_expect_not(pace());
}
