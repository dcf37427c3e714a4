#include "proxy/connect/http_pool.h"

#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"

struct group { /* the links under one key */
    struct http_pool *pool;
    struct ip source;
    struct text key;
    struct list links;
    size_t n_links, n_idle;
};

struct http_link {
    struct group *group;
    struct list by_group;
    struct http_client *client; /* NULL: it is over */
    struct upstream upstream;   /* strings in the arena, no stream */
    struct arena arena;
    struct timer idle;
    bool is_idle, is_leaving;
};

struct http_pool {
    struct loop *loop;
    struct map groups;
    struct text key; /* scratch */
    size_t n_links;
};

struct http_pool *http_pool_new(struct loop *loop)
{
    struct http_pool *pool = mem_new(struct http_pool);
    pool->loop = loop;
    return pool;
}

/* ---- groups ---- */

static void write_key(struct text *out, const struct http_link_key *key)
{
    const struct ip *source = &key->source, *far = &key->addr.ip;
    text_clear(out);
    text_addc(out, (char)('0' + (key->through_tunnel ? 2 : 0) + (key->is_h2 ? 1 : 0)));
    text_addc(out, (char)(key->addr.port >> 8));
    text_addc(out, (char)(key->addr.port & 0xff));
    text_addc(out, (char)source->len);
    text_add(out, str_of((const char *)source->bytes, source->len));
    text_addc(out, (char)far->len);
    text_add(out, str_of((const char *)far->bytes, far->len));
    text_addc(out, (char)(key->identity.len >> 8));
    text_addc(out, (char)(key->identity.len & 0xff));
    text_add(out, key->identity);
    text_add(out, key->service);
}

static struct group *find_or_make_group(struct http_pool *pool, const struct http_link_key *key)
{
    write_key(&pool->key, key);
    struct group *group = map_find(&pool->groups, text_str(&pool->key));
    if (group)
        return group;
    group = mem_new(struct group);
    group->pool = pool;
    group->source = key->source;
    text_add(&group->key, text_str(&pool->key));
    list_init(&group->links);
    (void)map_put(&pool->groups, text_str(&group->key), group);
    return group;
}

static void drop_group_if_empty(struct group *group)
{
    if (group->n_links > 0)
        return;
    (void)map_remove(&group->pool->groups, text_str(&group->key));
    text_fini(&group->key);
    mem_free(group);
}

/* ---- links ---- */

static void free_link(void *ptr)
{
    struct http_link *link = ptr;
    arena_fini(&link->arena);
    mem_free(link);
}

static void set_idle(struct http_link *link, bool is_idle)
{
    if (link->is_idle == is_idle)
        return;
    link->is_idle = is_idle;
    if (is_idle) {
        link->group->n_idle++;
    } else {
        link->group->n_idle--;
        timer_stop(&link->idle);
    }
}

static void end_link(struct http_link *link, int err)
{
    struct group *group = link->group;
    struct http_client *client = link->client;
    if (!client)
        return;
    link->client = NULL;
    set_idle(link, false);
    timer_stop(&link->idle);
    list_remove(&link->by_group);
    group->n_links--;
    group->pool->n_links--;
    loop_bury(group->pool->loop, link, free_link);
    drop_group_if_empty(group);
    http_client_close(client, err);
}

static void on_idle(struct timer *timer)
{
    end_link(container_of(timer, struct http_link, idle), 0);
}

/* An exchange has ended, or the server changed its mind: the link rests, or goes. */
static void on_capacity(void *owner)
{
    struct http_link *link = owner;
    if (!link->client || http_client_open(link->client) > 0)
        return;
    const struct http_pool *pool = link->group->pool;
    const bool may_stay = !link->is_leaving && http_client_can_open(link->client) &&
                          (link->is_idle || link->group->n_idle < HTTP_POOL_IDLE_PER_KEY) &&
                          pool->n_links <= HTTP_POOL_LINKS_MAX;
    if (!may_stay) {
        end_link(link, 0);
        return;
    }
    set_idle(link, true);
    list_remove(&link->by_group); /* so that who looks for one finds it before the busy ones */
    list_push_front(&link->group->links, &link->by_group);
    timer_start(pool->loop, &link->idle, HTTP_POOL_IDLE_NS, on_idle);
}

static void on_dead(void *owner, int err, struct str why)
{
    (void)why;
    end_link(owner, err);
}

static const struct http_client_events link_events = {
    .on_capacity = on_capacity,
    .on_dead = on_dead,
};

struct http_link *http_pool_find(struct http_pool *pool, const struct http_link_key *key)
{
    write_key(&pool->key, key);
    struct group *group = map_find(&pool->groups, text_str(&pool->key));
    if (!group)
        return NULL;
    list_foreach(it, &group->links)
    {
        struct http_link *link = list_entry(it, struct http_link, by_group);
        if (!link->is_leaving && http_client_can_open(link->client))
            return link;
    }
    return NULL;
}

static void keep_upstream(struct http_link *link, const struct upstream *upstream)
{
    link->upstream = *upstream;
    link->upstream.stream = NULL;
    link->upstream.peer_id = arena_str(&link->arena, upstream->peer_id);
    link->upstream.peer_serial = arena_str(&link->arena, upstream->peer_serial);
    link->upstream.baggage = arena_str(&link->arena, upstream->baggage);
}

struct http_link *http_pool_add(struct http_pool *pool, const struct http_link_key *key,
                                const struct upstream *upstream)
{
    static const struct http_limits limits = {0};
    struct http_link *link = mem_new(struct http_link);
    link->group = find_or_make_group(pool, key);
    link->group->n_links++;
    pool->n_links++;
    keep_upstream(link, upstream);
    list_push_front(&link->group->links, &link->by_group);
    link->client =
        key->is_h2 ? http2_client_new(pool->loop, upstream->stream, &limits, &link_events, link)
                   : http1_client_new(pool->loop, upstream->stream, &limits, &link_events, link);
    return link;
}

struct http_stream *http_link_request(struct http_link *link, const struct http_request *head,
                                      const struct http_stream_events *http_events,
                                      const struct stream_events *events, void *owner)
{
    if (!link->client)
        return NULL;
    set_idle(link, false);
    return http_request(link->client, head, http_events, events, owner);
}

const struct upstream *http_link_upstream(const struct http_link *link)
{
    return &link->upstream;
}

/* ---- the pool as a whole ---- */

static void leave(struct group *group)
{
    list_foreach(it, &group->links)
    {
        struct http_link *link = list_entry(it, struct http_link, by_group);
        link->is_leaving = true;
        if (!link->is_idle)
            continue; /* its last exchange ends it */
        timer_stop(&link->idle);
        timer_start(group->pool->loop, &link->idle, 0, on_idle);
    }
}

void http_pool_forget(struct http_pool *pool, const struct ip *source)
{
    struct str key;
    void *value;
    for (size_t idx = 0; map_next(&pool->groups, &idx, &key, &value);) {
        struct group *group = value;
        if (ip_eq(&group->source, source))
            leave(group);
    }
}

void http_pool_free(struct http_pool *pool)
{
    struct str key;
    void *value;
    for (size_t idx = 0; map_next(&pool->groups, &idx, &key, &value); idx = 0) {
        struct group *group = value;
        end_link(list_entry(group->links.next, struct http_link, by_group), -ERR_SHUTDOWN);
    }
    map_fini(&pool->groups);
    text_fini(&pool->key);
    mem_free(pool);
}

size_t http_pool_links(const struct http_pool *pool)
{
    return pool->n_links;
}
