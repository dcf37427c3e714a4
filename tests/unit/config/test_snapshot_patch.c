/* A patch against the snapshot built whole of the same resources: everything that can be asked of
 * both must be answered alike. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/policy.h"
#include "proxy/base/rng.h"
#include "scene.h"

TestSuite(snapshot_patch, .init = scene_begin, .fini = scene_end, .timeout = 60);

#define PODS 40
#define WEB  "shop/web.shop.svc.clusterset.local"
#define API  "shop/api.shop.svc.clusterset.local"
#define JOBS "shop/jobs.shop.svc.cluster.local"

static const struct model_workload *model_of(void *owner, struct str uid)
{
    const struct mesh *now = owner;
    for (size_t i = 0; i < now->n; i++)
        if (now->resources[i]->kind == MODEL_WORKLOAD && str_eq(now->resources[i]->name, uid))
            return now->resources[i]->of.workload;
    return NULL;
}

static struct str uid_of(const char *name)
{
    return arena_printf(&mesh.arena, "west//v1/Pod/shop/%s", name);
}

static struct model_workload *pod_of(const char *name)
{
    return (struct model_workload *)(uintptr_t)model_of(&mesh, uid_of(name));
}

static void drop(struct str uid)
{
    for (size_t i = 0; i < mesh.n; i++)
        if (str_eq(mesh.resources[i]->name, uid)) {
            mesh.resources[i] = mesh.resources[--mesh.n];
            return;
        }
}

static struct snapshot *patch_of(const struct snapshot *before, const struct str *uids, size_t n)
{
    const struct snapshot_change change = {uids, n, model_of, &mesh};
    return snapshot_patch(before, &change, before->generation + 1);
}

static bool same_set(const struct endpoint_set *a, const struct endpoint_set *b)
{
    if (a->id != b->id || a->fingerprint != b->fingerprint || a->len != b->len ||
        a->n_levels != b->n_levels || a->n_hidden != b->n_hidden || a->n_callers != b->n_callers)
        return false;
    for (size_t i = 0; i < a->len; i++) {
        const struct endpoint *x = &a->endpoints[i], *y = &b->endpoints[i];
        if (!str_eq(x->workload->uid, y->workload->uid) || x->is_ready != y->is_ready ||
            x->level != y->level || x->distance != y->distance ||
            x->workload->is_healthy != y->workload->is_healthy)
            return false;
    }
    for (size_t i = 0; i < a->n_hidden; i++)
        if (!str_eq(a->hidden[i].workload->uid, b->hidden[i].workload->uid) ||
            a->hidden[i].key != b->hidden[i].key)
            return false;
    return true;
}

/* A set holds the workloads that lookups by uid and address give. */
static void expect_one_world(const struct snapshot *of, const struct endpoint_set *set)
{
    for (size_t i = 0; i < set->len; i++)
        cr_expect_eq(set->endpoints[i].workload,
                     snapshot_workload(of, set->endpoints[i].workload->uid));
}

static void expect_same_services(const struct snapshot *patch, const struct snapshot *whole,
                                 const struct map *of_patch, const struct map *of_whole)
{
    size_t idx = 0;
    struct str key;
    void *value;
    cr_assert_eq(of_patch->len, of_whole->len);
    while (map_next(of_whole, &idx, &key, &value)) {
        const struct service *a = map_find(of_patch, key), *b = value;
        cr_assert_not_null(a);
        for (size_t i = 0; i < b->n_ports; i++)
            for (int is_v6 = 0; is_v6 < 2; is_v6++) {
                const struct endpoint_set *set = snapshot_set(patch, &a->ports[i], is_v6);
                cr_assert(same_set(set, snapshot_set(whole, &b->ports[i], is_v6)), "%.*s %zu %d",
                          STR_ARG(key), i, is_v6);
                expect_one_world(patch, set);
            }
    }
}

