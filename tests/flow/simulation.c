/*
 * simulation.c - many flows through the walks of two nodes, driven by a seed.
 *
 * Clients are fake streams at n1, servers real TCP on loopback; those of n2 are reached through
 * real tunnels. In each turn some of them write pieces of any size, pause, resume, end, reset or
 * start anew; policies, pods and endpoints change under them; everything is cut now and then.
 *
 * Looked at in each turn: what arrives is what was sent, in order, never more than was sent;
 * nobody's queue grows beyond its bound. At a clean end: everything that was sent has arrived. At
 * the end of a run: no flow is left, no lease is out, the loop is empty.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/accept/acceptor.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/flow/flow.h"
#include "proxy/io/tcp.h"
#include "proxy/meter/traffic.h"
#include "tests/kit/fake_stream.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/snap.h"
#include "tests/kit/test_ca.h"

#define SEEDS     8
#define TURNS     300
#define CALLS     64
#define HEAD      4 /* the first bytes say which call it is */
#define PIECE_MAX 40000
#define LAST_MS   20000
#define CART_ID   "spiffe://west.example/ns/shop/sa/cart"
#define PAY_ID    "spiffe://west.example/ns/shop/sa/pay"

static uint64_t seed;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: seed %llu broke: %s\nrun it again: flow_simulation %llu\n",    \
                    __FILE__, __LINE__, (unsigned long long)seed, #cond,                           \
                    (unsigned long long)seed);                                                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

struct call;

struct side { /* one of the two who talk */
    struct call *call;
    struct stream *stream; /* NULL: not yet, or closed */
    struct side *other;
    size_t sent, got;
    bool shut, ended, failed, paused, full;
};

struct call {
    struct fake_stream *ours, *theirs; /* NULL: the place is free */
    uint32_t number;
    struct side client, server;
};

struct node {
    struct snapshot *snapshot;
    const struct snapshot *snapshot_now;
    struct balancer *balancer;
    struct traffic *traffic;
    struct connector *connector;
    struct walk *walk;
};

#define APPS 3

struct sim {
    struct loop *loop;
    struct rng rng;
    struct snap snap;
    struct trust *trust;
    const struct trust *trust_now;
    struct tls_set *set;
    const struct tls_set *set_now;
    struct meter *meter;
    struct node near, far;  /* n1, n2 */
    struct acceptor *doors; /* of n2 */
    struct listener *apps[APPS];
    struct call calls[CALLS];
    struct side strangers[CALLS * 64]; /* connections that have not said whose they are */
    size_t n_strangers;
    uint32_t n_calls, n_clean, n_failed;
    int64_t n_races, n_races_won;
    bool denies, pod_is_gone, is_ready;
    uint8_t pieces[PIECE_MAX];
};

static struct sim sim;

static uint32_t below(uint32_t bound)
{
    return rng_below(&sim.rng, bound);
}

static bool one_in(uint32_t n)
{
    return below(n) == 0;
}

static uint8_t byte_at(size_t offset, uint32_t number)
{
    return (uint8_t)(offset * 31 + (offset >> 8) * 7 + number);
}

/* ---- the two sides ---- */

static void side_close(struct side *side, int err)
{
    struct stream *stream = side->stream;
    side->stream = NULL;
    if (stream)
        stream_close(stream, err);
}

static void introduce(struct side *stranger, uint32_t number)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct call *call = &sim.calls[i];
        if (!call->ours || call->number != number)
            continue;
        CHECK(!call->server.stream && call->server.got == 0);
        struct side *server = &call->server;
        server->stream = stranger->stream;
        server->got = HEAD;
        stranger->call = call; /* from here on it only passes on what it hears */
        return;
    }
    side_close(stranger, -ERR_RESET); /* the client is gone already */
}

static struct side *heard_by(struct side *side)
{
    return side->call && side != &side->call->client && side != &side->call->server
               ? &side->call->server
               : side;
}

static void take(struct side *side, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        CHECK(bytes[i] == byte_at(side->got + i, side->call->number));
    side->got += len;
    CHECK(side->got <= side->other->sent);
}

static void on_data(void *owner, struct slice bytes)
{
    struct side *side = owner;
    CHECK(!side->ended && !side->failed);
    if (side->call) {
        take(heard_by(side), bytes.ptr, bytes.len);
        return;
    }
    CHECK(bytes.len >= HEAD); /* it was written in one piece */
    uint32_t number;
    memcpy(&number, bytes.ptr, HEAD);
    introduce(side, number);
    if (side->call)
        take(&side->call->server, bytes.ptr + HEAD, bytes.len - HEAD);
}

