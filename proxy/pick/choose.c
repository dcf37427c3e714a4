/*
 * From the question to the member: a level by its share, in it the algorithm's choice; then who is
 * left, nearest first.
 */
#include "proxy/pick/choose.h"

#include "proxy/meter/meter.h"

#define PANIC_DRAWS   32
#define SCAN_MAX      64 /* smaller levels are looked through when draws did not find anybody */
#define REDIRECTS_MAX 16 /* members of suspect nodes that one pick may step over */
#define FLOWS_A_TRIAL 16 /* one trial at a time, and one more for so many flows in progress */

static chooser chooser_of(const struct choice *choice, const struct fleet_level *level)
{
    switch (choice->fleet->policy.algorithm) {
    case ALGORITHM_LEAST_REQUEST: return level->is_even ? choose_least_loaded : choose_round_robin;
    case ALGORITHM_ROUND_ROBIN: return choose_round_robin;
    case ALGORITHM_RANDOM: return choose_random;
    case ALGORITHM_RING_HASH: return choose_ring;
    case ALGORITHM_MAGLEV: return choose_maglev;
    case ALGORITHM_PEAK_EWMA:
    case ALGORITHMS: break;
    }
    return choose_least_loaded;
}

static bool is_hashed(const struct choice *choice)
{
    return choice->fleet->policy.algorithm == ALGORITHM_RING_HASH ||
           choice->fleet->policy.algorithm == ALGORITHM_MAGLEV;
}

static bool is_reachable(const struct choice *choice, const struct member *member)
{
    return node_suspect_until_ns(choice->fleet->balancer, member->node, choice->now_ns) == 0;
}

/* The algorithm's, or anybody fit when it has none. Members of nodes that are known not to be
 * reachable are rested on the way. */
static struct member *choose_fit(const struct choice *choice, struct fleet_level *level)
{
    struct member *member = NULL;
    for (int i = 0; i < REDIRECTS_MAX && level->n_fit > 0; i++) {
        member = chooser_of(choice, level)(choice, level);
        if (!member)
            member = draw_fit(choice, level);
        if (!member || is_reachable(choice, member))
            return member;
        member_rest(member,
                    node_suspect_until_ns(choice->fleet->balancer, member->node, choice->now_ns),
                    false, REST_NODE);
    }
    return level->n_fit > 0 ? member : NULL;
}

/* ---- panic ---- */

static struct member *member_at(const struct choice *choice, const struct fleet_level *level,
                                uint64_t point)
{
    uint32_t low = 0, high = level->len;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (level->all[middle] <= point)
            low = middle;
        else
            high = middle;
    }
    return choice->fleet->members[level->start + low];
}

static struct member *scan(const struct choice *choice, const struct fleet_level *level,
                           bool (*serves)(const struct member *member))
{
    const uint32_t start = rng_below(choice->rng, level->len);
    for (uint32_t i = 0; i < level->len && level->len <= SCAN_MAX; i++) {
        struct member *member = choice->fleet->members[level->start + (start + i) % level->len];
        if (serves(member))
            return member;
    }
    return NULL;
}

/* Anybody of the level by weight, whatever its health. */
static struct member *choose_any(const struct choice *choice, const struct fleet_level *level,
                                 bool (*serves)(const struct member *member))
{
    for (int i = 0; i < PANIC_DRAWS && level->w_all > 0; i++) {
        struct member *member = member_at(choice, level, rng_next(choice->rng) % level->w_all);
        if (serves(member))
            return member;
    }
    return scan(choice, level, serves);
}

static bool may_panic(const struct choice *choice)
{
    return choice->fleet->policy.panic_pct > 0 && !choice->fleet->policy.fail_on_panic;
}

static struct member *choose_in_panic(const struct choice *choice, const struct fleet_level *level)
{
    if (!may_panic(choice))
        return NULL;
    meter_add(choice->fleet->balancer->meter, METRIC_PANIC_PICKS, 1);
    return choose_any(choice, level, member_serves_in_panic);
}

/* ---- who is left ---- */

static struct fleet_level *level_at(const struct choice *choice, size_t place, size_t idx)
{
    struct fleet *fleet = choice->fleet;
    const struct fleet_rank *rank = &fleet->ranks[fleet->rank_order[place]];
    return idx < rank->n_levels ? &fleet->levels[rank->first_level + idx] : NULL;
}

