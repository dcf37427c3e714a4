#include "proxy/http/date.h"

#include <stdio.h>

struct moment {
    unsigned year, month, day, hour, minute, second; /* month from 0 */
};

static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char *const days[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
static const char *const long_days[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                        "Friday", "Saturday", "Sunday"};

#define DAY_S 86400

/* ---- words; each takes what it reads off the rest ---- */

static bool eat(struct str *rest, struct str word)
{
    if (!str_starts_with(*rest, word))
        return false;
    *rest = str_sub(*rest, word.len, rest->len);
    return true;
}

static bool eat_name(struct str *rest, const char *const *names, unsigned n, unsigned *out)
{
    for (*out = 0; *out < n; ++*out)
        if (eat(rest, str_from(names[*out])))
            return true;
    return false;
}

static bool eat_number(struct str *rest, size_t n_digits, unsigned *out)
{
    *out = 0;
    for (size_t i = 0; i < n_digits; i++) {
        if (i >= rest->len || rest->ptr[i] < '0' || rest->ptr[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(rest->ptr[i] - '0');
    }
    *rest = str_sub(*rest, n_digits, rest->len);
    return true;
}

static bool eat_time(struct str *rest, struct moment *at)
{
    return eat_number(rest, 2, &at->hour) && eat(rest, STR(":")) &&
           eat_number(rest, 2, &at->minute) && eat(rest, STR(":")) &&
           eat_number(rest, 2, &at->second);
}

/* ---- forms ---- */

static bool read_fixed(struct str rest, struct moment *at)
{
    unsigned day;
    return eat_name(&rest, days, ARRAY_LEN(days), &day) && eat(&rest, STR(", ")) &&
           eat_number(&rest, 2, &at->day) && eat(&rest, STR(" ")) &&
           eat_name(&rest, months, ARRAY_LEN(months), &at->month) && eat(&rest, STR(" ")) &&
           eat_number(&rest, 4, &at->year) && eat(&rest, STR(" ")) && eat_time(&rest, at) &&
           str_eq(rest, STR(" GMT"));
}

#define YEAR_S 31556952 /* of 365.2425 days */

static bool read_rfc850(struct str rest, int64_t now_s, struct moment *at)
{
    const unsigned latest = (unsigned)(1970 + now_s / YEAR_S + 50);
    unsigned day, year;
    if (!eat_name(&rest, long_days, ARRAY_LEN(long_days), &day) || !eat(&rest, STR(", ")) ||
        !eat_number(&rest, 2, &at->day) || !eat(&rest, STR("-")) ||
        !eat_name(&rest, months, ARRAY_LEN(months), &at->month) || !eat(&rest, STR("-")) ||
        !eat_number(&rest, 2, &year) || !eat(&rest, STR(" ")) || !eat_time(&rest, at))
        return false;
    at->year = latest - (latest - year) % 100;
    return str_eq(rest, STR(" GMT"));
}

static bool read_asctime(struct str rest, struct moment *at)
{
    unsigned day;
    return eat_name(&rest, days, ARRAY_LEN(days), &day) && eat(&rest, STR(" ")) &&
           eat_name(&rest, months, ARRAY_LEN(months), &at->month) && eat(&rest, STR(" ")) &&
           (eat(&rest, STR(" ")) ? eat_number(&rest, 1, &at->day)
                                 : eat_number(&rest, 2, &at->day)) &&
           eat(&rest, STR(" ")) && eat_time(&rest, at) && eat(&rest, STR(" ")) &&
           eat_number(&rest, 4, &at->year) && rest.len == 0;
}

/* ---- as a number ---- */

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_of(unsigned year, unsigned month)
{
    static const unsigned lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return lengths[month] + (month == 1 && is_leap(year) ? 1 : 0);
}

static bool is_real(const struct moment *at)
{
    return at->year >= 1601 && at->day >= 1 && at->day <= days_of(at->year, at->month) &&
           at->hour < 24 && at->minute < 60 && at->second <= 60; /* a leap second */
}

static int64_t seconds_of(const struct moment *at)
{
    const int64_t before = (int64_t)at->year - 1;
    int64_t day = before * 365 + before / 4 - before / 100 + before / 400 - 719162 + at->day - 1;
    for (unsigned month = 0; month < at->month; month++)
        day += days_of(at->year, month);
    return day * DAY_S + at->hour * 3600 + at->minute * 60 + at->second;
}

bool http_date_read(struct str text, int64_t now_s, int64_t *out_s)
{
    struct moment at;
    if (!read_fixed(text, &at) && !read_rfc850(text, now_s, &at) && !read_asctime(text, &at))
        return false;
    if (!is_real(&at))
        return false;
    *out_s = seconds_of(&at);
    return true;
}

struct str http_date_text(int64_t s, char *buf)
{
    struct moment at = {.year = 1970};
    unsigned day = (unsigned)(s / DAY_S), rest = (unsigned)(s % DAY_S);
    const unsigned weekday = (day + 3) % 7; /* the first was a Thursday */
    for (; day >= (is_leap(at.year) ? 366u : 365u); at.year++)
        day -= is_leap(at.year) ? 366 : 365;
    for (; day >= days_of(at.year, at.month); at.month++)
        day -= days_of(at.year, at.month);
    const int len =
        snprintf(buf, HTTP_DATE_MAX, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[weekday], day + 1,
                 months[at.month], at.year % 10000, rest / 3600, rest / 60 % 60, rest % 60);
    return str_of(buf, len < HTTP_DATE_MAX ? (size_t)len : HTTP_DATE_MAX - 1);
}

static bool is_number(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return text.len > 0;
}

uint64_t http_retry_after_s(struct str value, int64_t now_s, uint64_t max_s)
{
    uint64_t seconds;
    int64_t then_s;
    if (is_number(value))
        return str_to_u64(value, max_s, &seconds) ? seconds : max_s;
    if (!http_date_read(value, now_s, &then_s) || then_s <= now_s)
        return 0;
    seconds = (uint64_t)(then_s - now_s);
    return seconds < max_s ? seconds : max_s;
}
