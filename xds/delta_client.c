/*
 * delta_client.c - the client half of the incremental protocol.
 *
 * Happy path: connected -> a wildcard request a type, listing what is held -> response -> ACK ->
 * response -> ACK ... Failure modes: a response that is no message ends the stream (the caller's to
 * do); a refused resource is told in a NACK, the version that was held stays in use, and is what
 * the next stream lists; a response of a type that was not asked for is passed over.
 */
#include <discovery.pb-c.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"
#include "xds/changes.h"
#include "xds/held_file.h"
#include "xds/wire.h"

#define USER_AGENT     "isthmus"
#define WHY_MAX_BYTES  ((size_t)4096)
#define STATUS_INVALID 3 /* google.rpc.Code.INVALID_ARGUMENT */
/* What a first request may list of what is held; what does not fit is sent again by the server. */
#define VERSIONS_MAX_BYTES ((size_t)48 << 20)

typedef void (*delta_send)(void *owner, struct str message);

struct delta_client {
    struct arena arena;
    struct str node_id, cluster;
    bool subscribed[XDS_TYPES];
    bool answered[XDS_TYPES]; /* a response was received after which no more followed */
    bool is_loaded;
    size_t max_bytes; /* of what is held; 0: no bound */
    struct held held;
    struct changes changes;
};

struct delta_client *delta_client_new(struct str node_id, struct str cluster,
                                      const bool subscribed[XDS_TYPES])
{
    struct delta_client *client = mem_new(struct delta_client);

    client->node_id = arena_str(&client->arena, node_id);
    client->cluster = arena_str(&client->arena, cluster);
    for (unsigned type = 0; type < XDS_TYPES; type++)
        client->subscribed[type] = subscribed[type];
    return client;
}

void delta_client_free(struct delta_client *client)
{
    if (!client)
        return;
    held_fini(&client->held);
    changes_fini(&client->changes);
    arena_fini(&client->arena);
    mem_free(client);
}

void delta_client_limit(struct delta_client *client, size_t max_bytes)
{
    client->max_bytes = max_bytes;
}

/* ---- requests ---- */

static void send_request(const Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *request,
                         delta_send send, void *owner)
{
    struct text message = {0};

    wire_pack(&request->base, &message);
    send(owner, text_str(&message));
    text_fini(&message);
}

static void list_held(const struct delta_client *client, enum xds_type type, struct arena *arena,
                      Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *request)
{
    typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest__InitialResourceVersionsEntry
        entry;
    size_t left_bytes = VERSIONS_MAX_BYTES;

    request->initial_resource_versions =
        arena_new_array(arena, entry *, client->held.by_name[type].len);
    for (size_t i = 0; i < client->held.len; i++) {
        const struct held_item *item = client->held.items[i];
        size_t need_bytes = item->resource.name.len + item->resource.version.len + 16;
        entry *held;

        if (item->type != type || need_bytes > left_bytes)
            continue;
        left_bytes -= need_bytes;
        held = arena_new(arena, entry);
        envoy__service__discovery__v3__delta_discovery_request__initial_resource_versions_entry__init(
            held);
        held->key = wire_text(arena, item->resource.name);
        held->value = wire_text(arena, item->resource.version);
        request->initial_resource_versions[request->n_initial_resource_versions++] = held;
    }
}

static void send_first(const struct delta_client *client, enum xds_type type,
                       Envoy__Config__Core__V3__Node *node, delta_send send, void *owner)
{
    Envoy__Service__Discovery__V3__DeltaDiscoveryRequest request;
    struct arena arena = {0};

    envoy__service__discovery__v3__delta_discovery_request__init(&request);
    request.node = node;
    request.type_url = wire_text(&arena, str_from(xds_type_url(type)));
    list_held(client, type, &arena, &request);
    send_request(&request, send, owner);
    arena_fini(&arena);
}

/* Policies before the workloads that name them: a server answers in the order it is asked in. */
static const enum xds_type asked_in_order[XDS_TYPES] = {
    XDS_AUTHORIZATION, XDS_REQUEST_AUTH, XDS_ADDRESS, XDS_SECRET, XDS_CLUSTER, XDS_ROUTE};

