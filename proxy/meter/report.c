/*
 * report.c - copies of a worker's series, added up and written by the thread that answers the
 * scraper.
 *
 * The worker only copies numbers and counts references, some at a time; the index that finds equal
 * labels is built where reports are merged, off the worker's loop.
 */
#include <limits.h>
#include <stdio.h>

#include "proxy/base/mem.h"
#include "proxy/base/pace.h"
#include "proxy/meter/exposition.h"
#include "proxy/meter/series.h"
#include "proxy/meter/traffic.h"

struct row {
    struct series_labels *labels;
    struct series_numbers numbers;
    struct series_requests *requests; /* the row's own; NULL: of connections */
};

struct traffic_report {
    struct row *rows;
    size_t len, cap;
    struct map index; /* of the first n_indexed rows: key -> number of the row plus one */
    size_t n_indexed;
    struct verdicts verdicts;
};

static void add_row(struct traffic_report *report, const struct row *row)
{
    if (report->len == report->cap) {
        report->cap = report->cap ? report->cap * 2 : 64;
        report->rows = mem_realloc(report->rows, report->cap * sizeof(*report->rows));
    }
    report->rows[report->len++] = *row;
}

static void copy_series(struct traffic_report *report, const struct traffic_series *series)
{
    struct row row = {.labels = series->labels, .numbers = series->numbers};

    series_labels_ref(series->labels);
    if (series->requests) {
        row.requests = mem_new(struct series_requests);
        *row.requests = *series->requests;
    }
    add_row(report, &row);
}

struct traffic_copy *traffic_copy_new(struct traffic *traffic)
{
    struct traffic_copy *copy = mem_new(struct traffic_copy);
    struct traffic_report *report = mem_new(struct traffic_report);

    report->cap = traffic->series.len + 1;
    report->rows = mem_new_array(struct row, report->cap);
    *copy = (struct traffic_copy){
        .traffic = traffic, .at = &traffic->by_age, .n_made = traffic->n_made, .report = report};
    list_push_back(&traffic->copies, &copy->by_traffic);
    return copy;
}

static const struct traffic_series *take_next(struct traffic_copy *copy)
{
    struct list *next = copy->at->next;
    const struct traffic_series *series;

    if (next == &copy->traffic->by_age)
        return NULL;
    series = list_entry(next, struct traffic_series, by_age);
    if (series->number > copy->n_made)
        return NULL;
    copy->at = next;
    return series;
}

bool traffic_copy_go_on(struct traffic_copy *copy, unsigned n_series)
{
    for (unsigned i = 0; i < n_series; i++) {
        const struct traffic_series *series = take_next(copy);
        if (!series)
            return false;
        copy_series(copy->report, series);
    }
    return true;
}

struct traffic_report *traffic_copy_end(struct traffic_copy *copy)
{
    struct traffic_report *report = copy->report;

    while (traffic_copy_go_on(copy, UINT_MAX))
        continue;
    verdicts_merge(&report->verdicts, &copy->traffic->verdicts);
    list_remove(&copy->by_traffic);
    mem_free(copy);
    return report;
}

struct traffic_report *traffic_report_of(struct traffic *traffic)
{
    return traffic_copy_end(traffic_copy_new(traffic));
}

static void bring_index_up_to_date(struct traffic_report *report)
{
    for (; report->n_indexed < report->len; report->n_indexed++)
        (void)map_put(&report->index, report->rows[report->n_indexed].labels->key,
                      (void *)(report->n_indexed + 1));
}

static struct row *find_row(struct traffic_report *report, struct str key)
{
    size_t number = (size_t)map_find(&report->index, key);

    return number ? &report->rows[number - 1] : NULL;
}

static void add_numbers(struct series_numbers *into, const struct series_numbers *from)
{
    into->opened += from->opened;
    into->received_bytes += from->received_bytes;
    into->sent_bytes += from->sent_bytes;
    for (unsigned i = 0; i < FLAGS; i++) {
        into->closed[i] += from->closed[i];
        into->failed[i] += from->failed[i];
    }
}

static void add_histogram(struct series_histogram *into, const struct series_histogram *from)
{
    for (unsigned i = 0; i < SERIES_BUCKETS; i++)
        into->count[i] += from->count[i];
    into->sum += from->sum;
}

/* Takes what from has. */
static void add_requests(struct row *into, struct row *from)
{
    if (!from->requests)
        return;
    if (!into->requests) {
        into->requests = from->requests;
        from->requests = NULL;
        return;
    }
    into->requests->n += from->requests->n;
    add_histogram(&into->requests->duration_ms, &from->requests->duration_ms);
    add_histogram(&into->requests->request_bytes, &from->requests->request_bytes);
    add_histogram(&into->requests->response_bytes, &from->requests->response_bytes);
}

