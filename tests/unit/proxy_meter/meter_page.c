/* Prints a whole metrics page, hostile label values included, for promtool.sh. */
#include <stdio.h>

#include "proxy/base/err.h"
#include "proxy/meter/meter.h"
#include "proxy/meter/traffic.h"

int main(void)
{
    struct traffic *traffic = traffic_new();
    struct traffic_labels labels = {0};
    struct text page = {0};

    labels.value[LABEL_REPORTER] = STR("source");
    labels.value[LABEL_SOURCE_WORKLOAD] = STR("a\"b\\c\nd\xff");
    for (int err = 0; err < ERR_COUNT; err++)
        traffic_close(traffic_open(traffic, &labels), err);
    struct traffic_report *report = traffic_report_of(traffic);
    meter_write(&page, "isthmus", "0.1.0");
    traffic_report_write(report, &page);
    (void)fwrite(page.ptr, 1, page.len, stdout);
    traffic_report_free(report);
    traffic_free(traffic);
    text_fini(&page);
    return 0;
}