void delta_client_connected(struct delta_client *client,
                            void (*send)(void *owner, struct str message), void *owner)
{
    Envoy__Config__Core__V3__Node node;
    struct arena arena = {0};
    bool is_first = true; /* only the stream's first message says who asks */

    envoy__config__core__v3__node__init(&node);
    node.id = wire_text(&arena, client->node_id);
    node.cluster = wire_text(&arena, client->cluster);
    node.user_agent_name = wire_text(&arena, STR(USER_AGENT));
    for (unsigned i = 0; i < XDS_TYPES; i++) {
        if (!client->subscribed[asked_in_order[i]])
            continue;
        send_first(client, asked_in_order[i], is_first ? &node : NULL, send, owner);
        is_first = false;
    }
    arena_fini(&arena);
}

static void send_answer(const Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *response,
                        const struct delta_outcome *outcome, delta_send send, void *owner)
{
    Envoy__Service__Discovery__V3__DeltaDiscoveryRequest request;
    Google__Rpc__Status status;
    struct arena arena = {0};

    envoy__service__discovery__v3__delta_discovery_request__init(&request);
    google__rpc__status__init(&status);
    request.type_url = response->type_url;
    request.response_nonce = response->nonce;
    if (outcome->nacked) {
        status.code = STATUS_INVALID;
        status.message = wire_text(&arena, text_str(&outcome->why));
        request.error_detail = &status;
    }
    send_request(&request, send, owner);
    arena_fini(&arena);
}

/* ---- responses ---- */

/* One response on its way into what is held. */
struct receipt {
    struct delta_client *client;
    const Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *response;
    struct map names; /* every name -> once or twice */
    struct delta_outcome outcome;
};

static char once, twice;

static void refuse(struct receipt *receipt, struct str name, struct str sentence)
{
    struct delta_outcome *outcome = &receipt->outcome;

    outcome->nacked = true;
    outcome->n_refused++;
    outcome->why.limit = WHY_MAX_BYTES;
    text_addf(&outcome->why, "%s%.*s: %.*s", outcome->why.len ? "; " : "",
              STR_ARG(str_sub(name, 0, 256)), STR_ARG(str_sub(sentence, 0, 1024)));
}

static void count_name(struct receipt *receipt, const char *name)
{
    struct str key = str_from(name);

    if (map_put(&receipt->names, key, &once))
        map_put(&receipt->names, key, &twice);
}

static void count_names(struct receipt *receipt)
{
    for (size_t i = 0; i < receipt->response->n_resources; i++)
        count_name(receipt, receipt->response->resources[i]->name);
    for (size_t i = 0; i < receipt->response->n_removed_resources; i++)
        count_name(receipt, receipt->response->removed_resources[i]);
}

static bool is_ambiguous(struct receipt *receipt, const char *name)
{
    if (map_find(&receipt->names, str_from(name)) != &twice)
        return false;
    refuse(receipt, str_from(name), STR("the name stands in the response twice"));
    return true;
}

/* The item in place of the one before it, or NULL when that is too much. */
static struct held_item *fitting(const struct delta_client *client, const struct held_item *before,
                                 struct held_item *item, struct text *why)
{
    const size_t others = client->held.bytes - (before ? held_item_bytes(before) : 0);

    if (!item || !client->max_bytes || others + held_item_bytes(item) <= client->max_bytes)
        return item;
    text_addf(why, "all resources take more than %zu bytes", client->max_bytes);
    held_item_free(item);
    return NULL;
}

/* Holds the resource, unless its bytes are held already: then only the version is new. */
static void hold(struct receipt *receipt, const struct held_source *source)
{
    struct held *held = &receipt->client->held;
    struct held_item *before = held_find(held, source->type, source->name);
    struct text why = {0};
    struct held_item *item = NULL;
    bool is_same = before && str_eq(before->resource.bytes, source->bytes);

    if (is_same && str_eq(before->resource.version, source->version)) {
        receipt->outcome.n_applied++;
        return;
    }
    if (!before && held->len >= DELTA_RESOURCES_MAX)
        text_addf(&why, "more than %d resources", DELTA_RESOURCES_MAX);
    else
        item = fitting(receipt->client, before, held_item_new(source, &why), &why);
    if (item) {
        if (!is_same)
            changes_note(&receipt->client->changes, before ? &before->resource.model : NULL,
                         &item->resource.model);
        held_put(held, item);
        receipt->outcome.n_applied++;
        receipt->outcome.changed |= !is_same;
    } else {
        refuse(receipt, source->name, text_str(&why));
    }
    text_fini(&why);
}

