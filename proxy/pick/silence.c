/*
 * Levels that do not answer. A zone, a region or a cluster that is cut off takes all of its
 * endpoints with it, and to find that out one after the other costs each a connect.
 *
 * So after a few connects to a level that nobody answered, and none that anybody did since they
 * began, the level is silent: it has no share, and one flow at a time asks it, later each time, as
 * one asks an endpoint whose rest is over. What stands beside it in the same cluster and has not
 * answered either, mostly since nobody asked, is asked in the same way before it is trusted with
 * everything; where it is well, that takes one connect. The first answer ends it.
 *
 * It never takes the last level: when all are silent, none is.
 */
#include "proxy/pick/choose.h"

#define SILENCES_MIN 3 /* in a row; one or two are endpoints, or their node */

static void fall_silent(struct fleet *fleet, struct fleet_level *level, uint64_t ask_at_ns)
{
    level->is_silent = true;
    level->n_asked = 0;
    level->ask_at_ns = ask_at_ns;
    fleet->n_silent++;
    fleet->shares_are_stale = true;
}

void silence_end(struct fleet *fleet, struct fleet_level *level)
{
    level->n_silences = 0;
    if (!level->is_silent)
        return;
    level->is_silent = false;
    fleet->n_silent--;
    fleet->shares_are_stale = true;
}

void silence_met(struct member *member, uint64_t since_ns, uint64_t now_ns)
{
    struct fleet *fleet = member->fleet;
    struct fleet_level *level = member_level(member);
    if (member->silent_ns == 0)
        member->silent_ns = now_ns;
    if (level->answered_ns >= since_ns || level->is_silent || ++level->n_silences < SILENCES_MIN)
        return;
    fall_silent(fleet, level, now_ns + SUSPECT_MIN_NS);
    for (size_t i = 0; i < fleet->n_levels; i++) {
        struct fleet_level *beside = &fleet->levels[i];
        if (beside->cluster == level->cluster && !beside->is_silent &&
            beside->answered_ns < since_ns)
            fall_silent(fleet, beside, now_ns);
    }
}

void silence_broken(struct member *member, uint64_t now_ns)
{
    member->silent_ns = 0;
    member_level(member)->answered_ns = now_ns;
    silence_end(member->fleet, member_level(member));
}

/* Each time twice as long after the last. */
static uint64_t pause_ns(const struct fleet_level *level)
{
    uint64_t rest_ns = SUSPECT_MIN_NS;
    for (uint32_t i = 1; i < level->n_asked && rest_ns < SUSPECT_MAX_NS; i++)
        rest_ns *= 2;
    return rest_ns < SUSPECT_MAX_NS ? rest_ns : SUSPECT_MAX_NS;
}

struct fleet_level *silence_to_ask(const struct choice *choice)
{
    struct fleet *fleet = choice->fleet;
    for (size_t i = 0; i < fleet->n_levels && fleet->n_silent > 0; i++) {
        struct fleet_level *level = &fleet->levels[i];
        if (!level->is_silent || level->n_fit == 0 || choice->now_ns < level->ask_at_ns)
            continue;
        level->n_asked++;
        level->ask_at_ns = choice->now_ns + pause_ns(level);
        return level;
    }
    return NULL;
}
