/*
 * The sets in use: found by id, brought up to date with the snapshot, forgotten when unused.
 *
 * A set that changed is merged in one walk over both lists: endpoints mostly stand in the order
 * they stood in, so a member is found where the last one ended; the others by key. Members move,
 * they are not copied: leases point to them.
 *
 * Who was kept out by the policy alone, as in a drill, is not new when it comes back: it was warm
 * and well all the time. So the keys of those are kept.
 */
#include "proxy/pick/fleet.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"

#define MEMBERS_AT_ONCE 256

/* ---- members ---- */

struct member_block {
    struct member_block *next;
    struct member members[MEMBERS_AT_ONCE];
};

/* Memory of members is used again, not given back: it is bounded by BALANCER_MEMBERS_MAX. */
static void make_members(struct balancer *balancer)
{
    struct member_block *block = mem_new(struct member_block);
    block->next = balancer->blocks;
    balancer->blocks = block;
    for (size_t i = 0; i < MEMBERS_AT_ONCE; i++)
        list_push_back(&balancer->free_members, &block->members[i].in_probation);
}

void members_free_all(struct balancer *balancer)
{
    ensure(balancer->n_members == 0);
    while (balancer->blocks) {
        struct member_block *block = balancer->blocks;
        balancer->blocks = block->next;
        mem_free(block);
    }
}

static struct member *member_new(struct fleet *fleet, const struct endpoint *endpoint)
{
    struct balancer *balancer = fleet->balancer;
    if (list_is_empty(&balancer->free_members))
        make_members(balancer);
    struct member *member = list_entry(balancer->free_members.next, struct member, in_probation);
    list_remove(&member->in_probation);
    *member = (struct member){.key = endpoint->key, .fleet = fleet};
    list_init(&member->in_probation);
    if (endpoint->workload) /* a pod does not change its node, and keeps its key no longer */
        member->node = str_hash(endpoint->workload->node, str_hash(endpoint->workload->cluster, 0));
    balancer->n_members++;
    return member;
}

static void member_free(struct balancer *balancer, struct member *member)
{
    balancer->n_members--;
    list_push_front(&balancer->free_members, &member->in_probation);
}

void member_free_if_left(struct balancer *balancer, struct member *member)
{
    if (!member->fleet && member->flows == 0)
        member_free(balancer, member);
}

/* It is filed nowhere already. */
static void member_leave(struct member *member)
{
    struct balancer *balancer = member->fleet->balancer;
    member->fleet->n_flows -= member->flows;
    member->fleet = NULL;
    member_free_if_left(balancer, member);
}

/* ---- by key ---- */

static void index_members(struct fleet *fleet)
{
    size_t n_slots = 16;
    while (n_slots < (size_t)fleet->n_members * 2)
        n_slots *= 2;
    fleet->by_key = mem_new_array(struct member *, n_slots);
    fleet->n_slots = n_slots;
    for (uint32_t i = 0; i < fleet->n_members; i++) {
        assume(fleet->members[i]);
        size_t slot = fleet->members[i]->key & (n_slots - 1);
        while (fleet->by_key[slot])
            slot = (slot + 1) & (n_slots - 1);
        fleet->by_key[slot] = fleet->members[i];
    }
}

static void drop_index(struct fleet *fleet)
{
    mem_free(fleet->by_key);
    fleet->by_key = NULL;
}

struct member *fleet_find_member(struct fleet *fleet, uint64_t key)
{
    if (!fleet->by_key)
        index_members(fleet);
    for (size_t slot = key & (fleet->n_slots - 1); fleet->by_key[slot];
         slot = (slot + 1) & (fleet->n_slots - 1)) {
        if (fleet->by_key[slot]->key == key)
            return fleet->by_key[slot];
    }
    return NULL;
}

/* ---- the pieces of a merge ---- */

/* What configuration says of it; one that became ready is as new. */
static void take_endpoint(struct member *member, const struct endpoint *endpoint, uint32_t idx)
{
    member->idx = idx;
    member->level = endpoint->level;
    member->distance = (uint8_t)endpoint->distance;
    member->weight = endpoint->weight;
    member->tally = 0; /* the interval begins anew */
    member->is_ready = endpoint->is_ready;
}

