#include "proxy/meter/traffic.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/meter/series.h"

struct traffic *traffic_new(void)
{
    struct traffic *traffic = mem_new(struct traffic);

    traffic->meter = meter_new();
    list_init(&traffic->by_age);
    list_init(&traffic->copies);
    return traffic;
}

static struct traffic_series *series_new(struct traffic *traffic, struct str key)
{
    struct traffic_series *series = mem_new(struct traffic_series);

    series->labels = series_labels_new(key);
    series->number = ++traffic->n_made;
    list_push_back(&traffic->by_age, &series->by_age);
    return series;
}

/* It is in no map any more. Copies go on behind the one before it. */
static void series_free(struct traffic *traffic, struct traffic_series *series)
{
    list_foreach(it, &traffic->copies)
    {
        struct traffic_copy *copy = list_entry(it, struct traffic_copy, by_traffic);
        if (copy->at == &series->by_age)
            copy->at = series->by_age.prev;
    }
    list_remove(&series->by_age);
    traffic->n_of_strangers -= series->is_of_strangers;
    series_labels_unref(series->labels);
    mem_free(series->requests);
    mem_free(series);
}

void traffic_free(struct traffic *traffic)
{
    if (!traffic)
        return;
    ensure(list_is_empty(&traffic->copies));
    map_fini(&traffic->series);
    list_foreach(it, &traffic->by_age)
        series_free(traffic, list_entry(it, struct traffic_series, by_age));
    text_fini(&traffic->key);
    verdicts_fini(&traffic->verdicts);
    meter_free(traffic->meter);
    mem_free(traffic);
}

/* One series for all that does not fit: the totals stay right, only whose they are is lost. */
static struct traffic_series *overflow_of(struct traffic *traffic)
{
    struct traffic_labels labels;

    meter_add(traffic->meter, METRIC_SERIES_OVERFLOW, 1);
    if (!traffic->overflow) {
        labels = (struct traffic_labels){0};
        for (unsigned i = 0; i < TRAFFIC_LABELS; i++)
            labels.value[i] = STR("overflow");
        series_key(&labels, &traffic->key);
        traffic->overflow = series_new(traffic, text_str(&traffic->key));
    }
    return traffic->overflow;
}

/* Requests of one series mostly come one after the other, and their labels are compared in a
 * fraction of what it takes to write and to hash them. Where they are looked for: by their lengths
 * and last bytes, in which the names of pods differ. */
static struct traffic_series **recent_of(struct traffic *traffic,
                                         const struct traffic_labels *labels)
{
    uint64_t mixed = 0;

    for (unsigned i = 0; i < REQUEST_LABELS; i++) {
        const struct str value = labels->value[i];
        mixed = mixed * 31 + value.len;
        if (value.len > 0)
            mixed += (uint64_t)(uint8_t)value.ptr[value.len - 1] << 8;
    }
    return &traffic->recent[(mixed ^ mixed >> 32) % TRAFFIC_RECENT];
}

static bool has_labels(const struct traffic_series *series, const struct traffic_labels *labels)
{
    for (unsigned i = 0; i < REQUEST_LABELS; i++) {
        const struct str a = series->labels->value[i], b = labels->value[i];
        if (a.len != b.len || (a.len > 0 && memcmp(a.ptr, b.ptr, a.len) != 0))
            return false;
    }
    return true;
}

/* Strangers' names do not crowd out those of whom we know. */
static bool has_room(const struct traffic *traffic, bool for_strangers)
{
    return traffic->series.len < TRAFFIC_SERIES_MAX &&
           (!for_strangers || traffic->n_of_strangers < TRAFFIC_STRANGERS_MAX);
}

static struct traffic_series *find_or_make(struct traffic *traffic,
                                           const struct traffic_labels *labels)
{
    struct traffic_series **recent = recent_of(traffic, labels);
    struct traffic_series *series = *recent;

    if (series && has_labels(series, labels))
        return series;
    series_key(labels, &traffic->key);
    series = map_find(&traffic->series, text_str(&traffic->key));
    if (!series && !has_room(traffic, labels->are_strangers)) {
        series = overflow_of(traffic);
    } else if (!series) {
        series = series_new(traffic, text_str(&traffic->key));
        series->is_of_strangers = labels->are_strangers;
        traffic->n_of_strangers += labels->are_strangers;
        (void)map_put(&traffic->series, series->labels->key, series);
    }
    if (series != traffic->overflow)
        *recent = series;
    return series;
}

