/*
 * verdicts.h - how often each policy has decided, by what it said.
 *
 * Bound: VERDICTS_POLICIES_MAX policies; what further ones say counts for "overflow". A policy that
 * is gone keeps its counters until the process ends, as counters must.
 *
 * Owner: whoever embeds it; {0} is empty. Thread: one at a time.
 */
#ifndef ISTHMUS_METER_VERDICTS_H
#define ISTHMUS_METER_VERDICTS_H

#include "proxy/base/map.h"
#include "proxy/base/text.h"

#define VERDICTS_POLICIES_MAX 2000

/* The words of the audit log. */
enum verdict_said { SAID_ALLOW, SAID_DENY, SAID_AUDIT, SAID_WOULD_ALLOW, SAID_WOULD_DENY, SAIDS };

struct verdict_counters; /* of one policy; as long as the verdicts are */

struct verdicts {
    struct map by_policy; /* name -> counters */
};

/* Of a policy, "<namespace>/<name>"; "" when none decided. */
struct verdict_counters *verdicts_of(struct verdicts *verdicts, struct str policy);
/* It said so n more times. */
void verdict_count(struct verdict_counters *counters, enum verdict_said said, uint64_t n);
void verdicts_merge(struct verdicts *into, const struct verdicts *from);
/* isthmus_policy_verdicts_total. */
void verdicts_write(const struct verdicts *verdicts, struct text *out);
void verdicts_fini(struct verdicts *verdicts);

#endif