static void on_end(void *owner)
{
    struct side *side = heard_by(owner);
    CHECK(!side->ended && !side->failed);
    side->ended = true;
    if (side->call)
        CHECK(side->got == side->other->sent && side->other->shut);
}

static void on_drain(void *owner)
{
    heard_by(owner)->full = false;
}

static void on_fail(void *owner, int err)
{
    struct side *side = heard_by(owner);
    CHECK(err < 0 && !side->failed);
    side->failed = true;
    if (side != owner)
        ((struct side *)owner)->failed = true;
}

static const struct stream_events side_events = {on_data, on_end, on_drain, on_fail};

static void side_write(struct side *side)
{
    const size_t len = 1 + below(one_in(4) ? PIECE_MAX : 200);
    for (size_t i = 0; i < len; i++)
        sim.pieces[i] = byte_at(side->sent + i, side->call->number);
    side->sent += len;
    side->full = !stream_write_copy(side->stream, sim.pieces, len);
}

static void side_act(struct side *side)
{
    if (!side->stream)
        return;
    if (side->failed) {
        side_close(side, -ERR_RESET);
        return;
    }
    if (one_in(20)) {
        side->paused = !side->paused;
        (side->paused ? stream_pause : stream_resume)(side->stream);
    }
    if (!side->shut && !side->full && one_in(3))
        side_write(side);
    if (!side->shut && one_in(60)) {
        side->shut = true;
        stream_shutdown(side->stream);
    }
    if (one_in(500))
        side_close(side, -ERR_RESET);
    else if (side->shut && side->ended && one_in(3))
        side_close(side, 0);
}

/* ---- calls ---- */

static void on_accept(void *owner, struct stream *stream)
{
    (void)owner;
    CHECK(sim.n_strangers < ARRAY_LEN(sim.strangers));
    struct side *stranger = &sim.strangers[sim.n_strangers++];
    *stranger = (struct side){.stream = stream};
    stream_set_owner(stream, &side_events, stranger);
    stream_resume(stream);
}

static struct addr destination(void)
{
    static const char *const places[] = {"10.96.0.1",  "10.96.0.1",  "127.0.0.24", "127.0.0.21",
                                         "127.0.0.23", "127.0.0.22", "127.0.0.9"};
    const char *place = places[below(ARRAY_LEN(places))];
    struct addr addr = {
        .port = place[0] == '1' && place[1] == '0' ? 6379 : listener_addr(sim.apps[0]).port};
    CHECK(ip_parse(str_from(place), &addr.ip) == 0);
    return addr;
}

static void call_start(struct call *call)
{
    struct addr source = {.port = (uint16_t)(1024 + below(60000))};
    CHECK(ip_parse(one_in(20) ? STR("10.0.0.99") : STR("10.0.0.1"), &source.ip) == 0);
    *call = (struct call){.number = ++sim.n_calls};
    call->client = (struct side){.call = call, .other = &call->server};
    call->server = (struct side){.call = call, .other = &call->client};
    fake_stream_pair(sim.loop, &call->ours, &call->theirs);
    call->client.stream = &call->ours->stream;
    stream_set_owner(call->client.stream, &side_events, &call->client);
    stream_resume(call->client.stream);
    (void)stream_write_copy(call->client.stream, &call->number, HEAD);
    call->client.sent = HEAD;
    const struct addr to = destination();
    const enum arrival_kind kind = one_in(8) ? ARRIVAL_PLAINTEXT : ARRIVAL_OUTBOUND;
    walk_start(sim.near.walk, arrival_new(kind, &call->theirs->stream, &source, &to));
}

/* Both sides are gone, and the walk has let go of its end. */
static void call_reap(struct call *call)
{
    if (call->client.stream || call->server.stream || !call->theirs->is_closed)
        return;
    sim.n_clean += call->client.ended && call->server.ended;
    sim.n_failed += call->client.failed || call->server.failed;
    for (size_t i = 0; i < sim.n_strangers; i++) /* late words of it have no listener */
        if (sim.strangers[i].call == call)
            sim.strangers[i].stream = NULL;
    fake_stream_free(call->ours);
    fake_stream_free(call->theirs);
    *call = (struct call){0};
}

static void call_act(struct call *call)
{
    if (!call->ours) {
        if (one_in(4))
            call_start(call);
        return;
    }
    side_act(&call->client);
    side_act(&call->server);
    CHECK(call->theirs->is_closed ||
          stream_queued(&call->theirs->stream) <= FAKE_QUEUE_HIGH + SLAB_BYTES);
    /* A client that never heard of its server leaves some time. */
    if (call->client.stream && !call->server.stream && one_in(300))
        side_close(&call->client, -ERR_RESET);
    call_reap(call);
}

