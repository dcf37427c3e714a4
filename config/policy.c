/* Compiling: copies of everything a policy says, so that the resource it came from may go, with the
 * values of each field as a set. */
#include "config/policy.h"

#include <stdlib.h>
#include <string.h>

#include "config/policy_http.h"
#include "config/policy_index.h"
#include "config/policy_match.h"
#include "proxy/base/keyed_hash.h"

/* Principals are compared without the scheme; manifests of other hands may carry it. */
static struct str principal_of(const struct string_match *match)
{
    static const struct str scheme = {"spiffe://", sizeof("spiffe://") - 1};
    if (match->kind == MATCH_SUFFIX || !str_starts_with(match->value, scheme))
        return match->value;
    return str_sub(match->value, scheme.len, match->value.len);
}

static void copy_strings(struct arena *arena, struct string_match **field, size_t *n,
                         bool are_principals)
{
    struct string_match *to = arena_new_array(arena, struct string_match, *n);
    for (size_t i = 0; i < *n; i++) {
        const struct string_match *from = &(*field)[i];
        to[i].kind = from->kind;
        to[i].value = arena_str(arena, are_principals ? principal_of(from) : from->value);
    }
    *n = policy_sort_strings(to, *n);
    *field = to;
}

static void copy_accounts(struct arena *arena, struct account_match **field, size_t *n)
{
    struct account_match *to = arena_new_array(arena, struct account_match, *n);
    for (size_t i = 0; i < *n; i++) {
        to[i].namespace_ = arena_str(arena, (*field)[i].namespace_);
        to[i].name = arena_str(arena, (*field)[i].name);
    }
    *n = policy_sort_accounts(to, *n);
    *field = to;
}

static void copy_cidrs(struct arena *arena, struct cidr **field, size_t *n)
{
    struct cidr *to = arena_new_array(arena, struct cidr, *n);
    if (*n > 0)
        memcpy(to, *field, *n * sizeof(*to));
    *n = policy_sort_cidrs(to, *n);
    *field = to;
}

static void copy_ports(struct arena *arena, uint16_t **field, size_t *n)
{
    uint16_t *to = arena_new_array(arena, uint16_t, *n);
    if (*n > 0)
        memcpy(to, *field, *n * sizeof(*to));
    *n = policy_sort_ports(to, *n);
    *field = to;
}

static struct model_match copy_match(struct arena *arena, const struct model_match *from)
{
    struct model_match to = *from; /* the flags; the arrays are replaced one by one */
    copy_strings(arena, &to.namespaces, &to.n_namespaces, false);
    copy_strings(arena, &to.not_namespaces, &to.n_not_namespaces, false);
    copy_strings(arena, &to.principals, &to.n_principals, true);
    copy_strings(arena, &to.not_principals, &to.n_not_principals, true);
    copy_strings(arena, &to.trust_domains, &to.n_trust_domains, false);
    copy_strings(arena, &to.not_trust_domains, &to.n_not_trust_domains, false);
    copy_accounts(arena, &to.accounts, &to.n_accounts);
    copy_accounts(arena, &to.not_accounts, &to.n_not_accounts);
    copy_cidrs(arena, &to.source_ips, &to.n_source_ips);
    copy_cidrs(arena, &to.not_source_ips, &to.n_not_source_ips);
    copy_cidrs(arena, &to.destination_ips, &to.n_destination_ips);
    copy_cidrs(arena, &to.not_destination_ips, &to.n_not_destination_ips);
    copy_ports(arena, &to.ports, &to.n_ports);
    copy_ports(arena, &to.not_ports, &to.n_not_ports);
    to.http = policy_http_copy(arena, to.http, to.n_http);
    return to;
}

static struct model_clause copy_clause(struct arena *arena, const struct model_clause *from)
{
    struct model_match *matches = arena_new_array(arena, struct model_match, from->n_matches);
    for (size_t i = 0; i < from->n_matches; i++)
        matches[i] = copy_match(arena, &from->matches[i]);
    return (struct model_clause){matches, from->n_matches};
}

static struct model_rule copy_rule(struct arena *arena, const struct model_rule *from)
{
    struct model_clause *clauses = arena_new_array(arena, struct model_clause, from->n_clauses);
    for (size_t i = 0; i < from->n_clauses; i++)
        clauses[i] = copy_clause(arena, &from->clauses[i]);
    return (struct model_rule){clauses, from->n_clauses};
}

