/*
 * Happy path: checker_use -> endpoints of the set are watched -> each check falls due, stands in
 * line, runs, is noted, and falls due again. A new snapshot is compared with what is watched; a
 * running check keeps what it needs for itself.
 */
#include "proxy/health/checker.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"
#include "proxy/health/probe.h"
#include "proxy/http/hbone.h"
#include "proxy/meter/meter.h"

#define APART_NS (NS_PER_SEC / CHECKER_PER_SEC)
#define SWEEP_NS (5 * NS_PER_SEC)

struct watched;

struct check_run { /* one check of one endpoint */
    struct watched *watched;
    struct timer timer;
    struct list in_line;
    struct probe *probe;
    struct standing standing;
};

struct watched { /* one endpoint */
    struct watched_set *set;
    uint64_t key;
    struct list by_set;
    const struct endpoint *endpoint; /* of the present snapshot, as all of these */
    const struct service *service;
    struct check_run runs[TRAFFIC_CHECKS_MAX];
    size_t n_runs;
    enum health_status status;
    int64_t since_ns, checked_ns; /* of the wall clock; 0: never */
    struct text why;
    bool is_seen, was_refused;
};

struct watched_set {
    struct checker *checker;
    uint64_t id;
    struct arena arena;
    struct str service;
    uint16_t port;
    bool is_v6;
    struct text principal;
    uint64_t used_ns;
    struct list members;
};

struct checker {
    struct checker_tools tools;
    void (*on_change)(void *owner, const struct health_state *state);
    void *owner;
    struct map sets; /* id -> struct watched_set */
    struct list line;
    struct timer pace, sweep;
    uint64_t next_start_ns;
    size_t n_watched, n_in_flight;
};

static void run_line(struct checker *checker);

static struct str id_of(const uint64_t *id)
{
    return str_of(id, sizeof *id);
}

static uint64_t below(struct checker *checker, uint64_t bound)
{
    return bound == 0 ? 0 : rng_next(loop_rng(checker->tools.loop)) % bound;
}

static const struct health_check *check_of(const struct check_run *run)
{
    const struct watched *watched = run->watched;
    return &watched->service->traffic->checks[run - watched->runs];
}

/* ---- standings ---- */

/* Unwell when one check says so, well when all do. */
static enum health_status sum_up(const struct watched *watched)
{
    enum health_status status = watched->n_runs > 0 ? HEALTH_GOOD : HEALTH_UNKNOWN;
    for (size_t i = 0; i < watched->n_runs; i++) {
        if (watched->runs[i].standing.status == HEALTH_BAD)
            return HEALTH_BAD;
        if (watched->runs[i].standing.status == HEALTH_UNKNOWN)
            status = HEALTH_UNKNOWN;
    }
    return status;
}

static void set_status(struct watched *watched, enum health_status status)
{
    static const enum metric gauges[HEALTH_STATUSES] = {METRIC_HEALTH_UNKNOWN, METRIC_HEALTH_GOOD,
                                                        METRIC_HEALTH_BAD};
    struct checker *checker = watched->set->checker;
    if (watched->status == status)
        return;
    meter_add(checker->tools.meter, gauges[watched->status], -1);
    meter_add(checker->tools.meter, gauges[status], 1);
    watched->status = status;
    watched->since_ns = clock_wall_ns();
    const struct health_state state = {watched->set->id, watched->key, status};
    checker->on_change(checker->owner, &state);
}

static void log_status(const struct watched *watched)
{
    log_info("an endpoint's health changed", log_str("dst.service", watched->set->service),
             log_str("dst.workload", watched->endpoint->workload->name),
             log_addr("dst.addr", &watched->endpoint->addr),
             log_str("health", str_from(health_status_name(watched->status))),
             log_str("detail", text_str(&watched->why)));
}

static void count_answer(struct checker *checker, enum answer answer)
{
    switch (answer) {
    case ANSWER_GOOD: meter_add(checker->tools.meter, METRIC_HEALTH_CHECKS_PASSED, 1); break;
    case ANSWER_BAD:
    case ANSWER_NONE: meter_add(checker->tools.meter, METRIC_HEALTH_CHECKS_FAILED, 1); break;
    case ANSWER_UNTOLD: meter_add(checker->tools.meter, METRIC_HEALTH_CHECKS_UNTOLD, 1); break;
    }
}

static void warn_untold(struct watched *watched)
{
    if (watched->was_refused)
        return;
    watched->was_refused = true;
    log_warn("an endpoint's health cannot be checked",
             log_str("dst.service", watched->set->service),
             log_addr("dst.addr", &watched->endpoint->addr),
             log_str("src.identity", text_str(&watched->set->principal)),
             log_str("detail", text_str(&watched->why)));
}

