/*
 * Every cluster is alike unless its scenario says otherwise: one region, three zones of four nodes,
 * two replicas to a node on average but not on each: four on one, three on another, one, none. A
 * node proxy whose node has one replica has twice the traffic that it can carry, so a balancer that
 * insists on the nearest loses.
 */
#include <string.h>

#include "bench/sim/fleet.h"
#include "proxy/base/ensure.h"

#define ZONES      3 /* of a cluster */
#define NODES      4 /* of a zone */
#define SLOTS      4
#define SERVICE_NS (10 * SIM_MS)
#define USUAL_LOAD 0.60
#define SECOND(n)  ((uint64_t)((n)*1000) * SIM_MS)

static const uint32_t replicas_on[NODES] = {4, 3, 1, 0};

static struct sim_place place_of(uint32_t cluster, uint32_t zone, uint32_t node)
{
    const uint32_t a_zone = cluster * ZONES + zone;
    return (struct sim_place){cluster, cluster, a_zone, a_zone * NODES + node};
}

static void add_replica(struct sim_fleet *fleet, struct sim_place place)
{
    ensure(fleet->n_replicas < SIM_REPLICAS_MAX);
    fleet->replicas[fleet->n_replicas++] = (struct sim_replica){place, SLOTS, SIM_UP, true, 1};
}

static void add_client(struct sim_fleet *fleet, struct sim_place place)
{
    ensure(fleet->n_clients < SIM_CLIENTS_MAX);
    fleet->clients[fleet->n_clients++] = (struct sim_client){place, 0};
}

static void add_cluster(struct sim_fleet *fleet, uint32_t cluster)
{
    for (uint32_t zone = 0; zone < ZONES; zone++) {
        for (uint32_t node = 0; node < NODES; node++) {
            add_client(fleet, place_of(cluster, zone, node));
            for (uint32_t i = 0; i < replicas_on[node]; i++)
                add_replica(fleet, place_of(cluster, zone, node));
        }
    }
}

static double capacity_per_second(const struct sim_fleet *fleet, uint32_t cluster)
{
    double slots = 0;
    for (uint32_t i = 0; i < fleet->n_replicas; i++) {
        if (fleet->replicas[i].place.cluster == cluster)
            slots += fleet->replicas[i].slots;
    }
    return slots * (double)SIM_SEC / (double)fleet->service_ns;
}

/* Each client of the cluster gets an equal part of that share of its capacity. */
static void load_cluster(struct sim_fleet *fleet, uint32_t cluster, double share)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < fleet->n_clients; i++)
        n += fleet->clients[i].place.cluster == cluster;
    for (uint32_t i = 0; i < fleet->n_clients; i++) {
        if (fleet->clients[i].place.cluster == cluster)
            fleet->clients[i].per_second = capacity_per_second(fleet, cluster) * share / n;
    }
}

static void begin(struct sim_fleet *fleet, uint32_t n_clusters, uint64_t wan_ns)
{
    memset(fleet, 0, sizeof *fleet);
    fleet->service_ns = SERVICE_NS;
    fleet->rtt_ns[SIM_NODE] = SIM_MS / 20;
    fleet->rtt_ns[SIM_ZONE] = SIM_MS / 4;
    fleet->rtt_ns[SIM_REGION] = SIM_MS;
    fleet->rtt_ns[SIM_CLUSTER] = 5 * SIM_MS;
    fleet->rtt_ns[SIM_OTHER] = wan_ns;
    fleet->length_ns = SECOND(60);
    fleet->settled_ns = SECOND(40);
    for (uint32_t cluster = 0; cluster < n_clusters; cluster++)
        add_cluster(fleet, cluster);
    for (uint32_t cluster = 0; cluster < n_clusters; cluster++)
        load_cluster(fleet, cluster, USUAL_LOAD);
}

static struct sim_change *add_change(struct sim_fleet *fleet, uint64_t at_ns, uint32_t replica)
{
    uint32_t place = fleet->n_changes++;
    ensure(fleet->n_changes <= SIM_CHANGES_MAX);
    for (; place > 0 && fleet->changes[place - 1].at_ns > at_ns; place--)
        fleet->changes[place] = fleet->changes[place - 1];
    fleet->changes[place] = (struct sim_change){.at_ns = at_ns, .replica = replica};
    return &fleet->changes[place];
}

static void set_state(struct sim_fleet *fleet, uint64_t at_ns, uint32_t replica,
                      enum sim_state state)
{
    struct sim_change *change = add_change(fleet, at_ns, replica);
    change->kind = CHANGE_STATE;
    change->state = state;
}

static void set_ready(struct sim_fleet *fleet, uint64_t at_ns, uint32_t replica, bool is_ready)
{
    struct sim_change *change = add_change(fleet, at_ns, replica);
    change->kind = CHANGE_READY;
    change->is_ready = is_ready;
}

static void set_slowness(struct sim_fleet *fleet, uint64_t at_ns, uint32_t replica, double slowness,
                         uint64_t over_ns)
{
    struct sim_change *change = add_change(fleet, at_ns, replica);
    change->kind = CHANGE_SLOWNESS;
    change->slowness = slowness;
    change->over_ns = over_ns;
}

/* ---- one replica ---- */

static void make_slow(struct sim_fleet *fleet)
{
    begin(fleet, 1, 0);
    set_slowness(fleet, SECOND(10), 0, 20, 0);
    set_slowness(fleet, SECOND(40), 0, 1, 0);
    fleet->settled_ns = SECOND(50);
}

