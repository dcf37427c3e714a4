#include "tests/kit/plain_policy.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- matching, as the words of policy.h say it ---- */

enum truth { NO, MAYBE, YES };

static bool glob(const char *pattern, size_t n, const char *text, size_t len)
{
    if (n == 0)
        return len == 0;
    if (pattern[0] != '*')
        return len > 0 && pattern[0] == text[0] && glob(pattern + 1, n - 1, text + 1, len - 1);
    for (size_t skip = 0; skip <= len; skip++)
        if (glob(pattern + 1, n - 1, text + skip, len - skip))
            return true;
    return false;
}

/* Every way to fill the holes. */
static bool template_(const char *pattern, size_t n, const char *text, size_t len)
{
    if (n == 0)
        return len == 0;
    if (n >= 4 && memcmp(pattern, "{**}", 4) == 0) {
        for (size_t skip = 0; skip <= len; skip++)
            if (template_(pattern + 4, n - 4, text + skip, len - skip))
                return true;
        return false;
    }
    if (n >= 3 && memcmp(pattern, "{*}", 3) == 0) {
        for (size_t skip = 1; skip <= len && text[skip - 1] != '/'; skip++)
            if (template_(pattern + 3, n - 3, text + skip, len - skip))
                return true;
        return false;
    }
    return len > 0 && pattern[0] == text[0] && template_(pattern + 1, n - 1, text + 1, len - 1);
}

static bool value_matches(const struct string_match *match, struct str subject)
{
    const struct str value = match->value;
    if (subject.len == 0)
        return false;
    switch (match->kind) {
    case MATCH_EXACT: return subject.len == value.len && !memcmp(subject.ptr, value.ptr, value.len);
    case MATCH_PREFIX:
        return subject.len >= value.len && !memcmp(subject.ptr, value.ptr, value.len);
    case MATCH_SUFFIX:
        return subject.len >= value.len &&
               !memcmp(subject.ptr + subject.len - value.len, value.ptr, value.len);
    case MATCH_PRESENCE: return true;
    case MATCH_GLOB: return glob(value.ptr, value.len, subject.ptr, subject.len);
    case MATCH_TEMPLATE: return template_(value.ptr, value.len, subject.ptr, subject.len);
    }
    return false;
}

static bool any_value(const struct string_match *list, size_t n, struct str subject)
{
    for (size_t i = 0; i < n; i++)
        if (value_matches(&list[i], subject))
            return true;
    return false;
}

static bool any_account(const struct account_match *list, size_t n, const struct policy_question *q)
{
    for (size_t i = 0; i < n; i++)
        if (q->namespace_.len > 0 && q->service_account.len > 0 &&
            str_eq(list[i].namespace_, q->namespace_) && str_eq(list[i].name, q->service_account))
            return true;
    return false;
}

static bool bit_of(const struct ip *ip, unsigned i)
{
    return ip->bytes[i / 8] & (0x80u >> (i % 8));
}

static bool any_range(const struct cidr *list, size_t n, const struct ip *ip)
{
    for (size_t i = 0; i < n; i++) {
        bool is_in = ip->len != 0 && ip->len == list[i].ip.len;
        for (unsigned bit = 0; is_in && bit < list[i].prefix_len; bit++)
            is_in = bit_of(ip, bit) == bit_of(&list[i].ip, bit);
        if (is_in)
            return true;
    }
    return false;
}

static bool any_port(const uint16_t *list, size_t n, uint16_t port)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == port)
            return true;
    return false;
}

static struct str domain_of(struct str principal)
{
    size_t len = 0;
    while (len < principal.len && principal.ptr[len] != '/')
        len++;
    return str_of(principal.ptr, len);
}

/* ---- what a request shows ---- */

static bool any_value_of_any_case(const struct string_match *list, size_t n, struct str host)
{
    char value[64], subject[POLICY_HOST_MAX];
    for (size_t i = 0; i < host.len; i++)
        subject[i] = (char)tolower(host.ptr[i]);
    for (size_t v = 0; v < n; v++) {
        struct string_match match = list[v];
        for (size_t i = 0; i < match.value.len && i < sizeof(value); i++)
            value[i] = (char)tolower(match.value.ptr[i]);
        if (match.value.len <= sizeof(value))
            match.value.ptr = value;
        if (value_matches(&match, str_of(subject, host.len)))
            return true;
    }
    return false;
}

