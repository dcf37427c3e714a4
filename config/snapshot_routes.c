/*
 * Routes, compiled and hung onto the ports of their services; and the parts of services that one
 * cluster serves, for backends that name one.
 */
#include <stdlib.h>
#include <string.h>

#include "config/route_table.h"
#include "config/snapshot_build.h"

/* ---- parts ---- */

static void add_part(struct snapshot_builder *builder, struct str service, struct str cluster)
{
    struct arena *arena = &builder->snapshot->arena;
    const struct service_build *whole = map_find(&builder->services_by_key, service);
    if (!whole || str_is_empty(cluster))
        return;
    const struct str key = arena_printf(arena, "%.*s@%.*s", STR_ARG(service), STR_ARG(cluster));
    if (map_find(&builder->snapshot->service_parts, key))
        return;
    struct service *part = arena_new(arena, struct service);
    struct service_port *ports =
        arena_new_array(arena, struct service_port, whole->service->n_ports);
    struct traffic_policy *policy = arena_new(arena, struct traffic_policy);
    struct str *allowed = arena_new(arena, struct str);
    *part = *whole->service;
    *policy = *whole->service->traffic;
    *allowed = arena_str(arena, cluster);
    policy->n_allowed = traffic_policy_admits(policy, cluster, true);
    policy->is_restricted = true;
    policy->allowed_clusters = allowed;
    for (size_t i = 0; i < part->n_ports; i++)
        ports[i] = whole->service->ports[i];
    part->key = key;
    part->ports = ports;
    part->traffic = policy;
    map_put(&builder->snapshot->service_parts, key, part);
    builder->parts[builder->n_parts] = *whole;
    builder->parts[builder->n_parts++].service = part;
}

typedef void rule_visitor(struct snapshot_builder *builder, const struct route_rule *rule);

static void visit_rules(struct snapshot_builder *builder,
                        const struct model_resource *const *resources, size_t n_resources,
                        rule_visitor *visit)
{
    for (size_t i = 0; i < n_resources; i++) {
        const struct model_routes *routes = resources[i]->of.routes;
        for (size_t h = 0; h < routes->n_hosts; h++)
            for (size_t r = 0; r < routes->hosts[h].n_rules; r++)
                visit(builder, &routes->hosts[h].rules[r]);
    }
}

static void count_parts(struct snapshot_builder *builder, const struct route_rule *rule)
{
    for (size_t i = 0; i < rule->n_backends; i++)
        builder->n_parts += !str_is_empty(rule->backends[i].cluster);
    for (size_t i = 0; i < rule->n_mirrors; i++)
        builder->n_parts += !str_is_empty(rule->mirrors[i].cluster);
}

static void add_parts(struct snapshot_builder *builder, const struct route_rule *rule)
{
    for (size_t i = 0; i < rule->n_backends; i++)
        add_part(builder, rule->backends[i].service, rule->backends[i].cluster);
    for (size_t i = 0; i < rule->n_mirrors; i++)
        add_part(builder, rule->mirrors[i].service, rule->mirrors[i].cluster);
}

void snapshot_add_parts(struct snapshot_builder *builder,
                        const struct model_resource *const *resources, size_t n_resources)
{
    visit_rules(builder, resources, n_resources, count_parts);
    builder->parts = arena_new_array(&builder->scratch, struct service_build, builder->n_parts);
    builder->n_parts = 0;
    visit_rules(builder, resources, n_resources, add_parts);
}

/* ---- tables ---- */

static struct route_target resolve(const struct snapshot_builder *builder, struct str service,
                                   uint16_t port, struct str cluster)
{
    struct route_target target = {0};
    struct arena scratch = {0};
    if (!str_is_empty(cluster))
        service = arena_printf(&scratch, "%.*s@%.*s", STR_ARG(service), STR_ARG(cluster));
    if (!str_is_empty(service))
        target.service = snapshot_service_by_key(builder->snapshot, service);
    if (target.service)
        target.port = service_find_port(target.service, port);
    arena_fini(&scratch);
    return target.port ? target : (struct route_target){0};
}

