/* RequestAuthentications: their scope as policies have it, and the keys that were fetched for
 * them. */
#include "xds/control/build.h"

static struct str keys_of(const struct registry_builder *builder, const struct k8s_token_rule *rule)
{
    const struct registry_input *input = builder->input;
    for (size_t i = 0; i < input->n_keys && rule->jwks_uri.len > 0; i++)
        if (str_eq(input->keys[i].uri, rule->jwks_uri))
            return arena_str(&builder->registry->arena, input->keys[i].jwks);
    return rule->rule.jwks;
}

static void add_auth(struct registry_builder *builder, const struct k8s_request_auth *from,
                     struct model_request_auth *auth)
{
    struct arena *arena = &builder->registry->arena;
    const struct reach reach = {
        .namespace_ = from->meta.namespace_,
        .name = from->meta.name,
        .selector = from->selector,
        .n_selector = from->n_selector,
        .targets = from->targets,
        .n_targets = from->n_targets,
    };
    const struct reached reached = registry_reach(builder, &reach, SELECTS_REQUEST_AUTH);
    *auth = (struct model_request_auth){
        .name = from->meta.name,
        .namespace_ = reached.namespace_,
        .scope = reached.scope,
        .targets = reached.targets,
        .n_targets = reached.n_targets,
        .rules = arena_new_array(arena, struct token_rule, from->n_rules),
        .n_rules = from->n_rules,
    };
    for (size_t i = 0; i < from->n_rules; i++) {
        auth->rules[i] = from->rules[i].rule;
        auth->rules[i].jwks = keys_of(builder, &from->rules[i]);
    }
}

void registry_add_request_auths(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    builder->request_auths =
        arena_new_array(&builder->registry->arena, struct model_request_auth, set->n_request_auths);
    builder->n_request_auths = set->n_request_auths;
    for (size_t i = 0; i < set->n_request_auths; i++)
        add_auth(builder, &set->request_auths[i], &builder->request_auths[i]);
}