static void make_flapping(struct sim_fleet *fleet)
{
    begin(fleet, 1, 0);
    for (uint64_t i = 0; i < 12; i++) {
        set_state(fleet, SECOND(10) + i * SECOND(4), 0, SIM_REFUSING);
        set_state(fleet, SECOND(12) + i * SECOND(4), 0, SIM_UP);
    }
    fleet->settled_ns = SECOND(20);
}

/* ---- many at once ---- */

static bool is_in_zone(const struct sim_replica *replica, uint32_t zone)
{
    return replica->place.zone == zone;
}

/* The replicas of a zone go without a word; control finds out after ten seconds. Their callers are
 * still there. */
static void make_zone_lost(struct sim_fleet *fleet)
{
    begin(fleet, 2, 20 * SIM_MS);
    load_cluster(fleet, 0, 0.50);
    for (uint32_t i = 0; i < fleet->n_replicas; i++) {
        if (!is_in_zone(&fleet->replicas[i], 0))
            continue;
        set_state(fleet, SECOND(10), i, SIM_DARK);
        set_ready(fleet, SECOND(20), i, false);
    }
    fleet->settled_ns = SECOND(30);
}

/* Everything of the first cluster but its callers, as when its storage is gone; the second one has
 * room for them. */
static void lose_cluster(struct sim_fleet *fleet)
{
    load_cluster(fleet, 0, 0.45);
    load_cluster(fleet, 1, 0.35);
    for (uint32_t i = 0; i < fleet->n_replicas; i++) {
        if (fleet->replicas[i].place.cluster != 0)
            continue;
        set_state(fleet, SECOND(10), i, SIM_DARK);
        set_ready(fleet, SECOND(16), i, false);
    }
}

static void make_region_lost(struct sim_fleet *fleet)
{
    begin(fleet, 2, 30 * SIM_MS);
    lose_cluster(fleet);
    fleet->settled_ns = SECOND(30);
}

/* It comes back all at once, and cold: eight times slower at first, warm after ten seconds. */
static void make_return(struct sim_fleet *fleet)
{
    begin(fleet, 2, 30 * SIM_MS);
    lose_cluster(fleet);
    for (uint32_t i = 0; i < fleet->n_replicas; i++) {
        if (fleet->replicas[i].place.cluster != 0)
            continue;
        set_slowness(fleet, SECOND(25) - 2, i, 8, 0);
        set_state(fleet, SECOND(25) - 1, i, SIM_UP);
        set_slowness(fleet, SECOND(25), i, 1, SECOND(10));
        set_ready(fleet, SECOND(26), i, true);
    }
    fleet->length_ns = SECOND(80);
    fleet->settled_ns = SECOND(60);
}

/* A third more replicas are added, each ten times slower until it is warm. */
static void make_cold_start(struct sim_fleet *fleet)
{
    begin(fleet, 1, 0);
    load_cluster(fleet, 0, 0.75);
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t replica = fleet->n_replicas;
        add_replica(fleet, place_of(0, i % ZONES, 1 + i % (NODES - 1)));
        fleet->replicas[replica].is_ready = false;
        fleet->replicas[replica].slowness = 10;
        set_slowness(fleet, SECOND(10), replica, 1, SECOND(15));
        set_ready(fleet, SECOND(10), replica, true);
    }
}

/* ---- places ---- */

/* A third of the callers, and of what they need, stands where a sixth of the replicas is. */
static void make_unequal_zones(struct sim_fleet *fleet)
{
    begin(fleet, 1, 0);
    uint32_t n_left = 0, n_dropped = 0;
    for (uint32_t i = 0; i < fleet->n_replicas; i++) {
        if (is_in_zone(&fleet->replicas[i], 0) && n_dropped < 4) {
            n_dropped++;
            continue;
        }
        fleet->replicas[n_left++] = fleet->replicas[i];
    }
    fleet->n_replicas = n_left;
    load_cluster(fleet, 0, 0.70);
    fleet->settled_ns = SECOND(20);
}

/* The first cluster's callers ask for a fifth more than it can carry; the way to the other is long,
 * and it has room. */
static void make_wan(struct sim_fleet *fleet)
{
    begin(fleet, 2, 80 * SIM_MS);
    load_cluster(fleet, 0, 1.20);
    load_cluster(fleet, 1, 0.40);
    fleet->settled_ns = SECOND(20);
}

const struct sim_scenario sim_scenarios[] = {
    {"slow", "one of 24 replicas becomes 20 times slower for 30 s", make_slow},
    {"flapping", "one of 24 refuses every other 2 s", make_flapping},
    {"zone lost", "a third of a cluster goes dark, another cluster at 20 ms", make_zone_lost},
    {"region lost", "a whole cluster goes dark, another at 30 ms", make_region_lost},
    {"return", "the same, and it comes back cold", make_return},
    {"cold start", "8 replicas join 24, ten times slower at first", make_cold_start},
    {"unequal zones", "a third of the callers where a fifth of the replicas is",
     make_unequal_zones},
    {"wan", "a fifth more than the cluster can carry, another at 80 ms", make_wan},
};

const size_t sim_n_scenarios = ARRAY_LEN(sim_scenarios);

enum sim_distance sim_distance(const struct sim_place *from, const struct sim_place *to)
{
    if (from->cluster != to->cluster)
        return SIM_OTHER;
    if (from->region != to->region)
        return SIM_CLUSTER;
    if (from->zone != to->zone)
        return SIM_REGION;
    return from->node == to->node ? SIM_NODE : SIM_ZONE;
}

void sim_thin(struct sim_fleet *fleet, double by)
{
    for (uint32_t i = 0; i < fleet->n_clients; i++)
        fleet->clients[i].per_second /= by;
    fleet->service_ns = (uint64_t)((double)fleet->service_ns * by);
}
