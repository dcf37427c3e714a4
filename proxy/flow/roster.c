/*
 * The flows of a worker as a whole: counting, rechecking, cutting, showing.
 */
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/flow/relief.h"
#include "proxy/flow/walk.h"
#include "proxy/flow/witness.h"
#include "proxy/io/process.h"
#include "proxy/meter/meter.h"
#include "proxy/meter/process.h"

#define LOOKED_MAX 1024 /* for a page of a listing that shows few of them */
#define REPORT_NS  (UINT64_C(5) * NS_PER_SEC)
#define AUDIT_NS   (AUDIT_FOLD_NS / 4)

static struct flow *flow_of(struct list *by_state)
{
    return list_entry(by_state, struct flow, by_state);
}

static void report(struct sweep *sweep, struct list *item)
{
    (void)sweep;
    struct flow *flow = flow_of(item);
    const struct totals totals = pump_totals(&flow->pump);
    record_bytes(&flow->call.record, &totals);
}

static void on_report(struct timer *timer)
{
    struct walk *walk = container_of(timer, struct walk, report);
    sweep_start(&walk->sweeps[SWEEP_REPORT]);
    timer_start(walk->tools.loop, timer, REPORT_NS, on_report);
}

static void tell(struct sweep *sweep, struct list *item)
{
    (void)sweep;
    struct flow *flow = flow_of(item);
    if (flow->work && flow->work->tell)
        flow->work->tell(flow, call_now_ns(&flow->call) - AUDIT_LONG_NS);
}

/* Not at every turn, since it looks at idle connections too. */
static void tell_long(struct walk *walk, uint64_t now_ns)
{
    if (now_ns < walk->long_due_ns || now_ns < AUDIT_LONG_NS)
        return;
    walk->long_due_ns = now_ns + AUDIT_LONG_NS;
    sweep_start(&walk->sweeps[SWEEP_TELL]);
}

static void on_audit(struct timer *timer)
{
    struct walk *walk = container_of(timer, struct walk, audit);
    const uint64_t now_ns = loop_now_ns(walk->tools.loop);
    tell_long(walk, now_ns);
    audit_tell_due(walk->tools.audit, now_ns);
    timer_start(walk->tools.loop, timer, AUDIT_NS, on_audit);
}

#define TRIM_NS        NS_PER_SEC
#define TRIM_VAIN_PCT  90 /* of the bound */
#define RELIEF_END_PCT 80
#define NEAR_PCT       80

/* Cut for more than the strain to end, so that the hog does not have it back at once. */
static uint64_t relieve(struct walk *walk, uint64_t bytes)
{
    const uint64_t enough = walk->options.max_memory_bytes / 100 * RELIEF_END_PCT;
    const struct relief relief = relief_cut(walk, bytes - enough);
    walk->owes_memory = walk->owes_memory || relief.bytes > 0;
    if (relief.is_awaited)
        return 0;
    return relief.bytes < bytes ? bytes - relief.bytes : 0;
}

/* Since the heap keeps what was freed, and a burst that is over would be held against everybody for
 * good. */
static void give_back(struct walk *walk)
{
    mem_trim();
    walk->owes_memory = false;
    ledger_note_paid(walk->ledger, walk->tools.worker);
}

static uint64_t resident_but_cut(struct walk *walk)
{
    const uint64_t bytes = process_resident_bytes(), owed = ledger_owed(walk->ledger);
    return owed < bytes ? bytes - owed : 0;
}

/* At the bound, what was freed is given back first. If that is not enough, who holds most is cut;
 * that counts as free at once, and the next look gives it back, at the bound or not. While it is
 * the turn of another worker to cut, nothing counts as used. What was given back in vain is tried
 * again a second later. */
static uint64_t memory_in_use(struct walk *walk)
{
    const uint64_t bound = walk->options.max_memory_bytes;
    const uint64_t now_ns = loop_now_ns(walk->tools.loop);
    if (walk->owes_memory)
        give_back(walk);
    if (bound == 0)
        return 0;
    uint64_t bytes = resident_but_cut(walk);
    if (overload_lacks_memory(&walk->overload, bound, bytes) && now_ns >= walk->trim_due_ns) {
        give_back(walk);
        bytes = resident_but_cut(walk);
        if (bytes >= bound / 100 * TRIM_VAIN_PCT)
            walk->trim_due_ns = now_ns + TRIM_NS;
    }
    if (overload_lacks_memory(&walk->overload, bound, bytes))
        return relieve(walk, bytes);
    ledger_note_enough(walk->ledger);
    if (bytes >= bound / 100 * NEAR_PCT)
        relief_tell(walk);
    else
        ledger_forget(walk->ledger, walk->tools.worker);
    return bytes;
}