static void compile_rule(struct snapshot_builder *builder, const struct route_rule *from,
                         struct route *route)
{
    struct arena *arena = &builder->snapshot->arena;
    struct route_rule *rule = arena_new(arena, struct route_rule);
    struct route_target *backends = arena_new_array(arena, struct route_target, from->n_backends);
    struct route_target *mirrors = arena_new_array(arena, struct route_target, from->n_mirrors);
    *rule = route_rule_copy(arena, from);
    for (size_t i = 0; i < from->n_backends; i++) {
        const struct route_backend *backend = &from->backends[i];
        backends[i] = resolve(builder, backend->service, backend->port, backend->cluster);
        route->total_weight += backend->weight;
    }
    for (size_t i = 0; i < from->n_mirrors; i++) {
        const struct route_mirror *mirror = &from->mirrors[i];
        mirrors[i] = resolve(builder, mirror->service, mirror->port, mirror->cluster);
    }
    route->rule = rule;
    route->backends = backends;
    route->mirrors = mirrors;
}

struct placed { /* a route under its path */
    struct str path;
    uint32_t idx;
};

static int compare_placed(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    const int order = str_cmp(x->path, y->path);
    return order != 0 ? order : (x->idx > y->idx) - (x->idx < y->idx);
}

/* Of the texts before this one only those on the last one's chain can begin it. */
static uint32_t parent_of(const struct route_path *paths, size_t idx)
{
    uint32_t parent = (uint32_t)idx;
    while (parent != 0 && !str_starts_with(paths[idx].text, paths[parent - 1].text))
        parent = paths[parent - 1].parent;
    return parent;
}

static void index_paths(struct snapshot_builder *builder, struct route_list *list)
{
    struct arena *arena = &builder->snapshot->arena;
    struct placed *placed = arena_new_array(&builder->scratch, struct placed, list->n_routes);
    uint32_t *routes = arena_new_array(arena, uint32_t, list->n_routes);
    struct route_path *paths = arena_new_array(arena, struct route_path, list->n_routes);
    size_t n = 0;
    for (size_t i = 0; i < list->n_routes; i++) {
        const struct route_match *match = &list->routes[i].rule->match;
        placed[i].idx = (uint32_t)i;
        if (match->path_kind != ROUTE_PATH_ANY)
            placed[i].path = match->path;
    }
    if (list->n_routes > 1)
        qsort(placed, list->n_routes, sizeof(*placed), compare_placed);
    for (size_t i = 0; i < list->n_routes; i++) {
        routes[i] = placed[i].idx;
        if (n == 0 || !str_eq(paths[n - 1].text, placed[i].path)) {
            paths[n] = (struct route_path){.text = placed[i].path, .routes = &routes[i]};
            paths[n].parent = parent_of(paths, n);
            n++;
        }
        paths[n - 1].n_routes++;
    }
    list->paths = paths;
    list->n_paths = n;
}

static const struct route_list *compile_list(struct snapshot_builder *builder,
                                             const struct route_host *host)
{
    struct arena *arena = &builder->snapshot->arena;
    struct route_list *list = arena_new(arena, struct route_list);
    struct route *routes = arena_new_array(arena, struct route, host->n_rules);
    for (size_t i = 0; i < host->n_rules; i++)
        compile_rule(builder, &host->rules[i], &routes[i]);
    list->routes = routes;
    list->n_routes = host->n_rules;
    index_paths(builder, list);
    return list;
}

static int compare_domains(const void *a, const void *b)
{
    const struct route_domain *x = a, *y = b;
    return str_cmp(x->name, y->name);
}

static const struct route_table *compile(struct snapshot_builder *builder,
                                         const struct model_routes *routes)
{
    struct arena *arena = &builder->snapshot->arena;
    struct route_table *table = arena_new(arena, struct route_table);
    size_t n = 0;
    for (size_t i = 0; i < routes->n_hosts; i++)
        n += routes->hosts[i].n_domains;
    struct route_domain *exact = arena_new_array(arena, struct route_domain, n);
    struct route_domain *wildcards = arena_new_array(arena, struct route_domain, n);
    for (size_t i = 0; i < routes->n_hosts; i++) {
        const struct route_list *list = compile_list(builder, &routes->hosts[i]);
        for (size_t d = 0; d < routes->hosts[i].n_domains; d++) {
            const struct str domain = routes->hosts[i].domains[d];
            if (str_eq(domain, STR("*")))
                table->any = list;
            else if (domain.ptr[0] == '*')
                wildcards[table->n_wildcards++] =
                    (struct route_domain){arena_str(arena, str_sub(domain, 1, domain.len)), list};
            else
                exact[table->n_exact++] = (struct route_domain){arena_str(arena, domain), list};
        }
    }
    if (table->n_exact > 1)
        qsort(exact, table->n_exact, sizeof(*exact), compare_domains);
    if (table->n_wildcards > 1)
        qsort(wildcards, table->n_wildcards, sizeof(*wildcards), compare_domains);
    table->exact = exact;
    table->wildcards = wildcards;
    return table;
}

