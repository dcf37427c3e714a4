/*
 * Happy path: exporter_take -> a batch is encoded -> https_fetch -> 200 -> the next one. Failure
 * modes: see the header; each span ends in exactly one counter.
 */
#include "proxy/trace/exporter.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/list.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/http/date.h"
#include "proxy/http/https_fetch.h"

#define ANSWER_MAX ((size_t)65536)

enum exporter_state { EXPORTER_RESTING, EXPORTER_SENDING, EXPORTER_PAUSING, EXPORTER_STATES };

static const struct sm_rule rules[EXPORTER_STATES] = {
    [EXPORTER_RESTING] = {"resting", SM_TO(EXPORTER_SENDING)},
    [EXPORTER_SENDING] = {"sending", SM_TO(EXPORTER_RESTING) | SM_TO(EXPORTER_PAUSING)},
    [EXPORTER_PAUSING] = {"pausing", SM_TO(EXPORTER_RESTING) | SM_TO(EXPORTER_SENDING)},
};

struct waiting { /* a span */
    struct list link;
    uint64_t since_ns;
    size_t len;
    char bytes[];
};

struct exporter {
    struct loop *loop;
    const struct collector *collector;
    struct exporter_times times;
    struct otlp_origin origin;
    struct meter *meter;
    struct list queue; /* the oldest first */
    size_t n_queued, queued_bytes;
    int state;
    struct text batch; /* encoded, until it is taken or given up */
    size_t n_batch;
    uint64_t failed_since_ns; /* 0: it did not fail yet */
    unsigned n_failures;
    struct https_fetch *fetch;
    struct timer timer; /* until the oldest has waited, or the pause is over */
    bool is_hurried, was_down;
};

static void count(struct exporter *exporter, enum metric metric, size_t n)
{
    meter_add(exporter->meter, metric, (int64_t)n);
}

/* ---- the queue ---- */

static struct waiting *oldest(const struct exporter *exporter)
{
    return list_entry(exporter->queue.next, struct waiting, link);
}

static void unqueue(struct exporter *exporter, struct waiting *waiting)
{
    list_remove(&waiting->link);
    exporter->n_queued--;
    exporter->queued_bytes -= waiting->len;
}

static void make_room(struct exporter *exporter, size_t len)
{
    while (exporter->n_queued >= EXPORTER_QUEUE_SPANS ||
           exporter->queued_bytes + len > EXPORTER_QUEUE_BYTES) {
        struct waiting *lost = oldest(exporter);
        unqueue(exporter, lost);
        mem_free(lost);
        count(exporter, METRIC_SPANS_LOST_QUEUE, 1);
    }
}

/* ---- sending ---- */

static void post(struct exporter *exporter);
static void look(struct exporter *exporter);

static void forget_batch(struct exporter *exporter)
{
    text_clear(&exporter->batch);
    exporter->n_batch = 0;
    exporter->failed_since_ns = 0;
    exporter->n_failures = 0;
    sm_move(rules, &exporter->state, EXPORTER_RESTING);
    look(exporter);
}

static void on_taken(struct exporter *exporter, struct str body)
{
    struct arena arena = {0};
    struct str sentence;
    const size_t n_rejected = otlp_rejected(body, exporter->n_batch, &arena, &sentence);
    if (n_rejected > 0)
        log_warn("the collector rejected spans", log_u64("spans", n_rejected),
                 log_str("error", str_sub(sentence, 0, 512)));
    if (exporter->was_down)
        log_info("the collector of spans takes them again");
    exporter->was_down = false;
    count(exporter, METRIC_SPANS_LOST_REFUSED, n_rejected);
    count(exporter, METRIC_SPANS_EXPORTED, exporter->n_batch - n_rejected);
    arena_fini(&arena);
    forget_batch(exporter);
}

