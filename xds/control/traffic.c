/*
 * How each service is balanced: what Kubernetes' own words say of it, over that its TrafficPolicy,
 * then what this cluster alone knows: which clusters bear the labels that a policy asks for,
 * what it costs to carry a GB there, and which cluster is taken out for a drill. A service about
 * which nobody says anything has no resource.
 */
#include <string.h>

#include "xds/control/build.h"

/* The oldest of several for one target counts; of one age, the first by name. */
static bool is_older(const struct k8s_traffic *a, const struct k8s_traffic *b)
{
    if (a->meta.created_ns != b->meta.created_ns)
        return a->meta.created_ns < b->meta.created_ns;
    return str_cmp(a->meta.name, b->meta.name) < 0;
}

static void index_policies(const struct registry_builder *builder, struct arena *arena,
                           struct map *services, struct map *imports)
{
    const struct manifests *set = builder->manifests;
    for (size_t i = 0; i < set->n_traffics; i++) {
        struct k8s_traffic *traffic = &set->traffics[i];
        struct map *map = traffic->is_import ? imports : services;
        const struct str key = key_make(arena, traffic->meta.namespace_, traffic->target);
        const struct k8s_traffic *before = map_find(map, key);
        if (!before || is_older(traffic, before))
            map_put(map, key, traffic);
    }
}

/* ---- clusters ---- */

static bool has_labels(const struct k8s_traffic *traffic, const struct label *labels, size_t n)
{
    return label_select(traffic->allow, traffic->n_allow, labels, n);
}

static bool is_named(const struct k8s_traffic *traffic, struct str cluster)
{
    for (size_t i = 0; i < traffic->policy.n_allowed && traffic->allows_by_name; i++)
        if (str_eq(traffic->policy.allowed_clusters[i], cluster))
            return true;
    return !traffic->allows_by_name;
}

/* Names and labels together: a cluster must be among the names, if there are any, and bear every
 * label. */
static void resolve_allowed(const struct registry_builder *builder,
                            const struct k8s_traffic *traffic, struct traffic_policy *policy)
{
    const struct control_config *config = builder->config;
    struct str *allowed =
        arena_new_array(&builder->registry->arena, struct str, config->n_peers + 1);
    size_t n = 0;
    if (!policy->is_restricted || traffic->n_allow == 0)
        return;
    if (is_named(traffic, config->cluster) && has_labels(traffic, config->labels, config->n_labels))
        allowed[n++] = config->cluster;
    for (size_t i = 0; i < config->n_peers && n < TRAFFIC_CLUSTERS_MAX; i++)
        if (is_named(traffic, config->peers[i].name) &&
            has_labels(traffic, config->peers[i].labels, config->peers[i].n_labels))
            allowed[n++] = config->peers[i].name;
    policy->allowed_clusters = allowed;
    policy->n_allowed = n;
}

static struct cluster_share *find_share(struct cluster_share *shares, size_t n, struct str cluster)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(shares[i].cluster, cluster))
            return &shares[i];
    return NULL;
}

/* What the policy says of a price counts; the configuration says the rest. A policy with priorities
 * knows its clusters: none is added to it. */
static bool add_prices(const struct registry_builder *builder, struct traffic_policy *policy)
{
    const struct control_config *config = builder->config;
    struct cluster_share *shares =
        arena_new_array(&builder->registry->arena, struct cluster_share, TRAFFIC_CLUSTERS_MAX);
    size_t n = policy->n_clusters;
    bool has_news = false;
    if (n > 0)
        memcpy(shares, policy->clusters, n * sizeof(*shares));
    for (size_t i = 0; i < config->n_peers; i++) {
        const struct peer_config *peer = &config->peers[i];
        struct cluster_share *share = find_share(shares, n, peer->name);
        if (peer->price_micro == 0 || (share && share->price_micro != 0) ||
            (!share && (policy->has_priorities || n == TRAFFIC_CLUSTERS_MAX)))
            continue;
        if (!share) {
            share = &shares[n++];
            share->cluster = peer->name;
        }
        share->price_micro = peer->price_micro;
        has_news = true;
    }
    policy->clusters = shares;
    policy->n_clusters = n;
    return has_news;
}

/* ---- one service ---- */

/* One client's connections to one endpoint: by consistent hashing, so that nobody has to remember
 * anything, nodes agree, and the affinity outlasts any timeout. Load would move clients about. */
static void apply_affinity(const struct service_words *words, struct traffic_policy *policy)
{
    if (words->affinity_s == 0)
        return;
    policy->algorithm = ALGORITHM_MAGLEV;
    policy->hash_on = HASH_ON_SOURCE_ADDRESS;
    policy->spill_by_load = false;
}