static void make_level(struct fleet_level *level, const struct level *from,
                       const struct endpoint *endpoints, uint64_t **storage)
{
    const uint32_t len = (uint32_t)from->len;
    uint64_t *all = *storage;
    *level = (struct fleet_level){
        .kind = from->kind,
        .cluster = str_hash(from->cluster, 0),
        .rank = from->rank,
        .share_weight = from->share_weight,
        .n_callers = from->n_callers,
        .start = (uint32_t)from->start,
        .len = len,
        .all = all,
    };
    level->identity = str_hash(from->locality, level->cluster + (uint64_t)from->kind);
    level->is_even = true;
    for (uint32_t i = 0; i < len; i++) {
        const uint32_t weight = endpoints[from->start + i].weight;
        all[i + 1] = all[i] + weight;
        level->n_all += weight > 0;
        level->is_even &= weight == endpoints[from->start].weight;
    }
    level->w_all = all[len];
    *storage += len + 1;
    weights_build(&level->fit, *storage, len);
    *storage += len;
    weights_build(&level->doubtful, *storage, len);
    *storage += len;
}

static void free_levels(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->n_levels; i++)
        edf_fini(&fleet->levels[i].schedule);
    mem_free(fleet->levels);
    mem_free(fleet->ranks);
    mem_free(fleet->sums);
}

static const struct fleet_rank *find_rank(const struct fleet_rank *ranks, size_t n,
                                          uint64_t identity)
{
    for (size_t i = 0; i < n; i++)
        if (ranks[i].identity == identity)
            return &ranks[i];
    return NULL;
}

/* What was learnt of a level stays with it. */
static void make_ranks(struct fleet *fleet, const struct endpoint_set *set,
                       const struct fleet_rank *before, size_t n_before)
{
    fleet->n_ranks = set->n_levels > 0 ? set->levels[set->n_levels - 1].rank + 1U : 0;
    fleet->ranks = mem_new_array(struct fleet_rank, fleet->n_ranks + 1);
    for (size_t i = 0; i < fleet->n_levels; i++) {
        const struct level *level = &set->levels[i];
        struct fleet_rank *rank = &fleet->ranks[level->rank];
        if (rank->n_levels++ > 0)
            continue;
        const struct fleet_rank *same = find_rank(before, n_before, fleet->levels[i].identity);
        if (same)
            *rank = *same;
        rank->identity = fleet->levels[i].identity;
        rank->first_level = (uint16_t)i;
        rank->n_levels = 1;
        rank->is_last_resort = level->is_last_resort;
        rank->price_micro = level->price_micro;
        fleet->rank_order[level->rank] = level->rank;
    }
}

static const struct fleet_level *find_level(const struct fleet *fleet, uint64_t identity)
{
    for (size_t i = 0; i < fleet->n_levels; i++)
        if (fleet->levels[i].identity == identity)
            return &fleet->levels[i];
    return NULL;
}

static void take_over_levels(struct fleet *fleet, const struct fleet *before)
{
    fleet->n_silent = 0;
    for (size_t i = 0; i < fleet->n_levels; i++) {
        struct fleet_level *level = &fleet->levels[i];
        const struct fleet_level *same = find_level(before, level->identity);
        if (!same)
            continue;
        level->mean_ns = same->mean_ns;
        level->latency_limit_ns = same->latency_limit_ns;
        level->is_silent = same->is_silent;
        level->n_silences = same->n_silences;
        level->n_asked = same->n_asked;
        level->ask_at_ns = same->ask_at_ns;
        level->answered_ns = same->answered_ns;
        fleet->n_silent += level->is_silent;
    }
}

static void make_levels(struct fleet *fleet, const struct endpoint_set *set)
{
    struct fleet before = *fleet;
    uint64_t *storage = mem_new_array(uint64_t, set->len * 3 + set->n_levels);
    fleet->sums = storage;
    fleet->n_levels = set->n_levels;
    fleet->levels = mem_new_array(struct fleet_level, set->n_levels + 1);
    for (size_t i = 0; i < set->n_levels; i++)
        make_level(&fleet->levels[i], &set->levels[i], set->endpoints, &storage);
    make_ranks(fleet, set, before.ranks, before.n_ranks);
    take_over_levels(fleet, &before);
    free_levels(&before);
}

/* ---- kept out by the policy ---- */

