/*
 * rotation.c - one table of identities, looked at as a whole: when something changed (at the end of
 * that turn) and when the timer fires.
 *
 * Happy path:
 *   want -> check sends the request -> answer -> HELD, the event -> half-life -> check sends again
 *
 * Failure modes:
 *   - the source fails: WAITING with backoff; an SVID in hand stays in use
 *   - the answer is no good (wrong name or key, expired, not an SVID): the same
 *   - unwanted while in flight: the entry stays, unseen, until the answer comes, so that the bound
 *     on requests holds and a new want for the same name cannot meet the old answer
 *   - the SVID runs out: it is dropped with an event, the identity fails closed
 *   - the wall clock jumps: the timer never sleeps longer than CHECK_MAX_NS, so it is seen soon
 *   - a CA hands out SVIDs past half of their life (those of minutes are, which are dated back for
 *     clocks that differ): half of what is left counts, and RENEW_MIN_NS between two requests
 *   - a source that gives by itself is away: what it gave stays until it expires
 *   - it says that an SVID is withdrawn: dropped at once, with an event
 */
#include "certs/rotation.h"

#include <stdio.h>

#include "certs/csr.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"

#define BACKOFF_FIRST_NS  NS_PER_SEC
#define BACKOFF_MAX_NS    (150 * NS_PER_SEC)
#define BACKOFF_SHIFT_MAX 8
#define RENEW_MIN_NS      (5 * NS_PER_SEC) /* or half of what is left, when that is less */
#define RENEW_LEAST_NS    (100 * NS_PER_MS)
#define CHECK_MAX_NS      (60 * NS_PER_SEC)
#define CHECK_MIN_NS      NS_PER_MS
#define JITTER_PERMILLE   1000
#define ERROR_TEXT_MAX    256

enum entry_state {
    ENTRY_ABSENT,
    ENTRY_WAITING,
    ENTRY_REQUESTED,
    ENTRY_HELD,
    ENTRY_FOLLOWED,
    ENTRY_STATES
};

static const struct sm_rule rules[ENTRY_STATES] = {
    [ENTRY_ABSENT] = {"absent", SM_TO(ENTRY_WAITING)},
    [ENTRY_WAITING] = {"waiting", SM_TO(ENTRY_REQUESTED) | SM_TO(ENTRY_HELD) |
                                      SM_TO(ENTRY_FOLLOWED) | SM_TO(ENTRY_ABSENT)},
    [ENTRY_REQUESTED] = {"requested",
                         SM_TO(ENTRY_HELD) | SM_TO(ENTRY_WAITING) | SM_TO(ENTRY_ABSENT)},
    [ENTRY_HELD] = {"held", SM_TO(ENTRY_WAITING) | SM_TO(ENTRY_ABSENT)},
    [ENTRY_FOLLOWED] = {"followed", SM_TO(ENTRY_ABSENT)},
};

struct entry {
    struct list link;
    struct arena arena;
    struct str id;
    unsigned wants;
    int state;
    struct svid *svid;    /* may be there in every state */
    bool has_news;        /* the owner has not been told of the change of svid yet */
    EVP_PKEY *key;        /* of the request in flight */
    int64_t renew_at_ns;  /* wall clock; counts while HELD */
    uint64_t due_ns;      /* monotonic; counts while WAITING */
    uint64_t earliest_ns; /* monotonic; no renewal before it */
    unsigned n_failures;  /* since the last success */
    char last_error[ERROR_TEXT_MAX];
};

struct rotation {
    struct loop *loop;
    struct cert_source *source;
    struct rotation_events events;
    void *owner;
    struct rotation_clock clock;
    struct list entries;
    struct map by_id; /* id -> struct entry */
    unsigned n_in_flight;
    struct task task;
    struct timer timer;
};

static int64_t wall_now_ns(const struct rotation *rotation)
{
    return rotation->clock.wall_ns ? rotation->clock.wall_ns(rotation->clock.owner)
                                   : clock_wall_ns();
}

static uint64_t mono_now_ns(const struct rotation *rotation)
{
    return rotation->clock.mono_ns ? rotation->clock.mono_ns(rotation->clock.owner)
                                   : loop_now_ns(rotation->loop);
}

