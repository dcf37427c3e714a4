/*
 * What policies call our trust domain: by its name, by the aliases of the configuration, or
 * "cluster.local", as long as that is nobody else's. A principal that is written with one of them
 * is of ours: it is written out with our trust domain and with every alias, which identities may
 * still bear while a trust domain is renamed.
 *
 * A principal that begins with a star, or with a prefix that ends within the trust domain, stays as
 * it is. The manifests are not changed: what is written out is a copy.
 */
#include "xds/control/build.h"

#define LOCAL_WORD "cluster.local"

static bool is_foreign(const struct registry_builder *builder, struct str trust_domain)
{
    const struct control_config *config = builder->config;
    for (size_t i = 0; i < config->n_peers; i++)
        if (str_eq(config->peers[i].trust_domain, trust_domain))
            return true;
    for (size_t i = 0; i < config->n_trust_bundles; i++)
        if (str_eq(config->trust_bundles[i].trust_domain, trust_domain))
            return true;
    return false;
}

static bool is_ours(const struct registry_builder *builder, struct str trust_domain)
{
    const struct control_config *config = builder->config;
    for (size_t i = 0; i < config->n_trust_domain_aliases; i++)
        if (str_eq(config->trust_domain_aliases[i], trust_domain))
            return true;
    return str_eq(config->trust_domain, trust_domain) ||
           (str_eq(trust_domain, STR(LOCAL_WORD)) && !is_foreign(builder, trust_domain));
}

/* The trust domain of a value, and what is behind it; false when it is not whole. */
static bool split(const struct string_match *match, bool is_principal, struct str *out_domain,
                  struct str *out_rest)
{
    size_t len = 0;
    if (match->kind != MATCH_EXACT && !(is_principal && match->kind == MATCH_PREFIX))
        return false;
    while (len < match->value.len && match->value.ptr[len] != '/')
        len++;
    if (is_principal && len == match->value.len)
        return false;
    *out_domain = str_sub(match->value, 0, len);
    *out_rest = str_sub(match->value, len, match->value.len);
    return true;
}

static void write_out(struct registry_builder *builder, struct string_match **matches, size_t *n,
                      bool is_principal)
{
    const struct control_config *config = builder->config;
    struct arena *arena = &builder->registry->arena;
    const size_t n_names = 1 + config->n_trust_domain_aliases;
    struct string_match *all;
    size_t n_all = 0;
    if (*n == 0)
        return;
    all = arena_new_array(arena, struct string_match, *n * n_names);
    for (size_t i = 0; i < *n; i++) {
        const struct string_match *match = &(*matches)[i];
        struct str domain, rest;
        if (!split(match, is_principal, &domain, &rest) || !is_ours(builder, domain)) {
            all[n_all++] = *match;
            continue;
        }
        for (size_t name = 0; name < n_names; name++) {
            struct str as =
                name == 0 ? config->trust_domain : config->trust_domain_aliases[name - 1];
            all[n_all++] = (struct string_match){
                match->kind, arena_printf(arena, "%.*s%.*s", STR_ARG(as), STR_ARG(rest))};
        }
    }
    *matches = all;
    *n = n_all;
}

static struct model_clause copy_clause(struct registry_builder *builder,
                                       const struct model_clause *from)
{
    struct model_match *matches =
        arena_new_array(&builder->registry->arena, struct model_match, from->n_matches);
    for (size_t i = 0; i < from->n_matches; i++) {
        struct model_match *match = &matches[i];
        *match = from->matches[i];
        write_out(builder, &match->principals, &match->n_principals, true);
        write_out(builder, &match->not_principals, &match->n_not_principals, true);
        write_out(builder, &match->trust_domains, &match->n_trust_domains, false);
        write_out(builder, &match->not_trust_domains, &match->n_not_trust_domains, false);
    }
    return (struct model_clause){matches, from->n_matches};
}

void registry_write_out_aliases(struct registry_builder *builder, struct model_policy *policy)
{
    struct arena *arena = &builder->registry->arena;
    struct model_rule *rules = arena_new_array(arena, struct model_rule, policy->n_rules);
    for (size_t i = 0; i < policy->n_rules; i++) {
        const struct model_rule *from = &policy->rules[i];
        struct model_clause *clauses = arena_new_array(arena, struct model_clause, from->n_clauses);
        for (size_t c = 0; c < from->n_clauses; c++)
            clauses[c] = copy_clause(builder, &from->clauses[c]);
        rules[i] = (struct model_rule){clauses, from->n_clauses};
    }
    policy->rules = rules;
}