static void on_refused(struct exporter *exporter, unsigned status)
{
    log_warn("the collector refused spans for good", log_u64("status", status),
             log_u64("spans", exporter->n_batch));
    count(exporter, METRIC_SPANS_LOST_REFUSED, exporter->n_batch);
    forget_batch(exporter);
}

static void on_pause_over(struct timer *timer)
{
    post(container_of(timer, struct exporter, timer));
}

/* Half of it at least, so that the nodes of a cluster do not come back all at once. */
static uint64_t pause_ns(struct exporter *exporter, uint64_t asked_ns)
{
    const unsigned shift = exporter->n_failures < 6 ? exporter->n_failures : 6;
    const uint64_t max_ns = exporter->times.pause_max_ns;
    uint64_t span_ns = exporter->times.pause_ns << shift;
    if (span_ns > max_ns)
        span_ns = max_ns;
    const uint32_t half_ms = (uint32_t)(span_ns / 2 / NS_PER_MS);
    span_ns = span_ns / 2 + rng_below(loop_rng(exporter->loop), half_ms + 1) * NS_PER_MS;
    if (asked_ns > max_ns)
        asked_ns = max_ns;
    return asked_ns > span_ns ? asked_ns : span_ns;
}

static void on_not_taken(struct exporter *exporter, uint64_t asked_ns, struct str why)
{
    const uint64_t now_ns = loop_now_ns(exporter->loop);
    if (!exporter->was_down)
        log_warn("the collector takes no spans; they wait, and the oldest are dropped",
                 log_str("collector", exporter->collector->host), log_str("error", why));
    exporter->was_down = true;
    if (exporter->failed_since_ns == 0)
        exporter->failed_since_ns = now_ns;
    if (now_ns - exporter->failed_since_ns > exporter->times.patience_ns) {
        count(exporter, METRIC_SPANS_LOST_UNAVAILABLE, exporter->n_batch);
        forget_batch(exporter);
        return;
    }
    sm_move(rules, &exporter->state, EXPORTER_PAUSING);
    timer_start(exporter->loop, &exporter->timer, pause_ns(exporter, asked_ns), on_pause_over);
    exporter->n_failures++;
}

