#include "config/policy.h"

#include <string.h>

/* Copies: everything a policy says, so that the resource it came from may go. */

static struct string_match *copy_strings(struct arena *arena, const struct string_match *from,
                                         size_t n, bool are_principals)
{
    struct string_match *to = arena_new_array(arena, struct string_match, n);
    for (size_t i = 0; i < n; i++) {
        struct str value = from[i].value;
        /* Principals are compared without the scheme; manifests of other hands may carry it. */
        if (are_principals && from[i].kind != MATCH_SUFFIX &&
            str_starts_with(value, STR("spiffe://")))
            value = str_sub(value, sizeof("spiffe://") - 1, value.len);
        to[i] = (struct string_match){from[i].kind, arena_str(arena, value)};
    }
    return to;
}

static struct cidr *copy_cidrs(struct arena *arena, const struct cidr *from, size_t n)
{
    struct cidr *to = arena_new_array(arena, struct cidr, n);
    if (n > 0)
        memcpy(to, from, n * sizeof(*from));
    return to;
}

static uint16_t *copy_ports(struct arena *arena, const uint16_t *from, size_t n)
{
    uint16_t *to = arena_new_array(arena, uint16_t, n);
    if (n > 0)
        memcpy(to, from, n * sizeof(*from));
    return to;
}

static struct model_match copy_match(struct arena *arena, const struct model_match *from)
{
    struct model_match to = *from; /* the counts and the flag */
    to.namespaces = copy_strings(arena, from->namespaces, from->n_namespaces, false);
    to.not_namespaces = copy_strings(arena, from->not_namespaces, from->n_not_namespaces, false);
    to.principals = copy_strings(arena, from->principals, from->n_principals, true);
    to.not_principals = copy_strings(arena, from->not_principals, from->n_not_principals, true);
    to.source_ips = copy_cidrs(arena, from->source_ips, from->n_source_ips);
    to.not_source_ips = copy_cidrs(arena, from->not_source_ips, from->n_not_source_ips);
    to.destination_ips = copy_cidrs(arena, from->destination_ips, from->n_destination_ips);
    to.not_destination_ips =
        copy_cidrs(arena, from->not_destination_ips, from->n_not_destination_ips);
    to.ports = copy_ports(arena, from->ports, from->n_ports);
    to.not_ports = copy_ports(arena, from->not_ports, from->n_not_ports);
    return to;
}

static struct model_clause copy_clause(struct arena *arena, const struct model_clause *from)
{
    struct model_match *matches = arena_new_array(arena, struct model_match, from->n_matches);
    for (size_t i = 0; i < from->n_matches; i++)
        matches[i] = copy_match(arena, &from->matches[i]);
    return (struct model_clause){matches, from->n_matches};
}

static struct model_rule copy_rule(struct arena *arena, const struct model_rule *from)
{
    struct model_clause *clauses = arena_new_array(arena, struct model_clause, from->n_clauses);
    for (size_t i = 0; i < from->n_clauses; i++)
        clauses[i] = copy_clause(arena, &from->clauses[i]);
    return (struct model_rule){clauses, from->n_clauses};
}

const struct policy *policy_compile(struct arena *arena, const struct model_policy *model)
{
    struct policy *policy = arena_new(arena, struct policy);
    struct model_rule *rules = arena_new_array(arena, struct model_rule, model->n_rules);
    for (size_t i = 0; i < model->n_rules; i++)
        rules[i] = copy_rule(arena, &model->rules[i]);
    policy->key =
        arena_printf(arena, "%.*s/%.*s", STR_ARG(model->namespace_), STR_ARG(model->name));
    policy->action = model->action;
    policy->dry_run = model->dry_run;
    policy->revision = model->revision;
    policy->rules = rules;
    policy->n_rules = model->n_rules;
    return policy;
}

/* Matching. */

/* Nothing matches an empty subject: who has no identity is nobody's "*". */
static bool string_matches(const struct string_match *match, struct str subject)
{
    if (str_is_empty(subject))
        return false;
    switch (match->kind) {
    case MATCH_EXACT: return str_eq(subject, match->value);
    case MATCH_PREFIX: return str_starts_with(subject, match->value);
    case MATCH_SUFFIX: return str_ends_with(subject, match->value);
    case MATCH_PRESENCE: return true;
    }
    return false;
}

