/* The server of the protocol against requests made by hand. */
#include <criterion/criterion.h>
#include <string.h>

#include "delta_kit.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "xds/wire.h"

TestSuite(delta, .timeout = 60, .init = delta_init, .fini = delta_fini);

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

/* What is asked for is said back, so whoever asks and does not read would be kept in memory. */
Test(delta, names_of_types_nobody_has_are_bounded_in_all_requests_together)
{
    struct asker *asker = asker_new(pods(1), 1);
    delta_request request;
    char *names[1000];
    int err = 0;
    unsigned n = 0;

    envoy__service__discovery__v3__delta_discovery_request__init(&request);
    request.type_url = (char[]){"type.googleapis.com/envoy.config.listener.v3.Listener"};
    request.resource_names_subscribe = names;
    request.n_resource_names_subscribe = ARRAY_LEN(names);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        names[i] = wire_text(&arena, arena_printf(&arena, "%0200zu", i));
    for (; n < 100 && !err; n++) {
        asker->responses.len = 0;
        err = delta_server_receive(asker->server, packed(&request.base), push, &asker->responses,
                                   &why);
    }
    cr_assert_eq(err, -ERR_INVALID);
    cr_assert(n > 2 && n < 10, "%u", n);
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
    char *long_text = arena_alloc(&arena, XDS_RESOURCE_MAX_BYTES);

    log_set_level(LOG_ERROR);
    memset(long_text, 'x', XDS_RESOURCE_MAX_BYTES);
    twins[2]->of.workload->node = str_of(long_text, XDS_RESOURCE_MAX_BYTES);
    cr_assert_eq(resource_set_replace(set, (const struct model_resource *const *)twins, 3), 1);
    cr_assert_eq(resource_set_count(set), 1);
    resource_set_free(set);
}
