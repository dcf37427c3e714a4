/*
 * The life of a flow: arrives, asks, connects, is served at a replica, ends; and what else happens
 * to replicas meanwhile. Each event has its function below; what is measured is in tally.h.
 */
#include "bench/sim/sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sim/events.h"
#include "bench/sim/tally.h"
#include "proxy/base/mem.h"

#define TICK_NS   (100 * SIM_MS)
#define QUEUE_END UINT32_MAX

struct server { /* a replica now */
    enum sim_state state;
    uint32_t busy, first, last; /* its queue */
    double slowness_from, slowness_to;
    uint64_t change_ns, change_over_ns;
    uint64_t busy_ns, busy_since_ns; /* slot time since the last report */
};

struct sim {
    const struct sim_fleet *fleet;
    const struct chooser_kind *kind;
    struct sim_view view;
    void *choosers[SIM_CLIENTS_MAX];
    struct rng arrivals[SIM_CLIENTS_MAX], demands[SIM_CLIENTS_MAX];
    struct server servers[SIM_REPLICAS_MAX];
    struct events events;
    uint64_t now_ns;
    struct sim_flow *flows;
    uint32_t n_flows, cap_flows, free_flow;
    uint64_t n_attempts, reported_ns;
    struct tally tally;
};

/* ---- flows ---- */

static struct sim_flow *flow_of(struct sim *sim, const struct event *event)
{
    struct sim_flow *flow = &sim->flows[event->subject];
    return flow->is_in_use && flow->attempt == event->attempt ? flow : NULL;
}

static uint32_t index_of(const struct sim *sim, const struct sim_flow *flow)
{
    return (uint32_t)(flow - sim->flows);
}

static uint32_t new_flow(struct sim *sim)
{
    if (sim->free_flow != QUEUE_END) {
        const uint32_t idx = sim->free_flow;
        sim->free_flow = sim->flows[idx].next;
        return idx;
    }
    if (sim->n_flows == sim->cap_flows) {
        sim->cap_flows = sim->cap_flows ? 2 * sim->cap_flows : 1024;
        sim->flows = mem_realloc(sim->flows, sim->cap_flows * sizeof *sim->flows);
    }
    return sim->n_flows++;
}

static void free_flow(struct sim *sim, struct sim_flow *flow)
{
    flow->is_in_use = false;
    flow->next = sim->free_flow;
    sim->free_flow = index_of(sim, flow);
}

static double unit(struct rng *rng) /* (0, 1] */
{
    return ((double)(rng_next(rng) >> 11) + 1) / 9007199254740992.0;
}

static double exponential(struct rng *rng)
{
    return -log(unit(rng));
}

static uint64_t rtt_ns(const struct sim *sim, const struct sim_flow *flow)
{
    const struct sim_fleet *fleet = sim->fleet;
    return fleet->rtt_ns[sim_distance(&fleet->clients[flow->client].place,
                                      &fleet->replicas[flow->replica].place)];
}

static void attempt(struct sim *sim, struct sim_flow *flow);

static void finish(struct sim *sim, struct sim_flow *flow, bool is_served)
{
    const struct sim_client *client = &sim->fleet->clients[flow->client];
    const bool is_crossed =
        is_served && client->place.cluster != sim->fleet->replicas[flow->replica].place.cluster;
    tally_end(&sim->tally, client, flow->arrived_ns,
              is_served ? sim->now_ns - flow->arrived_ns : SIM_PATIENCE_NS, is_served, is_crossed);
    flow->is_dead = true;
}

static void end_attempt(struct sim *sim, struct sim_flow *flow, enum sim_outcome outcome)
{
    sim->kind->ended(sim->choosers[flow->client], flow, outcome, sim->now_ns);
}

static void add_tried(struct sim_flow *flow, uint32_t replica)
{
    for (uint32_t i = 0; i < flow->n_tried; i++)
        if (flow->tried[i] == replica)
            return;
    flow->tried[flow->n_tried++] = replica;
}

/* The attempt that was asked first goes on alone. */
static void resume_racer(struct sim_flow *flow)
{
    flow->attempt = flow->racer.attempt;
    flow->replica = flow->racer.replica;
    flow->lease = flow->racer.lease;
    flow->racer = (struct sim_racer){0};
}

