/* Routes that lead nowhere, or that nothing leads to: what needs the Services beside them to see.
 */
#include "config/k8s_route.h"

struct checking {
    const struct manifests *set;
    struct map services; /* "<namespace>/<name>" -> struct k8s_service */
    struct map exported; /* those of them that this cluster exports; objects of a ServiceImport */
    bool strict;
    struct arena arena;
    struct diag *diag;
};

static const char *kind_of(const struct k8s_route *route)
{
    return route->is_grpc ? "GRPCRoute" : "HTTPRoute";
}

static const struct k8s_service *find_service(struct checking *checking,
                                              const struct k8s_route_ref *ref)
{
    return map_find(
        &checking->services,
        arena_printf(&checking->arena, "%.*s/%.*s", STR_ARG(ref->namespace_), STR_ARG(ref->name)));
}

static const struct k8s_service_port *find_port(const struct k8s_service *service, uint16_t port)
{
    for (size_t i = 0; i < service->n_ports; i++)
        if (service->ports[i].port == port && !service->ports[i].is_udp)
            return &service->ports[i];
    return NULL;
}

static bool is_other_protocol(const struct k8s_service_port *port)
{
    const enum app_protocol protocol = k8s_app_protocol(port);
    return protocol == APP_TCP || protocol == APP_TLS;
}

#define TELL(checking, route, place, format, ...)                                                  \
    diag_warn((checking)->diag, place, "%s %.*s/%.*s: " format, kind_of(route),                    \
              STR_ARG((route)->meta.namespace_), STR_ARG((route)->meta.name), __VA_ARGS__)

/* ---- parents ---- */

static void check_parent(struct checking *checking, const struct k8s_route *route,
                         const struct k8s_route_ref *parent)
{
    const struct k8s_service *service = find_service(checking, parent);
    if (!service) {
        TELL(checking, route, parent->place,
             "there is no Service \"%.*s\" in %.*s, so it has no "
             "effect there",
             STR_ARG(parent->name), STR_ARG(parent->namespace_));
        return;
    }
    const struct k8s_service_port *port = find_port(service, parent->port);
    if (parent->port != 0 && !port)
        TELL(checking, route, parent->place, "Service \"%.*s\" has no port %u",
             STR_ARG(parent->name), parent->port);
    else if (port && is_other_protocol(port))
        TELL(checking, route, parent->place,
             "port %u of Service \"%.*s\" is not HTTP by its name or appProtocol, so the route has "
             "no effect on it",
             parent->port, STR_ARG(parent->name));
}

/* What a ServiceImport stands for may be exported by another cluster alone, and have ports there
 * that it has not here. */
static void check_import(struct checking *checking, const struct k8s_route *route,
                         const struct k8s_route_ref *ref)
{
    const struct str key =
        arena_printf(&checking->arena, "%.*s/%.*s", STR_ARG(ref->namespace_), STR_ARG(ref->name));
    const struct k8s_service *service = find_service(checking, ref);
    if (!checking->strict)
        return;
    if (!map_find(&checking->exported, key))
        TELL(checking, route, ref->place,
             "nothing here exports a Service \"%.*s\" in %.*s, so it counts only where another "
             "cluster does",
             STR_ARG(ref->name), STR_ARG(ref->namespace_));
    else if (service && ref->port != 0 && !find_port(service, ref->port))
        TELL(checking, route, ref->place,
             "Service \"%.*s\", which is exported here, has no port %u; another cluster's may",
             STR_ARG(ref->name), ref->port);
}

static bool is_same_port(const struct k8s_route_ref *a, const struct k8s_route_ref *b)
{
    return a->is_import == b->is_import && str_eq(a->name, b->name) &&
           str_eq(a->namespace_, b->namespace_) &&
           (a->port == b->port || a->port == 0 || b->port == 0);
}

