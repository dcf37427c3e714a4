/*
 * A lease from its cut to its return: what is counted, and what is learnt on the way.
 *
 * A flow is judged once: good when the first answer came or it ended well, bad when the connect
 * failed or the server broke it before it said anything.
 */
#include "proxy/balance/retry.h"
#include "proxy/meter/meter.h"
#include "proxy/pick/choose.h"

#define TRIAL_NS        UINT64_C(5000000000) /* a trial that connected and of which nothing is heard */
#define RTTS_A_CONNECT  4          /* of a new tunnel: TCP, TLS, CONNECT, and one to spare */
#define LEVEL_SMOOTHING (1.0 / 32) /* of a level's mean latency, a sample's part */

/* ---- limits ---- */

static int refuse(struct balancer *balancer, enum metric metric, int err)
{
    meter_add(balancer->meter, metric, 1);
    return err;
}

bool crew_is_full(const struct fleet *fleet)
{
    const struct balancer *balancer = fleet->balancer;
    const struct limits *limits = &fleet->policy.limits;
    return fleet->crew->n_flows >= worker_part(balancer, limits->max_connections) ||
           fleet->crew->n_pending >= worker_part(balancer, limits->max_pending);
}

static int admit(const struct fleet *fleet, bool is_retry)
{
    struct balancer *balancer = fleet->balancer;
    const struct limits *limits = &fleet->policy.limits;
    const struct crew *crew = fleet->crew;
    if (crew_is_full(fleet))
        return refuse(balancer, METRIC_CIRCUIT_OVERFLOWS, -ERR_CIRCUIT_OPEN);
    const uint32_t budget =
        retry_budget(limits->retry_budget_pct, limits->retry_min_concurrent, crew->n_flows);
    if (is_retry && crew->n_retries >= budget)
        return refuse(balancer, METRIC_RETRIES_REFUSED, -ERR_RETRY_BUDGET);
    return 0;
}

/* Nobody was chosen: because all that could are full, or because there is nobody. */
static int nobody(const struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->n_levels; i++)
        if (fleet->levels[i].n_full > 0)
            return refuse(fleet->balancer, METRIC_CIRCUIT_OVERFLOWS, -ERR_CIRCUIT_OPEN);
    return -ERR_NO_HEALTHY_UPSTREAM;
}

/* ---- the cut ---- */

static void mask(struct fleet *fleet, const struct tried *tried, bool is_masked)
{
    const bool was_stale = fleet->shares_are_stale; /* what is masked is no less healthy for that */
    for (size_t i = 0; i < tried->len; i++) {
        struct member *member = fleet_find_member(fleet, tried->keys[i]);
        if (!member)
            continue;
        member->is_masked = is_masked;
        member_file(member);
    }
    fleet->shares_are_stale = was_stale;
}

/* A connection has no more than its source. */
static bool hash_source(const struct question *question, uint64_t *out_hash)
{
    const struct traffic_policy *policy = question->service->traffic;
    bool by_principal = policy->hash_on == HASH_ON_SOURCE_PRINCIPAL;
    bool is_there = policy->n_hash_keys == 0;
    for (size_t i = 0; i < policy->n_hash_keys && !is_there; i++) {
        by_principal = policy->hash_keys[i].kind == HASH_KEY_SOURCE_PRINCIPAL;
        is_there = by_principal || policy->hash_keys[i].kind == HASH_KEY_SOURCE_ADDRESS;
    }
    *out_hash =
        by_principal ? str_hash(question->principal, 0) : str_hash(ip_key(&question->source), 0);
    return is_there;
}

/* Who has nothing to be hashed goes anywhere. */
static uint64_t hash_of(const struct question *question, struct rng *rng)
{
    const struct request_hash *request = question->request;
    uint64_t hash = request ? request->value : 0;
    switch (question->service->traffic->algorithm) {
    case ALGORITHM_RING_HASH:
    case ALGORITHM_MAGLEV:
        return (request ? request->is_there : hash_source(question, &hash)) ? hash : rng_next(rng);
    case ALGORITHM_PEAK_EWMA:
    case ALGORITHM_LEAST_REQUEST:
    case ALGORITHM_ROUND_ROBIN:
    case ALGORITHM_RANDOM:
    case ALGORITHMS: break;
    }
    return 0;
}