static void end_racer(struct sim *sim, struct sim_flow *flow, enum sim_outcome outcome)
{
    const struct sim_racer second = {flow->attempt, flow->replica, flow->lease, true};
    if (!flow->racer.is_on)
        return;
    resume_racer(flow);
    end_attempt(sim, flow, outcome);
    flow->racer = second;
    resume_racer(flow);
}

static void connect_failed(struct sim *sim, struct sim_flow *flow, enum sim_outcome outcome)
{
    end_attempt(sim, flow, outcome);
    add_tried(flow, flow->replica);
    if (!flow->racer.is_on) {
        attempt(sim, flow);
        return;
    }
    resume_racer(flow);
    events_add(&sim->events, sim->now_ns, EVENT_RACE, index_of(sim, flow), flow->attempt);
}

static uint64_t attempt_time_ns(const struct sim *sim, const struct sim_flow *flow)
{
    if (!sim->kind->has_racing)
        return SIM_ATTEMPT_NS;
    const uint64_t end_ns = flow->arrived_ns + SIM_PATIENCE_NS;
    const uint64_t left_ns = end_ns > sim->now_ns ? end_ns - sim->now_ns : 0;
    const uint64_t own_ns = SIM_ATTEMPT_NS << (flow->n_attempts - 1);
    return flow->n_attempts == SIM_ATTEMPTS_MAX || own_ns > left_ns ? left_ns : own_ns;
}

/* False when nobody may be asked. */
static bool try_attempt(struct sim *sim, struct sim_flow *flow)
{
    const struct sim_client *client = &sim->fleet->clients[flow->client];
    const uint32_t idx = index_of(sim, flow);
    if (flow->n_attempts == SIM_ATTEMPTS_MAX)
        return false;
    const uint32_t replica = sim->kind->choose(sim->choosers[flow->client], flow, sim->now_ns);
    if (replica == SIM_NOBODY)
        return false;
    flow->replica = replica;
    flow->n_attempts++;
    flow->attempt = ++sim->n_attempts;
    flow->asked_ns = sim->now_ns;
    flow->is_connecting = true;
    tally_choice(&sim->tally, client,
                 sim_distance(&client->place, &sim->fleet->replicas[replica].place), sim->now_ns);
    if (sim->kind->has_racing && flow->n_attempts < SIM_ATTEMPTS_MAX)
        events_add(&sim->events, sim->now_ns + SIM_RACE_NS, EVENT_RACE, idx, flow->attempt);
    if (sim->servers[flow->replica].state == SIM_DARK)
        events_add(&sim->events, sim->now_ns + attempt_time_ns(sim, flow), EVENT_TIMEOUT, idx,
                   flow->attempt);
    else
        events_add(&sim->events, sim->now_ns + rtt_ns(sim, flow), EVENT_ATTEMPT, idx,
                   flow->attempt);
    return true;
}

static void attempt(struct sim *sim, struct sim_flow *flow)
{
    if (try_attempt(sim, flow))
        return;
    finish(sim, flow, false);
    free_flow(sim, flow);
}

static void on_race(struct sim *sim, struct sim_flow *flow)
{
    if (!flow->is_connecting || flow->racer.is_on)
        return;
    if (sim->kind->raced)
        sim->kind->raced(sim->choosers[flow->client], flow, sim->now_ns);
    const struct sim_racer first = {flow->attempt, flow->replica, flow->lease, true};
    add_tried(flow, flow->replica);
    flow->lease = (struct lease){0};
    flow->racer = first;
    if (!try_attempt(sim, flow))
        resume_racer(flow);
}

static void on_timeout(struct sim *sim, const struct event *event)
{
    struct sim_flow *flow = &sim->flows[event->subject];
    if (!flow->is_in_use)
        return;
    if (flow->attempt == event->attempt) {
        connect_failed(sim, flow, SIM_TIMED_OUT);
    } else if (flow->racer.is_on && flow->racer.attempt == event->attempt) {
        end_racer(sim, flow, SIM_TIMED_OUT);
        const uint64_t due_ns = flow->asked_ns + SIM_RACE_NS;
        events_add(&sim->events, due_ns > sim->now_ns ? due_ns : sim->now_ns, EVENT_RACE,
                   event->subject, flow->attempt);
    }
}

