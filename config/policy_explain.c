/* Fields are looked at in the order in which policy_match.c asks them, so that "the first that
 * failed" is what the verdict saw. */
#include "config/policy_explain.h"

#include <stdlib.h>

#include "config/policy_http.h"
#include "config/policy_match.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"

#define VALUES_SHOWN       3
#define ALTERNATIVES_SHOWN 4
#define SUBJECT_SHOWN      200 /* bytes */

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

/* ---- what only a request shows ---- */

static void add_claim(struct text *out, struct str path)
{
    struct str rest = path, name;
    while (str_split(rest, '\0', &name, &rest))
        text_addf(out, "[%.*s]", STR_ARG(name));
    text_addf(out, "[%.*s]", STR_ARG(rest));
}

/* As a policy writes it. */
static void add_field_name(struct text *out, const struct request_field *field, bool is_not)
{
    static const char *const names[][2] = {
        [REQUEST_METHOD] = {"methods", "notMethods"},
        [REQUEST_HOST] = {"hosts", "notHosts"},
        [REQUEST_PATH] = {"paths", "notPaths"},
        [REQUEST_HEADER] = {"request.headers", "not request.headers"},
        [REQUEST_TOKEN_PRINCIPAL] = {"requestPrincipals", "notRequestPrincipals"},
        [REQUEST_TOKEN_AUDIENCE] = {"request.auth.audiences", "not request.auth.audiences"},
        [REQUEST_TOKEN_PRESENTER] = {"request.auth.presenter", "not request.auth.presenter"},
        [REQUEST_TOKEN_CLAIM] = {"request.auth.claims", "not request.auth.claims"},
    };
    text_addf(out, "%s", names[field->subject][is_not]);
    if (field->subject == REQUEST_HEADER)
        text_addf(out, "[%.*s]", STR_ARG(field->name));
    if (field->subject == REQUEST_TOKEN_CLAIM)
        add_claim(out, field->name);
}

/* One of what the request has there; "" is nothing. */
static void add_subject(struct text *out, size_t before, struct str value)
{
    if (str_is_empty(value))
        return;
    text_addf(out, "%s%.*s%s", out->len > before ? ", " : "",
              STR_ARG(str_sub(value, 0, SUBJECT_SHOWN)), value.len > SUBJECT_SHOWN ? "..." : "");
}

/* An empty header is one all the same. */
static void add_header(struct text *out, size_t before, struct str value)
{
    if (str_is_empty(value))
        text_addf(out, "%s\"\"", out->len > before ? ", " : "");
    else
        add_subject(out, before, value);
}

static void add_path(struct text *out, size_t before, const struct policy_request *request)
{
    add_subject(out, before, request->path);
    if (!str_is_empty(request->lax_path) && !str_eq(request->lax_path, request->path))
        text_addf(out, " (liberally %.*s)", STR_ARG(str_sub(request->lax_path, 0, SUBJECT_SHOWN)));
}

static void add_token_subjects(struct text *out, size_t before, const struct request_field *field,
                               const struct policy_token *token)
{
    if (field->subject == REQUEST_TOKEN_PRINCIPAL)
        add_subject(out, before, token->principal);
    if (field->subject == REQUEST_TOKEN_PRESENTER)
        add_subject(out, before, token->presenter);
    for (size_t i = 0; field->subject == REQUEST_TOKEN_AUDIENCE && i < token->n_audiences; i++)
        add_subject(out, before, token->audiences[i]);
    for (size_t i = 0; field->subject == REQUEST_TOKEN_CLAIM && i < token->n_claims; i++)
        for (size_t v = 0; v < token->claims[i].n_values; v++)
            if (str_eq(token->claims[i].path, field->name))
                add_subject(out, before, token->claims[i].values[v]);
}

static void add_subjects(struct text *out, const struct request_field *field,
                         const struct policy_request *request)
{
    const size_t before = out->len;
    if (field->subject == REQUEST_METHOD)
        add_subject(out, before, request->method);
    else if (field->subject == REQUEST_HOST)
        add_subject(out, before, request->host);
    else if (field->subject == REQUEST_PATH)
        add_path(out, before, request);
    else if (request->token)
        add_token_subjects(out, before, field, request->token);
    for (size_t i = 0; field->subject == REQUEST_HEADER && i < request->n_headers; i++)
        if (policy_http_is_named(request->headers[i].name, field->name))
            add_header(out, before, request->headers[i].value);
    if (out->len == before)
        text_addf(out, "%s",
                  field->subject >= REQUEST_TOKEN_PRINCIPAL && !request->token
                      ? "a request without a token"
                      : "a request without it");
}

