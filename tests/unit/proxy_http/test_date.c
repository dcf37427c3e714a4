#include <criterion/criterion.h>

#include "proxy/http/date.h"

TestSuite(http_date, .timeout = 30);

#define NOW INT64_C(1795777200) /* Fri, 27 Nov 2026 11:00:00 GMT */

Test(http_date, all_three_forms_are_read)
{
    const struct {
        const char *text;
        int64_t s;
    } rows[] = {
        /* RFC 9110 5.6.7 */
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Fri, 27 Nov 2026 11:00:00 GMT", NOW},
        {"Friday, 27-Nov-26 11:00:00 GMT", NOW},
        {"Fri Nov 27 11:00:00 2026", NOW},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Thu Jan  1 00:00:00 1970", 0},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800}, /* leap years */
        {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800}, /* a leap second */
        {"Tue, 19 Jan 2038 03:14:08 GMT", INT64_C(1) << 31},
        {"Fri, 31 Dec 9999 23:59:59 GMT", INT64_C(253402300799)},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        /* two digits: not more than 50 years from now */
        {"Tuesday, 01-Jan-76 00:00:00 GMT", INT64_C(3345062400)},
        {"Saturday, 01-Jan-77 00:00:00 GMT", 220924800},
        {"Sunday, 01-Jan-00 00:00:00 GMT", 946684800},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t s = -77;
        cr_expect(http_date_read(str_from(rows[i].text), NOW, &s), "%s", rows[i].text);
        cr_expect_eq(s, rows[i].s, "%s: %lld", rows[i].text, (long long)s);
    }
}

Test(http_date, what_is_written_is_the_first_form)
{
    const struct {
        int64_t s;
        const char *text;
    } rows[] = {
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {NOW, "Fri, 27 Nov 2026 11:00:00 GMT"},
        {1709164799, "Wed, 28 Feb 2024 23:59:59 GMT"},
        {1709164800, "Thu, 29 Feb 2024 00:00:00 GMT"},
        {1709251200, "Fri, 01 Mar 2024 00:00:00 GMT"},
        {INT64_C(253402300799), "Fri, 31 Dec 9999 23:59:59 GMT"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[HTTP_DATE_MAX];
        const struct str text = http_date_text(rows[i].s, buf);
        cr_expect(str_eq(text, str_from(rows[i].text)), "%s: %.*s", rows[i].text, STR_ARG(text));
    }
    for (int64_t s = 86399; s < INT64_C(253402300799); s += INT64_C(86400) * 997 + 12345) {
        char buf[HTTP_DATE_MAX];
        int64_t again = -1;
        cr_assert(http_date_read(http_date_text(s, buf), NOW, &again), "%s", buf);
        cr_assert_eq(again, s, "%s", buf);
    }
}

Test(http_date, what_is_none_of_them_is_no_date)
{
    static const char *const rows[] = {
        "",
        "Sun",
        "Sun, 06 Nov 1994 08:49:37",     /* no zone */
        "Sun, 06 Nov 1994 08:49:37 UTC", /* another word for it */
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT ", /* more than a date */
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:38 GMT",
        "sun, 06 nov 1994 08:49:37 gmt", /* letters count */
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun,06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994 GMT",
        "Foo, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Wed, 29 Feb 2023 00:00:00 GMT",
        "Thu, 29 Feb 1900 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t s;
        cr_expect_not(http_date_read(str_from(rows[i]), NOW, &s), "%s", rows[i]);
    }
}

Test(http_date, a_retry_after_is_a_number_of_seconds_or_a_date_within_a_bound)
{
    const struct {
        const char *value;
        uint64_t s;
    } rows[] = {
        {"0", 0},
        {"2", 2},
        {"60", 60},
        {"61", 60},
        {"99999999999999999999999999", 60},
        {"", 0},
        {"-1", 0},
        {"+1", 0},
        {"1.5", 0},
        {"1s", 0},
        {" 1", 0},
        {"soon", 0},
        {"Fri, 27 Nov 2026 11:00:07 GMT", 7},
        {"Friday, 27-Nov-26 11:00:07 GMT", 7},
        {"Fri Nov 27 11:00:07 2026", 7},
        {"Fri, 27 Nov 2026 11:01:00 GMT", 60},
        {"Fri, 27 Nov 2026 12:00:00 GMT", 60},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 60},
        {"Fri, 27 Nov 2026 11:00:00 GMT", 0},
        {"Fri, 27 Nov 2026 10:59:59 GMT", 0}, /* it has passed */
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
        {"Mon, 01 Jan 1601 00:00:00 GMT", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(http_retry_after_s(str_from(rows[i].value), NOW, 60), rows[i].s, "%s",
                     rows[i].value);
}
