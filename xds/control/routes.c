/*
 * Routes: what is bound to one service, sorted as Gateway API wants it. Routes in the service's own
 * namespace are for all callers, routes of another are for the callers of that one, and the two
 * never mix. Of two kinds for one port GRPCRoute counts. A route without a port is among those of
 * every port.
 */
#include <stdlib.h>
#include <string.h>

#include "xds/control/build.h"

struct binding { /* one route on one of its parents */
    const struct k8s_route *route;
    const struct route_rule *rules; /* with the names of its backends */
    uint16_t port;
    struct binding *next;
};

struct bucket { /* what is bound to a service for the same callers */
    struct str service, source_namespace;
    struct binding *bindings;
    struct bucket *next;
};

struct sorted { /* one match of one rule */
    const struct binding *binding;
    size_t rule, match;
    size_t ranks[5]; /* the larger goes first, from the first on */
};

/* ---- names ---- */

static struct str service_of(const struct registry_builder *builder,
                             const struct k8s_route_ref *ref)
{
    struct arena *arena = &builder->registry->arena;
    if (ref->is_import)
        return arena_printf(arena, "%.*s/%.*s.%.*s." CLUSTERSET_DOMAIN, STR_ARG(ref->namespace_),
                            STR_ARG(ref->name), STR_ARG(ref->namespace_));
    return arena_printf(arena, "%.*s/%.*s.%.*s.svc.%.*s", STR_ARG(ref->namespace_),
                        STR_ARG(ref->name), STR_ARG(ref->namespace_),
                        STR_ARG(builder->config->cluster_domain));
}

static void name_backends(const struct registry_builder *builder, const struct k8s_route_rule *from,
                          struct route_rule *rule)
{
    struct route_backend *backends =
        arena_new_array(&builder->registry->arena, struct route_backend, rule->n_backends);
    uint64_t sum = 0;
    for (size_t i = 0; i < rule->n_backends; i++) {
        backends[i] = rule->backends[i];
        backends[i].service = service_of(builder, &from->backends[i]);
        backends[i].port = from->backends[i].port;
        backends[i].cluster = from->backends[i].cluster;
        sum += backends[i].weight;
    }
    rule->backends = backends;
    if (rule->action != ROUTE_FORWARD || sum > 0)
        return;
    /* Nobody to send it to: Gateway API wants a 500. */
    rule->action = ROUTE_RESPOND;
    rule->status = 500;
}

static void name_mirrors(const struct registry_builder *builder, const struct k8s_route_rule *from,
                         struct route_rule *rule)
{
    struct route_mirror *mirrors =
        arena_new_array(&builder->registry->arena, struct route_mirror, rule->n_mirrors);
    for (size_t i = 0; i < rule->n_mirrors; i++)
        mirrors[i] = (struct route_mirror){
            .service = service_of(builder, &from->mirrors[i]),
            .port = from->mirrors[i].port,
            .per_million = from->mirror_shares[i],
        };
    rule->mirrors = mirrors;
}

static const struct route_rule *name_rules(const struct registry_builder *builder,
                                           const struct k8s_route *route)
{
    struct route_rule *rules =
        arena_new_array(&builder->registry->arena, struct route_rule, route->n_rules);
    for (size_t i = 0; i < route->n_rules; i++) {
        rules[i] = route->rules[i].rule;
        name_backends(builder, &route->rules[i], &rules[i]);
        name_mirrors(builder, &route->rules[i], &rules[i]);
    }
    return rules;
}

/* ---- precedence ---- */

static void rank_grpc(const struct route_match *match, size_t ranks[5])
{
    size_t n_headers = match->n_headers;
    struct str service = str_sub(match->path, 1, match->path.len), method = {0};
    (void)str_split(service, '/', &service, &method);
    if (n_headers > 0 && str_eq(match->headers[n_headers - 1].name, STR(":path"))) {
        method = str_sub(match->headers[n_headers - 1].value, 1, ROUTE_NAME_MAX);
        n_headers--;
    }
    ranks[0] = service.len;
    ranks[1] = method.len;
    ranks[2] = n_headers;
}

static void rank(struct sorted *entry)
{
    const struct k8s_route *route = entry->binding->route;
    const struct route_match *match = &route->rules[entry->rule].matches[entry->match];
    if (route->is_grpc) {
        rank_grpc(match, entry->ranks);
        return;
    }
    entry->ranks[0] = match->path_kind == ROUTE_PATH_EXACT;
    entry->ranks[1] = match->path_kind == ROUTE_PATH_EXACT ? 0 : match->path.len;
    entry->ranks[2] = match->method.len > 0;
    entry->ranks[3] = match->n_headers;
    entry->ranks[4] = match->n_params;
}

static int compare_routes(const struct object *a, const struct object *b)
{
    if (a->created_ns != b->created_ns)
        return a->created_ns < b->created_ns ? -1 : 1;
    const int order = str_cmp(a->namespace_, b->namespace_);
    return order != 0 ? order : str_cmp(a->name, b->name);
}

