#include "xds/held.h"

#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define FIRST_CAP ((size_t)64)

/* What a resource takes that is so long: its bytes as they came, the same as strings of the model,
 * and the model's structs. A workload takes this but for some tens of bytes, whatever its names
 * are; a second chunk of the arena for each of 100,000 would be 200 MB. */
#define ROOM_BYTES(len) (2 * (len) + 576)

struct held_item *held_find(const struct held *held, enum xds_type type, struct str name)
{
    return map_find(&held->by_name[type], name);
}

void held_item_free(struct held_item *item)
{
    arena_fini(&item->resource.arena);
    mem_free(item);
}

struct held_item *held_item_new(const struct held_source *source, struct text *why)
{
    struct held_item *item = mem_new(struct held_item);
    struct delta_resource *resource = &item->resource;

    item->type = source->type;
    arena_expect(&resource->arena, ROOM_BYTES(source->bytes.len));
    if (xds_decode(source->type, source->name, source->bytes, &resource->arena, &resource->model,
                   why)) {
        held_item_free(item);
        return NULL;
    }
    resource->name = resource->model.name;
    resource->version = arena_str(&resource->arena, source->version);
    resource->bytes = arena_str(&resource->arena, source->bytes);
    return item;
}

size_t held_item_bytes(const struct held_item *item)
{
    return sizeof(*item) + item->resource.arena.allocated_bytes;
}

static void append(struct held *held, struct held_item *item)
{
    if (held->len == held->cap) {
        held->cap = held->cap ? held->cap * 2 : FIRST_CAP;
        held->items = mem_realloc(held->items, held->cap * sizeof(struct held_item *));
    }
    item->idx = held->len;
    held->items[held->len++] = item;
}

/* What is held of a Cluster, and not done; NULL: it is another kind of resource, or there is none.
 */
static const struct limits *limits_of(const struct held_item *item)
{
    return item && item->type == XDS_CLUSTER ? &item->resource.model.of.traffic->policy.limits
                                             : NULL;
}

/* Once for each change of it, and not as often as the resource comes. */
static void warn_of_requests(const struct held_item *before, const struct held_item *item)
{
    const struct limits *old = limits_of(before), *now = limits_of(item);
    if (!now || !now->asks_max_requests)
        return;
    if (old && old->asks_max_requests && old->max_requests == now->max_requests)
        return;
    log_warn("a bound of a Cluster is not applied; requests count as connections do",
             log_str("cluster", item->resource.name),
             log_cstr("field", "circuit_breakers.thresholds.max_requests"),
             log_u64("value", now->max_requests));
}

void held_put(struct held *held, struct held_item *item)
{
    struct held_item *before = map_put(&held->by_name[item->type], item->resource.name, item);

    warn_of_requests(before, item);
    held->bytes += held_item_bytes(item);
    if (before) {
        item->idx = before->idx;
        held->items[item->idx] = item;
        held->bytes -= held_item_bytes(before);
        held_item_free(before);
    } else {
        append(held, item);
    }
}

bool held_remove(struct held *held, enum xds_type type, struct str name)
{
    struct held_item *item = map_remove(&held->by_name[type], name);
    struct held_item *last;

    if (!item)
        return false;
    last = held->items[--held->len];
    last->idx = item->idx;
    held->items[item->idx] = last;
    held->bytes -= held_item_bytes(item);
    held_item_free(item);
    return true;
}

void held_fini(struct held *held)
{
    for (size_t i = 0; i < held->len; i++)
        held_item_free(held->items[i]);
    for (unsigned type = 0; type < XDS_TYPES; type++)
        map_fini(&held->by_name[type]);
    mem_free(held->items);
    *held = (struct held){0};
}
