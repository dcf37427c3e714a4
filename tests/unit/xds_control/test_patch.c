/* A registry that changes were patched into is the one that would be built of what there is now. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "cluster.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "world.h"
#include "xds/resource_set.h"

#define LATER_NS ((int64_t)(10 * NS_PER_SEC)) /* files have settled by then */

static struct cluster cluster; /* for its configuration and its peers */

static struct held { /* what a control process holds */
    struct manifests_cache *cache;
    struct manifests *manifests;
    struct registry *registry;
    struct resource_set *nodes, *peers;
    size_t n_patched, n_built, n_refused, n_of_peers;
    struct registry_patch patch; /* the last one */
} held;

static void init(void)
{
    cluster_init(&cluster);
    held = (struct held){
        .cache = manifests_cache_new(),
        .nodes = resource_set_new(),
        .peers = resource_set_new(),
    };
}

static void fini(void)
{
    arena_fini(&held.patch.arena);
    registry_free(held.registry);
    manifests_free(held.manifests);
    manifests_cache_free(held.cache);
    resource_set_free(held.nodes);
    resource_set_free(held.peers);
    cluster_fini(&cluster);
}

TestSuite(patch, .init = init, .fini = fini, .timeout = 120);

/* ---- as control does it ---- */

static struct registry *build(const struct manifests *manifests)
{
    const struct registry_input input = {
        .config = &cluster.config,
        .manifests = manifests,
        .peers = cluster.peers,
        .n_peers = cluster.n_peers,
        .own_roots_pem = STR("ROOTS"),
    };
    struct registry *registry = registry_build(&input);
    registry_emit(registry);
    return registry;
}

static void rebuild(void)
{
    struct manifests *old = held.manifests->is_patched ? held.manifests : NULL;
    if (old)
        held.manifests = manifests_again(old);
    struct registry *registry = build(held.manifests);
    registry_free(held.registry);
    manifests_free(old);
    held.registry = registry;
    (void)resource_set_replace(held.nodes, registry->for_nodes, registry->n_for_nodes);
    (void)resource_set_replace(held.peers, registry->for_peers, registry->n_for_peers);
    held.n_built++;
}

static size_t update(struct resource_set *set, const struct registry_side *side)
{
    const struct resource_changes changes = {side->changed, side->n_changed, side->gone,
                                             side->n_gone};
    return resource_set_update(set, &changes);
}

/* How many resources of the nodes that changed. */
static size_t take_news(const char *dir, struct diag *diag)
{
    struct manifests_changes changes = {0};
    struct manifests *whole = NULL, *old = held.manifests;
    size_t n_changed = 0;
    arena_fini(&held.patch.arena);
    held.patch = (struct registry_patch){0};
    if (!old) {
        held.manifests = manifests_read_cached(held.cache, dir, clock_wall_ns() + LATER_NS, diag);
        cr_assert_not_null(held.manifests, "%.*s",
                           STR_ARG(diag->len ? diag->entries[0].sentence : STR("")));
        rebuild();
        return 0;
    }
    switch (manifests_read_news(held.cache, dir, clock_wall_ns() + LATER_NS, old, &changes, &whole,
                                diag)) {
    case MANIFESTS_REFUSED: held.n_refused++; break;
    case MANIFESTS_WHOLE:
        held.manifests = whole;
        rebuild();
        manifests_free(old);
        break;
    case MANIFESTS_PATCHED:
        if (!registry_patch(held.registry, &changes, &held.patch)) {
            rebuild();
            break;
        }
        n_changed = update(held.nodes, &held.patch.nodes);
        (void)update(held.peers, &held.patch.peers);
        held.n_patched++;
        break;
    }
    manifests_changes_fini(&changes);
    return n_changed;
}

/* ---- against a registry built of the same ---- */