static bool any_string(const struct string_match *matches, size_t n, struct str subject)
{
    for (size_t i = 0; i < n; i++)
        if (string_matches(&matches[i], subject))
            return true;
    return false;
}

static bool any_cidr(const struct cidr *cidrs, size_t n, const struct ip *ip)
{
    for (size_t i = 0; i < n; i++)
        if (cidr_contains(&cidrs[i], ip))
            return true;
    return false;
}

static bool any_port(const uint16_t *ports, size_t n, uint16_t port)
{
    for (size_t i = 0; i < n; i++)
        if (ports[i] == port)
            return true;
    return false;
}

static bool match_says_nothing(const struct model_match *m)
{
    return m->n_namespaces + m->n_not_namespaces + m->n_principals + m->n_not_principals +
               m->n_source_ips + m->n_not_source_ips + m->n_destination_ips +
               m->n_not_destination_ips + m->n_ports + m->n_not_ports ==
           0;
}

static bool who_matches(const struct model_match *m, const struct policy_question *q)
{
    return (m->n_namespaces == 0 || any_string(m->namespaces, m->n_namespaces, q->namespace_)) &&
           !any_string(m->not_namespaces, m->n_not_namespaces, q->namespace_) &&
           (m->n_principals == 0 || any_string(m->principals, m->n_principals, q->principal)) &&
           !any_string(m->not_principals, m->n_not_principals, q->principal);
}

static bool where_matches(const struct model_match *m, const struct policy_question *q)
{
    return (m->n_source_ips == 0 || any_cidr(m->source_ips, m->n_source_ips, &q->source)) &&
           !any_cidr(m->not_source_ips, m->n_not_source_ips, &q->source) &&
           (m->n_destination_ips == 0 ||
            any_cidr(m->destination_ips, m->n_destination_ips, &q->destination)) &&
           !any_cidr(m->not_destination_ips, m->n_not_destination_ips, &q->destination) &&
           (m->n_ports == 0 || any_port(m->ports, m->n_ports, q->port)) &&
           !any_port(m->not_ports, m->n_not_ports, q->port);
}

/* What this version cannot evaluate is held against the connection: it never allows and never keeps
 * from denying. */
static bool match_matches(const struct model_match *m, enum policy_action action,
                          const struct policy_question *q)
{
    if (m->has_unknown && action == POLICY_ALLOW)
        return false;
    if (match_says_nothing(m))
        return m->has_unknown;
    return who_matches(m, q) && where_matches(m, q);
}

static bool clause_matches(const struct model_clause *clause, enum policy_action action,
                           const struct policy_question *q)
{
    for (size_t i = 0; i < clause->n_matches; i++)
        if (match_matches(&clause->matches[i], action, q))
            return true;
    return clause->n_matches == 0;
}

static bool rule_matches(const struct model_rule *rule, enum policy_action action,
                         const struct policy_question *q)
{
    for (size_t i = 0; i < rule->n_clauses; i++)
        if (!clause_matches(&rule->clauses[i], action, q))
            return false;
    return true;
}

static bool policy_matches(const struct policy *policy, const struct policy_question *q,
                           size_t *out_rule_idx)
{
    for (size_t i = 0; i < policy->n_rules; i++) {
        if (rule_matches(&policy->rules[i], policy->action, q)) {
            *out_rule_idx = i;
            return true;
        }
    }
    return false;
}

/* The first policy of an action and mode that matches. */
static struct policy_hit first_match(const struct policy *const *policies, size_t n_policies,
                                     enum policy_action action, bool dry_run,
                                     const struct policy_question *q)
{
    struct policy_hit hit = {.mode = dry_run ? POLICY_DRY_RUN : POLICY_ENFORCED};
    for (size_t i = 0; i < n_policies; i++) {
        if (policies[i]->action != action || policies[i]->dry_run != dry_run ||
            !policy_matches(policies[i], q, &hit.rule_idx))
            continue;
        hit.policy = policies[i]->key;
        hit.revision = policies[i]->revision;
        break;
    }
    return hit;
}

