/* Slots: the formula of Envoy's BoundedLoadHashingLoadBalancer, worked out by hand. */
#include <criterion/criterion.h>

#include "proxy/balance/bounded.h"
#include "proxy/base/ensure.h"

TestSuite(bounded, .timeout = 30);

struct fleet {
    uint32_t active[10], weight[10];
};

static uint32_t active_of(const void *owner, uint32_t host)
{
    return ((const struct fleet *)owner)->active[host];
}

static uint32_t weight_of(const void *owner, uint32_t host)
{
    return ((const struct fleet *)owner)->weight[host];
}

static struct bounded bounded_of(const struct fleet *fleet, uint32_t n)
{
    struct bounded bounded = {n, 125, 0, 0, active_of, weight_of, fleet};
    for (uint32_t i = 0; i < n; i++) {
        bounded.weight_sum += fleet->weight[i];
        if (fleet->active[i] != BOUNDED_NOT_USABLE)
            bounded.n_active += fleet->active[i];
    }
    return bounded;
}

Test(bounded, slots_are_the_share_by_weight_times_the_factor)
{
    static const struct {
        uint32_t weight;
        uint64_t sum, active;
        uint32_t factor_pct;
        uint64_t slots;
    } rows[] = {
        {1, 4, 0, 150, 1},   /* ceil(2 / 4) */
        {1, 4, 99, 150, 38}, /* ceil(150 / 4) */
        {2, 4, 99, 150, 75}, {1, 1, 9, 101, 11}, {0, 4, 9, 150, 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const uint64_t slots =
            bounded_slots(rows[i].weight, rows[i].sum, rows[i].active, rows[i].factor_pct);
        cr_expect_eq(slots, rows[i].slots, "row %zu: %llu", i, (unsigned long long)slots);
    }
}

Test(bounded, the_first_choice_stays_while_it_has_room)
{
    const struct fleet fleet = {{2, 2, 2, 2}, {1, 1, 1, 1}};
    const struct bounded bounded = bounded_of(&fleet, 4);

    for (uint64_t hash = 0; hash < 100; hash++)
        cr_assert_eq(bounded_choose(&bounded, hash, hash % 4), hash % 4);
}

Test(bounded, what_it_passes_on_goes_to_the_same_host_for_the_same_hash_and_spreads)
{
    const struct fleet fleet = {{90, 2, 2, 2, 2, 2, 2, 2, 2, 2}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}};
    const struct bounded bounded = bounded_of(&fleet, 10);
    unsigned n[10] = {0};

    for (uint64_t hash = 0; hash < 10000; hash++) {
        const uint32_t host = bounded_choose(&bounded, hash, 0);
        cr_assert_eq(host, bounded_choose(&bounded, hash, 0));
        n[host]++;
    }

    cr_expect_eq(n[0], 0);
    for (size_t i = 1; i < 10; i++)
        cr_expect(n[i] > 700 && n[i] < 1600, "host %zu has %u", i, n[i]);
}

Test(bounded, when_all_are_overloaded_the_least_is_taken)
{
    const struct fleet fleet = {{40, 39, 38, 41}, {1, 1, 1, 1}};
    struct bounded bounded = bounded_of(&fleet, 4);
    bounded.n_active = 4; /* another worker's count may lag behind */

    for (uint64_t hash = 0; hash < 100; hash++)
        cr_assert_eq(bounded_choose(&bounded, hash, 0), 2);
}

Test(bounded, who_is_not_usable_is_never_taken)
{
    const uint32_t no = BOUNDED_NOT_USABLE;
    const struct fleet one = {{no, no, 500, no, 0}, {1, 1, 1, 1, 0}};
    const struct fleet none = {{no, no}, {1, 1}};
    const struct bounded of_one = bounded_of(&one, 5), of_none = bounded_of(&none, 2);

    for (uint64_t hash = 0; hash < 100; hash++) {
        cr_assert_eq(bounded_choose(&of_one, hash, hash % 5), 2);
        cr_assert_eq(bounded_choose(&of_none, hash, hash % 2), BOUNDED_NOT_USABLE);
    }
}

Test(bounded, a_single_host_takes_everything)
{
    const struct fleet fleet = {{50}, {1}};
    const struct bounded bounded = bounded_of(&fleet, 1);
    cr_expect_eq(bounded_choose(&bounded, 99, 0), 0);
}
