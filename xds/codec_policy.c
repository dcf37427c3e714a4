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
 */
#include <authorization.pb-c.h>
#include <string.h>

#include "proxy/base/err.h"
#include "xds/codec_parts.h"

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
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE;
        message->presence = arena_new(arena, Istio__Security__Empty);
        istio__security__empty__init(message->presence);
        break;
    }
    return message;
}

static Istio__Security__StringMatch **strings_encode(const struct string_match *matches,
                                                     size_t n_matches, struct arena *arena)
{
    Istio__Security__StringMatch **list =
        arena_new_array(arena, Istio__Security__StringMatch *, n_matches);

    for (size_t i = 0; i < n_matches; i++)
        list[i] = string_encode(&matches[i], arena);
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

/* A field that is known and not evaluated keeps the mark across the wire. */
static void mark_encode(Istio__Security__Match *message, struct arena *arena)
{
    message->service_accounts = arena_new(arena, Istio__Security__ServiceAccountMatch *);
    message->service_accounts[0] = arena_new(arena, Istio__Security__ServiceAccountMatch);
    istio__security__service_account_match__init(message->service_accounts[0]);
    message->n_service_accounts = 1;
}

static Istio__Security__Match *match_encode(const struct model_match *match, struct arena *arena)
{
    Istio__Security__Match *message = arena_new(arena, Istio__Security__Match);

    istio__security__match__init(message);
#define ENCODE(field, model_field, encode)                                                         \
    message->field = encode(match->model_field, match->n_##model_field, arena);                    \
    message->n_##field = match->n_##model_field
    ENCODE(namespaces, namespaces, strings_encode);
    ENCODE(not_namespaces, not_namespaces, strings_encode);
    ENCODE(principals, principals, strings_encode);
    ENCODE(not_principals, not_principals, strings_encode);
    ENCODE(source_ips, source_ips, cidrs_encode);
    ENCODE(not_source_ips, not_source_ips, cidrs_encode);
    ENCODE(destination_ips, destination_ips, cidrs_encode);
    ENCODE(not_destination_ips, not_destination_ips, cidrs_encode);
    ENCODE(destination_ports, ports, ports_encode);
    ENCODE(not_destination_ports, not_ports, ports_encode);
#undef ENCODE
    if (match->has_unknown)
        mark_encode(message, arena);
    return message;
}

static Istio__Security__Clause *clause_encode(const struct model_clause *clause,
                                              struct arena *arena)
{
    Istio__Security__Clause *message = arena_new(arena, Istio__Security__Clause);

    istio__security__clause__init(message);
    message->matches = arena_new_array(arena, Istio__Security__Match *, clause->n_matches);
    message->n_matches = clause->n_matches;
    for (size_t i = 0; i < clause->n_matches; i++)
        message->matches[i] = match_encode(&clause->matches[i], arena);
    return message;
}

static Istio__Security__Rule *rule_encode(const struct model_rule *rule, struct arena *arena)
{
    Istio__Security__Rule *message = arena_new(arena, Istio__Security__Rule);

    istio__security__rule__init(message);
    message->clauses = arena_new_array(arena, Istio__Security__Clause *, rule->n_clauses);
    message->n_clauses = rule->n_clauses;
    for (size_t i = 0; i < rule->n_clauses; i++)
        message->clauses[i] = clause_encode(&rule->clauses[i], arena);
    return message;
}

void codec_policy_encode(const struct model_policy *policy, struct arena *arena, struct text *out)
{
    Istio__Security__Authorization message = ISTIO__SECURITY__AUTHORIZATION__INIT;

    message.name = wire_text(arena, policy->name);
    message.namespace_ = wire_text(arena, policy->namespace_);
    message.scope = (Istio__Security__Scope)policy->scope;
    message.action = (Istio__Security__Action)policy->action;
    message.dry_run = policy->dry_run;
    message.rules = arena_new_array(arena, Istio__Security__Rule *, policy->n_rules);
    message.n_rules = policy->n_rules;
    for (size_t i = 0; i < policy->n_rules; i++)
        message.rules[i] = rule_encode(&policy->rules[i], arena);
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

static struct string_match *strings_decode(Istio__Security__StringMatch *const *messages, size_t n,
                                           struct arena *arena, struct model_match *match,
                                           size_t *out_n)
{
    struct string_match *list = arena_new_array(arena, struct string_match, n);
    size_t n_known = 0;

    for (size_t i = 0; i < n; i++) {
        if (string_decode(messages[i], arena, &list[n_known]))
            n_known++;
        else
            match->has_unknown = true;
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
        if (ports[i] == 0 || ports[i] > UINT16_MAX)
            return codec_refuse(why, "Match: %u is not a port (1 to 65535)", ports[i]);
        list[i] = (uint16_t)ports[i];
    }
    *out_list = list;
    *out_n = n;
    return 0;
}

static int match_decode(const Istio__Security__Match *message, struct arena *arena,
                        struct model_match *match, struct text *why)
{
    int err = 0;

    match->has_unknown = has_unknown(&message->base) || message->n_service_accounts ||
                         message->n_not_service_accounts || message->n_extensions;
#define STRINGS(field)                                                                             \
    match->field =                                                                                 \
        strings_decode(message->field, message->n_##field, arena, match, &match->n_##field)
    STRINGS(namespaces);
    STRINGS(not_namespaces);
    STRINGS(principals);
    STRINGS(not_principals);
#undef STRINGS
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

static int rules_decode(const Istio__Security__Authorization *message, struct arena *arena,
                        struct model_policy *policy, struct text *why)
{
    bool is_unknown = has_unknown(&message->base);
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
