#include "xds/control/drills.h"

#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

struct seat { /* of one drill; in a list of pointers, so that its timer stays where it is */
    struct drill drill;
    struct arena arena;
    struct timer timer;
    struct drills *drills;
};

struct drills {
    struct loop *loop;
    void (*on_change)(void *owner);
    void *owner;
    struct seat *seats[DRILLS_MAX];
    size_t len;
    uint64_t last_id;
};

struct drills *drills_new(struct loop *loop, void (*on_change)(void *owner), void *owner)
{
    struct drills *drills = mem_new(struct drills);
    drills->loop = loop;
    drills->on_change = on_change;
    drills->owner = owner;
    return drills;
}

static void seat_free(struct seat *seat)
{
    timer_stop(&seat->timer);
    arena_fini(&seat->arena);
    mem_free(seat);
}

void drills_free(struct drills *drills)
{
    for (size_t i = 0; i < drills->len; i++)
        seat_free(drills->seats[i]);
    mem_free(drills);
}

/* ---- life ---- */

static void end(struct drills *drills, size_t idx, const char *why)
{
    struct seat *seat = drills->seats[idx];
    log_warn("a drill is over", log_str("service", seat->drill.service),
             log_str("cluster", seat->drill.cluster), log_str("why", str_from(why)));
    drills->seats[idx] = drills->seats[--drills->len];
    seat_free(seat);
    drills->on_change(drills->owner);
}

static bool find(const struct drills *drills, uint64_t id, size_t *out_idx)
{
    for (size_t i = 0; i < drills->len; i++) {
        if (drills->seats[i]->drill.id == id) {
            *out_idx = i;
            return true;
        }
    }
    return false;
}

static void on_timer(struct timer *timer)
{
    struct seat *seat = container_of(timer, struct seat, timer);
    const bool is_time_up = seat->drill.end_ns <= seat->drill.lease_end_ns;
    size_t idx = 0;
    const bool is_found = find(seat->drills, seat->drill.id, &idx);
    ensure(is_found);
    end(seat->drills, idx,
        is_time_up ? "its time is up" : "nobody renewed it: whoever began it is gone");
}

static void hold(struct seat *seat)
{
    const uint64_t now_ns = loop_now_ns(seat->drills->loop);
    struct drill *drill = &seat->drill;
    drill->lease_end_ns = now_ns + DRILL_LEASE_NS;
    const uint64_t until_ns =
        drill->end_ns < drill->lease_end_ns ? drill->end_ns : drill->lease_end_ns;
    timer_stop(&seat->timer);
    timer_start(seat->drills->loop, &seat->timer, until_ns > now_ns ? until_ns - now_ns : 1,
                on_timer);
}

/* Never twice, not by a process that starts anew either: nodes know drills by it. */
static uint64_t next_id(struct drills *drills)
{
    const uint64_t now = (uint64_t)clock_wall_ns();
    drills->last_id = now > drills->last_id ? now : drills->last_id + 1;
    return drills->last_id;
}

int drills_start(struct drills *drills, struct str service, struct str cluster, uint64_t length_ns,
                 uint64_t *out_id, struct text *why)
{
    for (size_t i = 0; i < drills->len; i++) {
        const struct drill *drill = &drills->seats[i]->drill;
        if (!str_eq(drill->service, service))
            continue;
        text_addf(why, "%.*s is being drilled without cluster %.*s already; one drill a service",
                  STR_ARG(service), STR_ARG(drill->cluster));
        return -ERR_LIMIT;
    }
    if (drills->len == DRILLS_MAX) {
        text_addf(why, "%d drills are in progress, which is the most", DRILLS_MAX);
        return -ERR_LIMIT;
    }
    struct seat *seat = mem_new(struct seat);
    seat->drills = drills;
    seat->drill = (struct drill){
        .id = next_id(drills),
        .service = arena_str(&seat->arena, service),
        .cluster = arena_str(&seat->arena, cluster),
        .length_ns = length_ns,
        .end_ns = loop_now_ns(drills->loop) + length_ns,
    };
    drills->seats[drills->len++] = seat;
    hold(seat);
    log_warn("a drill begins", log_str("service", service), log_str("cluster", cluster),
             log_u64("length_ms", length_ns / NS_PER_MS));
    *out_id = seat->drill.id;
    drills->on_change(drills->owner);
    return 0;
}

int drills_renew(struct drills *drills, uint64_t id)
{
    size_t idx = 0;
    if (!find(drills, id, &idx))
        return -ERR_NOT_FOUND;
    hold(drills->seats[idx]);
    return 0;
}

int drills_stop(struct drills *drills, uint64_t id)
{
    size_t idx = 0;
    if (!find(drills, id, &idx))
        return -ERR_NOT_FOUND;
    end(drills, idx, "it was stopped");
    return 0;
}

const struct drill *drills_at(const struct drills *drills, size_t idx)
{
    return idx < drills->len ? &drills->seats[idx]->drill : NULL;
}

size_t drills_list(const struct drills *drills, struct registry_drill *out)
{
    for (size_t i = 0; i < drills->len; i++) {
        const struct drill *drill = &drills->seats[i]->drill;
        out[i] =
            (struct registry_drill){drill->service, drill->cluster, drill->id, drill->length_ns};
    }
    return drills->len;
}

/* ---- may it be? ---- */

/* "shop/till", "till.shop.svc.clusterset.local" and "shop/till.shop.svc.clusterset.local" are one.
 */
