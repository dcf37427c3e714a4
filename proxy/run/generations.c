#include "proxy/run/generations.h"

#include "proxy/base/clock.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"

#define WAIT_MIN_NS (UINT64_C(50) * NS_PER_MS)
#define WAIT_MAX_NS (UINT64_C(500) * NS_PER_MS)
#define BUILD_SHARE 20 /* of the time, building may take a twentieth */

static uint64_t hash_of(const struct delta_resource *resource)
{
    return keyed_hash(keyed_hash(resource->model.kind, resource->name), resource->bytes);
}

static bool is_local(const struct node *node, const struct model_resource *resource)
{
    return resource->kind == MODEL_WORKLOAD &&
           str_eq(resource->of.workload->node, node->config->node) &&
           str_eq(resource->of.workload->cluster, node->config->cluster);
}

/* ---- whole ---- */

/* What verdicts on live flows depend on: all policies and whose tokens are taken, and the workloads
 * of this node. Order does not matter. Each workload keeps what it adds to the sum, for patches. */
static uint64_t hash_whole(const struct node *node, struct snapshot *snapshot)
{
    const struct delta_client *state = xds_client_state(node->xds);
    const struct delta_resource *resource;
    size_t idx = 0;
    uint64_t sum = 0;
    while ((resource = delta_client_next(state, &idx)) != NULL) {
        const struct model_resource *model = &resource->model;
        (void)pace();
        if (model->kind == MODEL_POLICY || model->kind == MODEL_REQUEST_AUTH)
            sum += hash_of(resource);
        if (!is_local(node, model))
            continue;
        struct workload *workload = map_find(&snapshot->workloads, model->name);
        workload->revision = hash_of(resource);
        sum += workload->revision;
    }
    return sum;
}

/* What is held, but for drills that are to be let go. */
static size_t resources_that_count(struct node *node, const struct model_resource **out,
                                   struct arena *arena, void (*on_drill_end)(struct timer *timer))
{
    const struct delta_client *state = xds_client_state(node->xds);
    const bool is_connected = xds_client_is_connected(node->xds);
    const uint64_t now_ns = loop_now_ns(node->loop);
    const struct delta_resource *resource;
    size_t idx = 0, n = 0;
    meter_add(node->meter, METRIC_DRILLS, -(int64_t)drill_watch_count(&node->drills));
    drill_watch_begin(&node->drills);
    while ((resource = delta_client_next(state, &idx)) != NULL)
        out[n++] = drill_watch_judge(&node->drills, &resource->model, arena, now_ns, is_connected);
    const uint64_t end_ns = drill_watch_end(&node->drills);
    meter_add(node->meter, METRIC_DRILLS, (int64_t)drill_watch_count(&node->drills));
    timer_stop(&node->drill_end);
    if (end_ns > 0)
        timer_start(node->loop, &node->drill_end, end_ns - now_ns, on_drill_end);
    return n;
}

static struct snapshot *build_whole(struct node *node, void (*on_drill_end)(struct timer *timer))
{
    const struct proxy_config *config = node->config;
    const struct delta_client *state = xds_client_state(node->xds);
    const struct model_resource **resources =
        mem_new_array(const struct model_resource *, delta_client_count(state) + 1);
    struct arena arena = {0};
    const size_t n = resources_that_count(node, resources, &arena, on_drill_end);
    const struct vantage vantage = {
        .node = config->node,
        .cluster = config->cluster,
        .network = config->network,
        .trust_domain = config->trust_domain,
        .cluster_domain = config->cluster_domain,
        .svid_per_workload = config->identity.pods == IDENTITY_SPIFFE,
    };
    struct snapshot *snapshot = snapshot_build_next(
        node->snapshot, resources, n, &vantage, ++node->generation, delta_client_is_synced(state));
    snapshot->local_hash = hash_whole(node, snapshot);
    mem_free(resources);
    arena_fini(&arena);
    xds_client_mark(node->xds);
    node->must_build_whole = false;
    return snapshot;
}

/* ---- patched ---- */

static const struct model_workload *find_model(void *owner, struct str uid)
{
    const struct node *node = owner;
    const struct delta_resource *resource =
        delta_client_find(xds_client_state(node->xds), XDS_ADDRESS, uid);
    return resource && resource->model.kind == MODEL_WORKLOAD ? resource->model.of.workload : NULL;
}

/* The base's sum, with what the changed workloads add now in place of what they added. */
static uint64_t hash_patched(const struct node *node, const struct snapshot *snapshot,
                             const struct snapshot_change *change)
{
    uint64_t sum = snapshot->base->local_hash;
    for (size_t i = 0; i < change->n; i++) {
        const struct workload *before = snapshot_workload(snapshot->base, change->uids[i]);
        const struct delta_resource *after =
            delta_client_find(xds_client_state(node->xds), XDS_ADDRESS, change->uids[i]);
        sum -= before ? before->revision : 0;
        sum += after && is_local(node, &after->model) ? hash_of(after) : 0;
    }
    return sum;
}

/* NULL: not by a patch alone. */
static struct snapshot *patch(struct node *node)
{
    const struct delta_client *state = xds_client_state(node->xds);
    struct snapshot_change change = {.find = find_model, .owner = node};
    if (node->must_build_whole || !node->snapshot ||
        node->snapshot->is_synced != delta_client_is_synced(state) ||
        !delta_client_changes(state, &change.uids, &change.n))
        return NULL;
    struct snapshot *snapshot = snapshot_patch(node->snapshot, &change, node->generation + 1);
    if (!snapshot)
        return NULL;
    node->generation++;
    snapshot->local_hash = hash_patched(node, snapshot, &change);
    meter_add(node->meter, METRIC_SNAPSHOTS_PATCHED, 1);
    return snapshot;
}

/* ---- either ---- */

struct snapshot *generation_next(struct node *node, void (*on_drill_end)(struct timer *timer))
{
    const uint64_t begun_ns = clock_mono_ns();
    struct snapshot *snapshot = patch(node);
    if (!snapshot)
        snapshot = build_whole(node, on_drill_end);
    node->rebuilt_ns = clock_mono_ns();
    node->rebuild_took_ns = node->rebuilt_ns - begun_ns;
    return snapshot;
}

void generation_reconsider(struct node *node)
{
    node->must_build_whole = true;
}

uint64_t generation_wait_ns(const struct node *node)
{
    const uint64_t since_ns = clock_mono_ns() - node->rebuilt_ns;
    uint64_t wait_ns = node->rebuild_took_ns * BUILD_SHARE;
    if (wait_ns < WAIT_MIN_NS)
        wait_ns = WAIT_MIN_NS;
    if (wait_ns > WAIT_MAX_NS)
        wait_ns = WAIT_MAX_NS;
    return since_ns >= wait_ns ? 1 : wait_ns - since_ns;
}
