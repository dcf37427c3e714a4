/*
 * The kernel's fair scheduler lets a thread that wakes up wait until the one that runs has had its
 * slice, a millisecond or more, unless the one that wakes asked for shorter slices. It asks in the
 * field that is the run time of a deadline thread. glibc 2.36 has no such call, and its sched.h
 * does not stand beside the kernel's header.
 *
 * Source: sched_setattr(2); the kernel's Documentation/scheduler/sched-eevdf.rst.
 */
#include "proxy/io/scheduling.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE_STEP 5      /* a third of the weight */
#define SLICE_NS  100000 /* the least there is */
#define THIS_ONE  0      /* thread */
#define NO_FLAGS  0u

void scheduling_give_way(void)
{
    (void)!nice(
        NICE_STEP); /* of this thread alone, on Linux; where it is refused nothing is lost */
}

void scheduling_answer_soon(void)
{
    struct sched_attr attr = {.size = sizeof attr};
    if (syscall(SYS_sched_getattr, THIS_ONE, &attr, sizeof attr, NO_FLAGS) != 0 ||
        attr.sched_policy != SCHED_NORMAL)
        return;
    attr.sched_runtime = SLICE_NS;
    (void)syscall(SYS_sched_setattr, THIS_ONE, &attr, NO_FLAGS);
}
