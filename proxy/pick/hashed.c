/*
 * Consistent hashing: the same hash goes to the same endpoint, by the ring or table that the
 * snapshot holds for the level. One that is not fit is passed over for the next of the sequence, so
 * only its own flows move. With bounded load one that has more than its share is passed over too.
 */
#include "proxy/balance/bounded.h"
#include "proxy/pick/choose.h"

#define ATTEMPTS_MAX      64
#define BOUNDED_FIT_SHARE 8 /* bounded load looks for room only while one in so many is fit */

struct hall { /* the level, to those who look for room in it */
    const struct fleet *fleet;
    const struct fleet_level *level;
};

static const struct member *member_of(const void *owner, uint32_t host)
{
    const struct hall *hall = owner;
    return hall->fleet->members[hall->level->start + host];
}

static uint32_t active_of(const void *owner, uint32_t host)
{
    const struct member *member = member_of(owner, host);
    return member->filing == FILED_FIT ? member->flows : BOUNDED_NOT_USABLE;
}

static uint32_t weight_of(const void *owner, uint32_t host)
{
    return member_of(owner, host)->weight;
}

static struct member *with_room(const struct choice *choice, struct fleet_level *level,
                                struct member *first)
{
    const struct hall hall = {choice->fleet, level};
    const uint32_t factor_pct = choice->fleet->policy.hash_balance_factor_pct;
    if (factor_pct == 0 || level->n_fit < level->len / BOUNDED_FIT_SHARE)
        return first;
    const struct bounded bounded = {
        .n = level->len,
        .factor_pct = factor_pct,
        .weight_sum = level->fit.sum,
        .n_active = level->n_flows,
        .active_of = active_of,
        .weight_of = weight_of,
        .owner = &hall,
    };
    const uint32_t chosen = bounded_choose(&bounded, choice->hash, first->idx - level->start);
    return chosen == BOUNDED_NOT_USABLE ? first : choice->fleet->members[level->start + chosen];
}

static const struct level *source_of(const struct choice *choice, const struct fleet_level *level)
{
    return &choice->question->set->levels[level - choice->fleet->levels];
}

static struct member *fit_at(const struct choice *choice, struct fleet_level *level, uint32_t host)
{
    struct member *member = choice->fleet->members[level->start + host];
    return member->filing == FILED_FIT ? with_room(choice, level, member) : NULL;
}

struct member *choose_ring(const struct choice *choice, struct fleet_level *level)
{
    const struct ring *ring = &source_of(choice, level)->ring;
    struct member *member = NULL;
    for (uint32_t attempt = 0; !member && ring->len > 0 && attempt < ATTEMPTS_MAX; attempt++)
        member = fit_at(choice, level, ring_find(ring, choice->hash, attempt));
    return member;
}

struct member *choose_maglev(const struct choice *choice, struct fleet_level *level)
{
    const struct maglev *maglev = &source_of(choice, level)->maglev;
    struct member *member = NULL;
    for (uint32_t attempt = 0; !member && maglev->len > 0 && attempt < ATTEMPTS_MAX; attempt++)
        member = fit_at(choice, level, maglev_find(maglev, choice->hash, attempt));
    return member;
}