static bool has(const struct policy *const *policies, size_t n_policies, enum policy_action action,
                bool dry_run)
{
    for (size_t i = 0; i < n_policies; i++)
        if (policies[i]->action == action && policies[i]->dry_run == dry_run)
            return true;
    return false;
}

static void decide(struct policy_answer *answer, bool allowed, const char *sentence)
{
    answer->allowed = allowed;
    answer->action = allowed ? POLICY_ALLOW : POLICY_DENY;
    answer->sentence = sentence;
}

static void decide_by(struct policy_answer *answer, bool allowed, const struct policy_hit *hit,
                      const char *sentence)
{
    decide(answer, allowed, sentence);
    answer->policy = hit->policy;
    answer->has_rule = true;
    answer->rule_idx = hit->rule_idx;
    answer->revision = hit->revision;
}

static bool is_hit(const struct policy_hit *hit)
{
    return !str_is_empty(hit->policy);
}

static void ask_enforced(const struct policy *const *policies, size_t n_policies,
                         bool policy_missing, const struct policy_question *q,
                         struct policy_answer *answer)
{
    struct policy_hit hit = first_match(policies, n_policies, POLICY_DENY, false, q);
    if (is_hit(&hit)) {
        decide_by(answer, false, &hit, "explicitly denied by");
        return;
    }
    if (policy_missing) {
        decide(answer, false, "refers to a policy that is not there");
        return;
    }
    if (!has(policies, n_policies, POLICY_ALLOW, false)) {
        decide(answer, true, "no allow policies");
        return;
    }
    hit = first_match(policies, n_policies, POLICY_ALLOW, false, q);
    if (is_hit(&hit))
        decide_by(answer, true, &hit, "allowed by");
    else
        decide(answer, false, "allow policies exist, but none allowed");
}

/* A dry-run ALLOW only matters where no enforced one has matched. */
static void ask_dry_run(const struct policy *const *policies, size_t n_policies,
                        const struct policy_question *q, struct policy_answer *answer)
{
    struct policy_dry_run *dry = &answer->dry_run;
    dry->has_allow = has(policies, n_policies, POLICY_ALLOW, true);
    dry->is_asked = dry->has_allow || has(policies, n_policies, POLICY_DENY, true);
    if (!dry->is_asked)
        return;
    dry->deny = first_match(policies, n_policies, POLICY_DENY, true, q);
    dry->allow = first_match(policies, n_policies, POLICY_ALLOW, true, q);
    const bool is_denied_by_policy = !answer->allowed && answer->has_rule;
    const bool is_allowed_by_policy = answer->allowed && answer->has_rule;
    dry->would_deny = !answer->allowed;
    dry->sentence = "would change nothing";
    if (is_hit(&dry->deny)) {
        dry->would_deny = true;
        dry->sentence = "would be denied by";
    } else if (dry->has_allow && is_hit(&dry->allow) && !is_denied_by_policy &&
               !is_allowed_by_policy) {
        dry->would_deny = false;
        dry->sentence = "would be allowed by";
    } else if (dry->has_allow && answer->allowed && !is_allowed_by_policy) {
        dry->would_deny = true;
        dry->sentence = "would be denied because no dry-run allow matched";
    }
}

static void ask_audits(const struct policy *const *policies, size_t n_policies,
                       const struct policy_question *q, struct policy_answer *answer)
{
    size_t rule_idx;
    for (size_t i = 0; i < n_policies; i++) {
        if (policies[i]->action != POLICY_AUDIT || !policy_matches(policies[i], q, &rule_idx))
            continue;
        if (answer->n_audits_matched++ < POLICY_AUDITS_MAX)
            answer->audits[answer->n_audits++] = (struct policy_hit){
                policies[i]->key, rule_idx, policies[i]->dry_run ? POLICY_DRY_RUN : POLICY_ENFORCED,
                policies[i]->revision};
    }
}

struct policy_answer policy_ask(const struct policy *const *policies, size_t n_policies,
                                bool policy_missing, const struct policy_question *question)
{
    struct policy_answer answer = {0};
    for (size_t i = 0; i < n_policies; i++)
        answer.revision += policies[i]->revision;
    ask_enforced(policies, n_policies, policy_missing, question, &answer);
    ask_dry_run(policies, n_policies, question, &answer);
    ask_audits(policies, n_policies, question, &answer);
    return answer;
}
