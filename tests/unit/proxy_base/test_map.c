#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"

#define N 5000

TestSuite(map, .timeout = 20);

struct entry {
    char key[16];
    bool filed, seen;
};

static struct str key_of(const struct entry *entry)
{
    return str_from(entry->key);
}

static struct entry *entries_new(size_t n)
{
    struct entry *entries = mem_new_array(struct entry, n);

    for (size_t i = 0; i < n; i++)
        (void)snprintf(entries[i].key, sizeof(entries[i].key), "key-%u", (unsigned)i);
    return entries;
}

Test(map, the_empty_map_holds_nothing)
{
    struct map map = {0};
    struct str key;
    void *value;
    size_t idx = 0;

    cr_assert_null(map_find(&map, STR("a")));
    cr_assert_null(map_remove(&map, STR("a")));
    cr_assert_not(map_next(&map, &idx, &key, &value));
    map_fini(&map);
}

Test(map, replacing_returns_the_old_value_and_uses_the_new_key)
{
    struct map map = {0};
    int old_value, new_value;
    char *old_key = mem_alloc(1), new_key[] = "k";
    struct str key;
    void *value;
    size_t idx = 0;

    *old_key = 'k';
    cr_assert_null(map_put(&map, str_of(old_key, 1), &old_value));
    cr_assert_eq(map_put(&map, str_of(new_key, 1), &new_value), &old_value);
    mem_free(old_key);

    cr_assert_eq(map.len, 1);
    cr_assert_eq(map_find(&map, STR("k")), &new_value);
    cr_assert(map_next(&map, &idx, &key, &value));
    cr_assert_eq(key.ptr, (const char *)new_key);
    map_fini(&map);
}

Test(map, keys_may_be_any_bytes)
{
    struct map map = {0};
    int a, b, c;

    (void)map_put(&map, str_of("\0\0", 2), &a);
    (void)map_put(&map, str_of("\0", 1), &b);
    (void)map_put(&map, (struct str){0}, &c);

    cr_assert_eq(map_find(&map, str_of("\0\0", 2)), &a);
    cr_assert_eq(map_find(&map, str_of("\0", 1)), &b);
    cr_assert_eq(map_find(&map, STR("")), &c);
    map_fini(&map);
}

Test(map, agrees_with_an_array_through_random_puts_and_removes)
{
    struct entry *entries = entries_new(N);
    struct map map = {0};
    struct rng rng;
    size_t filed = 0;

    rng_seed(&rng, 42);
    for (int step = 0; step < 60000; step++) {
        struct entry *entry = &entries[rng_below(&rng, N)];
        void *before = entry->filed ? entry : NULL;
        if (rng_below(&rng, 2)) {
            cr_assert_eq(map_put(&map, key_of(entry), entry), before);
            filed += !entry->filed;
            entry->filed = true;
        } else {
            cr_assert_eq(map_remove(&map, key_of(entry)), before);
            filed -= entry->filed;
            entry->filed = false;
        }
        cr_assert_eq(map.len, filed);
    }
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(map_find(&map, key_of(&entries[i])), entries[i].filed ? &entries[i] : NULL);
    map_fini(&map);
    mem_free(entries);
}

Test(map, a_visit_sees_every_entry_once)
{
    struct entry *entries = entries_new(N);
    struct map map = {0};
    struct str key;
    void *value;
    size_t n = 0;

    for (size_t i = 0; i < N; i++)
        (void)map_put(&map, key_of(&entries[i]), &entries[i]);
    for (size_t idx = 0; map_next(&map, &idx, &key, &value); n++) {
        struct entry *entry = value;
        cr_assert_not(entry->seen);
        cr_assert(str_eq(key, key_of(entry)));
        entry->seen = true;
    }

    cr_assert_eq(n, N);
    map_fini(&map);
    mem_free(entries);
}

/* Many small maps, since what can go wrong is a cluster that wraps around the end of the table. */
Test(map, a_visit_that_removes_still_sees_every_entry_once)
{
    struct entry *entries = entries_new(N);

    for (size_t base = 0; base + 12 <= N; base += 12) {
        struct map map = {0};
        struct str key;
        void *value;
        size_t n = 0;
        for (size_t i = base; i < base + 12; i++)
            (void)map_put(&map, key_of(&entries[i]), &entries[i]);
        for (size_t idx = 0; map_next(&map, &idx, &key, &value); n++) {
            struct entry *entry = value;
            cr_assert_not(entry->seen);
            entry->seen = true;
            if ((base + n) % 4 != 0)
                cr_assert_eq(map_remove_at(&map, idx), entry);
            else
                entry->filed = true;
        }
        cr_assert_eq(n, 12);
        for (size_t i = base; i < base + 12; i++)
            cr_assert_eq(map_find(&map, key_of(&entries[i])),
                         entries[i].filed ? &entries[i] : NULL);
        map_fini(&map);
    }
    mem_free(entries);
}

Test(map, null_is_no_value, .signal = SIGABRT)
{
    struct map map = {0};

    (void)map_put(&map, STR("a"), NULL);
}
