/*
 * standing.h - what the results of one check in a row make of an endpoint.
 *
 * The first result counts at once. After it an endpoint changes its standing when as many results
 * in a row say so as the policy asks for; an answer that says "unwell" (an unexpected HTTP status,
 * a gRPC server that does not serve) counts at once too, while silence may be the network's fault.
 *
 * Owner: whoever embeds it; {0} is unknown. Thread: one at a time.
 * Source: Envoy's active health checking (first_check, retriable and immediate failures).
 */
#ifndef ISTHMUS_HEALTH_STANDING_H
#define ISTHMUS_HEALTH_STANDING_H

#include "config/traffic_policy.h"

enum health_status { HEALTH_UNKNOWN, HEALTH_GOOD, HEALTH_BAD, HEALTH_STATUSES };

const char *health_status_name(enum health_status status);

enum answer {
    ANSWER_GOOD,
    ANSWER_BAD,    /* it says itself that it is not well */
    ANSWER_NONE,   /* no connection, no answer, nonsense */
    ANSWER_UNTOLD, /* we were not let to ask: says nothing about it */
};

struct standing {
    enum health_status status;
    uint32_t n_against; /* results in a row that speak against the status */
};

void standing_note(struct standing *standing, const struct health_check *check, enum answer answer);

#endif
