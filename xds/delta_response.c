/*
 * The answers of the incremental protocol's server: what is due and what has changed, in bounded
 * pieces.
 *
 * Make before break: a workload that names a policy or a RequestAuthentication which its node has
 * not is closed, so no stream may be brought there by the order of its messages. New and changed
 * ones go before addresses, which may name them; removals of them go after addresses, which named
 * them. So an entry's removal is read apart from its other changes.
 */
#include <discovery.pb-c.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "xds/delta_parts.h"
#include "xds/wire.h"

#define RESOURCE_FRAME_BYTES ((size_t)128) /* type URL, version and tags around a resource */
#define RESPONSE_FRAME_BYTES ((size_t)256)

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryResponse delta_response;
typedef Envoy__Service__Discovery__V3__Resource delta_item;

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
    const bool is_empty = draft->n_items + draft->n_removed == 0;
    if (!is_empty && draft->bytes + more_bytes > DELTA_RESPONSE_BYTES)
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

void delta_forget_listed(struct subscription *sub)
{
    map_fini(&sub->listed);
    arena_fini(&sub->listed_arena);
}

void delta_interest_done(struct subscription *sub, struct interest *interest)
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
        delta_interest_done(draft->sub, interest);
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

/* What addresses name. */
static bool is_named(enum xds_type type)
{
    return type == XDS_AUTHORIZATION || type == XDS_REQUEST_AUTH;
}

/* What an address of this stream may name already is still to be sent. */
static bool awaits_named(struct delta_server *server, enum xds_type type)
{
    for (unsigned named = 0; named < XDS_TYPES && type == XDS_ADDRESS; named++)
        if (is_named((enum xds_type)named) &&
            (has_due(&server->types[named]) || has_unread(server, (enum xds_type)named, false)))
            return true;
    return false;
}

/* Addresses that may have named something that is gone are still to be sent; or to be asked for,
 * which a client does before it answers anything. */
static bool awaits_addresses(struct delta_server *server, enum xds_type type)
{
    const struct subscription *addresses = &server->types[XDS_ADDRESS];

    return is_named(type) &&
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
    delta_forget_listed(sub);
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

    if (!sub->has_begun || sub->in_flight || awaits_named(server, type))
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

/* Addresses and what they name wait for each other: what one answer freed is sent behind it. */
static void send_addresses_and_named(struct delta_server *server, delta_send send, void *owner)
{
    send_due(server, XDS_AUTHORIZATION, send, owner);
    send_due(server, XDS_REQUEST_AUTH, send, owner);
    send_due(server, XDS_ADDRESS, send, owner);
    send_due(server, XDS_AUTHORIZATION, send, owner);
    send_due(server, XDS_REQUEST_AUTH, send, owner);
}

void delta_respond(struct delta_server *server, enum xds_type type, delta_send send, void *owner)
{
    if (type == XDS_ADDRESS || is_named(type))
        send_addresses_and_named(server, send, owner);
    else
        send_due(server, type, send, owner);
}

void delta_server_notify(struct delta_server *server, void (*send)(void *owner, struct str message),
                         void *owner)
{
    send_addresses_and_named(server, send, owner);
    for (unsigned type = 0; type < XDS_TYPES; type++)
        if (type != XDS_ADDRESS && !is_named((enum xds_type)type))
            send_due(server, (enum xds_type)type, send, owner);
}
