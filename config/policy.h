/*
 * policy.h - compiled authorization policies and the one function that asks them.
 *
 * Semantics are Istio's as ztunnel evaluates them at L4, closed in doubt:
 *   1. a DENY policy that matches denies; 2. with no ALLOW policy at all it is allowed; 3. an ALLOW
 * policy that matches allows; 4. else denied. Dry-run policies are evaluated and reported, never
 * decisive. Rules are alternatives, clauses must all match, matches are alternatives, fields must
 * all match, values are alternatives, not_ values must all fail. A policy without rules never
 * matches; a rule without clauses and a clause without matches do; a wholly empty match never does,
 * except one with has_unknown in a DENY policy, which does.
 *
 * Source: Istio AuthorizationPolicy; ztunnel rbac (see docs/policy.md).
 * Thread: any; immutable.
 */
#ifndef ISTHMUS_CONFIG_POLICY_H
#define ISTHMUS_CONFIG_POLICY_H

#include "config/model.h"

struct policy {
    struct str key; /* "<namespace>/<name>" */
    enum policy_action action;
    bool dry_run;
    uint64_t revision;
    const struct model_rule *rules;
    size_t n_rules;
};

/* Copies a policy into the arena. */
const struct policy *policy_compile(struct arena *arena, const struct model_policy *model);

struct policy_question {
    struct str
        principal; /* "td/ns/x/sa/y" of the verified source, "" when there is none (plaintext) */
    struct str namespace_; /* of the source, from its principal; "" when unknown */
    struct ip source, destination;
    uint16_t port; /* of the workload, not of the service */
};

enum policy_mode { POLICY_ENFORCED, POLICY_DRY_RUN };

#define POLICY_AUDITS_MAX 4 /* AUDIT policies named in an answer; the rest are counted */

struct policy_hit { /* a policy that matched; policy "" when none did */
    struct str policy;
    size_t rule_idx;
    enum policy_mode mode;
    uint64_t revision;
};

/* What the dry-run policies would have done, were they in force beside the others. */
struct policy_dry_run {
    bool is_asked;           /* there is a dry-run policy to ask */
    bool would_deny;         /* the verdict would have been to deny */
    struct policy_hit deny;  /* the DENY policy that matched */
    bool has_allow;          /* there are dry-run ALLOW policies */
    struct policy_hit allow; /* the one of them that matched */
    const char
        *sentence; /* "would be denied by", "would be denied because no dry-run allow matched",
                      "would be allowed by", "would change nothing"; NULL when not asked */
};

struct policy_answer {
    bool allowed;
    enum policy_action action; /* POLICY_ALLOW or POLICY_DENY, as allowed says */
    enum policy_mode mode;     /* of what decided: always POLICY_ENFORCED; see dry_run */
    struct str policy;         /* which decided; "" when none did */
    bool has_rule;             /* a rule of it decided: rule_idx, from 0 */
    size_t rule_idx;
    uint64_t revision; /* of that policy; of all policies that apply when none decided */
    const char
        *sentence; /* "explicitly denied by", "allowed by", "no allow policies", "allow policies
                      exist, but none allowed", "refers to a policy that is not there" */
    struct policy_hit audits[POLICY_AUDITS_MAX]; /* AUDIT policies that matched */
    size_t n_audits, n_audits_matched;           /* in the list, and in all */
    struct policy_dry_run dry_run;
};

struct policy_answer policy_ask(const struct policy *const *policies, size_t n_policies,
                                bool policy_missing, const struct policy_question *question);

#endif
