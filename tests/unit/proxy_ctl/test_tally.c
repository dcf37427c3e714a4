/* Connections by cluster, off a node's metrics page. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/ctl/tally.h"

TestSuite(tally, .timeout = 20);

#define HOST "till.shop.svc.clusterset.local"

static const char page[] =
    "# HELP istio_tcp_connections_opened_total The total number of TCP connections opened\n"
    "# TYPE istio_tcp_connections_opened_total counter\n"
    "istio_tcp_connections_opened_total{reporter=\"source\",source_workload=\"a\",destination_"
    "service=\"" HOST "\",destination_cluster=\"west\"} 7\n"
    "istio_tcp_connections_opened_total{reporter=\"source\",source_workload=\"b\",destination_"
    "service=\"" HOST "\",destination_cluster=\"west\"} 5\n"
    "istio_tcp_connections_opened_total{reporter=\"source\",source_workload=\"x\\\",y=\\\"z\","
    "destination_service=\"" HOST "\",destination_cluster=\"east\"} 3\n"
    "istio_tcp_connections_opened_total{reporter=\"destination\",destination_service=\"" HOST
    "\",destination_cluster=\"west\"} 100\n"
    "istio_tcp_connections_opened_total{reporter=\"source\",destination_service=\"other\","
    "destination_cluster=\"west\"} 100\n"
    "istio_tcp_connections_opened_total{reporter=\"source\",destination_service=\"" HOST
    "\",destination_cluster=\"west\"} many\n"
    "istio_tcp_connections_opened_total{reporter\n"
    "istio_tcp_connections_failed_total{reporter=\"source\",destination_service=\"" HOST
    "\",destination_cluster=\"unknown\",response_flags=\"CONNECT\"} 2\n"
    "istio_tcp_sent_bytes_total{reporter=\"source\",destination_service=\"" HOST
    "\",destination_cluster=\"west\"} 4000";

Test(tally, counts_a_service_by_cluster_at_its_callers)
{
    struct tally tally = {0};
    tally_read(&tally, str_from(page), STR(HOST));
    cr_expect_eq(tally_of(&tally, STR("west")), 12);
    cr_expect_eq(tally_of(&tally, STR("east")), 3, "a quote in a label before it is no end");
    cr_expect_eq(tally_of(&tally, STR("north")), 0);
    cr_expect_eq(tally_sum(&tally), 15);
    cr_expect_eq(tally.n_failed, 2);
}

Test(tally, a_difference_counts_what_came_in_between)
{
    struct tally before = {0}, now = {0}, difference = {0};
    tally_read(&before, str_from(page), STR(HOST));
    tally_read(&now, str_from(page), STR(HOST));
    now.clusters[0].n_opened += 4;
    now.n_failed = 1; /* the process began anew */
    tally_add_difference(&difference, &now, &before);
    cr_expect_eq(tally_of(&difference, STR("west")), 4);
    cr_expect_eq(difference.len, 1);
    cr_expect_eq(difference.n_failed, 1);
}

Test(tally, more_clusters_than_the_bound_count_for_the_last)
{
    struct tally tally = {0};
    for (int i = 0; i < TALLY_CLUSTERS_MAX + 10; i++) {
        char line[256];
        snprintf(line, sizeof(line),
                 "istio_tcp_connections_opened_total{reporter=\"source\",destination_service=\"s\","
                 "destination_cluster=\"c%d\"} 1\n",
                 i);
        tally_read(&tally, str_from(line), STR("s"));
    }
    cr_expect_eq(tally.len, TALLY_CLUSTERS_MAX);
    cr_expect_eq(tally_sum(&tally), TALLY_CLUSTERS_MAX + 10);
}

Test(tally, torn_and_hostile_lines_count_nothing)
{
    static const char *const lines[] = {
        "istio_tcp_connections_opened_total{",
        "istio_tcp_connections_opened_total{}",
        "istio_tcp_connections_opened_total{} 1",
        "istio_tcp_connections_opened_total{=} 1",
        "istio_tcp_connections_opened_total{reporter=\"source} 1",
        "istio_tcp_connections_opened_total{reporter=\"source\\} 1",
        "istio_tcp_connections_opened_total{reporter=\"source\",destination_service=\"s\"} -1",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct tally tally = {0};
        tally_read(&tally, str_from(lines[i]), STR("s"));
        cr_expect_eq(tally_sum(&tally), 0, "%s", lines[i]);
    }
}
