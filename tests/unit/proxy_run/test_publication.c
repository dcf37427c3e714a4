#include <criterion/criterion.h>

#include "proxy/base/mem.h"
#include "proxy/run/publication.h"
#include "tests/kit/loop_kit.h"

TestSuite(publication, .timeout = 20);

#define WORKERS     3
#define PATIENCE_MS 5000

static unsigned n_freed;
static int last_freed;

static void free_object(void *object)
{
    last_freed = *(int *)object;
    n_freed++;
    mem_free(object);
}

/* Workers that live in the control thread's loop; they keep the newest delivery and return the one
 * before. */
struct reader {
    struct mailbox *mailbox;
    struct delivery *held;
    unsigned n_deliveries;
    bool keeps_old; /* does not return what it replaces */
    struct delivery *kept;
};

static struct loop *loop;
static struct mailbox *control;
static struct reader readers[WORKERS];
static struct mailbox *inboxes[WORKERS];

static void on_delivery(struct letter *letter, void *receiver)
{
    struct reader *reader = receiver;
    struct delivery *old = reader->held;
    reader->held = container_of(letter, struct delivery, letter);
    reader->n_deliveries++;
    if (reader->keeps_old && old)
        reader->kept = old;
    else
        delivery_return(old);
}

static void open_all(void)
{
    loop = loop_new();
    control = mailbox_open(loop, NULL);
    for (int i = 0; i < WORKERS; i++) {
        readers[i] = (struct reader){.mailbox = mailbox_open(loop, &readers[i])};
        inboxes[i] = readers[i].mailbox;
    }
}

static struct publication *publish_number(int number)
{
    int *object = mem_new(int);
    *object = number;
    return publish(object, free_object, inboxes, WORKERS, control, on_delivery);
}

static bool all_have(void *ctx)
{
    for (int i = 0; i < WORKERS; i++)
        if (!readers[i].held || *(const int *)readers[i].held->object != *(const int *)ctx)
            return false;
    return true;
}

static bool reaches_all(int number)
{
    return run_until(loop, all_have, &number, PATIENCE_MS);
}

static void close_all(struct publication *last)
{
    for (int i = 0; i < WORKERS; i++) {
        delivery_return(readers[i].held);
        mailbox_close(readers[i].mailbox);
    }
    publication_release(last);
    mailbox_close(control);
    loop_finish(loop);
}

Test(publication, reaches_every_worker_and_is_freed_when_all_let_go)
{
    open_all();
    struct publication *first = publish_number(1);
    cr_assert(reaches_all(1));
    cr_expect_eq(n_freed, 0);

    publication_release(first);
    struct publication *second = publish_number(2);
    cr_assert(reaches_all(2));
    cr_expect(run_until_count(loop, &n_freed, 1, PATIENCE_MS));
    cr_expect_eq(last_freed, 1);

    close_all(second);
    cr_expect_eq(n_freed, 2);
}

Test(publication, a_worker_that_holds_on_keeps_it_alive)
{
    open_all();
    readers[1].keeps_old = true;
    struct publication *first = publish_number(1);
    cr_assert(reaches_all(1));

    publication_release(first);
    struct publication *second = publish_number(2);
    cr_assert(reaches_all(2));
    run_turns(loop, 10);
    cr_expect_eq(n_freed, 0);
    cr_expect_eq(*(const int *)readers[1].kept->object, 1);
    delivery_return(readers[1].kept);
    cr_expect(run_until_count(loop, &n_freed, 1, PATIENCE_MS));

    close_all(second);
    cr_expect_eq(n_freed, 2);
}

Test(publication, the_publisher_keeps_it_alive_after_all_workers_let_go)
{
    open_all();
    struct publication *first = publish_number(1);
    cr_assert(reaches_all(1));
    for (int i = 0; i < WORKERS; i++) {
        delivery_return(readers[i].held);
        readers[i].held = NULL;
    }
    run_turns(loop, 10);
    cr_expect_eq(n_freed, 0);

    publication_release(first);
    cr_expect_eq(n_freed, 1, "at once");
    publication_release(NULL);
    delivery_return(NULL);
    close_all(NULL);
}

Test(publication, generations_that_overtake_each_other_are_all_freed_once)
{
    struct publication *last = NULL;
    open_all();

    for (int i = 1; i <= 50; i++) { /* no turn in between: workers see them one after another */
        publication_release(last);
        last = publish_number(i);
        if (i % 7 == 0)
            loop_turn(loop, false);
    }
    cr_assert(reaches_all(50));
    cr_expect(run_until_count(loop, &n_freed, 49, PATIENCE_MS));
    for (int i = 0; i < WORKERS; i++)
        cr_expect_eq(readers[i].n_deliveries, 50);

    close_all(last);
    cr_expect_eq(n_freed, 50);
}
