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

struct policy_answer {
    bool allowed;
    struct str policy; /* which decided; "" when none did */
    size_t rule_idx;
    const char
        *sentence; /* "explicitly denied by", "allowed by", "no allow policies", "allow policies
                      exist, but none allowed", "refers to a policy that is not there" */
    struct str dry_run_policy; /* a dry-run DENY that would have denied; "" when none */
};

struct policy_answer policy_ask(const struct policy *const *policies, size_t n_policies,
                                bool policy_missing, const struct policy_question *question);

#endif