static bool host_matches(const struct string_match *list, size_t n, struct str host, bool in_doubt)
{
    size_t end = host.len;
    if (host.len > POLICY_HOST_MAX)
        return in_doubt;
    if (any_value_of_any_case(list, n, host))
        return true;
    while (end > 0 && host.ptr[end - 1] != ':' && host.ptr[end - 1] != ']')
        end--;
    host.len = end > 0 && host.ptr[end - 1] == ':' ? end - 1 : host.len;
    if (any_value_of_any_case(list, n, host))
        return true;
    host.len -= in_doubt && host.len > 0 && host.ptr[host.len - 1] == '.';
    return any_value_of_any_case(list, n, host);
}

static bool is_like(struct str a, struct str b)
{
    bool is = a.len == b.len;
    for (size_t i = 0; is && i < a.len; i++)
        is = a.ptr[i] == b.ptr[i] || (strchr("-_", a.ptr[i]) && strchr("-_", b.ptr[i]));
    return is;
}

/* The value between any two commas, without blanks around it. */
static bool part_matches(const struct string_match *list, size_t n, struct str value)
{
    size_t n_parts = 1;
    for (size_t i = 0; i < value.len; i++)
        n_parts += value.ptr[i] == ',';
    if (n_parts > POLICY_PARTS_MAX)
        return true;
    for (size_t from = 0, to; from <= value.len; from = to + 1) {
        for (to = from; to < value.len && value.ptr[to] != ',';)
            to++;
        size_t a = from, z = to;
        while (a < z && isblank(value.ptr[a]))
            a++;
        while (a < z && isblank(value.ptr[z - 1]))
            z--;
        if ((from > 0 || to < value.len) && any_value(list, n, str_of(value.ptr + a, z - a)))
            return true;
    }
    return false;
}

static bool method_matches(const struct string_match *list, size_t n, struct str method,
                           bool in_doubt)
{
    char upper[POLICY_METHOD_MAX];
    for (size_t i = 0; i < method.len && i < sizeof(upper); i++)
        upper[i] = (char)toupper(method.ptr[i]);
    return any_value(list, n, method) || (in_doubt && method.len <= sizeof(upper) &&
                                          any_value(list, n, str_of(upper, method.len)));
}

static bool path_matches(const struct string_match *list, size_t n,
                         const struct policy_request *request, bool in_doubt)
{
    const bool is = any_value(list, n, request->path);
    const bool is_lax = any_value(list, n, request->lax_path);
    bool is_named = false;
    for (size_t i = 0; i < n; i++)
        is_named =
            is_named || (list[i].kind == MATCH_EXACT && str_eq(list[i].value, request->path));
    if (request->lax_path.len == 0)
        return is;
    return in_doubt ? is || is_lax : is && (is_lax || is_named);
}

static bool headers_match(const struct request_field *field, const struct string_match *list,
                          size_t n, const struct policy_request *request, bool in_doubt,
                          bool is_alike)
{
    static char joined[2 * POLICY_HEADER_MAX];
    size_t n_found = 0, len = 0;
    bool any = false, is_present = false;
    for (size_t i = 0; i < request->n_headers; i++) {
        const struct policy_header *header = &request->headers[i];
        if (is_alike ? !is_like(header->name, field->name) : !str_eq(header->name, field->name))
            continue;
        any = any || any_value(list, n, header->value) ||
              (in_doubt && part_matches(list, n, header->value));
        if (len + 1 + header->value.len < sizeof(joined))
            len += (size_t)snprintf(joined + len, sizeof(joined) - len, "%s%.*s",
                                    n_found > 0 ? "," : "", STR_ARG(header->value));
        else
            len = sizeof(joined); /* too long, and stays so */
        n_found++;
    }
    for (size_t i = 0; i < n; i++)
        is_present = is_present || (n_found > 0 && list[i].kind == MATCH_PRESENCE);
    if (is_present || n_found < 2)
        return is_present || any;
    if (len > POLICY_HEADER_MAX)
        return in_doubt;
    return (in_doubt && any) || any_value(list, n, str_of(joined, len));
}

static bool header_matches(const struct request_field *field, const struct string_match *list,
                           size_t n, const struct policy_request *request, bool in_doubt)
{
    return headers_match(field, list, n, request, in_doubt, true) &&
           (in_doubt || headers_match(field, list, n, request, in_doubt, false));
}

