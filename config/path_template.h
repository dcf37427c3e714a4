/*
 * path_template.h - paths with a hole for a segment or for many.
 *
 * Between two slashes, or behind the last one, "{*}" stands for one segment of at least one letter,
 * and "{**}" for any number of letters and slashes, also none. "{**}" is the last of them; letters
 * may follow it. So "/a/{*}" is "/a/b" and neither "/a/" nor "/a/b/c", and "/a/{**}/" is "/a/b/c/"
 * and "/a//" but not "/a/". Other segments are letters of a path (RFC 3986: pchar but the star), at
 * least one.
 *
 * Source: Istio AuthorizationPolicy, Operation.paths; Envoy's uri_template.
 * Thread: any.
 */
#ifndef ISTHMUS_CONFIG_PATH_TEMPLATE_H
#define ISTHMUS_CONFIG_PATH_TEMPLATE_H

#include "proxy/base/str.h"

/* Has it braces? Then it is a template, or wrong. */
bool path_is_template(struct str text);
/* NULL when it is well formed, else what is wrong with it: "{**} is not the last operator". */
const char *path_template_fault(struct str text);
/* Of a well-formed template. */
bool path_template_matches(struct str template_, struct str path);

#endif
