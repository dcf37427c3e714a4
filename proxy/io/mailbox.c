/*
 * Senders push onto a stack with one compare-and-swap; the reader takes the whole stack and turns
 * it round, which gives back the order of each sender. Only the sender that finds the stack empty
 * wakes the loop: whoever pushes behind it rides along, and it wakes the loop after its push, so
 * none is forgotten.
 */
#include "proxy/io/mailbox.h"

#include <stdatomic.h>

#include "proxy/base/mem.h"
#include "proxy/io/loop_uv.h"

struct mailbox {
    _Atomic(struct letter *) newest;
    uv_async_t async;
    struct loop *loop;
    void *receiver;
};

static struct letter *turn_round(struct letter *newest)
{
    struct letter *oldest = NULL;
    while (newest) {
        struct letter *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void deliver_all(struct mailbox *mailbox)
{
    struct letter *newest = atomic_exchange_explicit(&mailbox->newest, NULL, memory_order_acquire);
    for (struct letter *letter = turn_round(newest), *next; letter; letter = next) {
        next = letter->next; /* delivering gives the letter away */
        letter->deliver(letter, mailbox->receiver);
    }
}

static void on_async(uv_async_t *async)
{
    struct mailbox *mailbox = async->data;
    (void)loop_now_ns(mailbox->loop); /* a turn is long from here on */
    deliver_all(mailbox);
}

struct mailbox *mailbox_open(struct loop *loop, void *receiver)
{
    struct mailbox *mailbox = mem_new(struct mailbox);
    mailbox->loop = loop;
    mailbox->receiver = receiver;
    ensure(uv_async_init(loop_uv(loop), &mailbox->async, on_async) == 0);
    mailbox->async.data = mailbox;
    loop_handle_opened(loop);
    return mailbox;
}

void mailbox_post(struct mailbox *mailbox, struct letter *letter)
{
    struct letter *newest = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);
    do
        letter->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&mailbox->newest, &newest, letter,
                                                  memory_order_release, memory_order_relaxed));
    if (!newest)
        ensure(uv_async_send(&mailbox->async) == 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct mailbox *mailbox = handle->data;
    loop_handle_closed(mailbox->loop);
    mem_free(mailbox);
}

void mailbox_close(struct mailbox *mailbox)
{
    while (atomic_load_explicit(&mailbox->newest, memory_order_relaxed))
        deliver_all(mailbox);
    uv_close((uv_handle_t *)&mailbox->async, on_closed);
}