static void apply_resource(struct receipt *receipt,
                           const Envoy__Service__Discovery__V3__Resource *resource)
{
    const Google__Protobuf__Any *any = resource->resource;

    (void)pace();
    if (is_ambiguous(receipt, resource->name))
        return;
    if (!any) /* a heartbeat or an unresolved alias: nothing to hold, and no fault */
        return;
    if (!str_eq(str_from(any->type_url), str_from(receipt->response->type_url))) {
        refuse(receipt, str_from(resource->name),
               STR("its type_url is not the one of the response"));
        return;
    }
    hold(receipt, &(struct held_source){
                      .type = receipt->outcome.type,
                      .name = str_from(resource->name),
                      .version = str_from(resource->version),
                      .bytes = wire_bytes(&any->value),
                  });
}

static void apply_removal(struct receipt *receipt, const char *name)
{
    struct delta_client *client = receipt->client;
    const enum xds_type type = receipt->outcome.type;

    if (is_ambiguous(receipt, name))
        return;
    const struct held_item *item = held_find(&client->held, type, str_from(name));
    if (item) {
        changes_note(&client->changes, &item->resource.model, NULL);
        (void)held_remove(&client->held, type, str_from(name));
        receipt->outcome.n_removed++;
        receipt->outcome.changed = true;
    }
}

static void apply(struct receipt *receipt)
{
    const Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *response = receipt->response;

    count_names(receipt);
    for (size_t i = 0; i < response->n_removed_resources; i++)
        apply_removal(receipt, response->removed_resources[i]);
    for (size_t i = 0; i < response->n_resources; i++)
        apply_resource(receipt, response->resources[i]);
    map_fini(&receipt->names);
}

int delta_client_receive(struct delta_client *client, struct str message,
                         void (*send)(void *owner, struct str message), void *owner,
                         struct delta_outcome *out_outcome)
{
    struct arena arena = {0};
    struct text why = {0};
    struct receipt receipt = {
        .client = client,
        .response = (const void *)wire_unpack(
            &envoy__service__discovery__v3__delta_discovery_response__descriptor, message, &arena,
            &why),
    };

    text_fini(&why);
    if (!receipt.response) {
        arena_fini(&arena);
        return -ERR_INVALID;
    }
    if (xds_type_of_url(str_from(receipt.response->type_url), &receipt.outcome.type) &&
        client->subscribed[receipt.outcome.type]) {
        apply(&receipt);
        receipt.outcome.more_follows = receipt.response->isthmus_more_follows;
        client->answered[receipt.outcome.type] |= !receipt.outcome.more_follows;
        send_answer(receipt.response, &receipt.outcome, send, owner);
    }
    arena_fini(&arena);
    *out_outcome = receipt.outcome;
    return 0;
}

/* ---- what is held ---- */

const struct delta_resource *delta_client_next(const struct delta_client *client, size_t *idx)
{
    if (*idx >= client->held.len)
        return NULL;
    return &client->held.items[(*idx)++]->resource;
}

const struct delta_resource *delta_client_find(const struct delta_client *client,
                                               enum xds_type type, struct str name)
{
    const struct held_item *item = held_find(&client->held, type, name);

    return item ? &item->resource : NULL;
}

void delta_client_mark(struct delta_client *client)
{
    changes_mark(&client->changes);
}

bool delta_client_changes(const struct delta_client *client, const struct str **out_uids,
                          size_t *out_n)
{
    *out_uids = client->changes.uids;
    *out_n = client->changes.n;
    return client->changes.are_known;
}

size_t delta_client_count(const struct delta_client *client)
{
    return client->held.len;
}

bool delta_client_is_synced(const struct delta_client *client)
{
    /* A server that does not know a type of ours says nothing of it; one that does answers it
     * before the workloads, in the order in which it was asked. */
    for (unsigned type = 0; type < XDS_TYPES; type++)
        if (client->subscribed[type] && !client->answered[type] && !client->is_loaded &&
            type != XDS_REQUEST_AUTH)
            return false;
    return true;
}

void delta_client_clear(struct delta_client *client)
{
    held_fini(&client->held);
    changes_forget(&client->changes);
}

void delta_client_save(const struct delta_client *client, struct text *out)
{
    held_file_write(&client->held, out);
}

int delta_client_load(struct delta_client *client, struct str bytes, struct text *why)
{
    struct held held;
    int err = held_file_read(bytes, client->subscribed, &held, why);

    if (err)
        return err;
    held_fini(&client->held);
    changes_forget(&client->changes);
    client->held = held;
    client->is_loaded = true;
    return 0;
}