static bool field_matches(const struct request_field *field, const struct string_match *list,
                          size_t n, const struct policy_request *request, bool in_doubt)
{
    static const struct policy_token nobody;
    const struct policy_token *token = request->token ? request->token : &nobody;
    bool any = false;
    switch (field->subject) {
    case REQUEST_METHOD: return method_matches(list, n, request->method, in_doubt);
    case REQUEST_PATH: return path_matches(list, n, request, in_doubt);
    case REQUEST_HOST: return n > 0 && host_matches(list, n, request->host, in_doubt);
    case REQUEST_HEADER: return n > 0 && header_matches(field, list, n, request, in_doubt);
    case REQUEST_TOKEN_PRINCIPAL: return any_value(list, n, token->principal);
    case REQUEST_TOKEN_PRESENTER: return any_value(list, n, token->presenter);
    case REQUEST_TOKEN_AUDIENCE:
        for (size_t i = 0; i < token->n_audiences; i++)
            any = any || any_value(list, n, token->audiences[i]);
        return any;
    case REQUEST_TOKEN_CLAIM:
        for (size_t c = 0; c < token->n_claims; c++)
            for (size_t i = 0; i < token->claims[c].n_values; i++)
                any = any || (str_eq(token->claims[c].path, field->name) &&
                              any_value(list, n, token->claims[c].values[i]));
        return any;
    case REQUEST_SUBJECTS: break;
    }
    return any;
}

static enum truth http_holds(const struct model_match *m, enum policy_action action,
                             const struct policy_request *request)
{
    bool all = true;
    if (m->n_http > 0 && !request)
        return MAYBE;
    for (size_t i = 0; i < m->n_http; i++) {
        const struct request_field *field = &m->http[i];
        all = all &&
              (field->n_values == 0 || field_matches(field, field->values, field->n_values, request,
                                                     action != POLICY_ALLOW)) &&
              !field_matches(field, field->not_values, field->n_not_values, request,
                             action == POLICY_ALLOW);
    }
    return all ? YES : NO;
}

static enum truth match_matches(const struct model_match *m, enum policy_action action,
                                const struct policy_question *q)
{
    bool says_something = false, holds = true;
    const struct str domain = domain_of(q->principal);
#define FIELD(field, test)                                                                         \
    do {                                                                                           \
        if (m->n_##field > 0) {                                                                    \
            says_something = true;                                                                 \
            holds = holds && (test);                                                               \
        }                                                                                          \
    } while (0)
    FIELD(principals, any_value(m->principals, m->n_principals, q->principal));
    FIELD(not_principals, !any_value(m->not_principals, m->n_not_principals, q->principal));
    FIELD(namespaces, any_value(m->namespaces, m->n_namespaces, q->namespace_));
    FIELD(not_namespaces, !any_value(m->not_namespaces, m->n_not_namespaces, q->namespace_));
    FIELD(trust_domains, any_value(m->trust_domains, m->n_trust_domains, domain));
    FIELD(not_trust_domains, !any_value(m->not_trust_domains, m->n_not_trust_domains, domain));
    FIELD(accounts, any_account(m->accounts, m->n_accounts, q));
    FIELD(not_accounts, !any_account(m->not_accounts, m->n_not_accounts, q));
    FIELD(source_ips, any_range(m->source_ips, m->n_source_ips, &q->source));
    FIELD(not_source_ips, !any_range(m->not_source_ips, m->n_not_source_ips, &q->source));
    FIELD(destination_ips, any_range(m->destination_ips, m->n_destination_ips, &q->destination));
    FIELD(not_destination_ips,
          !any_range(m->not_destination_ips, m->n_not_destination_ips, &q->destination));
    FIELD(ports, any_port(m->ports, m->n_ports, q->port));
    FIELD(not_ports, !any_port(m->not_ports, m->n_not_ports, q->port));
#undef FIELD
    if (m->has_unknown ? action == POLICY_ALLOW : !says_something && m->n_http == 0)
        return NO;
    return holds ? http_holds(m, action, q->request) : NO;
}

static enum truth clause_matches(const struct model_clause *clause, enum policy_action action,
                                 const struct policy_question *q)
{
    bool has_yes = clause->n_matches == 0, has_maybe = false;
    for (size_t i = 0; i < clause->n_matches; i++) {
        const enum truth truth = match_matches(&clause->matches[i], action, q);
        has_yes = has_yes || truth == YES;
        has_maybe = has_maybe || truth == MAYBE;
    }
    return has_yes ? YES : has_maybe ? MAYBE : NO;
}

