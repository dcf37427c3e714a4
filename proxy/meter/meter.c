/*
 * meter.c - the cells of every thread, filed in one list that only births, deaths and scrapes lock.
 */
#include "proxy/meter/meter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/list.h"
#include "proxy/base/mem.h"
#include "proxy/meter/exposition.h"
#include "proxy/meter/process.h"

struct meter {
    struct list link;
    _Atomic int64_t cells[METRICS];
};

enum metric_kind { COUNTER, GAUGE };

struct metric_info {
    enum metric_kind kind;
    const char *name, *help;
    const char *reason; /* NULL: it has no labels */
};

#define METRIC(id, kind, name, help)   [METRIC_##id] = {kind, name, help, NULL},
#define REASON(id, name, reason, what) [METRIC_##id] = {COUNTER, name, NULL, reason},
#define FAMILY(name, help)
static const struct metric_info infos[METRICS] = {
#include "proxy/meter/metrics.def"
};
#undef METRIC
#undef REASON
#undef FAMILY

struct family {
    const char *name, *help;
};

#define METRIC(id, kind, name, help)
#define REASON(id, name, reason, what)
#define FAMILY(name, help) {name, help},
static const struct family families[] = {
#include "proxy/meter/metrics.def"
};
#undef METRIC
#undef REASON
#undef FAMILY

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list meters = {&meters, &meters}; /* under lock */
static int64_t retired[METRICS];                /* what ended meters counted; under lock */

struct meter *meter_new(void)
{
    struct meter *meter = mem_new(struct meter);

    (void)pthread_mutex_lock(&lock);
    list_push_back(&meters, &meter->link);
    (void)pthread_mutex_unlock(&lock);
    return meter;
}

static int64_t cell_of(struct meter *meter, unsigned metric)
{
    return atomic_load_explicit(&meter->cells[metric], memory_order_relaxed);
}

void meter_free(struct meter *meter)
{
    if (!meter)
        return;
    (void)pthread_mutex_lock(&lock);
    list_remove(&meter->link);
    for (unsigned i = 0; i < METRICS; i++)
        retired[i] += cell_of(meter, i);
    (void)pthread_mutex_unlock(&lock);
    mem_free(meter);
}

void meter_add(struct meter *meter, enum metric metric, int64_t delta)
{
    ensure((unsigned)metric < METRICS);
    /* One writer: a load and a store are enough, and cost no locked instruction. */
    atomic_store_explicit(&meter->cells[metric], cell_of(meter, metric) + delta,
                          memory_order_relaxed);
}

/* Under lock. */
static int64_t sum(unsigned metric)
{
    int64_t total = retired[metric];

    list_foreach(it, &meters) total += cell_of(list_entry(it, struct meter, link), metric);
    return total;
}

int64_t meter_total(enum metric metric)
{
    int64_t total;

    ensure((unsigned)metric < METRICS);
    (void)pthread_mutex_lock(&lock);
    total = sum(metric);
    (void)pthread_mutex_unlock(&lock);
    return total;
}

static void write_build(struct text *out, const char *component, const char *version)
{
    exposition_head(out, "istio_build", "gauge", "Istio component build info");
    text_add(out, STR("istio_build{"));
    exposition_label(out, "component", str_from(component));
    text_addc(out, ',');
    exposition_label(out, "tag", str_from(version));
    text_add(out, STR("} 1\n"));
}

#define EXPIRY "isthmus_certificate_expiry_seconds"

void meter_write_expiry_head(struct text *out)
{
    exposition_head(out, EXPIRY, "gauge", "When the certificate of the identity ends (unstable)");
}

void meter_write_expiry(struct text *out, struct str identity, int64_t not_after_ns)
{
    text_add(out, STR(EXPIRY "{"));
    exposition_label(out, "identity", identity);
    text_addf(out, "} %lld\n", (long long)(not_after_ns / (int64_t)NS_PER_SEC));
}

static void write_plain(struct text *out, const struct metric_info *info, int64_t total)
{
    exposition_head(out, info->name, info->kind == COUNTER ? "counter" : "gauge", info->help);
    text_addf(out, "%s %lld\n", info->name, (long long)total);
}

/* Every reason, those too that did not occur: a scraper takes a series that it first sees at 1 for
 * no increase. */
static void write_family(struct text *out, const struct family *family, const int64_t *totals)
{
    exposition_head(out, family->name, "counter", family->help);
    for (unsigned i = 0; i < METRICS; i++)
        if (infos[i].reason && strcmp(infos[i].name, family->name) == 0)
            text_addf(out, "%s{reason=\"%s\"} %lld\n", family->name, infos[i].reason,
                      (long long)totals[i]);
}

void meter_write(struct text *out, const char *component, const char *version)
{
    int64_t totals[METRICS];

    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < METRICS; i++)
        totals[i] = sum(i);
    (void)pthread_mutex_unlock(&lock);

    write_build(out, component, version);
    for (unsigned i = 0; i < METRICS; i++)
        if (!infos[i].reason)
            write_plain(out, &infos[i], totals[i]);
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        write_family(out, &families[i], totals);
    process_write(out);
}
