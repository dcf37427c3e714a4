/*
 * publication.h - handing an immutable object to every worker, and learning when the last one let
 * go of it.
 *
 * The control thread publishes: one delivery a worker goes into its mailbox. A worker that takes a
 * newer delivery posts the older one back, and the control thread counts: when all deliveries of an
 * object are back, it is freed, on the control thread. No reference count is shared between
 * threads.
 *
 * Owner:  the object belongs to its publication. Thread: publish() and the returns the control
 * thread's; delivery_return() the worker's.
 */
#ifndef ISTHMUS_RUN_PUBLICATION_H
#define ISTHMUS_RUN_PUBLICATION_H

#include <stddef.h>

#include "proxy/io/mailbox.h"

struct publication;

struct delivery { /* in the mailbox of a worker, held by it, or on the way back */
    struct letter letter;
    struct publication *publication;
    const void *object;
};

/* Posts the object to n mailboxes; deliver runs in each worker's loop with the letter of a struct
 * delivery. When all deliveries are back and the publisher let go too (publication_release),
 * free_fn(object) runs on the control thread. */
struct publication *publish(void *object, void (*free_fn)(void *object),
                            struct mailbox *const *workers, size_t n, struct mailbox *control,
                            void (*deliver)(struct letter *letter, void *worker));

/* One more delivery, for a thread that takes the object in another way. */
void publication_add(struct publication *publication, struct mailbox *mailbox,
                     void (*deliver)(struct letter *letter, void *receiver));

/* The publisher no longer uses the object itself. NULL is fine. Thread: the control thread's. */
void publication_release(struct publication *publication);

/* The worker no longer uses the object: sends the delivery back. NULL is fine. */
void delivery_return(struct delivery *delivery);

#endif
