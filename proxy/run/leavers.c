#include "proxy/run/leavers.h"

#include "proxy/base/arena.h"
#include "proxy/connect/http_pool.h"
#include "proxy/meter/traffic.h"

#define PATIENCE_NS (UINT64_C(2) * 1000000000)

struct leaver {
    struct list link;
    struct arena arena; /* this itself is in it */
    struct str namespace_, name;
    struct ip *addresses;
    size_t n_addresses;
};

static void note(struct list *list, const struct workload *workload)
{
    struct arena arena = {0};
    struct leaver *leaver = arena_new(&arena, struct leaver);
    leaver->namespace_ = arena_str(&arena, workload->namespace_);
    leaver->name = arena_str(&arena, workload->name);
    leaver->addresses = arena_new_array(&arena, struct ip, workload->n_addresses);
    leaver->n_addresses = workload->n_addresses;
    for (size_t i = 0; i < leaver->n_addresses; i++)
        leaver->addresses[i] = workload->addresses[i];
    leaver->arena = arena;
    list_push_back(list, &leaver->link);
}

static void free_leaver(struct leaver *leaver)
{
    struct arena arena = leaver->arena;
    list_remove(&leaver->link);
    arena_fini(&arena);
}

void leavers_note(struct leavers *leavers, const struct snapshot *before,
                  const struct snapshot *now, bool is_looking)
{
    for (size_t i = 0; i < before->n_local; i++) {
        if (!snapshot_workload(now, before->local[i]->uid))
            note(is_looking ? &leavers->next : &leavers->present, before->local[i]);
    }
}

static bool forget_one(struct chore *chore)
{
    struct leavers *leavers = container_of(chore, struct leavers, chore);
    if (list_is_empty(&leavers->over))
        return false;
    struct leaver *leaver = list_entry(leavers->over.next, struct leaver, link);
    (void)traffic_forget_idle(leavers->traffic, leaver->namespace_, leaver->name);
    for (size_t i = 0; i < leaver->n_addresses; i++)
        http_pool_forget(leavers->http_pool, &leaver->addresses[i]);
    free_leaver(leaver);
    return true;
}

static void on_end(struct chore *chore)
{
    (void)chore; /* nobody waits */
}

void leavers_init(struct leavers *leavers, struct loop *loop, struct traffic *traffic,
                  struct http_pool *http_pool)
{
    leavers->traffic = traffic;
    leavers->http_pool = http_pool;
    list_init(&leavers->next);
    list_init(&leavers->present);
    list_init(&leavers->over);
    chore_init(&leavers->chore, loop, forget_one, on_end);
}

void leavers_forget(struct leavers *leavers)
{
    list_take_all(&leavers->over, &leavers->present);
    list_take_all(&leavers->present, &leavers->next);
    if (!chore_is_running(&leavers->chore) && !list_is_empty(&leavers->over))
        chore_start(&leavers->chore, PATIENCE_NS);
}

void leavers_fini(struct leavers *leavers)
{
    struct list *const lists[] = {&leavers->next, &leavers->present, &leavers->over};
    chore_stop(&leavers->chore);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        list_foreach(it, lists[i]) free_leaver(list_entry(it, struct leaver, link));
    }
}
