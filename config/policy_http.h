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

/* A request with what follows from it once for all fields; points into itself. */
struct policy_shown {
    const struct policy_request *request; /* NULL: none */
    struct str host, bare_host;           /* in lower case; the same without its port */
    char buf[POLICY_HOST_MAX];
};

void policy_show(struct policy_shown *out_shown, const struct policy_request *request);

/* Do they all hold? Of fields copied so. */
bool policy_http_holds(const struct request_field *fields, size_t n, enum policy_action action,
                       const struct policy_shown *shown);

/* The names of headers that the policies ask for, each once and sorted; out_n says how many. */
const struct str *policy_http_headers(struct arena *arena, const struct policy *const *policies,
                                      size_t n_policies, size_t *out_n);

/* Is a header the one that a field asks for? "x_role" is "x-role". */
bool policy_http_is_named(struct str header, struct str name);

/* One half of a field, for explanations: does one of its values match? */
bool policy_http_any_value(const struct request_field *field, enum policy_action action,
                           const struct policy_shown *shown);
bool policy_http_any_not_value(const struct request_field *field, enum policy_action action,
                               const struct policy_shown *shown);

#endif
