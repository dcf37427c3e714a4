/*
 * Threads count while another scrapes; traffic reports cross from the workers to the scraper.
 * Totals must never run backwards and must be exact in the end.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "proxy/base/err.h"
#include "proxy/meter/meter.h"
#include "proxy/meter/traffic.h"

#define WORKERS 4
#define ROUNDS  50000

static _Atomic int workers_left = WORKERS;
static _Atomic(struct traffic_report *) reports[WORKERS];

static void *work(void *arg)
{
    size_t worker = (size_t)arg;
    struct meter *meter = meter_new();
    struct traffic *traffic = traffic_new();
    struct traffic_labels labels = {0};

    labels.value[LABEL_SOURCE_WORKLOAD] = STR("shared");
    for (int i = 0; i < ROUNDS; i++) {
        meter_add(meter, METRIC_DNS_REQUESTS, 1);
        struct traffic_series *series = traffic_open(traffic, &labels);
        traffic_bytes(series, 1, 2);
        traffic_close(series, ERR_OK);
        if (i % 500 == 0)
            traffic_report_free(atomic_exchange(&reports[worker], traffic_report_of(traffic)));
    }
    traffic_report_free(atomic_exchange(&reports[worker], traffic_report_of(traffic)));
    traffic_free(traffic);
    meter_free(meter);
    atomic_fetch_sub(&workers_left, 1);
    return NULL;
}

/* Takes what the workers left and writes it; NULL when none left anything. */
static struct traffic_report *collect(void)
{
    struct traffic_report *all = NULL;

    for (int i = 0; i < WORKERS; i++) {
        struct traffic_report *one = atomic_exchange(&reports[i], NULL);
        if (all && one)
            traffic_report_merge(all, one);
        else if (one)
            all = one;
    }
    return all;
}

static bool scrape(int64_t *before)
{
    struct text page = {0};
    int64_t total = meter_total(METRIC_DNS_REQUESTS);
    bool grew = total >= *before;

    meter_write(&page, "isthmus", "0");
    *before = total;
    text_fini(&page);
    return grew;
}

int main(void)
{
    pthread_t workers[WORKERS];
    struct text page = {0};
    int64_t before = 0;
    bool ok = true;

    for (size_t i = 0; i < WORKERS; i++)
        (void)pthread_create(&workers[i], NULL, work, (void *)i);
    while (atomic_load(&workers_left) > 1) {
        ok = scrape(&before) && ok;
        /* Only worker 0's, so that the last reports of the others are still there in the end. */
        struct traffic_report *one = atomic_exchange(&reports[0], NULL);
        if (one)
            traffic_report_write(one, &page);
        traffic_report_free(one);
        text_clear(&page);
    }
    for (size_t i = 0; i < WORKERS; i++)
        (void)pthread_join(workers[i], NULL);
    struct traffic_report *all = collect();
    if (all)
        traffic_report_write(all, &page);
    ok = ok && meter_total(METRIC_DNS_REQUESTS) == (int64_t)WORKERS * ROUNDS;
    ok = ok && all && str_contains(text_str(&page), STR("source_workload=\"shared\""));
    traffic_report_free(all);
    text_fini(&page);
    (void)printf("%s\n", ok ? "every count was right" : "a count was wrong");
    return ok ? 0 : 1;
}
