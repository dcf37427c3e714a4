#include "delta_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/log.h"
#include "xds/wire.h"

struct arena arena;
struct text why;

void delta_init(void)
{
    log_set_level(LOG_ERROR);
}

void delta_fini(void)
{
    arena_fini(&arena);
    text_fini(&why);
}

void push(void *owner, struct str message)
{
    struct queue *queue = owner;

    cr_assert_lt(queue->len, QUEUE_MAX);
    queue->messages[queue->len++] = arena_str(&arena, message);
}

struct str shift(struct queue *queue)
{
    struct str first = queue->messages[0];

    cr_assert_gt(queue->len, 0, "no message was sent");
    memmove(queue->messages, queue->messages + 1, --queue->len * sizeof(first));
    return first;
}

struct pair *pair_new(const bool types[XDS_TYPES])
{
    struct pair *pair = arena_new(&arena, struct pair);

    pair->set = resource_set_new();
    pair->server = delta_server_new(pair->set);
    pair->client = delta_client_new(STR("node-1"), STR("west"), types);
    return pair;
}

void pair_free(struct pair *pair)
{
    delta_client_free(pair->client);
    delta_server_free(pair->server);
    resource_set_free(pair->set);
}

void client_takes(struct pair *pair, struct str message)
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

void run(struct pair *pair)
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

void stream_up(struct pair *pair)
{
    delta_client_connected(pair->client, push, &pair->to_server);
    run(pair);
}

void stream_again(struct pair *pair)
{
    delta_server_free(pair->server);
    pair->server = delta_server_new(pair->set);
    pair->to_server.len = pair->to_client.len = 0;
    pair->n_responses = pair->n_changes = 0;
    stream_up(pair);
}

size_t publish(struct pair *pair, struct model_resource **resources, size_t n)
{
    size_t n_changed =
        resource_set_replace(pair->set, (const struct model_resource *const *)resources, n);

    delta_server_notify(pair->server, push, &pair->to_client);
    return n_changed;
}

struct model_resource **pods(size_t n)
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

const struct delta_resource *held(const struct delta_client *client, struct str name)
{
    const struct delta_resource *resource;

    for (size_t idx = 0; (resource = delta_client_next(client, &idx));)
        if (str_eq(resource->name, name))
            return resource;
    return NULL;
}

delta_request *request_of(struct str message)
{
    delta_request *request = (delta_request *)(void *)wire_unpack(
        &envoy__service__discovery__v3__delta_discovery_request__descriptor, message, &arena, &why);

    cr_assert_not_null(request, "%s", why.ptr);
    return request;
}

delta_response *response_of(struct str message)
{
    delta_response *response = (delta_response *)(void *)wire_unpack(
        &envoy__service__discovery__v3__delta_discovery_response__descriptor, message, &arena,
        &why);

    cr_assert_not_null(response, "%s", why.ptr);
    return response;
}

struct str packed(const ProtobufCMessage *message)
{
    struct text bytes = {0};
    struct str kept;

    wire_pack(message, &bytes);
    kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}
