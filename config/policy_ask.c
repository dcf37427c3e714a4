/* Asking: the candidates of every layer, and of those that match the first by name. */
#include "config/policy.h"
#include "config/policy_index.h"

/* A rule's number as it is looked for: those that match whatever the request may be come before
 * those that only may. */
#define MAYBE   (UINT32_C(1) << 31)
#define NO_RULE UINT32_MAX

struct first {                   /* of one action and mode */
    const struct policy *policy; /* NULL: none matched */
    uint32_t rule_idx;
    bool is_maybe; /* it only may match, and no other one does for certain */
};

struct asking {
    const struct policy_asked *asked;
    const struct policy_layer *layer; /* the one being asked */
    uint32_t best[2][2];      /* [ALLOW, DENY][enforced, dry-run]: the first that matched in it */
    struct first first[2][2]; /* the same over the layers before */
    struct first audits[POLICY_AUDITS_MAX]; /* sorted */
    size_t n_audits;
    bool has_more_audits, has_maybe, has_maybe_audit, has_allow, has_dry_allow, has_dry_deny;
};

/* Among the first few, sorted, each policy once with its first rule. */
static void add_audit(struct asking *asking, const struct policy *policy, uint32_t rule_idx)
{
    size_t at = 0;
    while (at < asking->n_audits && policy_compare(asking->audits[at].policy, policy) < 0)
        at++;
    if (at < asking->n_audits && asking->audits[at].policy == policy) {
        if (rule_idx < asking->audits[at].rule_idx)
            asking->audits[at].rule_idx = rule_idx;
        return;
    }
    asking->has_more_audits |= asking->n_audits == POLICY_AUDITS_MAX;
    if (at == POLICY_AUDITS_MAX)
        return;
    if (asking->n_audits < POLICY_AUDITS_MAX)
        asking->n_audits++;
    for (size_t i = asking->n_audits - 1; i > at; i--)
        asking->audits[i] = asking->audits[i - 1];
    asking->audits[at] = (struct first){policy, rule_idx, false};
}

static void on_candidate(void *owner, uint32_t number, const struct policy_place *place)
{
    struct asking *asking = owner;
    const struct policy *policy = asking->layer->policies[place->policy_idx];
    const bool is_audit = policy->action == POLICY_AUDIT;
    uint32_t *best =
        is_audit ? NULL : &asking->best[policy->action == POLICY_DENY][policy->dry_run];
    if (best && number >= *best)
        return;
    const enum policy_truth truth =
        policy_rule_truth(&policy->rules[place->rule_idx], policy->action, asking->asked);
    const uint32_t order = truth == POLICY_MAYBE ? number | MAYBE : number;
    if (truth == POLICY_NO)
        return;
    asking->has_maybe |= truth == POLICY_MAYBE;
    if (!best) {
        asking->has_maybe_audit |= truth == POLICY_MAYBE;
        add_audit(asking, policy, place->rule_idx);
    } else if (order < *best) {
        *best = order;
    }
}

static void take_best(struct asking *asking, struct first *first, uint32_t order)
{
    if (order == NO_RULE)
        return;
    const bool is_maybe = order & MAYBE;
    const struct policy_place *place = policy_index_place(asking->layer->index, order & ~MAYBE);
    const struct policy *policy = asking->layer->policies[place->policy_idx];
    const bool is_better = is_maybe != first->is_maybe
                               ? !is_maybe
                               : !first->policy || policy_compare(policy, first->policy) < 0;
    if (!first->policy || is_better)
        *first = (struct first){policy, place->rule_idx, is_maybe};
}

static void ask_layer(struct asking *asking, const struct policy_layer *layer)
{
    asking->layer = layer;
    asking->has_allow |= layer->has_allow;
    asking->has_dry_allow |= layer->has_dry_allow;
    asking->has_dry_deny |= layer->has_dry_deny;
    for (int i = 0; i < 4; i++)
        asking->best[i / 2][i % 2] = NO_RULE;
    policy_index_visit(layer->index, asking->asked, on_candidate, asking);
    for (int i = 0; i < 4; i++)
        take_best(asking, &asking->first[i / 2][i % 2], asking->best[i / 2][i % 2]);
}

/* ---- the answer ---- */