static int compare_sorted(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    for (size_t i = 0; i < ARRAY_LEN(x->ranks); i++)
        if (x->ranks[i] != y->ranks[i])
            return x->ranks[i] > y->ranks[i] ? -1 : 1;
    const int order = compare_routes(&x->binding->route->meta, &y->binding->route->meta);
    if (order != 0)
        return order;
    if (x->rule != y->rule)
        return x->rule < y->rule ? -1 : 1;
    return (x->match > y->match) - (x->match < y->match);
}

/* ---- one service and port ---- */

static bool is_for(const struct binding *binding, uint16_t port)
{
    return binding->port == 0 || binding->port == port;
}

/* The bindings of one kind for the port, rule by rule and match by match. */
static struct sorted *gather(struct registry_builder *builder, const struct bucket *bucket,
                             uint16_t port, size_t *out_n)
{
    bool has_grpc = false;
    size_t n = 0;
    for (const struct binding *it = bucket->bindings; it; it = it->next) {
        has_grpc |= is_for(it, port) && it->route->is_grpc;
        for (size_t r = 0; r < it->route->n_rules; r++)
            n += it->route->rules[r].n_matches;
    }
    struct sorted *entries = arena_new_array(&builder->scratch, struct sorted, n);
    n = 0;
    for (const struct binding *it = bucket->bindings; it; it = it->next) {
        if (!is_for(it, port) || it->route->is_grpc != has_grpc)
            continue;
        for (size_t r = 0; r < it->route->n_rules; r++)
            for (size_t m = 0; m < it->route->rules[r].n_matches; m++) {
                entries[n] = (struct sorted){.binding = it, .rule = r, .match = m};
                rank(&entries[n++]);
            }
    }
    *out_n = n;
    return entries;
}

static void emit(struct registry_builder *builder, const struct bucket *bucket, uint16_t port)
{
    struct registry *registry = builder->registry;
    struct arena *arena = &registry->arena;
    size_t n;
    struct sorted *entries = gather(builder, bucket, port, &n);
    struct model_routes *routes = arena_new(arena, struct model_routes);
    struct route_host *host = arena_new(arena, struct route_host);
    struct str *domain = arena_new(arena, struct str);
    struct route_rule *rules = arena_new_array(arena, struct route_rule, n);
    if (n > 1)
        qsort(entries, n, sizeof(*entries), compare_sorted);
    for (size_t i = 0; i < n; i++) {
        const struct sorted *entry = &entries[i];
        rules[i] = entry->binding->rules[entry->rule];
        rules[i].match = entry->binding->route->rules[entry->rule].matches[entry->match];
    }
    *domain = STR("*");
    *host = (struct route_host){.domains = domain, .n_domains = 1, .rules = rules, .n_rules = n};
    *routes = (struct model_routes){
        .service = bucket->service,
        .port = port,
        .source_namespace = bucket->source_namespace,
        .hosts = host,
        .n_hosts = 1,
    };
    registry->own[registry->n_own++] = (struct model_resource){
        .kind = MODEL_ROUTES, .name = routes_name(routes, arena), .of.routes = routes};
}

/* ---- all of them ---- */

static bool is_first_of_port(const struct bucket *bucket, const struct binding *binding)
{
    const struct binding *it = bucket->bindings;
    while (it->port != binding->port)
        it = it->next;
    return it == binding;
}

static void bind_to(struct registry_builder *builder, struct map *by_key, struct bucket **first,
                    const struct k8s_route *route, const struct route_rule *rules,
                    const struct k8s_route_ref *parent)
{
    const struct str service = service_of(builder, parent);
    const bool is_consumer = !str_eq(parent->namespace_, route->meta.namespace_);
    const struct str source = is_consumer ? route->meta.namespace_ : (struct str){0};
    const struct str key =
        arena_printf(&builder->scratch, "%.*s@%.*s", STR_ARG(service), STR_ARG(source));
    struct bucket *bucket = map_find(by_key, key);
    if (!bucket) {
        bucket = arena_new(&builder->scratch, struct bucket);
        *bucket = (struct bucket){.service = service, .source_namespace = source, .next = *first};
        *first = bucket;
        (void)map_put(by_key, key, bucket);
    }
    struct binding *binding = arena_new(&builder->scratch, struct binding);
    *binding = (struct binding){route, rules, parent->port, bucket->bindings};
    bucket->bindings = binding;
}

size_t registry_count_routes(const struct registry_builder *builder)
{
    size_t n = 0;
    for (size_t i = 0; i < builder->manifests->n_routes; i++)
        n += builder->manifests->routes[i].n_parents;
    return n;
}

void registry_write_routes(struct registry_builder *builder)
{
    const struct manifests *set = builder->manifests;
    struct map by_key = {0};
    struct bucket *first = NULL;
    for (size_t i = 0; i < set->n_routes; i++) {
        const struct k8s_route *route = &set->routes[i];
        const struct route_rule *rules = name_rules(builder, route);
        for (size_t p = 0; p < route->n_parents; p++)
            bind_to(builder, &by_key, &first, route, rules, &route->parents[p]);
    }
    for (const struct bucket *bucket = first; bucket; bucket = bucket->next)
        for (const struct binding *it = bucket->bindings; it; it = it->next)
            if (is_first_of_port(bucket, it))
                emit(builder, bucket, it->port);
    map_fini(&by_key);
}
