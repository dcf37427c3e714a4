/*
 * values.h - one JSON value as the text of a cell.
 *
 * The name of a member says its unit, as all our names do: uptime_s and age_ms are shown as
 * durations, bytes_sent as a size. Nothing is escaped here: table.h does that.
 */
#ifndef ISTHMUS_CTL_VALUES_H
#define ISTHMUS_CTL_VALUES_H

#include <jansson.h> /* values are not const: its iterators want them so */

#include "proxy/base/text.h"

/* The value of a member. Lists are joined by commas, objects are written as name=value. */
void value_add(struct text *out, const char *key, json_t *value);
/* The heading over such values: "uptime" for uptime_s, "bytes sent" for bytes_sent. */
void value_add_heading(struct text *out, const char *key);
/* The text of a string, {0} of anything else. Borrowed. */
struct str value_str(json_t *value);
/* True when a string somewhere in the value contains the part. */
bool value_contains(json_t *value, struct str part);

#endif
