/*
 * Happy path: worker_start -> setup (in the thread) -> deliveries -> doors open -> flows.
 * Failure modes: a port is taken (told to control, which ends the process with that sentence).
 */
#include "proxy/run/worker.h"

#include <stdio.h>
#include <string.h>

#include "proxy/accept/acceptor.h"
#include "proxy/accept/capture.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/connect/http_pool.h"
#include "proxy/dns/server.h"
#include "proxy/io/scheduling.h"
#include "proxy/run/health_reporter.h"
#include "proxy/run/leavers.h"
#include "proxy/run/publication.h"

enum worker_state { WORKER_WAITING, WORKER_SERVING, WORKER_DRAINING, WORKER_FAILED, WORKER_STATES };

struct worker {
    /* the control thread's */
    unsigned idx, n_workers;
    char name[16];
    struct thread *thread;
    /* constant */
    const struct proxy_config *config;
    struct audit_pen *pen;
    struct tracer_pen *tracer;
    struct ledger *ledger;
    struct mailbox *control;
    const struct worker_events *events;
    /* the worker's */
    int state;
    struct loop *loop;
    struct delivery *snapshot_delivery, *tls_delivery;
    const struct snapshot *snapshot;
    const struct tls_set *tls;
    const struct trust *trust;
    struct meter *meter;
    struct traffic *traffic;
    struct balancer *balancer;
    struct timer balancer_tick;
    struct health_reporter health;
    struct connector *connector;
    struct walk *walk;
    struct leavers leavers;
    struct task rechecked;
    struct list inquiries; /* whose copy of the series is being made */
    struct acceptor *acceptor;
    struct dns_server *dns;
    struct timer drain_check;
    uint64_t last_call_ns; /* when the doors close, whoever still drains */
    bool doors_are_closed;
    struct letter farewell;
};

static const struct sm_rule worker_rules[WORKER_STATES] = {
    [WORKER_WAITING] = {"waiting",
                        SM_TO(WORKER_SERVING) | SM_TO(WORKER_DRAINING) | SM_TO(WORKER_FAILED)},
    [WORKER_SERVING] = {"serving", SM_TO(WORKER_DRAINING)},
    [WORKER_DRAINING] = {"draining", 0},
    [WORKER_FAILED] = {"failed", SM_TO(WORKER_DRAINING)},
};

#define DRAIN_CHECK_NS UINT64_C(20000000)
#define LAST_CALL_PCT  90 /* of the drain's time: what comes last has the rest to end */

/* ---- what control hears ---- */

enum notice_kind { NOTICE_SERVING, NOTICE_FAILED, NOTICE_DRAINED };

struct notice {
    struct letter letter;
    enum notice_kind kind;
    struct worker *worker;
    struct text why;
};

static void on_notice(struct letter *letter, void *owner)
{
    struct notice *notice = container_of(letter, struct notice, letter);
    struct worker *worker = notice->worker;
    switch (notice->kind) {
    case NOTICE_SERVING: worker->events->on_serving(owner, worker); break;
    case NOTICE_FAILED: worker->events->on_failed(owner, worker, text_str(&notice->why)); break;
    case NOTICE_DRAINED: worker->events->on_drained(owner, worker); break;
    }
    text_fini(&notice->why);
    mem_free(notice);
}

/* Takes the text. */
static void tell(struct worker *worker, enum notice_kind kind, struct text why)
{
    struct notice *notice = mem_new(struct notice);
    notice->letter.deliver = on_notice;
    notice->kind = kind;
    notice->worker = worker;
    notice->why = why;
    mailbox_post(worker->control, &notice->letter);
}

/* ---- doors ---- */

static void on_arrival(void *owner, struct arrival *arrival)
{
    struct worker *worker = owner;
    walk_start(worker->walk, arrival);
}

static void on_refusal(void *owner, const struct refusal *refusal)
{
    struct worker *worker = owner;
    walk_note_refusal(worker->walk, refusal);
}

