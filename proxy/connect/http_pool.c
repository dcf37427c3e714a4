/*
 * A group is all there is under one key. Its links stand in two lists, those with room for another
 * exchange and those without, so that finding one is no search. Who waits for a link is served by a
 * deferred task, in the order in which they came, when a link has come or has room again, or when
 * one that was being made will not come: who is too many then makes one.
 */
#include "proxy/connect/http_pool.h"

#include <string.h>

#include "proxy/base/mem.h"

#define BUCKET_BITS 10

struct http_group {
    struct http_pool *pool;
    struct list by_bucket;
    struct http_link_key key; /* strings in the arena */
    struct arena arena;
    struct list ready, busy; /* links */
    size_t n_links, n_idle;
    struct list making, waiters;
    size_t n_making, n_waiters;
    size_t n_unknown; /* links whose server has not said how much it takes */
    unsigned streams; /* that a link of it takes at once, by the latest word of its server */
    bool is_gone;
    struct task serve;
};

struct http_link {
    struct http_group *group;
    struct list by_group;
    struct http_client *client; /* NULL: it is over */
    struct upstream upstream;   /* strings in the arena, no stream */
    const struct stream *below; /* the client's, through a tunnel; else NULL */
    struct arena arena;
    struct timer idle, knowing;
    uint64_t rests_since_ns; /* while it is idle; the timer may fire earlier, or for nothing */
    struct loop *loop;
    unsigned n_users; /* exchanges whose stream is not closed; they may outlast its client */
    bool is_idle, is_leaving;
    bool is_known; /* what it takes, or nobody will say */
};

struct http_pool {
    struct loop *loop;
    struct list buckets[1u << BUCKET_BITS]; /* groups */
    size_t n_links;
};

struct http_pool *http_pool_new(struct loop *loop)
{
    struct http_pool *pool = mem_new(struct http_pool);
    pool->loop = loop;
    for (size_t i = 0; i < ARRAY_LEN(pool->buckets); i++)
        list_init(&pool->buckets[i]);
    return pool;
}

/* ---- groups ---- */

static bool is_same_key(const struct http_link_key *a, const struct http_link_key *b)
{
    return a->addr.port == b->addr.port && a->is_h2 == b->is_h2 &&
           a->through_tunnel == b->through_tunnel && ip_eq(&a->addr.ip, &b->addr.ip) &&
           ip_eq(&a->source, &b->source) && str_eq(a->identity, b->identity) &&
           str_eq(a->service, b->service);
}

/* Addresses of pods differ in their last bytes. */
static uint32_t last_bytes(const struct ip *ip)
{
    uint32_t bytes = 0;
    if (ip->len >= sizeof bytes)
        memcpy(&bytes, ip->bytes + ip->len - sizeof bytes, sizeof bytes);
    return bytes;
}

static struct list *bucket_of(struct http_pool *pool, const struct http_link_key *key)
{
    const uint64_t mixed = ((uint64_t)last_bytes(&key->addr.ip) << 32 | last_bytes(&key->source)) ^
                           (uint64_t)key->addr.port << 48 ^ (uint64_t)key->is_h2;
    return &pool->buckets[mixed * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BUCKET_BITS)];
}

static struct http_group *find_group(struct http_pool *pool, const struct http_link_key *key)
{
    const struct list *bucket = bucket_of(pool, key);
    for (struct list *it = bucket->next; it != bucket; it = it->next) {
        struct http_group *group = list_entry(it, struct http_group, by_bucket);
        if (is_same_key(&group->key, key))
            return group;
    }
    return NULL;
}

static void serve(struct task *task);

static struct http_group *find_or_make_group(struct http_pool *pool,
                                             const struct http_link_key *key)
{
    struct http_group *group = find_group(pool, key);
    if (group)
        return group;
    group = mem_new(struct http_group);
    group->pool = pool;
    group->key = *key;
    group->key.identity = arena_str(&group->arena, key->identity);
    group->key.service = arena_str(&group->arena, key->service);
    list_init(&group->ready);
    list_init(&group->busy);
    list_init(&group->making);
    list_init(&group->waiters);
    list_init(&group->serve.link);
    group->serve.run = serve;
    group->streams = HTTP_POOL_STREAMS;
    list_push_front(bucket_of(pool, key), &group->by_bucket);
    return group;
}

static void free_group(void *ptr)
{
    struct http_group *group = ptr;
    arena_fini(&group->arena);
    mem_free(group);
}

static void drop_group_if_empty(struct http_group *group)
{
    if (group->is_gone || group->n_links + group->n_making + group->n_waiters > 0)
        return;
    group->is_gone = true;
    task_cancel(&group->serve);
    list_remove(&group->by_bucket);
    loop_bury(group->pool->loop, group, free_group);
}

static void serve_soon(struct http_group *group)
{
    if (group->n_waiters > 0)
        loop_defer(group->pool->loop, &group->serve);
}

/* ---- links ---- */

static void free_link(void *ptr)
{
    struct http_link *link = ptr;
    arena_fini(&link->arena);
    mem_free(link);
}