/* ---- what is known ---- */

static void node_learn(struct node *node, const char *name)
{
    struct snapshot *before = node->snapshot;
    sim.snap.vantage.node = str_from(name);
    node->snapshot_now = node->snapshot = snap_build(&sim.snap);
    walk_recheck(node->walk);
    snapshot_free(before);
}

/* The service's connects race each other at once, so that all of their orders are met. */
static void hurry(void)
{
    static struct traffic_policy policy;
    size_t idx = 0;
    struct str key;
    void *value;
    policy = *traffic_policy_default();
    policy.race_ns = one_in(2) ? NS_PER_MS : 1;
    while (map_next(&sim.near.snapshot->services, &idx, &key, &value))
        ((struct service *)value)->traffic = &policy;
}

static void learn(void)
{
    struct snap *snap = &sim.snap;
    snap_fini(snap);
    snap_init(snap, "n1");
    const uint16_t port = listener_addr(sim.apps[0]).port;
    if (!sim.pod_is_gone)
        snap_pod(snap, "cart", "n1", "10.0.0.1");
    struct model_workload *here = snap_pod(snap, "pay-1", "n1", "127.0.0.21");
    struct model_workload *deaf = snap_pod(snap, "pay-2", "n1", "127.0.0.22");
    struct model_workload *plain = snap_pod(snap, "pay-3", "n2", "127.0.0.23");
    plain->speaks_hbone = false;
    here->is_healthy = sim.is_ready;
    const struct model_service *store = snap_service(snap, "store", "10.96.0.1", 6379, port);
    snap_serve(snap, here, store);
    snap_serve(snap, deaf, store);
    snap_serve(snap, plain, store);
    snap_serve(snap, snap_pod(snap, "pay-4", "n2", "127.0.0.24"), store);
    if (sim.denies)
        snap_policy(snap, "deny", POLICY_DENY, one_in(2) ? NULL : "west.example/ns/shop/sa/cart");
    node_learn(&sim.near, "n1");
    node_learn(&sim.far, "n2");
    hurry();
    acceptor_recheck(sim.doors);
}

static void change_something(void)
{
    switch (below(4)) {
    case 0: sim.denies = !sim.denies && one_in(2); break;
    case 1: sim.pod_is_gone = !sim.pod_is_gone && one_in(4); break;
    case 2: sim.is_ready = !sim.is_ready; break;
    default: pool_retire_identity(connector_pool(sim.near.connector), STR(CART_ID)); break;
    }
    learn();
}

/* ---- a run ---- */

static void add_identity(const struct test_ca *ca, const char *id)
{
    struct svid *svid = test_svid_new(ca, id);
    struct tls_identity *identity;
    CHECK(tls_identity_new(svid, &identity) == 0);
    tls_set_add(sim.set, identity);
    tls_identity_unref(identity);
    svid_unref(svid);
}

static void open_trust(void)
{
    struct test_ca *ca = test_ca_new("west.example");
    test_trust_add(&sim.trust, "west.example", ca);
    sim.trust_now = sim.trust;
    sim.set_now = sim.set = tls_set_new(1, sim.trust);
    add_identity(ca, CART_ID);
    add_identity(ca, PAY_ID);
    test_ca_free(ca);
}

static void open_apps(void)
{
    static const uint8_t last[APPS] = {21, 23, 24}; /* and nobody at 127.0.0.22 */
    struct addr addr = {{4, {127, 0, 0, 0}}, 0};
    int errnum;
    for (size_t i = 0; i < APPS; i++) {
        addr.ip.bytes[3] = last[i];
        CHECK(listener_open(sim.loop, &addr, NULL, on_accept, NULL, &sim.apps[i], &errnum) == 0);
        addr.port = listener_addr(sim.apps[i]).port;
    }
}

static void on_arrival(void *owner, struct arrival *arrival)
{
    walk_start(((struct node *)owner)->walk, arrival);
}

static uint16_t open_doors(void)
{
    static const struct addr loopback = {{4, {127, 0, 0, 1}}, 0};
    const struct acceptor_options options = {
        .outbound = loopback,
        .inbound = loopback,
        .tunnels = {.handshake_ns = 20 * NS_PER_SEC,
                    .snapshot = &sim.far.snapshot_now,
                    .tls = &sim.set_now,
                    .trust = &sim.trust_now},
    };
    struct text why = {0};
    CHECK(acceptor_open(sim.loop, &options, sim.meter, on_arrival, &sim.far, &sim.doors, &why) ==
          0);
    return acceptor_addr(sim.doors, ARRIVAL_TUNNEL).port;
}

