#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

#include "proxy/base/clock.h"
#include "proxy/base/ensure.h"

TestSuite(clock, .timeout = 5);

Test(clock, never_runs_backwards)
{
    uint64_t before = clock_mono_ns();

    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_mono_ns();
        cr_assert_geq(now, before);
        before = now;
    }
}

Test(clock, writes_rfc_3339)
{
    static const struct {
        int64_t wall_ns;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {INT64_C(1769860800123456789), "2026-01-31T12:00:00.123456Z"},
        {INT64_C(951827696000000000), "2000-02-29T12:34:56.000000Z"},
        {INT64_C(4107542399999999999), "2100-02-28T23:59:59.999999Z"},
        {INT64_C(4107542400000000000), "2100-03-01T00:00:00.000000Z"},
        {-1000, "1969-12-31T23:59:59.999999Z"},
    };

    char buf[CLOCK_TEXT_MAX];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert_str_eq(clock_text(rows[i].wall_ns, buf), rows[i].text);
    cr_assert_str_eq(clock_text_ns(INT64_C(1769860800023456789), buf),
                     "2026-01-31T12:00:00.023456789Z");
    cr_assert_str_eq(clock_text_ns(INT64_MAX, buf), "2262-04-11T23:47:16.854775807Z");
    cr_assert_str_eq(clock_text_ns(INT64_MIN, buf), "1677-09-21T00:12:43.145224192Z");
}

Test(clock, agrees_with_the_c_library_on_every_day)
{
    for (int64_t day = -36500; day < 100000; day += 13) {
        time_t at = (time_t)(day * 86400);
        struct tm tm;
        char expected[64], buf[CLOCK_TEXT_MAX];
        cr_assert_not_null(gmtime_r(&at, &tm));
        (void)strftime(expected, sizeof(expected), "%Y-%m-%dT00:00:00.000000Z", &tm);
        cr_assert_str_eq(clock_text(day * 86400 * (int64_t)NS_PER_SEC, buf), expected);
    }
}

Test(clock, wall_time_is_the_systems)
{
    int64_t seconds = clock_wall_ns() / (int64_t)NS_PER_SEC;

    cr_assert_leq(seconds - (int64_t)time(NULL), 1);
    cr_assert_geq(seconds - (int64_t)time(NULL), -1);
}