static void expect_same_set(const struct resource_set *ours, const struct resource_set *theirs,
                            const char *when)
{
    cr_assert_eq(resource_set_count(ours), resource_set_count(theirs), "%s: %zu resources, not %zu",
                 when, resource_set_count(ours), resource_set_count(theirs));
    for (unsigned type = 0; type < XDS_TYPES; type++) {
        struct str name;
        void *value;
        for (size_t idx = 0; map_next(&theirs->logs[type].by_name, &idx, &name, &value);) {
            const struct set_entry *entry = value;
            const struct set_entry *own = map_find(&ours->logs[type].by_name, name);
            if (entry->is_removed)
                continue;
            cr_assert(own && !own->is_removed, "%s: %.*s is missing", when, STR_ARG(name));
            cr_assert(str_eq(own->bytes, entry->bytes), "%s: %.*s has other bytes", when,
                      STR_ARG(name));
            cr_assert_str_eq(own->version, entry->version, "%s: %.*s", when, STR_ARG(name));
        }
    }
}

static void expect_same_keys(const struct map *ours, const struct map *theirs, const char *when)
{
    struct str key;
    void *value;
    cr_assert_eq(ours->len, theirs->len, "%s", when);
    for (size_t idx = 0; map_next(theirs, &idx, &key, &value);)
        cr_assert_not_null(map_find(ours, key), "%s: %.*s", when, STR_ARG(key));
}

/* The lists, from which status pages are made, put into a set say what the sets hold. */
static void expect_same_lists(const struct registry *registry, const char *when)
{
    struct resource_set *nodes = resource_set_new(), *peers = resource_set_new();
    (void)resource_set_replace(nodes, registry->for_nodes, registry->n_for_nodes);
    (void)resource_set_replace(peers, registry->for_peers, registry->n_for_peers);
    expect_same_set(held.nodes, nodes, when);
    expect_same_set(held.peers, peers, when);
    resource_set_free(nodes);
    resource_set_free(peers);
}

static void expect_same_as_whole(const char *dir, const char *when)
{
    struct diag diag = {0};
    struct manifests *manifests = manifests_read(dir, &diag);
    cr_assert_not_null(manifests, "%s", when);
    struct registry *whole = build(manifests);
    expect_same_lists(whole, when);
    expect_same_lists(held.registry, when);
    expect_same_keys(&held.registry->placements, &whole->placements, when);
    cr_assert_eq(held.registry->n_pods, whole->n_pods, "%s", when);
    for (size_t i = 0; i < whole->n_peers; i++) {
        cr_assert_eq(held.registry->peers[i].n_workloads, whole->peers[i].n_workloads, "%s", when);
        cr_assert_eq(held.registry->peers[i].n_refused, whole->peers[i].n_refused, "%s", when);
    }
    cr_assert_eq(held.registry->n_stray_endpoints, whole->n_stray_endpoints, "%s: %zu, not %zu",
                 when, held.registry->n_stray_endpoints, whole->n_stray_endpoints);
    registry_free(whole);
    manifests_free(manifests);
    diag_fini(&diag);
}

/* ---- at random ---- */

#define EAST_SERVICES  2
#define EAST_WORKLOADS 4

/* Some are of a namespace that only pods show, and of services that are not exported. */
static void add_peers(void)
{
    static const char *const services[] = {
        "shop/s0.shop.svc.clusterset.local", "depot/s9.depot.svc.clusterset.local",
        "shop/s0.shop.svc.clusterset.local", "shop/s1.shop.svc.clusterset.local"};
    struct registry_peer *east = cluster_peer(&cluster, "east");
    peer_service(&cluster, east, "shop", "s0", 80, "http", 0);
    peer_service(&cluster, east, "depot", "s9", 80, "http", 0);
    for (unsigned i = 0; i < EAST_WORKLOADS; i++) {
        const struct str name = arena_printf(&cluster.arena, "e%u", i);
        const struct str ip = arena_printf(&cluster.arena, "10.2.0.%u", i + 1);
        peer_workload(&cluster, east, "shop", name.ptr, ip.ptr, services[i], 80);
    }
}

