/*
 * Policies written. What istio.security has no word for travels in an extension (details.proto),
 * and the fields around it are such that a reader who passes over extensions is closed too: an
 * AUDIT policy is a DENY in dry run; a match of an ALLOW policy matches nobody, one of a DENY
 * policy more than is meant.
 */
#include "xds/codec_policy.h"

#include "xds/codec_parts.h"

static Istio__Security__ServiceAccountMatch **
accounts_encode(const struct account_match *accounts, size_t n_accounts, struct arena *arena)
{
    Istio__Security__ServiceAccountMatch **list =
        arena_new_array(arena, Istio__Security__ServiceAccountMatch *, n_accounts);

    for (size_t i = 0; i < n_accounts; i++) {
        list[i] = arena_new(arena, Istio__Security__ServiceAccountMatch);
        istio__security__service_account_match__init(list[i]);
        list[i]->namespace_ = wire_text(arena, accounts[i].namespace_);
        list[i]->serviceaccount = wire_text(arena, accounts[i].name);
    }
    return list;
}

static Istio__Security__Address **cidrs_encode(const struct cidr *cidrs, size_t n_cidrs,
                                               struct arena *arena)
{
    Istio__Security__Address **list = arena_new_array(arena, Istio__Security__Address *, n_cidrs);

    for (size_t i = 0; i < n_cidrs; i++) {
        list[i] = arena_new(arena, Istio__Security__Address);
        istio__security__address__init(list[i]);
        list[i]->address = codec_ip_encode(&cidrs[i].ip, arena);
        list[i]->length = cidrs[i].prefix_len;
    }
    return list;
}

static uint32_t *ports_encode(const uint16_t *ports, size_t n_ports, struct arena *arena)
{
    uint32_t *list = arena_new_array(arena, uint32_t, n_ports);

    for (size_t i = 0; i < n_ports; i++)
        list[i] = ports[i];
    return list;
}

static Istio__Security__Extension **
extension_encode(const char *name, const ProtobufCMessage *details, struct arena *arena)
{
    Istio__Security__Extension **list = arena_new(arena, Istio__Security__Extension *);

    list[0] = arena_new(arena, Istio__Security__Extension);
    istio__security__extension__init(list[0]);
    list[0]->name = wire_text(arena, str_from(name));
    list[0]->config = codec_any(arena, name, details);
    return list;
}

