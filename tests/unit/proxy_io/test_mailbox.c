#include <criterion/criterion.h>
#include <pthread.h>

#include "proxy/base/mem.h"
#include "proxy/io/mailbox.h"
#include "proxy/io/thread.h"
#include "tests/kit/loop_kit.h"

TestSuite(mailbox, .timeout = 30);

#define N_SENDERS 4
#define N_LETTERS 5000

struct note {
    struct letter letter;
    unsigned sender, number;
};

struct reader {
    unsigned next[N_SENDERS];
    unsigned n_read, n_disordered;
};

static void deliver_note(struct letter *letter, void *receiver)
{
    struct note *note = container_of(letter, struct note, letter);
    struct reader *reader = receiver;
    reader->n_disordered += note->number != reader->next[note->sender];
    reader->next[note->sender] = note->number + 1;
    reader->n_read++;
    mem_free(note);
}

static void post(struct mailbox *mailbox, unsigned sender, unsigned number)
{
    struct note *note = mem_new(struct note);
    *note = (struct note){{.deliver = deliver_note}, sender, number};
    mailbox_post(mailbox, &note->letter);
}

Test(mailbox, delivers_in_order_from_the_loop)
{
    struct reader reader = {0};
    struct loop *loop = loop_new();
    struct mailbox *mailbox = mailbox_open(loop, &reader);
    for (unsigned idx = 0; idx < 10; idx++)
        post(mailbox, 0, idx);
    cr_expect_eq(reader.n_read, 0);
    cr_assert(run_until_count(loop, &reader.n_read, 10, 10000));
    cr_expect_eq(reader.n_disordered, 0);
    mailbox_close(mailbox);
    loop_finish(loop);
}

Test(mailbox, delivers_what_is_queued_when_it_closes)
{
    struct reader reader = {0};
    struct loop *loop = loop_new();
    struct mailbox *mailbox = mailbox_open(loop, &reader);
    for (unsigned idx = 0; idx < 3; idx++)
        post(mailbox, 1, idx);
    mailbox_close(mailbox);
    cr_expect_eq(reader.n_read, 3);
    loop_finish(loop);
    cr_expect_eq(reader.n_read, 3);
}

struct sender {
    struct mailbox *mailbox;
    unsigned idx;
};

static void *send_all(void *arg)
{
    const struct sender *sender = arg;
    for (unsigned number = 0; number < N_LETTERS; number++)
        post(sender->mailbox, sender->idx, number);
    return NULL;
}

Test(mailbox, loses_no_letter_of_many_threads_and_keeps_the_order_of_each)
{
    struct reader reader = {0};
    struct loop *loop = loop_new();
    struct mailbox *mailbox = mailbox_open(loop, &reader);
    struct sender senders[N_SENDERS];
    pthread_t threads[N_SENDERS];
    for (unsigned idx = 0; idx < N_SENDERS; idx++) {
        senders[idx] = (struct sender){mailbox, idx};
        cr_assert_eq(pthread_create(&threads[idx], NULL, send_all, &senders[idx]), 0);
    }
    cr_assert(run_until_count(loop, &reader.n_read, N_SENDERS * N_LETTERS, 20000));
    for (unsigned idx = 0; idx < N_SENDERS; idx++)
        pthread_join(threads[idx], NULL);
    cr_expect_eq(reader.n_disordered, 0);
    mailbox_close(mailbox);
    loop_finish(loop);
}

/* ------------------------------------------------------------------ threads */

struct worker {
    pthread_t ran_in;
    char name[16];
    bool was_set_up, was_torn_down;
    struct loop *loop;
    struct timer timer;
    unsigned n_ticks;
    struct mailbox *home; /* where the answer goes */
};

static void on_tick(struct timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, timer);
    worker->n_ticks++;
    timer_start(timer->loop, timer, 1000000, on_tick);
}

static void set_up(void *receiver, struct loop *loop, struct mailbox *mailbox)
{
    struct worker *worker = receiver;
    cr_assert_not_null(mailbox);
    worker->was_set_up = true;
    worker->ran_in = pthread_self();
    worker->loop = loop;
    pthread_getname_np(pthread_self(), worker->name, sizeof(worker->name));
    timer_start(loop, &worker->timer, 0, on_tick);
}

static void tear_down(void *receiver)
{
    struct worker *worker = receiver;
    worker->was_torn_down = true;
    cr_assert(pthread_equal(worker->ran_in, pthread_self()));
    timer_stop(&worker->timer);
}

struct question {
    struct letter letter;
    unsigned n_answers;
};

static void deliver_answer(struct letter *letter, void *receiver)
{
    (void)receiver;
    container_of(letter, struct question, letter)->n_answers++;
}

static void deliver_question(struct letter *letter, void *receiver)
{
    struct worker *worker = receiver;
    cr_assert(pthread_equal(worker->ran_in, pthread_self()));
    letter->deliver = deliver_answer;
    mailbox_post(worker->home, letter);
}

Test(mailbox, a_thread_runs_a_loop_answers_letters_and_stops_cleanly)
{
    struct worker worker = {0};
    struct question question = {{.deliver = deliver_question}, 0};
    struct loop *loop = loop_new();
    worker.home = mailbox_open(loop, NULL);
    const struct thread_job job = {"worker-7", set_up, tear_down, &worker};
    struct thread *thread = thread_start(&job);
    mailbox_post(thread_mailbox(thread), &question.letter);
    cr_assert(run_until_count(loop, &question.n_answers, 1, 5000));
    thread_stop(thread);

    cr_expect(worker.was_set_up && worker.was_torn_down);
    cr_expect_str_eq(worker.name, "worker-7");
    cr_expect_not(pthread_equal(worker.ran_in, pthread_self()));
    mailbox_close(worker.home);
    loop_finish(loop);
}

Test(mailbox, a_thread_that_is_stopped_at_once_was_still_set_up_and_torn_down)
{
    struct worker worker = {0};
    const struct thread_job job = {"short", set_up, tear_down, &worker};
    thread_stop(thread_start(&job));
    cr_expect(worker.was_set_up && worker.was_torn_down);
}
