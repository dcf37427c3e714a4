/*
 * rebuild.c - inputs become resources. A rebuild derives everything anew and the resource sets find
 * out what differs; what changes most, pods, EndpointSlices and peers' workloads, is patched in.
 */
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/control/inside.h"

#define DISK_RETRY_NS (5 * NS_PER_SEC)
#define REBUILD_SHARE 4 /* of the time between two rebuilds, one may take a fourth */

static void on_rebuild(struct timer *timer);

/* Large clusters take longer to derive; then changes are gathered for longer, so that most of the
 * loop's time is left for streams and certificates. */
uint64_t control_settle_ns(const struct control *control)
{
    const uint64_t least_ns = CONTROL_SETTLE_MS * NS_PER_MS;
    const uint64_t share_ns = control->rebuild_took_ns * REBUILD_SHARE;
    return share_ns > least_ns ? share_ns : least_ns;
}

void control_rebuild_soon(void *owner)
{
    struct control *control = owner;
    control->is_stale = true;
    if (!timer_is_running(&control->rebuild))
        timer_start(control->loop, &control->rebuild, control_settle_ns(control), on_rebuild);
}

static void on_retry(struct timer *timer)
{
    control_rebuild_soon(container_of(timer, struct control, retry));
}

static struct registry *build(struct control *control)
{
    struct arena arena = {0};
    struct registry_peer *peers = arena_new_array(&arena, struct registry_peer, control->n_peers);
    struct registry_drill drills[DRILLS_MAX];
    struct registry_input input = {
        .drills = drills,
        .n_drills = drills_list(control->drills, drills),
        .config = control->config,
        .manifests = control->manifests,
        .peers = peers,
        .n_peers = control->n_peers,
    };
    for (size_t i = 0; i < control->n_peers; i++)
        peers[i] = peer_exports(control->peers[i], &arena);
    input.own_roots_pem = control_own_roots(control, &arena);
    input.own_crls = control_own_crls(control);
    input.keys = token_keys_list(control->token_keys, &arena, &input.n_keys);
    input.bundles = control->bundles;
    input.n_bundles = control->n_bundles;
    struct registry *registry = registry_build(&input);
    arena_fini(&arena);
    return registry;
}

static void give_addresses(struct control *control, struct registry *registry)
{
    struct vip_request *requests = mem_new_array(struct vip_request, registry->n_imports + 1);
    struct registry_import **imports =
        mem_new_array(struct registry_import *, registry->n_imports + 1);
    size_t n = 0;
    for (size_t i = 0; i < registry->n_imports; i++) {
        struct registry_import *import = &registry->imports[i];
        if (import->service.is_headless)
            continue;
        imports[n] = import;
        requests[n] = (struct vip_request){.name = import->key, .n_wanted = import->n_wanted};
        memcpy(requests[n++].wanted, import->wanted, sizeof(import->wanted));
    }
    if (vips_assign(control->vips, requests, n, clock_wall_ns()) < 0)
        timer_start(control->loop, &control->retry, DISK_RETRY_NS, on_retry);
    for (size_t i = 0; i < n; i++) {
        struct registry_import *import = imports[i];
        memcpy(import->service.addresses, requests[i].got, sizeof(requests[i].got));
        import->service.n_addresses = requests[i].n_got;
        import->problem = arena_str(&registry->arena, text_str(&requests[i].problem));
        text_fini(&requests[i].problem);
    }
    mem_free(imports);
    mem_free(requests);
}

/* Once when it is new, not at every rebuild. */
static void tell_oddities(struct control *control, const struct registry *registry)
{
    for (size_t i = 0; i < registry->n_peers; i++) {
        const struct registry_peer_row *row = &registry->peers[i];
        const uint64_t told = row->n_refused ? keyed_hash(row->n_refused, row->refusal) : 0;
        if (told != 0 && told != control->told_refusals[i])
            log_warn("resources of a peer were refused",
                     log_str("peer", control->config->peers[i].name),
                     log_u64("refused", row->n_refused), log_str("first", row->refusal));
        control->told_refusals[i] = told;
    }
    if (registry->n_stray_endpoints > 0 && registry->n_stray_endpoints != control->told_strays)
        log_info("endpoints without a pod in the manifests are left out",
                 log_u64("endpoints", registry->n_stray_endpoints));
    control->told_strays = registry->n_stray_endpoints;
}

/* Streams of nodes that are no more. Ending one takes its row out of the map, so they are gathered
 * first. */
static void disconnect_absent_nodes(struct control *control)
{
    struct arena arena = {0};
    struct str *absent = arena_new_array(&arena, struct str, control->nodes.len);
    struct str id, node;
    struct spiffe_id parsed;
    void *value;
    size_t n = 0;
    for (size_t idx = 0; map_next(&control->nodes, &idx, &id, &value);)
        if (spiffe_parse(id, &parsed, NULL) < 0 || !spiffe_node_name(&parsed, &node) ||
            !registry_has_node(control->registry, node))
            absent[n++] = arena_str(&arena, id);
    for (size_t i = 0; i < n; i++) {
        log_warn("a node is no Node of this cluster any more; its stream is ended",
                 log_str("node", absent[i]));
        xds_server_disconnect(control->server, absent[i]);
    }
    arena_fini(&arena);
}