static bool is_meant(const struct model_resource *resource, struct str wanted)
{
    const struct model_service *service = resource->of.service;
    struct str namespace_, name;
    if (str_eq(wanted, resource->name) || str_eq(wanted, service->hostname))
        return true;
    return str_split(wanted, '/', &namespace_, &name) && str_eq(namespace_, service->namespace_) &&
           str_eq(name, service->name) &&
           str_ends_with(service->hostname, STR("." CLUSTERSET_DOMAIN));
}

static int find_service(const struct registry *registry, struct str wanted, struct str *out_name,
                        struct text *why)
{
    for (size_t i = 0; i < registry->n_for_nodes; i++) {
        const struct model_resource *resource = registry->for_nodes[i];
        if (resource->kind == MODEL_SERVICE && is_meant(resource, wanted)) {
            *out_name = resource->name;
            return 0;
        }
    }
    text_addf(
        why,
        "there is no service \"%.*s\": expected NAMESPACE/NAME of a service that some cluster "
        "exports, or a host name",
        STR_ARG(str_sub(wanted, 0, 512)));
    return -ERR_NOT_FOUND;
}

static int find_cluster(const struct control_config *config, struct str wanted, struct text *why)
{
    if (str_eq(wanted, config->cluster))
        return 0;
    for (size_t i = 0; i < config->n_peers; i++)
        if (str_eq(wanted, config->peers[i].name))
            return 0;
    text_addf(why, "there is no cluster \"%.*s\"; there are %.*s", STR_ARG(str_sub(wanted, 0, 512)),
              STR_ARG(config->cluster));
    for (size_t i = 0; i < config->n_peers; i++)
        text_addf(why, ", %.*s", STR_ARG(config->peers[i].name));
    return -ERR_NOT_FOUND;
}

static const struct traffic_policy *policy_of(const struct registry *registry, struct str service)
{
    for (size_t i = 0; i < registry->n_own; i++)
        if (registry->own[i].kind == MODEL_TRAFFIC && str_eq(registry->own[i].name, service))
            return &registry->own[i].of.traffic->policy;
    return traffic_policy_default();
}

static bool serves(const struct model_workload *workload, struct str service, bool *out_is_ready)
{
    for (size_t i = 0; i < workload->n_services; i++) {
        if (!str_eq(workload->services[i].service, service))
            continue;
        *out_is_ready = workload->is_healthy && !workload->services[i].not_ready;
        return true;
    }
    return false;
}

/* As if there was no drill: whether there is one is for drills_start() to say. */
static void weigh(const struct registry *registry, struct str cluster, struct drill_ground *ground)
{
    struct traffic_policy policy = *ground->policy;
    policy.drilled_cluster = (struct str){0};
    for (size_t i = 0; i < registry->n_for_nodes; i++) {
        const struct model_workload *workload = registry->for_nodes[i]->of.workload;
        bool is_ready = false;
        if (registry->for_nodes[i]->kind != MODEL_WORKLOAD ||
            !serves(workload, ground->service, &is_ready) ||
            !traffic_policy_admits(&policy, workload->cluster, false))
            continue;
        const bool is_taken = str_eq(workload->cluster, cluster);
        const uint64_t capacity = workload->capacity > 0 ? workload->capacity : 1;
        ground->n_taken += is_taken ? 1 : 0;
        if (!is_ready)
            continue;
        *(is_taken ? &ground->ready_taken : &ground->ready_left) += 1;
        *(is_taken ? &ground->capacity_taken : &ground->capacity_left) += capacity;
    }
}

static int check_load(const struct drill_ground *ground, const struct drill_request *request,
                      struct text *why)
{
    const uint64_t factor_pct = ground->policy->overprovisioning_pct;
    if (ground->ready_left == 0) {
        text_addf(why, "no other cluster has a ready endpoint of %.*s: every call would fail",
                  STR_ARG(ground->service));
        return -ERR_LIMIT;
    }
    if (ground->capacity_left * factor_pct >= ground->capacity_taken * 100)
        return 0;
    text_addf(why,
              "the %llu ready endpoints of the other clusters (capacity %llu, times "
              "overprovisioning of %llu%%) could not carry what the %llu of %.*s do (capacity "
              "%llu)",
              (unsigned long long)ground->ready_left, (unsigned long long)ground->capacity_left,
              (unsigned long long)factor_pct, (unsigned long long)ground->ready_taken,
              STR_ARG(request->cluster), (unsigned long long)ground->capacity_taken);
    return -ERR_LIMIT;
}

int drill_check(const struct registry *registry, const struct control_config *config,
                const struct drill_request *request, struct drill_ground *out_ground,
                struct text *why)
{
    struct drill_ground ground = {0};
    if (request->length_ns < DRILL_LENGTH_MIN_NS || request->length_ns > DRILL_LENGTH_MAX_NS) {
        text_addf(why, "a drill lasts 1s to 1h, not %llu ms",
                  (unsigned long long)(request->length_ns / NS_PER_MS));
        return -ERR_INVALID;
    }
    int err = find_service(registry, request->service, &ground.service, why);
    if (err == 0)
        err = find_cluster(config, request->cluster, why);
    if (err < 0)
        return err;
    ground.policy = policy_of(registry, ground.service);
    weigh(registry, request->cluster, &ground);
    if (ground.n_taken == 0) {
        text_addf(why, "cluster %.*s has no endpoint of %.*s that the nodes here may use",
                  STR_ARG(request->cluster), STR_ARG(ground.service));
        return -ERR_NOT_FOUND;
    }
    if (!request->is_forced)
        err = check_load(&ground, request, why);
    if (err == 0)
        *out_ground = ground;
    return err;
}