static bool may_be_repeated(unsigned status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

static void on_answer(void *owner, int err, const struct https_answer *answer, struct str why)
{
    struct exporter *exporter = owner;
    char status[32];
    exporter->fetch = NULL;
    if (err == 0 && answer->status >= 200 && answer->status < 300) {
        on_taken(exporter, answer->body);
        return;
    }
    count(exporter, METRIC_SPAN_EXPORTS_FAILED, 1);
    if (err < 0) {
        on_not_taken(exporter, 0, why);
    } else if (may_be_repeated(answer->status)) {
        const int len = snprintf(status, sizeof status, "status %u", answer->status);
        const int64_t now_s = clock_wall_ns() / (int64_t)NS_PER_SEC;
        const uint64_t asked_s = http_retry_after_s(answer->retry_after, now_s, UINT32_MAX);
        on_not_taken(exporter, asked_s * NS_PER_SEC, str_of(status, (size_t)len));
    } else {
        on_refused(exporter, answer->status);
    }
}

static void post(struct exporter *exporter)
{
    const struct collector *collector = exporter->collector;
    const struct https_request request = {
        .is_plain = collector->is_plain,
        .host = collector->host,
        .port = collector->port,
        .path = collector->path,
        .content_type = STR("application/x-protobuf"),
        .body = text_str(&exporter->batch),
        .fields = collector->fields,
        .mark = collector->mark,
        .max_body = ANSWER_MAX,
        .timeout_ns = exporter->times.timeout_ns,
    };
    sm_move(rules, &exporter->state, EXPORTER_SENDING);
    exporter->fetch = https_fetch(exporter->loop, &request, on_answer, exporter);
}

static void send_batch(struct exporter *exporter)
{
    struct waiting *batch[EXPORTER_BATCH_SPANS];
    struct str records[EXPORTER_BATCH_SPANS];
    size_t n = 0;
    while (n < EXPORTER_BATCH_SPANS && !list_is_empty(&exporter->queue)) {
        batch[n] = oldest(exporter);
        records[n] = str_of(batch[n]->bytes, batch[n]->len);
        unqueue(exporter, batch[n++]);
    }
    otlp_encode(&exporter->origin, records, n, &exporter->batch);
    for (size_t i = 0; i < n; i++)
        mem_free(batch[i]);
    exporter->n_batch = n;
    post(exporter);
}

static void on_waited(struct timer *timer)
{
    look(container_of(timer, struct exporter, timer));
}

/* Sends when there is enough, or something has waited long enough. */
static void look(struct exporter *exporter)
{
    if (exporter->state != EXPORTER_RESTING || exporter->n_queued == 0)
        return;
    const uint64_t waited_ns = loop_now_ns(exporter->loop) - oldest(exporter)->since_ns;
    if (exporter->is_hurried || exporter->n_queued >= EXPORTER_BATCH_SPANS ||
        waited_ns >= exporter->times.wait_ns) {
        timer_stop(&exporter->timer);
        send_batch(exporter);
    } else if (!timer_is_running(&exporter->timer)) {
        timer_start(exporter->loop, &exporter->timer, exporter->times.wait_ns - waited_ns,
                    on_waited);
    }
}

/* ---- life ---- */

static uint64_t or_else(uint64_t ns, uint64_t fallback_ns)
{
    return ns > 0 ? ns : fallback_ns;
}

static struct exporter_times times_of(const struct collector *collector)
{
    const struct exporter_times *times = &collector->times;
    return (struct exporter_times){
        .wait_ns = or_else(times->wait_ns, EXPORTER_WAIT_NS),
        .timeout_ns = or_else(times->timeout_ns, EXPORTER_TIMEOUT_NS),
        .pause_ns = or_else(times->pause_ns, EXPORTER_PAUSE_NS),
        .pause_max_ns = or_else(times->pause_max_ns, EXPORTER_PAUSE_MAX),
        .patience_ns = or_else(times->patience_ns, EXPORTER_PATIENCE_NS),
    };
}

struct exporter *exporter_new(struct loop *loop, const struct collector *collector,
                              const struct otlp_origin *origin, struct meter *meter)
{
    struct exporter *exporter = mem_new(struct exporter);
    exporter->loop = loop;
    exporter->collector = collector;
    exporter->times = times_of(collector);
    exporter->origin = *origin;
    exporter->meter = meter;
    list_init(&exporter->queue);
    return exporter;
}

void exporter_take(struct exporter *exporter, struct str record)
{
    make_room(exporter, record.len);
    struct waiting *waiting = mem_zalloc(sizeof *waiting + record.len);
    waiting->since_ns = loop_now_ns(exporter->loop);
    waiting->len = record.len;
    memcpy(waiting->bytes, record.ptr, record.len);
    list_push_back(&exporter->queue, &waiting->link);
    exporter->n_queued++;
    exporter->queued_bytes += record.len;
    look(exporter);
}

void exporter_hurry(struct exporter *exporter)
{
    exporter->is_hurried = true;
    if (exporter->state == EXPORTER_PAUSING) {
        timer_stop(&exporter->timer);
        post(exporter);
    }
    look(exporter);
}

bool exporter_is_done(const struct exporter *exporter)
{
    return exporter->state == EXPORTER_RESTING && exporter->n_queued == 0;
}

void exporter_free(struct exporter *exporter)
{
    count(exporter, METRIC_SPANS_LOST_UNAVAILABLE, exporter->n_queued + exporter->n_batch);
    if (exporter->fetch)
        https_fetch_cancel(exporter->fetch);
    timer_stop(&exporter->timer);
    while (!list_is_empty(&exporter->queue)) {
        struct waiting *lost = oldest(exporter);
        unqueue(exporter, lost);
        mem_free(lost);
    }
    text_fini(&exporter->batch);
    mem_free(exporter);
}
