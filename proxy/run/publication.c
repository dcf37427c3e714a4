#include "proxy/run/publication.h"

#include "proxy/base/mem.h"

struct publication {
    void *object;
    void (*free_fn)(void *object);
    struct mailbox *control;
    size_t n_out; /* deliveries that are out, and one for the publisher */
};

void publication_release(struct publication *publication)
{
    if (!publication || --publication->n_out > 0)
        return;
    publication->free_fn(publication->object);
    mem_free(publication);
}

static void on_returned(struct letter *letter, void *receiver)
{
    struct delivery *delivery = container_of(letter, struct delivery, letter);
    struct publication *publication = delivery->publication;
    (void)receiver;
    mem_free(delivery);
    publication_release(publication);
}

void publication_add(struct publication *publication, struct mailbox *mailbox,
                     void (*deliver)(struct letter *letter, void *receiver))
{
    struct delivery *delivery = mem_new(struct delivery);
    delivery->publication = publication;
    delivery->object = publication->object;
    delivery->letter.deliver = deliver;
    publication->n_out++;
    mailbox_post(mailbox, &delivery->letter);
}

struct publication *publish(void *object, void (*free_fn)(void *object),
                            struct mailbox *const *workers, size_t n, struct mailbox *control,
                            void (*deliver)(struct letter *letter, void *worker))
{
    struct publication *publication = mem_new(struct publication);
    publication->object = object;
    publication->free_fn = free_fn;
    publication->control = control;
    publication->n_out = 1;
    for (size_t i = 0; i < n; i++)
        publication_add(publication, workers[i], deliver);
    return publication;
}

void delivery_return(struct delivery *delivery)
{
    if (!delivery)
        return;
    delivery->letter.deliver = on_returned;
    mailbox_post(delivery->publication->control, &delivery->letter);
}