static int open_dns(struct worker *worker, struct text *why)
{
    const struct proxy_config *config = worker->config;
    int errnum = 0;
    const struct dns_server_options options = {
        .listen = {.port = config->ports.dns},
        .transparent = config->capture == CAPTURE_TPROXY,
        .reuse_port = true,
        .mark = config->mark,
        .listen_mark = config->mark + 1,
    };
    const int err = dns_server_open(worker->loop, &options, &worker->snapshot, worker->meter,
                                    &worker->dns, &errnum);
    if (err < 0)
        text_addf(why, "cannot listen on port %u for DNS: %s", config->ports.dns,
                  strerrordesc_np(errnum));
    return err;
}

static int open_doors(struct worker *worker, struct text *why)
{
    const struct proxy_config *config = worker->config;
    const struct acceptor_options options = {
        .outbound = {.port = config->ports.outbound},
        .inbound = {.port = config->ports.inbound},
        .tunnel = {.port = config->ports.tunnel},
        .transparent = config->capture == CAPTURE_TPROXY,
        .mark = config->mark,
        .outbound_mark = config->mark + 1,
        .tunnels = {.handshake_ns = config->handshake_ns,
                    .on_refusal = on_refusal,
                    .snapshot = &worker->snapshot,
                    .tls = &worker->tls,
                    .trust = &worker->trust,
                    .follows_trust = config->cut_on_removal},
    };
    const int err = acceptor_open(worker->loop, &options, worker->meter, on_arrival, worker,
                                  &worker->acceptor, why);
    return err < 0 ? err : open_dns(worker, why);
}

/* New connections are held back by the capture rules until everything needed to serve them is here.
 */
static void open_when_ready(struct worker *worker)
{
    struct text why = {0};
    if (worker->state != WORKER_WAITING || !worker->tls || !worker->snapshot ||
        !worker->snapshot->is_synced)
        return;
    if (open_doors(worker, &why) < 0) {
        sm_move(worker_rules, &worker->state, WORKER_FAILED);
        tell(worker, NOTICE_FAILED, why);
        return;
    }
    sm_move(worker_rules, &worker->state, WORKER_SERVING);
    tell(worker, NOTICE_SERVING, why);
}

/* ---- deliveries ---- */

/* All flows were looked at, and those of pods that left are cut. */
static void on_rechecked(struct task *task)
{
    leavers_forget(&container_of(task, struct worker, rechecked)->leavers);
}

void worker_deliver_snapshot(struct letter *letter, void *receiver)
{
    struct worker *worker = receiver;
    struct delivery *old = worker->snapshot_delivery;
    const struct snapshot *before = worker->snapshot;
    worker->snapshot_delivery = container_of(letter, struct delivery, letter);
    worker->snapshot = worker->snapshot_delivery->object;
    if (before && before->local_hash != worker->snapshot->local_hash) {
        if (worker->acceptor)
            acceptor_recheck(worker->acceptor);
        leavers_note(&worker->leavers, before, worker->snapshot, walk_is_rechecking(worker->walk));
        walk_recheck(worker->walk);
    }
    delivery_return(old);
    open_when_ready(worker);
}

/* Tunnels under an identity that is gone are not used for new flows. */
static void retire_lost_identities(struct worker *worker, const struct tls_set *before)
{
    size_t idx = 0;
    struct str id;
    void *value;
    while (before && map_next(&before->identities, &idx, &id, &value)) {
        if (!tls_set_find(worker->tls, id))
            pool_retire_identity(connector_pool(worker->connector), id);
    }
}

/* Live tunnels rest on the trust of their handshake: each is held against what is trusted now. */
static void recheck_trust(struct worker *worker, const struct tls_set *before)
{
    if (!before || before->trust->generation == worker->trust->generation ||
        !worker->config->cut_on_removal)
        return;
    if (worker->acceptor)
        acceptor_recheck(worker->acceptor);
    pool_recheck_trust(connector_pool(worker->connector));
}

