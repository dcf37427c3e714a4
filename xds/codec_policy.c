/*
 * codec_policy.c - policies, closed in doubt.
 *
 * What this version cannot evaluate may restrict or widen a policy, and nobody can know which. A
 * match with such a thing says so (has_unknown). A clause, rule or policy with an unknown field of
 * its own gets matches with has_unknown where they make an ALLOW match less and a DENY match more:
 *   in a clause  every match is marked, and a marked one is added to the alternatives;
 *   in a rule    a clause with one marked match is added to what must hold;
 *   in a policy  every rule is treated so, and a rule of one marked match is added to the
 * alternatives.
 *
 * What istio.security has no word for travels in an extension (details.proto), and the fields
 * around it are such that a reader who passes over extensions is closed too: an AUDIT policy is a
 * DENY in dry run; a match of an ALLOW policy matches nobody, one of a DENY policy more than is
 * meant.
 */
#include <authorization.pb-c.h>
#include <details.pb-c.h>
#include <string.h>

#include "proxy/base/err.h"
#include "xds/codec_parts.h"

#define POLICY_DETAILS "isthmus.v1alpha1.AuthorizationDetails"
#define MATCH_DETAILS  "isthmus.v1alpha1.MatchDetails"

/* ---- model to message ---- */

static Istio__Security__StringMatch *string_encode(const struct string_match *match,
                                                   struct arena *arena)
{
    Istio__Security__StringMatch *message = arena_new(arena, Istio__Security__StringMatch);
    char *value = wire_text(arena, match->value);

    istio__security__string_match__init(message);
    switch (match->kind) {
    case MATCH_EXACT:
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT;
        message->exact = value;
        break;
    case MATCH_PREFIX:
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX;
        message->prefix = value;
        break;
    case MATCH_SUFFIX:
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX;
        message->suffix = value;
        break;
    case MATCH_PRESENCE:
    case MATCH_TEMPLATE:
    case MATCH_GLOB: /* never, see strings_encode() */
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE;
        message->presence = arena_new(arena, Istio__Security__Empty);
        istio__security__empty__init(message->presence);
        break;
    }
    return message;
}

/* Without globs, which have no word. */
static Istio__Security__StringMatch **strings_encode(const struct string_match *matches,
                                                     size_t n_matches, struct arena *arena,
                                                     size_t *out_n)
{
    Istio__Security__StringMatch **list =
        arena_new_array(arena, Istio__Security__StringMatch *, n_matches);

    *out_n = 0;
    for (size_t i = 0; i < n_matches; i++)
        if (matches[i].kind != MATCH_GLOB)
            list[(*out_n)++] = string_encode(&matches[i], arena);
    return list;
}

static char **globs_encode(const struct string_match *matches, size_t n_matches,
                           struct arena *arena, size_t *out_n)
{
    char **list = arena_new_array(arena, char *, n_matches);

    *out_n = 0;
    for (size_t i = 0; i < n_matches; i++)
        if (matches[i].kind == MATCH_GLOB)
            list[(*out_n)++] = wire_text(arena, matches[i].value);
    return list;
}

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
    message->field = strings_encode(match->field, match->n_##field, arena, &message->n_##field)
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
    return match->has_unknown || match->n_trust_domains > 0 || match->n_not_trust_domains > 0 ||
           has_glob(match->namespaces, match->n_namespaces) ||
           has_glob(match->not_namespaces, match->n_not_namespaces);
}

static Istio__Security__Extension **details_encode(const struct model_match *match,
                                                   struct arena *arena)
{
    Isthmus__V1alpha1__MatchDetails details = ISTHMUS__V1ALPHA1__MATCH_DETAILS__INIT;

