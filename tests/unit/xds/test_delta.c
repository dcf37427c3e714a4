/*
 * The two halves of the protocol against each other, and each against messages made by hand.
 */
#include <criterion/criterion.h>
#include <discovery.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "models.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"
#include "xds/delta.h"
#include "xds/wire.h"

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest delta_request;
typedef Envoy__Service__Discovery__V3__DeltaDiscoveryResponse delta_response;

static struct arena arena;
static struct text why;

static void init(void)
{
    log_set_level(LOG_ERROR);
}

static void fini(void)
{
    arena_fini(&arena);
    text_fini(&why);
}

TestSuite(delta, .timeout = 60, .init = init, .fini = fini);

/* ---- a wire in memory ---- */

#define QUEUE_MAX 256

struct queue {
    struct str messages[QUEUE_MAX];
    size_t len;
};

static void push(void *owner, struct str message)
{
    struct queue *queue = owner;

    cr_assert_lt(queue->len, QUEUE_MAX);
    queue->messages[queue->len++] = arena_str(&arena, message);
}

static struct str shift(struct queue *queue)
{
    struct str first = queue->messages[0];

    cr_assert_gt(queue->len, 0, "no message was sent");
    memmove(queue->messages, queue->messages + 1, --queue->len * sizeof(first));
    return first;
}

static const bool all_types[XDS_TYPES] = {true, true, true};
static const bool two_types[XDS_TYPES] = {true, true, false};

struct pair {
    struct resource_set *set;
    struct delta_server *server;
    struct delta_client *client;
    struct queue to_server, to_client;
    size_t n_responses, n_nacked, n_changes, max_bytes;
    size_t n_unfinished; /* responses after which more followed */
};

static struct pair *pair_new(const bool types[XDS_TYPES])
{
    struct pair *pair = arena_new(&arena, struct pair);

    pair->set = resource_set_new();
    pair->server = delta_server_new(pair->set);
    pair->client = delta_client_new(STR("node-1"), STR("west"), types);
    return pair;
}

static void pair_free(struct pair *pair)
{
    delta_client_free(pair->client);
    delta_server_free(pair->server);
    resource_set_free(pair->set);
}

static void client_takes(struct pair *pair, struct str message)
{
    struct delta_outcome outcome = {0};
    const bool was_synced = delta_client_is_synced(pair->client);

    cr_assert_eq(delta_client_receive(pair->client, message, push, &pair->to_server, &outcome), 0);
    pair->n_responses++;
    pair->n_nacked += outcome.nacked;
    pair->n_changes += outcome.changed;
    pair->n_unfinished += outcome.more_follows;
    if (outcome.more_follows && !was_synced && pair->n_unfinished == pair->n_responses)
        cr_assert_not(delta_client_is_synced(pair->client), "a part is not everything");
    if (message.len > pair->max_bytes)
        pair->max_bytes = message.len;
    text_fini(&outcome.why);
}

/* Carries messages until both are silent. */
static void run(struct pair *pair)
{
    while (pair->to_server.len || pair->to_client.len) {
        while (pair->to_server.len)
            cr_assert_eq(delta_server_receive(pair->server, shift(&pair->to_server), push,
                                              &pair->to_client, &why),
                         0, "%s", why.ptr);
        if (pair->to_client.len)
            client_takes(pair, shift(&pair->to_client));
    }
}

static void stream_up(struct pair *pair)
{
    delta_client_connected(pair->client, push, &pair->to_server);
    run(pair);
}

/* A new stream; what the old one had in flight is lost. */
static void stream_again(struct pair *pair)
{
    delta_server_free(pair->server);
    pair->server = delta_server_new(pair->set);
    pair->to_server.len = pair->to_client.len = 0;
    pair->n_responses = pair->n_changes = 0;
    stream_up(pair);
}

static size_t publish(struct pair *pair, struct model_resource **resources, size_t n)
{
    size_t n_changed =
        resource_set_replace(pair->set, (const struct model_resource *const *)resources, n);

    delta_server_notify(pair->server, push, &pair->to_client);
    return n_changed;
}

static struct model_resource **pods(size_t n)
{
    struct model_resource **list = arena_new_array(&arena, struct model_resource *, n);

    for (size_t i = 0; i < n; i++) {
        char name[32], address[32];

        snprintf(name, sizeof(name), "pod-%zu", i);
        snprintf(address, sizeof(address), "10.%zu.%zu.%zu", i >> 16, i >> 8 & 255, i & 255);
        list[i] = model_pod(&arena, name, address);
    }
    return list;
}

