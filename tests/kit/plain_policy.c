#include "tests/kit/plain_policy.h"

#include <stdio.h>
#include <string.h>

/* ---- matching, as the words of policy.h say it ---- */

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

static bool match_matches(const struct model_match *m, enum policy_action action,
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
    if (m->has_unknown || m->needs_http)
        return action != POLICY_ALLOW && holds;
    return says_something && holds;
}

static bool clause_matches(const struct model_clause *clause, enum policy_action action,
                           const struct policy_question *q)
{
    bool any = clause->n_matches == 0;
    for (size_t i = 0; i < clause->n_matches; i++)
        any = any || match_matches(&clause->matches[i], action, q);
    return any;
}

bool plain_policy_matches(const struct model_policy *policy, const struct policy_question *question,
                          size_t *out_rule_idx)
{
    for (size_t r = 0; r < policy->n_rules; r++) {
        bool all = true;
        for (size_t c = 0; c < policy->rules[r].n_clauses; c++)
            all = all && clause_matches(&policy->rules[r].clauses[c], policy->action, question);
        if (all) {
            *out_rule_idx = r;
            return true;
        }
    }
    return false;
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

/* Of an action and mode: how many there are, and the first by name that matches. */
static size_t look_for(const struct plain_set *set, const struct policy_question *q,
                       enum policy_action action, bool dry_run, struct policy_hit *out_hit)
{
    const struct model_policy *first = NULL;
    size_t n = 0, rule_idx, first_rule_idx = 0;
    for (size_t i = 0; i < set->n_policies; i++) {
        const struct model_policy *policy = set->policies[i];
        if (policy->action != action || policy->dry_run != dry_run)
            continue;
        n++;
        if (!plain_policy_matches(policy, q, &rule_idx) || !is_before(policy, first))
            continue;
        first = policy;
        first_rule_idx = rule_idx;
    }
    if (first)
        *out_hit = hit_of(first, first_rule_idx);
    return n;
}

static void add_audits(const struct plain_set *set, const struct policy_question *q,
                       struct policy_answer *answer)
{
    const struct model_policy *last = NULL;
    while (answer->n_audits_matched <= POLICY_AUDITS_MAX) {
        const struct model_policy *next = NULL;
        size_t rule_idx, next_rule_idx = 0;
        for (size_t i = 0; i < set->n_policies; i++) {
            const struct model_policy *policy = set->policies[i];
            if (policy->action != POLICY_AUDIT || (last && !is_before(last, policy)) ||
                !is_before(policy, next) || !plain_policy_matches(policy, q, &rule_idx))
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

struct policy_answer plain_policy_ask(const struct plain_set *set,
                                      const struct policy_question *question)
{
    struct policy_answer answer = {0};
    struct policy_hit deny = {0}, allow = {0}, by = {0};
    struct policy_dry_run *dry = &answer.dry_run;
    look_for(set, question, POLICY_DENY, false, &deny);
    const size_t n_allow = look_for(set, question, POLICY_ALLOW, false, &allow);
    const size_t n_dry_deny = look_for(set, question, POLICY_DENY, true, &dry->deny);
    const size_t n_dry_allow = look_for(set, question, POLICY_ALLOW, true, &dry->allow);
    if (deny.policy.len > 0) {
        by = deny;
        answer.sentence = "explicitly denied by";
    } else if (set->is_missing) {
        answer.sentence = "refers to a policy that is not there";
    } else if (n_allow == 0) {
        answer.allowed = true;
        answer.sentence = "no allow policies";
    } else if (allow.policy.len > 0) {
        by = allow;
        answer.allowed = true;
        answer.sentence = "allowed by";
    } else {
        answer.sentence = "allow policies exist, but none allowed";
    }
    answer.action = answer.allowed ? POLICY_ALLOW : POLICY_DENY;
    answer.policy = by.policy;
    answer.has_rule = by.policy.len > 0;
    answer.rule_idx = by.rule_idx;
    dry->has_allow = n_dry_allow > 0;
    dry->is_asked = n_dry_allow + n_dry_deny > 0;
    if (dry->is_asked) {
        /* The dry-run policies put in force beside the others. */
        const bool is_denied = deny.policy.len > 0 || dry->deny.policy.len > 0 || set->is_missing;
        const bool is_allowed =
            n_allow + n_dry_allow == 0 || allow.policy.len > 0 || dry->allow.policy.len > 0;
        dry->would_deny = is_denied || !is_allowed;
    }
    add_audits(set, question, &answer);
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

/* ---- randomness ---- */

static const char *const namespaces[] = {"a",      "ab",     "abc",         "b",
                                         "team-a", "team-b", "team-a-prod", ""};
static const char *const accounts[] = {"x", "xy", "y", "default", ""};
static const char *const domains[] = {"td", "td.example", "t", "other"};
static const char *const principals[] = {
    "td/ns/a/sa/x",           "td/ns/a/sa/xy",        "td/ns/ab/sa/x",
    "td/ns/b/sa/y",           "td.example/ns/a/sa/x", "other/ns/a/sa/x",
    "t/ns/team-a/sa/default", "td/odd/path",          "td"};
static const char *const pieces[] = {"",         "t",     "td", "td/",  "td/ns/", "td/ns/a",
                                     "td/ns/a/", "/sa/x", "x",  "y",    "/x",     "a",
                                     "ab",       "team-", "-a", "prod", "*",      "b"};
static const char *const globs[] = {"team-*-prod", "*a*", "a*c", "t*d*", "**", "team-*", "*b", "a"};
static const uint16_t ports[] = {0, 1, 79, 80, 81, 8080, 15008, 65534, 65535};
static const char *const ips[] = {
    "0.0.0.0",        "10.0.0.0", "10.0.0.1",         "10.0.255.255", "10.1.0.0",        "10.1.2.3",
    "10.255.255.255", "11.0.0.0", "127.255.255.255",  "128.0.0.0",    "255.255.255.255", "::",
    "fd00::",         "fd00::1",  "fd00::8000:0:0:0", "fdff::1",      "ffff::ffff"};

#define ANY_OF(rng, list) (list)[rng_below(rng, ARRAY_LEN(list))]

static bool one_in(struct rng *rng, uint32_t n)
{
    return rng_below(rng, n) == 0;
}

static struct string_match random_string(struct rng *rng, const char *const *whole, size_t n_whole,
                                         bool may_glob)
{
    switch (rng_below(rng, may_glob ? 8 : 7)) {
    case 0: return (struct string_match){MATCH_PRESENCE, {0}};
    case 1:
    case 2: return (struct string_match){MATCH_PREFIX, str_from(ANY_OF(rng, pieces))};
    case 3: return (struct string_match){MATCH_SUFFIX, str_from(ANY_OF(rng, pieces))};
    case 7: return (struct string_match){MATCH_GLOB, str_from(ANY_OF(rng, globs))};
    default:
        return (struct string_match){MATCH_EXACT,
                                     str_from(whole[rng_below(rng, (uint32_t)n_whole)])};
    }
}

static size_t random_count(struct rng *rng)
{
    return one_in(rng, 12) ? 1 + rng_below(rng, 20) : 1 + rng_below(rng, 2);
}

static struct string_match *random_strings(struct arena *arena, struct rng *rng,
                                           const char *const *whole, size_t n_whole, bool may_glob,
                                           size_t *out_n)
{
    *out_n = random_count(rng);
    struct string_match *list = arena_new_array(arena, struct string_match, *out_n);
    for (size_t i = 0; i < *out_n; i++)
        list[i] = random_string(rng, whole, n_whole, may_glob);
    return list;
}

static struct account_match *random_accounts(struct arena *arena, struct rng *rng, size_t *out_n)
{
    *out_n = random_count(rng);
    struct account_match *list = arena_new_array(arena, struct account_match, *out_n);
    for (size_t i = 0; i < *out_n; i++)
        list[i] = (struct account_match){str_from(ANY_OF(rng, namespaces)),
                                         str_from(ANY_OF(rng, accounts))};
    return list;
}

static struct ip random_ip(struct rng *rng)
{
    struct ip ip = {0};
    if (one_in(rng, 40) || ip_parse(str_from(ANY_OF(rng, ips)), &ip) < 0)
        return (struct ip){0};
    return ip;
}

static struct cidr random_cidr(struct rng *rng)
{
    static const uint8_t lengths[] = {0, 1, 7, 8, 9, 16, 31, 32, 64, 127, 128};
    struct cidr cidr = {.ip = random_ip(rng)};
    if (cidr.ip.len == 0)
        cidr.ip.len = 4;
    cidr.prefix_len = ANY_OF(rng, lengths);
    if (cidr.prefix_len > cidr.ip.len * 8)
        cidr.prefix_len = (uint8_t)(cidr.ip.len * 8);
    for (unsigned bit = cidr.prefix_len; bit < cidr.ip.len * 8u; bit++)
        cidr.ip.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
    return cidr;
}

static struct cidr *random_cidrs(struct arena *arena, struct rng *rng, size_t *out_n)
{
    *out_n = random_count(rng);
    struct cidr *list = arena_new_array(arena, struct cidr, *out_n);
    for (size_t i = 0; i < *out_n; i++)
        list[i] = random_cidr(rng);
    return list;
}

static uint16_t *random_ports(struct arena *arena, struct rng *rng, size_t *out_n)
{
    *out_n = random_count(rng);
    uint16_t *list = arena_new_array(arena, uint16_t, *out_n);
    for (size_t i = 0; i < *out_n; i++)
        list[i] = ANY_OF(rng, ports);
    return list;
}

static void fill_match(struct arena *arena, struct rng *rng, struct model_match *m)
{
    const uint32_t n_fields = rng_below(rng, 4);
#define STRINGS(field, list, may_glob)                                                             \
    m->field = random_strings(arena, rng, list, ARRAY_LEN(list), may_glob, &m->n_##field)
#define OTHERS(field, random) m->field = random(arena, rng, &m->n_##field)
    for (uint32_t i = 0; i < n_fields; i++)
        switch (rng_below(rng, 14)) {
        case 0: STRINGS(principals, principals, false); break;
        case 1: STRINGS(not_principals, principals, false); break;
        case 2: STRINGS(namespaces, namespaces, true); break;
        case 3: STRINGS(not_namespaces, namespaces, true); break;
        case 4: STRINGS(trust_domains, domains, true); break;
        case 5: STRINGS(not_trust_domains, domains, true); break;
        case 6: OTHERS(accounts, random_accounts); break;
        case 7: OTHERS(not_accounts, random_accounts); break;
        case 8: OTHERS(source_ips, random_cidrs); break;
        case 9: OTHERS(not_source_ips, random_cidrs); break;
        case 10: OTHERS(destination_ips, random_cidrs); break;
        case 11: OTHERS(not_destination_ips, random_cidrs); break;
        case 12: OTHERS(ports, random_ports); break;
        default: OTHERS(not_ports, random_ports); break;
        }
#undef STRINGS
#undef OTHERS
    m->has_unknown = one_in(rng, 30);
    m->needs_http = one_in(rng, 30);
}

static void fill_rule(struct arena *arena, struct rng *rng, struct model_rule *rule)
{
    rule->n_clauses = one_in(rng, 10) ? rng_below(rng, 4) : 1 + rng_below(rng, 2);
    rule->clauses = arena_new_array(arena, struct model_clause, rule->n_clauses);
    for (size_t c = 0; c < rule->n_clauses; c++) {
        struct model_clause *clause = &rule->clauses[c];
        clause->n_matches = one_in(rng, 15) ? rng_below(rng, 5) : 1 + rng_below(rng, 2);
        clause->matches = arena_new_array(arena, struct model_match, clause->n_matches);
        for (size_t i = 0; i < clause->n_matches; i++)
            fill_match(arena, rng, &clause->matches[i]);
    }
}

struct model_policy *random_policy(struct arena *arena, struct rng *rng, size_t number)
{
    static const enum policy_action actions[] = {POLICY_ALLOW, POLICY_ALLOW, POLICY_DENY,
                                                 POLICY_AUDIT};
    struct model_policy *policy = arena_new(arena, struct model_policy);
    policy->name = arena_printf(arena, "p%05zu", number);
    policy->namespace_ = STR("shop");
    policy->scope = POLICY_NAMESPACE;
    policy->action = ANY_OF(rng, actions);
    policy->dry_run = one_in(rng, 4);
    policy->revision = number + 1;
    policy->n_rules = one_in(rng, 10) ? rng_below(rng, 6) : 1;
    policy->rules = arena_new_array(arena, struct model_rule, policy->n_rules);
    for (size_t r = 0; r < policy->n_rules; r++)
        fill_rule(arena, rng, &policy->rules[r]);
    return policy;
}

struct policy_question random_question(struct arena *arena, struct rng *rng)
{
    struct policy_question question = {
        .source = random_ip(rng), .destination = random_ip(rng), .port = ANY_OF(rng, ports)};
    if (one_in(rng, 6))
        return question; /* plaintext */
    if (one_in(rng, 4)) {
        question.principal = str_from(ANY_OF(rng, principals));
        if (one_in(rng, 2))
            return question; /* an identity that is no workload's */
    }
    question.namespace_ = str_from(ANY_OF(rng, namespaces));
    question.service_account = str_from(ANY_OF(rng, accounts));
    question.principal =
        arena_printf(arena, "%s/ns/%.*s/sa/%.*s", ANY_OF(rng, domains),
                     STR_ARG(question.namespace_), STR_ARG(question.service_account));
    return question;
}
