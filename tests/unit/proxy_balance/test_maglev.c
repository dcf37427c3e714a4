/*
 * Vectors: Envoy's maglev_lb_test.cc (Basic, BasicWithHostName, Weighted), checked with an
 * independent implementation.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/balance/maglev.h"
#include "proxy/base/mem.h"

TestSuite(maglev, .timeout = 30);

static const struct hash_host by_address[] = {
    {{"127.0.0.1:90", 12}, 1}, {{"127.0.0.1:91", 12}, 1}, {{"127.0.0.1:92", 12}, 1},
    {{"127.0.0.1:93", 12}, 1}, {{"127.0.0.1:94", 12}, 1}, {{"127.0.0.1:95", 12}, 1},
};
static const struct hash_host by_name[] = {
    {{"90", 2}, 1}, {{"91", 2}, 1}, {{"92", 2}, 1}, {{"93", 2}, 1}, {{"94", 2}, 1}, {{"95", 2}, 1},
};

static void expect_table(const struct hash_host *hosts, const uint32_t *table)
{
    struct arena arena = {0};
    const struct maglev maglev = maglev_build(&arena, hosts, 6, 7);
    cr_assert_eq(maglev.len, 7);
    for (uint32_t i = 0; i < 7; i++)
        cr_expect_eq(maglev.table[i], table[i], "entry %u is %u", i, maglev.table[i]);
    arena_fini(&arena);
}

Test(maglev, fills_the_tables_of_envoys_maglev_lb_test)
{
    static const uint32_t addresses[] = {2, 4, 0, 1, 5, 0, 3};
    static const uint32_t names[] = {2, 5, 0, 3, 4, 1, 0};

    expect_table(by_address, addresses);
    expect_table(by_name, names);
}

static void count(const struct maglev *maglev, unsigned *out_n)
{
    for (uint32_t i = 0; i < maglev->len; i++)
        out_n[maglev->table[i]]++;
}

Test(maglev, weighs_one_to_two_as_envoys_maglev_lb_test)
{
    static const struct hash_host hosts[] = {{{"127.0.0.1:90", 12}, 1}, {{"127.0.0.1:91", 12}, 2}};
    unsigned n[2] = {0};
    struct arena arena = {0};

    const struct maglev maglev = maglev_build(&arena, hosts, 2, 65537);
    count(&maglev, n);

    cr_expect(n[0] == 21846 && n[1] == 43691, "%u %u", n[0], n[1]);
    arena_fini(&arena);
}

/* The paper's loop, over all hosts in every round, as an independent opinion. */
static void fill_naively(const struct hash_host *hosts, size_t n, uint32_t size, uint32_t *table)
{
    uint64_t target[64] = {0}, next[64] = {0}, max = 0, taken = 0;
    for (size_t i = 0; i < n; i++)
        max = hosts[i].weight > max ? hosts[i].weight : max;
    for (uint32_t i = 0; i < size; i++)
        table[i] = UINT32_MAX;
    for (uint64_t round = 1; taken < size; round++) {
        for (size_t i = 0; i < n && taken < size; i++) {
            if (hosts[i].weight == 0 || round * hosts[i].weight < target[i])
                continue;
            target[i] += max;
            const uint64_t offset = str_hash(hosts[i].key, 0) % size;
            const uint64_t skip = str_hash(hosts[i].key, 1) % (size - 1) + 1;
            while (table[(offset + next[i] * skip) % size] != UINT32_MAX)
                next[i]++;
            table[(offset + next[i] * skip) % size] = (uint32_t)i;
            taken++;
        }
    }
}