static void count_pick(const struct member *member)
{
    static const enum metric by_distance[LEVEL_KINDS] = {
        [LEVEL_NODE] = METRIC_PICKS_NODE,
        [LEVEL_ZONE] = METRIC_PICKS_ZONE,
        [LEVEL_REGION] = METRIC_PICKS_REGION,
        [LEVEL_CLUSTER] = METRIC_PICKS_CLUSTER,
        [LEVEL_OTHER_CLUSTER] = METRIC_PICKS_OTHER_CLUSTER,
    };
    struct meter *meter = member->fleet->balancer->meter;
    meter_add(meter, by_distance[member->distance], 1);
    if (member_level(member)->rank != member->fleet->nearest_rank)
        meter_add(meter, METRIC_PICKS_SPILLED, 1);
}

/* How many flows it has matters to where it is filed only where they are limited. */
static void file_by_flows(struct member *member)
{
    if (member->filing != FILED_FIT || member->fleet->endpoint_limit != UINT32_MAX)
        member_file(member);
}

static void begin(struct member *member, const struct lease *lease)
{
    struct fleet *fleet = member->fleet;
    member->flows++;
    member_level(member)->n_flows++;
    fleet->ranks[member_level(member)->rank].n_given++;
    fleet->n_flows++;
    fleet->balancer->n_flows++;
    fleet->crew->n_flows++;
    fleet->crew->n_pending++;
    fleet->crew->n_retries += lease->is_retry;
    file_by_flows(member);
    count_pick(member);
}

static bool is_retry(const struct question *question)
{
    return question->tried && question->tried->len > 0;
}

int lease_cut(struct balancer *balancer, const struct question *question, uint64_t now_ns,
              struct rng *rng, struct lease *out_lease)
{
    if (question->set->len == 0)
        return -ERR_NO_HEALTHY_UPSTREAM;
    struct fleet *fleet = fleet_get(balancer, question, now_ns);
    if (!fleet)
        return -ERR_LIMIT;
    members_run_due(balancer, now_ns);
    ejection_look(fleet, now_ns);
    const int err = admit(fleet, is_retry(question));
    if (err < 0)
        return err;
    const struct choice choice = {
        .question = question,
        .fleet = fleet,
        .now_ns = now_ns,
        .hash = hash_of(question, rng),
        .is_retry = is_retry(question),
        .rng = rng,
    };
    shares_refresh(fleet, now_ns);
    if (choice.is_retry)
        mask(fleet, question->tried, true);
    struct member *member = choose_member(&choice);
    if (choice.is_retry)
        mask(fleet, question->tried, false);
    if (!member)
        return nobody(fleet);
    const struct endpoint *endpoint = &question->set->endpoints[member->idx];
    *out_lease = (struct lease){
        .key = member->key,
        .endpoint = endpoint,
        .addr = endpoint->addr,
        .distance = endpoint->distance,
        .cut_ns = now_ns,
        .member = member,
        .crew = fleet->crew,
        .is_pending = true,
        .is_retry = choice.is_retry,
        .is_trial = member->is_on_trial && member->flows == 0,
    };
    begin(member, out_lease);
    return 0;
}

static bool was_tried(const struct tried *tried, uint64_t key)
{
    for (size_t i = 0; tried && i < tried->len; i++)
        if (tried->keys[i] == key)
            return true;
    return false;
}

/* Mostly the first or second one is it. */
bool lease_has_other(const struct question *question, const struct lease *lease)
{
    const struct fleet *fleet = lease->member->fleet;
    for (uint32_t i = 0; i < fleet->n_members; i++) {
        const struct member *member = fleet->members[i];
        if (member->key != lease->key && member->weight > 0 && member->is_ready &&
            !was_tried(question->tried, member->key))
            return true;
    }
    return false;
}

/* ---- what is learnt ---- */

static void end_pending(struct lease *lease)
{
    if (lease->is_pending)
        lease->crew->n_pending--;
    if (lease->is_retry)
        lease->crew->n_retries--;
    lease->is_pending = lease->is_retry = false;
}

static void tally(struct lease *lease, bool is_good, uint64_t now_ns)
{
    if (lease->is_tallied)
        return;
    lease->is_tallied = true;
    ejection_count(lease->member, is_good, now_ns);
}