static const struct delta_resource *held(const struct delta_client *client, struct str name)
{
    const struct delta_resource *resource;

    for (size_t idx = 0; (resource = delta_client_next(client, &idx));)
        if (str_eq(resource->name, name))
            return resource;
    return NULL;
}

static delta_request *request_of(struct str message)
{
    delta_request *request = (delta_request *)(void *)wire_unpack(
        &envoy__service__discovery__v3__delta_discovery_request__descriptor, message, &arena, &why);

    cr_assert_not_null(request, "%s", why.ptr);
    return request;
}

static delta_response *response_of(struct str message)
{
    delta_response *response = (delta_response *)(void *)wire_unpack(
        &envoy__service__discovery__v3__delta_discovery_response__descriptor, message, &arena,
        &why);

    cr_assert_not_null(response, "%s", why.ptr);
    return response;
}

/* ---- both halves ---- */

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
    cr_assert_eq(held(pair->client, STR("ns/rich"))->version.len, 16);
    pair_free(pair);
}

Test(delta, an_empty_set_syncs_the_client_too)
{
    struct pair *pair = pair_new(all_types);

    stream_up(pair);

    cr_assert(delta_client_is_synced(pair->client));
    cr_assert_eq(delta_client_count(pair->client), 0);
    cr_assert_eq(pair->n_responses, 3);
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

/* ---- make before break: no workload names a policy that is not there ---- */

static void name_policies(struct model_resource *pod, struct model_resource **policies, size_t n)
{
    struct model_workload *workload = pod->of.workload;

    workload->policies = arena_new_array(&arena, struct str, n);
    workload->n_policies = n;
    for (size_t i = 0; i < n; i++)
        workload->policies[i] = policies[i]->name;
}

static struct model_resource **policies_new(size_t n)
{
    struct model_resource **list = arena_new_array(&arena, struct model_resource *, n);

    for (size_t i = 0; i < n; i++) {
        list[i] = model_small_policy(&arena, arena_printf(&arena, "p%zu", i).ptr);
        list[i]->of.policy->scope = POLICY_WORKLOAD;
    }
    return list;
}

static bool is_of(struct str message, enum xds_type type)
{
    return str_eq(str_from(response_of(message)->type_url), str_from(xds_type_url(type)));
}

Test(delta, a_policy_comes_before_the_workload_that_names_it)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource **list = pods(2), **policies = policies_new(1);
    struct model_resource *both[] = {list[0], policies[0]};

    publish(pair, list, 1);
    stream_up(pair);
    name_policies(list[0], policies, 1);
    publish(pair, both, 2);

    cr_assert_eq(pair->to_client.len, 2);
    cr_assert(is_of(pair->to_client.messages[0], XDS_AUTHORIZATION));
    cr_assert(is_of(pair->to_client.messages[1], XDS_ADDRESS));
    pair_free(pair);
}

Test(delta, a_workload_waits_for_its_policy_behind_an_answer_that_is_not_there_yet)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource **list = pods(2), **policies = policies_new(2);
    struct model_resource *all[] = {policies[0], policies[1], list[0]};

    stream_up(pair);
    publish(pair, all, 1); /* in flight from here on */
    name_policies(list[0], policies + 1, 1);
    publish(pair, all, 3);
    cr_assert_eq(pair->to_client.len, 1, "the address overtook its policy");

    client_takes(pair, shift(&pair->to_client));
    cr_assert_eq(
        delta_server_receive(pair->server, shift(&pair->to_server), push, &pair->to_client, &why),
        0);

    cr_assert_eq(pair->to_client.len, 2);
    cr_assert(is_of(pair->to_client.messages[0], XDS_AUTHORIZATION));
    cr_assert(is_of(pair->to_client.messages[1], XDS_ADDRESS));
    pair_free(pair);
}

Test(delta, a_policy_goes_after_the_workload_that_named_it)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource **list = pods(1), **policies = policies_new(1);
    struct model_resource *both[] = {list[0], policies[0]};

    name_policies(list[0], policies, 1);
    publish(pair, both, 2);
    stream_up(pair);
    name_policies(list[0], policies, 0);
    publish(pair, both, 1);

    cr_assert_eq(pair->to_client.len, 2);
    cr_assert(is_of(pair->to_client.messages[0], XDS_ADDRESS));
    cr_assert(is_of(pair->to_client.messages[1], XDS_AUTHORIZATION));
    cr_assert_eq(response_of(pair->to_client.messages[1])->n_removed_resources, 1);
    pair_free(pair);
}

