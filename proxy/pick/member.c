/*
 * Who may serve: the one place where that is decided, and where the sums of a level follow it.
 */
#include "proxy/balance/slow_start.h"
#include "proxy/meter/meter.h"
#include "proxy/pick/fleet.h"

#define DUE_AT_ONCE 16 /* so that many that fall due together do not hold up a pick */

bool member_is_full(const struct member *member)
{
    return member->flows >= member->fleet->endpoint_limit;
}

enum unfit member_unfit(const struct member *member)
{
    if (!member->is_ready)
        return UNFIT_UNREADY;
    if (member->checked == CHECKED_BAD)
        return UNFIT_CHECK;
    if (member->state == MEMBER_RESTING)
        return member->is_ejected ? UNFIT_EJECTED : UNFIT_SUSPECT;
    if (member->state == MEMBER_PROBATION)
        return UNFIT_PROBATION;
    return member_is_full(member) ? UNFIT_FULL : UNFIT_NOT;
}

const char *unfit_name(enum unfit unfit)
{
    switch (unfit) {
    case UNFIT_NOT: return "healthy";
    case UNFIT_UNREADY: return "unready";
    case UNFIT_CHECK: return "fails its check";
    case UNFIT_SUSPECT: return "suspect";
    case UNFIT_EJECTED: return "ejected";
    case UNFIT_PROBATION: return "on probation";
    case UNFIT_FULL: return "full";
    case UNFITS: break;
    }
    return "unknown";
}

const char *rest_cause_text(enum rest_cause cause)
{
    switch (cause) {
    case REST_NEVER: return "nothing";
    case REST_CONNECT: return "a connect failed";
    case REST_SILENCE: return "nobody answered a connect";
    case REST_NODE: return "its node could not be reached";
    case REST_FAILURES: return "too many failures in a row";
    case REST_SUCCESS_RATE: return "a success rate far below the others'";
    case REST_FAILURE_RATE: return "too many failures of a hundred";
    case REST_LATENCY: return "much slower than the others";
    case REST_TRIAL: return "the connection that tried it again failed";
    case REST_CAUSES: break;
    }
    return "unknown";
}

/* What configuration and checks say may be out of date; what this worker saw a moment ago is not.
 */
bool member_serves_in_panic(const struct member *member)
{
    return member->weight > 0 && !member->is_masked && member->state == MEMBER_SERVING &&
           !member_is_full(member);
}

static enum filing filing_of(const struct member *member)
{
    if (member->weight == 0 || member->is_masked)
        return FILED_NOWHERE;
    switch (member_unfit(member)) {
    case UNFIT_NOT: return FILED_FIT;
    case UNFIT_SUSPECT:
    case UNFIT_EJECTED:
    case UNFIT_PROBATION: return member_is_full(member) ? FILED_NOWHERE : FILED_DOUBTFUL;
    case UNFIT_FULL: return FILED_FULL;
    case UNFIT_UNREADY:
    case UNFIT_CHECK:
    case UNFITS: break;
    }
    return FILED_NOWHERE;
}

static void count_warmth(struct member *member, int sign)
{
    struct fleet_level *level = member_level(member);
    level->n_warming += (uint32_t)sign;
    level->w_warming += (uint64_t)((int64_t)sign * (int64_t)member->weight);
    level->warming_since_ns += sign * (double)member->warm_since_ns;
}

/* Adds its weight to the sums it is filed in, or takes it out again. */
static void count(struct member *member, enum filing filing, bool is_in)
{
    struct fleet_level *level = member_level(member);
    const uint32_t place = member->idx - level->start;
    const uint64_t weight = member->weight;
    if (filing == FILED_NOWHERE)
        return;
    if (filing == FILED_FULL) {
        level->n_full += is_in ? 1 : (uint32_t)-1;
        return;
    }
    weights_change(filing == FILED_FIT ? &level->fit : &level->doubtful, place, is_in ? 0 : weight,
                   is_in ? weight : 0);
    if (filing != FILED_FIT)
        return;
    level->n_fit += is_in ? 1 : (uint32_t)-1;
    if (member->warm_since_ns != 0)
        count_warmth(member, is_in ? 1 : -1);
}

static void file_as(struct member *member, enum filing filing)
{
    if (member->filing == filing)
        return;
    count(member, (enum filing)member->filing, false);
    count(member, filing, true);
    member->filing = (uint8_t)filing;
    member->fleet->shares_are_stale = true;
}

