/*
 * The others: round robin, random, least request and peak EWMA over everybody who is ready, as a
 * flat service of several clusters has it; Envoy's zone aware routing, its failover between
 * priorities (as Istio's locality failover sets them up), and its locality balancing by reported
 * load.
 *
 * All of them eject an endpoint after five failures in a row, for 30 s times its ejections, of any
 * number of endpoints: Envoy's outlier detection with the bound of 10 % lifted, without which its
 * failover does nothing. The last one is never ejected. All repeat failed connects elsewhere.
 */
#include "bench/sim/chooser.h"
#include "bench/sim/load_aware.h"
#include "proxy/balance/ewma.h"
#include "proxy/balance/locality.h"
#include "proxy/balance/outlier.h"
#include "proxy/balance/priority.h"
#include "proxy/base/mem.h"

#define FAILURES_MAX   5
#define EJECT_BASE_NS  (30 * SIM_SEC)
#define EJECT_MAX_NS   (300 * SIM_SEC)
#define RELAX_NS       (10 * SIM_SEC)
#define DECAY_NS       (10 * SIM_SEC) /* Linkerd's */
#define DEFAULT_RTT_NS (30 * SIM_MS)  /* Linkerd's */
#define DRAWS          32
#define LEVELS         3
#define ZONE_MIN_HOSTS 6

enum variant { ROUND_ROBIN, RANDOM, LEAST_REQUEST, PEAK_EWMA, ZONE_AWARE, PRIORITY, LOAD_AWARE };

struct seen { /* of one replica */
    struct outlier_rest rest;
    struct ewma latency;
    uint64_t ejected_until_ns;
    uint32_t active, failures;
    uint16_t level; /* 0 first */
    bool is_usable; /* ready and not ejected */
};

struct other {
    enum variant variant;
    const struct sim_view *view;
    struct sim_place here;
    struct rng rng;
    struct seen seen[SIM_REPLICAS_MAX];
    uint32_t cursor;
    uint32_t n_levels;
    struct priority_load loads[LEVELS];
    /* zones of the own cluster, one's own first */
    struct zone zones[SIM_ZONES_MAX];
    uint32_t zone_ids[SIM_ZONES_MAX];
    uint32_t n_zones;
    struct zone_split split;
    bool is_split;
    struct load_aware load_aware;
    uint64_t n_ejected;
};

static uint32_t n_replicas(const struct other *other)
{
    return other->view->fleet->n_replicas;
}

static const struct sim_place *place(const struct other *other, uint32_t replica)
{
    return &other->view->fleet->replicas[replica].place;
}

/* ---- what follows from who is usable ---- */

static uint32_t zone_index(const struct other *other, uint32_t zone)
{
    uint32_t i = 0;
    while (i < other->n_zones && other->zone_ids[i] != zone)
        i++;
    return i;
}

static void add_zone(struct other *other, uint32_t zone)
{
    if (zone_index(other, zone) < other->n_zones)
        return;
    other->zone_ids[other->n_zones] = zone;
    other->zones[other->n_zones++] = (struct zone){0};
}

static void find_zones(struct other *other)
{
    const struct sim_fleet *fleet = other->view->fleet;
    add_zone(other, other->here.zone);
    for (uint32_t i = 0; i < fleet->n_clients; i++) {
        if (fleet->clients[i].place.cluster != other->here.cluster)
            continue;
        add_zone(other, fleet->clients[i].place.zone);
        other->zones[zone_index(other, fleet->clients[i].place.zone)].n_clients++;
    }
    for (uint32_t i = 0; i < fleet->n_replicas; i++) {
        if (fleet->replicas[i].place.cluster == other->here.cluster)
            add_zone(other, fleet->replicas[i].place.zone);
    }
}

static uint16_t level_of(const struct other *other, uint32_t replica)
{
    const enum sim_distance distance = sim_distance(&other->here, place(other, replica));
    switch (other->variant) {
    case ZONE_AWARE:
    case LOAD_AWARE: return distance == SIM_OTHER;
    case PRIORITY: return distance <= SIM_ZONE ? 0 : distance <= SIM_REGION ? 1 : 2;
    case ROUND_ROBIN:
    case RANDOM:
    case LEAST_REQUEST:
    case PEAK_EWMA: return 0;
    }
    return 0;
}

