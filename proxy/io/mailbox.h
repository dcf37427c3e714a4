/*
 * mailbox.h - the one way from a thread to another: a queue of letters into a loop.
 *
 * Many may post, one loop reads. A letter is embedded in whatever is sent; ownership goes with it.
 * Letters of one sender arrive in order. Bounded by its users: each sender has a fixed number of
 * kinds of letters in flight.
 *
 * Thread: mailbox_post() any; the rest the loop's.
 */
#ifndef ISTHMUS_IO_MAILBOX_H
#define ISTHMUS_IO_MAILBOX_H

#include "proxy/io/loop.h"

struct letter {
    struct letter *next;
    void (*deliver)(struct letter *letter, void *receiver); /* runs in the receiver's loop */
};

struct mailbox;

struct mailbox *mailbox_open(struct loop *loop, void *receiver);
void mailbox_post(struct mailbox *mailbox, struct letter *letter);
/* Delivers what is still queued, then closes. Nobody may post any more. */
void mailbox_close(struct mailbox *mailbox);

#endif
