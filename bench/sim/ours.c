/*
 * Ours: the balancer of proxy/pick on a snapshot of config, as a worker of a node proxy uses it,
 * with the policy of a service for which nobody wrote one.
 */
#include "bench/sim/chooser.h"
#include "config/traffic_policy.h"
#include "proxy/base/mem.h"

#define HOST          "till.shop.svc.clusterset.local"
#define KEY           "shop/" HOST
#define WORKLOADS_MAX (SIM_REPLICAS_MAX + SIM_CLIENTS_MAX)

struct ours {
    const struct sim_view *view;
    struct meter *meter;
    struct balancer *balancer;
    struct snapshot *snapshot;
    uint64_t generation; /* of the view that the snapshot was made of */
    struct sim_place here;
    struct rng rng;
    uint64_t keys[SIM_REPLICAS_MAX];
};

/* ---- the snapshot ---- */

struct mesh { /* what it is made of; lives as long as the making */
    struct arena arena;
    const struct model_resource *resources[WORKLOADS_MAX + 1];
    size_t n;
};

static struct model_resource *add(struct mesh *mesh, enum model_kind kind, struct str name)
{
    struct model_resource *resource = arena_new(&mesh->arena, struct model_resource);
    resource->kind = kind;
    resource->name = name;
    mesh->resources[mesh->n++] = resource;
    return resource;
}

static void add_service(struct mesh *mesh)
{
    struct model_service *service = arena_new(&mesh->arena, struct model_service);
    service->name = STR("till");
    service->namespace_ = STR("shop");
    service->hostname = STR(HOST);
    service->n_addresses = 1;
    service->addresses[0] = (struct ip){4, {10, 96, 0, 1}};
    service->ports = arena_new(&mesh->arena, struct model_port);
    service->n_ports = 1;
    *service->ports = (struct model_port){.service_port = 80, .target_port = 80};
    add(mesh, MODEL_SERVICE, STR(KEY))->of.service = service;
}

static struct model_workload *add_pod(struct mesh *mesh, const char *what, uint32_t idx,
                                      const struct sim_place *place)
{
    struct arena *arena = &mesh->arena;
    struct model_workload *pod = arena_new(arena, struct model_workload);
    pod->name = arena_printf(arena, "%s-%u", what, idx);
    pod->uid = arena_printf(arena, "c%u//v1/Pod/shop/%s-%u", place->cluster, what, idx);
    pod->namespace_ = STR("shop");
    pod->service_account = STR("till");
    pod->trust_domain = STR("example");
    pod->cluster = arena_printf(arena, "c%u", place->cluster);
    pod->region = arena_printf(arena, "r%u", place->region);
    pod->zone = arena_printf(arena, "z%u", place->zone);
    pod->node = arena_printf(arena, "n%u", place->node);
    pod->speaks_hbone = pod->is_healthy = true;
    pod->capacity = 1;
    pod->n_addresses = 1;
    add(mesh, MODEL_WORKLOAD, pod->uid)->of.workload = pod;
    return pod;
}

static void serve(struct mesh *mesh, struct model_workload *pod)
{
    pod->services = arena_new(&mesh->arena, struct model_membership);
    pod->n_services = 1;
    pod->services->service = STR(KEY);
    pod->services->ports = arena_new(&mesh->arena, struct model_port);
    pod->services->n_ports = 1;
    *pod->services->ports = (struct model_port){.service_port = 80, .target_port = 80};
}

static struct snapshot *make_snapshot(const struct ours *ours)
{
    const struct sim_fleet *fleet = ours->view->fleet;
    struct mesh mesh = {0};
    add_service(&mesh);
    for (uint32_t i = 0; i < fleet->n_replicas; i++) {
        struct model_workload *pod = add_pod(&mesh, "till", i, &fleet->replicas[i].place);
        pod->addresses[0] = (struct ip){4, {10, 0, 0, (uint8_t)i}};
        pod->is_healthy = ours->view->is_ready[i];
        serve(&mesh, pod);
    }
    for (uint32_t i = 0; i < fleet->n_clients; i++)
        add_pod(&mesh, "buyer", i, &fleet->clients[i].place)->addresses[0] =
            (struct ip){4, {10, 1, 0, (uint8_t)i}};
    const struct vantage vantage = {
        .node = arena_printf(&mesh.arena, "n%u", ours->here.node),
        .cluster = arena_printf(&mesh.arena, "c%u", ours->here.cluster),
        .region = arena_printf(&mesh.arena, "r%u", ours->here.region),
        .zone = arena_printf(&mesh.arena, "z%u", ours->here.zone),
        .trust_domain = STR("example"),
        .cluster_domain = STR("cluster.local"),
    };
    struct snapshot *snapshot =
        snapshot_build(mesh.resources, mesh.n, &vantage, ours->view->generation + 1, true);
    arena_fini(&mesh.arena);
    return snapshot;
}

