/*
 * Vectors: Envoy's ring_hash_lb_test.cc (RingHashLoadBalancerTest.Basic) and xxHash's own, checked
 * with an independent implementation.
 */
#include <criterion/criterion.h>

#include "proxy/balance/murmur.h"
#include "proxy/balance/ring.h"
#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"

TestSuite(ring, .timeout = 30);

static const struct hash_host six[] = {
    {{"127.0.0.1:90", 12}, 1}, {{"127.0.0.1:91", 12}, 1}, {{"127.0.0.1:92", 12}, 1},
    {{"127.0.0.1:93", 12}, 1}, {{"127.0.0.1:94", 12}, 1}, {{"127.0.0.1:95", 12}, 1},
};

Test(ring, hashes_as_xxhash64)
{
    cr_expect_eq(str_hash(STR(""), 0), UINT64_C(17241709254077376921));
    cr_expect_eq(str_hash(STR("abc"), 0), UINT64_C(4952883123889572249));
}

Test(ring, has_the_points_of_envoys_ring_hash_lb_test)
{
    static const struct ring_point points[] = {
        {UINT64_C(833437586790550860), 4},   {UINT64_C(928266305478181108), 2},
        {UINT64_C(1033482794131418490), 0},  {UINT64_C(3551244743356806947), 5},
        {UINT64_C(3851675632748031481), 3},  {UINT64_C(5583722120771150861), 1},
        {UINT64_C(6311230543546372928), 1},  {UINT64_C(7700377290971790572), 3},
        {UINT64_C(13144177310400110813), 5}, {UINT64_C(13444792449719432967), 2},
        {UINT64_C(15516499411664133160), 4}, {UINT64_C(16117243373044804889), 0},
    };
    struct arena arena = {0};

    const struct ring ring = ring_build(&arena, six, 6, RING_XX_HASH, 12, 8388608);

    cr_assert_eq(ring.len, 12);
    for (size_t i = 0; i < 12; i++) {
        cr_expect_eq(ring.points[i].hash, points[i].hash, "point %zu", i);
        cr_expect_eq(ring.points[i].host, points[i].host, "point %zu", i);
    }
    arena_fini(&arena);
}

Test(ring, finds_as_envoys_ring_hash_lb_test)
{
    struct arena arena = {0};
    const struct ring ring = ring_build(&arena, six, 6, RING_XX_HASH, 12, 8388608);

    cr_expect_eq(ring_find(&ring, 0, 0), 4);
    cr_expect_eq(ring_find(&ring, UINT64_MAX, 0), 4, "it wraps");
    cr_expect_eq(ring_find(&ring, UINT64_C(3551244743356806947), 0), 5, "its own point");
    cr_expect_eq(ring_find(&ring, UINT64_C(3551244743356806948), 0), 3, "the next one");
    cr_expect_eq(ring_find(&ring, UINT64_C(3551244743356806947), 1), 3, "attempts go on");
    cr_expect_eq(ring_find(&ring, UINT64_C(16117243373044804880), 1), 4, "and wrap");
    arena_fini(&arena);
}

/* The two rings below are in the comments of RingHashLoadBalancerTest. */
static void expect_points(const struct hash_host *hosts, enum ring_function function,
                          const struct ring_point *points)
{
    struct arena arena = {0};
    const struct ring ring = ring_build(&arena, hosts, 6, function, 12, 8388608);
    cr_assert_eq(ring.len, 12);
    for (size_t i = 0; i < 12; i++) {
        cr_expect_eq(ring.points[i].hash, points[i].hash, "point %zu", i);
        cr_expect_eq(ring.points[i].host, points[i].host, "point %zu", i);
    }
    arena_fini(&arena);
}

Test(ring, of_names_has_the_points_of_envoys_test_with_hostnames)
{
    static const struct hash_host names[] = {{{"90", 2}, 1}, {{"91", 2}, 1}, {{"92", 2}, 1},
                                             {{"93", 2}, 1}, {{"94", 2}, 1}, {{"95", 2}, 1}};
    static const struct ring_point points[] = {
        {UINT64_C(1975508444536362413), 5},  {UINT64_C(2376063919839173711), 5},
        {UINT64_C(2386806903309390596), 3},  {UINT64_C(6749904478991551885), 4},
        {UINT64_C(6803900775736438537), 3},  {UINT64_C(7225015537174310577), 2},
        {UINT64_C(8787465352164086522), 0},  {UINT64_C(11282020843382717940), 2},
        {UINT64_C(13723418369486627818), 1}, {UINT64_C(13776502110861797421), 0},
        {UINT64_C(14338313586354474791), 1}, {UINT64_C(15364271037087512980), 4},
    };
    expect_points(names, RING_XX_HASH, points);
}

