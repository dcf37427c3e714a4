/*
 * AuthorizationPolicy (security.istio.io). A policy must not silently not apply: a key that is not
 * known is an error, and what is known and not evaluated is marked (has_unknown), with a warning
 * that says what that means. A key without a value is an error as well; "from:" with its lines
 * commented out would otherwise match everybody.
 */
#include <string.h>

#include "config/k8s.h"
#include "config/names.h"

#define RULES_MAX            512
#define SERVICE_ACCOUNTS_MAX 16

struct owner { /* the policy that a rule is read for */
    struct str namespace_;
    enum policy_action action;
};

/* In namespaces and trust domains a star may stand anywhere. */
static struct string_match parse_glob(struct arena *arena, struct str text)
{
    struct string_match match = k8s_string_match(arena, text);
    if (str_contains(match.value, STR("*")))
        match = (struct string_match){MATCH_GLOB, arena_str(arena, text)};
    return match;
}

/* Of a SPIFFE ID without its scheme. What has no trust domain is nobody's, nor is a trust domain
 * alone: a workload's has a path. */
static void check_principal(const struct k8s_reader *reader, const struct yaml *node,
                            const char *what, size_t idx, const struct string_match *match)
{
    const bool has_begin = match->kind == MATCH_EXACT || match->kind == MATCH_PREFIX;
    if ((has_begin && (str_is_empty(match->value) || match->value.ptr[0] == '/')) ||
        (match->kind == MATCH_EXACT && !str_contains(match->value, STR("/"))))
        diag_error(reader->diag, node->place,
                   "%s[%zu]: \"%.*s\" is nobody's identity, expected one such as "
                   "cluster.local/ns/shop/sa/web",
                   what, idx, STR_ARG(str_sub(node->text, 0, 80)));
    k8s_warn_star(reader, node, what, idx, match->value);
}

static struct string_match *read_strings(const struct k8s_reader *reader, const struct yaml *node,
                                         const char *what, bool are_principals, size_t *out_n)
{
    /* The other fields of strings are namespaces and trust domains. */
    size_t n = node ? k8s_n_values(reader, node, what, K8S_POLICY_VALUES_MAX) : 0;
    struct string_match *matches = arena_new_array(reader->arena, struct string_match, n);
    for (size_t i = 0; i < n; i++) {
        struct str text = k8s_value(reader, node->items[i], what, i);
        if (str_is_empty(text))
            continue;
        if (are_principals && str_starts_with(text, STR("spiffe://")))
            text = str_sub(text, sizeof("spiffe://") - 1, text.len);
        matches[i] = are_principals ? k8s_string_match(reader->arena, text)
                                    : parse_glob(reader->arena, text);
        if (are_principals)
            check_principal(reader, node->items[i], what, i, &matches[i]);
    }
    *out_n = n;
    return matches;
}

static void mask_host_bits(struct cidr *cidr)
{
    for (unsigned bit = cidr->prefix_len; bit < cidr->ip.len * 8u; bit++)
        cidr->ip.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
}

/* Istio takes "10.1.2.3/8" for "10.0.0.0/8". */
static bool parse_block(struct str text, struct cidr *out_cidr)
{
    struct str host, length;
    struct cidr cidr;
    uint64_t bits;
    if (cidr_parse(text, out_cidr) == 0)
        return true;
    if (!str_split(text, '/', &host, &length) || cidr_parse(host, &cidr) != 0 ||
        str_contains(host, STR("/")) || !str_to_u64(length, cidr.prefix_len, &bits))
        return false;
    cidr.prefix_len = (uint8_t)bits;
    mask_host_bits(&cidr);
    *out_cidr = cidr;
    return true;
}

static struct cidr *read_blocks(const struct k8s_reader *reader, const struct yaml *node,
                                const char *what, size_t *out_n)
{
    size_t n = node ? k8s_n_values(reader, node, what, K8S_POLICY_VALUES_MAX) : 0;
    struct cidr *cidrs = arena_new_array(reader->arena, struct cidr, n);
    for (size_t i = 0; i < n; i++) {
        struct str text = k8s_value(reader, node->items[i], what, i);
        if (!str_is_empty(text) && !parse_block(text, &cidrs[i]))
            diag_error(reader->diag, node->items[i]->place,
                       "%s[%zu]: \"%.*s\" is not an IP address or a range such as 10.0.0.0/8", what,
                       i, STR_ARG(str_sub(text, 0, 80)));
    }
    *out_n = n;
    return cidrs;
}

