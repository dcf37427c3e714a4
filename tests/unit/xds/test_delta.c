/* The two halves of the protocol against each other; what is kept on disk. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "delta_kit.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/rng.h"

TestSuite(delta, .timeout = 60, .init = delta_init, .fini = delta_fini);

static const bool all_types[XDS_TYPES] = {true, true, true, true, true, true};
static const bool two_types[XDS_TYPES] = {true, true, false};

Test(delta, first_sync_brings_everything_of_every_type)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource *resources[] = {model_rich_pod(&arena), model_rich_service(&arena),
                                          model_headless_service(&arena),
                                          model_rich_policy(&arena)};

    cr_assert_eq(publish(pair, resources, 4), 4);
    cr_assert(!delta_client_is_synced(pair->client));
    stream_up(pair);

    cr_assert(delta_client_is_synced(pair->client));
    cr_assert_eq(delta_client_count(pair->client), 4);
    cr_assert_eq(resource_set_count(pair->set), 4);
    cr_assert_eq(pair->n_responses, 2);
    cr_assert_eq(pair->n_nacked, 0);
    cr_assert(str_eq(delta_server_node(pair->server), STR("node-1")));
    cr_assert_eq(held(pair->client, STR("ns/rich"))->version.len, 32);
    pair_free(pair);
}

Test(delta, an_empty_set_syncs_the_client_too)
{
    struct pair *pair = pair_new(all_types);

    stream_up(pair);

    cr_assert(delta_client_is_synced(pair->client));
    cr_assert_eq(delta_client_count(pair->client), 0);
    cr_assert_eq(pair->n_responses, XDS_TYPES, "every type is asked for once");
    pair_free(pair);
}

Test(delta, sends_only_what_changed)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource **list = pods(10);
    delta_response *response;

    publish(pair, list, 10);
    stream_up(pair);
    pair->n_responses = 0;
    cr_assert_eq(publish(pair, list, 10), 0);
    run(pair);
    cr_assert_eq(pair->n_responses, 0, "nothing changed and something was sent");

    list[3]->of.workload->node = STR("node-9");
    cr_assert_eq(publish(pair, list, 9), 2, "one changed and one is gone");
    cr_assert_eq(pair->to_client.len, 1);
    response = response_of(pair->to_client.messages[0]);
    cr_assert_eq(response->n_resources, 1);
    cr_assert_eq(response->n_removed_resources, 1);
    run(pair);

    cr_assert_eq(delta_client_count(pair->client), 9);
    cr_assert_null(held(pair->client, STR("c1//v1/Pod/ns/pod-9")));
    cr_assert(str_eq(held(pair->client, STR("c1//v1/Pod/ns/pod-3"))->model.of.workload->node,
                     STR("node-9")));
    pair_free(pair);
}

Test(delta, one_response_of_a_type_is_in_flight)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource **list = pods(3);

    stream_up(pair);
    publish(pair, list, 1);
    publish(pair, list, 2);
    publish(pair, list, 3);
    publish(pair, list + 1, 2);
    cr_assert_eq(pair->to_client.len, 1, "the second waits for the answer to the first");
    pair->n_responses = 0;
    run(pair);

    cr_assert_eq(pair->n_responses, 2, "what came meanwhile is one response");
    cr_assert_eq(delta_client_count(pair->client), 2);
    cr_assert_null(held(pair->client, STR("c1//v1/Pod/ns/pod-0")));
    pair_free(pair);
}

Test(delta, large_states_come_in_bounded_pieces)
{
    struct pair *pair = pair_new(two_types);
    const size_t n = 30000;

    publish(pair, pods(n), n);
    stream_up(pair);

    cr_assert_eq(delta_client_count(pair->client), n);
    cr_assert_leq(pair->max_bytes, DELTA_RESPONSE_BYTES);
    cr_assert_gt(pair->max_bytes, DELTA_RESPONSE_BYTES / 2);
    cr_assert_gt(pair->n_responses, 3);
    pair_free(pair);
}

Test(delta, a_client_is_synced_when_the_last_piece_is_there)
{
    static const bool one_type[XDS_TYPES] = {[XDS_ADDRESS] = true};
    struct pair *pair = pair_new(one_type);
    const size_t n = 30000;

    publish(pair, pods(n), n);
    stream_up(pair);

    cr_assert_gt(pair->n_responses, 2);
    cr_assert_eq(pair->n_unfinished, pair->n_responses - 1, "all but the last say that more comes");
    cr_assert(delta_client_is_synced(pair->client));
    pair_free(pair);
}

Test(delta, reconnecting_with_an_equal_state_brings_nothing)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource *resources[] = {model_rich_pod(&arena), model_rich_policy(&arena)};
    struct resource_set *restarted = resource_set_new();

    publish(pair, resources, 2);
    stream_up(pair);
    stream_again(pair);
    cr_assert_eq(pair->n_responses, 0);

    /* The control process restarted: versions are made of the bytes and equal again. */
    resource_set_replace(restarted, (const struct model_resource *const *)resources, 2);
    delta_server_free(pair->server);
    resource_set_free(pair->set);
    pair->set = restarted;
    pair->server = delta_server_new(restarted);
    stream_up(pair);
    cr_assert_eq(pair->n_responses, 0);
    cr_assert_eq(delta_client_count(pair->client), 2);
    pair_free(pair);
}