void walk_sample(struct walk *walk, uint64_t lag_ns)
{
    const struct walk_options *options = &walk->options;
    const struct overload_bounds bounds = {options->max_memory_bytes, options->max_lag_ns};
    const struct overload_reading reading = {
        .memory_bytes = memory_in_use(walk),
        .lag_ns = lag_ns,
        .descriptors_pct = process_descriptors_pct(),
    };
    const enum strain before = walk->overload.strain;
    overload_note(&walk->overload, &bounds, &reading);
    const enum strain strain = walk->overload.strain;
    if (strain == before)
        return;
    meter_add(walk->tools.meter, METRIC_WORKERS_SHEDDING,
              (strain != STRAIN_NONE) - (before != STRAIN_NONE));
    if (strain == STRAIN_NONE)
        log_info("new connections are taken again");
    else
        log_warn("new connections are refused", log_str("why", str_from(strain_text(strain))),
                 log_u64("memory_bytes", reading.memory_bytes),
                 log_u64("lag_ms", lag_ns / NS_PER_MS),
                 log_u64("descriptors_pct", reading.descriptors_pct));
}

static void tell_buffers(struct walk *walk, const struct slab_pool *now)
{
    struct meter *meter = walk->tools.meter;
    struct buffers_told *told = &walk->buffers;
    meter_add(meter, METRIC_BUFFER_BYTES, (int64_t)(now->live_bytes - told->live_bytes));
    meter_add(meter, METRIC_BUFFERS_REUSED, (int64_t)(now->n_reused - told->n_reused));
    meter_add(meter, METRIC_BUFFERS_MADE, (int64_t)(now->n_made - told->n_made));
    told->live_bytes = now->live_bytes;
    told->n_reused = now->n_reused;
    told->n_made = now->n_made;
}

static void tell_long_turns(struct walk *walk, struct long_turns now)
{
    struct meter *meter = walk->tools.meter;
    struct long_turns *told = &walk->long_turns;
    meter_add(meter, METRIC_LONG_TURNS_WORKED, (int64_t)(now.n_worked - told->n_worked));
    meter_add(meter, METRIC_LONG_TURNS_WAITED, (int64_t)(now.n_waited - told->n_waited));
    *told = now;
}

static void on_sample(struct timer *timer)
{
    struct walk *walk = container_of(timer, struct walk, sample);
    tell_buffers(walk, loop_slabs(walk->tools.loop));
    tell_long_turns(walk, loop_long_turns(walk->tools.loop));
    const uint64_t now_ns = loop_now_ns(walk->tools.loop);
    walk_sample(walk, now_ns > walk->sample_due_ns ? now_ns - walk->sample_due_ns : 0);
    walk->sample_due_ns = now_ns + OVERLOAD_SAMPLE_NS;
    timer_start(walk->tools.loop, timer, OVERLOAD_SAMPLE_NS, on_sample);
}

static void recheck(struct sweep *sweep, struct list *item)
{
    (void)sweep;
    struct flow *flow = flow_of(item);
    const int err = call_recheck(&flow->call);
    if (err < 0)
        flow_end(flow, err, (struct str){0});
    else if (flow->work)
        flow->work->recheck(flow);
}

static void drain(struct sweep *sweep, struct list *item)
{
    (void)sweep;
    struct flow *flow = flow_of(item);
    flow->work->drain(flow);
}

/* Pods may have left, and with them their series, which flows that were cut late have held, and
 * whose names what waits for the audit log may be known by. */
static void on_rechecked(struct sweep *sweep)
{
    struct walk *walk = container_of(sweep, struct walk, sweeps[SWEEP_RECHECK]);
    audit_tell_all(walk->tools.audit);
    acquaintances_forget(&walk->acquaintances);
    if (walk->tools.rechecked)
        walk->tools.rechecked->run(walk->tools.rechecked);
}

static void init_sweeps(struct walk *walk)
{
    struct loop *loop = walk->tools.loop;
    sweep_init(&walk->sweeps[SWEEP_RECHECK], loop, &walk->flows[FLOW_CONNECTING],
               FLOW_CLOSED - FLOW_CONNECTING, SWEEP_NS, recheck, on_rechecked);
    sweep_init(&walk->sweeps[SWEEP_REPORT], loop, &walk->flows[FLOW_PUMPING], 1, SWEEP_NS, report,
               NULL);
    sweep_init(&walk->sweeps[SWEEP_TELL], loop, &walk->flows[FLOW_SERVING], 1, SWEEP_NS, tell,
               NULL);
    sweep_init(&walk->sweeps[SWEEP_DRAIN], loop, &walk->flows[FLOW_SERVING], 1, SWEEP_NS, drain,
               NULL);
}

struct walk *walk_new(const struct walk_tools *tools, const struct walk_options *options)
{
    struct walk *walk = mem_new(struct walk);
    walk->tools = *tools;
    walk->options = *options;
    walk->next_id = 1;
    walk->own_ledger = tools->ledger ? NULL : ledger_new(1);
    walk->ledger = tools->ledger ? tools->ledger : walk->own_ledger;
    walk->tokens = token_room_new(tools->meter);
    for (int i = 0; i < FLOW_STATES; i++)
        list_init(&walk->flows[i]);
    listing_init(&walk->listing);
    init_sweeps(walk);
    timer_start(tools->loop, &walk->report, REPORT_NS, on_report);
    walk->sample_due_ns = loop_now_ns(tools->loop) + OVERLOAD_SAMPLE_NS;
    timer_start(tools->loop, &walk->sample, OVERLOAD_SAMPLE_NS, on_sample);
    if (tools->audit)
        timer_start(tools->loop, &walk->audit, AUDIT_NS, on_audit);
    return walk;
}

