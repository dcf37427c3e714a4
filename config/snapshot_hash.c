/*
 * The tables of consistent hashing, one a level, for services whose policy hashes: built here once,
 * so that a worker only looks up. A level whose endpoints, addresses and weights are those of the
 * snapshot before has that one's table: an endpoint that is ready or not is in it either way, so a
 * flapping one builds nothing anew.
 */
#include <string.h>

#include "config/snapshot_build.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/mem.h"

struct hash_table {
    uint64_t print;     /* of all that it was built from */
    size_t n_snapshots; /* that share it; counted by the one thread that builds and frees */
    struct arena arena;
    struct ring ring;
    struct maglev maglev;
};

/* ---- what it is made from ---- */

static bool is_elsewhere(const struct vantage *vantage, const struct endpoint *endpoint)
{
    return endpoint->workload && !str_eq(endpoint->workload->network, vantage->network);
}

/* What names an endpoint to every node alike. Addresses of other networks may be ours too. */
static struct str key_of(struct arena *arena, const struct vantage *vantage,
                         const struct endpoint *endpoint)
{
    char addr[ADDR_TEXT_MAX];
    (void)addr_text(&endpoint->addr, addr);
    if (!is_elsewhere(vantage, endpoint))
        return arena_str(arena, str_from(addr));
    return arena_printf(arena, "%s@%.*s", addr, STR_ARG(endpoint->workload->network));
}

/* Keyed: a service must not be made to take the table of another. */
static void print_add(uint64_t *print, struct str bytes)
{
    *print = keyed_hash(*print, bytes);
}

static void print_add_numbers(uint64_t *print, const uint64_t *numbers, size_t n)
{
    print_add(print, str_of(numbers, n * sizeof(*numbers)));
}

static uint64_t print_of(const struct vantage *vantage, const struct traffic_policy *policy,
                         const struct endpoint *endpoints, size_t n)
{
    const bool is_ring = policy->algorithm == ALGORITHM_RING_HASH;
    uint64_t print = 0;
    print_add_numbers(&print,
                      (const uint64_t[]){is_ring, is_ring ? policy->ring_min : policy->maglev_size,
                                         is_ring ? policy->ring_max : 0,
                                         is_ring ? (uint64_t)policy->ring_function : 0, n},
                      5);
    for (size_t i = 0; i < n; i++) {
        const bool is_far = is_elsewhere(vantage, &endpoints[i]);
        print_add(&print, ip_key(&endpoints[i].addr.ip));
        print_add_numbers(
            &print, (const uint64_t[]){endpoints[i].addr.port, endpoints[i].weight, is_far}, 3);
        if (is_far)
            print_add(&print, endpoints[i].workload->network);
    }
    return print;
}

/* ---- tables ---- */

static struct hash_table *table_new(const struct vantage *vantage,
                                    const struct traffic_policy *policy,
                                    const struct endpoint *endpoints, size_t n)
{
    struct arena scratch = {0};
    struct hash_table *table = mem_new(struct hash_table);
    struct hash_host *hosts = arena_new_array(&scratch, struct hash_host, n);
    for (size_t i = 0; i < n; i++)
        hosts[i] =
            (struct hash_host){key_of(&scratch, vantage, &endpoints[i]), endpoints[i].weight};
    if (policy->algorithm == ALGORITHM_RING_HASH)
        table->ring = ring_build(&table->arena, hosts, n, policy->ring_function, policy->ring_min,
                                 policy->ring_max);
    else
        table->maglev = maglev_build(&table->arena, hosts, n, policy->maglev_size);
    arena_fini(&scratch);
    return table;
}

static struct hash_table *find_table(const struct snapshot *snapshot, const uint64_t *print)
{
    struct hash_table *table = NULL;
    for (; snapshot && !table; snapshot = snapshot->base)
        table = map_find(&snapshot->tables, str_of(print, sizeof(*print)));
    return table;
}

/* The snapshot's own (or its base's, which it holds), the one before's, or a new one. */
static const struct hash_table *get_table(struct snapshot_builder *builder,
                                          const struct traffic_policy *policy,
                                          const struct endpoint *endpoints, size_t n)
{
    struct snapshot *snapshot = builder->snapshot;
    const uint64_t print = print_of(&snapshot->vantage, policy, endpoints, n);
    struct hash_table *table = find_table(snapshot, &print);
    if (table)
        return table;
    table = find_table(builder->before, &print);
    if (!table) {
        table = table_new(&snapshot->vantage, policy, endpoints, n);
        table->print = print;
        snapshot->n_tables_built++;
    }
    table->n_snapshots++;
    (void)map_put(&snapshot->tables, str_of(&table->print, sizeof(table->print)), table);
    return table;
}

void snapshot_add_tables(struct snapshot_builder *builder, const struct traffic_policy *policy,
                         const struct endpoint *endpoints, struct level *levels, size_t n_levels)
{
    if (policy->algorithm != ALGORITHM_RING_HASH && policy->algorithm != ALGORITHM_MAGLEV)
        return;
    for (size_t i = 0; i < n_levels; i++) {
        const struct hash_table *table =
            get_table(builder, policy, endpoints + levels[i].start, levels[i].len);
        levels[i].ring = table->ring;
        levels[i].maglev = table->maglev;
    }
}

void snapshot_leave_tables(struct snapshot *snapshot)
{
    size_t idx = 0;
    struct str key;
    void *value;
    while (map_next(&snapshot->tables, &idx, &key, &value)) {
        struct hash_table *table = value;
        if (--table->n_snapshots > 0)
            continue;
        arena_fini(&table->arena);
        mem_free(table);
    }
    map_fini(&snapshot->tables);
}