struct traffic_series *traffic_open(struct traffic *traffic, const struct traffic_labels *labels)
{
    struct traffic_series *series = find_or_make(traffic, labels);

    traffic_hold(series);
    series->numbers.opened++;
    return series;
}

struct verdict_counters *traffic_policy(struct traffic *traffic, struct str policy)
{
    return verdicts_of(&traffic->verdicts, policy);
}

void traffic_verdict(struct traffic *traffic, struct str policy, enum verdict_said said)
{
    verdict_count(traffic_policy(traffic, policy), said, 1);
}

static void observe(struct series_histogram *histogram, double value)
{
    /* Most are of the first few, or of the first behind a thousand. */
    unsigned bucket = value > series_bounds[SERIES_MIDDLE] ? SERIES_MIDDLE + 1 : 0;

    while (bucket < SERIES_BUCKETS - 1 && value > series_bounds[bucket])
        bucket++;
    histogram->count[bucket]++;
    histogram->sum += value;
}

void traffic_hold(struct traffic_series *series)
{
    if (series)
        series->n_users++;
}

void traffic_let_go(struct traffic_series *series)
{
    ensure(!series || series->n_users > 0);
    if (series)
        series->n_users--;
}

void traffic_request_again(struct traffic_series *series, const struct traffic_request *request)
{
    if (!series->requests)
        series->requests = mem_new(struct series_requests);
    series->requests->n++;
    observe(&series->requests->duration_ms, (double)request->duration_ns / (double)NS_PER_MS);
    observe(&series->requests->request_bytes, (double)request->request_bytes);
    observe(&series->requests->response_bytes, (double)request->response_bytes);
}

struct traffic_series *traffic_request(struct traffic *traffic, const struct traffic_labels *labels,
                                       const struct traffic_request *request)
{
    struct traffic_series *series = find_or_make(traffic, labels);

    traffic_request_again(series, request);
    return series;
}

const struct str *traffic_names(const struct traffic *traffic, const struct traffic_series *series)
{
    return series == traffic->overflow ? NULL : series->labels->value;
}

struct str traffic_label(const struct traffic_series *series, enum traffic_label label)
{
    ensure((unsigned)label < TRAFFIC_LABELS);
    return series->labels->value[label];
}

void traffic_bytes(struct traffic_series *series, uint64_t received, uint64_t sent)
{
    series->numbers.received_bytes += received;
    series->numbers.sent_bytes += sent;
}

static bool is_failure(int err)
{
    int why = err < 0 ? -err : err;

    return why != ERR_OK && why != ERR_RESET && why != ERR_CLIENT_RESET &&
           why != ERR_UPSTREAM_RESET;
}

void traffic_close(struct traffic_series *series, int err)
{
    unsigned flag = series_flag_of(err);

    traffic_let_go(series);
    series->numbers.closed[flag]++;
    if (is_failure(err))
        series->numbers.failed[flag]++;
}

static bool is_reported_by(const struct series_labels *labels, struct str workload_namespace,
                           struct str workload)
{
    bool at_source = str_eq(labels->value[LABEL_REPORTER], STR("source"));
    enum traffic_label ns =
        at_source ? LABEL_SOURCE_WORKLOAD_NAMESPACE : LABEL_DESTINATION_WORKLOAD_NAMESPACE;
    enum traffic_label name = at_source ? LABEL_SOURCE_WORKLOAD : LABEL_DESTINATION_WORKLOAD;

    return str_eq(labels->value[ns], workload_namespace) && str_eq(labels->value[name], workload);
}

size_t traffic_forget_idle(struct traffic *traffic, struct str workload_namespace,
                           struct str workload)
{
    struct str key;
    void *value;
    size_t forgotten = 0;

    memset(traffic->recent, 0, sizeof(traffic->recent));
    for (size_t idx = 0; map_next(&traffic->series, &idx, &key, &value);) {
        struct traffic_series *series = value;
        if (series->n_users > 0 || !is_reported_by(series->labels, workload_namespace, workload))
            continue;
        (void)map_remove_at(&traffic->series, idx);
        series_free(traffic, series);
        forgotten++;
    }
    return forgotten;
}
