/*
 * policy_http.h - what a match asks of an HTTP request; inside the room.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_CONFIG_POLICY_HTTP_H
#define ISTHMUS_CONFIG_POLICY_HTTP_H

#include "config/policy.h"

/* Copies fields into the arena, values sorted and hosts in lower case. */
struct request_field *policy_http_copy(struct arena *arena, const struct request_field *fields,
                                       size_t n);

/* Do they all hold? Of fields copied so. */
bool policy_http_holds(const struct request_field *fields, size_t n, enum policy_action action,
                       const struct policy_request *request);

/* Is a header the one that a field asks for? "x_role" is "x-role". */
bool policy_http_is_named(struct str header, struct str name);

/* One half of a field, for explanations: does one of its values match? */
bool policy_http_any_value(const struct request_field *field, enum policy_action action,
                           const struct policy_request *request);
bool policy_http_any_not_value(const struct request_field *field, enum policy_action action,
                               const struct policy_request *request);

#endif
