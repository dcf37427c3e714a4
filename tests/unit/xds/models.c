#include "models.h"

#include "proxy/base/ensure.h"

static struct ip ip(const char *text)
{
    struct ip made;

    ensure(ip_parse(str_from(text), &made) == 0);
    return made;
}

static struct cidr cidr(const char *text)
{
    struct cidr made;

    ensure(cidr_parse(str_from(text), &made) == 0);
    return made;
}

static struct model_resource *resource_new(struct arena *arena, enum model_kind kind,
                                           struct str name)
{
    struct model_resource *resource = arena_new(arena, struct model_resource);

    resource->kind = kind;
    resource->name = name;
    return resource;
}

struct model_resource *model_pod(struct arena *arena, const char *name, const char *address)
{
    struct model_workload *pod = arena_new(arena, struct model_workload);
    struct model_resource *resource;

    pod->uid = arena_printf(arena, "c1//v1/Pod/ns/%s", name);
    pod->name = arena_str(arena, str_from(name));
    pod->namespace_ = STR("ns");
    pod->service_account = STR("app");
    pod->trust_domain = STR("west.example");
    pod->cluster = STR("c1");
    pod->addresses[0] = ip(address);
    pod->n_addresses = 1;
    pod->is_healthy = true;
    pod->capacity = 1;
    resource = resource_new(arena, MODEL_WORKLOAD, pod->uid);
    resource->of.workload = pod;
    return resource;
}

static struct model_membership *rich_memberships(struct arena *arena)
{
    struct model_membership *services = arena_new_array(arena, struct model_membership, 2);
    struct model_port *ports = arena_new_array(arena, struct model_port, 3);

    ports[0] = (struct model_port){53, 1053, APP_TCP, STR("dns-tcp"), false};
    ports[1] = (struct model_port){80, 8080, APP_HTTP11, STR(""), false};
    ports[2] = (struct model_port){53, 1053, APP_UNKNOWN, STR("dns"), true};
    services[0] = (struct model_membership){
        .service = STR("ns/db.ns.svc.clusterset.local"),
        .ports = ports,
        .n_ports = 3,
        .dns_hostname = STR("db-0"),
        .not_ready = true,
        .is_terminating = true,
    };
    services[1] = (struct model_membership){.service = STR("ns/plain.ns.svc.cluster.local")};
    return services;
}

struct model_resource *model_rich_pod(struct arena *arena)
{
    struct model_resource *resource = model_pod(arena, "db-0", "10.1.2.3");
    struct model_workload *pod = resource->of.workload;

    pod->addresses[1] = ip("fd00:1::2:3");
    pod->n_addresses = 2;
    pod->node = STR("west-1");
    pod->network = STR("net-1");
    pod->canonical_name = STR("db");
    pod->canonical_revision = STR("v7");
    pod->workload_name = STR("db");
    pod->region = STR("eu");
    pod->zone = STR("eu-1");
    pod->subzone = STR("rack-9");
    pod->pod_uid = STR("0b7c1f6e-3f0e-4f0e-9a55-2f6f7d1c9e10");
    pod->speaks_hbone = true;
    pod->is_healthy = false;
    pod->host_network = true;
    pod->capacity = 0;
    pod->services = rich_memberships(arena);
    pod->n_services = 2;
    pod->policies = arena_new_array(arena, struct str, 2);
    pod->policies[0] = STR("ns/allow-db");
    pod->policies[1] = STR("ns/deny-all");
    pod->n_policies = 2;
    return resource;
}

struct model_resource *model_rich_service(struct arena *arena)
{
    struct model_service *service = arena_new(arena, struct model_service);
    struct model_resource *resource;

