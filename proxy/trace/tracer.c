#include "proxy/trace/tracer.h"

#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/io/record_ring.h"

struct tracer_pen { /* a worker's */
    const struct tracer *tracer;
    struct record_ring *ring;
    uint64_t lost_counted; /* of the ring, by the control thread */
    struct span span;
};

struct tracer {
    /* constant */
    struct tracer_options options;
    struct tracer_pen *pens;
    /* the control thread's */
    struct loop *loop;
    struct meter *meter;
    struct exporter *exporter;
    struct timer turn, deadline;
    bool is_late;
};

/* ---- pens ---- */

struct tracer_pen *tracer_pen(struct tracer *tracer, unsigned worker)
{
    ensure(worker < tracer->options.n_workers);
    return &tracer->pens[worker];
}

uint32_t tracer_sampling_ppm(const struct tracer_pen *pen)
{
    return pen->tracer->options.sampling_ppm;
}

struct span *tracer_begin(struct tracer_pen *pen, const struct trace_context *context,
                          enum span_kind kind)
{
    span_begin(&pen->span, context, kind);
    return &pen->span;
}

void tracer_commit(struct tracer_pen *pen, int64_t start_ns, int64_t end_ns, bool has_failed)
{
    /* The ring counts what it loses. */
    (void)record_ring_put(pen->ring, span_end(&pen->span, start_ns, end_ns, has_failed));
}

/* ---- gathering ---- */

static void gather_from(struct tracer *tracer, struct tracer_pen *pen)
{
    char record[SPAN_BYTES_MAX];
    /* No more than the exporter can hold: workers may be as fast as we are. */
    for (unsigned n = 0; n < EXPORTER_QUEUE_SPANS; n++) {
        const size_t len = record_ring_take(pen->ring, record, sizeof record);
        if (len == 0)
            break;
        exporter_take(tracer->exporter, str_of(record, len));
    }
    const uint64_t lost = record_ring_lost(pen->ring);
    meter_add(tracer->meter, METRIC_SPANS_LOST_OVERRUN, (int64_t)(lost - pen->lost_counted));
    pen->lost_counted = lost;
}

static void gather(struct tracer *tracer)
{
    for (unsigned i = 0; i < tracer->options.n_workers; i++)
        gather_from(tracer, &tracer->pens[i]);
}

static void on_turn(struct timer *timer)
{
    struct tracer *tracer = container_of(timer, struct tracer, turn);
    gather(tracer);
    timer_start(tracer->loop, timer, TRACER_TURN_NS, on_turn);
}

/* ---- life ---- */

struct tracer *tracer_open(struct loop *loop, const struct tracer_options *options)
{
    struct tracer *tracer = mem_new(struct tracer);
    tracer->options = *options;
    tracer->loop = loop;
    tracer->meter = meter_new();
    tracer->pens = mem_new_array(struct tracer_pen, options->n_workers);
    for (unsigned i = 0; i < options->n_workers; i++) {
        tracer->pens[i].tracer = tracer;
        tracer->pens[i].ring =
            record_ring_new(options->ring_bytes ? options->ring_bytes : TRACER_RING_BYTES);
    }
    tracer->exporter =
        exporter_new(loop, &tracer->options.collector, &tracer->options.origin, tracer->meter);
    timer_start(loop, &tracer->turn, TRACER_TURN_NS, on_turn);
    return tracer;
}

static void on_deadline(struct timer *timer)
{
    container_of(timer, struct tracer, deadline)->is_late = true;
}

static void flush(struct tracer *tracer)
{
    timer_start(tracer->loop, &tracer->deadline, TRACER_FLUSH_NS, on_deadline);
    gather(tracer);
    exporter_hurry(tracer->exporter);
    while (!exporter_is_done(tracer->exporter) && !tracer->is_late)
        (void)loop_turn(tracer->loop, true);
    timer_stop(&tracer->deadline);
    if (tracer->is_late)
        log_warn("spans were left at the end, which the collector did not take in time");
}

void tracer_close(struct tracer *tracer)
{
    timer_stop(&tracer->turn);
    flush(tracer);
    exporter_free(tracer->exporter);
    for (unsigned i = 0; i < tracer->options.n_workers; i++)
        record_ring_free(tracer->pens[i].ring);
    meter_free(tracer->meter);
    mem_free(tracer->pens);
    mem_free(tracer);
}