void worker_deliver_tls(struct letter *letter, void *receiver)
{
    struct worker *worker = receiver;
    struct delivery *old = worker->tls_delivery;
    const struct tls_set *before = worker->tls;
    worker->tls_delivery = container_of(letter, struct delivery, letter);
    worker->tls = worker->tls_delivery->object;
    worker->trust = worker->tls->trust;
    retire_lost_identities(worker, before);
    recheck_trust(worker, before);
    delivery_return(old);
    open_when_ready(worker);
}

/* ---- questions ---- */

#define COPY_PIECE 64 /* series that are copied before the time is looked at */
#define COPY_NS    (UINT64_C(1) * 1000000000)

struct inquiry {
    struct letter letter;
    struct list by_worker;
    struct chore copying;
    struct traffic_copy *copy;
    struct worker *worker;
    struct worker_question question;
    struct worker_report report;
    void (*on_report)(void *owner, struct worker_report *report);
    void *owner;
};

static void on_inquiry_answered(struct letter *letter, void *receiver)
{
    struct inquiry *inquiry = container_of(letter, struct inquiry, letter);
    (void)receiver;
    inquiry->on_report(inquiry->owner, &inquiry->report);
    mem_free(inquiry);
}

static struct endpoint_answer *answer_asks(const struct worker *worker,
                                           const struct worker_question *question)
{
    const uint64_t now_ns = loop_now_ns(worker->loop);
    struct endpoint_answer *answers = mem_new_array(struct endpoint_answer, question->n_asks);
    for (size_t i = 0; i < question->n_asks; i++)
        answers[i].is_known = balancer_view(worker->balancer, question->asks[i].set_id,
                                            question->asks[i].key, now_ns, &answers[i].view);
    return answers;
}

static void answer(struct inquiry *inquiry)
{
    inquiry->letter.deliver = on_inquiry_answered;
    mailbox_post(inquiry->worker->control, &inquiry->letter);
}

static bool copy_piece(struct chore *copying)
{
    return traffic_copy_go_on(container_of(copying, struct inquiry, copying)->copy, COPY_PIECE);
}

static void on_copied(struct chore *copying)
{
    struct inquiry *inquiry = container_of(copying, struct inquiry, copying);
    list_remove(&inquiry->by_worker);
    inquiry->report.traffic = traffic_copy_end(inquiry->copy);
    answer(inquiry);
}

static void copy_traffic(struct inquiry *inquiry)
{
    struct worker *worker = inquiry->worker;
    inquiry->copy = traffic_copy_new(worker->traffic);
    list_push_back(&worker->inquiries, &inquiry->by_worker);
    chore_init(&inquiry->copying, worker->loop, copy_piece, on_copied);
    chore_start(&inquiry->copying, COPY_NS);
}

/* Who asked a worker that ends has an answer all the same, and a whole one. */
static void answer_all(struct worker *worker)
{
    list_foreach(it, &worker->inquiries)
        chore_finish(&list_entry(it, struct inquiry, by_worker)->copying);
}

static void on_inquiry(struct letter *letter, void *receiver)
{
    struct inquiry *inquiry = container_of(letter, struct inquiry, letter);
    struct worker *worker = receiver;
    const struct worker_question *question = &inquiry->question;
    inquiry->report.n_flows = walk_flows(worker->walk);
    inquiry->report.n_tunnels = pool_tunnels(connector_pool(worker->connector));
    inquiry->report.n_sessions = worker->acceptor ? acceptor_sessions(worker->acceptor) : 0;
    inquiry->report.page = question->page;
    if (question->wants_flows)
        walk_page(worker->walk, &inquiry->report.page, &inquiry->report.flows);
    if (question->n_asks > 0)
        inquiry->report.endpoints = answer_asks(worker, question);
    if (question->wants_traffic)
        copy_traffic(inquiry);
    else
        answer(inquiry);
}