/* ---- replicas ---- */

static double slowness(const struct server *server, uint64_t now_ns)
{
    if (now_ns >= server->change_ns + server->change_over_ns)
        return server->slowness_to;
    const double done = (double)(now_ns - server->change_ns) / (double)server->change_over_ns;
    return server->slowness_from + (server->slowness_to - server->slowness_from) * done;
}

static void count_busy(struct sim *sim, struct server *server)
{
    server->busy_ns += server->busy * (sim->now_ns - server->busy_since_ns);
    server->busy_since_ns = sim->now_ns;
}

static void serve(struct sim *sim, struct sim_flow *flow)
{
    struct server *server = &sim->servers[flow->replica];
    const double length_ns =
        (double)sim->fleet->service_ns * flow->demand * slowness(server, sim->now_ns);
    count_busy(sim, server);
    server->busy++;
    events_add(&sim->events, sim->now_ns + (uint64_t)length_ns, EVENT_SERVED, index_of(sim, flow),
               flow->attempt);
}

static void serve_next(struct sim *sim, struct server *server)
{
    while (server->first != QUEUE_END &&
           server->busy < sim->fleet->replicas[server - sim->servers].slots) {
        struct sim_flow *flow = &sim->flows[server->first];
        server->first = flow->next;
        if (server->first == QUEUE_END)
            server->last = QUEUE_END;
        if (flow->is_dead) /* its caller left the queue */
            free_flow(sim, flow);
        else
            serve(sim, flow);
    }
}

static void on_request(struct sim *sim, struct sim_flow *flow)
{
    struct server *server = &sim->servers[flow->replica];
    const uint32_t idx = index_of(sim, flow);
    if (server->state == SIM_REFUSING)
        events_add(&sim->events, sim->now_ns + rtt_ns(sim, flow) / 2, EVENT_BREAK, idx,
                   flow->attempt);
    if (server->state != SIM_UP)
        return; /* dark: until the caller gives up */
    flow->next = QUEUE_END;
    if (server->last == QUEUE_END)
        server->first = idx;
    else
        sim->flows[server->last].next = idx;
    server->last = idx;
    flow->is_at_replica = true;
    serve_next(sim, server);
}

static void on_served(struct sim *sim, struct sim_flow *flow)
{
    struct server *server = &sim->servers[flow->replica];
    count_busy(sim, server);
    server->busy--;
    flow->is_at_replica = false;
    if (flow->is_dead)
        free_flow(sim, flow);
    else
        events_add(&sim->events, sim->now_ns + rtt_ns(sim, flow) / 2, EVENT_ANSWER,
                   index_of(sim, flow), flow->attempt);
    serve_next(sim, server);
}

/* What is there is lost: felt at once where the process died, never where it went dark. */
static void drop_all(struct sim *sim, uint32_t replica)
{
    struct server *server = &sim->servers[replica];
    count_busy(sim, server);
    for (uint32_t i = 0; i < sim->n_flows; i++) {
        struct sim_flow *flow = &sim->flows[i];
        if (!flow->is_in_use || flow->replica != replica || !flow->is_at_replica)
            continue;
        flow->is_at_replica = false;
        if (flow->is_dead) {
            free_flow(sim, flow);
            continue;
        }
        flow->attempt = ++sim->n_attempts; /* its EVENT_SERVED is about nothing now */
        events_add(&sim->events, flow->arrived_ns + SIM_PATIENCE_NS, EVENT_GIVEN_UP, i,
                   flow->attempt);
        if (server->state == SIM_REFUSING)
            events_add(&sim->events, sim->now_ns + rtt_ns(sim, flow) / 2, EVENT_BREAK, i,
                       flow->attempt);
    }
    server->busy = 0;
    server->first = server->last = QUEUE_END;
}

/* ---- what happens ---- */

