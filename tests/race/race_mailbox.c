/*
 * Letters between threads under ThreadSanitizer: many senders to one worker, which answers each;
 * threads that start and stop while letters fly. Passes when every letter came once, in the order
 * of its sender, in the right thread.
 */
#include <pthread.h>
#include <stdio.h>

#include "proxy/base/mem.h"
#include "proxy/io/thread.h"

#define N_ROUNDS  20
#define N_SENDERS 4
#define N_LETTERS 2000

struct worker {
    pthread_t ran_in;
    unsigned next[N_SENDERS]; /* plain memory: only the worker's thread may touch it */
    unsigned n_wrong;
    struct timer timer;
    unsigned n_ticks;
};

struct sender {
    struct mailbox *to;
    struct mailbox *home;
    unsigned idx;
    unsigned n_sent, n_answered, n_wrong;
};

struct note {
    struct letter letter;
    struct sender *sender;
    unsigned number;
};

static void send_next(struct sender *sender);

/* In the sender's thread. */
static void deliver_answer(struct letter *letter, void *receiver)
{
    struct note *note = container_of(letter, struct note, letter);
    struct sender *sender = receiver;
    sender->n_wrong += note->sender != sender || note->number != sender->n_answered;
    sender->n_answered++;
    mem_free(note);
    send_next(sender);
}

/* In the worker's thread. */
static void deliver_question(struct letter *letter, void *receiver)
{
    struct note *note = container_of(letter, struct note, letter);
    struct worker *worker = receiver;
    unsigned idx = note->sender->idx; /* constant since before the letter was posted */
    worker->n_wrong += !pthread_equal(worker->ran_in, pthread_self());
    worker->n_wrong += note->number != worker->next[idx];
    worker->next[idx]++;
    letter->deliver = deliver_answer;
    mailbox_post(note->sender->home, letter);
}

static void send_next(struct sender *sender)
{
    if (sender->n_sent == N_LETTERS)
        return;
    struct note *note = mem_new(struct note);
    *note = (struct note){{.deliver = deliver_question}, sender, sender->n_sent++};
    mailbox_post(sender->to, &note->letter);
}

static void on_tick(struct timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, timer);
    worker->n_ticks++;
    timer_start(timer->loop, timer, 100000, on_tick);
}

static void worker_set_up(void *receiver, struct loop *loop, struct mailbox *mailbox)
{
    (void)mailbox;
    struct worker *worker = receiver;
    worker->ran_in = pthread_self();
    timer_start(loop, &worker->timer, 0, on_tick);
}

static void worker_tear_down(void *receiver)
{
    struct worker *worker = receiver;
    timer_stop(&worker->timer);
}

/* A sender keeps a few questions in the air, each answer releases the next. */
static void *run_sender(void *arg)
{
    struct sender *sender = arg;
    struct loop *loop = loop_new();
    sender->home = mailbox_open(loop, sender);
    for (unsigned idx = 0; idx < 8; idx++)
        send_next(sender);
    while (sender->n_answered < N_LETTERS)
        loop_turn(loop, true);
    mailbox_close(sender->home);
    loop_free(loop);
    return NULL;
}

static bool run_round(void)
{
    struct worker worker = {0};
    const struct thread_job job = {"worker", worker_set_up, worker_tear_down, &worker};
    struct thread *thread = thread_start(&job);
    struct sender senders[N_SENDERS] = {0};
    pthread_t threads[N_SENDERS];
    for (unsigned idx = 0; idx < N_SENDERS; idx++) {
        senders[idx].to = thread_mailbox(thread);
        senders[idx].idx = idx;
        ensure(pthread_create(&threads[idx], NULL, run_sender, &senders[idx]) == 0);
    }
    unsigned n_wrong = 0;
    for (unsigned idx = 0; idx < N_SENDERS; idx++) {
        ensure(pthread_join(threads[idx], NULL) == 0);
        n_wrong += senders[idx].n_wrong + (senders[idx].n_answered != N_LETTERS);
    }
    thread_stop(thread);
    for (unsigned idx = 0; idx < N_SENDERS; idx++)
        n_wrong += worker.next[idx] != N_LETTERS;
    return n_wrong + worker.n_wrong == 0;
}

int main(void)
{
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        if (run_round())
            continue;
        fprintf(stderr, "round %u: a letter was lost, doubled or misplaced\n", round);
        return 1;
    }
    return 0;
}
