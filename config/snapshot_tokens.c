/*
 * Which tokens each workload takes.
 *
 * Every RequestAuthentication is compiled once and shared by the workloads under it; one that is
 * for services holds on the ports on which a workload serves them, and is shared by those that
 * serve them alike. Keys are parsed once for all rules that have the same, and live on in the next
 * snapshot: most changes of a mesh are not changes of keys.
 */
#include <string.h>

#include "certs/jwk.h"
#include "config/snapshot_build.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"

struct token_keys {
    unsigned refs;       /* of snapshots */
    struct jwk_set *set; /* NULL: the text is no key set */
    struct text text;
};

/* ---- keys ---- */

static struct token_keys *parse_keys(struct str jwks)
{
    struct token_keys *keys = mem_new(struct token_keys);
    struct text why = {0};

    text_add(&keys->text, jwks);
    if (jwk_set_parse(jwks, &keys->set, &why) < 0) {
        keys->set = NULL;
        log_error("keys of a RequestAuthentication are of no use; its tokens are refused",
                  log_str("why", text_str(&why)));
    }
    text_fini(&why);
    return keys;
}

static const struct jwk_set *keys_of(struct snapshot_builder *builder, struct str jwks)
{
    struct snapshot *snapshot = builder->snapshot;
    struct token_keys *keys = map_find(&snapshot->token_keys, jwks);

    if (str_is_empty(jwks))
        return NULL;
    if (!keys) {
        for (const struct snapshot *it = builder->before; it && !keys; it = it->base)
            keys = map_find(&it->token_keys, jwks); /* a patch's are its base's */
        keys = keys ? keys : parse_keys(jwks);
        keys->refs++;
        map_put(&snapshot->token_keys, text_str(&keys->text), keys);
    }
    return keys->set;
}

void snapshot_leave_tokens(struct snapshot *snapshot)
{
    struct str text;
    void *value;

    for (size_t idx = 0; map_next(&snapshot->token_keys, &idx, &text, &value);) {
        struct token_keys *keys = value;

        if (--keys->refs > 0)
            continue;
        jwk_set_free(keys->set);
        text_fini(&keys->text);
        mem_free(keys);
    }
    map_fini(&snapshot->token_keys);
}

/* ---- layers ---- */

struct token_entry { /* a RequestAuthentication */
    enum policy_scope scope;
    struct str namespace_;
    const struct str *targets;
    size_t n_targets;
    const struct token_layer *layer; /* on all ports */
};

static const struct token_layer *compile(struct snapshot_builder *builder,
                                         const struct model_request_auth *model)
{
    struct arena *arena = &builder->snapshot->arena;
    struct token_layer *layer = arena_new(arena, struct token_layer);
    struct token_rule *rules = arena_new_array(arena, struct token_rule, model->n_rules);

    for (size_t i = 0; i < model->n_rules; i++) {
        rules[i] = token_rule_copy(&model->rules[i], arena);
        token_rule_digest(&rules[i], rules[i].revision);
        rules[i].keys = keys_of(builder, rules[i].jwks);
    }
    *layer = (struct token_layer){.rules = rules, .n_rules = model->n_rules};
    return layer;
}

void snapshot_add_tokens(struct snapshot_builder *builder,
                         const struct model_resource *const *resources, size_t n_resources)
{
    struct snapshot_roots *roots = &builder->snapshot->roots;
    struct arena *arena = &builder->snapshot->arena;

    roots->token_entries = arena_new_array(arena, struct token_entry, n_resources);
    roots->n_token_entries = n_resources;
    for (size_t i = 0; i < n_resources; i++) {
        const struct model_request_auth *model = resources[i]->of.request_auth;
        struct str *targets = arena_new_array(arena, struct str, model->n_targets);

        for (size_t t = 0; t < model->n_targets; t++)
            targets[t] = arena_str(arena, model->targets[t]);
        roots->token_entries[i] = (struct token_entry){
            .scope = model->scope,
            .namespace_ = arena_str(arena, model->namespace_),
            .targets = targets,
            .n_targets = model->n_targets,
            .layer = compile(builder, model),
        };
        map_put(&roots->tokens, arena_str(arena, resources[i]->name), &roots->token_entries[i]);
    }
}

