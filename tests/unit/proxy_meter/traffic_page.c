#include "traffic_page.h"

#include <criterion/criterion.h>

struct traffic_labels labels_of(const char *source, const char *destination)
{
    struct traffic_labels labels = {0};

    labels.value[LABEL_REPORTER] = STR("source");
    labels.value[LABEL_SOURCE_WORKLOAD] = str_from(source);
    labels.value[LABEL_SOURCE_WORKLOAD_NAMESPACE] = STR("ns");
    labels.value[LABEL_DESTINATION_WORKLOAD] = str_from(destination);
    labels.value[LABEL_DESTINATION_WORKLOAD_NAMESPACE] = STR("ns");
    return labels;
}

struct text page_of(struct traffic *const *workers, size_t n)
{
    struct traffic_report *all = traffic_report_of(workers[0]);
    struct text page = {0};

    for (size_t i = 1; i < n; i++)
        traffic_report_merge(all, traffic_report_of(workers[i]));
    traffic_report_write(all, &page);
    traffic_report_free(all);
    return page;
}

unsigned long long sum_of(const struct text *page, const char *metric, const char *part, int *n)
{
    unsigned long long sum = 0, value;
    struct str rest = text_str(page), line;

    *n = 0;
    while (str_split(rest, '\n', &line, &rest)) {
        struct str head, tail;
        if (!str_starts_with(line, str_from(metric)) || !str_contains(line, str_from(part)))
            continue;
        cr_assert(str_rsplit(line, ' ', &head, &tail));
        cr_assert(str_to_u64(tail, UINT64_MAX, (uint64_t *)&value));
        sum += value;
        (*n)++;
    }
    return sum;
}

void assert_sum(const struct text *page, const char *metric, const char *part, int n,
                unsigned long long sum)
{
    int found;
    unsigned long long got = sum_of(page, metric, part, &found);

    cr_assert(found == n && got == sum, "%s %s: %d samples with sum %llu", metric, part, found,
              got);
}