const struct policy *policy_compile(struct arena *arena, const struct model_policy *model)
{
    struct policy *policy = arena_new(arena, struct policy);
    struct model_rule *rules = arena_new_array(arena, struct model_rule, model->n_rules);
    struct str *targets = arena_new_array(arena, struct str, model->n_targets);
    for (size_t i = 0; i < model->n_rules; i++)
        rules[i] = copy_rule(arena, &model->rules[i]);
    for (size_t i = 0; i < model->n_targets; i++)
        targets[i] = arena_str(arena, model->targets[i]);
    *policy = (struct policy){
        .key = arena_printf(arena, "%.*s/%.*s", STR_ARG(model->namespace_), STR_ARG(model->name)),
        .action = model->action,
        .scope = model->scope,
        .dry_run = model->dry_run,
        .revision = model->revision,
        .mark = model->mark,
        .targets = targets,
        .n_targets = model->n_targets,
        .rules = rules,
        .n_rules = model->n_rules,
    };
    return policy;
}

/* ---- layers and sets ---- */

static int rank_of(enum policy_action action)
{
    switch (action) {
    case POLICY_DENY: return 0;
    case POLICY_ALLOW: return 1;
    case POLICY_AUDIT: return 2;
    }
    return 3;
}

int policy_compare(const struct policy *a, const struct policy *b)
{
    const int order = rank_of(a->action) - rank_of(b->action);
    return order != 0 ? order : str_cmp(a->key, b->key);
}

static int compare_pointers(const void *a, const void *b)
{
    return policy_compare(*(const struct policy *const *)a, *(const struct policy *const *)b);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return str_hash(str_of(&value, sizeof(value)), hash);
}

static uint64_t mix_mark(uint64_t mark, uint64_t value)
{
    return keyed_hash(mark, str_of(&value, sizeof(value)));
}

const struct policy_layer *policy_layer_new(struct arena *arena, const struct policy **policies,
                                            size_t n_policies, const uint16_t *ports,
                                            size_t n_ports)
{
    struct policy_layer *layer = arena_new(arena, struct policy_layer);
    bool has_revision = true, has_mark = true;
    if (n_policies > 1)
        qsort(policies, n_policies, sizeof(*policies), compare_pointers);
    *layer = (struct policy_layer){.policies = policies, .n_policies = n_policies};
    for (size_t i = 0; i < n_policies; i++) {
        const struct policy *policy = policies[i];
        const bool is_allow = policy->action == POLICY_ALLOW;
        layer->has_allow |= is_allow && !policy->dry_run;
        layer->has_dry_allow |= is_allow && policy->dry_run;
        layer->has_dry_deny |= policy->action == POLICY_DENY && policy->dry_run;
        layer->revision = mix(str_hash(policy->key, layer->revision), policy->revision);
        layer->mark = mix_mark(keyed_hash(layer->mark, policy->key), policy->mark);
        has_revision &= policy->revision != 0;
        has_mark &= policy->mark != 0;
    }
    layer->ports = ports;
    layer->n_ports = n_ports;
    for (size_t i = 0; i < n_ports; i++) {
        layer->revision = mix(layer->revision, ports[i]);
        layer->mark = mix_mark(layer->mark, ports[i]);
    }
    layer->revision = has_revision ? layer->revision : 0;
    layer->mark = has_mark ? layer->mark : 0;
    layer->headers = policy_http_headers(arena, policies, n_policies, &layer->n_headers);
    layer->index = policy_index_new(arena, layer);
    return layer;
}

bool policy_layer_holds(const struct policy_layer *layer, uint16_t port)
{
    return !layer->ports || policy_any_port(layer->ports, layer->n_ports, port);
}

void policy_set_seal(struct policy_set *set)
{
    uint64_t revision = str_hash(set->missing, 1), mark = keyed_hash(1, set->missing);
    bool has_revision = true, has_mark = true;
    for (size_t i = 0; i < set->n_layers; i++) {
        revision = mix(revision, set->layers[i]->revision);
        mark = mix_mark(mark, set->layers[i]->mark);
        has_revision &= set->layers[i]->revision != 0;
        has_mark &= set->layers[i]->mark != 0;
    }
    set->revision = has_revision ? revision : 0;
    set->mark = has_mark ? mark : 0;
}

const char *policy_action_text(enum policy_action action)
{
    switch (action) {
    case POLICY_ALLOW: return "ALLOW";
    case POLICY_DENY: return "DENY";
    case POLICY_AUDIT: return "AUDIT";
    }
    return "unknown";
}

const char *policy_mode_text(enum policy_mode mode)
{
    return mode == POLICY_DRY_RUN ? "dry-run" : "enforced";
}
