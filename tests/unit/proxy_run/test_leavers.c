#include <criterion/criterion.h>

#include "proxy/connect/http_pool.h"
#include "proxy/meter/traffic.h"
#include "proxy/run/leavers.h"
#include "tests/kit/hogs.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/snap.h"

TestSuite(leavers, .timeout = 60);

enum { PODS = 5 };

static const char *const names[PODS] = {"a", "b", "c", "d", "e"};

static struct loop *loop;
static struct http_pool *pool;
static struct traffic *traffic;
static struct leavers leavers;
static struct snap snap;
static struct snapshot *now;

static void start(void)
{
    loop = loop_new();
    pool = http_pool_new(loop);
    traffic = traffic_new();
    leavers_init(&leavers, loop, traffic, pool);
    snap_init(&snap, "n1");
    for (int i = 0; i < PODS; i++) {
        struct traffic_labels labels = {.value = {[LABEL_REPORTER] = STR("source"),
                                                  [LABEL_SOURCE_WORKLOAD] = str_from(names[i]),
                                                  [LABEL_SOURCE_WORKLOAD_NAMESPACE] = STR("shop")}};
        char address[] = "10.0.0.1";
        address[sizeof address - 2] = (char)('1' + i);
        snap_pod(&snap, names[i], "n1", address);
        (void)traffic_request(traffic, &labels, &(struct traffic_request){0});
    }
    now = snap_build(&snap);
}

static void finish(void)
{
    leavers_fini(&leavers);
    traffic_free(traffic);
    http_pool_free(pool);
    snapshot_free(now);
    snap_fini(&snap);
    loop_finish(loop);
}

static void leave(int pod, bool is_looking)
{
    struct snapshot *before = now;
    snap_drop(&snap, names[pod]);
    now = snap_build(&snap);
    leavers_note(&leavers, before, now, is_looking);
    snapshot_free(before);
}

/* How many series are left. */
static size_t n_series(void)
{
    struct traffic_report *report = traffic_report_of(traffic);
    struct text page = {0};
    struct str rest, line;
    size_t n = 0;
    traffic_report_write(report, &page);
    traffic_report_free(report);
    rest = text_str(&page);
    while (str_split(rest, '\n', &line, &rest))
        n += str_starts_with(line, STR("istio_requests_total{"));
    text_fini(&page);
    return n;
}

Test(leavers, are_forgotten_once_all_flows_were_looked_at_since, .init = start, .fini = finish)
{
    leave(0, false);
    leave(1, true); /* the look that runs may have passed its flows */
    cr_expect_eq(n_series(), 5);
    leavers_forget(&leavers);
    cr_expect_eq(n_series(), 4);
    leave(2, true);
    leavers_forget(&leavers);
    cr_expect_eq(n_series(), 3, "%zu", n_series());
    leavers_forget(&leavers);
    cr_expect_eq(n_series(), 2);
    leavers_forget(&leavers);
    cr_expect_eq(n_series(), 2);
}

static void forget(void *ctx)
{
    (void)ctx;
    leavers_forget(&leavers);
}

static bool is_one_left(void *ctx)
{
    (void)ctx;
    return n_series() == 1;
}

Test(leavers, go_one_after_the_other_when_others_want_the_time, .init = start, .fini = finish)
{
    static struct hogs hogs;
    for (int i = 0; i < 3; i++)
        leave(i, false);
    hogs_bring(&hogs, loop, forget, NULL);
    cr_expect_eq(n_series(), 4);
    leave(3, false);
    leavers_forget(&leavers); /* meanwhile */
    cr_expect_eq(n_series(), 4);
    hogs_send_away(&hogs);
    cr_expect(run_until(loop, is_one_left, NULL, 5000));
}