/* ---- one identity ---- */

static void entry_to_waiting(struct entry *entry, uint64_t due_ns)
{
    sm_move(rules, &entry->state, ENTRY_WAITING);
    entry->due_ns = due_ns > entry->earliest_ns ? due_ns : entry->earliest_ns;
}

static void entry_to_held(struct entry *entry)
{
    sm_move(rules, &entry->state, ENTRY_HELD);
    entry->n_failures = 0;
    entry->last_error[0] = '\0';
}

static void entry_set_svid(struct entry *entry, struct svid *svid, uint32_t jitter_permille)
{
    svid_unref(entry->svid);
    entry->svid = svid;
    entry->renew_at_ns = svid ? svid_renew_at_ns(svid, jitter_permille) : 0;
    entry->has_news = true;
}

static struct entry *entry_new(struct rotation *rotation, struct str id)
{
    struct entry *entry = mem_new(struct entry);

    entry->id = arena_str(&entry->arena, id);
    entry_to_waiting(entry, 0);
    list_push_back(&rotation->entries, &entry->link);
    map_put(&rotation->by_id, entry->id, entry);
    return entry;
}

static void entry_free(struct rotation *rotation, struct entry *entry)
{
    list_remove(&entry->link);
    map_remove(&rotation->by_id, entry->id);
    svid_unref(entry->svid);
    EVP_PKEY_free(entry->key);
    arena_fini(&entry->arena);
    mem_free(entry);
}

static struct entry *find_wanted(const struct rotation *rotation, struct str id)
{
    struct entry *entry = map_find(&rotation->by_id, id);

    return entry && entry->wants > 0 ? entry : NULL;
}

/* 1 s and more, doubled by every failure, jittered downwards by up to a half; sooner when the SVID
 * in hand runs out. */
static uint64_t backoff_ns(const struct rotation *rotation, const struct entry *entry)
{
    unsigned shift = entry->n_failures < BACKOFF_SHIFT_MAX ? entry->n_failures : BACKOFF_SHIFT_MAX;
    uint64_t top_ns = BACKOFF_FIRST_NS << shift;

    if (top_ns > BACKOFF_MAX_NS)
        top_ns = BACKOFF_MAX_NS;
    uint32_t jitter = rng_below(loop_rng(rotation->loop), JITTER_PERMILLE + 1);
    uint64_t wait_ns = top_ns / 2 + top_ns / 2 / JITTER_PERMILLE * jitter;

    if (entry->svid) {
        int64_t left_ns = entry->svid->not_after_ns - wall_now_ns(rotation);
        uint64_t quarter_ns = left_ns > 0 ? (uint64_t)left_ns / 4 : 0;

        wait_ns = wait_ns < quarter_ns ? wait_ns : quarter_ns;
    }
    return wait_ns > BACKOFF_FIRST_NS ? wait_ns : BACKOFF_FIRST_NS;
}

static void note_error(struct rotation *rotation, struct entry *entry, struct str why)
{
    const bool is_repeated =
        entry->state == ENTRY_FOLLOWED &&
        str_eq(str_from(entry->last_error), str_sub(why, 0, ERROR_TEXT_MAX - 1));

    (void)snprintf(entry->last_error, sizeof(entry->last_error), "%.*s", STR_ARG(why));
    if (rotation->events.on_failed && !is_repeated)
        rotation->events.on_failed(rotation->owner, entry->id, why);
}

static void entry_failed(struct rotation *rotation, struct entry *entry, struct str why)
{
    entry->n_failures++;
    entry_to_waiting(entry, mono_now_ns(rotation) + backoff_ns(rotation, entry));
    note_error(rotation, entry, why);
}

/* ---- the check ---- */

static void entry_age(struct entry *entry, int64_t wall_ns)
{
    bool is_unwanted = entry->wants == 0;

    if (entry->svid && (is_unwanted || entry->svid->not_after_ns <= wall_ns))
        entry_set_svid(entry, NULL, 0);
    if (entry->state == ENTRY_HELD && (!entry->svid || entry->renew_at_ns <= wall_ns))
        entry_to_waiting(entry, 0);
}

