/* Random policies, questions and requests, out of few words that meet often. */
#include "tests/kit/plain_policy.h"

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

static const char *const methods[] = {"GET", "POST", "get", "GETX", ""};
static const char *const hosts[] = {
    "shop.example", "SHOP.example", "shop.example:8080", "Shop.Example:80",  "a.shop.example",
    "[::1]",        "[::1]:80",     "shop.example.",     "shop.example.:80", ""};
static const char *const host_pieces[] = {"shop",  "SHOP.",         ".example",
                                          ":8080", "shop.example:", "]"};
static const char *const paths[] = {"/",     "/a",     "/a/b", "/a/b/", "/a/b/c", "/a//",
                                    "/a//c", "/admin", "/A",   "/ab",   "//",     ""};
static const char *const path_pieces[] = {"/", "/a", "/a/", "/c", "b", "/admin"};
static const char *const templates[] = {"/{*}",       "/a/{*}",    "/{**}",       "/a/{**}",
                                        "/a/{**}/",   "/a/{**}/c", "/{*}/b/{**}", "/{*}/{*}",
                                        "/{*}/{*}/c", "/a/{*}/"};
static const char *const header_names[] = {"x-role", "x-team", "x_role"};
static const char *const values[] = {"admin", "user", "user,admin",    "ad",
                                     "a",     "min",  "ops, admin ,x", ","};
static const char *const claims[] = {"role", "realm\0role"};
static const size_t claim_lens[] = {4, 10};

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

/* ---- what a request shows ---- */

static struct string_match random_http_value(struct rng *rng, enum request_subject subject)
{
    const uint32_t kind = rng_below(rng, 8);
    const char *whole = ANY_OF(rng, values), *piece = ANY_OF(rng, values);
    if (subject == REQUEST_METHOD)
        whole = ANY_OF(rng, methods);
    if (subject == REQUEST_HOST) {
        whole = ANY_OF(rng, hosts);
        piece = ANY_OF(rng, host_pieces);
    }
    if (subject == REQUEST_PATH) {
        whole = ANY_OF(rng, paths);
        piece = ANY_OF(rng, path_pieces);
        if (kind >= 5)
            return (struct string_match){MATCH_TEMPLATE, str_from(ANY_OF(rng, templates))};
    }
    switch (kind) {
    case 0: return (struct string_match){MATCH_PRESENCE, {0}};
    case 1: return (struct string_match){MATCH_PREFIX, str_from(piece)};
    case 2: return (struct string_match){MATCH_SUFFIX, str_from(piece)};
    default: return (struct string_match){MATCH_EXACT, str_from(whole)};
    }
}

static struct str random_claim(struct rng *rng)
{
    const uint32_t i = rng_below(rng, ARRAY_LEN(claims));
    return str_of(claims[i], claim_lens[i]);
}

static struct string_match *random_http_values(struct arena *arena, struct rng *rng,
                                               enum request_subject subject, size_t *out_n)
{
    *out_n = random_count(rng);
    struct string_match *list = arena_new_array(arena, struct string_match, *out_n);
    for (size_t i = 0; i < *out_n; i++)
        list[i] = random_http_value(rng, subject);
    return list;
}

static void fill_http(struct arena *arena, struct rng *rng, struct model_match *m)
{
    m->n_http = 1 + rng_below(rng, 2);
    m->http = arena_new_array(arena, struct request_field, m->n_http);
    for (size_t i = 0; i < m->n_http; i++) {
        struct request_field *field = &m->http[i];
        const uint32_t which = rng_below(rng, 4);
        field->subject = (enum request_subject)rng_below(rng, REQUEST_SUBJECTS);
        if (field->subject == REQUEST_HEADER)
            field->name = str_from(ANY_OF(rng, header_names));
        if (field->subject == REQUEST_TOKEN_CLAIM)
            field->name = random_claim(rng);
        if (which != 0)
            field->values = random_http_values(arena, rng, field->subject, &field->n_values);
        if (which <= 1)
            field->not_values =
                random_http_values(arena, rng, field->subject, &field->n_not_values);
    }
}

static struct str random_value(struct rng *rng)
{
    return str_from(ANY_OF(rng, values));
}

static struct str *random_texts(struct arena *arena, struct rng *rng, size_t *out_n)
{
    *out_n = rng_below(rng, 3);
    struct str *list = arena_new_array(arena, struct str, *out_n);
    for (size_t i = 0; i < *out_n; i++)
        list[i] = random_value(rng);
    return list;
}

static const struct policy_token *random_token(struct arena *arena, struct rng *rng)
{
    struct policy_token *token = arena_new(arena, struct policy_token);
    struct policy_claim *list = arena_new_array(arena, struct policy_claim, 3);
    token->principal = random_value(rng);
    token->presenter = random_value(rng);
    token->audiences = random_texts(arena, rng, &token->n_audiences);
    token->claims = list;
    token->n_claims = rng_below(rng, 4);
    for (size_t i = 0; i < token->n_claims; i++) {
        list[i].path = random_claim(rng);
        list[i].values = random_texts(arena, rng, &list[i].n_values);
    }
    return token;
}

/* Now and then too long to be compared. */
static struct str maybe_long(struct arena *arena, struct rng *rng, struct str text, size_t max)
{
    static const size_t around[] = {0, 1, 2};
    if (!one_in(rng, 100) || text.len == 0)
        return text;
    const size_t len = max - 1 + ANY_OF(rng, around);
    return arena_printf(arena, "%.*s%*s", STR_ARG(text), (int)(len - text.len), "z");
}

const struct policy_request *random_request(struct arena *arena, struct rng *rng)
{
    struct policy_request *request = arena_new(arena, struct policy_request);
    struct policy_header *headers = arena_new_array(arena, struct policy_header, 4);
    request->method = str_from(ANY_OF(rng, methods));
    request->host = maybe_long(arena, rng, str_from(ANY_OF(rng, hosts)), POLICY_HOST_MAX);
    request->path = str_from(ANY_OF(rng, paths));
    if (one_in(rng, 4))
        request->lax_path = str_from(ANY_OF(rng, paths));
    request->headers = headers;
    request->n_headers = rng_below(rng, 5);
    for (size_t i = 0; i < request->n_headers; i++)
        headers[i] = (struct policy_header){
            str_from(ANY_OF(rng, header_names)),
            maybe_long(arena, rng, random_value(rng), POLICY_HEADER_MAX - 6)};
    request->token = one_in(rng, 3) ? NULL : random_token(arena, rng);
    return request;
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
    if (one_in(rng, 5))
        fill_http(arena, rng, m);
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