Test(maglev, agrees_with_the_papers_loop_for_any_weights)
{
    static uint32_t expected[1009];
    char keys[40][16];
    struct hash_host hosts[40];
    for (unsigned seed = 0; seed < 20; seed++) {
        struct arena arena = {0};
        for (unsigned i = 0; i < 40; i++) {
            (void)snprintf(keys[i], sizeof keys[i], "host-%02u", i);
            hosts[i] = (struct hash_host){str_from(keys[i]), (i * 7919 + seed * 104729) % 13};
        }
        hosts[seed].weight = seed * 1000;

        const struct maglev maglev = maglev_build(&arena, hosts, 40, 1009);
        fill_naively(hosts, 40, 1009, expected);

        for (uint32_t i = 0; i < 1009; i++)
            cr_assert_eq(maglev.table[i], expected[i], "seed %u, entry %u", seed, i);
        arena_fini(&arena);
    }
}

Test(maglev, the_order_of_hosts_changes_nothing)
{
    struct hash_host reversed[6];
    struct arena arena = {0};
    for (size_t i = 0; i < 6; i++)
        reversed[i] = by_address[5 - i];

    const struct maglev one = maglev_build(&arena, by_address, 6, 1009);
    const struct maglev other = maglev_build(&arena, reversed, 6, 1009);

    for (uint32_t i = 0; i < 1009; i++)
        cr_assert_eq(one.table[i], 5 - other.table[i]);
    arena_fini(&arena);
}

Test(maglev, a_host_that_leaves_moves_few_hashes_of_others)
{
    unsigned n_moved = 0;
    struct arena arena = {0};

    const struct maglev all = maglev_build(&arena, by_address, 6, 65537);
    const struct maglev fewer = maglev_build(&arena, by_address, 5, 65537);
    for (uint64_t hash = 0; hash < 65537; hash++)
        n_moved += maglev_find(&all, hash, 0) != 5 &&
                   maglev_find(&all, hash, 0) != maglev_find(&fewer, hash, 0);

    cr_expect_lt(n_moved, 65537 / 12, "%u", n_moved);
    arena_fini(&arena);
}

Test(maglev, an_attempt_looks_where_envoy_looks)
{
    struct arena arena = {0};
    const struct maglev maglev = maglev_build(&arena, by_address, 6, 7);

    cr_expect_eq(maglev_find(&maglev, 10, 0), maglev.table[3]);
    cr_expect_eq(maglev_find(&maglev, 10, 1), maglev.table[(10 ^ UINT64_MAX) % 7]);
    cr_expect_eq(maglev_find(&maglev, 10, 2), maglev.table[(10 ^ (UINT64_MAX - 1)) % 7]);
    arena_fini(&arena);
}

Test(maglev, nobody_with_a_weight_is_an_empty_table)
{
    static const struct hash_host hosts[] = {{{"a", 1}, 0}};
    struct arena arena = {0};

    cr_expect_eq(maglev_build(&arena, hosts, 1, 7).len, 0);
    cr_expect_eq(maglev_build(&arena, NULL, 0, 7).len, 0);
    arena_fini(&arena);
}

Test(maglev, sizes_are_primes)
{
    cr_expect(maglev_is_size(3) && maglev_is_size(65537) && maglev_is_size(5000011));
    cr_expect_not(maglev_is_size(0) || maglev_is_size(1) || maglev_is_size(2));
    cr_expect_not(maglev_is_size(65536) || maglev_is_size(9) || maglev_is_size(65535));
}

Test(maglev, ten_thousand_hosts_with_one_heavy_among_them_each_have_entries)
{
    const size_t n = 10000;
    struct arena arena = {0};
    struct hash_host *hosts = mem_new_array(struct hash_host, n);
    unsigned *counts = mem_new_array(unsigned, n);
    for (size_t i = 0; i < n; i++)
        hosts[i] = (struct hash_host){arena_printf(&arena, "10.0.%zu.%zu:80", i / 256, i % 256),
                                      i == 77 ? UINT32_MAX : 1};

    const struct maglev maglev = maglev_build(&arena, hosts, n, 65537);
    count(&maglev, counts);

    for (size_t i = 0; i < n; i++)
        cr_assert(counts[i] == (i == 77 ? 65537 - 9999 : 1), "host %zu has %u", i, counts[i]);
    mem_free(counts);
    mem_free(hosts);
    arena_fini(&arena);
}