/* What there are words for. */
static Istio__Security__Match *worded_encode(const struct model_match *match, struct arena *arena)
{
    Istio__Security__Match *message = arena_new(arena, Istio__Security__Match);

    istio__security__match__init(message);
#define STRINGS(field)                                                                             \
    message->field =                                                                               \
        codec_strings_encode(match->field, match->n_##field, arena, &message->n_##field)
    STRINGS(namespaces);
    STRINGS(not_namespaces);
    STRINGS(principals);
    STRINGS(not_principals);
#undef STRINGS
#define ENCODE(field, model_field, encode)                                                         \
    message->field = encode(match->model_field, match->n_##model_field, arena);                    \
    message->n_##field = match->n_##model_field
    ENCODE(source_ips, source_ips, cidrs_encode);
    ENCODE(not_source_ips, not_source_ips, cidrs_encode);
    ENCODE(destination_ips, destination_ips, cidrs_encode);
    ENCODE(not_destination_ips, not_destination_ips, cidrs_encode);
    ENCODE(destination_ports, ports, ports_encode);
    ENCODE(not_destination_ports, not_ports, ports_encode);
    ENCODE(service_accounts, accounts, accounts_encode);
    ENCODE(not_service_accounts, not_accounts, accounts_encode);
#undef ENCODE
    return message;
}

static bool has_glob(const struct string_match *matches, size_t n_matches)
{
    for (size_t i = 0; i < n_matches; i++)
        if (matches[i].kind == MATCH_GLOB)
            return true;
    return false;
}

static bool needs_details(const struct model_match *match)
{
    return match->has_unknown || match->n_http > 0 || match->n_trust_domains > 0 ||
           match->n_not_trust_domains > 0 || has_glob(match->namespaces, match->n_namespaces) ||
           has_glob(match->not_namespaces, match->n_not_namespaces);
}

static Istio__Security__Extension **details_encode(const struct model_match *match,
                                                   struct arena *arena)
{
    Isthmus__V1alpha1__MatchDetails details = ISTHMUS__V1ALPHA1__MATCH_DETAILS__INIT;

    details.match = worded_encode(match, arena);
#define STRINGS(field, globs)                                                                      \
    details.field =                                                                                \
        codec_strings_encode(match->field, match->n_##field, arena, &details.n_##field);           \
    details.globs = codec_patterns_encode(match->field, match->n_##field, MATCH_GLOB, arena,       \
                                          &details.n_##globs)
    STRINGS(trust_domains, trust_domain_globs);
    STRINGS(not_trust_domains, not_trust_domain_globs);
#undef STRINGS
    details.namespace_globs = codec_patterns_encode(match->namespaces, match->n_namespaces,
                                                    MATCH_GLOB, arena, &details.n_namespace_globs);
    details.not_namespace_globs =
        codec_patterns_encode(match->not_namespaces, match->n_not_namespaces, MATCH_GLOB, arena,
                              &details.n_not_namespace_globs);
    details.request = codec_request_encode(match->http, match->n_http, arena);
    details.n_request = match->n_http;
    details.has_unknown = match->has_unknown;
    return extension_encode(CODEC_MATCH_DETAILS, &details.base, arena);
}

/* Matches every address, for readers to whom a match without a word is nobody's. */
static void everybody_encode(Istio__Security__Match *message, struct arena *arena)
{
    static const struct cidr everywhere[] = {{.ip = {.len = 4}}, {.ip = {.len = 16}}};

    message->source_ips = cidrs_encode(everywhere, 2, arena);
    message->n_source_ips = 2;
}

/* A positive field that lost a value to the extension would match less than is meant: it is left
 * out. */
static void loosen(Istio__Security__Match *message, const struct model_match *match,
                   struct arena *arena)
{
    if (has_glob(match->namespaces, match->n_namespaces))
        message->n_namespaces = 0;
    if (protobuf_c_message_get_packed_size(&message->base) == 0)
        everybody_encode(message, arena);
}

static Istio__Security__Match *match_encode(const struct model_match *match,
                                            enum policy_action action, struct arena *arena)
{
    Istio__Security__Match *message;

    if (!needs_details(match))
        return worded_encode(match, arena);
    if (action == POLICY_ALLOW) {
        message = arena_new(arena, Istio__Security__Match);
        istio__security__match__init(message);
    } else {
        message = worded_encode(match, arena);
        loosen(message, match, arena);
    }
    message->extensions = details_encode(match, arena);
    message->n_extensions = 1;
    return message;
}

static Istio__Security__Clause *clause_encode(const struct model_clause *clause,
                                              enum policy_action action, struct arena *arena)
{
    Istio__Security__Clause *message = arena_new(arena, Istio__Security__Clause);

    istio__security__clause__init(message);
    message->matches = arena_new_array(arena, Istio__Security__Match *, clause->n_matches);
    message->n_matches = clause->n_matches;
    for (size_t i = 0; i < clause->n_matches; i++)
        message->matches[i] = match_encode(&clause->matches[i], action, arena);
    return message;
}

static Istio__Security__Rule *rule_encode(const struct model_rule *rule, enum policy_action action,
                                          struct arena *arena)
{
    Istio__Security__Rule *message = arena_new(arena, Istio__Security__Rule);

    istio__security__rule__init(message);
    message->clauses = arena_new_array(arena, Istio__Security__Clause *, rule->n_clauses);
    message->n_clauses = rule->n_clauses;
    for (size_t i = 0; i < rule->n_clauses; i++)
        message->clauses[i] = clause_encode(&rule->clauses[i], action, arena);
    return message;
}

static void policy_details_encode(const struct model_policy *policy,
                                  Istio__Security__Authorization *message, struct arena *arena)
{
    Isthmus__V1alpha1__AuthorizationDetails details =
        ISTHMUS__V1ALPHA1__AUTHORIZATION_DETAILS__INIT;

    details.is_audit = policy->action == POLICY_AUDIT;
    details.dry_run = details.is_audit && policy->dry_run;
    details.targets = codec_texts(arena, policy->targets, policy->n_targets);
    details.n_targets = policy->n_targets;
    if (!details.is_audit && policy->n_targets == 0)
        return;
    message->extensions = extension_encode(CODEC_POLICY_DETAILS, &details.base, arena);
    message->n_extensions = 1;
}

void codec_policy_encode(const struct model_policy *policy, struct arena *arena, struct text *out)
{
    Istio__Security__Authorization message = ISTIO__SECURITY__AUTHORIZATION__INIT;

    message.name = wire_text(arena, policy->name);
    message.namespace_ = wire_text(arena, policy->namespace_);
    message.scope = (Istio__Security__Scope)policy->scope;
    message.action = policy->action == POLICY_ALLOW ? ISTIO__SECURITY__ACTION__ALLOW
                                                    : ISTIO__SECURITY__ACTION__DENY;
    message.dry_run = policy->dry_run || policy->action == POLICY_AUDIT;
    policy_details_encode(policy, &message, arena);
    message.rules = arena_new_array(arena, Istio__Security__Rule *, policy->n_rules);
    message.n_rules = policy->n_rules;
    for (size_t i = 0; i < policy->n_rules; i++)
        message.rules[i] = rule_encode(&policy->rules[i], policy->action, arena);
    wire_pack(&message.base, out);
}
