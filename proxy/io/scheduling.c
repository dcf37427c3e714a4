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

#include "proxy/base/pace.h"

#define NICE_STEP 5      /* a third of the weight */
#define SLICE_NS  100000 /* the least there is */
#define THIS_ONE  0      /* thread */
#define NO_FLAGS  0u

/* A batch thread has the share of a normal one. That it preempts nobody when it wakes up is the
 * only difference. */
static bool stand(unsigned policy, int more_nice)
{
    struct sched_attr attr = {.size = sizeof attr};
    if (syscall(SYS_sched_getattr, THIS_ONE, &attr, sizeof attr, NO_FLAGS) != 0 ||
        attr.sched_policy != SCHED_NORMAL)
        return false;
    attr.sched_policy = policy;
    attr.sched_nice += more_nice;
    attr.sched_runtime = SLICE_NS;
    return syscall(SYS_sched_setattr, THIS_ONE, &attr, NO_FLAGS) == 0;
}

void scheduling_give_way(void)
{
    if (!stand(SCHED_BATCH, NICE_STEP))
        (void)!nice(NICE_STEP); /* of this thread alone, on Linux */
    pace_keep(PACE_NS);
}

void scheduling_stand_back(void)
{
    (void)stand(SCHED_BATCH, 0);
}

void scheduling_answer_soon(void)
{
    (void)stand(SCHED_NORMAL, 0);
}
