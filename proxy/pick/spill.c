/*
 * Load moves shares too. A rank hands over a part of its share when it answers more slowly than the
 * next one would, its way included, or when it is congested: slower by a factor than it is when it
 * is not loaded, and more so than what lies behind it. It takes it back when neither holds.
 *
 * What is compared is the mean answer of each rank. Of one that has not been asked lately the
 * answer is guessed: what the near rank takes when it is not loaded, and the way. Every tenth of a
 * second the part is moved by a controller (proportional and integral, on the logarithm of the
 * ratio, so that twice as slow weighs the same at 2 ms as at 2 s): small steps, since every node
 * does the same and sees what all do; none of the integral inside a dead band, so that it comes to
 * rest. A congested rank that is given more than it serves is cut back to that at once.
 *
 * A rank of which nothing was heard for a while, since it was gone or nobody called, is given its
 * share back by time: what is known of it is no evidence any more. What then spares one that comes
 * back is the slow start of its endpoints (shares.c), and whatever its answers show.
 */
#include <math.h>

#include "proxy/pick/fleet.h"

#define WORTH_A_TRIP 0.25 /* of what the far rank takes, its way included */
#define LOOK_NS      UINT64_C(100000000)
#define STALE_NS     UINT64_C(5000000000) /* older answers say nothing of now */
#define GIVE_BACK_NS 2e9 /* in which a whole share is given back to a rank that is not heard of */
#define SAMPLES_MIN  3   /* fewer in a look say too little to hand anything over */
#define DEAD_BAND    0.05
#define PROPORTIONAL 0.10
#define INTEGRAL     0.01
#define ERROR_MAX    1.5
/* Times the unloaded answer; put up with before anything goes on to another level of the cluster,
 * to another cluster. */
#define CONGESTED_OWN   1.1
#define CONGESTED_OTHER 1.4
/* The more is handed on, the more congestion is put up with, so that nodes which hand on much come
 * back to those that hand on little. */
#define DROOP          4.0
#define CUT_MAX        0.7 /* of what it is given a rank keeps at least so much at a look */
#define RATE_SMOOTHING 0.4
/* Flows and answers of a look are counts of chance: that times the root of their sum, smoothed as
 * they are, is 1.6 standard deviations of their difference. */
#define CHANCE         0.8
#define NEW_NS         UINT64_C(10000000000)
#define SPILLED_MAX    0.98 /* what is left finds out whether it got better */
#define WINDOW_SAMPLES 64   /* whose mean may be the unloaded answer */
#define BASE_RISE      0.002
#define BASE_SPILLED   0.5
#define WAY_OWN_NS     1e6 /* between levels of one cluster, when it was not measured */
#define WAY_OTHER_NS   1e8 /* to another cluster, when it was not measured: rather too far */
#define SMOOTH_SAMPLES 10

void spill_sample(struct fleet_rank *rank, uint64_t latency_ns, uint64_t now_ns)
{
    rank->n_samples++;
    rank->sum_ns += (double)latency_ns;
    if (now_ns > rank->sampled_ns + STALE_NS)
        rank->heard_since_ns = now_ns;
    rank->sampled_ns = now_ns;
}

/* The least that many answers took on average; it rises slowly, and not while a part of the share
 * is kept away because the rank is congested, or congestion would pass for its nature. Where most
 * of the share is away and it is still slow, that is its nature. */
static void learn_base(struct fleet_rank *rank)
{
    if (rank->n_window < WINDOW_SAMPLES)
        return;
    const double mean_ns = rank->window_ns / rank->n_window;
    if (rank->base_ns <= 0 || mean_ns < rank->base_ns)
        rank->base_ns = mean_ns;
    else if (rank->spilled <= 0 || rank->spilled > BASE_SPILLED)
        rank->base_ns += (mean_ns - rank->base_ns) * BASE_RISE;
    rank->n_window = 0;
    rank->window_ns = 0;
}