static int compare_keys(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool was_kept_out(const struct fleet *fleet, uint64_t key)
{
    return fleet->n_kept_out > 0 && bsearch(&key, fleet->kept_out, fleet->n_kept_out,
                                            sizeof(*fleet->kept_out), compare_keys) != NULL;
}

/* The healthy ones of those that the policy does not admit now, if they served before. The members
 * are still those before the merge. */
static void note_kept_out(struct fleet *fleet, const struct endpoint_set *set)
{
    uint64_t *keys = set->n_hidden > 0 ? mem_new_array(uint64_t, set->n_hidden) : NULL;
    size_t n = 0;
    for (size_t i = 0; i < set->n_hidden; i++) {
        const uint64_t key = set->hidden[i].key;
        const struct member *member =
            key != 0 && fleet->n_members > 0 ? fleet_find_member(fleet, key) : NULL;
        if ((member && member->filing == FILED_FIT) || was_kept_out(fleet, key))
            keys[n++] = key;
    }
    if (n > 0)
        qsort(keys, n, sizeof(*keys), compare_keys);
    mem_free(fleet->kept_out);
    fleet->kept_out = keys;
    fleet->n_kept_out = n;
}

/* ---- the merge ---- */

/* The members of the new list, in its order; those that stay are taken over from the old one. */
static struct member **match_members(struct fleet *fleet, const struct endpoint_set *set,
                                     bool *out_is_same)
{
    struct member **members = mem_new_array(struct member *, set->len + 1);
    uint32_t next = 0;
    bool is_same = set->len == fleet->n_members;
    for (size_t i = 0; i < set->len; i++) {
        const struct endpoint *endpoint = &set->endpoints[i];
        struct member *member = next < fleet->n_members ? fleet->members[next] : NULL;
        if (!member || member->key != endpoint->key) {
            is_same = false;
            member = fleet->n_members > 0 ? fleet_find_member(fleet, endpoint->key) : NULL;
        }
        if (member) {
            next = member->idx + 1;
        } else {
            member = member_new(fleet, endpoint);
            member->is_ready = was_kept_out(fleet, endpoint->key);
        }
        member->seen = fleet->n_merges;
        members[i] = member;
    }
    *out_is_same = is_same;
    return members;
}

static void unfile_all(struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->n_members; i++) {
        struct member *member = fleet->members[i];
        member->filing = FILED_NOWHERE; /* the sums are made anew */
        if (member->seen != fleet->n_merges) {
            member_unfile(member);
            member_leave(member);
        }
    }
}

static void file_all(struct fleet *fleet, const struct endpoint_set *set, bool is_first,
                     uint64_t now_ns)
{
    for (uint32_t i = 0; i < set->len; i++) {
        struct member *member = fleet->members[i];
        const bool was_ready = member->is_ready;
        take_endpoint(member, &set->endpoints[i], i);
        member_level(member)->n_flows += member->flows;
        if (member->is_ejected)
            member_level(member)->n_ejected++;
        if (!is_first && !was_ready && member->is_ready) {
            member_warm_up(member, now_ns);
            silence_end(fleet, member_level(member));
        }
        member_file_first(member);
    }
    for (size_t i = 0; i < fleet->n_levels; i++) {
        struct fleet_level *level = &fleet->levels[i];
        weights_build(&level->fit, level->fit.tree, level->len);
        weights_build(&level->doubtful, level->doubtful.tree, level->len);
    }
}

static void merge(struct fleet *fleet, const struct endpoint_set *set, uint64_t now_ns)
{
    const bool is_first = fleet->n_merges++ == 0;
    bool is_same;
    struct member **members = match_members(fleet, set, &is_same);
    note_kept_out(fleet, set);
    fleet->n_tallies = 0;
    unfile_all(fleet);
    mem_free(fleet->members);
    fleet->members = members;
    fleet->n_members = (uint32_t)set->len;
    if (!is_same)
        drop_index(fleet);
    make_levels(fleet, set);
    file_all(fleet, set, is_first, now_ns);
    fleet->fingerprint = set->fingerprint;
    fleet->shares_are_stale = true;
}

/* ---- fleets ---- */

static struct fleet **at_hand(struct balancer *balancer, uint64_t id)
{
    return &balancer->at_hand[id & (FLEETS_AT_HAND - 1)];
}

struct fleet *fleet_find(const struct balancer *balancer, uint64_t id)
{
    return map_find(&balancer->fleets, key_of(&id));
}

static struct crew *join_crew(struct balancer *balancer, struct str service)
{
    const uint64_t key = str_hash(service, 0);
    struct crew *crew = map_find(&balancer->crews, key_of(&key));
    if (!crew) {
        crew = mem_new(struct crew);
        crew->key = key;
        (void)map_put(&balancer->crews, key_of(&crew->key), crew);
    }
    crew->n_fleets++;
    return crew;
}

