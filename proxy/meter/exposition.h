/*
 * exposition.h - the grammar of the Prometheus text format, version 0.0.4, in one place.
 *
 * Thread: any; the text is the caller's.
 */
#ifndef ISTHMUS_METER_EXPOSITION_H
#define ISTHMUS_METER_EXPOSITION_H

#include "proxy/base/text.h"

/* The HELP and TYPE lines of a metric; kind is "counter" or "gauge". */
void exposition_head(struct text *out, const char *name, const char *kind, const char *help);

/* name="value" with backslash, quote and line break escaped and invalid UTF-8 replaced: one bad
 * byte would make the scraper refuse the whole page. */
void exposition_label(struct text *out, const char *name, struct str value);

#endif