static void entry_send(struct rotation *rotation, struct entry *entry)
{
    struct text csr = {0};

    sm_move(rules, &entry->state, ENTRY_REQUESTED);
    if (csr_make(svid_key_id(entry->id), &entry->key, &csr) < 0) {
        entry_failed(rotation, entry, STR("a certificate signing request could not be made"));
    } else {
        rotation->n_in_flight++;
        rotation->source->request(rotation->source, entry->id, text_str(&csr));
    }
    text_fini(&csr);
}

/* Tells a source that gives by itself what is wanted now, and what no more. */
static void follow_wanted(struct rotation *rotation)
{
    struct cert_source *source = rotation->source;

    list_foreach(link, &rotation->entries)
    {
        struct entry *entry = list_entry(link, struct entry, link);

        if (entry->state == ENTRY_WAITING && entry->wants > 0) {
            sm_move(rules, &entry->state, ENTRY_FOLLOWED);
            source->follow(source, entry->id);
        }
    }
}

/* Sends what is due among those that have an SVID already or among those that have none. */
static void send_due(struct rotation *rotation, bool has_svid)
{
    uint64_t now_ns = mono_now_ns(rotation);

    list_foreach(link, &rotation->entries)
    {
        struct entry *entry = list_entry(link, struct entry, link);

        if (rotation->n_in_flight >= ROTATION_IN_FLIGHT)
            return;
        if (entry->state == ENTRY_WAITING && entry->wants > 0 &&
            (entry->svid != NULL) == has_svid && entry->due_ns <= now_ns)
            entry_send(rotation, entry);
    }
}

/* An event may want and unwant identities; it cannot free an entry, that happens here only. */
static void tell_and_forget(struct rotation *rotation)
{
    list_foreach(link, &rotation->entries)
    {
        struct entry *entry = list_entry(link, struct entry, link);

        if (entry->has_news) {
            entry->has_news = false;
            rotation->events.on_svid(rotation->owner, entry->id, entry->svid);
        }
    }
    list_foreach(link, &rotation->entries)
    {
        struct entry *entry = list_entry(link, struct entry, link);

        if (entry->wants > 0 || entry->state == ENTRY_REQUESTED || entry->svid)
            continue;
        if (entry->state == ENTRY_FOLLOWED)
            rotation->source->forget(rotation->source, entry->id);
        sm_move(rules, &entry->state, ENTRY_ABSENT);
        entry_free(rotation, entry);
    }
}

static uint64_t until_ns(int64_t point_ns, int64_t now_ns)
{
    return point_ns > now_ns ? (uint64_t)(point_ns - now_ns) : 0;
}

/* How long nothing will happen to this identity by the passing of time. */
static uint64_t entry_quiet_ns(const struct rotation *rotation, const struct entry *entry)
{
    uint64_t quiet_ns = CHECK_MAX_NS;
    int64_t wall_ns = wall_now_ns(rotation);
    uint64_t mono_ns = mono_now_ns(rotation);
    uint64_t wait_ns = CHECK_MAX_NS;

    if (entry->svid)
        quiet_ns = until_ns(entry->svid->not_after_ns, wall_ns);
    if (entry->state == ENTRY_HELD)
        wait_ns = until_ns(entry->renew_at_ns, wall_ns);
    /* With all requests in flight the next answer brings the next check. */
    if (entry->state == ENTRY_WAITING && rotation->n_in_flight < ROTATION_IN_FLIGHT)
        wait_ns = entry->due_ns > mono_ns ? entry->due_ns - mono_ns : 0;
    return wait_ns < quiet_ns ? wait_ns : quiet_ns;
}

static void on_timer(struct timer *timer)
{
    rotation_check(container_of(timer, struct rotation, timer));
}

static void arm(struct rotation *rotation)
{
    uint64_t quiet_ns = CHECK_MAX_NS;

    timer_stop(&rotation->timer);
    if (list_is_empty(&rotation->entries))
        return;
    list_foreach(link, &rotation->entries)
    {
        uint64_t entry_ns = entry_quiet_ns(rotation, list_entry(link, struct entry, link));

        quiet_ns = entry_ns < quiet_ns ? entry_ns : quiet_ns;
    }
    timer_start(rotation->loop, &rotation->timer, quiet_ns > CHECK_MIN_NS ? quiet_ns : CHECK_MIN_NS,
                on_timer);
}

