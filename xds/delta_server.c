/*
 * delta_server.c - the server half of the incremental protocol: one stream's reading of a
 * resource_set. What is asked for is here, what is answered in delta_response.c.
 *
 * A type begins with its first request. A wildcard then passes once over the whole log, skipping
 * what the client listed with an equal version, and ends that pass with the removal of what it
 * listed and is not there; from then on it reads the log's end. Names that are asked for are due at
 * once, whether they exist or not; afterwards changes are picked from the log's end by name. One
 * response a type is in flight; what is due waits for its answer.
 */
#include <discovery.pb-c.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/delta_parts.h"
#include "xds/wire.h"

#define NAMES_MAX           ((size_t)100000) /* a stream may ask for of one type, beside the wildcard */
#define UNKNOWN_ANSWERS_MAX 256 /* requests for types that nobody here has, in one stream, */
#define UNKNOWN_BYTES_MAX   DELTA_RESPONSE_BYTES /* and of the names in all of them */
#define NODE_ID_MAX_BYTES   ((size_t)1024)
#define NACK_MAX_BYTES      ((size_t)2048)

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest delta_request;
typedef Envoy__Service__Discovery__V3__DeltaDiscoveryResponse delta_response;

struct delta_server *delta_server_new(struct resource_set *set)
{
    struct delta_server *server = mem_new(struct delta_server);

    server->set = set;
    list_push_back(&set->readers, &server->reader.link);
    for (unsigned type = 0; type < XDS_TYPES; type++)
        list_init(&server->types[type].due);
    return server;
}

static void subscription_fini(struct subscription *sub)
{
    size_t idx = 0;
    struct str name;
    void *interest;

    while (map_next(&sub->interests, &idx, &name, &interest))
        mem_free(interest);
    map_fini(&sub->interests);
    delta_forget_listed(sub);
}

void delta_server_free(struct delta_server *server)
{
    if (!server)
        return;
    list_remove(&server->reader.link);
    for (unsigned type = 0; type < XDS_TYPES; type++)
        subscription_fini(&server->types[type]);
    arena_fini(&server->arena);
    text_fini(&server->last_nack);
    mem_free(server);
}

struct str delta_server_node(const struct delta_server *server)
{
    return server->node;
}

uint64_t delta_server_nacks(const struct delta_server *server, struct str *out_last)
{
    *out_last = text_str(&server->last_nack);
    return server->n_nacks;
}

/* ---- requests ---- */

static int refuse(struct text *why, const char *sentence)
{
    text_add(why, str_from(sentence));
    return -ERR_INVALID;
}

static void begin(struct delta_server *server, enum xds_type type)
{
    struct subscription *sub = &server->types[type];

    sub->has_begun = true;
    sub->read_seq = sub->removed_seq = sub->start_seq = server->set->seq;
    server->reader.reads[type] = true;
    server->reader.passed_seq[type] = server->set->seq;
}

static void begin_wildcard(struct subscription *sub)
{
    if (sub->is_wildcard)
        return;
    sub->is_wildcard = true;
    sub->in_first_pass = true;
    sub->owes_first = sub->listed.len == 0;
    if (sub->removed_seq > sub->start_seq)
        sub->start_seq = sub->removed_seq;
    sub->read_seq = sub->removed_seq = 0;
}

static void end_wildcard(struct subscription *sub)
{
    if (sub->in_first_pass && sub->read_seq < sub->start_seq)
        sub->read_seq = sub->start_seq;
    if (sub->in_first_pass && sub->removed_seq < sub->start_seq)
        sub->removed_seq = sub->start_seq;
    sub->is_wildcard = sub->in_first_pass = sub->owes_first = false;
    delta_forget_listed(sub);
}

static struct interest *interest_new(struct subscription *sub, struct str name)
{
    struct interest *interest = mem_zalloc(sizeof(*interest) + name.len + 1);

    memcpy(interest + 1, name.ptr, name.len);
    interest->name = str_of(interest + 1, name.len);
    list_init(&interest->due_link);
    map_put(&sub->interests, interest->name, interest);
    return interest;
}

/* Makes the name due, and keeps it when it is subscribed. */
static int ask_for(struct subscription *sub, struct str name, bool is_subscribed, struct text *why)
{
    struct interest *interest = map_find(&sub->interests, name);

    if (name.len == 0 || name.len > XDS_NAME_MAX_BYTES)
        return refuse(why, "an empty or overlong resource name");
    if (!interest && sub->interests.len >= NAMES_MAX)
        return refuse(why, "too many resource names in one stream");
    if (!interest)
        interest = interest_new(sub, name);
    interest->is_subscribed = is_subscribed;
    list_remove(&interest->due_link);
    list_push_back(&sub->due, &interest->due_link);
    return 0;
}

static bool is_listed_as_it_is(const struct delta_server *server, enum xds_type type,
                               struct str name)
{
    const char *listed = map_find(&server->types[type].listed, name);
    const struct set_entry *entry = map_find(&server->set->logs[type].by_name, name);

    return listed && entry && !entry->is_removed && strcmp(listed, entry->version) == 0;
}

static int subscribe(struct delta_server *server, enum xds_type type, struct str name,
                     struct text *why)
{
    struct subscription *sub = &server->types[type];
    int err;

    if (str_eq(name, STR("*"))) {
        begin_wildcard(sub);
        return 0;
    }
    err = ask_for(sub, name, true, why);
    if (!err && is_listed_as_it_is(server, type, name))
        list_remove(&((struct interest *)map_find(&sub->interests, name))->due_link);
    return err;
}

