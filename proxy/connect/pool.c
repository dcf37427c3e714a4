/*
 * A group is all there is under one key: its tunnels and its waiters. Waiters are served by a
 * deferred task, in the order in which they came, which also keeps the rule that no completion
 * comes inside the call that asked.
 */
#include "proxy/connect/pool.h"

#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"
#include "proxy/io/sweep.h"

struct member { /* a tunnel in its group */
    struct list link, in_pool;
    struct group *group;
    struct tunnel *tunnel;
    bool was_up;
};

struct group {
    struct pool *pool;
    struct arena arena; /* key and options */
    struct str key;
    struct str identity_key, source_id; /* of the identity, which may be away */
    struct tunnel_options options;      /* identity: while somebody waits, else NULL */
    struct list members, waiters;
    size_t n_members, n_coming;
    struct task serve;
};

struct pool {
    struct loop *loop;
    struct meter *meter;
    const struct trust *const *trust;
    struct map groups;
    struct list members; /* of all groups */
    struct sweep recheck;
    size_t n_tunnels;
    bool is_closing;
};

static void serve(struct task *task);

static struct str key_of(struct arena *arena, const struct tunnel_options *options)
{
    struct text text = {0};
    char buf[ADDR_TEXT_MAX];
    text_add(&text, tls_identity_key(options->identity));
    text_addf(&text, "\n%s", addr_text(&options->remote, buf));
    for (size_t i = 0; i < options->n_expected; i++)
        text_addf(&text, "\n%.*s", STR_ARG(options->expected[i]));
    const struct str key = arena_str(arena, text_str(&text));
    text_fini(&text);
    return key;
}

/* The options outlive the call that made the group: their strings go into its arena. The identity
 * is held while somebody waits for a tunnel, and not longer: a key that was replaced must not live
 * on here. When the identity's certificate was renewed, the newer one is used for the tunnels that
 * come. */
static void keep_options(struct group *group, const struct tunnel_options *options)
{
    struct tls_identity *old = group->options.identity;
    const struct str *expected = group->options.expected;
    if (!expected) {
        struct str *copy = arena_new_array(&group->arena, struct str, options->n_expected + 1);
        for (size_t i = 0; i < options->n_expected; i++)
            copy[i] = arena_str(&group->arena, options->expected[i]);
        expected = copy;
    }
    group->options = *options;
    group->options.expected = expected;
    group->options.identity = tls_identity_ref(options->identity);
    tls_identity_unref(old);
}

static void release_identity(struct group *group)
{
    tls_identity_unref(group->options.identity);
    group->options.identity = NULL;
}

static struct group *find_or_make_group(struct pool *pool, const struct tunnel_options *options)
{
    struct arena arena = {0};
    const struct str key = key_of(&arena, options);
    struct group *group = map_find(&pool->groups, key);
    if (group) {
        arena_fini(&arena);
    } else {
        group = mem_new(struct group);
        group->pool = pool;
        group->arena = arena;
        group->key = key;
        group->identity_key = arena_str(&group->arena, tls_identity_key(options->identity));
        group->source_id = arena_str(&group->arena, tls_identity_id(options->identity));
        list_init(&group->members);
        list_init(&group->waiters);
        list_init(&group->serve.link);
        group->serve.run = serve;
        (void)map_put(&pool->groups, key, group);
    }
    keep_options(group, options);
    return group;
}

static void free_group(void *ptr)
{
    struct group *group = ptr;
    release_identity(group);
    arena_fini(&group->arena);
    mem_free(group);
}

static void drop_group_if_empty(struct group *group)
{
    if (group->n_members > 0 || !list_is_empty(&group->waiters))
        return;
    task_cancel(&group->serve);
    (void)map_remove(&group->pool->groups, group->key);
    loop_bury(group->pool->loop, group, free_group);
}

static void fail_waiters(struct group *group, int err, struct str why)
{
    struct list failed; /* who asks again meanwhile waits anew */
    list_init(&failed);
    while (!list_is_empty(&group->waiters)) {
        struct list *link = group->waiters.next;
        list_remove(link);
        list_push_back(&failed, link);
    }
    while (!list_is_empty(&failed)) {
        struct pool_waiter *waiter = list_entry(failed.next, struct pool_waiter, link);
        list_remove(&waiter->link);
        waiter->on_tunnel(waiter, err, NULL, why);
    }
}