Test(delta, policies_are_taken_back_from_a_client_that_asks_for_nothing_else)
{
    static const bool one_type[XDS_TYPES] = {[XDS_AUTHORIZATION] = true};
    struct pair *pair = pair_new(one_type);
    struct model_resource **policies = policies_new(3);

    publish(pair, policies, 3);
    stream_up(pair);
    resource_set_replace(pair->set, (const struct model_resource *const *)policies, 2);
    stream_again(pair);
    cr_assert_eq(delta_client_count(pair->client), 2);

    publish(pair, policies, 1);
    run(pair);
    cr_assert_eq(delta_client_count(pair->client), 1);
    pair_free(pair);
}

static void no_workload_names_what_is_not_held(const struct delta_client *client, uint64_t seed)
{
    const struct delta_resource *resource;

    for (size_t idx = 0; (resource = delta_client_next(client, &idx));) {
        const struct model_workload *workload = resource->model.of.workload;

        for (size_t i = 0; resource->model.kind == MODEL_WORKLOAD && i < workload->n_policies; i++)
            cr_assert_not_null(held(client, workload->policies[i]), "seed %llu: %.*s names %.*s",
                               (unsigned long long)seed, STR_ARG(resource->name),
                               STR_ARG(workload->policies[i]));
    }
}

/* Carries one message, in either direction. */
static void run_one(struct pair *pair, bool to_client)
{
    if (to_client && pair->to_client.len)
        client_takes(pair, shift(&pair->to_client));
    else if (pair->to_server.len)
        cr_assert_eq(delta_server_receive(pair->server, shift(&pair->to_server), push,
                                          &pair->to_client, &why),
                     0);
}

static void choose(struct rng *rng, struct model_resource **pods_, struct model_resource **policies,
                   struct model_resource **chosen, size_t *out_n)
{
    size_t n = 0, n_policies;

    for (size_t i = 0; i < 12; i++) {
        if (rng_below(rng, 3) == 0) /* another word under the same name */
            policies[i]->of.policy->dry_run = !policies[i]->of.policy->dry_run;
        if (rng_below(rng, 2))
            chosen[n++] = policies[i];
    }
    n_policies = n;
    for (size_t i = 0; i < 20; i++) {
        const size_t first = rng_below(rng, (uint32_t)n_policies + 1);

        if (rng_below(rng, 2))
            name_policies(pods_[i], chosen + first,
                          rng_below(rng, (uint32_t)(n_policies - first) + 1));
        else
            name_policies(pods_[i], NULL, 0);
        if (rng_below(rng, 4))
            chosen[n++] = pods_[i];
    }
    *out_n = n;
}

Test(delta, at_no_moment_does_a_workload_name_a_policy_that_is_not_held)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct pair *pair = pair_new(two_types);
        struct model_resource **list = pods(20), **policies = policies_new(12), *chosen[32];
        struct rng rng;
        size_t n_chosen = 0;

        rng_seed(&rng, seed);
        for (unsigned step = 0; step < 60; step++) {
            choose(&rng, list, policies, chosen, &n_chosen);
            publish(pair, chosen, n_chosen);
            if (step == 0 || rng_below(&rng, 12) == 0) {
                delta_server_free(pair->server);
                pair->server = delta_server_new(pair->set);
                pair->to_server.len = pair->to_client.len = 0;
                delta_client_connected(pair->client, push, &pair->to_server);
            }
            for (size_t n = rng_below(&rng, 8); n > 0; n--) {
                run_one(pair, rng_below(&rng, 2));
                no_workload_names_what_is_not_held(pair->client, seed);
            }
        }
        while (pair->to_server.len || pair->to_client.len) {
            run_one(pair, pair->to_server.len == 0);
            no_workload_names_what_is_not_held(pair->client, seed);
        }
        cr_assert_eq(delta_client_count(pair->client), n_chosen, "seed %llu: not all of it arrived",
                     (unsigned long long)seed);
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