static void expect_same_workload(const struct workload *a, const struct workload *b)
{
    cr_assert_eq(a == NULL, b == NULL);
    if (!a)
        return;
    cr_expect(str_eq(a->uid, b->uid));
    cr_expect(str_eq(a->identity, b->identity));
    cr_expect(str_eq(a->svid_key, b->svid_key));
    cr_expect_eq(a->is_healthy, b->is_healthy);
    cr_expect_eq(a->is_local, b->is_local);
    cr_expect_eq(a->policies->n_layers, b->policies->n_layers);
    cr_expect(str_eq(a->policies->missing, b->policies->missing));
    cr_expect_eq(a->policies->revision, b->policies->revision);
    cr_expect_eq(a->policies->mark, b->policies->mark);
    cr_assert_eq(a->tokens == NULL, b->tokens == NULL);
    if (a->tokens)
        cr_expect_eq(a->tokens->n_layers, b->tokens->n_layers);
    cr_assert_eq(a->n_services, b->n_services);
    cr_assert_eq(a->n_ports, b->n_ports);
    for (size_t i = 0; i < a->n_ports; i++)
        cr_expect_eq(workload_protocol(a, b->ports[i].port), b->ports[i].app_protocol);
    for (size_t i = 0; i < a->n_services; i++)
        cr_expect(str_eq(a->services[i]->key, b->services[i]->key));
}

static void expect_same(const struct snapshot *patch, const struct snapshot *whole)
{
    cr_expect_eq(patch->n_workloads, whole->n_workloads);
    for (unsigned i = 0; i < 2 * PODS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "p%u", i);
        expect_same_workload(snapshot_workload(patch, uid_of(name)),
                             snapshot_workload(whole, uid_of(name)));
        const struct ip v4 = {4, {10, 1, 0, (uint8_t)i}};
        expect_same_workload(snapshot_workload_by_ip(patch, &v4),
                             snapshot_workload_by_ip(whole, &v4));
    }
    expect_same_services(patch, whole, &patch->services, &whole->services);
    expect_same_services(patch, whole, &patch->service_parts, &whole->service_parts);
    cr_assert_eq(patch->n_local, whole->n_local);
    for (size_t i = 0; i < patch->n_local; i++)
        cr_expect(str_eq(patch->local[i]->uid, whole->local[i]->uid));
}

static struct model_workload *add_pod(unsigned number, const char *ip, const char *services)
{
    char name[16];
    snprintf(name, sizeof(name), "p%u", number);
    struct model_workload *pod =
        mesh_workload(&mesh, "west", name, number % 3 == 0 ? "n1" : "n2", ip, services);
    pod->region = STR("eu");
    pod->zone = number % 3 == 0 ? STR("a") : STR("b");
    pod->host_network = number % 7 == 0; /* not found by address */
    struct str *policies = arena_new_array(&mesh.arena, struct str, 4), *auths = policies + 2;
    policies[0] = STR("shop/named");
    auths[0] = STR("shop/tokens-of-web");
    policies[1] = auths[1] = STR("shop/missing");
    pod->policies = policies;
    pod->n_policies = number % 3;
    pod->request_auths = auths;
    pod->n_request_auths = number % 3;
    return pod;
}

static const char *const served[] = {"", WEB, API, WEB " " API, JOBS, WEB " " WEB};

/* A pod comes with an address that may be another's, or one that is there changes or goes. */
static struct str change_one(struct rng *rng)
{
    const unsigned number = rng_below(rng, 2 * PODS);
    char name[16], ip[48];
    snprintf(name, sizeof(name), "p%u", number);
    snprintf(ip, sizeof(ip), "10.1.0.%u fd00::%u", rng_below(rng, 2 * PODS), number);
    struct model_workload *pod = pod_of(name);
    const struct str uid = uid_of(name);
    switch (rng_below(rng, 4)) {
    case 0: drop(uid); break;
    case 1:
        drop(uid);
        (void)add_pod(number, ip, served[rng_below(rng, ARRAY_LEN(served))]);
        break;
    default:
        if (pod) { /* the snapshot before has copied what it needed */
            pod->is_healthy = !pod->is_healthy;
            pod->capacity = rng_below(rng, 3);
        }
    }
    return uid;
}

static void add_request_auth(const char *name, enum policy_scope scope, const char *target)
{
    struct model_resource *resource = arena_new(&mesh.arena, struct model_resource);
    struct model_request_auth *auth = arena_new(&mesh.arena, struct model_request_auth);
    auth->name = str_from(name);
    auth->namespace_ = STR("shop");
    auth->scope = scope;
    auth->targets = arena_new(&mesh.arena, struct str);
    auth->targets[0] = str_from(target);
    auth->n_targets = target[0] != '\0';
    *resource = (struct model_resource){MODEL_REQUEST_AUTH, auth->name, {.request_auth = auth}};
    mesh.resources[mesh.n++] = resource;
}