static void on_due(struct timer *timer)
{
    struct check_run *run = container_of(timer, struct check_run, timer);
    struct checker *checker = run->watched->set->checker;
    list_push_back(&checker->line, &run->in_line);
    run_line(checker);
}

static void note(struct check_run *run, enum answer answer, struct str why)
{
    struct watched *watched = run->watched;
    struct checker *checker = watched->set->checker;
    const struct health_check *check = check_of(run);
    const enum health_status before = watched->status;
    count_answer(checker, answer);
    watched->checked_ns = clock_wall_ns();
    text_clear(&watched->why);
    text_add(&watched->why, why);
    standing_note(&run->standing, check, answer);
    if (answer == ANSWER_UNTOLD)
        warn_untold(watched);
    else
        watched->was_refused = false;
    set_status(watched, sum_up(watched));
    if (watched->status != before && (before == HEALTH_BAD || watched->status == HEALTH_BAD))
        log_status(watched);
    const bool is_failing = run->standing.status == HEALTH_BAD;
    const uint64_t interval_ns = is_failing && check->unhealthy_interval_ns > 0
                                     ? check->unhealthy_interval_ns
                                     : check->interval_ns;
    timer_start(checker->tools.loop, &run->timer, interval_ns + below(checker, check->jitter_ns),
                on_due);
}

static void on_answer(void *owner, enum answer answer, struct str why)
{
    struct check_run *run = owner;
    struct checker *checker = run->watched->set->checker;
    run->probe = NULL;
    checker->n_in_flight--;
    note(run, answer, why);
    run_line(checker);
}

/* ---- asking ---- */

/* The pod of this node under whose identity the endpoint is reached, NULL when none is left. */
static const struct workload *find_user(const struct checker *checker, struct str principal)
{
    const struct snapshot *snapshot = *checker->tools.snapshot;
    for (size_t i = 0; i < snapshot->n_local; i++) {
        if (str_eq(snapshot->local[i]->identity, principal))
            return snapshot->local[i];
    }
    return NULL;
}

static void reach_through_tunnel(struct check_run *run, struct connect_request *request,
                                 const struct workload *user, struct arena *scratch)
{
    const struct watched *watched = run->watched;
    const struct service *service = watched->service;
    const struct addr user_addr = {.ip = user->addresses[0]};
    struct str *expected = arena_new_array(scratch, struct str, 1 + service->n_sans);
    expected[0] = watched->endpoint->workload->identity;
    for (size_t i = 0; i < service->n_sans; i++)
        expected[1 + i] = service->sans[i];
    request->through_tunnel = true;
    request->identity = user->svid_key;
    request->expected = expected;
    request->n_expected = 1 + service->n_sans;
    request->baggage = hbone_baggage(scratch, user);
    request->forwarded = hbone_forwarded(scratch, &user_addr, service->hostname);
    request->traceparent = hbone_traceparent(scratch, loop_rng(watched->set->checker->tools.loop));
}

static void start(struct check_run *run)
{
    struct watched *watched = run->watched;
    struct checker *checker = watched->set->checker;
    const struct workload *workload = watched->endpoint->workload;
    const struct health_check *check = check_of(run);
    struct connect_request request = {.addr = watched->endpoint->addr};
    struct arena scratch = {0};
    if (check->port != 0)
        request.addr.port = check->port;
    if (workload->speaks_hbone && !workload->is_local) {
        const struct workload *user = find_user(checker, text_str(&watched->set->principal));
        if (!user) {
            note(run, ANSWER_UNTOLD, STR("the pod that used it has left this node"));
            return;
        }
        reach_through_tunnel(run, &request, user, &scratch);
    }
    checker->n_in_flight++;
    run->probe =
        probe_start(checker->tools.loop, checker->tools.connector, &request, check, on_answer, run);
    arena_fini(&scratch);
}

static void on_pace(struct timer *timer)
{
    run_line(container_of(timer, struct checker, pace));
}

static void run_line(struct checker *checker)
{
    const uint64_t now_ns = loop_now_ns(checker->tools.loop);
    while (!list_is_empty(&checker->line) && checker->n_in_flight < CHECKER_IN_FLIGHT_MAX) {
        if (now_ns < checker->next_start_ns) {
            timer_start(checker->tools.loop, &checker->pace, checker->next_start_ns - now_ns,
                        on_pace);
            return;
        }
        struct list *first = checker->line.next;
        list_remove(first);
        checker->next_start_ns = now_ns + APART_NS;
        start(list_entry(first, struct check_run, in_line));
    }
}

/* ---- who is watched ---- */