static struct model_workload *held_of_east(struct str uid, size_t *out_idx)
{
    const struct registry_peer *east = &cluster.peers[0];
    for (*out_idx = EAST_SERVICES; *out_idx < east->n_resources; ++*out_idx)
        if (str_eq(east->resources[*out_idx]->name, uid))
            return east->resources[*out_idx]->of.workload;
    return NULL;
}

/* It goes, comes back or changes; an address may be one that somebody has. */
static void change_of_east(struct world *world, struct model_resource *all,
                           struct registry_peer_change *out)
{
    struct registry_peer *east = &cluster.peers[0];
    const struct model_resource **list = (const struct model_resource **)(uintptr_t)east->resources;
    struct model_resource *one = &all[world_random(world, EAST_WORKLOADS)];
    struct model_workload *workload = one->of.workload;
    size_t idx;
    const bool is_there = held_of_east(one->name, &idx) != NULL;
    switch (world_random(world, 5)) {
    case 0: workload->is_healthy = !workload->is_healthy; break;
    case 1: workload->addresses[0].bytes[3] = (uint8_t)(1 + world_random(world, 6)); break;
    case 2: workload->addresses[0].bytes[1] = world_random(world, 4) == 0 ? 1 : 2; break;
    case 3: workload->host_network = !workload->host_network; break;
    default:
        if (is_there)
            list[idx] = list[--east->n_resources];
        else
            list[east->n_resources++] = one;
    }
    *out = (struct registry_peer_change){one->name, held_of_east(one->name, &idx)};
}

/* What a peer exports changes beside the manifests, and is patched in where that may be. */
static void change_peer(struct world *world)
{
    static struct model_resource all[EAST_WORKLOADS];
    struct registry_peer_change change;
    for (size_t i = 0; i < EAST_WORKLOADS && all[i].name.len == 0; i++)
        all[i] = *cluster.peers[0].resources[EAST_SERVICES + i];
    if (world_random(world, 3) != 0)
        return;
    change_of_east(world, all, &change);
    arena_fini(&held.patch.arena);
    held.patch = (struct registry_patch){0};
    if (!registry_takes_peers(held.registry) ||
        !registry_patch_peer(held.registry, 0, &change, 1, &held.patch)) {
        rebuild();
        return;
    }
    (void)update(held.nodes, &held.patch.nodes);
    cr_assert_eq(held.patch.peers.n_changed + held.patch.peers.n_gone, 0);
    held.n_of_peers++;
}

static void expect_refused(const struct world *world, const char *when)
{
    struct diag diag = {0};
    struct text text = {0};
    const size_t n_refused = held.n_refused;
    (void)take_news(world->dir.path, &diag);
    diag_print(&diag, &text);
    cr_assert_eq(held.n_refused, n_refused + 1, "%s", when);
    cr_assert(str_contains(text_str(&text), STR("wrong.yaml:")), "%s: %s", when, text.ptr);
    expect_same_lists(held.registry, when);
    text_fini(&text);
    diag_fini(&diag);
}

static void begin(struct world *world)
{
    struct diag diag = {0};
    world_write(world);
    (void)take_news(world->dir.path, &diag);
    expect_same_as_whole(world->dir.path, "at the beginning");
    diag_fini(&diag);
}

static void run(struct world *world, unsigned n_steps, uint64_t seed)
{
    for (unsigned step = 0; step < n_steps; step++) {
        struct diag diag = {0};
        char when[256];
        const unsigned n_changes = 1 + (unsigned)world_random(world, 3);
        text_clear(&world->last);
        for (unsigned i = 0; i < n_changes; i++)
            (void)world_change(world);
        (void)snprintf(when, sizeof(when), "seed %u, step %u:%s", (unsigned)seed, step,
                       world->last.ptr ? world->last.ptr : "");
        world_write(world);
        if (world->is_wrong) {
            expect_refused(world, when);
            world->is_wrong = false;
            world_write(world);
        }
        change_peer(world);
        (void)take_news(world->dir.path, &diag);
        expect_same_as_whole(world->dir.path, when);
        diag_fini(&diag);
    }
}