void member_file(struct member *member)
{
    file_as(member, filing_of(member));
}

void member_file_first(struct member *member)
{
    struct fleet_level *level = member_level(member);
    const uint32_t place = member->idx - level->start;
    member->filing = (uint8_t)filing_of(member);
    level->n_full += member->filing == FILED_FULL;
    if (member->filing == FILED_DOUBTFUL)
        level->doubtful.tree[place] = member->weight;
    if (member->filing != FILED_FIT)
        return;
    level->fit.tree[place] = member->weight;
    level->n_fit++;
    if (member->warm_since_ns != 0)
        count_warmth(member, 1);
}

static void stop_resting(struct member *member)
{
    if (member->is_ejected)
        member_level(member)->n_ejected--;
    member->is_ejected = false;
    list_remove(&member->in_probation);
    timetable_cancel(&member->fleet->balancer->timetable, &member->due);
}

void member_unfile(struct member *member)
{
    member_end_trial(member);
    stop_resting(member);
    file_as(member, FILED_NOWHERE);
}

double member_warmth(const struct member *member, uint64_t now_ns)
{
    const struct traffic_policy *policy = &member->fleet->policy;
    const struct slow_start slow_start = {
        policy->slow_start_ns, policy->slow_start_aggression_permille, policy->slow_start_min_pct};
    if (member->warm_since_ns == 0 || now_ns < member->warm_since_ns)
        return 1;
    return slow_start_factor(&slow_start, now_ns - member->warm_since_ns);
}

static void set_warm_since(struct member *member, uint64_t since_ns)
{
    const enum filing filing = (enum filing)member->filing;
    file_as(member, FILED_NOWHERE); /* so that the sums never hold what has changed since */
    member->warm_since_ns = since_ns;
    file_as(member, filing);
}

void member_warm_up(struct member *member, uint64_t now_ns)
{
    const uint64_t window_ns = member->fleet->policy.slow_start_ns;
    if (window_ns == 0)
        return;
    set_warm_since(member, now_ns ? now_ns : 1);
    timetable_set(&member->fleet->balancer->timetable, &member->due, now_ns + window_ns);
}

void member_rest(struct member *member, uint64_t until_ns, bool is_ejected, enum rest_cause cause)
{
    struct fleet_level *level = member_level(member);
    member_end_trial(member);
    stop_resting(member);
    set_warm_since(member, 0);
    member->state = MEMBER_RESTING;
    member->cause = (uint8_t)cause;
    member->is_ejected = is_ejected;
    if (is_ejected)
        level->n_ejected++;
    timetable_set(&member->fleet->balancer->timetable, &member->due, until_ns);
    member_file(member);
}

void member_recover(struct member *member, uint64_t now_ns)
{
    member_end_trial(member);
    if (member->state == MEMBER_SERVING)
        return;
    stop_resting(member);
    member->state = MEMBER_SERVING;
    member->failures = member->connect_failures = 0;
    member_file(member);
    member_warm_up(member, now_ns);
}

void member_end_trial(struct member *member)
{
    if (!member->is_on_trial)
        return;
    member->is_on_trial = false;
    member->fleet->n_trials--;
    if (member->state == MEMBER_PROBATION && list_is_empty(&member->in_probation))
        list_push_back(&member->fleet->probation, &member->in_probation);
}

static void on_due(struct member *member, uint64_t now_ns)
{
    switch ((enum member_state)member->state) {
    case MEMBER_SERVING: set_warm_since(member, 0); return;
    case MEMBER_RESTING:
        member->state = MEMBER_PROBATION;
        list_push_back(&member->fleet->probation, &member->in_probation);
        member_file(member);
        return;
    case MEMBER_PROBATION: /* its trial took the connection, and nothing bad was heard since */
        if (member->is_on_trial)
            member_recover(member, now_ns);
        return;
    case MEMBER_STATES: return;
    }
}

void members_run_due(struct balancer *balancer, uint64_t now_ns)
{
    for (int i = 0; i < DUE_AT_ONCE; i++) {
        struct appointment *due = timetable_next(&balancer->timetable, now_ns);
        if (!due)
            return;
        on_due(container_of(due, struct member, due), now_ns);
    }
}