static void on_arrival(struct sim *sim, uint32_t client)
{
    const uint32_t idx = new_flow(sim);
    struct sim_flow *flow = &sim->flows[idx];
    const double gap_ns = exponential(&sim->arrivals[client]) * (double)SIM_SEC /
                          sim->fleet->clients[client].per_second;
    *flow = (struct sim_flow){.arrived_ns = sim->now_ns,
                              .client = client,
                              .demand = exponential(&sim->demands[client]),
                              .is_in_use = true};
    events_add(&sim->events, sim->now_ns + (uint64_t)gap_ns, EVENT_ARRIVAL, client, 0);
    attempt(sim, flow);
}

static void on_attempt(struct sim *sim, struct sim_flow *flow)
{
    const enum sim_state state = sim->servers[flow->replica].state;
    const uint32_t idx = index_of(sim, flow);
    if (state == SIM_REFUSING) {
        connect_failed(sim, flow, SIM_CONNECT_FAILED);
        return;
    }
    if (state == SIM_DARK) { /* since it was asked */
        events_add(&sim->events, sim->now_ns + attempt_time_ns(sim, flow), EVENT_TIMEOUT, idx,
                   flow->attempt);
        return;
    }
    end_racer(sim, flow, SIM_CONNECT_FAILED);
    flow->is_connecting = false;
    sim->kind->connected(sim->choosers[flow->client], flow, sim->now_ns - flow->asked_ns,
                         sim->now_ns);
    flow->asked_ns = sim->now_ns; /* the request leaves */
    events_add(&sim->events, sim->now_ns + rtt_ns(sim, flow) / 2, EVENT_REQUEST, idx,
               flow->attempt);
    events_add(&sim->events, flow->arrived_ns + SIM_PATIENCE_NS, EVENT_GIVEN_UP, idx,
               flow->attempt);
}

static void on_end(struct sim *sim, struct sim_flow *flow, enum sim_outcome outcome)
{
    finish(sim, flow, outcome == SIM_SERVED);
    end_attempt(sim, flow, outcome);
    free_flow(sim, flow);
}

static void on_given_up(struct sim *sim, struct sim_flow *flow)
{
    if (flow->is_dead)
        return;
    finish(sim, flow, false);
    end_attempt(sim, flow, SIM_GIVEN_UP);
    if (!flow->is_at_replica) /* else it is the replica's until it was served, or its turn came */
        free_flow(sim, flow);
}

static void on_change(struct sim *sim, uint32_t idx)
{
    const struct sim_change *change = &sim->fleet->changes[idx];
    struct server *server = &sim->servers[change->replica];
    switch (change->kind) {
    case CHANGE_STATE:
        server->state = change->state;
        if (change->state != SIM_UP)
            drop_all(sim, change->replica);
        break;
    case CHANGE_SLOWNESS:
        server->slowness_from = slowness(server, sim->now_ns);
        server->slowness_to = change->slowness;
        server->change_ns = sim->now_ns;
        server->change_over_ns = change->over_ns;
        break;
    case CHANGE_READY:
        sim->view.is_ready[change->replica] = change->is_ready;
        sim->view.generation++;
        for (uint32_t i = 0; i < sim->fleet->n_clients; i++)
            sim->kind->told(sim->choosers[i], sim->now_ns);
        break;
    }
}

static void count_need(struct sim *sim)
{
    const struct sim_fleet *fleet = sim->fleet;
    double capacity[SIM_CLUSTERS_MAX] = {0};
    for (uint32_t i = 0; i < fleet->n_replicas; i++) {
        const struct server *server = &sim->servers[i];
        if (server->state == SIM_UP)
            capacity[fleet->replicas[i].place.cluster] +=
                fleet->replicas[i].slots * (double)SIM_SEC /
                ((double)fleet->service_ns * slowness(server, sim->now_ns));
    }
    tally_need(&sim->tally, capacity);
}

static void on_tick(struct sim *sim)
{
    count_need(sim);
    for (uint32_t i = 0; i < sim->fleet->n_replicas; i++) {
        struct server *server = &sim->servers[i];
        count_busy(sim, server);
        if (sim->now_ns % SIM_SEC != 0)
            continue;
        sim->view.utilisation[i] =
            (double)server->busy_ns / ((double)SIM_SEC * sim->fleet->replicas[i].slots);
        server->busy_ns = 0;
    }
    for (uint32_t i = 0; i < sim->fleet->n_clients; i++)
        sim->kind->tick(sim->choosers[i], sim->now_ns);
    events_add(&sim->events, sim->now_ns + TICK_NS, EVENT_TICK, 0, 0);
}