Test(delta, reconnecting_brings_what_changed_and_what_is_gone)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource **list = pods(6);

    publish(pair, list, 5);
    stream_up(pair);
    delta_server_free(pair->server);
    pair->server = NULL;
    list[1]->of.workload->node = STR("elsewhere");
    list[0] = list[5];
    resource_set_replace(pair->set, (const struct model_resource *const *)list, 4);
    stream_again(pair);

    cr_assert_eq(pair->n_responses, 2, "one for the addresses, an empty one for the policies");
    cr_assert_eq(pair->n_changes, 1);
    cr_assert_eq(delta_client_count(pair->client), 4);
    cr_assert_null(held(pair->client, STR("c1//v1/Pod/ns/pod-0")));
    cr_assert_null(held(pair->client, STR("c1//v1/Pod/ns/pod-4")));
    cr_assert_not_null(held(pair->client, STR("c1//v1/Pod/ns/pod-5")));
    cr_assert(str_eq(held(pair->client, STR("c1//v1/Pod/ns/pod-1"))->model.of.workload->node,
                     STR("elsewhere")));
    pair_free(pair);
}

/* A change between two pieces of the first sync is neither lost nor told twice with an old state.
 */
Test(delta, changes_during_the_first_sync_arrive)
{
    struct pair *pair = pair_new(two_types);
    const size_t n = 20000;
    struct model_resource **list = pods(n + 1);

    publish(pair, list, n);
    delta_client_connected(pair->client, push, &pair->to_server);
    while (pair->to_server.len)
        cr_assert_eq(delta_server_receive(pair->server, shift(&pair->to_server), push,
                                          &pair->to_client, &why),
                     0);
    list[0]->of.workload->node = STR("late");
    list[n - 1]->of.workload->node = STR("late");
    list[1] = list[n];
    publish(pair, list, n);
    run(pair);

    cr_assert_eq(delta_client_count(pair->client), n);
    cr_assert_eq(resource_set_count(pair->set), n);
    cr_assert_null(held(pair->client, STR("c1//v1/Pod/ns/pod-1")));
    cr_assert(str_eq(held(pair->client, STR("c1//v1/Pod/ns/pod-0"))->model.of.workload->node,
                     STR("late")));
    cr_assert(str_eq(held(pair->client, list[n - 1]->name)->model.of.workload->node, STR("late")));
    cr_assert_not_null(held(pair->client, list[n]->name));
    pair_free(pair);
}

/* Random states, reconnects and lost messages: the client ends with what the set has. */
Test(delta, a_client_converges_whatever_happens)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct pair *pair = pair_new(two_types);
        struct model_resource **list = pods(40), *chosen[40];
        struct rng rng;
        size_t n_chosen = 0;

        rng_seed(&rng, seed);
        stream_up(pair);
        for (unsigned step = 0; step < 60; step++) {
            n_chosen = 0;
            for (size_t i = 0; i < 40; i++) {
                if (rng_below(&rng, 8) == 0)
                    list[i]->of.workload->node = arena_printf(&arena, "n%u", rng_below(&rng, 9));
                if (rng_below(&rng, 3) > 0)
                    chosen[n_chosen++] = list[i];
            }
            publish(pair, chosen, n_chosen);
            if (rng_below(&rng, 4) == 0 && pair->to_client.len)
                client_takes(pair, shift(&pair->to_client));
            if (rng_below(&rng, 6) == 0)
                stream_again(pair);
            else if (rng_below(&rng, 2) == 0)
                run(pair);
        }
        run(pair);
        cr_assert_eq(delta_client_count(pair->client), n_chosen, "seed %d", (int)seed);
        for (size_t i = 0; i < n_chosen; i++) {
            const struct delta_resource *resource = held(pair->client, chosen[i]->name);
            cr_assert_not_null(resource, "seed %d", (int)seed);
            cr_assert(str_eq(resource->model.of.workload->node, chosen[i]->of.workload->node),
                      "seed %d", (int)seed);
        }
        pair_free(pair);
    }
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The best of several runs of each, since others use this machine too. */
Test(delta, a_notify_costs_what_changed_and_not_what_is_there)
{
    struct pair *pair = pair_new(two_types);
    const size_t n = 50000;
    struct model_resource **list = pods(n);
    uint64_t replace_ns = UINT64_MAX, notify_ns = UINT64_MAX;

    publish(pair, list, n);
    stream_up(pair);
    for (size_t i = 0; i < 8; i++) {
        uint64_t start_ns = clock_mono_ns();

        list[i]->of.workload->node = STR("moved");
        cr_assert_eq(resource_set_replace(pair->set, (const struct model_resource *const *)list, n),
                     1);
        replace_ns = min_u64(replace_ns, clock_mono_ns() - start_ns);
        start_ns = clock_mono_ns();
        delta_server_notify(pair->server, push, &pair->to_client);
        notify_ns = min_u64(notify_ns, clock_mono_ns() - start_ns);
        cr_assert_lt(pair->to_client.messages[0].len, 1000);
        run(pair);
    }
    cr_assert_lt(notify_ns * 50, replace_ns, "a notify looks at too much: %llu of %llu ns",
                 (unsigned long long)notify_ns, (unsigned long long)replace_ns);
    pair_free(pair);
}

