/* Pages in which a session lies, folded and unfolded. */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/ensure.h"
#include "proxy/base/rng.h"
#include "proxy/http/h2_nest.h"

TestSuite(h2_nest, .timeout = 20);

#define BLOCK_BYTES 8192u

static bool is_zero(const uint8_t *bytes, size_t len)
{
    size_t at = 0;

    while (at < len && bytes[at] == 0)
        at++;
    return at == len;
}

static uint64_t any_word(struct rng *rng, const void *block)
{
    switch (rng_below(rng, 5)) {
    case 0: return (uintptr_t)block + rng_below(rng, BLOCK_BYTES);
    case 1: return rng_below(rng, 70000);
    case 2: return UINT64_MAX - rng_below(rng, 3);
    case 3: return rng_next(rng);
    default: return UINT64_C(1) << rng_below(rng, 64);
    }
}

/* About one word in so many is not zero. */
static void scribble(struct rng *rng, uint64_t *words, unsigned one_in)
{
    for (size_t i = 0; i < BLOCK_BYTES / sizeof(*words); i++)
        words[i] = rng_below(rng, one_in) == 0 ? any_word(rng, words) : 0;
}

Test(h2_nest, what_lay_there_lies_there_again)
{
    static uint8_t kept[BLOCK_BYTES];
    unsigned n_folded = 0;

    for (unsigned seed = 1; seed <= 400; seed++) {
        struct h2_nest *nest = h2_nest_new();
        uint8_t *block = h2_nest_take(nest, BLOCK_BYTES);
        struct rng rng;

        rng_seed(&rng, seed);
        cr_assert(block && is_zero(block, BLOCK_BYTES), "seed %u", seed);
        for (unsigned round = 0; round < 3; round++) {
            scribble(&rng, (uint64_t *)(void *)block, 1 + (unsigned)rng_below(&rng, 2000));
            memcpy(kept, block, BLOCK_BYTES);
            h2_nest_fold(nest);
            if (!h2_nest_is_folded(nest))
                continue; /* too little to gain */
            n_folded++;
            h2_nest_unfold(nest);
            cr_assert_arr_eq(block, kept, BLOCK_BYTES, "seed %u round %u", seed, round);
        }
        h2_nest_free(nest);
    }
    cr_expect_gt(n_folded, 1000);
}

Test(h2_nest, is_small_when_little_of_it_is_not_zero_and_stays_open_when_much_is)
{
    struct h2_nest *nest = h2_nest_new();
    uint64_t *words = h2_nest_take(nest, BLOCK_BYTES);
    struct rng rng;

    for (size_t i = 0; i < 200; i += 2)
        words[i] = (uintptr_t)words;
    h2_nest_fold(nest);
    cr_assert(h2_nest_is_folded(nest));
    cr_expect_lt(nest->image_len, 250, "%zu bytes", nest->image_len);
    h2_nest_unfold(nest);

    rng_seed(&rng, 7);
    for (size_t i = 0; i < BLOCK_BYTES / sizeof(*words); i++)
        words[i] = rng_next(&rng);
    h2_nest_fold(nest);
    cr_expect(!h2_nest_is_folded(nest));
    h2_nest_free(nest);
}

Test(h2_nest, small_blocks_are_taken_again_and_large_ones_are_not)
{
    struct h2_nest *nest = h2_nest_new();

    for (size_t size = 1; size <= H2_NEST_SMALL; size++) {
        uint8_t *block = h2_nest_take(nest, size), *other;

        cr_assert(block && h2_nest_has(nest, block), "%zu bytes", size);
        cr_expect_eq((uintptr_t)block % 16, 0);
        cr_expect_eq(h2_nest_size(block), size);
        memset(block, 0xff, size);
        other = h2_nest_take(nest, size);
        cr_assert(other && other != block && is_zero(other, size), "%zu bytes", size);
        h2_nest_give_back(nest, block);
        cr_expect_eq(h2_nest_take(nest, size), block, "%zu bytes", size);
        cr_expect(is_zero(block, size), "%zu bytes", size);
        h2_nest_give_back(nest, other);
        h2_nest_give_back(nest, block);
    }
    uint8_t *large = h2_nest_take(nest, 1000);
    memset(large, 0xff, 1000);
    h2_nest_give_back(nest, large);
    cr_expect(is_zero(large, 1000));
    cr_expect_neq(h2_nest_take(nest, 1000), large);
    h2_nest_free(nest);
}

Test(h2_nest, says_when_it_is_full)
{
    struct h2_nest *nest = h2_nest_new();
    size_t n = 0;

    cr_expect_null(h2_nest_take(nest, H2_NEST_BYTES + 1));
    cr_expect_null(h2_nest_take(nest, SIZE_MAX));
    cr_expect_null(h2_nest_take(nest, SIZE_MAX - 15));
    for (uint8_t *block; (block = h2_nest_take(nest, 100)); n++) {
        cr_assert(h2_nest_has(nest, block) && h2_nest_has(nest, block + 99));
        memset(block, 0xff, 100);
    }
    cr_expect_gt(n, 100);
    cr_expect_null(h2_nest_take(nest, 100));
    h2_nest_free(nest);
}

Test(h2_nest, many_come_and_go_in_any_order_and_are_born_empty)
{
    static struct h2_nest *nests[300];
    struct rng rng;

    rng_seed(&rng, 3);
    for (unsigned step = 0; step < 6000; step++) {
        struct h2_nest **nest = &nests[rng_below(&rng, step < 3000 ? ARRAY_LEN(nests) : 20)];

        if (!*nest) {
            *nest = h2_nest_new();
            uint8_t *block = h2_nest_take(*nest, 11000);
            cr_assert(block && is_zero(block, 11000), "step %u", step);
            memset(block, 0x11, 500);
        } else if (!h2_nest_is_folded(*nest) && rng_below(&rng, 2) == 0) {
            h2_nest_fold(*nest);
            cr_assert(h2_nest_is_folded(*nest));
        } else {
            h2_nest_free(*nest);
            *nest = NULL;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(nests); i++) {
        if (nests[i])
            h2_nest_free(nests[i]);
    }
}