void crew_free_if_left(struct balancer *balancer, struct crew *crew)
{
    if (crew->n_fleets > 0 || crew->n_flows > 0)
        return;
    (void)map_remove(&balancer->crews, key_of(&crew->key));
    mem_free(crew);
}

static char *copy_text(struct str text)
{
    char *copy = mem_alloc(text.len + 1);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return copy;
}

static struct fleet *fleet_new(struct balancer *balancer, const struct question *question)
{
    struct fleet *fleet = mem_new(struct fleet);
    const struct str service = question->service->key;
    fleet->balancer = balancer;
    fleet->id = question->set->id;
    fleet->port = question->set->port;
    fleet->is_v6 = question->set->is_v6;
    fleet->service = str_of(copy_text(service), service.len);
    fleet->crew = join_crew(balancer, service);
    list_init(&fleet->probation);
    list_push_back(&balancer->fleets_by_use, &fleet->by_use);
    (void)map_put(&balancer->fleets, key_of(&fleet->id), fleet);
    return fleet;
}

void fleet_free(struct fleet *fleet)
{
    struct balancer *balancer = fleet->balancer;
    fleet->n_merges++; /* nobody is of this one */
    unfile_all(fleet);
    free_levels(fleet);
    drop_index(fleet);
    mem_free(fleet->members);
    mem_free(fleet->tallies);
    mem_free(fleet->kept_out);
    mem_free(fleet->principal);
    mem_free((char *)(uintptr_t)fleet->service.ptr);
    fleet->crew->n_fleets--;
    crew_free_if_left(balancer, fleet->crew);
    list_remove(&fleet->by_use);
    (void)map_remove(&balancer->fleets, key_of(&fleet->id));
    if (*at_hand(balancer, fleet->id) == fleet)
        *at_hand(balancer, fleet->id) = NULL;
    mem_free(fleet);
}

/* Forgets the longest unused of others until so many more members have room. */
static bool make_room(struct balancer *balancer, const struct fleet *keep, size_t n)
{
    list_foreach(it, &balancer->fleets_by_use)
    {
        struct fleet *fleet = list_entry(it, struct fleet, by_use);
        if (balancer->n_members + n <= BALANCER_MEMBERS_MAX)
            return true;
        if (fleet != keep && fleet->n_flows == 0)
            fleet_free(fleet);
    }
    return balancer->n_members + n <= BALANCER_MEMBERS_MAX;
}

static void note_use(struct fleet *fleet, const struct question *question, uint64_t now_ns)
{
    const struct str principal = question->principal;
    fleet->used_ns = now_ns;
    if (fleet->by_use.next != &fleet->balancer->fleets_by_use) {
        list_remove(&fleet->by_use);
        list_push_back(&fleet->balancer->fleets_by_use, &fleet->by_use);
    }
    if (str_eq(principal, (struct str){fleet->principal, fleet->principal_len}))
        return;
    mem_free(fleet->principal);
    fleet->principal = copy_text(principal);
    fleet->principal_len = principal.len;
}

static void take_policy(struct fleet *fleet, const struct traffic_policy *policy)
{
    if (fleet->policy.algorithm != policy->algorithm ||
        fleet->policy.active_bias_permille != policy->active_bias_permille)
        for (size_t i = 0; i < fleet->n_levels; i++)
            fleet->levels[i].has_schedule = false;
    fleet->policy = *policy;
    fleet->endpoint_limit = worker_part(fleet->balancer, policy->limits.endpoint_max_connections);
    fleet->shares_are_stale = true;
}

struct fleet *fleet_get(struct balancer *balancer, const struct question *question, uint64_t now_ns)
{
    const struct endpoint_set *set = question->set;
    struct fleet **at = at_hand(balancer, set->id);
    struct fleet *fleet = *at && (*at)->id == set->id ? *at : fleet_find(balancer, set->id);
    const bool is_new = !fleet;
    if (!is_new && fleet->generation == set->generation && fleet->fingerprint == set->fingerprint) {
        note_use(fleet, question, now_ns);
        *at = fleet;
        return fleet;
    }
    if (!make_room(balancer, fleet, set->len))
        return NULL;
    if (is_new)
        fleet = fleet_new(balancer, question);
    fleet->generation = set->generation;
    take_policy(fleet, question->service->traffic);
    if (is_new || fleet->fingerprint != set->fingerprint)
        merge(fleet, set, now_ns);
    note_use(fleet, question, now_ns);
    return fleet;
}
