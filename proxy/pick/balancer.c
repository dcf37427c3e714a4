/* A worker's balancer as a whole: its life, time, health from outside, looking in. */
#include "proxy/pick/balancer.h"

#include "proxy/base/mem.h"
#include "proxy/pick/fleet.h"

#define TIDY_NS    UINT64_C(1000000000)
#define DUE_ROUNDS 8 /* of members that fall due, a tick */

struct balancer *balancer_new(struct meter *meter, unsigned n_workers)
{
    struct balancer *balancer = mem_new(struct balancer);
    balancer->meter = meter;
    balancer->n_workers = n_workers > 0 ? n_workers : 1;
    list_init(&balancer->fleets_by_use);
    list_init(&balancer->free_members);
    return balancer;
}

void balancer_free(struct balancer *balancer)
{
    ensure(balancer->n_flows == 0);
    list_foreach(it, &balancer->fleets_by_use) fleet_free(list_entry(it, struct fleet, by_use));
    members_free_all(balancer);
    map_fini(&balancer->fleets);
    map_fini(&balancer->crews);
    reach_fini(balancer);
    timetable_fini(&balancer->timetable);
    mem_free(balancer);
}

/* The longest unused stand first. */
static void forget_idle(struct balancer *balancer, uint64_t now_ns)
{
    list_foreach(it, &balancer->fleets_by_use)
    {
        struct fleet *fleet = list_entry(it, struct fleet, by_use);
        if (now_ns < fleet->used_ns + BALANCER_IDLE_NS)
            return;
        if (fleet->n_flows == 0)
            fleet_free(fleet);
    }
}

void balancer_tick(struct balancer *balancer, uint64_t now_ns)
{
    for (int i = 0; i < DUE_ROUNDS; i++)
        members_run_due(balancer, now_ns);
    if (now_ns < balancer->tidied_ns + TIDY_NS)
        return;
    balancer->tidied_ns = now_ns;
    nodes_tidy(balancer, now_ns);
    forget_idle(balancer, now_ns);
}

/* ---- health from outside ---- */

void balancer_set_health(struct balancer *balancer, uint64_t set_id, uint64_t key,
                         enum checked checked, uint64_t now_ns)
{
    struct fleet *fleet = fleet_find(balancer, set_id);
    struct member *member = fleet ? fleet_find_member(fleet, key) : NULL;
    if (!member || member->checked == checked)
        return;
    const bool was_bad = member->checked == CHECKED_BAD;
    member->checked = (uint8_t)checked;
    member_file(member);
    if (was_bad && member->state == MEMBER_SERVING)
        member_warm_up(member, now_ns);
}

void balancer_set_reach(struct balancer *balancer, struct str cluster, uint64_t rtt_ns)
{
    reach_measured(balancer, str_hash(cluster, 0), rtt_ns);
}

bool balancer_next_set(const struct balancer *balancer, size_t *idx, struct set_in_use *out_set)
{
    struct str key;
    void *value;
    if (!map_next(&balancer->fleets, idx, &key, &value))
        return false;
    const struct fleet *fleet = value;
    *out_set = (struct set_in_use){
        .id = fleet->id,
        .service = fleet->service,
        .port = fleet->port,
        .is_v6 = fleet->is_v6,
        .last_used_ns = fleet->used_ns,
        .principal = {fleet->principal, fleet->principal_len},
        .n_endpoints = fleet->n_members,
    };
    return true;
}

/* ---- looking in ---- */

size_t balancer_sets(const struct balancer *balancer)
{
    return balancer->fleets.len;
}

size_t balancer_flows(const struct balancer *balancer)
{
    return balancer->n_flows;
}

bool balancer_view(struct balancer *balancer, uint64_t set_id, uint64_t key, uint64_t now_ns,
                   struct member_view *out_view)
{
    struct fleet *fleet = fleet_find(balancer, set_id);
    struct member *member = fleet ? fleet_find_member(fleet, key) : NULL;
    if (!member)
        return false;
    members_run_due(balancer, now_ns);
    shares_refresh(fleet, now_ns);
    const double level_share = (double)member_level(member)->share / SHARE_WHOLE;
    *out_view = (struct member_view){
        .unfit = member_unfit(member),
        .checked = (enum checked)member->checked,
        .cause = (enum rest_cause)member->cause,
        .until_ns = member->state == MEMBER_RESTING ? member->due.due_ns : 0,
        .flows = member->flows,
        .latency_ns = (uint64_t)ewma_read(&member->latency, now_ns, fleet->policy.decay_ns),
        .level = member->level,
        .level_share = level_share,
        .share = level_share * shares_part(member, now_ns),
        .is_level_in_panic = member_level(member)->is_in_panic,
        .is_level_silent = member_level(member)->is_silent,
        .is_service_full = crew_is_full(fleet),
    };
    return true;
}