/* Under a wildcard the client has to learn whether the name goes on to exist. */
static int unsubscribe(struct subscription *sub, struct str name, struct text *why)
{
    struct interest *interest = map_find(&sub->interests, name);

    if (str_eq(name, STR("*"))) {
        end_wildcard(sub);
    } else if (interest && sub->is_wildcard) {
        return ask_for(sub, name, false, why);
    } else if (interest) {
        interest->is_subscribed = false;
        delta_interest_done(sub, interest);
    }
    return 0;
}

static void keep_listed(struct subscription *sub, const delta_request *request)
{
    for (size_t i = 0; i < request->n_initial_resource_versions; i++) {
        struct str name = str_from(request->initial_resource_versions[i]->key);

        if (name.len > XDS_NAME_MAX_BYTES)
            continue;
        map_put(
            &sub->listed, arena_str(&sub->listed_arena, name),
            wire_text(&sub->listed_arena, str_from(request->initial_resource_versions[i]->value)));
    }
}

static int change_subscription(struct delta_server *server, enum xds_type type,
                               const delta_request *request, struct text *why)
{
    struct subscription *sub = &server->types[type];
    bool is_first = !sub->has_begun;
    int err = 0;

    if (is_first) {
        begin(server, type);
        keep_listed(sub, request);
    }
    if (is_first && !request->n_resource_names_subscribe && !request->n_resource_names_unsubscribe)
        begin_wildcard(sub);
    for (size_t i = 0; i < request->n_resource_names_subscribe && !err; i++)
        err = subscribe(server, type, str_from(request->resource_names_subscribe[i]), why);
    for (size_t i = 0; i < request->n_resource_names_unsubscribe && !err; i++)
        err = unsubscribe(sub, str_from(request->resource_names_unsubscribe[i]), why);
    if (!sub->is_wildcard)
        delta_forget_listed(sub);
    return err;
}

static void take_nack(struct delta_server *server, const delta_request *request)
{
    const char *message = request->error_detail->message;

    server->n_nacks++;
    text_clear(&server->last_nack);
    text_add(&server->last_nack, str_sub(str_from(message), 0, NACK_MAX_BYTES));
    log_warn("a node refused resources", log_str("node", server->node),
             log_cstr("type", request->type_url), log_str("why", text_str(&server->last_nack)));
}

/* An answer to another response than the one in flight is an old one, and says nothing any more. */
static void take_answer(struct delta_server *server, struct subscription *sub,
                        const delta_request *request)
{
    if (!sub->in_flight || strcmp(request->response_nonce, sub->nonce) != 0)
        return;
    sub->in_flight = false;
    sub->was_answered = true;
    if (request->error_detail)
        take_nack(server, request);
}

/* Nobody here has that type: nothing of it exists, and the client need not wait to learn that. */
static int answer_unknown(struct delta_server *server, const delta_request *request,
                          delta_send send, void *owner, struct text *why)
{
    delta_response response;
    struct text message = {0};
    char nonce[NONCE_CHARS + 1];

    envoy__service__discovery__v3__delta_discovery_response__init(&response);
    if (request->response_nonce[0])
        return 0;
    for (size_t i = 0; i < request->n_resource_names_subscribe; i++)
        server->unknown_bytes += strlen(request->resource_names_subscribe[i]) + 8;
    server->unknown_bytes += strlen(request->type_url);
    if (server->n_unknown++ >= UNKNOWN_ANSWERS_MAX || server->unknown_bytes > UNKNOWN_BYTES_MAX)
        return refuse(why, "too many requests for types that are not served here");
    (void)snprintf(nonce, sizeof(nonce), "%" PRIu64, ++server->last_nonce);
    response.type_url = request->type_url;
    response.nonce = nonce;
    response.removed_resources = request->resource_names_subscribe;
    response.n_removed_resources = request->n_resource_names_subscribe;
    wire_pack(&response.base, &message);
    send(owner, text_str(&message));
    text_fini(&message);
    return 0;
}

static int check_lag(const struct delta_server *server, enum xds_type type, struct text *why)
{
    if (server->reader.passed_seq[type] >= server->set->logs[type].lost_seq)
        return 0;
    text_add(why, STR("the stream fell too far behind; begin anew"));
    return -ERR_LIMIT;
}

static int handle(struct delta_server *server, const delta_request *request, delta_send send,
                  void *owner, struct text *why)
{
    enum xds_type type;
    int err;

    if (request->node && str_is_empty(server->node))
        server->node =
            arena_str(&server->arena, str_sub(str_from(request->node->id), 0, NODE_ID_MAX_BYTES));
    if (!xds_type_of_url(str_from(request->type_url), &type))
        return answer_unknown(server, request, send, owner, why);
    if (request->response_nonce[0])
        take_answer(server, &server->types[type], request);
    err = change_subscription(server, type, request, why);
    if (!err)
        err = check_lag(server, type, why);
    if (!err)
        delta_respond(server, type, send, owner);
    return err;
}

int delta_server_receive(struct delta_server *server, struct str message,
                         void (*send)(void *owner, struct str message), void *owner,
                         struct text *why)
{
    struct arena arena = {0};
    const delta_request *request = (const void *)wire_unpack(
        &envoy__service__discovery__v3__delta_discovery_request__descriptor, message, &arena, why);
    int err = request ? handle(server, request, send, owner, why) : -ERR_INVALID;

    arena_fini(&arena);
    return err;
}
