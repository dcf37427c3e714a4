/*
 * Fields are sets of values, sorted once. Values that another one covers are left out when they are
 * sorted ("10.1.0.0/16" beside "10.0.0.0/8"), so the only value that can match a subject is the
 * greatest that is not greater than it: one bisection.
 */
#include "config/policy_match.h"

#include <stdlib.h>
#include <string.h>

#include "config/policy_http.h"

/* ---- service accounts ---- */

static int compare_accounts(const void *a, const void *b)
{
    const struct account_match *x = a, *y = b;
    const int order = str_cmp(x->namespace_, y->namespace_);
    return order != 0 ? order : str_cmp(x->name, y->name);
}

size_t policy_sort_accounts(struct account_match *accounts, size_t n)
{
    if (n > 1)
        qsort(accounts, n, sizeof(*accounts), compare_accounts);
    return n;
}

bool policy_any_account(const struct account_match *accounts, size_t n,
                        const struct policy_question *question)
{
    const struct account_match wanted = {question->namespace_, question->service_account};
    if (n == 0 || str_is_empty(wanted.namespace_) || str_is_empty(wanted.name))
        return false;
    return bsearch(&wanted, accounts, n, sizeof(*accounts), compare_accounts) != NULL;
}

/* ---- addresses and ports ---- */

static int compare_ips(const struct ip *a, const struct ip *b)
{
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return memcmp(a->bytes, b->bytes, a->len);
}

static int compare_cidrs(const void *a, const void *b)
{
    const struct cidr *x = a, *y = b;
    const int order = compare_ips(&x->ip, &y->ip);
    return order != 0 ? order : x->prefix_len - y->prefix_len;
}

size_t policy_sort_cidrs(struct cidr *cidrs, size_t n)
{
    size_t len = 0;
    if (n > 1)
        qsort(cidrs, n, sizeof(*cidrs), compare_cidrs);
    for (size_t i = 0; i < n; i++)
        if (len == 0 || !cidr_contains(&cidrs[len - 1], &cidrs[i].ip))
            cidrs[len++] = cidrs[i];
    return len;
}

bool policy_any_cidr(const struct cidr *cidrs, size_t n, const struct ip *ip)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (compare_ips(&cidrs[middle].ip, ip) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && cidr_contains(&cidrs[low - 1], ip);
}

static int compare_ports(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

size_t policy_sort_ports(uint16_t *ports, size_t n)
{
    if (n > 1)
        qsort(ports, n, sizeof(*ports), compare_ports);
    return n;
}

bool policy_any_port(const uint16_t *ports, size_t n, uint16_t port)
{
    return n > 0 && bsearch(&port, ports, n, sizeof(*ports), compare_ports) != NULL;
}

/* ---- matches, clauses, rules ---- */

void policy_take_question(struct policy_asked *out_asked, const struct policy_question *question)
{
    struct str rest;
    out_asked->question = question;
    if (!str_split(question->principal, '/', &out_asked->trust_domain, &rest))
        out_asked->trust_domain = question->principal;
    policy_show(&out_asked->shown, question->request);
}

bool policy_match_says_nothing(const struct model_match *m)
{
    return m->n_namespaces + m->n_not_namespaces + m->n_principals + m->n_not_principals +
               m->n_trust_domains + m->n_not_trust_domains + m->n_accounts + m->n_not_accounts +
               m->n_source_ips + m->n_not_source_ips + m->n_destination_ips +
               m->n_not_destination_ips + m->n_ports + m->n_not_ports + m->n_http ==
           0;
}

bool policy_match_is_dead(const struct model_match *m, enum policy_action action)
{
    return m->has_unknown ? action == POLICY_ALLOW : policy_match_says_nothing(m);
}

static bool who_matches(const struct model_match *m, const struct policy_asked *asked)
{
    const struct policy_question *q = asked->question;
    return (m->n_namespaces == 0 ||
            policy_any_string(m->namespaces, m->n_namespaces, q->namespace_)) &&
           !policy_any_string(m->not_namespaces, m->n_not_namespaces, q->namespace_) &&
           (m->n_principals == 0 ||
            policy_any_string(m->principals, m->n_principals, q->principal)) &&
           !policy_any_string(m->not_principals, m->n_not_principals, q->principal) &&
           (m->n_accounts == 0 || policy_any_account(m->accounts, m->n_accounts, q)) &&
           !policy_any_account(m->not_accounts, m->n_not_accounts, q) &&
           (m->n_trust_domains == 0 ||
            policy_any_string(m->trust_domains, m->n_trust_domains, asked->trust_domain)) &&
           !policy_any_string(m->not_trust_domains, m->n_not_trust_domains, asked->trust_domain);
}

static bool where_matches(const struct model_match *m, const struct policy_question *q)
{
    return (m->n_source_ips == 0 || policy_any_cidr(m->source_ips, m->n_source_ips, &q->source)) &&
           !policy_any_cidr(m->not_source_ips, m->n_not_source_ips, &q->source) &&
           (m->n_destination_ips == 0 ||
            policy_any_cidr(m->destination_ips, m->n_destination_ips, &q->destination)) &&
           !policy_any_cidr(m->not_destination_ips, m->n_not_destination_ips, &q->destination) &&
           (m->n_ports == 0 || policy_any_port(m->ports, m->n_ports, q->port)) &&
           !policy_any_port(m->not_ports, m->n_not_ports, q->port);
}

/* What cannot be evaluated is held against the connection: it never allows and never keeps from
 * denying. */
enum policy_truth policy_match_truth(const struct model_match *match, enum policy_action action,
                                     const struct policy_asked *asked)
{
    if (policy_match_is_dead(match, action) || !who_matches(match, asked) ||
        !where_matches(match, asked->question))
        return POLICY_NO;
    if (match->n_http == 0)
        return POLICY_YES;
    if (!asked->shown.request)
        return POLICY_MAYBE;
    return policy_http_holds(match->http, match->n_http, action, &asked->shown) ? POLICY_YES
                                                                                : POLICY_NO;
}

static enum policy_truth clause_truth(const struct model_clause *clause, enum policy_action action,
                                      const struct policy_asked *asked)
{
    enum policy_truth best = clause->n_matches == 0 ? POLICY_YES : POLICY_NO;
    for (size_t i = 0; i < clause->n_matches && best != POLICY_YES; i++) {
        const enum policy_truth truth = policy_match_truth(&clause->matches[i], action, asked);
        best = truth > best ? truth : best;
    }
    return best;
}

enum policy_truth policy_rule_truth(const struct model_rule *rule, enum policy_action action,
                                    const struct policy_asked *asked)
{
    enum policy_truth worst = POLICY_YES;
    for (size_t i = 0; i < rule->n_clauses && worst != POLICY_NO; i++) {
        const enum policy_truth truth = clause_truth(&rule->clauses[i], action, asked);
        worst = truth < worst ? truth : worst;
    }
    return worst;
}