static uint16_t *read_ports(const struct k8s_reader *reader, const struct yaml *node,
                            const char *what, size_t *out_n)
{
    size_t n = node ? k8s_n_values(reader, node, what, K8S_POLICY_VALUES_MAX) : 0;
    uint16_t *ports = arena_new_array(reader->arena, uint16_t, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t port = 0;
        struct str text = k8s_value(reader, node->items[i], what, i);
        if (!str_is_empty(text) && !str_to_u64(text, UINT16_MAX, &port))
            diag_error(reader->diag, node->items[i]->place,
                       "%s[%zu]: \"%.*s\" is not a port (0 to 65535)", what, i,
                       STR_ARG(str_sub(text, 0, 80)));
        ports[i] = (uint16_t)port;
    }
    *out_n = n;
    return ports;
}

/* "<namespace>/<name>" or "<name>" of the policy's own namespace, in any trust domain. */
static bool split_account(struct str text, struct str own_namespace, struct str *out_namespace,
                          struct str *out_name)
{
    *out_namespace = own_namespace;
    *out_name = text;
    (void)str_split(text, '/', out_namespace, out_name);
    return name_is_label(*out_namespace) && name_is_subdomain(*out_name);
}

static struct account_match *read_accounts(const struct k8s_reader *reader, const struct yaml *node,
                                           const char *what, struct str own_namespace,
                                           size_t *out_n)
{
    size_t n = node ? k8s_n_values(reader, node, what, SERVICE_ACCOUNTS_MAX) : 0;
    struct account_match *accounts = arena_new_array(reader->arena, struct account_match, n);
    for (size_t i = 0; i < n; i++) {
        struct str namespace_, name, text = k8s_value(reader, node->items[i], what, i);
        if (!split_account(text, own_namespace, &namespace_, &name)) {
            if (!str_is_empty(text))
                diag_error(reader->diag, node->items[i]->place,
                           "%s[%zu]: \"%.*s\" is not <namespace>/<service account>", what, i,
                           STR_ARG(str_sub(text, 0, 80)));
            continue;
        }
        accounts[i].namespace_ = arena_str(reader->arena, namespace_);
        accounts[i].name = arena_str(reader->arena, name);
    }
    *out_n = n;
    return accounts;
}

static void read_service_accounts(const struct k8s_reader *reader, const struct yaml *source,
                                  const char *what, struct str own_namespace,
                                  struct model_match *match)
{
    char buf[WHAT_MAX];
    const struct yaml *node = yaml_get(source, "serviceAccounts");
    const struct yaml *not_node = yaml_get(source, "notServiceAccounts");
    if ((node || not_node) && match->n_principals + match->n_not_principals + match->n_namespaces +
                                      match->n_not_namespaces >
                                  0) {
        diag_error(reader->diag, (node ? node : not_node)->place,
                   "%s.serviceAccounts: cannot stand beside principals or namespaces", what);
        return;
    }
    match->accounts = read_accounts(reader, node, what_at(buf, "%s.serviceAccounts", what),
                                    own_namespace, &match->n_accounts);
    match->not_accounts =
        read_accounts(reader, not_node, what_at(buf, "%s.notServiceAccounts", what), own_namespace,
                      &match->n_not_accounts);
}