/* With the first rule of the kind. */
static enum truth policy_matches(const struct model_policy *policy, const struct policy_question *q,
                                 size_t *out_rule_idx)
{
    enum truth best = NO;
    for (size_t r = 0; r < policy->n_rules; r++) {
        bool has_no = false, has_maybe = false;
        for (size_t c = 0; c < policy->rules[r].n_clauses; c++) {
            const enum truth truth =
                clause_matches(&policy->rules[r].clauses[c], policy->action, q);
            has_no = has_no || truth == NO;
            has_maybe = has_maybe || truth == MAYBE;
        }
        const enum truth truth = has_no ? NO : has_maybe ? MAYBE : YES;
        if (truth > best) {
            best = truth;
            *out_rule_idx = r;
        }
    }
    return best;
}

/* ---- the verdict ---- */

/* Good until the keys of 32 more answers' hits are made. */
static struct policy_hit hit_of(const struct model_policy *policy, size_t rule_idx)
{
    static char keys[256][128];
    static size_t next;
    char *key = keys[next++ % 256];
    const int len = snprintf(key, sizeof(keys[0]), "%.*s/%.*s", STR_ARG(policy->namespace_),
                             STR_ARG(policy->name));
    return (struct policy_hit){str_of(key, (size_t)len), rule_idx,
                               policy->dry_run ? POLICY_DRY_RUN : POLICY_ENFORCED, 0};
}

/* Policies of one namespace. */
static bool is_before(const struct model_policy *a, const struct model_policy *b)
{
    return !b || str_cmp(a->name, b->name) < 0;
}

struct found { /* of an action and mode */
    size_t n;  /* that there are */
    enum truth truth;
    struct policy_hit hit; /* the first by name that matches, for certain if one does */
};

static struct found look_for(const struct plain_set *set, const struct policy_question *q,
                             enum policy_action action, bool dry_run)
{
    const struct model_policy *first = NULL;
    struct found found = {0};
    size_t rule_idx, first_rule_idx = 0;
    for (size_t i = 0; i < set->n_policies; i++) {
        const struct model_policy *policy = set->policies[i];
        if (policy->action != action || policy->dry_run != dry_run)
            continue;
        found.n++;
        const enum truth truth = policy_matches(policy, q, &rule_idx);
        if (truth < found.truth || truth == NO ||
            (truth == found.truth && !is_before(policy, first)))
            continue;
        found.truth = truth;
        first = policy;
        first_rule_idx = rule_idx;
    }
    if (first)
        found.hit = hit_of(first, first_rule_idx);
    return found;
}

/* One rule at a time; *has_maybe becomes true when one only may. */
static bool may_match(const struct model_policy *policy, const struct policy_question *q,
                      size_t *out_rule_idx, bool *has_maybe)
{
    bool any = false;
    for (size_t r = policy->n_rules; r > 0; r--) {
        struct model_policy alone = *policy;
        size_t only;
        alone.rules = &policy->rules[r - 1];
        alone.n_rules = 1;
        const enum truth truth = policy_matches(&alone, q, &only);
        *has_maybe = *has_maybe || truth == MAYBE;
        any = any || truth != NO;
        if (truth != NO)
            *out_rule_idx = r - 1;
    }
    return any;
}

/* The first rule that may match is told. */
static void add_audits(const struct plain_set *set, const struct policy_question *q,
                       struct policy_answer *answer)
{
    const struct model_policy *last = NULL;
    while (answer->n_audits_matched <= POLICY_AUDITS_MAX) {
        const struct model_policy *next = NULL;
        size_t rule_idx, next_rule_idx = 0;
        bool is_maybe = false;
        for (size_t i = 0; i < set->n_policies; i++) {
            const struct model_policy *policy = set->policies[i];
            if (policy->action != POLICY_AUDIT || (last && !is_before(last, policy)) ||
                !is_before(policy, next) || !may_match(policy, q, &rule_idx, &is_maybe))
                continue;
            next = policy;
            next_rule_idx = rule_idx;
        }
        if (!next)
            return;
        if (answer->n_audits < POLICY_AUDITS_MAX)
            answer->audits[answer->n_audits++] = hit_of(next, next_rule_idx);
        answer->n_audits_matched++;
        last = next;
    }
}

static bool has_maybe_audit(const struct plain_set *set, const struct policy_question *q)
{
    size_t rule_idx;
    bool is_maybe = false;
    for (size_t i = 0; i < set->n_policies; i++)
        if (set->policies[i]->action == POLICY_AUDIT)
            (void)may_match(set->policies[i], q, &rule_idx, &is_maybe);
    return is_maybe;
}

