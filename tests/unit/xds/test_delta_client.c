/* The client of the protocol against messages made by hand. */
#include <criterion/criterion.h>
#include <string.h>

#include "delta_kit.h"
#include "proxy/base/err.h"
#include "xds/changes.h"
#include "xds/wire.h"

TestSuite(delta, .timeout = 60, .init = delta_init, .fini = delta_fini);

static const bool two_types[XDS_TYPES] = {true, true, false};

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

Test(delta, what_is_held_may_take_so_much_memory_and_what_is_more_is_nacked)
{
    struct delta_client *client = client_new();
    struct delta_outcome outcome;
    unsigned n_held = 0;

    delta_client_limit(client, 65536);
    for (unsigned i = 0; i < 1000; i++) {
        struct maker *maker = maker_new(XDS_ADDRESS, "1");
        add(maker, model_pod(&arena, arena_printf(&arena, "p%u", i).ptr, "10.0.0.1"), "v");
        delta_request *answer = answer_to(client, maker, &outcome);
        n_held += outcome.n_applied;
        cr_assert_eq(outcome.nacked, answer->error_detail != NULL);
        if (outcome.nacked)
            cr_assert(str_contains(str_from(answer->error_detail->message), STR("65536 bytes")));
    }
    cr_assert(n_held > 10 && n_held < 200, "%u", n_held);
    cr_assert_eq(delta_client_count(client), n_held);

    struct maker *room = maker_new(XDS_ADDRESS, "2"), *again = maker_new(XDS_ADDRESS, "3");
    add_removed(room, "c1//v1/Pod/ns/p0");
    (void)answer_to(client, room, &outcome);
    cr_assert_eq(outcome.n_removed, 1);
    add(again, model_pod(&arena, "p0", "10.0.0.1"), "v");
    (void)answer_to(client, again, &outcome);
    cr_assert(!outcome.nacked, "what went made room");
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

static size_t changes_of(const struct delta_client *client)
{
    const struct str *uids;
    size_t n;
    return delta_client_changes(client, &uids, &n) ? n : SIZE_MAX;
}

/* Gives the client pods numbered from first on. */
static void give_pods(struct delta_client *client, size_t first, size_t n, const char *address)
{
    struct delta_outcome outcome;
    for (size_t i = 0; i < n; i++) {
        struct maker *maker = maker_new(XDS_ADDRESS, "n");
        add(maker, model_pod(&arena, arena_printf(&arena, "p%zu", first + i).ptr, address),
            address);
        (void)answer_to(client, maker, &outcome);
    }
}

Test(delta, workloads_that_changed_since_a_mark_are_known_each_once)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_ADDRESS, "n");
    struct delta_outcome outcome;

    give_pods(client, 0, 3, "10.0.0.1");
    cr_expect_eq(changes_of(client), SIZE_MAX, "nobody marked");
    delta_client_mark(client);
    give_pods(client, 0, 2, "10.0.0.1");
    cr_expect_eq(changes_of(client), 0, "the same again");
    give_pods(client, 0, 2, "10.0.0.2");
    give_pods(client, 1, 1, "10.0.0.3");
    cr_expect_eq(changes_of(client), 2);
    add_removed(maker, "c1//v1/Pod/ns/p2");
    (void)answer_to(client, maker, &outcome);
    cr_expect_eq(changes_of(client), 3);
    cr_expect_null(delta_client_find(client, XDS_ADDRESS, STR("c1//v1/Pod/ns/p2")));
    cr_expect_not_null(delta_client_find(client, XDS_ADDRESS, STR("c1//v1/Pod/ns/p1")));
    delta_client_mark(client);
    cr_expect_eq(changes_of(client), 0);
    delta_client_free(client);
}

Test(delta, more_than_workloads_or_too_many_of_them_are_told_as_such)
{
    struct delta_client *client = client_new();
    struct maker *maker = maker_new(XDS_ADDRESS, "n");
    struct delta_outcome outcome;

    delta_client_mark(client);
    give_pods(client, 0, CHANGES_MAX, "10.0.0.1");
    cr_expect_eq(changes_of(client), CHANGES_MAX);
    give_pods(client, CHANGES_MAX, 1, "10.0.0.1");
    cr_expect_eq(changes_of(client), SIZE_MAX);
    delta_client_mark(client);
    add(maker, model_rich_service(&arena), "1");
    (void)answer_to(client, maker, &outcome);
    cr_expect_eq(changes_of(client), SIZE_MAX, "a service");
    delta_client_mark(client);
    delta_client_clear(client);
    cr_expect_eq(changes_of(client), SIZE_MAX, "all are gone");
    delta_client_free(client);
}
