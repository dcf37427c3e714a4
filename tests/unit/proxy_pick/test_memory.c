#include <criterion/criterion.h>
#include <signal.h>

#include "proxy/pick/memory.h"

TestSuite(memory, .timeout = 30);

#define SEC UINT64_C(1000000000)

Test(memory, counts_flows_of_each_endpoint_and_forgets_it_with_the_last)
{
    struct memory *memory = memory_new();

    memory_flow_began(memory, 1);
    memory_flow_began(memory, 1);
    memory_flow_began(memory, 2);
    cr_expect_eq(memory_flows(memory, 1), 2);
    cr_expect_eq(memory_flows(memory, 2), 1);
    cr_expect_eq(memory_flows(memory, 3), 0);
    cr_expect_eq(memory_len(memory), 2);
    memory_flow_ended(memory, 1);
    memory_flow_ended(memory, 1);
    memory_flow_ended(memory, 2);

    cr_expect_eq(memory_len(memory), 0);
    memory_free(memory);
}

Test(memory, suspicion_doubles_up_to_its_bound_and_ends_by_itself)
{
    static const uint64_t rest_s[] = {1, 2, 4, 8, 10, 10, 10};
    struct memory *memory = memory_new();
    uint64_t now_ns = 5;

    for (size_t i = 0; i < sizeof rest_s / sizeof rest_s[0]; i++) {
        memory_failed(memory, 1, now_ns);
        cr_expect(memory_is_suspect(memory, 1, now_ns + rest_s[i] * SEC - 1), "failure %zu", i);
        cr_expect_not(memory_is_suspect(memory, 1, now_ns + rest_s[i] * SEC), "failure %zu", i);
        now_ns += 20 * SEC;
    }
    for (int i = 0; i < 100000; i++)
        memory_failed(memory, 1, now_ns);
    cr_expect_not(memory_is_suspect(memory, 1, now_ns + SUSPECT_MAX_NS));
    memory_free(memory);
}

Test(memory, one_success_forgives_all_failures)
{
    struct memory *memory = memory_new();
    memory_flow_began(memory, 1);
    for (int i = 0; i < 5; i++)
        memory_failed(memory, 1, 0);

    memory_succeeded(memory, 1);

    cr_expect_not(memory_is_suspect(memory, 1, 1));
    memory_failed(memory, 1, 0);
    cr_expect_not(memory_is_suspect(memory, 1, SUSPECT_MIN_NS), "it starts anew");
    memory_succeeded(memory, 1);
    memory_succeeded(memory, 99); /* nothing is known of it, and nothing is remembered */
    memory_flow_ended(memory, 1);
    cr_expect_eq(memory_len(memory), 0);
    memory_free(memory);
}

Test(memory, is_bounded_by_forgetting_the_oldest_failure_without_flows)
{
    struct memory *memory = memory_new();
    memory_failed(memory, 1, 0);
    memory_flow_began(memory, 1); /* the oldest, but in use */

    for (uint64_t key = 2; key <= MEMORY_MAX + 1000; key++)
        memory_failed(memory, key, 0);

    cr_expect_eq(memory_len(memory), MEMORY_MAX);
    cr_expect(memory_is_suspect(memory, 1, 1), "in use: kept");
    cr_expect_not(memory_is_suspect(memory, 2, 1), "the oldest one idle: forgotten");
    cr_expect(memory_is_suspect(memory, MEMORY_MAX + 1000, 1), "the newest: kept");
    memory_flow_ended(memory, 1);
    memory_free(memory);
}

Test(memory, a_flow_that_never_began_cannot_end, .signal = SIGABRT)
{
    struct memory *memory = memory_new();
    memory_flow_ended(memory, 1);
}

Test(memory, cannot_go_while_a_flow_is_counted, .signal = SIGABRT)
{
    struct memory *memory = memory_new();
    memory_flow_began(memory, 1);
    memory_free(memory);
}