struct policy_answer plain_policy_ask(const struct plain_set *set,
                                      const struct policy_question *question)
{
    struct policy_answer answer = {0};
    struct policy_hit by = {0};
    struct policy_dry_run *dry = &answer.dry_run;
    const struct found deny = look_for(set, question, POLICY_DENY, false);
    const struct found allow = look_for(set, question, POLICY_ALLOW, false);
    const struct found dry_deny = look_for(set, question, POLICY_DENY, true);
    const struct found dry_allow = look_for(set, question, POLICY_ALLOW, true);
    if (deny.truth != NO) {
        by = deny.hit;
        answer.sentence = "explicitly denied by";
    } else if (set->is_missing) {
        answer.sentence = "refers to a policy that is not there";
    } else if (allow.n == 0) {
        answer.allowed = true;
        answer.sentence = "no allow policies";
    } else if (allow.truth == YES) {
        by = allow.hit;
        answer.allowed = true;
        answer.sentence = "allowed by";
    } else {
        answer.sentence = "allow policies exist, but none allowed";
    }
    answer.action = answer.allowed ? POLICY_ALLOW : POLICY_DENY;
    answer.policy = by.policy;
    answer.has_rule = by.policy.len > 0;
    answer.rule_idx = by.rule_idx;
    dry->has_allow = dry_allow.n > 0;
    dry->is_asked = dry_allow.n + dry_deny.n > 0;
    dry->deny = dry_deny.hit;
    if (dry_allow.truth == YES)
        dry->allow = dry_allow.hit;
    if (dry->is_asked) {
        /* The dry-run policies put in force beside the others. */
        const bool is_denied = deny.truth != NO || dry_deny.truth != NO || set->is_missing;
        const bool is_allowed =
            allow.n + dry_allow.n == 0 || allow.truth == YES || dry_allow.truth == YES;
        dry->would_deny = is_denied || !is_allowed;
    }
    add_audits(set, question, &answer);
    const bool may_be_allowed =
        deny.truth != YES && !set->is_missing && (allow.n == 0 || allow.truth != NO);
    answer.depends_on_request =
        may_be_allowed && (deny.truth == MAYBE || allow.truth == MAYBE || dry_deny.truth == MAYBE ||
                           dry_allow.truth == MAYBE || has_maybe_audit(set, question));
    return answer;
}

struct policy_answer compiled_policy_ask(struct arena *arena, const struct policy *const *policies,
                                         size_t n_policies, bool is_missing,
                                         const struct policy_question *question)
{
    const struct policy **own = arena_new_array(arena, const struct policy *, n_policies);
    if (n_policies > 0)
        memcpy(own, policies, n_policies * sizeof(*own));
    const struct policy_layer *layer = policy_layer_new(arena, own, n_policies, NULL, 0);
    struct policy_set set = {.layers = &layer, .n_layers = 1};
    if (is_missing)
        set.missing = STR("shop/missing");
    policy_set_seal(&set);
    return policy_ask(&set, question);
}

static bool same_hit(const struct policy_hit *a, const struct policy_hit *b)
{
    return str_eq(a->policy, b->policy) &&
           (str_is_empty(a->policy) || (a->rule_idx == b->rule_idx && a->mode == b->mode));
}

const char *policy_answers_differ(const struct policy_answer *a, const struct policy_answer *b)
{
    if (a->allowed != b->allowed || a->action != b->action)
        return "the verdict";
    if (a->depends_on_request != b->depends_on_request)
        return "whether it depends on the request";
    if (strcmp(a->sentence, b->sentence) != 0)
        return "the sentence";
    if (a->has_rule != b->has_rule)
        return "whether a rule decided";
    if (a->has_rule && (!str_eq(a->policy, b->policy) || a->rule_idx != b->rule_idx))
        return "the policy or its rule";
    if (a->dry_run.is_asked != b->dry_run.is_asked ||
        a->dry_run.has_allow != b->dry_run.has_allow ||
        a->dry_run.would_deny != b->dry_run.would_deny)
        return "what the dry run would do";
    if (!same_hit(&a->dry_run.deny, &b->dry_run.deny) ||
        !same_hit(&a->dry_run.allow, &b->dry_run.allow))
        return "the dry run's policies";
    if (a->n_audits != b->n_audits || a->n_audits_matched != b->n_audits_matched)
        return "the number of audits";
    for (size_t i = 0; i < a->n_audits; i++)
        if (!same_hit(&a->audits[i], &b->audits[i]))
            return "an audit";
    return NULL;
}
