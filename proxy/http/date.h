/*
 * date.h - points in time as HTTP writes them.
 *
 * All three forms that a recipient must take: "Sun, 06 Nov 1994 08:49:37 GMT", and the obsolete
 * "Sunday, 06-Nov-94 08:49:37 GMT" and "Sun Nov  6 08:49:37 1994". Whether the day of the week is
 * that of the date is not looked at.
 *
 * No I/O, no state. Thread: any. Units: seconds since 1970, UTC. Source: RFC 9110 5.6.7, 10.2.3.
 */
#ifndef ISTHMUS_HTTP_DATE_H
#define ISTHMUS_HTTP_DATE_H

#include <stdint.h>

#include "proxy/base/err.h"
#include "proxy/base/str.h"

/* A year of two digits is the latest that is not more than 50 years after now. False: no date. */
bool http_date_read(struct str text, int64_t now_s, int64_t *out_s);

/* The first form, into buf (HTTP_DATE_MAX bytes); of years 1970 to 9999. */
#define HTTP_DATE_MAX 30
struct str http_date_text(int64_t s, char *buf);

/* How long a retry-after asks to wait, in seconds or by a date: max_s at most, and 0 when it says
 * nothing that we understand or a date that has passed. */
uint64_t http_retry_after_s(struct str value, int64_t now_s, uint64_t max_s);

#endif
