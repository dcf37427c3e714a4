#include "proxy/base/clock.h"

#include <time.h>

uint64_t clock_mono_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

int64_t clock_wall_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * (int64_t)NS_PER_SEC + (int64_t)now.tv_nsec;
}

uint64_t clock_thread_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* Civil date from days since 1970-01-01; Howard Hinnant's algorithm, in eras of 400 years. */
static void civil_from_days(int64_t days, int64_t *out_year, int64_t *out_month, int64_t *out_day)
{
    int64_t shifted = days + 719468; /* to 0000-03-01, so that leap days end a year */
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;

    *out_day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *out_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *out_year = year_of_era + era * 400 + (*out_month <= 2);
}

/* value with leading zeros, and what stands behind it. */
static char *put_digits(char *at, int64_t value, unsigned n_digits, char behind)
{
    for (unsigned i = n_digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    at[n_digits] = behind;
    return at + n_digits + 1;
}

static const char *write_text(int64_t wall_ns, unsigned digits, char *buf)
{
    const int64_t ns_per_day = INT64_C(86400) * (int64_t)NS_PER_SEC;
    int64_t days = wall_ns / ns_per_day;
    int64_t ns = wall_ns % ns_per_day;
    int64_t year, month, day;
    char *at = buf;

    if (ns < 0) {
        days--;
        ns += ns_per_day;
    }
    civil_from_days(days, &year, &month, &day);
    const int64_t s = ns / (int64_t)NS_PER_SEC, part = ns % (int64_t)NS_PER_SEC;
    at = put_digits(at, year, 4, '-'); /* any int64_t is a year of four digits */
    at = put_digits(at, month, 2, '-');
    at = put_digits(at, day, 2, 'T');
    at = put_digits(at, s / 3600, 2, ':');
    at = put_digits(at, s / 60 % 60, 2, ':');
    at = put_digits(at, s % 60, 2, '.');
    at = put_digits(at, digits == 9 ? part : part / 1000, digits, 'Z');
    *at = '\0';
    return buf;
}

const char *clock_text(int64_t wall_ns, char *buf)
{
    return write_text(wall_ns, 6, buf);
}

const char *clock_text_ns(int64_t wall_ns, char *buf)
{
    return write_text(wall_ns, 9, buf);
}
