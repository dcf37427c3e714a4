/*
 * Happy path: start -> setup -> loop -> the stop letter ends the loop -> teardown -> turns until
 * only the mailbox is open -> it closes -> the loop is freed in its thread -> join.
 *
 * Failure modes: the system has no thread left: the process cannot work and ends. A handle that
 * never closes keeps thread_stop() waiting; whoever opened it has broken its contract.
 */
#include "proxy/io/thread.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define NAME_MAX_BYTES 15 /* what the kernel keeps of it */

struct thread {
    pthread_t pthread;
    struct thread_job job;
    struct loop *loop;
    struct mailbox *mailbox;
    struct letter end;
};

static void deliver_end(struct letter *letter, void *receiver)
{
    (void)receiver;
    struct thread *thread = container_of(letter, struct thread, end);
    loop_stop(thread->loop);
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    const struct thread_job *job = &thread->job;
    ensure(pthread_setname_np(pthread_self(), job->name) == 0);
    log_attach(job->name);
    if (job->setup)
        job->setup(job->receiver, thread->loop, thread->mailbox);

    loop_run(thread->loop);

    if (job->teardown)
        job->teardown(job->receiver);
    while (loop_open_handles(thread->loop) > 1)
        loop_turn(thread->loop, true);
    mailbox_close(thread->mailbox);
    while (loop_open_handles(thread->loop) > 0)
        loop_turn(thread->loop, true);
    loop_free(thread->loop);
    return NULL;
}

struct thread *thread_start(const struct thread_job *job)
{
    ensure(strlen(job->name) <= NAME_MAX_BYTES);
    struct thread *thread = mem_new(struct thread);
    thread->job = *job;
    thread->loop = loop_new();
    thread->mailbox = mailbox_open(thread->loop, job->receiver);

    /* Signals are for the thread that watches them; the new one inherits the mask. */
    sigset_t all, before;
    sigfillset(&all);
    ensure(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    ensure(pthread_create(&thread->pthread, NULL, thread_main, thread) == 0);
    ensure(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return thread;
}

struct mailbox *thread_mailbox(struct thread *thread)
{
    return thread->mailbox;
}

void thread_stop(struct thread *thread)
{
    thread->end.deliver = deliver_end;
    mailbox_post(thread->mailbox, &thread->end);
    ensure(pthread_join(thread->pthread, NULL) == 0);
    mem_free(thread);
}