/* Takes what was measured since the last look into the means. */
static void digest(struct fleet_rank *rank)
{
    rank->served += (rank->n_samples - rank->served) * RATE_SMOOTHING;
    rank->given += (rank->n_given - rank->given) * RATE_SMOOTHING;
    rank->n_given = 0;
    if (rank->n_samples == 0)
        return;
    const double mean_ns = rank->sum_ns / rank->n_samples;
    const double weight = rank->n_samples / (double)(rank->n_samples + SMOOTH_SAMPLES);
    rank->mean_ns =
        rank->mean_ns > 0 ? rank->mean_ns + (mean_ns - rank->mean_ns) * weight : mean_ns;
    rank->n_window += rank->n_samples;
    rank->window_ns += rank->sum_ns;
    learn_base(rank);
}

static double way_ns(const struct fleet *fleet, const struct fleet_rank *rank)
{
    const struct fleet_level *level = &fleet->levels[rank->first_level];
    if (level->kind != LEVEL_OTHER_CLUSTER)
        return WAY_OWN_NS;
    const double rtt_ns = reach_rtt_ns(fleet->balancer, level->cluster);
    return rtt_ns > 0 ? rtt_ns : WAY_OTHER_NS;
}

/* How a rank does, as those see it who might hand something on to it. */
struct outlook {
    double answer_ns;  /* its way included */
    double congestion; /* times its answer when it is not loaded */
    bool is_own;       /* of the own cluster */
};

static struct fleet_rank *rank_at(const struct fleet *fleet, size_t place)
{
    return &fleet->ranks[fleet->rank_order[place]];
}

/* A rank that was loaded whenever it was asked does not know; what serves the same elsewhere does.
 * 0: nobody knows. */
static double unloaded_ns(const struct fleet *fleet, const struct fleet_rank *rank)
{
    double least_ns = rank->base_ns;
    for (size_t i = 0; i < fleet->n_ranks; i++) {
        const double other_ns = fleet->ranks[i].base_ns + way_ns(fleet, rank);
        if (fleet->ranks[i].base_ns > 0 && (least_ns <= 0 || other_ns < least_ns))
            least_ns = other_ns;
    }
    return least_ns;
}

static struct outlook outlook_of(const struct fleet *fleet, const struct fleet_rank *near,
                                 const struct fleet_rank *far, uint64_t now_ns)
{
    const bool is_own = fleet->levels[far->first_level].kind != LEVEL_OTHER_CLUSTER;
    if (far->mean_ns <= 0 || now_ns > far->sampled_ns + STALE_NS)
        return (struct outlook){unloaded_ns(fleet, near) + way_ns(fleet, far), 1, is_own};
    const double base_ns = unloaded_ns(fleet, far);
    return (struct outlook){far->mean_ns, base_ns > 0 ? far->mean_ns / base_ns : 1, is_own};
}

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

/* A congested rank that is given more than it serves keeps what it serves: one step, whatever the
 * gap, since a queue that grows for seconds takes seconds to go. More than chance would have it, or
 * chance would move shares all the time; of one that is new here the first sign is believed. */
static double cut_back(const struct fleet_rank *near, uint64_t now_ns)
{
    const bool is_new = now_ns < near->heard_since_ns + NEW_NS;
    const double chance = is_new ? 0 : CHANCE * sqrt(near->given + near->served);
    if (near->given < SAMPLES_MIN || near->given - near->served <= chance)
        return near->spilled;
    return 1 - (1 - near->spilled) * fmax(near->served / near->given, CUT_MAX);
}

