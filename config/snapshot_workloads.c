/*
 * Workloads of a snapshot: every one by its uid, and by each of its addresses the one that is
 * believed there. Those of this node in the mesh also know whose certificate they speak under.
 */
#include <string.h>

#include "certs/svid.h"
#include "config/snapshot_build.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/pace.h"

static void copy_names(struct arena *arena, struct workload *to, const struct model_workload *from)
{
    to->uid = arena_str(arena, from->uid);
    to->name = arena_str(arena, from->name);
    to->namespace_ = arena_str(arena, from->namespace_);
    to->service_account = arena_str(arena, from->service_account);
    to->trust_domain = arena_str(arena, from->trust_domain);
    to->node = arena_str(arena, from->node);
    to->cluster = arena_str(arena, from->cluster);
    to->network = arena_str(arena, from->network);
    if (from->region.len > 0 || from->zone.len > 0)
        to->locality = arena_printf(arena, "%.*s/%.*s", STR_ARG(from->region), STR_ARG(from->zone));
    to->canonical_name = arena_str(arena, from->canonical_name);
    to->canonical_revision = arena_str(arena, from->canonical_revision);
    to->workload_name = arena_str(arena, from->workload_name);
    if (from->trust_domain.len && from->namespace_.len && from->service_account.len)
        to->identity =
            spiffe_for_workload(arena, from->trust_domain, from->namespace_, from->service_account);
}

/* Of two workloads that claim one address a healthy one is believed: the other is a pod on its way
 * out. */
static void file_address(struct snapshot *snapshot, struct workload *workload, const struct ip *ip)
{
    const struct workload *before = map_find(&snapshot->workload_by_ip, ip_key(ip));
    if (before)
        (void)map_put(&snapshot->roots.contested, ip_key(ip), workload);
    if (!before || (!before->is_healthy && workload->is_healthy))
        map_put(&snapshot->workload_by_ip, ip_key(ip), workload);
}

/* Those of other nodes have no certificate here. */
static void set_svid_key(const struct snapshot *snapshot, struct arena *arena, struct str pod_uid,
                         struct workload *workload)
{
    workload->svid_key = workload->identity;
    if (snapshot->vantage.svid_per_workload && workload->is_local && workload->identity.len > 0)
        workload->svid_key = svid_key_for(arena, workload->identity, workload->uid, pod_uid);
}

bool snapshot_files_address(const struct snapshot *snapshot, const struct model_workload *model)
{
    return !model->host_network && str_eq(model->network, snapshot->vantage.network);
}

void snapshot_fill_workload(struct snapshot_builder *builder, struct workload *to,
                            const struct model_workload *from)
{
    struct snapshot *snapshot = builder->snapshot;
    copy_names(&snapshot->arena, to, from);
    to->n_addresses =
        from->n_addresses < MODEL_ADDRESSES_MAX ? from->n_addresses : MODEL_ADDRESSES_MAX;
    memcpy(to->addresses, from->addresses, sizeof(to->addresses));
    to->speaks_hbone = from->speaks_hbone;
    to->is_healthy = from->is_healthy;
    to->is_local = str_eq(from->node, snapshot->vantage.node) &&
                   str_eq(from->cluster, snapshot->vantage.cluster);
    to->uid_hash = to->is_local ? keyed_hash(0, to->uid) : 0;
    set_svid_key(snapshot, &snapshot->arena, from->pod_uid, to);
    snapshot_attach_policies(builder, to, from);
    snapshot_attach_tokens(builder, to, from);
}

static void add_workload(struct snapshot_builder *builder, struct workload *to,
                         const struct model_workload *from)
{
    struct snapshot *snapshot = builder->snapshot;
    snapshot_fill_workload(builder, to, from);
    map_put(&snapshot->workloads, to->uid, to);
    if (!snapshot_files_address(snapshot, from))
        return;
    for (size_t i = 0; i < to->n_addresses; i++)
        file_address(snapshot, to, &to->addresses[i]);
}

/* A pod of the host network has the node's own address, which no rule may capture. */
bool snapshot_is_in_our_care(const struct workload *workload, const struct model_workload *model)
{
    return workload->is_local && workload->speaks_hbone && !model->host_network;
}

void snapshot_add_workloads(struct snapshot_builder *builder,
                            const struct model_resource *const *resources, size_t n_resources)
{
    struct snapshot *snapshot = builder->snapshot;
    size_t n_local = 0;
    builder->workloads = arena_new_array(&snapshot->arena, struct workload, n_resources);
    builder->workload_models =
        arena_new_array(&builder->scratch, const struct model_workload *, n_resources);
    builder->n_workloads = snapshot->n_workloads = n_resources;
    for (size_t i = 0; i < n_resources; i++) {
        struct workload *workload = &builder->workloads[i];
        (void)pace();
        builder->workload_models[i] = resources[i]->of.workload;
        add_workload(builder, workload, resources[i]->of.workload);
        n_local += snapshot_is_in_our_care(workload, builder->workload_models[i]);
    }
    snapshot->local = arena_new_array(&snapshot->arena, const struct workload *, n_local);
    for (size_t i = 0; i < n_resources; i++)
        if (snapshot_is_in_our_care(&builder->workloads[i], builder->workload_models[i]))
            snapshot->local[snapshot->n_local++] = &builder->workloads[i];
}