Test(delta, a_policy_too_large_to_be_sent_denies_everybody_in_its_place)
{
    struct pair *pair = pair_new(two_types);
    struct model_resource *resource = model_small_policy(&arena, "huge");
    struct model_match *match = arena_new(&arena, struct model_match);
    struct model_clause clause = {match, 1};
    struct model_rule rule = {&clause, 1};
    const size_t n = 60000;

    match->principals = arena_new_array(&arena, struct string_match, n);
    match->n_principals = n;
    for (size_t i = 0; i < n; i++)
        match->principals[i].value = arena_printf(&arena, "td/ns/ns/sa/client-%zu", i);
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

/* ---- the client alone ---- */

static struct str packed(const ProtobufCMessage *message)
{
    struct text bytes = {0};
    struct str kept;

    wire_pack(message, &bytes);
    kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}

struct maker { /* of responses */
    delta_response response;
    Envoy__Service__Discovery__V3__Resource *resources[8];
    char *removed[8];
};

static struct maker *maker_new(enum xds_type type, const char *nonce)
{
    struct maker *maker = arena_new(&arena, struct maker);

    envoy__service__discovery__v3__delta_discovery_response__init(&maker->response);
    maker->response.type_url = wire_text(&arena, str_from(xds_type_url(type)));
    maker->response.nonce = wire_text(&arena, str_from(nonce));
    maker->response.resources = maker->resources;
    maker->response.removed_resources = maker->removed;
    return maker;
}

static Envoy__Service__Discovery__V3__Resource *
add(struct maker *maker, const struct model_resource *model, const char *version)
{
    Envoy__Service__Discovery__V3__Resource *resource =
        arena_new(&arena, Envoy__Service__Discovery__V3__Resource);
    Google__Protobuf__Any *any = arena_new(&arena, Google__Protobuf__Any);
    struct text bytes = {0};
    struct str name = xds_encode(model, &arena, &bytes);

    envoy__service__discovery__v3__resource__init(resource);
    google__protobuf__any__init(any);
    any->type_url = wire_text(&arena, str_from(xds_type_url(xds_type_of_kind(model->kind))));
    any->value.data = (uint8_t *)wire_text(&arena, text_str(&bytes));
    any->value.len = bytes.len;
    text_fini(&bytes);
    resource->name = wire_text(&arena, name);
    resource->version = wire_text(&arena, str_from(version));
    resource->resource = any;
    maker->resources[maker->response.n_resources++] = resource;
    return resource;
}

static void add_removed(struct maker *maker, const char *name)
{
    maker->removed[maker->response.n_removed_resources++] = wire_text(&arena, str_from(name));
}

/* Gives the response to the client; the answer and the outcome. */
static delta_request *answer_to(struct delta_client *client, const struct maker *maker,
                                struct delta_outcome *out_outcome)
{
    struct queue answers = {0};
    struct delta_outcome outcome = {0};

    cr_assert_eq(
        delta_client_receive(client, packed(&maker->response.base), push, &answers, &outcome), 0);
    text_fini(&outcome.why);
    *out_outcome = outcome;
    cr_assert_leq(answers.len, 1);
    return answers.len ? request_of(answers.messages[0]) : NULL;
}

static struct delta_client *client_new(void)
{
    return delta_client_new(STR("n"), STR("c"), two_types);
}

static delta_request *first_request(struct delta_client *client, size_t idx)
{
    struct queue requests = {0};

    delta_client_connected(client, push, &requests);
    cr_assert_gt(requests.len, idx);
    return request_of(requests.messages[idx]);
}

/* The first request of a type. */
static delta_request *first_of(struct delta_client *client, enum xds_type type)
{
    for (size_t i = 0;; i++) {
        delta_request *request = first_request(client, i);
        if (str_eq(str_from(request->type_url), str_from(xds_type_url(type))))
            return request;
    }
}

Test(delta, policies_are_asked_for_before_the_workloads_that_name_them)
{
    struct delta_client *client = client_new();

    cr_assert_str_eq(first_request(client, 0)->type_url, xds_type_url(XDS_AUTHORIZATION));
    cr_assert_str_eq(first_request(client, 1)->type_url, xds_type_url(XDS_ADDRESS));
    delta_client_free(client);
}

Test(delta, the_first_request_says_who_asks_and_the_others_do_not)
{
    struct delta_client *client = client_new();
    delta_request *first = first_request(client, 0), *second = first_request(client, 1);

    cr_assert_str_eq(first->node->id, "n");
    cr_assert_str_eq(first->node->cluster, "c");
    cr_assert_null(second->node);
    cr_assert_str_eq(first->response_nonce, "");
    cr_assert_eq(first->n_resource_names_subscribe, 0, "a wildcard");
    cr_assert_eq(first->n_initial_resource_versions, 0);
    delta_client_free(client);
}

Test(delta, a_response_is_answered_once_with_its_own_nonce)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_ADDRESS, "nonce-7");
    struct delta_outcome outcome;
    delta_request *ack;

    add(maker, model_pod(&arena, "a", "10.0.0.1"), "v1");
    ack = answer_to(client, maker, &outcome);

    cr_assert_str_eq(ack->response_nonce, "nonce-7");
    cr_assert_str_eq(ack->type_url, xds_type_url(XDS_ADDRESS));
    cr_assert_null(ack->error_detail);
    cr_assert_null(ack->node);
    cr_assert_eq(ack->n_initial_resource_versions, 0);
    cr_assert(outcome.changed && outcome.n_applied == 1);
    delta_client_free(client);
}