static void on_up(void *owner, struct tunnel *tunnel)
{
    struct member *member = owner;
    struct meter *meter = member->group->pool->meter;
    member->was_up = true;
    member->group->n_coming--;
    meter_add(meter, METRIC_TUNNELS_OPENED, 1);
    if (tunnel_peer(tunnel)->was_known)
        meter_add(meter, METRIC_PEERS_RECALLED, 1);
    loop_defer(member->group->pool->loop, &member->group->serve);
}

static void on_capacity(void *owner, struct tunnel *tunnel)
{
    struct member *member = owner;
    (void)tunnel;
    loop_defer(member->group->pool->loop, &member->group->serve);
}

static void remove_member(struct member *member)
{
    struct group *group = member->group;
    list_remove(&member->link);
    sweep_loses(&group->pool->recheck, &member->in_pool);
    list_remove(&member->in_pool);
    group->n_members--;
    group->pool->n_tunnels--;
    if (!member->was_up)
        group->n_coming--;
    meter_add(group->pool->meter, METRIC_TUNNELS_OPEN, -1);
    mem_free(member);
}

/* The trust that it rested on has gone. */
static void tell_cut(const struct member *member, int err)
{
    const struct group *group = member->group;
    const struct tls_peer *peer = tunnel_peer(member->tunnel);
    meter_add(group->pool->meter, METRIC_TUNNELS_CUT, 1);
    log_warn("a tunnel was cut", log_addr("dst.addr", &group->options.remote),
             log_cstr("direction", "outbound"), log_str("src.identity", group->source_id),
             log_str("peer", peer->id), log_str("serial", peer->serial), log_err("why", err));
}

static void on_dead(void *owner, struct tunnel *tunnel, int err, struct str why)
{
    struct member *member = owner;
    struct group *group = member->group;
    const bool was_up = member->was_up;
    const bool was_cut = was_up && (err == -ERR_TRUST_REMOVED || err == -ERR_TLS_REVOKED);
    (void)tunnel;
    if (was_cut) /* it was used before it was looked at */
        tell_cut(member, err);
    remove_member(member);
    if (err < 0 && !was_cut)
        log_info("a tunnel ended", log_addr("dst.addr", &group->options.remote),
                 log_str("src.identity", group->source_id), log_err("why", err),
                 log_str("detail", why));
    if (!was_up)
        fail_waiters(group, err < 0 ? err : -ERR_RESET, why);
    loop_defer(group->pool->loop, &group->serve);
}

static const struct tunnel_events tunnel_events = {
    .on_up = on_up,
    .on_capacity = on_capacity,
    .on_dead = on_dead,
};

static void add_tunnel(struct group *group)
{
    struct pool *pool = group->pool;
    struct member *member = mem_new(struct member);
    member->group = group;
    list_push_back(&group->members, &member->link);
    list_push_back(&pool->members, &member->in_pool);
    group->n_members++;
    group->n_coming++;
    pool->n_tunnels++;
    meter_add(pool->meter, METRIC_TUNNELS_OPEN, 1);
    member->tunnel = tunnel_open(pool->loop, &group->options, &tunnel_events, member);
}

static void cut(struct member *member, int err)
{
    struct group *group = member->group;
    tell_cut(member, err);
    tunnel_close(member->tunnel, err);
    remove_member(member);
    loop_defer(group->pool->loop, &group->serve);
}

/* Asks a tunnel whether its peer still stands: 0, or it was cut. */
static int recheck(struct member *member)
{
    const int err = tunnel_recheck(member->tunnel, *member->group->pool->trust);
    if (err < 0)
        cut(member, err);
    return err;
}

static struct tunnel *find_room(const struct group *group)
{
    list_foreach(it, &group->members)
    {
        struct member *member = list_entry(it, struct member, link);
        if (tunnel_has_room(member->tunnel) &&
            (!group->options.follows_trust || recheck(member) == 0))
            return member->tunnel;
    }
    return NULL;
}

static size_t count_waiters(const struct group *group, size_t enough)
{
    size_t n = 0;
    for (const struct list *it = group->waiters.next; it != &group->waiters && n < enough;
         it = it->next)
        n++;
    return n;
}

