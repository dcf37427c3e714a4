/* crl_watch.c - a row for each trust domain with lists, looked at when the first is due. */
#include "certs/crl_watch.h"

#include "certs/crl.h"
#include "proxy/base/clock.h"
#include "proxy/base/list.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define LOOK_MAX_NS (60 * NS_PER_SEC) /* the wall clock may jump */
#define LOOK_MIN_NS (1 * NS_PER_SEC)

struct row {
    struct list link;
    struct arena arena;
    struct str trust_domain;
    int64_t due_ns; /* INT64_MAX: the lists do not say */
    bool is_past;   /* and told */
    bool is_seen;   /* by the sweep that is under way */
};

struct crl_watch {
    struct loop *loop;
    struct meter *meter;
    struct list rows;
    struct timer timer;
    int64_t told_due_s, told_past; /* what the metrics say */
};

static void row_free(struct row *row)
{
    list_remove(&row->link);
    arena_fini(&row->arena);
    mem_free(row);
}

static struct row *row_of(struct crl_watch *watch, struct str trust_domain)
{
    list_foreach(link, &watch->rows)
    {
        struct row *row = list_entry(link, struct row, link);

        if (str_eq(row->trust_domain, trust_domain))
            return row;
    }
    struct row *row = mem_new(struct row);

    row->trust_domain = arena_str(&row->arena, trust_domain);
    list_push_back(&watch->rows, &row->link);
    return row;
}

static void row_look(struct row *row, int64_t now_ns)
{
    const bool is_past = row->due_ns <= now_ns;
    char due[CLOCK_TEXT_MAX];

    if (is_past && !row->is_past)
        log_warn("a revocation list is past its next update; it stays in force until a newer one "
                 "comes",
                 log_str("trust_domain", row->trust_domain),
                 log_cstr("next_update", clock_text(row->due_ns, due)));
    else if (!is_past && row->is_past)
        log_info("the revocation lists are up to date again",
                 log_str("trust_domain", row->trust_domain));
    row->is_past = is_past;
}

static void on_timer(struct timer *timer)
{
    crl_watch_look(container_of(timer, struct crl_watch, timer), clock_wall_ns());
}

static void say(struct crl_watch *watch, int64_t due_ns, int64_t n_past)
{
    const int64_t due_s = due_ns == INT64_MAX ? 0 : due_ns / (int64_t)NS_PER_SEC;

    meter_add(watch->meter, METRIC_CRL_NEXT_UPDATE, due_s - watch->told_due_s);
    meter_add(watch->meter, METRIC_CRLS_PAST, n_past - watch->told_past);
    watch->told_due_s = due_s;
    watch->told_past = n_past;
}

void crl_watch_look(struct crl_watch *watch, int64_t now_ns)
{
    int64_t first_ns = INT64_MAX, next_ns = INT64_MAX, n_past = 0;

    list_foreach(link, &watch->rows)
    {
        struct row *row = list_entry(link, struct row, link);

        row_look(row, now_ns);
        n_past += row->is_past;
        first_ns = row->due_ns < first_ns ? row->due_ns : first_ns;
        if (!row->is_past && row->due_ns < next_ns)
            next_ns = row->due_ns;
    }
    say(watch, first_ns, n_past);
    timer_stop(&watch->timer);
    if (list_is_empty(&watch->rows))
        return;
    uint64_t wait_ns = LOOK_MAX_NS;

    if (next_ns != INT64_MAX && (uint64_t)(next_ns - now_ns) < wait_ns)
        wait_ns = (uint64_t)(next_ns - now_ns);
    timer_start(watch->loop, &watch->timer, wait_ns > LOOK_MIN_NS ? wait_ns : LOOK_MIN_NS,
                on_timer);
}

void crl_watch_follow(struct crl_watch *watch, const struct trust *trust)
{
    struct str trust_domain;
    void *value;

    list_foreach(link, &watch->rows) list_entry(link, struct row, link)->is_seen = false;
    for (size_t idx = 0; map_next(&trust->revocations, &idx, &trust_domain, &value);) {
        const struct revocations *revocations = value;
        struct row *row = row_of(watch, trust_domain);

        row->due_ns = crl_next_update_ns(revocations->crls);
        row->is_seen = true;
    }
    list_foreach(link, &watch->rows)
    {
        struct row *row = list_entry(link, struct row, link);

        if (!row->is_seen)
            row_free(row);
    }
    crl_watch_look(watch, clock_wall_ns());
}

struct crl_watch *crl_watch_new(struct loop *loop, struct meter *meter)
{
    struct crl_watch *watch = mem_new(struct crl_watch);

    watch->loop = loop;
    watch->meter = meter;
    list_init(&watch->rows);
    return watch;
}

void crl_watch_free(struct crl_watch *watch)
{
    if (!watch)
        return;
    timer_stop(&watch->timer);
    list_foreach(link, &watch->rows) row_free(list_entry(link, struct row, link));
    say(watch, INT64_MAX, 0);
    mem_free(watch);
}
