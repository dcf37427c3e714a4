#include "tests/kit/snap.h"

#include "proxy/base/mem.h"

void snap_init(struct snap *snap, const char *node)
{
    *snap = (struct snap){
        .vantage =
            {
                .node = str_from(node),
                .cluster = STR("west"),
                .trust_domain = STR("west.example"),
                .cluster_domain = STR("cluster.local"),
                .region = STR("r1"),
                .zone = STR("z1"),
            },
    };
}

void snap_fini(struct snap *snap)
{
    mem_free(snap->resources);
    arena_fini(&snap->arena);
}

static void add(struct snap *snap, struct model_resource resource)
{
    struct model_resource *copy = arena_new(&snap->arena, struct model_resource);
    if (snap->n == snap->cap) {
        snap->cap = snap->cap ? 2 * snap->cap : 16;
        snap->resources = mem_realloc(snap->resources, snap->cap * sizeof *snap->resources);
    }
    *copy = resource;
    snap->resources[snap->n++] = copy;
}

static size_t read_addresses(const char *text, struct ip *out)
{
    struct str rest = str_from(text), head, tail;
    size_t n = 0;
    while (rest.len > 0) {
        if (!str_split(rest, ' ', &head, &tail)) {
            head = rest;
            tail = (struct str){0};
        }
        ensure(n < MODEL_ADDRESSES_MAX && ip_parse(head, &out[n]) == 0);
        n++;
        rest = tail;
    }
    return n;
}

struct model_workload *snap_pod(struct snap *snap, const char *name, const char *node,
                                const char *addresses)
{
    struct arena *arena = &snap->arena;
    struct model_workload *pod = arena_new(arena, struct model_workload);
    struct str own = arena_str(arena, str_from(name)), account = own, rest;
    (void)str_split(own, '-', &account, &rest);
    *pod = (struct model_workload){
        .uid = arena_printf(arena, "west//v1/Pod/shop/%s", name),
        .name = own,
        .namespace_ = STR("shop"),
        .service_account = account,
        .trust_domain = STR("west.example"),
        .node = arena_str(arena, str_from(node)),
        .cluster = STR("west"),
        .canonical_name = account,
        .canonical_revision = STR("v1"),
        .workload_name = account,
        .region = STR("r1"),
        .zone = STR("z1"),
        .speaks_hbone = true,
        .is_healthy = true,
        .capacity = 1,
    };
    pod->n_addresses = read_addresses(addresses, pod->addresses);
    add(snap, (struct model_resource){MODEL_WORKLOAD, pod->uid, {.workload = pod}});
    return pod;
}

struct model_service *snap_service(struct snap *snap, const char *name, const char *vip,
                                   uint16_t port, uint16_t target_port)
{
    struct arena *arena = &snap->arena;
    struct model_service *service = arena_new(arena, struct model_service);
    service->name = arena_str(arena, str_from(name));
    service->namespace_ = STR("shop");
    service->hostname = arena_printf(arena, "%s.shop.svc.clusterset.local", name);
    service->n_addresses = read_addresses(vip, service->addresses);
    service->ports = arena_new(arena, struct model_port);
    service->ports[0] = (struct model_port){.service_port = port, .target_port = target_port};
    service->n_ports = 1;
    add(snap, (struct model_resource){MODEL_SERVICE,
                                      arena_printf(arena, "shop/%.*s", STR_ARG(service->hostname)),
                                      {.service = service}});
    return service;
}

void snap_serve(struct snap *snap, struct model_workload *pod, const struct model_service *service)
{
    struct model_membership *grown =
        arena_new_array(&snap->arena, struct model_membership, pod->n_services + 1);
    for (size_t i = 0; i < pod->n_services; i++)
        grown[i] = pod->services[i];
    grown[pod->n_services++].service =
        arena_printf(&snap->arena, "shop/%.*s", STR_ARG(service->hostname));
    pod->services = grown;
}

static struct str key_of(struct snap *snap, const struct model_service *service)
{
    return arena_printf(&snap->arena, "shop/%.*s", STR_ARG(service->hostname));
}

struct traffic_policy *snap_traffic(struct snap *snap, const struct model_service *service)
{
    struct model_traffic *traffic = arena_new(&snap->arena, struct model_traffic);
    traffic->service = key_of(snap, service);
    traffic->policy = *traffic_policy_default();
    add(snap, (struct model_resource){MODEL_TRAFFIC, traffic->service, {.traffic = traffic}});
    return &traffic->policy;
}

