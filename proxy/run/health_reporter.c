#include "proxy/run/health_reporter.h"

#include "proxy/base/arena.h"
#include "proxy/pick/balancer.h"
#include "proxy/run/health_thread.h"

#define REPORT_NS UINT64_C(1000000000)
#define USED_NS   UINT64_C(60000000000) /* checks go on for so long after the last call */
#define SETS_MAX  1000                  /* in one report */

/* Whether somebody has called it lately, and its policy has checks. */
static bool wants_checks(const struct health_reporter *reporter, const struct set_in_use *set)
{
    if (loop_now_ns(reporter->loop) - set->last_used_ns > USED_NS)
        return false;
    const struct service *service = snapshot_service_by_key(*reporter->snapshot, set->service);
    return service && service->traffic->n_checks > 0;
}

static void on_report(struct timer *timer)
{
    struct health_reporter *reporter = container_of(timer, struct health_reporter, timer);
    struct arena arena = {0};
    struct health_use *uses = arena_new_array(&arena, struct health_use, SETS_MAX);
    struct set_in_use set;
    size_t idx = 0, n = 0;
    while (*reporter->snapshot && n < SETS_MAX &&
           balancer_next_set(reporter->balancer, &idx, &set)) {
        if (!wants_checks(reporter, &set))
            continue;
        uses[n++] = (struct health_use){
            .set_id = set.id,
            .service = set.service,
            .port = set.port,
            .is_v6 = set.is_v6,
            .principal = set.principal,
        };
    }
    if (n > 0)
        health_report(reporter->health, reporter->inbox, uses, n, reporter->on_states);
    arena_fini(&arena);
    timer_start(reporter->loop, timer, REPORT_NS, on_report);
}

void health_reporter_init(struct health_reporter *reporter, struct loop *loop,
                          struct balancer *balancer, const struct snapshot *const *snapshot,
                          struct mailbox *inbox,
                          void (*on_states)(void *receiver, const struct health_state *states,
                                            size_t n))
{
    *reporter = (struct health_reporter){
        .loop = loop,
        .balancer = balancer,
        .snapshot = snapshot,
        .inbox = inbox,
        .on_states = on_states,
    };
}

void health_reporter_start(struct health_reporter *reporter, struct mailbox *health)
{
    reporter->health = health;
    timer_start(reporter->loop, &reporter->timer, REPORT_NS, on_report);
}

void health_reporter_hear(struct health_reporter *reporter, const struct health_state *states,
                          size_t n)
{
    static const enum checked checked[HEALTH_STATUSES] = {
        [HEALTH_UNKNOWN] = CHECKED_NOT, [HEALTH_GOOD] = CHECKED_GOOD, [HEALTH_BAD] = CHECKED_BAD};

    for (size_t i = 0; i < n; i++)
        balancer_set_health(reporter->balancer, states[i].set_id, states[i].key,
                            checked[states[i].status], loop_now_ns(reporter->loop));
}

void health_reporter_stop(struct health_reporter *reporter)
{
    timer_stop(&reporter->timer);
}
