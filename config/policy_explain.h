/*
 * policy_explain.h - why a verdict is what it is: every rule that was in question, and what kept it
 * from matching.
 *
 * Asks the policies one by one, without the index: for people who want to know, not for
 * connections. The verdict itself is policy_ask()'s.
 *
 * Owner: the arena given; lines borrow from the policies. Thread: any.
 */
#ifndef ISTHMUS_CONFIG_POLICY_EXPLAIN_H
#define ISTHMUS_CONFIG_POLICY_EXPLAIN_H

#include "config/policy.h"
#include "proxy/base/text.h"

#define EXPLAIN_LINES_MAX 4096 /* of rules that do not match; those that match are always told */

struct policy_line { /* one rule of one policy */
    const struct policy *policy;
    bool has_rule; /* false: the policy has none, so it never matches */
    size_t rule_idx;
    /* Without a request it may match some requests and not others; matches is then as the answer
     * has it: true of DENY and AUDIT, false of ALLOW. */
    bool depends_on_request;
    bool matches;
    struct str why_not; /* the field that failed first, of each alternative of the first clause that
                           failed: "ports: 8080 is none of 9090"; "" when it matches */
};

struct policy_explanation {
    struct policy_answer answer;
    /* DENY, ALLOW, AUDIT, then by name; of each policy the rules up to the first that
       matches whatever the request may be. */
    const struct policy_line *lines;
    size_t n_lines, n_left_out;
};

void policy_explain(const struct policy_set *set, const struct policy_question *question,
                    struct arena *arena, struct policy_explanation *out_explanation);

/* "denied: explicitly denied by shop/x, rule 0" into out. */
void policy_answer_text(const struct policy_answer *answer, struct text *out);

#endif
