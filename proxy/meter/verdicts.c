#include "proxy/meter/verdicts.h"

#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/meter/exposition.h"

#define NAME     "isthmus_policy_verdicts_total"
#define OVERFLOW "overflow"

struct verdict_counters {
    uint64_t n[SAIDS];
    struct str policy;
    char name[];
};

static const char *const words[SAIDS] = {
    [SAID_ALLOW] = "allow",           [SAID_DENY] = "deny",
    [SAID_AUDIT] = "audit",           [SAID_WOULD_ALLOW] = "would-allow",
    [SAID_WOULD_DENY] = "would-deny",
};

struct verdict_counters *verdicts_of(struct verdicts *verdicts, struct str policy)
{
    struct str name = str_is_empty(policy) ? STR("none") : policy;
    struct verdict_counters *counters = map_find(&verdicts->by_policy, name);

    if (counters)
        return counters;
    struct verdict_counters *overflow = map_find(&verdicts->by_policy, STR(OVERFLOW));
    if (verdicts->by_policy.len >= VERDICTS_POLICIES_MAX + (overflow ? 1u : 0u)) {
        if (overflow)
            return overflow;
        name = STR(OVERFLOW);
    }
    counters = mem_zalloc(sizeof(*counters) + name.len);
    memcpy(counters->name, name.ptr, name.len);
    counters->policy = str_of(counters->name, name.len);
    (void)map_put(&verdicts->by_policy, counters->policy, counters);
    return counters;
}

void verdict_count(struct verdict_counters *counters, enum verdict_said said, uint64_t n)
{
    counters->n[said] += n;
}

void verdicts_merge(struct verdicts *into, const struct verdicts *from)
{
    struct str policy;
    void *value;

    for (size_t idx = 0; map_next(&from->by_policy, &idx, &policy, &value);) {
        const struct verdict_counters *counters = value;
        struct verdict_counters *sums = verdicts_of(into, policy);
        for (unsigned i = 0; i < SAIDS; i++)
            sums->n[i] += counters->n[i];
    }
}

void verdicts_write(const struct verdicts *verdicts, struct text *out)
{
    struct str policy;
    void *value;

    exposition_head(out, NAME, "counter",
                    "Verdicts by the policy that decided and what it said (unstable)");
    for (size_t idx = 0; map_next(&verdicts->by_policy, &idx, &policy, &value);) {
        const struct verdict_counters *counters = value;
        for (unsigned i = 0; i < SAIDS; i++) {
            const size_t before = out->len;
            if (counters->n[i] == 0)
                continue;
            text_addf(out, NAME "{");
            exposition_label(out, "policy", policy);
            text_addf(out, ",verdict=\"%s\"} %llu\n", words[i], (unsigned long long)counters->n[i]);
            if (out->truncated && out->ptr) { /* a sample is whole or not there */
                out->len = before;
                out->ptr[before] = '\0';
            }
        }
    }
}

void verdicts_fini(struct verdicts *verdicts)
{
    struct str policy;
    void *value;

    for (size_t idx = 0; map_next(&verdicts->by_policy, &idx, &policy, &value);)
        mem_free(value);
    map_fini(&verdicts->by_policy);
}