static bool half_fails(struct text *out, const struct request_field *field, bool is_not,
                       enum policy_action action, const struct policy_shown *shown)
{
    const struct string_match *values = is_not ? field->not_values : field->values;
    const size_t n = is_not ? field->n_not_values : field->n_values;
    if (n == 0 || (is_not ? policy_http_any_not_value(field, action, shown)
                          : policy_http_any_value(field, action, shown)) != is_not)
        return false;
    add_field_name(out, field, is_not);
    text_addf(out, ": ");
    add_subjects(out, field, shown->request);
    text_addf(out, " is %s ", is_not ? "one of" : "none of");
    for (size_t i = 0; i < n && i < VALUES_SHOWN; i++) {
        text_addf(out, "%s", comma(i));
        add_pattern(out, &values[i]);
    }
    end_field(out, n);
    return true;
}

static bool request_fails(struct text *out, const struct model_match *m, enum policy_action action,
                          const struct policy_shown *shown)
{
    const struct policy_request *request = shown->request;
    for (size_t i = 0; request && i < m->n_http; i++)
        if (half_fails(out, &m->http[i], false, action, shown) ||
            half_fails(out, &m->http[i], true, action, shown))
            return true;
    for (size_t i = 0; !request && i < m->n_http; i++) {
        text_addf(out, "%s", comma(i));
        add_field_name(out, &m->http[i], m->http[i].n_values == 0);
    }
    if (!request && m->n_http > 0)
        text_addf(out, ": no request is shown, and without one it allows nobody");
    return !request && m->n_http > 0;
}

/* ---- matches and rules ---- */

/* As the answer takes it: what may match allows nobody, and denies. */
static bool is_match(enum policy_truth truth, enum policy_action action)
{
    return truth == POLICY_YES || (truth == POLICY_MAYBE && action != POLICY_ALLOW);
}

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
        (void)(who_fails(out, match, asked) || where_fails(out, match, asked->question) ||
               request_fails(out, match, action, &asked->shown));
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
        if (!is_match(policy_rule_truth(&alone, action, asked), action))
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

/* A rule that does not match for certain, or the one line of a policy without rules. */
static void add_line(struct explaining *to, const struct policy *policy, size_t rule_idx,
                     enum policy_truth truth)
{
    const bool has_rule = rule_idx < policy->n_rules, matches = is_match(truth, policy->action);
    if (to->n_misses++ >= EXPLAIN_LINES_MAX) {
        to->n_left_out++;
        return;
    }
    struct policy_line *line = &to->lines[to->n_lines++];
    *line = (struct policy_line){.policy = policy,
                                 .has_rule = has_rule,
                                 .rule_idx = rule_idx,
                                 .depends_on_request = truth == POLICY_MAYBE,
                                 .matches = matches};
    if (!has_rule)
        line->why_not = STR("has no rules, which match nobody");
    else if (!matches)
        line->why_not = why_not(to->arena, &policy->rules[rule_idx], policy->action, to->asked);
}

static void explain_policy(struct explaining *to, const struct policy *policy)
{
    for (size_t i = 0; i < policy->n_rules; i++) {
        const enum policy_truth truth =
            policy_rule_truth(&policy->rules[i], policy->action, to->asked);
        if (truth == POLICY_YES) {
            to->lines[to->n_lines++] = (struct policy_line){policy, true, i, false, true, {0}};
            return;
        }
        add_line(to, policy, i, truth);
    }
    if (policy->n_rules == 0)
        add_line(to, policy, 0, POLICY_NO);
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
    struct policy_asked asked;
    struct explaining to = {.arena = arena, .asked = &asked};
    size_t n;
    policy_take_question(&asked, question);
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
    if (answer->depends_on_request)
        text_addf(out, "; a request may be answered otherwise");
}