void lease_confirm(struct balancer *balancer, struct lease *lease, uint64_t connect_ns,
                   uint64_t now_ns)
{
    struct member *member = lease->member;
    if (lease->key == 0)
        return;
    end_pending(lease);
    if (!member->fleet)
        return;
    member->connect_failures = 0;
    member->confirmed_ns = now_ns;
    silence_broken(member, now_ns);
    node_reached(balancer, member->node);
    if (member->distance == LEVEL_OTHER_CLUSTER && connect_ns > 0)
        reach_measured(balancer, member_level(member)->cluster, connect_ns);
    if (member->state == MEMBER_SERVING)
        return;
    if (!member->is_ejected)
        member_recover(member, now_ns); /* it was suspect of not taking connections */
    else if (lease->is_trial)
        timetable_set(&balancer->timetable, &member->due, now_ns + TRIAL_NS);
}

void lease_sample(struct balancer *balancer, struct lease *lease, uint64_t latency_ns,
                  uint64_t now_ns)
{
    struct member *member = lease->member;
    (void)balancer;
    if (lease->key == 0 || !member->fleet)
        return;
    struct fleet_level *level = member_level(member);
    const double sample_ns = (double)latency_ns;
    ewma_add(&member->latency, latency_ns, now_ns, member->fleet->policy.decay_ns);
    level->mean_ns = level->mean_ns > 0
                         ? level->mean_ns + (sample_ns - level->mean_ns) * LEVEL_SMOOTHING
                         : sample_ns;
    spill_sample(&member->fleet->ranks[level->rank], latency_ns, now_ns);
    ejection_sample(member, latency_ns, now_ns);
    tally(lease, true, now_ns);
}

/* ---- the return ---- */

static uint64_t suspicion_ns(const struct member *member)
{
    uint64_t rest_ns = SUSPECT_MIN_NS;
    for (uint32_t i = 1; i < member->connect_failures && rest_ns < SUSPECT_MAX_NS; i++)
        rest_ns *= 2;
    return rest_ns < SUSPECT_MAX_NS ? rest_ns : SUSPECT_MAX_NS;
}

static void suspect(struct member *member, enum rest_cause cause, uint64_t now_ns)
{
    const bool is_resting_already = member->state == MEMBER_RESTING && now_ns < member->due.due_ns;
    if (is_resting_already)
        return; /* of many flows that fail at once the first decides */
    member->connect_failures++;
    member_rest(member, now_ns + suspicion_ns(member), member->is_ejected, cause);
}

void lease_doubt(struct balancer *balancer, struct lease *lease, uint64_t now_ns)
{
    struct member *member = lease->member;
    if (lease->key == 0 || !member->fleet || member->confirmed_ns >= lease->cut_ns)
        return;
    if (member->distance == LEVEL_OTHER_CLUSTER) {
        const double rtt_ns = reach_rtt_ns(balancer, member_level(member)->cluster);
        if (rtt_ns <= 0 || (double)(now_ns - lease->cut_ns) < rtt_ns * RTTS_A_CONNECT)
            return;
    }
    silence_met(member, lease->cut_ns, now_ns);
    suspect(member, REST_SILENCE, now_ns);
}

static void learn(struct lease *lease, enum lease_outcome outcome, uint64_t now_ns)
{
    struct member *member = lease->member;
    switch (outcome) {
    case LEASE_SERVED: tally(lease, true, now_ns); return;
    case LEASE_RESET: tally(lease, false, now_ns); return;
    case LEASE_FAILED:
        tally(lease, false, now_ns);
        suspect(member, REST_CONNECT, now_ns);
        return;
    case LEASE_NODE_FAILED:
        node_failed(member->fleet->balancer, member, now_ns);
        silence_met(member, lease->cut_ns, now_ns);
        suspect(member, REST_SILENCE, now_ns);
        return;
    case LEASE_UNUSED: return;
    }
}

static void end(struct balancer *balancer, struct member *member, struct crew *crew)
{
    balancer->n_flows--;
    crew->n_flows--;
    crew_free_if_left(balancer, crew);
    member->flows--;
    if (!member->fleet) {
        member_free_if_left(balancer, member);
        return;
    }
    member->fleet->n_flows--;
    member_level(member)->n_flows--;
    file_by_flows(member);
}

void lease_return(struct balancer *balancer, struct lease *lease, enum lease_outcome outcome,
                  uint64_t now_ns)
{
    if (lease->key == 0)
        return;
    end_pending(lease);
    if (lease->member->fleet)
        learn(lease, outcome, now_ns);
    if (lease->is_trial && lease->member->fleet)
        member_end_trial(lease->member);
    end(balancer, lease->member, lease->crew);
    *lease = (struct lease){0};
}