static struct member *choose_doubtful(const struct choice *choice, struct fleet_level *level)
{
    uint64_t start;
    const uint64_t sum = level->doubtful.sum;
    if (sum == 0)
        return NULL;
    const uint32_t place = weights_find(&level->doubtful, rng_next(choice->rng) % sum, &start);
    return choice->fleet->members[level->start + place];
}

static bool has_room(const struct member *member)
{
    return member->weight > 0 && !member->is_masked && !member_is_full(member);
}

static struct member *choose_desperately(const struct choice *choice, struct fleet_level *level)
{
    return may_panic(choice) ? choose_any(choice, level, has_room) : NULL;
}

static struct member *nearest(const struct choice *choice,
                              struct member *(*choose)(const struct choice *choice,
                                                       struct fleet_level *level))
{
    struct fleet_level *level;
    for (size_t place = 0; place < choice->fleet->n_ranks; place++)
        for (size_t i = 0; (level = level_at(choice, place, i)); i++) {
            struct member *member = choose(choice, level);
            if (member)
                return member;
        }
    return NULL;
}

/* ---- trials ---- */

/* The longest waiting of those whose rest is over, unless enough are being tried. A flow that has
 * failed once is not made to try anybody. */
static struct member *choose_trial(const struct choice *choice)
{
    struct fleet *fleet = choice->fleet;
    struct fleet_level *silent = fleet->n_silent > 0 ? silence_to_ask(choice) : NULL;
    if (silent)
        return choose_fit(choice, silent);
    if (list_is_empty(&fleet->probation) || choice->is_retry ||
        fleet->n_trials > fleet->n_flows / FLOWS_A_TRIAL)
        return NULL;
    struct member *member = list_entry(fleet->probation.next, struct member, in_probation);
    if (member->filing != FILED_DOUBTFUL || member_level(member)->is_silent ||
        !is_reachable(choice, member)) {
        list_remove(&member->in_probation); /* to the end: the next one may do */
        list_push_back(&fleet->probation, &member->in_probation);
        return NULL;
    }
    list_remove(&member->in_probation);
    member->is_on_trial = true;
    fleet->n_trials++;
    return member;
}

static struct member *choose_by_share(const struct choice *choice)
{
    const uint32_t point = is_hashed(choice) ? (uint32_t)(choice->hash >> 32) % SHARE_WHOLE
                                             : rng_below(choice->rng, SHARE_WHOLE);
    struct fleet_level *level = shares_find(choice->fleet, point);
    struct member *member = NULL;
    if (level && level->is_in_panic)
        member = choose_in_panic(choice, level);
    return member || !level ? member : choose_fit(choice, level);
}

/* Where a flow goes on that failed at last. Refused, to another level of the cluster. Met by
 * silence, or failed twice, to another cluster: what fails at once often stands together, and to
 * find that out one endpoint after the other takes longer than any way; unless a level of the
 * cluster has answered somebody since. */
static bool may_go_on_to(const struct choice *choice, const struct member *last,
                         const struct fleet_level *level)
{
    const bool is_silent = last->silent_ns > 0;
    if (level == member_level(last) || level->is_silent)
        return false;
    if (level->cluster != member_level(last)->cluster)
        return is_silent || choice->question->tried->len > 1;
    return is_silent ? level->answered_ns > last->silent_ns : choice->question->tried->len == 1;
}

static struct member *choose_elsewhere(const struct choice *choice)
{
    const struct tried *tried = choice->question->tried;
    struct fleet *fleet = choice->fleet;
    const struct member *last =
        choice->is_retry ? fleet_find_member(fleet, tried->keys[tried->len - 1]) : NULL;
    struct fleet_level *level;
    for (size_t place = 0; last && place < fleet->n_ranks; place++)
        for (size_t i = 0; (level = level_at(choice, place, i)); i++) {
            if (!may_go_on_to(choice, last, level))
                continue;
            struct member *member = choose_fit(choice, level);
            if (member)
                return member;
        }
    return NULL;
}

struct member *choose_member(const struct choice *choice)
{
    struct member *member = choice->is_retry ? choose_elsewhere(choice) : choose_trial(choice);
    if (!member)
        member = choose_by_share(choice);
    if (!member)
        member = nearest(choice, choose_fit);
    if (!member)
        member = nearest(choice, choose_doubtful);
    if (!member)
        member = nearest(choice, choose_desperately);
    return member;
}