static void free_if_left(struct http_link *link)
{
    if (!link->client && link->n_users == 0)
        loop_bury(link->loop, link, free_link);
}

/* Until its server has said how much it takes a link is for one exchange: of more it might refuse
 * some, and not every one of them can be said again. */
static bool has_room(const struct http_link *link)
{
    return !link->is_leaving && http_client_can_open(link->client) &&
           (link->is_known || http_client_open(link->client) == 0) &&
           (!link->below || tunnel_stream_stands(link->below));
}

/* The last one that was used is the next: of links with room some fill up and others come to rest.
 */
static void file_link(struct http_link *link, bool is_ready)
{
    struct http_group *group = link->group;
    struct list *list = is_ready ? &group->ready : &group->busy;
    if (list->next == &link->by_group)
        return;
    list_remove(&link->by_group);
    list_push_front(list, &link->by_group);
}

static void know(struct http_link *link)
{
    if (link->is_known)
        return;
    link->is_known = true;
    link->group->n_unknown--;
    timer_stop(&link->knowing);
}

/* More is not counted on: it is as much as one link gets before another is made. */
static void learn_room(struct http_link *link)
{
    const unsigned n = http_client_allowed(link->client);
    link->group->streams = n < 1 ? 1 : n < HTTP_POOL_STREAMS ? n : HTTP_POOL_STREAMS;
}

static void on_unknown(struct timer *timer)
{
    struct http_link *link = container_of(timer, struct http_link, knowing);
    know(link);
    file_link(link, has_room(link));
    serve_soon(link->group);
}

static void set_idle(struct http_link *link, bool is_idle)
{
    if (link->is_idle == is_idle)
        return;
    link->is_idle = is_idle;
    if (is_idle)
        link->group->n_idle++;
    else
        link->group->n_idle--;
}

static void end_link(struct http_link *link, int err)
{
    struct http_group *group = link->group;
    struct http_client *client = link->client;
    if (!client)
        return;
    link->client = NULL;
    know(link);
    set_idle(link, false);
    timer_stop(&link->idle);
    list_remove(&link->by_group);
    group->n_links--;
    group->pool->n_links--;
    free_if_left(link);
    serve_soon(group);
    drop_group_if_empty(group);
    http_client_close(client, err);
}

static void on_idle(struct timer *timer)
{
    struct http_link *link = container_of(timer, struct http_link, idle);
    const uint64_t rests_ns = loop_now_ns(link->loop) - link->rests_since_ns;
    if (!link->is_idle)
        return;
    if (link->is_leaving || rests_ns >= HTTP_POOL_IDLE_NS)
        end_link(link, 0);
    else
        timer_start(link->loop, timer, HTTP_POOL_IDLE_NS - rests_ns, on_idle);
}

/* It costs no timer as long as one runs from a rest before. */
static void rest(struct http_link *link)
{
    set_idle(link, true);
    link->rests_since_ns = loop_now_ns(link->loop);
    if (!timer_is_running(&link->idle))
        timer_start(link->loop, &link->idle, HTTP_POOL_IDLE_NS, on_idle);
}

static bool may_rest(const struct http_link *link)
{
    const struct http_group *group = link->group;
    return (link->is_idle || group->n_idle < HTTP_POOL_IDLE_PER_KEY) &&
           group->pool->n_links <= HTTP_POOL_LINKS_MAX;
}