Test(patch, is_what_a_registry_of_the_same_manifests_is_whatever_changed_before)
{
    add_peers();
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct world world;
        world_init(&world, seed);
        begin(&world);
        run(&world, 120, seed);
        registry_free(held.registry);
        manifests_free(held.manifests);
        held.registry = NULL;
        held.manifests = NULL;
        world_fini(&world);
    }
    cr_assert_gt(held.n_patched, 200, "%zu patched, %zu built", held.n_patched, held.n_built);
    cr_assert_gt(held.n_built, 20, "%zu patched, %zu built", held.n_patched, held.n_built);
    cr_assert_gt(held.n_refused, 5);
    cr_assert_gt(held.n_of_peers, 30);
}

/* ---- what a change costs ---- */

static void write_slice_file(unsigned number, unsigned n_endpoints, const char *first_is_ready)
{
    struct text path = {0}, out = {0};
    text_addf(&path, "%s/slice-%u.yaml", cluster.dir.path, number);
    text_addf(&out,
              "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, "
              "name: cart-%u, labels: {kubernetes.io/service-name: cart}}, addressType: IPv4, "
              "ports: [{name: http, port: 8080}], endpoints: [",
              number);
    for (unsigned i = 0; i < n_endpoints; i++)
        text_addf(&out,
                  "%s{addresses: [10.1.%u.%u], conditions: {ready: %s}, targetRef: {kind: Pod, "
                  "name: pod-%u}}",
                  i ? ", " : "", number, i + 1, i ? "true" : first_is_ready,
                  number * n_endpoints + i);
    text_addf(&out, "]}\n");
    cr_assert_eq(file_write_atomic(text_str(&path), text_str(&out), 0600), 0);
    text_fini(&path);
    text_fini(&out);
}

Test(patch, one_endpoint_of_ten_thousand_costs_its_slice)
{
    struct diag diag = {0};
    cluster_service(&cluster, "shop", "cart", "10.96.0.1", "{name: http, port: 80}", "app: cart");
    for (unsigned i = 0; i < 10000; i++) {
        char name[16], ip[16];
        (void)snprintf(name, sizeof(name), "pod-%u", i);
        (void)snprintf(ip, sizeof(ip), "10.1.%u.%u", i / 100, i % 100 + 1);
        cluster_pod(&cluster, "shop", name, ip, "app: cart");
    }
    cluster_write(&cluster, cluster.dir.path);
    for (unsigned i = 0; i < 100; i++)
        write_slice_file(i, 100, "true");
    (void)take_news(cluster.dir.path, &diag);

    write_slice_file(42, 100, "false");

    cr_assert_eq(take_news(cluster.dir.path, &diag), 1);
    cr_assert_eq(held.n_patched, 1);
    cr_assert_eq(held.patch.nodes.n_changed, 100);
    const struct model_workload *workload =
        find_workload(held.registry, "west//v1/Pod/shop/pod-4200");
    cr_assert(workload->services[0].not_ready);
    diag_fini(&diag);
}

Test(patch, two_changes_that_undo_each_other_change_nothing)
{
    struct diag diag = {0};
    cluster_service(&cluster, "shop", "cart", "10.96.0.1", "{name: http, port: 80}", "app: cart");
    cluster_pod(&cluster, "shop", "pod-0", "10.1.0.1", "app: cart");
    cluster_write(&cluster, cluster.dir.path);
    write_slice_file(0, 1, "true");
    (void)take_news(cluster.dir.path, &diag);

    write_slice_file(0, 1, "false");
    write_slice_file(0, 1, "true");

    cr_assert_eq(take_news(cluster.dir.path, &diag), 0);
    cr_assert_eq(held.n_patched, 1);
    diag_fini(&diag);
}
