/*
 * plain_policy.h - authorization policies asked the plain way: rule by rule, value by value, out of
 * the model, sharing no code with the compiled form. The reference that the compiled form is
 * compared with.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_TESTS_KIT_PLAIN_POLICY_H
#define ISTHMUS_TESTS_KIT_PLAIN_POLICY_H

#include "config/policy.h"
#include "proxy/base/rng.h"

struct plain_set {
    const struct model_policy *const *policies;
    size_t n_policies;
    bool is_missing; /* the workload refers to one that is not there */
};

/* The same answer as policy_ask(); revisions are left out. */
struct policy_answer plain_policy_ask(const struct plain_set *set,
                                      const struct policy_question *question);

/* One layer with these policies, compiled into the arena, and the answer of the set that it is. */
struct policy_answer compiled_policy_ask(struct arena *arena, const struct policy *const *policies,
                                         size_t n_policies, bool is_missing,
                                         const struct policy_question *question);

/* NULL when both say the same, else what differs. */
const char *policy_answers_differ(const struct policy_answer *a, const struct policy_answer *b);

/* random_policy.c: random policies and questions about them, biased to the values where matching
 * changes its mind. Names sort as they are numbered. */
struct model_policy *random_policy(struct arena *arena, struct rng *rng, size_t number);
/* Without a request. */
struct policy_question random_question(struct arena *arena, struct rng *rng);
const struct policy_request *random_request(struct arena *arena, struct rng *rng);

#endif
