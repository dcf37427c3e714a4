#include "proxy/run/health_thread.h"

#include "proxy/base/mem.h"
#include "proxy/base/pace.h"
#include "proxy/io/scheduling.h"
#include "proxy/meter/meter.h"
#include "proxy/run/publication.h"

#define WORKERS_MAX 1024 /* more than a node has processors for */

struct listener_of_states { /* a worker */
    struct mailbox *mailbox;
    void (*on_states)(void *receiver, const struct health_state *states, size_t n);
};

struct health_thread {
    /* the control thread's */
    struct thread *thread;
    bool has_muted;
    /* constant */
    const struct proxy_config *config;
    struct mailbox *control;
    /* its own */
    struct delivery *snapshot_delivery, *tls_delivery;
    const struct snapshot *snapshot;
    const struct tls_set *tls;
    const struct trust *trust;
    struct meter *meter;
    struct connector *connector;
    struct checker *checker;
    struct listener_of_states workers[WORKERS_MAX];
    size_t n_workers;
    bool is_muted;
};

/* ---- to the workers ---- */

struct states_letter {
    struct letter letter;
    void (*on_states)(void *receiver, const struct health_state *states, size_t n);
    size_t n;
    struct health_state *states;
};

static void deliver_states(struct letter *letter, void *receiver)
{
    struct states_letter *told = container_of(letter, struct states_letter, letter);
    told->on_states(receiver, told->states, told->n);
    mem_free(told->states);
    mem_free(told);
}

/* Takes the states. */
static void tell(const struct listener_of_states *worker, struct health_state *states, size_t n)
{
    struct states_letter *told = mem_new(struct states_letter);
    told->letter.deliver = deliver_states;
    told->on_states = worker->on_states;
    told->states = states;
    told->n = n;
    mailbox_post(worker->mailbox, &told->letter);
}

static void on_change(void *owner, const struct health_state *state)
{
    struct health_thread *health = owner;
    for (size_t i = 0; i < health->n_workers && !health->is_muted; i++) {
        struct health_state *states = mem_new(struct health_state);
        *states = *state;
        tell(&health->workers[i], states, 1);
    }
}

/* ---- from the workers ---- */

struct uses_letter {
    struct letter letter;
    struct arena arena;
    struct listener_of_states from;
    struct health_use *uses;
    size_t n;
};

static void remember_worker(struct health_thread *health, const struct listener_of_states *worker)
{
    for (size_t i = 0; i < health->n_workers; i++) {
        if (health->workers[i].mailbox == worker->mailbox)
            return;
    }
    if (health->n_workers < WORKERS_MAX)
        health->workers[health->n_workers++] = *worker;
}

static void deliver_uses(struct letter *letter, void *receiver)
{
    struct uses_letter *uses = container_of(letter, struct uses_letter, letter);
    struct health_thread *health = receiver;
    struct health_state *states = mem_new_array(struct health_state, CHECKER_ENDPOINTS_MAX);
    size_t n = 0;
    remember_worker(health, &uses->from);
    for (size_t i = 0; i < uses->n; i++) {
        checker_use(health->checker, &uses->uses[i]);
        n += checker_states(health->checker, uses->uses[i].set_id, states + n,
                            CHECKER_ENDPOINTS_MAX - n);
    }
    if (health->is_muted || n == 0)
        mem_free(states);
    else
        tell(&uses->from, states, n);
    arena_fini(&uses->arena);
    mem_free(uses);
}

void health_report(struct mailbox *health, struct mailbox *worker, const struct health_use *uses,
                   size_t n_uses,
                   void (*on_states)(void *receiver, const struct health_state *states, size_t n))
{
    struct uses_letter *letter = mem_new(struct uses_letter);
    letter->letter.deliver = deliver_uses;
    letter->from = (struct listener_of_states){worker, on_states};
    letter->uses = arena_new_array(&letter->arena, struct health_use, n_uses);
    letter->n = n_uses;
    for (size_t i = 0; i < n_uses; i++) {
        letter->uses[i] = uses[i];
        letter->uses[i].service = arena_str(&letter->arena, uses[i].service);
        letter->uses[i].principal = arena_str(&letter->arena, uses[i].principal);
    }
    mailbox_post(health, &letter->letter);
}

/* ---- from the control thread ---- */