static void node_open(struct node *node, uint16_t tunnel_port, unsigned max_flows)
{
    const struct connector_options connector = {
        .tunnel_port = tunnel_port, .connect_ns = 5 * NS_PER_SEC, .handshake_ns = 20 * NS_PER_SEC};
    const struct walk_options options = {
        .own = {15001, 15006, 15008},
        .attempt_ns = NS_PER_SEC,
        .connect_ns = 5 * NS_PER_SEC,
        .idle_ns = 60 * NS_PER_SEC,
        .half_close_ns = 60 * NS_PER_SEC,
        .max_flows = max_flows,
        .max_attempts = 3,
    };
    node->balancer = balancer_new(sim.meter, 1);
    node->traffic = traffic_new();
    node->connector = connector_new(sim.loop, &connector, &sim.set_now, &sim.trust_now, sim.meter);
    const struct walk_tools tools = {
        .loop = sim.loop,
        .snapshot = &node->snapshot_now,
        .connector = node->connector,
        .balancer = node->balancer,
        .traffic = node->traffic,
        .meter = sim.meter,
    };
    node->walk = walk_new(&tools, &options);
}

static void node_close(struct node *node)
{
    walk_free(node->walk);
    connector_free(node->connector);
    balancer_free(node->balancer); /* ensures that every lease came back */
    traffic_free(node->traffic);
}

static void sim_open(void)
{
    memset(&sim, 0, sizeof sim);
    rng_seed(&sim.rng, seed);
    sim.loop = loop_new();
    sim.meter = meter_new();
    open_trust();
    open_apps();
    const uint16_t tunnel_port = open_doors();
    node_open(&sim.near, tunnel_port, CALLS - 8);
    node_open(&sim.far, tunnel_port, 1000);
    sim.is_ready = true;
    learn();
}

static bool all_reaped(void *ctx)
{
    (void)ctx;
    bool all = true;
    for (size_t i = 0; i < CALLS; i++) {
        struct call *call = &sim.calls[i];
        if (!call->ours)
            continue;
        side_close(&call->client, -ERR_RESET);
        side_close(&call->server, -ERR_RESET);
        call_reap(call);
        all &= !call->ours;
    }
    return all && walk_flows(sim.near.walk) + walk_flows(sim.far.walk) == 0;
}

static void sim_close(void)
{
    CHECK(run_until(sim.loop, all_reaped, NULL, LAST_MS));
    node_close(&sim.near);
    node_close(&sim.far);
    acceptor_close(sim.doors); /* asks the snapshot once more what its tunnels stand on */
    snapshot_free(sim.near.snapshot);
    snapshot_free(sim.far.snapshot);
    for (size_t i = 0; i < APPS; i++)
        listener_close(sim.apps[i]);
    run_turns(sim.loop, 5);
    for (size_t i = 0; i < sim.n_strangers; i++)
        if (!sim.strangers[i].call)
            side_close(&sim.strangers[i], -ERR_RESET);
    CHECK(meter_total(METRIC_SOCKETS_OPEN) == 0);
    CHECK(meter_total(METRIC_TUNNELS_OPEN) == 0);
    CHECK(meter_total(METRIC_TUNNEL_SESSIONS_OPEN) == 0);
    sim.n_races = meter_total(METRIC_CONNECT_RACES);
    sim.n_races_won = meter_total(METRIC_CONNECT_RACES_WON);
    meter_free(sim.meter);
    tls_set_free(sim.set);
    trust_unref(sim.trust);
    snap_fini(&sim.snap);
    loop_finish(sim.loop);
}

static void run(void)
{
    sim_open();
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < CALLS; i++)
            call_act(&sim.calls[i]);
        if (one_in(60))
            change_something();
        if (one_in(400))
            walk_cut_all(one_in(2) ? sim.near.walk : sim.far.walk, -ERR_SHUTDOWN);
        CHECK(walk_flows(sim.near.walk) <= CALLS);
        loop_turn(sim.loop, false);
    }
    sim_close();
    printf("seed %llu: %u calls, %u ended cleanly, %u failed; %lld races, %lld won by the second\n",
           (unsigned long long)seed, sim.n_calls, sim.n_clean, sim.n_failed, (long long)sim.n_races,
           (long long)sim.n_races_won);
    CHECK(sim.n_clean > 0 && sim.n_failed > 0);
}

int main(int argc, char **argv)
{
    const uint64_t only = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    int64_t n_races = 0;
    for (seed = only ? only : 1; seed <= (only ? only : SEEDS); seed++) {
        run();
        n_races += sim.n_races;
    }
    CHECK(only || n_races > 0);
    return 0;
}
