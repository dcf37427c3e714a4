/* Fields are looked at in the order in which policy_match.c asks them, so that "the first that
 * failed" is what the verdict saw. */
#include "config/policy_explain.h"

#include <stdlib.h>

#include "config/policy_match.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"

#define VALUES_SHOWN       3
#define ALTERNATIVES_SHOWN 4

/* ---- values ---- */

/* Of a field that failed: a positive one with no value that matches, a not_ one with one that does.
 */
static void begin_field(struct text *out, const char *field, struct str subject, bool is_not)
{
    text_addf(out, "%s: %.*s is %s ", field, STR_ARG(subject), is_not ? "one of" : "none of");
}

static void end_field(struct text *out, size_t n)
{
    if (n > VALUES_SHOWN)
        text_addf(out, " and %zu more", n - VALUES_SHOWN);
}

static const char *comma(size_t i)
{
    return i > 0 ? ", " : "";
}

static void add_pattern(struct text *out, const struct string_match *match)
{
    const char *before = match->kind == MATCH_SUFFIX || match->kind == MATCH_PRESENCE ? "*" : "";
    const char *behind = match->kind == MATCH_PREFIX ? "*" : "";
    text_addf(out, "%s%.*s%s", before, STR_ARG(match->value), behind);
}

static bool strings_fail(struct text *out, const char *field, const struct string_match *values,
                         size_t n, struct str subject, bool is_not)
{
    if (n == 0 || policy_any_string(values, n, subject) != is_not)
        return false;
    if (str_is_empty(subject)) {
        text_addf(out, "%s: the source has no such identity", field);
        return true;
    }
    begin_field(out, field, subject, is_not);
    for (size_t i = 0; i < n && i < VALUES_SHOWN; i++) {
        text_addf(out, "%s", comma(i));
        add_pattern(out, &values[i]);
    }
    end_field(out, n);
    return true;
}

static bool accounts_fail(struct text *out, const char *field, const struct account_match *values,
                          size_t n, const struct policy_question *question, bool is_not)
{
    if (n == 0 || policy_any_account(values, n, question) != is_not)
        return false;
    if (str_is_empty(question->service_account)) {
        text_addf(out, "%s: the source has no such identity", field);
        return true;
    }
    text_addf(out, "%s: %.*s/%.*s is %s ", field, STR_ARG(question->namespace_),
              STR_ARG(question->service_account), is_not ? "one of" : "none of");
    for (size_t i = 0; i < n && i < VALUES_SHOWN; i++)
        text_addf(out, "%s%.*s/%.*s", comma(i), STR_ARG(values[i].namespace_),
                  STR_ARG(values[i].name));
    end_field(out, n);
    return true;
}

static bool ranges_fail(struct text *out, const char *field, const struct cidr *values, size_t n,
                        const struct ip *ip, bool is_not)
{
    char buf[IP_TEXT_MAX];
    if (n == 0 || policy_any_cidr(values, n, ip) != is_not)
        return false;
    begin_field(out, field, ip->len == 0 ? STR("an unknown address") : str_from(ip_text(ip, buf)),
                is_not);
    for (size_t i = 0; i < n && i < VALUES_SHOWN; i++)
        text_addf(out, "%s%s/%u", comma(i), ip_text(&values[i].ip, buf), values[i].prefix_len);
    end_field(out, n);
    return true;
}

static bool ports_fail(struct text *out, const char *field, const uint16_t *values, size_t n,
                       uint16_t port, bool is_not)
{
    if (n == 0 || policy_any_port(values, n, port) != is_not)
        return false;
    text_addf(out, "%s: %u is %s ", field, port, is_not ? "one of" : "none of");
    for (size_t i = 0; i < n && i < VALUES_SHOWN; i++)
        text_addf(out, "%s%u", comma(i), values[i]);
    end_field(out, n);
    return true;
}

/* ---- matches and rules ---- */

static bool who_fails(struct text *out, const struct model_match *m,
                      const struct policy_asked *asked)
{
    const struct policy_question *q = asked->question;
    return strings_fail(out, "principals", m->principals, m->n_principals, q->principal, false) ||
           strings_fail(out, "notPrincipals", m->not_principals, m->n_not_principals, q->principal,
                        true) ||
           strings_fail(out, "namespaces", m->namespaces, m->n_namespaces, q->namespace_, false) ||
           strings_fail(out, "notNamespaces", m->not_namespaces, m->n_not_namespaces, q->namespace_,
                        true) ||
           accounts_fail(out, "serviceAccounts", m->accounts, m->n_accounts, q, false) ||
           accounts_fail(out, "notServiceAccounts", m->not_accounts, m->n_not_accounts, q, true) ||
           strings_fail(out, "trustDomains", m->trust_domains, m->n_trust_domains,
                        asked->trust_domain, false) ||
           strings_fail(out, "notTrustDomains", m->not_trust_domains, m->n_not_trust_domains,
                        asked->trust_domain, true);
}

static bool where_fails(struct text *out, const struct model_match *m,
                        const struct policy_question *q)
{
    return ranges_fail(out, "ipBlocks", m->source_ips, m->n_source_ips, &q->source, false) ||
           ranges_fail(out, "notIpBlocks", m->not_source_ips, m->n_not_source_ips, &q->source,
                       true) ||
           ranges_fail(out, "destination.ip", m->destination_ips, m->n_destination_ips,
                       &q->destination, false) ||
           ranges_fail(out, "not destination.ip", m->not_destination_ips, m->n_not_destination_ips,
                       &q->destination, true) ||
           ports_fail(out, "ports", m->ports, m->n_ports, q->port, false) ||
           ports_fail(out, "notPorts", m->not_ports, m->n_not_ports, q->port, true);
}