static void tell_changed(size_t n_for_nodes, size_t n_for_peers)
{
    if (n_for_nodes + n_for_peers > 0)
        log_info("resources have changed", log_u64("for_nodes", n_for_nodes),
                 log_u64("for_peers", n_for_peers));
}

static void notify(struct control *control, size_t n_for_nodes, size_t n_for_peers)
{
    if (control->server && n_for_nodes > 0)
        xds_server_notify(control->server, control->nodes_set);
    if (control->server && n_for_peers > 0)
        xds_server_notify(control->server, control->peers_set);
}

/* No addresses are asked for, so none is given back. */
void control_begin_empty(struct control *control)
{
    control->registry = build(control);
    registry_emit(control->registry);
}

/* The old registry borrows from the manifests that it was made of, so it goes before they do. */
void control_rebuild(struct control *control)
{
    if (!control->is_known)
        return;
    const uint64_t begun_ns = clock_mono_ns();
    struct manifests *old = control->manifests->is_patched ? control->manifests : NULL;
    if (old)
        control->manifests = manifests_again(old);
    struct registry *registry = build(control);
    give_addresses(control, registry);
    registry_emit(registry);
    tell_oddities(control, registry);
    registry_free(control->registry);
    manifests_free(old);
    control->registry = registry;
    const size_t n_for_nodes =
        resource_set_replace(control->nodes_set, registry->for_nodes, registry->n_for_nodes);
    const size_t n_for_peers =
        resource_set_replace(control->peers_set, registry->for_peers, registry->n_for_peers);
    tell_changed(n_for_nodes, n_for_peers);
    control->rebuilt_ns = clock_mono_ns();
    control->rebuild_took_ns = control->rebuilt_ns - begun_ns;
    control->is_stale = false;
    meter_add(control->meter, METRIC_CONTROL_REBUILDS, 1);
    for (size_t i = 0; i < control->n_peers; i++)
        peer_mark(control->peers[i]);
    if (control->server)
        disconnect_absent_nodes(control);
    notify(control, n_for_nodes, n_for_peers);
}

static size_t update(struct resource_set *set, const struct registry_side *side)
{
    const struct resource_changes changes = {
        .resources = side->changed,
        .n_resources = side->n_changed,
        .gone = side->gone,
        .n_gone = side->n_gone,
    };
    return resource_set_update(set, &changes);
}

static void publish(struct control *control, const struct registry_patch *patch)
{
    const size_t n_for_nodes = update(control->nodes_set, &patch->nodes);
    const size_t n_for_peers = update(control->peers_set, &patch->peers);
    meter_add(control->meter, METRIC_CONTROL_PATCHES, 1);
    tell_oddities(control, control->registry);
    tell_changed(n_for_nodes, n_for_peers);
    notify(control, n_for_nodes, n_for_peers);
}

/* What changed at the cost of what changed; all anew where that reaches further. */
void control_patch(struct control *control, const struct manifests_changes *changes)
{
    struct registry_patch patch;
    const bool is_patched = registry_patch(control->registry, changes, &patch);
    if (is_patched)
        publish(control, &patch);
    arena_fini(&patch.arena);
    if (!is_patched) {
        timer_stop(&control->rebuild);
        control_rebuild(control);
    }
}

/* False when they must be built in. A registry that a patch broke is replaced at once. */
static bool patch_peers(struct control *control)
{
    struct registry_patch patch = {0};
    struct arena arena = {0};
    bool is_patched = true, is_known = registry_takes_peers(control->registry);
    for (size_t i = 0; i < control->n_peers && is_known && is_patched; i++) {
        const struct registry_peer_change *changes;
        size_t n;
        is_known = peer_changes(control->peers[i], &arena, &changes, &n);
        if (is_known)
            is_patched = registry_patch_peer(control->registry, i, changes, n, &patch);
    }
    const bool is_done = is_known && is_patched;
    if (is_done)
        publish(control, &patch);
    for (size_t i = 0; i < control->n_peers && is_done; i++)
        peer_mark(control->peers[i]);
    arena_fini(&patch.arena);
    arena_fini(&arena);
    if (!is_patched)
        control_rebuild(control);
    return is_done || !is_patched;
}

static void on_rebuild(struct timer *timer)
{
    struct control *control = container_of(timer, struct control, rebuild);
    const uint64_t due_ns = control->rebuilt_ns + control_settle_ns(control),
                   now_ns = clock_mono_ns();
    if (!control->is_known || (!control->is_stale && patch_peers(control)))
        return;
    control->is_stale = true;
    if (due_ns > now_ns)
        timer_start(control->loop, &control->rebuild, due_ns - now_ns, on_rebuild);
    else
        control_rebuild(control);
}

/* Most often some of their workloads: then they are patched in soon. */
void control_follow_peers(struct control *control)
{
    if (!timer_is_running(&control->rebuild))
        timer_start(control->loop, &control->rebuild, CONTROL_SETTLE_MS * NS_PER_MS, on_rebuild);
}