static void recount(struct other *other)
{
    static const struct priority_policy policy = {140, 50, false};
    struct priority_level levels[LEVELS] = {0};
    for (uint32_t i = 0; i < other->n_zones; i++)
        other->zones[i].n_servers = 0;
    for (uint32_t i = 0; i < n_replicas(other); i++) {
        const struct seen *seen = &other->seen[i];
        levels[seen->level].count.all++;
        levels[seen->level].count.healthy += seen->is_usable;
        if (seen->is_usable && seen->level == 0 && place(other, i)->cluster == other->here.cluster)
            other->zones[zone_index(other, place(other, i)->zone)].n_servers++;
    }
    priority_spread(&policy, levels, other->n_levels, other->loads);
    other->is_split = other->variant == ZONE_AWARE &&
                      zone_split_make(other->zones, other->n_zones, ZONE_MIN_HOSTS, &other->split);
}

static void refresh(struct other *other, uint64_t now_ns)
{
    for (uint32_t i = 0; i < n_replicas(other); i++)
        other->seen[i].is_usable =
            other->view->is_ready[i] && other->seen[i].ejected_until_ns <= now_ns;
    recount(other);
}

static void eject(struct other *other, uint32_t replica, uint64_t now_ns)
{
    struct seen *seen = &other->seen[replica];
    uint32_t n_ejected = 0;
    for (uint32_t i = 0; i < n_replicas(other); i++)
        n_ejected += other->seen[i].ejected_until_ns > now_ns;
    if (seen->ejected_until_ns > now_ns ||
        !outlier_may_eject(n_ejected, n_replicas(other), 100, false))
        return;
    seen->ejected_until_ns = now_ns + outlier_rest_next(&seen->rest, EJECT_BASE_NS, EJECT_MAX_NS);
    seen->failures = 0;
    refresh(other, now_ns);
}

/* ---- choosing among some ---- */

struct pool {             /* a level, or a zone of it */
    uint32_t level, zone; /* zone: SIM_NOBODY for all */
    bool is_in_panic;
};

static bool is_fit(const struct other *other, const struct sim_flow *flow, const struct pool *pool,
                   uint32_t replica)
{
    const struct seen *seen = &other->seen[replica];
    if (seen->level != pool->level || (!seen->is_usable && !pool->is_in_panic))
        return false;
    if (pool->zone != SIM_NOBODY && place(other, replica)->zone != pool->zone)
        return false;
    for (uint32_t i = 0; i < flow->n_tried; i++) {
        if (flow->tried[i] == replica)
            return false;
    }
    return true;
}

/* Those of a pool, in order; returns how many. */
static uint32_t gather(const struct other *other, const struct sim_flow *flow,
                       const struct pool *pool, uint32_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_replicas(other); i++) {
        if (is_fit(other, flow, pool, i))
            out[n++] = i;
    }
    return n;
}

static double cost(const struct other *other, uint32_t replica, uint64_t now_ns)
{
    const struct seen *seen = &other->seen[replica];
    if (other->variant == PEAK_EWMA)
        return ewma_cost(&seen->latency, seen->active, now_ns, DECAY_NS);
    return seen->active;
}

static uint32_t next_in_turn(struct other *other, const uint32_t *some, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (some[i] >= other->cursor) {
            other->cursor = some[i] + 1;
            return some[i];
        }
    }
    other->cursor = some[0] + 1;
    return some[0];
}

static uint32_t choose_of(struct other *other, const uint32_t *some, uint32_t n, uint64_t now_ns)
{
    if (n == 0)
        return SIM_NOBODY;
    if (other->variant == ROUND_ROBIN)
        return next_in_turn(other, some, n);
    const uint32_t first = some[rng_below(&other->rng, n)];
    if (other->variant == RANDOM)
        return first;
    const uint32_t second = some[rng_below(&other->rng, n)];
    return cost(other, second, now_ns) < cost(other, first, now_ns) ? second : first;
}

static uint32_t zone_for(struct other *other, uint32_t level)
{
    if (level != 0 || other->loads[0].is_in_panic)
        return SIM_NOBODY;
    if (other->variant == ZONE_AWARE && other->is_split)
        return other->zone_ids[zone_choose(&other->split, &other->rng)];
    if (other->variant == LOAD_AWARE)
        return load_aware_choose(&other->load_aware, &other->rng);
    return SIM_NOBODY;
}