Test(delta, a_refused_response_is_applied_as_far_as_it_is_good)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_ADDRESS, "1");
    struct delta_outcome outcome;
    delta_request *nack, *again;

    add(maker, model_pod(&arena, "a", "10.0.0.1"), "v1");
    add(maker, model_pod(&arena, "b", "10.0.0.2"), "v1")->name = (char[]){"not-b"};
    nack = answer_to(client, maker, &outcome);

    cr_assert_not_null(nack->error_detail);
    cr_assert_eq(nack->error_detail->code, 3);
    cr_assert_not_null(strstr(nack->error_detail->message, "not-b"));
    cr_assert(outcome.nacked && outcome.changed);
    cr_assert_eq(outcome.n_applied, 1);
    cr_assert_eq(outcome.n_refused, 1);
    cr_assert_eq(delta_client_count(client), 1);

    again = first_of(client, XDS_ADDRESS);
    cr_assert_eq(again->n_initial_resource_versions, 1, "a refused resource is not held");
    cr_assert_str_eq(again->initial_resource_versions[0]->key, "c1//v1/Pod/ns/a");
    delta_client_free(client);
}

Test(delta, a_refused_update_leaves_the_last_good_version_held)
{
    struct delta_client *client = client_new();
    struct maker *good = maker_new(XDS_ADDRESS, "1"), *bad = maker_new(XDS_ADDRESS, "2");
    struct delta_outcome outcome;
    delta_request *again;

    add(good, model_pod(&arena, "a", "10.0.0.1"), "v1");
    answer_to(client, good, &outcome);
    add(bad, model_pod(&arena, "a", "10.0.0.9"), "v2")->resource->value.len -= 3;
    answer_to(client, bad, &outcome);

    cr_assert(outcome.nacked && !outcome.changed);
    again = first_of(client, XDS_ADDRESS);
    cr_assert_eq(again->n_initial_resource_versions, 1);
    cr_assert_str_eq(again->initial_resource_versions[0]->value, "v1");
    delta_client_free(client);
}

Test(delta, a_traffic_policy_that_does_not_hold_together_is_nacked_and_the_last_good_one_stays)
{
    static const bool types[XDS_TYPES] = {[XDS_CLUSTER] = true};
    const struct cluster_share gap[] = {{STR("a"), 1, 0, 0}, {STR("b"), 1, 0, 2}};
    struct model_traffic traffic = {.service = STR("ns/web.ns.svc.cluster.local"),
                                    .policy = *traffic_policy_default()};
    struct model_resource resource = {MODEL_TRAFFIC, traffic.service, {.traffic = &traffic}};
    struct delta_client *client = delta_client_new(STR("n"), STR("c"), types);
    struct maker *good = maker_new(XDS_CLUSTER, "1"), *bad = maker_new(XDS_CLUSTER, "2");
    struct delta_outcome outcome;
    const struct delta_resource *held;
    delta_request *nack;
    size_t idx = 0;

    traffic.policy.panic_pct = 7;
    add(good, &resource, "v1");
    answer_to(client, good, &outcome);
    cr_assert(outcome.changed && !outcome.nacked);
    traffic.policy.clusters = gap;
    traffic.policy.n_clusters = 2;
    traffic.policy.has_priorities = true;
    add(bad, &resource, "v2");
    nack = answer_to(client, bad, &outcome);
    cr_assert_not_null(nack->error_detail);
    cr_assert_not_null(strstr(nack->error_detail->message, "priority 2 is there, but not 1"), "%s",
                       nack->error_detail->message);
    cr_assert(outcome.nacked && !outcome.changed);
    held = delta_client_next(client, &idx);
    cr_assert_not_null(held);
    cr_assert_eq(held->model.of.traffic->policy.panic_pct, 7);
    cr_assert_eq(held->model.of.traffic->policy.n_clusters, 0);
    delta_client_free(client);
}

