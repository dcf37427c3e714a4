/*
 * traffic_fields.h - every plain field of a traffic policy: how it is written, where it stands,
 * what it may be.
 *
 * One table for the manifests, the control stream and the documentation, so that a value which one
 * of them takes is never refused by another. Lists (members, weights, checks) are not in it;
 * traffic_policy_check() knows their rules.
 *
 * Thread: any; constant.
 */
#ifndef ISTHMUS_CONFIG_TRAFFIC_FIELDS_H
#define ISTHMUS_CONFIG_TRAFFIC_FIELDS_H

#include "config/traffic_policy.h"
#include "proxy/base/text.h"

enum traffic_unit {
    TRAFFIC_COUNT,    /* uint32_t; a whole number */
    TRAFFIC_PERCENT,  /* uint32_t; "50%" */
    TRAFFIC_PERMILLE, /* uint32_t; 1.9 is 1900 */
    TRAFFIC_DURATION, /* uint64_t; "400ms" */
    TRAFFIC_SWITCH,   /* bool */
    TRAFFIC_WORD,     /* an enum */
};

struct traffic_field {
    const char *section; /* "ejection.successRate"; "" in a health check */
    const char *key;
    const char *wire; /* the message's field, as refusals on the stream call it */
    enum traffic_unit unit;
    size_t offset;     /* in the struct */
    uint64_t min, max; /* in the unit of the struct */
    bool zero_is_fine; /* below min too: off, or somebody else's default */
    const char *const *words;
};

extern const struct traffic_field traffic_fields[]; /* of struct traffic_policy */
extern const size_t n_traffic_fields;
extern const struct traffic_field traffic_check_fields[]; /* of struct health_check */
extern const size_t n_traffic_check_fields;

uint64_t traffic_field_get(const struct traffic_field *field, const void *object);
void traffic_field_set(const struct traffic_field *field, void *object, uint64_t value);
bool traffic_field_takes(const struct traffic_field *field, uint64_t value);

/* A decimal number as that many of its smallest digits: "1.25" with 3 is 1250. False for anything
 * else, as a sign, an exponent or more decimals. */
bool traffic_parse_decimal(struct str text, unsigned digits, uint64_t *out);

/* The tiers that have a name, and what they promise; false for another name. */
bool traffic_tier(struct str name, uint64_t *out_recovery_ns);

/* True when the policy holds together: every range, sums of weights, priorities without a gap, no
 * name twice. Else false, with a sentence in *why. */
bool traffic_policy_check(const struct traffic_policy *policy, struct text *why);

#endif
