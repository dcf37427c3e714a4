/*
 * Policies read, closed in doubt.
 *
 * What this version cannot evaluate may restrict or widen a policy, and nobody can know which. A
 * match with such a thing says so (has_unknown). A clause, rule or policy with an unknown field of
 * its own gets matches with has_unknown where they make an ALLOW match less and a DENY match more:
 *   in a clause  every match is marked, and a marked one is added to the alternatives;
 *   in a rule    a clause with one marked match is added to what must hold;
 *   in a policy  every rule is treated so, and a rule of one marked match is added to the
 * alternatives.
 * A field with a value that is not known is left out whole, for the same reason.
 */
#include <string.h>

#include "certs/digest.h"
#include "proxy/base/err.h"
#include "proxy/base/keyed_hash.h"
#include "xds/codec_parts.h"
#include "xds/codec_policy.h"

/* A field with a value that is not known is left out whole: without it a DENY matches more. */
static struct string_match *strings_decode(Istio__Security__StringMatch *const *messages, size_t n,
                                           char *const *globs, size_t n_globs, struct arena *arena,
                                           struct model_match *match, size_t *out_n)
{
    struct string_match *list =
        codec_strings_decode(messages, n, globs, n_globs, MATCH_GLOB, arena, out_n);

    match->has_unknown |= !list;
    return list;
}

/* Without a namespace or a name it is none that we know. */
static struct account_match *accounts_decode(Istio__Security__ServiceAccountMatch *const *messages,
                                             size_t n, struct arena *arena,
                                             struct model_match *match, size_t *out_n)
{
    struct account_match *list = arena_new_array(arena, struct account_match, n);
    size_t n_known = 0;
    bool is_unknown = false;

    for (size_t i = 0; i < n; i++) {
        if (codec_has_unknown(&messages[i]->base) || !messages[i]->namespace_[0] ||
            !messages[i]->serviceaccount[0])
            is_unknown = true;
        else
            list[n_known++] =
                (struct account_match){codec_keep(arena, messages[i]->namespace_),
                                       codec_keep(arena, messages[i]->serviceaccount)};
    }
    match->has_unknown |= is_unknown;
    *out_n = is_unknown ? 0 : n_known;
    return list;
}