static void stop_run(struct check_run *run)
{
    timer_stop(&run->timer);
    list_remove(&run->in_line);
    if (run->probe) {
        probe_cancel(run->probe);
        run->watched->set->checker->n_in_flight--;
    }
    *run = (struct check_run){.watched = run->watched};
    list_init(&run->in_line);
}

static void free_watched(void *ptr)
{
    struct watched *watched = ptr;
    text_fini(&watched->why);
    mem_free(watched);
}

static void unwatch(struct watched *watched)
{
    struct checker *checker = watched->set->checker;
    for (size_t i = 0; i < TRAFFIC_CHECKS_MAX; i++)
        stop_run(&watched->runs[i]);
    set_status(watched, HEALTH_UNKNOWN);
    meter_add(checker->tools.meter, METRIC_HEALTH_UNKNOWN, -1);
    list_remove(&watched->by_set);
    checker->n_watched--;
    loop_bury(checker->tools.loop, watched, free_watched);
}

static void start_run(struct check_run *run)
{
    struct checker *checker = run->watched->set->checker;
    const uint64_t tenth_ns = check_of(run)->interval_ns / 10;
    timer_start(checker->tools.loop, &run->timer,
                1 + below(checker, tenth_ns < CHECKER_FIRST_NS ? tenth_ns : CHECKER_FIRST_NS),
                on_due);
}

static struct watched *watch(struct watched_set *set, uint64_t key)
{
    struct checker *checker = set->checker;
    struct watched *watched = mem_new(struct watched);
    watched->set = set;
    watched->key = key;
    list_push_back(&set->members, &watched->by_set);
    for (size_t i = 0; i < TRAFFIC_CHECKS_MAX; i++) {
        watched->runs[i].watched = watched;
        list_init(&watched->runs[i].in_line);
    }
    checker->n_watched++;
    meter_add(checker->tools.meter, METRIC_HEALTH_UNKNOWN, 1);
    return watched;
}

static struct watched *find_watched(struct watched_set *set, uint64_t key)
{
    list_foreach(it, &set->members)
    {
        struct watched *watched = list_entry(it, struct watched, by_set);
        if (watched->key == key)
            return watched;
    }
    return NULL;
}

/* The endpoint as the present snapshot has it; checks that are new begin, lost ones end. */
static void refresh(struct watched_set *set, const struct service *service,
                    const struct endpoint *endpoint)
{
    struct watched *watched = find_watched(set, endpoint->key);
    if (!watched && set->checker->n_watched >= CHECKER_ENDPOINTS_MAX)
        return;
    if (!watched)
        watched = watch(set, endpoint->key);
    watched->is_seen = true;
    watched->service = service;
    watched->endpoint = endpoint;
    const size_t n_before = watched->n_runs;
    watched->n_runs = service->traffic->n_checks;
    for (size_t i = watched->n_runs; i < n_before; i++)
        stop_run(&watched->runs[i]);
    for (size_t i = n_before; i < watched->n_runs; i++)
        start_run(&watched->runs[i]);
    if (n_before != watched->n_runs)
        set_status(watched, sum_up(watched));
}

static void follow(struct watched_set *set)
{
    const struct snapshot *snapshot = *set->checker->tools.snapshot;
    const struct service *service = snapshot_service_by_key(snapshot, set->service);
    const struct service_port *port = service ? service_find_port(service, set->port) : NULL;
    list_foreach(it, &set->members) list_entry(it, struct watched, by_set)->is_seen = false;
    if (port && service->traffic->n_checks > 0) {
        const struct endpoint_set *endpoints = snapshot_set(snapshot, port, set->is_v6);
        size_t n = 0;
        for (size_t i = 0; i < endpoints->len && n < CHECKER_SET_MAX; i++) {
            const struct endpoint *endpoint = &endpoints->endpoints[i];
            if (!endpoint->is_ready && !service->allow_unhealthy)
                continue;
            refresh(set, service, endpoint);
            n++;
        }
    }
    list_foreach(it, &set->members)
    {
        struct watched *watched = list_entry(it, struct watched, by_set);
        if (!watched->is_seen)
            unwatch(watched);
    }
}

static void drop_set(struct watched_set *set)
{
    list_foreach(it, &set->members) unwatch(list_entry(it, struct watched, by_set));
    text_fini(&set->principal);
    arena_fini(&set->arena);
    mem_free(set);
}

