/*
 * thread.h - a thread that runs a loop.
 *
 * Happy path: thread_start() makes the loop and its mailbox, starts the thread, runs setup in it,
 * then the loop. thread_stop() posts the end: teardown runs in the thread, the loop is run until
 * nothing is open, and the thread is joined.
 * Thread: the starter's.
 */
#ifndef ISTHMUS_IO_THREAD_H
#define ISTHMUS_IO_THREAD_H

#include "proxy/io/mailbox.h"

struct thread;

struct thread_job {
    const char *name; /* at most 15 bytes, shown by ps -L; also its log ring */
    void (*setup)(void *receiver, struct loop *loop, struct mailbox *mailbox);
    void (*teardown)(void *receiver);
    void *receiver; /* also what letters are delivered to */
};

struct thread *thread_start(const struct thread_job *job);
struct mailbox *thread_mailbox(struct thread *thread);
/* Tears down and joins. */
void thread_stop(struct thread *thread);

#endif