void walk_free(struct walk *walk)
{
    walk_cut_all(walk, -ERR_SHUTDOWN);
    for (int i = 0; i < WALK_SWEEPS; i++)
        sweep_stop(&walk->sweeps[i]);
    timer_stop(&walk->report);
    timer_stop(&walk->sample);
    timer_stop(&walk->audit);
    audit_tell_all(walk->tools.audit);
    token_room_free(walk->tokens);
    if (walk->overload.strain != STRAIN_NONE)
        meter_add(walk->tools.meter, METRIC_WORKERS_SHEDDING, -1);
    meter_add(walk->tools.meter, METRIC_BUFFER_BYTES, -(int64_t)walk->buffers.live_bytes);
    clients_fini(&walk->clients);
    acquaintances_forget(&walk->acquaintances);
    ledger_free(walk->own_ledger);
    mem_free(walk);
}

void walk_drain(struct walk *walk)
{
    if (walk->old_below_id == 0)
        walk->old_below_id = walk->next_id;
    sweep_start(&walk->sweeps[SWEEP_DRAIN]);
}

void walk_last_call(struct walk *walk)
{
    walk->is_last_call = true;
    walk_drain(walk);
}

bool walk_has_old(const struct walk *walk)
{
    for (int i = 0; i < FLOW_CLOSED; i++) {
        list_foreach(it, &walk->flows[i])
        {
            if (list_entry(it, struct flow, by_state)->call.id < walk->old_below_id)
                return true;
        }
    }
    return false;
}

void walk_cut_all(struct walk *walk, int err)
{
    for (int i = 0; i < FLOW_CLOSED; i++) {
        list_foreach(it, &walk->flows[i])
            flow_end(list_entry(it, struct flow, by_state), err, (struct str){0});
    }
}

size_t walk_flows(const struct walk *walk)
{
    return walk->n_flows;
}

static bool is_callers_leaving(int err)
{
    return err == -ERR_EOF || err == -ERR_RESET;
}

void walk_note_refusal(struct walk *walk, const struct refusal *refusal)
{
    if (!is_callers_leaving(refusal->err))
        witness_refusal(walk->tools.audit, *walk->tools.snapshot, refusal);
}

void walk_recheck(struct walk *walk)
{
    audit_tell_all(walk->tools.audit); /* what was before the change stands before it */
    sweep_start(&walk->sweeps[SWEEP_RECHECK]);
}

bool walk_is_rechecking(const struct walk *walk)
{
    return sweep_is_running(&walk->sweeps[SWEEP_RECHECK]);
}

static void add_flow(const struct flow *flow, struct text *out)
{
    const struct totals totals = flow->work ? flow->work->totals(flow) : pump_totals(&flow->pump);
    const uint64_t age_ns = loop_now_ns(flow->call.walk->tools.loop) - flow->call.started_ns;
    text_addf(out,
              "{\"id\":%llu,\"state\":\"%s\",\"age_ms\":%llu,\"bytes_received\":%llu,\"bytes_"
              "sent\":%llu,",
              (unsigned long long)flow->call.id, flow_state_name((enum flow_state)flow->state),
              (unsigned long long)(age_ns / NS_PER_MS), (unsigned long long)totals.received,
              (unsigned long long)totals.sent);
    record_json(&flow->call.record, flow->call.record.kind != ARRIVAL_OUTBOUND, out);
    text_addc(out, '}');
}

static struct flow *of_age(struct list *item)
{
    return list_entry(item, struct flow, by_age);
}

static uint64_t id_of(struct list *item)
{
    return of_age(item)->call.id;
}

void walk_page(struct walk *walk, struct flow_page *page, struct text *out)
{
    struct list *at = listing_seek(&walk->listing, page->after_id, id_of);
    ensure(page->max > 0);
    if (page->below_id == 0)
        page->below_id = walk->next_id;
    page->n = 0;
    page->has_more = false;
    for (unsigned n_looked = 0; n_looked < LOOKED_MAX && page->n < page->max; n_looked++) {
        at = at->next;
        if (at == &walk->listing.items || id_of(at) >= page->below_id)
            return;
        const struct flow *flow = of_age(at);
        const char *state = flow_state_name((enum flow_state)flow->state);
        if (!str_is_empty(page->state) && !str_eq(page->state, str_from(state)))
            continue;
        if (page->n++ > 0)
            text_addc(out, ',');
        add_flow(flow, out);
    }
    page->after_id = id_of(at);
    page->has_more = true;
    listing_keep(&walk->listing, at, page->after_id);
}