Test(delta, names_that_stand_in_a_response_twice_are_refused)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_ADDRESS, "1");
    struct delta_outcome outcome;

    add(maker, model_pod(&arena, "a", "10.0.0.1"), "v1");
    add(maker, model_pod(&arena, "a", "10.0.0.2"), "v2");
    add(maker, model_pod(&arena, "b", "10.0.0.3"), "v1");
    add(maker, model_pod(&arena, "c", "10.0.0.4"), "v1");
    add_removed(maker, "c1//v1/Pod/ns/b");
    answer_to(client, maker, &outcome);

    cr_assert(outcome.nacked);
    cr_assert_eq(outcome.n_applied, 1);
    cr_assert_eq(delta_client_count(client), 1);
    cr_assert_not_null(held(client, STR("c1//v1/Pod/ns/c")));
    delta_client_free(client);
}

Test(delta, a_type_url_that_is_not_the_responses_is_refused)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_ADDRESS, "1");
    struct delta_outcome outcome;

    add(maker, model_small_policy(&arena, "p"), "v1");
    answer_to(client, maker, &outcome);

    cr_assert(outcome.nacked);
    cr_assert_eq(delta_client_count(client), 0);
    delta_client_free(client);
}

Test(delta, removals_of_unknown_names_are_passed_over)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_ADDRESS, "1");
    struct delta_outcome outcome;
    delta_request *ack;

    add_removed(maker, "never-seen");
    ack = answer_to(client, maker, &outcome);

    cr_assert_null(ack->error_detail);
    cr_assert(!outcome.changed && outcome.n_removed == 0);
    delta_client_free(client);
}

Test(delta, responses_of_types_not_asked_for_are_passed_over)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_SECRET, "1");
    struct delta_outcome outcome;

    cr_assert_null(answer_to(client, maker, &outcome));
    maker->response.type_url = (char[]){"type.googleapis.com/some.Other"};
    cr_assert_null(answer_to(client, maker, &outcome));
    cr_assert(!outcome.changed && !delta_client_is_synced(client));
    delta_client_free(client);
}

Test(delta, heartbeats_and_aliases_are_no_fault)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_ADDRESS, "1");
    struct delta_outcome outcome;

    add(maker, model_pod(&arena, "a", "10.0.0.1"), "v1")->resource = NULL;
    answer_to(client, maker, &outcome);

    cr_assert(!outcome.nacked && !outcome.changed);
    delta_client_free(client);
}

Test(delta, equal_bytes_under_a_new_version_are_no_change)
{
    struct delta_client *client = client_new();
    struct maker *first = maker_new(XDS_ADDRESS, "1"), *second = maker_new(XDS_ADDRESS, "2");
    struct delta_outcome outcome;

    add(first, model_pod(&arena, "a", "10.0.0.1"), "v1");
    add(second, model_pod(&arena, "a", "10.0.0.1"), "v2");
    answer_to(client, first, &outcome);
    answer_to(client, second, &outcome);

    cr_assert(!outcome.changed);
    cr_assert(str_eq(held(client, STR("c1//v1/Pod/ns/a"))->version, STR("v2")));
    delta_client_free(client);
}