static void read_source(const struct k8s_reader *reader, const struct yaml *source,
                        const char *what, const struct owner *owner, struct model_match *match)
{
    static const char *const known[] = {
        "principals",           "notPrincipals",      "namespaces",
        "notNamespaces",        "ipBlocks",           "notIpBlocks",
        "serviceAccounts",      "notServiceAccounts", "requestPrincipals",
        "notRequestPrincipals", "remoteIpBlocks",     "notRemoteIpBlocks",
        "trustDomains",         "notTrustDomains",    NULL};
    char buf[WHAT_MAX];
    k8s_strict_keys(reader, source, what, known);
    match->principals =
        read_strings(reader, yaml_get(source, "principals"), what_at(buf, "%s.principals", what),
                     true, &match->n_principals);
    match->not_principals =
        read_strings(reader, yaml_get(source, "notPrincipals"),
                     what_at(buf, "%s.notPrincipals", what), true, &match->n_not_principals);
    match->namespaces =
        read_strings(reader, yaml_get(source, "namespaces"), what_at(buf, "%s.namespaces", what),
                     false, &match->n_namespaces);
    match->not_namespaces =
        read_strings(reader, yaml_get(source, "notNamespaces"),
                     what_at(buf, "%s.notNamespaces", what), false, &match->n_not_namespaces);
    match->source_ips = read_blocks(reader, yaml_get(source, "ipBlocks"),
                                    what_at(buf, "%s.ipBlocks", what), &match->n_source_ips);
    match->not_source_ips =
        read_blocks(reader, yaml_get(source, "notIpBlocks"), what_at(buf, "%s.notIpBlocks", what),
                    &match->n_not_source_ips);
    match->trust_domains =
        read_strings(reader, yaml_get(source, "trustDomains"),
                     what_at(buf, "%s.trustDomains", what), false, &match->n_trust_domains);
    match->not_trust_domains =
        read_strings(reader, yaml_get(source, "notTrustDomains"),
                     what_at(buf, "%s.notTrustDomains", what), false, &match->n_not_trust_domains);
    read_service_accounts(reader, source, what, owner->namespace_, match);
    k8s_read_request_source(reader, source, what, owner->action, match);
}

static void read_operation(const struct k8s_reader *reader, const struct yaml *operation,
                           const char *what, const struct owner *owner, struct model_match *match)
{
    static const char *const known[] = {"ports",      "notPorts", "hosts",    "notHosts", "methods",
                                        "notMethods", "paths",    "notPaths", NULL};
    char buf[WHAT_MAX];
    (void)owner; /* no field of an operation is the policy's own */
    k8s_strict_keys(reader, operation, what, known);
    match->ports = read_ports(reader, yaml_get(operation, "ports"), what_at(buf, "%s.ports", what),
                              &match->n_ports);
    match->not_ports = read_ports(reader, yaml_get(operation, "notPorts"),
                                  what_at(buf, "%s.notPorts", what), &match->n_not_ports);
    k8s_read_request_operation(reader, operation, what, match);
}

/* ---- when ---- */

static void read_strings_condition(const struct k8s_reader *reader, const struct k8s_condition *at,
                                   bool are_principals, struct string_match **out, size_t *out_n,
                                   struct string_match **out_not, size_t *out_n_not)
{
    *out = read_strings(reader, at->values, at->what, are_principals, out_n);
    *out_not = read_strings(reader, at->not_values, at->not_what, are_principals, out_n_not);
}

/* False when there is no such key. */
static bool read_condition_values(const struct k8s_reader *reader, struct str key,
                                  const struct k8s_condition *at, const struct owner *owner,
                                  struct model_match *m)
{
    if (str_eq(key, STR("source.principal"))) {
        read_strings_condition(reader, at, true, &m->principals, &m->n_principals,
                               &m->not_principals, &m->n_not_principals);
    } else if (str_eq(key, STR("source.namespace"))) {
        read_strings_condition(reader, at, false, &m->namespaces, &m->n_namespaces,
                               &m->not_namespaces, &m->n_not_namespaces);
    } else if (str_eq(key, STR("source.serviceAccount"))) {
        m->accounts =
            read_accounts(reader, at->values, at->what, owner->namespace_, &m->n_accounts);
        m->not_accounts = read_accounts(reader, at->not_values, at->not_what, owner->namespace_,
                                        &m->n_not_accounts);
    } else if (str_eq(key, STR("source.ip"))) {
        m->source_ips = read_blocks(reader, at->values, at->what, &m->n_source_ips);
        m->not_source_ips = read_blocks(reader, at->not_values, at->not_what, &m->n_not_source_ips);
    } else if (str_eq(key, STR("destination.ip"))) {
        m->destination_ips = read_blocks(reader, at->values, at->what, &m->n_destination_ips);
        m->not_destination_ips =
            read_blocks(reader, at->not_values, at->not_what, &m->n_not_destination_ips);
    } else if (str_eq(key, STR("destination.port"))) {
        m->ports = read_ports(reader, at->values, at->what, &m->n_ports);
        m->not_ports = read_ports(reader, at->not_values, at->not_what, &m->n_not_ports);
    } else {
        return k8s_read_request_condition(reader, at, owner->action, m);
    }
    return true;
}

