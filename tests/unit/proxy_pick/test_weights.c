#include <criterion/criterion.h>

#include "proxy/base/mem.h"
#include "proxy/base/rng.h"
#include "proxy/pick/weights.h"

TestSuite(weights, .timeout = 10);

static uint32_t naive_find(const uint64_t *items, uint64_t point, uint64_t *out_start)
{
    uint32_t i = 0;
    *out_start = 0;
    while (point >= *out_start + items[i])
        *out_start += items[i++];
    return i;
}

Test(weights, every_point_is_found_where_a_walk_along_the_line_finds_it_whatever_changed)
{
    struct rng rng;
    rng_seed(&rng, 1);
    for (uint32_t len = 1; len <= 70; len++) {
        uint64_t *items = mem_new_array(uint64_t, len), *storage = mem_new_array(uint64_t, len);
        struct weights weights;
        for (uint32_t i = 0; i < len; i++)
            storage[i] = items[i] = rng_below(&rng, 4);
        weights_build(&weights, storage, len);
        for (int round = 0; round < 50; round++) {
            const uint32_t idx = rng_below(&rng, len);
            const uint64_t after = rng_below(&rng, 5);
            weights_change(&weights, idx, items[idx], after);
            items[idx] = after;
            uint64_t sum = 0, start, naive_start;
            for (uint32_t i = 0; i < len; i++)
                sum += items[i];
            cr_assert_eq(weights.sum, sum);
            for (uint64_t point = 0; point < sum; point++) {
                cr_assert_eq(weights_find(&weights, point, &start),
                             naive_find(items, point, &naive_start), "of %u", len);
                cr_assert_eq(start, naive_start);
            }
        }
        mem_free(items);
        mem_free(storage);
    }
}

Test(weights, hold_the_largest_weights_there_are)
{
    uint64_t storage[3] = {UINT32_MAX, 0, UINT32_MAX}, start;
    struct weights weights;
    weights_build(&weights, storage, 3);
    cr_expect_eq(weights.sum, 2 * (uint64_t)UINT32_MAX);
    cr_expect_eq(weights_find(&weights, (uint64_t)UINT32_MAX - 1, &start), 0);
    cr_expect_eq(weights_find(&weights, UINT32_MAX, &start), 2);
    cr_expect_eq(start, UINT32_MAX);
}
