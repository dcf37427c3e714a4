#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "proxy/base/rng.h"

TestSuite(rng, .timeout = 10);

Test(rng, is_xoshiro256_starstar)
{
    /* First outputs of the reference implementation from the state 1, 2, 3, 4. */
    static const uint64_t expected[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    struct rng rng = {{1, 2, 3, 4}};

    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(rng_next(&rng), expected[i], "output %zu", i);
}

Test(rng, the_same_seed_gives_the_same_choices_and_another_seed_others)
{
    struct rng a, b, c;
    int same = 0;

    rng_seed(&a, 7);
    rng_seed(&b, 7);
    rng_seed(&c, 8);
    for (int i = 0; i < 100; i++) {
        uint64_t choice = rng_next(&a);
        cr_assert_eq(choice, rng_next(&b));
        same += choice == rng_next(&c);
    }
    cr_assert_eq(same, 0);
}

Test(rng, draws_evenly_below_a_bound)
{
    struct rng rng;
    unsigned hits[7] = {0};

    rng_seed(&rng, 0);
    for (int i = 0; i < 70000; i++)
        hits[rng_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++)
        cr_assert(hits[i] > 9500 && hits[i] < 10500, "%d was drawn %u times", i, hits[i]);
    cr_assert_eq(rng_below(&rng, 1), 0);
}

/* With a bound of two thirds of the range, a draw by modulo favours the lower half two to one, and
 * a multiplication without rejection the even numbers. */
Test(rng, has_no_bias_at_an_awkward_bound)
{
    const uint32_t bound = UINT32_C(0xaaaaaaaa);
    struct rng rng;
    int low = 0, favoured = 0;

    rng_seed(&rng, 3);
    for (int i = 0; i < 20000; i++) {
        uint32_t drawn = rng_below(&rng, bound);
        low += drawn < bound / 2;
        favoured += (drawn < bound / 2) == (drawn % 2 == 1);
    }
    cr_assert(low > 9600 && low < 10400, "%d of 20000 in the lower half", low);
    cr_assert(favoured > 9600 && favoured < 10400, "%d of 20000", favoured);
}

Test(rng, secrets_differ)
{
    unsigned char a[300] = {0}, b[300] = {0};

    rng_secret(a, sizeof(a));
    rng_secret(b, sizeof(b));

    cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
    cr_assert_neq(
        memcmp(a + 268, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32), 0);
}

Test(rng, nothing_is_below_zero, .signal = SIGABRT)
{
    struct rng rng;

    rng_seed(&rng, 1);
    (void)rng_below(&rng, 0);
}