Test(delta, bytes_that_are_no_response_change_nothing)
{
    struct delta_client *client = client_new();
    struct queue answers = {0};
    struct delta_outcome outcome = {.n_applied = 77};

    cr_assert_eq(delta_client_receive(client, STR("\xff\xff\xff"), push, &answers, &outcome),
                 -ERR_INVALID);
    cr_assert_eq(outcome.n_applied, 77);
    cr_assert_eq(answers.len, 0);
    delta_client_free(client);
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

/* ---- the server alone ---- */

struct asker {
    struct resource_set *set;
    struct delta_server *server;
    struct queue responses;
};

static struct asker *asker_new(struct model_resource **resources, size_t n)
{
    struct asker *asker = arena_new(&arena, struct asker);

    asker->set = resource_set_new();
    resource_set_replace(asker->set, (const struct model_resource *const *)resources, n);
    asker->server = delta_server_new(asker->set);
    return asker;
}

static void asker_free(struct asker *asker)
{
    delta_server_free(asker->server);
    resource_set_free(asker->set);
}

/* subscribe and unsubscribe: one name each, or NULL. */
static int ask(struct asker *asker, const char *subscribe, const char *unsubscribe,
               const char *nonce)
{
    delta_request request;
    char *in = subscribe ? wire_text(&arena, str_from(subscribe)) : NULL;
    char *out = unsubscribe ? wire_text(&arena, str_from(unsubscribe)) : NULL;

    envoy__service__discovery__v3__delta_discovery_request__init(&request);
    request.type_url = wire_text(&arena, str_from(xds_type_url(XDS_ADDRESS)));
    request.response_nonce = wire_text(&arena, str_from(nonce));
    request.resource_names_subscribe = &in;
    request.n_resource_names_subscribe = in != NULL;
    request.resource_names_unsubscribe = &out;
    request.n_resource_names_unsubscribe = out != NULL;
    return delta_server_receive(asker->server, packed(&request.base), push, &asker->responses,
                                &why);
}

/* The one response that came; it is acknowledged. */
static delta_response *take(struct asker *asker)
{
    delta_response *response;

    cr_assert_eq(asker->responses.len, 1, "%zu responses", asker->responses.len);
    response = response_of(shift(&asker->responses));
    cr_assert_eq(ask(asker, NULL, NULL, response->nonce), 0);
    return response;
}

#define POD(n) "c1//v1/Pod/ns/pod-" #n

Test(delta, names_asked_for_are_answered_whether_they_exist_or_not)
{
    struct asker *asker = asker_new(pods(3), 3);
    delta_response *response;

    ask(asker, POD(1), NULL, "");
    response = take(asker);
    cr_assert_eq(response->n_resources, 1);
    cr_assert_str_eq(response->resources[0]->name, POD(1));
    cr_assert_eq(response->n_removed_resources, 0);

    ask(asker, POD(77), NULL, "");
    response = take(asker);
    cr_assert_eq(response->n_resources, 0);
    cr_assert_eq(response->n_removed_resources, 1);
    cr_assert_str_eq(response->removed_resources[0], POD(77));

    ask(asker, POD(1), NULL, "");
    cr_assert_eq(take(asker)->n_resources, 1, "asked for anew, it is sent anew");
    asker_free(asker);
}

Test(delta, of_explicit_names_only_those_are_updated)
{
    struct model_resource **list = pods(80);
    struct asker *asker = asker_new(list, 3);
    delta_response *response;

    ask(asker, POD(1), NULL, "");
    take(asker);
    ask(asker, POD(77), NULL, "");
    take(asker);
    list[0]->of.workload->node = STR("x");
    list[1]->of.workload->node = STR("x");
    resource_set_replace(asker->set, (const struct model_resource *const *)list, 80);
    delta_server_notify(asker->server, push, &asker->responses);
    response = take(asker);
    cr_assert_eq(response->n_resources, 2, "the changed one and the one that came to be");

    ask(asker, NULL, POD(1), "");
    cr_assert_eq(asker->responses.len, 0);
    resource_set_replace(asker->set, NULL, 0);
    delta_server_notify(asker->server, push, &asker->responses);
    response = take(asker);
    cr_assert_eq(response->n_removed_resources, 1);
    cr_assert_str_eq(response->removed_resources[0], POD(77));
    asker_free(asker);
}

Test(delta, a_wildcard_may_be_asked_for_and_given_up)
{
    struct model_resource **list = pods(4);
    struct asker *asker = asker_new(list, 3);

    ask(asker, "*", "*", "");
    cr_assert_eq(asker->responses.len, 0, "on-demand clients begin with nothing");
    ask(asker, "*", NULL, "");
    cr_assert_eq(take(asker)->n_resources, 3);
    ask(asker, NULL, "*", "");
    resource_set_replace(asker->set, (const struct model_resource *const *)list, 4);
    delta_server_notify(asker->server, push, &asker->responses);
    cr_assert_eq(asker->responses.len, 0);
    asker_free(asker);
}

Test(delta, giving_up_a_name_under_a_wildcard_is_answered)
{
    struct asker *asker = asker_new(pods(3), 3);
    delta_response *response;

    ask(asker, "*", NULL, "");
    take(asker);
    ask(asker, POD(2), NULL, "");
    cr_assert_eq(take(asker)->n_resources, 1);
    ask(asker, NULL, POD(2), "");
    response = take(asker);
    cr_assert_eq(response->n_resources, 1, "it goes on to exist");
    cr_assert_eq(asker->responses.len, 0);
    asker_free(asker);
}

Test(delta, an_old_nonce_answers_nothing)
{
    struct model_resource **list = pods(3);
    struct asker *asker = asker_new(list, 2);
    delta_response *first;

    ask(asker, NULL, NULL, "");
    first = response_of(shift(&asker->responses));
    resource_set_replace(asker->set, (const struct model_resource *const *)list, 3);
    ask(asker, NULL, NULL, "no-such-nonce");
    delta_server_notify(asker->server, push, &asker->responses);
    cr_assert_eq(asker->responses.len, 0, "the first response is still in flight");
    ask(asker, NULL, NULL, first->nonce);
    cr_assert_eq(asker->responses.len, 1);
    asker_free(asker);
}

Test(delta, a_nack_is_kept_and_the_refused_version_is_not_sent_again)
{
    struct asker *asker = asker_new(pods(1), 1);
    delta_request request;
    Google__Rpc__Status status;
    struct str last;

    envoy__service__discovery__v3__delta_discovery_request__init(&request);
    google__rpc__status__init(&status);
    ask(asker, NULL, NULL, "");
    request.type_url = wire_text(&arena, str_from(xds_type_url(XDS_ADDRESS)));
    request.response_nonce = response_of(shift(&asker->responses))->nonce;
    status.code = 3;
    status.message = (char[]){"too ugly"};
    request.error_detail = &status;
    cr_assert_eq(
        delta_server_receive(asker->server, packed(&request.base), push, &asker->responses, &why),
        0);

    cr_assert_eq(delta_server_nacks(asker->server, &last), 1);
    cr_assert(str_eq(last, STR("too ugly")));
    delta_server_notify(asker->server, push, &asker->responses);
    cr_assert_eq(asker->responses.len, 0);
    asker_free(asker);
}

Test(delta, types_nobody_has_are_answered_with_nothing)
{
    struct asker *asker = asker_new(pods(1), 1);
    delta_request request;
    char *name = wire_text(&arena, STR("x"));
    delta_response *response;
    int err = 0;

    envoy__service__discovery__v3__delta_discovery_request__init(&request);
    request.type_url = (char[]){"type.googleapis.com/envoy.config.listener.v3.Listener"};
    request.resource_names_subscribe = &name;
    request.n_resource_names_subscribe = 1;
    cr_assert_eq(
        delta_server_receive(asker->server, packed(&request.base), push, &asker->responses, &why),
        0);
    response = response_of(shift(&asker->responses));
    cr_assert_str_eq(response->type_url, request.type_url);
    cr_assert_eq(response->n_resources, 0);
    cr_assert_str_eq(response->removed_resources[0], "x");

    for (unsigned i = 0; i < 1000 && !err; i++) {
        asker->responses.len = 0;
        err = delta_server_receive(asker->server, packed(&request.base), push, &asker->responses,
                                   &why);
    }
    cr_assert_eq(err, -ERR_INVALID, "a flood of them ends the stream");
    asker_free(asker);
}

Test(delta, requests_that_are_none_end_the_stream)
{
    struct asker *asker = asker_new(pods(1), 1);

    cr_assert_eq(
        delta_server_receive(asker->server, STR("\x0a\xff"), push, &asker->responses, &why),
        -ERR_INVALID);
    cr_assert_gt(why.len, 0);
    cr_assert_eq(ask(asker, "", NULL, ""), -ERR_INVALID);
    asker_free(asker);
}

Test(delta, a_stream_that_missed_forgotten_removals_has_to_begin_anew)
{
    struct model_resource **list = pods(12000);
    struct asker *asker = asker_new(list, 12000);
    delta_response *first;

    ask(asker, NULL, NULL, "");
    first = response_of(shift(&asker->responses));
    resource_set_replace(asker->set, (const struct model_resource *const *)list, 1);

    cr_assert_eq(ask(asker, NULL, NULL, first->nonce), -ERR_LIMIT);
    cr_assert(str_contains(text_str(&why), STR("too far behind")));
    asker_free(asker);
}

Test(delta, removals_are_forgotten_once_every_stream_saw_them)
{
    struct model_resource **list = pods(200);
    struct asker *asker = asker_new(list, 1);

    ask(asker, NULL, NULL, "");
    take(asker);
    for (size_t i = 0; i + 1 < 200; i++) {
        resource_set_replace(asker->set, (const struct model_resource *const *)&list[i + 1], 1);
        delta_server_notify(asker->server, push, &asker->responses);
        cr_assert_eq(take(asker)->n_removed_resources, 1);
    }
    cr_assert_eq(resource_set_count(asker->set), 1);
    asker_free(asker);
}

Test(delta, two_resources_of_one_name_and_oversized_ones_are_left_out)
{
    struct model_resource *twins[] = {model_pod(&arena, "a", "10.0.0.1"),
                                      model_pod(&arena, "a", "10.0.0.2"),
                                      model_pod(&arena, "b", "10.0.0.3")};
    struct resource_set *set = resource_set_new();
    char *long_text = arena_alloc(&arena, 1 << 20);

    log_set_level(LOG_ERROR);
    memset(long_text, 'x', 1 << 20);
    twins[2]->of.workload->node = str_of(long_text, 1 << 20);
    cr_assert_eq(resource_set_replace(set, (const struct model_resource *const *)twins, 3), 1);
    cr_assert_eq(resource_set_count(set), 1);
    resource_set_free(set);
}