void traffic_report_merge(struct traffic_report *into, struct traffic_report *from)
{
    bring_index_up_to_date(into);
    for (size_t i = 0; i < from->len; i++) {
        (void)pace();
        struct row *row = find_row(into, from->rows[i].labels->key);
        if (row) {
            add_numbers(&row->numbers, &from->rows[i].numbers);
            add_requests(row, &from->rows[i]);
        } else {
            series_labels_ref(from->rows[i].labels);
            add_row(into, &from->rows[i]);
            from->rows[i].requests = NULL; /* it moved along */
        }
    }
    verdicts_merge(&into->verdicts, &from->verdicts);
    traffic_report_free(from);
}

void traffic_report_free(struct traffic_report *report)
{
    if (!report)
        return;
    for (size_t i = 0; i < report->len; i++) {
        series_labels_unref(report->rows[i].labels);
        mem_free(report->rows[i].requests);
    }
    map_fini(&report->index);
    verdicts_fini(&report->verdicts);
    mem_free(report->rows);
    mem_free(report);
}

static const char *const label_names[REQUEST_LABELS] = {
    [LABEL_REPORTER] = "reporter",
    [LABEL_SOURCE_WORKLOAD] = "source_workload",
    [LABEL_SOURCE_CANONICAL_SERVICE] = "source_canonical_service",
    [LABEL_SOURCE_CANONICAL_REVISION] = "source_canonical_revision",
    [LABEL_SOURCE_WORKLOAD_NAMESPACE] = "source_workload_namespace",
    [LABEL_SOURCE_PRINCIPAL] = "source_principal",
    [LABEL_SOURCE_APP] = "source_app",
    [LABEL_SOURCE_VERSION] = "source_version",
    [LABEL_SOURCE_CLUSTER] = "source_cluster",
    [LABEL_DESTINATION_SERVICE] = "destination_service",
    [LABEL_DESTINATION_SERVICE_NAMESPACE] = "destination_service_namespace",
    [LABEL_DESTINATION_SERVICE_NAME] = "destination_service_name",
    [LABEL_DESTINATION_WORKLOAD] = "destination_workload",
    [LABEL_DESTINATION_CANONICAL_SERVICE] = "destination_canonical_service",
    [LABEL_DESTINATION_CANONICAL_REVISION] = "destination_canonical_revision",
    [LABEL_DESTINATION_WORKLOAD_NAMESPACE] = "destination_workload_namespace",
    [LABEL_DESTINATION_PRINCIPAL] = "destination_principal",
    [LABEL_DESTINATION_APP] = "destination_app",
    [LABEL_DESTINATION_VERSION] = "destination_version",
    [LABEL_DESTINATION_CLUSTER] = "destination_cluster",
    [LABEL_REQUEST_PROTOCOL] = "request_protocol",
    [LABEL_CONNECTION_SECURITY_POLICY] = "connection_security_policy",
    [LABEL_RESPONSE_CODE] = "response_code",
    [LABEL_GRPC_RESPONSE_STATUS] = "grpc_response_status",
    [LABEL_RESPONSE_FLAGS] = "response_flags",
};

/* One sample, whole or not at all: a page cut by its bound must still parse. */
static void end_sample(struct text *out, size_t before)
{
    if (out->truncated && out->ptr) {
        out->len = before;
        out->ptr[before] = '\0';
    }
}

static void add_labels(struct text *out, const struct series_labels *labels, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct str text = labels->value[i];
        if (i == LABEL_GRPC_RESPONSE_STATUS && str_is_empty(text))
            continue; /* only gRPC has one */
        exposition_label(out, label_names[i], str_is_empty(text) ? STR("unknown") : text);
        text_addc(out, ',');
    }
}

static void add_sample(struct text *out, const char *name, const struct series_labels *labels,
                       unsigned flag, uint64_t value)
{
    size_t before = out->len;

    text_addf(out, "%s{", name);
    add_labels(out, labels, TRAFFIC_LABELS);
    text_addf(out, "response_flags=\"%s\"} %llu\n", series_flag_text(flag),
              (unsigned long long)value);
    end_sample(out, before);
}

