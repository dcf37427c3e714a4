/*
 * Turns by weight (proxy/balance/edf.h), and least request with unequal weights, which is turns by
 * the weight divided by the flows in progress.
 *
 * Everybody of the level has turns; who is not fit lets them pass. When too many in a row do, the
 * flow is drawn by weight instead, so a turn stays O(log n).
 */
#include "proxy/balance/least_request.h"
#include "proxy/base/mem.h"
#include "proxy/pick/choose.h"

#define PASSES_MAX 32
/* The load or the cold of a moment puts a turn off by so many rounds at most: it is looked at again
 * then. */
#define ROUNDS_MAX 1000

static double turn_weight(const struct choice *choice, const struct member *member)
{
    const struct traffic_policy *policy = &choice->fleet->policy;
    const double least = (double)member->weight / ROUNDS_MAX;
    double weight = member->weight * member_warmth(member, choice->now_ns);
    if (policy->algorithm == ALGORITHM_LEAST_REQUEST)
        weight = least_request_weight(weight, member->flows, policy->active_bias_permille);
    return weight > least ? weight : least;
}

static void make_schedule(const struct choice *choice, struct fleet_level *level)
{
    double *weights = mem_new_array(double, level->len);
    for (uint32_t i = 0; i < level->len; i++)
        weights[i] = turn_weight(choice, choice->fleet->members[level->start + i]);
    edf_start(&level->schedule, weights, level->len, rng_below(choice->rng, level->len));
    level->has_schedule = true;
    mem_free(weights);
}

struct member *choose_round_robin(const struct choice *choice, struct fleet_level *level)
{
    if (!level->has_schedule)
        make_schedule(choice, level);
    for (int i = 0; i < PASSES_MAX && !edf_is_empty(&level->schedule); i++) {
        struct member *member = choice->fleet->members[level->start + edf_peek(&level->schedule)];
        edf_turn(&level->schedule, turn_weight(choice, member));
        if (member->filing == FILED_FIT)
            return member;
    }
    return NULL;
}
