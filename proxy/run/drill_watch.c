#include "proxy/run/drill_watch.h"

void drill_watch_begin(struct drill_watch *watch)
{
    for (size_t i = 0; i < watch->len; i++)
        watch->drills[i].is_told = false;
}

static struct watched_drill *find_or_add(struct drill_watch *watch,
                                         const struct traffic_policy *policy, uint64_t now_ns)
{
    for (size_t i = 0; i < watch->len; i++)
        if (watch->drills[i].id == policy->drill_id)
            return &watch->drills[i];
    if (watch->len == DRILL_WATCH_MAX)
        return NULL;
    struct watched_drill *drill = &watch->drills[watch->len++];
    const bool is_short = policy->drill_ns < UINT64_MAX - now_ns;
    *drill = (struct watched_drill){
        .id = policy->drill_id,
        .end_ns = policy->drill_ns == 0 ? 0
                  : is_short            ? now_ns + policy->drill_ns
                                        : UINT64_MAX,
    };
    return drill;
}

static bool holds(struct drill_watch *watch, const struct traffic_policy *policy, uint64_t now_ns,
                  bool is_connected)
{
    struct watched_drill *drill = find_or_add(watch, policy, now_ns);
    if (!drill)
        return false;
    drill->is_told = true;
    if (!is_connected || now_ns >= drill->end_ns)
        drill->end_ns = 0;
    return drill->end_ns > 0;
}

static const struct model_resource *without_drill(const struct model_resource *resource,
                                                  struct arena *arena)
{
    struct model_resource *copy = arena_new(arena, struct model_resource);
    struct model_traffic *traffic = arena_new(arena, struct model_traffic);
    *traffic = *resource->of.traffic;
    traffic->policy.drilled_cluster = (struct str){0};
    *copy = *resource;
    copy->of.traffic = traffic;
    return copy;
}

const struct model_resource *drill_watch_judge(struct drill_watch *watch,
                                               const struct model_resource *resource,
                                               struct arena *arena, uint64_t now_ns,
                                               bool is_connected)
{
    if (resource->kind != MODEL_TRAFFIC ||
        str_is_empty(resource->of.traffic->policy.drilled_cluster) ||
        holds(watch, &resource->of.traffic->policy, now_ns, is_connected))
        return resource;
    return without_drill(resource, arena);
}

uint64_t drill_watch_end(struct drill_watch *watch)
{
    uint64_t next_ns = 0;
    size_t n = 0;
    for (size_t i = 0; i < watch->len; i++) {
        const struct watched_drill drill = watch->drills[i];
        if (!drill.is_told)
            continue;
        watch->drills[n++] = drill;
        if (drill.end_ns > 0 && (next_ns == 0 || drill.end_ns < next_ns))
            next_ns = drill.end_ns;
    }
    watch->len = n;
    return next_ns;
}

size_t drill_watch_count(const struct drill_watch *watch)
{
    size_t n = 0;
    for (size_t i = 0; i < watch->len; i++)
        n += watch->drills[i].end_ns > 0;
    return n;
}