/* How much of the near rank's share goes on. */
static void steer(const struct fleet *fleet, struct fleet_rank *near, const struct outlook *far,
                  uint64_t now_ns)
{
    const double base_ns = unloaded_ns(fleet, near);
    if (near->mean_ns <= 0 || base_ns <= 0)
        return;
    const double slower = log(near->mean_ns / far->answer_ns);
    const double put_up_with =
        (far->is_own ? CONGESTED_OWN : CONGESTED_OTHER) + DROOP * near->spilled;
    const double fuller = log(near->mean_ns / base_ns / fmax(put_up_with, far->congestion));
    /* Congestion alone is no reason for a trip that takes longer than the queue. */
    const bool is_worth_it = near->mean_ns > far->answer_ns * WORTH_A_TRIP;
    const double error = clamp(is_worth_it ? fmax(slower, fuller) : slower, -ERROR_MAX, ERROR_MAX);
    const bool is_known = near->n_samples >= SAMPLES_MIN;
    double step = PROPORTIONAL * (error - near->error);
    if (fabs(error) > DEAD_BAND)
        step += INTEGRAL * error;
    near->error = error;
    /* Handed over on evidence only; taken back without. */
    if (step > 0 && (!is_known || error < 0))
        return;
    if (is_worth_it && fuller > DEAD_BAND && is_known)
        near->spilled = cut_back(near, now_ns);
    near->spilled = clamp(near->spilled + step, 0, SPILLED_MAX);
}

/* What is handed on without anybody knowing why any more. */
static void give_back(struct fleet_rank *near, uint64_t elapsed_ns)
{
    near->spilled = fmax(near->spilled - (double)elapsed_ns / GIVE_BACK_NS, 0);
    near->mean_ns = near->error = near->served = near->given = 0;
}

static bool has_fit(const struct fleet *fleet, const struct fleet_rank *rank)
{
    for (size_t i = 0; i < rank->n_levels; i++)
        if (level_n_fit(&fleet->levels[rank->first_level + i]) > 0)
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

/* From the last one to the first: what a rank hands on meets the next one, and by as much as that
 * one hands on itself those behind it. */
static void look(struct fleet *fleet, uint64_t elapsed_ns, uint64_t now_ns)
{
    struct outlook behind = {0}; /* of the next rank and those behind it */
    const struct fleet_rank *next = NULL;
    for (size_t i = 0; i < fleet->n_ranks; i++)
        digest(rank_at(fleet, i));
    for (size_t i = fleet->n_ranks; i-- > 0;) {
        struct fleet_rank *near = rank_at(fleet, i);
        const bool is_stale = now_ns > near->sampled_ns + STALE_NS;
        if (is_stale)
            give_back(near, elapsed_ns);
        if (near->is_last_resort)
            continue;
        if (!has_fit(fleet, near)) {
            if (is_stale)
                near->base_ns = 0; /* who comes back may be another */
            continue;
        }
        if (next) {
            struct outlook far = outlook_of(fleet, near, next, now_ns);
            if (behind.answer_ns > 0) {
                far.answer_ns += (behind.answer_ns - far.answer_ns) * next->spilled;
                far.congestion += (behind.congestion - far.congestion) * next->spilled;
            }
            steer(fleet, near, &far, now_ns);
            behind = far;
        }
        next = near;
    }
    for (size_t i = 0; i < fleet->n_ranks; i++) {
        rank_at(fleet, i)->n_samples = 0;
        rank_at(fleet, i)->sum_ns = 0;
    }
}

void spill_adjust(struct fleet *fleet, uint32_t *shares, uint64_t now_ns)
{
    if (now_ns >= fleet->spill_at_ns) {
        look(fleet, now_ns + LOOK_NS - fleet->spill_at_ns, now_ns);
        fleet->spill_at_ns = now_ns + LOOK_NS;
    }
    for (size_t i = 0; i < fleet->n_ranks; i++) {
        const struct fleet_rank *near = rank_at(fleet, i);
        const size_t next = next_place(fleet, i);
        if (next >= fleet->n_ranks || shares[i] == 0 || near->is_last_resort)
            continue;
        const uint32_t moved = (uint32_t)(shares[i] * near->spilled);
        shares[i] -= moved;
        shares[next] += moved;
    }
}
