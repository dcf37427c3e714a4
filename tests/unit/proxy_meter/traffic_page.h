/*
 * traffic_page.h - labels of a flow in few words, and the page of what workers counted, read by
 * metric and label.
 */
#ifndef TESTS_UNIT_PROXY_METER_TRAFFIC_PAGE_H
#define TESTS_UNIT_PROXY_METER_TRAFFIC_PAGE_H

#include <stddef.h>

#include "proxy/base/text.h"
#include "proxy/meter/traffic.h"

/* Reported by the source, of workloads in namespace ns; borrows the names. */
struct traffic_labels labels_of(const char *source, const char *destination);

/* The page of everything that the workers counted. */
struct text page_of(struct traffic *const *workers, size_t n);
/* The sum of the samples of a metric whose line holds part; *n counts them. */
unsigned long long sum_of(const struct text *page, const char *metric, const char *part, int *n);
/* So many samples, with that sum. */
void assert_sum(const struct text *page, const char *metric, const char *part, int n,
                unsigned long long sum);

#endif
