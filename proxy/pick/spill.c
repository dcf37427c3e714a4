/*
 * Load moves shares too: a rank that answers more slowly than the next one would, its way included,
 * hands over a part of its share, and takes it back when it is the faster one again.
 *
 * What is compared is the mean answer of each rank. Of one that has not been asked lately the
 * answer is guessed: what the near rank takes when it is not loaded, and the way. A tenth of a
 * second after the other the part is moved by a controller (proportional and integral, on the
 * logarithm of the ratio, so that twice as slow weighs the same at 2 ms as at 2 s): small steps,
 * since every node does the same and sees what all do; none inside a dead band, so that it comes to
 * rest.
 */
#include <math.h>

#include "proxy/pick/fleet.h"

#define LOOK_NS        UINT64_C(100000000)
#define STALE_NS       UINT64_C(5000000000) /* older answers say nothing of now */
#define SAMPLES_MIN    3 /* fewer in a look say too little to hand anything over */
#define DEAD_BAND      0.15
#define PROPORTIONAL   0.10
#define INTEGRAL       0.01
#define ERROR_MAX      1.5
#define SPILLED_MAX    0.98 /* what is left finds out whether it got better */
#define BASE_RISE      0.002
#define WAY_OWN_NS     1e6 /* between levels of one cluster, when it was not measured */
#define WAY_OTHER_NS   1e8 /* to another cluster, when it was not measured: rather too far */
#define SMOOTH_SAMPLES 10

void spill_sample(struct fleet_rank *rank, uint64_t latency_ns, uint64_t now_ns)
{
    rank->n_samples++;
    rank->sum_ns += (double)latency_ns;
    rank->sampled_ns = now_ns;
}

/* Takes what was measured since the last look into the means. */
static void digest(struct fleet_rank *rank)
{
    if (rank->n_samples == 0)
        return;
    const double mean_ns = rank->sum_ns / rank->n_samples;
    const double weight = rank->n_samples / (double)(rank->n_samples + SMOOTH_SAMPLES);
    rank->mean_ns =
        rank->mean_ns > 0 ? rank->mean_ns + (mean_ns - rank->mean_ns) * weight : mean_ns;
    if (rank->base_ns <= 0 || rank->mean_ns < rank->base_ns)
        rank->base_ns = rank->mean_ns;
    else
        rank->base_ns += (rank->mean_ns - rank->base_ns) * BASE_RISE;
}

static double way_ns(const struct fleet *fleet, const struct fleet_rank *rank)
{
    const struct fleet_level *level = &fleet->levels[rank->first_level];
    if (level->kind != LEVEL_OTHER_CLUSTER)
        return WAY_OWN_NS;
    const double rtt_ns = reach_rtt_ns(fleet->balancer, level->cluster);
    return rtt_ns > 0 ? rtt_ns : WAY_OTHER_NS;
}

static double answer_ns(const struct fleet *fleet, const struct fleet_rank *near,
                        const struct fleet_rank *far, uint64_t now_ns)
{
    const double guess_ns = near->base_ns + way_ns(fleet, far);
    if (far->mean_ns <= 0 || now_ns > far->sampled_ns + STALE_NS)
        return guess_ns;
    return far->mean_ns;
}

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

/* How much of the near rank's share goes on. */
static void steer(const struct fleet *fleet, struct fleet_rank *near, const struct fleet_rank *far,
                  uint64_t now_ns)
{
    if (near->mean_ns <= 0)
        return;
    const double far_ns = answer_ns(fleet, near, far, now_ns);
    const double error = clamp(log(near->mean_ns / far_ns), -ERROR_MAX, ERROR_MAX);
    const bool is_known = near->n_samples >= SAMPLES_MIN;
    double step = PROPORTIONAL * (error - near->error);
    if (fabs(error) > DEAD_BAND)
        step += INTEGRAL * error;
    near->error = error;
    /* Handed over on evidence only; taken back without. */
    if (step > 0 && (!is_known || error < 0))
        return;
    near->spilled = clamp(near->spilled + step, 0, SPILLED_MAX);
}

static struct fleet_rank *rank_at(const struct fleet *fleet, size_t place)
{
    return &fleet->ranks[fleet->rank_order[place]];
}

static bool has_fit(const struct fleet *fleet, const struct fleet_rank *rank)
{
    for (size_t i = 0; i < rank->n_levels; i++)
        if (fleet->levels[rank->first_level + i].n_fit > 0)
            return true;
    return false;
}

/* The next place whose rank could take something; n_ranks when there is none. */
static size_t next_place(const struct fleet *fleet, size_t place)
{
    for (place++; place < fleet->n_ranks; place++) {
        const struct fleet_rank *rank = rank_at(fleet, place);
        if (!rank->is_last_resort && has_fit(fleet, rank))
            break;
    }
    return place;
}

void spill_adjust(struct fleet *fleet, uint32_t *shares, uint64_t now_ns)
{
    const bool is_time = now_ns >= fleet->spill_at_ns;
    if (is_time)
        fleet->spill_at_ns = now_ns + LOOK_NS;
    for (size_t i = 0; is_time && i < fleet->n_ranks; i++)
        digest(rank_at(fleet, i));
    for (size_t i = 0; i < fleet->n_ranks; i++) {
        struct fleet_rank *near = rank_at(fleet, i);
        const size_t next = next_place(fleet, i);
        if (next >= fleet->n_ranks || shares[i] == 0 || near->is_last_resort)
            continue;
        if (is_time)
            steer(fleet, near, rank_at(fleet, next), now_ns);
        const uint32_t moved = (uint32_t)(shares[i] * near->spilled);
        shares[i] -= moved;
        shares[next] += moved;
    }
    for (size_t i = 0; is_time && i < fleet->n_ranks; i++) {
        rank_at(fleet, i)->n_samples = 0;
        rank_at(fleet, i)->sum_ns = 0;
    }
}
