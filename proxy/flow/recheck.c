/*
 * Verdicts, asked again: what a new configuration says of calls that an earlier one allowed.
 *
 * Who is denied now is cut. A pod that left takes the calls with it that reached it; who was only
 * on the way there goes to another, as if it had not answered.
 */
#include "proxy/flow/walk.h"
#include "proxy/flow/witness.h"

/* Says in the log and in the record why; -ERR_DENIED_LATE. A connection whose requests would have
 * to be judged from now on, and were passed by unread, is denied with them. */
static int deny_late(struct call *call, const struct verdict *verdict)
{
    const struct policy_answer *answer = &verdict->answer;
    const bool has_policy = !str_is_empty(answer->policy);
    witness_verdict(call, answer, true);
    call->record.detail =
        arena_printf(&call->arena, "%s: %s%s%.*s%s", err_text(ERR_DENIED_LATE), answer->sentence,
                     has_policy ? ": " : "", STR_ARG(answer->policy),
                     verdict->is_by_request ? " (its requests were not read)" : "");
    return -ERR_DENIED_LATE;
}

/* The policies would let it be, but its requests have tokens that nobody looked at. */
static int deny_unread(struct call *call, const struct verdict *verdict)
{
    struct verdict closed = *verdict;
    closed.answer.allowed = false;
    closed.answer.action = POLICY_DENY;
    closed.answer.policy = (struct str){0};
    closed.answer.has_rule = false;
    closed.answer.sentence = "a RequestAuthentication asks for tokens";
    return deny_late(call, &closed);
}

/* Who asks and for what is as it was; with the same policies the verdict is too, but for the tokens
 * of requests that were not read. */
static bool is_settled(const struct judged *judged, const struct workload *destination)
{
    const bool is_read = judged->request || judged->is_by_request || judged->is_unshown;
    return judged->mark != 0 &&
           (is_read || !token_set_asks(destination->tokens, judged->destination.port)) &&
           judged->mark == destination->policies->mark;
}

/* is_reached: bytes may have moved, so that it is too late to read them as requests. */
static int recheck_judged(struct call *call, struct judged *judged, const struct snapshot *snapshot,
                          bool is_reached)
{
    struct principal source;
    if (!judged->is_judged)
        return 0;
    const struct workload *destination = snapshot_workload_by_ip(snapshot, &judged->destination.ip);
    if (!destination || !destination->is_local || destination->uid_hash != judged->pod)
        return -ERR_WORKLOAD_GONE; /* another may have its address */
    if (is_settled(judged, destination))
        return 0;
    if (call_identify(judged, snapshot, &source) < 0)
        return -ERR_TLS_SVID; /* never: it was one when a handshake verified it */
    if (judged->is_unshown)
        judged->request = call->events->reveal(call);
    judged->is_unshown = false;
    const struct verdict verdict =
        authorize(destination, &source, &judged->destination, judged->request);
    judged->mark = destination->policies->mark;
    if (verdict.is_by_request && !is_reached)
        judged->is_by_request = true;
    if (verdict.is_by_request && judged->is_by_request)
        return 0;
    if (verdict.err < 0)
        return deny_late(call, &verdict);
    return verdict.asks_tokens ? deny_unread(call, &verdict) : 0;
}

/* It reaches nobody any more, or whoever has its address next: as good as failed. */
static int recheck_racers(struct call *call, const struct snapshot *snapshot)
{
    unsigned i = 0;
    while (call->search && i < CALL_RACERS && call->search->racers[i]) {
        struct attempt *racer = call->search->racers[i];
        const int err = recheck_judged(call, &racer->judged, snapshot, false);
        if (err == -ERR_WORKLOAD_GONE) {
            attempt_lose(racer, err);
            continue; /* another may have taken its place */
        }
        if (err < 0) {
            call_show(call, racer);
            return err;
        }
        i++;
    }
    return 0;
}

int call_recheck(struct call *call)
{
    const struct snapshot *snapshot = call_snapshot(call);
    const struct record *record = &call->record;
    if (record->kind == ARRIVAL_OUTBOUND && !record_caller(record, snapshot))
        return -ERR_WORKLOAD_GONE;
    const int err = recheck_judged(call, &call->judged, snapshot, true);
    if (err == -ERR_WORKLOAD_GONE && call->events->move_on && call->events->move_on(call))
        return 0;
    return err < 0 ? err : recheck_racers(call, snapshot);
}