struct route_rule *snap_route(struct snap *snap, const struct model_service *service)
{
    struct arena *arena = &snap->arena;
    struct model_routes *routes = arena_new(arena, struct model_routes);
    struct route_host *host = arena_new(arena, struct route_host);
    struct route_rule *rule = arena_new(arena, struct route_rule);
    struct route_backend *backend = arena_new(arena, struct route_backend);
    struct str *domain = arena_new(arena, struct str);
    *domain = STR("*");
    *backend = (struct route_backend){
        .service = key_of(snap, service), .port = service->ports[0].service_port, .weight = 1};
    *rule = (struct route_rule){
        .name = STR("shop/all/0"), .action = ROUTE_FORWARD, .backends = backend, .n_backends = 1};
    *host = (struct route_host){domain, 1, rule, 1};
    *routes = (struct model_routes){.service = backend->service, .hosts = host, .n_hosts = 1};
    add(snap, (struct model_resource){MODEL_ROUTES, routes->service, {.routes = routes}});
    return rule;
}

struct model_policy *snap_policy(struct snap *snap, const char *name, enum policy_action action,
                                 const char *principal)
{
    struct arena *arena = &snap->arena;
    struct model_policy *policy = arena_new(arena, struct model_policy);
    *policy = (struct model_policy){
        .name = arena_str(arena, str_from(name)),
        .namespace_ = STR("shop"),
        .action = action,
        .scope = POLICY_NAMESPACE,
        .rules = arena_new(arena, struct model_rule),
        .n_rules = 1,
    };
    if (principal) {
        struct model_match *match = arena_new(arena, struct model_match);
        match->principals = arena_new(arena, struct string_match);
        match->principals[0] =
            (struct string_match){MATCH_EXACT, arena_str(arena, str_from(principal))};
        match->n_principals = 1;
        struct model_clause *clause = arena_new(arena, struct model_clause);
        *clause = (struct model_clause){match, 1};
        policy->rules[0] = (struct model_rule){clause, 1};
    }
    add(snap, (struct model_resource){
                  MODEL_POLICY, arena_printf(arena, "shop/%s", name), {.policy = policy}});
    return policy;
}

void snap_asks(struct snap *snap, struct model_policy *policy, enum request_subject subject,
               const char *name, enum match_kind kind, const char *value)
{
    struct arena *arena = &snap->arena;
    struct model_rule *rule = &policy->rules[0];
    struct model_clause *clauses = arena_new_array(arena, struct model_clause, rule->n_clauses + 1);
    struct model_match *match = arena_new(arena, struct model_match);
    for (size_t i = 0; i < rule->n_clauses; i++)
        clauses[i] = rule->clauses[i];
    match->http = arena_new(arena, struct request_field);
    match->n_http = 1;
    *match->http = (struct request_field){
        .subject = subject,
        .name = arena_str(arena, str_from(name)),
        .values = arena_new(arena, struct string_match),
        .n_values = 1,
    };
    match->http->values[0] = (struct string_match){kind, arena_str(arena, str_from(value))};
    clauses[rule->n_clauses] = (struct model_clause){match, 1};
    *rule = (struct model_rule){clauses, rule->n_clauses + 1};
}

struct model_request_auth *snap_request_auth(struct snap *snap, const char *name,
                                             const char *issuer, struct str jwks)
{
    struct arena *arena = &snap->arena;
    struct model_request_auth *auth = arena_new(arena, struct model_request_auth);
    *auth = (struct model_request_auth){
        .name = arena_str(arena, str_from(name)),
        .namespace_ = STR("shop"),
        .scope = POLICY_NAMESPACE,
        .rules = arena_new(arena, struct token_rule),
        .n_rules = 1,
    };
    auth->rules[0].issuer = arena_str(arena, str_from(issuer));
    auth->rules[0].jwks = arena_str(arena, jwks);
    auth->rules[0].places = token_default_places(&auth->rules[0].n_places);
    add(snap, (struct model_resource){MODEL_REQUEST_AUTH,
                                      arena_printf(arena, "shop/%s", name),
                                      {.request_auth = auth}});
    return auth;
}

void snap_add(struct snap *snap, const struct model_resource *resource)
{
    add(snap, *resource);
}

void snap_drop(struct snap *snap, const char *name)
{
    for (size_t i = snap->n; i-- > 0;) {
        if (!str_ends_with(snap->resources[i]->name, str_from(name)))
            continue;
        for (size_t j = i + 1; j < snap->n; j++)
            snap->resources[j - 1] = snap->resources[j];
        snap->n--;
        return;
    }
    ensure(!"there is such a resource");
}

struct snapshot *snap_build(struct snap *snap)
{
    const uint64_t generation = ++snap->generation;
    struct snapshot *snapshot =
        snapshot_build(snap->resources, snap->n, &snap->vantage, generation, !snap->is_unsynced);
    snapshot->local_hash = generation;
    return snapshot;
}