/* Who is no longer used is left alone, and those who found no room before may have it. */
static void on_sweep(struct timer *timer)
{
    struct checker *checker = container_of(timer, struct checker, sweep);
    const uint64_t now_ns = loop_now_ns(checker->tools.loop);
    size_t idx = 0;
    struct str id;
    void *value;
    bool has_dropped = false;
    while (map_next(&checker->sets, &idx, &id, &value)) {
        struct watched_set *set = value;
        if (now_ns - set->used_ns < CHECKER_IDLE_NS)
            continue;
        (void)map_remove_at(&checker->sets, idx);
        drop_set(set);
        has_dropped = true;
    }
    if (has_dropped)
        checker_learn(checker);
    timer_start(checker->tools.loop, timer, SWEEP_NS, on_sweep);
}

void checker_learn(struct checker *checker)
{
    size_t idx = 0;
    struct str id;
    void *value;
    while (map_next(&checker->sets, &idx, &id, &value))
        follow(value);
}

void checker_use(struct checker *checker, const struct health_use *use)
{
    struct watched_set *set = map_find(&checker->sets, id_of(&use->set_id));
    const bool is_new = !set;
    if (is_new) {
        set = mem_new(struct watched_set);
        set->checker = checker;
        set->id = use->set_id;
        set->service = arena_str(&set->arena, use->service);
        set->port = use->port;
        set->is_v6 = use->is_v6;
        list_init(&set->members);
        (void)map_put(&checker->sets, id_of(&set->id), set);
    }
    set->used_ns = loop_now_ns(checker->tools.loop);
    text_clear(&set->principal);
    text_add(&set->principal, use->principal);
    if (is_new && *checker->tools.snapshot)
        follow(set);
}

/* ---- looking in ---- */

size_t checker_states(const struct checker *checker, uint64_t set_id, struct health_state *out,
                      size_t max)
{
    struct watched_set *set = map_find(&checker->sets, id_of(&set_id));
    size_t n = 0;
    if (!set)
        return 0;
    list_foreach(it, &set->members)
    {
        const struct watched *watched = list_entry(it, struct watched, by_set);
        if (n < max)
            out[n++] = (struct health_state){set_id, watched->key, watched->status};
    }
    return n;
}

static void add_age(struct text *out, const char *name, int64_t then_ns, int64_t now_ns)
{
    text_addf(out, ",\"%s\":", name);
    if (then_ns == 0)
        text_addf(out, "null");
    else
        text_addf(out, "%lld", (long long)((now_ns - then_ns) / (int64_t)NS_PER_MS));
}

static void add_watched(const struct watched *watched, struct text *out)
{
    const struct workload *workload = watched->endpoint->workload;
    const int64_t now_ns = clock_wall_ns();
    char addr[ADDR_TEXT_MAX];
    text_addf(out, "{\"service\":");
    text_add_json_string(out, watched->service->hostname);
    text_addf(out, ",\"port\":%u,\"namespace\":", watched->set->port);
    text_add_json_string(out, workload->namespace_);
    text_addf(out, ",\"workload\":");
    text_add_json_string(out, workload->name);
    text_addf(out, ",\"cluster\":");
    text_add_json_string(out, workload->cluster);
    text_addf(out, ",\"address\":\"%s\",\"health\":\"%s\",\"why\":",
              addr_text(&watched->endpoint->addr, addr), health_status_name(watched->status));
    text_add_json_string(out, text_str(&watched->why));
    add_age(out, "since_ms", watched->since_ns, now_ns);
    add_age(out, "checked_ms", watched->checked_ns, now_ns);
    text_addf(out, ",\"as\":");
    text_add_json_string(out, text_str(&watched->set->principal));
    text_addc(out, '}');
}

void checker_json(const struct checker *checker, struct text *out)
{
    size_t idx = 0;
    struct str id;
    void *value;
    bool is_first = true;
    while (map_next(&checker->sets, &idx, &id, &value)) {
        struct watched_set *set = value;
        list_foreach(it, &set->members)
        {
            (void)pace();
            if (!is_first)
                text_addc(out, ',');
            add_watched(list_entry(it, struct watched, by_set), out);
            is_first = false;
        }
    }
}

/* ---- life ---- */

struct checker *checker_new(const struct checker_tools *tools,
                            void (*on_change)(void *owner, const struct health_state *state),
                            void *owner)
{
    struct checker *checker = mem_new(struct checker);
    checker->tools = *tools;
    checker->on_change = on_change;
    checker->owner = owner;
    list_init(&checker->line);
    timer_start(tools->loop, &checker->sweep, SWEEP_NS, on_sweep);
    return checker;
}

void checker_free(struct checker *checker)
{
    size_t idx = 0;
    struct str id;
    void *value;
    while (map_next(&checker->sets, &idx, &id, &value)) {
        (void)map_remove_at(&checker->sets, idx);
        drop_set(value);
    }
    timer_stop(&checker->pace);
    timer_stop(&checker->sweep);
    map_fini(&checker->sets);
    mem_free(checker);
}