void health_deliver_snapshot(struct letter *letter, void *receiver)
{
    struct health_thread *health = receiver;
    struct delivery *old = health->snapshot_delivery;
    health->snapshot_delivery = container_of(letter, struct delivery, letter);
    health->snapshot = health->snapshot_delivery->object;
    checker_learn(health->checker);
    delivery_return(old);
}

void health_deliver_tls(struct letter *letter, void *receiver)
{
    struct health_thread *health = receiver;
    struct delivery *old = health->tls_delivery;
    health->tls_delivery = container_of(letter, struct delivery, letter);
    health->tls = health->tls_delivery->object;
    health->trust = health->tls->trust;
    delivery_return(old);
}

struct order { /* there and back */
    struct letter letter;
    struct health_thread *health;
    struct text rows;
    void (*on_rows)(void *owner, const struct text *rows);
    void *owner;
};

static void on_answered(struct letter *letter, void *receiver)
{
    struct order *order = container_of(letter, struct order, letter);
    (void)receiver;
    order->on_rows(order->owner, &order->rows);
    text_fini(&order->rows);
    mem_free(order);
}

static void deliver_question(struct letter *letter, void *receiver)
{
    struct order *order = container_of(letter, struct order, letter);
    struct health_thread *health = receiver;
    checker_json(health->checker, &order->rows);
    letter->deliver = on_answered;
    mailbox_post(health->control, letter);
}

void health_thread_ask(struct health_thread *health,
                       void (*on_rows)(void *owner, const struct text *rows), void *owner)
{
    struct order *order = mem_new(struct order);
    order->letter.deliver = deliver_question;
    order->on_rows = on_rows;
    order->owner = owner;
    mailbox_post(thread_mailbox(health->thread), &order->letter);
}

static void on_muted(struct letter *letter, void *receiver)
{
    struct order *order = container_of(letter, struct order, letter);
    (void)receiver;
    order->health->has_muted = true;
    mem_free(order);
}

static void deliver_mute(struct letter *letter, void *receiver)
{
    struct health_thread *health = receiver;
    health->is_muted = true;
    letter->deliver = on_muted;
    mailbox_post(health->control, letter);
}

void health_thread_mute(struct health_thread *health, struct loop *control_loop)
{
    struct order *order = mem_new(struct order);
    order->letter.deliver = deliver_mute;
    order->health = health;
    mailbox_post(thread_mailbox(health->thread), &order->letter);
    while (!health->has_muted)
        loop_turn(control_loop, true);
}

/* ---- life ---- */

static void setup(void *receiver, struct loop *loop, struct mailbox *mailbox)
{
    struct health_thread *health = receiver;
    const struct proxy_config *config = health->config;
    const struct connector_options options = {
        .mark = config->mark,
        .transparent = config->capture == CAPTURE_TPROXY,
        .tunnel_port = CONNECT_TUNNEL_PORT,
        .connect_ns = config->connect_ns,
        .handshake_ns = config->handshake_ns,
    };
    (void)mailbox;
    scheduling_stand_back();
    pace_keep(PACE_NS);
    health->meter = meter_new();
    health->connector = connector_new(loop, &options, &health->tls, &health->trust, health->meter);
    const struct checker_tools tools = {
        .loop = loop,
        .snapshot = &health->snapshot,
        .connector = health->connector,
        .meter = health->meter,
    };
    health->checker = checker_new(&tools, on_change, health);
}

static void teardown(void *receiver)
{
    struct health_thread *health = receiver;
    checker_free(health->checker);
    connector_free(health->connector);
    meter_free(health->meter);
    delivery_return(health->snapshot_delivery);
    delivery_return(health->tls_delivery);
}

struct health_thread *health_thread_start(const struct proxy_config *config,
                                          struct mailbox *control)
{
    struct health_thread *health = mem_new(struct health_thread);
    health->config = config;
    health->control = control;
    const struct thread_job job = {
        .name = "health", .setup = setup, .teardown = teardown, .receiver = health};
    health->thread = thread_start(&job);
    return health;
}

struct mailbox *health_thread_mailbox(struct health_thread *health)
{
    return thread_mailbox(health->thread);
}

void health_thread_stop(struct health_thread *health)
{
    thread_stop(health->thread);
    mem_free(health);
}
