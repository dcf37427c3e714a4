/*
 * What a call lives under: the verdicts on it, and the attempts that are in progress for it.
 */
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/flow/walk.h"
#include "proxy/flow/witness.h"
#include "proxy/meter/meter.h"

void call_init(struct call *call, struct walk *walk, const struct call_events *events,
               struct search *search)
{
    const struct walk_options *options = &walk->options;
    call->walk = walk;
    call->events = events;
    call->id = call->connection = walk->next_id++;
    call->started_ns = loop_now_ns(walk->tools.loop);
    *search = (struct search){
        .call = call,
        .since_ns = call->started_ns,
        .patience = {options->max_attempts, options->connect_ns, options->attempt_ns,
                     options->idle_ns},
    };
    call->search = search;
}

void call_fini(struct call *call)
{
    mem_free(call->kept);
    arena_fini(&call->arena);
}

/* Who was judged is mostly who the record says it is. */
static bool borrow_principal(struct call *call)
{
    const struct str known = record_name(&call->record, LABEL_SOURCE_PRINCIPAL);
    if (!str_eq(call->judged.principal_id, known))
        return false;
    call->judged.principal_id = known;
    return true;
}

void call_end_search(struct call *call)
{
    mem_free(call->search);
    call->search = NULL;
}

void call_fold(struct call *call)
{
    struct record *record = &call->record;
    struct str *const strings[] = {&record->ruling.policy, &record->dry_run_policy,
                                   &record->trace,         &record->peer_serial,
                                   &record->detail,        &call->judged.principal_id};
    call_end_search(call);
    if (!record_fold(record, call->walk->tools.traffic))
        return;
    const size_t n = ARRAY_LEN(strings) - (borrow_principal(call) ? 1 : 0);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strings[i]->len;
    call->kept = mem_alloc(bytes);
    char *to = call->kept;
    for (size_t i = 0; i < n; i++) {
        const size_t len = strings[i]->len;
        if (len > 0)
            memcpy(to, strings[i]->ptr, len);
        *strings[i] = str_of(to, len);
        to += len;
    }
    arena_reset(&call->arena);
}

/* ---- attempts ---- */

void call_show(struct call *call, const struct attempt *attempt)
{
    struct record *record = &call->record;
    record->destination = attempt->reached.destination;
    record_load_names(record, &call->arena, PARTY_DESTINATION, attempt->reached.names);
    record->hbone_addr = attempt->reached.hbone_addr;
    record->ruling = attempt->reached.ruling;
    record->trace = attempt->reached.trace;
    record->dry_run_policy = attempt->reached.dry_run_policy;
    record->is_same_node = attempt->reached.is_same_node;
}

void call_note_upstream(struct call *call, const struct upstream *upstream)
{
    struct record *record = &call->record;
    if (!upstream->is_tunnel)
        return;
    if (record->hbone_addr.port == 0) { /* one that was there already: nobody connected it now */
        record->hbone_addr = record->destination.addr;
        record->destination.addr.port = CONNECT_TUNNEL_PORT;
    }
    record->is_mutual_tls = true;
    record->tls_version = upstream->tls_version;
    record->cipher = upstream->cipher;
    record->peer_serial = arena_str(&call->arena, upstream->peer_serial);
    record->peer_not_after_ns = upstream->peer_not_after_ns;
    record_peer(record, PARTY_DESTINATION, &call->arena, upstream->peer_id, upstream->baggage);
}

static void free_attempt(void *ptr)
{
    mem_free(ptr);
}

void call_drop_attempt(struct call *call, struct attempt *attempt, enum lease_outcome outcome)
{
    struct walk *walk = call->walk;
    if (attempt->connect)
        connect_cancel(attempt->connect);
    attempt->connect = NULL;
    http_making_end(&attempt->making);
    lease_return(walk->tools.balancer, &attempt->lease, outcome, call_now_ns(call));
    struct attempt **racers = call->search->racers;
    if (racers[0] == attempt)
        racers[0] = racers[1];
    racers[1] = NULL;
    loop_bury(walk->tools.loop, attempt, free_attempt);
}

void call_drop_attempts(struct call *call)
{
    if (!call->search)
        return;
    while (call->search->racers[0])
        call_drop_attempt(call, call->search->racers[0], LEASE_UNUSED);
    timer_stop(&call->search->race);
}

/* ---- verdicts ---- */