/* True when the words say something that differs from the default. */
static bool apply_words(const struct service_words *words, bool is_topology_aware, bool is_headless,
                        struct traffic_policy *policy)
{
    const enum locality_mode locality = policy->locality;
    policy->node_only = words->is_node_local;
    if (is_topology_aware)
        policy->locality = LOCALITY_ZONE_AWARE;
    switch (words->distribution) { /* it goes before the older annotation */
    case DISTRIBUTION_NONE:
    case DISTRIBUTIONS: break;
    case DISTRIBUTION_SAME_ZONE: policy->locality = LOCALITY_ZONE; break;
    case DISTRIBUTION_SAME_NODE: policy->locality = LOCALITY_LEVELS; break;
    }
    if (!is_headless)
        apply_affinity(words, policy);
    return policy->node_only || policy->locality != locality ||
           policy->algorithm == ALGORITHM_MAGLEV;
}

static bool apply_policy(const struct registry_builder *builder, const struct k8s_traffic *traffic,
                         struct traffic_policy *policy)
{
    const struct traffic_policy said = *policy;
    if (!traffic)
        return false;
    *policy = traffic->policy;
    if (!traffic->says_locality)
        policy->locality = said.locality;
    if (!traffic->says_node_only)
        policy->node_only = said.node_only;
    if (!traffic->says_algorithm && said.algorithm == ALGORITHM_MAGLEV) {
        policy->algorithm = said.algorithm;
        policy->spill_by_load = traffic->says_spill && policy->spill_by_load;
    }
    resolve_allowed(builder, traffic, policy);
    return true;
}

static bool apply_drill(const struct registry_builder *builder, struct str service,
                        struct traffic_policy *policy)
{
    const struct registry_input *input = builder->input;
    for (size_t i = 0; i < input->n_drills; i++) {
        const struct registry_drill *drill = &input->drills[i];
        if (!str_eq(drill->service, service))
            continue;
        policy->drilled_cluster = arena_str(&builder->registry->arena, drill->cluster);
        policy->drill_id = drill->id;
        policy->drill_ns = drill->length_ns;
        return true;
    }
    return false;
}

static void emit(struct registry_builder *builder, struct str service,
                 const struct traffic_policy *policy)
{
    struct registry *registry = builder->registry;
    struct model_traffic *traffic = arena_new(&registry->arena, struct model_traffic);
    traffic->service = service;
    traffic->policy = *policy;
    registry->own[registry->n_own++] =
        (struct model_resource){.kind = MODEL_TRAFFIC, .name = service, .of.traffic = traffic};
}

struct source { /* who says how a service is balanced */
    const struct service_words *words;
    bool is_topology_aware, is_headless;
    const struct k8s_traffic *traffic; /* NULL: no TrafficPolicy */
};

static void add(struct registry_builder *builder, struct str name, const struct source *source)
{
    struct traffic_policy policy = *traffic_policy_default();
    const struct k8s_traffic *traffic = source->traffic;
    bool has_news =
        apply_words(source->words, source->is_topology_aware, source->is_headless, &policy);
    has_news = apply_policy(builder, traffic, &policy) || has_news;
    has_news = add_prices(builder, &policy) || has_news;
    has_news = apply_drill(builder, name, &policy) || has_news;
    if (has_news)
        emit(builder, name, &policy);
}

void registry_write_traffic(struct registry_builder *builder)
{
    struct registry *registry = builder->registry;
    struct map services = {0}, imports = {0};
    index_policies(builder, &builder->scratch, &services, &imports);
    for (size_t i = 0; i < builder->n_services; i++) {
        const struct own_service *own = &builder->services[i];
        const struct object *meta = &own->k8s->meta;
        const struct source source = {
            .words = &own->k8s->words,
            .is_topology_aware = own->k8s->is_topology_aware,
            .is_headless = own->k8s->type == SERVICE_HEADLESS,
            .traffic = key_find(&services, meta->namespace_, meta->name),
        };
        if (own->k8s->type != SERVICE_EXTERNAL_NAME)
            add(builder, own->local_name, &source);
    }
    for (size_t i = 0; i < registry->n_imports; i++) {
        const struct model_service *service = &registry->imports[i].service;
        const struct own_service *own =
            key_find(&builder->service_by_name, service->namespace_, service->name);
        const bool is_exported = own && !str_is_empty(own->exported_name);
        const struct source source = {
            .words = &registry->imports[i].words,
            .is_topology_aware = is_exported && own->k8s->is_topology_aware,
            .is_headless = service->is_headless,
            .traffic = key_find(&imports, service->namespace_, service->name),
        };
        add(builder, key_make(&registry->arena, service->namespace_, service->hostname), &source);
    }
    map_fini(&services);
    map_fini(&imports);
}