/* Counters that are known before a flow ends have no flag. */
static void write_plain(const struct traffic_report *report, struct text *out, const char *name,
                        const char *help, size_t offset)
{
    exposition_head(out, name, "counter", help);
    for (size_t i = 0; i < report->len && !out->truncated; i++) {
        (void)pace();
        const struct row *row = &report->rows[i];
        const void *number = (const char *)&row->numbers + offset;
        if (row->numbers.opened == 0)
            continue; /* of requests */
        add_sample(out, name, row->labels, FLAG_NONE, *(const uint64_t *)number);
    }
}

/* One sample a flag that occurred. A scraper takes a series that it first sees at 1 for no
 * increase, so the normal end of a connection (always) is written from 0 on. */
static void write_flagged(const struct traffic_report *report, struct text *out, const char *name,
                          const char *help, size_t offset, bool always)
{
    exposition_head(out, name, "counter", help);
    for (size_t i = 0; i < report->len && !out->truncated; i++) {
        (void)pace();
        const struct row *row = &report->rows[i];
        if (row->numbers.opened == 0)
            continue;
        const void *first = (const char *)&row->numbers + offset;
        const uint64_t *numbers = first;
        for (unsigned flag = 0; flag < FLAGS; flag++)
            if (numbers[flag] > 0 || (always && flag == FLAG_NONE))
                add_sample(out, name, row->labels, flag, numbers[flag]);
    }
}

/* The labels behind which the last comma is left out. */
static void add_request_sample(struct text *out, const char *name, const char *suffix,
                               const struct series_labels *labels, const char *le, double value)
{
    size_t before = out->len;

    text_addf(out, "%s%s{", name, suffix);
    add_labels(out, labels, REQUEST_LABELS);
    if (le)
        text_addf(out, "le=\"%s\"", le);
    else
        out->len--; /* the comma */
    text_addf(out, "} %.17g\n", value);
    end_sample(out, before);
}

static void write_histogram(const struct traffic_report *report, struct text *out, const char *name,
                            const char *help, size_t offset)
{
    char le[32];

    exposition_head(out, name, "histogram", help);
    for (size_t i = 0; i < report->len && !out->truncated; i++) {
        (void)pace();
        const struct row *row = &report->rows[i];
        if (!row->requests)
            continue;
        const void *at = (const char *)row->requests + offset;
        const struct series_histogram *histogram = at;
        uint64_t n = 0;
        for (unsigned k = 0; k < SERIES_BUCKETS; k++) {
            n += histogram->count[k];
            if (k < SERIES_BUCKETS - 1)
                (void)snprintf(le, sizeof le, "%g", series_bounds[k]);
            add_request_sample(out, name, "_bucket", row->labels,
                               k < SERIES_BUCKETS - 1 ? le : "+Inf", (double)n);
        }
        add_request_sample(out, name, "_sum", row->labels, NULL, histogram->sum);
        add_request_sample(out, name, "_count", row->labels, NULL, (double)n);
    }
}

static void write_requests(const struct traffic_report *report, struct text *out)
{
    exposition_head(out, "istio_requests_total", "counter", "The total number of HTTP requests");
    for (size_t i = 0; i < report->len && !out->truncated; i++) {
        (void)pace();
        const struct row *row = &report->rows[i];
        if (row->requests)
            add_request_sample(out, "istio_requests_total", "", row->labels, NULL,
                               (double)row->requests->n);
    }
    write_histogram(report, out, "istio_request_duration_milliseconds",
                    "The duration of HTTP requests", offsetof(struct series_requests, duration_ms));
    write_histogram(report, out, "istio_request_bytes", "The size of HTTP request bodies",
                    offsetof(struct series_requests, request_bytes));
    write_histogram(report, out, "istio_response_bytes", "The size of HTTP response bodies",
                    offsetof(struct series_requests, response_bytes));
}

void traffic_report_write(const struct traffic_report *report, struct text *out)
{
    write_plain(report, out, "istio_tcp_connections_opened_total",
                "The total number of TCP connections opened",
                offsetof(struct series_numbers, opened));
    write_flagged(report, out, "istio_tcp_connections_closed_total",
                  "The total number of TCP connections closed",
                  offsetof(struct series_numbers, closed), true);
    write_flagged(report, out, "istio_tcp_connections_failed_total",
                  "The total number of TCP connections that failed (unstable)",
                  offsetof(struct series_numbers, failed), false);
    write_plain(report, out, "istio_tcp_received_bytes_total",
                "The size of total bytes received during request in case of a TCP connection",
                offsetof(struct series_numbers, received_bytes));
    write_plain(report, out, "istio_tcp_sent_bytes_total",
                "The size of total bytes sent during response in case of a TCP connection",
                offsetof(struct series_numbers, sent_bytes));
    write_requests(report, out);
    verdicts_write(&report->verdicts, out);
}