void worker_ask(struct worker *worker, const struct worker_question *question,
                void (*on_report)(void *owner, struct worker_report *report), void *owner)
{
    struct inquiry *inquiry = mem_new(struct inquiry);
    inquiry->letter.deliver = on_inquiry;
    inquiry->worker = worker;
    inquiry->question = *question;
    inquiry->on_report = on_report;
    inquiry->owner = owner;
    mailbox_post(worker_mailbox(worker), &inquiry->letter);
}

/* ---- drain ---- */

static void on_drain_check(struct timer *timer);

/* The pods of this node have nowhere else to go: until the next proxy is there their new
 * connections wait. So their doors stay open while there is something to wait for, connections from
 * before the drain. */
static bool is_last_call(const struct worker *worker)
{
    return !walk_has_old(worker->walk) || loop_now_ns(worker->loop) >= worker->last_call_ns;
}

/* What was in the backlogs has begun when it is looked next. */
static void close_doors(struct worker *worker)
{
    worker->doors_are_closed = true;
    if (worker->acceptor)
        acceptor_close_doors(worker->acceptor);
    walk_last_call(worker->walk);
    timer_start(worker->loop, &worker->drain_check, 1, on_drain_check);
}

static void on_drain_check(struct timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, drain_check);
    if (!worker->doors_are_closed && is_last_call(worker))
        close_doors(worker);
    else if (!worker->doors_are_closed || walk_flows(worker->walk) > 0)
        timer_start(worker->loop, timer, DRAIN_CHECK_NS, on_drain_check);
    else
        tell(worker, NOTICE_DRAINED, (struct text){0});
}

static void on_drain(struct letter *letter, void *receiver)
{
    struct worker *worker = receiver;
    mem_free(letter);
    if (worker->state == WORKER_DRAINING)
        return;
    sm_move(worker_rules, &worker->state, WORKER_DRAINING);
    if (worker->acceptor)
        acceptor_drain(worker->acceptor);
    walk_drain(worker->walk);
    worker->last_call_ns =
        loop_now_ns(worker->loop) + worker->config->drain_ns / 100 * LAST_CALL_PCT;
    timer_start(worker->loop, &worker->drain_check, 1, on_drain_check);
}

void worker_drain(struct worker *worker)
{
    struct letter *letter = mem_new(struct letter);
    letter->deliver = on_drain;
    mailbox_post(worker_mailbox(worker), letter);
}

/* ---- active health ---- */

static void on_states(void *receiver, const struct health_state *states, size_t n)
{
    struct worker *worker = receiver;
    health_reporter_hear(&worker->health, states, n);
}

struct watch_letter {
    struct letter letter;
    struct mailbox *health;
};

static void on_watch(struct letter *letter, void *receiver)
{
    struct watch_letter *watch = container_of(letter, struct watch_letter, letter);
    struct worker *worker = receiver;
    health_reporter_start(&worker->health, watch->health);
    mem_free(watch);
}

void worker_watch(struct worker *worker, struct mailbox *health)
{
    struct watch_letter *watch = mem_new(struct watch_letter);
    watch->letter.deliver = on_watch;
    watch->health = health;
    mailbox_post(worker_mailbox(worker), &watch->letter);
}

/* ---- life ---- */

static void on_balancer_tick(struct timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, balancer_tick);
    balancer_tick(worker->balancer, loop_now_ns(worker->loop));
    timer_start(worker->loop, timer, BALANCER_TICK_NS, on_balancer_tick);
}