static void name_principals(struct model_match *match, size_t n)
{
    match->principals = arena_new_array(&arena, struct string_match, n);
    match->n_principals = n;
    for (size_t i = 0; i < n; i++)
        match->principals[i].value = arena_printf(&arena, "td/ns/ns/sa/client-%0200zu", i);
}

Test(delta, a_resource_larger_than_a_piece_comes_alone_and_whole)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource *list[] = {model_small_policy(&arena, "a"),
                                     model_small_policy(&arena, "large"),
                                     model_small_policy(&arena, "z")};
    struct model_match *match = arena_new(&arena, struct model_match);
    struct model_clause clause = {match, 1};
    struct model_rule rule = {&clause, 1};

    name_principals(match, 12000);
    list[1]->of.policy->rules = &rule;
    list[1]->of.policy->n_rules = 1;
    publish(pair, list, 3);
    stream_up(pair);

    cr_assert_eq(delta_client_count(pair->client), 3);
    cr_assert_gt(pair->max_bytes, 2 * DELTA_RESPONSE_BYTES);
    cr_assert_lt(pair->max_bytes, (size_t)4 << 20);
    const struct model_policy *policy = held(pair->client, list[1]->name)->model.of.policy;
    cr_expect_eq(policy->rules[0].clauses[0].matches[0].n_principals, 12000);
    pair_free(pair);
}

Test(delta, a_policy_too_large_to_be_sent_denies_everybody_in_its_place)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource *resource = model_small_policy(&arena, "huge");
    struct model_match *match = arena_new(&arena, struct model_match);
    struct model_clause clause = {match, 1};
    struct model_rule rule = {&clause, 1};

    name_principals(match, 22000);
    resource->of.policy->rules = &rule;
    resource->of.policy->n_rules = 1;
    publish(pair, &resource, 1);
    stream_up(pair);

    const struct delta_resource *seen = held(pair->client, resource->name);
    cr_assert_not_null(seen);
    const struct model_policy *policy = seen->model.of.policy;
    cr_expect_eq(policy->action, POLICY_DENY);
    cr_expect_eq(policy->scope, POLICY_NAMESPACE);
    cr_expect_eq(policy->n_rules, 1);
    cr_expect_eq(policy->rules[0].n_clauses, 0);
    cr_expect_not(policy->dry_run);
    pair_free(pair);
}

/* ---- on disk ---- */

Test(delta, a_saved_state_is_loaded_whole_and_listed_on_the_next_stream)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource *resources[] = {model_rich_pod(&arena), model_rich_service(&arena),
                                          model_rich_policy(&arena)};
    struct delta_client *before;
    struct text file = {0};

    publish(pair, resources, 3);
    stream_up(pair);
    delta_client_save(pair->client, &file);
    before = pair->client;
    pair->client = delta_client_new(STR("node-1"), STR("west"), two_types);
    cr_assert_eq(delta_client_load(pair->client, text_str(&file), &why), 0, "%s", why.ptr);

    cr_assert(delta_client_is_synced(pair->client));
    cr_assert_eq(delta_client_count(pair->client), 3);
    stream_again(pair);
    cr_assert_eq(pair->n_responses, 0, "all versions are equal");
    text_fini(&file);
    delta_client_free(before);
    pair_free(pair);
}

Test(delta, a_damaged_or_cut_state_is_refused_whole)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource *resources[] = {model_rich_pod(&arena), model_small_policy(&arena, "p")};
    struct delta_client *fresh = delta_client_new(STR("n"), STR("c"), two_types);
    struct text file = {0};

    publish(pair, resources, 2);
    stream_up(pair);
    delta_client_save(pair->client, &file);
    for (size_t len = 0; len < file.len; len++) {
        text_clear(&why);
        cr_assert_eq(delta_client_load(fresh, str_of(file.ptr, len), &why), -ERR_INVALID,
                     "cut to %zu", len);
        cr_assert_gt(why.len, 0);
    }
    for (size_t at = 0; at < file.len; at++) {
        file.ptr[at] ^= 0x40;
        cr_assert_eq(delta_client_load(fresh, text_str(&file), &why), -ERR_INVALID,
                     "damaged at %zu", at);
        file.ptr[at] ^= 0x40;
    }
    cr_assert_eq(delta_client_count(fresh), 0);
    cr_assert(!delta_client_is_synced(fresh));
    cr_assert_eq(delta_client_load(fresh, text_str(&file), &why), 0);
    text_fini(&file);
    delta_client_free(fresh);
    pair_free(pair);
}