static const struct service *service_of(struct ours *ours)
{
    if (!ours->snapshot || ours->generation != ours->view->generation) {
        if (ours->snapshot)
            snapshot_free(ours->snapshot);
        ours->snapshot = make_snapshot(ours);
        ours->generation = ours->view->generation;
    }
    return snapshot_service_by_host(ours->snapshot, STR(HOST));
}

/* ---- choosing ---- */

static uint32_t choose(void *self, struct sim_flow *flow, uint64_t now_ns)
{
    struct ours *ours = self;
    const struct service *service = service_of(ours);
    struct tried tried = {.len = flow->n_tried};
    for (uint32_t i = 0; i < flow->n_tried; i++)
        tried.keys[i] = ours->keys[flow->tried[i]];
    const struct question question = {.service = service,
                                      .set = &service->ports[0].v4,
                                      .source = {4, {10, 1, 0, (uint8_t)flow->client}},
                                      .tried = &tried};
    if (lease_cut(ours->balancer, &question, now_ns, &ours->rng, &flow->lease) < 0)
        return SIM_NOBODY;
    const uint32_t replica = flow->lease.addr.ip.bytes[3];
    ours->keys[replica] = flow->lease.key;
    return replica;
}

static void connected(void *self, struct sim_flow *flow, uint64_t connect_ns, uint64_t now_ns)
{
    struct ours *ours = self;
    lease_confirm(ours->balancer, &flow->lease, connect_ns, now_ns);
}

static void raced(void *self, struct sim_flow *flow, uint64_t now_ns)
{
    struct ours *ours = self;
    lease_doubt(ours->balancer, &flow->lease, now_ns);
}

static void ended(void *self, struct sim_flow *flow, enum sim_outcome outcome, uint64_t now_ns)
{
    static const enum lease_outcome outcomes[] = {
        [SIM_SERVED] = LEASE_SERVED,         [SIM_CONNECT_FAILED] = LEASE_FAILED,
        [SIM_TIMED_OUT] = LEASE_NODE_FAILED, /* through the tunnel port of its node */
        [SIM_BROKEN] = LEASE_RESET,          [SIM_GIVEN_UP] = LEASE_UNUSED,
    };
    struct ours *ours = self;
    if (outcome == SIM_SERVED)
        lease_sample(ours->balancer, &flow->lease, now_ns - flow->asked_ns, now_ns);
    lease_return(ours->balancer, &flow->lease, outcomes[outcome], now_ns);
}

static void told(void *self, uint64_t now_ns)
{
    (void)self; /* it looks at the view's generation */
    (void)now_ns;
}

static void tick(void *self, uint64_t now_ns)
{
    struct ours *ours = self;
    balancer_tick(ours->balancer, now_ns);
}

static void *open_ours(const struct chooser_kind *kind, const struct sim_view *view,
                       uint32_t client, uint64_t seed)
{
    struct ours *ours = mem_new(struct ours);
    (void)kind;
    ours->view = view;
    ours->here = view->fleet->clients[client].place;
    ours->meter = meter_new();
    ours->balancer = balancer_new(ours->meter, 1);
    rng_seed(&ours->rng, seed);
    return ours;
}

static void close_ours(void *self)
{
    struct ours *ours = self;
    balancer_free(ours->balancer);
    meter_free(ours->meter);
    if (ours->snapshot)
        snapshot_free(ours->snapshot);
    mem_free(ours);
}

const struct chooser_kind chooser_isthmus = {
    .name = "Isthmus",
    .has_racing = true,
    .open = open_ours,
    .close = close_ours,
    .told = told,
    .choose = choose,
    .connected = connected,
    .raced = raced,
    .ended = ended,
    .tick = tick,
};