    service->name = STR("db");
    service->namespace_ = STR("ns");
    service->hostname = STR("db.ns.svc.clusterset.local");
    service->addresses[0] = ip("10.201.0.7");
    service->addresses[1] = ip("fd00:201::7");
    service->n_addresses = 2;
    service->ports = arena_new_array(arena, struct model_port, 2);
    service->ports[0] = (struct model_port){443, 0, APP_TLS, STR("https"), false};
    service->ports[1] = (struct model_port){443, 8443, APP_UNKNOWN, STR("quic"), true};
    service->n_ports = 2;
    service->sans = arena_new(arena, struct str);
    service->sans[0] = STR("spiffe://east.example/ns/ns/sa/db");
    service->n_sans = 1;
    service->allow_unhealthy = true;
    service->created_ns = INT64_C(1767225600000000000);
    service->words = (struct service_words){60, true, DISTRIBUTION_SAME_NODE};
    resource = resource_new(arena, MODEL_SERVICE, STR("ns/db.ns.svc.clusterset.local"));
    resource->of.service = service;
    return resource;
}

struct model_resource *model_headless_service(struct arena *arena)
{
    struct model_service *service = arena_new(arena, struct model_service);
    struct model_resource *resource;

    service->name = STR("peers");
    service->namespace_ = STR("ns");
    service->hostname = STR("peers.ns.svc.clusterset.local");
    service->is_headless = true;
    resource = resource_new(arena, MODEL_SERVICE, STR("ns/peers.ns.svc.clusterset.local"));
    resource->of.service = service;
    return resource;
}

static void fill_match(struct arena *arena, struct model_match *match)
{
    match->namespaces = arena_new_array(arena, struct string_match, 2);
    match->namespaces[0] = (struct string_match){MATCH_EXACT, STR("shop")};
    match->namespaces[1] = (struct string_match){MATCH_PREFIX, STR("team-")};
    match->n_namespaces = 2;
    match->not_principals = arena_new_array(arena, struct string_match, 2);
    match->not_principals[0] = (struct string_match){MATCH_SUFFIX, STR("/sa/guest")};
    match->not_principals[1] = (struct string_match){.kind = MATCH_PRESENCE};
    match->n_not_principals = 2;
    match->source_ips = arena_new_array(arena, struct cidr, 2);
    match->source_ips[0] = cidr("10.0.0.0/8");
    match->source_ips[1] = cidr("fd00::/17");
    match->n_source_ips = 2;
    match->not_destination_ips = arena_new(arena, struct cidr);
    match->not_destination_ips[0] = cidr("10.1.2.3");
    match->n_not_destination_ips = 1;
    match->ports = arena_new_array(arena, uint16_t, 2);
    match->ports[0] = 1;
    match->ports[1] = 65535;
    match->n_ports = 2;
    match->not_ports = arena_new(arena, uint16_t);
    match->not_ports[0] = 8080;
    match->n_not_ports = 1;
}

struct model_resource *model_rich_policy(struct arena *arena)
{
    struct model_resource *resource = model_small_policy(arena, "rich");
    struct model_policy *policy = resource->of.policy;

    policy->action = POLICY_DENY;
    policy->scope = POLICY_WORKLOAD;
    policy->dry_run = true;
    policy->rules = arena_new_array(arena, struct model_rule, 2);
    policy->n_rules = 2;
    policy->rules[0].clauses = arena_new_array(arena, struct model_clause, 2);
    policy->rules[0].n_clauses = 2;
    policy->rules[0].clauses[0].matches = arena_new_array(arena, struct model_match, 2);
    policy->rules[0].clauses[0].n_matches = 2;
    fill_match(arena, &policy->rules[0].clauses[0].matches[0]);
    return resource;
}

struct model_resource *model_small_policy(struct arena *arena, const char *name)
{
    struct model_policy *policy = arena_new(arena, struct model_policy);
    struct model_resource *resource;

    policy->name = arena_str(arena, str_from(name));
    policy->namespace_ = STR("ns");
    policy->action = POLICY_ALLOW;
    policy->scope = POLICY_NAMESPACE;
    resource = resource_new(arena, MODEL_POLICY, arena_printf(arena, "ns/%s", name));
    resource->of.policy = policy;
    return resource;
}