/* The server changed its mind, or an exchange has ended that leaves no room for another. */
static void on_capacity(void *owner)
{
    struct http_link *link = owner;
    if (!link->client)
        return;
    if (http_client_is_ready(link->client)) {
        know(link);
        learn_room(link);
    }
    const bool is_unused = http_client_open(link->client) == 0, is_ready = has_room(link);
    if (is_unused && !(is_ready && may_rest(link))) {
        end_link(link, 0);
        return;
    }
    if (is_unused)
        rest(link);
    file_link(link, is_ready);
    serve_soon(link->group);
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

/* Not from within the call, in which others still look at the link. */
static void leave(struct http_link *link)
{
    link->is_leaving = true;
    set_idle(link, true);
    timer_start(link->loop, &link->idle, 0, on_idle);
}

static struct http_link *find_ready(struct http_group *group)
{
    while (!list_is_empty(&group->ready)) {
        struct http_link *link = list_entry(group->ready.next, struct http_link, by_group);
        if (has_room(link))
            return link;
        if (link->is_idle)
            leave(link);        /* its tunnel is about to end */
        file_link(link, false); /* it got an exchange, or its server is leaving */
    }
    return NULL;
}

struct http_link *http_pool_find(struct http_pool *pool, const struct http_link_key *key)
{
    struct http_group *group = find_group(pool, key);
    return group ? find_ready(group) : NULL;
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
    link->loop = pool->loop;
    link->group = find_or_make_group(pool, key);
    link->group->n_links++;
    pool->n_links++;
    keep_upstream(link, upstream);
    link->below = upstream->is_tunnel ? upstream->stream : NULL;
    link->client =
        key->is_h2 ? http2_client_new(pool->loop, upstream->stream, &limits, &link_events, link)
                   : http1_client_new(pool->loop, upstream->stream, &limits, &link_events, link);
    link->is_known = http_client_is_ready(link->client);
    if (!link->is_known) {
        link->group->n_unknown++;
        timer_start(pool->loop, &link->knowing, HTTP_POOL_UNKNOWN_NS, on_unknown);
    }
    list_push_front(&link->group->ready, &link->by_group);
    serve_soon(link->group);
    return link;
}

/* ---- links that are being made, and who waits for them ---- */

void http_pool_make(struct http_pool *pool, const struct http_link_key *key,
                    struct http_making *making)
{
    if (!key->is_h2)
        return; /* it would be for one exchange, whose it is */
    making->group = find_or_make_group(pool, key);
    making->group->n_making++;
    list_push_back(&making->group->making, &making->by_group);
}

void http_making_end(struct http_making *making)
{
    struct http_group *group = making->group;
    if (!group)
        return;
    making->group = NULL;
    list_remove(&making->by_group);
    group->n_making--;
    serve_soon(group);
    drop_group_if_empty(group);
}

/* How many may wait: what is being made has room for its maker and so many more, and so has what
 * was made just now. */
static size_t room_coming(const struct http_group *group)
{
    return (group->n_making + group->n_unknown) * (group->streams - 1);
}

bool http_pool_wait(struct http_pool *pool, const struct http_link_key *key, struct http_wait *wait,
                    void (*on_link)(struct http_wait *wait, struct http_link *link))
{
    struct http_group *group = find_group(pool, key);
    if (!group || group->n_waiters >= room_coming(group))
        return false;
    wait->group = group;
    wait->on_link = on_link;
    group->n_waiters++;
    list_push_back(&group->waiters, &wait->by_group);
    return true;
}

static void stop_waiting(struct http_wait *wait)
{
    wait->group->n_waiters--;
    wait->group = NULL;
    list_remove(&wait->by_group);
}

void http_wait_cancel(struct http_wait *wait)
{
    struct http_group *group = wait->group;
    if (!group)
        return;
    stop_waiting(wait);
    drop_group_if_empty(group);
}

/* Whoever is told may come back at once, and may end others: each look is a new one. */
static void serve(struct task *task)
{
    struct http_group *group = container_of(task, struct http_group, serve);
    while (group->n_waiters > 0) {
        struct http_link *link = find_ready(group);
        if (!link && group->n_waiters <= room_coming(group))
            return;
        struct http_wait *wait = list_entry(group->waiters.next, struct http_wait, by_group);
        stop_waiting(wait);
        wait->on_link(wait, link);
    }
    drop_group_if_empty(group);
}

struct http_stream *http_link_request(struct http_link *link, const struct http_request *head,
                                      const struct http_stream_events *http_events,
                                      const struct stream_events *events, void *owner)
{
    if (!link->client)
        return NULL;
    set_idle(link, false);
    struct http_stream *stream = http_request(link->client, head, http_events, events, owner);
    link->n_users += stream != NULL;
    return stream;
}

void http_link_ended(struct http_link *link)
{
    link->n_users--;
    if (!link->client) {
        free_if_left(link);
        return;
    }
    bool is_ready = has_room(link);
    if (http_client_open(link->client) == 0 && is_ready && may_rest(link)) {
        rest(link);
    } else if (http_client_open(link->client) == 0) {
        leave(link);
        is_ready = false;
    }
    file_link(link, is_ready);
    serve_soon(link->group);
}

const struct upstream *http_link_upstream(const struct http_link *link)
{
    return &link->upstream;
}

/* ---- the pool as a whole ---- */

static void leave_all(struct list *links)
{
    list_foreach(it, links)
    {
        struct http_link *link = list_entry(it, struct http_link, by_group);
        link->is_leaving = true;
        if (link->is_idle) /* else its last exchange ends it */
            leave(link);
    }
}

void http_pool_forget(struct http_pool *pool, const struct ip *source)
{
    for (size_t i = 0; i < ARRAY_LEN(pool->buckets); i++) {
        list_foreach(it, &pool->buckets[i])
        {
            struct http_group *group = list_entry(it, struct http_group, by_bucket);
            if (!ip_eq(&group->key.source, source))
                continue;
            leave_all(&group->ready);
            leave_all(&group->busy);
        }
    }
}

static void cut_one(struct http_group *group)
{
    const struct list *links = list_is_empty(&group->ready) ? &group->busy : &group->ready;
    ensure(group->n_links > 0);
    end_link(list_entry(links->next, struct http_link, by_group), -ERR_SHUTDOWN);
}

void http_pool_free(struct http_pool *pool)
{
    for (size_t i = 0; i < ARRAY_LEN(pool->buckets); i++) {
        while (!list_is_empty(&pool->buckets[i]))
            cut_one(list_entry(pool->buckets[i].next, struct http_group, by_bucket));
    }
    mem_free(pool);
}

size_t http_pool_links(const struct http_pool *pool)
{
    return pool->n_links;
}