/* ---- workloads ---- */

struct gathered {
    struct snapshot_builder *builder;
    const struct token_layer **layers; /* room for all */
    size_t n_layers;
    struct str missing;
    struct text key;
};

/* The same rules on these ports. */
static const struct token_layer *on_ports(struct gathered *gathered,
                                          const struct token_layer *layer, const uint16_t *ports,
                                          size_t n_ports)
{
    struct snapshot_builder *builder = gathered->builder;
    struct arena *arena = &builder->snapshot->arena;

    text_clear(&gathered->key);
    text_add(&gathered->key, str_of(&layer, sizeof(layer)));
    text_add(&gathered->key, str_of(ports, n_ports * sizeof(*ports)));
    struct token_layer *found = map_find(&builder->token_layers, text_str(&gathered->key));
    if (found)
        return found;
    uint16_t *own_ports = arena_new_array(arena, uint16_t, n_ports);
    memcpy(own_ports, ports, n_ports * sizeof(*own_ports));
    found = arena_new(arena, struct token_layer);
    *found = (struct token_layer){layer->rules, layer->n_rules, own_ports, n_ports};
    map_put(&builder->token_layers, arena_str(&builder->scratch, text_str(&gathered->key)), found);
    return found;
}

static void add_named(struct gathered *gathered, const struct model_workload *model)
{
    struct snapshot_builder *builder = gathered->builder;
    uint16_t ports[MODEL_PORTS_MAX];
    size_t n_ports = 0;

    for (size_t i = 0; i < model->n_request_auths; i++) {
        const struct token_entry *entry =
            map_find(&builder->snapshot->roots.tokens, model->request_auths[i]);

        if (!entry) {
            if (str_is_empty(gathered->missing))
                gathered->missing = arena_str(&builder->snapshot->arena, model->request_auths[i]);
            continue;
        }
        const bool has_ports =
            entry->n_targets > 0 &&
            snapshot_target_ports(model, entry->targets, entry->n_targets, ports, &n_ports);
        gathered->layers[gathered->n_layers++] =
            has_ports ? on_ports(gathered, entry->layer, ports, n_ports) : entry->layer;
    }
}

/* The set of these layers, shared by all workloads that have them; NULL when there are none. */
static const struct token_set *set_of(struct gathered *gathered)
{
    struct snapshot_builder *builder = gathered->builder;
    struct arena *arena = &builder->snapshot->arena;
    const size_t size = gathered->n_layers * sizeof(*gathered->layers);

    if (gathered->n_layers == 0 && str_is_empty(gathered->missing))
        return NULL;
    text_clear(&gathered->key);
    text_add(&gathered->key, str_of(gathered->layers, size));
    text_addc(&gathered->key, '/');
    text_add(&gathered->key, gathered->missing);
    struct token_set *set = map_find(&builder->token_sets, text_str(&gathered->key));
    if (set)
        return set;
    const struct token_layer **layers =
        arena_new_array(arena, const struct token_layer *, gathered->n_layers);
    if (size > 0)
        memcpy(layers, gathered->layers, size);
    set = arena_new(arena, struct token_set);
    *set = (struct token_set){layers, gathered->n_layers, gathered->missing};
    map_put(&builder->token_sets, arena_str(&builder->scratch, text_str(&gathered->key)), set);
    return set;
}

void snapshot_attach_tokens(struct snapshot_builder *builder, struct workload *workload,
                            const struct model_workload *model)
{
    const struct snapshot_roots *roots = &builder->snapshot->roots;
    struct gathered gathered = {.builder = builder};

    if (roots->n_token_entries + model->n_request_auths == 0)
        return;
    gathered.layers = arena_new_array(&builder->scratch, const struct token_layer *,
                                      roots->n_token_entries + model->n_request_auths);
    for (size_t i = 0; i < roots->n_token_entries; i++) {
        const struct token_entry *entry = &roots->token_entries[i];

        if (entry->scope == POLICY_GLOBAL ||
            (entry->scope == POLICY_NAMESPACE && str_eq(entry->namespace_, model->namespace_)))
            gathered.layers[gathered.n_layers++] = entry->layer;
    }
    add_named(&gathered, model);
    workload->tokens = set_of(&gathered);
    text_fini(&gathered.key);
}
