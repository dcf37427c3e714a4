/*
 * The less loaded of a few drawn by weight (power of two choices). Load is the flows in progress by
 * weight; for peak EWMA times the latency, so that a slow endpoint counts as a busy one.
 *
 * The second is never the first again: of four endpoints with one that is slow, a draw with
 * replacement would still give the slow one each sixteenth flow.
 * Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001; Finagle's
 * PeakEwma.
 */
#include "proxy/balance/least_request.h"
#include "proxy/pick/choose.h"

/* Flows as if all had the mean weight; the one that is about to begin counts for peak EWMA only, or
 * an idle level would not be shared by weight. */
static double busy(const struct fleet_level *level, const struct member *member)
{
    const double mean_weight = (double)level->w_all / level->n_all;
    return member->flows * mean_weight / member->weight;
}

/* What is not known of an endpoint is taken to be as those beside it. */
static double latency_ns(const struct choice *choice, const struct fleet_level *level,
                         const struct member *member)
{
    if (member->latency.at_ns == 0)
        return level->mean_ns > 0 ? level->mean_ns : 1;
    return ewma_read(&member->latency, choice->now_ns, choice->fleet->policy.decay_ns) + 1;
}

static double cost(const struct choice *choice, const struct fleet_level *level,
                   const struct member *member)
{
    if (choice->fleet->policy.algorithm != ALGORITHM_PEAK_EWMA)
        return busy(level, member);
    return latency_ns(choice, level, member) * (1 + busy(level, member));
}

struct member *choose_least_loaded(const struct choice *choice, struct fleet_level *level)
{
    struct member *best = draw_fit(choice, level);
    double best_cost = -1; /* is not asked for unless there is another */
    for (uint32_t i = 1; best && i < choice->fleet->policy.choice_count; i++) {
        struct member *other = draw_other(choice, level, best);
        if (!other)
            break;
        if (best_cost < 0)
            best_cost = cost(choice, level, best);
        const double other_cost = cost(choice, level, other);
        if (other_cost < best_cost) {
            best = other;
            best_cost = other_cost;
        }
    }
    return best;
}
