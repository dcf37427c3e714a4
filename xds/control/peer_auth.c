/*
 * PeerAuthentication, as policies: who must come by mutual TLS gets a DENY for everybody without an
 * identity, and so STRICT is decided, logged and applied to live connections as every policy is.
 *
 * What is said for a workload counts before what is said for its namespace, and that before what is
 * said for the mesh (in the root namespace, without a selector); UNSET leaves it to the next. Of
 * several in one place the oldest counts. With nothing said it is PERMISSIVE, and so is DISABLE: a
 * caller in the mesh has no reason to be refused for its certificate.
 *
 * Workloads that are STRICT on all ports share one policy, which is there as long as there is any
 * PeerAuthentication: one of them may become STRICT, and then the policy has arrived already when
 * the workload says that it holds. Exceptions by port make a policy for each PeerAuthentication.
 * Their names have underscores, which no object's name has.
 *
 * Source: Istio PeerAuthentication, and how istiod tells ztunnel about it.
 */
#include "xds/control/build.h"

#define STRICT_NAME "isthmus_strict_mtls"
#define PORTS_NAME  "isthmus_peer_authentication_"

static bool is_root(const struct registry_builder *builder, const struct k8s_peer_auth *auth)
{
    return str_eq(auth->meta.namespace_, builder->config->root_namespace);
}

/* One with a selector has no say in the root namespace. */
static bool selects(const struct registry_builder *builder, const struct k8s_peer_auth *auth)
{
    return auth->n_selector > 0 && !is_root(builder, auth);
}

/* ---- precedence ---- */

static void find_oldest(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    for (size_t i = 0; i < set->n_peer_auths; i++) {
        struct k8s_peer_auth *auth = &set->peer_auths[i];
        const struct k8s_peer_auth *other =
            map_find(&builder->peer_auth_by_namespace, auth->meta.namespace_);
        const struct selector selector = {
            .kind = SELECTS_PEER_AUTH,
            .namespace_ = auth->meta.namespace_,
            .labels = auth->selector,
            .n_labels = auth->n_selector,
            .peer_auth = auth,
        };
        if (selects(builder, auth))
            selection_add(builder, &selector);
        else if (auth->n_selector == 0 && (!other || object_is_older(&auth->meta, &other->meta)))
            map_put(&builder->peer_auth_by_namespace, auth->meta.namespace_, auth);
    }
}

static enum mtls_mode mode_in(const struct registry_builder *builder, struct str namespace_)
{
    const struct k8s_peer_auth *auth = map_find(&builder->peer_auth_by_namespace, namespace_);
    return auth ? auth->mode : MTLS_UNSET;
}

static bool is_strict_by_default(const struct registry_builder *builder, struct str namespace_)
{
    enum mtls_mode mode = mode_in(builder, namespace_);
    if (mode == MTLS_UNSET)
        mode = mode_in(builder, builder->config->root_namespace);
    return mode == MTLS_STRICT;
}

/* ---- policies ---- */

/* DENY to who has no identity, on these ports or on all but these; takes the ports. */
static struct str add_policy(struct registry_builder *builder, struct str namespace_,
                             struct str name, uint16_t *ports, size_t n_ports, bool is_strict)
{
    static struct string_match anybody = {.kind = MATCH_PRESENCE};
    struct arena *arena = &builder->registry->arena;
    struct model_match *match = arena_new(arena, struct model_match);
    struct model_clause *clause = arena_new(arena, struct model_clause);
    struct model_rule *rule = arena_new(arena, struct model_rule);
    match->not_principals = &anybody;
    match->n_not_principals = 1;
    *(is_strict ? &match->not_ports : &match->ports) = ports;
    *(is_strict ? &match->n_not_ports : &match->n_ports) = n_ports;
    *clause = (struct model_clause){match, 1};
    *rule = (struct model_rule){clause, 1};
    builder->policies[builder->n_policies++] = (struct model_policy){
        .name = name,
        .namespace_ = namespace_,
        .action = POLICY_DENY,
        .scope = POLICY_WORKLOAD,
        .rules = rule,
        .n_rules = 1,
    };
    return key_make(arena, namespace_, name);
}

/* What one with a selector comes to; "" when it asks for nothing. */
static struct str compile(struct registry_builder *builder, const struct k8s_peer_auth *auth)
{
    struct arena *arena = &builder->registry->arena;
    const bool is_strict = auth->mode == MTLS_UNSET
                               ? is_strict_by_default(builder, auth->meta.namespace_)
                               : auth->mode == MTLS_STRICT;
    uint16_t *ports = arena_new_array(arena, uint16_t, auth->n_ports);
    size_t n_ports = 0;
    for (size_t i = 0; i < auth->n_ports; i++)
        if (auth->ports[i].mode != MTLS_UNSET && (auth->ports[i].mode == MTLS_STRICT) != is_strict)
            ports[n_ports++] = auth->ports[i].port;
    if (n_ports == 0)
        return is_strict ? builder->strict_key : (struct str){0};
    return add_policy(builder, auth->meta.namespace_,
                      arena_printf(arena, PORTS_NAME "%.*s", STR_ARG(auth->meta.name)), ports,
                      n_ports, is_strict);
}

struct str registry_peer_auth_key(const struct registry_builder *builder, struct str namespace_,
                                  const struct k8s_peer_auth *selected)
{
    if (builder->manifests->n_peer_auths == 0)
        return (struct str){0};
    if (selected)
        return builder->peer_auth_keys[selected - builder->manifests->peer_auths];
    return is_strict_by_default(builder, namespace_) ? builder->strict_key : (struct str){0};
}

void registry_add_peer_auths(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    if (set->n_peer_auths == 0)
        return;
    builder->peer_auth_keys = arena_new_array(&builder->scratch, struct str, set->n_peer_auths);
    builder->strict_key =
        add_policy(builder, builder->config->root_namespace, STR(STRICT_NAME), NULL, 0, true);
    find_oldest(builder);
    for (size_t i = 0; i < set->n_peer_auths; i++)
        if (selects(builder, &set->peer_auths[i]))
            builder->peer_auth_keys[i] = compile(builder, &set->peer_auths[i]);
}
