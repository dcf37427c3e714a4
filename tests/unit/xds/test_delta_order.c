/* Make before break: at no moment does a workload name a policy or a RequestAuthentication that is
 * not there. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "delta_kit.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/rng.h"

TestSuite(delta_order, .timeout = 60, .init = delta_init, .fini = delta_fini);

static const bool two_types[XDS_TYPES] = {true, true, false};
static const bool three_types[XDS_TYPES] = {
    [XDS_ADDRESS] = true, [XDS_AUTHORIZATION] = true, [XDS_REQUEST_AUTH] = true};

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

static void name_auths(struct model_resource *pod, struct model_resource **auths, size_t n)
{
    struct model_workload *workload = pod->of.workload;

    workload->request_auths = arena_new_array(&arena, struct str, n);
    workload->n_request_auths = n;
    for (size_t i = 0; i < n; i++)
        workload->request_auths[i] = auths[i]->name;
}

static struct model_resource **auths_new(size_t n)
{
    struct model_resource **list = arena_new_array(&arena, struct model_resource *, n);

    for (size_t i = 0; i < n; i++) {
        struct model_request_auth *auth = arena_new(&arena, struct model_request_auth);

        *auth = (struct model_request_auth){.name = arena_printf(&arena, "a%zu", i),
                                            .namespace_ = STR("shop"),
                                            .scope = POLICY_WORKLOAD};
        list[i] = arena_new(&arena, struct model_resource);
        *list[i] = (struct model_resource){.kind = MODEL_REQUEST_AUTH,
                                           .name = arena_printf(&arena, "shop/a%zu", i),
                                           .of.request_auth = auth};
    }
    return list;
}

static bool is_of(struct str message, enum xds_type type)
{
    return str_eq(str_from(response_of(message)->type_url), str_from(xds_type_url(type)));
}

Test(delta_order, a_policy_comes_before_the_workload_that_names_it)
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

Test(delta_order, a_workload_waits_for_its_policy_behind_an_answer_that_is_not_there_yet)
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

Test(delta_order, a_policy_goes_after_the_workload_that_named_it)
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

Test(delta_order, a_request_authentication_comes_before_and_goes_after_who_names_it)
{
    struct pair *pair = pair_new(three_types);
    struct model_resource **list = pods(1), **auths = auths_new(1);
    struct model_resource *both[] = {list[0], auths[0]};

    publish(pair, list, 1);
    stream_up(pair);
    name_auths(list[0], auths, 1);
    publish(pair, both, 2);
    cr_assert_eq(pair->to_client.len, 2);
    cr_assert(is_of(pair->to_client.messages[0], XDS_REQUEST_AUTH));
    cr_assert(is_of(pair->to_client.messages[1], XDS_ADDRESS));

    name_auths(list[0], auths, 0);
    publish(pair, both, 1);
    cr_assert_eq(pair->to_client.len, 2, "the removal overtook the address that waits");
    run(pair);
    cr_assert_eq(delta_client_count(pair->client), 1);
    pair_free(pair);
}

Test(delta_order, policies_are_taken_back_from_a_client_that_asks_for_nothing_else)
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

/* Control begins anew and has nothing: what a client listed is taken back in several pieces. */
Test(delta_order, a_policy_stays_until_the_last_workload_that_named_it_is_taken_back)
{
    struct pair *pair = pair_new(two_types);
    const size_t n = 40000;
    struct model_resource **policies = policies_new(1), **list = pods(n + 1);
    size_t n_pieces = 0;

    for (size_t i = 0; i < n; i++)
        name_policies(list[i], policies, 1);
    list[n] = policies[0];
    publish(pair, list, n + 1);
    stream_up(pair);
    cr_assert_eq(delta_client_count(pair->client), n + 1);

    delta_server_free(pair->server);
    resource_set_free(pair->set);
    pair->set = resource_set_new();
    pair->server = delta_server_new(pair->set);
    delta_client_connected(pair->client, push, &pair->to_server);
    while (pair->to_server.len || pair->to_client.len) {
        const bool is_there = held(pair->client, policies[0]->name) != NULL;
        while (pair->to_server.len)
            run_one(pair, false);
        if (pair->to_client.len)
            run_one(pair, true);
        n_pieces++;
        if (is_there && !held(pair->client, policies[0]->name))
            cr_assert_eq(delta_client_count(pair->client), 0, "workloads still name it");
    }
    cr_assert_gt(n_pieces, 3, "one piece shows nothing");
    cr_assert_eq(delta_client_count(pair->client), 0);
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
        for (size_t i = 0; resource->model.kind == MODEL_WORKLOAD && i < workload->n_request_auths;
             i++)
            cr_assert_not_null(held(client, workload->request_auths[i]),
                               "seed %llu: %.*s names %.*s", (unsigned long long)seed,
                               STR_ARG(resource->name), STR_ARG(workload->request_auths[i]));
    }
}

static void choose(struct rng *rng, struct model_resource **pods_, struct model_resource **policies,
                   struct model_resource **auths, struct model_resource **chosen, size_t *out_n)
{
    size_t n = 0, n_policies, n_auths;

    for (size_t i = 0; i < 12; i++) {
        if (rng_below(rng, 3) == 0) /* another word under the same name */
            policies[i]->of.policy->dry_run = !policies[i]->of.policy->dry_run;
        if (rng_below(rng, 2))
            chosen[n++] = policies[i];
    }
    n_policies = n;
    for (size_t i = 0; i < 12; i++) {
        if (rng_below(rng, 3) == 0)
            auths[i]->of.request_auth->scope ^= POLICY_WORKLOAD ^ POLICY_NAMESPACE;
        if (rng_below(rng, 2))
            chosen[n++] = auths[i];
    }
    n_auths = n - n_policies;
    for (size_t i = 0; i < 20; i++) {
        const size_t first = rng_below(rng, (uint32_t)n_policies + 1);
        const size_t auth = rng_below(rng, (uint32_t)n_auths + 1);

        name_auths(pods_[i], chosen + n_policies + auth,
                   rng_below(rng, 2) * rng_below(rng, (uint32_t)(n_auths - auth) + 1));

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

Test(delta_order, at_no_moment_does_a_workload_name_what_is_not_held)
{
    for (uint64_t seed = 1; seed <= 25; seed++) {
        struct pair *pair = pair_new(three_types);
        struct model_resource **list = pods(20), **policies = policies_new(12);
        struct model_resource **auths = auths_new(12), *chosen[44];
        struct rng rng;
        size_t n_chosen = 0;

        rng_seed(&rng, seed);
        for (unsigned step = 0; step < 60; step++) {
            choose(&rng, list, policies, auths, chosen, &n_chosen);
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