static struct policy_hit hit_of(const struct first *first)
{
    if (!first || !first->policy)
        return (struct policy_hit){0};
    return (struct policy_hit){
        .policy = first->policy->key,
        .rule_idx = first->rule_idx,
        .mode = first->policy->dry_run ? POLICY_DRY_RUN : POLICY_ENFORCED,
        .revision = first->policy->revision,
    };
}

/* What only may match allows nobody. */
static const struct first *certain(const struct first *first)
{
    return first->policy && !first->is_maybe ? first : NULL;
}

static void decide(struct policy_answer *answer, bool allowed, const struct first *by,
                   const char *sentence)
{
    answer->allowed = allowed;
    answer->action = allowed ? POLICY_ALLOW : POLICY_DENY;
    answer->sentence = sentence;
    if (!by)
        return;
    answer->policy = by->policy->key;
    answer->has_rule = true;
    answer->rule_idx = by->rule_idx;
    answer->revision = by->policy->revision;
}

static void decide_enforced(const struct asking *asking, const struct policy_set *set,
                            struct policy_answer *answer)
{
    const struct first *deny = &asking->first[1][POLICY_ENFORCED];
    const struct first *allow = certain(&asking->first[0][POLICY_ENFORCED]);
    answer->revision = set->revision;
    if (deny->policy) {
        decide(answer, false, deny, "explicitly denied by");
    } else if (!str_is_empty(set->missing)) {
        decide(answer, false, NULL, "refers to a policy that is not there");
        answer->policy = set->missing;
    } else if (!asking->has_allow) {
        decide(answer, true, NULL, "no allow policies");
    } else if (allow) {
        decide(answer, true, allow, "allowed by");
    } else {
        decide(answer, false, NULL, "allow policies exist, but none allowed");
    }
}

/* A dry-run ALLOW matters where no DENY and no enforced ALLOW has decided. */
static void decide_dry_run(const struct asking *asking, const struct policy_set *set,
                           struct policy_answer *answer)
{
    struct policy_dry_run *dry = &answer->dry_run;
    const bool is_open = !answer->has_rule && str_is_empty(set->missing);
    dry->has_allow = asking->has_dry_allow;
    dry->is_asked = asking->has_dry_allow || asking->has_dry_deny;
    if (!dry->is_asked)
        return;
    dry->deny = hit_of(&asking->first[1][POLICY_DRY_RUN]);
    dry->allow = hit_of(certain(&asking->first[0][POLICY_DRY_RUN]));
    dry->would_deny = !answer->allowed;
    dry->sentence = "would change nothing";
    if (!str_is_empty(dry->deny.policy)) {
        dry->would_deny = true;
        dry->sentence = "would be denied by";
    } else if (dry->has_allow && is_open) {
        dry->would_deny = str_is_empty(dry->allow.policy);
        dry->sentence = dry->would_deny ? "would be denied because no dry-run allow matched"
                                        : "would be allowed by";
    }
}

/* Nothing is maybe when there is a request. */
static bool depends_on_request(const struct asking *asking, const struct policy_set *set)
{
    const struct first *deny = &asking->first[1][POLICY_ENFORCED];
    const struct first *allow = &asking->first[0][POLICY_ENFORCED];
    const bool is_denied_anyway =
        certain(deny) || !str_is_empty(set->missing) || (asking->has_allow && !allow->policy);
    bool has_maybe = asking->has_maybe_audit;
    for (int i = 0; i < 4; i++)
        has_maybe |= asking->first[i / 2][i % 2].is_maybe;
    return has_maybe && !is_denied_anyway;
}

struct policy_answer policy_ask(const struct policy_set *set,
                                const struct policy_question *question)
{
    struct policy_asked asked;
    struct asking asking = {.asked = &asked};
    struct policy_answer answer = {0};
    policy_take_question(&asked, question);
    for (size_t i = 0; i < set->n_layers; i++)
        if (policy_layer_holds(set->layers[i], question->port))
            ask_layer(&asking, set->layers[i]);
    decide_enforced(&asking, set, &answer);
    decide_dry_run(&asking, set, &answer);
    answer.looks_at_request = asking.has_maybe;
    answer.depends_on_request = asking.has_maybe && depends_on_request(&asking, set);
    for (size_t i = 0; i < asking.n_audits; i++)
        answer.audits[answer.n_audits++] = hit_of(&asking.audits[i]);
    answer.n_audits_matched = answer.n_audits + asking.has_more_audits;
    return answer;
}