static void on_flow_event(struct sim *sim, const struct event *event)
{
    struct sim_flow *flow = flow_of(sim, event);
    if (!flow)
        return;
    switch (event->kind) {
    case EVENT_ATTEMPT: on_attempt(sim, flow); return;
    case EVENT_RACE: on_race(sim, flow); return;
    case EVENT_REQUEST: on_request(sim, flow); return;
    case EVENT_SERVED: on_served(sim, flow); return;
    case EVENT_ANSWER: on_end(sim, flow, SIM_SERVED); return;
    case EVENT_BREAK: on_end(sim, flow, SIM_BROKEN); return;
    case EVENT_GIVEN_UP: on_given_up(sim, flow); return;
    case EVENT_ARRIVAL:
    case EVENT_CHANGE:
    case EVENT_TIMEOUT:
    case EVENT_TICK: return;
    }
}

/* ---- a run ---- */

static void begin(struct sim *sim, uint64_t seed)
{
    struct rng seeds;
    rng_seed(&seeds, seed);
    for (uint32_t i = 0; i < sim->fleet->n_replicas; i++) {
        const struct sim_replica *replica = &sim->fleet->replicas[i];
        sim->servers[i] = (struct server){.state = replica->state,
                                          .first = QUEUE_END,
                                          .last = QUEUE_END,
                                          .slowness_from = replica->slowness,
                                          .slowness_to = replica->slowness};
        sim->view.is_ready[i] = replica->is_ready;
    }
    for (uint32_t i = 0; i < sim->fleet->n_changes; i++)
        events_add(&sim->events, sim->fleet->changes[i].at_ns, EVENT_CHANGE, i, 0);
    for (uint32_t i = 0; i < sim->fleet->n_clients; i++) {
        rng_seed(&sim->arrivals[i], rng_next(&seeds));
        rng_seed(&sim->demands[i], rng_next(&seeds));
        sim->choosers[i] = sim->kind->open(sim->kind, &sim->view, i, rng_next(&seeds));
        if (sim->fleet->clients[i].per_second > 0)
            events_add(&sim->events, rng_next(&seeds) % (20 * SIM_MS), EVENT_ARRIVAL, i, 0);
    }
    events_add(&sim->events, TICK_NS, EVENT_TICK, 0, 0);
}

static void run(struct sim *sim)
{
    while (sim->events.n > 0 && sim->events.heap[0].at_ns < sim->fleet->length_ns) {
        const struct event event = events_take(&sim->events);
        sim->now_ns = event.at_ns;
        if (event.kind == EVENT_ARRIVAL)
            on_arrival(sim, event.subject);
        else if (event.kind == EVENT_CHANGE)
            on_change(sim, event.subject);
        else if (event.kind == EVENT_TICK)
            on_tick(sim);
        else if (event.kind == EVENT_TIMEOUT)
            on_timeout(sim, &event);
        else
            on_flow_event(sim, &event);
    }
    /* What is still in progress is given back, and counts for nothing. */
    for (uint32_t i = 0; i < sim->n_flows; i++) {
        struct sim_flow *flow = &sim->flows[i];
        if (!flow->is_in_use || flow->is_dead)
            continue;
        end_racer(sim, flow, SIM_GIVEN_UP);
        end_attempt(sim, flow, SIM_GIVEN_UP);
    }
}

struct sim_result sim_run(const struct sim_fleet *fleet, const struct chooser_kind *kind,
                          uint64_t seed, bool trace)
{
    struct sim *sim = mem_new(struct sim);
    sim->fleet = sim->view.fleet = fleet;
    sim->kind = kind;
    sim->free_flow = QUEUE_END;
    tally_init(&sim->tally, fleet, trace);
    begin(sim, seed);
    run(sim);
    if (trace)
        tally_print(&sim->tally);
    const struct sim_result result = tally_result(&sim->tally);
    for (uint32_t i = 0; i < fleet->n_clients; i++)
        kind->close(sim->choosers[i]);
    events_fini(&sim->events);
    tally_fini(&sim->tally);
    mem_free(sim->flows);
    mem_free(sim);
    return result;
}