/* Its backends are parts of services: the endpoints of one cluster, the others hidden. */
static void add_routes(void)
{
    struct str *any = arena_new(&mesh.arena, struct str);
    struct model_resource *resource = arena_new(&mesh.arena, struct model_resource);
    struct model_routes *routes = arena_new(&mesh.arena, struct model_routes);
    struct route_host *host = arena_new(&mesh.arena, struct route_host);
    struct route_rule *rule = arena_new(&mesh.arena, struct route_rule);
    struct route_backend *backends = arena_new_array(&mesh.arena, struct route_backend, 3);
    backends[0] = (struct route_backend){.service = STR(WEB), .port = 80, .cluster = STR("west")};
    backends[1] = (struct route_backend){.service = STR(WEB), .port = 80, .cluster = STR("east")};
    backends[2] = (struct route_backend){.service = STR(API), .port = 81, .cluster = STR("west")};
    *any = STR("*");
    for (size_t i = 0; i < 3; i++)
        backends[i].weight = 1;
    *rule = (struct route_rule){.action = ROUTE_FORWARD, .backends = backends, .n_backends = 3};
    *host = (struct route_host){any, 1, rule, 1};
    *routes = (struct model_routes){.service = STR(WEB), .hosts = host, .n_hosts = 1};
    *resource = (struct model_resource){MODEL_ROUTES, routes->service, {.routes = routes}};
    mesh.resources[mesh.n++] = resource;
}

static void make_services(void)
{
    mesh_service(&mesh, WEB, "10.201.0.1", "http:80:8080 dns:53:53/udp");
    mesh_service(&mesh, API, "10.201.0.2", "http:80:8080 more:81:8081");
    mesh_service(&mesh, JOBS, "", "http:80:8080");
    mesh_policy(&mesh, "shop/allow", POLICY_ALLOW, POLICY_NAMESPACE);
    mesh_policy(&mesh, "/all", POLICY_DENY, POLICY_GLOBAL);
    mesh_policy(&mesh, "shop/named", POLICY_DENY, POLICY_WORKLOAD);
    add_request_auth("shop/tokens", POLICY_NAMESPACE, "");
    add_request_auth("shop/tokens-of-web", POLICY_WORKLOAD, WEB);
    struct traffic_policy *policy = mesh_traffic(&mesh, API);
    policy->algorithm = ALGORITHM_MAGLEV;
    policy->maglev_size = 251;
    mesh_traffic(&mesh, JOBS)->node_only = true; /* those of other nodes are hidden */
    add_routes();
}

static void make_mesh(void)
{
    make_services();
    for (unsigned i = 0; i < PODS; i++) {
        char ip[48];
        snprintf(ip, sizeof(ip), "10.1.0.%u fd00::%u", i, i);
        (void)add_pod(i, ip, served[i % ARRAY_LEN(served)]);
    }
}

static size_t count_hidden(const struct snapshot *of, const char *key)
{
    const struct service *service = map_find(&of->services, str_from(key));
    size_t n = 0;
    for (size_t i = 0; i < service->n_ports; i++)
        n += snapshot_set(of, &service->ports[i], false)->n_hidden;
    return n;
}

Test(snapshot_patch, says_what_a_snapshot_built_whole_says)
{
    struct rng rng;
    size_t n_patched = 0, n_hidden = 0, n_parts = 0;
    rng_seed(&rng, 7);
    for (unsigned round = 0; round < 60; round++) {
        struct str uids[12];
        size_t n = 0;
        mesh_end(&mesh);
        mesh_begin(&mesh);
        make_mesh();
        struct snapshot *before = mesh_build(&mesh);
        for (unsigned step = 0; step < 4; step++) {
            for (unsigned i = 0; i < 3; i++)
                uids[n++] = change_one(&rng);
            struct snapshot *whole = mesh_build(&mesh);
            struct snapshot *patch = patch_of(before, uids, n);
            if (patch) {
                n_patched++;
                expect_same(patch, whole);
                n_hidden += count_hidden(whole, JOBS);
                n_parts += whole->service_parts.len;
                snapshot_free(before); /* a patch of a patch holds the base alone */
                before = patch;
            }
            snapshot_free(whole);
        }
        snapshot_free(before);
    }
    cr_expect_gt(n_patched, 100, "%zu", n_patched);
    cr_expect_gt(n_hidden, 100, "%zu", n_hidden);
    cr_expect_eq(n_parts, 3 * n_patched);
}