static void on_task(struct task *task)
{
    struct rotation *rotation = container_of(task, struct rotation, task);
    int64_t wall_ns = wall_now_ns(rotation);

    list_foreach(link, &rotation->entries) entry_age(list_entry(link, struct entry, link), wall_ns);
    if (rotation->source->request) {
        send_due(rotation, false);
        send_due(rotation, true);
    } else {
        follow_wanted(rotation);
    }
    tell_and_forget(rotation);
    arm(rotation);
}

void rotation_check(struct rotation *rotation)
{
    loop_defer(rotation->loop, &rotation->task);
}

/* ---- life ---- */

struct rotation *rotation_new(struct loop *loop, struct cert_source *source,
                              const struct rotation_events *events, void *owner)
{
    struct rotation *rotation = mem_new(struct rotation);

    rotation->loop = loop;
    rotation->source = source;
    rotation->events = *events;
    rotation->owner = owner;
    rotation->task.run = on_task;
    list_init(&rotation->entries);
    source->rotation = rotation;
    return rotation;
}

void rotation_free(struct rotation *rotation)
{
    if (!rotation)
        return;
    rotation->source->cancel_all(rotation->source);
    rotation->source->rotation = NULL;
    timer_stop(&rotation->timer);
    task_cancel(&rotation->task);
    list_foreach(link, &rotation->entries)
        entry_free(rotation, list_entry(link, struct entry, link));
    map_fini(&rotation->by_id);
    mem_free(rotation);
}

void rotation_use_clock(struct rotation *rotation, const struct rotation_clock *clock)
{
    rotation->clock = *clock;
    rotation_check(rotation);
}

/* ---- what is needed ---- */

void rotation_want(struct rotation *rotation, struct str id)
{
    struct entry *entry = map_find(&rotation->by_id, id);

    if (!entry)
        entry = entry_new(rotation, id);
    entry->wants++;
    rotation_check(rotation);
}

void rotation_unwant(struct rotation *rotation, struct str id)
{
    struct entry *entry = find_wanted(rotation, id);

    ensure(entry);
    entry->wants--;
    rotation_check(rotation);
}

void rotation_retry_now(struct rotation *rotation)
{
    list_foreach(link, &rotation->entries)
    {
        struct entry *entry = list_entry(link, struct entry, link);

        if (entry->state == ENTRY_WAITING && entry->n_failures > 0)
            entry->due_ns = 0;
    }
    rotation_check(rotation);
}

/* ---- what arrives ---- */

static uint32_t next_jitter(const struct rotation *rotation)
{
    return rng_below(loop_rng(rotation->loop), JITTER_PERMILLE);
}

void rotation_offer(struct rotation *rotation, struct svid *svid)
{
    struct entry *entry = find_wanted(rotation, svid->id.text);

    if (!entry || (entry->svid && entry->svid->not_before_ns >= svid->not_before_ns)) {
        svid_unref(svid);
        return;
    }
    entry_set_svid(entry, svid, next_jitter(rotation));
    if (entry->state == ENTRY_WAITING)
        entry_to_held(entry);
    rotation_check(rotation);
}

void rotation_give(struct rotation *rotation, struct str key, struct svid *svid)
{
    struct entry *entry = find_wanted(rotation, key);
    bool is_news = entry && entry->state == ENTRY_FOLLOWED &&
                   !(entry->svid && svid_is_same(entry->svid, svid));

    if (entry)
        entry->last_error[0] = '\0';
    if (is_news)
        entry_set_svid(entry, svid, next_jitter(rotation));
    else
        svid_unref(svid);
    rotation_check(rotation);
}

void rotation_fail(struct rotation *rotation, struct str key, struct str why, bool is_withdrawn)
{
    struct entry *entry = find_wanted(rotation, key);

    if (!entry || entry->state != ENTRY_FOLLOWED)
        return;
    if (is_withdrawn && entry->svid)
        entry_set_svid(entry, NULL, 0);
    note_error(rotation, entry, why);
    rotation_check(rotation);
}

