/*
 * json_strict.h - JSON from hostile bytes: as jansson reads it, and narrower.
 *
 * A name twice in one object, bytes that are not UTF-8, NUL characters, numbers that no type holds,
 * and anything behind the value are refused; so is what is longer or nested deeper than the caller
 * bears, before jansson sees it.
 *
 * Owner: the caller, json_decref(). Thread: any. Source: RFC 8259; RFC 8725 section 2.5.
 */
#ifndef ISTHMUS_CERTS_JSON_STRICT_H
#define ISTHMUS_CERTS_JSON_STRICT_H

#include <jansson.h>

#include "proxy/base/text.h"

struct json_bounds {
    size_t bytes, depth;
};

/* NULL with a sentence appended to *why (which may be NULL). */
json_t *json_strict_load(struct str json, struct json_bounds bounds, struct text *why);

/* A string's bytes; {0} of anything else, also of NULL. */
struct str json_strict_text(const json_t *value);

/* How deep brackets stand in each other, whatever else is wrong with the text. */
size_t json_strict_depth(struct str json);

#endif
