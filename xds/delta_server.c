/*
 * delta_server.c - the server half of the incremental protocol: one stream's reading of a
 * resource_set.
 *
 * A type begins with its first request. A wildcard then passes once over the whole log, skipping
 * what the client listed with an equal version, and ends that pass with the removal of what it
 * listed and is not there; from then on it reads the log's end. Names that are asked for are due at
 * once, whether they exist or not; afterwards changes are picked from the log's end by name. One
 * response a type is in flight; what is due waits for its answer.
 *
 * Make before break: a workload that names a policy which its node has not is closed, so no stream
 * may be brought there by the order of its messages. New and changed policies go before addresses,
 * which may name them; removals of policies go after addresses, which named them. So an entry's
 * removal is read apart from its other changes.
 */
#include <discovery.pb-c.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/resource_set.h"
#include "xds/wire.h"

#define NAMES_MAX            ((size_t)100000) /* a stream may ask for of one type, beside the wildcard */
#define UNKNOWN_ANSWERS_MAX  256 /* requests for types that nobody here has, in one stream */
#define NODE_ID_MAX_BYTES    ((size_t)1024)
#define NACK_MAX_BYTES       ((size_t)2048)
#define NONCE_CHARS          20
#define RESOURCE_FRAME_BYTES ((size_t)128) /* type URL, version and tags around a resource */
#define RESPONSE_FRAME_BYTES ((size_t)256)

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest delta_request;
typedef Envoy__Service__Discovery__V3__DeltaDiscoveryResponse delta_response;
typedef Envoy__Service__Discovery__V3__Resource delta_item;
typedef void (*delta_send)(void *owner, struct str message);

struct interest {         /* a name that the client asked for */
    struct list due_link; /* in subscription.due while it is to be answered */
    bool is_subscribed;   /* false: answered once, then forgotten */
    struct str name;      /* behind the struct */
};

struct subscription { /* of one type */
    bool has_begun;
    bool is_wildcard;
    bool in_first_pass; /* of a wildcard */
    bool owes_first;    /* a first response is owed even when it is empty */
    bool in_flight;
    bool was_answered; /* a response of this stream */
    char nonce[NONCE_CHARS + 1];
    uint64_t read_seq;    /* of the log, without the removals */
    uint64_t removed_seq; /* of its removals */
    uint64_t start_seq;   /* removals up to here concern only what the client listed */
    struct map interests;
    struct list due;
    struct map listed; /* name -> version, both NUL-terminated: what the client holds, until the
                          first pass met it */
    struct arena listed_arena;
};

struct delta_server {
    struct resource_set *set;
    struct set_reader reader;
    struct subscription types[XDS_TYPES];
    struct arena arena;
    struct str node;
    uint64_t last_nonce;
    unsigned n_unknown;
    uint64_t n_nacks;
    struct text last_nack;
};

struct delta_server *delta_server_new(struct resource_set *set)
{
    struct delta_server *server = mem_new(struct delta_server);

    server->set = set;
    list_push_back(&set->readers, &server->reader.link);
    for (unsigned type = 0; type < XDS_TYPES; type++)
        list_init(&server->types[type].due);
    return server;
}

static void forget_listed(struct subscription *sub)
{
    map_fini(&sub->listed);
    arena_fini(&sub->listed_arena);
}