static void count_by_policy(struct traffic *traffic, const struct policy_answer *answer)
{
    const struct policy_dry_run *dry = &answer->dry_run;
    traffic_verdict(traffic, answer->policy, answer->allowed ? SAID_ALLOW : SAID_DENY);
    for (size_t i = 0; i < answer->n_audits; i++)
        traffic_verdict(traffic, answer->audits[i].policy, SAID_AUDIT);
    if (dry->is_asked)
        traffic_verdict(traffic, dry->would_deny ? dry->deny.policy : dry->allow.policy,
                        dry->would_deny ? SAID_WOULD_DENY : SAID_WOULD_ALLOW);
}

static void count_verdict(struct meter *meter, const struct policy_answer *answer)
{
    const struct policy_dry_run *dry = &answer->dry_run;
    meter_add(meter, answer->allowed ? METRIC_VERDICTS_ALLOWED : METRIC_VERDICTS_DENIED, 1);
    if (answer->n_audits_matched > 0)
        meter_add(meter, METRIC_VERDICTS_AUDITED, 1);
    if (dry->is_asked && dry->would_deny == answer->allowed)
        meter_add(meter, dry->would_deny ? METRIC_VERDICTS_WOULD_DENY : METRIC_VERDICTS_WOULD_ALLOW,
                  1);
}

/* Counts a verdict and writes it down. */
static int speak(struct call *call, const struct verdict *verdict)
{
    char sentence[256];
    struct record *record = &call->record;
    count_verdict(call->walk->tools.meter, &verdict->answer);
    count_by_policy(call->walk->tools.traffic, &verdict->answer);
    record->dry_run_policy = arena_str(&call->arena, verdict->answer.dry_run.deny.policy);
    witness_verdict(call, &verdict->answer, false);
    if (verdict->err < 0)
        record->detail =
            arena_str(&call->arena, str_from(verdict_text(verdict, sentence, sizeof sentence)));
    return verdict->err;
}

void call_forget_verdict(struct call *call)
{
    witness_tell(call);
    call->judged = (struct judged){0};
    call->record.ruling = (struct ruling){0};
    call->record.dry_run_policy = (struct str){0};
}

/* What holds for every request of the caller; NULL: this one is to be judged by itself. */
static const struct settled *find_settled(struct call *call, const struct workload *destination,
                                          const struct principal *source, const struct addr *addr)
{
    struct settled_key key;
    if (!call->events->reveal ||
        !settled_key_of(call_snapshot(call)->generation, destination, source, addr, &key))
        return NULL;
    struct settled *place = settled_place(call->walk->settled, &key);
    if (place->settlement == SETTLED_NOT)
        settled_ask(place, destination, source, call->walk->tools.traffic);
    return place->settlement == SETTLED_ALLOW ? place : NULL;
}

static void judge_as_settled(struct call *call, const struct settled *settled,
                             const struct workload *destination, const struct principal *source)
{
    const struct walk_tools *tools = &call->walk->tools;
    meter_add(tools->meter, METRIC_VERDICTS_ALLOWED, 1);
    verdict_count(settled->counters, SAID_ALLOW, 1);
    call->shown = tools->audit ? call->events->glimpse(call) : NULL;
    call->record.dry_run_policy = (struct str){0};
    witness_known(call, &settled->ruling);
    call->judged = (struct judged){
        .is_judged = true,
        .is_unshown = true,
        .principal_id = source->id,
        .source = source->ip,
        .destination = settled->key.addr,
        .pod = destination->uid_hash,
        .mark = destination->policies->mark,
    };
    if (!borrow_principal(call))
        call->judged.principal_id = arena_str(&call->arena, source->id);
}

int call_judge(struct call *call, const struct workload *destination,
               const struct principal *source, const struct addr *addr)
{
    const struct settled *settled = find_settled(call, destination, source, addr);
    if (settled) {
        judge_as_settled(call, settled, destination, source);
        return 0;
    }
    call->shown = NULL;
    int err = call->events->show ? call->events->show(call, destination, addr, &call->shown) : 0;
    if (err < 0)
        return err;
    const struct verdict verdict = authorize(destination, source, addr, call->shown);
    err = verdict.is_by_request ? 0 : speak(call, &verdict);
    if (err < 0)
        return err;
    call->judged = (struct judged){
        .is_judged = true,
        .is_by_request = verdict.is_by_request,
        .request = call->shown,
        .principal_id = arena_str(&call->arena, source->id),
        .source = source->ip,
        .destination = *addr,
        .pod = destination->uid_hash,
        .mark = destination->policies->mark,
    };
    return 0;
}

int call_identify(const struct judged *judged, const struct snapshot *snapshot,
                  struct principal *out_source)
{
    if (!str_is_empty(judged->principal_id))
        return identify_svid(snapshot, judged->principal_id, &judged->source, &judged->source,
                             out_source);
    identify_plaintext(snapshot, &judged->source, out_source);
    return 0;
}
