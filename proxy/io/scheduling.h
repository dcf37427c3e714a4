/*
 * scheduling.h - how the calling thread stands to others where processors are short.
 *
 * Threads that it starts afterwards stand the same. Where the kernel refuses, or knows no slices,
 * or somebody gave the thread a policy of its own, it stays as it stood. Thread: any.
 */
#ifndef ISTHMUS_IO_SCHEDULING_H
#define ISTHMUS_IO_SCHEDULING_H

/* It gives way to workers: a quarter of a processor beside a thread that never rests, it breaks
 * into nobody's work when it wakes up, and it offers the processor in the midst of its own
 * (pace.h). */
void scheduling_give_way(void);

/* Its share is a worker's, but it breaks into nobody's work when it wakes up. */
void scheduling_stand_back(void);

/* It is let in soon when it has something to do, in front of threads that compute for long; its
 * share of the processor stays what it was. Linux 6.12 and later. */
void scheduling_answer_soon(void);

#endif
