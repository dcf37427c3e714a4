/*
 * The tables of consistent hashing, one a level, for services whose policy hashes: built here once,
 * so that a worker only looks up.
 */
#include "config/snapshot_build.h"

/* What names an endpoint to every node alike. Addresses of other networks may be ours too. */
static struct str key_of(struct arena *arena, const struct vantage *vantage,
                         const struct endpoint *endpoint)
{
    char addr[ADDR_TEXT_MAX];
    (void)addr_text(&endpoint->addr, addr);
    if (!endpoint->workload || str_eq(endpoint->workload->network, vantage->network))
        return arena_str(arena, str_from(addr));
    return arena_printf(arena, "%s@%.*s", addr, STR_ARG(endpoint->workload->network));
}

static void build_table(struct snapshot_builder *builder, const struct traffic_policy *policy,
                        const struct hash_host *hosts, struct level *level)
{
    struct arena *arena = &builder->snapshot->arena;
    if (policy->algorithm == ALGORITHM_RING_HASH)
        level->ring = ring_build(arena, hosts, level->len, policy->ring_min, policy->ring_max);
    else
        level->maglev = maglev_build(arena, hosts, level->len, policy->maglev_size);
}

void snapshot_add_tables(struct snapshot_builder *builder, const struct traffic_policy *policy,
                         const struct endpoint *endpoints, struct level *levels, size_t n_levels)
{
    if (policy->algorithm != ALGORITHM_RING_HASH && policy->algorithm != ALGORITHM_MAGLEV)
        return;
    for (size_t i = 0; i < n_levels; i++) {
        struct arena scratch = {0};
        struct hash_host *hosts = arena_new_array(&scratch, struct hash_host, levels[i].len);
        for (size_t j = 0; j < levels[i].len; j++) {
            const struct endpoint *endpoint = &endpoints[levels[i].start + j];
            hosts[j].key = key_of(&scratch, &builder->snapshot->vantage, endpoint);
            hosts[j].weight = endpoint->weight;
        }
        build_table(builder, policy, hosts, &levels[i]);
        arena_fini(&scratch);
    }
}
