#include "proxy/ctl/drill_run.h"

#include <jansson.h>
#include <signal.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/percent.h"
#include "proxy/ctl/values.h"
#include "proxy/http/h1_fetch.h"
#include "proxy/io/process.h"

#define NODE_TIMEOUT_NS    (1 * NS_PER_SEC)
#define CONTROL_TIMEOUT_NS (3 * NS_PER_SEC)
#define RENEW_NS           (1 * NS_PER_SEC)
#define MARGIN_NS          (3 * NS_PER_SEC) /* control's own end of the drill lies behind ours */

enum state { BEFORE, STARTING, DURING, STOPPING, AFTER, OVER };

struct node {
    struct run *run;
    const struct addr *addr;
    struct tally tally; /* as it said last */
    bool has_answered;
};

struct run {
    const struct drill_wish *wish;
    struct drill_outcome *outcome;
    struct loop *loop;
    enum state state;
    struct node *nodes;
    size_t n_waiting; /* nodes of this round that have not answered yet */
    uint64_t round_ns, began_ns, ended_ns, phase_ns;
    struct timer round, renewal;
    struct text id;
    bool is_to_end;   /* a signal came */
    unsigned n_asked; /* orders to control without an answer */
};

static void over(struct run *run)
{
    run->state = OVER;
    timer_stop(&run->round);
    timer_stop(&run->renewal);
}

static void fail(struct run *run, struct str why)
{
    if (run->outcome->problem.len == 0)
        text_add(&run->outcome->problem, why);
    over(run);
}

static enum drill_phase phase_of(const struct run *run)
{
    switch (run->state) {
    case BEFORE:
    case STARTING: return PHASE_BEFORE;
    case DURING:
    case STOPPING: return PHASE_DURING;
    case AFTER:
    case OVER: break;
    }
    return PHASE_AFTER;
}

/* ---- rounds ---- */

static void on_round_over(struct run *run);

static void take_page(struct node *node, struct str page)
{
    struct run *run = node->run;
    struct drill_outcome *outcome = run->outcome;
    struct tally now = {0};
    tally_read(&now, page, text_str(&outcome->host));
    const enum drill_phase phase = phase_of(run);
    const uint64_t before = tally_of(&outcome->counts[phase], run->wish->cluster);
    if (node->has_answered)
        tally_add_difference(&outcome->counts[phase], &now, &node->tally);
    node->tally = now;
    node->has_answered = true;
    if (tally_of(&outcome->counts[phase], run->wish->cluster) == before)
        return;
    const uint64_t now_ns = clock_mono_ns();
    if (phase == PHASE_DURING)
        outcome->last_ns = now_ns - run->began_ns;
    else if (phase == PHASE_AFTER && outcome->back_ns == 0)
        outcome->back_ns = now_ns - run->ended_ns;
}

static void on_page(void *owner, int err, unsigned status, struct str body)
{
    struct node *node = owner;
    struct run *run = node->run;
    char buf[ADDR_TEXT_MAX];
    struct text why = {0};
    run->n_waiting--;
    if (run->state == OVER)
        return;
    if (err == 0 && status == 200) {
        take_page(node, body);
    } else if (!node->has_answered) {
        text_addf(&why, "the metrics of the node at %s cannot be read: %s",
                  addr_text(node->addr, buf), err < 0 ? err_text(err) : "it answers otherwise");
        fail(run, text_str(&why));
        text_fini(&why);
        return;
    } else {
        run->outcome->n_misses++;
    }
    if (run->n_waiting == 0)
        on_round_over(run);
}

static void start_round(struct run *run)
{
    run->round_ns = clock_mono_ns();
    run->n_waiting = run->wish->n_nodes;
    for (size_t i = 0; i < run->wish->n_nodes; i++)
        h1_fetch(run->loop, run->nodes[i].addr, STR("GET"), STR("/metrics"), NODE_TIMEOUT_NS,
                 on_page, &run->nodes[i]);
}

static void on_round(struct timer *timer)
{
    start_round(container_of(timer, struct run, round));
}

