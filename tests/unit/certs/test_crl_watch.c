#include <criterion/criterion.h>

#include "certs/crl_watch.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/test_ca.h"

TestSuite(crl_watch, .timeout = 30);

static struct loop *loop;
static struct meter *meter;
static struct test_ca *ca;
static struct trust *trust;
static struct crl_watch *watch;

static void start(void)
{
    log_set_level(LOG_ERROR);
    loop = loop_new();
    meter = meter_new();
    ca = test_ca_new("west.example");
    watch = crl_watch_new(loop, meter);
    test_trust_add(&trust, "west.example", ca);
}

static void finish(void)
{
    crl_watch_free(watch);
    trust_unref(trust);
    test_ca_free(ca);
    meter_free(meter);
    loop_finish(loop);
}

static void give_list(const struct test_crl *spec)
{
    struct text der = {0}, why = {0};
    struct trust *next = NULL;

    if (spec)
        test_crl_der(ca, spec, &der);
    cr_assert_eq(trust_with_crls(trust, STR("west.example"), text_str(&der), &next, &why), 0);
    trust_unref(trust);
    trust = next;
    crl_watch_follow(watch, trust);
    text_fini(&der);
}

static bool is_past(void *ctx)
{
    (void)ctx;
    return meter_total(METRIC_CRLS_PAST) == 1;
}

static int64_t due_in_s(void)
{
    return meter_total(METRIC_CRL_NEXT_UPDATE) - clock_wall_ns() / (int64_t)NS_PER_SEC;
}

Test(crl_watch, says_when_the_next_list_is_due_and_counts_a_domain_that_is_past_it, .init = start,
     .fini = finish)
{
    const struct test_crl spec = {.until_s = 1000};

    give_list(&spec);
    cr_expect_gt(due_in_s(), 900);
    cr_expect_leq(due_in_s(), 1000);
    cr_expect_eq(meter_total(METRIC_CRLS_PAST), 0);
    crl_watch_look(watch, clock_wall_ns() + 2000 * (int64_t)NS_PER_SEC);
    cr_expect_eq(meter_total(METRIC_CRLS_PAST), 1);
    crl_watch_look(watch, clock_wall_ns() + 3000 * (int64_t)NS_PER_SEC);
    cr_expect_eq(meter_total(METRIC_CRLS_PAST), 1, "once");
    crl_watch_look(watch, clock_wall_ns());
    cr_expect_eq(meter_total(METRIC_CRLS_PAST), 0, "the clock was set back");
}

Test(crl_watch, the_alarm_comes_by_itself_and_ends_with_a_newer_list, .init = start, .fini = finish)
{
    const struct test_crl soon = {.until_s = 1}, late = {.until_s = 1000},
                          never = {.has_no_end = true};

    give_list(&soon);
    cr_assert(run_until(loop, is_past, NULL, 10000));
    cr_expect_not_null(trust_find_crls(trust, STR("west.example")), "it stays in force");
    give_list(&late);
    cr_expect_eq(meter_total(METRIC_CRLS_PAST), 0);
    give_list(&never);
    cr_expect_eq(meter_total(METRIC_CRL_NEXT_UPDATE), 0, "it does not say");
}

Test(crl_watch, a_domain_without_lists_any_more_is_no_matter, .init = start, .fini = finish)
{
    const struct test_crl past = {.from_s = -100, .until_s = -10};

    give_list(&past);
    cr_expect_eq(meter_total(METRIC_CRLS_PAST), 1);
    give_list(NULL);
    cr_expect_eq(meter_total(METRIC_CRLS_PAST), 0);
    cr_expect_eq(meter_total(METRIC_CRL_NEXT_UPDATE), 0);
}
