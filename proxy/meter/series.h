/*
 * series.h - what traffic.c counts into and report.c copies and writes: one set of labels and its
 * numbers.
 *
 * Owner:  labels are counted: the series of a worker holds one reference, every report that shows
 * it another, so a report costs no copy of strings. The count is atomic since reports cross
 * threads; the strings never change. Thread: labels any; numbers whoever owns the struct around
 * them.
 */
#ifndef ISTHMUS_METER_SERIES_H
#define ISTHMUS_METER_SERIES_H

#include <stdatomic.h>

#include "proxy/base/list.h"
#include "proxy/base/map.h"
#include "proxy/meter/meter.h"
#include "proxy/meter/traffic.h"
#include "proxy/meter/verdicts.h"

/* The words of response_flags that errors.def may use: ztunnel's. */
enum series_flag {
    FLAG_NONE,
    FLAG_CONNECT,
    FLAG_NETWORK_POLICY,
    FLAG_TLS_FAILURE,
    FLAG_IDENTITY_ERROR,
    FLAG_H2_HANDSHAKE_FAILURE,
    FLAG_DENY,
    FLAG_CERT_REVOKED,
    FLAGS
};

struct series_labels {
    _Atomic uint32_t refs;
    struct str key; /* the values, each behind its length: equal keys are equal labels */
    struct str value[REQUEST_LABELS]; /* into key */
    char bytes[];
};

struct series_numbers {
    uint64_t opened;
    uint64_t received_bytes, sent_bytes;
    uint64_t closed[FLAGS], failed[FLAGS];
};

/* Envoy's default buckets, for milliseconds and bytes alike; the last one has no bound. */
#define SERIES_BUCKETS 20
#define SERIES_MIDDLE  9 /* 1000 */

struct series_histogram {
    uint64_t count[SERIES_BUCKETS]; /* of each bucket alone */
    double sum;
};

struct series_requests {
    uint64_t n;
    struct series_histogram duration_ms, request_bytes, response_bytes;
};

/* The upper bounds of all buckets but the last. */
extern const double series_bounds[SERIES_BUCKETS - 1];

struct traffic_series {
    struct list by_age;
    uint64_t number; /* each has another, the youngest the largest */
    struct series_labels *labels;
    struct series_numbers numbers;
    struct series_requests *requests; /* NULL: of connections */
    uint64_t n_users;                 /* flows that have it open, and who holds it */
    bool is_of_strangers;
};

struct traffic_copy {
    struct list by_traffic;
    struct traffic *traffic;
    struct list *at; /* behind it are the series to come */
    uint64_t n_made; /* when it began: those that came since are not in it */
    struct traffic_report *report;
};

#define TRAFFIC_RECENT 64

struct traffic {
    struct map series;               /* by key; -> struct traffic_series */
    struct traffic_series *overflow; /* made when the bound is reached; in no map */
    size_t n_of_strangers;
    struct list by_age;                            /* all of them, the youngest last */
    uint64_t n_made;                               /* since the beginning */
    struct list copies;                            /* that are being made */
    struct text key;                               /* scratch for lookups */
    struct traffic_series *recent[TRAFFIC_RECENT]; /* of the map; each at the place of its labels */
    struct verdicts verdicts;
    struct meter *meter;
};

/* Writes the key of these labels into key, over what was there. Equal labels have equal keys. */
void series_key(const struct traffic_labels *labels, struct text *key);
/* Labels with one reference, from a key that series_key() made. */
struct series_labels *series_labels_new(struct str key);
void series_labels_ref(struct series_labels *labels);
void series_labels_unref(struct series_labels *labels);

/* The word of a flag, and the flag of an error's row in errors.def. */
const char *series_flag_text(unsigned flag);
unsigned series_flag_of(int err);

#endif