/* A fresh answer is renewed at half of its life, or of what is left of it when the first half was
 * over as it came; and not sooner than RENEW_MIN_NS, as far as what is left allows. */
static void entry_space_out(const struct rotation *rotation, struct entry *entry)
{
    const int64_t now_ns = wall_now_ns(rotation);
    const int64_t left_ns = entry->svid->not_after_ns - now_ns;
    const uint64_t half_ns = left_ns > 0 ? (uint64_t)left_ns / 2 : 0;
    uint64_t space_ns = half_ns < RENEW_MIN_NS ? half_ns : RENEW_MIN_NS;

    if (space_ns < RENEW_LEAST_NS)
        space_ns = RENEW_LEAST_NS;
    entry->earliest_ns = mono_now_ns(rotation) + space_ns;
    const int64_t soonest_ns = now_ns + (int64_t)(half_ns / 10 * 9);

    if (entry->renew_at_ns < soonest_ns)
        entry->renew_at_ns =
            soonest_ns + (int64_t)(half_ns / 5 / JITTER_PERMILLE * next_jitter(rotation));
}

static void take_chain(struct rotation *rotation, struct entry *entry, struct str chain_pem)
{
    struct svid *svid = NULL;
    struct text why = {0};

    if (svid_from_chain(chain_pem, entry->key, &svid, &why) < 0) {
        entry_failed(rotation, entry, text_str(&why));
    } else if (!str_eq(svid->id.text, svid_key_id(entry->id))) {
        svid_unref(svid);
        entry_failed(rotation, entry, STR("the certificate that came names another identity"));
    } else {
        entry_set_svid(entry, svid, next_jitter(rotation));
        entry_to_held(entry);
        entry_space_out(rotation, entry);
    }
    text_fini(&why);
}

void rotation_answer(struct rotation *rotation, struct str id, struct str chain_pem, int err,
                     struct str why)
{
    struct entry *entry = map_find(&rotation->by_id, id);

    ensure(entry && entry->state == ENTRY_REQUESTED && rotation->n_in_flight > 0);
    rotation->n_in_flight--;
    if (entry->wants == 0)
        entry_to_waiting(entry, 0); /* nobody needs it any more: the check forgets it */
    else if (err < 0)
        entry_failed(rotation, entry, why);
    else
        take_chain(rotation, entry, chain_pem);
    EVP_PKEY_free(entry->key); /* the SVID has its own reference */
    entry->key = NULL;
    rotation_check(rotation);
}

/* ---- what is there ---- */

struct svid *rotation_find(const struct rotation *rotation, struct str id)
{
    const struct entry *entry = find_wanted(rotation, id);

    return entry ? entry->svid : NULL;
}

bool rotation_is_complete(const struct rotation *rotation)
{
    list_foreach(link, &rotation->entries)
    {
        const struct entry *entry = list_entry(link, struct entry, link);

        if (entry->wants > 0 && !entry->svid)
            return false;
    }
    return true;
}

static void describe(const struct rotation *rotation, const struct entry *entry,
                     struct rotation_status *out_status)
{
    bool is_given = entry->state == ENTRY_FOLLOWED && entry->svid;

    *out_status = (struct rotation_status){
        .id = entry->id,
        .state = rules[is_given ? ENTRY_HELD : entry->state].name,
        .source = rotation->source->name,
        .last_error = str_from(entry->last_error),
    };
    if (!entry->svid)
        return;
    out_status->not_before_ns = entry->svid->not_before_ns;
    out_status->not_after_ns = entry->svid->not_after_ns;
    out_status->serial = entry->svid->serial;
}

bool rotation_next(const struct rotation *rotation, size_t *idx, struct rotation_status *out_status)
{
    struct str key;
    void *value;

    while (map_next(&rotation->by_id, idx, &key, &value)) {
        const struct entry *entry = value;

        if (entry->wants == 0)
            continue;
        describe(rotation, entry, out_status);
        return true;
    }
    return false;
}