static void next_round(struct run *run)
{
    const uint64_t took_ns = clock_mono_ns() - run->round_ns;
    timer_start(run->loop, &run->round, took_ns < DRILL_ROUND_NS ? DRILL_ROUND_NS - took_ns : 1,
                on_round);
}

/* ---- orders ---- */

static bool is_plain(char c)
{
    return percent_is_unreserved((unsigned char)c) || c == '/';
}

static void add_value(struct text *path, struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (is_plain(value.ptr[i]))
            text_addc(path, value.ptr[i]);
        else
            text_addf(path, "%%%02X", (unsigned)(unsigned char)value.ptr[i]);
    }
}

static void order(struct run *run, struct str path,
                  void (*on_done)(void *owner, int err, unsigned status, struct str body))
{
    run->n_asked++;
    h1_fetch(run->loop, &run->wish->control, STR("POST"), path, CONTROL_TIMEOUT_NS, on_done, run);
}

/* Control's own sentence; or that of the way there. */
static void fail_order(struct run *run, const char *what, int err, struct str body)
{
    struct text why = {0};
    while (str_ends_with(body, STR("\n")))
        body = str_sub(body, 0, body.len - 1);
    text_addf(&why, "%s", what);
    text_add(&why, err < 0 ? str_from(err_text(err)) : body);
    fail(run, text_str(&why));
    text_fini(&why);
}

static void on_renewed(void *owner, int err, unsigned status, struct str body)
{
    struct run *run = owner;
    run->n_asked--;
    if (run->state == DURING && err == 0 && status != 200)
        fail_order(run, "control ended the drill: ", err, body);
    else if (run->state == DURING && err < 0)
        fail_order(run,
                   "control cannot be reached any more; the nodes let go of the drill by "
                   "themselves: ",
                   err, body);
}

static void order_with_id(struct run *run, const char *what,
                          void (*on_done)(void *owner, int err, unsigned status, struct str body))
{
    struct text path = {0};
    text_addf(&path, "/drills/%s?id=", what);
    add_value(&path, text_str(&run->id));
    order(run, text_str(&path), on_done);
    text_fini(&path);
}

static void on_renewal(struct timer *timer)
{
    struct run *run = container_of(timer, struct run, renewal);
    order_with_id(run, "renew", on_renewed);
    timer_start(run->loop, timer, RENEW_NS, on_renewal);
}

static void on_stopped(void *owner, int err, unsigned status, struct str body)
{
    struct run *run = owner;
    run->n_asked--;
    run->outcome->took_ns[PHASE_DURING] = run->ended_ns - run->began_ns;
    if (err < 0 || status != 200) {
        fail_order(run, "the drill could not be stopped, it ends with its lease of 5 s: ", err,
                   body);
    } else if (run->is_to_end) {
        fail(run, STR("interrupted; the cluster is given back"));
    } else {
        run->state = AFTER;
        next_round(run);
    }
}

static void stop_drill(struct run *run)
{
    run->state = STOPPING;
    run->ended_ns = clock_mono_ns();
    timer_stop(&run->renewal);
    timer_stop(&run->round);
    order_with_id(run, "stop", on_stopped);
}

static bool read_start(struct run *run, struct str body)
{
    json_error_t error;
    json_t *json = json_loadb(body.ptr ? body.ptr : "", body.len, 0, &error);
    const struct str id = value_str(json_object_get(json, "id"));
    text_add(&run->id, id);
    text_add(&run->outcome->tier, value_str(json_object_get(json, "tier")));
    run->outcome->promise_ns =
        (uint64_t)json_integer_value(json_object_get(json, "recovery_time_ms")) * NS_PER_MS;
    json_decref(json);
    return !str_is_empty(id);
}