/* For the same callers. */
static bool share_callers(const struct k8s_route *a, const struct k8s_route *b,
                          const struct k8s_route_ref *parent)
{
    const bool a_is_producer = str_eq(a->meta.namespace_, parent->namespace_);
    const bool b_is_producer = str_eq(b->meta.namespace_, parent->namespace_);
    return (a_is_producer && b_is_producer) || str_eq(a->meta.namespace_, b->meta.namespace_);
}

static void check_rivals(struct checking *checking, const struct k8s_route *route,
                         const struct k8s_route_ref *parent)
{
    for (size_t i = 0; i < checking->set->n_routes && !route->is_grpc; i++) {
        const struct k8s_route *other = &checking->set->routes[i];
        for (size_t p = 0; p < other->n_parents && other->is_grpc; p++) {
            if (!is_same_port(parent, &other->parents[p]) || !share_callers(route, other, parent))
                continue;
            TELL(checking, route, parent->place,
                 "GRPCRoute %.*s/%.*s is for a port of the same Service and goes before it there",
                 STR_ARG(other->meta.namespace_), STR_ARG(other->meta.name));
            return;
        }
    }
}

/* ---- backends ---- */

/* outcome: what becomes of what is sent there */
static void check_backend(struct checking *checking, const struct k8s_route *route,
                          const struct k8s_route_ref *ref, const char *outcome)
{
    const struct k8s_service *service = ref->is_import ? NULL : find_service(checking, ref);
    if (ref->is_import)
        check_import(checking, route, ref);
    else if (!service)
        TELL(checking, route, ref->place, "there is no Service \"%.*s\" in %.*s; %s",
             STR_ARG(ref->name), STR_ARG(ref->namespace_), outcome);
    else if (!find_port(service, ref->port))
        TELL(checking, route, ref->place, "Service \"%.*s\" has no port %u; %s", STR_ARG(ref->name),
             ref->port, outcome);
}

static void check_rule(struct checking *checking, const struct k8s_route *route,
                       const struct k8s_route_rule *rule)
{
    for (size_t i = 0; i < rule->rule.n_backends; i++)
        check_backend(checking, route, &rule->backends[i], "its share is answered with 500");
    for (size_t i = 0; i < rule->rule.n_mirrors; i++)
        check_backend(checking, route, &rule->mirrors[i], "nothing is mirrored there");
}

static void check_route(struct checking *checking, const struct k8s_route *route)
{
    for (size_t i = 0; i < route->n_parents; i++) {
        if (route->parents[i].is_import)
            check_import(checking, route, &route->parents[i]);
        else
            check_parent(checking, route, &route->parents[i]);
        check_rivals(checking, route, &route->parents[i]);
    }
    for (size_t r = 0; r < route->n_rules; r++)
        check_rule(checking, route, &route->rules[r]);
}

static void put(struct checking *checking, struct map *map, const struct object *meta,
                const void *object)
{
    map_put(
        map,
        arena_printf(&checking->arena, "%.*s/%.*s", STR_ARG(meta->namespace_), STR_ARG(meta->name)),
        (void *)(uintptr_t)object);
}

void routes_cross_check(const struct manifests *manifests, bool strict, struct diag *diag)
{
    struct checking checking = {.set = manifests, .strict = strict, .diag = diag};
    if (manifests->n_routes == 0)
        return;
    for (size_t i = 0; i < manifests->n_services; i++)
        put(&checking, &checking.services, &manifests->services[i].meta, &manifests->services[i]);
    for (size_t i = 0; i < manifests->n_exports; i++)
        put(&checking, &checking.exported, &manifests->exports[i].meta, &manifests->exports[i]);
    for (size_t i = 0; i < manifests->n_imports; i++)
        put(&checking, &checking.exported, &manifests->imports[i].meta, &manifests->imports[i]);
    for (size_t i = 0; i < manifests->n_routes; i++)
        check_route(&checking, &manifests->routes[i]);
    map_fini(&checking.services);
    map_fini(&checking.exported);
    arena_fini(&checking.arena);
}