/* Retired ones only wait for their last flows, so their number is bounded by the flows: they do not
 * keep new ones out. */
static size_t count_useful(const struct group *group)
{
    size_t n = 0;
    list_foreach(it, &group->members)
    {
        const struct member *member = list_entry(it, struct member, link);
        n += tunnel_state(member->tunnel) != TUNNEL_RETIRED;
    }
    return n;
}

/* Makes tunnels until those that are coming will hold everybody who waits. */
static void make_room(struct group *group)
{
    const struct pool *pool = group->pool;
    while (count_waiters(group, group->n_coming * TUNNEL_STREAMS_MAX + 1) >
           group->n_coming * TUNNEL_STREAMS_MAX) {
        if (count_useful(group) >= POOL_TUNNELS_PER_KEY || pool->n_tunnels >= POOL_TUNNELS_MAX) {
            if (group->n_coming == 0 && group->n_members == 0)
                fail_waiters(group, -ERR_OVERLOAD, STR("too many tunnels"));
            return; /* a tunnel that ends a stream serves them */
        }
        add_tunnel(group);
    }
}

static void serve(struct task *task)
{
    struct group *group = container_of(task, struct group, serve);
    struct tunnel *tunnel;
    while (!list_is_empty(&group->waiters) && (tunnel = find_room(group)) != NULL) {
        struct pool_waiter *waiter = list_entry(group->waiters.next, struct pool_waiter, link);
        list_remove(&waiter->link);
        waiter->on_tunnel(waiter, 0, tunnel, (struct str){0});
    }
    make_room(group);
    if (list_is_empty(&group->waiters))
        release_identity(group);
    drop_group_if_empty(group);
}

static void visit(struct sweep *sweep, struct list *item)
{
    (void)sweep;
    (void)recheck(list_entry(item, struct member, in_pool));
}

struct pool *pool_new(struct loop *loop, struct meter *meter, const struct trust *const *trust)
{
    struct pool *pool = mem_new(struct pool);
    pool->loop = loop;
    pool->meter = meter;
    pool->trust = trust;
    list_init(&pool->members);
    sweep_init(&pool->recheck, loop, &pool->members, 1, TRUST_SWEEP_NS, visit, NULL);
    return pool;
}

static void close_group(struct group *group)
{
    ensure(list_is_empty(&group->waiters));
    while (!list_is_empty(&group->members)) {
        struct member *member = list_entry(group->members.next, struct member, link);
        tunnel_close(member->tunnel, 0);
        remove_member(member);
    }
    drop_group_if_empty(group);
}

void pool_free(struct pool *pool)
{
    size_t idx = 0;
    struct str key;
    void *value;
    sweep_stop(&pool->recheck);
    while (map_next(&pool->groups, &idx, &key, &value)) {
        close_group(value);
        idx = 0; /* the map changed */
    }
    map_fini(&pool->groups);
    mem_free(pool);
}

void pool_ask(struct pool *pool, const struct tunnel_options *options, struct pool_waiter *waiter)
{
    struct group *group = find_or_make_group(pool, options);
    waiter->group = group;
    list_push_back(&group->waiters, &waiter->link);
    loop_defer(pool->loop, &group->serve);
}

void pool_forget(struct pool_waiter *waiter)
{
    list_remove(&waiter->link);
}

bool pool_is_dialing(const struct pool_waiter *waiter)
{
    if (list_is_empty(&waiter->link))
        return false;
    list_foreach(it, &waiter->group->members)
    {
        if (tunnel_state(list_entry(it, struct member, link)->tunnel) != TUNNEL_DIALING)
            return false;
    }
    return !list_is_empty(&waiter->group->members);
}

void pool_retire_identity(struct pool *pool, struct str key_of_identity)
{
    size_t idx = 0;
    struct str key;
    void *value;
    while (map_next(&pool->groups, &idx, &key, &value)) {
        struct group *group = value;
        if (!str_eq(group->identity_key, key_of_identity))
            continue;
        list_foreach(it, &group->members)
            tunnel_retire(list_entry(it, struct member, link)->tunnel);
    }
}

void pool_recheck_trust(struct pool *pool)
{
    sweep_start(&pool->recheck);
}

size_t pool_tunnels(const struct pool *pool)
{
    return pool->n_tunnels;
}