/* One condition is one clause of one match: all of them must hold. */
static void read_condition(const struct k8s_reader *reader, const struct yaml *item,
                           const char *what, const struct owner *owner, struct model_clause *clause)
{
    static const char *const known[] = {"key", "values", "notValues", NULL};
    char values_what[WHAT_MAX], not_values_what[WHAT_MAX];
    clause->matches = arena_new(reader->arena, struct model_match);
    clause->n_matches = 1;
    if (!k8s_item(reader, item, what))
        return;
    k8s_strict_keys(reader, item, what, known);
    const struct yaml *key_node = yaml_get(item, "key");
    const struct k8s_condition at = {
        .key = key_node,
        .values = yaml_get(item, "values"),
        .not_values = yaml_get(item, "notValues"),
        .item = what,
        .what = what_at(values_what, "%s.values", what),
        .not_what = what_at(not_values_what, "%s.notValues", what),
    };
    struct str key = yaml_text(key_node, what, (struct str){0}, reader->diag);
    if (!key_node || !(at.values || at.not_values))
        diag_error(reader->diag, item->place, "%s: needs a key, and values or notValues", what);
    else if (!read_condition_values(reader, key, &at, owner, &clause->matches[0]))
        diag_error(reader->diag, key_node->place,
                   "%s.key: \"%.*s\" is none of source.ip, source.namespace, source.principal, "
                   "source.serviceAccount, destination.ip, destination.port, "
                   "request.headers[NAME], request.auth.principal, request.auth.audiences, "
                   "request.auth.presenter, request.auth.claims[NAME], remote.ip, connection.sni",
                   what, STR_ARG(str_sub(key, 0, 80)));
}

typedef void match_reader(const struct k8s_reader *reader, const struct yaml *node,
                          const char *what, const struct owner *owner, struct model_match *match);

/* "from" with "source" below each item, or "to" with "operation". */
static void read_clause(const struct k8s_reader *reader, const struct yaml *list, const char *what,
                        const char *key, match_reader *read, const struct owner *owner,
                        struct model_clause *clause)
{
    const char *const known[] = {key, NULL};
    char buf[WHAT_MAX];
    size_t n = k8s_values(reader, list, what, K8S_POLICY_VALUES_MAX);
    clause->matches = arena_new_array(reader->arena, struct model_match, n);
    clause->n_matches = n;
    for (size_t i = 0; i < n; i++) {
        if (!k8s_item(reader, list->items[i], what_at(buf, "%s[%zu]", what, i)))
            continue;
        yaml_only_keys(list->items[i], buf, known, reader->diag);
        const struct yaml *inner = yaml_get(list->items[i], key);
        (void)what_at(buf, "%s[%zu].%s", what, i, key);
        if (!inner || (inner->kind == YAML_MAPPING && inner->len == 0))
            diag_error(reader->diag, list->items[i]->place, "%s: is empty, expected a field", buf);
        else if (yaml_is_mapping(inner, buf, reader->diag))
            read(reader, inner, buf, owner, &clause->matches[i]);
    }
}

static void read_rule(const struct k8s_reader *reader, const struct yaml *item, size_t idx,
                      const struct owner *owner, struct model_rule *rule)
{
    static const char *const known[] = {"from", "to", "when", NULL};
    char buf[WHAT_MAX];
    if (!k8s_item(reader, item, what_at(buf, "spec.rules[%zu]", idx)))
        return;
    k8s_strict_keys(reader, item, buf, known);
    const struct yaml *from = yaml_get(item, "from"), *to = yaml_get(item, "to");
    const struct yaml *when = yaml_get(item, "when");
    const size_t n_when =
        k8s_values(reader, when, what_at(buf, "spec.rules[%zu].when", idx), K8S_POLICY_VALUES_MAX);
    rule->clauses = arena_new_array(reader->arena, struct model_clause, 2 + n_when);
    if (from)
        read_clause(reader, from, what_at(buf, "spec.rules[%zu].from", idx), "source", read_source,
                    owner, &rule->clauses[rule->n_clauses++]);
    if (to)
        read_clause(reader, to, what_at(buf, "spec.rules[%zu].to", idx), "operation",
                    read_operation, owner, &rule->clauses[rule->n_clauses++]);
    for (size_t i = 0; i < n_when; i++)
        read_condition(reader, when->items[i], what_at(buf, "spec.rules[%zu].when[%zu]", idx, i),
                       owner, &rule->clauses[rule->n_clauses++]);
}