static void setup(void *receiver, struct loop *loop, struct mailbox *mailbox)
{
    struct worker *worker = receiver;
    const struct proxy_config *config = worker->config;
    scheduling_answer_soon();
    worker->loop = loop;
    worker->meter = meter_new();
    worker->traffic = traffic_new();
    worker->balancer = balancer_new(worker->meter, worker->n_workers);
    health_reporter_init(&worker->health, loop, worker->balancer, &worker->snapshot, mailbox,
                         on_states);
    const struct connector_options connector = {
        .mark = config->mark,
        .transparent = config->capture == CAPTURE_TPROXY,
        .tunnel_port = CONNECT_TUNNEL_PORT,
        .own_tunnel_port = config->ports.tunnel,
        .own_tunnel_mark = CAPTURE_ROUTE_MARK,
        .connect_ns = config->connect_ns,
        .handshake_ns = config->handshake_ns,
        .follows_trust = config->cut_on_removal,
    };
    worker->connector =
        connector_new(loop, &connector, &worker->tls, &worker->trust, worker->meter);
    leavers_init(&worker->leavers, loop, worker->traffic, connector_http_pool(worker->connector));
    worker->rechecked.run = on_rechecked;
    list_init(&worker->inquiries);
    const struct walk_tools tools = {
        .loop = loop,
        .snapshot = &worker->snapshot,
        .connector = worker->connector,
        .balancer = worker->balancer,
        .traffic = worker->traffic,
        .meter = worker->meter,
        .audit = worker->pen,
        .tracer = worker->tracer,
        .ledger = worker->ledger,
        .worker = worker->idx,
        .rechecked = &worker->rechecked,
    };
    const struct walk_options options = {
        .own = {config->ports.outbound, config->ports.inbound, config->ports.tunnel, true},
        .attempt_ns = config->attempt_ns,
        .connect_ns = config->connect_ns,
        .idle_ns = config->idle_ns,
        .half_close_ns = config->half_close_ns,
        .splice_after_bytes = config->splice_after_bytes,
        .tunnels_own_node = config->same_node == SAME_NODE_TUNNEL,
        .max_flows = config->max_connections,
        .max_attempts = config->max_connect_attempts,
        .max_memory_bytes = config->max_memory_bytes,
        .max_lag_ns = config->max_lag_ns,
        .log_access = config->log_access,
    };
    worker->walk = walk_new(&tools, &options);
    timer_start(loop, &worker->balancer_tick, BALANCER_TICK_NS, on_balancer_tick);
}

static void teardown(void *receiver)
{
    struct worker *worker = receiver;
    timer_stop(&worker->drain_check);
    answer_all(worker);
    if (worker->dns)
        dns_server_close(worker->dns);
    walk_free(worker->walk);
    leavers_fini(&worker->leavers);
    if (worker->acceptor)
        acceptor_close(worker->acceptor);
    connector_free(worker->connector);
    timer_stop(&worker->balancer_tick);
    health_reporter_stop(&worker->health);
    balancer_free(worker->balancer);
    traffic_free(worker->traffic);
    meter_free(worker->meter);
    delivery_return(worker->snapshot_delivery);
    worker->trust = NULL; /* streams that linger are past asking */
    delivery_return(worker->tls_delivery);
}

struct worker *worker_start(unsigned idx, unsigned n_workers, const struct proxy_config *config,
                            struct audit_pen *pen, struct tracer_pen *tracer, struct ledger *ledger,
                            struct mailbox *control, const struct worker_events *events)
{
    struct worker *worker = mem_new(struct worker);
    worker->idx = idx;
    worker->n_workers = n_workers;
    worker->config = config;
    worker->pen = pen;
    worker->tracer = tracer;
    worker->ledger = ledger;
    worker->control = control;
    worker->events = events;
    (void)snprintf(worker->name, sizeof worker->name, "worker-%u", idx % 1000);
    const struct thread_job job = {
        .name = worker->name,
        .setup = setup,
        .teardown = teardown,
        .receiver = worker,
    };
    worker->thread = thread_start(&job);
    return worker;
}

struct mailbox *worker_mailbox(struct worker *worker)
{
    return thread_mailbox(worker->thread);
}

static void on_farewell(struct letter *letter, void *owner)
{
    (void)owner;
    mem_free(container_of(letter, struct worker, farewell));
}

/* What it said last is still in control's mailbox; the memory goes behind that. */
void worker_stop(struct worker *worker)
{
    thread_stop(worker->thread);
    worker->farewell.deliver = on_farewell;
    mailbox_post(worker->control, &worker->farewell);
}
