/*
 * scheduling.h - how the calling thread stands to others where processors are short.
 *
 * Threads that it starts afterwards stand the same.
 * Thread: any.
 */
#ifndef ISTHMUS_IO_SCHEDULING_H
#define ISTHMUS_IO_SCHEDULING_H

/* It gives way: a quarter of a processor beside a thread that never rests. */
void scheduling_give_way(void);

/* It is let in soon when it has something to do, in front of threads that compute for long; its
 * share of the processor stays what it was. Linux 6.12 and later: nothing happens before, or where
 * it has a scheduling policy of its own. */
void scheduling_answer_soon(void);

#endif
