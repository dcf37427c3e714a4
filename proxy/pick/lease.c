#include "proxy/pick/lease.h"

#define SAMPLES 8 /* draws before the whole level is looked through */

struct choice { /* what a pick looks at, gathered so that helpers take one argument */
    const struct memory *memory;
    const struct endpoint_set *endpoints;
    const struct tried *tried;
    uint64_t now_ns;
    bool allow_unhealthy;
    bool allow_suspects;
};

static bool was_tried(const struct tried *tried, uint64_t key)
{
    for (size_t i = 0; tried && i < tried->len; i++) {
        if (tried->keys[i] == key)
            return true;
    }
    return false;
}

static bool is_fit(const struct endpoint *endpoint, bool allow_unhealthy, const struct tried *tried)
{
    return (endpoint->is_ready || allow_unhealthy) && !was_tried(tried, endpoint->key);
}

static bool is_eligible(const struct choice *choice, const struct endpoint *endpoint)
{
    if (!is_fit(endpoint, choice->allow_unhealthy, choice->tried))
        return false;
    return choice->allow_suspects ||
           !memory_is_suspect(choice->memory, endpoint->key, choice->now_ns);
}

/* Draws until one is eligible, each with its weight's share of the level's largest. A few draws
 * nearly always do, however many endpoints there are; NULL says that they did not. */
static const struct endpoint *sample(const struct choice *choice, const struct level *level,
                                     struct rng *rng)
{
    const struct endpoint *endpoints = choice->endpoints->endpoints + level->start;
    for (int i = 0; i < SAMPLES; i++) {
        const struct endpoint *endpoint = &endpoints[rng_below(rng, (uint32_t)level->len)];
        if (rng_below(rng, level->max_weight) < endpoint->weight && is_eligible(choice, endpoint))
            return endpoint;
    }
    return NULL;
}

/* One eligible endpoint by the whole list, each with its weight's share: for levels in which few
 * are eligible. */
static const struct endpoint *scan(const struct choice *choice, const struct level *level,
                                   struct rng *rng)
{
    const struct endpoint_set *set = choice->endpoints;
    const struct endpoint *chosen = NULL;
    uint64_t seen_weight = 0;
    for (size_t i = level->start; i < level->start + level->len; i++) {
        const struct endpoint *endpoint = &set->endpoints[i];
        if (endpoint->weight == 0 || !is_eligible(choice, endpoint))
            continue;
        seen_weight += endpoint->weight;
        if (rng_next(rng) % seen_weight < endpoint->weight)
            chosen = endpoint;
    }
    return chosen;
}

static const struct endpoint *draw(const struct choice *choice, const struct level *level,
                                   struct rng *rng)
{
    const struct endpoint *endpoint = sample(choice, level, rng);
    return endpoint ? endpoint : scan(choice, level, rng);
}

static const struct endpoint *less_loaded_of_two(const struct choice *choice,
                                                 const struct level *level, struct rng *rng)
{
    const struct endpoint *first = draw(choice, level, rng);
    if (!first)
        return NULL;
    const struct endpoint *second = draw(choice, level, rng);
    const uint32_t first_flows = memory_flows(choice->memory, first->key);
    const uint32_t second_flows = memory_flows(choice->memory, second->key);
    return second_flows < first_flows ? second : first;
}

static const struct endpoint *nearest(const struct choice *choice, struct rng *rng)
{
    for (size_t i = 0; i < choice->endpoints->n_levels; i++) {
        const struct level *level = &choice->endpoints->levels[i];
        if (level->max_weight == 0)
            continue;
        const struct endpoint *endpoint = less_loaded_of_two(choice, level, rng);
        if (endpoint)
            return endpoint;
    }
    return NULL;
}

int lease_cut(struct memory *memory, const struct endpoint_set *endpoints, bool allow_unhealthy,
              const struct tried *tried, uint64_t now_ns, struct rng *rng, struct lease *out_lease)
{
    struct choice choice = {
        .memory = memory,
        .endpoints = endpoints,
        .tried = tried,
        .now_ns = now_ns,
        .allow_unhealthy = allow_unhealthy,
    };
    const struct endpoint *endpoint = nearest(&choice, rng);
    if (!endpoint) {
        choice.allow_suspects = true;
        endpoint = nearest(&choice, rng);
    }
    if (!endpoint)
        return -ERR_NO_HEALTHY_UPSTREAM;
    memory_flow_began(memory, endpoint->key);
    *out_lease = (struct lease){
        .key = endpoint->key,
        .endpoint = endpoint,
        .addr = endpoint->addr,
        .distance = endpoint->distance,
    };
    return 0;
}

/* Mostly the first or second one is it. */
bool lease_has_other(const struct endpoint_set *endpoints, bool allow_unhealthy,
                     const struct tried *tried, const struct lease *lease)
{
    for (size_t i = 0; i < endpoints->len; i++) {
        const struct endpoint *endpoint = &endpoints->endpoints[i];
        if (endpoint->key != lease->key && endpoint->weight > 0 &&
            is_fit(endpoint, allow_unhealthy, tried))
            return true;
    }
    return false;
}

void lease_confirm(struct memory *memory, const struct lease *lease)
{
    if (lease->key != 0)
        memory_succeeded(memory, lease->key);
}

void lease_return(struct memory *memory, struct lease *lease, enum lease_outcome outcome,
                  uint64_t now_ns)
{
    if (lease->key == 0)
        return;
    if (outcome == LEASE_FAILED)
        memory_failed(memory, lease->key, now_ns);
    memory_flow_ended(memory, lease->key);
    *lease = (struct lease){0};
}
