/* Draws by weight, which algorithms are made of. */
#include "proxy/pick/choose.h"

#define WARM_DRAWS 8 /* a draw that slow start turns down is drawn again, at most so often */

static uint64_t point_below(struct rng *rng, uint64_t bound)
{
    return bound <= UINT32_MAX ? rng_below(rng, (uint32_t)bound) : rng_next(rng) % bound;
}

static bool is_turned_down(const struct choice *choice, const struct member *member)
{
    return member->warm_since_ns != 0 &&
           rng_below(choice->rng, SHARE_WHOLE) >=
               (uint32_t)(member_warmth(member, choice->now_ns) * SHARE_WHOLE);
}

static struct member *member_at(const struct choice *choice, const struct fleet_level *level,
                                uint64_t point)
{
    uint64_t start;
    return choice->fleet->members[level->start + weights_find(&level->fit, point, &start)];
}

struct member *draw_fit(const struct choice *choice, struct fleet_level *level)
{
    struct member *member = NULL;
    for (int i = 0; i < WARM_DRAWS && level->fit.sum > 0; i++) {
        member = member_at(choice, level, point_below(choice->rng, level->fit.sum));
        if (!is_turned_down(choice, member))
            break;
    }
    return member;
}

struct member *draw_other(const struct choice *choice, struct fleet_level *level,
                          const struct member *than)
{
    struct member *member = NULL;
    const uint64_t sum = level->fit.sum - than->weight;
    for (int i = 0; i < WARM_DRAWS && sum > 0; i++) {
        const uint64_t point = point_below(choice->rng, sum);
        member = member_at(choice, level, point);
        /* The line without its part: what lies at or behind it moves up by it. */
        if (member->idx >= than->idx)
            member = member_at(choice, level, point + than->weight);
        if (!is_turned_down(choice, member))
            break;
    }
    return member;
}

struct member *choose_random(const struct choice *choice, struct fleet_level *level)
{
    return draw_fit(choice, level);
}