static void clear_host_bits(struct cidr *cidr)
{
    for (unsigned bit = cidr->prefix_len; bit < cidr->ip.len * 8u; bit++)
        cidr->ip.bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

/* An IPv4-mapped address becomes IPv4, and its prefix with it. */
static int cidr_decode(const Istio__Security__Address *message, struct cidr *out_cidr,
                       struct text *why)
{
    struct cidr cidr = {0};
    size_t mapped_bits;
    int err = codec_ip_decode(&message->address, "Match: address", &cidr.ip, why);

    if (err)
        return err;
    mapped_bits = (message->address.len - cidr.ip.len) * 8;
    if (message->length < mapped_bits || message->length > message->address.len * 8)
        return codec_refuse(why, "Match: a prefix of /%u does not fit an address of %zu bits",
                            message->length, message->address.len * 8);
    cidr.prefix_len = (uint8_t)(message->length - mapped_bits);
    clear_host_bits(&cidr);
    *out_cidr = cidr;
    return 0;
}

static int cidrs_decode(Istio__Security__Address *const *messages, size_t n, struct arena *arena,
                        struct cidr **out_list, size_t *out_n, struct text *why)
{
    struct cidr *list = arena_new_array(arena, struct cidr, n);
    int err = 0;

    for (size_t i = 0; i < n && !err; i++)
        err = cidr_decode(messages[i], &list[i], why);
    if (err)
        return err;
    *out_list = list;
    *out_n = n;
    return 0;
}

static int ports_decode(const uint32_t *ports, size_t n, struct arena *arena, uint16_t **out_list,
                        size_t *out_n, struct text *why)
{
    uint16_t *list = arena_new_array(arena, uint16_t, n);

    for (size_t i = 0; i < n; i++) {
        if (ports[i] > UINT16_MAX)
            return codec_refuse(why, "Match: %u is not a port (0 to 65535)", ports[i]);
        list[i] = (uint16_t)ports[i];
    }
    *out_list = list;
    *out_n = n;
    return 0;
}

static int places_decode(const Istio__Security__Match *message, struct arena *arena,
                         struct model_match *match, struct text *why)
{
    int err = 0;

#define DECODE(field, model_field, decode)                                                         \
    if (!err)                                                                                      \
    err = decode(message->field, message->n_##field, arena, &match->model_field,                   \
                 &match->n_##model_field, why)
    DECODE(source_ips, source_ips, cidrs_decode);
    DECODE(not_source_ips, not_source_ips, cidrs_decode);
    DECODE(destination_ips, destination_ips, cidrs_decode);
    DECODE(not_destination_ips, not_destination_ips, cidrs_decode);
    DECODE(destination_ports, ports, ports_decode);
    DECODE(not_destination_ports, not_ports, ports_decode);
#undef DECODE
    return err;
}

/* details: with what there are no words for; the default when there is none. */
static int fields_decode(const Istio__Security__Match *message,
                         const Isthmus__V1alpha1__MatchDetails *details, struct arena *arena,
                         struct model_match *match, struct text *why)
{
#define STRINGS(from, field, globs)                                                                \
    match->field = strings_decode((from)->field, (from)->n_##field, details->globs,                \
                                  details->n_##globs, arena, match, &match->n_##field)
    STRINGS(message, namespaces, namespace_globs);
    STRINGS(message, not_namespaces, not_namespace_globs);
    STRINGS(details, trust_domains, trust_domain_globs);
    STRINGS(details, not_trust_domains, not_trust_domain_globs);
#undef STRINGS
    match->principals = strings_decode(message->principals, message->n_principals, NULL, 0, arena,
                                       match, &match->n_principals);
    match->not_principals = strings_decode(message->not_principals, message->n_not_principals, NULL,
                                           0, arena, match, &match->n_not_principals);
    match->accounts = accounts_decode(message->service_accounts, message->n_service_accounts, arena,
                                      match, &match->n_accounts);
    match->not_accounts =
        accounts_decode(message->not_service_accounts, message->n_not_service_accounts, arena,
                        match, &match->n_not_accounts);
    return places_decode(message, arena, match, why);
}

/* The details in the only extension, which is ours; NULL when there is none or something else.
 * Unpacked into scratch. */
static const void *details_decode(Istio__Security__Extension *const *extensions, size_t n,
                                  const char *name, const ProtobufCMessageDescriptor *descriptor,
                                  struct arena *scratch)
{
    const ProtobufCMessage *details;
    struct text why = {0};

    if (n != 1 || codec_has_unknown(&extensions[0]->base) || !extensions[0]->config ||
        strcmp(extensions[0]->name, name) != 0)
        return NULL;
    details = (const void *)wire_unpack(
        descriptor, str_of(extensions[0]->config->value.data, extensions[0]->config->value.len),
        scratch, &why);
    text_fini(&why);
    return details && !codec_has_unknown(details) ? details : NULL;
}

static int match_decode(const Istio__Security__Match *message, struct arena *arena,
                        struct model_match *match, struct text *why)
{
    static const Isthmus__V1alpha1__MatchDetails none = ISTHMUS__V1ALPHA1__MATCH_DETAILS__INIT;
    struct arena scratch = {0};
    const Isthmus__V1alpha1__MatchDetails *details =
        details_decode(message->extensions, message->n_extensions, CODEC_MATCH_DETAILS,
                       &isthmus__v1alpha1__match_details__descriptor, &scratch);
    int err;

    match->has_unknown = codec_has_unknown(&message->base) ||
                         (message->n_extensions > 0 && (!details || !details->match));
    if (details && details->match) {
        match->has_unknown |= details->has_unknown || codec_has_unknown(&details->match->base) ||
                              details->match->n_extensions > 0;
        match->http = codec_request_decode(details->request, details->n_request, arena,
                                           &match->n_http, &match->has_unknown);
        message = details->match;
    }
    err = fields_decode(message, details ? details : &none, arena, match, why);
    arena_fini(&scratch);
    return err;
}

static int clause_decode(const Istio__Security__Clause *message, struct arena *arena,
                         struct model_clause *clause, struct text *why)
{
    bool is_unknown = codec_has_unknown(&message->base);
    int err = 0;

    clause->matches = arena_new_array(arena, struct model_match, message->n_matches + is_unknown);
    for (size_t i = 0; i < message->n_matches && !err; i++)
        err = match_decode(message->matches[i], arena, &clause->matches[clause->n_matches++], why);
    if (is_unknown)
        clause->n_matches++;
    for (size_t i = 0; i < clause->n_matches && is_unknown; i++)
        clause->matches[i].has_unknown = true;
    return err;
}

static struct model_clause marked_clause(struct arena *arena)
{
    struct model_clause clause = {.matches = arena_new(arena, struct model_match), .n_matches = 1};

    clause.matches[0].has_unknown = true;
    return clause;
}

static int rule_decode(const Istio__Security__Rule *message, bool is_unknown, struct arena *arena,
                       struct model_rule *rule, struct text *why)
{
    int err = 0;

    rule->clauses = arena_new_array(arena, struct model_clause, message->n_clauses + 1);
    for (size_t i = 0; i < message->n_clauses && !err; i++)
        err = clause_decode(message->clauses[i], arena, &rule->clauses[rule->n_clauses++], why);
    if (is_unknown || codec_has_unknown(&message->base))
        rule->clauses[rule->n_clauses++] = marked_clause(arena);
    return err;
}

/* False when there is something that we do not know. */
static bool policy_details_decode(const Istio__Security__Authorization *message,
                                  struct arena *arena, struct model_policy *policy)
{
    struct arena scratch = {0};
    const Isthmus__V1alpha1__AuthorizationDetails *details =
        details_decode(message->extensions, message->n_extensions, CODEC_POLICY_DETAILS,
                       &isthmus__v1alpha1__authorization_details__descriptor, &scratch);

    if (details) {
        policy->targets = codec_keep_all(arena, details->targets, details->n_targets);
        policy->n_targets = details->n_targets;
    }
    if (details && details->is_audit) {
        policy->action = POLICY_AUDIT;
        policy->dry_run = details->dry_run;
    }
    arena_fini(&scratch);
    return message->n_extensions == 0 || details;
}

static int rules_decode(const Istio__Security__Authorization *message, struct arena *arena,
                        struct model_policy *policy, struct text *why)
{
    bool is_unknown =
        codec_has_unknown(&message->base) || !policy_details_decode(message, arena, policy);
    int err = 0;

    policy->rules = arena_new_array(arena, struct model_rule, message->n_rules + 1);
    for (size_t i = 0; i < message->n_rules && !err; i++)
        err = rule_decode(message->rules[i], is_unknown, arena, &policy->rules[policy->n_rules++],
                          why);
    if (is_unknown) {
        struct model_rule *rule = &policy->rules[policy->n_rules++];
        rule->clauses = arena_new(arena, struct model_clause);
        rule->clauses[rule->n_clauses++] = marked_clause(arena);
    }
    return err;
}

static int head_decode(const Istio__Security__Authorization *message, struct str name,
                       struct arena *arena, struct model_policy *policy, struct text *why)
{
    if (!message->name[0])
        return codec_refuse(why, "Authorization.name must not be empty");
    if ((unsigned)message->action > ISTIO__SECURITY__ACTION__DENY)
        return codec_refuse(why, "Authorization.action: %d is not known (ALLOW or DENY)",
                            (int)message->action);
    if ((unsigned)message->scope > ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR)
        return codec_refuse(why, "Authorization.scope: %d is not known (0 to 2)",
                            (int)message->scope);
    policy->name = codec_keep(arena, message->name);
    policy->namespace_ = codec_keep(arena, message->namespace_);
    policy->action = message->action == ISTIO__SECURITY__ACTION__DENY ? POLICY_DENY : POLICY_ALLOW;
    policy->scope = (enum policy_scope)message->scope;
    policy->dry_run = message->dry_run;
    return codec_check_name(name, arena_printf(arena, "%s/%s", message->namespace_, message->name),
                            why);
}

int codec_policy_decode(struct str bytes, struct str name, struct arena *arena,
                        struct model_policy **out_policy, struct text *why)
{
    struct model_policy *policy = arena_new(arena, struct model_policy);
    struct arena scratch = {0};
    const Istio__Security__Authorization *message = (const void *)wire_unpack(
        &istio__security__authorization__descriptor, bytes, &scratch, why);
    int err = message ? head_decode(message, name, arena, policy, why) : -ERR_INVALID;

    if (!err)
        err = rules_decode(message, arena, policy, why);
    policy->revision = digest_number(bytes); /* as resource_set makes a version */
    policy->mark = keyed_hash(0, bytes);
    arena_fini(&scratch);
    if (!err)
        *out_policy = policy;
    return err;
}