static void subscription_fini(struct subscription *sub)
{
    size_t idx = 0;
    struct str name;
    void *interest;

    while (map_next(&sub->interests, &idx, &name, &interest))
        mem_free(interest);
    map_fini(&sub->interests);
    forget_listed(sub);
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

/* ---- responses ---- */

struct draft { /* a response that is being filled */
    struct delta_server *server;
    struct subscription *sub;
    const struct set_log *log;
    const char *type_url;
    struct arena arena;
    delta_item **items;
    char **removed;
    size_t n_items, cap_items, n_removed, cap_removed;
    size_t bytes;
    bool more_follows; /* it was full before everything was in */
    uint64_t id;
};

/* A list of pointers with room for one more. */
static void *grown(void *list, size_t len, size_t *cap)
{
    if (len < *cap)
        return list;
    *cap = *cap ? *cap * 2 : 16;
    return mem_realloc(list, *cap * sizeof(void *));
}

static bool takes(struct draft *draft, size_t more_bytes)
{
    if (draft->bytes + more_bytes > DELTA_RESPONSE_BYTES)
        return false;
    draft->bytes += more_bytes;
    return true;
}

static bool add_removed(struct draft *draft, struct str name)
{
    if (!takes(draft, name.len + 8))
        return false;
    draft->removed = grown(draft->removed, draft->n_removed, &draft->cap_removed);
    draft->removed[draft->n_removed++] = wire_text(&draft->arena, name);
    return true;
}

static bool add_item(struct draft *draft, struct set_entry *entry)
{
    Google__Protobuf__Any *any;
    delta_item *item;

    if (!takes(draft, entry->name.len + entry->bytes.len + RESOURCE_FRAME_BYTES))
        return false;
    any = arena_new(&draft->arena, Google__Protobuf__Any);
    item = arena_new(&draft->arena, delta_item);
    google__protobuf__any__init(any);
    envoy__service__discovery__v3__resource__init(item);
    any->type_url = wire_text(&draft->arena, str_from(draft->type_url));
    any->value.len = entry->bytes.len;
    any->value.data = (uint8_t *)(entry + 1) + entry->name.len + 1;
    item->name = (char *)(entry + 1);
    item->version = entry->version;
    item->resource = any;
    draft->items = grown(draft->items, draft->n_items, &draft->cap_items);
    draft->items[draft->n_items++] = item;
    return true;
}

/* Puts in what an entry is now, once. False when the response is full. */
static bool add_entry(struct draft *draft, struct set_entry *entry)
{
    if (entry->response == draft->id)
        return true;
    if (!(entry->is_removed ? add_removed(draft, entry->name) : add_item(draft, entry)))
        return false;
    entry->response = draft->id;
    return true;
}

static void interest_done(struct subscription *sub, struct interest *interest)
{
    list_remove(&interest->due_link);
    if (interest->is_subscribed)
        return;
    map_remove(&sub->interests, interest->name);
    mem_free(interest);
}

/* Names that were asked for and not answered yet; what does not exist is told as removed. */
static bool add_due(struct draft *draft)
{
    list_foreach(link, &draft->sub->due)
    {
        struct interest *interest = list_entry(link, struct interest, due_link);
        struct set_entry *entry = map_find(&draft->log->by_name, interest->name);

        if (!(entry ? add_entry(draft, entry) : add_removed(draft, interest->name)))
            return false;
        (void)map_remove(&draft->sub->listed, interest->name);
        interest_done(draft->sub, interest);
    }
    return true;
}

/* True when this stream is to hear of what became of the entry. */
static bool concerns(struct subscription *sub, const struct set_entry *entry)
{
    const char *listed;

    if (!sub->is_wildcard)
        return map_find(&sub->interests, entry->name) != NULL;
    if (!sub->in_first_pass)
        return true;
    listed = map_find(&sub->listed, entry->name);
    if (entry->is_removed)
        return listed || entry->seq > sub->start_seq;
    return !listed || strcmp(listed, entry->version) != 0;
}

/* The end of the log from where the stream has read it: its removals, or everything else. */
static bool add_changes(struct draft *draft, bool is_removal)
{
    struct subscription *sub = draft->sub;
    uint64_t *read_seq = is_removal ? &sub->removed_seq : &sub->read_seq;

    for (size_t i = set_log_after(draft->log, *read_seq); i < draft->log->len; i++) {
        const struct set_slot *slot = &draft->log->slots[i];

        if (slot->entry && slot->entry->is_removed == is_removal) {
            if (concerns(sub, slot->entry) && !add_entry(draft, slot->entry))
                return false;
            (void)map_remove(&sub->listed, slot->entry->name);
        }
        *read_seq = slot->seq;
    }
    return true;
}

/* Whether something of the end of the log is to be told yet. */
static bool has_unread(struct delta_server *server, enum xds_type type, bool is_removal)
{
    struct subscription *sub = &server->types[type];
    const struct set_log *log = &server->set->logs[type];
    const uint64_t read_seq = is_removal ? sub->removed_seq : sub->read_seq;

    for (size_t i = set_log_after(log, read_seq); sub->has_begun && i < log->len; i++) {
        const struct set_entry *entry = log->slots[i].entry;

        if (entry && entry->is_removed == is_removal && concerns(sub, entry))
            return true;
    }
    return false;
}

static bool has_due(const struct subscription *sub)
{
    return sub->has_begun && !list_is_empty(&sub->due);
}

/* Policies that an address of this stream may name already are still to be sent. */
static bool awaits_policies(struct delta_server *server, enum xds_type type)
{
    return type == XDS_ADDRESS && (has_due(&server->types[XDS_AUTHORIZATION]) ||
                                   has_unread(server, XDS_AUTHORIZATION, false));
}

/* Addresses that may have named a policy that is gone are still to be sent; or to be asked for,
 * which a client does before it answers anything. */
static bool awaits_addresses(struct delta_server *server, enum xds_type type)
{
    const struct subscription *addresses = &server->types[XDS_ADDRESS];

    return type == XDS_AUTHORIZATION &&
           (!server->types[type].was_answered || addresses->in_first_pass || has_due(addresses) ||
            has_unread(server, XDS_ADDRESS, false) || has_unread(server, XDS_ADDRESS, true));
}

static bool has_removals(struct delta_server *server, enum xds_type type)
{
    const struct subscription *sub = &server->types[type];

    return has_unread(server, type, true) || (sub->in_first_pass && sub->listed.len > 0);
}

/* What the client listed and the first pass did not meet is gone. */
static bool add_gone(struct draft *draft)
{
    struct subscription *sub = draft->sub;
    size_t idx = 0;
    struct str name;
    void *version;

    if (!sub->in_first_pass)
        return true;
    while (map_next(&sub->listed, &idx, &name, &version)) {
        if (!add_removed(draft, name))
            return false;
        (void)map_remove_at(&sub->listed, idx);
    }
    forget_listed(sub);
    sub->in_first_pass = false;
    return true;
}

static void send_draft(struct draft *draft, delta_send send, void *owner)
{
    struct subscription *sub = draft->sub;
    struct delta_server *server = draft->server;
    delta_response response;
    struct text message = {0};
    struct str revision = arena_printf(&draft->arena, "%" PRIu64, server->set->seq);

    envoy__service__discovery__v3__delta_discovery_response__init(&response);
    (void)snprintf(sub->nonce, sizeof(sub->nonce), "%" PRIu64, ++server->last_nonce);
    response.system_version_info = wire_text(&draft->arena, revision);
    response.resources = draft->items;
    response.n_resources = draft->n_items;
    response.removed_resources = draft->removed;
    response.n_removed_resources = draft->n_removed;
    response.type_url = wire_text(&draft->arena, str_from(draft->type_url));
    response.nonce = sub->nonce;
    response.isthmus_more_follows = draft->more_follows;
    wire_pack(&response.base, &message);
    sub->in_flight = true;
    sub->owes_first = false;
    send(owner, text_str(&message));
    text_fini(&message);
}

/* False when it could not all be put in: it was full, or removals have to wait. */
static bool fill(struct draft *draft, enum xds_type type)
{
    if (!add_due(draft) || !add_changes(draft, false))
        return false;
    if (awaits_addresses(draft->server, type) && has_removals(draft->server, type)) {
        /* They wait for an answer, so there has to be something to answer. */
        draft->sub->owes_first |= !draft->sub->was_answered;
        return false;
    }
    return add_changes(draft, true) && add_gone(draft);
}

static void send_due(struct delta_server *server, enum xds_type type, delta_send send, void *owner)
{
    struct subscription *sub = &server->types[type];
    struct draft draft = {
        .server = server,
        .sub = sub,
        .log = &server->set->logs[type],
        .type_url = xds_type_url(type),
        .bytes = RESPONSE_FRAME_BYTES,
    };

    if (!sub->has_begun || sub->in_flight || awaits_policies(server, type))
        return;
    draft.id = ++server->set->response;
    draft.more_follows = !fill(&draft, type);
    if (draft.n_items || draft.n_removed || sub->owes_first)
        send_draft(&draft, send, owner);
    server->reader.passed_seq[type] =
        sub->removed_seq > sub->start_seq ? sub->removed_seq : sub->start_seq;
    arena_fini(&draft.arena);
    mem_free(draft.items);
    mem_free(draft.removed);
}

/* Policies and addresses wait for each other: what one answer freed is sent behind it. */
static void send_policies_and_addresses(struct delta_server *server, delta_send send, void *owner)
{
    send_due(server, XDS_AUTHORIZATION, send, owner);
    send_due(server, XDS_ADDRESS, send, owner);
    send_due(server, XDS_AUTHORIZATION, send, owner);
}

static void send_of(struct delta_server *server, enum xds_type type, delta_send send, void *owner)
{
    if (type == XDS_ADDRESS || type == XDS_AUTHORIZATION)
        send_policies_and_addresses(server, send, owner);
    else
        send_due(server, type, send, owner);
}

void delta_server_notify(struct delta_server *server, void (*send)(void *owner, struct str message),
                         void *owner)
{
    send_policies_and_addresses(server, send, owner);
    for (unsigned type = 0; type < XDS_TYPES; type++)
        if (type != XDS_ADDRESS && type != XDS_AUTHORIZATION)
            send_due(server, (enum xds_type)type, send, owner);
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
    forget_listed(sub);
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
        interest_done(sub, interest);
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
        forget_listed(sub);
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
    if (server->n_unknown++ >= UNKNOWN_ANSWERS_MAX)
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
        send_of(server, type, send, owner);
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