/* ---- ports ---- */

struct attached { /* the routes of one service */
    const struct model_routes *routes;
    const struct route_table *table;
    struct attached *next;
};

struct candidate { /* for one port */
    struct route_scope scope;
    bool names_port;
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    const int order = str_cmp(x->scope.source_namespace, y->scope.source_namespace);
    return order != 0 ? order : (int)y->names_port - (int)x->names_port;
}

/* A word for another protocol counts more than a route. */
static bool takes_routes(const struct service_port *port)
{
    return !port->is_udp && port->app_protocol != APP_TCP && port->app_protocol != APP_TLS;
}

static void attach(struct snapshot_builder *builder, struct service_port *port,
                   const struct attached *first)
{
    struct arena *arena = &builder->snapshot->arena;
    size_t n = 0, n_scopes = 0;
    for (const struct attached *it = first; it; it = it->next)
        n += it->routes->port == 0 || it->routes->port == port->port;
    if (n == 0)
        return;
    struct candidate *candidates = arena_new_array(&builder->scratch, struct candidate, n);
    struct route_scope *scopes = arena_new_array(arena, struct route_scope, n);
    n = 0;
    for (const struct attached *it = first; it; it = it->next)
        if (it->routes->port == 0 || it->routes->port == port->port)
            candidates[n++] = (struct candidate){
                {arena_str(arena, it->routes->source_namespace), it->table}, it->routes->port != 0};
    if (n > 1)
        qsort(candidates, n, sizeof(*candidates), compare_candidates);
    for (size_t i = 0; i < n; i++)
        if (n_scopes == 0 ||
            !str_eq(scopes[n_scopes - 1].source_namespace, candidates[i].scope.source_namespace))
            scopes[n_scopes++] = candidates[i].scope;
    port->scopes = scopes;
    port->n_scopes = n_scopes;
    if (port->http_mode == HTTP_MODE_NONE)
        port->http_mode = HTTP_MODE_ANY;
}

/* What was found out of a port holds for the same port of its parts. */
static void tell_parts(struct snapshot_builder *builder)
{
    for (size_t i = 0; i < builder->n_parts; i++) {
        const struct service *part = builder->parts[i].service;
        const struct service_build *whole =
            map_find(&builder->services_by_key, builder->parts[i].memory_key);
        struct service_port *ports = (struct service_port *)(uintptr_t)part->ports;
        for (size_t p = 0; p < part->n_ports; p++)
            ports[p].http_mode = whole->service->ports[p].http_mode;
    }
}

void snapshot_add_routes(struct snapshot_builder *builder,
                         const struct model_resource *const *resources, size_t n_resources)
{
    struct map by_service = {0};
    for (size_t i = 0; i < n_resources; i++) {
        const struct model_routes *routes = resources[i]->of.routes;
        if (!map_find(&builder->services_by_key, routes->service))
            continue;
        struct attached *attached = arena_new(&builder->scratch, struct attached);
        attached->routes = routes;
        attached->table = compile(builder, routes);
        attached->next = map_put(&by_service, routes->service, attached);
    }
    size_t idx = 0;
    struct str key;
    void *first;
    while (map_next(&by_service, &idx, &key, &first)) {
        const struct service_build *build = map_find(&builder->services_by_key, key);
        /* Made in copy_ports(); const only to those who read the snapshot. */
        struct service_port *ports = (struct service_port *)(uintptr_t)build->service->ports;
        for (size_t i = 0; i < build->service->n_ports; i++)
            if (takes_routes(&ports[i]))
                attach(builder, &ports[i], first);
    }
    map_fini(&by_service);
    tell_parts(builder);
}