static uint32_t choose(void *self, struct sim_flow *flow, uint64_t now_ns)
{
    struct other *other = self;
    uint32_t some[SIM_REPLICAS_MAX];
    bool is_degraded;
    const size_t level =
        priority_choose(other->loads, other->n_levels, rng_next(&other->rng), &is_degraded);
    struct pool pool = {(uint32_t)level, SIM_NOBODY, other->loads[level].is_in_panic};
    pool.zone = zone_for(other, pool.level);
    uint32_t n = gather(other, flow, &pool, some);
    if (n == 0 && pool.zone != SIM_NOBODY) {
        pool.zone = SIM_NOBODY;
        n = gather(other, flow, &pool, some);
    }
    const uint32_t chosen = choose_of(other, some, n, now_ns);
    if (chosen != SIM_NOBODY)
        other->seen[chosen].active++;
    return chosen;
}

/* ---- being told ---- */

static void connected(void *self, struct sim_flow *flow, uint64_t connect_ns, uint64_t now_ns)
{
    (void)self;
    (void)flow;
    (void)connect_ns;
    (void)now_ns;
}

static void ended(void *self, struct sim_flow *flow, enum sim_outcome outcome, uint64_t now_ns)
{
    struct other *other = self;
    struct seen *seen = &other->seen[flow->replica];
    seen->active--;
    switch (outcome) {
    case SIM_SERVED:
        seen->failures = 0;
        ewma_add(&seen->latency, now_ns - flow->asked_ns, now_ns, DECAY_NS);
        return;
    case SIM_CONNECT_FAILED:
    case SIM_TIMED_OUT:
    case SIM_BROKEN:
    case SIM_GIVEN_UP: /* a timeout of the route is a failure to Envoy */
        if (++seen->failures >= FAILURES_MAX)
            eject(other, flow->replica, now_ns);
        return;
    }
}

static void told(void *self, uint64_t now_ns)
{
    refresh(self, now_ns);
}

static void sample_load(struct other *other)
{
    struct load_aware_locality localities[SIM_ZONES_MAX] = {0};
    for (uint32_t i = 0; i < other->n_zones; i++)
        localities[i].id = other->zone_ids[i];
    for (uint32_t i = 0; i < n_replicas(other); i++) {
        if (!other->seen[i].is_usable || other->seen[i].level != 0)
            continue;
        struct load_aware_locality *one = &localities[zone_index(other, place(other, i)->zone)];
        one->n_hosts++;
        one->utilisation_sum += other->view->utilisation[i];
    }
    load_aware_tick(&other->load_aware, localities, other->n_zones);
}

static void tick(void *self, uint64_t now_ns)
{
    struct other *other = self;
    bool has_ended = false;
    for (uint32_t i = 0; i < n_replicas(other); i++) {
        struct seen *seen = &other->seen[i];
        has_ended |=
            !seen->is_usable && other->view->is_ready[i] && seen->ejected_until_ns <= now_ns;
        if (now_ns % RELAX_NS == 0 && seen->is_usable)
            outlier_rest_relax(&seen->rest);
    }
    if (has_ended)
        refresh(other, now_ns);
    if (other->variant == LOAD_AWARE && now_ns % SIM_SEC == 0)
        sample_load(other);
}

static void *open_other(const struct chooser_kind *kind, const struct sim_view *view,
                        uint32_t client, uint64_t seed)
{
    struct other *other = mem_new(struct other);
    other->variant = (enum variant)kind->variant;
    other->view = view;
    other->here = view->fleet->clients[client].place;
    rng_seed(&other->rng, seed);
    find_zones(other);
    for (uint32_t i = 0; i < n_replicas(other); i++) {
        other->seen[i].level = level_of(other, i);
        if (other->seen[i].level >= other->n_levels)
            other->n_levels = other->seen[i].level + 1u;
        ewma_init(&other->seen[i].latency, DEFAULT_RTT_NS, 0);
    }
    other->cursor = rng_below(&other->rng, n_replicas(other));
    refresh(other, 0);
    sample_load(other);
    return other;
}

static void close_other(void *self)
{
    mem_free(self);
}

#define OTHER(title, way)                                                                          \
    {                                                                                              \
        .name = title, .variant = way, .open = open_other, .close = close_other, .told = told,     \
        .choose = choose, .connected = connected, .ended = ended, .tick = tick                     \
    }

const struct chooser_kind choosers_of_others[] = {
    OTHER("round robin", ROUND_ROBIN),     OTHER("random", RANDOM),
    OTHER("least request", LEAST_REQUEST), OTHER("peak EWMA", PEAK_EWMA),
    OTHER("Envoy zone aware", ZONE_AWARE), OTHER("Envoy priorities", PRIORITY),
    OTHER("Envoy load aware", LOAD_AWARE),
};

const size_t n_choosers_of_others = ARRAY_LEN(choosers_of_others);