static enum policy_action read_action(const struct k8s_reader *reader, const struct yaml *spec)
{
    const struct yaml *node = yaml_get(spec, "action");
    struct str text = yaml_text(node, "spec.action", STR("ALLOW"), reader->diag);
    if (str_eq(text, STR("DENY")))
        return POLICY_DENY;
    if (str_eq(text, STR("AUDIT")))
        return POLICY_AUDIT;
    if (str_eq(text, STR("CUSTOM")))
        diag_error(reader->diag, node->place, "spec.action: CUSTOM is not supported yet");
    else if (!str_eq(text, STR("ALLOW")))
        diag_error(reader->diag, node->place, "spec.action: \"%.*s\" is not ALLOW, DENY or AUDIT",
                   STR_ARG(str_sub(text, 0, 40)));
    return POLICY_ALLOW;
}

static void read_dry_run(const struct k8s_reader *reader, const struct yaml *doc,
                         struct k8s_policy *policy)
{
    const struct yaml *annotations = yaml_path(doc, "metadata.annotations");
    const struct yaml *node = yaml_get(annotations, "istio.io/dry-run");
    struct str text =
        yaml_text(node, "metadata.annotations.istio.io/dry-run", STR("false"), reader->diag);
    policy->policy.dry_run = str_eq_ci(text, STR("true"));
    if (!policy->policy.dry_run && !str_eq_ci(text, STR("false")))
        diag_error(reader->diag, node->place,
                   "metadata.annotations.istio.io/dry-run: \"%.*s\" is not true or false",
                   STR_ARG(str_sub(text, 0, 40)));
}

/* Whom the policy is for: a selector, services, or else all in its namespace. */
static void read_scope(const struct k8s_reader *reader, const struct yaml *spec,
                       struct k8s_policy *policy)
{
    const struct yaml *one = yaml_get(spec, "targetRef"), *several = yaml_get(spec, "targetRefs");
    policy->selector = k8s_selector(reader, spec, &policy->n_selector);
    policy->has_selector = policy->n_selector > 0;
    policy->targets = k8s_targets(reader, spec, &policy->meta, &policy->n_targets);
    if ((one || several) && yaml_get(spec, "selector"))
        diag_error(reader->diag, (several ? several : one)->place,
                   "spec.%s: cannot stand beside a selector", several ? "targetRefs" : "targetRef");
    policy->policy.scope =
        policy->has_selector || one || several ? POLICY_WORKLOAD : POLICY_NAMESPACE;
}

static void check_spec(const struct k8s_reader *reader, const struct yaml *spec)
{
    static const char *const known[] = {"selector",   "rules",    "action", "targetRef",
                                        "targetRefs", "provider", NULL};
    const struct yaml *provider = yaml_get(spec, "provider");
    if (!yaml_is_mapping(spec, "spec", reader->diag))
        return;
    k8s_strict_keys(reader, spec, "spec", known);
    if (provider && provider->kind != YAML_NULL)
        diag_error(reader->diag, provider->place, "spec.provider: is not supported yet");
}

void k8s_read_policy(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta)
{
    char buf[WHAT_MAX];
    struct k8s_policy *policy = vec_add(&reader->objects[K8S_POLICY]);
    const struct yaml *spec = yaml_get(doc, "spec");
    policy->meta = *meta;
    policy->policy.name = meta->name;
    policy->policy.namespace_ = meta->namespace_;
    k8s_strict_top(reader, doc);
    check_spec(reader, spec);
    policy->policy.action = read_action(reader, spec);
    read_scope(reader, spec, policy);
    read_dry_run(reader, doc, policy);
    const struct yaml *rules = yaml_get(spec, "rules");
    size_t n = k8s_list(reader, rules, what_at(buf, "spec.rules"), RULES_MAX);
    policy->policy.rules = arena_new_array(reader->arena, struct model_rule, n);
    policy->policy.n_rules = n;
    if (n == 0 && policy->policy.action != POLICY_ALLOW)
        diag_warn(reader->diag, (rules ? rules : spec)->place,
                  "spec.rules: there are none, so it never matches");
    const struct owner owner = {meta->namespace_, policy->policy.action};
    for (size_t i = 0; i < n; i++)
        read_rule(reader, rules->items[i], i, &owner, &policy->policy.rules[i]);
}