static void on_started(void *owner, int err, unsigned status, struct str body)
{
    struct run *run = owner;
    run->n_asked--;
    if (err < 0) {
        fail_order(run, "control does not answer: ", err, body);
    } else if (status != 200) {
        fail_order(run, "control refused: ", err, body);
    } else if (!read_start(run, body)) {
        fail(run, STR("what answers is no control of this version"));
    } else {
        run->outcome->has_begun = true;
        run->state = DURING;
        if (run->is_to_end) {
            stop_drill(run);
            return;
        }
        timer_start(run->loop, &run->renewal, RENEW_NS, on_renewal);
        next_round(run);
    }
}

static void start_drill(struct run *run)
{
    const struct drill_wish *wish = run->wish;
    struct text path = {0};
    text_add(&path, STR("/drills/start?service="));
    add_value(&path, wish->service);
    text_add(&path, STR("&cluster="));
    add_value(&path, wish->cluster);
    text_addf(&path, "&for_ms=%llu%s",
              (unsigned long long)((wish->length_ns + MARGIN_NS) / NS_PER_MS),
              wish->is_forced ? "&force=true" : "");
    run->state = STARTING;
    run->began_ns = clock_mono_ns();
    run->outcome->took_ns[PHASE_BEFORE] = run->began_ns - run->phase_ns;
    order(run, text_str(&path), on_started);
    text_fini(&path);
}

/* ---- from phase to phase ---- */

static bool is_after_done(const struct run *run, uint64_t now_ns)
{
    const struct drill_outcome *outcome = run->outcome;
    const bool is_back =
        outcome->back_ns > 0 && now_ns - run->ended_ns >= outcome->back_ns + DRILL_AFTER_NS;
    return is_back || now_ns - run->ended_ns >= DRILL_BACK_MAX_NS;
}

/* A round that was asked after the time was up has seen all of the phase. */
static void on_round_over(struct run *run)
{
    const uint64_t asked_ns = run->round_ns;
    switch (run->state) {
    case BEFORE:
        if (run->phase_ns == 0)
            run->phase_ns = asked_ns;
        if (asked_ns - run->phase_ns >= DRILL_BEFORE_NS) {
            start_drill(run);
            return;
        }
        break;
    case DURING:
        if (asked_ns - run->began_ns >= run->wish->length_ns) {
            stop_drill(run);
            return;
        }
        break;
    case AFTER:
        if (is_after_done(run, asked_ns)) {
            run->outcome->took_ns[PHASE_AFTER] = asked_ns - run->ended_ns;
            over(run);
            return;
        }
        break;
    case STARTING:
    case STOPPING:
    case OVER: return;
    }
    next_round(run);
}

static void on_signal(void *owner, int signum)
{
    struct run *run = owner;
    (void)signum;
    run->is_to_end = true;
    run->outcome->is_interrupted = true;
    if (run->state == DURING)
        stop_drill(run);
    else if (run->state == BEFORE || run->state == AFTER)
        fail(run, STR("interrupted"));
}

void drill_run(const struct drill_wish *wish, struct drill_outcome *outcome)
{
    struct run run = {.wish = wish, .outcome = outcome, .loop = loop_new()};
    struct signal_watch *on_int = signal_watch_open(run.loop, SIGINT, on_signal, &run);
    struct signal_watch *on_term = signal_watch_open(run.loop, SIGTERM, on_signal, &run);
    struct signal_watch *on_hup = signal_watch_open(run.loop, SIGHUP, on_signal, &run);
    run.nodes = mem_new_array(struct node, wish->n_nodes);
    for (size_t i = 0; i < wish->n_nodes; i++)
        run.nodes[i] = (struct node){.run = &run, .addr = &wish->nodes[i]};
    start_round(&run);
    while (run.state != OVER || run.n_waiting > 0 || run.n_asked > 0)
        loop_turn(run.loop, true);
    signal_watch_close(on_int);
    signal_watch_close(on_term);
    signal_watch_close(on_hup);
    while (loop_turn(run.loop, true))
        ;
    loop_free(run.loop);
    text_fini(&run.id);
    mem_free(run.nodes);
}

void drill_outcome_fini(struct drill_outcome *outcome)
{
    text_fini(&outcome->host);
    text_fini(&outcome->tier);
    text_fini(&outcome->problem);
}
