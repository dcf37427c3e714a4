#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/mem.h"
#include "proxy/meter/meter.h"

TestSuite(meter, .timeout = 10);

Test(meter, sums_over_the_meters_and_keeps_what_ended_ones_counted)
{
    struct meter *a = meter_new(), *b = meter_new();

    meter_add(a, METRIC_DNS_REQUESTS, 3);
    meter_add(b, METRIC_DNS_REQUESTS, 4);
    cr_assert_eq(meter_total(METRIC_DNS_REQUESTS), 7);
    meter_free(a);
    cr_assert_eq(meter_total(METRIC_DNS_REQUESTS), 7);
    meter_add(b, METRIC_DNS_REQUESTS, 1);
    cr_assert_eq(meter_total(METRIC_DNS_REQUESTS), 8);
    cr_assert_eq(meter_total(METRIC_DNS_MALFORMED), 0);
    meter_free(b);
    meter_free(NULL);
}

Test(meter, gauges_go_down_again_even_on_another_thread)
{
    struct meter *a = meter_new(), *b = meter_new();

    meter_add(a, METRIC_TUNNELS_OPEN, 1);
    meter_add(b, METRIC_TUNNELS_OPEN, -1);
    cr_assert_eq(meter_total(METRIC_TUNNELS_OPEN), 0);
    meter_free(a);
    meter_free(b);
}

static double sample(const struct text *page, const char *name)
{
    char begin[100];
    const char *at;

    (void)snprintf(begin, sizeof(begin), "\n%s ", name);
    at = strstr(page->ptr, begin);
    cr_assert_not_null(at, "%s is not on the page", name);
    return strtod(at + strlen(begin), NULL);
}

Test(meter, the_page_has_every_metric_with_its_value)
{
    struct meter *meter = meter_new();
    struct text page = {0};

    meter_add(meter, METRIC_SOCKETS_OPEN, 5);
    meter_add(meter, METRIC_XDS_BYTES, 10000000000);
    meter_write(&page, "isthmus", "v1\"2");

    cr_assert_not_null(
        strstr(page.ptr, "# TYPE istio_tcp_sockets_open gauge\nistio_tcp_sockets_open 5\n"));
    cr_assert_not_null(strstr(page.ptr, "# TYPE istio_xds_message_bytes_total counter\n"
                                        "istio_xds_message_bytes_total 10000000000\n"));
    cr_assert_not_null(strstr(page.ptr, "istio_build{component=\"isthmus\",tag=\"v1\\\"2\"} 1\n"));
#define METRIC(id, kind, name, help)   (void)sample(&page, name);
#define REASON(id, name, reason, what) (void)sample(&page, name "{reason=\"" reason "\"}");
#define FAMILY(name, help)
#include "proxy/meter/metrics.def"
#undef METRIC
#undef REASON
#undef FAMILY
    meter_free(meter);
    text_fini(&page);
}

/* What is not promised says so: dashboards are built on what HELP says. */
Test(meter, every_help_but_the_builds_says_unstable)
{
    struct text page = {0};
    int n = 0;

    meter_write(&page, "isthmus", "0");
    for (char *at = page.ptr; (at = strstr(at, "# HELP ")) != NULL; n++) {
        char *end = strchr(at, '\n');
        *end = '\0';
        cr_assert(strstr(at, "unstable") || strstr(at, " istio_build "), "%s", at);
        at = end + 1;
    }
#define METRIC(id, kind, name, help) +1
#define REASON(id, name, reason, what)
#define FAMILY(name, help) +1
    const int n_named = 0
#include "proxy/meter/metrics.def"
        ;
#undef METRIC
#undef REASON
#undef FAMILY
    cr_assert_geq(n, n_named + 1);
    text_fini(&page);
}

Test(meter, tells_what_this_process_costs)
{
    struct text page = {0};

    meter_write(&page, "isthmus", "0");

    cr_assert_gt(sample(&page, "process_resident_memory_bytes"), 100000);
    cr_assert_gt(sample(&page, "process_virtual_memory_bytes"),
                 sample(&page, "process_resident_memory_bytes"));
    cr_assert_geq(sample(&page, "process_threads"), 1);
    cr_assert_geq(sample(&page, "process_cpu_seconds_total"), 0);
    double age = (double)time(NULL) - sample(&page, "process_start_time_seconds");
    cr_assert(age > -2 && age < 100, "started %f seconds ago", age);
    text_fini(&page);
}

Test(meter, counts_open_descriptors)
{
    struct text before = {0}, after = {0};
    int n_open = 0;

    for (int fd = 0; fd < 4096; fd++)
        n_open += fcntl(fd, F_GETFD) >= 0;
    meter_write(&before, "isthmus", "0");
    int fd = open("/dev/null", O_RDONLY);
    meter_write(&after, "isthmus", "0");
    (void)close(fd);

    cr_assert_eq(sample(&before, "process_open_fds"), n_open);
    cr_assert_eq(sample(&after, "process_open_fds"), sample(&before, "process_open_fds") + 1);
    text_fini(&before);
    text_fini(&after);
}

Test(meter, what_is_no_metric_is_a_broken_contract, .signal = SIGABRT)
{
    meter_add(meter_new(), METRICS, 1);
}

Test(meter, says_when_certificates_end_with_the_identity_escaped)
{
    struct text page = {0};
    meter_write_expiry_head(&page);
    meter_write_expiry(&page, STR("spiffe://a/\"b"), INT64_C(1800000000999999999));
    cr_expect_str_eq(
        page.ptr, "# HELP isthmus_certificate_expiry_seconds When the certificate of the identity "
                  "ends (unstable)\n# TYPE isthmus_certificate_expiry_seconds gauge\n"
                  "isthmus_certificate_expiry_seconds{identity=\"spiffe://a/\\\"b\"} 1800000000\n");
    text_fini(&page);
}