    details.match = worded_encode(match, arena);
#define STRINGS(field, globs)                                                                      \
    details.field = strings_encode(match->field, match->n_##field, arena, &details.n_##field);     \
    details.globs = globs_encode(match->field, match->n_##field, arena, &details.n_##globs)
    STRINGS(trust_domains, trust_domain_globs);
    STRINGS(not_trust_domains, not_trust_domain_globs);
#undef STRINGS
    details.namespace_globs =
        globs_encode(match->namespaces, match->n_namespaces, arena, &details.n_namespace_globs);
    details.not_namespace_globs = globs_encode(match->not_namespaces, match->n_not_namespaces,
                                               arena, &details.n_not_namespace_globs);
    details.has_unknown = match->has_unknown;
    return extension_encode(MATCH_DETAILS, &details.base, arena);
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
    message->extensions = extension_encode(POLICY_DETAILS, &details.base, arena);
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

/* ---- message to model ---- */

static bool has_unknown(const ProtobufCMessage *message)
{
    return message->n_unknown_fields > 0;
}

/* False when the kind of match is not known. */
static bool string_decode(const Istio__Security__StringMatch *message, struct arena *arena,
                          struct string_match *out_match)
{
    if (has_unknown(&message->base))
        return false;
    switch (message->match_type_case) {
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT:
        *out_match = (struct string_match){MATCH_EXACT, codec_keep(arena, message->exact)};
        return true;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX:
        *out_match = (struct string_match){MATCH_PREFIX, codec_keep(arena, message->prefix)};
        return true;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX:
        *out_match = (struct string_match){MATCH_SUFFIX, codec_keep(arena, message->suffix)};
        return true;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE:
        *out_match = (struct string_match){.kind = MATCH_PRESENCE};
        return true;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE__NOT_SET:
    case _ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE__CASE_IS_INT_SIZE: return false;
    }
    return false;
}

/* With the globs that belong to the field behind them. */
static struct string_match *strings_decode(Istio__Security__StringMatch *const *messages, size_t n,
                                           char *const *globs, size_t n_globs, struct arena *arena,
                                           struct model_match *match, size_t *out_n)
{
    struct string_match *list = arena_new_array(arena, struct string_match, n + n_globs);
    size_t n_known = 0;

    for (size_t i = 0; i < n; i++) {
        if (string_decode(messages[i], arena, &list[n_known]))
            n_known++;
        else
            match->has_unknown = true;
    }
    for (size_t i = 0; i < n_globs; i++)
        list[n_known++] = (struct string_match){MATCH_GLOB, codec_keep(arena, globs[i])};
    *out_n = n_known;
    return list;
}

/* Without a namespace or a name it is none that we know. */
static struct account_match *accounts_decode(Istio__Security__ServiceAccountMatch *const *messages,
                                             size_t n, struct arena *arena,
                                             struct model_match *match, size_t *out_n)
{
    struct account_match *list = arena_new_array(arena, struct account_match, n);
    size_t n_known = 0;

    for (size_t i = 0; i < n; i++) {
        if (has_unknown(&messages[i]->base) || !messages[i]->namespace_[0] ||
            !messages[i]->serviceaccount[0])
            match->has_unknown = true;
        else
            list[n_known++] =
                (struct account_match){codec_keep(arena, messages[i]->namespace_),
                                       codec_keep(arena, messages[i]->serviceaccount)};
    }
    *out_n = n_known;
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

    if (n != 1 || has_unknown(&extensions[0]->base) || !extensions[0]->config ||
        strcmp(extensions[0]->name, name) != 0)
        return NULL;
    details = (const void *)wire_unpack(
        descriptor, str_of(extensions[0]->config->value.data, extensions[0]->config->value.len),
        scratch, &why);
    text_fini(&why);
    return details && !has_unknown(details) ? details : NULL;
}

static int match_decode(const Istio__Security__Match *message, struct arena *arena,
                        struct model_match *match, struct text *why)
{
    static const Isthmus__V1alpha1__MatchDetails none = ISTHMUS__V1ALPHA1__MATCH_DETAILS__INIT;
    struct arena scratch = {0};
    const Isthmus__V1alpha1__MatchDetails *details =
        details_decode(message->extensions, message->n_extensions, MATCH_DETAILS,
                       &isthmus__v1alpha1__match_details__descriptor, &scratch);
    int err;

    match->has_unknown =
        has_unknown(&message->base) || (message->n_extensions > 0 && (!details || !details->match));
    if (details && details->match) {
        match->has_unknown |= details->has_unknown || has_unknown(&details->match->base) ||
                              details->match->n_extensions > 0;
        message = details->match;
    }
    err = fields_decode(message, details ? details : &none, arena, match, why);
    arena_fini(&scratch);
    return err;
}

static int clause_decode(const Istio__Security__Clause *message, struct arena *arena,
                         struct model_clause *clause, struct text *why)
{
    bool is_unknown = has_unknown(&message->base);
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
    if (is_unknown || has_unknown(&message->base))
        rule->clauses[rule->n_clauses++] = marked_clause(arena);
    return err;
}

/* False when there is something that we do not know. */
static bool policy_details_decode(const Istio__Security__Authorization *message,
                                  struct arena *arena, struct model_policy *policy)
{
    struct arena scratch = {0};
    const Isthmus__V1alpha1__AuthorizationDetails *details =
        details_decode(message->extensions, message->n_extensions, POLICY_DETAILS,
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
    bool is_unknown = has_unknown(&message->base) || !policy_details_decode(message, arena, policy);
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
    policy->revision = str_hash(bytes, 0); /* as resource_set makes a version */
    arena_fini(&scratch);
    if (!err)
        *out_policy = policy;
    return err;
}