Test(ring, by_murmur_hash_has_the_points_of_envoys_test_with_it)
{
    static const struct hash_host hosts[] = {{{"127.0.0.1:80", 12}, 1}, {{"127.0.0.1:81", 12}, 1},
                                             {{"127.0.0.1:82", 12}, 1}, {{"127.0.0.1:83", 12}, 1},
                                             {{"127.0.0.1:84", 12}, 1}, {{"127.0.0.1:85", 12}, 1}};
    static const struct ring_point points[] = {
        {UINT64_C(1358027074129602068), 5},  {UINT64_C(4361834613929391114), 3},
        {UINT64_C(7224494972555149682), 4},  {UINT64_C(7701421856454313576), 1},
        {UINT64_C(8649315368077433379), 2},  {UINT64_C(8739448859063030639), 4},
        {UINT64_C(9887544217113020895), 1},  {UINT64_C(10150910876324007731), 2},
        {UINT64_C(15168472011420622455), 3}, {UINT64_C(15427156902705414897), 0},
        {UINT64_C(16375050414328759093), 5}, {UINT64_C(17613279263364193813), 0},
    };
    expect_points(hosts, RING_MURMUR_HASH_2, points);
}

/* Envoy's hash_test.cc, whose values are those of libstdc++'s std::hash. */
Test(ring, murmur_hashes_as_envoys_hash_test)
{
    static const struct {
        const char *text;
        uint64_t hash;
    } rows[] = {
        {"foo", UINT64_C(9631199822919835226)},       {"bar", UINT64_C(11474628671133349555)},
        {"foo\nbar", UINT64_C(16306510975912980159)}, {"lyft", UINT64_C(12847078931730529320)},
        {"", UINT64_C(6142509188972423790)},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(murmur_hash2(str_from(rows[i].text)), rows[i].hash, "\"%s\"", rows[i].text);
}

Test(ring, gives_points_by_weight_and_none_to_weight_0)
{
    static const struct hash_host hosts[] = {
        {{"a", 1}, 1}, {{"b", 1}, 2}, {{"c", 1}, 0}, {{"d", 1}, 5}};
    unsigned n[4] = {0};
    struct arena arena = {0};

    const struct ring ring = ring_build(&arena, hosts, 4, RING_XX_HASH, 800, 100000);
    for (size_t i = 0; i < ring.len; i++)
        n[ring.points[i].host]++;

    cr_expect(n[0] == 100 && n[1] == 200 && n[2] == 0 && n[3] == 500, "%u %u %u %u", n[0], n[1],
              n[2], n[3]);
    arena_fini(&arena);
}

Test(ring, stays_below_its_maximum_whatever_the_weights)
{
    static const struct hash_host hosts[] = {{{"a", 1}, 1}, {{"b", 1}, UINT32_MAX}};
    struct arena arena = {0};

    const struct ring ring = ring_build(&arena, hosts, 2, RING_XX_HASH, 1024, 4096);

    cr_expect_leq(ring.len, 4097);
    arena_fini(&arena);
}

Test(ring, nobody_with_a_weight_is_an_empty_ring)
{
    static const struct hash_host hosts[] = {{{"a", 1}, 0}};
    struct arena arena = {0};

    cr_expect_eq(ring_build(&arena, hosts, 1, RING_XX_HASH, 1024, 4096).len, 0);
    cr_expect_eq(ring_build(&arena, NULL, 0, RING_XX_HASH, 1024, 4096).len, 0);
    arena_fini(&arena);
}

Test(ring, a_host_that_leaves_moves_only_its_own_hashes)
{
    struct arena arena = {0};
    const struct ring all = ring_build(&arena, six, 6, RING_XX_HASH, 1020, 8388608);
    const struct ring fewer = ring_build(&arena, six, 5, RING_XX_HASH, 850, 8388608);

    for (uint64_t i = 0; i < 10000; i++) {
        const uint64_t hash = i * (UINT64_MAX / 10000);
        if (ring_find(&all, hash, 0) != 5)
            cr_assert_eq(ring_find(&all, hash, 0), ring_find(&fewer, hash, 0));
    }
    arena_fini(&arena);
}