static void add_why_not(struct text *out, const struct model_match *match,
                        enum policy_action action, const struct policy_asked *asked)
{
    if (!policy_match_is_dead(match, action))
        (void)(who_fails(out, match, asked) || where_fails(out, match, asked->question));
    else if (match->needs_http)
        text_addf(out, "asks for what only HTTP shows, which allows nobody here");
    else if (match->has_unknown)
        text_addf(out, "asks for what this version does not know, which allows nobody");
    else
        text_addf(out, "asks for nothing, which matches nobody");
}

static const struct model_clause *failing_clause(const struct model_rule *rule,
                                                 enum policy_action action,
                                                 const struct policy_asked *asked)
{
    for (size_t i = 0; i < rule->n_clauses; i++) {
        struct model_clause *clause = &rule->clauses[i];
        const struct model_rule alone = {clause, 1};
        if (!policy_rule_matches(&alone, action, asked))
            return clause;
    }
    return NULL;
}

static struct str why_not(struct arena *arena, const struct model_rule *rule,
                          enum policy_action action, const struct policy_asked *asked)
{
    const struct model_clause *clause = failing_clause(rule, action, asked);
    struct text out = {0};
    for (size_t i = 0; clause && i < clause->n_matches && i < ALTERNATIVES_SHOWN; i++) {
        text_addf(&out, "%s", i > 0 ? "; " : "");
        add_why_not(&out, &clause->matches[i], action, asked);
    }
    if (clause && clause->n_matches > ALTERNATIVES_SHOWN)
        text_addf(&out, "; and %zu more alternatives", clause->n_matches - ALTERNATIVES_SHOWN);
    const struct str text = arena_str(arena, text_str(&out));
    text_fini(&out);
    return text;
}

/* ---- lines ---- */

struct explaining {
    struct arena *arena;
    const struct policy_asked *asked;
    struct policy_line *lines;
    size_t n_lines, n_misses, n_left_out;
};

static void add_miss(struct explaining *to, const struct policy *policy, size_t rule_idx)
{
    const bool has_rule = rule_idx < policy->n_rules;
    if (to->n_misses++ >= EXPLAIN_LINES_MAX) {
        to->n_left_out++;
        return;
    }
    to->lines[to->n_lines++] = (struct policy_line){
        .policy = policy,
        .has_rule = has_rule,
        .rule_idx = rule_idx,
        .why_not = has_rule
                       ? why_not(to->arena, &policy->rules[rule_idx], policy->action, to->asked)
                       : STR("has no rules, which match nobody"),
    };
}

static void explain_policy(struct explaining *to, const struct policy *policy)
{
    for (size_t i = 0; i < policy->n_rules; i++) {
        if (!policy_rule_matches(&policy->rules[i], policy->action, to->asked)) {
            add_miss(to, policy, i);
            continue;
        }
        to->lines[to->n_lines++] = (struct policy_line){policy, true, i, true, {0}};
        return;
    }
    if (policy->n_rules == 0)
        add_miss(to, policy, 0);
}

static int compare_pointers(const void *a, const void *b)
{
    return policy_compare(*(const struct policy *const *)a, *(const struct policy *const *)b);
}

/* Those that hold on the port, in the order in which they decide. The caller frees the array. */
static const struct policy **gather(const struct policy_set *set, uint16_t port, size_t *out_n)
{
    size_t n = 0, cap = 1;
    for (size_t i = 0; i < set->n_layers; i++)
        cap += set->layers[i]->n_policies;
    const struct policy **policies = mem_new_array(const struct policy *, cap);
    for (size_t i = 0; i < set->n_layers; i++)
        for (size_t j = 0;
             policy_layer_holds(set->layers[i], port) && j < set->layers[i]->n_policies; j++)
            policies[n++] = set->layers[i]->policies[j];
    qsort(policies, n, sizeof(const struct policy *), compare_pointers);
    *out_n = n;
    return policies;
}

/* At most: every rule, or the one line of a policy without any. */
static size_t count_misses(const struct policy **policies, size_t n)
{
    size_t misses = 0;
    for (size_t i = 0; i < n && misses < EXPLAIN_LINES_MAX; i++)
        misses += policies[i]->n_rules > 0 ? policies[i]->n_rules : 1;
    return misses < EXPLAIN_LINES_MAX ? misses : EXPLAIN_LINES_MAX;
}

void policy_explain(const struct policy_set *set, const struct policy_question *question,
                    struct arena *arena, struct policy_explanation *out_explanation)
{
    const struct policy_asked asked = policy_asked_of(question);
    struct explaining to = {.arena = arena, .asked = &asked};
    size_t n;
    const struct policy **policies = gather(set, question->port, &n);
    to.lines = arena_new_array(arena, struct policy_line, n + count_misses(policies, n));
    for (size_t i = 0; i < n; i++)
        explain_policy(&to, policies[i]);
    mem_free(policies);
    *out_explanation = (struct policy_explanation){
        .answer = policy_ask(set, question),
        .lines = to.lines,
        .n_lines = to.n_lines,
        .n_left_out = to.n_left_out,
    };
}

void policy_answer_text(const struct policy_answer *answer, struct text *out)
{
    text_addf(out, "%s: %s", answer->allowed ? "allowed" : "denied", answer->sentence);
    if (!str_is_empty(answer->policy))
        text_addf(out, " %.*s", STR_ARG(answer->policy));
    if (answer->has_rule)
        text_addf(out, ", rule %zu", answer->rule_idx);
}