Test(snapshot_patch, shares_what_did_not_change_and_outlives_its_base_s_owner)
{
    make_mesh();
    struct snapshot *base = mesh_build(&mesh);
    const struct service *web = map_find(&base->services, STR(WEB));
    const struct endpoint_set *before = snapshot_set(base, &web->ports[1], false);
    const struct workload *other = snapshot_workload(base, uid_of("p2"));
    const struct str uid = uid_of("p1");
    pod_of("p1")->is_healthy = false;
    snapshot = patch_of(base, &uid, 1);
    cr_assert_not_null(snapshot);
    snapshot_free(base);
    cr_expect_eq(map_find(&snapshot->services, STR(WEB)), web);
    cr_expect_eq(snapshot_workload(snapshot, uid_of("p2")), other);
    cr_expect_not(snapshot_workload(snapshot, uid)->is_healthy);
    const struct endpoint_set *after = snapshot_set(snapshot, &web->ports[1], false);
    cr_expect_neq(after->fingerprint, before->fingerprint);
    cr_expect_eq(after->generation, snapshot->generation);
    const struct service *api = map_find(&snapshot->services, STR(API));
    cr_expect_eq(snapshot_set(snapshot, &api->ports[0], false), &api->ports[0].v4, "untouched");
    cr_expect_eq(snapshot->n_tables_built, 0, "one that is ready or not hashes as before");
}

static void serve_headless(struct model_workload *pod)
{
    pod->is_healthy = false;
}

static void move_zone(struct model_workload *pod)
{
    pod->zone = STR("c");
}

Test(snapshot_patch, is_refused_where_more_than_endpoints_would_change)
{
    static const struct {
        const char *why, *headless, *claimed; /* a second pod with this address */
        bool is_zone_aware;
        void (*change)(struct model_workload *pod);
    } rows[] = {
        {"its names", "", NULL, false, serve_headless},
        {"the node's zone", "10.201.0.9", NULL, false, move_zone},
        {"who has its address next", "10.201.0.9", "10.1.0.3", false, serve_headless},
        {"the callers of a zone", "10.201.0.9", NULL, true, move_zone},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        mesh_end(&mesh);
        mesh_begin(&mesh);
        mesh_service(&mesh, "shop/db.shop.svc.clusterset.local", rows[i].headless, "db:1:1");
        struct traffic_policy *policy = mesh_traffic(&mesh, "shop/db.shop.svc.clusterset.local");
        policy->locality = rows[i].is_zone_aware ? LOCALITY_ZONE_AWARE : LOCALITY_LEVELS;
        policy->zone_min_endpoints = 1;
        (void)add_pod(rows[i].is_zone_aware ? 6 : 9, "10.1.0.9", "");
        struct model_workload *pod =
            add_pod(rows[i].is_zone_aware ? 4 : 3, "10.1.0.3", "shop/db.shop.svc.clusterset.local");
        if (rows[i].claimed)
            (void)add_pod(5, rows[i].claimed, "");
        struct snapshot *before = mesh_build(&mesh);
        rows[i].change(pod);
        cr_expect_null(patch_of(before, &pod->uid, 1), "%s", rows[i].why);
        snapshot_free(before);
    }
}

static void begin_to_call(struct model_workload *pod)
{
    pod->speaks_hbone = true;
}

static void stop_to_call(struct model_workload *pod)
{
    pod->speaks_hbone = false;
}

/* Of a pod that serves nothing: no set of endpoints is built anew for it. */
Test(snapshot_patch, is_refused_when_zones_are_weighed_and_the_first_caller_comes_or_the_last_goes)
{
    static const struct {
        const char *what;
        bool calls, is_zone_aware, is_patched;
        void (*change)(struct model_workload *pod);
    } rows[] = {
        {"the first comes", false, true, false, begin_to_call},
        {"the last goes", true, true, false, stop_to_call},
        {"none comes", false, true, true, stop_to_call},
        {"nobody asks for callers", false, false, true, begin_to_call},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        mesh_end(&mesh);
        mesh_begin(&mesh);
        make_services();
        mesh_traffic(&mesh, WEB)->locality =
            rows[i].is_zone_aware ? LOCALITY_ZONE_AWARE : LOCALITY_LEVELS;
        for (unsigned n = 0; n < 12; n++) {
            char ip[16];
            snprintf(ip, sizeof(ip), "10.1.0.%u", n);
            add_pod(n, ip, n == 7 ? "" : WEB)->speaks_hbone = rows[i].calls && n == 7;
        }
        struct snapshot *before = mesh_build(&mesh);
        struct model_workload *pod = pod_of("p7");
        rows[i].change(pod);
        struct snapshot *patch = patch_of(before, &pod->uid, 1);
        cr_expect_eq(patch != NULL, rows[i].is_patched, "%s", rows[i].what);
        snapshot_free(patch);
        snapshot_free(before);
    }
}
